//===- PackOps.cpp - cvt.pack ---------------------------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/sim/PackOps.h"

#include "runtime/device/sim/Machine.h"

#include <algorithm>

using namespace quern;
using namespace quern::sim;

namespace {

/// cvt.pack: two integers saturated and placed side by side, the second lowest;
/// of four and more to a word, c moves up to make room.
template <int bits, bool isSigned>
void packIntegers(Warp &warp, const Instr &instr) {
  const int32_t *a = warp.lanes<int32_t>(instr.slots[1]);
  const int32_t *b = warp.lanes<int32_t>(instr.slots[2]);
  const uint32_t *c =
      bits < 16 ? warp.lanes<uint32_t>(instr.slots[3]) : nullptr;
  constexpr int32_t least = isSigned ? -(1 << (bits - 1)) : 0;
  constexpr int32_t most = (1 << (isSigned ? bits - 1 : bits)) - 1;
  constexpr uint32_t mask = (1u << bits) - 1;
  writeLanes<uint32_t>(warp, instr.slots[0], [=](int lane) {
    auto one = [=](int32_t x) {
      return static_cast<uint32_t>(std::clamp(x, least, most)) & mask;
    };
    uint32_t pair = one(a[lane]) << bits | one(b[lane]);
    return c ? c[lane] << (2 * bits % 32) | pair : pair;
  });
}

} // namespace

void sim::decodePack(InstrBuilder &b) {
  bool saturate = b.take("sat");
  Type to = b.type(), from = b.type();
  bool bytes = to.bytes == 1;
  if (bytes)
    b.type(); // .b32, of c
  size_t operands = bytes ? 4 : 3;
  b.expectOperands(operands, operands);
  b.result(0, 4);
  for (size_t i = 1; i < operands; ++i)
    b.source(i, 4);
  if (!saturate || !from.is(Type::Kind::Signed, 4) || to.bytes > 2)
    return b.refuse(
        "cvt.pack.sat.{s16,u16}.s32 or cvt.pack.sat.{s8,u8}.s32.b32 is "
        "expected");
  if (bytes)
    b.instr.exec =
        to.isSigned() ? packIntegers<8, true> : packIntegers<8, false>;
  else
    b.instr.exec =
        to.isSigned() ? packIntegers<16, true> : packIntegers<16, false>;
}
