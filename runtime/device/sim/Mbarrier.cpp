//===- Mbarrier.cpp - Barriers in shared memory ---------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/sim/Mbarrier.h"

#include "runtime/device/sim/AsyncProxy.h"
#include "runtime/device/sim/MemoryAccess.h"
#include "runtime/device/sim/MemoryOrder.h"

#include <cstring>
#include <fmt/format.h>

using namespace quern;
using namespace quern::sim;
using Kind = AccessHistory::Kind;

namespace {

void misuse(Warp &warp, const Instr &instr, int lane, const std::string &what) {
  warp.block->fault(&warp, &instr, FaultKind::BarrierMisuse, lane, what);
}

Mbarrier *find(Warp &warp, const Instr &instr, int lane, SharedPlace place) {
  auto it = place.block->mbarriers.find(place.offset);
  if (it != place.block->mbarriers.end())
    return &it->second;
  misuse(warp, instr, lane,
         fmt::format("there is no mbarrier at {}; none was initialised there "
                     "or it was invalidated",
                     describe(warp, place)));
  return nullptr;
}

/// init, arrive and wait must themselves be ordered after init by another warp.
void checkInitKnown(Warp &warp, const Instr &instr, int lane, SharedPlace place,
                    const Mbarrier &mbarrier) {
  if (!warp.block->launch->options.checks ||
      warp.clock.knowsGeneric(mbarrier.initialised))
    return;
  warp.block->fault(
      &warp, &instr, FaultKind::Race, lane,
      fmt::format("use of the mbarrier at {} by warp {} is not ordered after "
                  "its initialisation (PTX line {})",
                  describe(warp, place), warp.id, mbarrier.line));
}

} // namespace

void sim::completePhase(Launch &launch, Mbarrier &mbarrier) {
  if (mbarrier.pending || mbarrier.bytes)
    return;
  ++mbarrier.phase;
  mbarrier.pending = static_cast<int32_t>(mbarrier.expected);
  if (launch.options.checks) {
    mbarrier.completed.join(mbarrier.arriving);
    mbarrier.arriving = Clock(mbarrier.completed.home);
  }
  ++launch.counters.barriers;
  launch.changed();
}

void sim::mbarrierInit(Warp &warp, const Instr &instr, int lane,
                       SharedPlace place, uint32_t count) {
  Block &block = *warp.block;
  if (count == 0 || count > Mbarrier::maxCount)
    return misuse(warp, instr, lane,
                  fmt::format("a mbarrier for {} arrivals; 1 to {} are "
                              "possible",
                              count, Mbarrier::maxCount));
  if (place.block->mbarriers.count(place.offset))
    return misuse(warp, instr, lane,
                  fmt::format("there is a mbarrier at {} already; it must be "
                              "invalidated before it is initialised again",
                              describe(warp, place)));
  if (!touchShared(warp, instr, lane, place, 8, Kind::MakeOpaque))
    return;
  std::memset(place.data(), 0xBA, 8);
  Mbarrier mbarrier;
  mbarrier.expected = count;
  mbarrier.pending = static_cast<int32_t>(count);
  mbarrier.arriving = Clock(place.block->linear);
  mbarrier.completed = Clock(place.block->linear);
  mbarrier.initialised = {block.linear, warp.clock.times.generic[warp.id],
                          static_cast<uint8_t>(warp.id)};
  mbarrier.line = instr.line;
  place.block->mbarriers[place.offset] = std::move(mbarrier);
  block.launch->changed();
}

void sim::mbarrierInvalidate(Warp &warp, const Instr &instr, int lane,
                             SharedPlace place) {
  Mbarrier *mbarrier = find(warp, instr, lane, place);
  if (!mbarrier)
    return;
  if (mbarrier->bytes)
    misuse(warp, instr, lane,
           fmt::format("the mbarrier at {} is invalidated while {} bytes of "
                       "asynchronous copies are pending",
                       describe(warp, place), mbarrier->bytes));
  place.block->mbarriers.erase(place.offset);
  touchShared(warp, instr, lane, place, 8, Kind::EndOpaque);
  std::memset(place.data(), 0xCD, 8);
  warp.block->launch->changed();
}

uint64_t sim::mbarrierArrive(Warp &warp, const Instr &instr, int lane,
                             SharedPlace place, uint32_t count,
                             uint32_t expectBytes, bool relaxed, bool drop,
                             bool noComplete) {
  Mbarrier *mbarrier = find(warp, instr, lane, place);
  if (!mbarrier)
    return 0;
  Launch &launch = *warp.block->launch;
  checkInitKnown(warp, instr, lane, place, *mbarrier);
  if (count == 0 || static_cast<int64_t>(count) > mbarrier->pending) {
    misuse(warp, instr, lane,
           fmt::format("{} arrivals at the mbarrier at {}, of whose phase {} "
                       "only {} are pending",
                       count, describe(warp, place), mbarrier->phase,
                       mbarrier->pending));
    return mbarrier->phase << 20;
  }
  if (expectBytes)
    mbarrierExpectBytes(warp, instr, lane, place, expectBytes);
  uint64_t token =
      mbarrier->phase << 20 | static_cast<uint32_t>(mbarrier->pending);
  mbarrier->pending -= static_cast<int32_t>(count);
  if (drop)
    mbarrier->expected -= count;
  if (noComplete && mbarrier->pending == 0 && mbarrier->bytes == 0)
    misuse(warp, instr, lane,
           fmt::format("an arrival with .noComplete completes phase {} of the "
                       "mbarrier at {}",
                       mbarrier->phase, describe(warp, place)));
  if (launch.options.checks && !relaxed)
    releaseInto(warp, mbarrier->arriving);
  launch.changed();
  completePhase(launch, *mbarrier);
  return token;
}

bool sim::mbarrierAwaitMore(Warp &warp, const Instr &instr, int lane,
                            SharedPlace place, uint32_t count) {
  Mbarrier *mbarrier = find(warp, instr, lane, place);
  if (!mbarrier)
    return false;
  if (mbarrier->pending + static_cast<int64_t>(count) > Mbarrier::maxCount) {
    misuse(warp, instr, lane,
           fmt::format("more than {} arrivals would be pending at the mbarrier "
                       "at {}",
                       Mbarrier::maxCount, describe(warp, place)));
    return false;
  }
  mbarrier->pending += static_cast<int32_t>(count);
  return true;
}

void sim::mbarrierExpectBytes(Warp &warp, const Instr &instr, int lane,
                              SharedPlace place, uint32_t bytes) {
  Mbarrier *mbarrier = find(warp, instr, lane, place);
  if (!mbarrier)
    return;
  checkInitKnown(warp, instr, lane, place, *mbarrier);
  if (int64_t(mbarrier->bytes) + bytes > Mbarrier::maxBytes)
    return misuse(warp, instr, lane,
                  fmt::format("the mbarrier at {} would expect {} bytes; at "
                              "most {} are possible",
                              describe(warp, place),
                              int64_t(mbarrier->bytes) + bytes,
                              Mbarrier::maxBytes));
  mbarrier->bytes += static_cast<int32_t>(bytes);
  completePhase(*warp.block->launch, *mbarrier);
}

void sim::mbarrierCompleteBytes(Warp &warp, const Instr &instr, int lane,
                                SharedPlace place, uint32_t bytes) {
  Mbarrier *mbarrier = find(warp, instr, lane, place);
  if (!mbarrier)
    return;
  checkInitKnown(warp, instr, lane, place, *mbarrier);
  if (warp.block->launch->options.checks)
    releaseInto(warp, mbarrier->arriving);
  mbarrier->bytes -= static_cast<int32_t>(bytes);
  completePhase(*warp.block->launch, *mbarrier);
}

bool sim::mbarrierTestState(Warp &warp, const Instr &instr, int lane,
                            SharedPlace place, uint64_t token, bool relaxed) {
  Mbarrier *mbarrier = find(warp, instr, lane, place);
  if (!mbarrier)
    return false;
  token >>= 20;
  checkInitKnown(warp, instr, lane, place, *mbarrier);
  if (token > mbarrier->phase || token + 1 < mbarrier->phase)
    misuse(warp, instr, lane,
           fmt::format("a wait for phase {} of the mbarrier at {}, which is in "
                       "phase {}; only the current and the preceding phase can "
                       "be asked for",
                       token, describe(warp, place), mbarrier->phase));
  if (token >= mbarrier->phase)
    return false;
  if (warp.block->launch->options.checks && !relaxed)
    acquireFrom(warp, mbarrier->completed);
  return true;
}

bool sim::mbarrierTestParity(Warp &warp, const Instr &instr, int lane,
                             SharedPlace place, uint32_t parity, bool relaxed) {
  Mbarrier *mbarrier = find(warp, instr, lane, place);
  if (!mbarrier)
    return false;
  checkInitKnown(warp, instr, lane, place, *mbarrier);
  if (parity > 1) {
    misuse(warp, instr, lane,
           fmt::format("phase parity {}; only 0 and 1 exist", parity));
    return false;
  }
  if ((mbarrier->phase & 1) == parity)
    return false;
  if (warp.block->launch->options.checks && !relaxed)
    acquireFrom(warp, mbarrier->completed);
  return true;
}
