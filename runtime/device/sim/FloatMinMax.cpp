//===- FloatMinMax.cpp - min and max on floats ----------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// -0 is less than +0; a NaN loses unless .NaN is given. With .abs magnitudes
// are compared, and .xorsign gives the result the product of the signs.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/sim/FloatMinMax.h"

#include "runtime/device/sim/Arithmetic.h"
#include "runtime/device/sim/Machine.h"

using namespace quern;
using namespace quern::sim;

namespace {

// Instr::flags.
constexpr uint8_t flagFtz = 1;
constexpr uint8_t flagNan = 2;
constexpr uint8_t flagAbs = 4;
constexpr uint8_t flagXorSign = 8;

template <bool isMax, typename T> T extremum(T a, T b, bool nanWins) {
  if (a != a || b != b) {
    if (nanWins || (a != a && b != b))
      return canonical(static_cast<T>(NAN));
    return a != a ? b : a;
  }
  if (a == b)
    return std::signbit(a) == isMax ? b : a;
  return (a < b) == isMax ? b : a;
}

/// One result from two or three values.
template <bool isMax, typename T>
T combine(const T *values, unsigned count, uint8_t flags) {
  bool sign = false;
  T result = T(0);
  for (unsigned i = 0; i < count; ++i) {
    T value = values[i];
    sign ^= std::signbit(value);
    if (flags & flagAbs)
      value = std::fabs(value);
    result = i ? extremum<isMax>(result, value, flags & flagNan) : value;
  }
  if ((flags & flagXorSign) && result == result)
    result = sign ? -std::fabs(result) : std::fabs(result);
  return result;
}

/// slots: d, a, b, and c of the form with three operands.
template <bool isMax, typename T> void minMax(Warp &warp, const Instr &instr) {
  unsigned count = instr.slots[3] ? 3 : 2;
  const T *from[3];
  for (unsigned i = 0; i < count; ++i)
    from[i] = warp.lanes<T>(instr.slots[i + 1]);
  uint8_t flags = instr.flags;
  bool plain = count == 2 && flags <= flagNan;
  writeLanes<T>(warp, instr.slots[0], [=](int lane) {
    T values[3];
    for (unsigned i = 0; i < count; ++i) {
      values[i] = from[i][lane];
      if constexpr (std::is_same_v<T, float>)
        if (flags & flagFtz)
          values[i] = flush(values[i]);
    }
    return plain ? extremum<isMax>(values[0], values[1], flags & flagNan)
                 : combine<isMax>(values, count, flags);
  });
}

template <bool isMax, bool bfloat, typename Word>
void halfMinMax(Warp &warp, const Instr &instr) {
  const Word *a = warp.lanes<Word>(instr.slots[1]);
  const Word *b = warp.lanes<Word>(instr.slots[2]);
  uint8_t flags = instr.flags;
  writeLanes<Word>(warp, instr.slots[0], [=](int lane) {
    Word result = 0;
    for (unsigned shift = 0; shift < sizeof(Word) * 8; shift += 16) {
      auto load = [&](Word word) {
        auto bits = static_cast<uint16_t>(word >> shift);
        if ((flags & flagFtz) && !(bits & (bfloat ? 0x7f80 : 0x7c00)))
          bits &= 0x8000;
        return bfloat ? bfloatToFloat(bits) : halfToFloat(bits);
      };
      float values[2] = {load(a[lane]), load(b[lane])};
      float value = combine<isMax>(values, 2, flags);
      result = static_cast<Word>(
          result | Word(bfloat ? floatToBfloat(value) : floatToHalf(value))
                       << shift);
    }
    return result;
  });
}

template <bool isMax> ExecFn pick(Type type) {
  bool bfloat = type.kind == Type::Kind::BFloat;
  if (type.packed)
    return bfloat ? halfMinMax<isMax, true, uint32_t>
                  : halfMinMax<isMax, false, uint32_t>;
  if (type.bytes == 2)
    return bfloat ? halfMinMax<isMax, true, uint16_t>
                  : halfMinMax<isMax, false, uint16_t>;
  return type.bytes == 8 ? minMax<isMax, double> : minMax<isMax, float>;
}

} // namespace

void sim::decodeFloatMinMax(InstrBuilder &b, bool isMax) {
  uint8_t flags = 0;
  if (b.take("ftz"))
    flags |= flagFtz;
  if (b.take("NaN"))
    flags |= flagNan;
  bool xorSign = b.take("xorsign"), absolute = b.take("abs");
  if (absolute)
    flags |= flagAbs;
  if (xorSign)
    flags |= flagXorSign;
  Type type = b.type();
  bool single = type.is(Type::Kind::Float, 4);
  unsigned sources = single && b.operandCount() == 4 ? 3 : 2;
  if (absolute)
    b.requireTarget(86, ".abs");
  if (sources == 3)
    b.requireTarget(100, "three operands");
  if ((absolute && sources == 2 && !xorSign) || (xorSign && !absolute) ||
      (sources == 3 && xorSign) || (type.packed && type.bytes == 8) ||
      (flags && type.bytes == 8))
    return b.refuse("this form does not exist");
  b.expectOperands(sources + 1, sources + 1);
  b.result(0, type.bytes);
  for (unsigned i = 1; i <= sources; ++i)
    b.source(i, type.bytes);
  b.instr.flags = flags;
  b.instr.exec = isMax ? pick<true>(type) : pick<false>(type);
}
