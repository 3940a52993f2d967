//===- StageGeometry.h - Which elements a stage's blocks cover --*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Where the blocks of a tile.blocks stage lie in the value that a product makes
// (or reads), as arithmetic on its affine maps: nothing here knows what the
// blocks compute. From this follows where a stage may be placed: blocks of
// 1 x 128 fit in a tile of 128 columns, a row of 11008 does not.
//
// The value is seen through one buffer whose dimensions are those of the
// product's result, (batch..., M, N). Along each of them a stage has blocks of
// `extent` elements, counted by one dimension of the stage's domain, or one
// block that spans the whole axis.
//
// The maps of a point must agree: every reduction and map of the stage that
// touches the buffer, and every other access of per-element kind, covers the
// same block. Where they do not (a transposed read, a window, a row read by
// another row's point) there is no geometry, and a reason.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_DIALECTS_TILE_TRANSFORMS_STAGEGEOMETRY_H
#define QUERN_DIALECTS_TILE_TRANSFORMS_STAGEGEOMETRY_H

#include "dialects/tile/IR/Tile.h"

#include <optional>
#include <string>

namespace quern::tile {

/// The blocks along one axis of the value.
struct BlockAxis {
  /// The dimension of the stage's domain that counts blocks along this axis; -1
  /// where one block spans it.
  int point = -1;
  /// Elements per block: 1 or more, or 0 for the whole axis. Block i begins at
  /// i * extent; the last may be short.
  int64_t extent = 0;
  /// The dimension of the boxes that runs along this axis; -1 where the block
  /// has one element.
  int box = -1;

  bool isWhole() const { return extent == 0; }
  bool operator==(const BlockAxis &) const = default;
};

struct StageGeometry {
  llvm::SmallVector<BlockAxis> axes; ///< batch..., M, N
  /// The stage also loops over other data, at other boxes: its blocks cannot be
  /// shared out by elements.
  bool loopsElsewhere = false;

  const BlockAxis &rows() const { return axes[axes.size() - 2]; }
  const BlockAxis &columns() const { return axes.back(); }
  /// Blocks within single batch elements, which is all a product's tile can
  /// hold.
  bool staysInBatch() const;
};

/// The blocks of `stage` in `buffer`, or nothing and the reason in `why`
/// ("reads h transposed").
std::optional<StageGeometry> getGeometry(BlocksOp stage, mlir::Value buffer,
                                         std::string &why);

/// A stage's reductions in the order they depend on each other: reductions of
/// level 0 depend on no other, those of level n on scalars or elements that
/// depend on level n - 1. Between two levels a stage whose blocks are shared
/// out has to meet. `addf` has one written order and cannot be shared out.
struct ReductionLevels {
  llvm::SmallVector<llvm::SmallVector<ReduceOp>> levels;
  bool anyOrdered = false; ///< An f32 sum among them.
};
ReductionLevels getReductionLevels(BlocksOp stage);

} // namespace quern::tile

#endif // QUERN_DIALECTS_TILE_TRANSFORMS_STAGEGEOMETRY_H
