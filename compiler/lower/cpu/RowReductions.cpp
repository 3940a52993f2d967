//===- RowReductions.cpp - Reductions on the way to memory ----------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/lower/cpu/RowReductions.h"

using namespace quern;
using namespace quern::cpugen;
using llvm::Value;

RowReductions::RowReductions(const ContractPlan &plan) : plan(plan) {
  mlir::Block &block = plan.op.getEpilogue().front();
  mlir::Value column = block.getArgument(plan.numBatch + 1);
  for (auto op : block.getOps<tile::AccumulateOp>()) {
    bool byRow = true;
    for (auto [i, index] : llvm::enumerate(op.getIndices()))
      byRow &= index != column || !op.getMap().isFunctionOfDim(i);
    if (byRow)
      ops.push_back(op);
  }
}

int64_t RowReductions::scratchBytes() const {
  return int64_t(ops.size()) * plan.blockRows * plan.lanes * 4;
}

Value *RowReductions::slot(Emitter &e, Value *scratch, unsigned number,
                           Value *row) const {
  Value *index = e.add(e.i64(int64_t(number) * plan.blockRows), row);
  return e.offset(scratch, e.mul(index, e.i64(plan.lanes * 4)));
}

void RowReductions::clear(Emitter &e, Value *scratch, Value *rows) const {
  Value *zero = e.splat(e.b.getInt32(0), plan.lanes);
  for (unsigned number = 0; number < ops.size(); ++number)
    e.loop(e.i64(0), rows, e.i64(1), [&](Value *row) {
      e.store(zero, slot(e, scratch, number, row), Memory::Scratch,
              4 * plan.lanes);
    });
}

void RowReductions::bind(ElementBody &body, Value *scratch, Value *row) const {
  for (auto [number, op] : llvm::enumerate(ops))
    body.gather(op, slot(body.e, scratch, number, row));
}

void RowReductions::flush(KernelScope &scope, llvm::ArrayRef<Value *> batch,
                          Value *firstRow, Value *rows, Value *scratch) const {
  Emitter &e = scope.e;
  mlir::Block &block = plan.op.getEpilogue().front();
  for (auto [number, op] : llvm::enumerate(ops))
    e.loop(e.i64(0), rows, e.i64(1), [&, number = number, op = op](Value *row) {
      ElementBody body(scope, 1, nullptr);
      for (auto [argument, value] : llvm::zip(block.getArguments(), batch))
        body.bind(argument, ElementBody::uniform(value));
      body.bind(block.getArgument(plan.numBatch),
                ElementBody::uniform(e.add(firstRow, row)));
      body.bind(block.getArgument(plan.numBatch + 1),
                ElementBody::uniform(e.i64(0)));
      Value *gathered = e.load(e.vectorType(e.b.getInt32Ty(), plan.lanes),
                               slot(e, scratch, number, row), Memory::Scratch,
                               4 * plan.lanes);
      body.combine(op, gathered);
    });
}
