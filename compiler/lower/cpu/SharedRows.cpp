//===- SharedRows.cpp - Panels whose rows hold two steps ------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Contract.h describes the layout. Taking a vector of four-bit codes apart is a
// shift and two masks, for what eight rows then multiply in sixteen
// instructions; a tile of few rows saves the shift. Of bytes it is three
// shifts, or a shift and a mask where they are unsigned.
//
//===----------------------------------------------------------------------===//

#include "compiler/lower/cpu/ContractLowering.h"

using namespace quern;
using namespace quern::cpugen;
using llvm::Value;

tile::LoadOp quern::cpugen::getFourBitLoad(tile::ContractOp op,
                                           mlir::Region &region) {
  mlir::Block &block = region.front();
  auto load = block.back().getOperand(0).getDefiningOp<tile::LoadOp>();
  if (!load || load->getBlock() != &block || &block.front() != load ||
      load->getNextNode() != &block.back())
    return {};
  std::optional<DType> stored =
      getDType(load.getBuffer().getType().getElementType());
  return stored && isPacked(*stored) ? load : tile::LoadOp();
}

int64_t ContractPlan::chunkGroups() const {
  int64_t bytes = *blocking.chunkSteps * int64_t(rowBytes());
  return std::max<int64_t>(bytes / wideGroupBytes(), 1);
}

int64_t ContractPlan::wideGroupBytes() const {
  if (!split)
    return 0;
  int64_t steps = stepsOfSplit();
  return (steps + steps % 2) * rowBytes();
}

int64_t ContractPlan::wideChunkBytes() const {
  if (split)
    return chunkGroups() * wideGroupBytes();
  return *blocking.chunkSteps * int64_t(rowBytes());
}

bool ContractPlan::keepsHalves(TileShape shape) const {
  // Such bytes go up to 240, and 240 * 255 times half of the elements is below
  // 2^31.
  constexpr int64_t longest = 1 << 16;
  std::optional<int64_t> length = split ? split : constantK();
  // Two vectors to a panel, twice: half of the registers at most.
  unsigned accumulators = 4 * shape.rows * shape.panels;
  return fourBits && rightUnsigned && !narrow && shape.panels == 2 &&
         accumulators <= registers / 2 && length && *length <= longest;
}

Value *quern::cpugen::takeStep(Emitter &e, const ContractPlan &plan, Value *row,
                               unsigned step, bool keepHalves) {
  llvm::IRBuilder<> &b = e.b;
  llvm::Type *type = row->getType();
  if (plan.kind == StepKind::Pairs) {
    auto *words =
        llvm::FixedVectorType::get(b.getInt16Ty(), 2 * Emitter::width(row));
    Value *word = b.CreateBitCast(row, words);
    Value *byte = llvm::ConstantInt::get(words, 8);
    if (step == 0) // Of unsigned codes LLVM makes a mask of both shifts.
      word = b.CreateShl(word, byte);
    word = plan.rightUnsigned ? b.CreateLShr(word, byte)
                              : b.CreateAShr(word, byte);
    return b.CreateBitCast(word, type);
  }
  if (step && keepHalves)
    return b.CreateAnd(row, llvm::ConstantInt::get(type, 0xf0f0f0f0));
  if (step)
    row = b.CreateLShr(row, llvm::ConstantInt::get(type, 4));
  return b.CreateAnd(row, llvm::ConstantInt::get(type, 0x0f0f0f0f));
}

llvm::Function *quern::cpugen::emitTakingApart(Emitter &e,
                                               const ContractPlan &plan) {
  std::string name = "quern.widen.4";
  if (llvm::Function *existing = e.module.getFunction(name))
    return existing;
  llvm::IRBuilder<> &b = e.b;
  llvm::IRBuilder<>::InsertPointGuard guard(b);
  llvm::Type *pointer = b.getPtrTy();
  llvm::Type *i64 = b.getInt64Ty();
  auto *type = llvm::FunctionType::get(
      b.getVoidTy(), {pointer, i64, i64, i64, pointer}, false);
  llvm::Function *function = e.beginFunction(name, type, /*external=*/false);
  function->addFnAttr(llvm::Attribute::NoInline);
  llvm::Type *vector = e.vectorType(b.getInt32Ty(), plan.lanes);
  unsigned align = 4 * plan.lanes;
  Value *rows = function->getArg(3);
  e.loop(e.i64(0), function->getArg(1), e.i64(1), [&](Value *group) {
    Value *source =
        e.offset(function->getArg(0), e.mul(group, function->getArg(2)));
    Value *target = e.offset(
        function->getArg(4),
        e.mul(group, e.mul(rows, e.i64(2 * int64_t(plan.rowBytes())))));
    e.loop(e.i64(0), rows, e.i64(1), [&](Value *number) {
      Value *from = e.offset(source, e.mul(number, e.i64(plan.rowBytes())));
      Value *to =
          e.offset(target, e.mul(number, e.i64(2 * int64_t(plan.rowBytes()))));
      for (unsigned half = 0; half < 2; ++half) {
        Value *row = e.load(vector, e.offset(from, e.i64(half * align)),
                            Memory::Read, align);
        for (unsigned step = 0; step < 2; ++step)
          e.store(takeStep(e, plan, row, step),
                  e.offset(to, e.i64(step * plan.rowBytes() + half * align)),
                  Memory::Scratch, align);
      }
    });
  });
  b.CreateRetVoid();
  return function;
}

llvm::Function *quern::cpugen::emitRowSums(Emitter &e,
                                           const ContractPlan &plan) {
  bool interleaves = plan.interleaves(plan.rows);
  std::string name =
      fmt::format("quern.rowsums{}{}{}", plan.leftUnsigned ? ".unsigned" : "",
                  interleaves ? ".rows" : "", plan.rowsName());
  if (llvm::Function *existing = e.module.getFunction(name))
    return existing;
  llvm::IRBuilder<> &b = e.b;
  llvm::IRBuilder<>::InsertPointGuard guard(b);
  llvm::Type *pointer = b.getPtrTy(), *i64 = b.getInt64Ty();
  auto *type = llvm::FunctionType::get(
      b.getVoidTy(), {pointer, i64, i64, i64, i64, i64, pointer}, false);
  llvm::Function *function = e.beginFunction(name, type, /*external=*/false);
  function->addFnAttr(llvm::Attribute::NoInline);
  Value *left = function->getArg(0), *stride = function->getArg(1);
  Value *rows = function->getArg(2), *elements = function->getArg(3);
  Value *groups = function->getArg(4), *group = function->getArg(5);
  Value *target = function->getArg(6);

  // sum + the four codes of each lane, those that the mask leaves.
  auto add = [&](Value *sum, Value *words, Value *mask) {
    if (mask)
      words = b.CreateAnd(words, mask);
    // Ones fit either sign: as the codes of four bits do.
    return e.dotBytes(sum, words, plan.leftUnsigned, e.i32(0x01010101, words),
                      plan.rightUnsigned);
  };
  auto correction = [&](Value *sum) {
    return b.CreateMul(sum, llvm::ConstantInt::getSigned(sum->getType(), -8));
  };
  // The lowest bytes of a word.
  auto firstBytes = [&](Value *count) {
    Value *bits = b.CreateTrunc(e.mul(count, e.i64(8)), b.getInt32Ty());
    return b.CreateSub(b.CreateShl(b.getInt32(1), bits), b.getInt32(1));
  };
  auto forGroups = [&](llvm::function_ref<void(Value *, Value *, Value *)> fn) {
    e.loop(e.i64(0), groups, e.i64(1), [&](Value *number) {
      Value *first = e.mul(number, group);
      fn(e.offset(target, e.mul(number, e.i64(4 * plan.rows))), first,
         e.min(b.CreateSub(elements, first), group));
    });
  };
  auto rowByRow = [&] {
    llvm::Type *vector = e.vectorType(b.getInt32Ty(), plan.lanes);
    Value *zero = llvm::Constant::getNullValue(vector);
    auto *bytes = llvm::FixedVectorType::get(b.getInt8Ty(), 4 * plan.lanes);
    e.loop(e.i64(0), rows, e.i64(1), [&](Value *row) {
      Value *codes = e.offset(left, e.mul(row, stride));
      forGroups([&](Value *sums, Value *first, Value *count) {
        Value *sum = e.loop(
            e.i64(0), count, e.i64(4 * plan.lanes), Emitter::Values{zero},
            [&](Value *at, llvm::ArrayRef<Value *> carried) {
              Value *words = e.load(vector, e.offset(codes, e.add(first, at)),
                                    Memory::Scratch, 1);
              Value *mask = e.maskBelow(b.CreateSub(count, at), 4 * plan.lanes);
              mask = b.CreateBitCast(b.CreateSExt(mask, bytes), vector);
              return Emitter::Values{add(carried[0], words, mask)};
            })[0];
        e.store(correction(b.CreateAddReduce(sum)),
                e.offset(sums, e.mul(row, e.i64(4))), Memory::Scratch, 4);
      });
    });
    return Emitter::Values();
  };
  // A step of all rows is a vector.
  auto allRows = [&] {
    llvm::Type *vector = e.vectorType(b.getInt32Ty(), plan.rows);
    Value *zero = llvm::Constant::getNullValue(vector);
    forGroups([&](Value *sums, Value *first, Value *count) {
      Value *steps = e.offset(left, e.mul(first, e.i64(plan.rows)));
      Value *full = b.CreateAnd(count, e.i64(-4));
      auto load = [&](Value *at) {
        return e.load(vector, e.offset(steps, e.mul(at, e.i64(plan.rows))),
                      Memory::Scratch, 4);
      };
      Value *sum =
          e.loop(e.i64(0), full, e.i64(4), Emitter::Values{zero},
                 [&](Value *at, llvm::ArrayRef<Value *> carried) {
                   return Emitter::Values{add(carried[0], load(at), nullptr)};
                 })[0];
      sum = e.branch(
          b.CreateICmpSLT(full, count),
          [&] {
            Value *mask = firstBytes(b.CreateSub(count, full));
            return Emitter::Values{
                add(sum, load(full), e.splat(mask, plan.rows))};
          },
          [&] { return Emitter::Values{sum}; })[0];
      e.store(correction(sum), sums, Memory::Scratch, 4);
    });
    return Emitter::Values();
  };
  if (interleaves)
    e.branch(b.CreateICmpEQ(rows, e.i64(plan.rows)), allRows, rowByRow);
  else
    rowByRow();
  b.CreateRetVoid();
  return function;
}

/// Of all the block's rows.
void ContractLowering::sumRows(unsigned operand, Value *rows) {
  llvm::Function *sums = emitRowSums(e, plan);
  Value *group = plan.split ? e.i64(*plan.split) : k;
  Value *bytesOfTile = e.mul(groups, e.i64(4 * plan.rows));
  e.loop(e.i64(0), rows, e.i64(plan.rows), [&](Value *tileRow) {
    Value *number = b.CreateUDiv(tileRow, e.i64(plan.rows));
    b.CreateCall(
        sums,
        {e.offset(leftRows(operand), e.mul(tileRow, leftStride)), leftStride,
         e.min(b.CreateSub(rows, tileRow), e.i64(plan.rows)), k, groups, group,
         e.offset(rowSums(operand), e.mul(number, bytesOfTile))});
  });
}

/// A chunk of each right operand's panels.
void ContractLowering::takePanelsApart(llvm::ArrayRef<Value *> packedPanels,
                                       Value *chunk) {
  llvm::Function *apart = emitTakingApart(e, plan);
  if (plan.split)
    firstGroup = e.mul(chunk, e.i64(plan.chunkGroups()));
  forWidenedPanels(packedPanels, [&](unsigned, Value *from, Value *to) {
    if (!plan.split) {
      int64_t chunkRows = *plan.blocking.chunkSteps / 2;
      Value *first = e.mul(chunk, e.i64(chunkRows));
      Value *count = e.min(b.CreateSub(groupRows, first), e.i64(chunkRows));
      Value *skipped = e.mul(first, e.i64(plan.rowBytes()));
      b.CreateCall(apart,
                   {e.offset(from, skipped), e.i64(1), e.i64(0), count, to});
      return;
    }
    // Groups follow each other here as there; the last may be shorter.
    Value *end = e.min(e.add(firstGroup, e.i64(plan.chunkGroups())), groups);
    b.CreateCall(apart,
                 {e.offset(from, panelGroup(firstGroup)),
                  b.CreateSub(end, firstGroup), groupBytes, groupRows, to});
  });
}

void ContractLowering::readFourBits(TileData &data, const TilePosition &at,
                                    unsigned term, Value *group) {
  data.sharesRows = asPacked;
  if (group)
    data.left = e.offset(data.left, leftBytes(at, leftGroup(group)));
  if (asPacked) {
    if (group)
      data.panel = e.offset(data.panel, panelGroup(group));
    data.ahead = e.offset(data.panel, e.i64(plan.blocking.aheadBytes));
    data.aheadStep = e.i64(plan.rowBytes());
    return;
  }
  data.panel = widePanel(op.getTerms()[2 * term + 1]);
  data.panelBytes = e.i64(plan.wideChunkBytes());
  if (!group)
    return;
  data.panel = e.offset(data.panel, e.mul(b.CreateSub(group, firstGroup),
                                          e.i64(plan.wideGroupBytes())));
  Value *share = e.mul(e.mul(groupSteps, fetch.step), at.number);
  Value *later = e.add(group, e.i64(plan.chunkGroups()));
  data.ahead = e.offset(panel(term, at), e.add(panelGroup(later), share));
}

Value *ContractLowering::aheadOfChunk(const TilePosition &at, unsigned term,
                                      Value *firstStep) {
  // Behind the panel's last chunk lies the next panel.
  Value *later = e.add(firstStep, e.i64(*plan.blocking.chunkSteps));
  Value *skipped = e.mul(b.CreateLShr(later, e.i64(1)), e.i64(plan.rowBytes()));
  Value *share =
      e.mul(e.mul(e.i64(*plan.blocking.chunkSteps), fetch.step), at.number);
  return e.offset(panel(term, at), e.add(skipped, share));
}
