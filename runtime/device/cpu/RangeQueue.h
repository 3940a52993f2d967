//===- RangeQueue.h - Items cut into ranges that workers take ---*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// What the executors share: a call's items in ranges of whole grains, of which
// each worker takes the next until none is left. Four ranges per worker even
// out threads that start late or are slowed down, and keep ranges long enough
// for a kernel to reuse what it packs. Ranges differ by one grain at most, the
// longer ones first: of 44 grains two workers then get 22 each, where ranges of
// 6 with what is left at the end would give one of them 24.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_DEVICE_CPU_RANGEQUEUE_H
#define QUERN_DEVICE_CPU_RANGEQUEUE_H

#include "quern/executor.h"

#include <algorithm>
#include <atomic>

namespace quern {
inline namespace v0 {

class RangeQueue {
public:
  using Body = FunctionRef<void(int64_t begin, int64_t end, unsigned worker)>;

  /// `items` > 0.
  RangeQueue(int64_t items, int64_t grain, unsigned threads, Body body)
      : items(items), grain(std::max<int64_t>(grain, 1)), body(body) {
    int64_t grains = (items - 1) / this->grain + 1;
    ranges = std::min<int64_t>(grains, int64_t{4} * threads);
    perRange = grains / ranges;
    longer = grains % ranges;
    count = static_cast<unsigned>(std::min<int64_t>(ranges, threads));
  }

  /// How many workers there is work for; at least 1.
  unsigned workers() const { return count; }

  /// Takes ranges until none is left.
  void work(unsigned worker) {
    for (int64_t i;
         (i = next.fetch_add(1, std::memory_order_relaxed)) < ranges;) {
      int64_t end = i + 1 == ranges ? items : beginOf(i + 1);
      body(beginOf(i), end, worker);
    }
  }

private:
  /// Of range `i` < ranges: no product overflows, since it is below `items`.
  int64_t beginOf(int64_t i) const {
    return (i * perRange + std::min(i, longer)) * grain;
  }

  int64_t items, grain, ranges = 1;
  int64_t perRange = 1, longer = 0; ///< Grains; ranges that have one more.
  unsigned count = 1;
  Body body;
  std::atomic<int64_t> next{0};
};

} // namespace v0
} // namespace quern

#endif // QUERN_DEVICE_CPU_RANGEQUEUE_H
