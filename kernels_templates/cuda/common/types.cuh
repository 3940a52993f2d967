//===- types.cuh - Element types -----------------------------------*- CUDA *-
// CUDA -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// The words every Quern kernel is written in: short names of the machine's
// integers, the two 16-bit float types as bare bits, and conversions.
//
// No CUDA or C++ standard header is included, here or anywhere in these
// templates: one of them can cost more compile time than the whole kernel.
//
// Conversions to f32 are exact. Conversions from f32 round half to even, go to
// infinity on overflow, keep subnormals, and give one quiet NaN for any NaN.
// Integer arithmetic that may wrap goes through `wrap*`: signed overflow is
// undefined in C++, and two's complement in Quern.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_CUDA_COMMON_TYPES_CUH
#define QUERN_CUDA_COMMON_TYPES_CUH

#define QN_DEVICE static __device__ __forceinline__

namespace quern {

using s8 = signed char;
using u8 = unsigned char;
using u16 = unsigned short;
using s32 = int;
using u32 = unsigned int;
using s64 = long long;
using u64 = unsigned long long;

/// IEEE binary16 and bfloat16 as stored; arithmetic is done in f32.
struct f16 {
  u16 bits;
};
struct bf16 {
  u16 bits;
};

QN_DEVICE u32 bitsOf(float x) { return __float_as_uint(x); }
QN_DEVICE float floatOf(u32 bits) { return __uint_as_float(bits); }

QN_DEVICE float toF32(f16 x) {
  float y;
  asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits));
  return y;
}
QN_DEVICE float toF32(bf16 x) { return floatOf((u32)x.bits << 16); }

QN_DEVICE f16 toF16(float x) {
  f16 y;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
  return y;
}
QN_DEVICE bf16 toBF16(float x) {
  bf16 y;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
  return y;
}

QN_DEVICE s32 wrapAdd(s32 a, s32 b) { return (s32)((u32)a + (u32)b); }
QN_DEVICE s32 wrapSub(s32 a, s32 b) { return (s32)((u32)a - (u32)b); }
QN_DEVICE s32 wrapMul(s32 a, s32 b) { return (s32)((u32)a * (u32)b); }

/// Rounds a quotient of nonnegative numbers up.
template <class Int> QN_DEVICE Int ceilDiv(Int a, Int b) {
  return a / b + (a % b != 0);
}

/// Quotient and remainder rounded down, for a positive divisor.
template <class Int> QN_DEVICE Int floorDiv(Int a, Int b) {
  return a / b - (a % b < 0);
}
template <class Int> QN_DEVICE Int floorMod(Int a, Int b) {
  return a - floorDiv(a, b) * b;
}

template <class Int> QN_DEVICE Int smaller(Int a, Int b) {
  return a < b ? a : b;
}
template <class Int> QN_DEVICE Int larger(Int a, Int b) {
  return a > b ? a : b;
}

} // namespace quern

#endif // QUERN_CUDA_COMMON_TYPES_CUH
