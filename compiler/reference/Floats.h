//===- Floats.h - Narrow floating point formats by hand ---------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// f16, bf16, f8e4m3 and f8e5m2 as bit patterns: decoding is exact, encoding
// rounds half to even. Written from the formats' definitions with integers
// alone, so that no compiler's or processor's idea of a half takes part in the
// oracle.
//
//   format   exponent bits  mantissa bits  bias  infinity  NaN         overflow
//   f16      5              10             15    yes       0x7e00      infinity
//   bf16     8              7              127   yes       0x7fc0      infinity
//   f8e4m3   4              3              7     no        0x7f, 0xff saturates
//   to 448 f8e5m2   5              2              15    yes       0x7f
//   saturates to 57344
//
// Saturation includes infinities, as docs/numerics.md says of every conversion
// to f8; NaN stays NaN (its payload is not defined; its sign is kept here).
//
// One rounding from f64 is offered beside that from f32: results of bounded
// operations are accumulated in double and must not be rounded twice.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_REFERENCE_FLOATS_H
#define QUERN_REFERENCE_FLOATS_H

#include "runtime/core/DType.h"

#include <cstdint>

namespace quern::reference {

/// The number a pattern of a format stands for. `type` is one of the narrow
/// formats; the pattern stands in the low bits.
float decodeFloat(DType type, uint32_t bits);
/// The pattern nearest to a number.
uint32_t encodeFloat(DType type, double value);

/// The pattern's distance along the format's number line, for counting units
/// in the last place: consecutive numbers differ by one, -0 and +0 are equal.
/// Also accepts F32.
int64_t orderedIndex(DType type, uint32_t bits);

} // namespace quern::reference

#endif // QUERN_REFERENCE_FLOATS_H
