//===- Codes.cpp - Numbers that become codes ------------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// The two steps of an encoding that an instruction for each operation would
// make slow; what a code is stands in docs/numerics.md.
//
// x / s for many x and one s: with r = 1/s, q = x r, t = q + r (x - q s), both
// steps fused, t is the correctly rounded quotient where nothing under- or
// overflows, and elsewhere one with the same code.
//
// clamp(round(t)), NaN to 0: conversion to integers rounds to even by itself,
// and gives 0x80000000 (AArch64: 0) for NaN, of which an 8-bit code keeps 0. So
// where 0 is known to be within the range NaN is sent through the clamps
// untouched instead of being looked for.
//
// Where the quotient is known to be within the codes (tile.within: the scale
// was made of these very numbers) nothing of that is left but the conversion;
// and an 8-bit float needs neither saturation nor a look for NaN.
//
//===----------------------------------------------------------------------===//

#include "compiler/lower/cpu/ElementBody.h"

#include "mlir/IR/Matchers.h"

#include "llvm/IR/IntrinsicsAArch64.h"
#include "llvm/IR/IntrinsicsX86.h"

using namespace quern;
using namespace quern::cpugen;
using llvm::Value;
namespace arith = mlir::arith;
namespace math = mlir::math;

/// Whether 8 bits of an integer are kept, alone or after a sum.
static bool isCutToCode(mlir::Value value) {
  return llvm::all_of(value.getUsers(), [](mlir::Operation *user) {
    if (auto sum = llvm::dyn_cast<arith::AddIOp>(user))
      return isCutToCode(sum);
    auto cut = llvm::dyn_cast<arith::TruncIOp>(user);
    return cut && cut.getType().isInteger(8);
  });
}

namespace {
/// fptosi(roundeven(minimumf(maximumf(select(t is NaN, 0, t), low), high)))
struct IntegerCode {
  mlir::Value number, low, high;

  static std::optional<IntegerCode> match(arith::FPToSIOp op);
};
} // namespace

std::optional<IntegerCode> IntegerCode::match(arith::FPToSIOp op) {
  auto rounded = op.getIn().getDefiningOp<math::RoundEvenOp>();
  auto below = rounded ? rounded.getOperand().getDefiningOp<arith::MinimumFOp>()
                       : arith::MinimumFOp();
  auto above = below ? below.getLhs().getDefiningOp<arith::MaximumFOp>()
                     : arith::MaximumFOp();
  auto number = above ? above.getLhs().getDefiningOp<arith::SelectOp>()
                      : arith::SelectOp();
  if (!number || !op.getType().isInteger(32) || !isCutToCode(op))
    return std::nullopt;
  auto isNan = number.getCondition().getDefiningOp<arith::CmpFOp>();
  mlir::Value value = number.getFalseValue();
  if (!isNan || isNan.getPredicate() != arith::CmpFPredicate::UNO ||
      isNan.getLhs() != value || isNan.getRhs() != value ||
      !mlir::matchPattern(number.getTrueValue(), mlir::m_PosZeroFloat()))
    return std::nullopt;
  return IntegerCode{value, above.getRhs(), below.getRhs()};
}

/// The code a quotient becomes, if nothing on the way has another use: none of
/// it is computed then.
static std::optional<IntegerCode> codeOf(arith::DivFOp quotient) {
  // Twice in the test for NaN, once in the select that follows it.
  mlir::Operation *at = nullptr;
  for (mlir::Operation *user : quotient->getUsers()) {
    if (llvm::isa<arith::SelectOp>(user))
      at = user;
    else if (!user->hasOneUse())
      return std::nullopt;
  }
  if (!quotient->getResult(0).hasNUses(3))
    return std::nullopt;
  while (at && at->hasOneUse()) {
    at = *at->user_begin();
    if (auto end = llvm::dyn_cast<arith::FPToSIOp>(at)) {
      auto code = IntegerCode::match(end);
      bool isOf = code && code->number == quotient.getResult();
      return isOf ? code : std::nullopt;
    }
  }
  return std::nullopt;
}

/// Whether numbers up to `within` round to codes in the range by themselves.
static bool fitsRange(const IntegerCode &code, double within) {
  llvm::APFloat low(0.0f), high(0.0f);
  return mlir::matchPattern(code.low, mlir::m_ConstantFloat(&low)) &&
         mlir::matchPattern(code.high, mlir::m_ConstantFloat(&high)) &&
         -within > low.convertToDouble() - 0.5 &&
         within < high.convertToDouble() + 0.5;
}

/// Whether 0 is in the range, which has constant ends or such ends less a zero
/// point; that one is in the constant range too where it was made with the
/// scale.
static bool holdsZero(const IntegerCode &code, bool isOwnZero) {
  auto endOf = [&](mlir::Value end) -> std::optional<double> {
    if (auto shifted = end.getDefiningOp<arith::SubFOp>(); shifted && isOwnZero)
      end = shifted.getLhs();
    llvm::APFloat number(0.0f);
    if (!mlir::matchPattern(end, mlir::m_ConstantFloat(&number)))
      return std::nullopt;
    return number.convertToDouble();
  };
  std::optional<double> low = endOf(code.low), high = endOf(code.high);
  return low && high && *low <= 0 && *high >= 0;
}

/// Up to which magnitude quotients come, where that is known.
static std::optional<double> boundOf(arith::DivFOp quotient) {
  auto within = quotient->getAttrOfType<mlir::FloatAttr>(tile::withinAttrName);
  return within ? std::optional(within.getValueAsDouble()) : std::nullopt;
}

/// A vector of numbers, neither clamped nor free of NaN, as integers.
static Value *roundToIntegers(Emitter &e, Value *numbers) {
  using namespace llvm::Intrinsic;
  llvm::IRBuilder<> &b = e.b;
  if (e.target.isAArch64())
    return b.CreateIntrinsic(
        aarch64_neon_fcvtns,
        {e.typeLike(numbers, b.getInt32Ty()), numbers->getType()}, {numbers});
  switch (Emitter::width(numbers)) {
  case 4:
    return b.CreateIntrinsic(x86_sse2_cvtps2dq, {}, {numbers});
  case 8:
    return b.CreateIntrinsic(x86_avx_cvt_ps2dq_256, {}, {numbers});
  default:
    return b.CreateIntrinsic(
        x86_avx512_mask_cvtps2dq_512, {},
        {numbers,
         llvm::Constant::getNullValue(e.vectorType(b.getInt32Ty(), 16)),
         b.getInt16(-1), b.getInt32(4 /* the rounding in force */)});
  }
}

bool ElementBody::emitIntegerCode(arith::FPToSIOp op) {
  std::optional<IntegerCode> code = IntegerCode::match(op);
  if (!code || lanes == 1 || !lookup(op.getIn()).isVector())
    return false;
  llvm::IRBuilder<> &b = e.b;
  auto quotient = code->number.getDefiningOp<arith::DivFOp>();
  std::optional<double> within =
      quotient ? boundOf(quotient) : std::optional<double>();
  bool zeroIsCode = holdsZero(*code, within.has_value());
  auto clamped = [&](Value *number) {
    if (!zeroIsCode)
      number = b.CreateSelect(b.CreateFCmpORD(number, number), number,
                              llvm::Constant::getNullValue(number->getType()));
    Value *low = spread(lookup(code->low)), *high = spread(lookup(code->high));
    // Comparisons with NaN are false: it stays.
    number = b.CreateSelect(b.CreateFCmpOGT(low, number), low, number);
    number = b.CreateSelect(b.CreateFCmpOLT(high, number), high, number);
    return roundToIntegers(e, number);
  };
  if (!quotient || !isCodeQuotient(quotient)) {
    bind(op.getResult(), {clamped(spread(lookup(code->number)))});
    return true;
  }
  bool fits = within && fitsRange(*code, *within);
  bind(op.getResult(), {emitQuotient(
                           quotient, !within, /*isSigned=*/false,
                           [&](Value *t, Value *) {
                             return fits ? roundToIntegers(e, t) : clamped(t);
                           },
                           clamped)});
  return true;
}

/// The quotient that an 8-bit float is made of, where nothing else reads it and
/// it is too small to saturate.
static arith::DivFOp boundedQuotientOf(arith::TruncFOp op) {
  auto quotient = op.getIn().getDefiningOp<arith::DivFOp>();
  if (!quotient || !quotient->hasOneUse() ||
      op.getType().getIntOrFloatBitWidth() != 8)
    return {};
  auto &semantics =
      llvm::cast<mlir::FloatType>(op.getType()).getFloatSemantics();
  llvm::APFloat largest = llvm::APFloat::getLargest(semantics), below = largest;
  below.next(/*nextDown=*/true);
  double most = largest.convertToDouble();
  std::optional<double> within = boundOf(quotient);
  bool fits = within && *within < most + (most - below.convertToDouble()) / 2;
  return fits ? quotient : arith::DivFOp();
}

bool ElementBody::emitFloatCode(arith::TruncFOp op) {
  arith::DivFOp quotient = boundedQuotientOf(op);
  if (!quotient || !isCodeQuotient(quotient))
    return false;
  DType type = *getDType(op.getType());
  bind(op.getResult(),
       {emitQuotient(
           quotient, /*mayOverflow=*/false, /*isSigned=*/false,
           [&](Value *t, Value *q) { return e.encodeBounded(t, q, type); },
           [&](Value *t) { return e.encode(t, type); })});
  return true;
}

/// Whether a quotient becomes codes whose zero has no sign.
static bool becomesInteger(mlir::Value value) {
  return llvm::all_of(value.getUsers(), [](mlir::Operation *user) {
    if (llvm::isa<arith::FPToSIOp, arith::FPToUIOp, arith::CmpFOp>(user))
      return true;
    return !llvm::isa<arith::TruncFOp, math::CopySignOp>(user) &&
           user->getNumResults() == 1 && user->getNumRegions() == 0 &&
           becomesInteger(user->getResult(0));
  });
}

bool ElementBody::isCodeQuotient(arith::DivFOp op) {
  return op->hasAttr(tile::toCodeAttrName) && lanes > 1 && e.target.hasFma() &&
         !lookup(op.getRhs()).isVector();
}

Value *ElementBody::emitQuotient(
    arith::DivFOp op, bool mayOverflow, bool isSigned,
    llvm::function_ref<Value *(Value *, Value *)> ordinary,
    llvm::function_ref<Value *(Value *)> otherwise) {
  llvm::IRBuilder<> &b = e.b;
  Value *s = lookup(op.getRhs()).value, *x = spread(lookup(op.getLhs()));
  auto constant = [&](double value) {
    return llvm::ConstantFP::get(b.getFloatTy(), value);
  };
  // Once per scale: the optimiser moves it out of the loops.
  Value *inRange = b.CreateAnd(b.CreateFCmpOGE(s, constant(0x1p-80)),
                               b.CreateFCmpOLE(s, constant(0x1p126)));
  Value *r = e.splat(b.CreateFDiv(constant(1), s), lanes);
  Value *all = e.splat(s, lanes);
  auto fast = [&]() -> Emitter::Values {
    Value *q = b.CreateFMul(x, r);
    Value *rest = e.fma(b.CreateFNeg(q), all, x);
    Value *t = e.fma(rest, r, q);
    // Where q is no finite number the steps made it NaN.
    if (mayOverflow)
      t = b.CreateSelect(b.CreateFCmpORD(t, t), t, q);
    // -0 gave +0; the sign of every other quotient is q's anyway.
    if (isSigned)
      t = b.CreateBinaryIntrinsic(llvm::Intrinsic::copysign, t, q);
    return {ordinary(t, q)};
  };
  return e.branch(inRange, fast, [&]() -> Emitter::Values {
    return {otherwise(b.CreateFDiv(x, all))};
  })[0];
}

void ElementBody::emitCodeQuotient(arith::DivFOp op) {
  // The end of the encoding makes it, with what follows.
  auto rounded = op->hasOneUse()
                     ? llvm::dyn_cast<arith::TruncFOp>(*op->user_begin())
                     : arith::TruncFOp();
  if (codeOf(op) || (rounded && boundedQuotientOf(rounded)))
    return bind(op.getResult(), {llvm::PoisonValue::get(
                                    e.vectorType(e.b.getFloatTy(), lanes))});
  bind(op.getResult(),
       {emitQuotient(
           op, !boundOf(op), !becomesInteger(op.getResult()),
           [](Value *t, Value *) { return t; }, [](Value *t) { return t; })});
}
