//===- StageStrips.h - Kernels of several stages, no product ----*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// A kernel may hold several tile.blocks stages and no product: a norm and the
// quantization of what it made, per group; a quantization per group and, of its
// dequantized codes, another per token. Its result is that of the stages one
// after the other. It is computed *strip by strip* instead: a strip is a block
// of the *leading* stage, the one whose blocks contain whole blocks of all
// others, and everything that a strip's blocks exchange lies within the strip.
// So the strips are independent of each other, like the points of one stage,
// and the values between the stages need never be there for more than a strip:
//
//     stages      rmsnorm (1 x all)  ->  quantize (1 x 128)
//     strip       1 x all, a row: one point of the first stage, K / 128 of the
//                 second
//     between     the normalized row, which a CPU keeps in a thread's scratch
//                 and a GPU in a thread block's shared memory
//
// Both the leading block and the axes are arithmetic on the stages' affine
// maps, as in StageGeometry.h. There are strips where
//
//   - the stages meet in a value of one shape, which each of them accesses in
//     blocks (a geometry);
//   - along every axis the leading block is a multiple of each stage's, or
//     spans it;
//   - every access of a buffer that one stage writes and another uses stays
//     within the strip, along the axes that a strip does not span: per element,
//     or per block, such as scales;
//   - a strip has few rows: there are about as many as blocks of the leading
//     stage alone, and what is between is small.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_DIALECTS_TILE_TRANSFORMS_STAGESTRIPS_H
#define QUERN_DIALECTS_TILE_TRANSFORMS_STAGESTRIPS_H

#include "dialects/tile/Transforms/StageGeometry.h"

#include "mlir/IR/IRMapping.h"

namespace quern::tile {

/// A buffer that stages hand each other, or a local.
struct StripValue {
  mlir::Value buffer;
  /// How many indices of each axis belong to a strip, which begins at a
  /// multiple of them; 0: all there are.
  llvm::SmallVector<int64_t> extents;
};

struct StageStrips {
  struct Stage {
    BlocksOp op;
    StageGeometry geometry;
  };
  llvm::SmallVector<Stage> stages;
  unsigned lead = 0;
  llvm::SmallVector<StripValue> values;

  /// The strip: a point of the leading stage.
  const StageGeometry &strip() const { return stages[lead].geometry; }
  BlocksOp leading() const { return stages[lead].op; }
  /// Blocks of a stage that a strip has along an axis: a number, or nothing
  /// where they are all of the stage's. At least 1.
  std::optional<int64_t> blocksPerStrip(const Stage &stage,
                                        unsigned axis) const;
  /// "row", "block of 1 x 1024".
  std::string describe() const;

  /// The most rows of a strip.
  static constexpr int64_t mostRows = 8;
};

/// A stage, and which buffer is which: stages of different kernels use the same
/// one where `buffers` maps theirs to the same value.
struct StageView {
  BlocksOp op;
  const mlir::IRMapping *buffers = nullptr;
};

/// The strips of these stages, or nothing and the reason in `why`.
std::optional<StageStrips> getStrips(llvm::ArrayRef<StageView> stages,
                                     std::string &why);
/// The same for a kernel that holds several stages and no product.
std::optional<StageStrips> getStrips(KernelOp kernel, std::string &why);

/// The largest value an extent takes with the symbols anywhere in their ranges;
/// INT64_MAX where it has no bound.
int64_t largest(mlir::AffineExpr extent,
                llvm::ArrayRef<mlir::Attribute> symbols);
/// Bytes of a value that belong to one strip, at most; a multiple of 16.
int64_t bytesPerStrip(const StripValue &value,
                      llvm::ArrayRef<mlir::Attribute> symbols);

} // namespace quern::tile

#endif // QUERN_DIALECTS_TILE_TRANSFORMS_STAGESTRIPS_H
