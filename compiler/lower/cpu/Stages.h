//===- Stages.h - What runs beside a product, tile by tile ------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// A kernel of a product and tile.blocks stages (TileOps.td, tile.kernel) on a
// CPU. An item of the launch is then a *patch* of the product's result: a block
// of rows by a span of column panels, wide enough that no block of a stage
// leaves it. The values between the stages live in this thread's scratch, one
// patch at a time, and are still in its cache when they are read:
//
//     stages before    make the rows of the left operand that the patch reads,
//                      whenever a new block of rows begins
//     the product      all tiles of the patch; its epilogue stores to locals
//     stages behind    all their blocks within the patch
//
//     placement   span
//     register    one panel: the block is within the register tile's columns
//     tile        as many panels as whole blocks need
//     panel       all of them: the rows' thread sees all of N
//     consumer    one panel
//
// `cluster` and `grid` share a block between threads and are no single kernel
// here; see compiler/select/Placement.h for what stands for `grid` on a CPU.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_COMPILER_LOWER_CPU_STAGES_H
#define QUERN_COMPILER_LOWER_CPU_STAGES_H

#include "compiler/lower/cpu/Contract.h"
#include "dialects/tile/Transforms/StageGeometry.h"

namespace quern::cpugen {

struct StagePlan {
  struct Stage {
    tile::BlocksOp op;
    tile::StageGeometry geometry;
    bool behind; ///< The product, or before it.
  };
  struct Local {
    mlir::Value buffer;
    DType dtype;
    /// Elements from one row to the next in scratch.
    mlir::AffineExpr rowStride;
    bool followsColumns; ///< Column 0 is the patch's first, not the value's.
  };

  /// Plans for a kernel's stages and adapts the product's blocks of rows to
  /// them; the reason why not in `why`.
  static std::optional<StagePlan>
  make(tile::KernelOp kernel, ContractPlan &contract, std::string &why);

  /// Rows of a patch that spans all columns, for a value of that many bytes per
  /// row: few enough for a thread's L2 and for every thread to have some.
  static int64_t panelRows(double rowBytes);

  bool empty() const { return before.empty() && after.empty(); }
  /// Panels of a patch.
  mlir::AffineExpr span(const ContractPlan &contract) const;
  mlir::AffineExpr spans(const ContractPlan &contract) const;
  /// Bytes of scratch for the locals, each 64-byte aligned.
  mlir::AffineExpr localBytes(const ContractPlan &contract) const;
  mlir::AffineExpr bytesOf(const Local &local,
                           const ContractPlan &contract) const;

  llvm::SmallVector<Stage> before, after;
  llvm::SmallVector<Local> locals;
  int64_t panelsPerPatch = 1; ///< 0: all.
};

/// A part of the product's result.
struct Patch {
  llvm::ArrayRef<llvm::Value *> batch;
  llvm::Value *row, *rows;       ///< First and how many.
  llvm::Value *column, *columns; ///< Likewise.
};

/// Makes the locals' views show the patch; `scratch` is where they begin.
void bindLocals(KernelFunction &function, const StagePlan &stages,
                const ContractPlan &contract, const Patch &patch,
                llvm::Value *scratch);

/// Runs the blocks of a stage that lie in the patch.
void emitStage(KernelFunction &function, const StagePlan::Stage &stage,
               const Patch &patch);

} // namespace quern::cpugen

#endif // QUERN_COMPILER_LOWER_CPU_STAGES_H
