//===- MemoryOrderTest.cpp - Order between warps and blocks ---------------===//
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
using testing::Not;
namespace status = quern::cuda::status;

namespace {

class MemoryOrder : public testing::Test {
protected:
  /// Runs a snippet on "in" (256 words of 5) and "out" (256 zero words).
  cuda::DriverStatus run(const std::string &body, unsigned blocks,
                         unsigned threads = 32, bool cooperative = false,
                         uint64_t seed = 1) {
    EXPECT_TRUE(session.load(ptxSnippet("mov.u32 %r2, %ctaid.x;\n" + body)))
        << session.reportText();
    auto in = session.buffer("in", std::vector<uint32_t>(256, 5));
    out = session.buffer("out", std::vector<uint32_t>(256, 0));
    sim::SimOptions options;
    options.seed = seed;
    options.quantum = seed % 2 ? 64 : 3;
    options.watchdog = 1 << 20;
    options.hostThreads = hostThreads;
    session.setOptions(options);
    Session::Shape shape;
    shape.grid[0] = blocks;
    shape.block[0] = threads;
    shape.cooperative = cooperative;
    return session.launch("test", shape, in, out, 64u);
  }
  /// Clean under many schedules, with a one in out[0] at the end.
  void expectClean(const std::string &body, unsigned blocks,
                   unsigned threads = 32, bool cooperative = false) {
    for (uint64_t seed = 1; seed <= 20; ++seed) {
      ASSERT_EQ(run(body, blocks, threads, cooperative, seed), status::Success)
          << seed << session.reportText();
      ASSERT_EQ(session.read<uint32_t>(out, 1)[0], 1u) << seed;
    }
  }
  /// A report with `text` under every schedule.
  void expectFault(const std::string &body, const std::string &text,
                   unsigned blocks, unsigned threads = 32,
                   bool cooperative = false) {
    for (uint64_t seed = 1; seed <= 10; ++seed) {
      EXPECT_NE(run(body, blocks, threads, cooperative, seed), status::Success)
          << seed;
      EXPECT_THAT(session.reportText(), HasSubstr(text)) << seed;
    }
  }
  Session session;
  cuda::DevicePtr out = 0;
  unsigned hostThreads = 0;
};

TEST_F(MemoryOrder, TwoBlocksWriteOneWord) {
  expectFault("st.global.u32 [%rd1], %r2;", "race: write at offset 0 of out",
              2);
  EXPECT_THAT(session.reportText(), HasSubstr("of block ("));
  EXPECT_THAT(session.reportText(), HasSubstr("the write by warp 0"));
}

TEST_F(MemoryOrder, BlocksInDifferentShardsReadAndWrite) {
  // Block 0 writes what block 5 reads.
  const char *body = R"(
    setp.ne.u32 %p0, %r2, 0;
    @!%p0 st.global.u32 [%rd1+16], %r0;
    setp.eq.u32 %p1, %r2, 5;
    @%p1 ld.global.u32 %r3, [%rd1+16];)";
  expectFault(body, "offset 16 of out", 8, 1);
}

TEST_F(MemoryOrder, DisjointBytesOfAWordAreNoRace) {
  expectClean(R"(
    cvt.u64.u32 %rd2, %r2;
    add.s64 %rd3, %rd1, %rd2;
    setp.eq.u32 %p0, %r2, 0;
    selp.u32 %r3, 1, 0, %p0;
    setp.ne.u32 %p1, %r0, 0;
    @%p1 bra DONE;
    st.global.u8 [%rd3], %r3;
DONE:)",
              4);
}

TEST_F(MemoryOrder, WarpsOfABlockRaceInGlobalMemory) {
  const char *body = R"(
    xor.b32 %r3, %r0, 32;
    mul.wide.u32 %rd2, %r0, 4;
    add.s64 %rd3, %rd1, %rd2;
    st.global.u32 [%rd3], 1;
    bar.sync 0;
    mul.wide.u32 %rd2, %r3, 4;
    add.s64 %rd3, %rd1, %rd2;
    ld.global.u32 %r4, [%rd3];)";
  expectClean(body, 1, 64);
  expectFault(replaced(body, "bar.sync 0;", ""), "race", 1, 64);
}

// Block 0 publishes in[...] through out[1]; block 1 copies it to out[0].
const char *const messagePassing = R"(
    setp.ne.u32 %p0, %r2, 0;
    @%p0 bra READER;
    st.global.u32 [%rd0+128], 1;
    bar.sync 0;
    setp.ne.u32 %p1, %r0, 0;
    @%p1 bra DONE;
    fence.acq_rel.gpu;
    atom.add.relaxed.gpu.global.u32 %r3, [%rd1+4], 1;
    bra DONE;
READER:
    setp.ne.u32 %p1, %r0, 0;
    @%p1 bra JOIN;
WAIT:
    ld.acquire.gpu.global.u32 %r4, [%rd1+4];
    setp.eq.u32 %p2, %r4, 0;
    @%p2 bra WAIT;
JOIN:
    bar.sync 0;
    ld.global.u32 %r5, [%rd0+128];
    @%p1 bra DONE;
    st.global.u32 [%rd1], %r5;
DONE:)";

TEST_F(MemoryOrder, MessagePassingBetweenBlocks) {
  // One lane writes, so that the store is no race of its own.
  std::string body =
      replaced(messagePassing, "st.global.u32 [%rd0+128], 1;",
               "setp.ne.u32 %p5, %r0, 40;\n@!%p5 st.global.u32 [%rd0+128], 1;");
  expectClean(body, 2, 64, true);
  expectFault(replaced(body, "fence.acq_rel.gpu;", ""), "race", 2, 64, true);
  expectFault(replaced(body, "fence.acq_rel.gpu;", "fence.acq_rel.cta;"),
              "race", 2, 64, true);
  expectFault(replaced(body, "ld.acquire.gpu", "ld.relaxed.gpu"), "race", 2, 64,
              true);
  expectClean(replaced(replaced(body, "ld.acquire.gpu", "ld.relaxed.gpu"),
                       "JOIN:", "fence.acq_rel.gpu;\nJOIN:"),
              2, 64, true);
  // A release at .gpu in place of fence and relaxed atomic.
  std::string released = replaced(replaced(body, "fence.acq_rel.gpu;", ""),
                                  "add.relaxed.gpu", "add.release.gpu");
  expectClean(released, 2, 64, true);
  expectFault(replaced(released, "add.release.gpu", "add.release.cta"), "race",
              2, 64, true);
  // The barrier between the writers and the publishing thread.
  expectFault(replaced(body, "bar.sync 0;", ""), "race", 2, 64, true);
}

TEST_F(MemoryOrder, SpinningWithoutCoResidenceIsADeadlock) {
  // Blocks run one after another: sooner or later the reader comes first.
  std::string body =
      replaced(messagePassing, "st.global.u32 [%rd0+128], 1;",
               "setp.ne.u32 %p5, %r0, 40;\n@!%p5 st.global.u32 [%rd0+128], 1;");
  bool found = false;
  for (uint64_t seed = 1; seed <= 10; ++seed)
    if (run(body, 2, 64, false, seed) != status::Success) {
      found = true;
      EXPECT_THAT(session.reportText(), HasSubstr("deadlock"));
      EXPECT_THAT(session.reportText(), HasSubstr("ld.acquire.gpu.global.u32"));
    }
  EXPECT_TRUE(found);
}

// The last block to come sums what all have stored; it leaves 1 in out[0] if
// the sum is right.
const char *const lastBlock = R"(
    mul.wide.u32 %rd2, %r2, 4;
    add.s64 %rd3, %rd1, %rd2;
    st.global.u32 [%rd3+128], 2;
    fence.acq_rel.gpu;
    atom.inc.relaxed.gpu.global.u32 %r3, [%rd1+4], 5;
    setp.ne.u32 %p0, %r3, 5;
    @%p0 bra DONE;
    fence.acq_rel.gpu;
    mov.u32 %r4, 0;
    mov.u32 %r5, 0;
    mov.u64 %rd4, %rd1;
SUM:
    ld.global.u32 %r6, [%rd4+128];
    add.u32 %r4, %r4, %r6;
    add.s64 %rd4, %rd4, 4;
    add.u32 %r5, %r5, 1;
    setp.lt.u32 %p1, %r5, 6;
    @%p1 bra SUM;
    sub.u32 %r4, %r4, 11;
    st.global.u32 [%rd1], %r4;
DONE:)";

TEST_F(MemoryOrder, LastBlockReadsWhatAllWrote) {
  expectClean(lastBlock, 6, 1);
  expectFault(replaced(lastBlock, "fence.acq_rel.gpu;", ""), "race", 6, 1);
  expectFault(replaced(lastBlock, "fence.acq_rel.gpu;", "", 1), "race", 6, 1);
}

TEST_F(MemoryOrder, NonCoherentReadOfFreshData) {
  expectFault(R"(
    mul.wide.u32 %rd2, %r0, 4;
    add.s64 %rd3, %rd1, %rd2;
    st.global.u32 [%rd3], 1;
    bar.sync 0;
    ld.global.nc.u32 %r4, [%rd3];)",
              "non-coherent read: .nc read at offset", 1, 64);
  // The other way round, too.
  expectFault(R"(
    mul.wide.u32 %rd2, %r0, 4;
    add.s64 %rd3, %rd1, %rd2;
    ld.global.nc.u32 %r4, [%rd3];
    bar.sync 0;
    st.global.u32 [%rd3], 1;)",
              "non-coherent read", 1, 64);
}

TEST_F(MemoryOrder, AtomicsNeedScopesThatIncludeEachOther) {
  const char *body = "setp.ne.u32 %p0, %r0, 0;\n"
                     "@!%p0 red.relaxed.gpu.global.add.u32 [%rd1+4], 1;";
  EXPECT_EQ(run(body, 4), status::Success) << session.reportText();
  EXPECT_EQ(session.read<uint32_t>(out, 2)[1], 4u);
  expectFault(replaced(body, ".gpu.", ".cta."), "race", 4);
}

TEST_F(MemoryOrder, ResultsDoNotDependOnHostThreads) {
  // Races between shards and within, and many counters.
  const char *body = R"(
    and.b32 %r3, %r2, 7;
    mul.wide.u32 %rd2, %r3, 4;
    add.s64 %rd3, %rd1, %rd2;
    st.global.u32 [%rd3], %r0;
    ld.global.u32 %r4, [%rd0];
    st.global.u32 [%rd3+64], %r4;)";
  for (uint64_t seed = 1; seed <= 4; ++seed) {
    hostThreads = 1;
    run(body, 32, 64, false, seed);
    std::string alone = session.reportText();
    sim::Counters counters = session.counters();
    uint64_t faults = session.device.lastFaultCount();
    EXPECT_THAT(alone, HasSubstr("race"));
    for (unsigned threads : {2u, 4u}) {
      hostThreads = threads;
      run(body, 32, 64, false, seed);
      EXPECT_EQ(session.reportText(), alone);
      EXPECT_EQ(session.device.lastFaultCount(), faults);
      EXPECT_EQ(session.counters().warpInstructions, counters.warpInstructions);
      EXPECT_EQ(session.counters().globalSectors, counters.globalSectors);
      EXPECT_EQ(session.counters().blocks, 32u);
    }
  }
}

TEST_F(MemoryOrder, LaunchesOfAStreamDoNotRace) {
  const char *body = "st.global.u32 [%rd1], %r2;";
  for (int i = 0; i < 3; ++i)
    EXPECT_EQ(run(body, 1), status::Success) << session.reportText();
}

} // namespace
