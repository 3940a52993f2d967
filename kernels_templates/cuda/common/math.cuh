//===- math.cuh - Strict f32 functions -------------------------*- CUDA -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// docs/numerics.md in CUDA: the same operation sequence as every other target,
// hence the same bits. Units that include this are compiled with
//
//     --fmad=false --prec-div=true --prec-sqrt=true --ftz=false
//
// so `+ - * /` are single IEEE operations rounded to nearest (PTX `.rn`), and
// a fused multiply-add stands only where `__fmaf_rn` is written.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_CUDA_COMMON_MATH_CUH
#define QUERN_CUDA_COMMON_MATH_CUH

#include "common/types.cuh"

namespace quern {

/// NaN when either operand is NaN; -0 is below +0.
QN_DEVICE float strictMax(float a, float b) {
  float y;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(y) : "f"(a), "f"(b));
  return y;
}
QN_DEVICE float strictMin(float a, float b) {
  float y;
  asm("min.NaN.f32 %0, %1, %2;" : "=f"(y) : "f"(a), "f"(b));
  return y;
}

/// To the nearest integer, half to even.
QN_DEVICE float roundEven(float x) {
  float y;
  asm("cvt.rni.f32.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

/// Cody-Waite reduction and the polynomial of Cephes' expf.
QN_DEVICE float strictExp(float x) {
  float xc = x < -104.0f ? -104.0f : x;
  xc = xc > 89.0f ? 89.0f : xc;
  xc = x == x ? xc : 0.0f;
  const float n = roundEven(xc * 0x1.715476p+0f);
  float r = __fmaf_rn(n, -0x1.62e4p-1f, xc);
  r = __fmaf_rn(n, -0x1.7f7d1cp-20f, r);
  float p = 1.9875691500e-4f;
  p = __fmaf_rn(p, r, 1.3981999507e-3f);
  p = __fmaf_rn(p, r, 8.3334519073e-3f);
  p = __fmaf_rn(p, r, 4.1665795894e-2f);
  p = __fmaf_rn(p, r, 1.6666665459e-1f);
  p = __fmaf_rn(p, r, 5.0000001201e-1f);
  const float z = r * r;
  float y = __fmaf_rn(p, z, r);
  y = y + 1.0f;
  const s32 i = (s32)n;
  const s32 a = i >> 1;
  const s32 b = i - a;
  y = (y * floatOf((u32)(a + 127) << 23)) * floatOf((u32)(b + 127) << 23);
  return x == x ? y : x;
}

/// Cephes' tanhf.
QN_DEVICE float strictTanh(float x) {
  const float a = floatOf(bitsOf(x) & 0x7fffffffu);
  const float z = x * x;
  float p = -5.70498872745e-3f;
  p = __fmaf_rn(p, z, 2.06390887954e-2f);
  p = __fmaf_rn(p, z, -5.37397155531e-2f);
  p = __fmaf_rn(p, z, 1.33314422036e-1f);
  p = __fmaf_rn(p, z, -3.33332819422e-1f);
  const float small = __fmaf_rn(p * z, x, x);
  const float s = strictExp(a + a);
  const float magnitude = 1.0f - 2.0f / (s + 1.0f);
  const float big =
      floatOf((bitsOf(magnitude) & 0x7fffffffu) | (bitsOf(x) & 0x80000000u));
  return a < 0.625f ? small : big;
}

/// x P(x^2) / Q(x^2) on [-4, 4].
QN_DEVICE float strictErf(float x) {
  float xc = x < -4.0f ? -4.0f : x;
  xc = xc > 4.0f ? 4.0f : xc;
  const float z = xc * xc;
  float p = -2.72614225801306e-10f;
  p = __fmaf_rn(p, z, 2.77068142495902e-08f);
  p = __fmaf_rn(p, z, -2.10102402082508e-06f);
  p = __fmaf_rn(p, z, -5.69250639462346e-05f);
  p = __fmaf_rn(p, z, -7.34990630326855e-04f);
  p = __fmaf_rn(p, z, -2.95459980854025e-03f);
  p = __fmaf_rn(p, z, -1.60960333262415e-02f);
  p = xc * p;
  float q = -1.45660718464996e-05f;
  q = __fmaf_rn(q, z, -2.13374055278905e-04f);
  q = __fmaf_rn(q, z, -1.68282697438203e-03f);
  q = __fmaf_rn(q, z, -7.37332916720468e-03f);
  q = __fmaf_rn(q, z, -1.42647390514189e-02f);
  float r = p / q;
  r = r > 1.0f ? 1.0f : r;
  r = r < -1.0f ? -1.0f : r;
  return r;
}

} // namespace quern

#endif // QUERN_CUDA_COMMON_MATH_CUH
