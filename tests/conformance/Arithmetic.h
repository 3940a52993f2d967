//===- Arithmetic.h - IEEE 754 arithmetic in any small format ---*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Correctly rounded results in a Format, for every rounding direction, without
// touching the host's: the exact result is brought to a double rounded to odd
// (the last bit set when anything was lost), from which one more rounding to at
// most 24 bits is exact (Boldo and Melquiond, 2008). Quotients and roots of
// 24-bit numbers cannot lie so close to a rounding boundary that a double
// mistakes the side.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_TESTS_CONFORMANCE_ARITHMETIC_H
#define QUERN_TESTS_CONFORMANCE_ARITHMETIC_H

#include "tests/conformance/Codecs.h"

#include <cmath>
#include <cstring>

namespace quern::conformance {

/// x + y rounded to odd; the sign of an exact zero as `round` wants it.
inline double addToOdd(double x, double y, Round round) {
  double sum = x + y;
  if (!std::isfinite(sum))
    return sum;
  if (sum == 0) {
    if (x == 0 && std::signbit(x) == std::signbit(y))
      return x;
    return round == Round::Down ? -0.0 : 0.0;
  }
  double back = sum - x;
  double error = (x - (sum - back)) + (y - back);
  uint64_t bits;
  std::memcpy(&bits, &sum, 8);
  if (error != 0 && !(bits & 1))
    sum = std::nextafter(sum, error > 0 ? INFINITY : -INFINITY);
  return sum;
}

inline double fmaToOdd(double a, double b, double c, Round round) {
  return addToOdd(a * b, c, round); // a * b is exact: 48 bits at most
}

/// What `.sat` does: [0, 1], NaN to +0.
inline double saturated(double value) {
  return !(value > 0) ? 0.0 : value > 1 ? 1.0 : value;
}

} // namespace quern::conformance

#endif // QUERN_TESTS_CONFORMANCE_ARITHMETIC_H
