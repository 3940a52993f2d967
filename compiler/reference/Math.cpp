//===- Math.cpp - The strict transcendental functions ---------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/reference/Math.h"

#include <bit>
#include <cmath>
#include <cstdint>

namespace quern::reference {

static float fma32(float a, float b, float c) { return std::fma(a, b, c); }

static float powerOfTwo(int32_t exponent) {
  return std::bit_cast<float>(static_cast<uint32_t>(exponent + 127) << 23);
}

float strictExp(float x) {
  float xc = x < -104.0f ? -104.0f : x;
  xc = xc > 89.0f ? 89.0f : xc;
  xc = x == x ? xc : 0.0f;
  float n = std::nearbyint(xc * 0x1.715476p+0f);
  float r = fma32(n, -0x1.62e4p-1f, xc);
  r = fma32(n, -0x1.7f7d1cp-20f, r);
  float p = 1.9875691500e-4f;
  p = fma32(p, r, 1.3981999507e-3f);
  p = fma32(p, r, 8.3334519073e-3f);
  p = fma32(p, r, 4.1665795894e-2f);
  p = fma32(p, r, 1.6666665459e-1f);
  p = fma32(p, r, 5.0000001201e-1f);
  float z = r * r;
  float y = fma32(p, z, r);
  y = y + 1.0f;
  // The power is applied in two halves: 2^n itself may not be a number.
  int32_t i = static_cast<int32_t>(n);
  int32_t a = i >> 1;
  int32_t b = i - a;
  y = (y * powerOfTwo(a)) * powerOfTwo(b);
  return x == x ? y : x;
}

float strictTanh(float x) {
  float a = std::fabs(x);
  float z = x * x;
  float p = -5.70498872745e-3f;
  p = fma32(p, z, 2.06390887954e-2f);
  p = fma32(p, z, -5.37397155531e-2f);
  p = fma32(p, z, 1.33314422036e-1f);
  p = fma32(p, z, -3.33332819422e-1f);
  float small = fma32(p * z, x, x);
  float s = strictExp(a + a);
  float big = std::copysign(1.0f - 2.0f / (s + 1.0f), x);
  return a < 0.625f ? small : big;
}

float strictErf(float x) {
  float xc = x < -4.0f ? -4.0f : x;
  xc = xc > 4.0f ? 4.0f : xc;
  float z = xc * xc;
  float p = -2.72614225801306e-10f;
  p = fma32(p, z, 2.77068142495902e-08f);
  p = fma32(p, z, -2.10102402082508e-06f);
  p = fma32(p, z, -5.69250639462346e-05f);
  p = fma32(p, z, -7.34990630326855e-04f);
  p = fma32(p, z, -2.95459980854025e-03f);
  p = fma32(p, z, -1.60960333262415e-02f);
  p = xc * p;
  float q = -1.45660718464996e-05f;
  q = fma32(q, z, -2.13374055278905e-04f);
  q = fma32(q, z, -1.68282697438203e-03f);
  q = fma32(q, z, -7.37332916720468e-03f);
  q = fma32(q, z, -1.42647390514189e-02f);
  float r = p / q;
  r = r > 1.0f ? 1.0f : r;
  r = r < -1.0f ? -1.0f : r;
  return r;
}

template <typename T> static T orderedMax(T x, T y) {
  if (x != x || y != y)
    return x + y; // A NaN, whichever it was.
  if (x == y)
    return std::signbit(x) ? y : x;
  return x > y ? x : y;
}

template <typename T> static T orderedMin(T x, T y) {
  if (x != x || y != y)
    return x + y;
  if (x == y)
    return std::signbit(x) ? x : y;
  return x < y ? x : y;
}

float strictMax(float x, float y) { return orderedMax(x, y); }
float strictMin(float x, float y) { return orderedMin(x, y); }
double strictMax(double x, double y) { return orderedMax(x, y); }
double strictMin(double x, double y) { return orderedMin(x, y); }

} // namespace quern::reference
