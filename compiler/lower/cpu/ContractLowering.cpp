//===- ContractLowering.cpp - Products and what is fused around them ------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// The kernel's loops over blocks of rows, panels and row tiles.
//
//===----------------------------------------------------------------------===//

#include "compiler/lower/cpu/ContractLowering.h"

using namespace quern;
using namespace quern::cpugen;
using llvm::Value;

/// The block's rows of a left operand, tile by tile.
void ContractLowering::copyLeft(unsigned operand, llvm::ArrayRef<Value *> batch,
                                Value *first, Value *rows) {
  if (!plan.interleaves(plan.rows)) {
    emitLeftCopy(function.scope, plan, operand, batch, first, rows, e.i64(0), k,
                 leftRows(operand), leftStride);
    return;
  }
  // A piece of a tile's rows at a time, which L1 holds until it is interleaved.
  Value *rowsOfOne = leftRows(op.getNumLhs());
  e.loop(e.i64(0), rows, e.i64(plan.rows), [&](Value *tileRow) {
    Value *tile = e.offset(leftRows(operand), e.mul(tileRow, leftStride));
    Value *count = e.min(b.CreateSub(rows, tileRow), e.i64(plan.rows));
    Value *whole = b.CreateICmpEQ(count, e.i64(plan.rows));
    Value *piece = b.CreateSelect(
        whole, e.i64(pieceBytes / plan.elementBytes()), e.max(k, e.i64(1)));
    Value *target = b.CreateSelect(whole, rowsOfOne, tile);
    Value *stride = b.CreateSelect(whole, e.i64(pieceStride), leftStride);
    e.loop(e.i64(0), k, piece, [&](Value *from) {
      Value *end = e.min(e.add(from, piece), k);
      emitLeftCopy(function.scope, plan, operand, batch, e.add(first, tileRow),
                   count, from, end, target, stride);
      e.when(whole, [&] {
        Value *bytes =
            e.mul(b.CreateSub(end, from), e.i64(plan.elementBytes()));
        Value *before = e.mul(from, e.i64(plan.elementBytes() * plan.rows));
        b.CreateCall(interleaving,
                     {rowsOfOne, stride, bytes, e.offset(tile, before)});
      });
    });
  });
}

void ContractLowering::lower() {
  n = size(plan.n());
  k = size(plan.k());
  leftStride = size(plan.leftStride());
  groups = size(plan.groups());
  groupSteps = size(plan.groupSteps());
  groupRows = size(plan.groupRows());
  groupBytes = size(plan.groupBytes());
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
    // So much in each step fetches a group, factors and all.
    Value *perStep = e.i64(plan.packedStepBytes());
    if (plan.factorBytes)
      perStep = e.ceilDiv(groupBytes, groupSteps);
    if (plan.storedPanels)
      perStep = e.i64(plan.storedPanels->rowBytes() /
                      plan.storedPanels->elementsPerRow());
    fetch.step = e.ceilDiv(perStep, rowTiles);
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
    for (unsigned i = 0; i < op.getNumLhs(); ++i) {
      copyLeft(i, batch, firstRow, rows);
      if (plan.biased)
        sumRows(i, rows);
    }
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

void ContractLowering::forWidenedPanels(
    llvm::ArrayRef<Value *> packedPanels,
    llvm::function_ref<void(unsigned, Value *, Value *)> fn) {
  for (unsigned right = 0; right < op.getNumRhs(); ++right)
    fn(right,
       e.offset(function.extra[right], e.mul(packedPanels[right], panelBytes)),
       widePanel(right));
}

/// All tiles of the patch's rows and these panels. Where the rows are few, a
/// panel of the first half goes with one of the second, so that each of the two
/// streams runs on from panel to panel.
void ContractLowering::lowerPanels(const Patch &patch, Value *first, Value *end,
                                   llvm::ArrayRef<Value *> domain) {
  Value *apart = b.CreateSub(end, first);
  if (unsigned few = plan.blocking.fewRows)
    apart = b.CreateSelect(b.CreateICmpSLE(patch.rows, e.i64(few)),
                           e.ceilDiv(apart, e.i64(2)), apart);
  e.loop(first, e.add(first, apart), e.i64(1), [&](Value *panel) {
    PanelPair pair;
    for (const PackedOperand &operand : packed) {
      Value *number = e.i64(0);
      for (unsigned i = 0; i < plan.numBatch; ++i)
        if (operand.varies[i])
          number = e.add(e.mul(number, domain[i]), patch.batch[i]);
      pair.first.push_back(e.add(e.mul(number, panels), panel));
    }
    pair.apart = apart;
    pair.count = b.CreateSelect(b.CreateICmpSLT(e.add(panel, apart), end),
                                e.i64(2), e.i64(1));
    auto forTiles = [&](llvm::function_ref<void(const TilePosition &)> fn) {
      e.loop(e.i64(0), patch.rows, e.i64(plan.rows), [&](Value *tileRow) {
        TilePosition at{
            llvm::SmallVector<Value *>(patch.batch),
            e.add(patch.row, tileRow),
            tileRow,
            e.min(b.CreateSub(patch.rows, tileRow), e.i64(plan.rows)),
            e.mul(panel, e.i64(plan.columns)),
            pair,
            b.CreateUDiv(tileRow, e.i64(plan.rows))};
        fn(at);
      });
    };
    auto multiplyWhole = [&] {
      forTiles([&](const TilePosition &at) {
        multiply(at);
        epilogues(at);
      });
      return Emitter::Values();
    };
    auto multiplyByChunks = [&] {
      forTiles([&](const TilePosition &at) { beginChunks(at); });
      Value *chunks =
          plan.split ? e.ceilDiv(groups, e.i64(plan.chunkGroups()))
                     : e.ceilDiv(groupSteps, e.i64(*plan.blocking.chunkSteps));
      e.loop(e.i64(0), chunks, e.i64(1), [&](Value *chunk) {
        if (plan.takesApart())
          takePanelsApart(pair.first, chunk);
        else if (plan.storedPanels)
          decodePanels(pair.first, chunk);
        forTiles([&](const TilePosition &at) { multiplyChunk(at, chunk); });
      });
      forTiles([&](const TilePosition &at) { epilogues(at); });
      return Emitter::Values();
    };
    if (plan.takesApart()) {
      asPacked = true;
      e.branch(fetch.single, multiplyWhole, [&] {
        asPacked = false;
        return multiplyByChunks();
      });
    } else if (plan.storedPanels && plan.blocking.fewRows) {
      // Two panels are those of few rows.
      e.branch(
          b.CreateICmpEQ(pair.count, e.i64(2)),
          [&] {
            forTiles([&](const TilePosition &at) {
              multiplyDecoding(at);
              epilogues(at);
            });
            return Emitter::Values();
          },
          multiplyByChunks);
    } else if (plan.blocking.chunkSteps) {
      multiplyByChunks();
    } else {
      multiplyWhole();
    }
  });
}

LoweredContract quern::cpugen::lowerContract(Emitter &e, tile::KernelOp kernel,
                                             tile::ContractOp op,
                                             const std::string &name,
                                             const Schedules *schedules) {
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
  ScheduledProduct &scheduled = lowered.scheduled;
  scheduled = scheduleProduct(plan, schedules, why);
  scheduled.kernel = name;
  if (!why.empty()) {
    e.unsupported(why, e.b.getInt32Ty());
    return lowered;
  }
  std::optional<StagePlan> stages;
  if (scheduled.line()) {
    plan.use(scheduled.blocking);
    stages = StagePlan::make(kernel, plan, scheduled.unused);
  }
  if (!stages) {
    plan.use(scheduled.blocking = scheduled.model);
    stages = StagePlan::make(kernel, plan, why);
  }
  if (!stages) {
    e.unsupported(why, e.b.getInt32Ty());
    return lowered;
  }
  ColumnFactors factors(plan, e.target);
  plan.factorBytes = factors.bytes;
  for (unsigned i = 0; i < op.getNumRhs(); ++i) {
    std::string packName = fmt::format("{}.pack{}", name, i);
    lowered.packed.push_back(
        emitPacking(e, kernel, plan, factors, i, packName));
    lowered.packed.back().bufferName = packName;
  }
  llvm::SmallVector<llvm::Function *> tiles, packedTiles;
  auto emitTile = [&](TileShape shape, bool asPacked) {
    return factors.isPlain()
               ? emitSplitTile(e, plan, shape, asPacked, factors.plainType())
               : emitRegisterTile(e, plan, shape, asPacked);
  };
  if (!factors.usable || factors.isPlain()) {
    for (TileShape shape :
         plan.widensPanels() ? plan.shapesOfMany() : plan.shapes())
      tiles.push_back(emitTile(shape, /*asPacked=*/false));
    if (plan.takesApart())
      for (TileShape shape : plan.shapes())
        packedTiles.push_back(emitTile(shape, /*asPacked=*/true));
  }

  llvm::SmallVector<llvm::Function *> decoding, decodingFew;
  for (unsigned i = 0; plan.storedPanels && i < op.getNumRhs(); ++i) {
    decoding.push_back(plan.storedPanels->emitDecoding(
        e, plan, i, fmt::format("{}.decode{}", name, i)));
    for (unsigned rows = 1; rows <= plan.blocking.fewRows; ++rows)
      decodingFew.push_back(plan.storedPanels->emitFewRows(
          e, plan, i, rows, fmt::format("{}.rows{}x{}", name, i, rows)));
  }

  llvm::Function *interleaving =
      plan.interleaves(plan.rows) ? emitInterleaving(e, plan) : nullptr;

  llvm::SmallVector<unsigned> arguments;
  for (unsigned i = 0; i < kernel.getBody().getNumArguments(); ++i)
    arguments.push_back(i);
  KernelFunction function(e, name, kernel, arguments, lowered.packed.size());
  ContractLowering(function, plan, *stages, factors, lowered.packed, tiles,
                   packedTiles, decoding, decodingFew, interleaving)
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
  ByteDot byteDot = e.target.byteDot();
  llvm::StringRef dot = byteDot == ByteDot::Mixed    ? "vpdpbusd"
                        : byteDot == ByteDot::Narrow ? "pmaddubsw"
                        : plan.rightUnsigned         ? "udot"
                                                     : "sdot";
  llvm::StringRef instruction = plan.kind == StepKind::Quads       ? dot
                                : plan.kind == StepKind::Pairs     ? "pmaddwd"
                                : plan.kind == StepKind::Bf16Pairs ? "vdpbf16ps"
                                : e.target.hasFma() ? "fma"
                                                    : "mulps+addps";
  out.schedule = fmt::format(
      "{} ({}), blocks of up to {} rows{}, item = one block x one panel of {} "
      "columns, {} term{}{}{}",
      plan.blocking.text(), instruction.str(), plan.blockRows,
      plan.continues() ? fmt::format(" by {} of K", *plan.blocking.chunkSteps *
                                                        plan.elementsPerStep())
                       : "",
      plan.columns, op.getNumTerms(), op.getNumTerms() == 1 ? "" : "s",
      plan.split ? fmt::format(", split every {}", *plan.split) : "",
      scheduled.line()
          ? fmt::format(", by line {} of the record", scheduled.line())
          : "");
  return lowered;
}
