//===- WgmmaLayout.cpp - Matrices that wgmma finds in shared memory -------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/sim/WgmmaLayout.h"

#include <fmt/format.h>

using namespace quern;
using namespace quern::sim;

uint32_t WgmmaMatrix::place(uint32_t line, uint32_t chunk) const {
  uint32_t group = line / 8, inGroup = line % 8;
  uint32_t span = spanBytes(swizzle), perSpan = span / 16;
  uint32_t offset;
  if (swizzle == TensorSwizzle::None)
    offset = mnMajor ? chunk * stride + group * leading + inGroup * 16
                     : group * stride + inGroup * 16 + chunk * leading;
  else if (mnMajor)
    offset = chunk / perSpan * leading + group * stride + inGroup * span +
             chunk % perSpan * 16;
  else
    offset = group * stride + inGroup * span + chunk * 16;
  return swizzled(swizzle, start + offset);
}

Result<WgmmaMatrix> sim::decodeWgmmaDescriptor(uint64_t bits, bool mnMajor) {
  constexpr uint64_t fields = 0x3fff | uint64_t(0x3fff) << 16 |
                              uint64_t(0x3fff) << 32 | uint64_t(7) << 49 |
                              uint64_t(3) << 62;
  if (bits & ~fields)
    return fail(Errc::InvalidArgument,
                fmt::format("the matrix descriptor {:#x} has bits set that "
                            "belong to no field ({:#x})",
                            bits, bits & ~fields));
  if (bits >> 49 & 7)
    return fail(Errc::Unsupported,
                fmt::format("the matrix descriptor has base offset {}; only 0 "
                            "is simulated",
                            bits >> 49 & 7));
  static constexpr TensorSwizzle swizzles[] = {
      TensorSwizzle::None, TensorSwizzle::B128, TensorSwizzle::B64,
      TensorSwizzle::B32};
  WgmmaMatrix matrix;
  matrix.start = static_cast<uint32_t>(bits & 0x3fff) << 4;
  matrix.leading = static_cast<uint32_t>(bits >> 16 & 0x3fff) << 4;
  matrix.stride = static_cast<uint32_t>(bits >> 32 & 0x3fff) << 4;
  matrix.swizzle = swizzles[bits >> 62];
  matrix.mnMajor = mnMajor;
  return matrix;
}
