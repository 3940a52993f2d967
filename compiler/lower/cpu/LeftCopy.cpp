//===- LeftCopy.cpp - Left rows in the order they are used ----------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Copying left rows into scratch, and interleaving those of a tile; Contract.h
// has the layouts.
//
//===----------------------------------------------------------------------===//

#include "compiler/lower/cpu/Contract.h"

using namespace quern;
using namespace quern::cpugen;
using llvm::Value;

Value *quern::cpugen::widen(Emitter &e, const ContractPlan &plan,
                            Value *element, mlir::Type type, bool isUnsigned) {
  llvm::Type *i32Type = e.typeLike(element, e.b.getInt32Ty());
  if (type.isInteger(8))
    return isUnsigned ? e.b.CreateZExt(element, i32Type)
                      : e.b.CreateSExt(element, i32Type);
  if (plan.kind == StepKind::Bf16Pairs)
    return e.b.CreateZExt(element, i32Type);
  return e.bits(e.decode(element, *getDType(type)));
}

void quern::cpugen::emitLeftCopy(KernelScope &scope, const ContractPlan &plan,
                                 unsigned index, llvm::ArrayRef<Value *> batch,
                                 Value *first, Value *count, Value *from,
                                 Value *end, Value *target, Value *stride) {
  Emitter &e = scope.e;
  llvm::IRBuilder<> &b = e.b;
  tile::ContractOp op = plan.op;
  mlir::Region &region = op.getLhsRegion(index);
  mlir::Block &block = region.front();
  mlir::Value yielded = block.getTerminator()->getOperand(0);
  // Copies of elements as they are go by whole vectors, everything else by
  // lanes of 32 bits.
  bool plain = op.getPlainLoad(region) && plan.keepsElements();
  unsigned width = plain ? plan.elementsPerStep() * plan.lanes : plan.lanes;

  auto chunk = [&](Value *row, Value *position, unsigned lanes, Value *mask) {
    ElementBody body(scope, lanes, mask);
    for (auto [argument, value] : llvm::zip(block.getArguments(), batch))
      body.bind(argument, ElementBody::uniform(value));
    body.bind(block.getArgument(plan.numBatch),
              ElementBody::uniform(e.add(first, row)));
    body.bind(block.getArgument(plan.numBatch + 1),
              body.laneIndex(position, lanes));
    body.emit(block);
    Value *element = body.spread(body.lookup(yielded));
    if (plan.kind == StepKind::Quads) {
      if (plan.shiftLeft)
        element = b.CreateXor(element,
                              llvm::ConstantInt::get(element->getType(), 128));
    } else if (plan.kind == StepKind::Bf16Pairs) {
      // The last step may reach beyond K.
      if (mask)
        element = b.CreateSelect(
            mask, element, llvm::Constant::getNullValue(element->getType()));
    } else {
      element = widen(e, plan, element, yielded.getType(), plan.leftUnsigned);
      if (plan.kind == StepKind::Pairs)
        element = b.CreateTrunc(element, e.typeLike(element, b.getInt16Ty()));
    }
    // Rows are padded to whole vectors: no mask is needed here.
    e.store(element,
            e.offset(target, e.add(e.mul(row, stride),
                                   e.mul(b.CreateSub(position, from),
                                         e.i64(plan.elementBytes())))),
            Memory::Scratch, plan.elementBytes());
  };
  e.loop(e.i64(0), count, e.i64(1), [&](Value *row) {
    Value *full = e.add(
        from, b.CreateAnd(b.CreateSub(end, from), e.i64(-int64_t(width))));
    e.loop(from, full, e.i64(width),
           [&](Value *at) { chunk(row, at, width, nullptr); });
    if (e.target.hasMasks())
      e.when(b.CreateICmpSLT(full, end), [&] {
        chunk(row, full, width, e.maskBelow(b.CreateSub(end, full), width));
      });
    else
      e.loop(full, end, e.i64(1),
             [&](Value *at) { chunk(row, at, 1, nullptr); });
  });
}

llvm::Function *quern::cpugen::emitInterleaving(Emitter &e,
                                                const ContractPlan &plan) {
  std::string name = fmt::format("quern.interleave.{}", plan.rows);
  if (llvm::Function *existing = e.module.getFunction(name))
    return existing;
  llvm::IRBuilder<> &b = e.b;
  llvm::IRBuilder<>::InsertPointGuard guard(b);
  unsigned lanes = plan.lanes, rows = plan.rows;
  llvm::Type *vector = e.vectorType(b.getInt32Ty(), lanes);
  llvm::Type *pointer = b.getPtrTy(), *i64 = b.getInt64Ty();
  auto *type = llvm::FunctionType::get(b.getVoidTy(),
                                       {pointer, i64, i64, pointer}, false);
  llvm::Function *function = e.beginFunction(name, type, /*external=*/false);
  function->addFnAttr(llvm::Attribute::NoInline);
  // The lanes of two vectors by turns, in two vectors.
  llvm::SmallVector<int, 16> lower, upper;
  for (unsigned i = 0; i < lanes; ++i) {
    lower.push_back(i / 2 + i % 2 * lanes);
    upper.push_back(lanes / 2 + i / 2 + i % 2 * lanes);
  }
  e.loop(e.i64(0), function->getArg(2), e.i64(4 * lanes), [&](Value *at) {
    // Each list holds the steps of some rows, row by row within a step. Joining
    // list i with that of half the rows on leaves rows in order at the end.
    llvm::SmallVector<llvm::SmallVector<Value *>> lists;
    for (unsigned row = 0; row < rows; ++row)
      lists.push_back(
          {e.load(vector,
                  e.offset(function->getArg(0),
                           e.add(e.mul(function->getArg(1), e.i64(row)), at)),
                  Memory::Scratch, 4)});
    while (lists.size() > 1) {
      llvm::SmallVector<llvm::SmallVector<Value *>> joined(lists.size() / 2);
      for (auto [i, list] : llvm::enumerate(joined))
        for (auto [x, y] : llvm::zip(lists[i], lists[i + joined.size()])) {
          list.push_back(b.CreateShuffleVector(x, y, lower));
          list.push_back(b.CreateShuffleVector(x, y, upper));
        }
      lists = std::move(joined);
    }
    Value *target = e.offset(function->getArg(3), e.mul(at, e.i64(rows)));
    for (auto [i, steps] : llvm::enumerate(lists[0]))
      e.store(steps, e.offset(target, e.i64(i * 4 * lanes)), Memory::Scratch,
              4);
  });
  b.CreateRetVoid();
  return function;
}
