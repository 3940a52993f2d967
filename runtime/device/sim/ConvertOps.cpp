//===- ConvertOps.cpp - cvt -----------------------------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Conversions between the number types. Floats to integers saturate, and NaN
// gives 0. Float sources and results narrower than f64 pass through double,
// where they are exact; encode() does the one rounding.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/sim/Arithmetic.h"
#include "runtime/device/sim/Machine.h"
#include "runtime/device/sim/NarrowConvert.h"
#include "runtime/device/sim/Opcodes.h"

#include <algorithm>
#include <limits>
#include <type_traits>

using namespace quern;
using namespace quern::sim;

namespace {

constexpr uint8_t flagFtz = 4;
constexpr uint8_t flagSat = 8;
constexpr uint8_t flagRelu = 16;
constexpr uint8_t flagSatFinite = 64;  ///< Overflow gives the largest number.
constexpr uint8_t flagToIntegral = 32; ///< Float to float, to an integer value.
Rounding roundingOf(uint8_t flags) { return static_cast<Rounding>(flags & 3); }

double roundToIntegral(double value, Rounding rounding) {
  switch (rounding) {
  case Rounding::Nearest:
    return std::nearbyint(value);
  case Rounding::Zero:
    return std::trunc(value);
  case Rounding::Down:
    return std::floor(value);
  case Rounding::Up:
    return std::ceil(value);
  }
  return value;
}

const Format *formatOf(Type::Kind kind, unsigned bytes) {
  switch (kind) {
  case Type::Kind::Float:
    return bytes == 2 ? &formatF16 : bytes == 4 ? &formatF32 : nullptr;
  case Type::Kind::BFloat:
    return &formatBF16;
  case Type::Kind::E4M3:
    return &formatE4M3;
  case Type::Kind::E5M2:
    return &formatE5M2;
  default:
    return nullptr;
  }
}

//===----------------------------------------------------------------------===//
// Integers
//===----------------------------------------------------------------------===//

/// Source type S, destination type D, kept in a register of type R (sign- or
/// zero-extended when wider).
template <typename S, typename D, typename R>
void integerToInteger(Warp &warp, const Instr &instr) {
  // 8-bit sources live in 16-bit registers at least; `bytes` is the stride.
  const std::byte *source = warp.lanes<std::byte>(instr.slots[1]);
  unsigned stride = instr.bytes;
  bool saturate = instr.flags & flagSat;
  writeLanes<R>(warp, instr.slots[0], [=](int lane) {
    S value;
    std::memcpy(&value, source + size_t(lane) * stride, sizeof(S));
    if (saturate) {
      using Limits = std::numeric_limits<D>;
      __int128 wide = value;
      wide = wide < __int128(Limits::min()) ? __int128(Limits::min()) : wide;
      wide = wide > __int128(Limits::max()) ? __int128(Limits::max()) : wide;
      return static_cast<R>(static_cast<D>(wide));
    }
    return static_cast<R>(static_cast<D>(value));
  });
}

template <typename S, typename F>
void integerToFloat(Warp &warp, const Instr &instr) {
  const std::byte *source = warp.lanes<std::byte>(instr.slots[1]);
  unsigned stride = instr.bytes;
  uint8_t flags = instr.flags;
  writeLanes<F>(warp, instr.slots[0], [=](int lane) {
    S value;
    std::memcpy(&value, source + size_t(lane) * stride, sizeof(S));
    if constexpr (std::is_same_v<F, uint16_t>) {
      // To f16 or bf16 (`flagToIntegral` tells which): 64-bit integers are
      // rounded to odd on the way, smaller ones are exact.
      double wide = static_cast<double>(value);
      __int128 error = __int128(value) - static_cast<__int128>(wide);
      wide = roundToOdd(wide, static_cast<double>(error));
      return static_cast<uint16_t>(
          encode(wide, flags & flagToIntegral ? formatBF16 : formatF16,
                 roundingOf(flags)));
    } else if constexpr (std::is_same_v<F, float> && sizeof(S) <= 4) {
      if (flags & 3)
        return std::bit_cast<float>(
            encode(static_cast<double>(value), formatF32, roundingOf(flags)));
      return static_cast<float>(value);
    } else {
      return static_cast<F>(value);
    }
  });
}

/// `F` is float, double, or uint16_t for f16; R is the result register.
template <typename F, typename D, typename R>
void floatToInteger(Warp &warp, const Instr &instr) {
  const F *source = warp.lanes<F>(instr.slots[1]);
  uint8_t flags = instr.flags;
  writeLanes<R>(warp, instr.slots[0], [=](int lane) {
    double value;
    if constexpr (std::is_same_v<F, uint16_t>) {
      value = flags & flagToIntegral ? bfloatToFloat(source[lane])
                                     : halfToFloat(source[lane]);
    } else if constexpr (std::is_same_v<F, float>) {
      value = flags & flagFtz ? flush(source[lane]) : source[lane];
    } else {
      value = source[lane];
    }
    value = roundToIntegral(value, roundingOf(flags));
    using Limits = std::numeric_limits<D>;
    // 2^63 and 2^64 are the first values beyond; smaller limits are exact.
    D result;
    // PTX ISA, "cvt": NaN becomes 0, but in conversions from f64 and to 64
    // bits the value with the highest bit alone.
    constexpr bool wide = std::is_same_v<F, double> || sizeof(D) == 8;
    if (value != value)
      result = wide ? static_cast<D>(uint64_t(1) << (sizeof(D) * 8 - 1)) : D(0);
    else if (value <= static_cast<double>(Limits::min()))
      result = Limits::min();
    else if (value >= static_cast<double>(Limits::max()))
      result = Limits::max();
    else
      result = static_cast<D>(value);
    return static_cast<R>(result);
  });
}

//===----------------------------------------------------------------------===//
// Floats
//===----------------------------------------------------------------------===//

/// Instr::immediate holds the two formats; null stands for f64.
struct FloatPair {
  const Format *from;
  const Format *to;
};

template <typename S, typename D>
void floatToFloat(Warp &warp, const Instr &instr) {
  const S *source = warp.lanes<S>(instr.slots[1]);
  const FloatPair &formats =
      *reinterpret_cast<const FloatPair *>(instr.immediate);
  const Format *from = formats.from, *to = formats.to;
  uint8_t flags = instr.flags;
  writeLanes<D>(warp, instr.slots[0], [=](int lane) {
    double value;
    if constexpr (sizeof(S) == 8)
      value = std::bit_cast<double>(source[lane]);
    else
      value = decode(static_cast<uint32_t>(source[lane]), *from);
    if ((flags & flagFtz) && from == &formatF32)
      value = flush(static_cast<float>(value));
    if (flags & flagToIntegral)
      value = roundToIntegral(value, roundingOf(flags));
    if (flags & flagSat)
      value = value > 0 ? (value < 1 ? value : 1.0) : 0.0;
    if ((flags & flagRelu) && value < 0)
      value = 0;
    if constexpr (sizeof(D) == 8) {
      return std::bit_cast<uint64_t>(canonical(value));
    } else {
      uint32_t bits =
          encode(value, *to, roundingOf(flags), flags & flagSatFinite);
      if ((flags & flagFtz) && to == &formatF32)
        bits = std::bit_cast<uint32_t>(flush(std::bit_cast<float>(bits)));
      return static_cast<D>(bits);
    }
  });
}

void halfToSingle(Warp &warp, const Instr &instr) {
  const uint16_t *source = warp.lanes<uint16_t>(instr.slots[1]);
  writeLanes<float>(warp, instr.slots[0], [=](int lane) {
    return canonical(halfToFloat(source[lane]));
  });
}
void bfloatToSingle(Warp &warp, const Instr &instr) {
  const uint16_t *source = warp.lanes<uint16_t>(instr.slots[1]);
  writeLanes<float>(warp, instr.slots[0], [=](int lane) {
    return canonical(bfloatToFloat(source[lane]));
  });
}
void singleToHalf(Warp &warp, const Instr &instr) {
  const float *source = warp.lanes<float>(instr.slots[1]);
  writeLanes<uint16_t>(warp, instr.slots[0],
                       [=](int lane) { return floatToHalf(source[lane]); });
}
void singleToBfloat(Warp &warp, const Instr &instr) {
  const float *source = warp.lanes<float>(instr.slots[1]);
  writeLanes<uint16_t>(warp, instr.slots[0],
                       [=](int lane) { return floatToBfloat(source[lane]); });
}

/// Two numbers at once: d = {a in the upper half, b in the lower}.
template <typename S, typename D>
void packPair(Warp &warp, const Instr &instr) {
  const S *upper = warp.lanes<S>(instr.slots[1]);
  const S *lower = warp.lanes<S>(instr.slots[2]);
  const Format *to = reinterpret_cast<const Format *>(instr.immediate);
  uint8_t flags = instr.flags;
  constexpr unsigned width = sizeof(D) * 4;
  writeLanes<D>(warp, instr.slots[0], [=](int lane) {
    auto convert = [&](float value) {
      double number = value;
      if ((flags & flagRelu) && number < 0)
        number = 0;
      return encode(number, *to, roundingOf(flags), flags & flagSat);
    };
    return static_cast<D>(convert(upper[lane]) << width | convert(lower[lane]));
  });
}

/// Between pairs of fp8 and pairs of f16.
void unpackFp8(Warp &warp, const Instr &instr) {
  const uint16_t *source = warp.lanes<uint16_t>(instr.slots[1]);
  const Format *from = reinterpret_cast<const Format *>(instr.immediate);
  bool relu = instr.flags & flagRelu;
  writeLanes<uint32_t>(warp, instr.slots[0], [=](int lane) {
    auto convert = [&](uint32_t bits) {
      double value = decode(bits, *from);
      return encode(relu && value < 0 ? 0.0 : value, formatF16);
    };
    return convert(source[lane] >> 8) << 16 | convert(source[lane] & 0xff);
  });
}
void packFp8(Warp &warp, const Instr &instr) {
  const uint32_t *source = warp.lanes<uint32_t>(instr.slots[1]);
  const Format *to = reinterpret_cast<const Format *>(instr.immediate);
  bool relu = instr.flags & flagRelu;
  writeLanes<uint16_t>(warp, instr.slots[0], [=](int lane) {
    auto convert = [&](uint32_t bits) {
      double value = halfToFloat(static_cast<uint16_t>(bits));
      return encode(relu && value < 0 ? 0.0 : value, *to, Rounding::Nearest,
                    /*saturate=*/true);
    };
    return static_cast<uint16_t>(convert(source[lane] >> 16) << 8 |
                                 convert(source[lane] & 0xffff));
  });
}

//===----------------------------------------------------------------------===//
// Decoding
//===----------------------------------------------------------------------===//

template <typename F> void dispatchInteger(Type type, F f) {
  bool isSigned = type.isSigned();
  switch (type.bytes) {
  case 1:
    return isSigned ? f(int8_t()) : f(uint8_t());
  case 2:
    return isSigned ? f(int16_t()) : f(uint16_t());
  case 4:
    return isSigned ? f(int32_t()) : f(uint32_t());
  default:
    return isSigned ? f(int64_t()) : f(uint64_t());
  }
}

/// Calls `f` with the register type that holds D extended to `width` bytes.
template <typename D, typename F> void dispatchRegister(unsigned width, F f) {
  constexpr bool isSigned = std::is_signed_v<D>;
  if (width == 8)
    return f(std::conditional_t<isSigned, int64_t, uint64_t>());
  if constexpr (sizeof(D) <= 4) {
    if (width == 4)
      return f(std::conditional_t<isSigned, int32_t, uint32_t>());
    if constexpr (sizeof(D) <= 2)
      return f(std::conditional_t<isSigned, int16_t, uint16_t>());
  }
}

void decodeToInteger(InstrBuilder &b, Type to, Type from) {
  unsigned width = to.bytes, sourceWidth = from.bytes;
  b.wideResult(b.operand(0), to.bytes, width);
  b.wideSource(b.operand(1), from.bytes, sourceWidth);
  if (b.failed())
    return;
  b.instr.bytes = static_cast<uint8_t>(sourceWidth);
  bool fromInteger = from.isInteger();
  if (!fromInteger && sourceWidth != from.bytes)
    return b.refuse("the source register has another width");
  dispatchInteger(to, [&](auto toZero) {
    using D = decltype(toZero);
    dispatchRegister<D>(width, [&](auto registerZero) {
      using R = decltype(registerZero);
      if (fromInteger)
        return dispatchInteger(from, [&](auto fromZero) {
          b.instr.exec = integerToInteger<decltype(fromZero), D, R>;
        });
      if (from.bytes == 8)
        b.instr.exec = floatToInteger<double, D, R>;
      else if (from.bytes == 4)
        b.instr.exec = floatToInteger<float, D, R>;
      else
        b.instr.exec = floatToInteger<uint16_t, D, R>;
    });
  });
  if (from.kind == Type::Kind::BFloat)
    b.instr.flags |= flagToIntegral;
  bool keepsLowBytes = fromInteger && !(b.instr.flags & flagSat) &&
                       width == to.bytes && from.bytes >= to.bytes;
  if (keepsLowBytes && width >= 2)
    b.instr.traceBytes = width == 8   ? traceLowBytes<8>
                         : width == 4 ? traceLowBytes<4>
                                      : traceLowBytes<2>;
}

void decodeIntegerToFloat(InstrBuilder &b, Type to, Type from) {
  unsigned sourceWidth = from.bytes;
  b.result(0, to.bytes);
  b.wideSource(b.operand(1), from.bytes, sourceWidth);
  b.instr.bytes = static_cast<uint8_t>(sourceWidth);
  if ((b.instr.flags & 3) && (to.bytes == 8 || from.bytes == 8))
    return b.refuse("only .rn is supported for 64 bits");
  b.instr.flags &= 3;
  if (to.kind == Type::Kind::BFloat)
    b.instr.flags |= flagToIntegral;
  dispatchInteger(from, [&](auto zero) {
    using S = decltype(zero);
    b.instr.exec = to.bytes == 8   ? integerToFloat<S, double>
                   : to.bytes == 4 ? integerToFloat<S, float>
                                   : integerToFloat<S, uint16_t>;
  });
}

/// The static pair of formats for a conversion.
const FloatPair *floatPair(Type to, Type from) {
  static const Format *const formats[] = {nullptr, &formatF32, &formatF16,
                                          &formatBF16};
  static const auto pairs = [] {
    std::array<FloatPair, 16> all;
    for (unsigned i = 0; i < 4; ++i)
      for (unsigned j = 0; j < 4; ++j)
        all[i * 4 + j] = {formats[i], formats[j]};
    return all;
  }();
  auto indexOf = [](Type type) {
    return type.kind == Type::Kind::BFloat ? 3
           : type.bytes == 8               ? 0
           : type.bytes == 4               ? 1
                                           : 2;
  };
  return &pairs[indexOf(from) * 4 + indexOf(to)];
}

void decodeFloatToFloat(InstrBuilder &b, Type to, Type from, bool hasRounding) {
  b.result(0, to.bytes);
  b.source(1, from.bytes);
  bool plain = b.instr.flags == 0;
  bool half = to.is(Type::Kind::Float, 2),
       bfloat = to.kind == Type::Kind::BFloat;
  if (plain && to.is(Type::Kind::Float, 4) && from.bytes == 2) {
    b.instr.exec =
        from.kind == Type::Kind::BFloat ? bfloatToSingle : halfToSingle;
    return;
  }
  if (plain && from.is(Type::Kind::Float, 4) && (half || bfloat)) {
    b.instr.exec = half ? singleToHalf : singleToBfloat;
    return;
  }
  if (to.bytes < from.bytes && !hasRounding &&
      !(b.instr.flags & flagToIntegral))
    return b.refuse("a rounding is needed");
  b.instr.immediate = reinterpret_cast<uint64_t>(floatPair(to, from));
  auto pick = [&](auto fromZero) {
    using S = decltype(fromZero);
    b.instr.exec = to.bytes == 8   ? floatToFloat<S, uint64_t>
                   : to.bytes == 4 ? floatToFloat<S, uint32_t>
                                   : floatToFloat<S, uint16_t>;
  };
  if (from.bytes == 8)
    pick(uint64_t());
  else if (from.bytes == 4)
    pick(uint32_t());
  else
    pick(uint16_t());
}

void decodePacked(InstrBuilder &b, Type to, Type from, bool satfinite) {
  bool toFp8 = to.kind == Type::Kind::E4M3 || to.kind == Type::Kind::E5M2;
  bool fromFp8 = from.kind == Type::Kind::E4M3 || from.kind == Type::Kind::E5M2;
  if (toFp8 || fromFp8)
    b.requireTarget(89, "cvt of 8-bit floats");
  if (toFp8 && !satfinite)
    return b.refuse(".satfinite is needed");
  if (satfinite)
    b.instr.flags |= flagSat;
  if (fromFp8 && to.is(Type::Kind::Float, 4, true)) {
    b.expectOperands(2, 2);
    b.result(0, 4);
    b.source(1, 2);
    b.instr.immediate =
        reinterpret_cast<uint64_t>(formatOf(from.kind, from.bytes));
    b.instr.exec = unpackFp8;
  } else if (toFp8 && from.is(Type::Kind::Float, 4, true)) {
    b.expectOperands(2, 2);
    b.result(0, 2);
    b.source(1, 4);
    b.instr.immediate = reinterpret_cast<uint64_t>(formatOf(to.kind, 1));
    b.instr.exec = packFp8;
  } else if (from.is(Type::Kind::Float, 4) && to.packed) {
    b.expectOperands(3, 3);
    b.result(0, to.bytes);
    b.source(1, 4);
    b.source(2, 4);
    b.instr.immediate = reinterpret_cast<uint64_t>(
        toFp8 ? formatOf(to.kind, 1) : formatOf(to.kind, 2));
    b.instr.exec =
        toFp8 ? packPair<float, uint16_t> : packPair<float, uint32_t>;
  } else {
    b.refuse("this pair of types is not supported");
  }
}

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

void decodePack(InstrBuilder &b) {
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

void decodeCvt(InstrBuilder &b) {
  if (b.take("pack"))
    return decodePack(b);
  int toIntegral = b.takeOneOf({"rni", "rzi", "rmi", "rpi"});
  int rounding = b.takeOneOf({"rn", "rz", "rm", "rp"});
  bool awayTies = b.take("rna");
  bool satfinite = b.take("satfinite");
  uint8_t flags = 0;
  if (toIntegral >= 0)
    flags = static_cast<uint8_t>(toIntegral);
  else if (rounding >= 0)
    flags = static_cast<uint8_t>(rounding);
  if (b.take("ftz"))
    flags |= flagFtz;
  if (b.take("sat"))
    flags |= flagSat;
  if (b.take("relu"))
    flags |= flagRelu;
  Type to = b.type(), from = b.type();
  if (b.failed())
    return;
  b.instr.flags = flags;
  if (decodeNarrowConversion(
          b, to, from, {rounding, awayTies, satfinite, bool(flags & flagRelu)}))
    return;
  if (awayTies || to.kind == Type::Kind::Predicate ||
      from.kind == Type::Kind::Predicate || from.kind == Type::Kind::TFloat)
    return b.refuse("this conversion is not supported");
  if (to.packed || from.packed)
    return decodePacked(b, to, from, satfinite);
  if (satfinite) {
    if (to.bytes != 2 || to.isInteger() || from.isInteger())
      return b.refuse(".satfinite is supported for f16 and bf16 results only");
    b.instr.flags |= flagSatFinite;
  }
  b.expectOperands(2, 2);
  if (to.isInteger()) {
    if (!from.isInteger() && toIntegral < 0)
      return b.refuse("a rounding to integers is needed");
    return decodeToInteger(b, to, from);
  }
  if (from.isInteger())
    return decodeIntegerToFloat(b, to, from);
  if (toIntegral >= 0)
    b.instr.flags |= flagToIntegral;
  decodeFloatToFloat(b, to, from, rounding >= 0);
}

} // namespace

std::span<const Opcode> sim::convertOpcodes() {
  static const Opcode table[] = {
      {"cvt", InstrClass::Convert, decodeCvt},
  };
  return table;
}
