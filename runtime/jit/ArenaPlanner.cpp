//===- ArenaPlanner.cpp - One block of memory for all temporaries ---------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/jit/ArenaPlanner.h"

#include <algorithm>
#include <numeric>

using namespace quern;

/// Sums that do not fit stay at the largest value, which no device allocates.
static uint64_t addSaturated(uint64_t a, uint64_t b) {
  return a <= UINT64_MAX - b ? a + b : UINT64_MAX;
}

ArenaPlan quern::planArena(std::span<const ArenaItem> items) {
  ArenaPlan plan;
  plan.offsets.assign(items.size(), 0);
  auto live = [&](size_t i) {
    return items[i].bytes > 0 && items[i].first <= items[i].last;
  };
  std::vector<size_t> order(items.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return items[a].bytes != items[b].bytes ? items[a].bytes > items[b].bytes
                                            : a < b;
  });

  std::vector<size_t> placed; // By offset.
  for (size_t i : order) {
    if (!live(i))
      continue;
    const ArenaItem &item = items[i];
    auto align = [&](uint64_t offset) {
      return addSaturated(offset, item.alignment - 1) & ~(item.alignment - 1);
    };
    uint64_t offset = 0;
    for (size_t other : placed) {
      if (items[other].last < item.first || item.last < items[other].first)
        continue;
      if (plan.offsets[other] >= addSaturated(offset, item.bytes))
        break; // Fits before this one, and all later ones lie beyond.
      offset = std::max(
          offset, align(addSaturated(plan.offsets[other], items[other].bytes)));
    }
    plan.offsets[i] = offset;
    plan.bytes = std::max(plan.bytes, addSaturated(offset, item.bytes));
    placed.insert(std::upper_bound(placed.begin(), placed.end(), i,
                                   [&](size_t a, size_t b) {
                                     return plan.offsets[a] < plan.offsets[b];
                                   }),
                  i);
  }
  return plan;
}
