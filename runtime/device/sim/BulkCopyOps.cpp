//===- BulkCopyOps.cpp - cp.async.bulk ------------------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Copies of a run of bytes by the async proxy: from global memory or the own
// block's shared memory into shared memory of the cluster, signalling an
// mbarrier there; from shared memory to global memory, as part of a bulk group;
// and reductions in place of copies. Every active thread issues one of its own.
//
// A multicast copy reaches each block as an operation of its own, which may
// land at another time, at the offsets of the named block, and signals that
// block's mbarrier.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/sim/BulkCopyOps.h"

#include "runtime/device/sim/AsyncReduction.h"
#include "runtime/device/sim/MemoryAccess.h"

#include <fmt/format.h>

using namespace quern;
using namespace quern::sim;

namespace {

constexpr uint32_t bulkAlignment = 16;

/// The size operand, if it is one the instruction accepts.
bool sizeOf(Warp &warp, const Instr &instr, int lane, uint32_t &bytes) {
  bytes = warp.lanes<uint32_t>(instr.slots[2])[lane];
  if (bytes % bulkAlignment == 0)
    return true;
  warp.block->fault(&warp, &instr, FaultKind::InvalidOperation, lane,
                    fmt::format("a bulk copy of {} bytes; a multiple of {} is "
                                "needed",
                                bytes, bulkAlignment));
  return false;
}

/// `address`: destination, `secondAddress`: source. `immediate`: the ReduceFn
/// or 0.
void copyBulk(Warp &warp, const Instr &instr) {
  LaneAddresses to = computeAddresses(warp, instr.address);
  LaneAddresses from = computeAddresses(warp, instr.secondAddress);
  auto reduce = reinterpret_cast<ReduceFn>(instr.immediate);
  Counters &counters = warp.block->launch->counters;
  forActiveLanes(warp.mask, [&](int lane) {
    uint32_t bytes;
    if (!sizeOf(warp, instr, lane, bytes))
      return;
    bool fromShared = instr.flags & bulkFromShared;
    if (!(instr.flags & bulkToShared)) {
      SharedPlace source = locateShared(warp, instr, lane, from.value[lane],
                                        bytes, bulkAlignment);
      if (!source)
        return;
      AsyncOp op = beginAsync(warp, instr, lane);
      const std::byte *data = op.readShared(source, bytes);
      uint64_t address = to.value[lane];
      std::byte *target = reduce
                              ? op.reduceGlobal(address, bytes, bulkAlignment)
                              : op.writeGlobal(address, bytes, bulkAlignment);
      if (!data || !target)
        return;
      op.onLanding([=](AsyncOp &) {
        if (reduce)
          reduce(target, data, bytes);
        else
          std::memcpy(target, data, bytes);
      });
      op.joinBulkGroup();
      schedule(std::move(op));
      return;
    }
    Counters before = counters;
    bool first = true;
    for (const BulkTarget &target :
         bulkTargets(warp, instr, lane, to.value[lane], bytes, bulkAlignment)) {
      AsyncOp op = beginAsync(warp, instr, lane);
      const std::byte *data;
      if (fromShared) {
        SharedPlace source = locateShared(warp, instr, lane, from.value[lane],
                                          bytes, bulkAlignment);
        if (!source)
          return;
        data = op.readShared(source, bytes);
      } else {
        data = op.readGlobal(from.value[lane], bytes, bulkAlignment);
      }
      // However many blocks receive it, the data is fetched once.
      if (!first) {
        counters.globalBytesRead = before.globalBytesRead;
        counters.globalSectors = before.globalSectors;
      }
      before = counters;
      first = false;
      std::byte *place = reduce ? op.reduceShared(target.data, bytes)
                                : op.writeShared(target.data, bytes);
      if (!data || !place)
        return;
      op.onLanding([=](AsyncOp &) {
        if (reduce)
          reduce(place, data, bytes);
        else
          std::memcpy(place, data, bytes);
      });
      op.signal(target.mbarrier, bytes);
      schedule(std::move(op));
    }
  });
}

void prefetchBulk(Warp &warp, const Instr &instr) {
  LaneAddresses from = computeAddresses(warp, instr.secondAddress);
  forActiveLanes(warp.mask, [&](int lane) {
    uint32_t bytes;
    if (sizeOf(warp, instr, lane, bytes))
      checkGlobal(warp, instr, lane, from.value[lane], bytes, bulkAlignment,
                  Access::Read);
  });
}

void commitGroup(Warp &warp, const Instr &) {
  commitBulkGroup(warp, warp.mask);
}

/// `immediate`: groups that may stay pending; `flags`: .read.
void waitGroup(Warp &warp, const Instr &instr) {
  waitBulkGroup(warp, warp.mask, static_cast<uint32_t>(instr.immediate),
                instr.flags);
}

} // namespace

void sim::bindMbarrier(InstrBuilder &b, size_t index) {
  Address address = b.address(index);
  b.instr.slots[0] = address.slot;
  if (address.wide)
    b.instr.flags |= bulkWideBarrier;
  b.instr.target = static_cast<uint32_t>(address.offset);
}

std::vector<BulkTarget> sim::bulkTargets(Warp &warp, const Instr &instr,
                                         int lane, uint64_t address,
                                         uint32_t bytes, uint32_t alignment) {
  Address barrier;
  barrier.slot = instr.slots[0];
  barrier.wide = instr.flags & bulkWideBarrier;
  barrier.offset = static_cast<int32_t>(instr.target);
  uint64_t at = computeAddresses(warp, barrier).value[lane];
  BulkTarget own;
  own.data = locateShared(warp, instr, lane, address, bytes, alignment);
  if (!own.data)
    return {};
  own.mbarrier = locateShared(warp, instr, lane, at, 8, 8);
  if (!own.mbarrier)
    return {};
  Block &block = *warp.block;
  if ((instr.flags & bulkOwnBlock) && own.data.block != &block) {
    block.fault(&warp, &instr, FaultKind::InvalidOperation, lane,
                "the destination is in another block, but .shared::cta names "
                "the own one");
    return {};
  }
  if (own.data.block != own.mbarrier.block) {
    block.fault(&warp, &instr, FaultKind::InvalidOperation, lane,
                "the destination and the mbarrier are in different blocks");
    return {};
  }
  if (!(instr.flags & bulkMulticast))
    return {own};
  std::vector<BulkTarget> targets;
  uint32_t mask = warp.lanes<uint16_t>(instr.slots[1])[lane];
  for (; mask; mask &= mask - 1) {
    uint32_t rank = static_cast<uint32_t>(__builtin_ctz(mask));
    BulkTarget peer;
    peer.data = peerPlace(warp, instr, lane, own.data, rank);
    peer.mbarrier = peerPlace(warp, instr, lane, own.mbarrier, rank);
    if (!peer.data || !peer.mbarrier)
      return {};
    targets.push_back(peer);
  }
  return targets;
}

void sim::decodeBulk(InstrBuilder &b, bool reduces) {
  b.requireTarget(90, "bulk copies");
  if (b.take("commit_group")) {
    b.expectOperands(0, 0);
    b.instr.exec = commitGroup;
    return;
  }
  if (b.take("wait_group")) {
    b.expectOperands(1, 1);
    b.instr.flags = b.take("read");
    b.instr.immediate = b.immediate(0);
    b.instr.exec = waitGroup;
    return;
  }
  if (b.take("tensor"))
    return decodeTensorCopy(b, reduces);
  bool prefetch = b.take("prefetch");
  bool hint = b.take("L2::cache_hint");
  if (b.take("cp_mask"))
    return b.refuse("byte masks (.cp_mask) are not supported");
  if (prefetch) {
    if (!b.take("L2") || !b.take("global"))
      return b.refuse(".prefetch.L2.global is expected");
    b.expectOperands(hint ? 3 : 2, hint ? 3 : 2);
    b.instr.secondAddress = b.address(0);
    uint32_t size = b.source(1, 4);
    if (hint)
      b.source(2, 8);
    b.instr.slots[2] = size;
    b.instr.undefRule = UndefRule::Require;
    b.instr.exec = prefetchBulk;
    return;
  }
  // Destination, then source, in the order they are written.
  std::string_view to = b.firstOf({"shared::cluster", "shared::cta", "global"});
  b.take(to);
  std::string_view from = b.firstOf({"global", "shared::cta"});
  b.take(from);
  bool barrier = b.take("mbarrier::complete_tx::bytes");
  bool group = b.take("bulk_group");
  bool multicast = b.take("multicast::cluster");
  bool toShared = to.starts_with("shared"), fromShared = from == "shared::cta";
  if (to.empty() || from.empty() || (!toShared && !fromShared) ||
      barrier != toShared || group == toShared ||
      (to == "shared::cta" && fromShared) || (multicast && fromShared))
    return b.refuse("copies go .shared::cluster.global, .shared::cta.global, "
                    ".shared::cluster.shared::cta (with "
                    ".mbarrier::complete_tx::bytes) or .global.shared::cta "
                    "(with .bulk_group)");
  if (reduces && toShared && !fromShared)
    return b.refuse("reductions into shared memory come from shared::cta");
  if (reduces) {
    int op = takeReduceOp(b);
    b.take("noftz");
    Type type = b.type();
    ReduceFn reduce =
        op < 0 ? nullptr : findReduce(static_cast<ReduceOp>(op), type);
    if (!reduce)
      return b.refuse("this reduction does not exist");
    b.instr.immediate = reinterpret_cast<uint64_t>(reduce);
  }
  size_t count = 3 + toShared + multicast + hint;
  b.expectOperands(count, count);
  if (b.failed())
    return;
  b.instr.address = b.address(0);
  b.instr.secondAddress = b.address(1);
  uint32_t size = b.source(2, 4);
  uint32_t mask = multicast ? b.source(4, 2) : 0;
  if (hint)
    b.source(count - 1, 8);
  b.instr.flags = static_cast<uint8_t>(
      (toShared ? bulkToShared : 0) | (fromShared ? bulkFromShared : 0) |
      (multicast ? bulkMulticast : 0) |
      (to == "shared::cta" ? bulkOwnBlock : 0));
  if (toShared)
    bindMbarrier(b, 3);
  b.instr.slots[1] = mask;
  b.instr.slots[2] = size;
  b.instr.undefRule = UndefRule::Require;
  b.instr.exec = copyBulk;
}
