//===- packed.cuh - Elements that share bytes ------------------*- CUDA -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Integers of four bits, two to a byte: that of even index in the low half.
// Rows begin at bytes, so an index counts the elements of rows of even length.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_CUDA_COMMON_PACKED_CUH
#define QUERN_CUDA_COMMON_PACKED_CUH

#include "common/types.cuh"

namespace quern {

/// Two numbers, -8 to 7 in two's complement and 0 to 15.
struct i4x2 {
  u8 bits;
};
struct u4x2 {
  u8 bits;
};

/// As they lie in memory.
QN_DEVICE u32 storedBits(i4x2 x) { return x.bits; }
QN_DEVICE u32 storedBits(u4x2 x) { return x.bits; }

template <class Int> QN_DEVICE s8 unpacked(const i4x2 *rows, Int index) {
  const s32 shift = 28 - 4 * (s32)(index & 1);
  return (s8)((s32)((u32)rows[index >> 1].bits << shift) >> 28);
}

template <class Int> QN_DEVICE s8 unpacked(const u4x2 *rows, Int index) {
  return (s8)(rows[index >> 1].bits >> (4 * (s32)(index & 1)) & 15);
}

} // namespace quern

#endif // QUERN_CUDA_COMMON_PACKED_CUH
