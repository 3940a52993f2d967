//===- CollectiveTest.cpp - Collectives of parts of a warp ----------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "tests/sim/PtxSnippet.h"
#include "tests/sim/SimHarness.h"

#include <algorithm>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

using namespace quern;
using namespace quern::simtest;
using testing::HasSubstr;
namespace status = quern::cuda::status;

namespace {

class Collective : public testing::Test {
protected:
  /// Runs a snippet on "in" (32 words) and "out" (256 words).
  cuda::DriverStatus run(const std::string &body, unsigned cluster = 0,
                         uint64_t seed = 1) {
    EXPECT_TRUE(session.load(ptxSnippet(body, "", "sm_90a")))
        << session.reportText();
    for (uint32_t i = 0; i < 32; ++i)
      words[i] = i * 37 % 11;
    auto in = session.buffer("in", words, true);
    out = session.buffer("out", std::vector<uint32_t>(256, 0));
    sim::SimOptions options;
    options.seed = seed;
    session.setOptions(options);
    Session::Shape shape;
    if (cluster) {
      shape.grid[0] = shape.cluster[0] = cluster;
      shape.cluster[1] = shape.cluster[2] = 1;
    }
    return session.launch("test", shape, in, out, 64u);
  }
  Session session{sim::SimTarget::Sm90a};
  std::vector<uint32_t> words = std::vector<uint32_t>(32);
  cuda::DevicePtr out = 0;
};

TEST_F(Collective, EveryGroupForItself) {
  // Four groups of eight threads in one instruction, each with its own mask.
  ASSERT_EQ(run(R"(
    mul.wide.u32 %rd2, %r0, 4;
    add.s64 %rd3, %rd0, %rd2;
    ld.global.u32 %r2, [%rd3];
    and.b32 %r3, %r0, 24;
    mov.u32 %r4, 255;
    shl.b32 %r4, %r4, %r3;
    redux.sync.add.u32 %r5, %r2, %r4;
    redux.sync.max.s32 %r6, %r2, %r4;
    setp.gt.u32 %p1, %r2, 5;
    vote.sync.ballot.b32 %r7, %p1, %r4;
    vote.sync.any.pred %p2, %p1, %r4;
    selp.u32 %r8, 1, 0, %p2;
    match.any.sync.b32 %r9, %r3, %r4;
    match.all.sync.b32 %r10|%p3, %r3, %r4;
    elect.sync %r11|%p4, %r4;
    selp.u32 %r12, 1, 0, %p4;
    mul.wide.u32 %rd4, %r0, 32;
    add.s64 %rd5, %rd1, %rd4;
    st.global.v4.u32 [%rd5], {%r5, %r6, %r7, %r8};
    st.global.v4.u32 [%rd5+16], {%r9, %r10, %r11, %r12};)"),
            status::Success)
      << session.reportText();
  auto got = session.read<uint32_t>(out, 256);
  for (uint32_t i = 0; i < 32; ++i) {
    uint32_t first = i / 8 * 8, sum = 0, most = 0, ballot = 0;
    for (uint32_t j = first; j < first + 8; ++j) {
      sum += words[j];
      most = std::max(most, words[j]);
      ballot |= uint32_t(words[j] > 5) << j;
    }
    uint32_t mask = 255u << first;
    const uint32_t expected[] = {sum,  most, ballot, ballot != 0,
                                 mask, mask, first,  i == first};
    for (uint32_t k = 0; k < 8; ++k)
      EXPECT_EQ(got[i * 8 + k], expected[k]) << i << " " << k;
  }
}

TEST_F(Collective, MembersMustAgree) {
  // Thread 0 names all, the others only themselves.
  run("setp.eq.u32 %p1, %r0, 0;\nselp.u32 %r2, -1, -2, %p1;\n"
      "redux.sync.add.u32 %r3, %r0, %r2;");
  EXPECT_THAT(session.reportText(), HasSubstr("divergent collective"));
}

TEST_F(Collective, AShuffledValueIsDefinedWhereItComesFrom) {
  const std::string body = R"(
    setp.eq.u32 %p1, %r0, 5;
    @%p1 mov.u32 %r2, 77;
    shfl.sync.idx.b32 %r3, %r2, 5, 31, -1;
    mul.wide.u32 %rd2, %r0, 4;
    add.s64 %rd3, %rd1, %rd2;
    st.global.u32 [%rd3], %r3;)";
  ASSERT_EQ(run(body), status::Success) << session.reportText();
  EXPECT_EQ(session.read<uint32_t>(out, 32)[31], 77u);
  run(replaced(body, "%r2, 5, 31", "%r2, 6, 31"));
  EXPECT_THAT(session.reportText(),
              HasSubstr("was never written in 32 of 32 lanes"));
}

TEST_F(Collective, ABlockMayArriveAndExit) {
  // Blocks 1 to 3 arrive at the cluster's barrier and leave; block 0 waits for
  // each of them.
  const char *const body = R"(
    mov.u32 %r2, %cluster_ctarank;
    mul.wide.u32 %rd2, %r2, 4;
    add.s64 %rd3, %rd1, %rd2;
    add.u32 %r3, %r2, 10;
    st.global.u32 [%rd3], %r3;
    barrier.cluster.arrive.release.aligned;
    setp.ne.u32 %p1, %r2, 0;
    @%p1 bra DONE;
    barrier.cluster.wait.acquire.aligned;
    ld.global.v4.u32 {%r4, %r5, %r6, %r7}, [%rd1];
    add.u32 %r4, %r4, %r5;
    add.u32 %r4, %r4, %r6;
    add.u32 %r4, %r4, %r7;
    st.global.u32 [%rd1+64], %r4;
DONE:)";
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    ASSERT_EQ(run(body, 4, seed), status::Success)
        << seed << session.reportText();
    EXPECT_EQ(session.read<uint32_t>(out, 17)[16], 46u);
  }
}

TEST_F(Collective, NaNAsAnInteger) {
  ASSERT_EQ(run(R"(
    mov.f32 %f1, 0f7fc00000;
    cvt.f64.f32 %d1, %f1;
    cvt.rzi.s32.f32 %r2, %f1;
    cvt.rzi.s32.f64 %r3, %d1;
    cvt.rzi.u32.f64 %r4, %d1;
    cvt.rzi.s64.f32 %rd2, %f1;
    cvt.rzi.u64.f64 %rd3, %d1;
    st.global.u32 [%rd1], %r2;
    st.global.u32 [%rd1+4], %r3;
    st.global.u32 [%rd1+8], %r4;
    st.global.u64 [%rd1+16], %rd2;
    st.global.u64 [%rd1+24], %rd3;)"),
            status::Success);
  constexpr uint32_t top = 0x80000000;
  EXPECT_EQ(session.read<uint32_t>(out, 8),
            (std::vector<uint32_t>{0, top, top, 0, 0, top, 0, top}));
}

} // namespace
