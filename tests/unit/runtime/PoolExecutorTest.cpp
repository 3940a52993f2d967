//===- PoolExecutorTest.cpp - Threads of Quern's own ----------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Built with PoolExecutor.cpp in place of oneTBB's executor.
//
//===----------------------------------------------------------------------===//

#include "quern/executor.h"
#include "runtime/device/cpu/RangeQueue.h"

#include <atomic>
#include <gtest/gtest.h>
#include <thread>
#include <vector>

using namespace quern;

/// Every item once, ranges at multiples of the grain, no worker twice at once.
static void expectAllOnce(Executor &executor, int64_t items, int64_t grain) {
  std::vector<std::atomic<int>> seen(static_cast<size_t>(items));
  std::vector<std::atomic<int>> inside(executor.threads());
  executor.parallelFor(items, grain,
                       [&](int64_t begin, int64_t end, unsigned worker) {
                         ASSERT_LT(worker, executor.threads());
                         EXPECT_EQ(inside[worker].fetch_add(1), 0);
                         EXPECT_EQ(begin % grain, 0);
                         EXPECT_TRUE(end == items || end % grain == 0);
                         for (int64_t i = begin; i < end; ++i)
                           ++seen[static_cast<size_t>(i)];
                         --inside[worker];
                       });
  for (auto &count : seen)
    EXPECT_EQ(count.load(), 1);
}

TEST(PoolExecutor, TakesEveryItemOnce) {
  for (unsigned threads : {1u, 2u, 3u, 8u}) {
    auto executor = makeExecutor(threads);
    EXPECT_EQ(executor->threads(), threads);
    for (int round = 0; round < 50; ++round)
      for (int64_t items : {0, 1, 7, 64, 1000})
        for (int64_t grain : {1, 3, 64})
          expectAllOnce(*executor, items, grain);
  }
  EXPECT_GE(makeExecutor()->threads(), 1u);
}

TEST(PoolExecutor, NestedAndConcurrentCallsEnd) {
  auto executor = makeExecutor(4);
  std::atomic<int64_t> sum{0};
  executor->parallelFor(8, 1, [&](int64_t begin, int64_t end, unsigned) {
    for (int64_t i = begin; i < end; ++i)
      executor->parallelFor(
          100, 1, [&](int64_t b, int64_t e, unsigned) { sum += e - b; });
  });
  EXPECT_EQ(sum.load(), 800);
  std::vector<std::thread> callers;
  for (int t = 0; t < 4; ++t)
    callers.emplace_back([&] {
      for (int round = 0; round < 200; ++round)
        executor->parallelFor(
            10, 1, [&](int64_t b, int64_t e, unsigned) { sum += e - b; });
    });
  for (std::thread &caller : callers)
    caller.join();
  EXPECT_EQ(sum.load(), 800 + 4 * 200 * 10);
}

TEST(RangeQueue, MostOfItsPartThenTheRestThenWhatOthersLeft) {
  std::vector<std::pair<int64_t, int64_t>> taken;
  auto body = [&](int64_t begin, int64_t end, unsigned worker) {
    EXPECT_EQ(worker, 1u);
    taken.push_back({begin, end});
  };
  RangeQueue queue(87, 2, 2, body); // 44 grains, of which the last is half.
  EXPECT_EQ(queue.workers(), 2u);
  queue.work(1);
  EXPECT_EQ(taken, (std::vector<std::pair<int64_t, int64_t>>{
                       {44, 78}, {78, 87}, {0, 34}, {34, 44}}));
  taken.clear();
  queue.work(1);
  EXPECT_TRUE(taken.empty());
}

TEST(RangeQueue, SmallPartsLeaveAGrain) {
  std::vector<std::pair<int64_t, int64_t>> taken;
  auto body = [&](int64_t begin, int64_t end, unsigned) {
    taken.push_back({begin, end});
  };
  RangeQueue queue(6, 1, 3, body);
  queue.work(2);
  EXPECT_EQ(taken, (std::vector<std::pair<int64_t, int64_t>>{
                       {4, 5}, {5, 6}, {0, 1}, {1, 2}, {2, 3}, {3, 4}}));
}

TEST(RangeQueue, MoreWorkersThanParts) {
  // Two ranges for each of 200 workers, or as many as there are items.
  unsigned calls = 0;
  int64_t longest = 0;
  auto measure = [&](int64_t begin, int64_t end, unsigned) {
    ++calls;
    longest = std::max(longest, end - begin);
  };
  RangeQueue many(12000, 1, 200, measure);
  many.work(199);
  EXPECT_GE(calls, 400u);
  EXPECT_LE(longest, 30);

  std::vector<int> seen(1000);
  auto body = [&](int64_t begin, int64_t end, unsigned) {
    for (int64_t i = begin; i < end; ++i)
      ++seen[static_cast<size_t>(i)];
  };
  for (int64_t items : {1, 2, 63, 65, 100, 1000}) {
    seen.assign(1000, 0);
    RangeQueue queue(items, 1, 200, body);
    EXPECT_EQ(queue.workers(), std::min<int64_t>(items, 200));
    for (unsigned worker = 0; worker < queue.workers(); ++worker)
      queue.work(worker);
    for (int64_t i = 0; i < 1000; ++i)
      EXPECT_EQ(seen[static_cast<size_t>(i)], i < items ? 1 : 0);
  }
}
