//===- AsyncProxy.cpp - Operations that land later ------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/sim/AsyncProxy.h"

#include "runtime/device/sim/AsyncEngine.h"
#include "runtime/device/sim/GlobalShadow.h"
#include "runtime/device/sim/MemoryAccess.h"

#include <algorithm>
#include <fmt/format.h>

using namespace quern;
using namespace quern::sim;
using Kind = AccessHistory::Kind;

//===----------------------------------------------------------------------===//
// Issue
//===----------------------------------------------------------------------===//

static AsyncOp begin(Warp &warp, const Instr &instr, int lane) {
  Block &block = *warp.block;
  AsyncOp op;
  op.warp = &warp;
  op.instr = &instr;
  op.lane = lane;
  op.clock = warp.clock;
  uint32_t slot = block.asyncAgent++ % warpAgents;
  uint8_t agent = static_cast<uint8_t>(warpAgents + slot);
  op.reads = {block.linear, ++block.asyncTime[slot], agent};
  op.writes = {block.linear, ++block.asyncTime[slot], agent};
  return op;
}

AsyncOp sim::beginAsync(Warp &warp, const Instr &instr, int lane) {
  return begin(warp, instr, lane);
}

AsyncOp sim::beginAsync(Warp *const (&warps)[4], const Instr &instr) {
  AsyncOp op = begin(*warps[0], instr, -1);
  for (unsigned i = 1; i < 4; ++i)
    op.clock.meet(warps[i]->clock);
  return op;
}

AccessHistory::Access AsyncOp::access(AccessHistory::Kind kind) const {
  AccessHistory::Access access;
  const Block &block = *warp->block;
  access.kind = kind;
  access.asyncProxy = !viaGenericProxy;
  access.instr = static_cast<uint32_t>(instr - block.kernel->code.data());
  access.epoch = kind == Kind::Read ? reads : writes;
  access.cluster = block.cluster->blocks[0]->linear;
  access.clock = &clock;
  // Reductions are relaxed atomics.
  access.strong = kind == Kind::Atomic;
  access.scope = viaGenericProxy ? Scope::Cluster : Scope::Gpu;
  return access;
}

static bool checkSharedRange(AsyncOp &op, SharedPlace place, uint32_t bytes,
                             Kind kind) {
  Block &target = *place.block;
  if (place.offset > target.sharedBytes ||
      bytes > target.sharedBytes - place.offset) {
    op.warp->block->fault(
        op.warp, op.instr, FaultKind::OutOfBounds, op.lane,
        fmt::format("asynchronous {} of {} bytes at {}; the block has {} bytes",
                    kind == Kind::Read ? "read" : "write", bytes,
                    describe(*op.warp, place), target.sharedBytes));
    return false;
  }
  Launch &launch = *op.warp->block->launch;
  if (!launch.options.checks || !bytes)
    return true;
  if (auto finding = launch.history.apply(target.history.data(), place.offset,
                                          bytes, op.access(kind)))
    reportFinding(*op.warp, *op.instr, op.lane, *finding, kind,
                  describe(*op.warp, {place.block,
                                      static_cast<uint32_t>(finding->offset)}));
  return true;
}

const std::byte *AsyncOp::readShared(SharedPlace place, uint32_t bytes) {
  if (!checkSharedRange(*this, place, bytes, Kind::Read))
    return nullptr;
  readsShared = true;
  return place.data();
}

std::byte *AsyncOp::writeShared(SharedPlace place, uint32_t bytes) {
  if (!checkSharedRange(*this, place, bytes, Kind::BeginWrite))
    return nullptr;
  std::memset(place.data(), 0xCD, bytes);
  written.push_back({place.block, place.offset, bytes});
  return place.data();
}

std::byte *AsyncOp::reduceShared(SharedPlace place, uint32_t bytes) {
  return checkSharedRange(*this, place, bytes, Kind::Atomic) ? place.data()
                                                             : nullptr;
}

static std::byte *checkGlobalRange(AsyncOp &op, uint64_t address,
                                   uint64_t bytes, uint32_t alignment,
                                   Kind kind) {
  Warp &warp = *op.warp;
  Launch &launch = *warp.block->launch;
  if (!checkGlobal(warp, *op.instr, op.lane, address, bytes, alignment,
                   kind == Kind::Read     ? Access::Read
                   : kind == Kind::Atomic ? Access::Atomic
                                          : Access::Write))
    return nullptr;
  Counters &counters = launch.counters;
  if (kind != Kind::BeginWrite)
    counters.globalBytesRead += bytes;
  if (kind != Kind::Read)
    counters.globalBytesWritten += bytes;
  if (bytes)
    counters.globalSectors += (address + bytes - 1) / 32 - address / 32 + 1;
  if (launch.options.checks)
    launch.footprint.touch(address, bytes, kind != Kind::BeginWrite,
                           kind != Kind::Read);
  const Allocation *allocation = launch.memory->find(address);
  if (!launch.options.checks || !bytes || allocation->readOnly)
    return reinterpret_cast<std::byte *>(address);
  if (auto finding = launch.globalShadow->apply(launch.history, address, bytes,
                                                op.access(kind)))
    reportFinding(warp, *op.instr, op.lane, *finding, kind,
                  describeGlobal(launch, address + finding->offset));
  return reinterpret_cast<std::byte *>(address);
}

const std::byte *AsyncOp::readGlobal(uint64_t address, uint64_t bytes,
                                     uint32_t alignment) {
  return checkGlobalRange(*this, address, bytes, alignment, Kind::Read);
}

std::byte *AsyncOp::writeGlobal(uint64_t address, uint64_t bytes,
                                uint32_t alignment) {
  std::byte *data =
      checkGlobalRange(*this, address, bytes, alignment, Kind::BeginWrite);
  if (data)
    written.push_back({nullptr, address, bytes});
  return data;
}

std::byte *AsyncOp::reduceGlobal(uint64_t address, uint64_t bytes,
                                 uint32_t alignment) {
  return checkGlobalRange(*this, address, bytes, alignment, Kind::Atomic);
}

void AsyncOp::joinBulkGroup() {
  group = Group::Bulk;
  groupNumber = warp->bulkGroup[lane];
}
void AsyncOp::joinWgmmaGroup() {
  group = Group::Wgmma;
  groupNumber = warp->wgmmaGroup;
}

void sim::schedule(AsyncOp op) {
  Launch &launch = *op.warp->block->launch;
  for (const AsyncOp::Signal &signal : op.signals) {
    Block &target = *signal.mbarrier.block;
    auto it = target.mbarriers.find(signal.mbarrier.offset);
    if (it == target.mbarriers.end()) {
      op.warp->block->fault(
          op.warp, op.instr, FaultKind::BarrierMisuse, op.lane,
          fmt::format("the operation signals a mbarrier at {}, where there is "
                      "none",
                      describe(*op.warp, signal.mbarrier)));
    } else if (launch.options.checks && op.viaGenericProxy) {
      if (!op.clock.knowsGeneric(it->second.initialised))
        op.warp->block->fault(
            op.warp, op.instr, FaultKind::Race, op.lane,
            fmt::format("use of the mbarrier at {} is not ordered after its "
                        "initialisation (PTX line {})",
                        describe(*op.warp, signal.mbarrier), it->second.line));
    } else if (launch.options.checks && !it->second.visibleToAsync &&
               !op.clock.knowsAsync(it->second.initialised)) {
      op.warp->block->fault(
          op.warp, op.instr, FaultKind::MissingProxyFence, op.lane,
          fmt::format("the mbarrier at {} (initialised at PTX line {}) was not "
                      "made visible to the async proxy by fence.mbarrier_init "
                      "or fence.proxy.async",
                      describe(*op.warp, signal.mbarrier), it->second.line));
    }
  }
  launch.async->add(launch, std::move(op));
}

//===----------------------------------------------------------------------===//
// Warpgroups and accumulators
//===----------------------------------------------------------------------===//

bool sim::meetWarpgroup(Warp &warp, const Instr &instr, Warp *(&warps)[4]) {
  Block &block = *warp.block;
  unsigned first = warp.id / 4 * 4;
  auto stop = [&](FaultKind kind, const std::string &what) {
    block.fault(&warp, &instr, kind, -1, what);
    block.stopped = true;
    return false;
  };
  if (first + 4 > block.warps.size())
    return stop(FaultKind::DivergentCollective,
                fmt::format("warps {} to {} do not make a warpgroup of four",
                            first, block.warps.size() - 1));
  if (warp.mask != ~uint32_t(0))
    return stop(FaultKind::DivergentCollective,
                fmt::format("only {} of the warp's 32 threads execute an "
                            "instruction that needs the whole warpgroup",
                            __builtin_popcount(warp.mask)));
  unsigned here = 0;
  for (unsigned i = 0; i < 4; ++i) {
    warps[i] = &block.warps[first + i];
    if (warps[i]->waiting != Wait::Warpgroup)
      continue;
    ++here;
    if (warps[i]->waitInstr != &instr)
      return stop(
          FaultKind::DivergentCollective,
          fmt::format("warps {} and {} of a warpgroup come to different "
                      "collectives, PTX lines {} and {}",
                      warp.id, warps[i]->id, instr.line,
                      warps[i]->waitInstr->line));
  }
  if (here < 3) {
    warp.waiting = Wait::Warpgroup;
    warp.waitInstr = &instr;
    warp.yielded = true;
    return false;
  }
  for (Warp *member : warps)
    member->waiting = Wait::None;
  block.launch->changed();
  return true;
}

void sim::markPending(Warp &warp, uint32_t slot) {
  uint8_t &mark = warp.pendingSlots[slot >> 6];
  warp.pendingCount += !mark;
  mark = 1;
}

void sim::clearPending(Warp &warp, uint32_t slot) {
  uint8_t &mark = warp.pendingSlots[slot >> 6];
  warp.pendingCount -= mark;
  mark = 0;
}

//===----------------------------------------------------------------------===//
// Places
//===----------------------------------------------------------------------===//

std::string sim::describe(const Warp &warp, SharedPlace place) {
  if (place.block == warp.block)
    return fmt::format("shared offset {}", place.offset);
  return fmt::format("shared offset {} of the cluster's block {}", place.offset,
                     place.block->rank);
}

SharedPlace sim::locateShared(Warp &warp, const Instr &instr, int lane,
                              uint64_t address, uint32_t bytes,
                              uint32_t alignment) {
  Block &block = *warp.block;
  if (address >= sharedWindow && address - sharedWindow < windowBytes)
    address -= sharedWindow;
  auto bad = [&](FaultKind kind, const std::string &what) {
    block.fault(&warp, &instr, kind, lane, what);
    return SharedPlace();
  };
  SharedPlace place{&block, static_cast<uint32_t>(address & sharedOffsetMask)};
  uint64_t rank = address >> sharedRankShift;
  if (rank > block.cluster->blocks.size())
    return bad(FaultKind::OutOfBounds,
               fmt::format("{:#x} is no address of the cluster's shared memory",
                           address));
  if (rank)
    place.block = block.cluster->blocks[rank - 1];
  if (place.block->exited)
    return bad(
        FaultKind::ExitedBlock,
        fmt::format("access of {}, which has exited", describe(warp, place)));
  if (place.offset > place.block->sharedBytes ||
      bytes > place.block->sharedBytes - place.offset)
    return bad(FaultKind::OutOfBounds,
               fmt::format("{} bytes at {}; the block has {} bytes", bytes,
                           describe(warp, place), place.block->sharedBytes));
  if (alignment && place.offset % alignment)
    return bad(FaultKind::Misaligned,
               fmt::format("{} is no multiple of {}", describe(warp, place),
                           alignment));
  return place;
}

SharedPlace sim::peerPlace(Warp &warp, const Instr &instr, int lane,
                           SharedPlace place, uint32_t rank) {
  const std::vector<Block *> &blocks = warp.block->cluster->blocks;
  if (rank < blocks.size())
    return locateShared(warp, instr, lane,
                        uint64_t(rank + 1) << sharedRankShift | place.offset, 0,
                        0);
  warp.block->fault(&warp, &instr, FaultKind::InvalidOperation, lane,
                    fmt::format("the cluster has {} blocks; there is no rank "
                                "{}",
                                blocks.size(), rank));
  return {};
}
