//===- Shards.cpp - A launch on several host threads ----------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// See "Host threads" in Machine.h. Races between blocks of different shards are
// found afterwards: such blocks cannot have synchronised, so a byte that one
// shard wrote and another touched is a race, whatever the order.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/sim/GlobalShadow.h"
#include "runtime/device/sim/MemoryAccess.h"

#include <algorithm>
#include <atomic>
#include <fmt/format.h>
#include <numeric>
#include <set>
#include <thread>

using namespace quern;
using namespace quern::sim;

namespace {

constexpr unsigned maxShards = 4;

/// The shard's part of the launch, ready to run.
void prepareShard(Launch &shard, const Launch &whole, unsigned number) {
  shard.kernel = whole.kernel;
  std::copy_n(whole.grid, 3, shard.grid);
  std::copy_n(whole.block, 3, shard.block);
  std::copy_n(whole.clusterSize, 3, shard.clusterSize);
  shard.explicitCluster = whole.explicitCluster;
  shard.dynamicSharedBytes = whole.dynamicSharedBytes;
  shard.parameters = whole.parameters;
  shard.memory = whole.memory;
  shard.options = whole.options;
  shard.random.seed(whole.options.seed * 0x9e3779b97f4a7c15u + number + 1);
}

void addCounters(Counters &to, const Counters &from) {
  to.threadInstructions += from.threadInstructions;
  to.warpInstructions += from.warpInstructions;
  for (size_t i = 0; i < to.byClass.size(); ++i)
    to.byClass[i] += from.byClass[i];
  to.globalBytesRead += from.globalBytesRead;
  to.globalBytesWritten += from.globalBytesWritten;
  to.globalRequests += from.globalRequests;
  to.globalSectors += from.globalSectors;
  to.sharedRequests += from.sharedRequests;
  to.sharedBankConflicts += from.sharedBankConflicts;
  to.barriers += from.barriers;
  to.blocks += from.blocks;
}

using Record = AccessHistory::Record;

/// Two accesses of a byte by the shards, one of them a write; nothing if there
/// are none.
struct Conflict {
  Record later;
  bool laterWrites;
  Record earlier;
  bool earlierWrites;
};
std::optional<Conflict> conflictOf(const AccessHistory &a,
                                   AccessHistory::State stateA,
                                   const AccessHistory &b,
                                   AccessHistory::State stateB) {
  std::optional<Conflict> found;
  a.forAccesses(stateA, [&](const Record &earlier, bool earlierWrites) {
    b.forAccesses(stateB, [&](const Record &later, bool laterWrites) {
      if (!found && (earlierWrites || laterWrites))
        found = Conflict{later, laterWrites, earlier, earlierWrites};
    });
  });
  return found;
}

void report(Launch &shard, uint64_t address, const Conflict &conflict) {
  // A block to speak for the later access.
  Cluster cluster;
  Block block;
  uint32_t linear = conflict.later.epoch.block;
  block.launch = &shard;
  block.kernel = shard.kernel;
  block.linear = linear;
  block.index[0] = linear % shard.grid[0];
  block.index[1] = linear / shard.grid[0] % shard.grid[1];
  block.index[2] = linear / shard.grid[0] / shard.grid[1];
  block.cluster = &cluster;
  Warp warp;
  warp.block = &block;
  warp.id = conflict.later.epoch.isAsync() ? 0 : conflict.later.epoch.agent;
  AccessHistory::Finding finding;
  finding.kind = conflict.later.nonCoherent || conflict.earlier.nonCoherent
                     ? FaultKind::NonCoherentRead
                     : FaultKind::Race;
  finding.earlier = conflict.earlier;
  finding.earlierWrites = conflict.earlierWrites;
  reportFinding(warp, shard.kernel->code[conflict.later.instr], -1, finding,
                conflict.laterWrites ? AccessHistory::Kind::Write
                                     : AccessHistory::Kind::Read,
                describeGlobal(shard, address));
}

/// Bytes that two shards touched and one of them wrote.
void compareShards(Launch &a, Launch &b) {
  std::vector<uint64_t> common;
  for (const auto &[number, page] : a.globalShadow->pages)
    if (auto it = b.globalShadow->pages.find(number);
        it != b.globalShadow->pages.end() &&
        (page->written || it->second->written))
      common.push_back(number);
  std::sort(common.begin(), common.end());
  std::set<std::pair<AccessHistory::State, AccessHistory::State>> compared;
  for (uint64_t number : common) {
    const auto &cellsA = a.globalShadow->pages.at(number)->cells;
    const auto &cellsB = b.globalShadow->pages.at(number)->cells;
    AccessHistory::State lastA = 0, lastB = 0;
    for (size_t cell = 0; cell < cellsA.size(); ++cell) {
      AccessHistory::State stateA = cellsA[cell], stateB = cellsB[cell];
      if ((stateA == lastA && stateB == lastB) ||
          stateA == AccessHistory::initialised ||
          stateB == AccessHistory::initialised)
        continue;
      lastA = stateA;
      lastB = stateB;
      unsigned bytes = a.history.isSplit(stateA) || b.history.isSplit(stateB)
                           ? AccessHistory::bytesPerCell
                           : 1;
      for (unsigned byte = 0; byte < bytes; ++byte) {
        AccessHistory::State ofA = a.history.byteState(stateA, byte);
        AccessHistory::State ofB = b.history.byteState(stateB, byte);
        if (!compared.emplace(ofA, ofB).second)
          continue;
        if (auto conflict = conflictOf(a.history, ofA, b.history, ofB))
          report(b,
                 number * GlobalShadow::pageBytes +
                     cell * AccessHistory::bytesPerCell + byte,
                 *conflict);
      }
    }
  }
}

} // namespace

void Launch::run() {
  uint64_t count = uint64_t(grid[0]) * grid[1] * grid[2] / clusterBlocks();
  std::vector<uint64_t> order(count);
  std::iota(order.begin(), order.end(), 0);
  random.seed(options.seed);
  std::shuffle(order.begin(), order.end(), random);
  if (cooperative || kernel->communicates || count == 1)
    return runClusters(order);

  unsigned shardCount =
      static_cast<unsigned>(std::min<uint64_t>(count, maxShards));
  std::vector<std::unique_ptr<Launch>> shards(shardCount);
  std::vector<std::vector<uint64_t>> parts(shardCount);
  for (uint64_t i = 0; i < count; ++i)
    parts[i % shardCount].push_back(order[i]);
  for (unsigned i = 0; i < shardCount; ++i) {
    shards[i] = std::make_unique<Launch>();
    prepareShard(*shards[i], *this, i);
  }
  unsigned threads = options.hostThreads ? options.hostThreads
                                         : std::thread::hardware_concurrency();
  threads = std::clamp(threads, 1u, shardCount);
  std::atomic<unsigned> next = 0;
  auto work = [&] {
    for (unsigned i = next++; i < shardCount; i = next++)
      shards[i]->runClusters(parts[i]);
  };
  std::vector<std::thread> helpers;
  for (unsigned i = 1; i < threads; ++i)
    helpers.emplace_back(work);
  work();
  for (std::thread &helper : helpers)
    helper.join();

  if (options.checks)
    for (unsigned b = 1; b < shardCount; ++b)
      for (unsigned a = 0; a < b; ++a)
        compareShards(*shards[a], *shards[b]);
  for (const std::unique_ptr<Launch> &shard : shards) {
    addCounters(counters, shard->counters);
    footprint.add(shard->footprint);
    faults.merge(std::move(shard->faults));
  }
}
