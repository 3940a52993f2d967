//===- MbarrierTest.cpp - mbarriers, proxies and bulk copies --------------===//
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
using testing::AnyOf;
using testing::HasSubstr;
namespace status = quern::cuda::status;

namespace {

const char *const sharedMemory = ".shared .align 128 .b8 tile[1024];\n"
                                 ".shared .align 8 .b64 full;\n"
                                 ".shared .align 8 .b64 empty;\n";

class MbarrierMachine : public testing::Test {
protected:
  MbarrierMachine() : session(sim::SimTarget::Sm90a) {}

  cuda::DriverStatus run(const std::string &body, uint64_t seed = 1,
                         unsigned threads = 64, unsigned cluster = 1) {
    EXPECT_TRUE(session.load(ptxSnippet(body, sharedMemory, "sm_90a")))
        << session.reportText();
    std::vector<uint32_t> words(256);
    for (uint32_t i = 0; i < 256; ++i)
      words[i] = 3 * i;
    auto in = session.buffer("in", words, true);
    out = session.buffer("out", std::vector<uint32_t>(256, 0));
    sim::SimOptions options;
    options.seed = seed;
    options.quantum = seed % 2 ? 64 : 3;
    options.watchdog = 1 << 20;
    session.setOptions(options);
    Session::Shape shape;
    shape.grid[0] = cluster;
    shape.cluster[0] = cluster;
    shape.cluster[1] = shape.cluster[2] = 1;
    shape.block[0] = threads;
    return session.launch("test", shape, in, out, 64u);
  }
  /// Reports with `text` under at least `least` of ten schedules, and nothing
  /// wrong unnoticed under the others when `least` is ten.
  void expectFault(const std::string &body, const std::string &text,
                   unsigned least = 10, unsigned threads = 64) {
    unsigned found = 0;
    std::string latest;
    for (uint64_t seed = 1; seed <= 10; ++seed) {
      run(body, seed, threads);
      std::string report = session.reportText();
      if (!report.empty() && report.find(text) != std::string::npos)
        ++found;
      else
        latest = session.reportText();
    }
    EXPECT_GE(found, least) << text << " is not in\n" << latest;
  }
  Session session;
  cuda::DevicePtr out = 0;
};

// Warp 1 makes four tiles of 32 words, one after the other; warp 0 adds them
// up. One slot: full and empty alternate.
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
    mov.u32 %r5, 0;
    mov.u32 %r6, 0;
    setp.lt.u32 %p1, %r0, 32;
    @%p1 bra CONSUME;
PRODUCE:
    and.b32 %r7, %r5, 1;
    xor.b32 %r7, %r7, 1;
WAITEMPTY:
    mbarrier.try_wait.parity.shared::cta.b64 %p2, [empty], %r7;
    @!%p2 bra WAITEMPTY;
    mad.lo.u32 %r8, %r5, 100, %r2;
    st.shared.u32 [%r4], %r8;
    mbarrier.arrive.shared::cta.b64 %rd2, [full];
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
    add.s64 %rd3, %rd1, %rd2;
    st.global.u32 [%rd3], %r6;
DONE:)";

TEST_F(MbarrierMachine, RingOfOneSlot) {
  for (uint64_t seed = 1; seed <= 30; ++seed) {
    ASSERT_EQ(run(ring, seed), status::Success) << seed << session.reportText();
    auto sums = session.read<uint32_t>(out, 32);
    for (uint32_t i = 0; i < 32; ++i)
      ASSERT_EQ(sums[i], 600 + 4 * i) << seed;
  }
}

TEST_F(MbarrierMachine, FaultsOfTheRing) {
  // Going on after one failed try.
  expectFault(replaced(ring, "@!%p2 bra WAITFULL;", ""), "race", 5);
  // The slot is overwritten before it was released.
  expectFault(replaced(ring, "@!%p2 bra WAITEMPTY;", ""), "", 10);
  unsigned found = 0;
  for (uint64_t seed = 1; seed <= 10; ++seed)
    found += run(replaced(ring, "@!%p2 bra WAITEMPTY;", ""), seed) !=
             status::Success;
  EXPECT_GE(found, 8u);
  // Released before it was read.
  std::string early = replaced(
      replaced(ring, "mbarrier.arrive.shared::cta.b64 _, [empty];", ""),
      "ld.shared.u32 %r8, [%r4];",
      "mbarrier.arrive.shared::cta.b64 _, [empty];\nld.shared.u32 %r8, [%r4];");
  expectFault(early, "race", 10);
  // Never released, and the wrong parity: deadlocks that say who waits.
  expectFault(replaced(ring, "mbarrier.arrive.shared::cta.b64 _, [empty];", ""),
              "deadlock", 10);
  EXPECT_THAT(session.reportText(),
              HasSubstr("waits for parity 0 of the mbarrier at shared offset"));
  EXPECT_THAT(session.reportText(), HasSubstr("32 arrivals"));
  expectFault(replaced(ring, "xor.b32 %r7, %r7, 1;", ""), "deadlock", 10);
  // A count that is too small.
  expectFault(replaced(ring, "[full], 32", "[full], 16"), "", 10);
  EXPECT_THAT(session.reportText(),
              AnyOf(HasSubstr("race"), HasSubstr("barrier misuse"),
                    HasSubstr("deadlock")));
  // The barrier after init.
  expectFault(replaced(ring, "bar.sync 0;", ""), "", 10);
  EXPECT_THAT(session.reportText(),
              AnyOf(HasSubstr("race"), HasSubstr("there is no mbarrier")));
}

TEST_F(MbarrierMachine, StateTokens) {
  const char *body = R"(
    setp.ne.u32 %p0, %r0, 0;
    @!%p0 mbarrier.init.shared::cta.b64 [full], 64;
    bar.sync 0;
    mul.wide.u32 %rd2, %r0, 4;
    add.s64 %rd3, %rd1, %rd2;
    st.global.u32 [%rd3], %r0;
    mbarrier.arrive.shared::cta.b64 %rd4, [full];
    mbarrier.pending_count.b64 %r9, %rd4;
WAIT:
    mbarrier.test_wait.shared::cta.b64 %p1, [full], %rd4;
    @!%p1 bra WAIT;
    xor.b32 %r3, %r0, 63;
    mul.wide.u32 %rd2, %r3, 4;
    add.s64 %rd5, %rd1, %rd2;
    ld.global.u32 %r4, [%rd5];
    st.global.u32 [%rd3+256], %r4;
    st.global.u32 [%rd3+512], %r9;
    mbarrier.arrive.noComplete.shared::cta.b64 %rd4, [empty], 1;)";
  std::string clean = replaced(
      body, "mbarrier.arrive.noComplete.shared::cta.b64 %rd4, [empty], 1;", "");
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    ASSERT_EQ(run(clean, seed), status::Success) << session.reportText();
    auto words = session.read<uint32_t>(out, 192);
    EXPECT_EQ(words[64], 63u);
    EXPECT_EQ(words[127], 0u);
    // Each arrival saw one less pending than the one before it.
    std::vector<uint32_t> pending(words.begin() + 128, words.end());
    std::sort(pending.begin(), pending.end());
    for (uint32_t i = 0; i < 64; ++i)
      EXPECT_EQ(pending[i], i + 1);
  }
  expectFault(body, "there is no mbarrier at shared offset");
  expectFault(replaced(clean, "mbarrier.test_wait.shared::cta.b64",
                       "mbarrier.test_wait.relaxed.cta.shared::cta.b64"),
              "race");
}

TEST_F(MbarrierMachine, ObjectsAreOpaque) {
  const char *init = R"(
    setp.ne.u32 %p0, %r0, 0;
    @!%p0 mbarrier.init.shared::cta.b64 [full], 1;
    bar.sync 0;
    @%p0 bra DONE;
)";
  expectFault(std::string(init) + "ld.shared.u32 %r2, [full];\nDONE:",
              "barrier misuse: read at shared offset");
  expectFault(std::string(init) + "st.shared.u8 [full+7], %r0;\nDONE:",
              "which belongs to a mbarrier object");
  expectFault(std::string(init) +
                  "mbarrier.init.shared::cta.b64 [full], 1;\nDONE:",
              "there is a mbarrier at");
  expectFault(std::string(init) +
                  "mbarrier.arrive.shared::cta.b64 _, [full], 2;\nDONE:",
              "2 arrivals at the mbarrier");
  expectFault(std::string(init) +
                  "mbarrier.init.shared::cta.b64 [empty], 0;\nDONE:",
              "a mbarrier for 0 arrivals");
  expectFault(std::string(init) +
                  "mbarrier.inval.shared::cta.b64 [full];\n"
                  "mbarrier.arrive.shared::cta.b64 _, [full];\nDONE:",
              "there is no mbarrier");
  // After inval the memory is ordinary again.
  EXPECT_EQ(run(std::string(init) +
                "mbarrier.inval.shared::cta.b64 [full];\n"
                "st.shared.u64 [full], %rd1;\nld.shared.u64 %rd4, [full];\n"
                "DONE:"),
            status::Success)
      << session.reportText();
}

TEST_F(MbarrierMachine, RemoteArrivals) {
  // Every thread of both blocks arrives at block 0.
  const char *body = R"(
    mov.u32 %r2, %cluster_ctarank;
    or.b32 %r3, %r2, %r0;
    setp.ne.u32 %p0, %r3, 0;
    @!%p0 mbarrier.init.shared::cta.b64 [full], 128;
    barrier.cluster.arrive.aligned;
    barrier.cluster.wait.aligned;
    mov.u32 %r4, full;
    mapa.shared::cluster.u32 %r5, %r4, 0;
    mov.u32 %r6, tile;
    shl.b32 %r7, %r0, 2;
    add.u32 %r6, %r6, %r7;
    mad.lo.u32 %r6, %r2, 256, %r6;
    mapa.shared::cluster.u32 %r8, %r6, 0;
    st.shared::cluster.u32 [%r8], %r2;
    mbarrier.arrive.release.cluster.shared::cluster.b64 _, [%r5];
    setp.ne.u32 %p1, %r2, 0;
    @%p1 bra DONE;
WAIT:
    mbarrier.try_wait.parity.shared::cta.b64 %p2, [full], 0;
    @!%p2 bra WAIT;
    ld.shared.u32 %r9, [tile+508];
    st.global.u32 [%rd1], %r9;
DONE:
    barrier.cluster.arrive.aligned;
    barrier.cluster.wait.aligned;)";
  std::string clean = replaced(body, "st.global.u32 [%rd1], %r9;",
                               "setp.ne.u32 %p3, %r0, 0;\n"
                               "@!%p3 st.global.u32 [%rd1], %r9;");
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    ASSERT_EQ(run(clean, seed, 64, 2), status::Success)
        << seed << session.reportText();
    EXPECT_EQ(session.read<uint32_t>(out, 1)[0], 1u);
  }
}

// One thread fetches 256 bytes; all read them.
const char *const fetch = R"(
    setp.ne.u32 %p0, %r0, 0;
    @%p0 bra READY;
    mbarrier.init.shared::cta.b64 [full], 1;
    fence.mbarrier_init.release.cluster;
READY:
    bar.sync 0;
    mov.u32 %r2, tile;
    @%p0 bra WAIT;
    mbarrier.arrive.expect_tx.shared::cta.b64 _, [full], 256;
    cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [tile], [%rd0], 256, [full];
WAIT:
    mbarrier.try_wait.parity.shared::cta.b64 %p2, [full], 0;
    @!%p2 bra WAIT;
    shl.b32 %r3, %r0, 2;
    add.u32 %r3, %r2, %r3;
    ld.shared.u32 %r4, [%r3];
    mul.wide.u32 %rd2, %r0, 4;
    add.s64 %rd3, %rd1, %rd2;
    st.global.u32 [%rd3], %r4;)";

TEST_F(MbarrierMachine, BulkCopyIntoSharedMemory) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    ASSERT_EQ(run(fetch, seed), status::Success)
        << seed << session.reportText();
    EXPECT_EQ(session.read<uint32_t>(out, 64)[63], 189u);
  }
}

TEST_F(MbarrierMachine, FaultsOfTheFetch) {
  expectFault(replaced(fetch, "fence.mbarrier_init.release.cluster;", ""),
              "missing proxy fence: the mbarrier at");
  // Half of the bytes are waited for: the rest is in flight or unordered.
  expectFault(replaced(fetch, "expect_tx.shared::cta.b64 _, [full], 256;",
                       "expect_tx.shared::cta.b64 _, [full], 128;"),
              "", 10);
  EXPECT_THAT(session.reportText(),
              AnyOf(HasSubstr("asynchronous copy in flight"), HasSubstr("race"),
                    HasSubstr("deadlock"),
                    HasSubstr("exit with pending work")));
  // Going on after one failed try: harmless where the data had landed.
  expectFault(replaced(fetch, "@!%p2 bra WAIT;", ""), "test.ptx", 3);
  // Nobody waits: the block exits with the copy under way.
  expectFault(replaced(replaced(fetch, "@!%p2 bra WAIT;", "bra DONE;"),
                       "st.global.u32 [%rd3], %r4;",
                       "st.global.u32 [%rd3], %r4;\nDONE:"),
              "exit with pending work", 2);
  // A generic write to the tile before the fetch, without a proxy fence.
  std::string zeroed = replaced(fetch, "mov.u32 %r2, tile;",
                                "mov.u32 %r2, tile;\nshl.b32 %r9, %r0, 2;\n"
                                "add.u32 %r9, %r2, %r9;\n"
                                "st.shared.u32 [%r9], 0;\nFENCE;\nbar.sync 0;");
  expectFault(replaced(zeroed, "FENCE;", ""),
              "missing proxy fence: asynchronous write at shared offset");
  EXPECT_EQ(run(replaced(zeroed, "FENCE;", "fence.proxy.async;")),
            status::Success)
      << session.reportText();
  expectFault(replaced(zeroed, "FENCE;\nbar.sync 0;", "fence.proxy.async;"),
              "write at shared offset");
}

// Threads fill the tile; one stores it.
const char *const store = R"(
    mov.u32 %r2, tile;
    shl.b32 %r3, %r0, 2;
    add.u32 %r3, %r2, %r3;
    st.shared.u32 [%r3], %r0;
    fence.proxy.async.shared::cta;
    bar.sync 0;
    setp.ne.u32 %p0, %r0, 0;
    @%p0 bra DONE;
    cp.async.bulk.global.shared::cta.bulk_group [%rd1], [tile], 256;
    cp.async.bulk.commit_group;
    cp.async.bulk.wait_group.read 0;
DONE:)";

TEST_F(MbarrierMachine, BulkStoreFromSharedMemory) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    ASSERT_EQ(run(store, seed), status::Success)
        << seed << session.reportText();
    EXPECT_EQ(session.read<uint32_t>(out, 64)[63], 63u);
  }
  expectFault(replaced(store, "fence.proxy.async.shared::cta;", ""),
              "missing proxy fence: asynchronous read at shared offset");
  EXPECT_THAT(session.reportText(), HasSubstr("st.shared.u32"));
  expectFault(
      replaced(store, "cp.async.bulk.wait_group.read 0;", ""),
      "exit with pending work: the thread exits while a bulk operation");
  // Overwriting the tile before the store has read it.
  std::string again = replaced(store, "cp.async.bulk.wait_group.read 0;",
                               "cp.async.bulk.wait_group.read 0;\n"
                               "st.shared.u32 [tile], 5;");
  EXPECT_EQ(run(again), status::Success) << session.reportText();
  expectFault(replaced(again, "wait_group.read 0;", "wait_group.read 1;"),
              "race: write at shared offset 0");
  // Reading back needs the full wait.
  std::string back = replaced(store, "cp.async.bulk.wait_group.read 0;",
                              "cp.async.bulk.wait_group 0;\n"
                              "ld.global.u32 %r5, [%rd1];");
  EXPECT_EQ(run(back), status::Success) << session.reportText();
  expectFault(replaced(back, "wait_group 0;", "wait_group.read 0;"), "race");
}

} // namespace
