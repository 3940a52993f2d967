//===- BarrierOps.cpp - bar and barrier -----------------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Sixteen barriers for each block. What arrives at one is a warp: a thread
// waits for those of its warp that have not exited, then the warp counts as
// arrived, with all its 32 threads where a count is given (PTX ISA, "barrier").
//
// The aligned forms (`bar`, `barrier.*.aligned`) must be executed by all
// threads of the warp that have not exited; those that never come to the same
// one are a fault. Without a count they are for all threads that have not
// exited, and all of them must reach the same instruction: that is what
// __syncthreads promises, though hardware happens to accept more. The others
// may be reached by the threads of a warp one after the other, from different
// places and by different instructions: the early ones are held (Warp::held)
// until the rest has come.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/sim/Machine.h"
#include "runtime/device/sim/MemoryOrder.h"
#include "runtime/device/sim/Opcodes.h"

#include <algorithm>
#include <fmt/format.h>

using namespace quern;
using namespace quern::sim;

namespace {

constexpr uint8_t noReduction = 3;

// Instr::immediate.
constexpr uint64_t arriveOnly = 1, negated = 2, isAligned = 4;

/// A barrier and a number of threads, as one lane names them.
struct Meeting {
  uint32_t id = 0;
  bool wholeBlock = false;
  uint32_t count = 0;
};

Meeting meetingOf(Warp &warp, const Instr &instr, int lane) {
  Meeting meeting;
  meeting.id = warp.lanes<uint32_t>(instr.slots[1])[lane];
  meeting.wholeBlock = instr.slots[2] == 0;
  if (!meeting.wholeBlock)
    meeting.count = warp.lanes<uint32_t>(instr.slots[2])[lane];
  return meeting;
}

/// Lanes of `lanes` that name the same barrier and number as the first.
uint32_t lanesThatAgree(Warp &warp, const Instr &instr, uint32_t lanes) {
  const uint32_t *id = warp.lanes<uint32_t>(instr.slots[1]);
  const uint32_t *count = warp.lanes<uint32_t>(instr.slots[2]);
  int first = __builtin_ctz(lanes);
  uint32_t same = 0;
  forActiveLanes(lanes, [&](int lane) {
    bool equal = id[lane] == id[first] &&
                 (!instr.slots[2] || count[lane] == count[first]);
    same |= uint32_t(equal) << lane;
  });
  return same;
}

bool stop(Warp &warp, const Instr &instr, FaultKind kind, std::string what,
          const std::vector<std::string> &notes = {}) {
  warp.block->fault(&warp, &instr, kind, -1, what, notes);
  warp.block->stopped = true;
  return false;
}

/// Opens the barrier, or checks that the meeting is the one it is open for.
bool open(Warp &warp, const Instr &instr, const Meeting &meeting) {
  Block &block = *warp.block;
  if (meeting.id >= barrierCount)
    return stop(warp, instr, FaultKind::InvalidOperation,
                fmt::format("barrier {} does not exist; there are {}",
                            meeting.id, barrierCount));
  uint32_t count = meeting.count;
  if (!meeting.wholeBlock && (count == 0 || count % 32 || count > 1024))
    return stop(warp, instr, FaultKind::InvalidOperation,
                fmt::format("a barrier for {} threads; a multiple of 32 is "
                            "needed",
                            count));
  Barrier &bar = block.barriers[meeting.id];
  uint32_t at = static_cast<uint32_t>(&instr - block.kernel->code.data());
  bool aligned = instr.immediate & isAligned;
  if (bar.expectedThreads == 0) {
    bar.expectedThreads = meeting.wholeBlock ? block.aliveThreads() : count;
    bar.wholeBlock = meeting.wholeBlock;
    bar.aligned = aligned;
    bar.instruction = at;
    bar.clock = Clock(block.linear);
    return true;
  }
  uint32_t line = block.kernel->code[bar.instruction].line;
  if (bar.wholeBlock != meeting.wholeBlock ||
      (!bar.wholeBlock && bar.expectedThreads != count))
    return stop(warp, instr, FaultKind::DivergentBarrier,
                fmt::format("barrier {} is used with different thread counts "
                            "at PTX lines {} and {}",
                            meeting.id, line, instr.line));
  if (bar.wholeBlock && bar.aligned && aligned && bar.instruction != at)
    return stop(warp, instr, FaultKind::DivergentBarrier,
                fmt::format("warps meet at different barriers, PTX lines {} "
                            "and {}",
                            line, instr.line));
  bar.aligned &= aligned;
  return true;
}

/// bar.red: what `lanes` bring.
void contribute(Warp &warp, const Instr &instr, Barrier &bar, uint32_t lanes) {
  if (instr.flags == noReduction)
    return;
  uint32_t bits = warp.predicate(instr.slots[3]);
  if (instr.immediate & negated)
    bits = ~bits;
  bits &= lanes;
  bar.count += __builtin_popcount(bits);
  bar.any |= bits != 0;
  bar.all &= bits == lanes;
}

/// bar.red: what `lanes` get.
void giveResult(Warp &warp, const Instr &instr, const Barrier &bar,
                uint32_t lanes) {
  uint32_t slot = instr.slots[0];
  if (instr.flags == noReduction || !slot)
    return;
  if (instr.flags == 0) {
    forActiveLanes(
        lanes, [&](int lane) { warp.lanes<uint32_t>(slot)[lane] = bar.count; });
    return;
  }
  uint32_t &known = warp.predicate(slot);
  bool result = instr.flags == 1 ? bar.all : bar.any;
  known = (known & ~lanes) | (result ? lanes : 0);
}

/// The whole warp counts at a barrier that is open.
void arriveWarp(Warp &warp, Barrier &bar) {
  bar.arrivedThreads += bar.wholeBlock ? __builtin_popcount(warp.alive) : 32;
  if (warp.block->launch->options.checks)
    releaseInto(warp, bar.clock);
}

/// Threads of one warp that come alone are held until the rest is there.
void hold(Warp &warp, const Instr &instr) {
  Block &block = *warp.block;
  for (uint32_t rest = warp.mask; rest;) {
    uint32_t lanes = lanesThatAgree(warp, instr, rest);
    rest &= ~lanes;
    Meeting meeting = meetingOf(warp, instr, __builtin_ctz(lanes));
    if (!open(warp, instr, meeting))
      return;
    contribute(warp, instr, block.barriers[meeting.id], lanes);
    forActiveLanes(lanes, [&](int lane) {
      warp.heldBarrier[lane] = static_cast<uint8_t>(meeting.id);
      warp.heldAt[lane] = &instr;
      warp.lanePc[lane] = warp.pc + 1;
    });
    warp.held |= lanes;
    warp.heldChanged = warp.yielded = true;
    block.arriveHeld(warp, meeting.id);
  }
}

/// slots: result of bar.red, barrier, count (0: none), predicate of bar.red.
void barrier(Warp &warp, const Instr &instr) {
  Block &block = *warp.block;
  bool whole = warp.mask == warp.alive;
  bool agree = lanesThatAgree(warp, instr, warp.mask) == warp.mask;
  if (!whole || !agree) {
    if (!(instr.immediate & isAligned))
      return hold(warp, instr);
    stop(warp, instr, FaultKind::DivergentBarrier,
         whole ? "the warp's threads name different barriers or counts"
               : fmt::format("only {} of the warp's {} threads reach the "
                             "barrier",
                             __builtin_popcount(warp.mask),
                             __builtin_popcount(warp.alive)),
         warp.whereTheOthersAre());
    return;
  }
  Meeting meeting = meetingOf(warp, instr, __builtin_ctz(warp.mask));
  if (!open(warp, instr, meeting))
    return;
  Barrier &bar = block.barriers[meeting.id];
  contribute(warp, instr, bar, warp.mask);
  arriveWarp(warp, bar);
  if (!(instr.immediate & arriveOnly)) {
    bar.waiting |= 1u << warp.id;
    warp.waiting = Wait::Barrier;
    warp.waitInstr = &instr;
    warp.yielded = true;
  }
  block.completeBarrier(bar);
}

// barrier.cluster: every thread of the cluster that has not exited arrives once
// and then waits (PTX ISA, "barrier.cluster").

void arriveCluster(Warp &warp, const Instr &instr) {
  Cluster &cluster = *warp.block->cluster;
  if (warp.clusterArrived) {
    warp.block->fault(&warp, &instr, FaultKind::BarrierMisuse, -1,
                      "the warp arrives at the cluster's barrier again without "
                      "having waited");
    return;
  }
  warp.clusterArrived = true;
  warp.clusterPhase = cluster.phase;
  cluster.arrivedThreads += __builtin_popcount(warp.mask);
  if (warp.block->launch->options.checks && instr.order != Order::Relaxed)
    releaseInto(warp, cluster.arriving);
  warp.block->launch->changed();
  cluster.completeBarrier();
}

void waitCluster(Warp &warp, const Instr &instr) {
  Cluster &cluster = *warp.block->cluster;
  if (!warp.clusterArrived) {
    warp.block->fault(&warp, &instr, FaultKind::BarrierMisuse, -1,
                      "the warp waits for the cluster's barrier at which it "
                      "has not arrived");
    return;
  }
  bool checks = warp.block->launch->options.checks;
  if (warp.clusterPhase < cluster.phase) {
    warp.clusterArrived = false;
    if (checks && instr.order != Order::Relaxed)
      acquireFrom(warp, cluster.completed);
    return;
  }
  warp.clusterAcquires = instr.order != Order::Relaxed;
  warp.waiting = Wait::ClusterBarrier;
  warp.waitInstr = &instr;
  warp.yielded = true;
}

void wholeWarpOnly(Warp &warp, const Instr &instr, ExecFn action) {
  if (warp.mask == warp.alive)
    return action(warp, instr);
  stop(warp, instr, FaultKind::DivergentBarrier,
       fmt::format("only {} of the warp's {} threads reach the cluster's "
                   "barrier",
                   __builtin_popcount(warp.mask),
                   __builtin_popcount(warp.alive)),
       warp.whereTheOthersAre());
}

void arriveWhole(Warp &warp, const Instr &instr) {
  wholeWarpOnly(warp, instr, arriveCluster);
}
void waitWhole(Warp &warp, const Instr &instr) {
  wholeWarpOnly(warp, instr, waitCluster);
}

void decodeClusterBarrier(InstrBuilder &b) {
  b.requireTarget(90, "barrier.cluster");
  int action = b.takeOneOf({"arrive", "wait"});
  int order = b.takeOneOf({"release", "acquire", "relaxed"});
  b.take("aligned");
  b.expectOperands(0, 0);
  if (action < 0)
    return b.refuse("one of .arrive and .wait is needed");
  if ((action == 0 && order == 1) || (action == 1 && order == 0))
    return b.refuse("arrivals release and waits acquire");
  b.instr.order = order == 2 ? Order::Relaxed : Order::AcqRel;
  b.instr.exec = action == 0 ? arriveWhole : waitWhole;
}

/// Everybody named is here, or at another bar.warp.sync of the same mask.
void syncWarp(Warp &warp, const Instr &instr) {
  checkMembers(warp, instr, warp.metElsewhere);
  warp.metElsewhere = 0;
}

void decodeBarrier(InstrBuilder &b) {
  if (b.take("warp")) {
    b.take("sync");
    b.expectOperands(1, 1);
    b.instr.memberSlot = b.source(0, 4);
    b.instr.meetsAnywhere = true;
    b.instr.undefRule = UndefRule::Require;
    b.instr.exec = syncWarp;
    return;
  }
  if (b.take("cluster"))
    return decodeClusterBarrier(b);
  b.take("cta");
  int action = b.takeOneOf({"sync", "arrive", "red"});
  if (b.take("aligned") || b.statement.name == "bar")
    b.instr.immediate |= isAligned;
  // The other forms hold lanes by themselves.
  b.instr.collective = b.instr.immediate & isAligned;
  if (action < 0)
    return b.refuse("one of .sync, .arrive and .red is needed");
  b.instr.flags = noReduction;
  b.instr.exec = barrier;
  b.instr.undefRule = UndefRule::Require;
  size_t at = 0;
  uint32_t slots[4] = {};
  if (action == 2) {
    int how = b.takeOneOf({"popc", "and", "or"});
    Type type = b.type();
    if (how < 0)
      return b.refuse("the reduction is missing");
    b.instr.flags = static_cast<uint8_t>(how);
    if ((how == 0) == (type.kind == Type::Kind::Predicate))
      return b.refuse("the type does not fit the reduction");
    slots[0] = how == 0 ? b.result(0, 4) : b.predicateResult(b.operand(0));
    at = 1;
  }
  size_t count = b.operandCount();
  size_t rest = count - std::min(count, at) - (action == 2 ? 1 : 0);
  if (rest < 1 || rest > 2)
    return b.refuse("a barrier and perhaps a thread count are expected");
  slots[1] = b.source(at, 4);
  if (rest == 2)
    slots[2] = b.source(at + 1, 4);
  else if (action == 1)
    return b.refuse(".arrive needs a thread count");
  if (action == 2) {
    bool isNegated = false;
    slots[3] = b.predicateSource(b.operand(count - 1), isNegated);
    b.instr.immediate |= isNegated ? negated : 0;
  }
  if (action == 1)
    b.instr.immediate |= arriveOnly;
  std::copy_n(slots, 4, b.instr.slots.begin());
}

} // namespace

void Block::arriveHeld(Warp &warp, unsigned id) {
  uint32_t lanes = 0, leaving = 0;
  forActiveLanes(warp.held & ~warp.heldArrived, [&](int lane) {
    if (warp.heldBarrier[lane] != id)
      return;
    lanes |= 1u << lane;
    leaving |= uint32_t(warp.heldAt[lane]->immediate & arriveOnly) << lane;
  });
  if (!lanes || lanes != warp.alive)
    return;
  Barrier &bar = barriers[id];
  arriveWarp(warp, bar);
  warp.held &= ~leaving;
  warp.heldArrived |= lanes & ~leaving;
  if (lanes & ~leaving)
    bar.waiting |= 1u << warp.id;
  if (leaving)
    warp.heldChanged = true;
  completeBarrier(bar);
}

void Block::completeBarrier(Barrier &barrier) {
  uint32_t needed =
      barrier.wholeBlock ? aliveThreads() : barrier.expectedThreads;
  if (barrier.arrivedThreads < needed)
    return;
  ++launch->counters.barriers;
  if (launch->options.checks)
    forActiveLanes(barrier.waiting,
                   [&](int id) { acquireFrom(warps[id], barrier.clock); });
  forActiveLanes(barrier.waiting, [&](int id) {
    Warp &warp = warps[id];
    warp.waiting = Wait::None;
    if (!warp.heldArrived)
      return giveResult(warp, *warp.waitInstr, barrier, warp.mask);
    forActiveLanes(warp.heldArrived, [&](int lane) {
      giveResult(warp, *warp.heldAt[lane], barrier, 1u << lane);
    });
    warp.held &= ~warp.heldArrived;
    warp.heldArrived = 0;
    warp.heldChanged = true;
  });
  barrier = Barrier();
  launch->changed();
}

std::span<const Opcode> sim::barrierOpcodes() {
  constexpr InstrClass c = InstrClass::Barrier;
  static const Opcode table[] = {
      {"bar", c, decodeBarrier},
      {"barrier", c, decodeBarrier},
  };
  return table;
}
