//===- Codecs.h - Small floating-point formats, by definition ---*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// What the bits of a number mean, and which number lies nearest, written from
// the definitions of the formats alone (PTX ISA, "Alternate floating point data
// formats" and the rounding modifiers of `cvt`). Expected values of the
// conformance set rest on this file, so it shares no code with the runtime,
// the compiler or the simulator.
//
// A value on its way into a format is a double that holds it exactly: every
// f32, f16, bf16, tf32, fp8, fp6 and fp4 number is one.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_TESTS_CONFORMANCE_CODECS_H
#define QUERN_TESTS_CONFORMANCE_CODECS_H

#include <cstdint>

namespace quern::conformance {

/// A binary format of sign, exponent and mantissa.
struct Format {
  int exponentBits, mantissaBits, bias;
  /// Where the largest exponent is special as in IEEE 754; else only what
  /// `nan` says is.
  bool hasInfinity;
  bool hasNan;

  int bits() const { return 1 + exponentBits + mantissaBits; }
};

inline constexpr Format f16 = {5, 10, 15, true, true};
inline constexpr Format bf16 = {8, 7, 127, true, true};
inline constexpr Format tf32 = {8, 10, 127, true, true};
inline constexpr Format f32 = {8, 23, 127, true, true};
inline constexpr Format e5m2 = {5, 2, 15, true, true};
/// 0x7f is the only NaN of either sign; 448 the largest number.
inline constexpr Format e4m3 = {4, 3, 7, false, true};
inline constexpr Format e2m3 = {2, 3, 1, false, false};
inline constexpr Format e3m2 = {3, 2, 3, false, false};
inline constexpr Format e2m1 = {2, 1, 1, false, false};

enum class Round {
  Even, ///< .rn
  Zero, ///< .rz
  Down, ///< .rm
  Up,   ///< .rp
  Away, ///< .rna: to nearest, ties away from zero
};

/// The number a bit pattern stands for.
double decode(const Format &format, uint32_t bits);
/// The largest finite number.
double largest(const Format &format);
/// The multiple of the format's step nearest to `value`, not limited in size.
double roundTo(const Format &format, double value, Round round);
/// The bits of `value` in the format; beyond the largest number the infinity
/// or, with `saturate`, that number. NaN becomes `nan`.
uint32_t encode(const Format &format, double value, Round round, bool saturate,
                uint32_t nan);

/// f32 to and from bits.
float asFloat(uint32_t bits);
uint32_t asBits(float value);

} // namespace quern::conformance

#endif // QUERN_TESTS_CONFORMANCE_CODECS_H
