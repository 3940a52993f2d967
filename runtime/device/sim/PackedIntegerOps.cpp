//===- PackedIntegerOps.cpp - Pairs of 16-bit integers, .relu -------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/sim/PackedIntegerOps.h"

#include "runtime/device/sim/Machine.h"

#include <algorithm>

using namespace quern;
using namespace quern::sim;

namespace {

template <PackedOp op, typename T> T combine(T a, T b, bool relu) {
  if constexpr (op == PackedOp::Add)
    return static_cast<T>(a + b);
  T result = op == PackedOp::Min ? std::min(a, b) : std::max(a, b);
  return relu ? std::max(result, T(0)) : result;
}

/// `flags`: .relu.
template <PackedOp op, typename T> void pair(Warp &warp, const Instr &instr) {
  const uint32_t *a = warp.lanes<uint32_t>(instr.slots[1]);
  const uint32_t *b = warp.lanes<uint32_t>(instr.slots[2]);
  bool relu = instr.flags;
  writeLanes<uint32_t>(warp, instr.slots[0], [=](int lane) {
    uint32_t result = 0;
    for (unsigned shift = 0; shift < 32; shift += 16) {
      T part = combine<op, T>(static_cast<T>(a[lane] >> shift),
                              static_cast<T>(b[lane] >> shift), relu);
      result |= uint32_t(static_cast<uint16_t>(part)) << shift;
    }
    return result;
  });
}

template <PackedOp op> void single(Warp &warp, const Instr &instr) {
  const int32_t *a = warp.lanes<int32_t>(instr.slots[1]);
  const int32_t *b = warp.lanes<int32_t>(instr.slots[2]);
  writeLanes<int32_t>(warp, instr.slots[0], [=](int lane) {
    return combine<op, int32_t>(a[lane], b[lane], true);
  });
}

template <PackedOp op> ExecFn pairExec(bool isSigned) {
  return isSigned ? pair<op, int16_t> : pair<op, uint16_t>;
}

} // namespace

bool sim::decodePackedInteger(InstrBuilder &b, PackedOp op) {
  bool packed = !b.firstOf({"s16x2", "u16x2"}).empty();
  bool relu = op != PackedOp::Add && b.take("relu");
  if (!packed && !relu)
    return false;
  b.requireTarget(90, packed ? "pairs of 16-bit integers" : ".relu");
  Type type = b.type();
  b.expectOperands(3, 3);
  b.result(0, 4);
  b.source(1, 4);
  b.source(2, 4);
  b.instr.flags = relu;
  if (relu && !type.isSigned()) {
    b.refuse(".relu needs .s16x2 or .s32");
  } else if (packed) {
    b.instr.exec =
        op == PackedOp::Add   ? pairExec<PackedOp::Add>(type.isSigned())
        : op == PackedOp::Min ? pairExec<PackedOp::Min>(type.isSigned())
                              : pairExec<PackedOp::Max>(type.isSigned());
  } else if (type.is(Type::Kind::Signed, 4)) {
    b.instr.exec =
        op == PackedOp::Min ? single<PackedOp::Min> : single<PackedOp::Max>;
  }
  return true;
}
