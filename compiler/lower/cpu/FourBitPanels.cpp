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

#include "compiler/lower/cpu/Contract.h"

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
  constexpr int64_t steps = 128;
  return std::max<int64_t>(
      wideGroupBytes() ? steps * rowBytes() / wideGroupBytes() : 1, 1);
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
