//===- WiderInstructionTest.cpp - Carries, halves at once, policies -------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Forms that people's own PTX has and Quern's does not.
//
//===----------------------------------------------------------------------===//

#include "tests/sim/InstructionRow.h"
#include "tests/sim/PtxSnippet.h"
#include "tests/sim/SimHarness.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

using namespace quern;
using namespace quern::simtest;
using testing::HasSubstr;
namespace status = quern::cuda::status;

namespace {

TEST(WiderInstructions, SumsOfManyWords) {
  const Row rows[] = {
      {"{\n.reg .b32 x, y, z, w, s, t;\nmov.b64 {x, y}, a;\n"
       "mov.b64 {z, w}, b;\nadd.cc.u32 s, x, z;\naddc.u32 t, y, w;\n"
       "mov.b64 d, {s, t};\n}",
       "lll", [](U a, U b, U) { return a + b; }},
      {"{\n.reg .b32 x, y, z, w, s, t;\nmov.b64 {x, y}, a;\n"
       "mov.b64 {z, w}, b;\nsub.cc.s32 s, x, z;\nsubc.s32 t, y, w;\n"
       "mov.b64 d, {s, t};\n}",
       "lll", [](U a, U b, U) { return a - b; }},
      {"{\n.reg .b64 s;\nadd.cc.u64 s, a, b;\naddc.u64 d, 0, 0;\n}", "lll",
       [](U a, U b, U) { return U(a + b < a); }},
      {"{\n.reg .b64 s;\nsub.cc.u64 s, a, b;\nsubc.u64 d, 0, 0;\n}", "lll",
       [](U a, U b, U) { return a < b ? ~U(0) : U(0); }},
      {"{\n.reg .b32 s, t;\nmad.lo.cc.u32 s, a, b, c;\n"
       "madc.hi.u32 t, a, b, 0;\nmov.b64 d, {s, t};\n}",
       "lrrr", [](U a, U b, U c) { return a * b + c; }},
      {"{\n.reg .b32 s, t;\nmad.lo.cc.s32 s, a, b, c;\n"
       "madc.hi.s32 t, a, b, 0;\nmov.b64 d, {s, t};\n}",
       "lrrr",
       [](U a, U b, U c) { return U(int64_t(int32_t(a)) * int32_t(b)) + c; }},
      // The middle of three words takes a carry and gives one.
      {"{\n.reg .b32 s, t;\nadd.cc.u32 s, a, a;\naddc.cc.u32 t, b, b;\n"
       "addc.u32 d, c, 0;\n}",
       "rrrr", [](U a, U b, U c) { return c + ((2 * b + (a >> 31)) >> 32); }},
      {"{\n.reg .b32 s, t;\nsub.cc.u32 s, a, b;\nsubc.cc.u32 t, b, c;\n"
       "subc.u32 d, c, a;\n}",
       "rrrr",
       [](U a, U b, U c) {
         int64_t low = int64_t(a) - int64_t(b);
         int64_t middle = int64_t(b) - int64_t(c) - (low < 0);
         return U(int64_t(c) - int64_t(a) - (middle < 0));
       }},
      {"mul24.lo.u32 d, a, b;", "rrr",
       [](U a, U b, U) { return (a & 0xffffff) * (b & 0xffffff); }},
      {"mul24.hi.u32 d, a, b;", "rrr",
       [](U a, U b, U) { return (a & 0xffffff) * (b & 0xffffff) >> 16; }},
      {"mul24.hi.s32 d, a, b;", "rrr",
       [](U a, U b, U) {
         return U((int64_t(int32_t(a << 8)) >> 8) *
                      (int64_t(int32_t(b << 8)) >> 8) >>
                  16);
       }},
      {"mad24.lo.s32 d, a, b, c;", "rrrr",
       [](U a, U b, U c) {
         return U((int64_t(int32_t(a << 8)) >> 8) *
                  (int64_t(int32_t(b << 8)) >> 8)) +
                c;
       }},
  };
  for (const Row &row : rows)
    check(row);
}

TEST(WiderInstructions, BothHalvesAreCompared) {
  const Row rows[] = {
      {"set.gt.f16x2.f16x2 d, a, b;", "rrr",
       packed([](U a, U b, U) { return H(a) > H(b) ? U(0x3c00) : U(0); })},
      {"set.ne.f16x2.f16x2 d, a, b;", "rrr", packed([](U a, U b, U) {
         bool ordered = !std::isnan(H(a)) && !std::isnan(H(b));
         return ordered && H(a) != H(b) ? U(0x3c00) : U(0);
       })},
      {"set.leu.u32.f16x2 d, a, b;", "rrr",
       packed([](U a, U b, U) { return !(H(a) > H(b)) ? U(0xffff) : U(0); })},
      {"set.nan.bf16x2.bf16x2 d, a, b;", "rrr", packed([](U a, U b, U) {
         return std::isnan(B(a)) || std::isnan(B(b)) ? U(0x3f80) : U(0);
       })},
      {"{\n.reg .pred p, q;\nsetp.ge.bf16x2 p|q, a, b;\n"
       "selp.u32 d, 1, 0, p;\n@q add.u32 d, d, 2;\n}",
       "rrr",
       [](U a, U b, U) {
         return U(B(a & 0xffff) >= B(b & 0xffff)) +
                2 * U(B(a >> 16 & 0xffff) >= B(b >> 16 & 0xffff));
       }},
      {"{\n.reg .pred p, q, o;\nsetp.lt.u32 o, c, 50;\n"
       "setp.equ.and.f16x2 p|q, a, b, !o;\n"
       "selp.u32 d, 1, 0, p;\n@q add.u32 d, d, 2;\n}",
       "rrrr",
       [](U a, U b, U c) {
         auto same = [](U x, U y) { return !(H(x) < H(y) || H(x) > H(y)); };
         return c < 50 ? U(0)
                       : U(same(a & 0xffff, b & 0xffff)) +
                             2 * U(same(a >> 16 & 0xffff, b >> 16 & 0xffff));
       }},
  };
  for (const Row &row : rows)
    check(row);
}

TEST(WiderInstructions, SinglesAndHalves) {
  Row rows[] = {
      {"add.rn.f32.f16 d, a, b;", "fhf",
       [](U a, U b, U) { return F(H(a) + F(b)); }, "f32"},
      {"sub.rz.f32.bf16 d, a, b;", "fhf",
       [](U a, U b, U) {
         return F(rounded(FE_TOWARDZERO, [=] { return B(a) - F(b); }));
       },
       "f32"},
      {"fma.rn.f32.f16 d, a, b, c;", "fhhf",
       [](U a, U b, U c) { return F(std::fma(H(a), H(b), F(c))); }, "f32"},
      {"fma.rp.sat.f32.bf16 d, a, b, c;", "fhhf",
       [](U a, U b, U c) {
         float r =
             rounded(FE_UPWARD, [=] { return std::fma(B(a), B(b), F(c)); });
         return F(r > 0 ? std::min(r, 1.0f) : 0.0f);
       },
       "f32"},
  };
  for (Row &row : rows) {
    row.target = "sm_100a";
    check(row);
  }
  check({"rcp.approx.ftz.f64 d, a;", "ee",
         [](U a, U, U) {
           auto flushedDouble = [](double x) {
             return std::fpclassify(x) == FP_SUBNORMAL ? std::copysign(0.0, x)
                                                       : x;
           };
           double x = flushedDouble(D(a >> 32 << 32));
           return D(flushedDouble(1.0 / x)) >> 32 << 32;
         },
         "f64"});
}

/// Runs a snippet on "in" and "out" of 64 words, with shared memory `tile`.
struct Runner {
  explicit Runner(sim::SimTarget target) : session(target) {}
  cuda::DriverStatus run(const std::string &body, const char *target) {
    EXPECT_TRUE(session.load(
        ptxSnippet(body, ".shared .align 16 .b8 tile[512];\n", target)))
        << session.reportText();
    std::vector<uint32_t> words(64);
    for (uint32_t i = 0; i < 64; ++i)
      words[i] = i + 1;
    auto in = session.buffer("in", words, true);
    out = session.buffer("out", std::vector<uint32_t>(64, 0));
    return session.launch("test", {}, in, out, 64u);
  }
  Session session;
  cuda::DevicePtr out = 0;
};

TEST(WiderInstructions, CachePolicies) {
  Runner runner(sim::SimTarget::Sm90a);
  ASSERT_EQ(runner.run(R"(
    createpolicy.fractional.L2::evict_first.b64 %rd9, 1.0;
    createpolicy.fractional.L2::evict_last.L2::evict_first.b64 %rd9, 2.5e-1;
    mul.wide.u32 %rd2, %r0, 4;
    add.s64 %rd3, %rd0, %rd2;
    add.s64 %rd4, %rd1, %rd2;
    shl.b32 %r3, %r0, 4;
    mov.u32 %r4, tile;
    add.u32 %r4, %r4, %r3;
    and.b32 %r5, %r0, 1;
    setp.eq.u32 %p1, %r5, 1;
    cp.async.ca.shared.global.L2::cache_hint [%r4], [%rd3], 4, %rd9;
    cp.async.ca.shared.global [%r4+4], [%rd3], 4, %p1;
    cp.async.ca.shared.global.L2::cache_hint [%r4+8], [%rd3], 4, !%p1, %rd9;
    cp.async.wait_all;
    ld.shared.v2.u32 {%r6, %r7}, [%r4];
    ld.shared.u32 %r8, [%r4+8];
    mad.lo.u32 %r6, %r7, 100, %r6;
    mad.lo.u32 %r6, %r8, 10000, %r6;
    atom.global.add.L2::cache_hint.u32 %r9, [%rd4], %r6, %rd9;
    red.global.add.L2::cache_hint.u32 [%rd4], %r9, %rd9;
    atom.global.cas.L2::cache_hint.b32 %r9, [%rd1+128], 0, 7, %rd9;
    mov.f32 %f1, 1.5;
    mov.f32 %f2, -0.25;
    red.global.add.L2::cache_hint.v2.f32 [%rd1+136], {%f1, %f2}, %rd9;)",
                       "sm_90a"),
            status::Success)
      << runner.session.reportText();
  auto got = runner.session.read<uint32_t>(runner.out, 36);
  for (uint32_t i = 0; i < 32; ++i)
    EXPECT_EQ(got[i], (i + 1) * (1 + (i % 2 ? 10000u : 100u))) << i;
  EXPECT_EQ(got[32], 7u);
  EXPECT_EQ(F(U(got[34])), 48);
  EXPECT_EQ(F(U(got[35])), -8);
}

TEST(WiderInstructions, StoresInBulk) {
  Runner runner(sim::SimTarget::Sm100a);
  const std::string body = R"(
    mov.u32 %r4, tile;
    shl.b32 %r3, %r0, 4;
    add.u32 %r5, %r4, %r3;
    mov.u32 %r6, 7;
    st.shared.v4.u32 [%r5], {%r6, %r6, %r6, %r6};
    bar.sync 0;
    mov.u64 %rd5, 24;
    setp.eq.u32 %p1, %r0, 0;
    @%p1 st.bulk.weak.shared::cta [%r4+8], %rd5, 0;
    bar.sync 0;
    shl.b32 %r3, %r0, 2;
    add.u32 %r5, %r4, %r3;
    ld.shared.u32 %r7, [%r5];
    cvt.u64.u32 %rd2, %r3;
    add.s64 %rd3, %rd1, %rd2;
    st.global.u32 [%rd3], %r7;)";
  ASSERT_EQ(runner.run(body, "sm_100a"), status::Success)
      << runner.session.reportText();
  auto got = runner.session.read<uint32_t>(runner.out, 32);
  for (uint32_t i = 0; i < 32; ++i)
    EXPECT_EQ(got[i], i >= 2 && i < 8 ? 0u : 7u) << i;
  runner.run(replaced(body, "mov.u64 %rd5, 24;", "mov.u64 %rd5, 12;"),
             "sm_100a");
  EXPECT_THAT(runner.session.reportText(), HasSubstr("multiples of 8"));
  runner.run(replaced(body, "mov.u64 %rd5, 24;", "mov.u64 %rd5, 512;"),
             "sm_100a");
  EXPECT_THAT(runner.session.reportText(), HasSubstr("out of bounds"));
  EXPECT_FALSE(runner.session.load(
      ptxSnippet("st.bulk.weak.shared::cta [%r4], %rd5, 1;", "", "sm_100a")));
}

TEST(WiderInstructions, Literals) {
  Session session;
  for (const char *text : {"mov.f32 %f1, 1.5.5;", "mov.f32 %f1, 1.5x;",
                           "mov.f32 %f1, 1.5e;", "mov.b16 %h1, 1.5;"})
    EXPECT_FALSE(session.load(ptxSnippet(text))) << text;
}

} // namespace
