//===- NarrowInstructionTest.cpp - Narrow formats, pairs, newer forms -----===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "tests/sim/InstructionRow.h"
#include "tests/sim/PtxSnippet.h"
#include "tests/sim/SimHarness.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

using namespace quern;
using namespace quern::simtest;
namespace status = quern::cuda::status;

namespace {

//===----------------------------------------------------------------------===//
// Narrow floats, by search among all codes
//===----------------------------------------------------------------------===//

struct Narrow {
  int exponentBits, mantissaBits;
  int codes() const { return 1 << (exponentBits + mantissaBits); }
  double value(unsigned code) const {
    int e = int(code >> mantissaBits) & ((1 << exponentBits) - 1);
    int m = int(code) & ((1 << mantissaBits) - 1);
    int bias = (1 << (exponentBits - 1)) - 1;
    double v = e ? std::ldexp((1 << mantissaBits) + m, e - bias - mantissaBits)
                 : std::ldexp(m, 1 - bias - mantissaBits);
    return int(code) & codes() ? -v : v;
  }
  uint64_t nearest(double x, bool relu) const {
    if (std::isnan(x))
      return uint64_t(codes() - 1);
    if (relu && x < 0)
      x = 0;
    unsigned best = 0;
    x = std::clamp(x, -value(unsigned(codes() - 1)),
                   value(unsigned(codes() - 1)));
    for (unsigned code = 1; code < unsigned(codes()); ++code) {
      double now = std::fabs(std::fabs(x) - value(code));
      double before = std::fabs(std::fabs(x) - value(best));
      if (now < before || (now == before && code % 2 == 0))
        best = code;
    }
    return best | (std::signbit(x) ? uint64_t(codes()) : 0);
  }
};
const Narrow e2m1{2, 1}, e2m3{2, 3}, e3m2{3, 2};

/// min(x, the largest finite f16), and such.
uint64_t finiteHalf(double x) {
  if (std::isnan(x))
    return 0x7e00;
  return H(float(std::clamp(x, -65504.0, 65504.0)));
}

uint64_t power(float x, bool up, bool saturate) {
  if (std::isnan(x))
    return 255;
  x = std::fabs(x);
  if (std::isinf(x))
    return saturate ? 254 : 255;
  int code = 0;
  while (code < 255 && std::ldexp(1.0, code + 1 - 127) <= x)
    ++code;
  if (up && std::ldexp(1.0, code - 127) < x)
    ++code;
  return uint64_t(code > 254 ? (saturate ? 254 : 255) : code);
}

TEST(NarrowInstructions, Conversions) {
  auto packed = [](const Narrow &format, bool relu, unsigned shift) {
    return [=](U a, U b, U) {
      return format.nearest(F(a), relu) << shift | format.nearest(F(b), relu);
    };
  };
  auto unpacked = [](const Narrow &format, unsigned shift) {
    unsigned mask = unsigned(format.codes()) * 2 - 1;
    return [=](U a, U, U) {
      return H(float(format.value(unsigned(a >> shift) & mask))) << 16 |
             H(float(format.value(unsigned(a) & mask)));
    };
  };
  auto powers = [](bool up, bool saturate) {
    return [=](U a, U b, U) {
      return power(F(a), up, saturate) << 8 | power(F(b), up, saturate);
    };
  };
  const Row rows[] = {
      {"{\n.reg .b8 q;\ncvt.rn.satfinite.e2m1x2.f32 q, a, b;\n"
       "cvt.u32.u8 d, q;\n}",
       "rff", packed(e2m1, false, 4)},
      {"{\n.reg .b8 q;\ncvt.rn.satfinite.relu.e2m1x2.f32 q, a, b;\n"
       "cvt.u32.u8 d, q;\n}",
       "rff", packed(e2m1, true, 4)},
      {"cvt.rn.satfinite.e2m3x2.f32 d, a, b;", "hff", packed(e2m3, false, 8)},
      {"cvt.rn.satfinite.e3m2x2.f32 d, a, b;", "hff", packed(e3m2, false, 8)},
      {"cvt.rn.satfinite.relu.e3m2x2.f32 d, a, b;", "hff",
       packed(e3m2, true, 8)},
      {"cvt.rn.f16x2.e2m3x2 d, a;", "rh", unpacked(e2m3, 8)},
      {"cvt.rn.f16x2.e3m2x2 d, a;", "rh", unpacked(e3m2, 8)},
      {"{\n.reg .b8 q;\ncvt.u8.u16 q, a;\ncvt.rn.f16x2.e2m1x2 d, q;\n}", "rh",
       unpacked(e2m1, 4)},
      {"cvt.rz.ue8m0x2.f32 d, a, b;", "hff", powers(false, false)},
      {"cvt.rz.satfinite.ue8m0x2.f32 d, a, b;", "hff", powers(false, true)},
      {"cvt.rp.ue8m0x2.f32 d, a, b;", "hff", powers(true, false)},
      {"cvt.rp.satfinite.ue8m0x2.f32 d, a, b;", "hff", powers(true, true)},
      {"cvt.rp.satfinite.ue8m0x2.bf16x2 d, a;", "hr",
       [](U a, U, U) {
         return power(B(a >> 16 & 0xffff), true, true) << 8 |
                power(B(a & 0xffff), true, true);
       }},
      {"cvt.rn.bf16x2.ue8m0x2 d, a;", "rh",
       [](U a, U, U) {
         auto one = [](U code) {
           return code == 255 ? 0x7fff : B(std::ldexp(1.0, int(code) - 127));
         };
         return one(a >> 8 & 255) << 16 | one(a & 255);
       }},
  };
  for (Row row : rows) {
    row.target = "sm_100a";
    check(row);
  }
}

TEST(NarrowInstructions, TensorFloatsAndFiniteHalves) {
  auto tf32 = [](float x, bool nearest) -> U {
    if (std::isnan(x))
      return 0x7fffffff;
    uint32_t bits = uint32_t(F(x));
    uint32_t low = bits & 0x1fff, kept = bits & ~0x1fffu;
    if (nearest && !std::isinf(x) &&
        (low > 0x1000 || (low == 0x1000 && (kept & 0x2000))))
      kept += 0x2000;
    return kept;
  };
  const Row rows[] = {
      {"cvt.rn.tf32.f32 d, a;", "rf",
       [=](U a, U, U) { return tf32(F(a), true); }},
      {"cvt.rz.tf32.f32 d, a;", "rf",
       [=](U a, U, U) { return tf32(F(a), false); }},
      {"cvt.rz.relu.tf32.f32 d, a;", "rf",
       [=](U a, U, U) { return F(a) < 0 ? 0 : tf32(F(a), false); }},
      {"cvt.rn.satfinite.f16.f32 d, a;", "hf",
       [](U a, U, U) { return finiteHalf(F(a)); }, "f16"},
      {"cvt.rn.satfinite.f16x2.f32 d, a, b;", "rff",
       [](U a, U b, U) { return finiteHalf(F(a)) << 16 | finiteHalf(F(b)); },
       "f16x2"},
  };
  for (const Row &row : rows)
    check(row);
}

//===----------------------------------------------------------------------===//
// Minima and maxima
//===----------------------------------------------------------------------===//

TEST(NarrowInstructions, MinMaxForms) {
  auto xorSign = [](double a, double b, double (*pick)(double, double)) {
    double m = pick(std::fabs(a), std::fabs(b));
    return std::signbit(a) != std::signbit(b) ? -m : m;
  };
  auto flushHalf = [](U x) { return (x & 0x7c00) ? H(x) : H(x & 0x8000); };
  const Row rows[] = {
      {"min.xorsign.abs.f32 d, a, b;", "fff",
       [=](U a, U b, U) { return F(float(xorSign(F(a), F(b), lesser))); },
       "f32"},
      {"max.NaN.xorsign.abs.f32 d, a, b;", "fff",
       [=](U a, U b, U) {
         return std::isnan(F(a)) || std::isnan(F(b))
                    ? U(0x7fc00000)
                    : F(float(xorSign(F(a), F(b), greater)));
       },
       "f32"},
      {"max.xorsign.abs.f16x2 d, a, b;", "rrr", packed([=](U a, U b, U) {
         return H(float(xorSign(H(a), H(b), greater)));
       }),
       "f16x2"},
      {"min.ftz.NaN.f16 d, a, b;", "hhh",
       [=](U a, U b, U) {
         float x = flushHalf(a), y = flushHalf(b);
         if (std::isnan(x) || std::isnan(y))
           return U(0x7fff);
         if (x == y)
           return H(std::signbit(x) ? x : y);
         return H(float(lesser(x, y)));
       },
       "f16"},
  };
  for (const Row &row : rows)
    check(row);
  Row three{"max.f32 d, a, b, c;", "ffff",
            [](U a, U b, U c) {
              auto pick = [](float x, float y) -> float {
                if (x == y)
                  return std::signbit(x) ? y : x;
                return float(greater(x, y));
              };
              return F(pick(pick(F(a), F(b)), F(c)));
            },
            "f32"};
  three.target = "sm_100a";
  check(three);
  Row magnitude{"min.NaN.abs.f32 d, a, b, c;", "ffff",
                [](U a, U b, U c) {
                  float x = F(a), y = F(b), z = F(c);
                  if (std::isnan(x) || std::isnan(y) || std::isnan(z))
                    return U(0x7fffffff);
                  return F(
                      std::min({std::fabs(x), std::fabs(y), std::fabs(z)}));
                },
                "f32"};
  magnitude.target = "sm_100a";
  check(magnitude);
}

//===----------------------------------------------------------------------===//
// Pairs
//===----------------------------------------------------------------------===//

TEST(NarrowInstructions, Pairs) {
  auto halves = [](auto op) {
    return [=](U a, U b, U) {
      return (uint64_t(uint16_t(op(a & 0xffff, b & 0xffff))) |
              uint64_t(uint16_t(op(a >> 16 & 0xffff, b >> 16 & 0xffff))) << 16);
    };
  };
  auto s = [](U x) { return int(int16_t(x)); };
  const Row rows[] = {
      {"add.s16x2 d, a, b;", "rrr", halves([](U a, U b) { return a + b; })},
      {"add.u16x2 d, a, b;", "rrr", halves([](U a, U b) { return a + b; })},
      {"min.s16x2 d, a, b;", "rrr",
       halves([=](U a, U b) { return std::min(s(a), s(b)); })},
      {"max.u16x2 d, a, b;", "rrr",
       halves([](U a, U b) { return std::max(a, b); })},
      {"max.relu.s16x2 d, a, b;", "rrr",
       halves([=](U a, U b) { return std::max({s(a), s(b), 0}); })},
      {"min.relu.s32 d, a, b;", "rrr",
       [](U a, U b, U) {
         return U(
             uint32_t(std::max(std::min(int32_t(a), int32_t(b)), int32_t(0))));
       }},
      {"szext.clamp.s32 d, a, b;", "rrr",
       [](U a, U b, U) {
         U n = std::min<U>(b, 32);
         if (n == 0)
           return U(0);
         U low = a & ((U(1) << n) - 1);
         return low >> (n - 1) & 1 ? (low | ~((U(1) << n) - 1)) & 0xffffffff
                                   : low;
       }},
      {"szext.wrap.u32 d, a, b;", "rrr",
       [](U a, U b, U) { return a & ((U(1) << (b & 31)) - 1); }},
      {"{\n.reg .pred q, o;\nsetp.lt.u32 q, c, 50;\n.reg .b32 t;\n"
       "lop3.and.b32 t|o, a, b, c, 0x96, q;\nselp.u32 d, 1, 0, o;\n}",
       "rrrr", [](U a, U b, U c) { return U((a ^ b ^ c) != 0 && c < 50); }},
      {"{\n.reg .b32 t;\nand.b32 t, b, 31;\nfns.b32 d, a, t, 2;\n}", "rrr",
       [](U a, U b, U) {
         int wanted = 2;
         for (U at = b & 31; at < 32; ++at)
           if ((a >> at & 1) && --wanted == 0)
             return at;
         return U(0xffffffff);
       }},
  };
  for (const Row &row : rows)
    check(row);
  auto both = [](auto op) {
    return [=](U a, U b, U c) {
      auto part = [&](unsigned shift) {
        return F(
            float(op(F(a >> shift & 0xffffffff), F(b >> shift & 0xffffffff),
                     F(c >> shift & 0xffffffff))));
      };
      return part(0) | part(32) << 32;
    };
  };
  // NaNs are left out by comparing sums that cannot be one.
  Row singles[] = {
      {"{\n.reg .b64 x;\nand.b64 x, a, 0xbfffffffbfffffff;\n"
       ".reg .b64 y;\nand.b64 y, b, 0xbfffffffbfffffff;\n"
       "add.rn.f32x2 d, x, y;\n}",
       "lll",
       [=](U a, U b, U c) {
         U mask = 0xbfffffffbfffffff;
         return both([](float x, float y, float) { return x + y; })(
             a & mask, b & mask, c);
       }},
      {"{\n.reg .b64 x;\nand.b64 x, a, 0xbfffffffbfffffff;\n"
       ".reg .b64 y;\nand.b64 y, b, 0xbfffffffbfffffff;\n"
       ".reg .b64 z;\nand.b64 z, c, 0xbfffffffbfffffff;\n"
       "fma.rn.f32x2 d, x, y, z;\n}",
       "llll",
       [=](U a, U b, U c) {
         U mask = 0xbfffffffbfffffff;
         return both([](float x, float y, float z) {
           return std::fma(x, y, z);
         })(a & mask, b & mask, c & mask);
       }},
  };
  for (Row &row : singles) {
    row.target = "sm_100a";
    check(row);
  }
}

//===----------------------------------------------------------------------===//
// Across lanes and in memory
//===----------------------------------------------------------------------===//

TEST(NarrowInstructions, ReduxOnFloats) {
  Session session(sim::SimTarget::Sm100a);
  std::string body =
      "mul.wide.u32 %rd4, %r0, 4;\nadd.s64 %rd5, %rd0, %rd4;\n"
      "ld.global.f32 %f1, [%rd5];\nredux.sync.max.f32 %f2, %f1, -1;\n"
      "redux.sync.min.abs.f32 %f3, %f1, -1;\n"
      "redux.sync.min.NaN.f32 %f4, %f1, -1;\n"
      "st.global.f32 [%rd1], %f2;\nst.global.f32 [%rd1+4], %f3;\n"
      "st.global.f32 [%rd1+8], %f4;\n";
  ASSERT_TRUE(session.load(ptxSnippet(body, "", "sm_100a")))
      << session.reportText();
  std::vector<float> in(32);
  for (unsigned i = 0; i < 32; ++i)
    in[i] = float(int(i * 7 % 32) - 20) + 0.5f;
  in[3] = NAN;
  auto pin = session.buffer("in", in, true);
  auto out = session.buffer("out", std::vector<float>(3));
  ASSERT_EQ(session.launch("test", {}, pin, out, 0u), status::Success)
      << session.reportText();
  float most = -1e9f, least = 1e9f;
  for (float x : in)
    if (!std::isnan(x)) {
      most = std::max(most, x);
      least = std::min(least, std::fabs(x));
    }
  auto got = session.read<float>(out, 3);
  EXPECT_EQ(got[0], most);
  EXPECT_EQ(got[1], least);
  EXPECT_TRUE(std::isnan(got[2]));
}

TEST(NarrowInstructions, VectorsOfAtomics) {
  Session session(sim::SimTarget::Sm90a);
  // All 32 lanes add to the same four floats and two pairs of halves.
  std::string body =
      "mov.f32 %f1, 0f3f800000;\nmov.f32 %f2, 0f40000000;\n"
      "red.global.add.v4.f32 [%rd1], {%f1, %f2, %f1, %f2};\n"
      "mov.b32 %r2, 0x40003c00;\nmov.b32 %r3, 0x3c004000;\n"
      "red.global.add.noftz.v2.f16x2 [%rd1+16], {%r2, %r3};\n"
      "cvt.rn.f32.u32 %f3, %r0;\n"
      "atom.global.add.v2.f32 {%f4, %f5}, [%rd1+24], {%f3, %f1};\n"
      "cvt.rn.f16.f32 %h1, %f3;\n"
      "red.global.max.noftz.f16 [%rd1+32], %h1;\n";
  ASSERT_TRUE(session.load(ptxSnippet(body, "", "sm_90a")))
      << session.reportText();
  auto pin = session.buffer("in", std::vector<int>(1), true);
  auto out = session.buffer("out", std::vector<uint32_t>(9));
  ASSERT_EQ(session.launch("test", {}, pin, out, 0u), status::Success)
      << session.reportText();
  auto got = session.read<uint32_t>(out, 9);
  EXPECT_EQ(F(U(got[0])), 32);
  EXPECT_EQ(F(U(got[1])), 64);
  EXPECT_EQ(F(U(got[3])), 64);
  EXPECT_EQ(H(U(got[4] & 0xffff)), 32);
  EXPECT_EQ(H(U(got[4] >> 16)), 64);
  EXPECT_EQ(H(U(got[5] & 0xffff)), 64);
  EXPECT_EQ(F(U(got[6])), 31 * 16);
  EXPECT_EQ(F(U(got[7])), 32);
  EXPECT_EQ(H(U(got[8] & 0xffff)), 31);
}

TEST(NarrowInstructions, WhatTheTargetLacksIsRefused) {
  struct Case {
    const char *text, *says;
  };
  for (const Case &c : std::initializer_list<Case>{
           {"cvt.rn.satfinite.e4m3x2.f32 %h1, %f1, %f2;", "sm_89"},
           {"cvt.rn.satfinite.e2m3x2.f32 %h1, %f1, %f2;", "sm_100a"},
           {"cvt.rn.tf32.f32 %r1, %f1;", "sm_90"},
           {"add.s16x2 %r1, %r2, %r3;", "sm_90"},
           {"min.relu.s32 %r1, %r2, %r3;", "sm_90"},
           {"add.rn.bf16x2 %r1, %r2, %r3;", "sm_90"},
           {"add.rn.f32x2 %rd1, %rd2, %rd3;", "sm_100"},
           {"max.f32 %f1, %f2, %f3, %f4;", "sm_100"},
           {"redux.sync.min.f32 %f1, %f2, %r1;", "sm_100a"},
           {"red.global.add.v4.f32 [%rd1], {%f1, %f2, %f3, %f4};", "sm_90"},
           {"elect.sync %r1|%p1, %r2;", "sm_90"},
           {"cvt.rs.f16x2.f32 %r1, %f1, %f2, %r2;", "rs"}}) {
    Session session(sim::SimTarget::Sm80);
    EXPECT_FALSE(session.load(ptxSnippet(c.text))) << c.text;
    EXPECT_THAT(session.reportText(), testing::HasSubstr(c.says)) << c.text;
  }
}

} // namespace
