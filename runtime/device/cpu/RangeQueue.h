//===- RangeQueue.h - Items cut into ranges that workers take ---*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// What the executors share: a call's items, of which each worker has a part of
// its own, and takes it in two ranges of whole grains: three quarters, then the
// last one, of a grain at least. Then it takes what others have not begun.
// Where all threads run alike a worker's items follow each other, so that a
// kernel finds what it fetched ahead, and what it packs for a range is packed
// twice: for few items to a worker that is much of its time. Threads that are
// slowed down lose their last quarter to the others, and threads that start
// late their whole part. More than 64 workers share 64 parts, each cut into as
// many equal ranges as give every worker two.
//
// Parts differ by one grain at most: of 44 grains two workers get 22 each.
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
    grains = (items - 1) / this->grain + 1;
    count = static_cast<unsigned>(std::min<int64_t>(grains, threads));
    parts = std::min(count, mostParts);
    rangesOfPart = 2 * ((count + parts - 1) / parts);
  }

  /// How many workers there is work for; at least 1.
  unsigned workers() const { return count; }

  /// Takes ranges until none is left.
  void work(unsigned worker) {
    for (unsigned i = 0; i < parts; ++i) {
      unsigned part = (worker + i) % parts;
      for (unsigned range;
           (range = taken[part].number.fetch_add(
                1, std::memory_order_relaxed)) < rangesOfPart;) {
        int64_t begin = beginOf(part, range), end = beginOf(part, range + 1);
        if (begin < end)
          body(begin * grain, end == grains ? items : end * grain, worker);
      }
    }
  }

private:
  static constexpr unsigned mostParts = 64;

  /// In grains: where a range of a part begins. No product overflows, since
  /// there are no more grains than items.
  int64_t beginOf(unsigned part, unsigned range) const {
    int64_t perPart = grains / parts, longer = grains % parts;
    int64_t first = part * perPart + std::min<int64_t>(part, longer);
    int64_t length = perPart + (part < longer ? 1 : 0);
    if (rangesOfPart > 2)
      return first + length / rangesOfPart * range +
             std::min<int64_t>(range, length % rangesOfPart);
    int64_t last = length < 2 ? 0 : std::max<int64_t>(length / 4, 1);
    return first + (range == 0 ? 0 : range == 1 ? length - last : length);
  }

  /// How many ranges of a part have been taken; each on a line of its own.
  struct alignas(64) Taken {
    std::atomic<unsigned> number{0};
  };

  int64_t items, grain, grains = 1;
  unsigned count = 1, parts = 1, rangesOfPart = 2;
  Body body;
  Taken taken[mostParts];
};

} // namespace v0
} // namespace quern

#endif // QUERN_DEVICE_CPU_RANGEQUEUE_H
