//===- IndexMath.cpp - Index expressions of kernels -----------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/conversion/IndexMath.h"

#include "mlir/IR/AffineExprVisitor.h"

#include <optional>

using namespace mlir;
using namespace quern;
using namespace quern::conversion;

/// The largest value of a non-negative expression, where a constant is known.
static std::optional<int64_t> upperBound(AffineExpr expr, Extents extents) {
  if (auto constant = dyn_cast<AffineConstantExpr>(expr))
    return constant.getValue();
  if (auto dim = dyn_cast<AffineDimExpr>(expr)) {
    if (dim.getPosition() < extents.size() && extents[dim.getPosition()] > 0)
      return extents[dim.getPosition()] - 1;
    return std::nullopt;
  }
  auto binary = dyn_cast<AffineBinaryOpExpr>(expr);
  if (!binary)
    return std::nullopt;
  auto constant = dyn_cast<AffineConstantExpr>(binary.getRHS());
  if (expr.getKind() == AffineExprKind::Mod && constant)
    return constant.getValue() - 1;
  std::optional<int64_t> l = upperBound(binary.getLHS(), extents);
  std::optional<int64_t> r = upperBound(binary.getRHS(), extents);
  if (!l || !r || *l < 0 || *r < 0)
    return std::nullopt;
  int64_t value = 0;
  if (expr.getKind() == AffineExprKind::Add)
    return llvm::AddOverflow(*l, *r, value) ? std::nullopt
                                            : std::optional(value);
  if (expr.getKind() == AffineExprKind::Mul)
    return llvm::MulOverflow(*l, *r, value) ? std::nullopt
                                            : std::optional(value);
  if (expr.getKind() == AffineExprKind::FloorDiv && constant &&
      constant.getValue() > 0)
    return *l / constant.getValue();
  return std::nullopt;
}

/// Whether every value of the expression is at least 0 (dimensions and symbols
/// are; only negative constants and factors spoil it).
static bool isNonNegative(AffineExpr expr) {
  if (auto constant = dyn_cast<AffineConstantExpr>(expr))
    return constant.getValue() >= 0;
  auto binary = dyn_cast<AffineBinaryOpExpr>(expr);
  return !binary || expr.getKind() == AffineExprKind::Mod ||
         (isNonNegative(binary.getLHS()) && isNonNegative(binary.getRHS()));
}

static void collectTerms(AffineExpr expr, SmallVectorImpl<AffineExpr> &terms) {
  if (expr.getKind() == AffineExprKind::Add) {
    auto binary = cast<AffineBinaryOpExpr>(expr);
    collectTerms(binary.getLHS(), terms);
    collectTerms(binary.getRHS(), terms);
    return;
  }
  terms.push_back(expr);
}

/// Division and remainder by a constant, by parts: terms that are multiples of
/// the divisor leave the rest, whose range may be known.
static AffineExpr divide(AffineExpr lhs, int64_t divisor, bool remainder,
                         Extents extents) {
  MLIRContext *context = lhs.getContext();
  AffineExpr whole = getAffineConstantExpr(0, context), rest = whole;
  SmallVector<AffineExpr> terms;
  collectTerms(lhs, terms);
  for (AffineExpr term : terms) {
    if (term.isMultipleOf(divisor))
      whole = whole + term.floorDiv(divisor);
    else
      rest = rest + term;
  }
  std::optional<int64_t> bound = upperBound(rest, extents);
  if (bound && isNonNegative(rest) && *bound < divisor)
    return remainder ? rest : whole;
  return remainder ? rest % divisor : whole + rest.floorDiv(divisor);
}

AffineExpr conversion::simplify(AffineExpr expr, Extents extents,
                                unsigned numSymbols) {
  auto visit = [&](auto &self, AffineExpr e) -> AffineExpr {
    // An axis of length 1 has one index.
    if (auto dim = dyn_cast<AffineDimExpr>(e);
        dim && dim.getPosition() < extents.size() &&
        extents[dim.getPosition()] == 1)
      return getAffineConstantExpr(0, e.getContext());
    auto binary = dyn_cast<AffineBinaryOpExpr>(e);
    if (!binary)
      return e;
    AffineExpr l = self(self, binary.getLHS());
    AffineExpr r = self(self, binary.getRHS());
    auto constant = dyn_cast<AffineConstantExpr>(r);
    bool divides = constant && constant.getValue() > 0;
    switch (e.getKind()) {
    case AffineExprKind::FloorDiv:
      return divides ? divide(l, constant.getValue(), false, extents)
                     : l.floorDiv(r);
    case AffineExprKind::Mod:
      return divides ? divide(l, constant.getValue(), true, extents) : l % r;
    default:
      return getAffineBinaryOpExpr(e.getKind(), l, r);
    }
  };
  return visit(visit, simplifyAffineExpr(expr, extents.size(), numSymbols));
}

Index conversion::blockIndex(ArrayRef<AffineExpr> index,
                             ArrayRef<int64_t> block) {
  Index result;
  for (auto [expr, extent] : llvm::zip_equal(index, block))
    result.push_back(extent == 0   ? getAffineConstantExpr(0, expr.getContext())
                     : extent == 1 ? expr
                                   : expr.floorDiv(extent));
  return result;
}

SmallVector<int64_t> conversion::normalizeBlock(RankedTensorType type,
                                                ArrayRef<int64_t> block) {
  SmallVector<int64_t> result(block);
  for (auto [dim, extent] : llvm::zip_equal(ir::getDims(type), result)) {
    if (ir::coversAxis(extent, dim))
      extent = 0;
  }
  return result;
}

bool conversion::isMultipleOf(AffineExpr expr, int64_t divisor,
                              ArrayRef<Attribute> symbols) {
  if (expr.isMultipleOf(divisor))
    return true;
  if (auto symbol = dyn_cast<AffineSymbolExpr>(expr)) {
    auto attr = symbol.getPosition() < symbols.size()
                    ? dyn_cast<ir::SymbolAttr>(symbols[symbol.getPosition()])
                    : ir::SymbolAttr();
    return attr && attr.getMultiple() % divisor == 0;
  }
  auto binary = dyn_cast<AffineBinaryOpExpr>(expr);
  if (!binary)
    return false;
  bool l = isMultipleOf(binary.getLHS(), divisor, symbols);
  bool r = isMultipleOf(binary.getRHS(), divisor, symbols);
  if (expr.getKind() == AffineExprKind::Add)
    return l && r;
  return expr.getKind() == AffineExprKind::Mul && (l || r);
}

//===----------------------------------------------------------------------===//
// Reshape
//===----------------------------------------------------------------------===//

namespace {

/// An extent as a constant times opaque symbolic factors, so that products
/// (which are not affine) compare.
struct Product {
  int64_t constant = 1;
  SmallVector<AffineExpr> symbolic;

  void multiply(AffineExpr expr) {
    if (auto value = dyn_cast<AffineConstantExpr>(expr)) {
      constant *= value.getValue();
      return;
    }
    int64_t divisor = expr.getLargestKnownDivisor();
    if (divisor > 1) {
      constant *= divisor;
      expr = expr.floorDiv(divisor);
    }
    symbolic.insert(llvm::upper_bound(symbolic, expr,
                                      [](AffineExpr a, AffineExpr b) {
                                        return hash_value(a) < hash_value(b);
                                      }),
                    expr);
  }
  bool operator==(const Product &other) const = default;
};

} // namespace

/// `index` within dims [begin, end) of `to`, as indices of dims of `from`.
static void reshapeSegment(ArrayRef<AffineExpr> from, ArrayRef<AffineExpr> to,
                           ArrayRef<AffineExpr> index, Index &result) {
  MLIRContext *context =
      index.empty() ? from[0].getContext() : index[0].getContext();
  AffineExpr zero = getAffineConstantExpr(0, context);
  auto isOne = [](AffineExpr e) {
    auto constant = dyn_cast<AffineConstantExpr>(e);
    return constant && constant.getValue() == 1;
  };
  SmallVector<AffineExpr> source, target;
  Index used;
  for (auto [dim, i] : llvm::zip_equal(to, index))
    if (!isOne(dim)) {
      target.push_back(dim);
      used.push_back(i);
    }
  for (AffineExpr dim : from)
    if (!isOne(dim))
      source.push_back(dim);
  Index mapped;
  if (source == target) {
    mapped = used;
  } else {
    AffineExpr linear = zero;
    for (auto [dim, i] : llvm::zip_equal(target, used))
      linear = linear * dim + i;
    AffineExpr rest = linear;
    mapped.assign(source.size(), zero);
    for (size_t d = source.size(); d-- > 0;) {
      mapped[d] = d == 0 ? rest : rest % source[d];
      rest = rest.floorDiv(source[d]);
    }
  }
  size_t next = 0;
  for (AffineExpr dim : from)
    result.push_back(isOne(dim) ? zero : mapped[next++]);
}

Index conversion::reshapeIndex(ArrayRef<AffineExpr> from,
                               ArrayRef<AffineExpr> to,
                               ArrayRef<AffineExpr> index) {
  // Cut both shapes into the shortest runs with equal products: indices mix
  // only within a run.
  Index result;
  size_t i = 0, j = 0;
  while (i < from.size() || j < to.size()) {
    size_t i0 = i, j0 = j;
    Product a, b;
    if (i < from.size())
      a.multiply(from[i++]);
    if (j < to.size())
      b.multiply(to[j++]);
    while (!(a == b) && (i < from.size() || j < to.size())) {
      // Grow the side that is behind; the constant factors tell, and where
      // they agree the side with fewer symbolic factors.
      bool growFrom =
          j >= to.size() ||
          (i < from.size() && (a.symbolic.size() != b.symbolic.size()
                                   ? a.symbolic.size() < b.symbolic.size()
                                   : a.constant < b.constant));
      if (growFrom)
        a.multiply(from[i++]);
      else
        b.multiply(to[j++]);
    }
    if (i == i0 && j == j0)
      break;
    reshapeSegment(from.slice(i0, i - i0), to.slice(j0, j - j0),
                   index.slice(j0, j - j0), result);
  }
  return result;
}
