//===- IndexText.cpp - Index expressions as C++ text ----------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/emit/cuda/IndexText.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

using namespace mlir;
using namespace quern;
using namespace quern::emit;

//===----------------------------------------------------------------------===//
// Saturating interval ends
//===----------------------------------------------------------------------===//

static int64_t clampedAdd(int64_t a, int64_t b) {
  int64_t sum;
  if (__builtin_add_overflow(a, b, &sum))
    return a > 0 ? INT64_MAX : INT64_MIN;
  return sum;
}

static int64_t clampedMul(int64_t a, int64_t b) {
  int64_t product;
  if (__builtin_mul_overflow(a, b, &product))
    return (a > 0) == (b > 0) ? INT64_MAX : INT64_MIN;
  return product;
}

static int64_t floorDivide(int64_t a, int64_t b) {
  return a / b - (a % b < 0 ? 1 : 0);
}

//===----------------------------------------------------------------------===//
// Index
//===----------------------------------------------------------------------===//

Index Index::constant(int64_t value) {
  std::string text = fmt::format("{}", value);
  if (value > INT32_MAX || value < INT32_MIN)
    text += "ll";
  return {text, value < 0 ? 0 : 2, value, value};
}

Index Index::variable(std::string name, int64_t count) {
  return {std::move(name), 2, 0, std::max<int64_t>(count - 1, 0)};
}

Index Index::unknown(std::string name) {
  return {std::move(name), 2, INT64_MIN, INT64_MAX};
}

std::string Index::unit() const {
  return strength == 2 ? text : "(" + text + ")";
}

/// The text as an operand of an operator as strong as `strength`; the right
/// operand of / % * - needs parentheses at equal strength too.
static std::string operand(const Index &x, int strength, bool right) {
  return x.strength > strength || (x.strength == strength && !right)
             ? x.text
             : "(" + x.text + ")";
}

/// `a op b`, computed in 64 bits when the result needs it and neither operand
/// is wide already.
static Index combine(const char *op, int strength, const Index &a,
                     const Index &b, int64_t lo, int64_t hi) {
  Index out{"", strength, lo, hi};
  std::string left = operand(a, strength, false);
  if (out.isWide() && !a.isWide() && !b.isWide())
    left = "(s64)" + a.unit();
  out.text =
      fmt::format("{} {} {}", left, op, operand(b, strength, strength == 1));
  return out;
}

Index emit::operator+(const Index &a, const Index &b) {
  if (a.isConstant() && b.isConstant())
    return Index::constant(clampedAdd(a.lo, b.lo));
  if (a.isConstant() && a.lo == 0)
    return b;
  if (b.isConstant() && b.lo == 0)
    return a;
  int64_t lo = clampedAdd(a.lo, b.lo), hi = clampedAdd(a.hi, b.hi);
  if (b.isConstant() && b.lo < 0 && b.lo > INT32_MIN)
    return combine("-", 0, a, Index::constant(-b.lo), lo, hi);
  return combine("+", 0, a, b, lo, hi);
}

Index emit::operator*(const Index &a, const Index &b) {
  if (a.isConstant() && b.isConstant())
    return Index::constant(clampedMul(a.lo, b.lo));
  if (a.isConstant())
    return b * a;
  if (b.isConstant() && b.lo == 1)
    return a;
  if (b.isConstant() && b.lo == 0)
    return b;
  auto ends = {clampedMul(a.lo, b.lo), clampedMul(a.lo, b.hi),
               clampedMul(a.hi, b.lo), clampedMul(a.hi, b.hi)};
  return combine("*", 1, a, b, std::min(ends), std::max(ends));
}

/// A call `name(a, b)` of a template over one integer type.
static Index call(const char *name, const Index &a, const Index &b, int64_t lo,
                  int64_t hi) {
  bool wide = a.isWide() || b.isWide();
  return {fmt::format("{}{}({}, {})", name, wide ? "<s64>" : "<int>", a.text,
                      b.text),
          2, lo, hi};
}

Index emit::divide(const Index &a, const Index &b) {
  if (b.isConstant() && b.lo == 1)
    return a;
  if (a.isConstant() && b.isConstant())
    return Index::constant(floorDivide(a.lo, b.lo));
  int64_t least = std::max<int64_t>(b.lo, 1), most = std::max<int64_t>(b.hi, 1);
  if (a.lo < 0)
    return call("floorDiv", a, b, floorDivide(a.lo, least),
                floorDivide(a.hi, a.hi < 0 ? most : least));
  if (a.hi < least)
    return Index::constant(0);
  return combine("/", 1, a, b, a.lo / most, a.hi / least);
}

Index emit::modulo(const Index &a, const Index &b) {
  if (b.isConstant() && b.lo == 1)
    return Index::constant(0);
  if (a.isConstant() && b.isConstant())
    return Index::constant(a.lo - floorDivide(a.lo, b.lo) * b.lo);
  int64_t hi = std::max<int64_t>(b.hi, 1) - 1;
  if (a.lo < 0)
    return call("floorMod", a, b, 0, hi);
  if (b.lo > 0 && a.hi < b.lo)
    return a;
  return combine("%", 1, a, b, 0, std::min(a.hi, hi));
}

Index emit::divideUp(const Index &a, const Index &b) {
  if (b.isConstant() && b.lo == 1)
    return a;
  int64_t least = std::max<int64_t>(b.lo, 1);
  auto up = [](int64_t x, int64_t y) {
    return floorDivide(x, y) + (x % y != 0 ? 1 : 0);
  };
  if (a.isConstant() && b.isConstant())
    return Index::constant(up(a.lo, least));
  return call("ceilDiv", a, b, std::min<int64_t>(a.lo, 0), up(a.hi, least));
}

Index emit::least(const Index &a, const Index &b) {
  if (a.isConstant() && b.isConstant())
    return a.lo < b.lo ? a : b;
  return call("smaller", a, b, std::min(a.lo, b.lo), std::min(a.hi, b.hi));
}

//===----------------------------------------------------------------------===//
// Symbols
//===----------------------------------------------------------------------===//

Symbols::Symbols(ArrayRef<Attribute> symbols) {
  for (Attribute attr : symbols) {
    auto symbol = cast<tile::SymbolAttr>(attr);
    names.push_back(symbol.getName().str());
    minimum.push_back(std::max<int64_t>(symbol.getMin(), 0));
    maximum.push_back(std::min<int64_t>(symbol.getMax(), INT32_MAX));
    multiple.push_back(std::max<int64_t>(symbol.getMultiple(), 1));
  }
}

Index Symbols::symbol(unsigned i) {
  usedSymbols.insert(i);
  if (minimum[i] == maximum[i])
    return Index::constant(minimum[i]);
  return {names[i], 2, minimum[i], maximum[i]};
}

Index Symbols::affine(AffineExpr expr, ArrayRef<Index> dims) {
  switch (expr.getKind()) {
  case AffineExprKind::Constant:
    return Index::constant(cast<AffineConstantExpr>(expr).getValue());
  case AffineExprKind::DimId:
    return dims[cast<AffineDimExpr>(expr).getPosition()];
  case AffineExprKind::SymbolId:
    return symbol(cast<AffineSymbolExpr>(expr).getPosition());
  default:
    break;
  }
  auto binary = cast<AffineBinaryOpExpr>(expr);
  Index a = affine(binary.getLHS(), dims), b = affine(binary.getRHS(), dims);
  switch (expr.getKind()) {
  case AffineExprKind::Add:
    return a + b;
  case AffineExprKind::Mul:
    return a * b;
  case AffineExprKind::FloorDiv:
    return divide(a, b);
  case AffineExprKind::CeilDiv:
    return divideUp(a, b);
  default:
    return modulo(a, b);
  }
}

std::vector<Index> Symbols::affine(AffineMap map, ArrayRef<Index> dims) {
  std::vector<Index> results;
  for (AffineExpr expr : map.getResults())
    results.push_back(affine(expr, dims));
  return results;
}

int64_t Symbols::divisor(AffineExpr expr) const {
  if (auto constant = dyn_cast<AffineConstantExpr>(expr))
    return std::abs(constant.getValue());
  if (auto symbol = dyn_cast<AffineSymbolExpr>(expr)) {
    unsigned i = symbol.getPosition();
    return minimum[i] == maximum[i] ? minimum[i] : multiple[i];
  }
  auto binary = dyn_cast<AffineBinaryOpExpr>(expr);
  if (!binary)
    return 1;
  int64_t a = divisor(binary.getLHS()), b = divisor(binary.getRHS());
  switch (expr.getKind()) {
  case AffineExprKind::Add:
    return std::gcd(a, b);
  case AffineExprKind::Mul:
    return clampedMul(a, b);
  case AffineExprKind::FloorDiv:
  case AffineExprKind::CeilDiv:
    if (auto by = dyn_cast<AffineConstantExpr>(binary.getRHS()))
      if (by.getValue() > 0 && a % by.getValue() == 0)
        return a / by.getValue();
    return 1;
  default:
    return 1;
  }
}

Index Symbols::offset(tile::BufferType buffer, ArrayRef<Index> at) {
  Index sum = Index::constant(0);
  std::vector<Index> shape = affine(buffer.getShape());
  // Rows of packed elements begin at bytes.
  Type element = buffer.getElementType();
  if (getWideType(element) != element && !shape.empty())
    shape.back() =
        divideUp(shape.back(), Index::constant(2)) * Index::constant(2);
  for (auto [extent, index] : llvm::zip(shape, at))
    sum = sum * extent + index;
  return sum;
}
