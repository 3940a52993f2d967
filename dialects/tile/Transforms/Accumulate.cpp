//===- Accumulate.cpp - Reductions where their elements are made ----------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Maxima of f32 are combined as integers of the same order: with the sign bit
// set for positive numbers and all bits turned for negative ones, unsigned
// integers compare as the floats do, -0 below +0, and the one NaN they are all
// made to be above everything. Zero, where state starts, is below -inf.
//
//===----------------------------------------------------------------------===//

#include "dialects/tile/Transforms/StageFusion.h"
#include "dialects/tile/Transforms/StageGeometry.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/IRMapping.h"

#include <fmt/format.h>

using namespace mlir;
using namespace quern;
using namespace quern::tile;

static constexpr int32_t signBit = INT32_MIN;

static Value constant(OpBuilder &b, Location loc, int32_t value) {
  return arith::ConstantOp::create(b, loc, b.getI32IntegerAttr(value));
}

/// The integer that stands for an f32 in a maximum.
static Value keyOf(OpBuilder &b, Location loc, Value x) {
  Value isNan = arith::CmpFOp::create(b, loc, arith::CmpFPredicate::UNO, x, x);
  Value bits = arith::BitcastOp::create(b, loc, b.getI32Type(), x);
  bits = arith::SelectOp::create(b, loc, isNan, constant(b, loc, 0x7fc00000),
                                 bits);
  Value negative = arith::ShRSIOp::create(b, loc, bits, constant(b, loc, 31));
  Value turned =
      arith::OrIOp::create(b, loc, negative, constant(b, loc, signBit));
  return arith::XOrIOp::create(b, loc, bits, turned);
}

/// And back; what is below -inf was never there.
static Value valueOf(OpBuilder &b, Location loc, Value key) {
  constexpr int32_t least = 0x007fffff; // of -inf
  key = arith::MaxUIOp::create(b, loc, key, constant(b, loc, least));
  // All bits where the number was negative, the sign bit where positive.
  Value positive = arith::ShRSIOp::create(b, loc, key, constant(b, loc, 31));
  Value negative =
      arith::XOrIOp::create(b, loc, positive, constant(b, loc, -1));
  Value turned =
      arith::OrIOp::create(b, loc, negative, constant(b, loc, signBit));
  Value bits = arith::XOrIOp::create(b, loc, key, turned);
  return arith::BitcastOp::create(b, loc, b.getF32Type(), bits);
}

/// The one load of a reduction's body, if all else in it is arithmetic.
static LoadOp onlyLoad(ReduceOp reduce, Value buffer) {
  LoadOp found;
  for (Operation &op : reduce.getBody().front().without_terminator()) {
    if (auto load = dyn_cast<LoadOp>(op)) {
      if (found || load.getBuffer() != buffer)
        return {};
      found = load;
    } else if (op.getNumRegions() != 0 || !isMemoryEffectFree(&op) ||
               isa<IndexOp>(op)) {
      return {};
    }
  }
  // Nothing that is computed outside of the body.
  bool closed = true;
  reduce.getBody().walk([&](Operation *op) {
    for (Value operand : op->getOperands())
      if (Operation *maker = operand.getDefiningOp())
        closed &= reduce->isAncestor(maker);
  });
  return closed ? found : LoadOp();
}

namespace {

/// One argument more for a kernel and its launch.
BlockArgument addArgument(LaunchOp launch, Value buffer, bool written) {
  KernelOp kernel = getKernel(launch);
  SmallVector<bool> writes(kernel.getWrites());
  writes.push_back(written);
  kernel.setWrites(writes);
  launch.getBuffersMutable().append(buffer);
  return kernel.getBody().addArgument(buffer.getType(), buffer.getLoc());
}

/// The argument that a buffer of the program is in a launch's kernel.
BlockArgument argumentOf(LaunchOp launch, Value buffer) {
  auto operands = launch.getBuffers();
  auto it = llvm::find(operands, buffer);
  if (it == operands.end())
    return {};
  return getKernel(launch).getBody().getArgument(it - operands.begin());
}

} // namespace

std::string tile::accumulate(LaunchOp writer, LaunchOp reader, Value buffer) {
  KernelOp to = getKernel(writer), from = getKernel(reader);
  BlockArgument made = argumentOf(writer, buffer),
                read = argumentOf(reader, buffer);
  auto stage = dyn_cast<BlocksOp>(from.getStages().front());
  if (!made || !read || !stage || from.getStages().size() != 1)
    return "what reads the value is no list of reductions";
  std::string why;
  std::optional<StageGeometry> geometry = getGeometry(stage, read, why);
  if (!geometry)
    return why;
  ReductionLevels levels = getReductionLevels(stage);
  if (levels.levels.empty())
    return "nothing is reduced";
  SmallVector<StoreOp> stores;
  to.walk([&](StoreOp store) {
    if (store.getBuffer() == made)
      stores.push_back(store);
  });
  if (stores.empty())
    return "nothing stores the value element by element";
  SmallVector<LoadOp> loads;
  for (ReduceOp reduce : levels.levels[0]) {
    if (reduce.getKind() == ReduceKind::AddF)
      return "an f32 sum has one written order";
    loads.push_back(onlyLoad(reduce, read));
    if (!loads.back())
      return "the reduction needs more than the value itself";
  }

  auto program = writer->getParentOfType<ProgramOp>();
  auto value = buffer.getDefiningOp<BufferOp>();
  MLIRContext *context = program.getContext();
  Type i32 = IntegerType::get(context, 32);
  for (auto [number, reduce] : llvm::enumerate(levels.levels[0])) {
    bool isFloat = reduce.getKind() == ReduceKind::MaximumF;
    // Named apart where one value has a maximum and a minimum.
    std::string part = isFloat ? fmt::format("max{}", number)
                       : reduce.getKind() == ReduceKind::UMax ? "absmax"
                                                              : "sum";
    OpBuilder builder(writer);
    auto type = BufferType::get(context, stage.getDomain(), i32);
    Value state = BufferOp::create(builder, buffer.getLoc(), type,
                                   value.getName(), part, BufferRole::State);
    BlockArgument target = addArgument(writer, state, true);
    for (StoreOp store : stores) {
      OpBuilder b(store);
      Location loc = reduce.getLoc();
      IRMapping mapping;
      mapping.map(loads[number].getResult(), store.getValue());
      Block &body = reduce.getBody().front();
      for (Operation &op : body.without_terminator())
        if (&op != loads[number].getOperation())
          b.clone(op, mapping);
      Value element =
          mapping.lookupOrDefault(body.getTerminator()->getOperand(0));
      if (isFloat)
        element = keyOf(b, loc, element);
      AffineMap map = store.getMap();
      SmallVector<AffineExpr> at(stage.getDomain().getNumResults());
      for (auto [axis, expr] :
           llvm::zip_equal(geometry->axes, map.getResults()))
        if (axis.point >= 0)
          at[axis.point] =
              simplifyAffineExpr(expr.floorDiv(axis.extent), map.getNumDims(),
                                 map.getNumSymbols());
      AccumulateOp::create(
          b, loc, isFloat ? ReduceKind::UMax : reduce.getKind(), element,
          target, store.getIndices(),
          AffineMap::get(map.getNumDims(), map.getNumSymbols(), at, context));
    }
    BlockArgument source = addArgument(reader, state, false);
    OpBuilder b(reduce);
    Block &points = stage.getBody().front();
    unsigned rank = points.getNumArguments();
    Value combined = LoadOp::create(
        b, reduce.getLoc(), i32, source, points.getArguments(),
        AffineMap::getMultiDimIdentityMap(rank, context)
            .replaceDimsAndSymbols({}, {}, rank,
                                   stage.getDomain().getNumSymbols()));
    if (isFloat)
      combined = valueOf(b, reduce.getLoc(), combined);
    reduce.getResult().replaceAllUsesWith(combined);
    reduce.erase();
  }
  return {};
}
