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
  columns = 2 * lanes;
  rows = vnni ? 8 : 4;

  // More rows per block mean fewer passes over the panels, which come from L3
  // or memory each time; the copied rows then come from L3 too, which costs
  // less (K = 11008: 184 rows are 15 % faster than 88).
  constexpr int64_t blockBytes = 1 << 21;
  blockRows = 128;
  auto constantK = llvm::dyn_cast<mlir::AffineConstantExpr>(k());
  if (constantK && constantK.getValue() > 0)
    blockRows = std::clamp<int64_t>(
        blockBytes / (constantK.getValue() * elementBytes()) / rows * rows, 64,
        256);
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
                   llvm::ArrayRef<llvm::Function *> tiles)
      : function(function), plan(plan), stages(stages), factors(factors),
        packed(packed), op(plan.op), e(function.scope.e), b(e.b), tiles(tiles),
        reductions(plan), sizes(function.scope, 1, nullptr) {}

  void lower();
  /// Scratch before the copied left rows.
  static unsigned tileBytes(const ContractPlan &plan) {
    return plan.rows * plan.rowBytes();
  }
  static unsigned fixedScratch(const ContractPlan &plan) {
    unsigned perTerm = plan.split ? 2 : 1;
    return perTerm * plan.op.getNumTerms() * tileBytes(plan);
  }

private:
  struct TilePosition {
    llvm::SmallVector<Value *> batch;
    Value *row;     ///< First row, in the whole product.
    Value *tileRow; ///< The same within the block of rows.
    Value *rows;    ///< How many.
    Value *column;  ///< First column.
    /// The panel to read in each packed buffer.
    llvm::SmallVector<Value *> panels;
  };
  using ColumnsFn =
      llvm::function_ref<void(Value *column, unsigned width, Value *mask)>;

  Value *size(mlir::AffineExpr expr) { return sizes.affine(expr, {}).value; }
  void lowerPanel(const Patch &patch, Value *panel,
                  llvm::ArrayRef<Value *> domain);
  void lowerTile(const TilePosition &at);
  void forRowCount(Value *rows, llvm::function_ref<void(unsigned)> emit);
  void runRegisterTile(Value *rows, Value *left, Value *panel, Value *steps,
                       Value *out);
  void rescale(const TilePosition &at, Value *group);
  void splitTile(const TilePosition &at, unsigned rows);
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
  /// Bytes from a group's first element to the next group's, on either side.
  Value *leftGroup(Value *group) {
    return e.mul(group, e.i64(*plan.split * plan.elementBytes()));
  }
  Value *panelGroup(Value *group) {
    return e.mul(group, e.mul(e.add(groupSteps, e.i64(plan.headerRows())),
                              e.i64(plan.rowBytes())));
  }
  void epilogue(const TilePosition &at);
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
  Value *sums(unsigned term) {
    return e.offset(function.scratch, e.i64(term * tileBytes(plan)));
  }
  Value *parts(unsigned term) {
    return sums(plan.split ? op.getNumTerms() + term : term);
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
  llvm::ArrayRef<llvm::Function *> tiles; ///< [rows - 1]
  RowReductions reductions;
  Value *gathered = nullptr; ///< Their scratch.
  ElementBody sizes;
  Value *n = nullptr, *k = nullptr, *leftStride = nullptr;
  Value *groups = nullptr, *groupSteps = nullptr, *panelBytes = nullptr;
};

} // namespace

/// Vectors of existing columns among a panel's.
void ContractLowering::forColumns(Value *first, ColumnsFn fn) {
  unsigned lanes = plan.lanes;
  Value *count = e.min(b.CreateSub(n, first), e.i64(plan.columns));
  auto fixed = constantOf(n);
  bool ragged = !fixed || *fixed % lanes != 0;
  if (!ragged || e.target.hasMasks()) {
    e.loop(e.i64(0), count, e.i64(lanes), [&](Value *column) {
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

/// One copy of the code for every number of rows a tile can have.
void ContractLowering::forRowCount(Value *rows,
                                   llvm::function_ref<void(unsigned)> emit) {
  llvm::Function *current = b.GetInsertBlock()->getParent();
  auto *join = llvm::BasicBlock::Create(e.context, "tiled", current);
  auto *full = llvm::BasicBlock::Create(e.context, "tile", current);
  llvm::SwitchInst *choice = b.CreateSwitch(rows, full, plan.rows - 1);
  for (unsigned count = 1; count <= plan.rows; ++count) {
    llvm::BasicBlock *block = full;
    if (count < plan.rows) {
      block = llvm::BasicBlock::Create(e.context, "tile", current);
      choice->addCase(b.getInt64(count), block);
    }
    b.SetInsertPoint(block);
    emit(count);
    b.CreateBr(join);
  }
  b.SetInsertPoint(join);
}

void ContractLowering::runRegisterTile(Value *rows, Value *left, Value *panel,
                                       Value *steps, Value *out) {
  forRowCount(rows, [&](unsigned count) {
    b.CreateCall(tiles[count - 1], {left, leftStride, panel, steps, out});
  });
}

void ContractLowering::forElements(
    const TilePosition &at, mlir::Block &block,
    llvm::function_ref<void(ElementBody &, Value *, Value *, unsigned)> fn) {
  forColumns(at.column, [&](Value *column, unsigned width, Value *mask) {
    e.loop(e.i64(0), at.rows, e.i64(1), [&](Value *row) {
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
void ContractLowering::rescale(const TilePosition &at, Value *group) {
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
          Value *part = e.load(partType, cell(parts(term), row, column),
                               Memory::Scratch, 4);
          if (op.hasAddends())
            part = b.CreateAdd(
                part, body.spread(body.lookup(block.getTerminator()->getOperand(
                          op.getNumTerms() + term))));
          if (plan.kind != StepKind::Singles)
            part = b.CreateSIToFP(part, f32Type);
          Value *slot = cell(sums(term), row, column);
          Value *sum = e.load(f32Type, slot, Memory::Scratch, 4);
          e.store(e.fma(part, factor, sum), slot, Memory::Scratch, 4);
        }
      });
}

void ContractLowering::epilogue(const TilePosition &at) {
  mlir::Block &block = op.getEpilogue().front();
  llvm::Type *scalar = op.getAccumulatorType().isF32()
                           ? b.getFloatTy()
                           : static_cast<llvm::Type *>(b.getInt32Ty());
  forElements(
      at, block,
      [&](ElementBody &body, Value *row, Value *column, unsigned width) {
        reductions.bind(body, gathered, e.add(at.tileRow, row));
        for (unsigned term = 0; term < op.getNumTerms(); ++term)
          body.bind(
              block.getArgument(plan.numBatch + 2 + term),
              {e.load(e.vectorType(scalar, width),
                      cell(sums(term), row, column), Memory::Scratch, 4)});
        body.emit(block);
      });
}

/// All groups of a tile of `rows` rows. A group's accumulators stay in
/// registers until they are scaled; the f32 sums live in scratch.
void ContractLowering::splitTile(const TilePosition &at, unsigned rows) {
  mlir::Block &block = op.getRescale().front();
  llvm::Type *vector = e.vectorType(b.getFloatTy(), plan.lanes);
  Value *factorPanel = nullptr;
  if (!factors.values.empty())
    factorPanel =
        e.offset(function.extra.back(),
                 e.mul(at.panels.back(), size(factors.panelBytes(plan))));
  unsigned numValues = factors.values.size();
  e.loop(e.i64(0), groups, e.i64(1), [&](Value *group) {
    for (unsigned term = 0; term < op.getNumTerms(); ++term) {
      auto parts = emitTileLoop(
          e, plan, rows, e.offset(left(term, at.tileRow), leftGroup(group)),
          leftStride, e.offset(panel(term, at), panelGroup(group)),
          stepsOf(group));
      for (unsigned i = 0; i < 2 * rows; ++i) {
        unsigned row = i / 2, column = i % 2 * plan.lanes;
        ElementBody body(function.scope, plan.lanes, nullptr);
        for (auto [argument, value] : llvm::zip(block.getArguments(), at.batch))
          body.bind(argument, ElementBody::uniform(value));
        unsigned next = plan.numBatch;
        body.bind(block.getArgument(next),
                  ElementBody::uniform(e.add(at.row, e.i64(row))));
        body.bind(block.getArgument(next + 1),
                  body.laneIndex(e.add(at.column, e.i64(column)), plan.lanes));
        body.bind(block.getArgument(next + 2), ElementBody::uniform(group));
        for (auto [number, value] : llvm::enumerate(factors.values)) {
          Value *slot = e.add(e.mul(group, e.i64(numValues * plan.rowBytes())),
                              e.i64(number * plan.rowBytes() + 4 * column));
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
        Value *slot = cell(sums(term), e.i64(row), e.i64(column));
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
      runRegisterTile(at.rows,
                      e.offset(left(term, at.tileRow), leftGroup(group)),
                      e.offset(panel(term, at), panelGroup(group)),
                      stepsOf(group), parts(term));
    rescale(at, group);
  });
}

/// One tile: all terms, all groups, the epilogue.
void ContractLowering::lowerTile(const TilePosition &at) {
  if (!plan.split) {
    for (unsigned term = 0; term < op.getNumTerms(); ++term)
      runRegisterTile(at.rows, left(term, at.tileRow), panel(term, at),
                      groupSteps, sums(term));
    epilogue(at);
    return;
  }
  Value *zero = e.splat(llvm::ConstantFP::get(b.getFloatTy(), 0.0), plan.lanes);
  e.loop(e.i64(0), e.i64(op.getNumTerms() * tileBytes(plan)),
         e.i64(4 * plan.lanes), [&](Value *at) {
           e.store(zero, e.offset(function.scratch, at), Memory::Scratch,
                   4 * plan.lanes);
         });
  if (factors.usable)
    forRowCount(at.rows, [&](unsigned rows) { splitTile(at, rows); });
  else
    splitTileInMemory(at);
  epilogue(at);
}

void ContractLowering::lower() {
  n = size(plan.n());
  k = size(plan.k());
  leftStride = size(plan.leftStride());
  groups = size(plan.groups());
  groupSteps = size(plan.groupSteps());
  panelBytes = size(plan.panelBytes());
  Value *m = size(plan.m());
  Value *panels = size(plan.panels()), *blocks = size(plan.rowBlocks());
  Value *span = size(stages.span(plan)), *spans = size(stages.spans(plan));
  Value *localScratch = e.offset(
      leftRows(0),
      e.mul(leftStride, e.i64(int64_t(op.getNumLhs()) * plan.blockRows)));
  llvm::SmallVector<Value *> domain;
  for (unsigned i = 0; i < plan.numBatch; ++i)
    domain.push_back(size(plan.extent(i)));
  domain.push_back(blocks);

  gathered = e.offset(localScratch, size(stages.localBytes(plan)));

  // The blocks of rows that the items lie in, and of each the patches.
  Value *firstBlock = b.CreateUDiv(function.begin, spans);
  Value *endBlock = e.ceilDiv(function.end, spans);
  e.loop(firstBlock, endBlock, e.i64(1), [&](Value *blockNumber) {
    llvm::SmallVector<Value *> point = pointOf(e, blockNumber, domain);
    llvm::SmallVector<Value *> batch(point.begin(), point.end() - 1);
    Value *firstRow = e.mul(point.back(), e.i64(plan.blockRows));
    Value *rows = e.min(b.CreateSub(m, firstRow), e.i64(plan.blockRows));
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
      emitLeftCopy(function.scope, plan, i, batch, firstRow, rows, leftRows(i));
    reductions.clear(e, gathered, rows);
    Value *begin = e.max(b.CreateSub(function.begin, item0), e.i64(0));
    Value *end = e.min(b.CreateSub(function.end, item0), spans);
    e.loop(begin, end, e.i64(1), [&](Value *spanNumber) {
      Value *firstPanel = e.mul(spanNumber, span);
      Patch patch = patchAt(firstPanel);
      e.loop(firstPanel, e.min(e.add(firstPanel, span), panels), e.i64(1),
             [&](Value *panel) { lowerPanel(patch, panel, domain); });
      for (const StagePlan::Stage &stage : stages.after)
        emitStage(function, stage, patch);
    });
    reductions.flush(function.scope, batch, firstRow, rows, gathered);
  });
  b.CreateRetVoid();
}

/// All tiles of one panel's columns and the patch's rows.
void ContractLowering::lowerPanel(const Patch &patch, Value *panel,
                                  llvm::ArrayRef<Value *> domain) {
  Value *panels = size(plan.panels());
  llvm::SmallVector<Value *> packedPanels;
  for (const PackedOperand &operand : packed) {
    Value *number = e.i64(0);
    for (unsigned i = 0; i < plan.numBatch; ++i)
      if (operand.varies[i])
        number = e.add(e.mul(number, domain[i]), patch.batch[i]);
    packedPanels.push_back(e.add(e.mul(number, panels), panel));
  }
  e.loop(e.i64(0), patch.rows, e.i64(plan.rows), [&](Value *tileRow) {
    TilePosition at{llvm::SmallVector<Value *>(patch.batch),
                    e.add(patch.row, tileRow),
                    tileRow,
                    e.min(b.CreateSub(patch.rows, tileRow), e.i64(plan.rows)),
                    e.mul(panel, e.i64(plan.columns)),
                    packedPanels};
    lowerTile(at);
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
  for (unsigned rows = 1; rows <= plan.rows && !factors.usable; ++rows)
    tiles.push_back(emitRegisterTile(e, plan, rows));

  llvm::SmallVector<unsigned> arguments;
  for (unsigned i = 0; i < kernel.getBody().getNumArguments(); ++i)
    arguments.push_back(i);
  KernelFunction function(e, name, kernel, arguments, lowered.packed.size());
  ContractLowering(function, plan, *stages, factors, lowered.packed, tiles)
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
  out.scratchBytes =
      SymExpr::constant(ContractLowering::fixedScratch(plan)) +
      tile::toSymExpr(plan.leftStride()) *
          SymExpr::constant(int64_t(plan.blockRows) * op.getNumLhs()) +
      tile::toSymExpr(stages->localBytes(plan)) +
      SymExpr::constant(RowReductions(plan).scratchBytes());
  llvm::StringRef instruction = plan.kind == StepKind::Quads   ? "vpdpbusd"
                                : plan.kind == StepKind::Pairs ? "pmaddwd"
                                : e.target.hasFma()            ? "fma"
                                                               : "mulps+addps";
  out.schedule = fmt::format(
      "tile {}x{} ({}), blocks of {} rows, item = one block x one panel of {} "
      "columns, {} term{}{}",
      plan.rows, plan.columns, instruction.str(), plan.blockRows, plan.columns,
      op.getNumTerms(), op.getNumTerms() == 1 ? "" : "s",
      plan.split ? fmt::format(", split every {}", *plan.split) : "");
  return lowered;
}
