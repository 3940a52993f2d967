//===- FloatCodec.cpp - Small floats to f32 and back ----------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// f16, bf16 and the two f8 formats live in memory as integers. All four decode
// exactly and encode with one rounding, half to even; encoding to f8 saturates
// to the largest finite number (infinities too) and keeps NaN as the format's
// NaN. With F16C the f16 conversions are the machine's; everything else is
// integer arithmetic, because LLVM would call library functions.
//
// The method is the same for each format with e exponent and m mantissa bits.
// Normal numbers shift by 23 - m and rebias. Subnormals decode as the integer
// times the format's smallest number, and encode by adding a power of two whose
// unit in the last place *is* that smallest number: the addition rounds.
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
  bool saturates;

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
};
constexpr Format f16Format = {16, 10, 15, 0x7bff, 0x7c00, 0x7e00, false};
constexpr Format e4m3Format = {8, 3, 7, 0x7e, 0, 0x7f, true};
constexpr Format e5m2Format = {8, 2, 15, 0x7b, 0x7c, 0x7f, true};
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

/// The code in an i32.
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
  int64_t largest = format.saturates ? format.maxFinite : format.infinity;
  code = b.CreateSelect(b.CreateICmpUGT(code, c(largest)), c(largest), code);
  code = b.CreateSelect(b.CreateICmpUGT(a, c(0x7f800000)), c(format.nan), code);
  return b.CreateOr(code, sign);
}

Value *Emitter::decode(Value *stored, DType type) {
  llvm::Type *i32Type = typeLike(stored, b.getInt32Ty());
  switch (type) {
  case DType::F32:
    return stored;
  case DType::BF16:
    return float_(b.CreateShl(b.CreateZExt(stored, i32Type), i32(16, stored)));
  case DType::F16:
    if (target.hasF16C())
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
    if (target.hasF16C())
      return b.CreateBitCast(b.CreateFPTrunc(x, typeLike(x, b.getHalfTy())),
                             i16Type);
    return b.CreateTrunc(encodeFormat(*this, x, f16Format), i16Type);
  case DType::F8E4M3:
    return b.CreateTrunc(encodeFormat(*this, x, e4m3Format), i8Type);
  case DType::F8E5M2:
    return b.CreateTrunc(encodeFormat(*this, x, e5m2Format), i8Type);
  default:
    return unsupported("f32 encodes to floating-point types only", i8Type);
  }
}
