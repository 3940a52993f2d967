//===- ColumnFactors.cpp - Scales of right operands, packed ---------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// A factor of split accumulation is s_b[n, kb], s_a[m, kb] or the product of
// both. The right scales lie in memory along K, so that reading them for a
// vector of columns would be a gather per group and tile, which costs as much
// as the products of a short group. Everything in the region that depends on n
// but not on m is therefore evaluated ahead of time, into vectors in the order
// of use. So are zero points, which the sums of the left rows are multiplied
// with. A factor of the row alone is one number for all columns; there is
// nothing to pack then.
//
//===----------------------------------------------------------------------===//

#include "compiler/lower/cpu/Contract.h"

#include "llvm/ADT/DenseSet.h"

using namespace quern;
using namespace quern::cpugen;
using llvm::Value;

ColumnFactors::ColumnFactors(const ContractPlan &plan) {
  if (!plan.split)
    return;
  auto isWord = [](mlir::Value value) {
    return value.getType().isF32() || value.getType().isInteger(32);
  };
  mlir::Block &block = plan.op.getRescale().front();
  llvm::DenseSet<mlir::Value> onRow, onColumn;
  onRow.insert(block.getArgument(plan.numBatch));
  onColumn.insert(block.getArgument(plan.numBatch + 1));
  usable = true;
  for (mlir::Operation &op : block.without_terminator()) {
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
  for (mlir::Operation *op : columnOps)
    for (mlir::Value result : op->getResults())
      if (llvm::any_of(result.getUsers(), [&](mlir::Operation *user) {
            return !llvm::is_contained(columnOps, user);
          }))
        values.push_back(result);
  for (mlir::Value value : values)
    usable &= isWord(value);

  // What the values need, backwards: column ops, and constants and indices
  // that depend on neither axis.
  llvm::DenseSet<mlir::Operation *> needed;
  for (mlir::Operation &op : llvm::reverse(block.without_terminator()))
    for (mlir::Value result : op.getResults())
      if (llvm::is_contained(values, result) ||
          llvm::any_of(result.getUsers(), [&](mlir::Operation *user) {
            return needed.contains(user);
          }))
        needed.insert(&op);
  for (mlir::Operation &op : block.without_terminator())
    if (needed.contains(&op))
      slice.push_back(&op);
}

llvm::Type *ColumnFactors::vectorOf(Emitter &e, const ContractPlan &plan,
                                    mlir::Value value) {
  return e.vectorType(value.getType().isF32()
                          ? e.b.getFloatTy()
                          : static_cast<llvm::Type *>(e.b.getInt32Ty()),
                      plan.lanes);
}

mlir::AffineExpr ColumnFactors::panelBytes(const ContractPlan &plan) const {
  return plan.groups() * int64_t(values.size() * plan.rowBytes());
}

PackedOperand quern::cpugen::emitFactorPacking(Emitter &e,
                                               tile::KernelOp kernel,
                                               const ContractPlan &plan,
                                               const ColumnFactors &factors,
                                               const std::string &name) {
  mlir::Block &block = plan.op.getRescale().front();
  PackedOperand packed;
  for (mlir::Operation *op : factors.slice)
    if (auto load = llvm::dyn_cast<tile::LoadOp>(op))
      if (auto argument = llvm::dyn_cast<mlir::BlockArgument>(load.getBuffer()))
        if (!llvm::is_contained(packed.sources, argument.getArgNumber()))
          packed.sources.push_back(argument.getArgNumber());
  packed.varies = usesBatch(plan, block, [&](mlir::Operation *op) {
    return llvm::is_contained(factors.slice, op);
  });
  KernelFunction function(e, name, kernel, packed.sources, 1);
  ElementBody sizes(function.scope, 1, nullptr);
  auto size = [&](mlir::AffineExpr expr) {
    return sizes.affine(expr, {}).value;
  };
  llvm::SmallVector<Value *> domain;
  for (unsigned i = 0; i < plan.numBatch; ++i)
    domain.push_back(packed.varies[i] ? size(plan.extent(i)) : e.i64(1));
  domain.push_back(size(plan.panels()));
  Value *n = size(plan.n()), *groups = size(plan.groups());
  Value *panelBytes = size(factors.panelBytes(plan));
  int64_t groupBytes = factors.values.size() * plan.rowBytes();

  e.loop(function.begin, function.end, e.i64(1), [&](Value *item) {
    llvm::SmallVector<Value *> point = pointOf(e, item, domain);
    Value *panel = e.offset(function.extra[0], e.mul(item, panelBytes));
    Value *panelColumn = e.mul(point.back(), e.i64(plan.columns));
    e.loop(e.i64(0), groups, e.i64(1), [&](Value *group) {
      Value *target = e.offset(panel, e.mul(group, e.i64(groupBytes)));
      e.loop(
          e.i64(0), e.i64(plan.columns), e.i64(plan.lanes), [&](Value *column) {
            Value *first = e.add(panelColumn, column);
            Value *left = e.b.CreateSub(n, first);
            auto absent = [&] {
              Emitter::Values zeros;
              for (mlir::Value value : factors.values)
                zeros.push_back(llvm::Constant::getNullValue(
                    ColumnFactors::vectorOf(e, plan, value)));
              return zeros;
            };
            auto evaluate = [&] {
              Value *mask = e.maskBelow(left, plan.lanes);
              ElementBody body(function.scope, plan.lanes, mask);
              for (auto [argument, value] :
                   llvm::zip(block.getArguments(), point))
                body.bind(argument, ElementBody::uniform(value));
              body.bind(block.getArgument(plan.numBatch + 1),
                        body.laneIndex(first, plan.lanes));
              body.bind(block.getArgument(plan.numBatch + 2),
                        ElementBody::uniform(group));
              for (mlir::Operation *op : factors.slice)
                body.emit(*op);
              Emitter::Values results;
              for (auto [value, zero] : llvm::zip(factors.values, absent()))
                results.push_back(e.b.CreateSelect(
                    mask, body.spread(body.lookup(value)), zero));
              return results;
            };
            Emitter::Values results =
                e.branch(e.b.CreateICmpSGT(left, e.i64(0)), evaluate, absent);
            for (auto [number, value] : llvm::enumerate(results))
              e.store(value,
                      e.offset(target, e.add(e.i64(number * plan.rowBytes()),
                                             e.mul(column, e.i64(4)))),
                      Memory::Written, 4 * plan.lanes);
          });
    });
  });
  e.b.CreateRetVoid();

  for (unsigned i = 0; i < plan.numBatch; ++i)
    packed.shape.push_back(packed.varies[i] ? tile::toSymExpr(plan.extent(i))
                                            : SymExpr::constant(1));
  packed.shape.push_back(tile::toSymExpr(plan.panels()));
  packed.kernel.name = name;
  packed.kernel.items = SymExpr::constant(1);
  for (const SymExpr &extent : packed.shape)
    packed.kernel.items = packed.kernel.items * extent;
  SymExpr bytes = tile::toSymExpr(factors.panelBytes(plan));
  packed.kernel.grain = SymExpr::ceilDiv(
      SymExpr::constant(1 << 14),
      SymExpr::binary(SymExpr::Op::Max, SymExpr::constant(1), bytes));
  packed.shape.push_back(bytes);
  packed.kernel.schedule = fmt::format(
      "item = one panel of {} columns, {} factor{} per column and group",
      plan.columns, factors.values.size(),
      factors.values.size() == 1 ? "" : "s");
  return packed;
}
