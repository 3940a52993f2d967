//===- Offsets.cpp - Places in buffers as numbers -------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/select/Offsets.h"

#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace quern;
using namespace quern::select;

Offset Offset::constant(int64_t value) {
  Offset offset;
  offset.base = value;
  return offset;
}

Offset Offset::coordinate(unsigned number) {
  Offset offset;
  offset.terms.push_back({number, 1});
  offset.used = uint64_t(1) << number;
  return offset;
}

Offset Offset::scattered() {
  Offset offset;
  offset.unknown = true;
  return offset;
}

/// Rounding as the kind says; the divisor is positive.
static int64_t divide(AffineExprKind kind, int64_t dividend, int64_t divisor) {
  switch (kind) {
  case AffineExprKind::FloorDiv:
    return llvm::divideFloorSigned(dividend, divisor);
  case AffineExprKind::CeilDiv:
    return llvm::divideCeilSigned(dividend, divisor);
  default:
    return llvm::mod(dividend, divisor);
  }
}

int64_t Offset::at(ArrayRef<int64_t> coordinates) const {
  int64_t sum = base;
  for (auto [number, factor] : terms)
    sum += factor * coordinates[number];
  for (const auto &[quotient, factor] : quotients)
    sum += factor * divide(quotient->kind, quotient->dividend.at(coordinates),
                           quotient->divisor);
  return sum;
}

std::optional<int64_t> Offset::asConstant() const {
  if (unknown || !terms.empty() || !quotients.empty())
    return std::nullopt;
  return base;
}

Offset &Offset::operator+=(const Offset &other) {
  base += other.base;
  for (auto [number, factor] : other.terms) {
    auto same = llvm::find_if(
        terms, [number = number](auto &term) { return term.first == number; });
    if (same != terms.end())
      same->second += factor;
    else
      terms.push_back({number, factor});
  }
  llvm::append_range(quotients, other.quotients);
  used |= other.used;
  unknown |= other.unknown;
  return *this;
}

Offset Offset::times(int64_t factor) const {
  if (factor == 0)
    return constant(0);
  Offset result = *this;
  result.base *= factor;
  for (auto &term : result.terms)
    term.second *= factor;
  for (auto &quotient : result.quotients)
    quotient.second *= factor;
  return result;
}

Offset Offset::divided(AffineExprKind kind, int64_t divisor) const {
  if (unknown || divisor <= 0)
    return scattered();
  if (auto value = asConstant())
    return constant(divide(kind, *value, divisor));
  if (divisor == 1)
    return kind == AffineExprKind::Mod ? constant(0) : *this;
  Offset result;
  result.used = used;
  result.quotients.push_back(
      {std::make_shared<Quotient>(Quotient{kind, *this, divisor}), 1});
  return result;
}

Offset Coordinates::of(Value index) const {
  auto known = numbers.find(index);
  if (known != numbers.end())
    return Offset::coordinate(known->second);
  if (auto position = index.getDefiningOp<tile::IndexOp>())
    return of(position.getMap(), position.getIndices()).front();
  if (auto value = index.getDefiningOp<arith::ConstantOp>())
    if (auto integer = dyn_cast<IntegerAttr>(value.getValue()))
      return Offset::constant(integer.getInt());
  return Offset::scattered();
}

Offset Coordinates::of(AffineExpr expr, ArrayRef<Offset> dims) const {
  switch (expr.getKind()) {
  case AffineExprKind::Constant:
    return Offset::constant(cast<AffineConstantExpr>(expr).getValue());
  case AffineExprKind::SymbolId: {
    unsigned number = cast<AffineSymbolExpr>(expr).getPosition();
    return number < sizes.size() ? Offset::constant(sizes[number])
                                 : Offset::scattered();
  }
  case AffineExprKind::DimId: {
    unsigned number = cast<AffineDimExpr>(expr).getPosition();
    return number < dims.size() ? dims[number] : Offset::scattered();
  }
  default:
    break;
  }
  auto binary = cast<AffineBinaryOpExpr>(expr);
  Offset lhs = of(binary.getLHS(), dims), rhs = of(binary.getRHS(), dims);
  if (expr.getKind() == AffineExprKind::Add)
    return lhs += rhs;
  // Of factors and divisors one is known once the sizes are.
  auto right = rhs.asConstant();
  if (expr.getKind() == AffineExprKind::Mul) {
    if (right)
      return lhs.times(*right);
    auto left = lhs.asConstant();
    return left ? rhs.times(*left) : Offset::scattered();
  }
  return right ? lhs.divided(expr.getKind(), *right) : Offset::scattered();
}

std::vector<Offset> Coordinates::of(AffineMap map, ValueRange indices) const {
  std::vector<Offset> dims, result;
  for (Value index : indices)
    dims.push_back(of(index));
  for (AffineExpr expr : map.getResults())
    result.push_back(of(expr, dims));
  return result;
}

Offset Coordinates::element(tile::BufferType buffer, AffineMap map,
                            ValueRange indices) const {
  std::vector<Offset> at = of(map, indices);
  Offset sum = Offset::constant(0);
  int64_t stride = 1;
  for (size_t i = at.size(); i-- > 0;) {
    sum += at[i].times(stride);
    int64_t extent = evaluate(buffer.getShape().getResult(i));
    // Rows of packed elements begin at bytes.
    Type element = buffer.getElementType();
    bool shared = i + 1 == at.size() && getWideType(element) != element;
    stride *= shared ? extent + extent % 2 : extent;
  }
  return sum;
}
