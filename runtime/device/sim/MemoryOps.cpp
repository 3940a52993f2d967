//===- MemoryOps.cpp - ld and st ------------------------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// The simulator executes one instruction at a time, so values are sequentially
// consistent. What ordering modifiers promise to others is kept by
// MemoryOrder.h.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/sim/BulkCopyOps.h"
#include "runtime/device/sim/Decoder.h"
#include "runtime/device/sim/MemoryAccess.h"
#include "runtime/device/sim/Opcodes.h"

#include <fmt/format.h>

using namespace quern;
using namespace quern::sim;

namespace {

/// Elements of type T into registers of type R.
template <typename T, typename R> void load(Warp &warp, const Instr &instr) {
  LaneAddresses addresses = computeAddresses(warp, instr.address);
  std::byte *pointers[32];
  uint32_t count = instr.vectorCount;
  uint32_t bytes = count * static_cast<uint32_t>(sizeof(T));
  uint32_t good = resolve(warp, instr, instr.space, addresses, bytes, bytes,
                          Access::Read, pointers);
  if (instr.order != Order::Weak)
    warp.block->launch->mayPoll(
        warp, instr,
        hashOfPlaces(good, pointers, static_cast<uint32_t>(bytes)));
  const uint32_t *slots = &warp.block->kernel->slotPool[instr.vectorBegin];
  for (uint32_t i = 0; i < count; ++i) {
    if (!slots[i])
      continue;
    R *result = warp.lanes<R>(slots[i]);
    forActiveLanes(good, [&](int lane) {
      T value;
      std::memcpy(&value, pointers[lane] + i * sizeof(T), sizeof(T));
      result[lane] = static_cast<R>(value);
    });
    // A failed lane continues with zero.
    forActiveLanes(warp.mask & ~good, [&](int lane) { result[lane] = 0; });
  }
}

/// Lanes of one plain store that give a place different values: which of them
/// remains is not defined. An access is aligned to its size, so that places
/// are the same or do not overlap.
template <typename T, typename R>
void checkConflicts(Warp &warp, const Instr &instr, uint32_t lanes,
                    std::byte *const (&pointers)[32]) {
  uint32_t count = instr.vectorCount;
  uintptr_t bytes = count * sizeof(T);
  auto place = [&](int lane) {
    return reinterpret_cast<uintptr_t>(pointers[lane]) / bytes;
  };
  // Mostly ascending.
  uintptr_t latest = 0;
  bool ascends = true;
  forActiveLanes(lanes, [&](int lane) {
    ascends &= place(lane) > latest;
    latest = place(lane);
  });
  if (ascends)
    return;
  // Lanes that came first at their places, plus one, hashed by the place.
  uint8_t first[64] = {};
  const uint32_t *slots = &warp.block->kernel->slotPool[instr.vectorBegin];
  forActiveLanes(lanes, [&](int lane) {
    uintptr_t mine = place(lane);
    uintptr_t at = mine % 64;
    while (first[at] && place(first[at] - 1) != mine)
      at = (at + 1) % 64;
    if (!first[at]) {
      first[at] = static_cast<uint8_t>(lane + 1);
      return;
    }
    int other = first[at] - 1;
    bool same = true;
    for (uint32_t i = 0; i < count; ++i) {
      const R *source = warp.lanes<R>(slots[i]);
      same &= static_cast<T>(source[lane]) == static_cast<T>(source[other]);
    }
    if (same || warp.block->isKnown(&instr, FaultKind::Race))
      return;
    warp.block->fault(
        &warp, &instr, FaultKind::Race, lane,
        fmt::format("lanes {} and {} of the warp write different values to {}; "
                    "which of them stays is not defined",
                    other, lane, describeHost(warp, pointers[lane])));
  });
}

template <typename T, typename R> void store(Warp &warp, const Instr &instr) {
  LaneAddresses addresses = computeAddresses(warp, instr.address);
  std::byte *pointers[32];
  uint32_t count = instr.vectorCount;
  uint32_t bytes = count * static_cast<uint32_t>(sizeof(T));
  uint32_t good = resolve(warp, instr, instr.space, addresses, bytes, bytes,
                          Access::Write, pointers);
  if (instr.order == Order::Weak && warp.block->launch->options.checks)
    checkConflicts<T, R>(warp, instr, good, pointers);
  const uint32_t *slots = &warp.block->kernel->slotPool[instr.vectorBegin];
  for (uint32_t i = 0; i < count; ++i) {
    const R *source = warp.lanes<R>(slots[i]);
    forActiveLanes(good, [&](int lane) {
      T value = static_cast<T>(source[lane]);
      std::memcpy(pointers[lane] + i * sizeof(T), &value, sizeof(T));
    });
  }
}

template <typename R> ExecFn pickLoad(Type type) {
  bool isSigned = type.isSigned();
  switch (type.bytes) {
  case 1:
    return isSigned ? load<int8_t, R> : load<uint8_t, R>;
  case 2:
    return isSigned ? load<int16_t, R> : load<uint16_t, R>;
  case 4:
    return isSigned ? load<int32_t, R> : load<uint32_t, R>;
  default:
    return load<uint64_t, R>;
  }
}

template <typename R> ExecFn pickStore(Type type) {
  switch (type.bytes) {
  case 1:
    return store<uint8_t, R>;
  case 2:
    return store<uint16_t, R>;
  case 4:
    return store<uint32_t, R>;
  default:
    return store<uint64_t, R>;
  }
}

/// Modifiers about order and caches; whether a cache policy operand follows.
bool takeCacheModifiers(InstrBuilder &b) {
  // .mmio stands beside an order and adds nothing here.
  b.take("mmio");
  int order =
      b.takeOneOf({"weak", "relaxed", "acquire", "release", "volatile"});
  int scope = b.takeOneOf({"cta", "cluster", "gpu", "sys"});
  constexpr Order orders[] = {Order::Weak, Order::Relaxed, Order::Acquire,
                              Order::Release, Order::Relaxed};
  b.instr.order = order < 0 ? Order::Weak : orders[order];
  // volatile is relaxed.sys (PTX ISA, ld.volatile).
  b.instr.scope = scope < 0 ? Scope::Sys : static_cast<Scope>(scope);
  b.instr.nonCoherent = b.take("nc");
  b.ignore({"ca", "cg", "cs", "lu", "cv", "wb", "wt", "L1::evict_normal",
            "L1::evict_unchanged", "L1::evict_first", "L1::evict_last",
            "L1::no_allocate", "L2::64B", "L2::128B", "L2::256B",
            "L2::evict_last", "L2::evict_normal", "L2::evict_first"});
  return b.take("L2::cache_hint");
}

AddressSpace takeSpace(InstrBuilder &b, const ptx::Operand &address) {
  int space =
      b.takeOneOf({"global", "const", "shared", "shared::cta", "local", "param",
                   "param::entry", "param::func", "shared::cluster"});
  switch (space) {
  case 0:
  case 1:
    return AddressSpace::Global;
  case 2:
  case 3:
    return AddressSpace::Shared;
  case 4:
    return AddressSpace::Local;
  case 5:
  case 6:
  case 7:
    // Parameters of device functions live in local memory.
    if (!address.elements.empty())
      if (std::optional<Symbol> symbol =
              b.decoder.findSymbol(address.elements[0].name))
        return symbol->space;
    return AddressSpace::Param;
  case 8:
    return AddressSpace::SharedCluster;
  default:
    return AddressSpace::Generic;
  }
}

void decodeAccess(InstrBuilder &b, bool isLoad) {
  bool policy = takeCacheModifiers(b);
  size_t dataIndex = isLoad ? 0 : 1, addressIndex = isLoad ? 1 : 0;
  b.expectOperands(policy ? 3 : 2, policy ? 3 : 2);
  if (b.failed())
    return;
  b.instr.space = takeSpace(b, b.operand(addressIndex));
  int vector = b.takeOneOf({"v2", "v4", "v8"});
  unsigned expected = vector < 0 ? 1 : 2u << vector;
  Type type = b.type();
  if (b.failed())
    return;
  if (type.kind == Type::Kind::Predicate)
    return b.refuse("predicates cannot be loaded or stored");
  std::vector<const ptx::Operand *> data = b.elements(dataIndex);
  if (data.size() != expected || expected * type.bytes > 32)
    return b.refuse(fmt::format("{} elements of {} bytes do not match the "
                                "vector size",
                                data.size(), type.bytes));
  b.instr.address = b.address(addressIndex);
  unsigned width = 0;
  for (const ptx::Operand *element : data) {
    unsigned elementWidth = 0;
    if (isLoad)
      b.addToVector(b.wideResult(*element, type.bytes, elementWidth));
    else
      b.addToVector(b.wideSource(*element, type.bytes, elementWidth));
    if (b.failed())
      return;
    bool skipped = isLoad && element->name == "_";
    if (!skipped && width && elementWidth != width)
      return b.refuse("the registers have different widths");
    if (!skipped)
      width = elementWidth;
  }
  // All elements are dropped: any width will do.
  if (!width)
    width = std::max<unsigned>(type.bytes, 2);
  if (policy)
    b.source(2, 8);
  if (width == 1)
    return b.refuse("predicates cannot be loaded or stored");
  if (isLoad)
    b.instr.exec = width == 8   ? pickLoad<uint64_t>(type)
                   : width == 4 ? pickLoad<uint32_t>(type)
                                : pickLoad<uint16_t>(type);
  else
    b.instr.exec = width == 8   ? pickStore<uint64_t>(type)
                   : width == 4 ? pickStore<uint32_t>(type)
                                : pickStore<uint16_t>(type);
  // Stores of undefined values are faults only where others can see them;
  // compilers spill undefined registers to local memory.
  if (isLoad || b.instr.space != AddressSpace::Local)
    b.instr.undefRule = UndefRule::Require;
}

/// slots[0]: how many bytes of shared memory become zero.
void storeBulk(Warp &warp, const Instr &instr) {
  LaneAddresses to = computeAddresses(warp, instr.address);
  const uint64_t *bytes = warp.lanes<uint64_t>(instr.slots[0]);
  forActiveLanes(warp.mask, [&](int lane) {
    uint64_t offset = to.value[lane];
    if (instr.space == AddressSpace::Generic)
      offset -= sharedWindow;
    if (offset % 8 || bytes[lane] % 8 || bytes[lane] > UINT32_MAX) {
      warp.block->fault(&warp, &instr, FaultKind::Misaligned, lane,
                        fmt::format("{} bytes at shared offset {}; multiples "
                                    "of 8 are needed",
                                    bytes[lane], static_cast<int64_t>(offset)));
      return;
    }
    uint32_t count = static_cast<uint32_t>(bytes[lane]);
    if (checkShared(warp, instr, lane, offset, count, Access::Write))
      std::memset(warp.block->shared + offset, 0, count);
  });
  warp.block->launch->changed();
}

void decodeStoreBulk(InstrBuilder &b) {
  b.requireTarget(100, "st.bulk");
  b.take("weak");
  bool shared = b.take("shared::cta");
  b.expectOperands(3, 3);
  if (b.failed())
    return;
  if (b.immediate(2) != 0)
    return b.refuse("only zeros can be stored");
  b.instr.address = b.address(0);
  b.instr.space = shared ? AddressSpace::Shared : AddressSpace::Generic;
  b.source(1, 8);
  b.instr.undefRule = UndefRule::Require;
  b.instr.exec = storeBulk;
}

void decodeLoad(InstrBuilder &b) { decodeAccess(b, true); }
void decodeStore(InstrBuilder &b) {
  if (b.take("async"))
    return decodeStoreAsync(b);
  if (b.take("bulk"))
    return decodeStoreBulk(b);
  decodeAccess(b, false);
}

} // namespace

std::span<const Opcode> sim::memoryOpcodes() {
  static const Opcode table[] = {
      {"ld", InstrClass::Memory, decodeLoad},
      {"ldu", InstrClass::Memory, decodeLoad},
      {"st", InstrClass::Memory, decodeStore},
  };
  return table;
}
