//===- ContractPlan.cpp - The fixed choices for one contraction -----------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/lower/cpu/Contract.h"

using namespace quern;
using namespace quern::cpugen;

ContractPlan::ContractPlan(tile::ContractOp op, const CpuTarget &target)
    : op(op), lanes(target.lanes()), registers(target.registers()),
      numBatch(op.getNumBatch()) {
  leftUnsigned = op.getLhsUnsigned();
  rightUnsigned = op.getRhsUnsigned();
  bool integers = op.getElementType(op.getLhsRegion(0)).isInteger(8);
  ByteDot dot = target.byteDot();
  // All right operands are of one kind, with the same bits.
  tile::LoadOp first = getFourBitLoad(op, op.getRhsRegion(0));
  fourBits = dot != ByteDot::None && first;
  for (unsigned i = 0; i < op.getNumRhs() && fourBits; ++i) {
    tile::LoadOp load = getFourBitLoad(op, op.getRhsRegion(i));
    fourBits = load && load.getBuffer().getType().getElementType() ==
                           first.getBuffer().getType().getElementType();
  }
  // Short groups would fill their rows badly, and have as many sums as steps.
  // Where one is taken apart whole, long ones would take too much scratch.
  constexpr uint64_t shortestGroup = 16, longestGroup = 4096;
  narrow = dot == ByteDot::Narrow;
  fourBits &= op.getSplit().value_or(shortestGroup) >= shortestGroup &&
              (narrow || op.getSplit().value_or(0) <= longestGroup);
  biased = fourBits &&
           first.getBuffer().getType().getElementType().isSignlessInteger();
  // Halves of bytes take the sign that the instruction has left for them.
  if (fourBits)
    rightUnsigned = leftUnsigned == (dot == ByteDot::Same);
  // A step's padding is zero on both sides only at the end of K.
  bool pairs = target.hasBf16Dot() && op.getSplit().value_or(0) % 2 == 0 &&
               llvm::all_of(op.getOperandRegions(), [&](mlir::Region &region) {
                 return op.getElementType(region).isBF16();
               });
  bool quads = dot == ByteDot::Same || (narrow && fourBits) ||
               (dot == ByteDot::Mixed && !(leftUnsigned && rightUnsigned));
  kind = pairs       ? StepKind::Bf16Pairs
         : !integers ? StepKind::Singles
         : quads     ? StepKind::Quads
                     : StepKind::Pairs;
  bool oneSign = leftUnsigned == rightUnsigned;
  shiftLeft = kind == StepKind::Quads && oneSign == (dot != ByteDot::Same);
  swapped = kind == StepKind::Quads && rightUnsigned && !movedUnsigned();
  columns = 2 * target.lanes();
  if (kind == StepKind::Singles && !op.getSplit())
    storedPanels = StoredPanels::match(op, target, columns);
  ProductSizes sizes;
  sizes.k = constantK();
  sizes.elementBytes = elementBytes();
  sizes.terms = op.getNumTerms();
  sizes.split = op.getSplit().has_value();
  sizes.widened = widensPanels();
  sizes.halved = readsSharedRows();
  sizes.halvedFew = sharesRows();
  sizes.rightBytes = rightBytes();
  blocking = Blocking::choose(target, sizes);
  rows = rowMultiple = blocking.rows;
  blockRows = blocking.blockRows;
  if (std::optional<uint64_t> g = op.getSplit()) {
    split = *g;
    if (sizes.k.value_or(0) > 0)
      split = std::min(*split, *sizes.k);
  }
}

std::optional<int64_t> ContractPlan::rightBytes() const {
  // In floating point: sizes of an operand may be any numbers.
  double all = 0;
  for (unsigned right = 0; right < op.getNumRhs(); ++right) {
    auto columns = constantOf(n()), elements = constantOf(k());
    if (!columns || !elements)
      return std::nullopt;
    double bytes = double(*columns) * double(*elements) * 4 /
                   (elementsPerStep() * stepsPerRow());
    llvm::SmallVector<bool> varies =
        usesBatch(*this, op.getRhsRegion(right).front(),
                  [](mlir::Operation *) { return true; });
    for (unsigned i = 0; i < numBatch; ++i) {
      auto copies = varies[i] ? constantOf(extent(i)) : 1;
      if (!copies)
        return std::nullopt;
      bytes *= double(*copies);
    }
    all += bytes;
  }
  return int64_t(std::min(all, 0x1p62));
}

std::optional<int64_t> quern::cpugen::constantOf(mlir::AffineExpr expr) {
  if (auto constant = llvm::dyn_cast<mlir::AffineConstantExpr>(expr))
    return constant.getValue();
  return std::nullopt;
}

mlir::AffineExpr ContractPlan::groups() const {
  if (split)
    return k().ceilDiv(*split);
  return mlir::getAffineConstantExpr(1, op.getContext());
}

mlir::AffineExpr ContractPlan::groupSteps() const {
  if (split)
    return mlir::getAffineConstantExpr(stepsOfSplit(), op.getContext());
  return k().ceilDiv(elementsPerStep());
}

mlir::AffineExpr ContractPlan::leftStride() const {
  return (k() * elementBytes()).ceilDiv(64) * 64 + 64;
}

llvm::SmallVector<TileShape> ContractPlan::shapes() const {
  llvm::SmallVector<TileShape> shapes;
  for (unsigned rows = 1; rows <= blocking.fewRows; ++rows)
    shapes.push_back({rows, 2});
  for (unsigned rows = blocking.fewRows + 1; rows <= this->rows; ++rows)
    shapes.push_back({rows, 1});
  return shapes;
}

llvm::SmallVector<TileShape> ContractPlan::shapesOfMany() const {
  llvm::SmallVector<TileShape> shapes = this->shapes();
  llvm::erase_if(shapes, [](TileShape shape) { return shape.panels != 1; });
  return shapes;
}
