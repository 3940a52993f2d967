//===- MemoryOrder.cpp - Releases, acquires and fences --------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/sim/MemoryOrder.h"

#include <algorithm>

using namespace quern;
using namespace quern::sim;

static void advance(Warp &warp) { ++warp.clock.times.generic[warp.id]; }

static uint32_t clusterOf(const Warp &warp) {
  return warp.block->cluster->blocks[0]->linear;
}

void sim::releaseInto(Warp &warp, Clock &clock) {
  clock.join(warp.clock);
  advance(warp);
}

void sim::acquireFrom(Warp &warp, const Clock &clock) {
  warp.clock.join(clock);
}

void sim::fenceMemory(Warp &warp, Scope scope) {
  if (!warp.fences)
    warp.fences = std::make_unique<FenceClocks>();
  FenceClocks &fences = *warp.fences;
  if (fences.hasSeen)
    warp.clock.join(fences.seen);
  fences.hasSeen = false;
  fences.seen = Clock(warp.block->linear);
  for (unsigned level = 0; level <= std::min(static_cast<unsigned>(scope), 2u);
       ++level) {
    fences.released[level] = warp.clock;
    fences.hasReleased[level] = true;
  }
  advance(warp);
}

void sim::fenceAsyncProxy(Warp &warp) {
  warp.clock.fenceProxy();
  advance(warp);
}

namespace {

void addRelease(SyncObject &object, Warp &warp, unsigned level,
                const Clock &clock) {
  uint32_t block = warp.block->linear, cluster = clusterOf(warp);
  if (level == 0)
    object.byBlock.try_emplace(block, Clock(block)).first->second.join(clock);
  else if (level == 1)
    object.byCluster.try_emplace(cluster, Clock(block))
        .first->second.join(clock);
  else {
    if (!object.all)
      object.all = std::make_unique<Clock>(block);
    object.all->join(clock);
    object.latestBlock = block;
    object.latestCluster = cluster;
  }
}

template <typename F>
void forVisible(const SyncObject &object, Warp &warp, unsigned level, F f) {
  uint32_t block = warp.block->linear, cluster = clusterOf(warp);
  if (auto it = object.byBlock.find(block); it != object.byBlock.end())
    f(it->second);
  // A block's own releases at .cluster cannot be told from its peers', so an
  // acquire at .cta gets nothing from them.
  if (level >= 1)
    if (auto it = object.byCluster.find(cluster); it != object.byCluster.end())
      f(it->second);
  if (object.all &&
      (level >= 2 || (level == 1 && object.latestCluster == cluster) ||
       (level == 0 && object.latestBlock == block)))
    f(*object.all);
}

} // namespace

void sim::orderAccess(Warp &warp, const Instr &instr, uint64_t key, bool reads,
                      bool writes) {
  auto &objects = warp.block->launch->syncObjects->objects;
  unsigned level = std::min(static_cast<unsigned>(instr.scope), 2u);
  bool acquires =
      reads && (instr.order == Order::Acquire || instr.order == Order::AcqRel);
  bool releases =
      writes && (instr.order == Order::Release || instr.order == Order::AcqRel);
  bool fenced = writes && warp.fences && warp.fences->hasReleased[0];
  auto it = objects.find(key);
  if (it == objects.end()) {
    if (!releases && !fenced)
      return;
    it = objects.try_emplace(key).first;
  } else if (reads) {
    forVisible(it->second, warp, level, [&](const Clock &clock) {
      if (acquires)
        return acquireFrom(warp, clock);
      if (!warp.fences) {
        warp.fences = std::make_unique<FenceClocks>();
        warp.fences->seen = Clock(warp.block->linear);
      }
      warp.fences->seen.join(clock);
      warp.fences->hasSeen = true;
    });
  }
  if (!writes)
    return;
  SyncObject &object = it->second;
  if (!reads)
    object = SyncObject();
  if (fenced)
    for (unsigned i = 0; i <= level; ++i)
      if (warp.fences->hasReleased[i])
        addRelease(object, warp, i, warp.fences->released[i]);
  if (releases) {
    addRelease(object, warp, level, warp.clock);
    advance(warp);
  }
}
