//===- StrictMath.cpp - f32 operations with one meaning everywhere --------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// exp, tanh and erf follow docs/numerics.md line by line. Where the machine
// lacks an instruction (fma, rounding to integral) the same bits are computed
// from what it has:
//
//   fma        The product of two f32 is exact in f64. Its sum with z is
//              rounded to odd: 2Sum (Knuth) gives the exact error of the f64
//              sum, and where there is one and the sum's last bit is even, the
//              sum moves one unit towards the error. Rounding that to f32 is
//              then correct (Boldo, Melquiond: "Emulation of FMA and correctly
//              rounded sums", 2008), since f64 has more than two extra bits.
//   roundeven  Adding and subtracting 2^23 rounds |x| < 2^23 to an integer
//              in the current rounding, which is half to even.
//
//===----------------------------------------------------------------------===//

#include "compiler/lower/cpu/Emitter.h"

#include "llvm/IR/Intrinsics.h"

using namespace quern;
using namespace quern::cpugen;
using llvm::Value;

Value *Emitter::f32(float value, Value *like) {
  llvm::Constant *scalar = llvm::ConstantFP::get(context, llvm::APFloat(value));
  if (unsigned lanes = width(like); lanes > 1)
    return llvm::ConstantVector::getSplat(llvm::ElementCount::getFixed(lanes),
                                          scalar);
  return scalar;
}

Value *Emitter::i32(int64_t value, Value *like) {
  return llvm::ConstantInt::getSigned(typeLike(like, b.getInt32Ty()),
                                      static_cast<int32_t>(value));
}

Value *Emitter::bits(Value *value) {
  return b.CreateBitCast(value, typeLike(value, b.getInt32Ty()));
}

Value *Emitter::float_(Value *bits) {
  return b.CreateBitCast(bits, typeLike(bits, b.getFloatTy()));
}

Value *Emitter::abs(Value *x) {
  return b.CreateUnaryIntrinsic(llvm::Intrinsic::fabs, x);
}

Value *Emitter::sqrt(Value *x) {
  return b.CreateUnaryIntrinsic(llvm::Intrinsic::sqrt, x);
}

Value *Emitter::maximum(Value *x, Value *y) {
  return b.CreateBinaryIntrinsic(llvm::Intrinsic::maximum, x, y);
}

Value *Emitter::minimum(Value *x, Value *y) {
  return b.CreateBinaryIntrinsic(llvm::Intrinsic::minimum, x, y);
}

Value *Emitter::roundEven(Value *x) {
  if (target.roundsToIntegral())
    return b.CreateUnaryIntrinsic(llvm::Intrinsic::roundeven, x);
  Value *a = abs(x), *magic = f32(0x1p23f, x);
  Value *rounded = b.CreateFSub(b.CreateFAdd(a, magic), magic);
  Value *result = b.CreateSelect(b.CreateFCmpOLT(a, magic), rounded, a);
  return b.CreateBinaryIntrinsic(llvm::Intrinsic::copysign, result, x);
}

Value *Emitter::fma(Value *x, Value *y, Value *z) {
  if (!target.hasFma())
    return softFma(x, y, z);
  return b.CreateIntrinsic(llvm::Intrinsic::fma, {x->getType()}, {x, y, z});
}

Value *Emitter::softFma(Value *x, Value *y, Value *z) {
  llvm::Type *f64 = typeLike(x, b.getDoubleTy());
  llvm::Type *i64Type = typeLike(x, b.getInt64Ty());
  Value *p = b.CreateFMul(b.CreateFPExt(x, f64), b.CreateFPExt(y, f64));
  Value *c = b.CreateFPExt(z, f64);
  Value *s = b.CreateFAdd(p, c);
  // 2Sum: p + c = s + e exactly (for finite values; e is NaN otherwise, and
  // then no comparison below holds).
  Value *cv = b.CreateFSub(s, p);
  Value *pv = b.CreateFSub(s, cv);
  Value *e = b.CreateFAdd(b.CreateFSub(p, pv), b.CreateFSub(c, cv));
  llvm::Constant *zero = llvm::Constant::getNullValue(f64);
  Value *sBits = b.CreateBitCast(s, i64Type);
  Value *one = llvm::ConstantInt::get(i64Type, 1);
  Value *even = b.CreateICmpEQ(b.CreateAnd(sBits, one),
                               llvm::Constant::getNullValue(i64Type));
  Value *inexact = b.CreateFCmpONE(e, zero);
  // Away from zero where the error has the sum's sign.
  Value *sameSign =
      b.CreateICmpEQ(b.CreateFCmpOGT(e, zero), b.CreateFCmpOGT(s, zero));
  Value *moved = b.CreateSelect(sameSign, b.CreateAdd(sBits, one),
                                b.CreateSub(sBits, one));
  Value *odd = b.CreateSelect(b.CreateAnd(even, inexact), moved, sBits);
  return b.CreateFPTrunc(b.CreateBitCast(odd, f64), x->getType());
}

Value *Emitter::exp(Value *x) {
  auto c = [&](float value) { return f32(value, x); };
  Value *ordered = b.CreateFCmpOEQ(x, x);
  Value *xc = b.CreateSelect(b.CreateFCmpOLT(x, c(-104.0f)), c(-104.0f), x);
  xc = b.CreateSelect(b.CreateFCmpOGT(xc, c(89.0f)), c(89.0f), xc);
  xc = b.CreateSelect(ordered, xc, c(0.0f));
  Value *n = roundEven(b.CreateFMul(xc, c(0x1.715476p+0f)));
  Value *r = fma(n, c(-0x1.62e4p-1f), xc);
  r = fma(n, c(-0x1.7f7d1cp-20f), r);
  Value *p = c(1.9875691500e-4f);
  for (float next : {1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f,
                     1.6666665459e-1f, 5.0000001201e-1f})
    p = fma(p, r, c(next));
  Value *z = b.CreateFMul(r, r);
  Value *y = b.CreateFAdd(fma(p, z, r), c(1.0f));
  Value *i = b.CreateFPToSI(n, typeLike(x, b.getInt32Ty()));
  Value *half = b.CreateAShr(i, i32(1, x));
  Value *rest = b.CreateSub(i, half);
  auto power = [&](Value *exponent) {
    return float_(b.CreateShl(b.CreateAdd(exponent, i32(127, x)), i32(23, x)));
  };
  y = b.CreateFMul(b.CreateFMul(y, power(half)), power(rest));
  return b.CreateSelect(ordered, y, x);
}

Value *Emitter::tanh(Value *x) {
  auto c = [&](float value) { return f32(value, x); };
  Value *a = abs(x), *z = b.CreateFMul(x, x);
  Value *p = c(-5.70498872745e-3f);
  for (float next : {2.06390887954e-2f, -5.37397155531e-2f, 1.33314422036e-1f,
                     -3.33332819422e-1f})
    p = fma(p, z, c(next));
  Value *small = fma(b.CreateFMul(p, z), x, x);
  Value *s = exp(b.CreateFAdd(a, a));
  Value *big =
      b.CreateFSub(c(1.0f), b.CreateFDiv(c(2.0f), b.CreateFAdd(s, c(1.0f))));
  big = b.CreateBinaryIntrinsic(llvm::Intrinsic::copysign, big, x);
  return b.CreateSelect(b.CreateFCmpOLT(a, c(0.625f)), small, big);
}

Value *Emitter::erf(Value *x) {
  auto c = [&](float value) { return f32(value, x); };
  Value *xc = b.CreateSelect(b.CreateFCmpOLT(x, c(-4.0f)), c(-4.0f), x);
  xc = b.CreateSelect(b.CreateFCmpOGT(xc, c(4.0f)), c(4.0f), xc);
  Value *z = b.CreateFMul(xc, xc);
  Value *p = c(-2.72614225801306e-10f);
  for (float next :
       {2.77068142495902e-08f, -2.10102402082508e-06f, -5.69250639462346e-05f,
        -7.34990630326855e-04f, -2.95459980854025e-03f, -1.60960333262415e-02f})
    p = fma(p, z, c(next));
  p = b.CreateFMul(xc, p);
  Value *q = c(-1.45660718464996e-05f);
  for (float next : {-2.13374055278905e-04f, -1.68282697438203e-03f,
                     -7.37332916720468e-03f, -1.42647390514189e-02f})
    q = fma(q, z, c(next));
  Value *r = b.CreateFDiv(p, q);
  r = b.CreateSelect(b.CreateFCmpOGT(r, c(1.0f)), c(1.0f), r);
  return b.CreateSelect(b.CreateFCmpOLT(r, c(-1.0f)), c(-1.0f), r);
}
