//===- Corner.h - What is written over drawn inputs -------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Random numbers seldom meet the corners that the semantics define. A corner is
// written over a layer's drawn inputs: over the activations (float tensors that
// are neither weights nor parts of quantized operands), or over the codes,
// scales and zero points of its quantized operands, weights among them. Weights
// never get a NaN, which the runtime would refuse to bind.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_REFERENCE_CORNER_H
#define QUERN_REFERENCE_CORNER_H

#include <cstdint>
#include <span>
#include <string_view>

namespace quern::reference {

enum class Corner : uint8_t {
  None,
  // Of activations:
  Zeros,     ///< All are zero, of alternating sign.
  ZeroRows,  ///< Every third row is zero, of alternating sign.
  NaNRows,   ///< Every third row holds one NaN.
  InfRows,   ///< Every third row holds one infinity, of alternating sign.
  MixedRows, ///< Plain, zero, with a NaN, and plain, in turn.
  Denormals, ///< All values are subnormal in their type.
  Large,     ///< All values lie within a factor 4 of the type's largest.
  OneHot,    ///< Each row is zero but for one element.
  Constant,  ///< Each tensor holds one number only.
  /// Some elements are NaN, infinite, signed zeros, subnormal or large, but
  /// none so large that only the order of a sum decides between infinity and
  /// NaN.
  Scattered,
  // Of quantized operands:
  ExtremeCodes, ///< Codes at the ends of their range, and 0.
  ExtremeZeros, ///< Codes and zero points at the ends of their range.
  TinyScales,   ///< Every second scale is subnormal or nearly so.
  HugeScales,   ///< Every second scale is near the square root of the largest.
};

/// All of them, in order.
std::span<const Corner> allCorners();
/// "none", "NaN rows", ...
std::string_view name(Corner corner);

} // namespace quern::reference

#endif // QUERN_REFERENCE_CORNER_H
