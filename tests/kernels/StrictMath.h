//===- StrictMath.h - docs/numerics.md for tests ----------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Plain C++ of the strict functions, written from the document, for comparing
// kernels bit by bit. Compiled without contraction.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_TESTS_KERNELS_STRICTMATH_H
#define QUERN_TESTS_KERNELS_STRICTMATH_H

#include <bit>
#include <cmath>
#include <cstdint>
#include <vector>

namespace quern::test {

inline float strictExp(float x) {
  float xc = x < -104 ? -104 : x;
  xc = xc > 89 ? 89 : xc;
  xc = x == x ? xc : 0;
  float n = std::nearbyint(xc * 0x1.715476p+0f);
  float r = std::fma(n, -0x1.62e4p-1f, xc);
  r = std::fma(n, -0x1.7f7d1cp-20f, r);
  float p = 1.9875691500e-4f;
  for (float c : {1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f,
                  1.6666665459e-1f, 5.0000001201e-1f})
    p = std::fma(p, r, c);
  float z = r * r, y = std::fma(p, z, r);
  y = y + 1;
  int32_t i = static_cast<int32_t>(n), a = i >> 1, b = i - a;
  y = (y * std::bit_cast<float>((a + 127) << 23)) *
      std::bit_cast<float>((b + 127) << 23);
  return x == x ? y : x;
}

inline float strictTanh(float x) {
  float a = std::fabs(x), z = x * x;
  float p = -5.70498872745e-3f;
  for (float c : {2.06390887954e-2f, -5.37397155531e-2f, 1.33314422036e-1f,
                  -3.33332819422e-1f})
    p = std::fma(p, z, c);
  float small = std::fma(p * z, x, x);
  float s = strictExp(a + a), big = std::copysign(1 - 2 / (s + 1), x);
  return a < 0.625f ? small : big;
}

inline float strictErf(float x) {
  float xc = x < -4 ? -4 : x;
  xc = xc > 4 ? 4 : xc;
  float z = xc * xc, p = -2.72614225801306e-10f;
  for (float c :
       {2.77068142495902e-08f, -2.10102402082508e-06f, -5.69250639462346e-05f,
        -7.34990630326855e-04f, -2.95459980854025e-03f, -1.60960333262415e-02f})
    p = std::fma(p, z, c);
  p = xc * p;
  float q = -1.45660718464996e-05f;
  for (float c : {-2.13374055278905e-04f, -1.68282697438203e-03f,
                  -7.37332916720468e-03f, -1.42647390514189e-02f})
    q = std::fma(q, z, c);
  float r = p / q;
  r = r > 1 ? 1 : r;
  return r < -1 ? -1 : r;
}

/// The written order of f32 sums.
inline float orderedSum(const std::vector<float> &values) {
  std::vector<float> p(256, 0.0f);
  for (size_t i = 0; i < values.size(); ++i)
    p[i % 256] += values[i];
  for (size_t half = 128; half > 0; half /= 2)
    for (size_t t = 0; t < half; ++t)
      p[t] += p[t + half];
  return p[0];
}

/// Equal bits, any NaN being one NaN.
inline bool sameBits(float a, float b) {
  return (a != a && b != b) ||
         std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b);
}

inline float fromBits(uint16_t bits, bool isBF16) {
  if (isBF16)
    return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
  return static_cast<float>(std::bit_cast<_Float16>(bits));
}
inline uint16_t toHalf(float x, bool isBF16) {
  if (!isBF16)
    return std::bit_cast<uint16_t>(static_cast<_Float16>(x));
  uint32_t bits = std::bit_cast<uint32_t>(x);
  if (x != x)
    return 0x7fff;
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/// The value of an 8-bit float, by its definition.
inline float fromF8(uint8_t code, bool isE5M2) {
  int mantissaBits = isE5M2 ? 2 : 3, bias = isE5M2 ? 15 : 7;
  int exponent = (code & 0x7f) >> mantissaBits;
  int mantissa = code & ((1 << mantissaBits) - 1);
  float sign = code & 0x80 ? -1.0f : 1.0f;
  if (isE5M2 ? exponent == 31 : (code & 0x7f) == 0x7f)
    return isE5M2 && mantissa == 0 ? sign * INFINITY : NAN;
  if (exponent == 0)
    return sign *
           std::ldexp(static_cast<float>(mantissa), 1 - bias - mantissaBits);
  return sign * std::ldexp(static_cast<float>(mantissa + (1 << mantissaBits)),
                           exponent - bias - mantissaBits);
}

/// The nearest 8-bit float, half to even, saturating: found by search among
/// all of them, so that nothing is shared with what it tests.
inline uint8_t toF8(float x, bool isE5M2) {
  if (x != x)
    return 0x7f;
  int largest = isE5M2 ? 0x7b : 0x7e, best = 0;
  double a = std::fabs(static_cast<double>(x));
  for (int code = 0; code <= largest; ++code) {
    double distance = std::fabs(fromF8(code, isE5M2) - a);
    double least = std::fabs(fromF8(best, isE5M2) - a);
    if (distance < least || (distance == least && code % 2 == 0))
      best = code;
  }
  if (a >= fromF8(static_cast<uint8_t>(largest), isE5M2))
    best = largest;
  return static_cast<uint8_t>(best | (std::signbit(x) ? 0x80 : 0));
}

} // namespace quern::test

#endif // QUERN_TESTS_KERNELS_STRICTMATH_H
