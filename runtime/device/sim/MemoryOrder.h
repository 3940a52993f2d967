//===- MemoryOrder.h - Releases, acquires and fences ------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// How strong accesses and fences order others (PTX ISA, "Memory Consistency
// Model": release and acquire patterns, synchronises-with).
//
// Every word that strong accesses touch has a synchronisation object. A release
// (or a strong write or atomic after a fence) joins the warp's clock, or what
// the fence released, into it; an acquire joins it into the warp's clock; a
// relaxed read remembers what it saw for a later fence. A plain strong store
// starts over, an atomic continues the release sequence.
//
// Scopes: what is released at scope S by block X is seen by block Y acquiring
// at scope T only if S includes Y and T includes X. Objects keep one clock for
// each block that released at .cta, for each cluster, and one for .gpu/.sys;
// of the latter an acquire at .cta or .cluster gets something only if the
// latest release came from its own block or cluster.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_DEVICE_SIM_MEMORYORDER_H
#define QUERN_DEVICE_SIM_MEMORYORDER_H

#include "runtime/device/sim/Machine.h"

#include <unordered_map>

namespace quern {
inline namespace v0 {
namespace sim {

struct SyncObject {
  std::map<uint32_t, Clock> byBlock;   ///< Released at .cta.
  std::map<uint32_t, Clock> byCluster; ///< Released at .cluster.
  std::unique_ptr<Clock> all;          ///< Released at .gpu or .sys.
  uint32_t latestBlock = 0;
  uint32_t latestCluster = 0;
};
struct SyncObjects {
  std::unordered_map<uint64_t, SyncObject> objects;
};

/// Adds what `warp` knows to `clock` and advances the warp's time.
void releaseInto(Warp &warp, Clock &clock);
void acquireFrom(Warp &warp, const Clock &clock);

/// A strong access of `lane` to the word `key` (see syncKey). Weak ones need
/// not call this.
void orderAccess(Warp &warp, const Instr &instr, uint64_t key, bool reads,
                 bool writes);
inline uint64_t syncKey(SharedPlace place) {
  return uint64_t(1) << 63 | uint64_t(place.block->linear) << 24 | place.offset;
}

/// fence.{acq_rel,sc}, membar.
void fenceMemory(Warp &warp, Scope scope);
/// fence.proxy.async
void fenceAsyncProxy(Warp &warp);

} // namespace sim
} // namespace v0
} // namespace quern

#endif // QUERN_DEVICE_SIM_MEMORYORDER_H
