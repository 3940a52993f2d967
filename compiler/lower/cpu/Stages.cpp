//===- Stages.cpp - What runs beside a product, tile by tile --------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/lower/cpu/Stages.h"

#include <numeric>

using namespace quern;
using namespace quern::cpugen;
using llvm::Value;
using mlir::AffineExpr;

/// Rows a thread computes at once, as without stages.
static constexpr int64_t mostRows = 256;

int64_t StagePlan::panelRows(double rowBytes) {
  constexpr double localBytes = 1 << 19;
  return std::clamp<int64_t>(localBytes / std::max(rowBytes, 1.0), 8, 32);
}

/// The value that ties a stage to the product: one that the product stores and
/// the stage loads, from a local or from memory where others read it too; or a
/// local the other way round. In place of the product stands a stage behind it
/// that is tied already.
static mlir::Value tieOf(tile::BlocksOp stage, mlir::Operation *before,
                         tile::ContractOp contract, bool behind) {
  mlir::Operation *maker = behind ? before : stage;
  mlir::Operation *reader = behind ? stage.getOperation() : contract;
  llvm::DenseSet<mlir::Value> made;
  maker->walk([&](tile::StoreOp store) {
    if (behind || store.getBuffer().getDefiningOp<tile::LocalOp>())
      made.insert(store.getBuffer());
  });
  mlir::Value tie;
  reader->walk([&](tile::LoadOp load) {
    auto type = load.getBuffer().getType();
    // Of several, the one with an element for each of the product's.
    if (made.contains(load.getBuffer()) &&
        type.getRank() == contract.getNumBatch() + 2 &&
        (maker == contract.getOperation() || !behind ||
         type.getShape().getResults().back() ==
             contract.getExtents().getResult(contract.getNumBatch() + 1)) &&
        (!tie || behind || load->getParentOp() == contract))
      tie = load.getBuffer();
  });
  return tie;
}

std::optional<StagePlan> StagePlan::make(tile::KernelOp kernel,
                                         ContractPlan &contract,
                                         std::string &why) {
  StagePlan plan;
  int64_t rowMultiple = contract.rows;
  bool seenProduct = false;
  llvm::DenseSet<mlir::Value> ofStagesBefore;
  for (mlir::Operation *op : kernel.getStages()) {
    auto blocks = llvm::dyn_cast<tile::BlocksOp>(op);
    if (!blocks) {
      seenProduct = true;
      continue;
    }
    mlir::Value tie = tieOf(blocks, contract.op, contract.op, seenProduct);
    for (const Stage &made : plan.after)
      if (!tie)
        tie = tieOf(blocks, made.op, contract.op, seenProduct);
    if (!tie) {
      why = "a stage that shares no value with the product";
      return std::nullopt;
    }
    auto geometry = tile::getGeometry(blocks, tie, why);
    if (!geometry)
      return std::nullopt;
    if (!geometry->staysInBatch() || geometry->rows().isWhole()) {
      why = "blocks of all rows, which one thread never holds";
      return std::nullopt;
    }
    rowMultiple = std::lcm(rowMultiple, geometry->rows().extent);
    if (rowMultiple > mostRows) {
      why = fmt::format("whole blocks take {} rows or more at once, and a "
                        "thread holds {}",
                        rowMultiple, mostRows);
      return std::nullopt;
    }
    if (seenProduct) {
      const tile::BlockAxis &columns = geometry->columns();
      if (columns.isWhole())
        plan.panelsPerPatch = 0;
      else if (plan.panelsPerPatch)
        plan.panelsPerPatch =
            std::lcm(plan.panelsPerPatch * int64_t(contract.columns),
                     columns.extent) /
            contract.columns;
    } else {
      blocks.walk([&](tile::StoreOp store) {
        ofStagesBefore.insert(store.getBuffer());
      });
    }
    (seenProduct ? plan.after : plan.before)
        .push_back({blocks, std::move(*geometry), seenProduct});
  }
  // Rows so few that the widest local stays in cache.
  int64_t rows = std::max<int64_t>(contract.blockRows / rowMultiple, 1);
  for (auto op : kernel.getBody().front().getOps<tile::LocalOp>()) {
    tile::BufferType type = op.getResult().getType();
    if (type.getRank() != contract.numBatch + 2 ||
        type.getShape().getResult(contract.numBatch) != contract.m()) {
      why = "a value between stages that has other dimensions than the product";
      return std::nullopt;
    }
    bool before = ofStagesBefore.contains(op.getResult());
    if (!before && plan.panelsPerPatch != 0 &&
        type.getShape().getResults().back() != contract.n()) {
      why = "a value between stages behind the product that has other columns";
      return std::nullopt;
    }
    AffineExpr width = before ? type.getShape().getResults().back()
                              : plan.span(contract) * contract.columns;
    Local local{op.getResult(), *getDType(type.getElementType()), width,
                !before};
    if (!before && plan.panelsPerPatch == 0) {
      auto constant = llvm::dyn_cast<mlir::AffineConstantExpr>(width);
      int64_t most = panelRows(
          constant ? constant.getValue() * byteWidth(local.dtype) : 0.0);
      rows = std::clamp<int64_t>(most / rowMultiple, 1, rows);
    }
    plan.locals.push_back(local);
  }
  if (!plan.empty()) {
    contract.blockRows = rows * rowMultiple;
    contract.rowMultiple = rowMultiple;
  }
  return plan;
}

AffineExpr StagePlan::span(const ContractPlan &contract) const {
  if (panelsPerPatch == 0)
    return contract.panels();
  return mlir::getAffineConstantExpr(panelsPerPatch, contract.op.getContext());
}

AffineExpr StagePlan::spans(const ContractPlan &contract) const {
  if (panelsPerPatch == 0)
    return mlir::getAffineConstantExpr(1, contract.op.getContext());
  return contract.panels().ceilDiv(panelsPerPatch);
}

AffineExpr StagePlan::bytesOf(const Local &local,
                              const ContractPlan &contract) const {
  return (local.rowStride * int64_t(contract.blockRows) *
          int64_t(byteWidth(local.dtype)))
             .ceilDiv(64) *
         64;
}

AffineExpr StagePlan::localBytes(const ContractPlan &contract) const {
  AffineExpr sum = mlir::getAffineConstantExpr(0, contract.op.getContext());
  for (const Local &local : locals)
    sum = sum + bytesOf(local, contract);
  return sum;
}

void quern::cpugen::bindLocals(KernelFunction &function,
                               const StagePlan &stages,
                               const ContractPlan &contract, const Patch &patch,
                               Value *scratch) {
  Emitter &e = function.scope.e;
  ElementBody sizes(function.scope, 1, nullptr);
  for (const StagePlan::Local &local : stages.locals) {
    Value *stride = sizes.affine(local.rowStride, {}).value;
    Value *before = e.mul(patch.row, stride);
    if (local.followsColumns)
      before = e.add(before, patch.column);
    BufferView view;
    view.dtype = local.dtype;
    view.memory = Memory::Scratch;
    view.address = e.offset(
        scratch, e.b.CreateNeg(e.mul(before, e.i64(byteWidth(local.dtype)))));
    view.strides.assign(patch.batch.size(), e.i64(0));
    view.strides.append({stride, e.i64(1)});
    function.scope.buffers[local.buffer] = std::move(view);
    scratch = e.offset(scratch,
                       sizes.affine(stages.bytesOf(local, contract), {}).value);
  }
}

void quern::cpugen::emitStage(KernelFunction &function,
                              const StagePlan::Stage &stage,
                              const Patch &patch) {
  Emitter &e = function.scope.e;
  tile::BlocksOp blocks = stage.op; // MLIR's handles are not const-correct.
  unsigned dims = blocks.getDomain().getNumResults();
  llvm::SmallVector<Value *> point(dims, nullptr);
  unsigned batch = patch.batch.size();
  for (unsigned i = 0; i < batch; ++i)
    point[stage.geometry.axes[i].point] = patch.batch[i];
  auto along = [&](const tile::BlockAxis &axis, Value *first, Value *count,
                   auto next) {
    if (axis.point < 0)
      return next();
    // The patch begins at a multiple of the extent.
    Value *begin = e.b.CreateUDiv(first, e.i64(axis.extent));
    Value *end = e.add(begin, e.ceilDiv(count, e.i64(axis.extent)));
    e.loop(begin, end, e.i64(1), [&](Value *index) {
      point[axis.point] = index;
      next();
    });
  };
  const tile::BlockAxis &columns = stage.geometry.columns();
  along(stage.geometry.rows(), patch.row, patch.rows, [&] {
    auto run = [&] { emitPoint(function, blocks, point); };
    if (stage.behind || columns.point < 0)
      return along(columns, patch.column, patch.columns, run);
    // What the product reads has no columns of the result: all of it.
    ElementBody sizes(function.scope, 1, nullptr);
    Value *count =
        sizes.affine(blocks.getDomain().getResult(columns.point), {}).value;
    e.loop(e.i64(0), count, e.i64(1), [&](Value *index) {
      point[columns.point] = index;
      run();
    });
  });
}
