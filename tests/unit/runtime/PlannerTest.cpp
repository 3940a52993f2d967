//===- PlannerTest.cpp - Arena planning and size bounds -------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/jit/ArenaPlanner.h"
#include "runtime/jit/SymBounds.h"

#include <gtest/gtest.h>

#include <random>

using namespace quern;

namespace {

TEST(Arena, ChainsAlternate) {
  // a -> b -> c -> d: two buffers are alive at any time.
  std::vector<ArenaItem> items;
  for (uint32_t i = 0; i < 4; ++i)
    items.push_back({100, 64, i, i + 1});
  ArenaPlan plan = planArena(items);
  EXPECT_EQ(plan.bytes, 228u); // 128 (aligned) + 100.
  EXPECT_EQ(plan.offsets[0], plan.offsets[2]);
  EXPECT_EQ(plan.offsets[1], plan.offsets[3]);
}

TEST(Arena, NothingForUnusedAndEmpty) {
  std::vector<ArenaItem> items = {{100, 64, 1, 0}, {0, 64, 0, 3}};
  EXPECT_EQ(planArena(items).bytes, 0u);
  EXPECT_EQ(planArena({}).bytes, 0u);
}

TEST(Arena, SizesThatDoNotFitStayLarge) {
  // Three such live together: their sum would wrap to a small arena.
  uint64_t most = INT64_MAX;
  std::vector<ArenaItem> items(3, {most, 64, 0, 1});
  EXPECT_EQ(planArena(items).bytes, UINT64_MAX);
  items.assign(2, {most, 64, 0, 1});
  EXPECT_EQ(planArena(items).bytes, 2 * most + 1);
}

TEST(Arena, RandomPlansAreSoundAndTight) {
  std::mt19937 random(1);
  double worst = 0;
  for (int round = 0; round < 500; ++round) {
    std::vector<ArenaItem> items(1 + random() % 20);
    for (ArenaItem &item : items) {
      item.bytes = random() % 5 ? random() % 5000 : 0;
      item.alignment = 64u << random() % 3;
      item.first = random() % 12;
      item.last = item.first + random() % 4;
    }
    ArenaPlan plan = planArena(items);
    uint64_t lower = 0;
    for (uint32_t time = 0; time < 16; ++time) {
      uint64_t live = 0;
      for (const ArenaItem &item : items)
        if (item.first <= time && time <= item.last)
          live += item.bytes;
      lower = std::max(lower, live);
    }
    for (size_t i = 0; i < items.size(); ++i) {
      ASSERT_EQ(plan.offsets[i] % items[i].alignment, 0u);
      ASSERT_LE(items[i].bytes ? plan.offsets[i] + items[i].bytes : 0,
                plan.bytes);
      for (size_t j = 0; j < i; ++j) {
        bool inTime =
            items[i].first <= items[j].last && items[j].first <= items[i].last;
        bool inSpace = plan.offsets[i] < plan.offsets[j] + items[j].bytes &&
                       plan.offsets[j] < plan.offsets[i] + items[i].bytes;
        ASSERT_FALSE(inTime && inSpace && items[i].bytes && items[j].bytes);
      }
    }
    if (lower > 4000)
      worst = std::max(worst, double(plan.bytes) / double(lower));
  }
  EXPECT_LT(worst, 1.6);
}

TEST(SymBounds, EnclosesEveryValue) {
  // Random expressions over two symbols, against all values in the ranges.
  std::mt19937 random(2);
  using Op = SymExpr::Op;
  for (int round = 0; round < 2000; ++round) {
    std::function<SymExpr(int)> make = [&](int depth) {
      if (depth == 0 || random() % 4 == 0)
        return random() % 2 ? SymExpr::symbol(random() % 2)
                            : SymExpr::constant(int64_t(random() % 9) + 1);
      Op op = static_cast<Op>(2 + random() % 8);
      SymExpr rhs = op == Op::FloorDiv || op == Op::CeilDiv || op == Op::Mod
                        ? SymExpr::constant(int64_t(random() % 7) + 1)
                        : make(depth - 1);
      return SymExpr::binary(op, make(depth - 1), rhs);
    };
    SymExpr expr = make(3);
    Interval ranges[] = {{int64_t(random() % 5), 0}, {3, 9}};
    ranges[0].max = ranges[0].min + random() % 10;
    Result<Interval> bounds = boundsOf(expr, ranges);
    ASSERT_TRUE(bounds);
    for (int64_t a = ranges[0].min; a <= ranges[0].max; ++a)
      for (int64_t b = ranges[1].min; b <= ranges[1].max; ++b) {
        int64_t symbols[] = {a, b};
        int64_t value = *expr.evaluate(symbols);
        ASSERT_LE(bounds->min, value);
        ASSERT_GE(bounds->max, value);
      }
  }
}

TEST(SymBounds, Refusals) {
  Interval wide[] = {{0, INT64_MAX}};
  SymExpr M = SymExpr::symbol(0), two = SymExpr::constant(2);
  EXPECT_FALSE(boundsOf(M * two, wide));
  EXPECT_TRUE(boundsOf(SymExpr::ceilDiv(M, two), wide));
  EXPECT_FALSE(boundsOf(SymExpr::ceilDiv(two, M), wide));
  EXPECT_FALSE(boundsOf(SymExpr::symbol(1), wide));
  BufferDesc buffer;
  buffer.shape = {M, SymExpr::constant(0)};
  EXPECT_EQ(*maxBytes(buffer, wide), 0u);
  buffer.shape = {M};
  EXPECT_FALSE(maxBytes(buffer, wide));
  Interval some[] = {{0, 10}};
  EXPECT_EQ(*maxBytes(buffer, some), 40u);
}

} // namespace
