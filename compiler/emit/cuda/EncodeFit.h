//===- EncodeFit.h - Whether a product can encode its operand ---*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// The placement `consumer` on CUDA: stages before a product make scalars, one
// for each block of the left operand's rows, and the operand's region encodes a
// value with them on load (encode_rows.cuh). Like StageFit.h this is a function
// of the kernel and the target alone, asked when a placement is tried and when
// the kernel is emitted.
//
// A stage runs in every tile, for the blocks that the tile's rows lie in and
// all blocks along K, and leaves its scalars in shared memory. Where a block
// lies is read off the product: a scalar it loads at (m / 4, k / 32) belongs to
// blocks of 4 rows, of which a tile of 32 rows has 8. What the stage loads, and
// from where, does not matter; the body is that of a kernel of its own.
//
// Accepted: any number of such stages, reductions of every kind as long as a
// tile holds whole blocks of rows; f16, bf16 and f32 values in rows of
// contiguous K, which may be read beside others; 8-bit codes of every kind, in
// one left operand. Refused: stages that store elements (every tile would), and
// more scalars than shared memory has room for beside the tile. Stages behind
// the product (StageFit.h) go together with these.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_COMPILER_EMIT_CUDA_ENCODEFIT_H
#define QUERN_COMPILER_EMIT_CUDA_ENCODEFIT_H

#include "compiler/emit/cuda/IndexText.h"
#include "compiler/emit/cuda/OperandRows.h"
#include "compiler/emit/cuda/Schedule.h"
#include "runtime/core/Result.h"

#include <array>
#include <vector>

namespace quern::emit {

/// What one index of a stage's points, or of what they leave, counts.
struct EncodeAxis {
  enum Kind : uint8_t {
    One,   ///< Nothing: it is always 0.
    Batch, ///< The product's batch dimension `batch`.
    Rows,  ///< Blocks of `per` rows.
    Depth, ///< Blocks of any kind along K.
  };
  Kind kind = One;
  unsigned batch = 0;
  int64_t per = 1;

  bool operator==(const EncodeAxis &) const = default;
};

/// A buffer that stages leave for the product: the last two of its dimensions,
/// and how many blocks of each a tile keeps.
struct EncodeScalars {
  mlir::Value buffer;
  std::array<EncodeAxis, 2> axes;
  std::array<int64_t, 2> count = {1, 1};
};

struct EncodeStage {
  tile::BlocksOp stage;
  std::vector<EncodeAxis> points; ///< Of each index of the domain.
  int64_t countRows = 1, countDepth = 1;
  /// Threads per block: 1 to 32 lanes, or 0 for all of them.
  unsigned lanes = 1;

  bool reduces() const;
};

struct EncodeFit {
  /// What the product asks of a schedule; without the scalars' bytes.
  GemmProblem problem;
  bool promotes = false; ///< The split only keeps sums short.
  /// The load of the operand's region that goes through shared memory.
  tile::LoadOp value;
  OperandRows rows;
  std::vector<EncodeStage> stages;
  std::vector<EncodeScalars> scalars;

  /// Counts blocks for tiles of `tileM` rows. The bytes of shared memory that
  /// the stages take beside the tile.
  uint32_t lay(Symbols &symbols, unsigned tileM);
  /// Whether tiles of `tileM` rows, for which it is laid, can run the stages.
  Result<void> check(unsigned tileM, uint32_t bytes) const;
};

/// Whether the kernel has stages before its product.
bool encodesOnLoad(tile::KernelOp kernel);

/// What is known of a kernel that does before there is a schedule, or why it
/// cannot run on CUDA (Unsupported; the message is fit to be shown as the
/// reason of a refusal).
Result<EncodeFit> findEncoding(tile::KernelOp kernel, Symbols &symbols,
                               const CudaTarget &target);

/// The same with a schedule, for kernels without stages behind the product.
Result<EncodeFit> fitEncoding(tile::KernelOp kernel, const CudaTarget &target,
                              GemmSchedule &schedule);

} // namespace quern::emit

#endif // QUERN_COMPILER_EMIT_CUDA_ENCODEFIT_H
