//===- MeasureTest.cpp - What machines are measured with ------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// What does not depend on the clock: nothing here asks how fast this machine
// is.
//
//===----------------------------------------------------------------------===//

#include "runtime/measure/Machine.h"
#include "runtime/measure/Pairs.h"
#include "runtime/measure/Spread.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <set>
#include <vector>

using namespace quern;
using namespace quern::measure;

TEST(Dots, AreReadOffSchedules) {
  std::string quads = "tile 8x32 (vpdpbusd), blocks of 64 rows";
  EXPECT_EQ(dotOf(quads, "cpu:avx512-vnni"), (Dot{DotKind::Vpdpbusd, 512}));
  EXPECT_EQ(dotOf(quads, "cpu:avx-vnni"), (Dot{DotKind::Vpdpbusd, 256}));
  EXPECT_EQ(dotOf("tile 4x16 or 1x32 (pmaddubsw)", "cpu:avx2"),
            (Dot{DotKind::Pmaddubsw, 256}));
  EXPECT_EQ(dotOf("tile 4x16 (pmaddwd), blocks", "cpu:avx2"),
            (Dot{DotKind::Pmaddwd, 256}));
  EXPECT_EQ(dotOf("tile 4x8 (pmaddwd), blocks", "cpu:generic"),
            (Dot{DotKind::Pmaddwd, 128}));
  EXPECT_EQ(dotOf("(fma)", "cpu:avx2"), (Dot{DotKind::Fma, 256}));
  EXPECT_EQ(dotOf("(mulps+addps)", "cpu:generic"), (Dot{DotKind::MulAdd, 128}));
  EXPECT_EQ(dotOf("(vdpbf16ps)", "cpu:avx512-bf16"),
            (Dot{DotKind::Vdpbf16ps, 512}));
  // Another machine's.
  EXPECT_EQ(dotOf("(sdot)", "cpu:aarch64-dotprod"), std::nullopt);
  EXPECT_EQ(dotOf("(fma)", "cpu:aarch64-dotprod"), std::nullopt);
  // A kernel without a product, and words that only contain a name.
  EXPECT_EQ(dotOf("strips of 8 rows", "cpu:avx2"), std::nullopt);
  EXPECT_EQ(dotOf("fmadd of vpdpbusds", "cpu:avx512-vnni"), std::nullopt);
  EXPECT_EQ(dotOf("", "cpu:avx2"), std::nullopt);
}

TEST(Dots, CountMultiplicationsAndAdditions) {
  // 64 products of bytes, each added.
  EXPECT_EQ((Dot{DotKind::Vpdpbusd, 512}).operations(), 128);
  EXPECT_EQ((Dot{DotKind::Vdpbf16ps, 512}).operations(), 64);
  EXPECT_EQ((Dot{DotKind::Pmaddwd, 256}).operations(), 32);
  EXPECT_EQ((Dot{DotKind::Pmaddubsw, 256}).operations(), 64);
  EXPECT_EQ((Dot{DotKind::Pmaddubsw, 256}).instructions(), 2u);
  EXPECT_EQ((Dot{DotKind::Fma, 256}).operations(), 16);
  EXPECT_EQ((Dot{DotKind::MulAdd, 128}).operations(), 8);
  EXPECT_EQ((Dot{DotKind::MulAdd, 128}).instructions(), 2u);
  EXPECT_EQ((Dot{DotKind::Vpdpbusd, 512}).instructions(), 1u);
  EXPECT_EQ((Dot{DotKind::Vpdpbusd, 512}).name(), "vpdpbusd zmm");
  EXPECT_EQ((Dot{DotKind::Pmaddwd, 128}).name(), "pmaddwd + paddd xmm");
}

TEST(Dots, RunAtLeastAsManySteps) {
  unsigned ran = 0;
  for (DotKind kind :
       {DotKind::Vpdpbusd, DotKind::Vdpbf16ps, DotKind::Pmaddubsw,
        DotKind::Pmaddwd, DotKind::Fma, DotKind::MulAdd})
    for (unsigned bits : {128u, 256u, 512u}) {
      Dot dot{kind, bits};
      if (!canRun(dot))
        continue;
      ++ran;
      EXPECT_GE(dotSteps(dot, 1000), 1000u) << dot.name();
      EXPECT_LT(dotSteps(dot, 1000), 1100u) << dot.name();
    }
#if defined(__x86_64__)
  EXPECT_GE(ran, 2u); // Those of SSE2.
  EXPECT_GE(chainedAdds(1000), 1000u);
  EXPECT_LT(chainedAdds(1000), 1100u);
#endif
  EXPECT_FALSE(canRun({DotKind::Vpdpbusd, 128}));
  EXPECT_FALSE(canRun({DotKind::Fma, 384}));
}

TEST(Reads, StayWithinWhatTheyAreGiven) {
  // Exactly as large as said: sanitizers see what lies beyond.
  std::vector<std::byte> memory(4096, std::byte(1));
  for (unsigned streams : {1u, 2u, 4u})
    readAll(memory.data(), memory.size(), streams);
  readAll(memory.data(), 0, 4);
}

TEST(Spreads, AreSamples) {
  Spread odd({5, 1, 4, 2, 3});
  EXPECT_EQ(odd.median, 3);
  EXPECT_EQ(odd.low, 2);
  EXPECT_EQ(odd.high, 4);
  Spread one({7});
  EXPECT_EQ(one.low, 7);
  EXPECT_EQ(one.high, 7);
  EXPECT_EQ(Spread(std::vector<double>()).median, 0);
}

TEST(Peaks, CountNearAWholeNumberOfInstructions) {
  auto peakOf = [](double perCycle) {
    Peak peak;
    peak.perCycle = perCycle;
    return peak;
  };
  EXPECT_EQ(peakOf(1.99).issueLimit(), 2);
  EXPECT_TRUE(peakOf(1.99).counts());
  // The clock's own error.
  EXPECT_EQ(peakOf(2.01).issueLimit(), 2);
  EXPECT_TRUE(peakOf(2.01).counts());
  EXPECT_TRUE(peakOf(2.07).counts());
  EXPECT_TRUE(peakOf(1.0).counts());
  // Two threads on one core, or one that was interrupted.
  EXPECT_EQ(peakOf(1.6).issueLimit(), 2);
  EXPECT_FALSE(peakOf(1.6).counts());
  EXPECT_FALSE(peakOf(1.06).counts());
  EXPECT_FALSE(peakOf(0.9).counts());
  EXPECT_FALSE(peakOf(0).counts());
}

TEST(Teams, RunEveryThreadOnceAndTogether) {
  auto team = Team::create(3);
  ASSERT_TRUE(team) << team.error().render();
  ASSERT_EQ((*team)->threads(), 3u);
  for (int round = 0; round < 100; ++round) {
    std::atomic<unsigned> mask{0}, inside{0}, most{0};
    (*team)->run([&](unsigned thread) {
      mask.fetch_or(1u << thread);
      unsigned now = inside.fetch_add(1) + 1;
      for (unsigned seen = most;
           seen < now && !most.compare_exchange_weak(seen, now);) {
      }
      // No thread leaves before all are there.
      while (inside.load() < 3)
        std::this_thread::yield();
    });
    EXPECT_EQ(mask.load(), 7u);
    EXPECT_EQ(most.load(), 3u);
  }
  auto alone = Team::create(1);
  ASSERT_TRUE(alone);
  unsigned calls = 0;
  (*alone)->run([&](unsigned thread) { calls += thread == 0; });
  EXPECT_EQ(calls, 1u);
  // Nobody is no team.
  EXPECT_EQ((*Team::create(0))->threads(), 1u);
}

TEST(Machines, KnowWhereDataLies) {
  auto machine = Machine::create(1);
  ASSERT_TRUE(machine) << machine.error().render();
  Caches caches = cachesHere();
  for (const ReadRate &level : (*machine)->levels()) {
    EXPECT_GT(level.bytes, 0u);
    EXPECT_EQ(level.bytes % 256, 0u);
    EXPECT_EQ(level.rate, 0) << "nothing was measured yet";
  }
  const ReadRate *memory = (*machine)->memory();
  if (caches.l3 && memory) {
    EXPECT_GE(memory->bytes, 2 * caches.l3);
    EXPECT_EQ((*machine)->levelOf(double(caches.l3)), memory);
    const ReadRate *l3 = (*machine)->levelOf(0.7 * double(caches.l3));
    EXPECT_TRUE(!l3 || l3->level == Level::L3);
  }
  if (caches.l2) {
    const ReadRate *l2 = (*machine)->levelOf(double(caches.l2) / 2);
    ASSERT_TRUE(l2);
    EXPECT_EQ(l2->level, Level::L2);
    size_t at = l2 - (*machine)->levels().data();
    auto rate = (*machine)->read(at);
    ASSERT_TRUE(rate);
    EXPECT_GT(*rate, 0);
    EXPECT_GE((*machine)->levels()[at].rate, *rate);
  }
  EXPECT_GE(availableCpus(), 1u);
}

TEST(PairsOfSamples, NeedAClearMajority) {
  auto pairsOf = [](int wins, int losses, int same) {
    Pairs pairs;
    for (int i = 0; i < wins; ++i)
      pairs.add(1.1, 1.0);
    for (int i = 0; i < losses; ++i)
      pairs.add(1.0, 1.25);
    for (int i = 0; i < same; ++i)
      pairs.add(1.0, 1.0);
    return pairs;
  };
  EXPECT_EQ(Pairs::majorityOf(15), 12u);
  EXPECT_EQ(Pairs::majorityOf(5), 4u);
  EXPECT_EQ(Pairs::majorityOf(6), 5u);
  EXPECT_TRUE(pairsOf(12, 3, 0).isFaster());
  EXPECT_FALSE(pairsOf(11, 4, 0).isFaster());
  EXPECT_FALSE(pairsOf(11, 0, 4).isFaster()) << "what is the same is no win";
  EXPECT_TRUE(pairsOf(3, 12, 0).isSlower());
  EXPECT_FALSE(pairsOf(4, 11, 0).isSlower());
  EXPECT_FALSE(pairsOf(0, 0, 15).isFaster());
  EXPECT_FALSE(pairsOf(0, 0, 15).isSlower());
  EXPECT_FALSE(Pairs().isFaster());
  EXPECT_FALSE(Pairs().isSlower());
  EXPECT_DOUBLE_EQ(pairsOf(12, 3, 0).ratio(), 1.1);
  EXPECT_DOUBLE_EQ(pairsOf(3, 12, 0).ratio(), 0.8);
  EXPECT_EQ(pairsOf(3, 2, 1).count(), 6u);
  EXPECT_EQ(pairsOf(3, 2, 1).wins(), 3u);
  EXPECT_EQ(pairsOf(3, 2, 1).losses(), 2u);
  // What does not happen at some sizes takes no time, on either side.
  Pairs none;
  none.add(0, 0);
  EXPECT_EQ(none.wins() + none.losses(), 0u);
}
