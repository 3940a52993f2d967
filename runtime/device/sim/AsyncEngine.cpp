//===- AsyncEngine.cpp - Landing and waiting ------------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/sim/AsyncEngine.h"

#include "runtime/device/sim/GlobalShadow.h"

#include <algorithm>
#include <fmt/format.h>

using namespace quern;
using namespace quern::sim;
using Kind = AccessHistory::Kind;

//===----------------------------------------------------------------------===//
// Landing
//===----------------------------------------------------------------------===//

void AsyncEngine::add(Launch &launch, AsyncOp op) {
  uint64_t delay = 0;
  switch (launch.random() % 4) {
  case 0:
    break;
  case 1:
    delay = 1 + launch.random() % 8;
    break;
  case 2:
    delay = 1 + launch.random() % 256;
    break;
  default:
    delay = never; // When something waits for it.
    break;
  }
  op.due = delay == never ? never : launch.turn + delay;
  // Operations of a chain are done in order.
  if (op.chain)
    for (const auto &other : ops)
      if (!other->landed && other->chain == op.chain)
        op.due = std::max(op.due, other->due);
  ops.push_back(std::make_unique<AsyncOp>(std::move(op)));
  ++pending;
  if (ops.back()->due <= launch.turn)
    land(launch, *ops.back());
  else
    nextDue = std::min(nextDue, ops.back()->due);
  sweep();
}

/// Keeps what a later cp.async.wait_group has to know.
static void rememberCopies(const AsyncOp &op) {
  std::vector<LandedCopies> &list = op.warp->landedCopies;
  for (LandedCopies &known : list)
    if (known.writes.agent == op.writes.agent) {
      known.writes = op.writes;
      known.lanes |= op.lanes;
      known.group = std::min(known.group, op.groupNumber);
      return;
    }
  list.push_back({op.writes, op.lanes, op.groupNumber});
}

void AsyncEngine::land(Launch &launch, AsyncOp &op) {
  if (op.landed)
    return;
  if (op.chain)
    for (size_t i = 0; i < ops.size() && ops[i].get() != &op; ++i)
      if (!ops[i]->landed && ops[i]->chain == op.chain)
        land(launch, *ops[i]);
  op.landed = true;
  --pending;
  if (op.perform)
    op.perform(op);
  op.perform = nullptr;
  if (launch.options.checks)
    for (const AsyncOp::Written &range : op.written) {
      AccessHistory::Access access = op.access(Kind::EndWrite);
      if (range.block)
        launch.history.apply(range.block->history.data(), range.begin,
                             range.bytes, access);
      else
        launch.globalShadow->apply(launch.history, range.begin, range.bytes,
                                   access);
    }
  if (op.group == AsyncOp::Group::Copies) {
    rememberCopies(op);
    op.group = AsyncOp::Group::None;
  }
  for (const AsyncOp::Signal &signal : op.signals) {
    Block &target = *signal.mbarrier.block;
    auto it = target.mbarriers.find(signal.mbarrier.offset);
    if (it == target.mbarriers.end()) {
      if (signal.arrivals && !target.exited)
        op.warp->block->fault(
            op.warp, op.instr, FaultKind::BarrierMisuse, op.lane,
            fmt::format("the copies are done and arrive at the mbarrier at {}, "
                        "which is no more",
                        describe(*op.warp, signal.mbarrier)));
      continue;
    }
    Mbarrier &mbarrier = it->second;
    if (static_cast<int64_t>(signal.arrivals) > mbarrier.pending) {
      op.warp->block->fault(
          op.warp, op.instr, FaultKind::BarrierMisuse, op.lane,
          fmt::format("{} arrivals at the mbarrier at {}, of whose phase {} "
                      "only {} are pending",
                      signal.arrivals, describe(*op.warp, signal.mbarrier),
                      mbarrier.phase, mbarrier.pending));
      continue;
    }
    mbarrier.pending -= static_cast<int32_t>(signal.arrivals);
    mbarrier.bytes -= static_cast<int32_t>(signal.bytes);
    if (mbarrier.bytes < -Mbarrier::maxBytes)
      op.warp->block->fault(
          op.warp, op.instr, FaultKind::BarrierMisuse, op.lane,
          fmt::format("{} more bytes have arrived at the mbarrier at {} than "
                      "were expected",
                      -mbarrier.bytes, describe(*op.warp, signal.mbarrier)));
    if (launch.options.checks)
      mbarrier.arriving.learn(op.writes, op.viaGenericProxy);
    completePhase(launch, mbarrier);
  }
  launch.changed();
}

void AsyncEngine::sweep() {
  if (ops.size() < 64 || ops.size() < 2 * lastKept)
    return;
  std::erase_if(ops, [](const std::unique_ptr<AsyncOp> &op) {
    return op->landed && op->group == AsyncOp::Group::None;
  });
  lastKept = ops.size();
}

void AsyncEngine::landDue(Launch &launch) {
  nextDue = never;
  for (size_t i = 0; i < ops.size(); ++i) {
    if (ops[i]->landed)
      continue;
    if (ops[i]->due <= launch.turn)
      land(launch, *ops[i]);
    else
      nextDue = std::min(nextDue, ops[i]->due);
  }
}

bool AsyncEngine::landAny(Launch &launch) {
  if (!pending)
    return false;
  uint64_t which = launch.random() % pending;
  for (size_t i = 0; i < ops.size(); ++i)
    if (!ops[i]->landed && which-- == 0) {
      land(launch, *ops[i]);
      return true;
    }
  return false;
}

void AsyncEngine::landAll(Launch &launch) {
  for (size_t i = 0; i < ops.size(); ++i)
    land(launch, *ops[i]);
  ops.clear();
}

//===----------------------------------------------------------------------===//
// Groups
//===----------------------------------------------------------------------===//

void sim::commitBulkGroup(Warp &warp, uint32_t lanes) {
  forActiveLanes(lanes, [&](int lane) { ++warp.bulkGroup[lane]; });
}

void sim::commitWgmmaGroup(Warp &warp) { ++warp.wgmmaGroup; }

void sim::waitBulkGroup(Warp &warp, uint32_t lanes, uint32_t pending,
                        bool readOnly) {
  Launch &launch = *warp.block->launch;
  auto &ops = launch.async->ops;
  for (size_t i = 0; i < ops.size(); ++i) {
    AsyncOp &op = *ops[i];
    if (op.group != AsyncOp::Group::Bulk || op.warp != &warp ||
        !(lanes >> op.lane & 1) ||
        uint64_t(op.groupNumber) + pending >= warp.bulkGroup[op.lane])
      continue;
    launch.async->land(launch, op);
    op.readsShared = false;
    warp.clock.learn(readOnly ? op.reads : op.writes);
    if (!readOnly)
      op.group = AsyncOp::Group::None;
  }
}

void sim::waitCopies(Warp &warp, uint32_t lanes, uint64_t pending,
                     bool everything) {
  Launch &launch = *warp.block->launch;
  auto waitedFor = [&](uint32_t theirs, uint32_t group) {
    bool any = false;
    forActiveLanes(theirs & lanes, [&](int lane) {
      any |= everything || group + pending < warp.asyncGroup[lane];
    });
    return any;
  };
  auto &ops = launch.async->ops;
  for (size_t i = 0; i < ops.size(); ++i)
    if (ops[i]->group == AsyncOp::Group::Copies && ops[i]->warp == &warp &&
        waitedFor(ops[i]->lanes, ops[i]->groupNumber))
      launch.async->land(launch, *ops[i]);
  for (const LandedCopies &copies : warp.landedCopies)
    if (waitedFor(copies.lanes, copies.group))
      warp.clock.learn(copies.writes, true);
}

void sim::waitWgmmaGroup(Warp &warp, uint32_t pending) {
  Launch &launch = *warp.block->launch;
  Block &block = *warp.block;
  auto &ops = launch.async->ops;
  for (size_t i = 0; i < ops.size(); ++i) {
    AsyncOp &op = *ops[i];
    if (op.group != AsyncOp::Group::Wgmma || op.warp->block != &block ||
        op.warp->id / 4 != warp.id / 4 ||
        uint64_t(op.groupNumber) + pending >= warp.wgmmaGroup)
      continue;
    launch.async->land(launch, op);
    warp.clock.learn(op.writes);
    op.waitedBy |= 1u << warp.id % 4;
    if (op.waitedBy == 15)
      op.group = AsyncOp::Group::None;
  }
}

void sim::landWgmmas(Warp &warp) {
  Launch &launch = *warp.block->launch;
  auto &ops = launch.async->ops;
  for (size_t i = 0; i < ops.size(); ++i)
    if (ops[i]->group == AsyncOp::Group::Wgmma &&
        ops[i]->warp->block == warp.block &&
        ops[i]->warp->id / 4 == warp.id / 4)
      launch.async->land(launch, *ops[i]);
}
