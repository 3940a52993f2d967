//===- Floats.cpp - Narrow floating point formats by hand -----------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/reference/Floats.h"

#include <bit>

namespace quern::reference {

namespace {
struct Format {
  int exponentBits, mantissaBits;
  bool ieee;      ///< The top exponent is kept for infinity and NaN.
  bool saturates; ///< Overflow gives the largest finite number.

  int bias() const { return (1 << (exponentBits - 1)) - 1; }
  uint32_t signMask() const { return 1u << (exponentBits + mantissaBits); }
  uint32_t nan() const {
    // The quiet bit where there is one; all ones for the eight-bit formats.
    if (exponentBits + mantissaBits == 7)
      return 0x7f;
    return infinity() | (1u << (mantissaBits - 1));
  }
  uint32_t infinity() const {
    return ((1u << exponentBits) - 1) << mantissaBits;
  }
  uint32_t maxFinite() const { return ieee ? infinity() - 1 : 0x7e; }
};

constexpr Format formatOf(DType type) {
  switch (type) {
  case DType::F16:
    return {5, 10, true, false};
  case DType::BF16:
    return {8, 7, true, false};
  case DType::F8E4M3:
    return {4, 3, false, true};
  case DType::F8E5M2:
    return {5, 2, true, true};
  default:
    return {8, 23, true, false};
  }
}
} // namespace

float decodeFloat(DType type, uint32_t bits) {
  const Format f = formatOf(type);
  uint32_t sign = (bits & f.signMask()) ? 0x80000000u : 0;
  uint32_t magnitude = bits & (f.signMask() - 1);
  uint32_t exponent = magnitude >> f.mantissaBits;
  uint32_t mantissa = magnitude & ((1u << f.mantissaBits) - 1);
  bool isNaN = f.ieee ? magnitude > f.infinity() : magnitude == 0x7f;
  if (isNaN)
    return std::bit_cast<float>(sign | 0x7fc00000u |
                                (mantissa << (23 - f.mantissaBits)));
  if (f.ieee && magnitude == f.infinity())
    return std::bit_cast<float>(sign | 0x7f800000u);
  if (exponent == 0) {
    if (f.exponentBits == 8) // f32's own exponent range: only shift.
      return std::bit_cast<float>(sign | (mantissa << (23 - f.mantissaBits)));
    // mantissa * 2^(1 - bias - mantissaBits), a normal number in f32.
    float unit = std::bit_cast<float>(
        static_cast<uint32_t>(1 - f.bias() - f.mantissaBits + 127) << 23);
    float value = static_cast<float>(mantissa) * unit;
    return std::bit_cast<float>(std::bit_cast<uint32_t>(value) | sign);
  }
  return std::bit_cast<float>(sign | ((exponent - f.bias() + 127) << 23) |
                              (mantissa << (23 - f.mantissaBits)));
}

uint32_t encodeFloat(DType type, double value) {
  const Format f = formatOf(type);
  uint64_t bits = std::bit_cast<uint64_t>(value);
  uint32_t sign = (bits >> 63) ? f.signMask() : 0;
  uint64_t magnitude = bits & 0x7fffffffffffffffull;
  if (magnitude > 0x7ff0000000000000ull)
    return sign | f.nan();
  uint32_t overflow = sign | (f.saturates ? f.maxFinite() : f.infinity());
  if (magnitude == 0x7ff0000000000000ull)
    return overflow;
  int exponent = static_cast<int>(magnitude >> 52) - 1023;
  // A subnormal double is far below half of the smallest number of any format.
  if (exponent == -1023)
    return sign;
  uint64_t mantissa = (magnitude & 0xfffffffffffffull) | (1ull << 52);
  // The result is mantissa >> shift in units of the format at this exponent;
  // below the smallest normal exponent the unit stays that of subnormals.
  int minExponent = 1 - f.bias();
  int unitExponent = exponent < minExponent ? minExponent : exponent;
  int shift = 52 - f.mantissaBits + (unitExponent - exponent);
  if (shift > 54)
    return sign;
  uint64_t kept = mantissa >> shift;
  uint64_t rest = mantissa & ((1ull << shift) - 1);
  uint64_t half = 1ull << (shift - 1);
  if (rest > half || (rest == half && (kept & 1)))
    ++kept;
  // `kept` has its implicit bit at mantissaBits when normal; adding it to the
  // exponent field makes a carry of the rounding raise the exponent by itself.
  if (exponent > f.bias() + 1)
    return overflow;
  uint32_t result = static_cast<uint32_t>(
      kept +
      (static_cast<uint64_t>(unitExponent - minExponent) << f.mantissaBits));
  if (result > f.maxFinite())
    return overflow;
  return sign | result;
}

int64_t orderedIndex(DType type, uint32_t bits) {
  const Format f = formatOf(type);
  int64_t magnitude = bits & (f.signMask() - 1);
  return (bits & f.signMask()) ? -magnitude : magnitude;
}

} // namespace quern::reference
