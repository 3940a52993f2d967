//===- ContractLowering.h - The kernel around the register tile -*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// The kernel of a product while it is being written; Contract.h describes the
// scheme, Blocking.h the sizes. Panels and blocks are looped over in
// ContractLowering.cpp, what is done for one tile stands in TileLowering.cpp.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_COMPILER_LOWER_CPU_CONTRACTLOWERING_H
#define QUERN_COMPILER_LOWER_CPU_CONTRACTLOWERING_H

#include "compiler/lower/cpu/ColumnFactors.h"
#include "compiler/lower/cpu/RowReductions.h"
#include "compiler/lower/cpu/Stages.h"

namespace quern::cpugen {

class ContractLowering {
public:
  ContractLowering(KernelFunction &function, const ContractPlan &plan,
                   const StagePlan &stages, const ColumnFactors &factors,
                   llvm::ArrayRef<PackedOperand> packed,
                   llvm::ArrayRef<llvm::Function *> tiles,
                   llvm::ArrayRef<llvm::Function *> packedTiles,
                   llvm::ArrayRef<llvm::Function *> decoding,
                   llvm::ArrayRef<llvm::Function *> decodingFew,
                   llvm::Function *interleaving)
      : function(function), plan(plan), stages(stages), factors(factors),
        packed(packed), op(plan.op), e(function.scope.e), b(e.b), tiles(tiles),
        packedTiles(packedTiles), decoding(decoding), decodingFew(decodingFew),
        interleaving(interleaving), reductions(plan),
        sizes(function.scope, 1, nullptr) {}

  void lower();
  /// Of a term's accumulators: a tile of two panels, or with chunks all rows of
  /// a block.
  static unsigned sumBytes(const ContractPlan &plan) {
    return plan.blocking.chunkSteps
               ? std::max(plan.blockRows, 2 * plan.rows) * plan.rowBytes()
               : 2 * plan.tileBytes();
  }
  /// Scratch before the copied left rows.
  static unsigned fixedScratch(const ContractPlan &plan) {
    unsigned wide =
        plan.widensPanels() ? plan.op.getNumRhs() * plan.wideChunkBytes() : 0;
    return allSums(plan) + wide;
  }
  static unsigned allSums(const ContractPlan &plan) {
    return (plan.split ? 2 : 1) * plan.op.getNumTerms() * sumBytes(plan);
  }

  /// Rows are interleaved by pieces of so many bytes of a row.
  static constexpr int64_t pieceBytes = 1024, pieceStride = pieceBytes + 64;
  /// Of the copied rows, a piece of a tile's at the end.
  static mlir::AffineExpr leftScratch(const ContractPlan &plan) {
    int64_t piece = plan.interleaves(plan.rows) ? plan.rows * pieceStride : 0;
    mlir::AffineExpr rows =
        plan.leftStride() * (int64_t(plan.blockRows) * plan.op.getNumLhs()) +
        piece;
    if (!plan.biased)
      return rows;
    return rows + rowSumBytes(plan) * plan.op.getNumLhs();
  }
  /// Behind them, a left operand's sums over groups: [row tile][group][MR].
  static mlir::AffineExpr rowSumBytes(const ContractPlan &plan) {
    int64_t rowTiles = (plan.blockRows + plan.rows - 1) / plan.rows;
    // What lies behind is aligned as scratch itself is.
    return (plan.groups() * (rowTiles * plan.rows * 4)).ceilDiv(64) * 64;
  }

private:
  /// One panel or two of every right operand.
  struct PanelPair {
    llvm::SmallVector<llvm::Value *> first; ///< In each packed buffer.
    llvm::Value *count;
    llvm::Value *apart; ///< From the first to the second, in panels.
  };
  struct TilePosition {
    llvm::SmallVector<llvm::Value *> batch;
    llvm::Value *row;     ///< First row, in the whole product.
    llvm::Value *tileRow; ///< The same within the block of rows.
    llvm::Value *rows;    ///< How many.
    llvm::Value *column;  ///< First column, of the first panel.
    const PanelPair &panels;
    llvm::Value *number; ///< Of the row tile.
  };
  /// What is the same for all tiles of a block of rows.
  struct BlockFetch {
    llvm::Value *single;    ///< There is one row tile.
    llvm::Value *step;      ///< Bytes fetched per step of a tile.
    llvm::Value *tileBytes; ///< Bytes fetched by a tile.
  };
  using ColumnsFn = llvm::function_ref<void(llvm::Value *column, unsigned width,
                                            llvm::Value *mask)>;

  llvm::Value *size(mlir::AffineExpr expr) {
    return sizes.affine(expr, {}).value;
  }
  void copyLeft(unsigned operand, llvm::ArrayRef<llvm::Value *> batch,
                llvm::Value *first, llvm::Value *rows);
  void lowerPanels(const Patch &patch, llvm::Value *first, llvm::Value *end,
                   llvm::ArrayRef<llvm::Value *> domain);
  void multiply(const TilePosition &at);
  void beginChunks(const TilePosition &at);
  void multiplyChunk(const TilePosition &at, llvm::Value *chunk);
  void epilogues(const TilePosition &at) {
    forPanels(at, [&](const TilePosition &panel, llvm::Value *slot) {
      epilogue(panel, slot);
    });
  }
  void forShape(const TilePosition &at,
                llvm::function_ref<void(TileShape)> emit);
  void runRegisterTile(const TilePosition &at, const TileData &data,
                       llvm::Value *out);
  TileData tileData(const TilePosition &at, unsigned term, llvm::Value *group,
                    llvm::Value *steps);
  void rescale(const TilePosition &at, llvm::Value *group, llvm::Value *slot);
  void
  forPanels(const TilePosition &at,
            llvm::function_ref<void(const TilePosition &, llvm::Value *)> fn);
  void multiplyGroups(const TilePosition &at, llvm::Value *first,
                      llvm::Value *end);
  void splitTile(const TilePosition &at, TileShape shape, llvm::Value *first,
                 llvm::Value *end);
  void scaleParts(const TilePosition &at, TileShape shape, unsigned term,
                  llvm::Value *group, llvm::ArrayRef<llvm::Value *> parts);
  void runSplitTile(const TilePosition &at, llvm::Value *first,
                    llvm::Value *end);
  /// One of a function for each shape, chosen by the tile's.
  llvm::Value *functionFor(const TilePosition &at);
  /// A value that was packed for the group, of the tile's first panel.
  llvm::Value *factorAddress(const TilePosition &at,
                             const ColumnFactors::Factor &factor,
                             llvm::Value *group) {
    llvm::Value *panel =
        e.offset(function.extra[factor.operand],
                 e.mul(at.panels.first[factor.operand], panelBytes));
    return e.offset(panel,
                    e.add(e.mul(group, groupBytes), e.i64(factor.offset)));
  }
  void splitTileInMemory(const TilePosition &at, llvm::Value *first,
                         llvm::Value *end);

  /// What is done by chunks is done for one panel of each right operand:
  /// `from` is that panel, `to` the scratch for a chunk of it.
  void
  forWidenedPanels(llvm::ArrayRef<llvm::Value *> packedPanels,
                   llvm::function_ref<void(unsigned right, llvm::Value *from,
                                           llvm::Value *to)>
                       fn);

  //===--- Panels that are taken apart (SharedRows.cpp) -------------------===//

  void takePanelsApart(llvm::ArrayRef<llvm::Value *> packedPanels,
                       llvm::Value *chunk);
  /// A right operand's chunk of a panel, widened.
  llvm::Value *widePanel(unsigned right) {
    return e.offset(
        function.scratch,
        e.i64(allSums(plan) + int64_t(right) * plan.wideChunkBytes()));
  }
  //===--- Panels of stored elements (StoredDecoding.cpp) -----------------===//

  void decodePanels(llvm::ArrayRef<llvm::Value *> packedPanels,
                    llvm::Value *chunk);
  void multiplyDecoding(const TilePosition &at);
  void readDecoded(TileData &data, const TilePosition &at, unsigned term,
                   llvm::Value *firstStep);

  void sumRows(unsigned operand, llvm::Value *rows);
  /// Where accumulators of the tile's rows start; a group of theirs.
  llvm::Value *rowStarts(unsigned term, const TilePosition &at,
                         llvm::Value *group) {
    llvm::Value *tile = e.mul(at.number, groups);
    return e.offset(rowSums(op.getTerms()[2 * term]),
                    e.mul(e.add(tile, group), e.i64(4 * plan.rows)));
  }
  llvm::Value *rowSums(unsigned operand) {
    return e.offset(
        leftRows(op.getNumLhs()),
        e.add(e.i64(plan.interleaves(plan.rows) ? plan.rows * pieceStride : 0),
              e.mul(size(rowSumBytes(plan)), e.i64(operand))));
  }
  /// Changes what a tile works on to panels of four-bit codes: as they are
  /// packed, or to the chunk that was taken apart.
  void readFourBits(TileData &data, const TilePosition &at, unsigned term,
                    llvm::Value *group);
  /// What the tile fetches while a chunk is multiplied: its share of the next.
  llvm::Value *aheadOfChunk(const TilePosition &at, unsigned term,
                            llvm::Value *firstStep);
  llvm::Value *left(unsigned term, llvm::Value *tileRow) {
    return e.offset(leftRows(op.getTerms()[2 * term]),
                    e.mul(tileRow, leftStride));
  }
  llvm::Value *panel(unsigned term, const TilePosition &at) {
    unsigned right = op.getTerms()[2 * term + 1];
    return e.offset(function.extra[right],
                    e.mul(at.panels.first[right], panelBytes));
  }
  /// Bytes from a pair's first panel to its second.
  llvm::Value *bytesApart(const PanelPair &pair) {
    return e.mul(pair.apart, panelBytes);
  }
  /// Columns that lie between them.
  llvm::Value *columnsApart(const PanelPair &pair) {
    return e.mul(pair.apart, e.i64(plan.columns));
  }
  llvm::Value *stepsOf(llvm::Value *group) {
    if (plan.splitsEvenly())
      return groupSteps;
    llvm::Value *first = e.mul(group, e.i64(*plan.split));
    llvm::Value *length = e.min(b.CreateSub(k, first), e.i64(*plan.split));
    return e.ceilDiv(length, e.i64(plan.elementsPerStep()));
  }
  /// What bytes of a left row are in the tile's copy.
  llvm::Value *leftBytes(const TilePosition &at, llvm::Value *bytes) {
    if (!plan.interleaves(plan.rows))
      return bytes;
    llvm::Value *whole = b.CreateICmpEQ(at.rows, e.i64(plan.rows));
    return e.mul(bytes, b.CreateSelect(whole, e.i64(plan.rows), e.i64(1)));
  }
  /// Bytes from a group's first element to the next group's, on either side.
  llvm::Value *leftGroup(llvm::Value *group) {
    return e.mul(group, e.i64(*plan.split * plan.elementBytes()));
  }
  /// Bytes from a panel's start to a group's header.
  llvm::Value *panelGroup(llvm::Value *group) {
    return e.add(e.mul(group, groupBytes), e.i64(plan.factorBytes));
  }
  void epilogue(const TilePosition &at, llvm::Value *slot);
  void forColumns(llvm::Value *first, ColumnsFn fn);
  /// Runs `fn(body, row, column, width)` for vectors of a tile's elements, with
  /// the batch, row and column of `block` bound.
  void forElements(const TilePosition &at, mlir::Block &block,
                   llvm::function_ref<void(ElementBody &, llvm::Value *,
                                           llvm::Value *, unsigned)>
                       fn);
  llvm::Value *cell(llvm::Value *tile, llvm::Value *row, llvm::Value *column) {
    return e.offset(tile, e.add(e.mul(row, e.i64(plan.rowBytes())),
                                e.mul(column, e.i64(4))));
  }
  /// A term's accumulators, of the second panel a tile's bytes further on.
  llvm::Value *sums(unsigned term, const TilePosition &at) {
    llvm::Value *block =
        e.offset(function.scratch, e.i64(term * sumBytes(plan)));
    if (!plan.blocking.chunkSteps)
      return block;
    return e.offset(block, e.mul(at.tileRow, e.i64(plan.rowBytes())));
  }
  /// Where those of a group are, before they are scaled.
  llvm::Value *parts(unsigned term) {
    return e.offset(function.scratch,
                    e.i64((op.getNumTerms() + term) * sumBytes(plan)));
  }
  llvm::Value *leftRows(unsigned operand) {
    return e.offset(
        function.scratch,
        e.add(e.i64(fixedScratch(plan)),
              e.mul(leftStride, e.i64(int64_t(operand) * plan.blockRows))));
  }

  KernelFunction &function;
  const ContractPlan &plan;
  const StagePlan &stages;
  const ColumnFactors &factors;
  llvm::ArrayRef<PackedOperand> packed; ///< The right operands.
  tile::ContractOp op;
  Emitter &e;
  llvm::IRBuilder<> &b;
  llvm::ArrayRef<llvm::Function *>
      tiles; ///< Of `shapes()`; of wide panels `shapesOfMany()`.
  llvm::ArrayRef<llvm::Function *> packedTiles; ///< As packed.
  llvm::ArrayRef<llvm::Function *> decoding;    ///< Of each right operand.
  llvm::ArrayRef<llvm::Function *> decodingFew; ///< [operand][rows - 1]
  llvm::Function *interleaving;
  RowReductions reductions;
  llvm::Value *gathered = nullptr; ///< Their scratch.
  ElementBody sizes;
  llvm::Value *n = nullptr, *k = nullptr, *leftStride = nullptr;
  llvm::Value *groups = nullptr, *groupSteps = nullptr, *panelBytes = nullptr;
  llvm::Value *groupRows = nullptr, *groupBytes = nullptr;
  llvm::Value *panels = nullptr;
  BlockFetch fetch = {};
  llvm::Value *firstGroup = nullptr; ///< Of those taken apart.
  bool asPacked = false; ///< Of panels that others read taken apart.
};

} // namespace quern::cpugen

#endif // QUERN_COMPILER_LOWER_CPU_CONTRACTLOWERING_H
