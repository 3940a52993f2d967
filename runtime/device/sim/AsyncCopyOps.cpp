//===- AsyncCopyOps.cpp - cp.async ----------------------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// A copy is checked when it is issued and carried out when its thread waits for
// it, the latest moment the program allows. Until then its destination holds
// garbage and is marked: any access to it is a fault. When the wait returns,
// the data counts as written by the waiting warp; others need a barrier.
//
// cp.async.mbarrier.arrive hands the copies that its threads have issued so far
// to the machine, which carries them out at a random moment and then arrives
// for these threads (AsyncProxy.h). Whoever waits for that phase knows the
// copied data, and nothing else of the threads: the ISA gives the arrival no
// release of what they did before. A thread that waits for its groups knows its
// own copies also then. Copies act through the generic proxy.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/sim/BulkCopyOps.h"
#include "runtime/device/sim/Decoder.h"
#include "runtime/device/sim/MemoryAccess.h"
#include "runtime/device/sim/Opcodes.h"

#include <algorithm>
#include <fmt/format.h>

using namespace quern;
using namespace quern::sim;
using Kind = AccessHistory::Kind;

namespace {

/// slots[0]: the source size, or 0 for all; slots[1]: where the source is
/// ignored, or 0 (`flags`: where it is not); `bytes`: the destination size.
void copyAsync(Warp &warp, const Instr &instr) {
  Block &block = *warp.block;
  LaneAddresses to = computeAddresses(warp, instr.address);
  LaneAddresses from = computeAddresses(warp, instr.secondAddress);
  uint32_t full = instr.bytes;
  uint32_t sizes[32];
  uint32_t reading = 0, ignored = 0;
  if (instr.slots[1])
    ignored = warp.predicate(instr.slots[1]) ^ (instr.flags ? ~0u : 0u);
  forActiveLanes(warp.mask, [&](int lane) {
    sizes[lane] =
        ignored >> lane & 1 ? 0
        : instr.slots[0]
            ? std::min(warp.lanes<uint32_t>(instr.slots[0])[lane], full)
            : full;
    if (sizes[lane])
      reading |= 1u << lane;
  });
  // The hardware may fetch all of the source even if part is ignored only
  // when it is in bounds; require what is really read.
  uint32_t readable = 0;
  std::byte *pointers[32];
  if (reading) {
    bool whole = true;
    forActiveLanes(reading, [&](int lane) { whole &= sizes[lane] == full; });
    if (whole) {
      readable = resolveGlobal(warp, instr, from, reading, full, full,
                               Access::Read, pointers);
    } else {
      forActiveLanes(reading, [&](int lane) {
        readable |= resolveGlobal(warp, instr, from, 1u << lane, sizes[lane],
                                  full, Access::Read, pointers);
      });
    }
  }
  bool checks = block.launch->options.checks;
  uint32_t accepted = 0;
  SharedAccess checked(warp, instr, Kind::BeginWrite);
  forActiveLanes(warp.mask, [&](int lane) {
    uint64_t offset = to.value[lane];
    if (offset % full) {
      block.fault(&warp, &instr, FaultKind::Misaligned, lane,
                  fmt::format("the destination of cp.async, shared offset {}, "
                              "is no multiple of {}",
                              offset, full));
      return;
    }
    if (offset > block.sharedBytes || full > block.sharedBytes - offset) {
      block.fault(&warp, &instr, FaultKind::OutOfBounds, lane,
                  fmt::format("cp.async to shared offset {}; the block has {} "
                              "bytes",
                              offset, block.sharedBytes));
      return;
    }
    uint32_t at = static_cast<uint32_t>(offset);
    checked.check(lane, at, full);
    std::memset(block.shared + at, 0xCD, full);
    accepted |= 1u << lane;
    AsyncCopy copy;
    copy.source = from.value[lane];
    copy.destination = at;
    copy.group = warp.asyncGroup[lane];
    copy.lane = static_cast<uint8_t>(lane);
    copy.bytes = static_cast<uint8_t>(readable >> lane & 1 ? sizes[lane] : 0);
    copy.filled = static_cast<uint8_t>(full);
    warp.asyncCopies.push_back(copy);
  });
  if (checks) {
    ++block.launch->counters.sharedRequests;
    block.launch->counters.sharedBankConflicts +=
        bankConflicts(to, accepted, full);
  }
}

void commitGroup(Warp &warp, const Instr &) {
  forActiveLanes(warp.mask, [&](int lane) { ++warp.asyncGroup[lane]; });
}

/// Carries one out.
void perform(std::byte *shared, const AsyncCopy &copy) {
  std::byte *to = shared + copy.destination;
  const void *from = reinterpret_cast<const void *>(copy.source);
  if (copy.bytes == 16) {
    std::memcpy(to, from, 16);
  } else {
    if (copy.bytes) // Of nothing the source may be null.
      std::memcpy(to, from, copy.bytes);
    std::memset(to + copy.bytes, 0, copy.filled - copy.bytes);
  }
}

/// Completes all but the latest `immediate` groups; with `flags`, everything,
/// committed or not.
void waitGroup(Warp &warp, const Instr &instr) {
  Block &block = *warp.block;
  bool everything = instr.flags;
  SharedAccess landed(warp, instr, Kind::EndWrite);
  auto finished = [&](const AsyncCopy &copy) {
    if (!(warp.mask >> copy.lane & 1))
      return false;
    if (!everything &&
        uint64_t(copy.group) + instr.immediate >= warp.asyncGroup[copy.lane])
      return false;
    perform(block.shared, copy);
    landed.check(copy.lane, copy.destination, copy.filled);
    return true;
  };
  std::erase_if(warp.asyncCopies, finished);
  waitCopies(warp, warp.mask, instr.immediate, everything);
}

/// Arrives at `mbarrier` for `lanes` when their copies so far are done.
void arriveLater(Warp &warp, const Instr &instr, SharedPlace mbarrier,
                 uint32_t lanes) {
  Block &block = *warp.block;
  uint32_t count = static_cast<uint32_t>(__builtin_popcount(lanes));
  if (!instr.immediate &&
      !mbarrierAwaitMore(warp, instr, __builtin_ctz(lanes), mbarrier, count))
    return;
  AsyncOp op = beginAsync(warp, instr, __builtin_ctz(lanes));
  op.viaGenericProxy = true;
  op.lanes = lanes;
  // The copies of one warp's arrivals land in order: each arrival is for all
  // copies before it.
  op.chain = uint64_t(1) << 63 | uint64_t(block.linear) << 8 | warp.id;
  std::vector<AsyncCopy> copies;
  std::erase_if(warp.asyncCopies, [&](const AsyncCopy &copy) {
    if (!(lanes >> copy.lane & 1))
      return false;
    op.groupNumber =
        copies.empty() ? copy.group : std::min(op.groupNumber, copy.group);
    if (!op.written.empty() &&
        op.written.back().begin + op.written.back().bytes == copy.destination)
      op.written.back().bytes += copy.filled;
    else
      op.written.push_back({&block, copy.destination, copy.filled});
    copies.push_back(copy);
    return true;
  });
  if (!copies.empty())
    op.group = AsyncOp::Group::Copies;
  op.onLanding([copies = std::move(copies), &block](AsyncOp &) {
    for (const AsyncCopy &copy : copies)
      perform(block.shared, copy);
  });
  op.arrive(mbarrier, count);
  schedule(std::move(op));
}

void arriveWhenDone(Warp &warp, const Instr &instr) {
  LaneAddresses addresses = computeAddresses(warp, instr.address);
  for (uint32_t rest = warp.mask; rest;) {
    int first = __builtin_ctz(rest);
    uint32_t lanes = 0;
    forActiveLanes(rest, [&](int lane) {
      lanes |= uint32_t(addresses.value[lane] == addresses.value[first])
               << lane;
    });
    rest &= ~lanes;
    SharedPlace place =
        locateShared(warp, instr, first, addresses.value[first], 8, 8);
    if (place && place.block != warp.block)
      warp.block->fault(&warp, &instr, FaultKind::OutOfBounds, first,
                        fmt::format("{} is not in the block's own shared "
                                    "memory",
                                    describe(warp, place)));
    else if (place)
      arriveLater(warp, instr, place, lanes);
  }
}

void decodeArrive(InstrBuilder &b) {
  b.take("arrive");
  bool noIncrement = b.take("noinc");
  bool shared = b.take("shared") || b.take("shared::cta");
  Type type = b.type();
  b.expectOperands(1, 1);
  if (!type.is(Type::Kind::Bits, 8))
    return b.refuse(".b64 is expected");
  b.instr.address = b.address(0);
  b.instr.space = shared ? AddressSpace::Shared : AddressSpace::Generic;
  b.instr.immediate = noIncrement;
  b.instr.undefRule = UndefRule::Require;
  b.instr.exec = arriveWhenDone;
}

void decodeCopy(InstrBuilder &b) {
  if (b.take("mbarrier"))
    return decodeArrive(b);
  if (b.take("commit_group")) {
    b.expectOperands(0, 0);
    b.instr.exec = commitGroup;
    return;
  }
  if (b.take("wait_group")) {
    b.expectOperands(1, 1);
    b.instr.immediate = b.immediate(0);
    b.instr.exec = waitGroup;
    return;
  }
  if (b.take("wait_all")) {
    b.expectOperands(0, 0);
    b.instr.flags = 1;
    b.instr.exec = waitGroup;
    return;
  }
  int cache = b.takeOneOf({"ca", "cg"});
  if (cache < 0)
    return b.refuse("only cp.async.{ca,cg}, commit_group, wait_group and "
                    "wait_all are supported");
  bool shared = b.take("shared") || b.take("shared::cta");
  if (!shared || !b.take("global"))
    return b.refuse("copies go from global to shared memory");
  b.ignore({"L2::64B", "L2::128B", "L2::256B"});
  bool policy = b.take("L2::cache_hint");
  b.expectOperands(3 + policy, 4 + policy);
  if (b.failed())
    return;
  b.instr.address = b.address(0);
  b.instr.secondAddress = b.address(1);
  uint64_t bytes = b.immediate(2);
  if (bytes != 16 && (cache == 1 || (bytes != 4 && bytes != 8)))
    return b.refuse(cache == 1 ? ".cg copies 16 bytes"
                               : ".ca copies 4, 8 or 16 bytes");
  b.instr.bytes = static_cast<uint8_t>(bytes);
  uint32_t size = 0, ignored = 0;
  if (b.operandCount() == 4u + policy) {
    const ptx::Operand &last = b.operand(3);
    std::optional<Register> named = last.kind == ptx::Operand::Kind::Name
                                        ? b.decoder.findRegister(last.name)
                                        : std::nullopt;
    bool negated = last.negated;
    if (negated || (named && named->bytes == 1))
      ignored = b.predicateSource(last, negated);
    else
      size = b.source(3, 4);
    b.instr.flags = negated;
  }
  if (policy)
    b.source(b.operandCount() - 1, 8);
  b.instr.slots[0] = size;
  b.instr.slots[1] = ignored;
  b.instr.undefRule = UndefRule::Require;
  b.instr.exec = copyAsync;
}

void decodeCp(InstrBuilder &b) {
  bool reduces = b.take("reduce");
  if (!b.take("async"))
    return b.refuse("cp.async or cp.reduce.async is expected");
  if (b.take("bulk"))
    return decodeBulk(b, reduces);
  if (reduces)
    return b.refuse("only bulk copies reduce");
  decodeCopy(b);
}

} // namespace

std::span<const Opcode> sim::asyncCopyOpcodes() {
  static const Opcode table[] = {
      {"cp", InstrClass::AsyncCopy, decodeCp},
  };
  return table;
}
