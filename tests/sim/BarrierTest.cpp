//===- BarrierTest.cpp - Barriers of a block ------------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// The forms without .aligned, which the threads of a warp may reach one after
// the other, and arrivals that nobody waits for.
//
//===----------------------------------------------------------------------===//

#include "tests/sim/PtxSnippet.h"
#include "tests/sim/SimHarness.h"

#include <functional>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

using namespace quern;
using namespace quern::simtest;
using testing::HasSubstr;
using testing::Not;
namespace status = quern::cuda::status;

namespace {

class BarrierMachine : public testing::Test {
protected:
  /// Runs a snippet on "in" (128 words: 3 i) and "out" (128 words), with 512
  /// bytes of shared memory `tile`.
  cuda::DriverStatus run(const std::string &body, uint64_t seed = 1,
                         unsigned threads = 64) {
    EXPECT_TRUE(
        session.load(ptxSnippet(body, ".shared .align 16 .b8 tile[512];\n")))
        << session.reportText();
    std::vector<uint32_t> words(128);
    for (uint32_t i = 0; i < 128; ++i)
      words[i] = 3 * i;
    auto in = session.buffer("in", words, true);
    out = session.buffer("out", std::vector<uint32_t>(128, 0));
    sim::SimOptions options;
    options.seed = seed;
    options.quantum = seed % 2 ? 64 : 2;
    session.setOptions(options);
    Session::Shape shape;
    shape.block[0] = threads;
    return session.launch("test", shape, in, out, 64u);
  }
  void expectOut(const std::string &body,
                 const std::function<uint32_t(uint32_t)> &value,
                 unsigned threads = 64) {
    for (uint64_t seed = 1; seed <= 12; ++seed) {
      ASSERT_EQ(run(body, seed, threads), status::Success)
          << seed << session.reportText();
      auto got = session.read<uint32_t>(out, threads);
      for (uint32_t i = 0; i < threads; ++i)
        ASSERT_EQ(got[i], value(i)) << "thread " << i << ", seed " << seed;
    }
  }
  Session session;
  cuda::DevicePtr out = 0;
};

// Every thread stores its number, meets, and reads that of thread 63 - i: the
// halves of each warp come from different places.
const char *const halves = R"(
    mul.wide.u32 %rd2, %r0, 4;
    add.s64 %rd3, %rd1, %rd2;
    shl.b32 %r2, %r0, 2;
    mov.u32 %r3, tile;
    add.u32 %r4, %r3, %r2;
    xor.b32 %r5, %r2, 252;
    add.u32 %r5, %r3, %r5;
    and.b32 %r6, %r0, 16;
    setp.ne.u32 %p1, %r6, 0;
    @%p1 bra HIGH;
    st.shared.u32 [%r4], %r0;
    barrier.sync 1, 64;
    ld.shared.u32 %r7, [%r5];
    bra DONE;
HIGH:
    add.u32 %r8, %r0, 1000;
    st.shared.u32 [%r4], %r8;
    barrier.sync 1, 64;
    ld.shared.u32 %r7, [%r5];
DONE:
    st.global.u32 [%rd3], %r7;)";

uint32_t halvesValue(uint32_t i) {
  uint32_t other = 63 - i;
  return other + (other & 16 ? 1000 : 0);
}

TEST_F(BarrierMachine, PartsOfAWarpMeetFromDifferentPlaces) {
  expectOut(halves, halvesValue);
  EXPECT_EQ(session.counters().barriers, 1u);
  // The same for all threads of the block: no count.
  std::string whole =
      replaced(halves, "barrier.sync 1, 64;", "barrier.sync 1;");
  expectOut(replaced(whole, "barrier.sync 1, 64;", "barrier.sync 1;"),
            halvesValue);
}

TEST_F(BarrierMachine, AlignedFormsNeedTheWholeWarp) {
  for (const char *form : {"bar.sync 1, 64;", "barrier.sync.aligned 1, 64;"}) {
    EXPECT_EQ(run(replaced(halves, "barrier.sync 1, 64;", form)),
              status::LaunchFailed);
    EXPECT_THAT(session.reportText(),
                HasSubstr("divergent barrier: only 16 of the warp's 32 "
                          "threads reach the barrier"));
  }
}

TEST_F(BarrierMachine, TheRestOfAWarpNeverComes) {
  // The high halves go past their barrier.
  EXPECT_EQ(run(replaced(halves, "barrier.sync 1, 64;",
                         "SPIN: ld.volatile.shared.u32 %r9, [%r4];\n"
                         "setp.eq.u32 %p2, %r9, %r8;\n@%p2 bra SPIN;",
                         1)),
            status::LaunchFailed);
  EXPECT_THAT(session.reportText(), HasSubstr("deadlock"));
  // Those that exit are not waited for.
  std::string exits = replaced(halves, "barrier.sync 1, 64;",
                               "st.global.u32 [%rd3], %r8;\nret;", 1);
  expectOut(replaced(exits, "xor.b32 %r5, %r2, 252;", "xor.b32 %r5, %r2, 128;"),
            [](uint32_t i) { return i & 16 ? i + 1000 : i ^ 32; });
}

TEST_F(BarrierMachine, DeadlockNamesTheThreads) {
  // Half of warp 0 waits at barrier 1, the other at barrier 2.
  EXPECT_EQ(
      run(replaced(halves, "barrier.sync 1, 64;", "barrier.sync 2, 64;", 1)),
      status::LaunchFailed);
  EXPECT_THAT(session.reportText(),
              HasSubstr("with threads 0xffff for the rest of the warp, threads "
                        "0xffff0000"));
}

TEST_F(BarrierMachine, BarriersNamedByRegisters) {
  // Threads of a warp that name barriers 3 and 4 wait for each other in vain;
  // even threads that name 3 from another place than odd ones do not.
  std::string named = replaced(halves, "barrier.sync 1, 64;",
                               "mov.u32 %r9, 3;\nbarrier.sync %r9, 64;");
  expectOut(replaced(named, "barrier.sync 1, 64;",
                     "mov.u32 %r9, 3;\nmov.u32 %r10, 64;\n"
                     "barrier.sync %r9, %r10;"),
            halvesValue);
  EXPECT_EQ(run("and.b32 %r2, %r0, 1;\nadd.u32 %r2, %r2, 3;\n"
                "barrier.sync %r2, 64;"),
            status::LaunchFailed);
  EXPECT_THAT(session.reportText(), HasSubstr("for the rest of the warp"));
  EXPECT_EQ(run("and.b32 %r2, %r0, 1;\nadd.u32 %r2, %r2, 3;\n"
                "bar.sync %r2, 64;"),
            status::LaunchFailed);
  EXPECT_THAT(session.reportText(),
              HasSubstr("divergent barrier: the warp's threads name different "
                        "barriers"));
}

// Warp 0 fills the tile, its halves arriving at different instructions, one of
// them going on at once; warp 1 waits and reads.
const char *const handOver = R"(
    mul.wide.u32 %rd2, %r0, 4;
    add.s64 %rd3, %rd1, %rd2;
    and.b32 %r2, %r0, 31;
    shl.b32 %r2, %r2, 2;
    mov.u32 %r3, tile;
    add.u32 %r4, %r3, %r2;
    mov.u32 %r7, 0;
    setp.ge.u32 %p1, %r0, 32;
    @%p1 bra READ;
    st.shared.u32 [%r4], %r0;
    setp.ge.u32 %p2, %r0, 16;
    @%p2 bra WAITS;
    barrier.arrive 5, 64;
    mov.u32 %r7, 70;
    bra DONE;
WAITS:
    barrier.sync 5, 64;
    mov.u32 %r7, 80;
    bra DONE;
READ:
    barrier.sync 5, 64;
    ld.shared.u32 %r7, [%r4];
DONE:
    st.global.u32 [%rd3], %r7;)";

TEST_F(BarrierMachine, PartsMayArriveAndWait) {
  expectOut(handOver, [](uint32_t i) {
    return i < 16 ? 70 : i < 32 ? 80 : i - 32;
  });
  // Without the barrier of one half the warp never counts.
  EXPECT_EQ(run(replaced(handOver, "barrier.arrive 5, 64;",
                         "WAIT: ld.volatile.shared.u32 %r9, [%r4];\n"
                         "setp.eq.u32 %p3, %r9, %r0;\n@%p3 bra WAIT;")),
            status::LaunchFailed);
}

TEST_F(BarrierMachine, PartsBringTheirPredicates) {
  const char *const sums = R"(
    mul.wide.u32 %rd2, %r0, 4;
    add.s64 %rd3, %rd1, %rd2;
    and.b32 %r2, %r0, 3;
    setp.eq.u32 %p1, %r2, 0;
    and.b32 %r3, %r0, 8;
    setp.eq.u32 %p2, %r3, 0;
    @%p2 bra LOW;
    barrier.red.popc.u32 %r4, 0, %p1;
    bra DONE;
LOW:
    barrier.red.popc.u32 %r5, 0, 64, !%p1;
    add.u32 %r4, %r5, 100;
DONE:
    st.global.u32 [%rd3], %r4;)";
  // With the counts alike: 8 of 32 high threads, 24 of 32 low ones.
  expectOut(replaced(sums, "%r4, 0, %p1", "%r4, 0, 64, %p1"),
            [](uint32_t i) { return i & 8 ? 32u : 132u; });
  EXPECT_EQ(run(sums), status::LaunchFailed);
  EXPECT_THAT(session.reportText(), HasSubstr("different thread counts"));
}

TEST_F(BarrierMachine, ArrivalsThatNobodyWaitsFor) {
  EXPECT_EQ(run("setp.ge.u32 %p1, %r0, 32;\n@%p1 bra L;\nbar.arrive 3, 64;\n"
                "L:\n"),
            status::LaunchFailed);
  EXPECT_THAT(session.reportText(),
              HasSubstr("barrier misuse: the block exits while 32 of 64 "
                        "threads have arrived at barrier 3"));
  EXPECT_THAT(session.reportText(), HasSubstr("bar.arrive"));
  // A second round that is begun and not ended.
  EXPECT_EQ(run("setp.ge.u32 %p1, %r0, 32;\n@%p1 bra L;\nbar.arrive 3, 64;\n"
                "bar.arrive 4, 64;\nbra M;\nL:\nbar.sync 3, 64;\nM:\n"),
            status::LaunchFailed);
  EXPECT_THAT(session.reportText(), HasSubstr("barrier 4"));
  EXPECT_THAT(session.reportText(), Not(HasSubstr("barrier 3")));
  // Complete arrivals are nobody's business.
  EXPECT_EQ(run("bar.arrive 3, 64;"), status::Success) << session.reportText();
}

} // namespace
