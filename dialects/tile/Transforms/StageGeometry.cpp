//===- StageGeometry.cpp - Which elements a stage's blocks cover ----------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "dialects/tile/Transforms/StageGeometry.h"

#include <fmt/format.h>

using namespace mlir;
using namespace quern;
using namespace quern::tile;

namespace {

/// One access of the buffer: its map, and what its indices are.
struct Access {
  Operation *op;
  AffineMap map;
  ValueRange indices;
};

std::optional<Access> accessOf(Operation *op, Value buffer) {
  if (auto load = dyn_cast<LoadOp>(op); load && load.getBuffer() == buffer)
    return Access{op, load.getMap(), load.getIndices()};
  if (auto store = dyn_cast<StoreOp>(op); store && store.getBuffer() == buffer)
    return Access{op, store.getMap(), store.getIndices()};
  return std::nullopt;
}

/// The box of the reduction or map that an op stands in.
struct Box {
  Operation *op = nullptr;
  AffineMap extents;
  ValueRange point;
};

Box boxAround(Operation *op, BlocksOp stage) {
  for (Operation *outer = op; outer && outer != stage;
       outer = outer->getParentOp()) {
    if (auto reduce = dyn_cast<ReduceOp>(outer))
      return {outer, reduce.getExtents(), reduce.getPoint()};
    if (auto map = dyn_cast<MapOp>(outer))
      return {outer, map.getExtents(), map.getPoint()};
  }
  return {};
}

/// `expr` as constant + sum of coefficient * dimension, if it is that.
std::optional<SmallVector<int64_t>> linearIn(AffineExpr expr, unsigned dims,
                                             unsigned symbols) {
  MLIRContext *context = expr.getContext();
  auto at = [&](int one) {
    SmallVector<AffineExpr> values(dims, getAffineConstantExpr(0, context));
    if (one >= 0)
      values[one] = getAffineConstantExpr(1, context);
    return simplifyAffineExpr(expr.replaceDims(values), 0, symbols);
  };
  auto base = dyn_cast<AffineConstantExpr>(at(-1));
  if (!base)
    return std::nullopt;
  SmallVector<int64_t> coefficients;
  AffineExpr sum = base;
  for (unsigned d = 0; d < dims; ++d) {
    auto value = dyn_cast<AffineConstantExpr>(at(d));
    if (!value)
      return std::nullopt;
    coefficients.push_back(value.getValue() - base.getValue());
    sum = sum + getAffineDimExpr(d, context) * coefficients.back();
  }
  if (simplifyAffineExpr(expr - sum, dims, symbols) !=
      getAffineConstantExpr(0, context))
    return std::nullopt;
  coefficients.push_back(base.getValue());
  return coefficients;
}

/// What one access says of the blocks; empty, and the reason, if nothing.
std::optional<SmallVector<BlockAxis>> axesOf(const Access &access,
                                             BlocksOp stage, BufferType type,
                                             std::string &why) {
  auto fail = [&](std::string reason) {
    why = std::move(reason);
    return std::nullopt;
  };
  Box box = boxAround(access.op, stage);
  // Each index is a number of the point, or of an element of the box.
  SmallVector<int> point, element;
  for (Value index : access.indices) {
    auto arg = dyn_cast<BlockArgument>(index);
    Operation *owner = arg ? arg.getOwner()->getParentOp() : nullptr;
    if (owner != stage.getOperation() && (!owner || owner != box.op))
      return fail("an index is computed from data or crosses shapes");
    bool ofPoint = owner == stage.getOperation();
    point.push_back(ofPoint ? arg.getArgNumber() : -1);
    element.push_back(ofPoint ? -1 : static_cast<int>(arg.getArgNumber()));
  }
  SmallVector<BlockAxis> axes;
  for (auto [d, expr] : llvm::enumerate(access.map.getResults())) {
    auto linear =
        linearIn(expr, access.map.getNumDims(), access.map.getNumSymbols());
    if (!linear || linear->back() != 0)
      return fail("its elements are not where its blocks are");
    BlockAxis axis;
    int64_t stride = 0;
    for (auto [i, factor] : llvm::enumerate(ArrayRef(*linear).drop_back())) {
      if (factor == 0)
        continue;
      int &slot = point[i] >= 0 ? axis.point : axis.box;
      if (slot >= 0)
        return fail("an axis mixes several indices");
      if (element[i] >= 0 && factor != 1)
        return fail("it skips elements");
      slot = point[i] >= 0 ? point[i] : element[i];
      if (point[i] >= 0)
        stride = factor;
    }
    AffineExpr size = type.getShape().getResult(d);
    if (axis.box < 0) {
      // One element per block; an axis of one element has no index at all.
      if (axis.point >= 0 && stride != 1)
        return fail("it skips elements");
      if (axis.point < 0 && size != getAffineConstantExpr(1, size.getContext()))
        return fail("it reads one slice of an axis");
      axis.extent = axis.point >= 0 ? 1 : 0;
    } else {
      AffineExpr extent = box.extents.getResult(axis.box);
      auto constant = dyn_cast<AffineConstantExpr>(extent);
      if (axis.point < 0) {
        if (extent != size)
          return fail("it reads a part of an axis");
      } else if (!constant || constant.getValue() != stride) {
        return fail("its blocks overlap, or leave gaps");
      } else {
        axis.extent = stride;
      }
    }
    axes.push_back(axis);
  }
  return axes;
}

} // namespace

bool StageGeometry::staysInBatch() const {
  return llvm::all_of(ArrayRef(axes).drop_back(2),
                      [](const BlockAxis &axis) { return axis.extent == 1; });
}

std::optional<StageGeometry> tile::getGeometry(BlocksOp stage, Value buffer,
                                               std::string &why) {
  auto type = cast<BufferType>(buffer.getType());
  StageGeometry geometry;
  bool known = false, agrees = true;
  llvm::SmallPtrSet<Operation *, 8> reached;
  SmallVector<std::tuple<AffineMap, AffineMap, SmallVector<Value>>> boxes;
  auto boxKey = [](auto op) {
    return std::tuple(op.getExtents(), op.getClamp().value_or(AffineMap()),
                      SmallVector<Value>(op.getPoint()));
  };
  stage.walk([&](Operation *op) {
    std::optional<Access> access = accessOf(op, buffer);
    if (!access || !agrees)
      return;
    auto axes = axesOf(*access, stage, type, why);
    if (!axes) {
      agrees = false;
      return;
    }
    if (known && *axes != geometry.axes) {
      why = "its reductions and maps cover different blocks";
      agrees = false;
    }
    geometry.axes = std::move(*axes);
    known = true;
    if (Operation *box = boxAround(op, stage).op;
        box && reached.insert(box).second) {
      if (auto reduce = dyn_cast<ReduceOp>(box))
        boxes.push_back(boxKey(reduce));
      else
        boxes.push_back(boxKey(cast<MapOp>(box)));
    }
  });
  if (!agrees)
    return std::nullopt;
  if (!known || geometry.axes.size() < 2) {
    why = "it does not touch the value element by element";
    return std::nullopt;
  }
  // Every index of the domain counts blocks of one axis.
  SmallVector<unsigned> counted(stage.getDomain().getNumResults(), 0);
  for (const BlockAxis &axis : geometry.axes)
    if (axis.point >= 0)
      ++counted[axis.point];
  if (!llvm::all_of(counted, [](unsigned times) { return times == 1; })) {
    why = "several points share one block";
    return std::nullopt;
  }
  // Loops over other data run over the same elements.
  for (Operation &op : stage.getBody().front()) {
    if (!isa<ReduceOp, MapOp>(op) || reached.contains(&op))
      continue;
    auto key = isa<ReduceOp>(op) ? boxKey(cast<ReduceOp>(op))
                                 : boxKey(cast<MapOp>(op));
    geometry.loopsElsewhere |= !llvm::is_contained(boxes, key);
  }
  return geometry;
}

ReductionLevels tile::getReductionLevels(BlocksOp stage) {
  ReductionLevels result;
  // The number of meetings that have to lie before an op of the stage, and
  // before an element of a buffer it stores is complete.
  llvm::DenseMap<Operation *, unsigned> before;
  llvm::DenseMap<Value, unsigned> stored;
  Block &body = stage.getBody().front();
  for (Operation &op : body) {
    unsigned level = 0;
    op.walk([&](Operation *inner) {
      for (Value operand : inner->getOperands()) {
        Operation *maker = operand.getDefiningOp();
        if (maker && maker->getBlock() == &body)
          level = std::max(level, before.lookup(maker) +
                                      (isa<ReduceOp>(maker) ? 1 : 0));
      }
      if (auto load = dyn_cast<LoadOp>(inner))
        level = std::max(level, stored.lookup(load.getBuffer()));
    });
    before[&op] = level;
    op.walk([&](StoreOp store) {
      unsigned &known = stored[store.getBuffer()];
      known = std::max(known, level);
    });
    if (auto reduce = dyn_cast<ReduceOp>(op)) {
      if (result.levels.size() <= level)
        result.levels.resize(level + 1);
      result.levels[level].push_back(reduce);
      result.anyOrdered |= reduce.getKind() == ReduceKind::AddF;
    }
  }
  return result;
}
