//===- CopyArrivalTest.cpp - cp.async.mbarrier.arrive ---------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "tests/sim/PtxSnippet.h"
#include "tests/sim/SimHarness.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

using namespace quern;
using namespace quern::simtest;
using testing::HasSubstr;
namespace status = quern::cuda::status;

namespace {

class CopyArrival : public testing::Test {
protected:
  CopyArrival() : session(sim::SimTarget::Sm90a) {}

  cuda::DriverStatus run(const std::string &body, uint64_t seed,
                         unsigned threads = 64) {
    EXPECT_TRUE(session.load(ptxSnippet(body,
                                        ".shared .align 128 .b8 tile[1024];\n"
                                        ".shared .align 8 .b64 full;\n"
                                        ".shared .align 8 .b64 empty;\n",
                                        "sm_90a")))
        << session.reportText();
    std::vector<uint32_t> words(256);
    for (uint32_t i = 0; i < 256; ++i)
      words[i] = 3 * i + 1;
    auto in = session.buffer("in", words, true);
    out = session.buffer("out", std::vector<uint32_t>(256, 0));
    sim::SimOptions options;
    options.seed = seed;
    options.quantum = seed % 2 ? 64 : 3;
    options.watchdog = 1 << 20;
    session.setOptions(options);
    Session::Shape shape;
    shape.block[0] = threads;
    return session.launch("test", shape, in, out, 64u);
  }
  /// Of twenty schedules, how many find something that says `text`.
  unsigned found(const std::string &body, const std::string &text) {
    unsigned count = 0;
    for (uint64_t seed = 1; seed <= 20; ++seed) {
      run(body, seed);
      count += session.reportText().find(text) != std::string::npos;
    }
    return count;
  }
  Session session;
  cuda::DevicePtr out = 0;
};

// Warp 0 copies four lots of 32 words through one slot, warp 1 adds them up.
// Every thread of warp 0 arrives at `full` when its copies are done.
const char *const ring = R"(
    setp.ne.u32 %p0, %r0, 0;
    @%p0 bra READY;
    mbarrier.init.shared::cta.b64 [full], 32;
    mbarrier.init.shared::cta.b64 [empty], 32;
READY:
    bar.sync 0;
    and.b32 %r2, %r0, 31;
    shl.b32 %r3, %r2, 2;
    mov.u32 %r4, tile;
    add.u32 %r4, %r4, %r3;
    cvt.u64.u32 %rd2, %r3;
    add.s64 %rd3, %rd0, %rd2;
    mov.u32 %r5, 0;
    mov.u32 %r6, 0;
    setp.lt.u32 %p1, %r0, 32;
    @!%p1 bra CONSUME;
PRODUCE:
    and.b32 %r7, %r5, 1;
    xor.b32 %r7, %r7, 1;
WAITEMPTY:
    mbarrier.try_wait.parity.shared::cta.b64 %p2, [empty], %r7;
    @!%p2 bra WAITEMPTY;
    cp.async.ca.shared.global [%r4], [%rd3], 4;
    cp.async.mbarrier.arrive.noinc.shared::cta.b64 [full];
    add.s64 %rd3, %rd3, 128;
    add.u32 %r5, %r5, 1;
    setp.lt.u32 %p3, %r5, 4;
    @%p3 bra PRODUCE;
    bra DONE;
CONSUME:
    and.b32 %r7, %r5, 1;
WAITFULL:
    mbarrier.try_wait.parity.shared::cta.b64 %p2, [full], %r7;
    @!%p2 bra WAITFULL;
    ld.shared.u32 %r8, [%r4];
    add.u32 %r6, %r6, %r8;
    mbarrier.arrive.shared::cta.b64 _, [empty];
    add.u32 %r5, %r5, 1;
    setp.lt.u32 %p3, %r5, 4;
    @%p3 bra CONSUME;
    mul.wide.u32 %rd2, %r0, 4;
    add.s64 %rd4, %rd1, %rd2;
    st.global.u32 [%rd4+-128], %r6;
DONE:)";

void expectSums(Session &session, cuda::DevicePtr out, uint64_t seed) {
  auto sums = session.read<uint32_t>(out, 32);
  for (uint32_t i = 0; i < 32; ++i)
    ASSERT_EQ(sums[i], 4 * (3 * i + 1) + 3 * (32 + 64 + 96)) << seed;
}

TEST_F(CopyArrival, ARingOfOneSlotIsClean) {
  for (uint64_t seed = 1; seed <= 30; ++seed) {
    ASSERT_EQ(run(ring, seed), status::Success) << seed << session.reportText();
    expectSums(session, out, seed);
  }
}

TEST_F(CopyArrival, WithoutNoincTheThreadArrivesItself) {
  std::string counted =
      replaced(ring, "cp.async.mbarrier.arrive.noinc.shared::cta.b64 [full];",
               "cp.async.mbarrier.arrive.shared::cta.b64 [full];\n"
               "mbarrier.arrive.shared::cta.b64 _, [full];");
  for (uint64_t seed = 1; seed <= 30; ++seed) {
    ASSERT_EQ(run(counted, seed), status::Success)
        << seed << session.reportText();
    expectSums(session, out, seed);
  }
  // That adds nothing to the expected arrivals: alone it ends no phase.
  EXPECT_EQ(found(replaced(ring, ".noinc", ""), "deadlock"), 20u);
}

TEST_F(CopyArrival, TooManyArrivals) {
  EXPECT_EQ(found(replaced(ring, "[full], 32", "[full], 16"), "arrivals"), 20u);
}

TEST_F(CopyArrival, ReadingBeforeTheWaitIsFound) {
  // Ordered after the instruction, but not after the copies.
  const char *const body = R"(
    setp.ne.u32 %p0, %r0, 0;
    @%p0 bra READY;
    mbarrier.init.shared::cta.b64 [full], 32;
READY:
    bar.sync 0;
    and.b32 %r2, %r0, 31;
    shl.b32 %r3, %r2, 2;
    mov.u32 %r4, tile;
    add.u32 %r4, %r4, %r3;
    cvt.u64.u32 %rd2, %r3;
    add.s64 %rd3, %rd0, %rd2;
    setp.ge.u32 %p1, %r0, 32;
    @%p1 bra ISSUED;
    cp.async.ca.shared.global [%r4], [%rd3], 4;
    cp.async.mbarrier.arrive.noinc.shared::cta.b64 [full];
ISSUED:
    bar.sync 0;
WAITFULL:
    mbarrier.try_wait.parity.shared::cta.b64 %p2, [full], 0;
    @!%p2 bra WAITFULL;
    ld.shared.u32 %r8, [%r4];
    mul.wide.u32 %rd4, %r0, 4;
    add.s64 %rd4, %rd1, %rd4;
    st.global.u32 [%rd4], %r8;)";
  for (uint64_t seed = 1; seed <= 20; ++seed)
    ASSERT_EQ(run(body, seed), status::Success) << session.reportText();
  std::string unwaited =
      replaced(replaced(body, "@!%p2 bra WAITFULL;", ""),
               "mbarrier.try_wait.parity.shared::cta.b64 %p2, [full], 0;", "");
  unsigned inFlight = found(unwaited, "asynchronous copy in flight");
  unsigned race = found(unwaited, "race");
  EXPECT_GE(inFlight, 3u);
  EXPECT_GE(race, 1u);
  for (uint64_t seed = 1; seed <= 20; ++seed)
    EXPECT_NE(run(unwaited, seed), status::Success) << seed;
}

TEST_F(CopyArrival, GroupsStillCompleteForTheirThread) {
  // Told of both ways: the copying thread itself waits for its groups.
  const char *const body = R"(
    setp.ne.u32 %p0, %r0, 0;
    @%p0 bra READY;
    mbarrier.init.shared::cta.b64 [full], 32;
    mbarrier.init.shared::cta.b64 [empty], 32;
READY:
    bar.sync 0;
    shl.b32 %r3, %r0, 2;
    mov.u32 %r4, tile;
    add.u32 %r4, %r4, %r3;
    cvt.u64.u32 %rd2, %r3;
    add.s64 %rd3, %rd0, %rd2;
    add.s64 %rd4, %rd1, %rd2;
    cp.async.ca.shared.global [%r4], [%rd3], 4;
    cp.async.mbarrier.arrive.noinc.shared::cta.b64 [full];
    cp.async.commit_group;
    cp.async.ca.shared.global [%r4+512], [%rd3+4], 4;
    cp.async.mbarrier.arrive.noinc.shared::cta.b64 [empty];
    cp.async.commit_group;
    cp.async.wait_group 1;
    ld.shared.u32 %r8, [%r4];
    cp.async.wait_group 0;
    ld.shared.u32 %r9, [%r4+512];
    add.u32 %r8, %r8, %r9;
    st.global.u32 [%rd4], %r8;)";
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    ASSERT_EQ(run(body, seed, 32), status::Success) << session.reportText();
    auto got = session.read<uint32_t>(out, 32);
    for (uint32_t i = 0; i < 32; ++i)
      ASSERT_EQ(got[i], 2 * (3 * i + 1) + 3) << seed;
  }
  unsigned wrong = 0;
  std::string early = replaced(body, "cp.async.wait_group 0;", "");
  for (uint64_t seed = 1; seed <= 20; ++seed)
    wrong += run(early, seed, 32) != status::Success;
  EXPECT_EQ(wrong, 20u);
}

TEST_F(CopyArrival, LeavingTooEarlyIsFound) {
  std::string body = R"(
    mbarrier.init.shared::cta.b64 [full], 64;
    mov.u32 %r4, tile;
    cp.async.ca.shared.global [%r4], [%rd0], 4;
    cp.async.mbarrier.arrive.shared::cta.b64 [full];)";
  unsigned count = 0;
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    run(body, seed, 1);
    count += session.reportText().find("has not been waited for") !=
             std::string::npos;
  }
  EXPECT_GE(count, 5u);
}

TEST_F(CopyArrival, TheAsyncProxyNeedsAFence) {
  // Thread 0 copies 16 bytes, waits, and stores them by a bulk copy.
  std::string body = R"(
    mbarrier.init.shared::cta.b64 [full], 1;
    mov.u32 %r4, tile;
    cp.async.cg.shared.global [%r4], [%rd0], 16;
    cp.async.mbarrier.arrive.noinc.shared::cta.b64 [full];
WAITFULL:
    mbarrier.try_wait.parity.shared::cta.b64 %p2, [full], 0;
    @!%p2 bra WAITFULL;
    fence.proxy.async.shared::cta;
    cp.async.bulk.global.shared::cta.bulk_group [%rd1], [%r4], 16;
    cp.async.bulk.commit_group;
    cp.async.bulk.wait_group 0;)";
  for (uint64_t seed = 1; seed <= 10; ++seed)
    ASSERT_EQ(run(body, seed, 1), status::Success) << session.reportText();
  EXPECT_EQ(session.read<uint32_t>(out, 4)[3], 10u);
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    run(replaced(body, "fence.proxy.async.shared::cta;", ""), seed, 1);
    EXPECT_THAT(session.reportText(), HasSubstr("missing proxy fence"));
  }
}

} // namespace
