//===- MatrixArithmetic.h - Products of fragments ---------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// The arithmetic of mma and wgmma, apart from the machine: a product of 16 rows
// of A by 8 columns of B, both 32 bytes deep, added to C.
//
// Fragments (PTX ISA, "Warp-level matrix fragments", all shapes m16n8): with
// g = lane / 4 and t = lane % 4, register i of A holds bytes 4t..4t+3 of row
// g + 8 * (i & 1), in the (i / 2)-th half of the row; register i of B the same
// of column g. A register of 32 lanes is therefore eight rows of 16 bytes, in
// memory order, and is used as it lies. Accumulators: register i is column
// 2t + (i & 1) of row g + 8 * (i / 2). Elements of all widths are counted from
// the low end of a register.
//
// Integers: exact, sums wrap at 32 bits; with `saturate` the exact sum of C and
// all products is clamped instead (.satfinite).
//
// Floats: the ISA leaves order, rounding and the width of intermediate sums
// open ("Matrix multiply-accumulate operation using mma": at least single
// precision). We choose: every product is rounded to f32 (exact for f16, fp8
// and narrower; for bf16 and tf32 unless it over- or underflows), and is added
// to the accumulator in f32, k ascending, each sum rounded to nearest even.
// Subnormals count. Hardware adds several products at once and truncates, so
// its results differ from these within the usual bound of a summation:
// |error| <= k * 2^-22 * sum |a * b|. NaN results are 0x7fffffff.
//
// All variants for instruction sets of the host give the same bits.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_DEVICE_SIM_MATRIXARITHMETIC_H
#define QUERN_DEVICE_SIM_MATRIXARITHMETIC_H

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace quern {
inline namespace v0 {
namespace sim {

enum class MatrixType : uint8_t {
  S8,
  U8,
  S4,
  U4,
  F16,
  BF16,
  TF32, ///< Reads the upper 19 bits of each 32.
  E4M3,
  E5M2,
  // In bytes of their own, as kind::f8f6f4 takes them.
  E3M2,       ///< Bits 0 to 5.
  E2M3,       ///< Bits 0 to 5.
  E2M1,       ///< Bits 2 to 5.
  E2M1Packed, ///< Two in a byte, as kind::mxf4 takes them.
};
inline constexpr unsigned matrixTypeCount = 13;
std::string_view name(MatrixType type);
bool isInteger(MatrixType type);
/// 4, 8, 16 or 32.
unsigned elementBits(MatrixType type);

/// Pointers to registers of 32 lanes, aligned to 64 bytes. D may be C.
struct Fragments {
  const std::byte *a[4];
  const std::byte *b[2];
  const uint32_t *c[4];
  uint32_t *d[4];
  /// 2: 32 bytes deep; 1: 16, registers a[0], a[1] and b[0].
  unsigned halves = 2;
  bool saturate = false;
};

using MultiplyFn = void (*)(const Fragments &fragments);

/// The host's means, best last.
enum class MatrixIsa : uint8_t { Portable, Avx2, Avx512 };
std::span<const MatrixIsa> availableMatrixIsas();

/// Null if the types do not go together: integers of one width, two floats of
/// one type, or two of 8 bits.
MultiplyFn findMultiply(MatrixType a, MatrixType b,
                        std::optional<MatrixIsa> isa = std::nullopt);

/// Scales of blocks along k: `perRow` (1, 2 or 4) for each row of A and each
/// column of B.
struct BlockScales {
  unsigned perRow = 1;
  float a[16][4] = {};
  float b[8][4] = {};
};

/// The block-scaled product: every product is multiplied by scaleA * scaleB of
/// its block, rounded to f32, and summed as above. Floats of at most 8 bits.
void multiplyScaled(MatrixType a, MatrixType b, const Fragments &fragments,
                    const BlockScales &scales);

} // namespace sim
} // namespace v0
} // namespace quern

#endif // QUERN_DEVICE_SIM_MATRIXARITHMETIC_H
