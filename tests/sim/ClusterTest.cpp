//===- ClusterTest.cpp - Clusters and their shared memory -----------------===//
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

const char *const sharedTile = ".shared .align 16 .b8 tile[512];\n";

class ClusterMachine : public testing::Test {
protected:
  ClusterMachine() : session(sim::SimTarget::Sm90a) {}

  cuda::DriverStatus run(const std::string &body, unsigned cluster = 2,
                         uint64_t seed = 1, unsigned blocks = 8,
                         unsigned threads = 64) {
    EXPECT_TRUE(session.load(ptxSnippet(body, sharedTile, "sm_90a")))
        << session.reportText();
    auto in = session.buffer("in", std::vector<uint32_t>(256, 5), true);
    out = session.buffer("out", std::vector<uint32_t>(1024, 0));
    sim::SimOptions options;
    options.seed = seed;
    options.quantum = seed % 2 ? 64 : 3;
    options.watchdog = 1 << 20;
    session.setOptions(options);
    Session::Shape shape;
    shape.grid[0] = blocks;
    shape.block[0] = threads;
    shape.cluster[0] = cluster;
    shape.cluster[1] = shape.cluster[2] = 1;
    return session.launch("test", shape, in, out, 64u);
  }
  void expectFault(const std::string &body, const std::string &text,
                   unsigned cluster = 2, unsigned seeds = 10) {
    for (uint64_t seed = 1; seed <= seeds; ++seed) {
      EXPECT_NE(run(body, cluster, seed), status::Success) << seed;
      EXPECT_THAT(session.reportText(), HasSubstr(text)) << seed;
    }
  }
  Session session;
  cuda::DevicePtr out = 0;
};

// Every thread stores 1000 * its block to the next block of its cluster and
// writes what it got.
const char *const exchange = R"(
    mov.u32 %r2, %cluster_ctarank;
    mov.u32 %r3, %cluster_nctarank;
    add.u32 %r4, %r2, 1;
    rem.u32 %r4, %r4, %r3;
    mov.u32 %r5, tile;
    shl.b32 %r6, %r0, 2;
    add.u32 %r5, %r5, %r6;
    mapa.shared::cluster.u32 %r7, %r5, %r4;
    mov.u32 %r8, %ctaid.x;
    mul.lo.u32 %r9, %r8, 1000;
    barrier.cluster.arrive.relaxed.aligned;
    barrier.cluster.wait.aligned;
    st.shared::cluster.u32 [%r7], %r9;
    barrier.cluster.arrive.release.aligned;
    barrier.cluster.wait.acquire.aligned;
    ld.shared.u32 %r10, [%r5];
    mad.lo.u32 %r11, %r8, 64, %r0;
    mul.wide.u32 %rd2, %r11, 4;
    add.s64 %rd3, %rd1, %rd2;
    st.global.u32 [%rd3], %r10;)";

TEST_F(ClusterMachine, BlocksExchangeThroughSharedMemory) {
  for (unsigned cluster : {1u, 2u, 4u, 8u})
    for (uint64_t seed = 1; seed <= 10; ++seed) {
      ASSERT_EQ(run(exchange, cluster, seed), status::Success)
          << session.reportText();
      std::vector<uint32_t> got = session.read<uint32_t>(out, 512);
      for (unsigned block = 0; block < 8; ++block) {
        unsigned rank = block % cluster;
        unsigned from = block - rank + (rank + cluster - 1) % cluster;
        for (unsigned thread = 0; thread < 64; ++thread)
          ASSERT_EQ(got[block * 64 + thread], from * 1000)
              << block << " " << thread;
      }
    }
}

// Block 0 of a cluster arrives and exits; the others write, meet and read.
TEST_F(ClusterMachine, AnArrivalBeforeTheExitStandsForNobodyElse) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    ASSERT_EQ(run(R"(
    mov.u32 %r2, %cluster_ctarank;
    mov.u32 %r3, %ctaid.x;
    mul.wide.u32 %rd2, %r3, 4;
    add.s64 %rd3, %rd1, %rd2;
    setp.ne.u32 %p1, %r2, 0;
    @%p1 bra STAYS;
    barrier.cluster.arrive.aligned;
    ret;
STAYS:
    mul.lo.u32 %r4, %r2, 40;
LOOP:
    sub.u32 %r4, %r4, 1;
    setp.ne.u32 %p2, %r4, 0;
    @%p2 bra LOOP;
    setp.ne.u32 %p3, %r0, 0;
    @!%p3 st.global.u32 [%rd3], %r2;
    barrier.cluster.arrive.aligned;
    barrier.cluster.wait.aligned;
    sub.u32 %r5, %r3, %r2;
    mul.wide.u32 %rd4, %r5, 4;
    add.s64 %rd5, %rd1, %rd4;
    ld.global.u32 %r6, [%rd5 + 4];
    ld.global.u32 %r7, [%rd5 + 8];
    ld.global.u32 %r8, [%rd5 + 12];
    mad.lo.u32 %r7, %r7, 10, %r6;
    mad.lo.u32 %r7, %r8, 100, %r7;
    @!%p3 st.global.u32 [%rd3 + 128], %r7;)",
                  4, seed),
              status::Success)
        << seed << session.reportText();
    auto got = session.read<uint32_t>(out, 64);
    for (unsigned block = 0; block < 8; ++block)
      ASSERT_EQ(got[32 + block], block % 4 ? 321u : 0u) << block;
  }
}

TEST_F(ClusterMachine, GenericAddressesReachThePeers) {
  std::string body =
      replaced(exchange, "mapa.shared::cluster.u32 %r7, %r5, %r4;",
               "cvt.u64.u32 %rd5, %r5;\ncvta.shared.u64 %rd6, %rd5;\n"
               "mapa.u64 %rd7, %rd6, %r4;\n getctarank.u64 %r12, %rd7;\n"
               "setp.ne.u32 %p0, %r12, %r4;\n@%p0 trap;\n"
               "isspacep.shared::cluster %p1, %rd7;\n@!%p1 trap;");
  body = replaced(body, "st.shared::cluster.u32 [%r7]", "st.u32 [%rd7]");
  EXPECT_EQ(run(body, 4), status::Success) << session.reportText();
  EXPECT_EQ(session.read<uint32_t>(out, 512)[64], 0u);
  EXPECT_EQ(session.read<uint32_t>(out, 512)[128], 1000u);
}

TEST_F(ClusterMachine, DroppedClusterBarrierIsARace) {
  std::string body = replaced(
      replaced(exchange, "barrier.cluster.arrive.release.aligned;", ""),
      "barrier.cluster.wait.acquire.aligned;", "");
  // Some schedules let the block exit first.
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    EXPECT_NE(run(body, 2, seed), status::Success) << seed;
    EXPECT_THAT(session.reportText(),
                testing::AnyOf(HasSubstr("race"),
                               HasSubstr("uninitialised shared memory"),
                               HasSubstr("exited block")));
  }
}

TEST_F(ClusterMachine, RelaxedArrivalOrdersNothing) {
  expectFault(replaced(exchange, "barrier.cluster.arrive.release.aligned;",
                       "barrier.cluster.arrive.relaxed.aligned;"),
              "race: read at shared offset");
}

TEST_F(ClusterMachine, SharedMemoryOfAnExitedBlock) {
  // Odd blocks leave at once; even ones come late.
  expectFault(R"(
    mov.u32 %r2, %cluster_ctarank;
    setp.eq.u32 %p0, %r2, 1;
    @%p0 bra DONE;
    mov.u32 %r3, 0;
WAIT:
    add.u32 %r3, %r3, 1;
    setp.lt.u32 %p1, %r3, 20000;
    @%p1 bra WAIT;
    mov.u32 %r5, tile;
    mapa.shared::cluster.u32 %r7, %r5, 1;
    st.shared::cluster.u32 [%r7], %r0;
DONE:)",
              "shared memory of an exited block: access of shared offset 0 of "
              "the cluster's block 1");
}

TEST_F(ClusterMachine, MisuseOfTheClusterBarrier) {
  expectFault("barrier.cluster.arrive.aligned;\n"
              "barrier.cluster.arrive.aligned;\n"
              "barrier.cluster.wait.aligned;",
              "barrier misuse: the warp arrives at the cluster's barrier again",
              2, 2);
  expectFault("barrier.cluster.wait.aligned;",
              "barrier misuse: the warp waits for the cluster's barrier", 2, 2);
  expectFault(R"(
    setp.lt.u32 %p0, %r0, 7;
    @%p0 bra DONE;
    barrier.cluster.arrive.aligned;
DONE:
    barrier.cluster.wait.aligned;)",
              "divergent barrier", 2, 2);
}

TEST_F(ClusterMachine, DeadlockNamesWhoWaitsWhere) {
  expectFault(R"(
    mov.u32 %r2, %cluster_ctarank;
    setp.eq.u32 %p0, %r2, 0;
    @%p0 bar.sync 1, 96;
    barrier.cluster.arrive.aligned;
    barrier.cluster.wait.aligned;)",
              "waits for the cluster's barrier, which 64 of 128 threads have "
              "reached",
              2, 4);
  EXPECT_THAT(session.reportText(), HasSubstr("waits for barrier 1"));
  EXPECT_THAT(session.reportText(), HasSubstr("barrier.cluster.wait.aligned"));
}

TEST_F(ClusterMachine, RankOutsideTheCluster) {
  expectFault("mapa.shared::cluster.u32 %r3, 0, 2;",
              "the cluster has 2 blocks; there is no rank 2", 2, 2);
  expectFault("mov.u32 %r2, 0x5000000;\nst.shared::cluster.u32 [%r2], %r0;",
              "no address of the cluster's shared memory", 2, 2);
  // shared::cta reaches only the own block.
  expectFault("mapa.shared::cluster.u32 %r3, 0, 1;\nst.shared.u32 [%r3], %r0;",
              "out of bounds", 2, 2);
}

TEST_F(ClusterMachine, LaunchesBeyondTheLimitsAreRefused) {
  EXPECT_EQ(run(exchange, 3), status::InvalidClusterSize);
  EXPECT_THAT(session.reportText(), HasSubstr("no multiple of clusters"));
  EXPECT_EQ(run(exchange, 16, 1, 16), status::InvalidClusterSize);
  EXPECT_THAT(session.reportText(), HasSubstr("at most 8 blocks"));

  Session old(sim::SimTarget::Sm80);
  ASSERT_TRUE(old.load(ptxSnippet("")));
  Session::Shape shape;
  shape.grid[0] = 2;
  shape.cluster[0] = 2;
  shape.cluster[1] = shape.cluster[2] = 1;
  EXPECT_EQ(old.launch("test", shape, uint64_t(0), uint64_t(0), 0u),
            status::InvalidClusterSize);
  EXPECT_THAT(old.reportText(), HasSubstr("sm_80 has no clusters"));
  EXPECT_FALSE(old.load(ptxSnippet("barrier.cluster.arrive.aligned;")));
}

TEST_F(ClusterMachine, DimensionsFromThePtx) {
  std::string ptx = replaced(ptxSnippet(R"(
    mov.u32 %r2, %cluster_nctaid.y;
    mov.u32 %r3, %nclusterid.x;
    mov.pred %p0, %is_explicit_cluster;
    selp.u32 %r4, 7, 0, %p0;
    setp.ne.u32 %p1, %r0, 0;
    @%p1 bra DONE;
    mov.u32 %r5, %ctaid.x;
    mov.u32 %r6, %ctaid.y;
    or.b32 %r5, %r5, %r6;
    setp.ne.u32 %p1, %r5, 0;
    @%p1 bra DONE;
    st.global.u32 [%rd1], %r2;
    st.global.u32 [%rd1+4], %r3;
    st.global.u32 [%rd1+8], %r4;
DONE:)",
                                        "", "sm_90a"),
                             ".param .u32 n)",
                             ".param .u32 n)\n.reqnctapercluster 2, 2\n"
                             ".explicitcluster");
  ASSERT_TRUE(session.load(ptx)) << session.reportText();
  auto buffer = session.buffer("out", std::vector<uint32_t>(4));
  Session::Shape shape;
  shape.grid[0] = 4;
  shape.grid[1] = 2;
  ASSERT_EQ(session.launch("test", shape, buffer, buffer, 0u), status::Success)
      << session.reportText();
  EXPECT_EQ(session.read<uint32_t>(buffer, 3),
            (std::vector<uint32_t>{2, 2, 7}));
  shape.cluster[0] = 4;
  shape.cluster[1] = shape.cluster[2] = 1;
  EXPECT_EQ(session.launch("test", shape, buffer, buffer, 0u),
            status::InvalidClusterSize);
}

} // namespace
