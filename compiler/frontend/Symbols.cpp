//===- Symbols.cpp - A layer's symbolic dimensions ------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/frontend/Symbols.h"

#include "dialects/quern/IR/Quern.h"

#include <fmt/format.h>

#include <numeric>

using namespace mlir;
using namespace quern;
using namespace quern::frontend;

using Wide = __int128;

int SymbolSpace::find(llvm::StringRef name) const {
  for (size_t i = 0; i < symbols.size(); ++i)
    if (symbols[i].name == name)
      return static_cast<int>(i);
  return -1;
}

unsigned SymbolSpace::add(Symbol symbol) {
  symbols.push_back(std::move(symbol));
  return size() - 1;
}

AffineExpr SymbolSpace::constant(int64_t value) const {
  return getAffineConstantExpr(value, context);
}

AffineExpr SymbolSpace::symbol(unsigned index) const {
  return getAffineSymbolExpr(index, context);
}

AffineExpr SymbolSpace::simplify(AffineExpr expr) const {
  return simplifyAffineExpr(expr, 0, size());
}

std::string SymbolSpace::checkRange(const Symbol &symbol) {
  if (symbol.max > maxExtent)
    return fmt::format("the largest value of {} is {}; at most {} is accepted",
                       symbol.name, symbol.max, maxExtent);
  if (symbol.min < 0 || symbol.min > symbol.max)
    return fmt::format("the range {}..{} of {} is empty", symbol.min,
                       symbol.max, symbol.name);
  if (symbol.multiple < 1 || symbol.multiple > maxExtent)
    return fmt::format("{} cannot be a multiple of {}; expected 1 to {}",
                       symbol.name, symbol.multiple, maxExtent);
  if (symbol.max / symbol.multiple * symbol.multiple < symbol.min)
    return fmt::format("no multiple of {} lies in the range {}..{} of {}",
                       symbol.multiple, symbol.min, symbol.max, symbol.name);
  return {};
}

//===----------------------------------------------------------------------===//
// Bounds
//===----------------------------------------------------------------------===//

/// An upper bound of the magnitude of an expression with every symbol at
/// maxExtent; saturates.
static double magnitude(AffineExpr expr) {
  if (auto constant = dyn_cast<AffineConstantExpr>(expr))
    return std::abs(static_cast<double>(constant.getValue()));
  if (isa<AffineSymbolExpr>(expr))
    return static_cast<double>(maxExtent);
  auto binary = dyn_cast<AffineBinaryOpExpr>(expr);
  if (!binary)
    return HUGE_VAL;
  double l = magnitude(binary.getLHS()), r = magnitude(binary.getRHS());
  switch (binary.getKind()) {
  case AffineExprKind::Add:
    return l + r;
  case AffineExprKind::Mul:
    return l * r;
  default:
    return l;
  }
}

bool SymbolSpace::isSmall(AffineExpr expr) const {
  return magnitude(expr) < 0x1p60;
}

namespace {
/// (sum of coefficients[i] * symbol i + offset) / denominator.
struct Linear {
  SmallVector<Wide> coefficients;
  Wide offset = 0;
  int64_t denominator = 1;
};
} // namespace

static std::optional<Linear> relax(AffineExpr expr, bool lower,
                                   const SymbolSpace &space);

/// a * scale.
static void multiply(Linear &a, Wide factor) {
  for (Wide &c : a.coefficients)
    c *= factor;
  a.offset *= factor;
}

static std::optional<Linear> sum(std::optional<Linear> a,
                                 std::optional<Linear> b) {
  if (!a || !b)
    return std::nullopt;
  int64_t common = std::lcm(a->denominator, b->denominator);
  if (common > (int64_t(1) << 40))
    return std::nullopt;
  multiply(*a, common / a->denominator);
  multiply(*b, common / b->denominator);
  for (auto [x, y] : llvm::zip_equal(a->coefficients, b->coefficients))
    x += y;
  a->offset += b->offset;
  a->denominator = common;
  return a;
}

/// True when the symbols' divisors show that `divisor` divides `a`.
static bool divides(const Linear &a, int64_t divisor,
                    const SymbolSpace &space) {
  if (a.denominator != 1 || a.offset % divisor != 0)
    return false;
  for (auto [i, c] : llvm::enumerate(a.coefficients))
    if (c * space[i].multiple % divisor != 0)
      return false;
  return true;
}

static std::optional<Linear> relax(AffineExpr expr, bool lower,
                                   const SymbolSpace &space) {
  Linear result;
  result.coefficients.assign(space.size(), 0);
  if (auto constant = dyn_cast<AffineConstantExpr>(expr)) {
    result.offset = constant.getValue();
    return result;
  }
  if (auto symbol = dyn_cast<AffineSymbolExpr>(expr)) {
    if (symbol.getPosition() >= space.size())
      return std::nullopt;
    result.coefficients[symbol.getPosition()] = 1;
    return result;
  }
  auto binary = dyn_cast<AffineBinaryOpExpr>(expr);
  if (!binary)
    return std::nullopt;
  AffineExpr l = binary.getLHS(), r = binary.getRHS();
  if (binary.getKind() == AffineExprKind::Add)
    return sum(relax(l, lower, space), relax(r, lower, space));
  auto factor = dyn_cast<AffineConstantExpr>(r);
  if (!factor)
    return std::nullopt;
  int64_t value = factor.getValue();
  if (binary.getKind() == AffineExprKind::Mul) {
    std::optional<Linear> inner = relax(l, value < 0 ? !lower : lower, space);
    if (inner)
      multiply(*inner, value);
    return inner;
  }
  if (binary.getKind() == AffineExprKind::CeilDiv && value > 0) {
    std::optional<Linear> inner = relax(l, lower, space);
    if (!inner || inner->denominator > (int64_t(1) << 40) / value)
      return std::nullopt;
    if (!lower && !divides(*inner, value, space))
      inner->offset += Wide(value - 1) * inner->denominator;
    inner->denominator *= value;
    return inner;
  }
  return std::nullopt;
}

std::optional<int64_t> SymbolSpace::lowerBound(AffineExpr expr) const {
  if (!isSmall(expr))
    return std::nullopt;
  std::optional<Linear> form = relax(expr, /*lower=*/true, *this);
  if (!form)
    return std::nullopt;
  Wide bound = form->offset;
  for (auto [i, c] : llvm::enumerate(form->coefficients)) {
    const Symbol &s = symbols[i];
    int64_t low = (s.min + s.multiple - 1) / s.multiple * s.multiple;
    int64_t high = s.max / s.multiple * s.multiple;
    bound += c * (c > 0 ? low : high);
  }
  // The expression is an integer, so its bound rounds up.
  Wide quotient = bound / form->denominator;
  if (bound > 0 && bound % form->denominator != 0)
    ++quotient;
  if (quotient > INT64_MAX || quotient < INT64_MIN)
    return std::nullopt;
  return static_cast<int64_t>(quotient);
}

//===----------------------------------------------------------------------===//
// Printing
//===----------------------------------------------------------------------===//

/// `level` 0: sum, 1: term, 2: factor; parenthesised where it must be.
static std::string printExpr(AffineExpr expr, const SymbolSpace &space,
                             int level) {
  auto wrap = [&](std::string text, int own) {
    return own < level ? "(" + text + ")" : text;
  };
  if (auto constant = dyn_cast<AffineConstantExpr>(expr))
    return constant.getValue() < 0
               ? wrap(std::to_string(constant.getValue()), 0)
               : std::to_string(constant.getValue());
  if (auto symbol = dyn_cast<AffineSymbolExpr>(expr))
    return symbol.getPosition() < space.size()
               ? space[symbol.getPosition()].name
               : fmt::format("s{}", symbol.getPosition());
  auto binary = dyn_cast<AffineBinaryOpExpr>(expr);
  if (!binary)
    return "?";
  AffineExpr l = binary.getLHS(), r = binary.getRHS();
  auto number = dyn_cast<AffineConstantExpr>(r);
  switch (binary.getKind()) {
  case AffineExprKind::Add: {
    if (number && number.getValue() < 0)
      return wrap(
          fmt::format("{} - {}", printExpr(l, space, 0), -number.getValue()),
          0);
    auto product = dyn_cast<AffineBinaryOpExpr>(r);
    if (product && product.getKind() == AffineExprKind::Mul)
      if (auto factor = dyn_cast<AffineConstantExpr>(product.getRHS());
          factor && factor.getValue() < 0)
        return wrap(fmt::format("{} - {}", printExpr(l, space, 0),
                                printExpr(product.getLHS() * -factor.getValue(),
                                          space, 1)),
                    0);
    return wrap(
        fmt::format("{} + {}", printExpr(l, space, 0), printExpr(r, space, 1)),
        0);
  }
  case AffineExprKind::Mul:
    if (number && number.getValue() == -1)
      return wrap("-" + printExpr(l, space, 2), 0);
    return wrap(
        fmt::format("{}*{}", printExpr(r, space, 2), printExpr(l, space, 2)),
        1);
  case AffineExprKind::CeilDiv:
    return wrap(
        fmt::format("{}/{}", printExpr(l, space, 2), printExpr(r, space, 2)),
        1);
  case AffineExprKind::FloorDiv:
    return fmt::format("floor({}/{})", printExpr(l, space, 2),
                       printExpr(r, space, 2));
  default:
    return wrap(
        fmt::format("{} % {}", printExpr(l, space, 2), printExpr(r, space, 2)),
        1);
  }
}

std::string SymbolSpace::print(AffineExpr expr) const {
  return printExpr(expr, *this, 0);
}

std::string SymbolSpace::printShape(ArrayRef<AffineExpr> dims) const {
  std::string text = "[";
  for (auto [i, dim] : llvm::enumerate(dims))
    text += (i ? ", " : "") + print(dim);
  return text + "]";
}

std::string SymbolSpace::print(Type type) const {
  if (auto tensor = dyn_cast<RankedTensorType>(type))
    return std::string(name(*getDType(tensor.getElementType()))) +
           printShape(ir::getDims(tensor));
  auto quantized = dyn_cast<ir::QTensorType>(type);
  if (!quantized)
    return "?";
  std::string codes = print(Type(quantized.getCodes())), scales;
  // The scales' extents as the language writes them: the block is what a
  // reader compares, so it shows even where the quotient is a number.
  for (auto [i, dim, block] :
       llvm::enumerate(ir::getDims(quantized.getCodes()),
                       quantized.getScale().getBlock())) {
    scales += i ? ", " : "";
    if (block == 0)
      scales += "1";
    else if (block == 1)
      scales += print(dim);
    else
      scales += printExpr(dim, *this, 2) + "/" + std::to_string(block);
  }
  scales = "[" + scales + "]";
  std::string scaleType(name(*getDType(quantized.getScale().getType())));
  if (!quantized.hasZeros())
    return codes + " * " + scaleType + scales;
  return fmt::format("({} - {}{}) * {}{}", codes,
                     name(*getDType(quantized.getZeros())), scales, scaleType,
                     scales);
}

std::string SymbolSpace::printRange(unsigned index) const {
  const Symbol &s = symbols[index];
  std::string text = fmt::format("{} in {}..{}", s.name, s.min, s.max);
  if (s.multiple != 1)
    text += fmt::format(", {} % {} == 0", s.name, s.multiple);
  return text;
}

std::string SymbolSpace::printRanges(AffineExpr expr) const {
  std::string text;
  for (unsigned i = 0; i < size(); ++i)
    if (expr.isFunctionOfSymbol(i))
      text += (text.empty() ? "" : ", ") + printRange(i);
  return text;
}
