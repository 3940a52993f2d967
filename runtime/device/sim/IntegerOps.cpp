//===- IntegerOps.cpp - Integer arithmetic --------------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Arithmetic wraps. Division by zero, undefined in PTX, gives all ones as the
// hardware does; the most negative number divided by -1 gives itself.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/sim/CarryOps.h"
#include "runtime/device/sim/Machine.h"
#include "runtime/device/sim/Opcodes.h"
#include "runtime/device/sim/PackedIntegerOps.h"

#include <algorithm>
#include <limits>
#include <type_traits>

using namespace quern;
using namespace quern::sim;

namespace {

template <typename T> using Bits = std::make_unsigned_t<T>;

template <typename T> struct Widened;
template <> struct Widened<int16_t> {
  using type = int32_t;
};
template <> struct Widened<uint16_t> {
  using type = uint32_t;
};
template <> struct Widened<int32_t> {
  using type = int64_t;
};
template <> struct Widened<uint32_t> {
  using type = uint64_t;
};
template <> struct Widened<int64_t> {
  using type = __int128;
};
template <> struct Widened<uint64_t> {
  using type = unsigned __int128;
};
template <typename T> using Wide = typename Widened<T>::type;

struct Add {
  template <typename T> static T apply(T a, T b) {
    return static_cast<T>(static_cast<Bits<T>>(a) + static_cast<Bits<T>>(b));
  }
};
struct Sub {
  template <typename T> static T apply(T a, T b) {
    return static_cast<T>(static_cast<Bits<T>>(a) - static_cast<Bits<T>>(b));
  }
};
struct MulLo {
  template <typename T> static T apply(T a, T b) {
    // Through 64 bits: 16-bit operands would promote to a signed int.
    return static_cast<T>(static_cast<uint64_t>(a) * static_cast<uint64_t>(b));
  }
};
struct MulHi {
  template <typename T> static T apply(T a, T b) {
    return static_cast<T>((Wide<T>(a) * Wide<T>(b)) >> (sizeof(T) * 8));
  }
};
struct Div {
  template <typename T> static T apply(T a, T b) {
    if (b == 0)
      return static_cast<T>(-1);
    if (std::is_signed_v<T> && b == static_cast<T>(-1))
      return Sub::apply<T>(0, a);
    return static_cast<T>(a / b);
  }
};
struct Rem {
  template <typename T> static T apply(T a, T b) {
    if (b == 0)
      return a;
    if (std::is_signed_v<T> && b == static_cast<T>(-1))
      return 0;
    return static_cast<T>(a % b);
  }
};
struct Min {
  template <typename T> static T apply(T a, T b) { return a < b ? a : b; }
};
struct Max {
  template <typename T> static T apply(T a, T b) { return a > b ? a : b; }
};

template <typename Op, typename T> void binary(Warp &warp, const Instr &instr) {
  const T *a = warp.lanes<T>(instr.slots[1]);
  const T *b = warp.lanes<T>(instr.slots[2]);
  writeLanes<T>(warp, instr.slots[0], [=](int lane) {
    return Op::template apply<T>(a[lane], b[lane]);
  });
}

/// s32 with .sat clamps instead of wrapping.
template <bool subtract> void addSaturated(Warp &warp, const Instr &instr) {
  const int32_t *a = warp.lanes<int32_t>(instr.slots[1]);
  const int32_t *b = warp.lanes<int32_t>(instr.slots[2]);
  writeLanes<int32_t>(warp, instr.slots[0], [=](int lane) {
    int64_t sum = int64_t(a[lane]) + (subtract ? -int64_t(b[lane]) : b[lane]);
    sum = sum > INT32_MAX ? INT32_MAX : sum < INT32_MIN ? INT32_MIN : sum;
    return static_cast<int32_t>(sum);
  });
}

template <typename T> void mulWide(Warp &warp, const Instr &instr) {
  const T *a = warp.lanes<T>(instr.slots[1]);
  const T *b = warp.lanes<T>(instr.slots[2]);
  writeLanes<Wide<T>>(warp, instr.slots[0], [=](int lane) {
    return static_cast<Wide<T>>(Wide<T>(a[lane]) * Wide<T>(b[lane]));
  });
}

template <typename T> void madLo(Warp &warp, const Instr &instr) {
  const T *a = warp.lanes<T>(instr.slots[1]);
  const T *b = warp.lanes<T>(instr.slots[2]);
  const T *c = warp.lanes<T>(instr.slots[3]);
  writeLanes<T>(warp, instr.slots[0], [=](int lane) {
    return Add::apply<T>(MulLo::apply<T>(a[lane], b[lane]), c[lane]);
  });
}

template <typename T> void madHi(Warp &warp, const Instr &instr) {
  const T *a = warp.lanes<T>(instr.slots[1]);
  const T *b = warp.lanes<T>(instr.slots[2]);
  const T *c = warp.lanes<T>(instr.slots[3]);
  writeLanes<T>(warp, instr.slots[0], [=](int lane) {
    return Add::apply<T>(MulHi::apply<T>(a[lane], b[lane]), c[lane]);
  });
}

template <typename T> void madWide(Warp &warp, const Instr &instr) {
  const T *a = warp.lanes<T>(instr.slots[1]);
  const T *b = warp.lanes<T>(instr.slots[2]);
  const Wide<T> *c = warp.lanes<Wide<T>>(instr.slots[3]);
  writeLanes<Wide<T>>(warp, instr.slots[0], [=](int lane) {
    return Add::apply<Wide<T>>(
        static_cast<Wide<T>>(Wide<T>(a[lane]) * Wide<T>(b[lane])), c[lane]);
  });
}

template <typename T> void negate(Warp &warp, const Instr &instr) {
  const T *a = warp.lanes<T>(instr.slots[1]);
  writeLanes<T>(warp, instr.slots[0],
                [=](int lane) { return Sub::apply<T>(0, a[lane]); });
}

template <typename T> void absolute(Warp &warp, const Instr &instr) {
  const T *a = warp.lanes<T>(instr.slots[1]);
  writeLanes<T>(warp, instr.slots[0], [=](int lane) {
    return a[lane] < 0 ? Sub::apply<T>(0, a[lane]) : a[lane];
  });
}

/// |a - b| + c
template <typename T> void sad(Warp &warp, const Instr &instr) {
  const T *a = warp.lanes<T>(instr.slots[1]);
  const T *b = warp.lanes<T>(instr.slots[2]);
  const T *c = warp.lanes<T>(instr.slots[3]);
  writeLanes<T>(warp, instr.slots[0], [=](int lane) {
    T difference = a[lane] < b[lane] ? Sub::apply<T>(b[lane], a[lane])
                                     : Sub::apply<T>(a[lane], b[lane]);
    return Add::apply<T>(difference, c[lane]);
  });
}

/// Four products of bytes, summed onto a 32-bit accumulator.
template <typename A, typename B> void dp4a(Warp &warp, const Instr &instr) {
  const uint32_t *a = warp.lanes<uint32_t>(instr.slots[1]);
  const uint32_t *b = warp.lanes<uint32_t>(instr.slots[2]);
  const uint32_t *c = warp.lanes<uint32_t>(instr.slots[3]);
  writeLanes<uint32_t>(warp, instr.slots[0], [=](int lane) {
    uint32_t sum = c[lane];
    for (int i = 0; i < 4; ++i)
      sum += static_cast<uint32_t>(int32_t(static_cast<A>(a[lane] >> (8 * i))) *
                                   int32_t(static_cast<B>(b[lane] >> (8 * i))));
    return sum;
  });
}

/// Two products of a 16-bit half with a byte, summed likewise; `second` is the
/// first byte of b.
template <typename A, typename B, unsigned second>
void dp2a(Warp &warp, const Instr &instr) {
  const uint32_t *a = warp.lanes<uint32_t>(instr.slots[1]);
  const uint32_t *b = warp.lanes<uint32_t>(instr.slots[2]);
  const uint32_t *c = warp.lanes<uint32_t>(instr.slots[3]);
  writeLanes<uint32_t>(warp, instr.slots[0], [=](int lane) {
    uint32_t sum = c[lane];
    for (unsigned i = 0; i < 2; ++i)
      sum += static_cast<uint32_t>(
          int32_t(static_cast<A>(a[lane] >> (16 * i))) *
          int32_t(static_cast<B>(b[lane] >> (8 * (second + i)))));
    return sum;
  });
}

/// The high half of a product plus c, kept within 32 bits.
void madHiSat(Warp &warp, const Instr &instr) {
  const int32_t *a = warp.lanes<int32_t>(instr.slots[1]);
  const int32_t *b = warp.lanes<int32_t>(instr.slots[2]);
  const int32_t *c = warp.lanes<int32_t>(instr.slots[3]);
  writeLanes<int32_t>(warp, instr.slots[0], [=](int lane) {
    int64_t sum = (int64_t(a[lane]) * b[lane] >> 32) + c[lane];
    return static_cast<int32_t>(std::clamp<int64_t>(sum, INT32_MIN, INT32_MAX));
  });
}

/// Calls `f` with the C++ type of `type`.
template <typename F> void dispatch(InstrBuilder &b, Type type, F f) {
  if (type.packed)
    return b.refuse("packed integers are not supported");
  switch (type.bytes) {
  case 2:
    return type.isSigned() ? f(int16_t()) : f(uint16_t());
  case 4:
    return type.isSigned() ? f(int32_t()) : f(uint32_t());
  case 8:
    return type.isSigned() ? f(int64_t()) : f(uint64_t());
  default:
    b.refuse("the type is not supported");
  }
}

void bindBinary(InstrBuilder &b, unsigned bytes) {
  b.expectOperands(3, 3);
  b.result(0, bytes);
  b.source(1, bytes);
  b.source(2, bytes);
}

template <typename Op> void decodeBinary(InstrBuilder &b) {
  Type type = b.type();
  bindBinary(b, type.bytes);
  dispatch(b, type,
           [&](auto zero) { b.instr.exec = binary<Op, decltype(zero)>; });
}

template <bool isMax> void decodeMinMax(InstrBuilder &b) {
  if (!decodePackedInteger(b, isMax ? PackedOp::Max : PackedOp::Min))
    decodeBinary<std::conditional_t<isMax, Max, Min>>(b);
}

template <bool subtract> void decodeAddSub(InstrBuilder &b) {
  if (!subtract && decodePackedInteger(b, PackedOp::Add))
    return;
  if (b.take("cc"))
    return decodeCarry(b, subtract ? CarryOp::Sub : CarryOp::Add, false, true);
  if (b.take("sat")) {
    Type type = b.type();
    if (!type.is(Type::Kind::Signed, 4))
      b.refuse(".sat needs .s32");
    bindBinary(b, 4);
    b.instr.exec = addSaturated<subtract>;
    return;
  }
  decodeBinary<std::conditional_t<subtract, Sub, Add>>(b);
}

void decodeMul(InstrBuilder &b) {
  int part = b.takeOneOf({"lo", "hi", "wide"});
  if (part < 0)
    return b.refuse("one of .lo, .hi and .wide is needed");
  Type type = b.type();
  b.expectOperands(3, 3);
  b.result(0, part == 2 ? type.bytes * 2 : type.bytes);
  b.source(1, type.bytes);
  b.source(2, type.bytes);
  if (part == 2 && type.bytes == 8)
    return b.refuse(".wide needs 16 or 32 bits");
  dispatch(b, type, [&](auto zero) {
    using T = decltype(zero);
    if (part == 0)
      b.instr.exec = binary<MulLo, T>;
    else if (part == 1)
      b.instr.exec = binary<MulHi, T>;
    else if constexpr (sizeof(T) < 8)
      b.instr.exec = mulWide<T>;
  });
}

void decodeMad(InstrBuilder &b) {
  if (b.take("cc"))
    return decodeCarry(b, CarryOp::Mad, false, true);
  int part = b.takeOneOf({"lo", "hi", "wide"});
  if (part < 0)
    return b.refuse("one of .lo, .hi and .wide is needed");
  bool saturate = b.take("sat");
  Type type = b.type();
  unsigned wide = part == 2 ? type.bytes * 2 : type.bytes;
  b.expectOperands(4, 4);
  b.result(0, wide);
  b.source(1, type.bytes);
  b.source(2, type.bytes);
  b.source(3, wide);
  if (part == 2 && type.bytes == 8)
    return b.refuse(".wide needs 16 or 32 bits");
  if (saturate) {
    if (part != 1 || type.bytes != 4 || !type.isSigned())
      return b.refuse(".sat needs .hi and .s32");
    b.instr.exec = madHiSat;
    return;
  }
  dispatch(b, type, [&](auto zero) {
    using T = decltype(zero);
    if (part == 0)
      b.instr.exec = madLo<T>;
    else if (part == 1)
      b.instr.exec = madHi<T>;
    else if constexpr (sizeof(T) < 8)
      b.instr.exec = madWide<T>;
  });
}

template <bool isNegate> void decodeUnary(InstrBuilder &b) {
  Type type = b.type();
  b.expectOperands(2, 2);
  b.result(0, type.bytes);
  b.source(1, type.bytes);
  if (!type.isSigned())
    return b.refuse("a signed type is needed");
  dispatch(b, type, [&](auto zero) {
    using T = std::make_signed_t<decltype(zero)>;
    b.instr.exec = isNegate ? negate<T> : absolute<T>;
  });
}

void decodeSad(InstrBuilder &b) {
  Type type = b.type();
  b.expectOperands(4, 4);
  b.result(0, type.bytes);
  for (size_t i = 1; i < 4; ++i)
    b.source(i, type.bytes);
  dispatch(b, type, [&](auto zero) { b.instr.exec = sad<decltype(zero)>; });
}

void decodeDp4a(InstrBuilder &b) {
  Type a = b.type(), second = b.type();
  b.expectOperands(4, 4);
  b.result(0, 4);
  for (size_t i = 1; i < 4; ++i)
    b.source(i, 4);
  if (a.bytes != 4 || second.bytes != 4)
    b.refuse("the types must be .u32 or .s32");
  b.instr.exec =
      a.isSigned()
          ? (second.isSigned() ? dp4a<int8_t, int8_t> : dp4a<int8_t, uint8_t>)
          : (second.isSigned() ? dp4a<uint8_t, int8_t>
                               : dp4a<uint8_t, uint8_t>);
}

template <unsigned second> ExecFn dp2aExec(bool signedA, bool signedB) {
  return signedA ? (signedB ? dp2a<int16_t, int8_t, second>
                            : dp2a<int16_t, uint8_t, second>)
                 : (signedB ? dp2a<uint16_t, int8_t, second>
                            : dp2a<uint16_t, uint8_t, second>);
}

void decodeDp2a(InstrBuilder &b) {
  int part = b.takeOneOf({"lo", "hi"});
  Type a = b.type(), second = b.type();
  b.expectOperands(4, 4);
  b.result(0, 4);
  for (size_t i = 1; i < 4; ++i)
    b.source(i, 4);
  if (part < 0 || a.bytes != 4 || second.bytes != 4)
    return b.refuse("one of .lo and .hi, and .u32 or .s32 twice, are needed");
  b.instr.exec = part ? dp2aExec<2>(a.isSigned(), second.isSigned())
                      : dp2aExec<0>(a.isSigned(), second.isSigned());
  b.instr.traceBytes = part ? traceDot2<2> : traceDot2<0>;
}

} // namespace

std::span<const Opcode> sim::integerOpcodes() {
  constexpr auto integer = Opcode::Domain::Integer;
  constexpr InstrClass c = InstrClass::Integer;
  static const Opcode table[] = {
      {"add", c, decodeAddSub<false>, integer},
      {"sub", c, decodeAddSub<true>, integer},
      {"mul", c, decodeMul, integer},
      {"mad", c, decodeMad, integer},
      {"div", c, decodeBinary<Div>, integer},
      {"rem", c, decodeBinary<Rem>, integer},
      {"min", c, decodeMinMax<false>, integer},
      {"max", c, decodeMinMax<true>, integer},
      {"neg", c, decodeUnary<true>, integer},
      {"abs", c, decodeUnary<false>, integer},
      {"sad", c, decodeSad, integer},
      {"dp4a", c, decodeDp4a},
      {"dp2a", c, decodeDp2a},
  };
  return table;
}
