//===- TbbExecutor.cpp - Threads from oneTBB ------------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/cpu/RangeQueue.h"

#include <tbb/info.h>
#include <tbb/parallel_for.h>
#include <tbb/task_arena.h>

using namespace quern;

namespace {

class TbbExecutor final : public Executor {
public:
  explicit TbbExecutor(unsigned threads)
      : count(threads),
        arena(std::min(static_cast<int>(threads), available())) {}

  unsigned threads() const override { return count; }

  void parallelFor(int64_t items, int64_t grain,
                   RangeQueue::Body body) override {
    if (items <= 0)
      return;
    RangeQueue queue(items, grain, count, body);
    if (queue.workers() == 1)
      return body(0, items, 0);
    // oneTBB throws only for want of memory while it spawns, after waiting for
    // what did start; the ranges left are then this thread's.
    try {
      arena.execute([&] {
        tbb::parallel_for(
            0u, queue.workers(), 1u,
            [&](unsigned worker) { queue.work(worker); },
            tbb::simple_partitioner{});
      });
    } catch (...) {
      queue.work(0);
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
