//===- SymbolRanges.cpp - Bounds of symbolic extents ----------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Interval arithmetic on extents. Values are clamped to [0, INT64_MAX], which
// is what an extent can be; an unknown expression has that whole range.
//
//===----------------------------------------------------------------------===//

#include "dialects/quern/Transforms/Passes.h"

#include <limits>

using namespace mlir;
using namespace quern;
using namespace quern::ir;

namespace {

constexpr int64_t unbounded = std::numeric_limits<int64_t>::max();

struct Range {
  int64_t low, high;
};

int64_t saturate(__int128 value) {
  return static_cast<int64_t>(
      std::clamp<__int128>(value, -__int128(unbounded), unbounded));
}

Range getRange(AffineExpr expr, ArrayRef<Attribute> symbols) {
  if (auto constant = dyn_cast<AffineConstantExpr>(expr))
    return {constant.getValue(), constant.getValue()};
  if (auto symbol = dyn_cast<AffineSymbolExpr>(expr)) {
    if (symbol.getPosition() < symbols.size())
      if (auto attr = dyn_cast<SymbolAttr>(symbols[symbol.getPosition()]))
        return {attr.getMin(), attr.getMax()};
    return {0, unbounded};
  }
  auto binary = dyn_cast<AffineBinaryOpExpr>(expr);
  if (!binary)
    return {0, unbounded};
  Range l = getRange(binary.getLHS(), symbols);
  Range r = getRange(binary.getRHS(), symbols);
  auto product = [](int64_t a, int64_t b) { return saturate(__int128(a) * b); };
  switch (expr.getKind()) {
  case AffineExprKind::Add:
    return {saturate(__int128(l.low) + r.low),
            l.high == unbounded || r.high == unbounded
                ? unbounded
                : saturate(__int128(l.high) + r.high)};
  case AffineExprKind::Mul: {
    int64_t corners[] = {product(l.low, r.low), product(l.low, r.high),
                         product(l.high, r.low), product(l.high, r.high)};
    return {*std::min_element(corners, corners + 4),
            *std::max_element(corners, corners + 4)};
  }
  case AffineExprKind::FloorDiv:
  case AffineExprKind::CeilDiv:
    if (r.low < 1 || l.low < 0)
      return {0, unbounded};
    if (expr.getKind() == AffineExprKind::FloorDiv)
      return {l.low / r.high, l.high == unbounded ? unbounded : l.high / r.low};
    return {static_cast<int64_t>(llvm::divideCeil(l.low, r.high)),
            l.high == unbounded
                ? unbounded
                : static_cast<int64_t>(llvm::divideCeil(l.high, r.low))};
  case AffineExprKind::Mod:
    return {0, r.high == unbounded ? unbounded : std::min(l.high, r.high - 1)};
  default:
    return {0, unbounded};
  }
}

Range getRange(AffineExpr extent, func::FuncOp layer) {
  ArrayAttr symbols =
      layer ? layer->getAttrOfType<ArrayAttr>(symbolsAttrName) : ArrayAttr();
  return getRange(extent, symbols ? symbols.getValue() : ArrayRef<Attribute>());
}

} // namespace

int64_t ir::getUpperBound(AffineExpr extent, func::FuncOp layer) {
  return getRange(extent, layer).high;
}

int64_t ir::getLowerBound(AffineExpr extent, func::FuncOp layer) {
  return std::max<int64_t>(getRange(extent, layer).low, 0);
}
