//===- Elementwise.cpp - Element-wise ops on scalars ----------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// One entry per element-wise op. Formulas are those of docs/numerics.md, one
// f32 operation per arith or math op and nothing contracted; exp, tanh and erf
// stay single ops here, whose polynomials each target writes out.
//
//===----------------------------------------------------------------------===//

#include "compiler/conversion/Elementwise.h"

#include "dialects/tile/IR/Tile.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "llvm/ADT/TypeSwitch.h"

#include <limits>

using namespace mlir;
using namespace quern;
using namespace quern::conversion;
using namespace quern::ir;

namespace {

/// f32 arithmetic at one location, readable as formulas. C++ leaves the order
/// of arguments open: where two of them would make ops, they are named first,
/// so that the IR does not depend on who built the compiler.
struct Formula {
  OpBuilder &b;
  Location loc;

  Value number(float value) { return emitFloat(b, loc, value); }
  Value add(Value x, Value y) { return arith::AddFOp::create(b, loc, x, y); }
  Value sub(Value x, Value y) { return arith::SubFOp::create(b, loc, x, y); }
  Value mul(Value x, Value y) { return arith::MulFOp::create(b, loc, x, y); }
  Value div(Value x, Value y) { return arith::DivFOp::create(b, loc, x, y); }
  Value max(Value x, Value y) {
    return arith::MaximumFOp::create(b, loc, x, y);
  }
  Value min(Value x, Value y) {
    return arith::MinimumFOp::create(b, loc, x, y);
  }
  Value neg(Value x) { return arith::NegFOp::create(b, loc, x); }
  Value abs(Value x) { return math::AbsFOp::create(b, loc, x); }
  Value sqrt(Value x) { return math::SqrtOp::create(b, loc, x); }
  Value exp(Value x) { return math::ExpOp::create(b, loc, x); }
  Value tanh(Value x) { return math::TanhOp::create(b, loc, x); }
  Value erf(Value x) { return math::ErfOp::create(b, loc, x); }
  Value fma(Value x, Value y, Value z) {
    return math::FmaOp::create(b, loc, x, y, z);
  }
  Value roundEven(Value x) { return math::RoundEvenOp::create(b, loc, x); }
  Value compare(arith::CmpFPredicate predicate, Value x, Value y) {
    return arith::CmpFOp::create(b, loc, predicate, x, y);
  }
  Value select(Value condition, Value x, Value y) {
    return arith::SelectOp::create(b, loc, condition, x, y);
  }
  Value onePlusExpNeg(Value x) {
    Value one = number(1);
    return add(one, exp(neg(x)));
  }
};

} // namespace

Value conversion::emitFloat(OpBuilder &b, Location loc, float value) {
  return arith::ConstantOp::create(b, loc, b.getF32FloatAttr(value));
}

Value conversion::emitArithmetic(OpBuilder &b, ArithmeticInterface op,
                                 ValueRange operands) {
  Formula f{b, op->getLoc()};
  Value x = operands[0];
  Value y = operands.size() > 1 ? operands[1] : Value();
  return TypeSwitch<Operation *, Value>(op.getOperation())
      .Case([&](AddOp) { return f.add(x, y); })
      .Case([&](SubOp) { return f.sub(x, y); })
      .Case([&](MulOp) { return f.mul(x, y); })
      .Case([&](DivOp) { return f.div(x, y); })
      .Case([&](MaxOp) { return f.max(x, y); })
      .Case([&](MinOp) { return f.min(x, y); })
      .Case([&](NegOp) { return f.neg(x); })
      .Case([&](AbsOp) { return f.abs(x); })
      .Case([&](ReluOp) { return f.max(x, f.number(0)); })
      .Case([&](SqrtOp) { return f.sqrt(x); })
      .Case([&](ExpOp) { return f.exp(x); })
      .Case([&](TanhOp) { return f.tanh(x); })
      .Case([&](ErfOp) { return f.erf(x); })
      .Case([&](SigmoidOp) {
        Value one = f.number(1);
        return f.div(one, f.onePlusExpNeg(x));
      })
      .Case([&](SiluOp) { return f.div(x, f.onePlusExpNeg(x)); })
      .Case([&](GeluErfOp) {
        Value half = f.mul(f.number(0.5f), x);
        Value one = f.number(1);
        Value scaled = f.mul(x, f.number(0x1.6a09e6p-1f));
        return f.mul(half, f.add(one, f.erf(scaled)));
      })
      .Case([&](GeluTanhOp) {
        Value half = f.mul(f.number(0.5f), x);
        Value third = f.number(0x1.6e4e26p-5f);
        Value cubic = f.fma(f.mul(third, f.mul(x, x)), x, x);
        Value t = f.tanh(f.mul(f.number(0x1.988454p-1f), cubic));
        return f.mul(half, f.add(f.number(1), t));
      })
      .Default(Value());
}

Value conversion::emitCompare(OpBuilder &b, CompareOp op, Value lhs,
                              Value rhs) {
  arith::CmpFPredicate predicate = arith::CmpFPredicate::OEQ;
  switch (op.getPredicate()) {
  case ComparePredicate::LT:
    predicate = arith::CmpFPredicate::OLT;
    break;
  case ComparePredicate::LE:
    predicate = arith::CmpFPredicate::OLE;
    break;
  case ComparePredicate::GT:
    predicate = arith::CmpFPredicate::OGT;
    break;
  case ComparePredicate::GE:
    predicate = arith::CmpFPredicate::OGE;
    break;
  case ComparePredicate::EQ:
    predicate = arith::CmpFPredicate::OEQ;
    break;
  case ComparePredicate::NE:
    predicate = arith::CmpFPredicate::UNE;
    break;
  }
  return arith::CmpFOp::create(b, op.getLoc(), predicate, lhs, rhs);
}

Value conversion::toF32(OpBuilder &b, Location loc, Value stored,
                        Type elementType) {
  Type f32 = b.getF32Type();
  if (elementType.isF32())
    return stored;
  if (isa<FloatType>(elementType))
    return arith::ExtFOp::create(b, loc, f32, stored);
  if (elementType.isUnsignedInteger() || elementType.isInteger(1))
    return arith::UIToFPOp::create(b, loc, f32, stored);
  return arith::SIToFPOp::create(b, loc, f32, stored);
}

Value conversion::fromF32(OpBuilder &b, Location loc, Value value,
                          Type elementType) {
  if (elementType.isF32())
    return value;
  if (isa<FloatType>(elementType))
    return arith::TruncFOp::create(b, loc, elementType, value);
  Formula f{b, loc};
  if (elementType.isInteger(1))
    return f.compare(arith::CmpFPredicate::UNE, value, f.number(0));
  Value isNaN = f.compare(arith::CmpFPredicate::UNO, value, value);
  Value number = f.select(isNaN, f.number(0), value);
  if (elementType.isInteger(32)) {
    // 2^31 is not an i32 and 2^31 - 1 not an f32: the largest f32 below 2^31
    // bounds what fptosi sees, and larger values are selected afterwards.
    Value rounded = f.roundEven(number);
    Value below = f.min(rounded, f.number(0x1.fffffep30f));
    Value inside = f.max(below, f.number(-0x1p31f));
    Value integer = arith::FPToSIOp::create(b, loc, b.getI32Type(), inside);
    Value top =
        arith::ConstantOp::create(b, loc, b.getI32IntegerAttr(INT32_MAX));
    return f.select(
        f.compare(arith::CmpFPredicate::OGE, rounded, f.number(0x1p31f)), top,
        integer);
  }
  bool isUnsigned = elementType.isUnsignedInteger();
  number = f.max(number, f.number(isUnsigned ? 0.0f : -128.0f));
  number = f.min(number, f.number(isUnsigned ? 255.0f : 127.0f));
  Value integer =
      arith::FPToSIOp::create(b, loc, b.getI32Type(), f.roundEven(number));
  return arith::TruncIOp::create(b, loc, b.getI8Type(), integer);
}

Value conversion::emitPowerOfTwo(OpBuilder &b, PowerOfTwoOp op, Value x) {
  Formula f{b, op.getLoc()};
  auto number = [&](int32_t value) -> Value {
    return arith::ConstantOp::create(b, f.loc, b.getI32IntegerAttr(value));
  };
  auto add = [&](Value bits, Value what) -> Value {
    return arith::AddIOp::create(b, f.loc, bits, what);
  };
  Value bits = arith::BitcastOp::create(b, f.loc, b.getI32Type(), x);
  Value sum = bits;
  if (op.getRounding() == ir::ScaleRounding::PowerCeil) {
    sum = add(bits, number(0x7fffff));
  } else if (op.getRounding() == ir::ScaleRounding::PowerEven) {
    Value shift = number(23), one = number(1);
    Value exponent = arith::ShRUIOp::create(b, f.loc, bits, shift);
    Value odd = arith::AndIOp::create(b, f.loc, exponent, one);
    sum = add(add(bits, number(0x3fffff)), odd);
  }
  Value mask = number(0x7f800000);
  Value power = arith::AndIOp::create(b, f.loc, sum, mask);
  Value most = number(op.getMost().bitcastToAPInt().getZExtValue());
  power = arith::MinSIOp::create(b, f.loc, power, most);
  Value rounded = arith::BitcastOp::create(b, f.loc, b.getF32Type(), power);
  // Neither an infinity nor NaN is below infinity in magnitude.
  Value magnitude = f.abs(x);
  Value infinity = f.number(std::numeric_limits<float>::infinity());
  Value isFinite = f.compare(arith::CmpFPredicate::OLT, magnitude, infinity);
  return f.select(isFinite, rounded, x);
}

/// Rounds t, already clamped to integers' range, as the quantizer says. The
/// result is an integer-valued f32, except for toward_zero, where the
/// conversion that follows truncates by itself.
static Value roundCode(Formula f, Value t, ir::Rounding rounding) {
  if (rounding == ir::Rounding::TowardZero)
    return t;
  Value even = f.roundEven(t);
  if (rounding == ir::Rounding::HalfEven)
    return even;
  // Half away: where t lies half-way (t - even is exact) and even went toward
  // zero, step away from it.
  Value rest = f.sub(t, even);
  auto step = [&](float half, arith::CmpFPredicate side, float by, Value r) {
    Value isHalf = f.compare(arith::CmpFPredicate::OEQ, rest, f.number(half));
    Value isSide = f.compare(side, t, f.number(0));
    Value both = arith::AndIOp::create(f.b, f.loc, isHalf, isSide);
    return f.select(both, f.add(even, f.number(by)), r);
  };
  Value up = step(0.5f, arith::CmpFPredicate::OGT, 1.0f, even);
  return step(-0.5f, arith::CmpFPredicate::OLT, -1.0f, up);
}

Value conversion::emitCode(OpBuilder &b, Location loc, Value x, Value scale,
                           Value zero, QuantizerAttr quantizer,
                           FloatAttr within, Type codeType) {
  Formula f{b, loc};
  Value t = f.div(x, scale);
  if (within)
    t.getDefiningOp()->setAttr(quern::tile::withinAttrName, within);
  t.getDefiningOp()->setAttr(quern::tile::toCodeAttrName,
                             UnitAttr::get(t.getContext()));
  Value qmin = f.number(quantizer.getQmin().convertToFloat());
  Value qmax = f.number(quantizer.getQmax().convertToFloat());
  if (auto type = dyn_cast<FloatType>(codeType)) {
    // The rounding saturates by itself at the largest finite code.
    APFloat largest = APFloat::getLargest(type.getFloatSemantics());
    bool all =
        quantizer.getQmax().convertToDouble() == largest.convertToDouble() &&
        quantizer.getQmin().convertToDouble() == -largest.convertToDouble();
    return arith::TruncFOp::create(b, loc, codeType,
                                   all ? t : f.min(f.max(t, qmin), qmax));
  }
  Value isNaN = f.compare(arith::CmpFPredicate::UNO, t, t);
  t = f.select(isNaN, f.number(0), t);
  if (zero) {
    // The range of what is rounded, before the zero point is added to it: all
    // small integers, hence exact.
    Value offset = arith::SIToFPOp::create(b, loc, b.getF32Type(), zero);
    qmin = f.sub(qmin, offset);
    qmax = f.sub(qmax, offset);
  }
  t = roundCode(f, f.min(f.max(t, qmin), qmax), quantizer.getRounding());
  Value integer = arith::FPToSIOp::create(b, loc, b.getI32Type(), t);
  if (zero)
    integer = arith::AddIOp::create(b, loc, integer, zero);
  return arith::TruncIOp::create(b, loc, b.getI8Type(), integer);
}

Value conversion::emitIsClipped(OpBuilder &b, Location loc, Value x,
                                Value scale, QuantizerAttr quantizer,
                                bool floatCodes) {
  Formula f{b, loc};
  float qmin = quantizer.getQmin().convertToFloat();
  float qmax = quantizer.getQmax().convertToFloat();
  // Where it decides, a code's quotient is the quotient.
  Value t = f.div(x, scale);
  t.getDefiningOp()->setAttr(quern::tile::toCodeAttrName,
                             UnitAttr::get(t.getContext()));
  if (!floatCodes) {
    // From one step beyond the range on the side does not change, and rounding
    // is of small numbers.
    Value isNaN = f.compare(arith::CmpFPredicate::UNO, t, t);
    t = f.select(isNaN, f.number(0.5f * (qmin + qmax)), t);
    Value low = f.number(qmin - 1), high = f.number(qmax + 1);
    t = roundCode(f, f.min(f.max(t, low), high), quantizer.getRounding());
    if (quantizer.getRounding() == ir::Rounding::TowardZero) {
      Value integer = arith::FPToSIOp::create(b, loc, b.getI32Type(), t);
      t = arith::SIToFPOp::create(b, loc, b.getF32Type(), integer);
    }
  }
  Value below = f.compare(arith::CmpFPredicate::OLT, t, f.number(qmin));
  Value above = f.compare(arith::CmpFPredicate::OGT, t, f.number(qmax));
  Value one = arith::ConstantOp::create(b, loc, b.getI32IntegerAttr(1));
  Value zero = arith::ConstantOp::create(b, loc, b.getI32IntegerAttr(0));
  Value outside = f.select(above, one, zero);
  return f.select(below, one, outside);
}
