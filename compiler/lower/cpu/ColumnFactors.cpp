//===- ColumnFactors.cpp - Scales of right operands, packed ---------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/lower/cpu/ColumnFactors.h"
#include "compiler/lower/cpu/Contract.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "llvm/ADT/DenseSet.h"

using namespace quern;
using namespace quern::cpugen;
using llvm::Value;

/// Values and what they are computed from, within the block.
static llvm::DenseSet<mlir::Value>
withSources(mlir::Block &block, llvm::ArrayRef<mlir::Value> values) {
  llvm::DenseSet<mlir::Value> reached(values.begin(), values.end());
  for (mlir::Operation &op : llvm::reverse(block.without_terminator()))
    if (llvm::any_of(op.getResults(), [&](mlir::Value result) {
          return reached.contains(result);
        }))
      reached.insert(op.operand_begin(), op.operand_end());
  return reached;
}

ColumnFactors::ColumnFactors(const ContractPlan &plan,
                             const CpuTarget &target) {
  if (!plan.split)
    return;
  auto isWord = [](mlir::Value value) {
    return value.getType().isF32() || value.getType().isInteger(32);
  };
  block = &plan.op.getRescale().front();
  llvm::SmallVector<mlir::Operation *> columnOps; // In order.
  llvm::DenseSet<mlir::Value> onRow, onColumn;
  onRow.insert(block->getArgument(plan.numBatch));
  onColumn.insert(block->getArgument(plan.numBatch + 1));
  usable = true;
  for (mlir::Operation &op : block->without_terminator()) {
    bool row = false, column = false;
    for (mlir::Value operand : op.getOperands()) {
      row |= onRow.contains(operand);
      column |= onColumn.contains(operand);
    }
    for (mlir::Value result : op.getResults()) {
      if (row)
        onRow.insert(result);
      if (column)
        onColumn.insert(result);
    }
    if (column && !row) {
      columnOps.push_back(&op);
      continue;
    }
    otherOps.push_back(&op);
    // Column values reach the rest of the region as vectors of words only, and
    // then no access may depend on the column.
    for (mlir::Value operand : op.getOperands())
      if (onColumn.contains(operand))
        usable &= isWord(operand) && !llvm::isa<tile::LoadOp>(op);
  }

  llvm::SmallVector<llvm::DenseSet<mlir::Value>> ofTerm;
  mlir::Operation *yield = block->getTerminator();
  unsigned numTerms = plan.op.getNumTerms();
  for (unsigned term = 0; term < numTerms; ++term) {
    llvm::SmallVector<mlir::Value> yielded = {yield->getOperand(term)};
    if (plan.op.hasAddends())
      yielded.push_back(yield->getOperand(numTerms + term));
    ofTerm.push_back(withSources(*block, yielded));
  }
  auto operandOf = [&](mlir::Value value) {
    for (auto [term, reached] : llvm::enumerate(ofTerm))
      if (reached.contains(value))
        return unsigned(plan.op.getTerms()[2 * term + 1]);
    return 0u;
  };
  auto storedFor = [&](mlir::Value value) {
    auto widening = value.getDefiningOp<mlir::arith::ExtFOp>();
    if (!widening || !target.convertsHalf())
      return value;
    mlir::Value narrow = widening.getIn();
    return narrow.getType().isF16() || narrow.getType().isBF16() ? narrow
                                                                 : value;
  };
  llvm::SmallVector<unsigned> used(plan.op.getNumRhs(), 0);
  for (mlir::Operation *op : columnOps)
    for (mlir::Value result : op->getResults())
      if (llvm::any_of(result.getUsers(), [&](mlir::Operation *user) {
            return !llvm::is_contained(columnOps, user);
          })) {
        mlir::Value stored = storedFor(result);
        unsigned operand = operandOf(result);
        values.push_back({result, stored, operand, used[operand]});
        if (!isWord(result)) {
          usable = false;
          continue;
        }
        used[operand] += plan.columns * bytesOf(stored.getType());
      }
  if (!usable) {
    values.clear();
    return;
  }
  bytes = *llvm::max_element(used);
  if (!otherOps.empty() || plan.op.hasAddends())
    return;
  llvm::SmallVector<unsigned> factors;
  for (unsigned term = 0; term < numTerms; ++term)
    for (auto [i, factor] : llvm::enumerate(values))
      if (factor.value == yield->getOperand(term))
        factors.push_back(i);
  bool alike = llvm::all_of(factors, [&](unsigned i) {
    return values[i].stored.getType() ==
           values[factors.front()].stored.getType();
  });
  if (factors.size() == numTerms && alike)
    plain = std::move(factors);
}

std::string ColumnFactors::text(unsigned operand) const {
  std::string text;
  for (const Factor &factor : values) {
    if (factor.operand != operand)
      continue;
    text += text.empty() ? ", for a column and group " : " and ";
    llvm::raw_string_ostream(text) << factor.stored.getType();
  }
  return text;
}

llvm::SmallVector<mlir::Operation *>
ColumnFactors::sliceFor(unsigned operand) const {
  llvm::SmallVector<mlir::Value> stored;
  for (const Factor &factor : values)
    if (factor.operand == operand)
      stored.push_back(factor.stored);
  // Column ops, and constants and indices that depend on neither axis.
  llvm::SmallVector<mlir::Operation *> slice;
  if (stored.empty())
    return slice;
  llvm::DenseSet<mlir::Value> needed = withSources(*block, stored);
  for (mlir::Operation &op : block->without_terminator())
    if (llvm::any_of(op.getResults(), [&](mlir::Value result) {
          return needed.contains(result);
        }))
      slice.push_back(&op);
  return slice;
}

void ColumnFactors::emit(KernelScope &scope, const ContractPlan &plan,
                         unsigned operand, llvm::ArrayRef<Value *> batch,
                         Value *first, Value *group, Value *mask, Value *column,
                         Value *target) const {
  Emitter &e = scope.e;
  ElementBody body(scope, plan.lanes, mask);
  for (auto [argument, value] : llvm::zip(block->getArguments(), batch))
    body.bind(argument, ElementBody::uniform(value));
  body.bind(block->getArgument(plan.numBatch + 1),
            body.laneIndex(first, plan.lanes));
  body.bind(block->getArgument(plan.numBatch + 2), ElementBody::uniform(group));
  for (mlir::Operation *op : sliceFor(operand))
    body.emit(*op);
  for (const Factor &factor : values) {
    if (factor.operand != operand)
      continue;
    Value *value = body.spread(body.lookup(factor.stored));
    if (mask)
      value = e.b.CreateSelect(mask, value,
                               llvm::Constant::getNullValue(value->getType()));
    unsigned size = bytesOf(factor.stored.getType());
    Value *place = e.add(e.i64(factor.offset), e.mul(column, e.i64(size)));
    e.store(value, e.offset(target, place), Memory::Written, size * plan.lanes);
  }
}

Value *ColumnFactors::load(Emitter &e, unsigned lanes, mlir::Type stored,
                           Value *address) {
  DType type = *getDType(stored);
  Value *vector = e.load(e.vectorType(e.storageType(type), lanes), address,
                         Memory::Read, byteWidth(type) * lanes);
  return type == DType::I32 ? vector : e.decode(vector, type);
}
