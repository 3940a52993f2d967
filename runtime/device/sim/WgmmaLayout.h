//===- WgmmaLayout.h - Matrices that wgmma finds in shared memory -*- C++ -*-=//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// The 64-bit matrix descriptor of wgmma and the places of a matrix's elements
// (PTX ISA, "Asynchronous warpgroup-level matrix instructions": matrix
// descriptor, strides, canonical layouts). All fields count in units of 16
// bytes:
//
//   bits 0-13 start   16-29 leading offset   32-45 stride offset
//   49-51 base offset 62-63 swizzle: 0 none, 1 128 bytes, 2 64, 3 32
//
// A line is a row of A or a column of B where k runs along lines (K-major), and
// a value of k where the other index does (MN-major, 16-bit elements only).
// Eight lines make a pattern; lines are 16 bytes wide without a swizzle, else
// as wide as its span. With chunks of 16 bytes:
//
//   K-major, chunk c of line r (c = 0, 1):
//     none      start + r/8 * stride + r%8 * 16   + c * leading
//     swizzled  start + r/8 * stride + r%8 * span + c * 16
//   MN-major, chunk c (eight rows or columns) of line k (k = 0..15):
//     none      start + c * stride + k/8 * leading + k%8 * 16
//     swizzled  start + c/w * leading + k/8 * stride + k%8 * span + c%w * 16,
//               w = span / 16
//
// and the swizzle of TensorMap.h applied to the sum, so that a start inside a
// pattern (the next k) is allowed. A base offset other than 0, for patterns
// that do not begin at a multiple of eight spans, is refused.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_DEVICE_SIM_WGMMALAYOUT_H
#define QUERN_DEVICE_SIM_WGMMALAYOUT_H

#include "runtime/device/sim/TensorMap.h"

namespace quern {
inline namespace v0 {
namespace sim {

struct WgmmaMatrix {
  uint32_t start = 0;
  uint32_t leading = 0;
  uint32_t stride = 0;
  TensorSwizzle swizzle = TensorSwizzle::None;
  bool mnMajor = false;

  /// Shared offset of a chunk of 16 bytes; `line` and `chunk` as above.
  uint32_t place(uint32_t line, uint32_t chunk) const;
};

/// Errors say which field makes no sense.
Result<WgmmaMatrix> decodeWgmmaDescriptor(uint64_t bits, bool mnMajor);

} // namespace sim
} // namespace v0
} // namespace quern

#endif // QUERN_DEVICE_SIM_WGMMALAYOUT_H
