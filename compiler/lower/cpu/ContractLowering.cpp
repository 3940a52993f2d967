//===- ContractLowering.cpp - Products and what is fused around them ------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// The kernel around the register tile; Contract.h describes the scheme.
//
//===----------------------------------------------------------------------===//

#include "compiler/lower/cpu/RowReductions.h"
#include "compiler/lower/cpu/Stages.h"

using namespace quern;
using namespace quern::cpugen;
using llvm::Value;

//===----------------------------------------------------------------------===//
// Plan
//===----------------------------------------------------------------------===//

ContractPlan::ContractPlan(tile::ContractOp op, const CpuTarget &target)
    : op(op), lanes(target.lanes()), numBatch(op.getNumBatch()) {
  leftUnsigned = op.getLhsUnsigned();
  rightUnsigned = op.getRhsUnsigned();
  bool integers = op.getElementType(op.getLhsRegion(0)).isInteger(8);
  bool vnni = target.level == CpuLevel::Avx512Vnni;
  kind = !integers                                  ? StepKind::Singles
         : vnni && !(leftUnsigned && rightUnsigned) ? StepKind::Quads
                                                    : StepKind::Pairs;
  swapped = kind == StepKind::Quads && rightUnsigned;
  shiftLeft = kind == StepKind::Quads && !leftUnsigned && !rightUnsigned;
  auto constantK = llvm::dyn_cast<mlir::AffineConstantExpr>(k());
  ProductSizes sizes;
  if (constantK)
    sizes.k = constantK.getValue();
  sizes.elementBytes = elementBytes();
  sizes.terms = op.getNumTerms();
  sizes.split = op.getSplit().has_value();
  blocking = Blocking::choose(target, sizes);
  columns = blocking.columns;
  rows = rowMultiple = blocking.rows;
  blockRows = blocking.blockRows;
  if (std::optional<uint64_t> g = op.getSplit()) {
    split = *g;
    if (constantK && constantK.getValue() > 0)
      split = std::min(*split, constantK.getValue());
  }
}

mlir::AffineExpr ContractPlan::groups() const {
  if (split)
    return k().ceilDiv(*split);
  return mlir::getAffineConstantExpr(1, op.getContext());
}

mlir::AffineExpr ContractPlan::groupSteps() const {
  if (split)
    return mlir::getAffineConstantExpr(
        (*split + elementsPerStep() - 1) / elementsPerStep(), op.getContext());
  return k().ceilDiv(elementsPerStep());
}

mlir::AffineExpr ContractPlan::panelBytes() const {
  return groups() * (groupSteps() + headerRows()) * rowBytes();
}

mlir::AffineExpr ContractPlan::leftStride() const {
  return (k() * elementBytes()).ceilDiv(64) * 64 + 64;
}

//===----------------------------------------------------------------------===//
// Kernel
//===----------------------------------------------------------------------===//

namespace {

class ContractLowering {
public:
  ContractLowering(KernelFunction &function, const ContractPlan &plan,
                   const StagePlan &stages, const ColumnFactors &factors,
                   llvm::ArrayRef<PackedOperand> packed,
                   llvm::ArrayRef<llvm::Function *> tiles,
                   llvm::Function *interleaving)
      : function(function), plan(plan), stages(stages), factors(factors),
        packed(packed), op(plan.op), e(function.scope.e), b(e.b), tiles(tiles),
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
    return (plan.split ? 2 : 1) * plan.op.getNumTerms() * sumBytes(plan);
  }

  /// Of the copied rows, those of one tile before they are interleaved at the
  /// end.
  static mlir::AffineExpr leftScratch(const ContractPlan &plan) {
    int64_t rows = int64_t(plan.blockRows) * plan.op.getNumLhs();
    if (plan.interleaves(plan.rows))
      rows += plan.rows;
    return plan.leftStride() * rows;
  }

private:
  struct TilePosition {
    llvm::SmallVector<Value *> batch;
    Value *row;     ///< First row, in the whole product.
    Value *tileRow; ///< The same within the block of rows.
    Value *rows;    ///< How many.
    Value *column;  ///< First column.
    /// The panel to read in each packed buffer, the first of `numPanels`.
    llvm::SmallVector<Value *> panels;
    Value *numPanels;
    Value *number; ///< Of the row tile.
  };
  /// What is the same for all tiles of a block of rows.
  struct BlockFetch {
    Value *single;    ///< There is one row tile.
    Value *step;      ///< Bytes fetched per step of a tile.
    Value *tileBytes; ///< Bytes fetched by a tile.
  };
  using ColumnsFn =
      llvm::function_ref<void(Value *column, unsigned width, Value *mask)>;

  Value *size(mlir::AffineExpr expr) { return sizes.affine(expr, {}).value; }
  void copyLeft(unsigned operand, llvm::ArrayRef<Value *> batch, Value *first,
                Value *rows);
  void lowerPanels(const Patch &patch, Value *first, Value *end,
                   llvm::ArrayRef<Value *> domain);
  void multiply(const TilePosition &at);
  void beginChunks(const TilePosition &at);
  void multiplyChunk(const TilePosition &at, Value *chunk);
  void epilogues(const TilePosition &at) {
    forPanels(at, [&](const TilePosition &panel, Value *slot) {
      epilogue(panel, slot);
    });
  }
  void forShape(const TilePosition &at,
                llvm::function_ref<void(TileShape)> emit);
  void runRegisterTile(const TilePosition &at, const TileData &data,
                       Value *out);
  TileData tileData(const TilePosition &at, unsigned term, Value *group,
                    Value *steps);
  void rescale(const TilePosition &at, Value *group, Value *slot);
  void forPanels(const TilePosition &at,
                 llvm::function_ref<void(const TilePosition &, Value *)> fn);
  void splitTile(const TilePosition &at, TileShape shape);
  void splitTileInMemory(const TilePosition &at);
  Value *left(unsigned term, Value *tileRow) {
    return e.offset(leftRows(op.getTerms()[2 * term]),
                    e.mul(tileRow, leftStride));
  }
  Value *panel(unsigned term, const TilePosition &at) {
    unsigned right = op.getTerms()[2 * term + 1];
    return e.offset(function.extra[right], e.mul(at.panels[right], panelBytes));
  }
  Value *stepsOf(Value *group) {
    Value *first = e.mul(group, e.i64(*plan.split));
    Value *length = e.min(b.CreateSub(k, first), e.i64(*plan.split));
    return e.ceilDiv(length, e.i64(plan.elementsPerStep()));
  }
  /// What bytes of a left row are in the tile's copy.
  Value *leftBytes(const TilePosition &at, Value *bytes) {
    if (!plan.interleaves(plan.rows))
      return bytes;
    Value *whole = b.CreateICmpEQ(at.rows, e.i64(plan.rows));
    return e.mul(bytes, b.CreateSelect(whole, e.i64(plan.rows), e.i64(1)));
  }
  /// Bytes from a group's first element to the next group's, on either side.
  Value *leftGroup(Value *group) {
    return e.mul(group, e.i64(*plan.split * plan.elementBytes()));
  }
  Value *panelGroup(Value *group) {
    return e.mul(group, e.mul(e.add(groupSteps, e.i64(plan.headerRows())),
                              e.i64(plan.rowBytes())));
  }
  void epilogue(const TilePosition &at, Value *slot);
  void forColumns(Value *first, ColumnsFn fn);
  /// Runs `fn(body, row, column, width)` for vectors of a tile's elements, with
  /// the batch, row and column of `block` bound.
  void forElements(
      const TilePosition &at, mlir::Block &block,
      llvm::function_ref<void(ElementBody &, Value *, Value *, unsigned)> fn);
  Value *cell(Value *tile, Value *row, Value *column) {
    return e.offset(tile, e.add(e.mul(row, e.i64(plan.rowBytes())),
                                e.mul(column, e.i64(4))));
  }
  /// A term's accumulators, of the second panel a tile's bytes further on.
  Value *sums(unsigned term, const TilePosition &at) {
    Value *block = e.offset(function.scratch, e.i64(term * sumBytes(plan)));
    if (!plan.blocking.chunkSteps)
      return block;
    return e.offset(block, e.mul(at.tileRow, e.i64(plan.rowBytes())));
  }
  /// Where those of a group are, before they are scaled.
  Value *parts(unsigned term) {
    return e.offset(function.scratch,
                    e.i64((op.getNumTerms() + term) * sumBytes(plan)));
  }
  Value *leftRows(unsigned operand) {
    return e.offset(
        function.scratch,
        e.add(e.i64(fixedScratch(plan)),
              e.mul(leftStride, e.i64(int64_t(operand) * plan.blockRows))));
  }

  KernelFunction &function;
  const ContractPlan &plan;
  const StagePlan &stages;
  const ColumnFactors &factors;
  llvm::ArrayRef<PackedOperand> packed; ///< The right operands, then factors.
  tile::ContractOp op;
  Emitter &e;
  llvm::IRBuilder<> &b;
  llvm::ArrayRef<llvm::Function *> tiles; ///< As numbered by `shapes`.
  llvm::Function *interleaving;
  RowReductions reductions;
  Value *gathered = nullptr; ///< Their scratch.
  ElementBody sizes;
  Value *n = nullptr, *k = nullptr, *leftStride = nullptr;
  Value *groups = nullptr, *groupSteps = nullptr, *panelBytes = nullptr;
  Value *panels = nullptr;
  BlockFetch fetch = {};
};

} // namespace

/// Vectors of existing columns among a panel's.
void ContractLowering::forColumns(Value *first, ColumnsFn fn) {
  unsigned lanes = plan.lanes;
  Value *count = e.min(b.CreateSub(n, first), e.i64(plan.columns));
  auto fixed = constantOf(n);
  bool ragged = !fixed || *fixed % lanes != 0;
  if (!ragged || e.target.hasMasks()) {
    e.loopOnceOrMore(e.i64(0), count, e.i64(lanes), [&](Value *column) {
      fn(column, lanes,
         ragged ? e.maskBelow(b.CreateSub(count, column), lanes) : nullptr);
    });
    return;
  }
  Value *full = b.CreateAnd(count, e.i64(-int64_t(lanes)));
  e.loop(e.i64(0), full, e.i64(lanes),
         [&](Value *column) { fn(column, lanes, nullptr); });
  e.loop(full, count, e.i64(1), [&](Value *column) { fn(column, 1, nullptr); });
}

/// Every shape a tile can have: two panels of few rows, or one panel of more.
static llvm::SmallVector<TileShape> shapesOf(const ContractPlan &plan) {
  llvm::SmallVector<TileShape> shapes;
  for (unsigned rows = 1; rows <= plan.blocking.fewRows; ++rows)
    shapes.push_back({rows, 2});
  for (unsigned rows = plan.blocking.fewRows + 1; rows <= plan.rows; ++rows)
    shapes.push_back({rows, 1});
  return shapes;
}

/// One copy of the code for every shape. One panel of few rows is computed as
/// one of a few more: as long as 8 accumulators are not under way, more take no
/// more time. The rows beyond are whatever lies in scratch, and nobody reads
/// their sums.
void ContractLowering::forShape(const TilePosition &at,
                                llvm::function_ref<void(TileShape)> emit) {
  llvm::Function *current = b.GetInsertBlock()->getParent();
  auto *join = llvm::BasicBlock::Create(e.context, "tiled", current);
  auto *full = llvm::BasicBlock::Create(e.context, "tile", current);
  llvm::SmallVector<TileShape> shapes = shapesOf(plan);
  int64_t few = plan.blocking.fewRows;
  Value *number = b.CreateSelect(b.CreateICmpEQ(at.numPanels, e.i64(2)),
                                 at.rows, e.max(at.rows, e.i64(few + 1)));
  llvm::SwitchInst *choice = b.CreateSwitch(number, full, shapes.size() - 1);
  for (TileShape shape : shapes) {
    llvm::BasicBlock *block = full;
    if (shape.rows < plan.rows) {
      block = llvm::BasicBlock::Create(e.context, "tile", current);
      choice->addCase(b.getInt64(shape.rows), block);
    }
    b.SetInsertPoint(block);
    emit(shape);
    b.CreateBr(join);
  }
  b.SetInsertPoint(join);
}

/// Of one group's steps. What is fetched ahead: Blocking.h.
TileData ContractLowering::tileData(const TilePosition &at, unsigned term,
                                    Value *group, Value *steps) {
  TileData data;
  data.left = left(term, at.tileRow);
  data.stride = leftStride;
  Value *first = panel(term, at);
  data.panel = first;
  data.panelBytes = panelBytes;
  data.steps = steps;
  Value *more = b.CreateICmpSLT(e.add(at.column, e.i64(plan.columns)), n);
  Value *next = e.offset(first, b.CreateSelect(more, panelBytes, e.i64(0)));
  data.ahead = b.CreateSelect(
      fetch.single, e.offset(first, e.i64(plan.blocking.aheadBytes)),
      e.offset(next, e.mul(at.number, fetch.tileBytes)));
  data.aheadStep = fetch.step;
  if (group) {
    data.left = e.offset(data.left, leftBytes(at, leftGroup(group)));
    data.panel = e.offset(first, panelGroup(group));
    Value *before = e.mul(group, e.add(groupSteps, e.i64(plan.headerRows())));
    data.ahead = e.offset(data.ahead, e.mul(before, fetch.step));
  }
  return data;
}

void ContractLowering::runRegisterTile(const TilePosition &at,
                                       const TileData &data, Value *out) {
  // One call, of the shape's function.
  llvm::SmallVector<llvm::BasicBlock *> blocks;
  forShape(at, [&](TileShape) { blocks.push_back(b.GetInsertBlock()); });
  llvm::PHINode *tile = b.CreatePHI(b.getPtrTy(), blocks.size());
  for (auto [block, function] : llvm::zip(blocks, tiles))
    tile->addIncoming(function, block);
  b.CreateCall(tiles[0]->getFunctionType(), tile,
               {data.left, data.stride, data.panel, data.panelBytes, data.steps,
                out, data.ahead, data.aheadStep});
}

void ContractLowering::forElements(
    const TilePosition &at, mlir::Block &block,
    llvm::function_ref<void(ElementBody &, Value *, Value *, unsigned)> fn) {
  forColumns(at.column, [&](Value *column, unsigned width, Value *mask) {
    e.loopOnceOrMore(e.i64(0), at.rows, e.i64(1), [&](Value *row) {
      ElementBody body(function.scope, width, mask);
      for (auto [argument, value] : llvm::zip(block.getArguments(), at.batch))
        body.bind(argument, ElementBody::uniform(value));
      body.bind(block.getArgument(plan.numBatch),
                ElementBody::uniform(e.add(at.row, row)));
      body.bind(block.getArgument(plan.numBatch + 1),
                body.laneIndex(e.add(at.column, column), width));
      fn(body, row, column, width);
    });
  });
}

/// acc = fma(f32(part), factor, acc) for the group just multiplied.
void ContractLowering::rescale(const TilePosition &at, Value *group,
                               Value *slot) {
  mlir::Block &block = op.getRescale().front();
  forElements(
      at, block,
      [&](ElementBody &body, Value *row, Value *column, unsigned width) {
        body.bind(block.getArgument(plan.numBatch + 2),
                  ElementBody::uniform(group));
        body.emit(block);
        llvm::Type *f32Type = e.vectorType(b.getFloatTy(), width);
        llvm::Type *partType = plan.kind == StepKind::Singles
                                   ? f32Type
                                   : e.vectorType(b.getInt32Ty(), width);
        for (unsigned term = 0; term < op.getNumTerms(); ++term) {
          Value *factor =
              body.spread(body.lookup(block.getTerminator()->getOperand(term)));
          Value *part =
              e.load(partType, cell(e.offset(parts(term), slot), row, column),
                     Memory::Scratch, 4);
          if (op.hasAddends())
            part = b.CreateAdd(
                part, body.spread(body.lookup(block.getTerminator()->getOperand(
                          op.getNumTerms() + term))));
          if (plan.kind != StepKind::Singles)
            part = b.CreateSIToFP(part, f32Type);
          Value *sumAt = cell(e.offset(sums(term, at), slot), row, column);
          Value *sum = e.load(f32Type, sumAt, Memory::Scratch, 4);
          e.store(e.fma(part, factor, sum), sumAt, Memory::Scratch, 4);
        }
      });
}

void ContractLowering::epilogue(const TilePosition &at, Value *slot) {
  mlir::Block &block = op.getEpilogue().front();
  llvm::Type *scalar = op.getAccumulatorType().isF32()
                           ? b.getFloatTy()
                           : static_cast<llvm::Type *>(b.getInt32Ty());
  forElements(
      at, block,
      [&](ElementBody &body, Value *row, Value *column, unsigned width) {
        reductions.bind(body, gathered, e.add(at.tileRow, row));
        for (unsigned term = 0; term < op.getNumTerms(); ++term)
          body.bind(block.getArgument(plan.numBatch + 2 + term),
                    {e.load(e.vectorType(scalar, width),
                            cell(e.offset(sums(term, at), slot), row, column),
                            Memory::Scratch, 4)});
        body.emit(block);
      });
}

/// All groups of a tile. A group's accumulators stay in registers until they
/// are scaled; the f32 sums live in scratch.
void ContractLowering::splitTile(const TilePosition &at, TileShape shape) {
  mlir::Block &block = op.getRescale().front();
  llvm::Type *vector = e.vectorType(b.getFloatTy(), plan.lanes);
  Value *factorPanel = nullptr, *factorBytes = nullptr;
  if (!factors.values.empty()) {
    factorBytes = size(factors.panelBytes(plan));
    factorPanel =
        e.offset(function.extra.back(), e.mul(at.panels.back(), factorBytes));
  }
  unsigned numValues = factors.values.size();
  e.loop(e.i64(0), groups, e.i64(1), [&](Value *group) {
    for (unsigned term = 0; term < op.getNumTerms(); ++term) {
      TileData data = tileData(at, term, group, stepsOf(group));
      if (!plan.blocking.fetches(shape.rows))
        data.ahead = nullptr;
      auto parts = emitTileLoop(e, plan, shape, data);
      for (unsigned i = 0; i < parts.size(); ++i) {
        unsigned panel = i / (2 * shape.rows), row = i / 2 % shape.rows;
        unsigned column = i % 2 * plan.lanes;
        ElementBody body(function.scope, plan.lanes, nullptr);
        for (auto [argument, value] : llvm::zip(block.getArguments(), at.batch))
          body.bind(argument, ElementBody::uniform(value));
        unsigned next = plan.numBatch;
        // A row beyond the tile's has no scale.
        body.bind(
            block.getArgument(next),
            ElementBody::uniform(e.add(
                at.row, e.min(e.i64(row), b.CreateSub(at.rows, e.i64(1))))));
        body.bind(block.getArgument(next + 1),
                  body.laneIndex(
                      e.add(at.column, e.i64(panel * plan.columns + column)),
                      plan.lanes));
        body.bind(block.getArgument(next + 2), ElementBody::uniform(group));
        for (auto [number, value] : llvm::enumerate(factors.values)) {
          Value *slot = e.add(e.mul(group, e.i64(numValues * plan.rowBytes())),
                              e.i64(number * plan.rowBytes() + 4 * column));
          if (panel)
            slot = e.add(slot, factorBytes);
          body.bind(value, {e.load(vector, e.offset(factorPanel, slot),
                                   Memory::Read, 4 * plan.lanes)});
        }
        for (mlir::Operation *operation : factors.otherOps)
          body.emit(*operation);
        Value *factor =
            body.spread(body.lookup(block.getTerminator()->getOperand(term)));
        Value *part = parts[i];
        if (plan.kind != StepKind::Singles)
          part = b.CreateSIToFP(part, vector);
        Value *slot =
            cell(sums(term, at), e.i64(panel * plan.rows + row), e.i64(column));
        Value *sum = e.load(vector, slot, Memory::Scratch, 4 * plan.lanes);
        e.store(e.fma(part, factor, sum), slot, Memory::Scratch,
                4 * plan.lanes);
      }
    }
  });
}

/// The same through memory, for factors that vary along both axes at once.
void ContractLowering::splitTileInMemory(const TilePosition &at) {
  e.loop(e.i64(0), groups, e.i64(1), [&](Value *group) {
    for (unsigned term = 0; term < op.getNumTerms(); ++term)
      runRegisterTile(at, tileData(at, term, group, stepsOf(group)),
                      parts(term));
    forPanels(at, [&](const TilePosition &panel, Value *slot) {
      rescale(panel, group, slot);
    });
  });
}

/// Each panel of the tile alone; its accumulators are `slot` bytes behind the
/// first one's.
void ContractLowering::forPanels(
    const TilePosition &at,
    llvm::function_ref<void(const TilePosition &, Value *)> fn) {
  e.loopOnceOrMore(e.i64(0), at.numPanels, e.i64(1), [&](Value *panel) {
    TilePosition one = at;
    one.column = e.add(at.column, e.mul(panel, e.i64(plan.columns)));
    fn(one, e.mul(panel, e.i64(plan.tileBytes())));
  });
}

/// The accumulators of one tile: all terms, all groups.
void ContractLowering::multiply(const TilePosition &at) {
  if (!plan.split) {
    for (unsigned term = 0; term < op.getNumTerms(); ++term)
      runRegisterTile(at, tileData(at, term, nullptr, groupSteps),
                      sums(term, at));
    return;
  }
  Value *zero = e.splat(llvm::ConstantFP::get(b.getFloatTy(), 0.0), plan.lanes);
  e.loop(e.i64(0), e.i64(op.getNumTerms() * sumBytes(plan)),
         e.i64(4 * plan.lanes), [&](Value *at) {
           e.store(zero, e.offset(function.scratch, at), Memory::Scratch,
                   4 * plan.lanes);
         });
  if (factors.usable)
    forShape(at, [&](TileShape shape) { splitTile(at, shape); });
  else
    splitTileInMemory(at);
}

/// What a tile's accumulators are before the first chunk.
void ContractLowering::beginChunks(const TilePosition &at) {
  llvm::Type *vector = e.vectorType(b.getInt32Ty(), plan.lanes);
  for (unsigned term = 0; term < op.getNumTerms(); ++term)
    e.loop(e.i64(0), at.numPanels, e.i64(1), [&](Value *number) {
      Value *header = e.offset(panel(term, at), e.mul(number, panelBytes));
      Value *tile =
          e.offset(sums(term, at), e.mul(number, e.i64(plan.tileBytes())));
      for (unsigned column = 0; column < plan.columns; column += plan.lanes) {
        Value *start = plan.headerRows()
                           ? e.load(vector, e.offset(header, e.i64(4 * column)),
                                    Memory::Read, 4 * plan.lanes)
                           : llvm::Constant::getNullValue(vector);
        for (unsigned row = 0; row < plan.rows; ++row)
          e.store(start, cell(tile, e.i64(row), e.i64(column)), Memory::Scratch,
                  4 * plan.lanes);
      }
    });
}

void ContractLowering::multiplyChunk(const TilePosition &at, Value *chunk) {
  Value *first = e.mul(chunk, e.i64(*plan.blocking.chunkSteps));
  Value *steps =
      e.min(b.CreateSub(groupSteps, first), e.i64(*plan.blocking.chunkSteps));
  for (unsigned term = 0; term < op.getNumTerms(); ++term) {
    TileData data = tileData(at, term, nullptr, steps);
    Value *start = e.mul(first, e.i64(plan.rowBytes()));
    data.left = e.offset(data.left, leftBytes(at, e.mul(first, e.i64(4))));
    data.panel = e.offset(data.panel, start);
    // The next chunk follows this one, up to the next panel's first.
    Value *inChunk =
        e.mul(e.mul(at.number, fetch.step), e.i64(*plan.blocking.chunkSteps));
    int64_t next = *plan.blocking.chunkSteps * plan.rowBytes();
    data.ahead =
        e.offset(data.panel,
                 b.CreateSelect(fetch.single, e.i64(plan.blocking.aheadBytes),
                                e.add(e.i64(next), inChunk)));
    runRegisterTile(at, data, sums(term, at));
  }
}

/// The block's rows of a left operand, tile by tile.
void ContractLowering::copyLeft(unsigned operand, llvm::ArrayRef<Value *> batch,
                                Value *first, Value *rows) {
  if (!plan.interleaves(plan.rows)) {
    emitLeftCopy(function.scope, plan, operand, batch, first, rows,
                 leftRows(operand));
    return;
  }
  Value *rowsOfOne = leftRows(op.getNumLhs());
  e.loop(e.i64(0), rows, e.i64(plan.rows), [&](Value *tileRow) {
    Value *tile = e.offset(leftRows(operand), e.mul(tileRow, leftStride));
    Value *count = e.min(b.CreateSub(rows, tileRow), e.i64(plan.rows));
    Value *whole = b.CreateICmpEQ(count, e.i64(plan.rows));
    emitLeftCopy(function.scope, plan, operand, batch, e.add(first, tileRow),
                 count, b.CreateSelect(whole, rowsOfOne, tile));
    e.when(whole, [&] {
      b.CreateCall(interleaving, {rowsOfOne, leftStride,
                                  e.mul(k, e.i64(plan.elementBytes())), tile});
    });
  });
}

void ContractLowering::lower() {
  n = size(plan.n());
  k = size(plan.k());
  leftStride = size(plan.leftStride());
  groups = size(plan.groups());
  groupSteps = size(plan.groupSteps());
  panelBytes = size(plan.panelBytes());
  Value *m = size(plan.m());
  panels = size(plan.panels());
  Value *blocks = size(plan.rowBlocks());
  Value *span = size(stages.span(plan)), *spans = size(stages.spans(plan));
  Value *localScratch =
      e.offset(function.scratch,
               e.add(e.i64(fixedScratch(plan)), size(leftScratch(plan))));
  llvm::SmallVector<Value *> domain;
  for (unsigned i = 0; i < plan.numBatch; ++i)
    domain.push_back(size(plan.extent(i)));
  domain.push_back(blocks);

  gathered = e.offset(localScratch, size(stages.localBytes(plan)));

  // The rows are shared out evenly over the blocks, a multiple to each.
  Value *share = e.ceilDiv(m, e.max(blocks, e.i64(1)));
  Value *blockRows =
      e.mul(e.ceilDiv(share, e.i64(plan.rowMultiple)), e.i64(plan.rowMultiple));

  // The blocks of rows that the items lie in, and of each the patches.
  Value *firstBlock = b.CreateUDiv(function.begin, spans);
  Value *endBlock = e.ceilDiv(function.end, spans);
  e.loop(firstBlock, endBlock, e.i64(1), [&](Value *blockNumber) {
    llvm::SmallVector<Value *> point = pointOf(e, blockNumber, domain);
    llvm::SmallVector<Value *> batch(point.begin(), point.end() - 1);
    Value *firstRow = e.mul(point.back(), blockRows);
    // Rounding up may leave none for the last.
    Value *rows = e.max(e.min(b.CreateSub(m, firstRow), blockRows), e.i64(0));
    Value *rowTiles = e.max(e.ceilDiv(rows, e.i64(plan.rows)), e.i64(1));
    fetch.single = b.CreateICmpEQ(rowTiles, e.i64(1));
    fetch.step = e.ceilDiv(e.i64(plan.rowBytes()), rowTiles);
    fetch.tileBytes = e.mul(
        fetch.step, e.mul(groups, e.add(groupSteps, e.i64(plan.headerRows()))));
    Value *item0 = e.mul(blockNumber, spans);
    auto patchAt = [&](Value *firstPanel) {
      Value *firstColumn = e.mul(firstPanel, e.i64(plan.columns));
      Value *columns =
          e.min(b.CreateSub(n, firstColumn), e.mul(span, e.i64(plan.columns)));
      Patch patch{batch, firstRow, rows, firstColumn, columns};
      bindLocals(function, stages, plan, patch, localScratch);
      return patch;
    };
    Patch left = patchAt(e.i64(0));
    for (const StagePlan::Stage &stage : stages.before)
      emitStage(function, stage, left);
    for (unsigned i = 0; i < op.getNumLhs(); ++i)
      copyLeft(i, batch, firstRow, rows);
    reductions.clear(e, gathered, rows);
    Value *begin = e.max(b.CreateSub(function.begin, item0), e.i64(0));
    Value *end = e.min(b.CreateSub(function.end, item0), spans);
    // Spans with nothing behind them need not be told apart.
    Value *spansAtOnce =
        stages.after.empty() ? b.CreateSub(end, begin) : e.i64(1);
    Value *panelsAtOnce = e.mul(span, spansAtOnce);
    e.loop(begin, end, e.max(spansAtOnce, e.i64(1)), [&](Value *spanNumber) {
      Value *firstPanel = e.mul(spanNumber, span);
      Patch patch = patchAt(firstPanel);
      lowerPanels(patch, firstPanel,
                  e.min(e.add(firstPanel, panelsAtOnce), panels), domain);
      for (const StagePlan::Stage &stage : stages.after)
        emitStage(function, stage, patch);
    });
    reductions.flush(function.scope, batch, firstRow, rows, gathered);
  });
  b.CreateRetVoid();
}

/// All tiles of the patch's rows and these panels, two by two where the rows
/// are few.
void ContractLowering::lowerPanels(const Patch &patch, Value *first, Value *end,
                                   llvm::ArrayRef<Value *> domain) {
  Value *atOnce = e.i64(1);
  if (unsigned few = plan.blocking.fewRows)
    atOnce = b.CreateSelect(b.CreateICmpSLE(patch.rows, e.i64(few)), e.i64(2),
                            e.i64(1));
  e.loop(first, end, atOnce, [&](Value *panel) {
    llvm::SmallVector<Value *> packedPanels;
    for (const PackedOperand &operand : packed) {
      Value *number = e.i64(0);
      for (unsigned i = 0; i < plan.numBatch; ++i)
        if (operand.varies[i])
          number = e.add(e.mul(number, domain[i]), patch.batch[i]);
      packedPanels.push_back(e.add(e.mul(number, panels), panel));
    }
    Value *numPanels = e.min(b.CreateSub(end, panel), atOnce);
    auto forTiles = [&](llvm::function_ref<void(const TilePosition &)> fn) {
      e.loop(e.i64(0), patch.rows, e.i64(plan.rows), [&](Value *tileRow) {
        TilePosition at{
            llvm::SmallVector<Value *>(patch.batch),
            e.add(patch.row, tileRow),
            tileRow,
            e.min(b.CreateSub(patch.rows, tileRow), e.i64(plan.rows)),
            e.mul(panel, e.i64(plan.columns)),
            packedPanels,
            numPanels,
            b.CreateUDiv(tileRow, e.i64(plan.rows))};
        fn(at);
      });
    };
    if (!plan.blocking.chunkSteps) {
      forTiles([&](const TilePosition &at) {
        multiply(at);
        epilogues(at);
      });
      return;
    }
    forTiles([&](const TilePosition &at) { beginChunks(at); });
    Value *chunks = e.ceilDiv(groupSteps, e.i64(*plan.blocking.chunkSteps));
    e.loop(e.i64(0), chunks, e.i64(1), [&](Value *chunk) {
      forTiles([&](const TilePosition &at) { multiplyChunk(at, chunk); });
    });
    forTiles([&](const TilePosition &at) { epilogues(at); });
  });
}

LoweredContract quern::cpugen::lowerContract(Emitter &e, tile::KernelOp kernel,
                                             tile::ContractOp op,
                                             const std::string &name) {
  LoweredContract lowered;
  bool integers = op.getElementType(op.getLhsRegion(0)).isInteger(8);
  for (mlir::Region &region : op.getOperandRegions())
    if (op.getElementType(region).isInteger(8) != integers) {
      e.unsupported("a contraction with 8-bit integers in one term and floats "
                    "in another; give each its own kernel",
                    e.b.getInt32Ty());
      return lowered;
    }
  ContractPlan plan(op, e.target);
  std::string why;
  std::optional<StagePlan> stages = StagePlan::make(kernel, plan, why);
  if (!stages) {
    e.unsupported(why, e.b.getInt32Ty());
    return lowered;
  }
  for (unsigned i = 0; i < op.getNumRhs(); ++i) {
    std::string packName = fmt::format("{}.pack{}", name, i);
    lowered.packed.push_back(emitPacking(e, kernel, plan, i, packName));
    lowered.packed.back().bufferName = packName;
  }
  ColumnFactors factors(plan);
  if (factors.usable && !factors.values.empty()) {
    std::string packName = fmt::format("{}.factors", name);
    lowered.packed.push_back(
        emitFactorPacking(e, kernel, plan, factors, packName));
    lowered.packed.back().bufferName = packName;
  }
  llvm::SmallVector<llvm::Function *> tiles;
  if (!factors.usable)
    for (TileShape shape : shapesOf(plan))
      tiles.push_back(emitRegisterTile(e, plan, shape));

  llvm::Function *interleaving =
      plan.interleaves(plan.rows) ? emitInterleaving(e, plan) : nullptr;

  llvm::SmallVector<unsigned> arguments;
  for (unsigned i = 0; i < kernel.getBody().getNumArguments(); ++i)
    arguments.push_back(i);
  KernelFunction function(e, name, kernel, arguments, lowered.packed.size());
  ContractLowering(function, plan, *stages, factors, lowered.packed, tiles,
                   interleaving)
      .lower();

  LoweredKernel &out = lowered.kernel;
  out.name = name;
  out.items =
      tile::toSymExpr(plan.rowBlocks()) * tile::toSymExpr(stages->spans(plan));
  for (unsigned i = 0; i < plan.numBatch; ++i)
    out.items = tile::toSymExpr(plan.extent(i)) * out.items;
  // A call should be worth some ten microseconds of multiply-adds, and the
  // copy of the left rows some percent of it.
  constexpr int64_t workPerCall = 1 << 22;
  // With few rows the time goes into reading the panel, as with eight.
  SymExpr rows = SymExpr::binary(
      SymExpr::Op::Max, SymExpr::constant(8),
      SymExpr::binary(SymExpr::Op::Min, tile::toSymExpr(plan.m()),
                      SymExpr::constant(plan.blockRows)));
  SymExpr work = rows * SymExpr::constant(plan.columns) *
                 tile::toSymExpr(stages->span(plan)) *
                 tile::toSymExpr(plan.k());
  out.grain = SymExpr::ceilDiv(
      SymExpr::constant(workPerCall),
      SymExpr::binary(SymExpr::Op::Max, SymExpr::constant(1), work));
  out.scratchBytes = SymExpr::constant(ContractLowering::fixedScratch(plan)) +
                     tile::toSymExpr(ContractLowering::leftScratch(plan)) +
                     tile::toSymExpr(stages->localBytes(plan)) +
                     SymExpr::constant(RowReductions(plan).scratchBytes());
  llvm::StringRef instruction = plan.kind == StepKind::Quads   ? "vpdpbusd"
                                : plan.kind == StepKind::Pairs ? "pmaddwd"
                                : e.target.hasFma()            ? "fma"
                                                               : "mulps+addps";
  out.schedule = fmt::format(
      "{} ({}), blocks of up to {} rows, item = one block x one panel of {} "
      "columns, {} term{}{}",
      plan.blocking.text(), instruction.str(), plan.blockRows, plan.columns,
      op.getNumTerms(), op.getNumTerms() == 1 ? "" : "s",
      plan.split ? fmt::format(", split every {}", *plan.split) : "");
  return lowered;
}
