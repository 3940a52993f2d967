//===- Executor.cpp - Threads from oneTBB ---------------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "quern/executor.h"

#include <tbb/info.h>
#include <tbb/parallel_for.h>
#include <tbb/task_arena.h>

#include <algorithm>
#include <atomic>

using namespace quern;

Executor::~Executor() = default;

namespace {

class SerialExecutor final : public Executor {
public:
  unsigned threads() const override { return 1; }
  void
  parallelFor(int64_t items, int64_t,
              FunctionRef<void(int64_t, int64_t, unsigned)> body) override {
    if (items > 0)
      body(0, items, 0);
  }
};

/// Each worker takes the next range from a shared counter until none is left.
/// Four ranges per worker even out threads that start late or are slowed down,
/// and keep ranges long enough for a kernel to reuse what it packs.
class TbbExecutor final : public Executor {
public:
  explicit TbbExecutor(unsigned threads)
      : count(threads),
        arena(std::min(static_cast<int>(threads), available())) {}

  unsigned threads() const override { return count; }

  void
  parallelFor(int64_t items, int64_t grain,
              FunctionRef<void(int64_t, int64_t, unsigned)> body) override {
    if (items <= 0)
      return;
    grain = std::max<int64_t>(grain, 1);
    int64_t grains = (items - 1) / grain + 1;
    int64_t ranges = std::min<int64_t>(grains, int64_t{4} * count);
    // Whole grains per range, rounded up; recount, since fewer may do.
    int64_t perRange = (grains - 1) / ranges + 1;
    ranges = (grains - 1) / perRange + 1;
    unsigned workers = static_cast<unsigned>(std::min<int64_t>(ranges, count));
    if (workers == 1)
      return body(0, items, 0);

    std::atomic<int64_t> next{0};
    auto work = [&](unsigned worker) {
      for (int64_t i;
           (i = next.fetch_add(1, std::memory_order_relaxed)) < ranges;) {
        // Neither product overflows: i * perRange < grains.
        int64_t begin = i * perRange * grain;
        int64_t end = i + 1 == ranges ? items : (i + 1) * perRange * grain;
        body(begin, end, worker);
      }
    };
    // oneTBB throws only for want of memory while it spawns, after waiting for
    // what did start; the ranges left are then this thread's.
    try {
      arena.execute([&] {
        tbb::parallel_for(
            0u, workers, 1u, [&](unsigned worker) { work(worker); },
            tbb::simple_partitioner{});
      });
    } catch (...) {
      work(0);
    }
  }

  /// oneTBB prints a warning when an arena asks for more than this; workers
  /// beyond it take turns.
  static int available() {
    return std::max(tbb::info::default_concurrency(), 1);
  }

private:
  unsigned count;
  tbb::task_arena arena;
};

} // namespace

std::shared_ptr<Executor> quern::makeExecutor(unsigned threads) {
  if (threads == 0)
    threads = static_cast<unsigned>(TbbExecutor::available());
  if (threads == 1)
    return makeSerialExecutor();
  return std::make_shared<TbbExecutor>(threads);
}

std::shared_ptr<Executor> quern::makeSerialExecutor() {
  return std::make_shared<SerialExecutor>();
}
