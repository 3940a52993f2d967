//===- StageFit.h - Whether stages fit a product's kernel -------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Which placements of a reduction beside a product the CUDA back end has, as a
// function of the product, the stages, and nothing else: it asks before two
// kernels are fused (with the quantizer's kernel as it stands) and while a
// fused one is emitted, and says the same both times.
//
//     register  blocks of one row and 1, 2, 4, ... 32 columns
//     tile      blocks that divide a tile the registers have room for
//     cluster   from sm_90 on: reductions over whole rows that at most 8 tiles
//               make up
//     grid      blocks of any number of columns; a row panel's tiles are
//               resident together
//     panel     the same, resident or not
//
// Reductions that several tiles share are maxima and integer sums, over the
// product's values alone: an f32 sum has one written order. `consumer`, stages
// before a product, is in EncodeFit.h.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_COMPILER_EMIT_CUDA_STAGEFIT_H
#define QUERN_COMPILER_EMIT_CUDA_STAGEFIT_H

#include "compiler/emit/cuda/IndexText.h"
#include "compiler/emit/cuda/Schedule.h"
#include "dialects/tile/Transforms/StageGeometry.h"

#include <vector>

namespace quern::emit {

/// A stage and, in its own kernel, the buffer with what the product makes.
struct StageOfValue {
  tile::BlocksOp stage;
  mlir::Value value;
};

/// How a stage's blocks lie in a tile.
struct StageLayout {
  tile::StageGeometry geometry;
  tile::ReductionLevels levels;
  /// Rows and columns of a block as far as they lie in one tile, and blocks of
  /// each direction that one tile may meet.
  int64_t rows = 1, columns = 1;
  int64_t countM = 1, countN = 1;
  /// Threads per block: 1 to 32 lanes, or 0 for all of them.
  unsigned lanes = 32;

  int64_t count() const { return countM * countN; }
};

struct StageFit {
  GemmProblem problem;
  GemmSchedule schedule;
  bool promotes = false; ///< The split only keeps sums short.
  std::vector<StageLayout> stages;
  int64_t tilesN = 0;    ///< Side by side in a row panel, at most.
  unsigned resident = 0; ///< Blocks resident together, by residentBlocks.
};

/// What the product asks of a schedule, without stages. `maxK` is set.
Result<GemmProblem> gemmProblem(tile::ContractOp contract, Symbols &symbols,
                                int64_t &maxK);

/// The schedule of the product with the stages behind it, or why there is none
/// (Unsupported; the message is fit to be shown as the reason of a refusal).
Result<StageFit> fitStages(tile::ContractOp contract,
                           llvm::ArrayRef<StageOfValue> stages,
                           tile::Placement placement, const CudaTarget &target);

/// The same for a kernel that holds them already.
Result<StageFit> fitKernel(tile::KernelOp kernel, const CudaTarget &target);

/// For each stage behind the product, the buffers it shares with stages before
/// it: what the product's epilogue, or an earlier stage, stores and it loads.
struct HeldValues {
  std::vector<mlir::Value> values;  ///< Each once, in order of storing.
  std::vector<StageOfValue> stages; ///< With the first value it loads.
};
Result<HeldValues> findHeldValues(tile::KernelOp kernel);

} // namespace quern::emit

#endif // QUERN_COMPILER_EMIT_CUDA_STAGEFIT_H
