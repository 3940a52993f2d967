//===- Scheduler.cpp - Running clusters and blocks ------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/sim/AsyncEngine.h"
#include "runtime/device/sim/GlobalShadow.h"
#include "runtime/device/sim/Interpreter.h"
#include "runtime/device/sim/MemoryAccess.h"
#include "runtime/device/sim/MemoryOrder.h"
#include "runtime/device/sim/TensorMapProxy.h"

#include <algorithm>
#include <fmt/format.h>
#include <numeric>

using namespace quern;
using namespace quern::sim;

namespace {

/// Prepares `block` for a launch; register files and constants of an earlier
/// use are kept.
void resetBlock(Block &block, Launch &launch, const uint32_t (&index)[3]) {
  const Kernel &kernel = *launch.kernel;
  bool fresh = block.kernel != &kernel;
  block.launch = &launch;
  block.kernel = &kernel;
  std::copy_n(index, 3, block.index);
  block.linear =
      index[0] + launch.grid[0] * (index[1] + launch.grid[1] * index[2]);
  block.stopped = block.exited = false;
  block.mbarriers.clear();
  block.asyncAgent = 0;
  std::fill_n(block.asyncTime, warpAgents, 0);
  block.executed = block.faultCount = 0;
  uint32_t threads = launch.block[0] * launch.block[1] * launch.block[2];
  uint32_t warps = (threads + 31) / 32;
  block.sharedBytes = kernel.dynamicSharedOffset + launch.dynamicSharedBytes;
  if (fresh) {
    block.sharedStorage.resize(block.sharedBytes + 1024);
    uint64_t begin = reinterpret_cast<uint64_t>(block.sharedStorage.data());
    block.shared = block.sharedStorage.data() + (1024 - begin % 1024) % 1024;
    block.lastAllocation.assign(kernel.code.size(), nullptr);
    block.warps.clear();
    block.warps.resize(warps);
  }
  std::fill_n(block.shared, block.sharedBytes, std::byte{0xCD});
  if (launch.options.checks)
    block.history.assign(block.sharedBytes / AccessHistory::bytesPerCell + 1,
                         AccessHistory::untouched);
  for (Barrier &barrier : block.barriers)
    barrier = Barrier();
  for (uint32_t id = 0; id < warps; ++id) {
    Warp &warp = block.warps[id];
    if (fresh) {
      warp.registerStorage.resize(kernel.registerBytes + 64);
      uint64_t begin = reinterpret_cast<uint64_t>(warp.registerStorage.data());
      warp.registers = warp.registerStorage.data() + (64 - begin % 64) % 64;
      warp.defined.resize(kernel.registerBytes);
      warp.local.resize(size_t(kernel.localBytes) * 32);
      for (const Constant &constant : kernel.constants) {
        if (constant.bytes == 1)
          warp.predicate(constant.slot) = constant.value ? ~0u : 0u;
        else
          for (int lane = 0; lane < 32; ++lane)
            std::memcpy(warp.registers + constant.slot + lane * constant.bytes,
                        &constant.value, constant.bytes);
      }
    }
    warp.block = &block;
    warp.id = id;
    uint32_t lanes = std::min(32u, threads - id * 32);
    warp.alive = lanes == 32 ? ~0u : (1u << lanes) - 1;
    warp.mask = warp.alive;
    warp.pc = 0;
    warp.joinPc = noInstr;
    warp.waiting = Wait::None;
    warp.yielded = warp.done = warp.heldChanged = false;
    warp.held = warp.heldArrived = 0;
    warp.parked = warp.forced = warp.metElsewhere = 0;
    warp.clusterArrived = false;
    warp.idlePolls = 0;
    warp.pollProgress = ~uint64_t(0);
    warp.clock = Clock(block.linear);
    warp.clock.times.generic[id] = 1;
    warp.fences.reset();
    std::fill_n(warp.bulkGroup, 32, 0);
    warp.wgmmaGroup = 0;
    warp.pendingSlots.assign(kernel.registerBytes / 64 + 1, 0);
    warp.pendingCount = 0;
    warp.unfencedSlots.assign(kernel.registerBytes / 64 + 1, 0);
    warp.wgmmaPending.clear();
    warp.wgmmaFenced = false;
    warp.registers8 = 0;
    warp.divergedTurns = 0;
    std::fill_n(warp.asyncGroup, 32, 0);
    warp.asyncCopies.clear();
    warp.landedCopies.clear();
    if (launch.options.checks) {
      warp.defined.clear();
      for (const Constant &constant : kernel.constants)
        warp.defined.set(constant.slot, ~0u, ~0u);
    }
  }
  ++launch.counters.blocks;
}

/// Drops histories that no byte has any more.
void collectHistory(Launch &launch, std::vector<Cluster> &clusters) {
  if (!launch.history.isFull())
    return;
  std::vector<std::span<AccessHistory::State>> cells;
  for (Cluster &cluster : clusters)
    for (Block *block : cluster.blocks)
      cells.emplace_back(block->history);
  for (auto &[number, page] : launch.globalShadow->pages)
    cells.emplace_back(page->cells);
  launch.history.collect(cells);
}

/// A part of a warp at a barrier that the rest does not reach.
std::string whyHeld(const Warp &warp) {
  uint32_t waits = warp.held & ~warp.heldArrived;
  unsigned id = warp.heldBarrier[__builtin_ctz(waits)];
  uint32_t here = 0;
  forActiveLanes(waits, [&](int lane) {
    here |= uint32_t(warp.heldBarrier[lane] == id) << lane;
  });
  return fmt::format("waits at barrier {} with threads {:#x} for the rest of "
                     "the warp, threads {:#x}",
                     id, here, warp.alive & ~here);
}

/// For a report that something never happens: `unborn` blocks have not run.
std::vector<std::string> hintAtOthers(const Launch &launch, uint64_t unborn) {
  if (!unborn || launch.cooperative)
    return {};
  return {fmt::format("{} of the grid's blocks have not begun: blocks may wait "
                      "for each other only in a cooperative launch (quern sim "
                      "--cooperative)",
                      unborn)};
}

/// Tells who waits where, and stops everything that is left.
void reportDeadlock(std::vector<Cluster> &clusters, uint64_t unborn) {
  Block *blamed = nullptr;
  const Warp *first = nullptr;
  std::vector<std::string> notes;
  std::string what;
  size_t others = 0;
  for (Cluster &cluster : clusters)
    for (Block *block : cluster.blocks) {
      for (const Warp &warp : block->warps) {
        if (warp.done)
          continue;
        const Kernel &kernel = *block->kernel;
        std::string why;
        uint32_t at = warp.pc;
        switch (warp.waiting) {
        case Wait::Barrier:
          at = static_cast<uint32_t>(warp.waitInstr - kernel.code.data());
          if (warp.held & ~warp.heldArrived)
            why = whyHeld(warp);
          for (unsigned id = 0; id < barrierCount && why.empty(); ++id)
            if (block->barriers[id].waiting >> warp.id & 1)
              why = fmt::format("waits for barrier {}, which {} of {} threads "
                                "have reached",
                                id, block->barriers[id].arrivedThreads,
                                block->barriers[id].expectedThreads);
          break;
        case Wait::ClusterBarrier:
          at = static_cast<uint32_t>(warp.waitInstr - kernel.code.data());
          why = fmt::format("waits for the cluster's barrier, which {} of {} "
                            "threads have reached",
                            cluster.arrivedThreads, cluster.aliveThreads());
          break;
        case Wait::Warpgroup:
          at = static_cast<uint32_t>(warp.waitInstr - kernel.code.data());
          why = "waits for the other warps of its warpgroup";
          break;
        case Wait::None:
          at = warp.pollInstr == noInstr ? warp.pc : warp.pollInstr;
          why = warp.pollWhat.empty() ? "polls memory that nobody changes"
                                      : warp.pollWhat;
          break;
        }
        std::string note = fmt::format("block {}, warp {} {} at {}",
                                       blockName(*block->launch, block->linear),
                                       warp.id, why, placeOf(kernel, at));
        if (warp.parked)
          why += fmt::format(
              ", while threads {:#x} wait for them at {}", warp.parked,
              placeOf(kernel, warp.lanePc[__builtin_ctz(warp.parked)]));
        if (!blamed) {
          blamed = block;
          first = &warp;
          what = why;
        }
        if (notes.size() < 16)
          notes.push_back(std::move(note));
        else
          ++others;
      }
      block->stopped = true;
    }
  if (!blamed)
    return;
  if (others)
    notes.push_back(fmt::format("and {} more warps", others));
  for (std::string &hint : hintAtOthers(*blamed->launch, unborn))
    notes.push_back(std::move(hint));
  const Instr *at =
      first->waiting != Wait::None
          ? first->waitInstr
          : &blamed->kernel
                 ->code[first->pollInstr == noInstr ? first->pc
                                                    : first->pollInstr];
  blamed->fault(first, at, FaultKind::Deadlock, -1,
                fmt::format("the warp {}, and no other warp can run", what),
                notes);
}

} // namespace

uint32_t Block::aliveThreads() const {
  uint32_t threads = 0;
  for (const Warp &warp : warps)
    threads += warp.alive ? __builtin_popcount(warp.alive) : 0;
  return threads;
}

uint32_t Cluster::aliveThreads() const {
  uint32_t threads = 0;
  for (const Block *block : blocks)
    threads += block->aliveThreads();
  return threads;
}

void Cluster::completeBarrier() {
  if (arrivedThreads == 0 || arrivedThreads < aliveThreads())
    return;
  Launch &launch = *blocks[0]->launch;
  ++launch.counters.barriers;
  ++phase;
  arrivedThreads = 0;
  completed = arriving;
  arriving = Clock(blocks[0]->linear);
  for (Block *block : blocks)
    for (Warp &warp : block->warps)
      if (warp.waiting == Wait::ClusterBarrier) {
        warp.waiting = Wait::None;
        if (launch.options.checks && warp.clusterAcquires)
          acquireFrom(warp, completed);
        warp.clusterArrived = false;
      }
  launch.changed();
}

static void notePoll(Launch &launch, Warp &warp, uint32_t at) {
  if (warp.pollProgress == launch.progress) {
    ++warp.idlePolls;
  } else {
    warp.idlePolls = 1;
    warp.pollProgress = launch.progress;
  }
  warp.pollInstr = at;
}

void Launch::poll(Warp &warp, const Instr &instr, const std::string &what) {
  warp.yielded = true;
  notePoll(*this, warp, static_cast<uint32_t>(&instr - kernel->code.data()));
  warp.pollWhat = what;
}

void Launch::mayPoll(Warp &warp, const Instr &instr, uint64_t seen) {
  uint32_t at = static_cast<uint32_t>(&instr - kernel->code.data());
  // The first time round nothing is known yet.
  bool again = warp.pollInstr == at && warp.pollProgress == progress &&
               warp.pollSeen == seen;
  if (!again)
    warp.pollProgress = ~uint64_t(0);
  warp.pollSeen = seen;
  notePoll(*this, warp, at);
  warp.pollWhat.clear();
  // A loop may read an array of flags: give others a turn, but wait for many
  // repetitions before it counts as stuck.
  if (warp.idlePolls > 4)
    warp.yielded = true;
}

namespace {

/// A warp that keeps polling while nothing changes.
bool sleeps(const Launch &launch, const Warp &warp) {
  return warp.idlePolls > 1 && warp.pollProgress == launch.progress;
}

/// Polls in a row after which a warp is taken to wait for ever.
constexpr uint32_t hopelessPolls = 256;
constexpr uint32_t hopelessReads = 1 << 14;

/// A block with more is not worth running on.
constexpr uint64_t maxBlockFaults = 100000;

/// Runs the clusters that are resident to their end.
void runResident(Launch &launch, std::vector<Cluster> &clusters,
                 uint64_t unborn) {
  std::vector<Warp *> runnable, sleeping;
  auto gather = [&] {
    runnable.clear();
    sleeping.clear();
    for (Cluster &cluster : clusters)
      for (Block *block : cluster.blocks)
        if (!block->stopped)
          for (Warp &warp : block->warps) {
            if (warp.done || warp.waiting != Wait::None)
              continue;
            (sleeps(launch, warp) ? sleeping : runnable).push_back(&warp);
          }
  };
  auto alive = [&] {
    for (Cluster &cluster : clusters)
      for (Block *block : cluster.blocks)
        if (!block->stopped)
          for (Warp &warp : block->warps)
            if (!warp.done)
              return true;
    return false;
  };
  const SimOptions &options = launch.options;
  AsyncEngine &async = *launch.async;
  for (;;) {
    gather();
    if (runnable.empty()) {
      if (async.landAny(launch))
        continue;
      if (sleeping.empty()) {
        if (alive())
          reportDeadlock(clusters, unborn);
        return;
      }
      bool hopeless = true;
      for (const Warp *warp : sleeping)
        hopeless &= warp->idlePolls >=
                    (warp->pollWhat.empty() ? hopelessReads : hopelessPolls);
      if (hopeless)
        return reportDeadlock(clusters, unborn);
      runnable.swap(sleeping);
    }
    // A few turns before looking at all of them again.
    for (size_t i = 0, turns = runnable.size(); i < turns; ++i) {
      ++launch.turn;
      if (launch.turn >= async.nextDue)
        async.landDue(launch);
      Warp &warp = *runnable[launch.random() % turns];
      if (warp.done || warp.waiting != Wait::None || warp.block->stopped)
        continue;
      uint32_t quantum =
          options.quantum > 1
              ? 1 + static_cast<uint32_t>(launch.random() % options.quantum)
              : 1;
      runWarp(warp, quantum);
      Block &running = *warp.block;
      if (running.executed > options.watchdog && !running.stopped) {
        running.fault(&warp, &launch.kernel->code[warp.done ? 0 : warp.pc],
                      FaultKind::Deadlock, -1,
                      fmt::format("the block has executed more than {} warp "
                                  "instructions; it waits for something that "
                                  "never happens, or the limit is too low "
                                  "(SimOptions::watchdog, quern sim "
                                  "--watchdog)",
                                  options.watchdog),
                      hintAtOthers(launch, unborn));
        running.stopped = true;
      }
      if (running.faultCount > maxBlockFaults && !running.stopped) {
        running.fault(&warp, &launch.kernel->code[warp.done ? 0 : warp.pc],
                      FaultKind::InvalidOperation, -1,
                      fmt::format("the block was ended here after {} faults",
                                  running.faultCount));
        running.stopped = true;
      }
    }
    // A block that stopped takes its cluster along.
    for (Cluster &cluster : clusters) {
      bool stopped = false;
      for (Block *block : cluster.blocks)
        stopped |= block->stopped;
      if (stopped)
        for (Block *block : cluster.blocks)
          block->stopped = true;
    }
    collectHistory(launch, clusters);
  }
}

} // namespace

void Launch::runClusters(const std::vector<uint64_t> &order) {
  uint32_t size = clusterBlocks();
  uint32_t across[3];
  for (unsigned i = 0; i < 3; ++i)
    across[i] = grid[i] / clusterSize[i];
  globalShadow = std::make_shared<GlobalShadow>();
  async = std::make_shared<AsyncEngine>();
  syncObjects = std::make_shared<SyncObjects>();
  tensorMaps = std::make_shared<TensorMapProxy>();

  size_t count = order.size();
  size_t resident = cooperative ? count : std::min<size_t>(count, 1);
  std::vector<Block> blocks(resident * size);
  std::vector<Cluster> clusters(resident);
  for (size_t next = 0; next < count; next += resident) {
    for (size_t i = 0; i < resident; ++i) {
      Cluster &cluster = clusters[i];
      uint64_t linear = order[next + i];
      cluster = Cluster();
      cluster.index[0] = static_cast<uint32_t>(linear % across[0]);
      cluster.index[1] = static_cast<uint32_t>(linear / across[0] % across[1]);
      cluster.index[2] = static_cast<uint32_t>(linear / across[0] / across[1]);
      for (uint32_t rank = 0; rank < size; ++rank) {
        Block &member = blocks[i * size + rank];
        uint32_t index[3] = {cluster.index[0] * clusterSize[0] +
                                 rank % clusterSize[0],
                             cluster.index[1] * clusterSize[1] +
                                 rank / clusterSize[0] % clusterSize[1],
                             cluster.index[2] * clusterSize[2] +
                                 rank / clusterSize[0] / clusterSize[1]};
        member.rank = rank;
        member.cluster = &cluster;
        cluster.blocks.push_back(&member);
        resetBlock(member, *this, index);
      }
      cluster.arriving = cluster.completed = Clock(cluster.blocks[0]->linear);
    }
    runResident(*this, clusters, (count - next - resident) * size);
    // A fault no sense can be made of ends the launch.
    for (Block &finished : blocks)
      if (finished.stopped)
        return;
    async->landAll(*this);
  }
}
