//===- FloatCodes.h - f16, bf16 and fp8 to and from f32 ---------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Conversions for the host side of the interface (files, examples, checks).
// Every format is a sign, E exponent bits and F fraction bits with a bias; to
// f32 is exact, from f32 rounds half to even. Out of range: f16, bf16 and
// f8e5m2 become infinite, f8e4m3 (which has no infinity) saturates at 448.
// NaN stays NaN with its sign.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_TENSOR_FLOATCODES_H
#define QUERN_TENSOR_FLOATCODES_H

#include "runtime/core/DType.h"

#include <bit>
#include <cmath>
#include <cstdint>

namespace quern {
inline namespace v0 {

struct FloatFormat {
  int exponentBits;
  int fractionBits;
  bool hasInfinity; ///< Else the top exponent is finite but for all ones.
};

inline constexpr FloatFormat formatF16 = {5, 10, true};
inline constexpr FloatFormat formatBF16 = {8, 7, true};
inline constexpr FloatFormat formatF8E4M3 = {4, 3, false};
inline constexpr FloatFormat formatF8E5M2 = {5, 2, true};

inline float decodeFloat(uint32_t code, FloatFormat f) {
  int bias = (1 << (f.exponentBits - 1)) - 1;
  uint32_t exponentMask = (1u << f.exponentBits) - 1;
  uint32_t fractionMask = (1u << f.fractionBits) - 1;
  uint32_t fraction = code & fractionMask;
  uint32_t exponent = code >> f.fractionBits & exponentMask;
  uint32_t sign = (code >> (f.exponentBits + f.fractionBits) & 1) << 31;
  if (exponent == exponentMask && (f.hasInfinity || fraction == fractionMask)) {
    // Keep the payload's top bits, and NaN a NaN.
    uint32_t payload =
        f.hasInfinity ? fraction << (23 - f.fractionBits) : 0x400000u;
    return std::bit_cast<float>(sign | 0x7f800000u | payload);
  }
  float magnitude =
      exponent == 0
          ? std::ldexp(static_cast<float>(fraction), 1 - bias - f.fractionBits)
          : std::ldexp(static_cast<float>(fraction | (fractionMask + 1)),
                       static_cast<int>(exponent) - bias - f.fractionBits);
  return sign ? -magnitude : magnitude;
}

inline uint32_t encodeFloat(float value, FloatFormat f) {
  int bias = (1 << (f.exponentBits - 1)) - 1;
  uint32_t bits = std::bit_cast<uint32_t>(value);
  uint32_t sign = (bits >> 31) << (f.exponentBits + f.fractionBits);
  uint32_t top = (1u << f.exponentBits) - 1;
  uint32_t ones = (1u << f.fractionBits) - 1;
  if (value != value) {
    uint32_t payload = f.hasInfinity
                           ? ((bits & 0x7fffff) >> (23 - f.fractionBits)) |
                                 (1u << (f.fractionBits - 1))
                           : ones;
    return sign | top << f.fractionBits | payload;
  }
  uint32_t largest = f.hasInfinity ? top << f.fractionBits // infinity
                                   : (top << f.fractionBits | ones) - 1;
  double magnitude = std::fabs(static_cast<double>(value));
  if (magnitude == HUGE_VAL)
    return sign | largest;
  if (magnitude == 0)
    return sign;
  int exponent;
  std::frexp(magnitude, &exponent); // magnitude = m * 2^exponent, m in [.5, 1)
  int unit = exponent - 1;          // 2^unit <= magnitude
  if (unit < 1 - bias)
    unit = 1 - bias; // Subnormals share the smallest normal's spacing.
  // In units of the last place; the product is exact, nearbyint rounds half to
  // even in the default environment.
  double scaled = std::nearbyint(std::ldexp(magnitude, f.fractionBits - unit));
  // A carry into the next binade or into the normal range adds up correctly,
  // since codes are ordered as the numbers are.
  int64_t code = static_cast<int64_t>(scaled) +
                 (static_cast<int64_t>(unit + bias - 1) << f.fractionBits);
  return sign | (code > largest ? largest : static_cast<uint32_t>(code));
}

} // namespace v0
} // namespace quern

#endif // QUERN_TENSOR_FLOATCODES_H
