//===- CompareOps.cpp - Comparisons and selections ------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/sim/Arithmetic.h"
#include "runtime/device/sim/Machine.h"
#include "runtime/device/sim/Opcodes.h"

using namespace quern;
using namespace quern::sim;

namespace {

enum class Compare : uint8_t {
  Eq,
  Ne,
  Lt,
  Le,
  Gt,
  Ge,
  // Floats only: true also if an operand is NaN.
  Equ,
  Neu,
  Ltu,
  Leu,
  Gtu,
  Geu,
  Num,
  Nan,
};

template <Compare how, typename T> bool compare(T a, T b) {
  bool unordered = a != a || b != b;
  switch (how) {
  case Compare::Eq:
    return a == b;
  case Compare::Ne:
    return a != b && !unordered;
  case Compare::Lt:
    return a < b;
  case Compare::Le:
    return a <= b;
  case Compare::Gt:
    return a > b;
  case Compare::Ge:
    return a >= b;
  case Compare::Equ:
    return a == b || unordered;
  case Compare::Neu:
    return a != b || unordered;
  case Compare::Ltu:
    return a < b || unordered;
  case Compare::Leu:
    return a <= b || unordered;
  case Compare::Gtu:
    return a > b || unordered;
  case Compare::Geu:
    return a >= b || unordered;
  case Compare::Num:
    return !unordered;
  case Compare::Nan:
    return unordered;
  }
  return false;
}

/// Loads a lane as the type to compare in; halves become floats.
template <typename T> struct Plain {
  using Storage = T;
  static T load(T value) { return value; }
};
struct FlushedFloat {
  using Storage = float;
  static float load(float value) { return flush(value); }
};
struct HalfFloat {
  using Storage = uint16_t;
  static float load(uint16_t value) { return halfToFloat(value); }
};
struct BrainFloat {
  using Storage = uint16_t;
  static float load(uint16_t value) { return bfloatToFloat(value); }
};

/// Bits 0-1 of `flags`: combine with a third predicate by nothing, and, or,
/// xor; bit 2 negates it.
uint32_t combine(Warp &warp, const Instr &instr, uint32_t bits, uint32_t slot) {
  unsigned how = instr.flags & 3;
  if (how == 0)
    return bits;
  uint32_t other = warp.predicate(slot);
  if (instr.flags & 4)
    other = ~other;
  return how == 1 ? bits & other : how == 2 ? bits | other : bits ^ other;
}

template <typename Load, Compare how>
uint32_t compareLanes(Warp &warp, const Instr &instr) {
  using T = typename Load::Storage;
  const T *a = warp.lanes<T>(instr.slots[2]);
  const T *b = warp.lanes<T>(instr.slots[3]);
  uint32_t bits = 0;
  for (int lane = 0; lane < 32; ++lane)
    bits |= uint32_t(compare<how>(Load::load(a[lane]), Load::load(b[lane])))
            << lane;
  return bits;
}

/// slots: p, q (the complement), a, b, c.
template <typename Load, Compare how>
void setp(Warp &warp, const Instr &instr) {
  uint32_t bits = compareLanes<Load, how>(warp, instr);
  uint32_t first = combine(warp, instr, bits, instr.slots[4]);
  uint32_t second = combine(warp, instr, ~bits, instr.slots[4]);
  if (instr.slots[0])
    warp.setPredicate(instr.slots[0], first);
  if (instr.slots[1])
    warp.setPredicate(instr.slots[1], second);
}

/// set: all ones, or 1.0f when bit 3 of `flags` is set.
template <typename Load, Compare how> void set(Warp &warp, const Instr &instr) {
  uint32_t bits = combine(warp, instr, compareLanes<Load, how>(warp, instr),
                          instr.slots[4]);
  uint32_t yes = instr.flags & 8 ? 0x3f800000u : ~0u;
  writeLanes<uint32_t>(warp, instr.slots[0],
                       [=](int lane) { return (bits >> lane & 1) ? yes : 0u; });
}

template <typename Load> bool compareBy(Compare how, uint16_t a, uint16_t b) {
  float x = Load::load(a), y = Load::load(b);
  bool unordered = x != x || y != y;
  bool less = x < y, equal = x == y;
  bool truths[] = {equal, !equal && !unordered, less, less || equal, x > y,
                   x >= y};
  if (how >= Compare::Num)
    return unordered == (how == Compare::Nan);
  size_t plain = static_cast<size_t>(how) % 6;
  return truths[plain] || (how >= Compare::Equ && unordered);
}

/// Both halves of packed operands: bits of the lanes.
template <typename Load>
void compareHalves(Warp &warp, const Instr &instr, uint32_t (&bits)[2]) {
  const uint32_t *a = warp.lanes<uint32_t>(instr.slots[2]);
  const uint32_t *b = warp.lanes<uint32_t>(instr.slots[3]);
  auto how = static_cast<Compare>(instr.immediate);
  for (unsigned half = 0; half < 2; ++half) {
    uint32_t found = 0;
    for (int lane = 0; lane < 32; ++lane)
      found |= uint32_t(compareBy<Load>(
                   how, static_cast<uint16_t>(a[lane] >> half * 16),
                   static_cast<uint16_t>(b[lane] >> half * 16)))
               << lane;
    bits[half] = combine(warp, instr, found, instr.slots[4]);
  }
}

/// slots: p of the low half, q of the high one, a, b, c.
template <typename Load> void setpHalves(Warp &warp, const Instr &instr) {
  uint32_t bits[2];
  compareHalves<Load>(warp, instr, bits);
  for (unsigned half = 0; half < 2; ++half)
    if (instr.slots[half])
      warp.setPredicate(instr.slots[half], bits[half]);
}

/// set: in each half all ones, or 1.0 when bit 3 of `flags` is set.
template <typename Load> void setHalves(Warp &warp, const Instr &instr) {
  uint32_t bits[2];
  compareHalves<Load>(warp, instr, bits);
  uint32_t one = std::is_same_v<Load, BrainFloat> ? 0x3f80 : 0x3c00;
  uint32_t yes = instr.flags & 8 ? one : 0xffff;
  writeLanes<uint32_t>(warp, instr.slots[0], [&](int lane) {
    return (bits[0] >> lane & 1 ? yes : 0) |
           (bits[1] >> lane & 1 ? yes << 16 : 0);
  });
}

template <typename T> void select(Warp &warp, const Instr &instr) {
  const T *a = warp.lanes<T>(instr.slots[1]);
  const T *b = warp.lanes<T>(instr.slots[2]);
  uint32_t p = warp.predicate(instr.slots[3]);
  p = instr.flags ? ~p : p;
  writeLanes<T>(warp, instr.slots[0],
                [=](int lane) { return (p >> lane & 1) ? a[lane] : b[lane]; });
}

/// slct: a where c >= 0, else b.
template <typename T, typename C>
void selectBySign(Warp &warp, const Instr &instr) {
  const T *a = warp.lanes<T>(instr.slots[1]);
  const T *b = warp.lanes<T>(instr.slots[2]);
  const C *c = warp.lanes<C>(instr.slots[3]);
  writeLanes<T>(warp, instr.slots[0],
                [=](int lane) { return c[lane] >= 0 ? a[lane] : b[lane]; });
}

/// The execution function for a comparison, in one of the two forms.
template <bool toPredicate, typename Load> ExecFn pick(Compare how) {
#define QUERN_SIM_COMPARE(NAME)                                                \
  case Compare::NAME:                                                          \
    return toPredicate ? setp<Load, Compare::NAME> : set<Load, Compare::NAME>;
  switch (how) {
    QUERN_SIM_COMPARE(Eq)
    QUERN_SIM_COMPARE(Ne)
    QUERN_SIM_COMPARE(Lt)
    QUERN_SIM_COMPARE(Le)
    QUERN_SIM_COMPARE(Gt)
    QUERN_SIM_COMPARE(Ge)
    QUERN_SIM_COMPARE(Equ)
    QUERN_SIM_COMPARE(Neu)
    QUERN_SIM_COMPARE(Ltu)
    QUERN_SIM_COMPARE(Leu)
    QUERN_SIM_COMPARE(Gtu)
    QUERN_SIM_COMPARE(Geu)
    QUERN_SIM_COMPARE(Num)
    QUERN_SIM_COMPARE(Nan)
  }
#undef QUERN_SIM_COMPARE
  return nullptr;
}

template <bool toPredicate> ExecFn pickTyped(Type type, Compare how, bool ftz) {
  if (type.kind == Type::Kind::Float) {
    if (type.bytes == 2)
      return pick<toPredicate, HalfFloat>(how);
    if (type.bytes == 8)
      return pick<toPredicate, Plain<double>>(how);
    return ftz ? pick<toPredicate, FlushedFloat>(how)
               : pick<toPredicate, Plain<float>>(how);
  }
  if (type.kind == Type::Kind::BFloat)
    return pick<toPredicate, BrainFloat>(how);
  if (how > Compare::Ge)
    return nullptr;
  if (type.isSigned())
    return type.bytes == 8   ? pick<toPredicate, Plain<int64_t>>(how)
           : type.bytes == 4 ? pick<toPredicate, Plain<int32_t>>(how)
                             : pick<toPredicate, Plain<int16_t>>(how);
  return type.bytes == 8   ? pick<toPredicate, Plain<uint64_t>>(how)
         : type.bytes == 4 ? pick<toPredicate, Plain<uint32_t>>(how)
                           : pick<toPredicate, Plain<uint16_t>>(how);
}

template <bool toPredicate> void decodeCompare(InstrBuilder &b) {
  int how = b.takeOneOf({"eq", "ne", "lt", "le", "gt", "ge", "equ", "neu",
                         "ltu", "leu", "gtu", "geu", "num", "nan"});
  if (how < 0) {
    // Unsigned spellings.
    int unsignedHow = b.takeOneOf({"lo", "ls", "hi", "hs"});
    if (unsignedHow < 0)
      return b.refuse("the comparison is missing");
    how = unsignedHow + 2;
  }
  int combination = b.takeOneOf({"and", "or", "xor"});
  bool ftz = b.take("ftz");
  Type resultType;
  if (!toPredicate)
    resultType = b.type();
  Type type = b.type();
  bool halves = type.packed && type.bytes == 4 && !type.isInteger();
  if ((type.packed && !halves) || type.bytes < 2)
    return b.refuse("the type is not supported");
  b.expectOperands(combination < 0 ? 3 : 4, combination < 0 ? 3 : 4);
  b.instr.flags = static_cast<uint8_t>(combination + 1);
  if (toPredicate) {
    const ptx::Operand &result = b.operand(0);
    if (result.kind == ptx::Operand::Kind::Pair) {
      b.predicateResult(result.elements[0]);
      b.predicateResult(result.elements[1]);
    } else {
      uint32_t slot = b.predicateResult(result);
      // The complement goes nowhere.
      ptx::Operand none;
      none.name = "_";
      b.predicateResult(none);
      b.instr.slots[0] = slot;
    }
  } else {
    bool fits = resultType.packed ? halves && resultType.kind == type.kind
                                  : !halves || resultType.isInteger();
    if (resultType.bytes != 4 || !fits)
      return b.refuse("the result must be 32 bits wide, for packed operands of "
                      "their own type or an integer");
    b.result(0, 4);
    ptx::Operand none;
    none.name = "_";
    b.predicateResult(none);
    if (!resultType.isInteger())
      b.instr.flags |= 8;
  }
  b.source(1, type.bytes);
  b.source(2, type.bytes);
  if (combination >= 0) {
    bool negated = false;
    b.predicateSource(b.operand(3), negated);
    if (negated)
      b.instr.flags |= 4;
  }
  if (!halves) {
    b.instr.exec = pickTyped<toPredicate>(type, static_cast<Compare>(how), ftz);
    return;
  }
  if (ftz && type.kind == Type::Kind::Float)
    return b.refuse(".ftz of packed comparisons is not supported");
  b.instr.immediate = static_cast<uint64_t>(how);
  bool bfloat = type.kind == Type::Kind::BFloat;
  if (toPredicate)
    b.instr.exec = bfloat ? setpHalves<BrainFloat> : setpHalves<HalfFloat>;
  else
    b.instr.exec = bfloat ? setHalves<BrainFloat> : setHalves<HalfFloat>;
}

void decodeSelp(InstrBuilder &b) {
  Type type = b.type();
  b.expectOperands(4, 4);
  b.result(0, type.bytes);
  b.source(1, type.bytes);
  b.source(2, type.bytes);
  bool negated = false;
  b.predicateSource(b.operand(3), negated);
  b.instr.flags = negated;
  b.instr.undefRule = negated ? UndefRule::Propagate : UndefRule::Select;
  b.instr.exec = type.bytes == 8   ? select<uint64_t>
                 : type.bytes == 4 ? select<uint32_t>
                                   : select<uint16_t>;
}

void decodeSlct(InstrBuilder &b) {
  b.take("ftz");
  Type type = b.type(), sign = b.type();
  b.expectOperands(4, 4);
  b.result(0, type.bytes);
  b.source(1, type.bytes);
  b.source(2, type.bytes);
  b.source(3, 4);
  if (sign.bytes != 4 || type.bytes < 4)
    return b.refuse("the types are not supported");
  bool isFloat = sign.kind == Type::Kind::Float;
  if (type.bytes == 8)
    b.instr.exec = isFloat ? selectBySign<uint64_t, float>
                           : selectBySign<uint64_t, int32_t>;
  else
    b.instr.exec = isFloat ? selectBySign<uint32_t, float>
                           : selectBySign<uint32_t, int32_t>;
}

} // namespace

std::span<const Opcode> sim::compareOpcodes() {
  static const Opcode table[] = {
      {"setp", InstrClass::Integer, decodeCompare<true>},
      {"set", InstrClass::Integer, decodeCompare<false>},
      {"selp", InstrClass::Move, decodeSelp},
      {"slct", InstrClass::Move, decodeSlct},
  };
  return table;
}
