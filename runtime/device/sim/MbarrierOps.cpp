//===- MbarrierOps.cpp - mbarrier instructions ----------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Decoding of mbarrier.*; what they do is in Mbarrier.h. Threads act one by one
// in ascending order. Threads of one warp that arrive at the same phase release
// together.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/sim/AsyncProxy.h"
#include "runtime/device/sim/MemoryAccess.h"
#include "runtime/device/sim/Opcodes.h"

#include <fmt/format.h>

using namespace quern;
using namespace quern::sim;

namespace {

/// The mbarrier of each lane; a missing one was reported.
template <typename F> void forPlaces(Warp &warp, const Instr &instr, F f) {
  LaneAddresses addresses = computeAddresses(warp, instr.address);
  forActiveLanes(warp.mask, [&](int lane) {
    uint64_t address = addresses.value[lane];
    // A generic address must lie in shared memory.
    if (instr.space == AddressSpace::Generic &&
        address - sharedWindow >= windowBytes) {
      warp.block->fault(&warp, &instr, FaultKind::BarrierMisuse, lane,
                        fmt::format("the mbarrier's address {:#x} is not in "
                                    "shared memory",
                                    address));
      return;
    }
    SharedPlace place = locateShared(warp, instr, lane, address, 8, 8);
    if (!place)
      return;
    if (place.block != warp.block && instr.space == AddressSpace::Shared) {
      warp.block->fault(&warp, &instr, FaultKind::OutOfBounds, lane,
                        fmt::format("{} is not in the block's own shared "
                                    "memory",
                                    describe(warp, place)));
      return;
    }
    f(lane, place);
  });
}

void init(Warp &warp, const Instr &instr) {
  const uint32_t *count = warp.lanes<uint32_t>(instr.slots[0]);
  forPlaces(warp, instr, [&](int lane, SharedPlace place) {
    mbarrierInit(warp, instr, lane, place, count[lane]);
  });
}

void invalidate(Warp &warp, const Instr &instr) {
  forPlaces(warp, instr, [&](int lane, SharedPlace place) {
    mbarrierInvalidate(warp, instr, lane, place);
  });
}

void expectBytes(Warp &warp, const Instr &instr) {
  const uint32_t *bytes = warp.lanes<uint32_t>(instr.slots[0]);
  forPlaces(warp, instr, [&](int lane, SharedPlace place) {
    mbarrierExpectBytes(warp, instr, lane, place, bytes[lane]);
  });
}

void completeBytes(Warp &warp, const Instr &instr) {
  const uint32_t *bytes = warp.lanes<uint32_t>(instr.slots[0]);
  forPlaces(warp, instr, [&](int lane, SharedPlace place) {
    mbarrierCompleteBytes(warp, instr, lane, place, bytes[lane]);
  });
}

// Flags of an arrival; with `expects`, slots[1] is a number of bytes.
constexpr uint8_t expects = 1, relaxed = 2, drop = 4, noComplete = 8;

/// slots: state (0: none), count or bytes (0: none).
void arrive(Warp &warp, const Instr &instr) {
  const uint32_t *number =
      instr.slots[1] ? warp.lanes<uint32_t>(instr.slots[1]) : nullptr;
  uint64_t *state =
      instr.slots[0] ? warp.lanes<uint64_t>(instr.slots[0]) : nullptr;
  SharedPlace last;
  uint64_t lastPhase = 0;
  forPlaces(warp, instr, [&](int lane, SharedPlace place) {
    bool bytes = instr.flags & expects;
    // One release for the lanes that arrive in one phase.
    auto it = place.block->mbarriers.find(place.offset);
    uint64_t phase = it == place.block->mbarriers.end() ? 0 : it->second.phase;
    bool released = last.block == place.block && last.offset == place.offset &&
                    lastPhase == phase;
    last = place;
    lastPhase = phase;
    uint64_t token = mbarrierArrive(
        warp, instr, lane, place, bytes || !number ? 1 : number[lane],
        bytes ? number[lane] : 0, (instr.flags & relaxed) || released,
        instr.flags & drop, instr.flags & noComplete);
    if (state)
      state[lane] = token;
  });
}

void pendingCount(Warp &warp, const Instr &instr) {
  const uint64_t *state = warp.lanes<uint64_t>(instr.slots[1]);
  writeLanes<uint32_t>(warp, instr.slots[0], [=](int lane) {
    return static_cast<uint32_t>(state[lane] & Mbarrier::maxCount);
  });
}

constexpr uint8_t byParity = 1, waitRelaxed = 2;

/// slots: predicate, state or parity.
void wait(Warp &warp, const Instr &instr) {
  uint32_t complete = 0, failed = 0;
  SharedPlace failedPlace;
  uint64_t failedPhase = 0;
  bool isParity = instr.flags & byParity;
  SharedPlace last;
  uint64_t lastPhase = 0;
  bool lastResult = false;
  forPlaces(warp, instr, [&](int lane, SharedPlace place) {
    uint64_t phase = isParity ? warp.lanes<uint32_t>(instr.slots[1])[lane]
                              : warp.lanes<uint64_t>(instr.slots[1])[lane];
    if (last.block != place.block || last.offset != place.offset ||
        lastPhase != phase) {
      bool isRelaxed = instr.flags & waitRelaxed;
      lastResult =
          isParity
              ? mbarrierTestParity(warp, instr, lane, place,
                                   static_cast<uint32_t>(phase), isRelaxed)
              : mbarrierTestState(warp, instr, lane, place, phase, isRelaxed);
      last = place;
      lastPhase = phase;
    }
    (lastResult ? complete : failed) |= 1u << lane;
    if (!lastResult) {
      failedPlace = place;
      failedPhase = phase;
    }
  });
  warp.setPredicate(instr.slots[0], complete);
  if (!failed)
    return;
  std::string what;
  // The text is wanted only when nothing happens any more.
  if (failedPlace && warp.idlePolls > 1)
    if (auto it = failedPlace.block->mbarriers.find(failedPlace.offset);
        it != failedPlace.block->mbarriers.end())
      what = fmt::format(
          "waits for {} {} of the mbarrier at {}, whose phase {} still expects "
          "{} arrivals and {} bytes",
          isParity ? "parity" : "phase", failedPhase,
          describe(warp, failedPlace), it->second.phase, it->second.pending,
          it->second.bytes);
  warp.block->launch->poll(warp, instr,
                           what.empty() ? "waits for a mbarrier" : what);
}

void takeSpace(InstrBuilder &b) {
  int space = b.takeOneOf({"shared", "shared::cta", "shared::cluster"});
  b.instr.space = space < 0    ? AddressSpace::Generic
                  : space == 2 ? AddressSpace::SharedCluster
                               : AddressSpace::Shared;
}

void decodeArrive(InstrBuilder &b, bool isDrop) {
  bool expect = b.take("expect_tx"), incomplete = b.take("noComplete");
  b.expectOperands(expect || incomplete ? 3 : 2, 3);
  if (b.failed())
    return;
  b.instr.flags |= (expect ? expects : 0) | (isDrop ? drop : 0) |
                   (incomplete ? noComplete : 0);
  uint32_t state = b.result(0, 8);
  uint32_t slots[2] = {state, 0};
  if (state && b.instr.space == AddressSpace::SharedCluster)
    return b.refuse("arrivals at shared::cluster addresses return no state");
  b.instr.address = b.address(1);
  if (b.operandCount() == 3)
    slots[1] = b.source(2, 4);
  b.instr.slots[0] = slots[0];
  b.instr.slots[1] = slots[1];
  b.instr.exec = arrive;
}

void decodeWait(InstrBuilder &b, bool mayBlock) {
  bool parity = b.take("parity");
  b.expectOperands(3, mayBlock ? 4 : 3);
  if (b.failed())
    return;
  b.instr.flags |= parity ? byParity : 0;
  b.predicateResult(b.operand(0));
  b.instr.address = b.address(1);
  b.source(2, parity ? 4 : 8);
  if (b.operandCount() == 4)
    b.source(3, 4); // A hint how long to suspend.
  b.instr.exec = wait;
}

void decodeMbarrier(InstrBuilder &b) {
  b.instr.collective = false;
  b.instr.undefRule = UndefRule::Require;
  int action =
      b.takeOneOf({"init", "inval", "complete_tx", "arrive", "arrive_drop",
                   "test_wait", "try_wait", "pending_count"});
  int order = b.takeOneOf({"release", "acquire", "relaxed"});
  b.takeOneOf({"cta", "cluster"});
  takeSpace(b);
  if (!b.take("b64"))
    return b.refuse("the type .b64 is missing");
  bool isRelaxed = order == 2;
  switch (action) {
  case 0:
    b.expectOperands(2, 2);
    b.instr.address = b.address(0);
    b.source(1, 4);
    b.instr.exec = init;
    return;
  case 1:
    b.expectOperands(1, 1);
    b.instr.address = b.address(0);
    b.instr.exec = invalidate;
    return;
  case 3:
  case 4:
    b.instr.flags = isRelaxed ? relaxed : 0;
    return decodeArrive(b, action == 4);
  case 5:
  case 6:
    b.instr.flags = isRelaxed ? waitRelaxed : 0;
    return decodeWait(b, action == 6);
  case 7:
    b.expectOperands(2, 2);
    b.result(0, 4);
    b.source(1, 8);
    b.instr.exec = pendingCount;
    return;
  case 2:
    b.expectOperands(2, 2);
    b.instr.address = b.address(0);
    b.source(1, 4);
    b.instr.exec = completeBytes;
    return;
  default:
    break;
  }
  if (!b.take("expect_tx"))
    return b.refuse("the action is missing or unknown");
  b.expectOperands(2, 2);
  b.instr.address = b.address(0);
  b.source(1, 4);
  b.instr.exec = expectBytes;
}

} // namespace

std::span<const Opcode> sim::mbarrierOpcodes() {
  static const Opcode table[] = {
      {"mbarrier", InstrClass::Barrier, decodeMbarrier},
  };
  return table;
}
