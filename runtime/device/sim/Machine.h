//===- Machine.h - The state of a running launch ----------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// A launch runs its blocks one after another in random order (all at once when
// it is cooperative). Within a block, warps take turns: the scheduler picks a
// runnable warp at random and lets it execute a random number of instructions,
// both from a seed, so that a schedule can be repeated.
//
// A warp runs in lockstep under a mask. When a branch splits it, each lane's
// next instruction is remembered and the lanes with the lowest one run first,
// up to the lowest one of the others; there they join again. That meets at the
// immediate post-dominator for all code a compiler lays out in order.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_DEVICE_SIM_MACHINE_H
#define QUERN_DEVICE_SIM_MACHINE_H

#include "runtime/device/sim/DeviceMemory.h"
#include "runtime/device/sim/Faults.h"
#include "runtime/device/sim/Program.h"
#include "runtime/device/sim/ShadowMemory.h"
#include "runtime/device/sim/SimOptions.h"

#include <cstring>
#include <random>
#include <string>

namespace quern {
inline namespace v0 {
namespace sim {

struct Block;
struct Launch;

inline constexpr uint32_t noInstr = ~uint32_t(0);
inline constexpr unsigned barrierCount = 16;

/// A cp.async that has been issued. It is carried out as late as the program
/// allows, so that a missing wait shows.
struct AsyncCopy {
  uint64_t source = 0;
  uint32_t destination = 0;
  uint32_t group = 0;
  uint8_t lane = 0;
  uint8_t bytes = 0;  ///< Copied from the source.
  uint8_t filled = 0; ///< Written in all; the rest is zero.
};

struct Warp {
  Block *block = nullptr;
  unsigned id = 0;
  uint32_t mask = 0;  ///< Lanes that execute now.
  uint32_t alive = 0; ///< Lanes that have not exited.
  uint32_t pc = 0;
  uint32_t joinPc = noInstr; ///< Lowest pc of the lanes that wait.
  uint32_t lanePc[32] = {};
  bool atBarrier = false;
  bool yielded = false; ///< Gave up its turn (barrier, spinning).
  bool done = false;
  uint32_t divergedTurns = 0; ///< Turns ended with a part of the lanes.
  uint32_t asyncGroup[32] = {};
  std::vector<AsyncCopy> asyncCopies;

  // Registers, aligned to 64 bytes, and for each 64 bytes a mask of the lanes
  // that were ever written.
  std::vector<std::byte> registerStorage;
  std::byte *registers = nullptr;
  std::vector<uint32_t> defined;
  std::vector<std::byte> local; ///< 32 frames of Kernel::localBytes.

  template <typename T> T *lanes(uint32_t slot) {
    return reinterpret_cast<T *>(registers + slot);
  }
  uint32_t &predicate(uint32_t slot) { return *lanes<uint32_t>(slot); }
  void setPredicate(uint32_t slot, uint32_t value) {
    uint32_t &old = predicate(slot);
    old = (old & ~mask) | (value & mask);
  }
  /// Puts the lanes with the lowest pc in charge.
  void regroup();
};

struct Barrier {
  uint32_t expectedThreads = 0; ///< 0: nobody has come yet.
  bool wholeBlock = false;      ///< No count was given.
  uint32_t arrivedThreads = 0;
  uint32_t waiting = 0; ///< Warps.
  uint32_t instruction = 0;
  uint32_t line = 0;
  ShadowMemory::Clock clock;
  // bar.red: the running result and who wants it.
  uint32_t count = 0;
  bool all = true;
  bool any = false;
};

struct Block {
  Launch *launch = nullptr;
  const Kernel *kernel = nullptr;
  uint32_t index[3] = {};
  std::vector<std::byte> sharedStorage;
  std::byte *shared = nullptr; ///< Aligned to 1024 bytes.
  uint32_t sharedBytes = 0;
  ShadowMemory shadow;
  std::vector<Warp> warps;
  Barrier barriers[barrierCount];
  bool stopped = false; ///< After a fault no sense can be made of.
  uint64_t executed = 0;
  /// For each instruction, the allocation it touched last.
  std::vector<const Allocation *> lastAllocation;

  /// Records a fault; `lane` < 0 means the whole warp. Returns true if it was
  /// news.
  bool fault(const Warp *warp, const Instr *instr, FaultKind kind, int lane,
             const std::string &what);
  /// Ends the barrier if all expected threads have come.
  void completeBarrier(Barrier &barrier);
  uint32_t aliveThreads() const;
};

struct Launch {
  const Kernel *kernel = nullptr;
  uint32_t grid[3] = {1, 1, 1};
  uint32_t block[3] = {1, 1, 1};
  uint32_t dynamicSharedBytes = 0;
  bool cooperative = false;
  std::vector<std::byte> parameters;
  DeviceMemory *memory = nullptr;
  SimOptions options;
  Counters counters;
  FaultLog faults;
  std::mt19937_64 random;

  /// Runs to the end; what went wrong stands in `faults`.
  void run();
};

/// Lane loops have no dependence between lanes: registers either coincide or
/// do not overlap.
#if defined(__clang__)
#define QUERN_SIM_LANES                                                        \
  _Pragma("clang loop vectorize(assume_safety)") for (int lane = 0; lane < 32; \
                                                      ++lane)
#else
#define QUERN_SIM_LANES                                                        \
  _Pragma("GCC ivdep") for (int lane = 0; lane < 32; ++lane)
#endif

/// Computes `f(lane)` into a register, for the active lanes.
template <typename T, typename F>
inline void writeLanes(Warp &warp, uint32_t slot, F f) {
  T *result = warp.lanes<T>(slot);
  uint32_t mask = warp.mask;
  if (mask == ~uint32_t(0)) {
    QUERN_SIM_LANES { result[lane] = f(lane); }
    return;
  }
  for (uint32_t rest = mask; rest; rest &= rest - 1) {
    int lane = __builtin_ctz(rest);
    result[lane] = f(lane);
  }
}

/// Computes the predicate `f(lane)` for the active lanes.
template <typename F>
inline void writePredicate(Warp &warp, uint32_t slot, F f) {
  uint32_t bits = 0;
  for (int lane = 0; lane < 32; ++lane)
    bits |= uint32_t(f(lane) ? 1 : 0) << lane;
  warp.setPredicate(slot, bits);
}

template <typename F> inline void forActiveLanes(uint32_t mask, F f) {
  for (uint32_t rest = mask; rest; rest &= rest - 1)
    f(__builtin_ctz(rest));
}

} // namespace sim
} // namespace v0
} // namespace quern

#endif // QUERN_DEVICE_SIM_MACHINE_H
