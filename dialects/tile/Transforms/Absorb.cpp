//===- Absorb.cpp - Elements computed where they are read -----------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// A map that makes elements, `codes[m, k] = encode(x[m, k], scale[m])`, is
// written once more at every load of codes: with the element's place as the
// load knows it, the point and the index in the box follow by division.
// Scalars of the point are loaded from where the stage stores them, so that
// reductions stay where they are.
//
//===----------------------------------------------------------------------===//

#include "dialects/tile/Transforms/StageFusion.h"
#include "dialects/tile/Transforms/StageGeometry.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/IRMapping.h"

using namespace mlir;
using namespace quern;
using namespace quern::tile;

namespace {

class Absorber {
public:
  Absorber(LaunchOp maker, LaunchOp reader, Value buffer)
      : maker(maker), reader(reader), buffer(buffer), from(getKernel(maker)),
        to(getKernel(reader)) {}

  std::string check();
  void run();

private:
  BlockArgument argumentIn(LaunchOp launch, Value of);
  /// The program's buffer that an argument of the maker's kernel stands for.
  Value programBuffer(Value argument) {
    return maker.getBuffers()[cast<BlockArgument>(argument).getArgNumber()];
  }
  bool isAvailable(Value value);
  void rewrite(LoadOp load);
  /// A map of the maker over its point and box, as one over the load's place.
  AffineMap translate(AffineMap map, ValueRange indices, AffineMap place);
  Value scalar(OpBuilder &b, Value value, LoadOp at);
  StoreOp storeOf(Value value);
  void removeArgument(LaunchOp launch, Value of);

  LaunchOp maker, reader;
  Value buffer;
  KernelOp from, to;
  BlocksOp stage;
  Block *points = nullptr; ///< The stage's body.
  MapOp map;
  StoreOp store;
  StageGeometry geometry;
  SmallVector<LoadOp> loads;
  IRMapping inlined;
};

} // namespace

BlockArgument Absorber::argumentIn(LaunchOp launch, Value of) {
  auto operands = launch.getBuffers();
  auto it = llvm::find(operands, of);
  if (it != operands.end())
    return getKernel(launch).getBody().getArgument(it - operands.begin());
  KernelOp kernel = getKernel(launch);
  SmallVector<bool> writes(kernel.getWrites());
  writes.push_back(false);
  kernel.setWrites(writes);
  launch.getBuffersMutable().append(of);
  return kernel.getBody().addArgument(of.getType(), of.getLoc());
}

/// The store of a point's scalar that others can load it from again.
StoreOp Absorber::storeOf(Value value) {
  for (auto candidate : stage.getBody().front().getOps<StoreOp>())
    if (candidate.getValue() == value &&
        isa<BlockArgument>(candidate.getBuffer()))
      return candidate;
  return {};
}

/// Whether a scalar of the point can be had at the reader.
bool Absorber::isAvailable(Value value) {
  Operation *op = value.getDefiningOp();
  if (!op || isa<ReduceOp>(op))
    return op && storeOf(value);
  if (storeOf(value) || isa<LoadOp>(op))
    return true;
  return op->getNumRegions() == 0 && isMemoryEffectFree(op) &&
         !isa<IndexOp>(op) &&
         llvm::all_of(op->getOperands(),
                      [&](Value operand) { return isAvailable(operand); });
}

std::string Absorber::check() {
  auto declared = buffer.getDefiningOp<BufferOp>();
  auto program = maker->getParentOfType<ProgramOp>();
  if (!declared || declared.getRole() != BufferRole::Temporary)
    return "the codes are a result of the layer";
  if (getReaders(program, buffer) != SmallVector<LaunchOp>{reader} ||
      getWriter(program, buffer) != maker)
    return "several kernels read the codes";
  if (from.getContract())
    return "the codes are made by a product";
  if (from.getStages().size() != 1)
    return "the codes are made by the last of several stages";
  stage = cast<BlocksOp>(from.getStages().front());
  points = &stage.getBody().front();
  ContractOp contract = to.getContract();
  if (!contract)
    return "what reads the codes is no product";
  BlockArgument made = argumentIn(maker, buffer),
                read = argumentIn(reader, buffer);
  for (OpOperand &use : made.getUses()) {
    auto candidate = dyn_cast<StoreOp>(use.getOwner());
    if (!candidate || store || !isa<MapOp>(candidate->getParentOp()))
      return "the codes are stored at several places";
    store = candidate;
  }
  if (!store)
    return "the codes are stored nowhere";
  map = cast<MapOp>(store->getParentOp());
  std::string why;
  std::optional<StageGeometry> found = getGeometry(stage, made, why);
  if (!found)
    return why;
  geometry = std::move(*found);
  for (Operation &op : map.getBody().front().without_terminator()) {
    if (isa<StoreOp>(op) && &op != store.getOperation())
      return "the loop that makes the codes stores other things";
    if (op.getNumRegions() != 0 || isa<IndexOp>(op))
      return "the codes depend on where they stand";
    for (Value operand : op.getOperands())
      if (Operation *outside = operand.getDefiningOp();
          outside && outside->getBlock() == points && !isAvailable(operand))
        return "the scale is stored nowhere";
  }
  for (OpOperand &use : read.getUses()) {
    auto load = dyn_cast<LoadOp>(use.getOwner());
    if (!load || load->getParentOp() != contract ||
        load->getParentRegion() == &contract.getEpilogue() ||
        load->getParentRegion() == &contract.getRescale())
      return "the codes are used outside of the product's operands";
    loads.push_back(load);
  }
  return {};
}

AffineMap Absorber::translate(AffineMap of, ValueRange indices,
                              AffineMap place) {
  MLIRContext *context = of.getContext();
  // Every index of the maker in terms of the element's place.
  auto inPlace = [&](Value index) -> AffineExpr {
    auto arg = cast<BlockArgument>(index);
    bool ofPoint = arg.getOwner() == points;
    for (auto [axis, element] :
         llvm::zip_equal(geometry.axes, place.getResults())) {
      int number = arg.getArgNumber();
      if (ofPoint && axis.point == number)
        return element.floorDiv(axis.extent);
      if (!ofPoint && axis.box == number)
        return axis.isWhole() ? element : element % axis.extent;
    }
    return getAffineConstantExpr(0, context);
  };
  // The same number as one the codes are stored at is the place itself.
  auto overArguments = [&](AffineExpr expr, ValueRange operands) {
    unsigned rank = stage.getDomain().getNumResults();
    SmallVector<AffineExpr> dims;
    for (Value operand : operands) {
      auto arg = cast<BlockArgument>(operand);
      dims.push_back(getAffineDimExpr(
          arg.getArgNumber() + (arg.getOwner() == points ? 0 : rank), context));
    }
    return simplifyAffineExpr(expr.replaceDims(dims), rank + 6,
                              of.getNumSymbols());
  };
  SmallVector<AffineExpr> results;
  for (AffineExpr expr : of.getResults()) {
    AffineExpr same = overArguments(expr, indices), found;
    for (auto [stored, element] :
         llvm::zip_equal(store.getMap().getResults(), place.getResults()))
      if (!isa<AffineConstantExpr>(same) &&
          overArguments(stored, store.getIndices()) == same)
        found = element;
    if (!found) {
      SmallVector<AffineExpr> dims;
      for (Value index : indices)
        dims.push_back(inPlace(index));
      found = simplifyAffineExpr(expr.replaceDims(dims), place.getNumDims(),
                                 of.getNumSymbols());
    }
    results.push_back(found);
  }
  return AffineMap::get(place.getNumDims(), of.getNumSymbols(), results,
                        context);
}

/// A scalar of the point, at a load of the reader.
Value Absorber::scalar(OpBuilder &b, Value value, LoadOp at) {
  if (Value known = inlined.lookupOrNull(value))
    return known;
  Value result;
  Operation *op = value.getDefiningOp();
  auto loadAgain = [&](Value argument, AffineMap of, ValueRange indices,
                       Type type) {
    return LoadOp::create(b, value.getLoc(), type,
                          argumentIn(reader, programBuffer(argument)),
                          at.getIndices(), translate(of, indices, at.getMap()));
  };
  if (StoreOp stored = storeOf(value)) {
    result = loadAgain(stored.getBuffer(), stored.getMap(), stored.getIndices(),
                       value.getType());
  } else if (auto load = dyn_cast<LoadOp>(op)) {
    result = loadAgain(load.getBuffer(), load.getMap(), load.getIndices(),
                       value.getType());
  } else {
    for (Value operand : op->getOperands())
      scalar(b, operand, at);
    result = b.clone(*op, inlined)->getResult(0);
  }
  inlined.map(value, result);
  return result;
}

void Absorber::rewrite(LoadOp load) {
  OpBuilder b(load);
  inlined = IRMapping();
  for (Operation &op : map.getBody().front().without_terminator()) {
    if (&op == store.getOperation())
      continue;
    if (auto inner = dyn_cast<LoadOp>(op)) {
      Value again = LoadOp::create(
          b, op.getLoc(), inner.getType(),
          argumentIn(reader, programBuffer(inner.getBuffer())),
          load.getIndices(),
          translate(inner.getMap(), inner.getIndices(), load.getMap()));
      inlined.map(inner.getResult(), again);
      continue;
    }
    for (Value operand : op.getOperands())
      if (Operation *outside = operand.getDefiningOp();
          outside && outside->getBlock() == points)
        scalar(b, operand, load);
    b.clone(op, inlined);
  }
  load.getResult().replaceAllUsesWith(
      inlined.lookupOrDefault(store.getValue()));
  load.erase();
}

void Absorber::removeArgument(LaunchOp launch, Value of) {
  auto operands = launch.getBuffers();
  unsigned index = llvm::find(operands, of) - operands.begin();
  KernelOp kernel = getKernel(launch);
  SmallVector<bool> writes(kernel.getWrites());
  writes.erase(writes.begin() + index);
  kernel.setWrites(writes);
  kernel.getBody().eraseArgument(index);
  launch.getBuffersMutable().erase(index);
}

void Absorber::run() {
  for (LoadOp load : loads)
    rewrite(load);
  map.erase();
  removeArgument(maker, buffer);
  removeArgument(reader, buffer);
  // What only the map read.
  for (unsigned i = from.getBody().getNumArguments(); i-- > 0;)
    if (from.getBody().getArgument(i).use_empty())
      removeArgument(maker, maker.getBuffers()[i]);
  buffer.getDefiningOp()->erase();
}

std::string tile::absorb(LaunchOp maker, LaunchOp reader, Value buffer) {
  Absorber absorber(maker, reader, buffer);
  std::string why = absorber.check();
  if (why.empty())
    absorber.run();
  return why;
}
