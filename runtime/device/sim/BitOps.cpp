//===- BitOps.cpp - Logic, shifts and bit fields --------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/sim/Machine.h"
#include "runtime/device/sim/Opcodes.h"

#include <algorithm>
#include <bit>

using namespace quern;
using namespace quern::sim;

namespace {

struct And {
  template <typename T> static T apply(T a, T b) { return a & b; }
};
struct Or {
  template <typename T> static T apply(T a, T b) { return a | b; }
};
struct Xor {
  template <typename T> static T apply(T a, T b) { return a ^ b; }
};

template <typename Op, typename T> void logic(Warp &warp, const Instr &instr) {
  const T *a = warp.lanes<T>(instr.slots[1]);
  const T *b = warp.lanes<T>(instr.slots[2]);
  writeLanes<T>(warp, instr.slots[0], [=](int lane) {
    return static_cast<T>(Op::template apply<T>(a[lane], b[lane]));
  });
}

/// Predicates; bit 0 and 1 of `flags` negate the operands.
template <typename Op> void predicateLogic(Warp &warp, const Instr &instr) {
  uint32_t a = warp.predicate(instr.slots[1]);
  uint32_t b = warp.predicate(instr.slots[2]);
  a = instr.flags & 1 ? ~a : a;
  b = instr.flags & 2 ? ~b : b;
  warp.setPredicate(instr.slots[0], Op::template apply<uint32_t>(a, b));
}

void predicateNot(Warp &warp, const Instr &instr) {
  warp.setPredicate(instr.slots[0], ~warp.predicate(instr.slots[1]));
}

template <typename T> void bitNot(Warp &warp, const Instr &instr) {
  const T *a = warp.lanes<T>(instr.slots[1]);
  writeLanes<T>(warp, instr.slots[0],
                [=](int lane) { return static_cast<T>(~a[lane]); });
}

/// Logical not: 1 where the source is 0.
template <typename T> void cnot(Warp &warp, const Instr &instr) {
  const T *a = warp.lanes<T>(instr.slots[1]);
  writeLanes<T>(warp, instr.slots[0],
                [=](int lane) { return static_cast<T>(a[lane] == 0); });
}

// Shift amounts beyond the width give 0, or the sign for arithmetic shifts.
template <typename T> void shiftLeft(Warp &warp, const Instr &instr) {
  const T *a = warp.lanes<T>(instr.slots[1]);
  const uint32_t *b = warp.lanes<uint32_t>(instr.slots[2]);
  writeLanes<T>(warp, instr.slots[0], [=](int lane) {
    uint32_t by = b[lane];
    return by >= sizeof(T) * 8 ? T(0) : static_cast<T>(a[lane] << by);
  });
}

template <typename T> void shiftRight(Warp &warp, const Instr &instr) {
  const T *a = warp.lanes<T>(instr.slots[1]);
  const uint32_t *b = warp.lanes<uint32_t>(instr.slots[2]);
  constexpr uint32_t width = sizeof(T) * 8;
  writeLanes<T>(warp, instr.slots[0], [=](int lane) {
    uint32_t by = b[lane];
    if (by >= width)
      return static_cast<T>(a[lane] < 0 ? -1 : 0);
    return static_cast<T>(a[lane] >> by);
  });
}

/// The funnel shift of b:a; `flags` bit 0 right, bit 1 clamp.
void funnelShift(Warp &warp, const Instr &instr) {
  const uint32_t *a = warp.lanes<uint32_t>(instr.slots[1]);
  const uint32_t *b = warp.lanes<uint32_t>(instr.slots[2]);
  const uint32_t *c = warp.lanes<uint32_t>(instr.slots[3]);
  bool right = instr.flags & 1, clamp = instr.flags & 2;
  writeLanes<uint32_t>(warp, instr.slots[0], [=](int lane) {
    uint32_t by = clamp ? std::min(c[lane], 32u) : c[lane] & 31;
    uint64_t both = uint64_t(b[lane]) << 32 | a[lane];
    return static_cast<uint32_t>(right ? both >> by : (both << by) >> 32);
  });
}

/// Any function of three bits; the table is indexed by a:b:c.
void lop3(Warp &warp, const Instr &instr) {
  const uint32_t *a = warp.lanes<uint32_t>(instr.slots[1]);
  const uint32_t *b = warp.lanes<uint32_t>(instr.slots[2]);
  const uint32_t *c = warp.lanes<uint32_t>(instr.slots[3]);
  uint32_t table = static_cast<uint32_t>(instr.immediate);
  writeLanes<uint32_t>(warp, instr.slots[0], [=](int lane) {
    uint32_t result = 0;
    for (int i = 0; i < 8; ++i) {
      uint32_t row = (i & 4 ? a[lane] : ~a[lane]) &
                     (i & 2 ? b[lane] : ~b[lane]) &
                     (i & 1 ? c[lane] : ~c[lane]);
      result |= (table >> i & 1) ? row : 0;
    }
    return result;
  });
}

template <typename T> void extractField(Warp &warp, const Instr &instr) {
  using U = std::make_unsigned_t<T>;
  constexpr uint32_t width = sizeof(T) * 8;
  const T *a = warp.lanes<T>(instr.slots[1]);
  const uint32_t *b = warp.lanes<uint32_t>(instr.slots[2]);
  const uint32_t *c = warp.lanes<uint32_t>(instr.slots[3]);
  writeLanes<T>(warp, instr.slots[0], [=](int lane) {
    uint32_t at = b[lane] & 255, length = c[lane] & 255;
    if (length == 0)
      return T(0);
    // Bits beyond the top are copies of the top bit (signed) or zero.
    U value = at >= width ? static_cast<U>(a[lane] < 0 ? -1 : 0)
                          : static_cast<U>(a[lane] >> at);
    if (length >= width)
      return static_cast<T>(value);
    U mask = (U(1) << length) - 1;
    U field = value & mask;
    if constexpr (std::is_signed_v<T>) {
      // The sign is the field's top bit, or the register's if that is beyond.
      uint32_t top = std::min(at + length - 1, width - 1);
      if (static_cast<U>(a[lane]) >> top & 1)
        field |= ~mask;
    }
    return static_cast<T>(field);
  });
}

template <typename T> void insertField(Warp &warp, const Instr &instr) {
  constexpr uint32_t width = sizeof(T) * 8;
  const T *a = warp.lanes<T>(instr.slots[1]);
  const T *b = warp.lanes<T>(instr.slots[2]);
  const uint32_t *c = warp.lanes<uint32_t>(instr.slots[3]);
  const uint32_t *d = warp.lanes<uint32_t>(instr.slots[4]);
  writeLanes<T>(warp, instr.slots[0], [=](int lane) {
    uint32_t at = c[lane] & 255, length = d[lane] & 255;
    if (at >= width || length == 0)
      return b[lane];
    T mask = length >= width ? static_cast<T>(~T(0))
                             : static_cast<T>((T(1) << length) - 1);
    mask = static_cast<T>(mask << at);
    return static_cast<T>((b[lane] & ~mask) |
                          (static_cast<T>(a[lane] << at) & mask));
  });
}

/// Picks bytes out of b:a; bit 3 of a selector spreads the byte's sign.
void permuteBytes(Warp &warp, const Instr &instr) {
  const uint32_t *a = warp.lanes<uint32_t>(instr.slots[1]);
  const uint32_t *b = warp.lanes<uint32_t>(instr.slots[2]);
  const uint32_t *c = warp.lanes<uint32_t>(instr.slots[3]);
  unsigned mode = instr.flags;
  writeLanes<uint32_t>(warp, instr.slots[0], [=](int lane) {
    uint64_t both = uint64_t(b[lane]) << 32 | a[lane];
    uint32_t result = 0;
    for (unsigned i = 0; i < 4; ++i) {
      unsigned selector = permuteSelector(mode, c[lane], i);
      uint32_t byte = both >> ((selector & 7) * 8) & 255;
      if (selector & 8)
        byte = byte & 128 ? 255 : 0;
      result |= byte << (8 * i);
    }
    return result;
  });
}

template <typename T> void popc(Warp &warp, const Instr &instr) {
  const T *a = warp.lanes<T>(instr.slots[1]);
  writeLanes<uint32_t>(warp, instr.slots[0], [=](int lane) {
    return static_cast<uint32_t>(std::popcount(a[lane]));
  });
}
template <typename T> void clz(Warp &warp, const Instr &instr) {
  const T *a = warp.lanes<T>(instr.slots[1]);
  writeLanes<uint32_t>(warp, instr.slots[0], [=](int lane) {
    return static_cast<uint32_t>(std::countl_zero(a[lane]));
  });
}
template <typename T> void bitReverse(Warp &warp, const Instr &instr) {
  const T *a = warp.lanes<T>(instr.slots[1]);
  writeLanes<T>(warp, instr.slots[0], [=](int lane) {
    T result = 0;
    for (unsigned i = 0; i < sizeof(T) * 8; ++i)
      result |= (a[lane] >> i & 1) << (sizeof(T) * 8 - 1 - i);
    return result;
  });
}
/// Position of the most significant bit that is not a copy of the sign.
template <typename T, bool shiftAmount>
void findHighest(Warp &warp, const Instr &instr) {
  using U = std::make_unsigned_t<T>;
  const T *a = warp.lanes<T>(instr.slots[1]);
  writeLanes<uint32_t>(warp, instr.slots[0], [=](int lane) {
    U value = static_cast<U>(a[lane] < 0 ? ~a[lane] : a[lane]);
    if (value == 0)
      return ~uint32_t(0);
    uint32_t leading = static_cast<uint32_t>(std::countl_zero(value));
    return shiftAmount ? leading
                       : static_cast<uint32_t>(sizeof(T) * 8 - 1) - leading;
  });
}
void fieldMask(Warp &warp, const Instr &instr) {
  const uint32_t *a = warp.lanes<uint32_t>(instr.slots[1]);
  const uint32_t *b = warp.lanes<uint32_t>(instr.slots[2]);
  bool clamp = instr.flags;
  writeLanes<uint32_t>(warp, instr.slots[0], [=](int lane) {
    uint32_t at = clamp ? a[lane] : a[lane] & 31;
    uint32_t length = clamp ? b[lane] : b[lane] & 31;
    if (at >= 32)
      return uint32_t(0);
    uint32_t mask = length >= 32 ? ~0u : (1u << length) - 1;
    return mask << at;
  });
}

template <typename Op> void decodeLogic(InstrBuilder &b) {
  Type type = b.type();
  b.expectOperands(3, 3);
  if (type.kind == Type::Kind::Predicate) {
    bool first = false, second = false;
    b.predicateResult(b.operand(0));
    b.predicateSource(b.operand(1), first);
    b.predicateSource(b.operand(2), second);
    b.instr.flags = static_cast<uint8_t>(first | second << 1);
    b.instr.exec = predicateLogic<Op>;
    return;
  }
  b.result(0, type.bytes);
  b.source(1, type.bytes);
  b.source(2, type.bytes);
  b.instr.exec = type.bytes == 8   ? logic<Op, uint64_t>
                 : type.bytes == 4 ? logic<Op, uint32_t>
                                   : logic<Op, uint16_t>;
  if constexpr (std::is_same_v<Op, And>)
    b.instr.traceBytes = type.bytes == 8   ? traceAnd<8>
                         : type.bytes == 4 ? traceAnd<4>
                                           : traceAnd<2>;
}

void decodeNot(InstrBuilder &b) {
  Type type = b.type();
  b.expectOperands(2, 2);
  if (type.kind == Type::Kind::Predicate) {
    bool negated = false;
    b.predicateResult(b.operand(0));
    b.predicateSource(b.operand(1), negated);
    if (negated)
      b.refuse("a negated operand of not.pred");
    b.instr.exec = predicateNot;
    return;
  }
  b.result(0, type.bytes);
  b.source(1, type.bytes);
  b.instr.exec = type.bytes == 8   ? bitNot<uint64_t>
                 : type.bytes == 4 ? bitNot<uint32_t>
                                   : bitNot<uint16_t>;
}

void decodeCnot(InstrBuilder &b) {
  Type type = b.type();
  b.expectOperands(2, 2);
  b.result(0, type.bytes);
  b.source(1, type.bytes);
  b.instr.exec = type.bytes == 8   ? cnot<uint64_t>
                 : type.bytes == 4 ? cnot<uint32_t>
                                   : cnot<uint16_t>;
}

void decodeShl(InstrBuilder &b) {
  Type type = b.type();
  b.expectOperands(3, 3);
  b.result(0, type.bytes);
  b.source(1, type.bytes);
  b.source(2, 4);
  b.instr.exec = type.bytes == 8   ? shiftLeft<uint64_t>
                 : type.bytes == 4 ? shiftLeft<uint32_t>
                                   : shiftLeft<uint16_t>;
}

void decodeShr(InstrBuilder &b) {
  Type type = b.type();
  b.expectOperands(3, 3);
  b.result(0, type.bytes);
  b.source(1, type.bytes);
  b.source(2, 4);
  if (type.isSigned())
    b.instr.exec = type.bytes == 8   ? shiftRight<int64_t>
                   : type.bytes == 4 ? shiftRight<int32_t>
                                     : shiftRight<int16_t>;
  else
    b.instr.exec = type.bytes == 8   ? shiftRight<uint64_t>
                   : type.bytes == 4 ? shiftRight<uint32_t>
                                     : shiftRight<uint16_t>;
}

void decodeShf(InstrBuilder &b) {
  int direction = b.takeOneOf({"l", "r"});
  int mode = b.takeOneOf({"wrap", "clamp"});
  Type type = b.type();
  b.expectOperands(4, 4);
  if (direction < 0 || mode < 0 || type.bytes != 4)
    return b.refuse("shf.{l,r}.{wrap,clamp}.b32 is expected");
  b.result(0, 4);
  for (size_t i = 1; i < 4; ++i)
    b.source(i, 4);
  b.instr.flags = static_cast<uint8_t>(direction | mode << 1);
  b.instr.exec = funnelShift;
}

/// slots: result, a, b, c, predicate out, predicate in. flags: 0 or, 1 and;
/// 2: the predicate is negated.
void lop3WithPredicate(Warp &warp, const Instr &instr) {
  uint32_t nonZero = 0;
  uint32_t value[32];
  for (unsigned lane = 0; lane < 32; ++lane) {
    uint32_t a = warp.lanes<uint32_t>(instr.slots[1])[lane];
    uint32_t b = warp.lanes<uint32_t>(instr.slots[2])[lane];
    uint32_t c = warp.lanes<uint32_t>(instr.slots[3])[lane];
    uint32_t result = 0;
    for (unsigned i = 0; i < 8; ++i)
      if (instr.immediate >> i & 1)
        result |= (i & 4 ? a : ~a) & (i & 2 ? b : ~b) & (i & 1 ? c : ~c);
    value[lane] = result;
    nonZero |= uint32_t(result != 0) << lane;
  }
  uint32_t in = warp.predicate(instr.slots[5]);
  if (instr.flags & 2)
    in = ~in;
  if (instr.slots[0])
    writeLanes<uint32_t>(warp, instr.slots[0],
                         [&](int lane) { return value[lane]; });
  warp.setPredicate(instr.slots[4],
                    instr.flags & 1 ? nonZero & in : nonZero | in);
}

/// lop3.{or,and}.b32 d|p, a, b, c, table, q
void decodeLop3WithPredicate(InstrBuilder &b, bool isAnd) {
  b.expectOperands(6, 6);
  const ptx::Operand &pair = b.operand(0);
  if (b.failed() || pair.kind != ptx::Operand::Kind::Pair)
    return b.refuse("d|p is expected");
  b.result(pair.elements[0], 4);
  for (size_t i = 1; i < 4; ++i)
    b.source(i, 4);
  b.predicateResult(pair.elements[1]);
  bool negated = false;
  b.predicateSource(b.operand(5), negated);
  b.instr.immediate = b.immediate(4);
  b.instr.flags = static_cast<uint8_t>(isAnd | (negated ? 2 : 0));
  b.instr.exec = lop3WithPredicate;
}

/// slots: result, mask, base, offset: the place of the offset-th set bit from
/// base on, upwards or (offset < 0) downwards; -1 if there is none.
void findNthSet(Warp &warp, const Instr &instr) {
  const uint32_t *mask = warp.lanes<uint32_t>(instr.slots[1]);
  const uint32_t *base = warp.lanes<uint32_t>(instr.slots[2]);
  const int32_t *offset = warp.lanes<int32_t>(instr.slots[3]);
  writeLanes<uint32_t>(warp, instr.slots[0], [=](int lane) -> uint32_t {
    int64_t wanted = offset[lane] < 0 ? -int64_t(offset[lane]) : offset[lane];
    int step = offset[lane] < 0 ? -1 : 1;
    if (wanted == 0)
      return base[lane] < 32 && mask[lane] >> base[lane] & 1 ? base[lane] : ~0u;
    for (int64_t at = base[lane]; at >= 0 && at < 32; at += step)
      if ((mask[lane] >> at & 1) && --wanted == 0)
        return static_cast<uint32_t>(at);
    return ~0u;
  });
}

void decodeFns(InstrBuilder &b) {
  bool form = b.take("b32");
  b.expectOperands(4, 4);
  b.result(0, 4);
  for (size_t i = 1; i < 4; ++i)
    b.source(i, 4);
  if (!form)
    return b.refuse("fns.b32 is expected");
  b.instr.exec = findNthSet;
}

/// slots: result, a, bits: the low bits of a, sign- or zero-extended. `flags`:
/// .clamp; .wrap takes bits modulo 32.
template <typename T> void extendLow(Warp &warp, const Instr &instr) {
  const uint32_t *a = warp.lanes<uint32_t>(instr.slots[1]);
  const uint32_t *bits = warp.lanes<uint32_t>(instr.slots[2]);
  bool clamp = instr.flags;
  writeLanes<T>(warp, instr.slots[0], [=](int lane) -> T {
    uint32_t n = clamp ? std::min(bits[lane], 32u) : bits[lane] & 31;
    if (n == 0)
      return 0;
    return static_cast<T>(a[lane] << (32 - n)) >> (32 - n);
  });
}

/// szext and bmsk: two 32-bit operands, .clamp or .wrap; `flags` is .clamp.
Type bindClampOrWrap(InstrBuilder &b) {
  int mode = b.takeOneOf({"wrap", "clamp"});
  Type type = b.type();
  b.expectOperands(3, 3);
  b.result(0, 4);
  b.source(1, 4);
  b.source(2, 4);
  if (mode < 0 || type.bytes != 4)
    b.refuse("one of .wrap and .clamp and a 32-bit type are expected");
  b.instr.flags = mode == 1;
  return type;
}

void decodeSzext(InstrBuilder &b) {
  Type type = bindClampOrWrap(b);
  b.instr.exec = type.isSigned() ? extendLow<int32_t> : extendLow<uint32_t>;
}

void decodeLop3(InstrBuilder &b) {
  int combined = b.takeOneOf({"or", "and"});
  Type type = b.type();
  if (combined >= 0)
    return decodeLop3WithPredicate(b, combined == 1);
  b.expectOperands(5, 5);
  if (type.bytes != 4)
    return b.refuse("only .b32 is supported");
  b.result(0, 4);
  for (size_t i = 1; i < 4; ++i)
    b.source(i, 4);
  b.instr.immediate = b.immediate(4);
  b.instr.exec = lop3;
}

void decodeBfe(InstrBuilder &b) {
  Type type = b.type();
  b.expectOperands(4, 4);
  b.result(0, type.bytes);
  b.source(1, type.bytes);
  b.source(2, 4);
  b.source(3, 4);
  if (type.bytes < 4)
    return b.refuse("32 or 64 bits are needed");
  if (type.isSigned())
    b.instr.exec =
        type.bytes == 8 ? extractField<int64_t> : extractField<int32_t>;
  else
    b.instr.exec =
        type.bytes == 8 ? extractField<uint64_t> : extractField<uint32_t>;
}

void decodeBfi(InstrBuilder &b) {
  Type type = b.type();
  b.expectOperands(5, 5);
  b.result(0, type.bytes);
  b.source(1, type.bytes);
  b.source(2, type.bytes);
  b.source(3, 4);
  b.source(4, 4);
  if (type.bytes < 4)
    return b.refuse("32 or 64 bits are needed");
  b.instr.exec =
      type.bytes == 8 ? insertField<uint64_t> : insertField<uint32_t>;
}

void decodePrmt(InstrBuilder &b) {
  Type type = b.type();
  int mode = b.takeOneOf({"f4e", "b4e", "rc8", "ecl", "ecr", "rc16"});
  b.expectOperands(4, 4);
  if (type.bytes != 4)
    return b.refuse("only .b32 is supported");
  b.result(0, 4);
  for (size_t i = 1; i < 4; ++i)
    b.source(i, 4);
  b.instr.flags = static_cast<uint8_t>(mode + 1);
  b.instr.exec = permuteBytes;
  b.instr.traceBytes = tracePermute;
}

template <ExecFn narrow, ExecFn wide> void decodeCount(InstrBuilder &b) {
  Type type = b.type();
  b.expectOperands(2, 2);
  b.result(0, 4);
  b.source(1, type.bytes);
  if (type.bytes < 4)
    return b.refuse("32 or 64 bits are needed");
  b.instr.exec = type.bytes == 8 ? wide : narrow;
}

void decodeBrev(InstrBuilder &b) {
  Type type = b.type();
  b.expectOperands(2, 2);
  b.result(0, type.bytes);
  b.source(1, type.bytes);
  if (type.bytes < 4)
    return b.refuse("32 or 64 bits are needed");
  b.instr.exec = type.bytes == 8 ? bitReverse<uint64_t> : bitReverse<uint32_t>;
}

void decodeBfind(InstrBuilder &b) {
  bool amount = b.take("shiftamt");
  Type type = b.type();
  b.expectOperands(2, 2);
  b.result(0, 4);
  b.source(1, type.bytes);
  if (type.bytes < 4)
    return b.refuse("32 or 64 bits are needed");
  auto pick = [&](ExecFn plain, ExecFn shift) {
    b.instr.exec = amount ? shift : plain;
  };
  if (type.isSigned() && type.bytes == 8)
    pick(findHighest<int64_t, false>, findHighest<int64_t, true>);
  else if (type.isSigned())
    pick(findHighest<int32_t, false>, findHighest<int32_t, true>);
  else if (type.bytes == 8)
    pick(findHighest<uint64_t, false>, findHighest<uint64_t, true>);
  else
    pick(findHighest<uint32_t, false>, findHighest<uint32_t, true>);
}

void decodeBmsk(InstrBuilder &b) {
  bindClampOrWrap(b);
  b.instr.exec = fieldMask;
}

} // namespace

std::span<const Opcode> sim::bitOpcodes() {
  constexpr InstrClass c = InstrClass::Integer;
  static const Opcode table[] = {
      {"and", c, decodeLogic<And>},
      {"or", c, decodeLogic<Or>},
      {"xor", c, decodeLogic<Xor>},
      {"not", c, decodeNot},
      {"cnot", c, decodeCnot},
      {"shl", c, decodeShl},
      {"shr", c, decodeShr},
      {"shf", c, decodeShf},
      {"lop3", c, decodeLop3},
      {"fns", c, decodeFns},
      {"szext", c, decodeSzext},
      {"bfe", c, decodeBfe},
      {"bfi", c, decodeBfi},
      {"prmt", c, decodePrmt},
      {"popc", c, decodeCount<popc<uint32_t>, popc<uint64_t>>},
      {"clz", c, decodeCount<clz<uint32_t>, clz<uint64_t>>},
      {"brev", c, decodeBrev},
      {"bfind", c, decodeBfind},
      {"bmsk", c, decodeBmsk},
  };
  return table;
}
