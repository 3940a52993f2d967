//===- PoolExecutor.cpp - Threads of Quern's own --------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// For machines without oneTBB (QUERN_WITH_TBB=OFF). Each executor keeps its
// threads, which sleep between calls. One call at a time has them; a second one
// meanwhile, and a call from inside a body, run on their calling thread alone,
// so that nothing waits for itself.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/cpu/RangeQueue.h"

#include <condition_variable>
#include <mutex>
#include <sched.h>
#include <thread>
#include <vector>

using namespace quern;

namespace {

class PoolExecutor final : public Executor {
public:
  explicit PoolExecutor(unsigned threads) : count(threads) {
    // Fewer threads than asked for do the same work.
    try {
      for (unsigned worker = 1; worker < count; ++worker)
        pool.emplace_back([this, worker] { serve(worker); });
    } catch (...) {
    }
  }

  ~PoolExecutor() override {
    {
      std::lock_guard lock(mutex);
      stopping = true;
    }
    wake.notify_all();
    for (std::thread &thread : pool)
      thread.join();
  }

  unsigned threads() const override { return count; }

  void parallelFor(int64_t items, int64_t grain,
                   RangeQueue::Body body) override {
    if (items <= 0)
      return;
    RangeQueue queue(items, grain, count, body);
    if (queue.workers() == 1 || pool.empty() ||
        taken.test_and_set(std::memory_order_acquire))
      return body(0, items, 0);
    {
      std::lock_guard lock(mutex);
      current = &queue;
      running = static_cast<unsigned>(pool.size());
      ++round;
    }
    wake.notify_all();
    queue.work(0);
    std::unique_lock lock(mutex);
    done.wait(lock, [this] { return running == 0; });
    current = nullptr;
    taken.clear(std::memory_order_release);
  }

  /// The CPUs this process may use.
  static unsigned available() {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof(set), &set) == 0)
      return static_cast<unsigned>(std::max(CPU_COUNT(&set), 1));
    return std::max(std::thread::hardware_concurrency(), 1u);
  }

private:
  void serve(unsigned worker) {
    uint64_t seen = 0;
    std::unique_lock lock(mutex);
    for (;;) {
      wake.wait(lock, [&] { return stopping || round != seen; });
      if (stopping)
        return;
      seen = round;
      RangeQueue *queue = current;
      lock.unlock();
      if (worker < queue->workers())
        queue->work(worker);
      lock.lock();
      if (--running == 0)
        done.notify_one();
    }
  }

  unsigned count;
  std::vector<std::thread> pool;
  std::atomic_flag taken; ///< By the call that has the threads.
  std::mutex mutex;
  std::condition_variable wake, done;
  RangeQueue *current = nullptr;
  uint64_t round = 0;
  unsigned running = 0;
  bool stopping = false;
};

} // namespace

std::shared_ptr<Executor> quern::makeExecutor(unsigned threads) {
  if (threads == 0)
    threads = PoolExecutor::available();
  if (threads == 1)
    return makeSerialExecutor();
  return std::make_shared<PoolExecutor>(threads);
}
