//===- AtomicOps.cpp - atom and red ---------------------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Lanes take effect in ascending order, which is one of the orders a device may
// choose. Values are sequentially consistent; what fences and orders promise to
// others is kept by MemoryOrder.h.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/sim/Arithmetic.h"
#include "runtime/device/sim/AsyncReduction.h"
#include "runtime/device/sim/BulkCopyOps.h"
#include "runtime/device/sim/MemoryAccess.h"
#include "runtime/device/sim/Opcodes.h"

#include <fmt/format.h>

using namespace quern;
using namespace quern::sim;

namespace {

enum class Op : uint8_t { Add, Min, Max, And, Or, Xor, Exch, Cas, Inc, Dec };

template <Op op, typename T> T combine(T old, T value, T second) {
  if constexpr (op == Op::Add) {
    if constexpr (std::is_floating_point_v<T>)
      return canonical(old + value);
    else
      return static_cast<T>(static_cast<std::make_unsigned_t<T>>(old) +
                            static_cast<std::make_unsigned_t<T>>(value));
  } else if constexpr (op == Op::Min) {
    return value < old ? value : old;
  } else if constexpr (op == Op::Max) {
    return value > old ? value : old;
  } else if constexpr (op == Op::Exch) {
    return value;
  } else if constexpr (op == Op::Cas) {
    return old == value ? second : old;
  } else if constexpr (op == Op::Inc) {
    return old >= value ? T(0) : static_cast<T>(old + 1);
  } else if constexpr (op == Op::Dec) {
    return old == 0 || old > value ? value : static_cast<T>(old - 1);
  } else if constexpr (std::is_integral_v<T>) {
    return op == Op::And  ? old & value
           : op == Op::Or ? old | value
                          : old ^ value;
  } else {
    return old;
  }
}

/// An atomic that changes nothing may be a try for a lock.
void finishAtomic(Warp &warp, const Instr &instr, bool changed, uint32_t good,
                  std::byte *const (&pointers)[32], uint32_t bytes) {
  Launch &launch = *warp.block->launch;
  if (changed)
    launch.changed();
  else if (instr.slots[0])
    launch.mayPoll(warp, instr, hashOfPlaces(good, pointers, bytes));
}

/// slots: result (0 for red), value, second value of cas.
template <Op op, typename T> void atomic(Warp &warp, const Instr &instr) {
  LaneAddresses addresses = computeAddresses(warp, instr.address);
  std::byte *pointers[32];
  uint32_t good = resolve(warp, instr, instr.space, addresses, sizeof(T),
                          sizeof(T), Access::Atomic, pointers);
  const T *value = warp.lanes<T>(instr.slots[1]);
  const T *second = warp.lanes<T>(instr.slots[2]);
  T *result = instr.slots[0] ? warp.lanes<T>(instr.slots[0]) : nullptr;
  bool changed = false;
  // Sums of f32 flush subnormals in global memory, not in shared memory.
  auto isGlobal = [&](int lane) {
    return instr.space == AddressSpace::Global ||
           (instr.space == AddressSpace::Generic &&
            addresses.value[lane] - sharedWindow >= windowBytes);
  };
  forActiveLanes(good, [&](int lane) {
    T old;
    std::memcpy(&old, pointers[lane], sizeof(T));
    T updated;
    if constexpr (op == Op::Add && std::is_same_v<T, float>) {
      bool flushes = isGlobal(lane);
      auto load = [&](float x) { return flushes ? flush(x) : x; };
      updated = load(combine<op, T>(load(old), load(value[lane]), T(0)));
    } else {
      updated = combine<op, T>(old, value[lane], second[lane]);
    }
    changed |= std::memcmp(&updated, &old, sizeof(T)) != 0;
    std::memcpy(pointers[lane], &updated, sizeof(T));
    if (result)
      result[lane] = old;
  });
  finishAtomic(warp, instr, changed, good, pointers, sizeof(T));
}

template <typename Word, bool bfloat>
void atomicAddHalf(Warp &warp, const Instr &instr) {
  LaneAddresses addresses = computeAddresses(warp, instr.address);
  std::byte *pointers[32];
  uint32_t good = resolve(warp, instr, instr.space, addresses, sizeof(Word),
                          sizeof(Word), Access::Atomic, pointers);
  const Word *value = warp.lanes<Word>(instr.slots[1]);
  Word *result = instr.slots[0] ? warp.lanes<Word>(instr.slots[0]) : nullptr;
  const Format &format = bfloat ? formatBF16 : formatF16;
  forActiveLanes(good, [&](int lane) {
    Word old, updated = 0;
    std::memcpy(&old, pointers[lane], sizeof(Word));
    for (unsigned shift = 0; shift < sizeof(Word) * 8; shift += 16)
      updated = static_cast<Word>(
          updated |
          Word(encode(addOdd(decode(old >> shift & 0xffff, format),
                             decode(value[lane] >> shift & 0xffff, format)),
                      format))
              << shift);
    std::memcpy(pointers[lane], &updated, sizeof(Word));
    if (result)
      result[lane] = old;
  });
  finishAtomic(warp, instr, true, good, pointers, sizeof(Word));
}

/// Vectors, and minima and maxima of 16-bit floats: one element after the
/// other, each of them atomic. `immediate`: the ReduceFn; vector: results (for
/// atom), then values; `flags`: it is an atom; `bytes`: of an element.
template <typename R> void atomicVector(Warp &warp, const Instr &instr) {
  LaneAddresses addresses = computeAddresses(warp, instr.address);
  unsigned count = instr.flags ? instr.vectorCount / 2u : instr.vectorCount;
  uint32_t bytes = count * instr.bytes;
  std::byte *pointers[32];
  uint32_t good = resolve(warp, instr, instr.space, addresses, bytes, bytes,
                          Access::Atomic, pointers);
  const uint32_t *slots = &warp.block->kernel->slotPool[instr.vectorBegin];
  const uint32_t *values = instr.flags ? slots + count : slots;
  auto reduce = reinterpret_cast<ReduceFn>(instr.immediate);
  forActiveLanes(good, [&](int lane) {
    for (unsigned i = 0; i < count; ++i) {
      std::byte *at = pointers[lane] + i * instr.bytes;
      R value = warp.lanes<R>(values[i])[lane];
      if (instr.flags && slots[i])
        std::memcpy(&warp.lanes<R>(slots[i])[lane], at, sizeof(R));
      reduce(at, reinterpret_cast<const std::byte *>(&value), sizeof(R));
    }
  });
  finishAtomic(warp, instr, true, good, pointers, bytes);
}

void decodeVector(InstrBuilder &b, bool hasResult, Op op, Type type,
                  unsigned count, bool policy) {
  b.requireTarget(90, "vectors and 16-bit minima and maxima of atomics");
  Type element = type;
  if (type.packed) {
    element.packed = false;
    element.bytes = 2;
  }
  ReduceFn reduce = op == Op::Add   ? findReduce(ReduceOp::Add, element)
                    : op == Op::Min ? findReduce(ReduceOp::Min, element)
                    : op == Op::Max ? findReduce(ReduceOp::Max, element)
                                    : nullptr;
  bool exists = reduce && !type.isInteger() && type.bytes <= 4 &&
                count * type.bytes <= 16;
  if (!exists || (count > 1 && b.instr.space != AddressSpace::Global))
    return b.refuse("this vector of atomics does not exist");
  size_t at = hasResult ? 1 : 0;
  b.expectOperands(at + 2 + policy, at + 2 + policy);
  if (b.failed())
    return;
  b.instr.address = b.address(at);
  for (size_t index : {size_t(0), at + 1}) {
    if (!hasResult && index == 0)
      continue;
    std::vector<const ptx::Operand *> list = b.elements(index);
    if (list.size() != count)
      return b.refuse(
          fmt::format("{} elements; {} are expected", list.size(), count));
    for (const ptx::Operand *part : list)
      b.addToVector(index == 0 && hasResult ? b.result(*part, type.bytes)
                                            : b.source(*part, type.bytes));
  }
  if (policy)
    b.source(at + 2, 8);
  b.instr.flags = hasResult;
  b.instr.bytes = type.bytes;
  b.instr.immediate = reinterpret_cast<uint64_t>(reduce);
  b.instr.undefRule = UndefRule::Require;
  b.instr.exec =
      type.bytes == 2 ? atomicVector<uint16_t> : atomicVector<uint32_t>;
}

template <typename T> ExecFn pickInteger(Op op) {
  switch (op) {
  case Op::Add:
    return atomic<Op::Add, T>;
  case Op::Min:
    return atomic<Op::Min, T>;
  case Op::Max:
    return atomic<Op::Max, T>;
  case Op::And:
    return atomic<Op::And, T>;
  case Op::Or:
    return atomic<Op::Or, T>;
  case Op::Xor:
    return atomic<Op::Xor, T>;
  case Op::Exch:
    return atomic<Op::Exch, T>;
  case Op::Cas:
    return atomic<Op::Cas, T>;
  case Op::Inc:
    return atomic<Op::Inc, T>;
  case Op::Dec:
    return atomic<Op::Dec, T>;
  }
  return nullptr;
}

void decodeAtomic(InstrBuilder &b, bool hasResult) {
  int order = b.takeOneOf({"relaxed", "acquire", "release", "acq_rel"});
  int scope = b.takeOneOf({"cta", "cluster", "gpu", "sys"});
  // Without qualifiers: .relaxed.gpu (PTX ISA, atom).
  b.instr.order =
      order < 0 ? Order::Relaxed
                : static_cast<Order>(static_cast<int>(Order::Relaxed) + order);
  b.instr.scope = scope < 0 ? Scope::Gpu : static_cast<Scope>(scope);
  int space =
      b.takeOneOf({"global", "shared", "shared::cta", "shared::cluster"});
  int op = b.takeOneOf(
      {"add", "min", "max", "and", "or", "xor", "exch", "cas", "inc", "dec"});
  b.take("noftz");
  bool policy = b.take("L2::cache_hint");
  if (op < 0)
    return b.refuse("the operation is missing");
  Type type = b.type();
  b.instr.space = space < 0    ? AddressSpace::Generic
                  : space == 0 ? AddressSpace::Global
                  : space == 3 ? AddressSpace::SharedCluster
                               : AddressSpace::Shared;
  int vector = b.takeOneOf({"v2", "v4", "v8"});
  bool halves = !type.isInteger() && (type.bytes == 2 || type.packed);
  if (vector >= 0 || (halves && op != static_cast<int>(Op::Add)))
    return decodeVector(b, hasResult, static_cast<Op>(op), type,
                        vector < 0 ? 1 : 2u << vector, policy);
  size_t at = hasResult ? 1 : 0;
  bool isCas = op == static_cast<int>(Op::Cas);
  b.expectOperands(at + 2 + isCas + policy, at + 2 + isCas + policy);
  if (b.failed())
    return;
  uint32_t resultSlot = 0;
  if (hasResult) {
    resultSlot = b.result(0, type.bytes);
  } else {
    ptx::Operand none;
    none.name = "_";
    b.result(none, type.bytes);
  }
  b.instr.address = b.address(at);
  b.source(at + 1, type.bytes);
  if (isCas)
    b.source(at + 2, type.bytes);
  uint32_t second = isCas ? b.instr.slots[2] : 0;
  if (policy)
    b.source(at + 2 + isCas, 8);
  b.instr.slots[0] = resultSlot;
  b.instr.slots[2] = second;
  b.instr.undefRule = UndefRule::Require;
  Op how = static_cast<Op>(op);
  bool bfloat = type.kind == Type::Kind::BFloat;
  if (type.bytes == 2 && !type.isInteger()) {
    if (how == Op::Add)
      b.instr.exec = bfloat ? atomicAddHalf<uint16_t, true>
                            : atomicAddHalf<uint16_t, false>;
  } else if (type.packed) {
    if (how == Op::Add)
      b.instr.exec = bfloat ? atomicAddHalf<uint32_t, true>
                            : atomicAddHalf<uint32_t, false>;
  } else if (type.kind == Type::Kind::Float) {
    if (how == Op::Add)
      b.instr.exec =
          type.bytes == 8 ? atomic<Op::Add, double> : atomic<Op::Add, float>;
  } else if (type.bytes == 8) {
    b.instr.exec = type.isSigned() ? pickInteger<int64_t>(how)
                                   : pickInteger<uint64_t>(how);
  } else if (type.bytes == 4) {
    b.instr.exec = type.isSigned() ? pickInteger<int32_t>(how)
                                   : pickInteger<uint32_t>(how);
  } else if (type.bytes == 2 && how == Op::Cas) {
    b.instr.exec = atomic<Op::Cas, uint16_t>;
  }
}

void decodeAtom(InstrBuilder &b) { decodeAtomic(b, true); }
void decodeRed(InstrBuilder &b) {
  if (b.take("async"))
    return decodeReduceAsync(b);
  decodeAtomic(b, false);
}

} // namespace

std::span<const Opcode> sim::atomicOpcodes() {
  constexpr InstrClass c = InstrClass::Atomic;
  static const Opcode table[] = {
      {"atom", c, decodeAtom},
      {"red", c, decodeRed},
  };
  return table;
}
