//===- Convert.cpp - cvt --------------------------------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// PTX ISA: "cvt", "cvt.pack". Of two sources the first goes to the upper half.
// To integers, numbers out of range go to the nearest end and NaN to 0 (from
// f64 or to 64 bits to the lone highest bit, which no case here asks); to f16
// and bf16 NaN becomes 0x7fff, to fp8 0x7f; fp6 and fp4 have no NaN and take
// their largest number.
//
//===----------------------------------------------------------------------===//

#include "tests/conformance/Arithmetic.h"
#include "tests/conformance/Rows.h"

#include <algorithm>

using namespace quern;
using namespace quern::conformance;

namespace {

using U = uint32_t;
using S = int32_t;

const Words specials = {
    0x00000000, 0x80000000, 0x3f800000, 0xbf800000, 0x7f800000, 0xff800000,
    0x7fc00000, 0x7f800001, 0xffc12345, 0x00000001, 0x80000001, 0x007fffff,
    0x00400000, 0x00600000, 0x00800000, 0x7f7fffff, 0xff7fffff, 0x3f000000,
    0x3fc00000, 0x40200000, 0xc0200000, 0x4f000000, 0xcf000000, 0x4f800000,
    0x477fe000, 0x477ff000, 0x477fefff, 0x33000000, 0x33000001, 0x33800000,
    0x43e00000, 0x43e80000, 0x43e7ffff, 0x47600000, 0x47700000, 0x3b000000,
    0x3a800000, 0x3ac00000, 0x40c00000, 0x40a00000, 0x40e00000, 0x42fe0000,
    0x42ff0000, 0xc3000000, 0x437f0000, 0x437f8000, 0x0000007f, 0x00000080,
    0xffffff80, 0xffffff7f, 0x000000ff, 0x00000100, 0x01000001, 0x3f808000,
    0x3f818000, 0x3f801000, 0x3f803000};

double f(U bits) { return decode(f32, bits); }

double whole(double value, Round round) {
  switch (round) {
  case Round::Zero:
    return std::trunc(value);
  case Round::Down:
    return std::floor(value);
  case Round::Up:
    return std::ceil(value);
  default:
    return std::nearbyint(value);
  }
}
U toInteger(double value, Round round, double least, double most) {
  if (std::isnan(value))
    return 0;
  return static_cast<U>(
      static_cast<int64_t>(std::clamp(whole(value, round), least, most)));
}
U integral(U bits, Round round) {
  double value = f(bits);
  if (std::isnan(value))
    return 0x7fffffff;
  if (std::isinf(value))
    return bits;
  return encode(f32, std::copysign(whole(value, round), value), Round::Even,
                false, 0);
}
double relu(double x) { return x < 0 || (x == 0 && std::signbit(x)) ? 0 : x; }
S clampS(S x, S least, S most) { return std::clamp(x, least, most); }

constexpr double s32Least = -0x1p31, s32Most = 0x1p31 - 1, u32Most = 0x1p32 - 1;

Case integers() {
  auto toS32 = [](Round r) {
    return [r](U a, U, U) { return toInteger(f(a), r, s32Least, s32Most); };
  };
  auto fromS32 = [](Round r) {
    return
        [r](U a, U, U) { return encode(f32, static_cast<S>(a), r, false, 0); };
  };
  auto rounded = [](Round r) {
    return [r](U a, U, U) { return integral(a, r); };
  };
  constexpr Round even = Round::Even;
  auto byte = [](S x) { return static_cast<U>(x) & 0xff; };
  return rowsCase<U>(
      "cvt with integers", "convert", "convert_integers",
      {{"rni.s32.f32", toS32(even)},
       {"rzi.s32.f32", toS32(Round::Zero)},
       {"rmi.s32.f32", toS32(Round::Down)},
       {"rpi.s32.f32", toS32(Round::Up)},
       {"rni.u32.f32",
        [](U a, U, U) { return toInteger(f(a), even, 0, u32Most); }},
       {"rzi.u32.f32",
        [](U a, U, U) { return toInteger(f(a), Round::Zero, 0, u32Most); }},
       {"rni.sat.s8.f32",
        [](U a, U, U) { return toInteger(f(a), even, -128, 127); }},
       {"rni.sat.u8.f32",
        [](U a, U, U) { return toInteger(f(a), even, 0, 255); }},
       {"sat.s8.s32", [](U a, U, U) -> U { return clampS(a, -128, 127); }},
       {"sat.u8.s32", [](U a, U, U) -> U { return clampS(a, 0, 255); }},
       {"sat.u16.s32", [](U a, U, U) -> U { return clampS(a, 0, 65535); }},
       {"s32.s8", [](U a, U, U) -> U { return static_cast<int8_t>(a); }},
       {"u32.u16", [](U a, U, U) { return a & 0xffff; }},
       {"s32.s16", [](U a, U, U) -> U { return static_cast<int16_t>(a); }},
       {"rn.f32.s32", fromS32(even)},
       {"rz.f32.s32", fromS32(Round::Zero)},
       {"rm.f32.s32", fromS32(Round::Down)},
       {"rp.f32.s32", fromS32(Round::Up)},
       {"rn.f32.u32", [](U a, U, U) { return encode(f32, a, even, false, 0); }},
       {"rn.f32.s8",
        [](U a, U, U) {
          return encode(f32, static_cast<int8_t>(a), even, false, 0);
        }},
       {"rn.f32.u8",
        [](U a, U, U) { return encode(f32, a & 0xff, even, false, 0); }},
       {"rni.f32.f32", rounded(even)},
       {"rzi.f32.f32", rounded(Round::Zero)},
       {"rmi.f32.f32", rounded(Round::Down)},
       {"rpi.f32.f32", rounded(Round::Up)},
       {"sat.f32.f32",
        [](U a, U, U) { return encode(f32, saturated(f(a)), even, false, 0); }},
       {"pack.sat.s8.s32.b32",
        [=](U a, U b, U) {
          return byte(clampS(a, -128, 127)) << 8 | byte(clampS(b, -128, 127));
        }},
       {"pack.sat.u8.s32.b32",
        [=](U a, U b, U) {
          return byte(clampS(a, 0, 255)) << 8 | byte(clampS(b, 0, 255)) |
                 a << 16;
        }},
       {"pack.sat.s16.s32",
        [](U a, U b, U) {
          return (static_cast<U>(clampS(a, -32768, 32767)) << 16) |
                 (static_cast<U>(clampS(b, -32768, 32767)) & 0xffff);
        }}},
      specials);
}

/// Both sources into a pair of the format.
Row<U> pair(const char *name, Format format, Round round, bool saturate, U nan,
            bool withRelu = false) {
  // fp6 sits in a byte; fp4's pair fills one.
  int width = format.bits() == 4 ? 4 : format.bits() > 8 ? 16 : 8;
  Row<U> row = {name, [=](U a, U b, U) {
                  auto one = [&](U x) {
                    double value = withRelu ? relu(f(x)) : f(x);
                    return encode(format, value, round, saturate, nan);
                  };
                  return one(a) << width | one(b);
                }};
  // Whether relu(-0) is -0 is not said.
  if (withRelu)
    row.canonical = [=](U x) {
      U minusZero = 1u << (format.bits() - 1), mask = minusZero * 2 - 1;
      for (int shift : {0, width})
        if ((x >> shift & mask) == minusZero)
          x &= ~(minusZero << shift);
      return x;
    };
  return row;
}

Case halves() {
  auto one = [](const char *name, Format format, Round round) {
    return Row<U>{name, [=](U a, U, U) {
                    return encode(format, f(a), round, false, 0x7fff);
                  }};
  };
  return rowsCase<U>(
      "cvt with f16, bf16 and tf32", "convert", "convert_halves",
      {pair("rn.f16x2.f32", f16, Round::Even, false, 0x7fff),
       pair("rz.f16x2.f32", f16, Round::Zero, false, 0x7fff),
       pair("rn.relu.f16x2.f32", f16, Round::Even, false, 0x7fff, true),
       pair("rn.bf16x2.f32", bf16, Round::Even, false, 0x7fff),
       pair("rz.bf16x2.f32", bf16, Round::Zero, false, 0x7fff),
       pair("rn.relu.bf16x2.f32", bf16, Round::Even, false, 0x7fff, true),
       one("rn.f16.f32", f16, Round::Even),
       one("rz.f16.f32", f16, Round::Zero),
       one("rm.f16.f32", f16, Round::Down),
       one("rp.f16.f32", f16, Round::Up),
       one("rn.bf16.f32", bf16, Round::Even),
       // The lower 13 bits of a tf32 number are not looked at.
       {"rna.tf32.f32",
        [](U a, U, U) {
          return encode(tf32, f(a), Round::Away, false, 0x3ffff) << 13;
        },
        -1, [](U x) { return std::isnan(f(x)) ? 0x7fffffff : x & 0xffffe000; }},
       {"f32.f16",
        [](U a, U, U) {
          return encode(f32, decode(f16, a & 0xffff), Round::Even, false,
                        0x7fffffff);
        },
        -1, [](U x) { return std::isnan(f(x)) ? 0x7fffffff : x; }},
       {"rni.s32.f16",
        [](U a, U, U) {
          return toInteger(decode(f16, a >> 16), Round::Even, s32Least,
                           s32Most);
        }},
       {"rn.f16.s32",
        [](U a, U, U) {
          return encode(f16, static_cast<S>(a), Round::Even, false, 0);
        }}},
      specials);
}

/// Two codes of a small format to a pair of f16.
Row<U> widen(const char *name, Format format) {
  return {name, [=](U a, U, U) {
            int step = format.bits() == 4 ? 4 : 8;
            U mask = (1u << format.bits()) - 1;
            auto half = [&](U code) {
              return encode(f16, decode(format, code & mask), Round::Even,
                            false, 0x7fff);
            };
            return half(a >> step) << 16 | half(a);
          }};
}

Case fp8() {
  auto fromF16 = [](const char *name, Format format) {
    return Row<U>{name, [=](U a, U, U) {
                    auto one = [&](U x) {
                      return encode(format, decode(f16, x & 0xffff),
                                    Round::Even, true, 0x7f);
                    };
                    return one(a >> 16) << 8 | one(a);
                  }};
  };
  return rowsCase<U>(
      "cvt with fp8", "convert_fp8", "convert_fp8",
      {pair("e4m3x2.f32", e4m3, Round::Even, true, 0x7f),
       pair("e5m2x2.f32", e5m2, Round::Even, true, 0x7f),
       pair("relu.e4m3x2.f32", e4m3, Round::Even, true, 0x7f, true),
       pair("relu.e5m2x2.f32", e5m2, Round::Even, true, 0x7f, true),
       fromF16("e4m3x2.f16x2", e4m3), fromF16("e5m2x2.f16x2", e5m2),
       widen("f16x2.e4m3x2", e4m3), widen("f16x2.e5m2x2", e5m2)},
      specials);
}

/// A power of two: the exponent that rz and rp give, as a code.
U scaleCode(double value, Round round) {
  if (std::isnan(value))
    return 0xff;
  if (std::isinf(value))
    return 0xfe;
  if (value <= 0x1p-127)
    return 0;
  int exponent = std::ilogb(value);
  if (round == Round::Up && std::ldexp(1, exponent) < value)
    ++exponent;
  return static_cast<U>(std::clamp(exponent + 127, 0, 254));
}

Case fp4() {
  auto scale = [](const char *name, Round round) {
    return Row<U>{name, [=](U a, U b, U) {
                    return scaleCode(std::fabs(f(a)), round) << 8 |
                           scaleCode(std::fabs(f(b)), round);
                  }};
  };
  return rowsCase<U>(
      "cvt with fp4, fp6 and e8m0", "convert_fp4", "convert_fp4",
      {pair("e2m1x2.f32", e2m1, Round::Even, true, 0x7),
       pair("relu.e2m1x2.f32", e2m1, Round::Even, true, 0x7, true),
       pair("e2m3x2.f32", e2m3, Round::Even, true, 0x1f),
       pair("e3m2x2.f32", e3m2, Round::Even, true, 0x1f),
       widen("f16x2.e2m1x2", e2m1),
       widen("f16x2.e2m3x2", e2m3),
       widen("f16x2.e3m2x2", e3m2),
       scale("rz.ue8m0x2.f32", Round::Zero),
       scale("rp.ue8m0x2.f32", Round::Up),
       {"bf16x2.ue8m0x2",
        [](U a, U, U) {
          auto one = [](U code) {
            return code == 0xff
                       ? 0x7fffu
                       : encode(bf16,
                                std::ldexp(1, static_cast<int>(code) - 127),
                                Round::Even, false, 0);
          };
          return one(a >> 8 & 0xff) << 16 | one(a & 0xff);
        }}},
      specials);
}

} // namespace

std::vector<Case> conformance::convertCases() {
  return {integers(), halves(), fp8(), fp4()};
}
