//===- Convergence.cpp - Which lanes of a warp run together ---------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/sim/Convergence.h"
#include "runtime/device/sim/MemoryAccess.h"

#include <algorithm>
#include <fmt/format.h>

using namespace quern;
using namespace quern::sim;

void Warp::regroup() {
  uint32_t lowest = noInstr, running = alive & ~held & ~parked;
  mask = forced = 0;
  joinPc = noInstr;
  if (!running && parked) {
    // Nobody is left who could come.
    forActiveLanes(parked,
                   [&](int lane) { lowest = std::min(lowest, lanePc[lane]); });
    forActiveLanes(parked, [&](int lane) {
      running |= uint32_t(lanePc[lane] == lowest) << lane;
    });
    // All of the warp need no leave.
    forced = running == alive ? 0 : running;
    parked &= ~running;
  } else if (!running) {
    waiting = Wait::Barrier;
    waitInstr = heldAt[__builtin_ctz(held)];
    yielded = true;
    return;
  }
  lowest = noInstr;
  forActiveLanes(running,
                 [&](int lane) { lowest = std::min(lowest, lanePc[lane]); });
  forActiveLanes(running, [&](int lane) {
    if (lanePc[lane] == lowest)
      mask |= 1u << lane;
    else
      joinPc = std::min(joinPc, lanePc[lane]);
  });
  pc = lowest;
}

uint32_t Warp::lanesThatAgree(uint32_t slot, uint32_t among) {
  const uint32_t *values = lanes<uint32_t>(slot);
  uint32_t value = values[__builtin_ctz(among)], same = 0;
  forActiveLanes(among, [&](int lane) {
    same |= uint32_t(values[lane] == value) << lane;
  });
  return same;
}

std::vector<std::string> Warp::whereTheOthersAre() const {
  const Kernel &kernel = *block->kernel;
  std::vector<std::string> notes;
  auto describe = [&](uint32_t rest, auto placeOfLane) {
    while (rest && notes.size() < 4) {
      uint32_t at = placeOfLane(__builtin_ctz(rest)), together = 0;
      forActiveLanes(rest, [&](int lane) {
        together |= uint32_t(placeOfLane(lane) == at) << lane;
      });
      rest &= ~together;
      notes.push_back(fmt::format("threads {:#x} of the warp wait at {}",
                                  together, placeOf(kernel, at)));
    }
  };
  describe(parked & ~mask, [&](int lane) { return lanePc[lane]; });
  describe(held & ~mask, [&](int lane) {
    return static_cast<uint32_t>(heldAt[lane] - kernel.code.data());
  });
  return notes;
}

namespace {

/// The lanes of `present`, all at this instruction, that need nobody else.
uint32_t complete(Warp &warp, const Instr &instr, uint32_t present) {
  if (!instr.memberSlot)
    return present == warp.alive ? present : 0;
  const uint32_t *members = warp.lanes<uint32_t>(instr.memberSlot);
  uint32_t ready = 0;
  for (uint32_t rest = present; rest;) {
    uint32_t group = warp.lanesThatAgree(instr.memberSlot, rest);
    uint32_t named = members[__builtin_ctz(rest)];
    rest &= ~group;
    // Who is not in its own mask waits for nobody; it is reported.
    ready |= named & warp.alive & ~group ? group & ~named : group;
  }
  return ready;
}

/// Ends the wait of `ready` and lets them run; parks the others of `coming`.
uint32_t proceed(Warp &warp, uint32_t coming, uint32_t ready) {
  forActiveLanes(warp.mask, [&](int lane) {
    warp.lanePc[lane] = warp.pc + (coming >> lane & 1 ? 0 : 1);
  });
  warp.parked = (warp.parked | coming) & ~ready;
  if (!ready) {
    warp.regroup();
    return 0;
  }
  warp.mask = ready;
  warp.joinPc = 0; // Regroup behind this instruction.
  return ready;
}

/// bar.warp.sync: those that wait at any with the same mask count.
uint32_t meetAnywhere(Warp &warp, const Instr &instr, uint32_t coming) {
  const Instr *code = warp.block->kernel->code.data();
  const uint32_t *members = warp.lanes<uint32_t>(instr.memberSlot);
  uint32_t ready = 0, elsewhere = 0;
  for (uint32_t rest = coming; rest;) {
    uint32_t group = warp.lanesThatAgree(instr.memberSlot, rest);
    uint32_t named = members[__builtin_ctz(rest)], waiting = 0;
    rest &= ~group;
    forActiveLanes(warp.parked & named, [&](int lane) {
      const Instr &at = code[warp.lanePc[lane]];
      bool same = at.meetsAnywhere &&
                  warp.lanes<uint32_t>(at.memberSlot)[lane] == named;
      waiting |= uint32_t(same) << lane;
    });
    if (!(named & warp.alive & ~(group | waiting))) {
      ready |= group;
      elsewhere |= waiting;
    } else {
      ready |= group & (warp.forced | ~named);
    }
  }
  warp.metElsewhere = elsewhere;
  warp.forced = 0;
  if (ready == coming && !elsewhere)
    return coming;
  warp.parked &= ~elsewhere;
  forActiveLanes(elsewhere, [&](int lane) { ++warp.lanePc[lane]; });
  return proceed(warp, coming, ready);
}

} // namespace

uint32_t sim::meet(Warp &warp, const Instr &instr, uint32_t coming) {
  if (instr.meetsAnywhere)
    return meetAnywhere(warp, instr, coming);
  uint32_t present = coming;
  forActiveLanes(warp.parked, [&](int lane) {
    present |= uint32_t(warp.lanePc[lane] == warp.pc) << lane;
  });
  uint32_t ready =
      coming & warp.forced ? present : complete(warp, instr, present);
  warp.forced = 0;
  return ready == coming ? ready : proceed(warp, coming, ready);
}

void sim::letOthersRun(Warp &warp) {
  forActiveLanes(warp.mask, [&](int lane) { warp.lanePc[lane] = warp.pc; });
  uint32_t runnable = warp.alive & ~warp.held & ~warp.parked;
  uint32_t others = runnable & ~warp.mask;
  if (!others)
    return;
  uint32_t lowest = noInstr;
  forActiveLanes(
      others, [&](int lane) { lowest = std::min(lowest, warp.lanePc[lane]); });
  warp.mask = 0;
  warp.joinPc = noInstr;
  warp.pc = lowest;
  forActiveLanes(runnable, [&](int lane) {
    if (warp.lanePc[lane] == lowest)
      warp.mask |= 1u << lane;
    else if (warp.lanePc[lane] > lowest)
      warp.joinPc = std::min(warp.joinPc, warp.lanePc[lane]);
  });
}
