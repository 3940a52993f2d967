//===- types.cuh - Element types -------------------------------*- CUDA -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// The words every Quern kernel is written in: short names of the machine's
// integers, the small float types as bare bits, and conversions.
//
// No CUDA or C++ standard header is included, here or anywhere in these
// templates: one of them can cost more compile time than the whole kernel.
//
// Conversions to f32 are exact. Conversions from f32 round half to even, keep
// subnormals, and give one quiet NaN for any NaN; overflow goes to infinity in
// f16 and bf16 and to the largest finite number in the 8-bit types, infinities
// included. From sm_89 on the machine converts 8-bit floats; before, the same
// results are made of integers.
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

/// The 8-bit floats of OCP: e4m3 has no infinity and one NaN of each sign.
struct e4m3 {
  u8 bits;
};
struct e5m2 {
  u8 bits;
};

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 890
#define QN_NATIVE_F8 1
#else
#define QN_NATIVE_F8 0
#endif

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

#if QN_NATIVE_F8
QN_DEVICE float toF32(e4m3 x) {
  u32 pair;
  asm("cvt.rn.f16x2.e4m3x2 %0, %1;" : "=r"(pair) : "h"((u16)x.bits));
  return toF32(f16{(u16)pair});
}
QN_DEVICE e4m3 toE4M3(float x) {
  u16 pair;
  asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;"
      : "=h"(pair)
      : "f"(0.0f), "f"(x));
  return e4m3{(u8)pair};
}
QN_DEVICE e5m2 toE5M2(float x) {
  u16 pair;
  asm("cvt.rn.satfinite.e5m2x2.f32 %0, %1, %2;"
      : "=h"(pair)
      : "f"(0.0f), "f"(x));
  return e5m2{(u8)pair};
}
#else
QN_DEVICE float toF32(e4m3 x) {
  // The exponents' biases are 120 apart; the product is exact, and makes
  // subnormals normal.
  const u32 magnitude = x.bits & 0x7fu;
  const float y = floatOf(magnitude << 20) * 0x1p+120f;
  const u32 bits = magnitude == 0x7fu ? 0x7fc00000u : bitsOf(y);
  return floatOf(bits | (u32)(x.bits & 0x80u) << 24);
}
/// Rounds normal numbers by adding just under half of the dropped bits, and
/// one more where the kept part is odd; subnormal ones by adding a power of two
/// whose last place is the smallest of them.
template <int Mantissa, int Bias, u32 Largest> QN_DEVICE u8 encodeF8(float x) {
  constexpr int shift = 23 - Mantissa;
  constexpr u32 magic = (u32)(127 + 24 - Bias - Mantissa) << 23;
  const u32 a = bitsOf(x) & 0x7fffffffu;
  const u32 odd = a >> shift & 1u;
  const u32 normal =
      (a + ((1u << (shift - 1)) - 1u) + odd - ((u32)(127 - Bias) << 23)) >>
      shift;
  const u32 subnormal = bitsOf(floatOf(a) + floatOf(magic)) - magic;
  u32 code = a < (u32)(128 - Bias) << 23 ? subnormal : normal;
  code = code > Largest ? Largest : code;
  code = a > 0x7f800000u ? 0x7fu : code;
  return (u8)(code | (bitsOf(x) >> 24 & 0x80u));
}
QN_DEVICE e4m3 toE4M3(float x) { return e4m3{encodeF8<3, 7, 0x7e>(x)}; }
QN_DEVICE e5m2 toE5M2(float x) { return e5m2{encodeF8<2, 15, 0x7b>(x)}; }
#endif
/// The first byte of an f16 is an e5m2.
QN_DEVICE float toF32(e5m2 x) { return toF32(f16{(u16)(x.bits << 8)}); }

/// An element as it lies in memory.
QN_DEVICE u32 storedBits(s8 x) { return (u8)x; }
QN_DEVICE u32 storedBits(u8 x) { return x; }
QN_DEVICE u32 storedBits(e4m3 x) { return x.bits; }
QN_DEVICE u32 storedBits(e5m2 x) { return x.bits; }
QN_DEVICE u32 storedBits(f16 x) { return x.bits; }
QN_DEVICE u32 storedBits(bf16 x) { return x.bits; }
QN_DEVICE u32 storedBits(float x) { return bitsOf(x); }

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
