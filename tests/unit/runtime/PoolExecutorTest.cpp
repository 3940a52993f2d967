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
