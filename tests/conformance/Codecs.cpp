//===- Codecs.cpp - Small floating-point formats, by definition -----------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "tests/conformance/Codecs.h"

#include <cmath>
#include <cstring>
#include <limits>

using namespace quern;

float conformance::asFloat(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}

uint32_t conformance::asBits(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  return bits;
}

double conformance::decode(const Format &format, uint32_t bits) {
  uint32_t mantissa = bits & ((1u << format.mantissaBits) - 1);
  uint32_t exponent =
      bits >> format.mantissaBits & ((1u << format.exponentBits) - 1);
  bool negative = bits >> (format.bits() - 1) & 1;
  uint32_t top = (1u << format.exponentBits) - 1;
  double magnitude;
  if (format.hasInfinity && exponent == top)
    magnitude = mantissa ? std::numeric_limits<double>::quiet_NaN()
                         : std::numeric_limits<double>::infinity();
  else if (!format.hasInfinity && format.hasNan && exponent == top &&
           mantissa == (1u << format.mantissaBits) - 1)
    magnitude = std::numeric_limits<double>::quiet_NaN();
  else if (exponent == 0)
    magnitude = std::ldexp(mantissa, 1 - format.bias - format.mantissaBits);
  else
    magnitude = std::ldexp((1u << format.mantissaBits) | mantissa,
                           static_cast<int>(exponent) - format.bias -
                               format.mantissaBits);
  return negative ? -magnitude : magnitude;
}

double conformance::largest(const Format &format) {
  uint32_t top = (1u << (format.exponentBits + format.mantissaBits)) - 1;
  if (format.hasInfinity)
    top = (((1u << format.exponentBits) - 1) << format.mantissaBits) - 1;
  else if (format.hasNan)
    --top;
  return decode(format, top);
}

static double roundInteger(double value, conformance::Round round) {
  using conformance::Round;
  double down = std::floor(value);
  double rest = value - down;
  switch (round) {
  case Round::Down:
    return down;
  case Round::Up:
    return std::ceil(value);
  case Round::Zero:
    return std::trunc(value);
  case Round::Away:
    return std::copysign(std::floor(std::fabs(value) + 0.5), value);
  case Round::Even:
    break;
  }
  if (rest != 0.5)
    return rest < 0.5 ? down : down + 1;
  return std::fmod(down, 2) == 0 ? down : down + 1;
}

double conformance::roundTo(const Format &format, double value, Round round) {
  if (value == 0 || !std::isfinite(value))
    return value;
  int exponent = std::ilogb(value);
  if (exponent < 1 - format.bias)
    exponent = 1 - format.bias;
  int step = exponent - format.mantissaBits;
  return std::copysign(
      std::ldexp(roundInteger(std::ldexp(value, -step), round), step), value);
}

uint32_t conformance::encode(const Format &format, double value, Round round,
                             bool saturate, uint32_t nan) {
  if (std::isnan(value))
    return nan;
  uint32_t sign = std::signbit(value) ? 1u << (format.bits() - 1) : 0;
  uint32_t top = (1u << format.exponentBits) - 1;
  double rounded = std::fabs(roundTo(format, value, round));
  double most = largest(format);
  if (rounded > most || std::isinf(value)) {
    // Rounding towards zero, or away from the sign, stops at the largest.
    bool stops = !std::isinf(value) &&
                 (round == Round::Zero || (round == Round::Down && !sign) ||
                  (round == Round::Up && sign));
    if (saturate || stops)
      rounded = most;
    else
      return sign | (format.hasInfinity ? top << format.mantissaBits
                                        : (1u << (format.bits() - 1)) - 1);
  }
  if (rounded == 0)
    return sign;
  int exponent = std::ilogb(rounded);
  if (exponent < 1 - format.bias)
    return sign | static_cast<uint32_t>(std::ldexp(
                      rounded, format.bias - 1 + format.mantissaBits));
  uint32_t mantissa = static_cast<uint32_t>(
      std::ldexp(rounded, format.mantissaBits - exponent));
  return sign |
         (static_cast<uint32_t>(exponent + format.bias)
          << format.mantissaBits) |
         (mantissa & ((1u << format.mantissaBits) - 1));
}
