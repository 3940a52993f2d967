//===- BarrierOps.cpp - bar and barrier -----------------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Sixteen barriers for each block. A barrier without a count is for all threads
// that have not exited, and all of them must reach it at the same instruction:
// that is what __syncthreads promises, though hardware happens to accept more.
// With a count, warps may meet at different instructions. A warp arrives as a
// whole; a barrier under a divergent branch is a fault.
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

/// slots: result of bar.red, barrier, count (0: none), predicate of bar.red.
/// immediate bit 0: arrive only; bit 1: negate the predicate.
void barrier(Warp &warp, const Instr &instr) {
  Block &block = *warp.block;
  int first = __builtin_ctz(warp.mask);
  uint32_t id = warp.lanes<uint32_t>(instr.slots[1])[first];
  bool wholeBlock = instr.slots[2] == 0;
  uint32_t count = wholeBlock ? 0 : warp.lanes<uint32_t>(instr.slots[2])[first];
  auto stop = [&](FaultKind kind, std::string what) {
    block.fault(&warp, &instr, kind, -1, what);
    block.stopped = true;
  };
  if (warp.mask != warp.alive)
    return stop(FaultKind::DivergentBarrier,
                fmt::format("only {} of the warp's {} threads reach the "
                            "barrier",
                            __builtin_popcount(warp.mask),
                            __builtin_popcount(warp.alive)));
  if (id >= barrierCount)
    return stop(FaultKind::InvalidOperation,
                fmt::format("barrier {} does not exist; there are {}", id,
                            barrierCount));
  if (!wholeBlock && (count == 0 || count % 32 || count > 1024))
    return stop(FaultKind::InvalidOperation,
                fmt::format("a barrier for {} threads; a multiple of 32 is "
                            "needed",
                            count));
  Barrier &bar = block.barriers[id];
  uint32_t at = static_cast<uint32_t>(&instr - block.kernel->code.data());
  if (bar.expectedThreads == 0) {
    bar.expectedThreads = wholeBlock ? block.aliveThreads() : count;
    bar.wholeBlock = wholeBlock;
    bar.instruction = at;
    bar.clock = Clock(block.linear);
    bar.line = instr.line;
  } else if (bar.wholeBlock != wholeBlock ||
             (!wholeBlock && bar.expectedThreads != count)) {
    return stop(FaultKind::DivergentBarrier,
                fmt::format("barrier {} is used with different thread counts "
                            "at PTX lines {} and {}",
                            id, bar.line, instr.line));
  } else if (wholeBlock && bar.instruction != at) {
    return stop(FaultKind::DivergentBarrier,
                fmt::format("warps meet at different barriers, PTX lines {} "
                            "and {}",
                            bar.line, instr.line));
  }
  bool arriveOnly = instr.immediate & 1;
  // Threads count in whole warps where a count is given.
  bar.arrivedThreads += wholeBlock ? __builtin_popcount(warp.mask) : 32;
  if (block.launch->options.checks)
    releaseInto(warp, bar.clock);
  if (instr.flags != noReduction) {
    uint32_t bits = warp.predicate(instr.slots[3]);
    if (instr.immediate & 2)
      bits = ~bits;
    bits &= warp.mask;
    bar.count += __builtin_popcount(bits);
    bar.any |= bits != 0;
    bar.all &= bits == warp.mask;
  }
  if (!arriveOnly) {
    bar.waiting |= 1u << warp.id;
    warp.waiting = Wait::Barrier;
    warp.waitInstr = &instr;
    warp.yielded = true;
  }
  // pc moves on after this function; completion looks one behind it.
  ++warp.pc;
  block.completeBarrier(bar);
  --warp.pc;
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
  warp.block->fault(&warp, &instr, FaultKind::DivergentBarrier, -1,
                    fmt::format("only {} of the warp's {} threads reach the "
                                "cluster's barrier",
                                __builtin_popcount(warp.mask),
                                __builtin_popcount(warp.alive)));
  warp.block->stopped = true;
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

void syncWarp(Warp &warp, const Instr &instr) {
  int first = __builtin_ctz(warp.mask);
  uint32_t members = warp.lanes<uint32_t>(instr.slots[0])[first];
  // Lockstep: the warp is in step if the named lanes are here. Lanes that are
  // on another path come when the masks join.
  if (!(members >> first & 1))
    warp.block->fault(
        &warp, &instr, FaultKind::DivergentCollective, first,
        fmt::format("the thread is not in the member mask {:#x}", members));
}

void decodeBarrier(InstrBuilder &b) {
  if (b.take("warp")) {
    b.take("sync");
    b.expectOperands(1, 1);
    b.source(0, 4);
    b.instr.undefRule = UndefRule::Require;
    b.instr.exec = syncWarp;
    return;
  }
  if (b.take("cluster"))
    return decodeClusterBarrier(b);
  b.take("cta");
  int action = b.takeOneOf({"sync", "arrive", "red"});
  b.take("aligned");
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
    bool negated = false;
    slots[3] = b.predicateSource(b.operand(count - 1), negated);
    b.instr.immediate |= negated ? 2 : 0;
  }
  if (action == 1)
    b.instr.immediate |= 1;
  std::copy_n(slots, 4, b.instr.slots.begin());
}

} // namespace

std::span<const Opcode> sim::barrierOpcodes() {
  constexpr InstrClass c = InstrClass::Barrier;
  static const Opcode table[] = {
      {"bar", c, decodeBarrier},
      {"barrier", c, decodeBarrier},
  };
  return table;
}
