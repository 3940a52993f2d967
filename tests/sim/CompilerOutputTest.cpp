//===- CompilerOutputTest.cpp - What compilers make of ordinary code ------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Wide integers, asserts, packed comparisons, initialised pointers, the grid
// barrier of cooperative_groups, files of which only some kernels can run, and
// what ends kernels that run away.
//
//===----------------------------------------------------------------------===//

#include "tests/sim/PtxSnippet.h"
#include "tests/sim/SimHarness.h"

#include <bit>
#include <cmath>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <limits>

using namespace quern;
using namespace quern::simtest;
using testing::HasSubstr;
namespace status = quern::cuda::status;

namespace {

class CompilerOutput : public testing::Test {
protected:
  /// Runs a snippet on "in" and 64 zeroed words of 64 bits of "out".
  cuda::DriverStatus run(const std::string &body, std::vector<uint64_t> words,
                         const std::string &moduleText = "",
                         unsigned threads = 1, unsigned blocks = 1,
                         bool cooperative = false) {
    EXPECT_TRUE(session.load(ptxSnippet(body, moduleText)))
        << session.reportText();
    words.resize(64);
    auto in = session.buffer("in", words, true);
    out = session.buffer("out", std::vector<uint64_t>(64, 0));
    Session::Shape shape;
    shape.grid[0] = blocks;
    shape.block[0] = threads;
    shape.cooperative = cooperative;
    return session.launch("test", shape, in, out, 64u);
  }
  std::vector<uint64_t> results(size_t count) {
    return session.read<uint64_t>(out, count);
  }
  Session session;
  cuda::DevicePtr out = 0;
};

TEST_F(CompilerOutput, IntegersOf128Bits) {
  const char *const body = R"(
    ld.global.v2.u64 {%rd2, %rd3}, [%rd0];
    ld.global.v2.u64 {%rd4, %rd5}, [%rd0+16];
    add.cc.s64 %rd6, %rd2, %rd4;
    addc.cc.s64 %rd7, %rd3, %rd5;
    addc.s64 %rd8, 0, 0;
    st.global.v2.u64 [%rd1], {%rd6, %rd7};
    st.global.u64 [%rd1+16], %rd8;
    sub.cc.u64 %rd6, %rd2, %rd4;
    subc.cc.u64 %rd7, %rd3, %rd5;
    subc.u64 %rd8, 0, 0;
    st.global.v2.u64 [%rd1+32], {%rd6, %rd7};
    st.global.u64 [%rd1+48], %rd8;)";
  using Wide = unsigned __int128;
  const uint64_t values[] = {0, 1, ~uint64_t(0), uint64_t(1) << 63, 12345};
  for (uint64_t a : values)
    for (uint64_t b : values)
      for (uint64_t c : values) {
        ASSERT_EQ(run(body, {a, b, c, a}), status::Success)
            << session.reportText();
        Wide x = Wide(b) << 64 | a, y = Wide(a) << 64 | c;
        Wide sum = x + y, difference = x - y;
        std::vector<uint64_t> got = results(7);
        EXPECT_EQ(got[0], uint64_t(sum));
        EXPECT_EQ(got[1], uint64_t(sum >> 64));
        EXPECT_EQ(got[2], uint64_t(sum < x));
        EXPECT_EQ(got[4], uint64_t(difference));
        EXPECT_EQ(got[5], uint64_t(difference >> 64));
        EXPECT_EQ(got[6], x < y ? ~uint64_t(0) : 0);
      }
}

TEST_F(CompilerOutput, ProductsWithACarry) {
  // (a.hi:a.lo) * b + c in three words of 32 bits.
  const char *const body = R"(
    ld.global.v2.u32 {%r2, %r3}, [%rd0];
    ld.global.u32 %r4, [%rd0+8];
    ld.global.v2.u32 {%r5, %r6}, [%rd0+16];
    mad.lo.cc.u32 %r7, %r2, %r4, %r5;
    madc.hi.cc.u32 %r8, %r2, %r4, %r6;
    madc.hi.u32 %r9, %r3, %r4, 0;
    mad.lo.cc.u32 %r8, %r3, %r4, %r8;
    addc.u32 %r9, %r9, 0;
    mov.b64 %rd2, {%r7, %r8};
    cvt.u64.u32 %rd3, %r9;
    st.global.v2.u64 [%rd1], {%rd2, %rd3};)";
  using Wide = unsigned __int128;
  const uint64_t values[] = {1, 0xffffffff, 0x123456789abcdef0, ~uint64_t(0)};
  for (uint64_t a : values)
    for (uint64_t b : {uint64_t(3), uint64_t(0xffffffff)})
      for (uint64_t c : values) {
        ASSERT_EQ(run(body, {a, b, c}), status::Success)
            << session.reportText();
        Wide expected = Wide(a) * b + c;
        EXPECT_EQ(results(2)[0], uint64_t(expected));
        EXPECT_EQ(results(2)[1], uint64_t(expected >> 64));
      }
}

TEST_F(CompilerOutput, GrossReciprocal) {
  auto bits = [](double x) { return std::bit_cast<uint64_t>(x); };
  ASSERT_EQ(
      run("mul.wide.u32 %rd2, %r0, 8;\nadd.s64 %rd3, %rd0, %rd2;\n"
          "add.s64 %rd4, %rd1, %rd2;\nld.global.f64 %d1, [%rd3];\n"
          "rcp.approx.ftz.f64 %d2, %d1;\nst.global.f64 [%rd4], %d2;",
          {bits(3), bits(-0.0), bits(INFINITY), bits(5e-320), bits(-7e100)}, "",
          5),
      status::Success)
      << session.reportText();
  auto got = results(5);
  EXPECT_NEAR(std::bit_cast<double>(got[0]), 1.0 / 3, 1e-6);
  EXPECT_EQ(got[0] & 0xffffffff, 0u);
  EXPECT_EQ(got[1], bits(-INFINITY));
  EXPECT_EQ(got[2], bits(0.0));
  EXPECT_EQ(got[3], bits(INFINITY));
  EXPECT_NEAR(std::bit_cast<double>(got[4]) * -7e100, 1, 1e-6);
}

TEST_F(CompilerOutput, PackedComparisons) {
  // Halves 1 and 2 against 1 and 3; then a NaN.
  const char *const body = R"(
    mov.b32 %r2, 0x40003c00;
    mov.b32 %r3, 0x42003c00;
    set.eq.f16x2.f16x2 %r4, %r2, %r3;
    st.global.u32 [%rd1], %r4;
    set.lt.f16x2.f16x2 %r4, %r2, %r3;
    st.global.u32 [%rd1+8], %r4;
    mov.b32 %r3, 0x7e003c00;
    set.geu.f16x2.f16x2 %r4, %r2, %r3;
    st.global.u32 [%rd1+16], %r4;
    setp.gt.f16x2 %p1|%p2, %r2, 0x3c003c00;
    selp.u32 %r5, 1, 0, %p1;
    selp.u32 %r6, 1, 0, %p2;
    st.global.v2.u32 [%rd1+24], {%r5, %r6};
    mov.b32 %r2, 0x40003f80;
    set.le.bf16x2.bf16x2 %r4, %r2, 0x3f803f80;
    st.global.u32 [%rd1+32], %r4;)";
  ASSERT_EQ(run(body, {}), status::Success) << session.reportText();
  auto got = results(5);
  EXPECT_EQ(got[0], 0x00003c00u);
  EXPECT_EQ(got[1], 0x3c000000u);
  EXPECT_EQ(got[2], 0x3c003c00u);
  EXPECT_EQ(got[3], uint64_t(1) << 32);
  EXPECT_EQ(got[4], 0x00003f80u);
}

const char *const assertDeclaration =
    ".extern .func __assertfail (.param .b64 p0, .param .b32 p1);\n";
const char *const assertion = R"(
    ld.global.u32 %r2, [%rd0];
    setp.gt.u32 %p1, %r2, 5;
    @%p1 bra FINE;
    { .param .b64 param0; st.param.b64 [param0], %rd0;
      .param .b32 param1; st.param.b32 [param1], %r0;
      call.uni __assertfail, (param0, param1); }
FINE:
    st.global.u32 [%rd1], 1;)";

TEST_F(CompilerOutput, AssertIsAFaultWhereItFails) {
  EXPECT_EQ(run(assertion, {6}, assertDeclaration), status::Success)
      << session.reportText();
  EXPECT_NE(run(assertion, {5}, assertDeclaration), status::Success);
  EXPECT_THAT(session.reportText(), HasSubstr("an assertion fails here"));
}

TEST_F(CompilerOutput, PointersInGlobalMemory) {
  EXPECT_EQ(run("ld.global.u64 %rd2, [ptr];\ncvta.to.global.u64 %rd2, %rd2;\n"
                "ld.global.u32 %r2, [%rd2];\nst.global.u32 [%rd1], %r2;",
                {},
                ".global .align 8 .u64 ptr = generic(numbers)+8;\n"
                ".global .align 4 .u32 numbers[4] = {10, 11, 12, 13};\n"),
            status::Success)
      << session.reportText();
  EXPECT_EQ(results(1)[0], 12u);
}

TEST_F(CompilerOutput, KernelsThatCannotRunDoNotStopTheOthers) {
  std::string module =
      ptxSnippet("st.global.u32 [%rd1], 7;", ".extern .func elsewhere ();\n"
                                             ".extern .global .u32 nowhere;\n");
  const std::pair<const char *, const char *> refused[] = {
      {"frobnicate.u32 a;", "frobnicate"},
      {"call elsewhere;", "'elsewhere' has no body"},
      {"{ .reg .b32 a; ld.global.u32 a, [nowhere]; }",
       "'nowhere' is not declared"}};
  for (int i = 0; i < 3; ++i)
    module += ".visible .entry bad" + std::to_string(i) + "() {\n" +
              refused[i].first + "\nret;\n}\n";
  ASSERT_TRUE(session.load(module)) << session.reportText();
  auto in = session.buffer("in", std::vector<uint64_t>(1));
  out = session.buffer("out", std::vector<uint64_t>(1));
  Session::Shape shape;
  EXPECT_EQ(session.launch("test", shape, in, out, 1u), status::Success)
      << session.reportText();
  EXPECT_EQ(results(1)[0], 7u);
  for (int i = 0; i < 3; ++i) {
    session.tryLaunch("bad" + std::to_string(i), shape);
    EXPECT_THAT(session.reportText(), HasSubstr(refused[i].second));
  }
}

TEST_F(CompilerOutput, TextWithoutVersionOrTargetIsNoPtx) {
  EXPECT_FALSE(session.load(""));
  EXPECT_THAT(session.reportText(), HasSubstr("there is no .version"));
  EXPECT_FALSE(session.load(".version 8.0\n"));
  EXPECT_THAT(session.reportText(), HasSubstr("there is no .target"));
}

// What grid.sync() does with the workspace: the first thread of each block adds
// to the word behind the first and waits for its highest bit to change.
const char *const gridSync = R"(
    mov.u32 %r2, %envreg2;
    mov.u32 %r3, %envreg1;
    mov.b64 %rd2, {%r2, %r3};
    mov.u32 %r4, %ctaid.x;
    mul.wide.u32 %rd3, %r4, 8;
    add.s64 %rd3, %rd1, %rd3;
    add.u32 %r5, %r4, 100;
    st.global.u32 [%rd3], %r5;
    setp.ne.u32 %p1, %r4, 0;
    mov.u32 %r6, 1;
    mov.u32 %r7, %nctaid.x;
    sub.u32 %r7, 0x80000001, %r7;
    selp.u32 %r6, %r6, %r7, %p1;
    fence.acq_rel.gpu;
    atom.add.release.gpu.global.u32 %r8, [%rd2+4], %r6;
WAIT:
    ld.acquire.gpu.global.u32 %r9, [%rd2+4];
    xor.b32 %r9, %r9, %r8;
    setp.ge.s32 %p2, %r9, 0;
    @%p2 bra WAIT;
    add.u32 %r4, %r4, 1;
    rem.u32 %r4, %r4, 4;
    mul.wide.u32 %rd4, %r4, 8;
    add.s64 %rd4, %rd1, %rd4;
    ld.global.u32 %r10, [%rd4];
    st.global.u32 [%rd3+256], %r10;)";

TEST_F(CompilerOutput, TheGridBarrierOfACooperativeLaunch) {
  ASSERT_EQ(run(gridSync, {}, "", 1, 4, true), status::Success)
      << session.reportText();
  auto got = results(36);
  for (uint64_t block = 0; block < 4; ++block)
    EXPECT_EQ(got[32 + block], 100 + (block + 1) % 4);
}

TEST_F(CompilerOutput, BlocksThatWaitForOthersOutsideACooperativeLaunch) {
  EXPECT_NE(run(replaced(gridSync, "mov.b64 %rd2, {%r2, %r3};",
                         "add.s64 %rd2, %rd1, 128;"),
                {}, "", 1, 4),
            status::Success);
  EXPECT_THAT(
      session.reportText(),
      HasSubstr("3 of the grid's blocks have not begun: blocks may wait "
                "for each other only in a cooperative launch"));
}

TEST_F(CompilerOutput, ABlockWithTooManyFaultsIsEnded) {
  // Each turn of the loop reads out of bounds in 32 threads.
  EXPECT_NE(run("L:\nld.global.u32 %r2, [%rd0+1000000];\nbra L;", {}, "", 32),
            status::Success);
  EXPECT_THAT(session.reportText(),
              HasSubstr("the block was ended here after"));
  EXPECT_LT(session.device.lastFaultCount(), 110000u);
  EXPECT_LT(session.counters().warpInstructions, 20000u);
}

TEST_F(CompilerOutput, SumsInGlobalMemoryFlushSubnormals) {
  const char *const body = R"(
    mov.b32 %f1, 0x00000010;
    red.global.add.f32 [%rd1], %f1;
    st.shared.f32 [word], 0f00000000;
    red.shared.add.f32 [word], %f1;
    ld.shared.u32 %r2, [word];
    st.global.u32 [%rd1+8], %r2;
    cvta.shared.u64 %rd2, word;
    red.add.f32 [%rd2], %f1;
    ld.shared.u32 %r2, [word];
    st.global.u32 [%rd1+16], %r2;)";
  ASSERT_EQ(run(body, {}, ".shared .align 4 .f32 word;\n"), status::Success)
      << session.reportText();
  EXPECT_EQ(results(3)[0], 0u);
  EXPECT_EQ(results(3)[1], 0x10u);
  EXPECT_EQ(results(3)[2], 0x20u);
}

TEST_F(CompilerOutput, TooMuchSharedMemoryIsToldWithTheLimit) {
  ASSERT_TRUE(session.load(ptxSnippet("")));
  EXPECT_NE(session.driver.funcSetAttribute(
                session.function("test"),
                cuda::function_attribute::MaxDynamicSharedSizeBytes, 300000),
            status::Success);
  EXPECT_THAT(session.reportText(),
              HasSubstr("300000 bytes of dynamic shared memory; at most 166912 "
                        "are possible"));
}

} // namespace
