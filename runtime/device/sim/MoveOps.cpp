//===- MoveOps.cpp - Moves, address conversions, special registers --------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/sim/ClusterOps.h"
#include "runtime/device/sim/Decoder.h"
#include "runtime/device/sim/Machine.h"
#include "runtime/device/sim/Opcodes.h"

#include <fmt/format.h>

using namespace quern;
using namespace quern::sim;

namespace {

template <typename T> void move(Warp &warp, const Instr &instr) {
  const T *a = warp.lanes<T>(instr.slots[1]);
  writeLanes<T>(warp, instr.slots[0], [=](int lane) { return a[lane]; });
}

void movePredicate(Warp &warp, const Instr &instr) {
  uint32_t value = warp.predicate(instr.slots[1]);
  warp.setPredicate(instr.slots[0], instr.flags ? ~value : value);
}

/// {a, b, ...} to one register: the first element is the lowest.
template <typename Whole, typename Part>
void pack(Warp &warp, const Instr &instr) {
  const uint32_t *slots = &warp.block->kernel->slotPool[instr.vectorBegin];
  constexpr unsigned parts = sizeof(Whole) / sizeof(Part);
  const Part *source[parts];
  for (unsigned i = 0; i < parts; ++i)
    source[i] = warp.lanes<Part>(slots[i]);
  writeLanes<Whole>(warp, instr.slots[0], [&](int lane) {
    Whole value = 0;
    for (unsigned i = 0; i < parts; ++i)
      value |= Whole(source[i][lane]) << (i * sizeof(Part) * 8);
    return value;
  });
}

template <typename Whole, typename Part>
void unpack(Warp &warp, const Instr &instr) {
  const uint32_t *slots = &warp.block->kernel->slotPool[instr.vectorBegin];
  constexpr unsigned parts = sizeof(Whole) / sizeof(Part);
  // The source may be one of the results.
  Whole copy[32];
  std::memcpy(copy, warp.lanes<Whole>(instr.slots[0]), sizeof(copy));
  for (unsigned i = 0; i < parts; ++i)
    if (slots[i])
      writeLanes<Part>(warp, slots[i], [&](int lane) {
        return static_cast<Part>(copy[lane] >> (i * sizeof(Part) * 8));
      });
}

/// Adds a window's base, or subtracts it.
void convertAddress(Warp &warp, const Instr &instr) {
  const uint64_t *a = warp.lanes<uint64_t>(instr.slots[1]);
  uint64_t base = instr.immediate;
  writeLanes<uint64_t>(warp, instr.slots[0],
                       [=](int lane) { return a[lane] + base; });
}

template <uint64_t window> void isSpace(Warp &warp, const Instr &instr) {
  const uint64_t *a = warp.lanes<uint64_t>(instr.slots[1]);
  writePredicate(warp, instr.slots[0], [=](int lane) {
    if (window == 0)
      return a[lane] < sharedWindow || a[lane] >= paramWindow + windowBytes;
    return a[lane] - window < windowBytes;
  });
}

/// shared::cta: the window's part of the own block.
void isOwnShared(Warp &warp, const Instr &instr) {
  const uint64_t *a = warp.lanes<uint64_t>(instr.slots[1]);
  uint64_t own = warp.block->rank + 1;
  writePredicate(warp, instr.slots[0], [=](int lane) {
    uint64_t offset = a[lane] - sharedWindow;
    uint64_t rank = offset >> sharedRankShift;
    return offset < windowBytes && (rank == 0 || rank == own);
  });
}

void doNothing(Warp &, const Instr &) {}

void decodePacking(InstrBuilder &b, Type type) {
  bool unpacking = b.operand(0).kind == ptx::Operand::Kind::Vector;
  std::vector<const ptx::Operand *> parts = b.elements(unpacking ? 0 : 1);
  if (unpacking)
    b.source(1, type.bytes);
  else
    b.result(0, type.bytes);
  if (parts.size() != 2 && parts.size() != 4)
    return b.refuse("two or four elements are expected");
  unsigned bytes = type.bytes / static_cast<unsigned>(parts.size());
  if (bytes < 2)
    return b.refuse("elements of less than 16 bits are not supported");
  for (const ptx::Operand *part : parts)
    b.addToVector(unpacking ? b.result(*part, bytes) : b.source(*part, bytes));
  auto as = [&]<typename Whole, typename Part>() {
    constexpr unsigned size = sizeof(Whole), partSize = sizeof(Part);
    b.instr.exec = unpacking ? unpack<Whole, Part> : pack<Whole, Part>;
    b.instr.traceBytes =
        unpacking ? traceUnpack<size, partSize> : tracePack<size, partSize>;
  };
  if (type.bytes == 8 && bytes == 4)
    as.operator()<uint64_t, uint32_t>();
  else if (type.bytes == 8 && bytes == 2)
    as.operator()<uint64_t, uint16_t>();
  else if (type.bytes == 4 && bytes == 2)
    as.operator()<uint32_t, uint16_t>();
}

void decodeMov(InstrBuilder &b) {
  Type type = b.type();
  b.expectOperands(2, 2);
  if (b.failed())
    return;
  if (type.kind == Type::Kind::Predicate) {
    bool negated = false;
    b.predicateResult(b.operand(0));
    b.predicateSource(b.operand(1), negated);
    b.instr.flags = negated;
    b.instr.exec = movePredicate;
    return;
  }
  if (b.operand(0).kind == ptx::Operand::Kind::Vector ||
      b.operand(1).kind == ptx::Operand::Kind::Vector)
    return decodePacking(b, type);
  if (type.bytes < 2)
    return b.refuse("16 bits at least are needed");
  b.result(0, type.bytes);
  b.source(1, type.bytes);
  b.instr.exec = type.bytes == 8   ? move<uint64_t>
                 : type.bytes == 4 ? move<uint32_t>
                                   : move<uint16_t>;
  b.instr.traceBytes = type.bytes == 8   ? traceLowBytes<8>
                       : type.bytes == 4 ? traceLowBytes<4>
                                         : traceLowBytes<2>;
  b.instr.copiesRegister = true;
}

void decodeCvta(InstrBuilder &b) {
  bool toSpace = b.take("to");
  int space =
      b.takeOneOf({"global", "const", "shared", "shared::cta",
                   "shared::cluster", "local", "param", "param::entry"});
  Type type = b.type();
  b.expectOperands(2, 2);
  if (space < 0 || type.bytes != 8)
    return b.refuse("cvta[.to].<space>.u64 is expected");
  b.result(0, 8);
  b.source(1, 8);
  uint64_t window = space < 2    ? 0
                    : space < 5  ? sharedWindow
                    : space == 5 ? localWindow
                                 : paramWindow;
  b.instr.immediate = toSpace ? uint64_t(0) - window : window;
  b.instr.exec = convertAddress;
}

void decodeIsspacep(InstrBuilder &b) {
  int space = b.takeOneOf(
      {"global", "shared", "shared::cta", "local", "param", "shared::cluster"});
  b.expectOperands(2, 2);
  b.predicateResult(b.operand(0));
  b.source(1, 8);
  if (space < 0)
    return b.refuse("the address space is not supported");
  b.instr.exec = space == 0   ? isSpace<0>
                 : space < 3  ? isOwnShared
                 : space == 5 ? isSpace<sharedWindow>
                 : space == 3 ? isSpace<localWindow>
                              : isSpace<paramWindow>;
}

/// createpolicy: the simulator has no caches; the policy is a number.
void decodeCreatePolicy(InstrBuilder &b) {
  b.ignore({"fractional", "range", "global", "cvt", "L2", "b64",
            "L2::evict_last", "L2::evict_first", "L2::evict_normal",
            "L2::evict_unchanged"});
  b.result(0, 8);
  b.instr.exec = [](Warp &warp, const Instr &instr) {
    writeLanes<uint64_t>(warp, instr.slots[0], [](int) { return uint64_t(0); });
  };
}

/// Hints: they change no value and no order the checks look at.
void decodeHint(InstrBuilder &b) {
  b.ignore({"global", "local", "const", "param", "tensormap", "L1", "L2",
            "L1::evict_last", "u32", "L2::evict_last", "L2::evict_normal"});
  b.instr.exec = doNothing;
}

void trap(Warp &warp, const Instr &instr) {
  warp.block->fault(&warp, &instr, FaultKind::InvalidOperation,
                    __builtin_ctz(warp.mask), "the kernel traps here");
  warp.block->stopped = true;
}

void decodeTrap(InstrBuilder &b) {
  b.expectOperands(0, 0);
  b.instr.exec = trap;
}

void decodeGridDependency(InstrBuilder &b) {
  // Launches run one after another, so the wait is always over.
  if (b.takeOneOf({"wait", "launch_dependents"}) < 0)
    return b.refuse("the action is missing");
  b.instr.exec = doNothing;
}

//===----------------------------------------------------------------------===//
// Special registers
//===----------------------------------------------------------------------===//

template <unsigned axis> void readTid(Warp &warp, const Instr &instr) {
  const uint32_t *size = warp.block->launch->block;
  uint32_t first = warp.id * 32;
  uint32_t x = size[0], y = size[1];
  writeLanes<uint32_t>(warp, instr.slots[0], [=](int lane) {
    uint32_t thread = first + static_cast<uint32_t>(lane);
    return axis == 0 ? thread % x : axis == 1 ? thread / x % y : thread / x / y;
  });
}

template <unsigned axis> uint32_t blockSize(const Warp &warp) {
  return warp.block->launch->block[axis];
}
template <unsigned axis> uint32_t blockIndex(const Warp &warp) {
  return warp.block->index[axis];
}
template <unsigned axis> uint32_t gridSize(const Warp &warp) {
  return warp.block->launch->grid[axis];
}
uint32_t zero(const Warp &) { return 0; }
uint32_t one(const Warp &) { return 1; }
uint32_t warpIndex(const Warp &warp) { return warp.id; }
uint32_t warpTotal(const Warp &warp) {
  return static_cast<uint32_t>(warp.block->warps.size());
}
uint32_t dynamicShared(const Warp &warp) {
  return warp.block->launch->dynamicSharedBytes;
}
uint32_t totalShared(const Warp &warp) { return warp.block->sharedBytes; }
uint32_t ticks(const Warp &warp) {
  return static_cast<uint32_t>(warp.block->executed);
}
uint32_t ticksHigh(const Warp &warp) {
  return static_cast<uint32_t>(warp.block->executed >> 32);
}
void readTicks64(Warp &warp, const Instr &instr) {
  uint64_t value = warp.block->executed;
  writeLanes<uint64_t>(warp, instr.slots[0], [=](int) { return value; });
}

/// The workspace of a cooperative launch, as cooperative_groups reads it.
uint32_t workspaceHigh(const Warp &warp) {
  return static_cast<uint32_t>(warp.block->launch->workspace >> 32);
}
uint32_t workspaceLow(const Warp &warp) {
  return static_cast<uint32_t>(warp.block->launch->workspace);
}

template <int which> void readLane(Warp &warp, const Instr &instr) {
  writeLanes<uint32_t>(warp, instr.slots[0], [=](int lane) {
    uint32_t bit = 1u << lane;
    switch (which) {
    case 0:
      return static_cast<uint32_t>(lane);
    case 1:
      return bit;
    case 2:
      return bit - 1;
    case 3:
      return bit | (bit - 1);
    case 4:
      return ~(bit | (bit - 1));
    default:
      return ~(bit - 1);
    }
  });
}

} // namespace

SpecialRegister sim::findSpecialRegister(std::string_view name) {
  static const std::pair<std::string_view, SpecialRegister> table[] = {
      {"%tid.x", {readTid<0>}},
      {"%tid.y", {readTid<1>}},
      {"%tid.z", {readTid<2>}},
      {"%ntid.x", {readUniform<blockSize<0>>}},
      {"%ntid.y", {readUniform<blockSize<1>>}},
      {"%ntid.z", {readUniform<blockSize<2>>}},
      {"%ctaid.x", {readUniform<blockIndex<0>>}},
      {"%ctaid.y", {readUniform<blockIndex<1>>}},
      {"%ctaid.z", {readUniform<blockIndex<2>>}},
      {"%nctaid.x", {readUniform<gridSize<0>>}},
      {"%nctaid.y", {readUniform<gridSize<1>>}},
      {"%nctaid.z", {readUniform<gridSize<2>>}},
      {"%laneid", {readLane<0>}},
      {"%lanemask_eq", {readLane<1>}},
      {"%lanemask_lt", {readLane<2>}},
      {"%lanemask_le", {readLane<3>}},
      {"%lanemask_gt", {readLane<4>}},
      {"%lanemask_ge", {readLane<5>}},
      {"%warpid", {readUniform<warpIndex>}},
      {"%nwarpid", {readUniform<warpTotal>}},
      {"%smid", {readUniform<zero>}},
      {"%nsmid", {readUniform<one>}},
      {"%dynamic_smem_size", {readUniform<dynamicShared>}},
      {"%total_smem_size", {readUniform<totalShared>}},
      {"%envreg1", {readUniform<workspaceHigh>}},
      {"%envreg2", {readUniform<workspaceLow>}},
      {"%clock", {readUniform<ticks>}},
      {"%clock64", {readTicks64, 8}},
      {"%clock_hi", {readUniform<ticksHigh>}},
      {"%globaltimer", {readTicks64, 8}},
      {"%globaltimer_lo", {readUniform<ticks>}},
      {"%globaltimer_hi", {readUniform<ticksHigh>}},
  };
  for (const auto &[known, special] : table)
    if (known == name)
      return special;
  for (const auto &[known, special] : clusterRegisters())
    if (known == name)
      return special;
  return {};
}

std::span<const Opcode> sim::moveOpcodes() {
  constexpr InstrClass c = InstrClass::Move;
  static const Opcode table[] = {
      {"mov", c, decodeMov},
      {"cvta", c, decodeCvta},
      {"isspacep", c, decodeIsspacep},
      {"prefetch", c, decodeHint},
      {"prefetchu", c, decodeHint},
      {"applypriority", c, decodeHint},
      {"createpolicy", c, decodeCreatePolicy},
      {"nanosleep", c, decodeHint},
      {"trap", InstrClass::Control, decodeTrap},
      {"griddepcontrol", c, decodeGridDependency},
  };
  return table;
}
