//===- InstructionRow.h - One instruction and what it should do -*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// One row for each instruction: its text with operands d, a, b, c, and what the
// host computes. Operands run through special values and random bits. Expected
// values come from the host's own arithmetic and <cfenv>, not from the
// simulator's.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_TESTS_SIM_INSTRUCTIONROW_H
#define QUERN_TESTS_SIM_INSTRUCTIONROW_H

#include <algorithm>
#include <bit>
#include <cfenv>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>

namespace quern::simtest {

using U = uint64_t;

struct Row {
  const char *text;  ///< With d, a, b, c as operands: "add.s32 d, a, b;".
  const char *kinds; ///< Of d, a, b, c: "rrr".
  std::function<uint64_t(uint64_t, uint64_t, uint64_t)> expected;
  const char *compareAs = "bits";
  /// For approximations: a relative error allowed in f32.
  double tolerance = 0;
  const char *target = "sm_90a";
};

/// Runs the instruction on 512 threads and compares every result.
void check(const Row &row);

// Conversions of operands.
inline float F(uint64_t x) { return std::bit_cast<float>(uint32_t(x)); }
inline uint64_t F(float x) { return std::bit_cast<uint32_t>(x); }
inline double D(uint64_t x) { return std::bit_cast<double>(x); }
inline uint64_t D(double x) { return std::bit_cast<uint64_t>(x); }
inline float H(uint64_t x) {
  return float(std::bit_cast<_Float16>(uint16_t(x)));
}
inline uint64_t H(float x) {
  return std::bit_cast<uint16_t>(static_cast<_Float16>(x));
}
inline float B(uint64_t x) { return F(x << 16 & 0xffffffff); }
/// Round to nearest even by long division of the bits, independent of the
/// simulator's way.
inline uint64_t B(double x) {
  if (std::isnan(x))
    return 0x7fff;
  // The two neighbours of x among bf16 numbers, by truncation of a float that
  // was rounded toward zero.
  int old = std::fegetround();
  std::fesetround(FE_TOWARDZERO);
  volatile double wide = x;
  volatile float truncated = static_cast<float>(wide);
  std::fesetround(old);
  uint32_t low = std::bit_cast<uint32_t>(float(truncated)) & 0xffff0000;
  uint32_t high = low + 0x10000;
  if ((low & 0x7fffffff) >= 0x7f800000)
    return low >> 16;
  double lowValue = F(uint64_t(low));
  double highValue = (high & 0x7fffffff) >= 0x7f800000
                         ? std::copysign(0x1p128, x)
                         : F(uint64_t(high));
  double toLow = std::fabs(x - lowValue), toHigh = std::fabs(highValue - x);
  bool pickHigh = toHigh < toLow || (toHigh == toLow && (low >> 16 & 1));
  return (pickHigh ? high : low) >> 16;
}
inline float flushed(float x) {
  return std::fpclassify(x) == FP_SUBNORMAL ? std::copysign(0.0f, x) : x;
}

/// std::fmin and fmax, for which quiet and signalling NaNs are alike.
inline double lesser(double x, double y) {
  return std::isnan(x) ? y : std::isnan(y) ? x : std::min(x, y);
}
inline double greater(double x, double y) {
  return std::isnan(x) ? y : std::isnan(y) ? x : std::max(x, y);
}

/// Evaluates `f` under a rounding mode.
template <typename T> float rounded(int mode, T f) {
  int old = std::fegetround();
  std::fesetround(mode);
  volatile float result = f();
  std::fesetround(old);
  return result;
}

/// From f32 and halves: from f64 NaN is the highest bit for every width.
template <typename T> T toInteger(double x) {
  if (std::isnan(x))
    return sizeof(T) == 8 ? static_cast<T>(uint64_t(1) << 63) : T(0);
  if (x <= double(std::numeric_limits<T>::min()))
    return std::numeric_limits<T>::min();
  if (x >= double(std::numeric_limits<T>::max()))
    return std::numeric_limits<T>::max();
  return static_cast<T>(x);
}

/// Both halves of a packed operation.
template <typename Op>
std::function<uint64_t(uint64_t, uint64_t, uint64_t)> packed(Op op) {
  return [=](uint64_t a, uint64_t b, uint64_t c) {
    return (op(a & 0xffff, b & 0xffff, c & 0xffff) & 0xffff) |
           (op(a >> 16 & 0xffff, b >> 16 & 0xffff, c >> 16 & 0xffff) & 0xffff)
               << 16;
  };
}

} // namespace quern::simtest

#endif // QUERN_TESTS_SIM_INSTRUCTIONROW_H
