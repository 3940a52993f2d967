//===- FourBitPanels.cpp - Panels whose rows hold two steps ---------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Contract.h describes the layout. Taking a vector apart is a shift, two masks
// and, for signed codes, two subtractions: five instructions for what eight
// rows then multiply in sixteen.
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
  int64_t steps = (*split + elementsPerStep() - 1) / elementsPerStep();
  return (steps + steps % 2 + headerRows()) * rowBytes();
}

int64_t ContractPlan::wideChunkBytes() const {
  if (split)
    return chunkGroups() * wideGroupBytes();
  return (*blocking.chunkSteps + headerRows()) * int64_t(rowBytes());
}

std::pair<Value *, Value *>
quern::cpugen::takeApart(Emitter &e, const ContractPlan &plan, Value *row) {
  llvm::IRBuilder<> &b = e.b;
  auto *bytes = llvm::FixedVectorType::get(b.getInt8Ty(), 4 * plan.lanes);
  auto step = [&](Value *halves) {
    Value *codes = b.CreateAnd(b.CreateBitCast(halves, bytes),
                               llvm::ConstantInt::get(bytes, 15));
    if (plan.biased)
      codes = b.CreateSub(codes, llvm::ConstantInt::get(bytes, 8));
    return b.CreateBitCast(codes, row->getType());
  };
  Value *high = b.CreateLShr(row, llvm::ConstantInt::get(row->getType(), 4));
  return {step(row), step(high)};
}

llvm::Function *quern::cpugen::emitTakingApart(Emitter &e,
                                               const ContractPlan &plan) {
  std::string name = fmt::format("quern.widen.{}", plan.biased ? "i4" : "u4");
  if (llvm::Function *existing = e.module.getFunction(name))
    return existing;
  llvm::IRBuilder<> &b = e.b;
  llvm::IRBuilder<>::InsertPointGuard guard(b);
  llvm::Type *pointer = b.getPtrTy();
  auto *type = llvm::FunctionType::get(
      b.getVoidTy(), {pointer, b.getInt64Ty(), pointer}, false);
  llvm::Function *function = e.beginFunction(name, type, /*external=*/false);
  function->addFnAttr(llvm::Attribute::NoInline);
  llvm::Type *vector = e.vectorType(b.getInt32Ty(), plan.lanes);
  unsigned align = 4 * plan.lanes;
  e.loop(e.i64(0), function->getArg(1), e.i64(1), [&](Value *number) {
    Value *from =
        e.offset(function->getArg(0), e.mul(number, e.i64(plan.rowBytes())));
    Value *to = e.offset(function->getArg(2),
                         e.mul(number, e.i64(2 * plan.rowBytes())));
    for (unsigned half = 0; half < 2; ++half) {
      Value *row = e.load(vector, e.offset(from, e.i64(half * align)),
                          Memory::Read, align);
      auto [first, second] = takeApart(e, plan, row);
      e.store(first, e.offset(to, e.i64(half * align)), Memory::Scratch, align);
      e.store(second, e.offset(to, e.i64(plan.rowBytes() + half * align)),
              Memory::Scratch, align);
    }
  });
  b.CreateRetVoid();
  return function;
}

/// A chunk of each right operand's panels.
void ContractLowering::takePanelsApart(llvm::ArrayRef<Value *> packedPanels,
                                       Value *numPanels, Value *chunk) {
  llvm::Function *apart = emitTakingApart(e, plan);
  Value *header = e.i64(plan.headerRows() * plan.rowBytes());
  llvm::Type *vector = e.vectorType(b.getInt32Ty(), plan.lanes);
  if (plan.split)
    firstGroup = e.mul(chunk, e.i64(plan.chunkGroups()));
  for (unsigned right = 0; right < op.getNumRhs(); ++right)
    e.loop(e.i64(0), numPanels, e.i64(1), [&](Value *number) {
      Value *from =
          e.offset(function.extra[right],
                   e.mul(e.add(packedPanels[right], number), panelBytes));
      Value *to = e.offset(widePanel(right),
                           e.mul(number, e.i64(plan.wideChunkBytes())));
      if (!plan.split) {
        int64_t chunkRows = *plan.blocking.chunkSteps / 2;
        Value *first = e.mul(chunk, e.i64(chunkRows));
        Value *count = e.min(b.CreateSub(groupRows, first), e.i64(chunkRows));
        Value *skipped = e.add(header, e.mul(first, e.i64(plan.rowBytes())));
        b.CreateCall(apart,
                     {e.offset(from, skipped), count, e.offset(to, header)});
        return;
      }
      Value *end = e.min(e.add(firstGroup, e.i64(plan.chunkGroups())), groups);
      e.loop(firstGroup, end, e.i64(1), [&](Value *group) {
        Value *source = e.offset(from, panelGroup(group));
        Value *target = e.offset(to, e.mul(b.CreateSub(group, firstGroup),
                                           e.i64(plan.wideGroupBytes())));
        for (unsigned at = 0; at < plan.headerRows() * plan.rowBytes();
             at += 4 * plan.lanes)
          e.store(e.load(vector, e.offset(source, e.i64(at)), Memory::Read,
                         4 * plan.lanes),
                  e.offset(target, e.i64(at)), Memory::Scratch, 4 * plan.lanes);
        // The last group may be shorter.
        Value *count = e.ceilDiv(stepsOf(group), e.i64(plan.stepsPerRow()));
        b.CreateCall(
            apart, {e.offset(source, header), count, e.offset(target, header)});
      });
    });
}

void ContractLowering::readFourBits(TileData &data, const TilePosition &at,
                                    unsigned term, Value *group) {
  data.fourBits = asPacked;
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
