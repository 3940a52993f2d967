//===- MemoryAccess.cpp - Checked addresses of a warp ---------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/sim/MemoryAccess.h"

#include "runtime/device/sim/AsyncProxy.h"
#include "runtime/device/sim/GlobalShadow.h"
#include "runtime/device/sim/MemoryOrder.h"

#include <algorithm>
#include <fmt/format.h>

using namespace quern;
using namespace quern::sim;
using Kind = AccessHistory::Kind;

static const char *verb(Access access) {
  return access == Access::Read ? "read" : "write";
}

LaneAddresses sim::computeAddresses(Warp &warp, const Address &address) {
  LaneAddresses result;
  uint64_t offset = static_cast<uint64_t>(address.offset);
  if (!address.slot) {
    for (int lane = 0; lane < 32; ++lane)
      result.value[lane] = offset;
  } else if (address.wide) {
    const uint64_t *base = warp.lanes<uint64_t>(address.slot);
    for (int lane = 0; lane < 32; ++lane)
      result.value[lane] = base[lane] + offset;
  } else {
    const uint32_t *base = warp.lanes<uint32_t>(address.slot);
    for (int lane = 0; lane < 32; ++lane)
      result.value[lane] = base[lane] + offset;
  }
  return result;
}

uint64_t sim::hashOfPlaces(uint32_t lanes, std::byte *const (&pointers)[32],
                           uint32_t bytes) {
  uint64_t hash = lanes;
  auto mix = [&](uint64_t value) {
    hash = (hash ^ value) * 0x9e3779b97f4a7c15u;
    hash ^= hash >> 29;
  };
  forActiveLanes(lanes, [&](int lane) {
    mix(reinterpret_cast<uint64_t>(pointers[lane]));
    for (uint32_t at = 0; at < bytes; at += 8) {
      uint64_t word = 0;
      std::memcpy(&word, pointers[lane] + at, std::min(bytes - at, 8u));
      mix(word);
    }
  });
  return hash;
}

//===----------------------------------------------------------------------===//
// Global memory
//===----------------------------------------------------------------------===//

namespace {

struct Range {
  uint64_t low = ~uint64_t(0);
  uint64_t high = 0;
  uint64_t anyBits = 0; ///< OR of all addresses, for alignment.
};

Range rangeOf(const LaneAddresses &addresses, uint32_t lanes) {
  Range range;
  forActiveLanes(lanes, [&](int lane) {
    uint64_t address = addresses.value[lane];
    range.low = std::min(range.low, address);
    range.high = std::max(range.high, address);
    range.anyBits |= address;
  });
  return range;
}

void reportGlobal(Warp &warp, const Instr &instr, int lane, uint64_t address,
                  uint32_t bytes, Access access, const Allocation *near) {
  FaultKind kind =
      near && near->freed ? FaultKind::FreedMemory : FaultKind::OutOfBounds;
  if (warp.block->isKnown(&instr, kind))
    return;
  std::string where =
      near ? fmt::format("at offset {} of {} ({} bytes)",
                         static_cast<int64_t>(address - near->base), near->name,
                         near->size)
           : fmt::format("at address {:#x}, near no allocation", address);
  warp.block->fault(
      &warp, &instr, kind, lane,
      fmt::format("global {} of {} bytes {}", verb(access), bytes, where));
}

uint64_t countSectors(const LaneAddresses &addresses, uint32_t lanes,
                      uint32_t bytes) {
  // Mostly neighbouring lanes touch ascending sectors; remember a few.
  uint64_t recent[8], latest = ~uint64_t(0);
  unsigned filled = 0, oldest = 0;
  uint64_t count = 0;
  forActiveLanes(lanes, [&](int lane) {
    uint64_t first = addresses.value[lane] / 32;
    uint64_t last = (addresses.value[lane] + bytes - 1) / 32;
    for (uint64_t sector = first; sector <= last; ++sector) {
      if (sector == latest)
        continue;
      latest = sector;
      if (std::find(recent, recent + filled, sector) != recent + filled)
        continue;
      ++count;
      recent[oldest] = sector;
      oldest = (oldest + 1) % 8;
      filled = std::min(filled + 1, 8u);
    }
  });
  return count;
}

AccessHistory::Access accessOf(const Warp &warp, const Instr &instr,
                               Kind kind) {
  const Block &block = *warp.block;
  AccessHistory::Access access;
  access.kind = kind;
  access.strong = instr.order != Order::Weak || kind == Kind::Atomic;
  access.nonCoherent = instr.nonCoherent;
  access.scope = instr.scope;
  access.instr = static_cast<uint32_t>(&instr - block.kernel->code.data());
  access.epoch = {block.linear, warp.clock.times.generic[warp.id],
                  static_cast<uint8_t>(warp.id)};
  access.cluster = block.cluster->blocks[0]->linear;
  access.clock = &warp.clock;
  return access;
}

Kind kindOf(Access access) {
  return access == Access::Read    ? Kind::Read
         : access == Access::Write ? Kind::Write
                                   : Kind::Atomic;
}

/// The history of the lanes' bytes; lanes in a row are one range.
void checkGlobalHistory(Warp &warp, const Instr &instr,
                        const LaneAddresses &addresses, uint32_t lanes,
                        uint32_t bytes, Access access,
                        const Allocation *common) {
  Launch &launch = *warp.block->launch;
  // All lanes lie in `common` if it holds both ends; else look at each.
  bool oneAllocation = true;
  forActiveLanes(lanes, [&](int lane) {
    oneAllocation &= common && common->contains(addresses.value[lane], bytes);
  });
  if (oneAllocation && common->readOnly)
    return;
  if (instr.order != Order::Weak || access == Access::Atomic)
    forActiveLanes(lanes, [&](int lane) {
      orderAccess(warp, instr, addresses.value[lane], access != Access::Write,
                  access != Access::Read);
    });
  Kind kind = kindOf(access);
  AccessHistory::Cursor cursor =
      launch.history.begin(accessOf(warp, instr, kind));
  uint64_t begin = 0, length = 0;
  int first = 0;
  auto flush = [&] {
    if (!length)
      return;
    if (!oneAllocation)
      if (const Allocation *one = launch.memory->find(begin);
          one && one->readOnly)
        return;
    if (auto finding =
            launch.globalShadow->apply(launch.history, begin, length, cursor))
      reportFinding(warp, instr, first, *finding, kind,
                    describeGlobal(launch, begin + finding->offset));
  };
  forActiveLanes(lanes, [&](int lane) {
    uint64_t address = addresses.value[lane];
    if (length && address == begin + length && oneAllocation) {
      length += bytes;
      return;
    }
    if (length && address == begin && length == bytes && access == Access::Read)
      return;
    flush();
    begin = address;
    length = bytes;
    first = lane;
  });
  flush();
}

} // namespace

uint32_t sim::resolveGlobal(Warp &warp, const Instr &instr,
                            const LaneAddresses &addresses, uint32_t lanes,
                            uint32_t bytes, uint32_t alignment, Access access,
                            std::byte *pointers[32]) {
  Block &block = *warp.block;
  Launch &launch = *block.launch;
  Range range = rangeOf(addresses, lanes);
  const Allocation *&cached =
      block.lastAllocation[&instr - block.kernel->code.data()];
  auto holds = [&](const Allocation *allocation) {
    return allocation && !allocation->freed &&
           !(allocation->readOnly && access != Access::Read) &&
           allocation->contains(range.low, bytes) &&
           allocation->contains(range.high, bytes);
  };
  uint32_t good = 0;
  bool aligned = range.anyBits % alignment == 0;
  if (!holds(cached))
    cached = launch.memory->find(range.low);
  if (aligned && holds(cached)) {
    good = lanes;
  } else {
    forActiveLanes(lanes, [&](int lane) {
      if (checkGlobal(warp, instr, lane, addresses.value[lane], bytes,
                      alignment, access))
        good |= 1u << lane;
    });
  }
  forActiveLanes(good, [&](int lane) {
    pointers[lane] = reinterpret_cast<std::byte *>(addresses.value[lane]);
  });
  if (access == Access::Write)
    launch.changed();
  if (launch.options.checks && good)
    checkGlobalHistory(warp, instr, addresses, good, bytes, access, cached);
  if (launch.options.checks)
    launch.footprint.touchLanes(addresses.value, good, bytes,
                                access != Access::Write,
                                access != Access::Read);
  Counters &counters = launch.counters;
  uint64_t moved = uint64_t(bytes) * __builtin_popcount(good);
  if (access != Access::Write)
    counters.globalBytesRead += moved;
  if (access != Access::Read)
    counters.globalBytesWritten += moved;
  ++counters.globalRequests;
  counters.globalSectors += countSectors(addresses, good, bytes);
  return good;
}

//===----------------------------------------------------------------------===//
// Shared memory
//===----------------------------------------------------------------------===//

bool sim::touchShared(Warp &warp, const Instr &instr, int lane,
                      SharedPlace place, uint32_t bytes, Kind kind) {
  Launch &launch = *warp.block->launch;
  if (!launch.options.checks)
    return true;
  auto finding = launch.history.apply(place.block->history.data(), place.offset,
                                      bytes, accessOf(warp, instr, kind));
  if (!finding)
    return true;
  SharedPlace at{place.block, static_cast<uint32_t>(finding->offset)};
  reportFinding(warp, instr, lane, *finding, kind, describe(warp, at));
  return false;
}

SharedAccess::SharedAccess(Warp &warp, const Instr &instr, Kind kind)
    : warp(warp), instr(instr),
      history(warp.block->launch->options.checks ? &warp.block->launch->history
                                                 : nullptr) {
  if (history)
    cursor = history->begin(accessOf(warp, instr, kind));
}

bool SharedAccess::outOfBounds(int lane, uint64_t offset, uint32_t bytes) {
  if (warp.block->isKnown(&instr, FaultKind::OutOfBounds))
    return false;
  const char *what = cursor.access.kind == Kind::Read ? "read" : "write";
  warp.block->fault(&warp, &instr, FaultKind::OutOfBounds, lane,
                    fmt::format("shared {} of {} bytes at offset {}; the block "
                                "has {} bytes",
                                what, bytes, static_cast<int64_t>(offset),
                                warp.block->sharedBytes));
  return false;
}

void SharedAccess::report(int lane, const AccessHistory::Finding &finding) {
  reportFinding(
      warp, instr, lane, finding, cursor.access.kind,
      describe(warp, {warp.block, static_cast<uint32_t>(finding.offset)}));
}

bool sim::checkShared(Warp &warp, const Instr &instr, int lane, uint64_t offset,
                      uint32_t bytes, Access access) {
  return SharedAccess(warp, instr, kindOf(access)).check(lane, offset, bytes);
}

bool sim::checkGlobal(Warp &warp, const Instr &instr, int lane,
                      uint64_t address, uint64_t bytes, uint32_t alignment,
                      Access access) {
  Launch &launch = *warp.block->launch;
  const Allocation *allocation = launch.memory->find(address);
  if (!allocation || allocation->freed ||
      !allocation->contains(address, bytes)) {
    reportGlobal(warp, instr, lane, address, static_cast<uint32_t>(bytes),
                 access, allocation);
    return false;
  }
  if (allocation->readOnly && access != Access::Read) {
    if (warp.block->isKnown(&instr, FaultKind::ReadOnlyWrite))
      return false;
    warp.block->fault(&warp, &instr, FaultKind::ReadOnlyWrite, lane,
                      fmt::format("write of {} bytes at offset {} of {}, which "
                                  "is read-only",
                                  bytes, address - allocation->base,
                                  allocation->name));
    return false;
  }
  if (alignment && address % alignment) {
    if (warp.block->isKnown(&instr, FaultKind::Misaligned))
      return false;
    warp.block->fault(&warp, &instr, FaultKind::Misaligned, lane,
                      fmt::format("global {} at offset {} of {} needs an "
                                  "address that is a multiple of {}",
                                  verb(access), address - allocation->base,
                                  allocation->name, alignment));
    return false;
  }
  return true;
}

namespace {

/// Strong accesses to shared memory order others, and stores end polls.
void orderShared(Warp &warp, const Instr &instr, Block &target,
                 const LaneAddresses &addresses, uint32_t lanes,
                 Access access) {
  Launch &launch = *warp.block->launch;
  if (access == Access::Write)
    launch.changed();
  if (launch.options.checks &&
      (instr.order != Order::Weak || access == Access::Atomic))
    forActiveLanes(lanes, [&](int lane) {
      SharedPlace place{&target, static_cast<uint32_t>(addresses.value[lane] &
                                                       sharedOffsetMask)};
      orderAccess(warp, instr, syncKey(place), access != Access::Write,
                  access != Access::Read);
    });
}

uint32_t resolveShared(Warp &warp, const Instr &instr,
                       const LaneAddresses &addresses, uint32_t lanes,
                       uint32_t bytes, uint32_t alignment, Access access,
                       std::byte *pointers[32]) {
  Block &block = *warp.block;
  uint32_t good = 0;
  orderShared(warp, instr, block, addresses, lanes, access);
  // Lanes that touch consecutive addresses are checked as one range.
  uint64_t begin = 0;
  uint32_t length = 0, members = 0;
  int firstLane = 0;
  SharedAccess checked(warp, instr, kindOf(access));
  auto flushRange = [&] {
    if (length && checked.check(firstLane, begin, length))
      good |= members;
    length = members = 0;
  };
  forActiveLanes(lanes, [&](int lane) {
    uint64_t offset = addresses.value[lane];
    if (offset % alignment) {
      if (!block.isKnown(&instr, FaultKind::Misaligned))
        block.fault(&warp, &instr, FaultKind::Misaligned, lane,
                    fmt::format("shared {} at offset {} needs a multiple of {}",
                                verb(access), static_cast<int64_t>(offset),
                                alignment));
      return;
    }
    bool inBounds =
        offset <= block.sharedBytes && bytes <= block.sharedBytes - offset;
    // Many lanes reading one place are one access.
    if (length && inBounds && access == Access::Read && offset == begin &&
        length == bytes) {
      members |= 1u << lane;
      return;
    }
    if (length && inBounds && offset == begin + length) {
      length += bytes;
      members |= 1u << lane;
      return;
    }
    flushRange();
    begin = offset;
    length = bytes;
    members = 1u << lane;
    firstLane = lane;
  });
  flushRange();
  forActiveLanes(good, [&](int lane) {
    pointers[lane] = block.shared + addresses.value[lane];
  });
  if (block.launch->options.checks) {
    ++block.launch->counters.sharedRequests;
    block.launch->counters.sharedBankConflicts +=
        bankConflicts(addresses, good, bytes);
  }
  return good;
}

/// Shared memory of any block of the cluster.
uint32_t resolveCluster(Warp &warp, const Instr &instr,
                        const LaneAddresses &addresses, uint32_t lanes,
                        uint32_t bytes, uint32_t alignment, Access access,
                        std::byte *pointers[32]) {
  Block &block = *warp.block;
  bool local = true;
  forActiveLanes(lanes, [&](int lane) {
    uint64_t rank = addresses.value[lane] >> sharedRankShift;
    local &= rank == 0 || rank == block.rank + 1;
  });
  LaneAddresses offsets;
  for (int lane = 0; lane < 32; ++lane)
    offsets.value[lane] = addresses.value[lane] & sharedOffsetMask;
  if (local)
    return resolveShared(warp, instr, offsets, lanes, bytes, alignment, access,
                         pointers);
  uint32_t good = 0;
  forActiveLanes(lanes, [&](int lane) {
    SharedPlace place = locateShared(warp, instr, lane, addresses.value[lane],
                                     bytes, alignment);
    if (!place)
      return;
    orderShared(warp, instr, *place.block, addresses, 1u << lane, access);
    touchShared(warp, instr, lane, place, bytes, kindOf(access));
    pointers[lane] = place.data();
    good |= 1u << lane;
  });
  return good;
}

/// Local memory and parameters: one buffer for each lane, or for all.
uint32_t resolveFrame(Warp &warp, const Instr &instr,
                      const LaneAddresses &addresses, uint32_t lanes,
                      uint32_t bytes, uint32_t alignment, std::byte *base,
                      uint64_t size, uint64_t stride, const char *what,
                      std::byte *pointers[32]) {
  uint32_t good = 0;
  forActiveLanes(lanes, [&](int lane) {
    uint64_t offset = addresses.value[lane];
    if (offset > size || bytes > size - offset) {
      if (!warp.block->isKnown(&instr, FaultKind::OutOfBounds))
        warp.block->fault(
            &warp, &instr, FaultKind::OutOfBounds, lane,
            fmt::format(
                "{} access of {} bytes at offset {}; there are {} bytes", what,
                bytes, static_cast<int64_t>(offset), size));
      return;
    }
    if (offset % alignment) {
      if (!warp.block->isKnown(&instr, FaultKind::Misaligned))
        warp.block->fault(&warp, &instr, FaultKind::Misaligned, lane,
                          fmt::format("{} access at offset {} needs a multiple "
                                      "of {}",
                                      what, offset, alignment));
      return;
    }
    pointers[lane] = base + stride * static_cast<uint64_t>(lane) + offset;
    good |= 1u << lane;
  });
  return good;
}

} // namespace

uint32_t sim::resolve(Warp &warp, const Instr &instr, AddressSpace space,
                      const LaneAddresses &addresses, uint32_t bytes,
                      uint32_t alignment, Access access,
                      std::byte *pointers[32]) {
  Block &block = *warp.block;
  auto inSpace = [&](AddressSpace which, const LaneAddresses &at,
                     uint32_t lanes) -> uint32_t {
    switch (which) {
    case AddressSpace::Global:
      return resolveGlobal(warp, instr, at, lanes, bytes, alignment, access,
                           pointers);
    case AddressSpace::Shared:
      return resolveShared(warp, instr, at, lanes, bytes, alignment, access,
                           pointers);
    case AddressSpace::SharedCluster:
      return resolveCluster(warp, instr, at, lanes, bytes, alignment, access,
                            pointers);
    case AddressSpace::Local:
      return resolveFrame(warp, instr, at, lanes, bytes, alignment,
                          warp.local.data(), block.kernel->localBytes,
                          block.kernel->localBytes, "local", pointers);
    case AddressSpace::Param:
      if (access != Access::Read) {
        block.fault(&warp, &instr, FaultKind::ReadOnlyWrite, -1,
                    "kernel parameters cannot be written");
        return 0;
      }
      return resolveFrame(warp, instr, at, lanes, bytes, alignment,
                          block.launch->parameters.data(),
                          block.launch->parameters.size(), 0, "parameter",
                          pointers);
    case AddressSpace::Generic:
      break;
    }
    return 0;
  };
  if (space != AddressSpace::Generic)
    return inSpace(space, addresses, warp.mask);
  // Generic addresses: sort the lanes by window.
  uint32_t good = 0, rest = warp.mask;
  const std::pair<AddressSpace, uint64_t> windows[] = {
      {AddressSpace::SharedCluster, sharedWindow},
      {AddressSpace::Local, localWindow},
      {AddressSpace::Param, paramWindow}};
  for (auto [which, window] : windows) {
    uint32_t lanes = 0;
    LaneAddresses offsets;
    forActiveLanes(rest, [&](int lane) {
      offsets.value[lane] = addresses.value[lane] - window;
      if (offsets.value[lane] < windowBytes)
        lanes |= 1u << lane;
    });
    if (lanes)
      good |= inSpace(which, offsets, lanes);
    rest &= ~lanes;
  }
  if (rest)
    good |= inSpace(AddressSpace::Global, addresses, rest);
  return good;
}
