//===- Arithmetic.h - Number formats and rounding ---------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Floating-point arithmetic as PTX defines it, on any IEEE host:
//
//  - encode() rounds a double to a smaller binary format in any of PTX's
//    rounding modes; f32 is exact in double, so it serves every conversion.
//  - addOdd() and friends compute in double rounded to odd: the last bit is set
//    when the result is inexact. Rounding such a value again to p <= 51 bits,
//    in any mode, gives the correctly rounded result of the exact operation
//    (Boldo & Melquiond, "When double rounding is odd", 2005). This gives the
//    directed modes of f32 and every fma of f16 and bf16.
//  - NaN results are the canonical NaN of the format, as on the hardware.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_DEVICE_SIM_ARITHMETIC_H
#define QUERN_DEVICE_SIM_ARITHMETIC_H

#include <bit>
#include <cmath>
#include <cstdint>

namespace quern {
inline namespace v0 {
namespace sim {

enum class Rounding : uint8_t { Nearest, Zero, Down, Up };

/// A binary floating-point format with a sign bit.
struct Format {
  unsigned exponentBits;
  unsigned mantissaBits;
  /// The largest finite number, as bits without sign; numbers above overflow.
  uint32_t maxFinite;
  /// What overflow gives: infinity, or NaN where the format has none.
  uint32_t overflow;
  uint32_t nan;
};
inline constexpr Format formatF32{8, 23, 0x7f7fffff, 0x7f800000, 0x7fffffff};
inline constexpr Format formatF16{5, 10, 0x7bff, 0x7c00, 0x7fff};
inline constexpr Format formatBF16{8, 7, 0x7f7f, 0x7f80, 0x7fff};
inline constexpr Format formatE4M3{4, 3, 0x7e, 0x7f, 0x7f};
inline constexpr Format formatE5M2{5, 2, 0x7b, 0x7c, 0x7f};
// Neither infinities nor NaN: both become the largest number when saturating,
// which conversions to these always do.
inline constexpr Format formatE3M2{3, 2, 0x1f, 0x1f, 0x1f};
inline constexpr Format formatE2M3{2, 3, 0x1f, 0x1f, 0x1f};
inline constexpr Format formatE2M1{2, 1, 0x07, 0x07, 0x07};

/// Rounds `value` to `format`. With `saturate`, overflow gives the largest
/// finite number (and infinity does too).
inline uint32_t encode(double value, const Format &format,
                       Rounding rounding = Rounding::Nearest,
                       bool saturate = false) {
  uint64_t bits = std::bit_cast<uint64_t>(value);
  uint32_t sign = static_cast<uint32_t>(bits >> 63)
                  << (format.exponentBits + format.mantissaBits);
  if (value != value)
    return format.nan;
  if (std::isinf(value))
    return sign | (saturate ? format.maxFinite : format.overflow);
  int64_t mantissa = bits & ((uint64_t(1) << 52) - 1);
  int exponent = static_cast<int>(bits >> 52 & 0x7ff);
  if (exponent == 0 && mantissa == 0)
    return sign;
  if (exponent == 0)
    exponent = 1; // A subnormal double, far below every format here.
  else
    mantissa |= int64_t(1) << 52;
  // value = mantissa * 2^(exponent - 1075)
  int bias = (1 << (format.exponentBits - 1)) - 1;
  int target = exponent - 1023 + bias; // Biased exponent in the format.
  int shift = 52 - static_cast<int>(format.mantissaBits);
  if (target < 1)
    shift += 1 - target;
  uint64_t kept, rest, half;
  if (shift > 60) {
    kept = 0;
    rest = 1;
    half = 2;
  } else {
    kept = static_cast<uint64_t>(mantissa) >> shift;
    rest = static_cast<uint64_t>(mantissa) & ((uint64_t(1) << shift) - 1);
    half = uint64_t(1) << (shift - 1);
  }
  bool up = false;
  switch (rounding) {
  case Rounding::Nearest:
    up = rest > half || (rest == half && (kept & 1));
    break;
  case Rounding::Zero:
    break;
  case Rounding::Down:
    up = rest && sign;
    break;
  case Rounding::Up:
    up = rest && !sign;
    break;
  }
  kept += up;
  // Carries run into the exponent by themselves.
  uint64_t magnitude =
      target < 1 ? kept : kept + (uint64_t(target - 1) << format.mantissaBits);
  if (magnitude > format.maxFinite) {
    bool towardZero = rounding == Rounding::Zero ||
                      (rounding == Rounding::Down && !sign) ||
                      (rounding == Rounding::Up && sign);
    return sign | (saturate || towardZero ? format.maxFinite : format.overflow);
  }
  return sign | static_cast<uint32_t>(magnitude);
}

/// The value of a number in `format`; exact.
inline double decode(uint32_t bits, const Format &format) {
  uint32_t magnitudeMask =
      (uint32_t(1) << (format.exponentBits + format.mantissaBits)) - 1;
  uint32_t magnitude = bits & magnitudeMask;
  bool negative = bits >> (format.exponentBits + format.mantissaBits) & 1;
  double value;
  if (magnitude > format.maxFinite) {
    bool infinite =
        format.overflow != format.nan && magnitude == format.overflow;
    value = infinite ? HUGE_VAL : std::nan("");
  } else {
    uint32_t mantissa = magnitude & ((uint32_t(1) << format.mantissaBits) - 1);
    int exponent = static_cast<int>(magnitude >> format.mantissaBits);
    int bias = (1 << (format.exponentBits - 1)) - 1;
    int scale = (exponent ? exponent : 1) - bias -
                static_cast<int>(format.mantissaBits);
    if (exponent)
      mantissa |= uint32_t(1) << format.mantissaBits;
    value = std::ldexp(static_cast<double>(mantissa), scale);
  }
  return negative ? -value : value;
}

/// `value` with its last bit set if `error`, the exact remainder, is not zero;
/// truncated first when the remainder points toward zero.
inline double roundToOdd(double value, double error) {
  if (error == 0 || error != error || std::isinf(value) || value != value)
    return value;
  uint64_t bits = std::bit_cast<uint64_t>(value);
  if (bits & 1)
    return value;
  bool towardZero = (error < 0) != (value < 0);
  // An even neighbour is left toward the remainder's side.
  return std::bit_cast<double>(towardZero ? bits - 1 : bits + 1);
}

inline double addOdd(double a, double b) {
  double sum = a + b;
  if (std::isinf(sum) || sum != sum)
    return sum;
  double big = sum - a;
  double error = (a - (sum - big)) + (b - big); // Knuth's TwoSum.
  return roundToOdd(sum, error);
}
/// a * b must be exact in double: formats of at most 26 bits.
inline double fmaOdd(double a, double b, double c) { return addOdd(a * b, c); }
inline double divOdd(double a, double b) {
  double quotient = a / b;
  if (std::isinf(quotient) || quotient != quotient || quotient == 0 ||
      std::isinf(b))
    return quotient;
  double remainder = std::fma(-quotient, b, a);
  return roundToOdd(quotient, b < 0 ? -remainder : remainder);
}
inline double sqrtOdd(double a) {
  double root = std::sqrt(a);
  if (root != root || root == 0 || std::isinf(root))
    return root;
  return roundToOdd(root, std::fma(-root, root, a));
}

inline float canonical(float value) {
  return value != value ? std::bit_cast<float>(0x7fffffffu) : value;
}
inline double canonical(double value) {
  return value != value ? std::bit_cast<double>(uint64_t(0x7ff8) << 48) : value;
}

/// Subnormals become zero of the same sign.
inline float flush(float value) {
  uint32_t bits = std::bit_cast<uint32_t>(value);
  return (bits & 0x7f800000) ? value : std::bit_cast<float>(bits & 0x80000000);
}

inline float halfToFloat(uint16_t bits) {
  return static_cast<float>(std::bit_cast<_Float16>(bits));
}
inline uint16_t floatToHalf(float value) {
  uint16_t bits = std::bit_cast<uint16_t>(static_cast<_Float16>(value));
  return value != value ? uint16_t(0x7fff) : bits;
}
inline float bfloatToFloat(uint16_t bits) {
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}
inline uint16_t floatToBfloat(float value) {
  uint32_t bits = std::bit_cast<uint32_t>(value);
  uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
  return static_cast<uint16_t>(value != value ? 0x7fff : rounded);
}

} // namespace sim
} // namespace v0
} // namespace quern

#endif // QUERN_DEVICE_SIM_ARITHMETIC_H
