//===- ShadowMemory.h - Races and initialised bytes -------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Knows for every byte of a block's shared memory who wrote it last, who read
// it since, whether it was ever written and whether an asynchronous copy into
// it is under way; and which accesses are ordered by synchronisation.
//
// Order is kept by vector clocks over warps (Mattern 1989; for the use in race
// detection see Flanagan & Freund, "FastTrack", 2009). Warp w at local time t
// has performed everything with clock (w, t' <= t); `clock(w)[v]` is the latest
// time of warp v whose accesses are ordered before what w does now. A barrier
// joins the clocks of its participants and advances each. An access races with
// an earlier one by (v, t) exactly if t > clock(w)[v]. Read times are kept for
// each warp and byte, so no reader is forgotten.
//
// Lanes of one warp count as ordered: the simulator runs a warp in lockstep and
// does not look for missing __syncwarp.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_DEVICE_SIM_SHADOWMEMORY_H
#define QUERN_DEVICE_SIM_SHADOWMEMORY_H

#include "runtime/device/sim/Faults.h"

#include <cstdint>
#include <optional>
#include <vector>

namespace quern {
inline namespace v0 {
namespace sim {

class ShadowMemory {
public:
  /// What a check found: at which byte, and against which other warp.
  struct Finding {
    FaultKind kind;
    uint32_t offset = 0;
    uint32_t other = 0;
    /// For races, what the other warp had done.
    enum class Earlier : uint8_t { None, Write, Read } earlier = Earlier::None;
  };

  /// Forgets everything; all clocks restart. At most 32 warps.
  void reset(uint32_t bytes, uint32_t warps);

  // The ranges given below must lie within the shared memory.
  std::optional<Finding> read(uint32_t warp, uint32_t offset, uint32_t bytes);
  std::optional<Finding> write(uint32_t warp, uint32_t offset, uint32_t bytes);
  /// Atomics do not race with each other, only with plain accesses.
  std::optional<Finding> atomic(uint32_t warp, uint32_t offset, uint32_t bytes);
  /// An asynchronous copy into the range was issued, has completed.
  std::optional<Finding> beginCopy(uint32_t warp, uint32_t offset,
                                   uint32_t bytes);
  void endCopy(uint32_t warp, uint32_t offset, uint32_t bytes);

  /// A set of accesses: for each warp, the latest of its times that belong.
  struct Clock {
    uint16_t times[32] = {};
    uint32_t epoch = 0;
  };
  /// Adds to `clock` all that is ordered before this point of `warp`, and
  /// advances the warp's time. A barrier is a release by every participant,
  /// then an acquire by all that waited.
  void release(uint32_t warp, Clock &clock);
  /// Orders the accesses of `clock` before all that `warp` does next.
  void acquire(uint32_t warp, const Clock &clock);

private:
  /// A byte's writer: time in bits 0-15, warp in 16-20, and flags.
  static constexpr uint32_t initialized = 1u << 24;
  static constexpr uint32_t inFlight = 1u << 25;
  static constexpr uint32_t byAtomic = 1u << 26;

  static uint32_t timeOf(uint32_t word) { return word & 0xffff; }
  static uint32_t writerOf(uint32_t word) { return (word >> 16) & 31; }

  uint16_t *clock(uint32_t warp) { return &clocks[size_t(warp) * 32]; }
  uint16_t *readTimes(uint32_t warp, uint32_t offset) {
    return &readers[size_t(warp) * bytes + offset];
  }
  std::optional<Finding> checkWriter(uint32_t warp, uint32_t offset,
                                     uint32_t count, bool isRead,
                                     bool isAtomic);
  std::optional<Finding> checkReaders(uint32_t warp, uint32_t offset,
                                      uint32_t count);
  void setWriter(uint32_t warp, uint32_t offset, uint32_t count,
                 uint32_t flags);
  void restartClocks();

  uint32_t bytes = 0;
  uint32_t warps = 0;
  std::vector<uint32_t> writers;
  std::vector<uint16_t> readers;
  std::vector<uint16_t> clocks;
  uint32_t epoch = 0; ///< How often the clocks were restarted.
};

} // namespace sim
} // namespace v0
} // namespace quern

#endif // QUERN_DEVICE_SIM_SHADOWMEMORY_H
