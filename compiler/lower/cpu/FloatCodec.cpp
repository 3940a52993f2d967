//===- FloatCodec.cpp - Small floats to f32 and back ----------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// f16, bf16 and the two f8 formats live in memory as integers. All four decode
// exactly and encode with one rounding, half to even; encoding to f8 saturates
// to the largest finite number (infinities too) and keeps NaN as the format's
// NaN. Where the machine converts f16 it does; everything else is
// integer arithmetic, because LLVM would call library functions.
//
// The method is the same for each format with e exponent and m mantissa bits.
// Normal numbers shift by 23 - m and rebias. Subnormals decode as the integer
// times the format's smallest number, and encode by adding a power of two whose
// unit in the last place *is* that smallest number: the addition rounds.
//
// Encoding to f8 rounds normal numbers by an addition too. With p the power of
// two at or below |x|, or the smallest normal number if that is larger, a unit
// of the code is p 2^-m, which is a unit in the last place of p 2^(23-m) + |x|.
// The sum's mantissa is |x| in such units, rounded: k in [0, 2^(m+1)]. Hence
//
//     code = k + 2^m (exponent of p - exponent of the smallest normal number)
//
// subnormals and the carry into the next exponent included. Where k is 2^(m+1)
// a p twice as large would have given the same code: p may be taken from any
// number that is x but for a few units in its last place. The constant that is
// left of the two exponents' difference is even and stands in the mantissa of
// the 2^(23-m) that p is multiplied by, which costs nothing.
//
//===----------------------------------------------------------------------===//

#include "compiler/lower/cpu/Emitter.h"

#include <bit>

using namespace quern;
using namespace quern::cpugen;
using llvm::Value;

namespace {
/// A format whose exponent is narrower than f32's.
struct Format {
  unsigned width;    ///< Bits in all.
  unsigned mantissa; ///< Mantissa bits.
  int bias;
  int64_t maxFinite; ///< Bits of the largest finite number.
  int64_t infinity;  ///< Bits of infinity, 0 where there is none.
  int64_t nan;
  /// The smallest subnormal number.
  float smallest() const {
    return std::bit_cast<float>(
        static_cast<uint32_t>(127 + 1 - bias - static_cast<int>(mantissa))
        << 23);
  }
  /// f32 bits of the smallest normal number.
  int64_t smallestNormal() const { return int64_t(127 + 1 - bias) << 23; }
  int64_t rebias() const { return int64_t(127 - bias) << 23; }
  unsigned shift() const { return 23 - mantissa; }
  /// f32 bits of the largest finite number.
  int64_t largest() const { return (maxFinite << shift()) + rebias(); }
};
constexpr Format f16Format = {16, 10, 15, 0x7bff, 0x7c00, 0x7e00};
constexpr Format e4m3Format = {8, 3, 7, 0x7e, 0, 0x7f};
constexpr Format e5m2Format = {8, 2, 15, 0x7b, 0x7c, 0x7f};
} // namespace

/// `code` is the stored integer widened to i32.
static Value *decodeFormat(Emitter &e, Value *code, const Format &format) {
  llvm::IRBuilder<> &b = e.b;
  auto c = [&](int64_t value) { return e.i32(value, code); };
  int64_t signBit = int64_t(1) << (format.width - 1);
  Value *sign =
      b.CreateShl(b.CreateAnd(code, c(signBit)), c(32 - format.width));
  Value *magnitude = b.CreateAnd(code, c(signBit - 1));
  Value *normal = b.CreateAdd(b.CreateShl(magnitude, c(format.shift())),
                              c(format.rebias()));
  Value *asFloat = b.CreateSIToFP(magnitude, e.typeLike(code, b.getFloatTy()));
  Value *subnormal =
      e.bits(b.CreateFMul(asFloat, e.f32(format.smallest(), code)));
  Value *result = b.CreateSelect(
      b.CreateICmpULT(magnitude, c(int64_t(1) << format.mantissa)), subnormal,
      normal);
  if (format.infinity) {
    // Infinity and NaN keep their mantissa under an all-ones exponent.
    Value *special =
        b.CreateOr(b.CreateShl(magnitude, c(format.shift())), c(0x7f800000));
    result = b.CreateSelect(b.CreateICmpUGE(magnitude, c(format.infinity)),
                            special, result);
  } else {
    result = b.CreateSelect(b.CreateICmpEQ(magnitude, c(format.nan)),
                            c(0x7fc00000), result);
  }
  return e.float_(b.CreateOr(result, sign));
}

/// The code of f16 in an i32.
static Value *encodeFormat(Emitter &e, Value *x, const Format &format) {
  llvm::IRBuilder<> &b = e.b;
  Value *all = e.bits(x);
  auto c = [&](int64_t value) { return e.i32(value, all); };
  Value *a = b.CreateAnd(all, c(0x7fffffff));
  Value *sign = b.CreateAnd(b.CreateLShr(all, c(32 - format.width)),
                            c(int64_t(1) << (format.width - 1)));
  // Half of the dropped bits, and one more where the kept part is odd: ties
  // go to even, and a carry runs into the exponent as it should.
  int64_t half = (int64_t(1) << (format.shift() - 1)) - 1;
  Value *odd = b.CreateAnd(b.CreateLShr(a, c(format.shift())), c(1));
  Value *rounded = b.CreateAdd(b.CreateAdd(a, c(half)), odd);
  Value *normal =
      b.CreateLShr(b.CreateSub(rounded, c(format.rebias())), c(format.shift()));
  float magic = std::ldexp(format.smallest(), 23);
  Value *sum = b.CreateFAdd(e.float_(a), e.f32(magic, all));
  Value *subnormal = b.CreateSub(e.bits(sum), c(std::bit_cast<int32_t>(magic)));
  Value *code = b.CreateSelect(b.CreateICmpULT(a, c(format.smallestNormal())),
                               subnormal, normal);
  code = b.CreateSelect(b.CreateICmpUGT(code, c(format.infinity)),
                        c(format.infinity), code);
  code = b.CreateSelect(b.CreateICmpUGT(a, c(0x7f800000)), c(format.nan), code);
  return b.CreateOr(code, sign);
}

/// The code of an 8-bit format in the low bits of an i32. `near` is x but for a
/// few units in the last place, and has the sign that the code gets. A number
/// that is `bounded` is finite and rounds to a finite code.
static Value *encodeByte(Emitter &e, Value *x, Value *near,
                         const Format &format, bool bounded) {
  llvm::IRBuilder<> &b = e.b;
  Value *all = e.bits(near);
  auto c = [&](int64_t value) { return e.i32(value, all); };
  Value *magnitude = b.CreateAnd(e.bits(x), c(0x7fffffff));
  Value *a = magnitude;
  if (!bounded)
    a = b.CreateBinaryIntrinsic(llvm::Intrinsic::umin, a, c(format.largest()));
  Value *p = b.CreateAnd(bounded ? all : a, c(0x7f800000));
  p = b.CreateBinaryIntrinsic(llvm::Intrinsic::umax, p,
                              c(format.smallestNormal()));
  // What the exponent of the smallest normal number adds to p's bits below.
  int64_t rest = -(format.smallestNormal() >> format.shift()) & 0xff;
  auto unit = std::bit_cast<float>(
      static_cast<uint32_t>(((127 + format.shift()) << 23) + rest));
  // p is a power of two: the product is exact, fused or not.
  Value *power = e.float_(p), *number = e.float_(a);
  Value *sum = e.target.hasFma()
                   ? e.fma(power, e.f32(unit, x), number)
                   : b.CreateFAdd(b.CreateFMul(power, e.f32(unit, x)), number);
  Value *code = b.CreateAdd(e.bits(sum), b.CreateLShr(p, c(format.shift())));
  if (!bounded)
    code = b.CreateSelect(b.CreateICmpUGT(magnitude, c(0x7f800000)),
                          c(format.nan), code);
  Value *sign = b.CreateAnd(b.CreateLShr(all, c(24)), c(0x80));
  return b.CreateOr(code, sign);
}

static const Format &byteFormat(DType type) {
  return type == DType::F8E4M3 ? e4m3Format : e5m2Format;
}

Value *Emitter::encodeBounded(Value *x, Value *near, DType type) {
  return b.CreateTrunc(encodeByte(*this, x, near, byteFormat(type), true),
                       typeLike(x, b.getInt8Ty()));
}

Value *Emitter::decode(Value *stored, DType type) {
  llvm::Type *i32Type = typeLike(stored, b.getInt32Ty());
  switch (type) {
  case DType::F32:
    return stored;
  case DType::BF16:
    return float_(b.CreateShl(b.CreateZExt(stored, i32Type), i32(16, stored)));
  case DType::F16:
    if (target.convertsHalf())
      return b.CreateFPExt(
          b.CreateBitCast(stored, typeLike(stored, b.getHalfTy())),
          typeLike(stored, b.getFloatTy()));
    return decodeFormat(*this, b.CreateZExt(stored, i32Type), f16Format);
  case DType::F8E4M3:
    return decodeFormat(*this, b.CreateZExt(stored, i32Type), e4m3Format);
  case DType::F8E5M2:
    return decodeFormat(*this, b.CreateZExt(stored, i32Type), e5m2Format);
  default:
    return unsupported("only floating-point types decode to f32",
                       typeLike(stored, b.getFloatTy()));
  }
}

Value *Emitter::encode(Value *x, DType type) {
  llvm::Type *i16Type = typeLike(x, b.getInt16Ty());
  llvm::Type *i8Type = typeLike(x, b.getInt8Ty());
  switch (type) {
  case DType::F32:
    return x;
  case DType::BF16: {
    Value *all = bits(x);
    Value *odd = b.CreateAnd(b.CreateLShr(all, i32(16, x)), i32(1, x));
    Value *rounded = b.CreateLShr(
        b.CreateAdd(b.CreateAdd(all, i32(0x7fff, x)), odd), i32(16, x));
    Value *code =
        b.CreateSelect(b.CreateFCmpUNO(x, x), i32(0x7fc0, x), rounded);
    return b.CreateTrunc(code, i16Type);
  }
  case DType::F16:
    if (target.convertsHalf())
      return b.CreateBitCast(b.CreateFPTrunc(x, typeLike(x, b.getHalfTy())),
                             i16Type);
    return b.CreateTrunc(encodeFormat(*this, x, f16Format), i16Type);
  case DType::F8E4M3:
  case DType::F8E5M2:
    return b.CreateTrunc(encodeByte(*this, x, x, byteFormat(type), false),
                         i8Type);
  default:
    return unsupported("f32 encodes to floating-point types only", i8Type);
  }
}
