//===- CarryOps.cpp - Sums of many words, products of 24 bits ------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// PTX ISA, "Extended-Precision Integer Arithmetic Instructions": .cc leaves the
// carry, of subtractions the borrow, in CC.CF, and addc, subc and madc take it
// in. Here CC.CF is a predicate register of the kernel that PTX cannot name.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/sim/CarryOps.h"

#include "runtime/device/sim/Machine.h"
#include "runtime/device/sim/Opcodes.h"

#include <type_traits>

using namespace quern;
using namespace quern::sim;

namespace {

template <typename T>
using Wide = std::conditional_t<
    sizeof(T) == 8,
    std::conditional_t<std::is_signed_v<T>, __int128, unsigned __int128>,
    std::conditional_t<std::is_signed_v<T>, int64_t, uint64_t>>;

// Instr::flags.
constexpr uint8_t readsCarry = 1, writesCarry = 2, highPart = 4;

/// slots: d, a, b, carry out or 0, carry in or 0; of mad: d, a, b, c, carry
/// out, carry in.
template <CarryOp op, typename T> void carry(Warp &warp, const Instr &instr) {
  using U = std::make_unsigned_t<T>;
  constexpr unsigned bits = sizeof(T) * 8;
  constexpr unsigned out = op == CarryOp::Mad ? 4 : 3;
  const T *a = warp.lanes<T>(instr.slots[1]);
  const T *b = warp.lanes<T>(instr.slots[2]);
  const T *c = warp.lanes<T>(instr.slots[op == CarryOp::Mad ? 3 : 2]);
  uint32_t in =
      instr.flags & readsCarry ? warp.predicate(instr.slots[out + 1]) : 0;
  uint32_t carried = 0;
  writeLanes<U>(warp, instr.slots[0], [&](int lane) {
    U left = static_cast<U>(a[lane]), right = static_cast<U>(b[lane]);
    if (op == CarryOp::Mad) {
      auto product = Wide<T>(a[lane]) * Wide<T>(b[lane]);
      left = static_cast<U>(instr.flags & highPart ? product >> bits : product);
      right = static_cast<U>(c[lane]);
    }
    using W = Wide<U>;
    W one = in >> lane & 1;
    W sum = op == CarryOp::Sub ? W(left) - W(right) - one
                               : W(left) + W(right) + one;
    carried |= static_cast<uint32_t>(sum >> bits & 1) << lane;
    return static_cast<U>(sum);
  });
  if (instr.flags & writesCarry)
    warp.setPredicate(instr.slots[out], carried);
}

template <CarryOp op> ExecFn pick(Type type) {
  if (type.bytes == 8)
    return type.isSigned() ? carry<op, int64_t> : carry<op, uint64_t>;
  return type.isSigned() ? carry<op, int32_t> : carry<op, uint32_t>;
}

template <CarryOp op> void decodeReading(InstrBuilder &b) {
  decodeCarry(b, op, true, b.take("cc"));
}

/// slots: d, a, b, and c of mad24. The product of the low 24 bits: its bits 0
/// to 31, or 16 to 47.
template <typename T, bool adds>
void product24(Warp &warp, const Instr &instr) {
  const T *a = warp.lanes<T>(instr.slots[1]);
  const T *b = warp.lanes<T>(instr.slots[2]);
  const T *c = warp.lanes<T>(instr.slots[adds ? 3 : 2]);
  auto low24 = [](T x) {
    return static_cast<Wide<T>>(static_cast<T>(static_cast<uint32_t>(x) << 8) >>
                                8);
  };
  writeLanes<uint32_t>(warp, instr.slots[0], [&](int lane) {
    auto product = low24(a[lane]) * low24(b[lane]);
    auto part =
        static_cast<uint32_t>(instr.flags & highPart ? product >> 16 : product);
    return adds ? part + static_cast<uint32_t>(c[lane]) : part;
  });
}

template <bool adds> void decode24(InstrBuilder &b) {
  int part = b.takeOneOf({"lo", "hi"});
  Type type = b.type();
  b.expectOperands(3 + adds, 3 + adds);
  b.result(0, 4);
  for (size_t i = 1; i < 3u + adds; ++i)
    b.source(i, 4);
  if (part < 0 || type.bytes != 4 || type.kind == Type::Kind::Bits)
    return b.refuse(".lo or .hi and .u32 or .s32 are expected");
  b.instr.flags = part == 1 ? highPart : 0;
  b.instr.exec =
      type.isSigned() ? product24<int32_t, adds> : product24<uint32_t, adds>;
}

} // namespace

void sim::decodeCarry(InstrBuilder &b, CarryOp op, bool reads, bool writes) {
  bool isMad = op == CarryOp::Mad;
  int part = isMad ? b.takeOneOf({"lo", "hi"}) : 0;
  // Between .lo and the type.
  if (isMad && !writes)
    writes = b.take("cc");
  Type type = b.type();
  b.expectOperands(isMad ? 4 : 3, isMad ? 4 : 3);
  b.result(0, type.bytes);
  for (size_t i = 1; i < (isMad ? 4u : 3u); ++i)
    b.source(i, type.bytes);
  if (part < 0 || type.packed || (type.bytes != 4 && type.bytes != 8))
    return b.refuse("32 or 64 bits, of mad also .lo or .hi, are expected");
  b.carryFlag(true, writes);
  b.carryFlag(false, reads);
  b.instr.flags = static_cast<uint8_t>((reads ? readsCarry : 0) |
                                       (writes ? writesCarry : 0) |
                                       (part == 1 ? highPart : 0));
  b.instr.exec = op == CarryOp::Add   ? pick<CarryOp::Add>(type)
                 : op == CarryOp::Sub ? pick<CarryOp::Sub>(type)
                                      : pick<CarryOp::Mad>(type);
}

std::span<const Opcode> sim::carryOpcodes() {
  constexpr InstrClass c = InstrClass::Integer;
  static const Opcode table[] = {
      {"addc", c, decodeReading<CarryOp::Add>},
      {"subc", c, decodeReading<CarryOp::Sub>},
      {"madc", c, decodeReading<CarryOp::Mad>},
      {"mul24", c, decode24<false>},
      {"mad24", c, decode24<true>},
  };
  return table;
}
