//===- ConvertInstructionTest.cpp - Conversions against the host ----------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "tests/sim/InstructionRow.h"

#include <gtest/gtest.h>
#include <string>

using namespace quern;
using namespace quern::simtest;

namespace {

TEST(Instruction, Conversions) {
  auto fp8 = [](U code, int mantissaBits, int bias, bool hasInfinity) {
    int exponentBits = 7 - mantissaBits;
    int e = int(code >> mantissaBits) & ((1 << exponentBits) - 1);
    int m = int(code) & ((1 << mantissaBits) - 1);
    double v = e ? std::ldexp(1 + std::ldexp(m, -mantissaBits), e - bias)
                 : std::ldexp(m, 1 - bias - mantissaBits);
    if (hasInfinity && e == (1 << exponentBits) - 1)
      v = m ? NAN : HUGE_VAL;
    if (!hasInfinity && (code & 0x7f) == 0x7f)
      v = NAN;
    return code & 0x80 ? -v : v;
  };
  // The nearest code by search over all of them.
  auto nearest = [=](double x, int mantissaBits, int bias, bool hasInfinity,
                     U maxCode) -> U {
    if (std::isnan(x))
      return 0x7f;
    U sign = std::signbit(x) ? 0x80 : 0, best = 0;
    double distance = HUGE_VAL;
    for (U code = 0; code <= maxCode; ++code) {
      double d = std::fabs(std::min(std::fabs(x), 1e6) -
                           fp8(code, mantissaBits, bias, hasInfinity));
      if (d < distance || (d == distance && !(code & 1) && std::isfinite(d))) {
        best = code;
        distance = d;
      }
    }
    return sign | (std::isinf(x) ? maxCode : best);
  };
  const Row rows[] = {
      {"cvt.u32.u16 d, a;", "rh", [](U a, U, U) { return a; }},
      {"cvt.s32.s16 d, a;", "rh", [](U a, U, U) { return U(int16_t(a)); }},
      {"cvt.s64.s32 d, a;", "lr", [](U a, U, U) { return U(int32_t(a)); }},
      {"cvt.u64.u32 d, a;", "lr", [](U a, U, U) { return a; }},
      {"cvt.u32.u64 d, a;", "rl", [](U a, U, U) { return a; }},
      {"cvt.s32.s8 d, a;", "rr", [](U a, U, U) { return U(int8_t(a)); }},
      {"cvt.s16.s8 d, a;", "hh", [](U a, U, U) { return U(int8_t(a)); }},
      {"cvt.u32.u8 d, a;", "rr", [](U a, U, U) { return a & 255; }},
      {"cvt.u8.u32 d, a;", "rr", [](U a, U, U) { return a & 255; }},
      {"cvt.sat.s8.s32 d, a;", "rr",
       [](U a, U, U) { return U(std::clamp(int32_t(a), -128, 127)); }},
      {"cvt.sat.u8.s32 d, a;", "rr",
       [](U a, U, U) { return U(std::clamp(int32_t(a), 0, 255)); }},
      {"cvt.rn.f32.s32 d, a;", "fr",
       [](U a, U, U) { return F(float(int32_t(a))); }},
      {"cvt.rn.f32.u32 d, a;", "fr",
       [](U a, U, U) { return F(float(uint32_t(a))); }},
      {"cvt.rn.f32.u64 d, a;", "fl", [](U a, U, U) { return F(float(a)); }},
      {"cvt.rn.f32.s64 d, a;", "fl",
       [](U a, U, U) { return F(float(int64_t(a))); }},
      {"cvt.rn.f32.u8 d, a;", "fh",
       [](U a, U, U) { return F(float(a & 255)); }},
      {"cvt.rz.f32.s32 d, a;", "fr",
       [](U a, U, U) {
         volatile int32_t x = int32_t(a);
         return F(rounded(FE_TOWARDZERO, [&] { return float(x); }));
       }},
      {"cvt.rp.f32.u32 d, a;", "fr",
       [](U a, U, U) {
         volatile uint32_t x = uint32_t(a);
         return F(rounded(FE_UPWARD, [&] { return float(x); }));
       }},
      {"cvt.rn.f64.s64 d, a;", "el",
       [](U a, U, U) { return D(double(int64_t(a))); }},
      {"cvt.rn.f16.s32 d, a;", "hr",
       [](U a, U, U) { return H(float(double(int32_t(a)))); }, "f16"},
      {"cvt.rni.s32.f32 d, a;", "rf",
       [](U a, U, U) { return U(toInteger<int32_t>(std::nearbyint(F(a)))); }},
      {"cvt.rzi.s32.f32 d, a;", "rf",
       [](U a, U, U) { return U(toInteger<int32_t>(std::trunc(F(a)))); }},
      {"cvt.rmi.s32.f32 d, a;", "rf",
       [](U a, U, U) { return U(toInteger<int32_t>(std::floor(F(a)))); }},
      {"cvt.rpi.u32.f32 d, a;", "rf",
       [](U a, U, U) { return U(toInteger<uint32_t>(std::ceil(F(a)))); }},
      {"cvt.rni.s8.f32 d, a;", "rf",
       [](U a, U, U) { return U(toInteger<int8_t>(std::nearbyint(F(a)))); }},
      {"cvt.rni.s64.f32 d, a;", "lf",
       [](U a, U, U) { return U(toInteger<int64_t>(std::nearbyint(F(a)))); }},
      {"cvt.rzi.u64.f64 d, a;", "le",
       [](U a, U, U) { return U(toInteger<uint64_t>(std::trunc(D(a)))); }},
      {"cvt.rzi.u64.f32 d, a;", "lf",
       [](U a, U, U) { return U(toInteger<uint64_t>(std::trunc(F(a)))); }},
      {"cvt.rzi.s64.f16 d, a;", "lh",
       [](U a, U, U) { return U(toInteger<int64_t>(std::trunc(H(a)))); }},
      {"cvt.rzi.s64.f64 d, a;", "le",
       [](U a, U, U) { return U(toInteger<int64_t>(std::trunc(D(a)))); }},
      {"cvt.rzi.s32.f64 d, a;", "re",
       [](U a, U, U) { return U(toInteger<int32_t>(std::trunc(D(a)), true)); }},
      {"cvt.rzi.u32.f64 d, a;", "re",
       [](U a, U, U) {
         return U(toInteger<uint32_t>(std::trunc(D(a)), true));
       }},
      {"cvt.rzi.u16.f64 d, a;", "he",
       [](U a, U, U) {
         return U(toInteger<uint16_t>(std::trunc(D(a)), true));
       }},
      {"cvt.rni.f32.f32 d, a;", "ff",
       [](U a, U, U) { return F(std::nearbyint(F(a))); }, "f32"},
      {"cvt.rmi.ftz.f32.f32 d, a;", "ff",
       [](U a, U, U) { return F(std::floor(flushed(F(a)))); }, "f32"},
      {"cvt.sat.f32.f32 d, a;", "ff",
       [](U a, U, U) { return F(F(a) > 0 ? std::min(F(a), 1.0f) : 0.0f); }},
      {"cvt.f32.f16 d, a;", "fh", [](U a, U, U) { return F(H(a)); }, "f32"},
      {"cvt.rn.f16.f32 d, a;", "hf", [](U a, U, U) { return H(F(a)); }, "f16"},
      {"cvt.f32.bf16 d, a;", "fh", [](U a, U, U) { return F(B(a)); }, "f32"},
      {"cvt.rn.bf16.f32 d, a;", "hf", [](U a, U, U) { return B(double(F(a))); },
       "bf16"},
      {"cvt.f64.f32 d, a;", "ef", [](U a, U, U) { return D(double(F(a))); },
       "f64"},
      {"cvt.rn.f32.f64 d, a;", "fe", [](U a, U, U) { return F(float(D(a))); },
       "f32"},
      {"cvt.rz.f32.f64 d, a;", "fe",
       [](U a, U, U) {
         volatile double x = D(a);
         return F(rounded(FE_TOWARDZERO, [&] { return float(x); }));
       },
       "f32"},
      {"cvt.rn.f16x2.f32 d, a, b;", "rff",
       [](U a, U b, U) { return H(F(a)) << 16 | H(F(b)); }, "f16x2"},
      {"cvt.rn.bf16x2.f32 d, a, b;", "rff",
       [](U a, U b, U) { return B(double(F(a))) << 16 | B(double(F(b))); },
       "bf16x2"},
      {"cvt.rn.satfinite.e4m3x2.f32 d, a, b;", "hff",
       [=](U a, U b, U) {
         return nearest(F(a), 3, 7, false, 0x7e) << 8 |
                nearest(F(b), 3, 7, false, 0x7e);
       }},
      {"cvt.rn.satfinite.e5m2x2.f32 d, a, b;", "hff",
       [=](U a, U b, U) {
         return nearest(F(a), 2, 15, true, 0x7b) << 8 |
                nearest(F(b), 2, 15, true, 0x7b);
       }},
      {"cvt.rn.f16x2.e4m3x2 d, a;", "rh",
       [=](U a, U, U) {
         return H(float(fp8(a >> 8 & 255, 3, 7, false))) << 16 |
                H(float(fp8(a & 255, 3, 7, false)));
       },
       "f16x2"},
      {"cvt.rn.f16x2.e5m2x2 d, a;", "rh",
       [=](U a, U, U) {
         return H(float(fp8(a >> 8 & 255, 2, 15, true))) << 16 |
                H(float(fp8(a & 255, 2, 15, true)));
       },
       "f16x2"},
      {"cvt.rna.tf32.f32 d, a;", "rr",
       [](U a, U, U) -> U {
         if (std::isnan(F(a)))
           return 0x7fffffff;
         return std::isinf(F(a)) ? a : (a + 0x1000) & ~U(0x1fff);
       }},
  };
  for (const Row &row : rows)
    check(row);
}

} // namespace
