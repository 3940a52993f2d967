//===- Interpreter.cpp - Running a warp -----------------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/sim/Interpreter.h"
#include "runtime/device/sim/AsyncEngine.h"
#include "runtime/device/sim/Convergence.h"
#include "runtime/device/sim/MatrixOps.h"

#include <algorithm>
#include <fmt/format.h>

using namespace quern;
using namespace quern::sim;

namespace {

/// After the last thread of a block.
void exitBlock(Block &block, const Instr &instr) {
  block.exited = true;
  for (const Barrier &barrier : block.barriers)
    if (barrier.expectedThreads)
      block.fault(nullptr, &block.kernel->code[barrier.instruction],
                  FaultKind::BarrierMisuse, -1,
                  fmt::format("the block exits while {} of {} threads have "
                              "arrived at barrier {}, beginning here; nobody "
                              "waits for them",
                              barrier.arrivedThreads, barrier.expectedThreads,
                              &barrier - block.barriers));
  for (const auto &op : block.launch->async->ops) {
    if (op->landed)
      continue;
    for (const AsyncOp::Written &range : op->written)
      if (range.block == &block) {
        block.fault(op->warp->block == &block ? op->warp : nullptr, op->instr,
                    FaultKind::PendingCopyAtExit, op->lane,
                    "the block exits while this asynchronous copy into its "
                    "shared memory has not been waited for");
        break;
      }
  }
  for (const auto &[offset, mbarrier] : block.mbarriers)
    if (mbarrier.bytes > 0)
      block.fault(nullptr, &instr, FaultKind::PendingCopyAtExit, -1,
                  fmt::format("the block exits while phase {} of the mbarrier "
                              "at shared offset {} (initialised at PTX line "
                              "{}) still expects {} bytes",
                              mbarrier.phase, offset, mbarrier.line,
                              mbarrier.bytes));
}

/// Lanes `leaving` of the running ones exit; the rest goes on behind the
/// instruction.
void exitLanes(Warp &warp, const Instr &instr, uint32_t leaving) {
  Block &block = *warp.block;
  for (const AsyncCopy &copy : warp.asyncCopies)
    if ((leaving >> copy.lane & 1) && copy.bytes) {
      block.fault(&warp, &instr, FaultKind::PendingCopyAtExit, copy.lane,
                  "the thread exits while an asynchronous copy it issued was "
                  "never waited for");
      break;
    }
  forActiveLanes(warp.mask & ~leaving,
                 [&](int lane) { warp.lanePc[lane] = warp.pc + 1; });
  for (const auto &op : block.launch->async->ops)
    if (op->group == AsyncOp::Group::Bulk && op->warp == &warp &&
        op->readsShared && (leaving >> op->lane & 1)) {
      block.fault(&warp, &instr, FaultKind::PendingCopyAtExit, op->lane,
                  fmt::format("the thread exits while a bulk operation it "
                              "issued (PTX line {}) may still read shared "
                              "memory; it was never waited for",
                              op->instr->line));
      break;
    }
  warp.alive &= ~leaving;
  // Those that wait for the rest of their warp look again who is left.
  warp.parked = 0;
  Cluster &cluster = *block.cluster;
  // Arrivals of threads that exit without waiting stand for nobody else.
  if (warp.clusterArrived && warp.clusterPhase == cluster.phase)
    cluster.arrivedThreads -= __builtin_popcount(leaving);
  block.launch->changed();
  forActiveLanes(warp.held & ~warp.heldArrived, [&](int lane) {
    block.arriveHeld(warp, warp.heldBarrier[lane]);
  });
  if (!warp.alive) {
    warp.done = true;
    // Exited threads count as arrived for barriers over the whole block.
    for (Barrier &barrier : block.barriers)
      if (barrier.expectedThreads)
        block.completeBarrier(barrier);
    bool last = true;
    for (const Warp &other : block.warps)
      last &= other.done;
    if (last)
      exitBlock(block, instr);
    cluster.completeBarrier();
    return;
  }
  warp.regroup();
}

void branchLanes(Warp &warp, const Instr &instr, uint32_t taken) {
  if (taken == warp.mask) {
    warp.pc = instr.target;
  } else if (taken == 0) {
    ++warp.pc;
  } else {
    forActiveLanes(warp.mask, [&](int lane) {
      warp.lanePc[lane] = (taken >> lane & 1) ? instr.target : warp.pc + 1;
    });
    warp.regroup();
  }
}

/// Lanes `taken` of the running ones go where their index says, the rest goes
/// on.
void branchByIndex(Warp &warp, const Instr &instr, uint32_t taken) {
  const std::vector<uint32_t> &targets = warp.block->kernel->branchTargets;
  const uint32_t *index = warp.lanes<uint32_t>(instr.slots[0]);
  bool bad = false;
  forActiveLanes(warp.mask, [&](int lane) {
    warp.lanePc[lane] = warp.pc + 1;
    if (!(taken >> lane & 1) || bad)
      return;
    if (index[lane] < instr.immediate) {
      warp.lanePc[lane] = targets[instr.target + index[lane]];
      return;
    }
    warp.block->fault(&warp, &instr, FaultKind::InvalidOperation, lane,
                      fmt::format("index {} of a branch with {} targets",
                                  index[lane], instr.immediate));
    bad = warp.block->stopped = true;
  });
  warp.regroup();
}

/// Lanes of `mask` in which every source of the instruction is defined.
uint32_t definedLanes(Warp &warp, const Instr &instr) {
  const uint32_t *use = &warp.block->kernel->slotPool[instr.usesBegin];
  uint32_t lanes = ~uint32_t(0);
  if (instr.undefRule == UndefRule::Select) {
    // Sources of selp: first, second, predicate.
    uint32_t chosen = warp.predicate(use[2]);
    lanes = (warp.defined.lanes(use[0]) & chosen) |
            (warp.defined.lanes(use[1]) & ~chosen);
    return lanes & warp.defined.lanes(use[2]);
  }
  for (unsigned i = 0; i < instr.sourceCount; ++i)
    lanes &= warp.defined.lanes(use[i]);
  return lanes;
}

void reportUndefined(Warp &warp, const Instr &instr, uint32_t lanes,
                     const char *what) {
  if (warp.block->isKnown(&instr, FaultKind::UninitializedRegister))
    return;
  warp.block->fault(
      &warp, &instr, FaultKind::UninitializedRegister, __builtin_ctz(lanes),
      fmt::format("{} was never written in {} of {} lanes", what,
                  __builtin_popcount(lanes), __builtin_popcount(warp.mask)));
}

/// Accumulators of wgmma that were not waited for must not be touched.
void checkPending(Warp &warp, const Instr &instr) {
  const uint32_t *use = &warp.block->kernel->slotPool[instr.usesBegin];
  if (instr.copiesRegister && warp.pendingSlots[use[0] >> 6] &&
      !warp.pendingSlots[use[1] >> 6])
    return carryPending(warp, instr);
  for (unsigned i = 0; i < unsigned(instr.sourceCount) + instr.resultCount; ++i)
    if (warp.pendingSlots[use[i] >> 6]) {
      warp.block->fault(
          &warp, &instr, FaultKind::PendingAccumulator, -1,
          fmt::format("a register {} here is an accumulator of "
                      "a wgmma that no wgmma.wait_group has "
                      "waited for",
                      i < instr.sourceCount ? "read" : "written"));
      return;
    }
}

/// A part of a split warp that spins would starve the lanes it waits for: after
/// this many turns the lanes behind get one too.
constexpr uint32_t turnsBeforeOthers = 64;

/// The running lanes for which the guard holds.
uint32_t guarded(Warp &warp, const Instr &instr) {
  uint32_t guard = warp.predicate(instr.guard);
  return warp.mask & (instr.guardNegated ? ~guard : guard);
}

} // namespace

void sim::runWarp(Warp &warp, uint32_t quantum) {
  Block &block = *warp.block;
  const Kernel &kernel = *block.kernel;
  const Instr *code = kernel.code.data();
  Counters &counters = block.launch->counters;
  bool checks = block.launch->options.checks;
  warp.yielded = false;
  if (warp.heldChanged) {
    warp.heldChanged = false;
    forActiveLanes(warp.mask, [&](int lane) { warp.lanePc[lane] = warp.pc; });
    warp.regroup();
    if (warp.yielded)
      return;
  }
  for (uint32_t step = 0; step < quantum; ++step) {
    const Instr &instr = code[warp.pc];
    uint32_t active = warp.mask;
    if (instr.collective && (active != warp.alive || instr.guard)) {
      uint32_t coming = instr.guard ? guarded(warp, instr) : active;
      if (coming && coming != warp.alive && !meet(warp, instr, coming)) {
        ++block.executed;
        continue;
      }
      active = warp.mask;
    }
    ++counters.warpInstructions;
    ++counters.byClass[static_cast<size_t>(instr.instrClass)];
    counters.threadInstructions += __builtin_popcount(active);
    ++block.executed;
    if (instr.guard) {
      if (checks) {
        uint32_t unknown = active & ~warp.defined.lanes(instr.guard);
        if (unknown)
          reportUndefined(warp, instr, unknown, "the guard predicate");
      }
      active = guarded(warp, instr);
    }
    if (instr.flow == Flow::Branch) {
      branchLanes(warp, instr, active);
    } else if (instr.flow == Flow::Exit) {
      if (active)
        exitLanes(warp, instr, active);
      else
        ++warp.pc;
    } else if (instr.flow == Flow::IndexedBranch) {
      if (uint32_t unknown = active & ~definedLanes(warp, instr);
          checks && unknown)
        reportUndefined(warp, instr, unknown, "the index");
      branchByIndex(warp, instr, active);
    } else {
      if (active) {
        uint32_t running = warp.mask;
        warp.mask = active;
        if (warp.pendingCount && !instr.touchesPending)
          checkPending(warp, instr);
        if (checks) {
          uint32_t defined = definedLanes(warp, instr);
          if (instr.undefRule == UndefRule::Require && (active & ~defined))
            reportUndefined(warp, instr, active & ~defined,
                            "a register read here");
          bool traced = instr.traceBytes && (active & ~defined);
          if (traced)
            instr.traceBytes(warp, instr);
          instr.exec(warp, instr);
          const uint32_t *result =
              &kernel.slotPool[instr.usesBegin + instr.sourceCount];
          if (instr.undefRule != UndefRule::Own && !traced)
            for (unsigned i = 0; i < instr.resultCount; ++i)
              warp.defined.set(result[i], defined, active);
          if (instr.writesWgmmaOperand)
            for (unsigned i = 0; i < instr.resultCount; ++i)
              warp.unfencedSlots[result[i] >> 6] = 1;
        } else {
          instr.exec(warp, instr);
        }
        warp.mask = running;
      }
      ++warp.pc;
    }
    if (warp.done || block.stopped)
      return;
    if (warp.pc >= warp.joinPc) {
      forActiveLanes(warp.mask, [&](int lane) { warp.lanePc[lane] = warp.pc; });
      warp.regroup();
    }
    if (warp.yielded)
      return;
  }
  if (warp.mask == warp.alive)
    warp.divergedTurns = 0;
  else if (++warp.divergedTurns % turnsBeforeOthers == 0)
    letOthersRun(warp);
}
