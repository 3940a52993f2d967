//===- Reducer.cpp - Reductions whose order does not matter ---------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/lower/cpu/Reducer.h"

#include "mlir/IR/Matchers.h"

using namespace quern;
using namespace quern::cpugen;
using llvm::Value;
using tile::ReduceKind;
namespace arith = mlir::arith;

static constexpr int64_t magnitudeBits = 0x7fffffff;

/// The f16 or bf16 value whose magnitude, as the bits of an f32, this is.
static mlir::Value magnitudeOf(mlir::Value value) {
  auto masked = value.getDefiningOp<arith::AndIOp>();
  llvm::APInt mask;
  if (!masked ||
      !mlir::matchPattern(masked.getRhs(), mlir::m_ConstantInt(&mask)))
    return {};
  auto bits = masked.getLhs().getDefiningOp<arith::BitcastOp>();
  auto widened =
      bits ? bits.getIn().getDefiningOp<arith::ExtFOp>() : arith::ExtFOp();
  if (mask != magnitudeBits || !widened ||
      widened.getIn().getType().getIntOrFloatBitWidth() != 16)
    return {};
  return widened.getIn();
}

Reducer::Reducer(Emitter &e, tile::ReduceOp op)
    : e(e), kind(op.getKind()),
      element(op.getBody().front().getTerminator()->getOperand(0)) {
  assert(kind != ReduceKind::AddF && "sums of f32 have an order");
  if (kind == ReduceKind::MaximumF) {
    form = Form::Number;
    auto inverse = element.getDefiningOp<arith::NegFOp>();
    negated = bool(inverse);
    auto widened = (negated ? inverse.getOperand() : element)
                       .getDefiningOp<arith::ExtFOp>();
    if (widened && widened.getIn().getType().getIntOrFloatBitWidth() == 16)
      narrow = widened.getIn();
  } else if (kind == ReduceKind::UMax && (narrow = magnitudeOf(element))) {
    form = Form::Magnitude;
  }
  if (narrow)
    narrowType = *getDType(narrow.getType());
}

bool Reducer::readsAlong(mlir::Value index) const {
  auto load = narrow ? narrow.getDefiningOp<tile::LoadOp>() : tile::LoadOp();
  if (!load)
    return false;
  mlir::AffineExpr next = load.getMap().getResults().back();
  for (auto [dim, operand] : llvm::enumerate(load.getIndices())) {
    // Computed from `index`, perhaps.
    if (operand.getDefiningOp())
      return false;
    if (operand != index)
      continue;
    for (mlir::AffineExpr expr : load.getMap().getResults().drop_back())
      if (expr.isFunctionOfDim(dim))
        return false;
    next = next - mlir::getAffineDimExpr(dim, load.getContext());
    next = mlir::simplifyAffineExpr(next, load.getMap().getNumDims(),
                                    load.getMap().getNumSymbols());
    if (next.isFunctionOfDim(dim))
      return false;
  }
  return true;
}

/// Constants for the bits of a number: all but the sign, and the sign.
static Value *magnitudeMask(Value *bits) {
  unsigned width = bits->getType()->getScalarSizeInBits();
  return llvm::ConstantInt::get(bits->getType(),
                                llvm::APInt::getSignedMaxValue(width));
}
static Value *signMask(Value *bits) {
  unsigned width = bits->getType()->getScalarSizeInBits();
  return llvm::ConstantInt::get(bits->getType(),
                                llvm::APInt::getSignMask(width));
}

/// Signed order of these integers is the order of the numbers.
static Value *orderedBits(Emitter &e, Value *bits) {
  unsigned width = bits->getType()->getScalarSizeInBits();
  Value *sign =
      e.b.CreateAShr(bits, llvm::ConstantInt::get(bits->getType(), width - 1));
  return e.b.CreateXor(bits, e.b.CreateAnd(sign, magnitudeMask(bits)));
}

/// The bits of infinity.
static int64_t infinityBits(mlir::Value narrow, DType type) {
  return !narrow ? 0x7f800000 : type == DType::F16 ? 0x7c00 : 0x7f80;
}

Reducer::Values Reducer::neutral(unsigned lanes) const {
  Value *zero = e.splat(narrow ? e.b.getInt16(0) : e.b.getInt32(0), lanes);
  if (form != Form::Number)
    return {zero};
  Value *infinity =
      llvm::ConstantInt::get(zero->getType(), infinityBits(narrow, narrowType));
  return {orderedBits(e, e.b.CreateXor(infinity, signMask(infinity))), zero};
}

Reducer::Values Reducer::read(ElementBody &body) const {
  Value *read = body.spread(body.lookup(narrow ? narrow : element));
  Values carried = {read};
  if (form == Form::Magnitude) {
    carried = {e.b.CreateAnd(read, magnitudeMask(read))};
  } else if (form == Form::Number) {
    Value *bits = narrow ? read : e.bits(read);
    if (narrow && negated)
      bits = e.b.CreateXor(bits, signMask(bits));
    carried = {orderedBits(e, bits), e.b.CreateAnd(bits, magnitudeMask(bits))};
  }
  if (body.mask)
    for (auto [value, none] : llvm::zip(carried, neutral(body.lanes)))
      value = e.b.CreateSelect(body.mask, value, none);
  return carried;
}

Reducer::Values Reducer::combine(const Values &x, const Values &y) const {
  using namespace llvm::Intrinsic;
  llvm::IRBuilder<> &b = e.b;
  if (form == Form::Number)
    return {b.CreateBinaryIntrinsic(smax, x[0], y[0]),
            b.CreateBinaryIntrinsic(umax, x[1], y[1])};
  if (kind == ReduceKind::AddI)
    return {b.CreateAdd(x[0], y[0])};
  return {b.CreateBinaryIntrinsic(umax, x[0], y[0])};
}

Reducer::Values Reducer::reduceLanes(Values partial) const {
  for (unsigned half = Emitter::width(partial[0]) / 2; half >= 1; half /= 2) {
    llvm::SmallVector<int, 16> low, high;
    for (unsigned i = 0; i < half; ++i) {
      low.push_back(i);
      high.push_back(half + i);
    }
    Values lows, highs;
    for (Value *value : partial) {
      lows.push_back(e.b.CreateShuffleVector(value, low));
      highs.push_back(e.b.CreateShuffleVector(value, high));
    }
    partial = combine(lows, highs);
  }
  for (Value *&value : partial)
    if (value->getType()->isVectorTy())
      value = e.b.CreateExtractElement(value, uint64_t(0));
  return partial;
}

Value *Reducer::finish(const Values &partial) const {
  llvm::IRBuilder<> &b = e.b;
  switch (form) {
  case Form::Integer:
    return partial[0];
  case Form::Magnitude:
    return e.bits(e.decode(partial[0], narrowType));
  case Form::Number: {
    // Inverting is its own inverse.
    Value *number = orderedBits(e, partial[0]);
    Value *isNan = b.CreateICmpUGT(
        partial[1], llvm::ConstantInt::get(partial[1]->getType(),
                                           infinityBits(narrow, narrowType)));
    number = narrow ? e.bits(e.decode(number, narrowType)) : number;
    return e.float_(b.CreateSelect(isNan, b.getInt32(0x7fc00000), number));
  }
  }
  return nullptr;
}
