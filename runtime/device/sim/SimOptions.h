//===- SimOptions.h - Schedules, checks and counters ------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// What a user of the simulator may choose, and what it counts.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_DEVICE_SIM_SIMOPTIONS_H
#define QUERN_DEVICE_SIM_SIMOPTIONS_H

#include <array>
#include <cstddef>
#include <cstdint>

namespace quern {
inline namespace v0 {
namespace sim {

struct SimOptions {
  /// Picks the order of blocks and warps. Some faults show only under some
  /// schedules: run small problems under several seeds.
  uint64_t seed = 1;
  /// A warp runs 1..quantum instructions before another may take over.
  uint32_t quantum = 64;
  /// Races, initialisation and bank conflicts. Bounds, alignment, barriers and
  /// deadlock are always checked.
  bool checks = true;
  /// Host threads that run independent blocks, at most 4; 0: as many as the
  /// machine has. Results, reports and counters do not depend on it.
  unsigned hostThreads = 0;
  /// A block that executes more warp instructions than this is taken to hang.
  uint64_t watchdog = uint64_t(1) << 27;
};

/// Figures of one launch. An instruction executed by a warp counts once as a
/// warp instruction and once for each active lane as a thread instruction.
struct Counters {
  uint64_t threadInstructions = 0;
  uint64_t warpInstructions = 0;
  /// Warp instructions by InstrClass (Program.h).
  std::array<uint64_t, 11> byClass = {};
  uint64_t globalBytesRead = 0;
  uint64_t globalBytesWritten = 0;
  /// Different bytes among them, however often each was touched: the least
  /// that memory must move. Counted with checks on.
  uint64_t globalUniqueBytesRead = 0;
  uint64_t globalUniqueBytesWritten = 0;
  /// Warp-level requests, and the 32-byte sectors they touched.
  uint64_t globalRequests = 0;
  uint64_t globalSectors = 0;
  /// Shared-memory requests, and the passes beyond the minimum that bank
  /// conflicts cost. Counted with checks on.
  uint64_t sharedRequests = 0;
  uint64_t sharedBankConflicts = 0;
  uint64_t barriers = 0; ///< Completed, over all blocks.
  uint64_t blocks = 0;
};

} // namespace sim
} // namespace v0
} // namespace quern

#endif // QUERN_DEVICE_SIM_SIMOPTIONS_H
