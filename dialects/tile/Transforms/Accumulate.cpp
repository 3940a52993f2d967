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

namespace {

/// What goes with a reduction to where its elements are made.
struct Moved {
  LoadOp load; ///< Of the element.
  /// What its body uses of the point's scalars, in order: arithmetic, and loads
  /// at indices of the point from buffers other than the value.
  SmallVector<Operation *> scalars;
};

} // namespace

/// Nothing where a reduction depends on more than that.
static std::optional<Moved> getMoved(BlocksOp stage, ReduceOp reduce,
                                     Value buffer) {
  auto isArithmetic = [](Operation &op) {
    return op.getNumRegions() == 0 && isMemoryEffectFree(&op) &&
           !isa<IndexOp>(op);
  };
  Moved moved;
  for (Operation &op : reduce.getBody().front().without_terminator()) {
    if (auto load = dyn_cast<LoadOp>(op)) {
      if (moved.load || load.getBuffer() != buffer)
        return std::nullopt;
      moved.load = load;
    } else if (!isArithmetic(op)) {
      return std::nullopt;
    }
  }
  if (!moved.load)
    return std::nullopt;
  Block &points = stage.getBody().front();
  llvm::DenseSet<Operation *> scalars;
  SmallVector<Operation *> work;
  auto need = [&](Value value) {
    if (Operation *maker = value.getDefiningOp())
      if (!reduce->isAncestor(maker) && scalars.insert(maker).second)
        work.push_back(maker);
  };
  reduce.getBody().walk(
      [&](Operation *op) { llvm::for_each(op->getOperands(), need); });
  while (!work.empty()) {
    Operation *op = work.pop_back_val();
    auto load = dyn_cast<LoadOp>(op);
    auto isOfPoint = [&](Value index) {
      auto arg = dyn_cast<BlockArgument>(index);
      return arg && arg.getOwner() == &points;
    };
    if (op->getBlock() != &points || (!load && !isArithmetic(*op)) ||
        (load && (load.getBuffer() == buffer ||
                  !llvm::all_of(load.getIndices(), isOfPoint))) ||
        (!load && llvm::any_of(op->getOperands(), isOfPoint)))
      return std::nullopt;
    llvm::for_each(op->getOperands(), need);
  }
  for (Operation &op : points)
    if (scalars.contains(&op))
      moved.scalars.push_back(&op);
  return moved;
}

/// Whether a launch of a run before `launch` is the last to write `buffer`.
static bool isReadyBefore(LaunchOp launch, Value buffer) {
  for (auto other :
       launch->getParentOfType<ProgramOp>().getBody().getOps<LaunchOp>())
    for (auto [i, operand] : llvm::enumerate(other.getBuffers()))
      if (operand == buffer && getKernel(other).getWrites()[i] &&
          !other->isBeforeInBlock(launch))
        return false;
  return true;
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

/// A temporary that nobody reads any more need not be stored.
void dropUnread(ProgramOp program, Value buffer) {
  auto declared = buffer.getDefiningOp<BufferOp>();
  if (declared.getRole() != BufferRole::Temporary ||
      !getReaders(program, buffer).empty())
    return;
  for (auto launch : llvm::to_vector(program.getBody().getOps<LaunchOp>()))
    while (BlockArgument arg = argumentOf(launch, buffer)) {
      KernelOp kernel = getKernel(launch);
      for (Operation *user : llvm::to_vector(arg.getUsers()))
        user->erase();
      unsigned index = arg.getArgNumber();
      SmallVector<bool> writes(kernel.getWrites());
      writes.erase(writes.begin() + index);
      kernel.setWrites(writes);
      kernel.getBody().front().eraseArgument(index);
      launch.getBuffersMutable().erase(index);
    }
  declared.erase();
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
  SmallVector<Moved> moved;
  for (ReduceOp reduce : levels.levels[0]) {
    if (reduce.getKind() == ReduceKind::AddF)
      return "an f32 sum has one written order";
    std::optional<Moved> own = getMoved(stage, reduce, read);
    if (!own)
      return "the reduction needs more than the value itself";
    for (Operation *op : own->scalars)
      if (auto load = dyn_cast<LoadOp>(op)) {
        auto arg = dyn_cast<BlockArgument>(load.getBuffer());
        if (!arg || arg.getOwner() != &from.getBody().front() ||
            !isReadyBefore(writer, reader.getBuffers()[arg.getArgNumber()]))
          return "the reduction needs what is not there yet when its elements "
                 "are made";
      }
    moved.push_back(std::move(*own));
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
      AffineMap map = store.getMap();
      SmallVector<AffineExpr> at(stage.getDomain().getNumResults());
      for (auto [axis, expr] :
           llvm::zip_equal(geometry->axes, map.getResults()))
        if (axis.point >= 0)
          at[axis.point] =
              simplifyAffineExpr(expr.floorDiv(axis.extent), map.getNumDims(),
                                 map.getNumSymbols());
      IRMapping mapping;
      for (Operation *op : moved[number].scalars) {
        auto load = dyn_cast<LoadOp>(op);
        if (!load) {
          b.clone(*op, mapping);
          continue;
        }
        // The point's indices are those of the block that the element is in.
        SmallVector<AffineExpr> indices, place;
        for (Value index : load.getIndices())
          indices.push_back(at[cast<BlockArgument>(index).getArgNumber()]);
        for (AffineExpr expr : load.getMap().getResults())
          place.push_back(simplifyAffineExpr(expr.replaceDims(indices),
                                             map.getNumDims(),
                                             map.getNumSymbols()));
        Value source = reader.getBuffers()[cast<BlockArgument>(load.getBuffer())
                                               .getArgNumber()];
        BlockArgument arg = argumentOf(writer, source);
        if (!arg)
          arg = addArgument(writer, source, false);
        mapping.map(
            load.getResult(),
            LoadOp::create(b, loc, load.getType(), arg, store.getIndices(),
                           AffineMap::get(map.getNumDims(), map.getNumSymbols(),
                                          place, context))
                .getResult());
      }
      LoadOp element = moved[number].load;
      mapping.map(element.getResult(), store.getValue());
      Block &body = reduce.getBody().front();
      for (Operation &op : body.without_terminator())
        if (&op != element.getOperation())
          b.clone(op, mapping);
      Value combined =
          mapping.lookupOrDefault(body.getTerminator()->getOperand(0));
      if (isFloat)
        combined = keyOf(b, loc, combined);
      AccumulateOp::create(
          b, loc, isFloat ? ReduceKind::UMax : reduce.getKind(), combined,
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
  dropUnread(program, buffer);
  return {};
}
