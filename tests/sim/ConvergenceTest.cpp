//===- ConvergenceTest.cpp - Which lanes of a warp run together -----------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Lanes of a split warp wait for those that an instruction names, wherever the
// compiler has put their code; a group that names its own mask is on its own;
// and lanes that can never meet are told who is missing.
//
//===----------------------------------------------------------------------===//

#include "tests/sim/PtxSnippet.h"
#include "tests/sim/SimHarness.h"

#include <algorithm>
#include <functional>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

using namespace quern;
using namespace quern::simtest;
using testing::HasSubstr;
namespace status = quern::cuda::status;

namespace {

class Convergence : public testing::Test {
protected:
  /// Runs a snippet on "in" (64 words: 7 i mod 5) and "out" (64 words), %rd3
  /// being the thread's word of `out` and %r2 that of `in`, with 512 bytes of
  /// shared memory `tile`, %r3 being the address of the thread's word there.
  cuda::DriverStatus run(const std::string &body, unsigned threads = 32,
                         unsigned blocks = 1) {
    std::string start = R"(
    mul.wide.u32 %rd2, %r0, 4;
    add.s64 %rd3, %rd1, %rd2;
    add.s64 %rd4, %rd0, %rd2;
    ld.global.u32 %r2, [%rd4];
    mov.u32 %r4, tile;
    shl.b32 %r3, %r0, 2;
    add.u32 %r3, %r3, %r4;
)";
    EXPECT_TRUE(session.load(
        ptxSnippet(start + body, ".shared .align 16 .b8 tile[512];\n")))
        << session.reportText();
    std::vector<uint32_t> words(64);
    for (uint32_t i = 0; i < 64; ++i)
      words[i] = value(i);
    auto in = session.buffer("in", words, true);
    out = session.buffer("out", std::vector<uint32_t>(64, 0));
    Session::Shape shape;
    shape.grid[0] = blocks;
    shape.block[0] = threads;
    return session.launch("test", shape, in, out, 64u);
  }
  static uint32_t value(uint32_t i) { return 7 * i % 5; }
  void expectOut(const std::string &body,
                 const std::function<uint32_t(uint32_t)> &expected,
                 unsigned threads = 32) {
    ASSERT_EQ(run(body, threads), status::Success) << session.reportText();
    auto got = session.read<uint32_t>(out, threads);
    for (uint32_t i = 0; i < threads; ++i)
      EXPECT_EQ(got[i], expected(i)) << "thread " << i;
  }
  /// The one report of a launch that failed.
  Diagnostic onlyReport() {
    std::vector<Diagnostic> all = session.reports();
    EXPECT_EQ(all.size(), 1u) << session.reportText();
    return all.empty() ? Diagnostic() : all.front();
  }
  Session session;
  cuda::DevicePtr out = 0;
};

// Compilers put a block that is rarely needed behind the place where it joins.
const char *const coldBlock = R"(
    mov.u32 %r5, 7;
    setp.eq.u32 %p1, %r0, 5;
    @%p1 bra COLD;
JOIN:
    MEET
    shfl.sync.idx.b32 %r6, %r5, 5, 31, -1;
    st.global.u32 [%rd3], %r6;
    ret;
COLD:
    mov.u32 %r5, 9;
    bra JOIN;)";

TEST_F(Convergence, AColdBlockBehindTheJoin) {
  for (const char *meet :
       {"", "bar.sync 0;", "barrier.sync.aligned 0;", "bar.warp.sync -1;",
        "vote.sync.ballot.b32 %r7, %p1, -1;",
        "movmatrix.sync.aligned.m8n8.trans.b16 %r7, %r0;"}) {
    SCOPED_TRACE(meet);
    expectOut(replaced(coldBlock, "MEET", meet), [](uint32_t) { return 9; });
  }
}

TEST_F(Convergence, ABarrierWaitsForThoseThatHaveNotExited) {
  // The exit stands behind the barrier.
  const char *const earlyExit = R"(
    setp.ge.u32 %p1, %r0, 50;
    @%p1 bra OUT;
    st.shared.u32 [%r3], %r0;
    bar.sync 0;
    xor.b32 %r5, %r3, 4;
    ld.shared.u32 %r6, [%r5];
    st.global.u32 [%rd3], %r6;
OUT:
    ret;)";
  expectOut(earlyExit, [](uint32_t i) { return i < 50 ? i ^ 1 : 0; }, 64);
}

TEST_F(Convergence, AnExitEndsTheWaitOfParkedLanes) {
  // Lane 31 leaves only after a loop that the others do not see.
  expectOut(R"(
    mov.u32 %r5, 0;
    setp.eq.u32 %p1, %r0, 31;
    @%p1 bra LATE;
    vote.sync.ballot.b32 %r5, 1, -1;
    st.global.u32 [%rd3], %r5;
    ret;
LATE:
    add.u32 %r5, %r5, 1;
    setp.lt.u32 %p2, %r5, 3000;
    @%p2 bra LATE;
    ret;)",
            [](uint32_t i) { return i == 31 ? 0 : 0x7fffffffu; });
}

TEST_F(Convergence, SyncwarpMeetsFromDifferentPlaces) {
  // The low half reads what the high half writes before its __syncwarp.
  expectOut(R"(
    st.shared.u32 [%r3], 0;
    bar.warp.sync -1;
    xor.b32 %r5, %r3, 64;
    setp.gt.u32 %p1, %r0, 15;
    @%p1 bra HIGH;
    bar.warp.sync -1;
    ld.shared.u32 %r6, [%r5];
    bra DONE;
HIGH:
    mul.lo.u32 %r7, %r0, 3;
    st.shared.u32 [%r3], %r7;
    bar.warp.sync -1;
    ld.shared.u32 %r6, [%r5];
DONE:
    st.global.u32 [%rd3], %r6;)",
            [](uint32_t i) { return i < 16 ? 3 * (i + 16) : 0; });
}

TEST_F(Convergence, SyncwarpOfHalvesThatDoNotWaitForEachOther) {
  expectOut(R"(
    mov.u32 %r5, 0xffff;
    setp.gt.u32 %p1, %r0, 15;
    @%p1 bra HIGH;
    bar.warp.sync %r5;
    bra DONE;
HIGH:
    shl.b32 %r5, %r5, 16;
    bar.warp.sync %r5;
DONE:
    st.global.u32 [%rd3], %r5;)",
            [](uint32_t i) { return i < 16 ? 0xffffu : 0xffff0000u; });
}

TEST_F(Convergence, EachGroupOfAMaskIsOnItsOwn) {
  // Tiles of 8 lanes, %r5 being the tile's mask.
  const std::string tile = R"(
    and.b32 %r4, %r0, 24;
    mov.u32 %r5, 0xff;
    shl.b32 %r5, %r5, %r4;
    setp.gt.u32 %p1, %r2, 2;
)";
  const std::string keep = "st.global.u32 [%rd3], %r6;";
  const std::string keepPredicate = "selp.u32 %r6, 1, 0, %p2;" + keep;
  auto inTile = [](uint32_t i, const std::function<bool(uint32_t)> &f) {
    uint32_t bits = 0;
    for (uint32_t j = i & 24; j < (i & 24) + 8; ++j)
      bits |= uint32_t(f(j)) << j;
    return bits;
  };
  auto large = [&](uint32_t i) {
    return inTile(i, [](uint32_t j) { return value(j) > 2; });
  };
  auto firstHalf = [&](uint32_t i) {
    return inTile(i, [](uint32_t j) { return j < 12; });
  };
  auto same = [&](uint32_t i) {
    return inTile(i, [=](uint32_t j) { return value(j) == value(i); });
  };
  expectOut(tile + "vote.sync.ballot.b32 %r6, %p1, %r5;" + keep, large);
  // True in tile 0, in a part of tile 1, and nowhere else.
  const std::string some = tile + "setp.lt.u32 %p1, %r0, 12;";
  expectOut(some + "vote.sync.any.pred %p2, %p1, %r5;" + keepPredicate,
            [&](uint32_t i) { return firstHalf(i) != 0; });
  expectOut(some + "vote.sync.all.pred %p2, %p1, %r5;" + keepPredicate,
            [](uint32_t i) { return i < 8; });
  expectOut(some + "vote.sync.uni.pred %p2, %p1, %r5;" + keepPredicate,
            [](uint32_t i) { return i < 8 || i > 15; });
  expectOut(tile + "match.any.sync.b32 %r6, %r2, %r5;" + keep, same);
  expectOut(tile + "match.all.sync.b32 %r6|%p2, %r4, %r5;" + keep,
            [](uint32_t i) { return 0xffu << (i & 24); });
  expectOut(tile + "redux.sync.add.u32 %r6, %r2, %r5;" + keep, [](uint32_t i) {
    uint32_t sum = 0;
    for (uint32_t j = i & 24; j < (i & 24) + 8; ++j)
      sum += value(j);
    return sum;
  });
  expectOut(tile + "redux.sync.max.s32 %r6, %r0, %r5;" + keep,
            [](uint32_t i) { return i | 7; });
}

TEST_F(Convergence, TheMaskThatMatchFoundSumsEachGroup) {
  // m = __match_any_sync(~0u, x); __reduce_add_sync(m, 1)
  expectOut(R"(
    match.any.sync.b32 %r5, %r2, -1;
    mov.u32 %r6, 1;
    redux.sync.add.s32 %r6, %r6, %r5;
    st.global.u32 [%rd3], %r6;)",
            [](uint32_t i) {
              uint32_t count = 0;
              for (uint32_t j = 0; j < 32; ++j)
                count += value(j) == value(i);
              return count;
            });
}

TEST_F(Convergence, MasksThatContradictEachOther) {
  EXPECT_EQ(run("setp.eq.u32 %p1, %r0, 3;\nselp.u32 %r5, 0xf8, -1, %p1;\n"
                "vote.sync.ballot.b32 %r6, %p1, %r5;\n"),
            status::LaunchFailed);
  EXPECT_THAT(onlyReport().message,
              HasSubstr("divergent collective: the member mask is 0xffffffff, "
                        "but threads 0x8 in it come with another mask"));
}

TEST_F(Convergence, LanesThatNeverMeetAreToldOnce) {
  EXPECT_EQ(run(R"(
    setp.gt.u32 %p1, %r0, 9;
    @%p1 bra HIGH;
    shfl.sync.bfly.b32 %r6, %r0, 1, 31, -1;
    bra DONE;
HIGH:
    shfl.sync.bfly.b32 %r6, %r2, 1, 31, -1;
DONE:
    ret;)"),
            status::LaunchFailed);
  Diagnostic report = onlyReport();
  EXPECT_THAT(report.message,
              HasSubstr("the member mask is 0xffffffff but only threads 0x3ff "
                        "of the warp are here"));
  EXPECT_THAT(report.notes, testing::Contains(HasSubstr(
                                "threads 0xfffffc00 of the warp wait at")));
}

TEST_F(Convergence, AShuffleGivesTheDefinednessOfTheLaneItReads) {
  // int base; if (lane == 0) base = ...; base = __shfl_sync(~0u, base, 0);
  const char *const broadcast = R"(
    setp.eq.u32 %p1, %r0, 0;
    @%p1 mov.u32 %r5, 42;
    shfl.sync.idx.b32 %r6, %r5, 0, 31, -1;
    st.global.u32 [%rd3], %r6;)";
  expectOut(broadcast, [](uint32_t) { return 42; });
  EXPECT_EQ(run(replaced(broadcast, "%r5, 0, 31", "%r5, 1, 31")),
            status::LaunchFailed);
  EXPECT_THAT(onlyReport().message,
              HasSubstr("never written in 32 of 32 lanes"));
}

TEST_F(Convergence, LanesOfOneStoreThatDisagree) {
  // A histogram without atomics.
  const char *const histogram = R"(
    mul.wide.u32 %rd5, %r2, 4;
    add.s64 %rd5, %rd1, %rd5;
    st.global.u32 [%rd5], %r0;)";
  EXPECT_EQ(run(histogram), status::LaunchFailed);
  EXPECT_THAT(onlyReport().message,
              HasSubstr("race: lanes 0 and 5 of the warp write different "
                        "values to offset 0 of out"));
  EXPECT_EQ(run("shl.b32 %r5, %r2, 2;\nadd.u32 %r4, %r4, %r5;\n"
                "st.shared.u32 [%r4], %r0;"),
            status::LaunchFailed);
  EXPECT_THAT(onlyReport().message,
              HasSubstr("different values to shared offset 0"));
  // The same value, and volatile stores, are nobody's fault.
  EXPECT_EQ(run(replaced(histogram, "%r0;", "7;")), status::Success)
      << session.reportText();
  EXPECT_EQ(run(replaced(histogram, "st.global", "st.volatile.global")),
            status::Success)
      << session.reportText();
  // Places in any order, with none twice.
  EXPECT_EQ(run("xor.b32 %r5, %r0, 21;\nmul.wide.u32 %rd5, %r5, 4;\n"
                "add.s64 %rd5, %rd1, %rd5;\nst.global.u32 [%rd5], %r0;"),
            status::Success)
      << session.reportText();
}

} // namespace
