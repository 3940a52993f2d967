//===- TileLowering.cpp - One tile of a product ---------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Multiplying, scaling within K, and the epilogue, for one row tile of one
// panel, or of two.
//
//===----------------------------------------------------------------------===//

#include "compiler/lower/cpu/ContractLowering.h"

using namespace quern;
using namespace quern::cpugen;
using llvm::Value;

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

/// One copy of the code for every shape. One panel of few rows is computed as
/// one of a few more: as long as 8 accumulators are not under way, more take no
/// more time. The rows beyond are whatever lies in
/// scratch, and nobody reads their sums.
void ContractLowering::forShape(const TilePosition &at,
                                llvm::function_ref<void(TileShape)> emit) {
  llvm::Function *current = b.GetInsertBlock()->getParent();
  auto *join = llvm::BasicBlock::Create(e.context, "tiled", current);
  auto *full = llvm::BasicBlock::Create(e.context, "tile", current);
  // Panels that were widened are those of blocks of many rows.
  llvm::SmallVector<TileShape> shapes =
      plan.widensPanels() && !asPacked ? plan.shapesOfMany() : plan.shapes();
  int64_t few = plan.blocking.fewRows;
  Value *many = e.max(at.rows, e.i64(few + 1));
  Value *number =
      b.CreateSelect(b.CreateICmpEQ(at.panels.count, e.i64(2)), at.rows, many);
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
  data.panelBytes = bytesApart(at.panels);
  data.steps = steps;
  data.aheadStep = fetch.step;
  if (plan.biased)
    data.starts = rowStarts(term, at, group ? group : e.i64(0));
  data.sharesRows = plan.readsSharedRows();
  if (data.sharesRows) // Once for two steps.
    data.aheadStep = e.mul(fetch.step, e.i64(plan.stepsPerRow()));
  if (plan.takesApart()) {
    readFourBits(data, at, term, group);
    return data;
  }
  Value *more = b.CreateICmpSLT(e.add(at.column, e.i64(plan.columns)), n);
  Value *next = e.offset(first, b.CreateSelect(more, panelBytes, e.i64(0)));
  data.ahead = b.CreateSelect(
      fetch.single, e.offset(first, e.i64(plan.blocking.aheadBytes)),
      e.offset(next, e.mul(at.number, fetch.tileBytes)));
  if (group) {
    data.left = e.offset(data.left, leftBytes(at, leftGroup(group)));
    data.panel = e.offset(first, panelGroup(group));
    Value *before = e.mul(group, e.add(groupSteps, e.i64(plan.headerRows())));
    data.ahead = e.offset(data.ahead, e.mul(before, fetch.step));
  }
  return data;
}

Value *ContractLowering::functionFor(const TilePosition &at) {
  llvm::ArrayRef<llvm::Function *> functions = asPacked ? packedTiles : tiles;
  llvm::SmallVector<llvm::BasicBlock *> blocks;
  forShape(at, [&](TileShape) { blocks.push_back(b.GetInsertBlock()); });
  llvm::PHINode *tile = b.CreatePHI(b.getPtrTy(), blocks.size());
  for (auto [block, function] : llvm::zip(blocks, functions))
    tile->addIncoming(function, block);
  return tile;
}

void ContractLowering::runRegisterTile(const TilePosition &at,
                                       const TileData &data, Value *out) {
  Value *none = llvm::ConstantPointerNull::get(b.getPtrTy());
  b.CreateCall(tiles[0]->getFunctionType(), functionFor(at),
               {data.left, data.stride, data.panel, data.panelBytes, data.steps,
                out, data.ahead, data.aheadStep,
                data.starts ? data.starts : none});
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
        llvm::Type *partType =
            plan.sumsFloats() ? f32Type : e.vectorType(b.getInt32Ty(), width);
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
          if (!plan.sumsFloats())
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

/// acc = fma(f32(part), factor, acc) for the accumulators of one group and
/// term, vector by vector.
void ContractLowering::scaleParts(const TilePosition &at, TileShape shape,
                                  unsigned term, Value *group,
                                  llvm::ArrayRef<Value *> parts) {
  mlir::Block &block = op.getRescale().front();
  llvm::Type *vector = e.vectorType(b.getFloatTy(), plan.lanes);
  for (unsigned i = 0; i < parts.size(); ++i) {
    unsigned panel = i / (2 * shape.rows), row = i / 2 % shape.rows;
    unsigned column = i % 2 * plan.lanes;
    ElementBody body(function.scope, plan.lanes, nullptr);
    for (auto [argument, value] : llvm::zip(block.getArguments(), at.batch))
      body.bind(argument, ElementBody::uniform(value));
    unsigned next = plan.numBatch;
    // A row beyond the tile's has no scale.
    body.bind(block.getArgument(next),
              ElementBody::uniform(e.add(
                  at.row, e.min(e.i64(row), b.CreateSub(at.rows, e.i64(1))))));
    Value *before = panel ? columnsApart(at.panels) : e.i64(0);
    body.bind(block.getArgument(next + 1),
              body.laneIndex(e.add(at.column, e.add(before, e.i64(column))),
                             plan.lanes));
    body.bind(block.getArgument(next + 2), ElementBody::uniform(group));
    for (const ColumnFactors::Factor &factor : factors.values) {
      mlir::Type stored = factor.stored.getType();
      Value *address = e.offset(factorAddress(at, factor, group),
                                e.i64(column * ColumnFactors::bytesOf(stored)));
      if (panel)
        address = e.offset(address, bytesApart(at.panels));
      body.bind(factor.value,
                {ColumnFactors::load(e, plan.lanes, stored, address)});
    }
    for (mlir::Operation *operation : factors.otherOps)
      body.emit(*operation);
    Value *factor =
        body.spread(body.lookup(block.getTerminator()->getOperand(term)));
    Value *part = parts[i];
    if (op.hasAddends())
      part = b.CreateAdd(
          part, body.spread(body.lookup(block.getTerminator()->getOperand(
                    op.getNumTerms() + term))));
    if (!plan.sumsFloats())
      part = b.CreateSIToFP(part, vector);
    Value *slot =
        cell(sums(term, at), e.i64(panel * plan.rows + row), e.i64(column));
    Value *sum = e.load(vector, slot, Memory::Scratch, 4 * plan.lanes);
    e.store(e.fma(part, factor, sum), slot, Memory::Scratch, 4 * plan.lanes);
  }
}

/// Some groups of a tile. A group's accumulators stay in registers until they
/// are scaled; the f32 sums live in scratch.
void ContractLowering::splitTile(const TilePosition &at, TileShape shape,
                                 Value *first, Value *end) {
  e.loop(first, end, e.i64(1), [&](Value *group) {
    for (unsigned term = 0; term < op.getNumTerms(); ++term) {
      TileData data = tileData(at, term, group, stepsOf(group));
      if (!plan.blocking.fetches(shape.rows))
        data.ahead = nullptr;
      scaleParts(at, shape, term, group, emitTileLoop(e, plan, shape, data));
    }
  });
}

/// The same by a function of the tile's shape, where scaling is but a vector.
void ContractLowering::runSplitTile(const TilePosition &at, Value *first,
                                    Value *end) {
  Value *tile = functionFor(at);
  Value *none = llvm::ConstantPointerNull::get(b.getPtrTy());
  Value *packedGroup = groupBytes;
  Value *panelGroup = plan.takesApart() && !asPacked
                          ? e.i64(plan.wideGroupBytes())
                          : packedGroup;
  Value *aheadGroup =
      plan.takesApart()
          ? packedGroup
          : e.mul(e.add(groupSteps, e.i64(plan.headerRows())), fetch.step);
  for (unsigned term = 0; term < op.getNumTerms(); ++term) {
    TileData data = tileData(at, term, first, groupSteps);
    const ColumnFactors::Factor &factor =
        factors.values[(*factors.plain)[term]];
    using Args = SplitTileArguments;
    llvm::SmallVector<Value *> arguments(Args::count);
    arguments[Args::Left] = data.left;
    arguments[Args::Stride] = data.stride;
    arguments[Args::Panel] = data.panel;
    arguments[Args::PanelBytes] = bytesApart(at.panels);
    arguments[Args::PanelGroup] = panelGroup;
    arguments[Args::Groups] = b.CreateSub(end, first);
    arguments[Args::LastSteps] = stepsOf(b.CreateSub(end, e.i64(1)));
    arguments[Args::Sums] = sums(term, at);
    arguments[Args::Factors] = factorAddress(at, factor, first);
    arguments[Args::FactorGroup] = packedGroup;
    arguments[Args::Starts] = data.starts ? data.starts : none;
    arguments[Args::Ahead] = data.ahead;
    arguments[Args::AheadStep] = data.aheadStep;
    arguments[Args::AheadGroup] = aheadGroup;
    b.CreateCall(tiles[0]->getFunctionType(), tile, arguments);
  }
}

/// The same through memory, for factors that vary along both axes at once.
void ContractLowering::splitTileInMemory(const TilePosition &at, Value *first,
                                         Value *end) {
  e.loop(first, end, e.i64(1), [&](Value *group) {
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
  e.loopOnceOrMore(e.i64(0), at.panels.count, e.i64(1), [&](Value *panel) {
    TilePosition one = at;
    one.column = e.add(at.column, e.mul(panel, columnsApart(at.panels)));
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
  for (unsigned term = 0; term < op.getNumTerms(); ++term)
    e.loop(e.i64(0), e.i64(2 * plan.tileBytes()), e.i64(4 * plan.lanes),
           [&](Value *offset) {
             e.store(zero, e.offset(sums(term, at), offset), Memory::Scratch,
                     4 * plan.lanes);
           });
  multiplyGroups(at, e.i64(0), groups);
}

void ContractLowering::multiplyGroups(const TilePosition &at, Value *first,
                                      Value *end) {
  if (factors.isPlain())
    runSplitTile(at, first, end);
  else if (factors.usable)
    forShape(at, [&](TileShape shape) { splitTile(at, shape, first, end); });
  else
    splitTileInMemory(at, first, end);
}

/// What a tile's accumulators are before the first chunk.
void ContractLowering::beginChunks(const TilePosition &at) {
  llvm::Type *vector = e.vectorType(b.getInt32Ty(), plan.lanes);
  for (unsigned term = 0; term < op.getNumTerms(); ++term)
    e.loop(e.i64(0), at.panels.count, e.i64(1), [&](Value *number) {
      Value *header =
          e.offset(panel(term, at), e.mul(number, bytesApart(at.panels)));
      Value *tile =
          e.offset(sums(term, at), e.mul(number, e.i64(plan.tileBytes())));
      for (unsigned column = 0; column < plan.columns; column += plan.lanes) {
        Value *start = plan.headerRows() && !plan.split
                           ? e.load(vector, e.offset(header, e.i64(4 * column)),
                                    Memory::Read, 4 * plan.lanes)
                           : llvm::Constant::getNullValue(vector);
        for (unsigned row = 0; row < plan.rows; ++row) {
          if (plan.biased && !plan.split)
            start = e.splat(
                e.load(b.getInt32Ty(),
                       e.offset(rowStarts(term, at, e.i64(0)), e.i64(4 * row)),
                       Memory::Scratch, 4),
                plan.lanes);
          e.store(start, cell(tile, e.i64(row), e.i64(column)), Memory::Scratch,
                  4 * plan.lanes);
        }
      }
    });
}

void ContractLowering::multiplyChunk(const TilePosition &at, Value *chunk) {
  if (plan.split) {
    multiplyGroups(at, firstGroup,
                   e.min(e.add(firstGroup, e.i64(plan.chunkGroups())), groups));
    return;
  }
  Value *first = e.mul(chunk, e.i64(*plan.blocking.chunkSteps));
  Value *steps =
      e.min(b.CreateSub(groupSteps, first), e.i64(*plan.blocking.chunkSteps));
  for (unsigned term = 0; term < op.getNumTerms(); ++term) {
    TileData data = tileData(at, term, nullptr, steps);
    data.left = e.offset(data.left, leftBytes(at, e.mul(first, e.i64(4))));
    if (plan.widensPanels()) {
      if (plan.takesApart())
        data.ahead = aheadOfChunk(at, term, first);
      else
        readDecoded(data, at, term, first);
      runRegisterTile(at, data, sums(term, at));
      continue;
    }
    Value *start = e.mul(first, e.i64(plan.packedStepBytes()));
    data.panel = e.offset(data.panel, start);
    // The next chunk follows this one, up to the next panel's first.
    Value *inChunk =
        e.mul(e.mul(at.number, fetch.step), e.i64(*plan.blocking.chunkSteps));
    int64_t next = *plan.blocking.chunkSteps * plan.packedStepBytes();
    data.ahead =
        e.offset(data.panel,
                 b.CreateSelect(fetch.single, e.i64(plan.blocking.aheadBytes),
                                e.add(e.i64(next), inChunk)));
    runRegisterTile(at, data, sums(term, at));
  }
}
