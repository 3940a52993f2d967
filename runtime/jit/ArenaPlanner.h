//===- ArenaPlanner.h - One block of memory for all temporaries -*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Temporaries that are never alive at once may share memory. Each is alive
// from the first launch that touches it to the last. Placing intervals at the
// smallest total is NP-hard; "largest first, at the lowest offset free for its
// whole life" is within a few percent of the optimum on layer-sized inputs and
// deterministic.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_JIT_ARENAPLANNER_H
#define QUERN_JIT_ARENAPLANNER_H

#include <cstdint>
#include <span>
#include <vector>

namespace quern {
inline namespace v0 {

struct ArenaItem {
  uint64_t bytes = 0;
  uint64_t alignment = 64; ///< A power of two.
  /// Launches that touch it first and last; first > last: never.
  uint32_t first = 0;
  uint32_t last = 0;
};

struct ArenaPlan {
  std::vector<uint64_t> offsets; ///< One per item; 0 for empty ones.
  uint64_t bytes = 0; ///< The arena's size; UINT64_MAX when it does not fit.
};

/// Items overlap in memory only if they do not overlap in time.
ArenaPlan planArena(std::span<const ArenaItem> items);

} // namespace v0
} // namespace quern

#endif // QUERN_JIT_ARENAPLANNER_H
