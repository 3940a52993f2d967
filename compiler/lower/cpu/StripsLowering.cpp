//===- StripsLowering.cpp - Several stages of blocks, strip by strip ------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Kernels of several tile.blocks and no product (StageStrips.h): an item of the
// launch is a strip, that is a point of the leading stage. All stages run their
// blocks within it, one stage after the other; what they leave for each other
// lies in this thread's scratch, a strip at a time, and is in its cache when it
// is read. Every block is lowered as it is in a kernel of its own.
//
//===----------------------------------------------------------------------===//

#include "compiler/lower/cpu/Lowering.h"
#include "dialects/tile/Transforms/StageStrips.h"

#include "mlir/IR/Builders.h"

using namespace quern;
using namespace quern::cpugen;
using llvm::Value;
using mlir::AffineExpr;

namespace {

class StripsLowering {
public:
  StripsLowering(KernelFunction &function, const tile::StageStrips &strips)
      : function(function), strips(strips), e(function.scope.e) {}

  /// One strip, by the point of the leading stage.
  void lower(llvm::ArrayRef<Value *> point);

private:
  /// Number of the strip along an axis that it does not span.
  Value *stripOf(unsigned axis, llvm::ArrayRef<Value *> point) {
    return point[strips.strip().axes[axis].point];
  }
  void bindLocals(llvm::ArrayRef<Value *> point);
  void lowerStage(const tile::StageStrips::Stage &stage,
                  llvm::ArrayRef<Value *> point);

  KernelFunction &function;
  const tile::StageStrips &strips;
  Emitter &e;
};

} // namespace

/// A local's extents as they are kept: those of a strip.
static llvm::SmallVector<AffineExpr> keptShape(const tile::StripValue &value) {
  auto type = llvm::cast<tile::BufferType>(value.buffer.getType());
  llvm::SmallVector<AffineExpr> shape;
  for (auto [length, extent] :
       llvm::zip(type.getShape().getResults(), value.extents))
    shape.push_back(
        extent ? mlir::getAffineConstantExpr(extent, length.getContext())
               : length);
  return shape;
}

/// Bytes of scratch, 64-byte aligned.
static AffineExpr bytesOf(const tile::StripValue &value) {
  auto type = llvm::cast<tile::BufferType>(value.buffer.getType());
  AffineExpr elements = mlir::getAffineConstantExpr(
      byteWidth(*getDType(type.getElementType())), type.getContext());
  for (AffineExpr extent : keptShape(value))
    elements = elements * extent;
  return elements;
}

static bool isLocal(const tile::StripValue &value) {
  return llvm::isa_and_nonnull<tile::LocalOp>(value.buffer.getDefiningOp());
}

void StripsLowering::bindLocals(llvm::ArrayRef<Value *> point) {
  Value *scratch = function.scratch;
  for (const tile::StripValue &value : strips.values) {
    if (!isLocal(value))
      continue;
    auto type = llvm::cast<tile::BufferType>(value.buffer.getType());
    BufferView view;
    view.dtype = *getDType(type.getElementType());
    view.memory = Memory::Scratch;
    llvm::SmallVector<AffineExpr> shape = keptShape(value);
    llvm::SmallVector<Value *> extents =
        function.scope.sizes(mlir::AffineMap::get(
            0, type.getShape().getNumSymbols(), shape, type.getContext()));
    view.strides.resize(shape.size());
    Value *stride = e.i64(1), *before = e.i64(0);
    for (size_t d = shape.size(); d-- > 0;) {
      view.strides[d] = stride;
      if (value.extents[d])
        before = e.add(
            before,
            e.mul(e.mul(stripOf(d, point), e.i64(value.extents[d])), stride));
      stride = e.mul(stride, extents[d]);
    }
    Value *width = e.i64(byteWidth(view.dtype));
    view.address = e.offset(scratch, e.b.CreateNeg(e.mul(before, width)));
    function.scope.buffers[value.buffer] = std::move(view);
    Value *bytes = e.mul(stride, width);
    scratch = e.offset(scratch, e.mul(e.ceilDiv(bytes, e.i64(64)), e.i64(64)));
  }
}

void StripsLowering::lowerStage(const tile::StageStrips::Stage &stage,
                                llvm::ArrayRef<Value *> point) {
  tile::BlocksOp blocks = stage.op; // MLIR's handles are not const-correct.
  llvm::SmallVector<Value *> domain = function.scope.sizes(blocks.getDomain());
  llvm::SmallVector<Value *> at(domain.size(), nullptr);
  llvm::SmallVector<unsigned> axisOf(domain.size(), 0);
  for (auto [d, axis] : llvm::enumerate(stage.geometry.axes))
    if (axis.point >= 0)
      axisOf[axis.point] = d;
  auto nest = [&](auto &&self, unsigned dim) -> void {
    if (dim == domain.size())
      return emitPoint(function, blocks, at);
    std::optional<int64_t> count = strips.blocksPerStrip(stage, axisOf[dim]);
    auto body = [&](Value *index) {
      at[dim] = index;
      self(self, dim + 1);
    };
    if (!count)
      return e.loop(e.i64(0), domain[dim], e.i64(1), body);
    Value *first = e.mul(stripOf(axisOf[dim], point), e.i64(*count));
    if (*count == 1)
      return body(first);
    Value *end = e.min(e.add(first, e.i64(*count)), domain[dim]);
    e.loop(first, end, e.i64(1), body);
  };
  nest(nest, 0);
}

void StripsLowering::lower(llvm::ArrayRef<Value *> point) {
  bindLocals(point);
  for (const tile::StageStrips::Stage &stage : strips.stages)
    lowerStage(stage, point);
}

/// Elements of all boxes of a strip.
static SymExpr elementsOf(const tile::StageStrips &strips, unsigned &boxes) {
  SymExpr elements = SymExpr::constant(1);
  for (const tile::StageStrips::Stage &stage : strips.stages) {
    tile::BlocksOp blocks = stage.op;
    SymExpr points = SymExpr::constant(1);
    for (auto [d, axis] : llvm::enumerate(stage.geometry.axes)) {
      if (axis.point < 0)
        continue;
      std::optional<int64_t> count = strips.blocksPerStrip(stage, d);
      points =
          points *
          (count ? SymExpr::constant(*count)
                 : tile::toSymExpr(blocks.getDomain().getResult(axis.point)));
    }
    for (mlir::Operation &op : blocks.getBody().front()) {
      mlir::AffineMap extents;
      if (auto reduce = llvm::dyn_cast<tile::ReduceOp>(op))
        extents = reduce.getExtents();
      else if (auto map = llvm::dyn_cast<tile::MapOp>(op))
        extents = map.getExtents();
      else
        continue;
      ++boxes;
      elements = elements + points * productOf(extents, 32);
    }
  }
  return elements;
}

LoweredKernel quern::cpugen::lowerStrips(Emitter &e, tile::KernelOp kernel,
                                         const std::string &name) {
  LoweredKernel lowered;
  lowered.name = name;
  llvm::SmallVector<unsigned> arguments;
  for (unsigned i = 0; i < kernel.getBody().getNumArguments(); ++i)
    arguments.push_back(i);
  KernelFunction function(e, name, kernel, arguments, 0);
  std::string why;
  std::optional<tile::StageStrips> strips = tile::getStrips(kernel, why);
  if (!strips) {
    if (e.error.empty())
      e.error = "its stages are not computed together: " + why;
    e.b.CreateRetVoid();
    return lowered;
  }
  tile::BlocksOp lead = strips->leading();
  llvm::SmallVector<Value *> extents = function.scope.sizes(lead.getDomain());
  e.loop(function.begin, function.end, e.i64(1), [&](Value *item) {
    StripsLowering(function, *strips).lower(pointOf(e, item, extents));
  });
  e.b.CreateRetVoid();

  lowered.items = productOf(lead.getDomain(), 1);
  unsigned boxes = 0;
  SymExpr perItem = elementsOf(*strips, boxes);
  if (lead.getDomain().getNumResults() != 0)
    lowered.grain = grainFor(perItem);
  for (const tile::StripValue &value : strips->values)
    if (isLocal(value))
      lowered.scratchBytes = lowered.scratchBytes +
                             SymExpr::ceilDiv(tile::toSymExpr(bytesOf(value)),
                                              SymExpr::constant(64)) *
                                 SymExpr::constant(64);
  lowered.schedule = fmt::format(
      "item = one {} through {} stages, {} loop nest{}, {} lanes, {} tails",
      strips->describe(), strips->stages.size(), boxes, boxes == 1 ? "" : "s",
      e.target.lanes(), e.target.hasMasks() ? "masked" : "scalar");
  return lowered;
}
