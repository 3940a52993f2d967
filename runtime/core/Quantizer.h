//===- Quantizer.h - How numbers become codes -------------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Deployed systems agree on "int8 symmetric" and differ bit for bit: in the
// divisor that turns an absolute maximum into a scale, in the clamp, in the
// rounding, in dividing or multiplying by a reciprocal. A Quantizer is the
// complete recipe as a value. With amax the block's absolute maximum:
//
//     s    = round_to_scale_type(max(amax / divisor, floor))
//     code = clamp(round(x / s), qmin, qmax)
//
// The default for int8 is symmetric: divisor 127, clamp to [-127, 127], round
// half to even, scales in f32, floor the smallest normal number of the scale
// type, dividing by the scale as it is stored. The division is correctly
// rounded.
//
// With a `scaleRounding` other than Nearest, scales are powers of two, which
// scale exactly and may be stored as an exponent. With r the scale above before
// it is rounded to its type:
//
//     PowerCeil   the smallest power of two that is not below r: no element of
//                 the block saturates
//     PowerFloor  2^(floor(log2 amax) - floor(log2 divisor)), the rule of the
//                 OCP microscaling formats; the largest elements may saturate
//     PowerEven   the power nearest to r, from half-way (1.5 * 2^e) to the one
//                 whose exponent field is even; the same holds
//
// An r that is NaN or infinite stays that; a finite one gives a normal number
// of the scale type, the largest power at most (2^127, 2^15 for f16).
//
// A `statistic` other than AbsMax takes the place of amax: one that a few
// outliers do not move, or one that reads a part of the block. Elements beyond
// it saturate. docs/numerics.md defines them.
//
// Corner cases are part of the contract. amax is the unsigned maximum of
// `bits(x) & 0x7fffffff` over the block in f32, so that a NaN anywhere makes
// the block's scale NaN and nothing else; a NaN's code is 0 for integer codes.
// An infinity makes amax, hence the scale, infinite: finite elements encode to
// 0 and the infinity itself (inf/inf = NaN) to 0. With a static scale NaN
// encodes to 0 and an infinity saturates. A block of zeros has the floor as
// its scale and codes 0. For float codes NaN encodes to the format's NaN and
// out-of-range values saturate to its largest finite number.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_CORE_QUANTIZER_H
#define QUERN_CORE_QUANTIZER_H

#include "runtime/core/DType.h"

#include <cmath>

namespace quern {
inline namespace v0 {

enum class Rounding : uint8_t {
  HalfEven = 0,
  HalfAway = 1,
  TowardZero = 2,
};

/// What of a block's elements its scale is made of.
struct Statistic {
  enum class Kind : uint8_t {
    AbsMax = 0,
    /// What all but some elements are not above, by exponent and the leading
    /// bits of the mantissa: `parameter` percent are not.
    Percentile = 1,
    /// The absolute maximum of every `parameter`-th element along the last
    /// axis, from a block's first on.
    Sampled = 2,
  };
  Kind kind = Kind::AbsMax;
  float parameter = 0.0f;
  bool operator==(const Statistic &) const = default;

  /// Bits of the mantissa that a percentile tells apart: magnitudes are known
  /// to within a factor of 1 + 2^-bits.
  static constexpr unsigned bits = 4;
  /// The share of elements that may lie above a percentile, of which four
  /// decimals count.
  float tail() const {
    return static_cast<float>(
        std::round((100.0 - static_cast<double>(parameter)) * 1e4) / 1e6);
  }
  static constexpr float leastPercentile = 50.0f, mostPercentile = 99.9999f;
  /// How many steps of the last axis lie between two elements of a sample.
  int64_t stride() const { return static_cast<int64_t>(parameter); }
};

/// How a scale is rounded before it is stored.
enum class ScaleRounding : uint8_t {
  Nearest = 0, ///< To the nearest number of its type.
  PowerCeil = 1,
  PowerFloor = 2,
  PowerEven = 3,
};

struct Quantizer {
  DType codeType = DType::I8;
  DType scaleType = DType::F32;
  /// amax / divisor is the scale: 127 for i8, 255 for u8, 448 for f8e4m3,
  /// 57344 for f8e5m2.
  float divisor = 127.0f;
  /// Codes are clamped to [qmin, qmax].
  float qmin = -127.0f;
  float qmax = 127.0f;
  Rounding rounding = Rounding::HalfEven;
  /// Lower bound of a scale before it is rounded to its type: the smallest
  /// normal number of the scale type.
  float floor = 0x1p-126f;
  ScaleRounding scaleRounding = ScaleRounding::Nearest;
  Statistic statistic;

  /// What the absolute maximum is divided by: the divisor, or its power of two
  /// where exponents alone are compared.
  float effectiveDivisor() const {
    if (scaleRounding != ScaleRounding::PowerFloor)
      return divisor;
    int exponent = 0;
    std::frexp(divisor, &exponent);
    return std::ldexp(1.0f, exponent - 1);
  }
  /// The largest power of two of the scale type.
  float largestPower() const {
    return scaleType == DType::F16 ? 0x1p15f : 0x1p127f;
  }

  /// The default recipe for a pair of types. u8 codes are symmetric without a
  /// zero point: for data that is never negative (negatives clamp to 0).
  /// With zero points the whole range of the codes is used, and the divisor is
  /// its length.
  static constexpr Quantizer defaultFor(DType codes, DType scales,
                                        bool zeros = false) {
    Quantizer q;
    q.codeType = codes;
    q.scaleType = scales;
    switch (codes) {
    case DType::U8:
      q.divisor = 255.0f, q.qmin = 0.0f, q.qmax = 255.0f;
      break;
    case DType::F8E4M3:
      q.divisor = 448.0f, q.qmin = -448.0f, q.qmax = 448.0f;
      break;
    case DType::F8E5M2:
      q.divisor = 57344.0f, q.qmin = -57344.0f, q.qmax = 57344.0f;
      break;
    default:
      break;
    }
    if (zeros) {
      q.divisor = 255.0f;
      q.qmin = codes == DType::I8 ? -128.0f : 0.0f;
    }
    // f16's smallest normal number is 2^-14; bf16 shares f32's exponents.
    q.floor = scales == DType::F16 ? 0x1p-14f : 0x1p-126f;
    return q;
  }
  bool operator==(const Quantizer &) const = default;
};

} // namespace v0
} // namespace quern

#endif // QUERN_CORE_QUANTIZER_H
