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
#include "runtime/device/sim/Opcodes.h"
#include "runtime/device/sim/PackOps.h"

#include <algorithm>
#include <limits>
#include <type_traits>

using namespace quern;
using namespace quern::sim;

namespace {

constexpr uint8_t flagFtz = 4;
constexpr uint8_t flagSat = 8;
constexpr uint8_t flagRelu = 16;
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
  case Type::Kind::E3M2:
    return &formatE3M2;
  case Type::Kind::E2M3:
    return &formatE2M3;
  case Type::Kind::E2M1:
    return &formatE2M1;
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
    if (value != value)
      result = 0;
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
      uint32_t bits = encode(value, *to, roundingOf(flags));
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

/// Two numbers at once: d = {a in the upper half, b in the lower}, each of
/// `width` bits.
template <typename S, typename D, unsigned width = sizeof(D) * 4>
void packPair(Warp &warp, const Instr &instr) {
  const S *upper = warp.lanes<S>(instr.slots[1]);
  const S *lower = warp.lanes<S>(instr.slots[2]);
  const Format *to = reinterpret_cast<const Format *>(instr.immediate);
  uint8_t flags = instr.flags;
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

/// The exponent alone, of a positive number: rounded down or up to a power of
/// two from 2^-127 to 2^127.
uint32_t scaleCode(float value, bool up) {
  if (std::isnan(value))
    return 0xff;
  if (!(value > 0x1p-127f))
    return 0;
  if (std::isinf(value))
    return 0xfe;
  int exponent = std::ilogb(value);
  exponent += up && std::ldexp(1.0, exponent) < double(value);
  return static_cast<uint32_t>(std::clamp(exponent + 127, 0, 254));
}

template <bool up> void packScales(Warp &warp, const Instr &instr) {
  const float *upper = warp.lanes<float>(instr.slots[1]);
  const float *lower = warp.lanes<float>(instr.slots[2]);
  writeLanes<uint16_t>(warp, instr.slots[0], [=](int lane) {
    return static_cast<uint16_t>(scaleCode(upper[lane], up) << 8 |
                                 scaleCode(lower[lane], up));
  });
}

void unpackScales(Warp &warp, const Instr &instr) {
  const uint16_t *source = warp.lanes<uint16_t>(instr.slots[1]);
  writeLanes<uint32_t>(warp, instr.slots[0], [=](int lane) {
    auto convert = [](uint32_t code) {
      return code == 0xff
                 ? uint32_t(0x7fff)
                 : encode(std::ldexp(1.0, int(code) - 127), formatBF16);
    };
    return convert(source[lane] >> 8) << 16 | convert(source[lane] & 0xff);
  });
}

/// Between pairs of fp8, fp6 or (`width` 4) fp4, and pairs of f16.
template <unsigned width = 8> void unpackFp8(Warp &warp, const Instr &instr) {
  const uint16_t *source = warp.lanes<uint16_t>(instr.slots[1]);
  const Format *from = reinterpret_cast<const Format *>(instr.immediate);
  bool relu = instr.flags & flagRelu;
  writeLanes<uint32_t>(warp, instr.slots[0], [=](int lane) {
    uint32_t mask = (2u << (from->exponentBits + from->mantissaBits)) - 1;
    auto convert = [&](uint32_t bits) {
      double value = decode(bits & mask, *from);
      return encode(relu && value < 0 ? 0.0 : value, formatF16);
    };
    return convert(source[lane] >> width) << 16 | convert(source[lane]);
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

/// cvt.rna.tf32.f32: to 10 bits of mantissa, ties away from zero.
void singleToTf32(Warp &warp, const Instr &instr) {
  const uint32_t *source = warp.lanes<uint32_t>(instr.slots[1]);
  writeLanes<uint32_t>(warp, instr.slots[0], [=](int lane) {
    uint32_t bits = source[lane];
    if ((bits & 0x7f800000) == 0x7f800000)
      return bits & 0x7fffff ? 0x7fffffffu : bits;
    return (bits + 0x1000) & ~uint32_t(0x1fff);
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

/// Pairs of scales: .ue8m0x2 from two f32, and to .bf16x2.
void decodeScales(InstrBuilder &b, Type to, Type from, bool satfinite) {
  b.result(0, to.bytes);
  if (to.kind == Type::Kind::UE8M0) {
    Rounding rounding = roundingOf(b.instr.flags);
    b.expectOperands(3, 3);
    b.source(1, 4);
    b.source(2, 4);
    if (!satfinite || !from.is(Type::Kind::Float, 4) ||
        (rounding != Rounding::Zero && rounding != Rounding::Up))
      return b.refuse("cvt.{rz,rp}.satfinite.ue8m0x2.f32 is expected");
    b.instr.exec =
        rounding == Rounding::Up ? packScales<true> : packScales<false>;
    return;
  }
  b.expectOperands(2, 2);
  b.source(1, 2);
  if (!to.is(Type::Kind::BFloat, 4, true))
    return b.refuse("cvt.rn.bf16x2.ue8m0x2 is expected");
  b.instr.exec = unpackScales;
}

void decodePacked(InstrBuilder &b, Type to, Type from, bool satfinite) {
  using K = Type::Kind;
  if (to.kind == K::UE8M0 || from.kind == K::UE8M0)
    return decodeScales(b, to, from, satfinite);
  auto isSmall = [](Type type) {
    return type.packed && type.kind >= K::E4M3 && type.kind <= K::E2M1;
  };
  if (isSmall(to) && !satfinite)
    return b.refuse(".satfinite is needed");
  if (satfinite)
    b.instr.flags |= flagSat;
  // Registers of 8 bits are kept in 16.
  if (isSmall(from) && to.is(K::Float, 4, true)) {
    b.expectOperands(2, 2);
    b.result(0, 4);
    b.source(1, 2);
    b.instr.immediate = reinterpret_cast<uint64_t>(formatOf(from.kind, 1));
    b.instr.exec = from.kind == K::E2M1 ? unpackFp8<4> : unpackFp8<8>;
  } else if (isSmall(to) && to.bytes == 2 && from.is(K::Float, 4, true)) {
    b.expectOperands(2, 2);
    b.result(0, 2);
    b.source(1, 4);
    b.instr.immediate = reinterpret_cast<uint64_t>(formatOf(to.kind, 1));
    b.instr.exec = packFp8;
  } else if (from.is(K::Float, 4) && to.packed) {
    b.expectOperands(3, 3);
    b.result(0, isSmall(to) ? 2 : to.bytes);
    b.source(1, 4);
    b.source(2, 4);
    b.instr.immediate = reinterpret_cast<uint64_t>(
        isSmall(to) ? formatOf(to.kind, 1) : formatOf(to.kind, 2));
    b.instr.exec = to.kind == K::E2M1 ? packPair<float, uint16_t, 4>
                   : isSmall(to)      ? packPair<float, uint16_t>
                                      : packPair<float, uint32_t>;
  } else {
    b.refuse("this pair of types is not supported");
  }
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
  if (to.kind == Type::Kind::TFloat) {
    b.expectOperands(2, 2);
    b.result(0, 4);
    b.source(1, 4);
    if (!awayTies || satfinite || !from.is(Type::Kind::Float, 4))
      return b.refuse("only cvt.rna.tf32.f32 is supported");
    b.instr.exec = singleToTf32;
    return;
  }
  if (awayTies || to.kind == Type::Kind::Predicate ||
      from.kind == Type::Kind::Predicate || from.kind == Type::Kind::TFloat)
    return b.refuse("this conversion is not supported");
  if (to.packed || from.packed)
    return decodePacked(b, to, from, satfinite);
  if (satfinite)
    return b.refuse(".satfinite is supported for packed results only");
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
