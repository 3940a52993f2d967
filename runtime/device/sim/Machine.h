//===- Machine.h - The state of a running launch ----------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Launch -> Cluster -> Block -> Warp. The blocks of a cluster run at the same
// time; a launch without clusters has clusters of one block. Clusters run one
// after another in random order, or all at once when the launch is cooperative.
// Among the warps that are resident, a scheduler picks a runnable one at random
// and lets it execute a random number of instructions, both from a seed, so
// that a schedule can be repeated.
//
// Host threads. A kernel whose blocks cannot talk to each other (Kernel::
// communicates is false) is cut into at most four shards, each a `Launch` of
// its own with every fourth cluster, its own random numbers, counters, faults
// and access history. Shards run on as many host threads as the options allow
// and are merged in order, so results do not depend on the number of threads.
// Everything below a Launch is therefore single-threaded.
//
// A warp runs in lockstep under a mask. When a branch splits it, the lanes with
// the lowest next instruction run first, up to the lowest one of the others;
// there they join again. Instructions that need several lanes wait for them,
// wherever they are (Convergence.h).
//
// Waiting. An instruction that must wait sets Warp::waiting and returns; the
// warp is not scheduled until whoever ends the wait sets it back to None. The
// program counter has moved on by then: the instruction is not repeated. Loops
// that poll (mbarrier.try_wait, ld.acquire) call Launch::poll(): a warp whose
// polls fail is not scheduled while others can run and nothing changes.
// Anything that could end another warp's polling calls Launch::changed().
// When no warp can run, nothing is in flight and every poll has been repeated
// in vain, the launch is in deadlock and is told who waits where.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_DEVICE_SIM_MACHINE_H
#define QUERN_DEVICE_SIM_MACHINE_H

#include "runtime/device/sim/AccessHistory.h"
#include "runtime/device/sim/Clock.h"
#include "runtime/device/sim/DefinedRegisters.h"
#include "runtime/device/sim/DeviceMemory.h"
#include "runtime/device/sim/Faults.h"
#include "runtime/device/sim/Footprint.h"
#include "runtime/device/sim/Mbarrier.h"
#include "runtime/device/sim/Program.h"
#include "runtime/device/sim/SimOptions.h"

#include <cstring>
#include <map>
#include <memory>
#include <random>
#include <string>

namespace quern {
inline namespace v0 {
namespace sim {

struct Block;
struct Cluster;
struct Launch;
struct AsyncEngine;
struct GlobalShadow;
struct SyncObjects;
struct TensorMapProxy;

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

/// Copies by cp.async that an mbarrier was told of and that have landed: a
/// thread that waits for its groups knows them. One for each agent.
struct LandedCopies {
  Epoch writes; ///< Of the latest.
  uint32_t lanes = 0;
  uint32_t group = 0; ///< The earliest of all.
};

/// A byte of some block's shared memory.
struct SharedPlace {
  Block *block = nullptr;
  uint32_t offset = 0;
  explicit operator bool() const { return block; }
  std::byte *data() const;
};

enum class Wait : uint8_t { None, Barrier, ClusterBarrier, Warpgroup };

/// Clocks of a warp's fences (PTX ISA, release and acquire patterns): what the
/// latest fence of at least each scope releases through later strong writes,
/// and what strong reads have seen and a later fence acquires.
struct FenceClocks {
  Clock released[3]; ///< By Scope: Cta, Cluster, Gpu (and Sys).
  bool hasReleased[3] = {};
  Clock seen;
  bool hasSeen = false;
};

/// A wgmma that has not been waited for, or a copy of its accumulator.
struct PendingWgmma {
  uint32_t group;
  const Instr *instr; ///< Null for a copy.
  uint32_t copy;      ///< The copy's slot, or 0.
};

struct Warp {
  Block *block = nullptr;
  unsigned id = 0;
  uint32_t mask = 0;  ///< Lanes that execute now.
  uint32_t alive = 0; ///< Lanes that have not exited.
  uint32_t pc = 0;
  uint32_t joinPc = noInstr; ///< Lowest pc of the lanes that wait.
  uint32_t lanePc[32] = {};
  Wait waiting = Wait::None;
  const Instr *waitInstr = nullptr;
  bool yielded = false; ///< Gave up its turn (barrier, spinning).
  bool done = false;
  /// Lanes that came to a barrier without their whole warp and are not run: to
  /// which one, where, and those of them that count there as arrived.
  uint32_t held = 0;
  uint32_t heldArrived = 0;
  uint8_t heldBarrier[32] = {};
  const Instr *heldAt[32] = {};
  bool heldChanged = false; ///< Regroup before the next turn.
  /// Lanes that wait at a collective (lanePc) for others of the warp.
  uint32_t parked = 0;
  uint32_t forced = 0; ///< Of the running ones: execute it as they are.
  /// At bar.warp.sync: lanes that came to another one with the same mask.
  uint32_t metElsewhere = 0;
  bool clusterArrived = false;  ///< At barrier.cluster, but has not waited.
  bool clusterAcquires = false; ///< The wait it is in acquires.
  uint64_t clusterPhase = 0;    ///< The phase it arrived in.
  /// The latest failed poll: Launch::progress then, how many in a row without
  /// any progress, where and what for.
  uint64_t pollProgress = ~uint64_t(0);
  uint32_t idlePolls = 0;
  uint64_t pollSeen = 0;
  uint32_t pollInstr = noInstr;
  std::string pollWhat; ///< Empty for what only may be a poll.

  Clock clock;
  std::unique_ptr<FenceClocks> fences;

  uint32_t divergedTurns = 0;   ///< Turns ended with a part of the lanes.
  uint32_t asyncGroup[32] = {}; ///< cp.async groups committed, by lane.
  std::vector<AsyncCopy> asyncCopies;
  std::vector<LandedCopies> landedCopies;
  uint32_t bulkGroup[32] = {}; ///< Bulk groups committed, by lane.
  uint32_t wgmmaGroup = 0;     ///< wgmma groups committed.
  std::vector<PendingWgmma> wgmmaPending;
  bool wgmmaFenced = false; ///< By any wgmma.fence so far.
  uint8_t registers8 = 0;   ///< setmaxnreg's latest count / 8; 0: none yet.

  // Registers, aligned to 64 bytes, and what of them was written.
  std::vector<std::byte> registerStorage;
  std::byte *registers = nullptr;
  DefinedRegisters defined;
  /// Slots / 64 that hold accumulators of pending wgmma, and how many.
  std::vector<uint8_t> pendingSlots;
  uint32_t pendingCount = 0;
  /// Those that Instr::writesWgmmaOperand has written since wgmma.fence.
  std::vector<uint8_t> unfencedSlots;
  std::vector<std::byte> local; ///< 32 frames of Kernel::localBytes.

  template <typename T> T *lanes(uint32_t slot) {
    return reinterpret_cast<T *>(registers + slot);
  }
  uint32_t &predicate(uint32_t slot) { return *lanes<uint32_t>(slot); }
  void setPredicate(uint32_t slot, uint32_t value) {
    uint32_t &old = predicate(slot);
    old = (old & ~mask) | (value & mask);
  }
  /// Puts the lanes with the lowest pc in charge; waits if all are held.
  void regroup();
  /// Those lanes of `among` that hold the same 32-bit value as the first.
  uint32_t lanesThatAgree(uint32_t slot, uint32_t among);
  /// Notes for a report that lanes are missing: where others wait.
  std::vector<std::string> whereTheOthersAre() const;
};

struct Barrier {
  uint32_t expectedThreads = 0; ///< 0: nobody has come yet.
  bool wholeBlock = false;      ///< No count was given.
  bool aligned = false;         ///< All came by aligned forms.
  uint32_t arrivedThreads = 0;
  uint32_t waiting = 0;     ///< Warps.
  uint32_t instruction = 0; ///< Of the first that came.
  Clock clock;
  // bar.red: the running result and who wants it.
  uint32_t count = 0;
  bool all = true;
  bool any = false;
};

struct Block {
  Launch *launch = nullptr;
  Cluster *cluster = nullptr;
  const Kernel *kernel = nullptr;
  uint32_t index[3] = {};
  uint32_t linear = 0; ///< In the grid; Epoch::block.
  uint32_t rank = 0;   ///< In the cluster.
  std::vector<std::byte> sharedStorage;
  std::byte *shared = nullptr; ///< Aligned to 1024 bytes.
  uint32_t sharedBytes = 0;
  std::vector<AccessHistory::State> history; ///< Of shared memory.
  std::vector<Warp> warps;
  Barrier barriers[barrierCount];
  std::map<uint32_t, Mbarrier> mbarriers; ///< By offset.
  bool stopped = false; ///< After a fault no sense can be made of.
  bool exited = false;  ///< All its threads have.
  uint64_t executed = 0;
  uint64_t faultCount = 0;
  uint32_t asyncAgent = 0; ///< Asynchronous operations begun.
  uint32_t asyncTime[warpAgents] = {};
  /// For each instruction, the allocation it touched last.
  std::vector<const Allocation *> lastAllocation;

  /// Records a fault; `lane` < 0 means the whole warp. Returns true if it was
  /// news. `notes` go below the thread.
  bool fault(const Warp *warp, const Instr *instr, FaultKind kind, int lane,
             const std::string &what,
             const std::vector<std::string> &notes = {});
  /// Counts a fault that need not be described, because it was told before;
  /// false: fault() is to be called. Saves formatting.
  bool isKnown(const Instr *instr, FaultKind kind);
  /// Ends the barrier if all expected threads have come.
  void completeBarrier(Barrier &barrier);
  /// Counts a warp whose threads came to barrier `id` one by one, if all that
  /// have not exited are there.
  void arriveHeld(Warp &warp, unsigned id);
  uint32_t aliveThreads() const;
};

struct Cluster {
  uint32_t index[3] = {};      ///< In the grid of clusters.
  std::vector<Block *> blocks; ///< By rank.
  // barrier.cluster: a warp arrives once for each wait.
  uint32_t arrivedThreads = 0;
  uint64_t phase = 0;
  Clock arriving;
  Clock completed;

  uint32_t aliveThreads() const;
  void completeBarrier();
};

struct Launch {
  const Kernel *kernel = nullptr;
  uint32_t grid[3] = {1, 1, 1};
  uint32_t block[3] = {1, 1, 1};
  uint32_t clusterSize[3] = {1, 1, 1}; ///< In blocks; divides the grid.
  bool explicitCluster = false;        ///< A cluster was asked for.
  uint32_t dynamicSharedBytes = 0;
  bool cooperative = false;
  /// Of a cooperative launch, for cooperative_groups: a word of no interest,
  /// then the word of the grid's barrier. 0: none.
  uint64_t workspace = 0;
  std::vector<std::byte> parameters;
  DeviceMemory *memory = nullptr;
  SimOptions options;
  Counters counters;
  FaultLog faults;
  std::mt19937_64 random;
  Footprint footprint; ///< With checks on.

  // Of a running shard.
  AccessHistory history;
  std::shared_ptr<GlobalShadow> globalShadow;
  std::shared_ptr<AsyncEngine> async;
  std::shared_ptr<SyncObjects> syncObjects;
  std::shared_ptr<TensorMapProxy> tensorMaps;
  uint64_t progress = 0;
  uint64_t turn = 0; ///< Warps scheduled so far.

  /// Runs to the end; what went wrong stands in `faults`.
  void run();
  /// The same for some clusters, in this order, on this thread.
  void runClusters(const std::vector<uint64_t> &order);

  /// Something happened that may end another warp's polling.
  void changed() { ++progress; }
  /// A poll of `warp` failed: gives up the turn. `what` says what it waits for
  /// in a deadlock's report.
  void poll(Warp &warp, const Instr &instr, const std::string &what);
  /// A strong load, or an atomic that changed nothing: repeated at the same
  /// instruction with the same addresses and values (`seen` is a hash of them)
  /// without any progress, it is a poll.
  void mayPoll(Warp &warp, const Instr &instr, uint64_t seen);

  uint32_t clusterBlocks() const {
    return clusterSize[0] * clusterSize[1] * clusterSize[2];
  }
};

inline std::byte *SharedPlace::data() const { return block->shared + offset; }

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

/// A special register that is the same for the whole warp.
template <uint32_t (*read)(const Warp &)>
void readUniform(Warp &warp, const Instr &instr) {
  uint32_t value = read(warp);
  writeLanes<uint32_t>(warp, instr.slots[0], [=](int) { return value; });
}

/// Computes the predicate `f(lane)` for the active lanes.
template <typename F>
inline void writePredicate(Warp &warp, uint32_t slot, F f) {
  uint32_t bits = 0;
  for (int lane = 0; lane < 32; ++lane)
    bits |= uint32_t(f(lane) ? 1 : 0) << lane;
  warp.setPredicate(slot, bits);
}

/// Reports lanes named by Instr::memberSlot that are neither here with the same
/// mask nor among `elsewhere`, and lanes that do not name themselves.
void checkMembers(Warp &warp, const Instr &instr, uint32_t elsewhere = 0);

template <typename F> inline void forActiveLanes(uint32_t mask, F f) {
  for (uint32_t rest = mask; rest; rest &= rest - 1)
    f(__builtin_ctz(rest));
}

} // namespace sim
} // namespace v0
} // namespace quern

#endif // QUERN_DEVICE_SIM_MACHINE_H
