//===- TensorMapOps.cpp - tensormap.replace, .cp_fenceproxy ---------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// A tensor map is 128 opaque bytes. tensormap.replace reads and writes them as
// a weak access of the generic proxy; between several replacements the map need
// not make sense, when a copy uses it it must. For the proxy fences see
// TensorMapProxy.h.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/sim/AsyncProxy.h"
#include "runtime/device/sim/GlobalShadow.h"
#include "runtime/device/sim/MemoryAccess.h"
#include "runtime/device/sim/MemoryOrder.h"
#include "runtime/device/sim/Opcodes.h"
#include "runtime/device/sim/TensorMap.h"
#include "runtime/device/sim/TensorMapProxy.h"

#include <fmt/format.h>

using namespace quern;
using namespace quern::sim;
using Kind = AccessHistory::Kind;

//===----------------------------------------------------------------------===//
// The proxy
//===----------------------------------------------------------------------===//

namespace {

/// Calls `f(record)` for the latest write of each byte in this launch.
template <typename F> void forWrites(Launch &launch, uint64_t address, F f) {
  const AccessHistory::Record *last = nullptr;
  for (uint64_t at = address; at < address + tensorMapBytes; ++at) {
    GlobalShadow::Page &page = launch.globalShadow->page(at);
    uint64_t offset = at % GlobalShadow::pageBytes;
    AccessHistory::State cell =
        page.cells[offset / AccessHistory::bytesPerCell];
    const AccessHistory::Record *writer = launch.history.writerOf(
        launch.history.byteState(cell, offset % AccessHistory::bytesPerCell));
    if (writer && writer != last)
      f(*writer);
    last = writer;
  }
}

/// 0 if nothing was written.
uint64_t hashOfWrites(Launch &launch, uint64_t address) {
  uint64_t hash = 0;
  forWrites(launch, address, [&](const AccessHistory::Record &record) {
    uint64_t value = uint64_t(record.epoch.block) << 38 ^
                     uint64_t(record.epoch.time) << 6 ^ record.epoch.agent;
    hash = (hash ^ value ^ 0x51ed270b) * 0x9e3779b97f4a7c15u;
    hash |= 1;
  });
  return hash;
}

} // namespace

void sim::releaseTensorMaps(Warp &warp) {
  Launch &launch = *warp.block->launch;
  if (launch.options.checks)
    launch.tensorMaps->released.join(warp.clock);
}

void sim::acquireTensorMap(Warp &warp, const Instr &instr, int lane,
                           uint64_t address) {
  Block &block = *warp.block;
  Launch &launch = *block.launch;
  if (!launch.options.checks || address - paramWindow < windowBytes ||
      !checkGlobal(warp, instr, lane, address, tensorMapBytes, 64,
                   Access::Read))
    return;
  const AccessHistory::Record *missing = nullptr;
  forWrites(launch, address, [&](const AccessHistory::Record &record) {
    if (!launch.tensorMaps->released.knowsGeneric(record.epoch))
      missing = &record;
  });
  if (missing)
    block.fault(&warp, &instr, FaultKind::MissingProxyFence, lane,
                fmt::format("the tensor map at {} is acquired, but no "
                            "fence.proxy.tensormap::generic.release or "
                            "tensormap.cp_fenceproxy came after its write",
                            describeGlobal(launch, address)),
                {"written at " + placeOf(*block.kernel, missing->instr)});
  Epoch now{block.linear, warp.clock.times.generic[warp.id],
            static_cast<uint8_t>(warp.id)};
  std::vector<TensorMapProxy::Acquire> &list =
      launch.tensorMaps->acquired[address];
  uint64_t writes = hashOfWrites(launch, address);
  // Those of earlier contents are of no use any more.
  std::erase_if(list, [&](const TensorMapProxy::Acquire &old) {
    return old.writes != writes ||
           (old.fence.block == now.block && old.fence.agent == now.agent);
  });
  list.push_back({now, writes});
}

void sim::checkTensorMapUse(Warp &warp, const Instr &instr, int lane,
                            uint64_t address) {
  Block &block = *warp.block;
  Launch &launch = *block.launch;
  if (!launch.options.checks)
    return;
  uint64_t writes = hashOfWrites(launch, address);
  if (!writes)
    return;
  auto it = launch.tensorMaps->acquired.find(address);
  if (it != launch.tensorMaps->acquired.end())
    for (const TensorMapProxy::Acquire &acquire : it->second)
      if (acquire.writes == writes && warp.clock.knowsGeneric(acquire.fence))
        return;
  std::string where;
  forWrites(launch, address, [&](const AccessHistory::Record &record) {
    where = placeOf(*block.kernel, record.instr);
  });
  block.fault(&warp, &instr, FaultKind::MissingProxyFence, lane,
              fmt::format("the tensor map at {} was written in this launch, "
                          "and no fence.proxy.tensormap::generic.acquire of "
                          "it came between",
                          describeGlobal(launch, address)),
              {"written at " + where});
}

//===----------------------------------------------------------------------===//
// Instructions
//===----------------------------------------------------------------------===//

namespace {

/// The 128 bytes at a shared or global address; null after a fault.
std::byte *bytesAt(Warp &warp, const Instr &instr, int lane, uint64_t address,
                   bool inShared, bool writes) {
  if (inShared) {
    SharedPlace place =
        locateShared(warp, instr, lane, address, tensorMapBytes, 64);
    if (!place)
      return nullptr;
    if (place.block != warp.block) {
      warp.block->fault(&warp, &instr, FaultKind::OutOfBounds, lane,
                        fmt::format("{} is not in the block's own shared "
                                    "memory",
                                    describe(warp, place)));
      return nullptr;
    }
    touchShared(warp, instr, lane, place, tensorMapBytes,
                writes ? Kind::Write : Kind::Read);
    return place.data();
  }
  LaneAddresses addresses;
  addresses.value[lane] = address;
  std::byte *pointers[32];
  return resolveGlobal(warp, instr, addresses, 1u << lane, tensorMapBytes, 64,
                       writes ? Access::Write : Access::Read, pointers)
             ? pointers[lane]
             : nullptr;
}

/// slots: the value, of `bytes`; `flags`: the field; `immediate`: the ordinal.
void replace(Warp &warp, const Instr &instr) {
  LaneAddresses addresses = computeAddresses(warp, instr.address);
  forActiveLanes(warp.mask, [&](int lane) {
    uint64_t address = addresses.value[lane];
    bool inShared = instr.space == AddressSpace::Shared ||
                    (instr.space == AddressSpace::Generic &&
                     address - sharedWindow < windowBytes);
    std::byte *place = bytesAt(warp, instr, lane, address, inShared, false);
    if (!place)
      return;
    std::byte bytes[tensorMapBytes];
    std::memcpy(bytes, place, sizeof(bytes));
    std::optional<TensorMap> map = decodeTensorMap(bytes);
    std::optional<Diagnostic> problem;
    if (!map)
      problem = fail(Errc::InvalidArgument,
                     "what the operand points to is no tensor map");
    else
      problem = replaceField(*map, static_cast<TensorField>(instr.flags),
                             static_cast<uint32_t>(instr.immediate),
                             instr.bytes == 8
                                 ? warp.lanes<uint64_t>(instr.slots[0])[lane]
                                 : warp.lanes<uint32_t>(instr.slots[0])[lane]);
    if (problem) {
      warp.block->fault(&warp, &instr, FaultKind::InvalidOperation, lane,
                        problem->message);
      return;
    }
    if (!bytesAt(warp, instr, lane, address, inShared, true))
      return;
    encodeTensorMap(*map, bytes);
    std::memcpy(place, bytes, sizeof(bytes));
  });
}

/// Copies a map from shared to global memory and releases it, once for the
/// warp.
void copyAndRelease(Warp &warp, const Instr &instr) {
  Block &block = *warp.block;
  if (warp.mask != warp.alive) {
    block.fault(&warp, &instr, FaultKind::DivergentCollective, -1,
                fmt::format("only {} of the warp's {} threads are here",
                            __builtin_popcount(warp.mask),
                            __builtin_popcount(warp.alive)));
    return;
  }
  int lane = __builtin_ctz(warp.mask);
  uint64_t to = computeAddresses(warp, instr.address).value[lane];
  uint64_t from = computeAddresses(warp, instr.secondAddress).value[lane];
  const std::byte *source = bytesAt(warp, instr, lane, from, true, false);
  std::byte *target = bytesAt(warp, instr, lane, to, false, true);
  if (source && target)
    std::memcpy(target, source, tensorMapBytes);
  releaseTensorMaps(warp);
  if (block.launch->options.checks)
    fenceMemory(warp, instr.scope);
}

void decodeReplace(InstrBuilder &b) {
  struct Field {
    std::string_view name;
    bool wide, hasOrdinal;
  };
  static constexpr Field fields[] = {
      {"global_address", true, false}, {"rank", false, false},
      {"box_dim", false, true},        {"global_dim", false, true},
      {"global_stride", true, true},   {"element_stride", false, true},
      {"elemtype", false, false},      {"interleave_layout", false, false},
      {"swizzle_mode", false, false},  {"swizzle_atomicity", false, false},
      {"fill_mode", false, false},
  };
  bool tile = b.take("tile");
  size_t which = 0;
  while (which < std::size(fields) && !b.take(fields[which].name))
    ++which;
  int space = b.takeOneOf({"global", "shared::cta", "shared"});
  bool sized = b.take("b1024");
  if (!tile || which == std::size(fields) || !sized)
    return b.refuse("tensormap.replace.tile.<field>.{global,shared::cta}.b1024 "
                    "is expected");
  const Field &field = fields[which];
  Type type = b.type();
  size_t count = 2 + field.hasOrdinal;
  b.expectOperands(count, count);
  if (b.failed())
    return;
  if (type.bytes != (field.wide ? 8 : 4))
    return b.refuse(
        fmt::format("the field takes a .b{}", field.wide ? 64 : 32));
  b.instr.address = b.address(0);
  if (field.hasOrdinal)
    b.instr.immediate = b.immediate(1);
  b.source(count - 1, type.bytes);
  b.instr.space = space < 0    ? AddressSpace::Generic
                  : space == 0 ? AddressSpace::Global
                               : AddressSpace::Shared;
  b.instr.bytes = type.bytes;
  b.instr.flags = static_cast<uint8_t>(which);
  b.instr.undefRule = UndefRule::Require;
  b.instr.exec = replace;
}

void decodeCopy(InstrBuilder &b) {
  bool spaces = b.take("global") && b.take("shared::cta");
  bool fence = b.take("tensormap::generic") && b.take("release");
  int scope = b.takeOneOf({"cta", "cluster", "gpu", "sys"});
  bool aligned = b.take("sync") && b.take("aligned");
  b.expectOperands(3, 3);
  if (b.failed())
    return;
  if (!spaces || !fence || !aligned || scope < 0 ||
      b.immediate(2) != tensorMapBytes)
    return b.refuse("tensormap.cp_fenceproxy.global.shared::cta.tensormap::"
                    "generic.release.<scope>.sync.aligned [to], [from], 128 is "
                    "expected");
  b.instr.address = b.address(0);
  b.instr.secondAddress = b.address(1);
  b.instr.scope = static_cast<Scope>(scope);
  b.instr.collective = true;
  b.instr.undefRule = UndefRule::Require;
  b.instr.exec = copyAndRelease;
}

void decodeTensorMapOp(InstrBuilder &b) {
  if (b.take("cp_fenceproxy")) {
    b.requireTarget(90, "tensormap.cp_fenceproxy");
    return decodeCopy(b);
  }
  b.requireTargets({"sm_90a", "sm_100a", "sm_100f", "sm_103a", "sm_103f",
                    "sm_110a", "sm_110f", "sm_120a", "sm_120f", "sm_121a",
                    "sm_121f"},
                   "tensormap.replace");
  if (!b.take("replace"))
    return b.refuse("tensormap.replace or .cp_fenceproxy is expected");
  decodeReplace(b);
}

} // namespace

std::span<const Opcode> sim::tensorMapOpcodes() {
  static const Opcode table[] = {
      {"tensormap", InstrClass::AsyncCopy, decodeTensorMapOp},
  };
  return table;
}
