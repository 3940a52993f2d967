//===- ContractKernel.cpp - Groups with a contraction ---------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/conversion/Elementwise.h"
#include "compiler/conversion/Kernels.h"

using namespace mlir;
using namespace quern;
using namespace quern::conversion;
using namespace quern::ir;

namespace {

/// The contractions of a group and the tile.contract made of them.
class ContractBuilder {
public:
  ContractBuilder(KernelScope &scope, KernelOp group)
      : scope(scope), group(group), emitter(scope, &group.getBody().front()),
        context(group.getContext()) {
    for (auto op : group.getBody().front().getOps<ir::ContractOp>())
      contracts.push_back(op);
    first = contracts.front();
    numBatch = first.getResult().getType().getRank() - 2;
  }

  LogicalResult run();

private:
  LogicalResult collectTerms();
  Index operandIndex(ir::ContractOp op, bool isRhs, const Index &index);
  void fillOperand(Region &region, Value operand, ir::ContractOp op,
                   bool isRhs);
  void fillRescale(Region &region);
  void fillEpilogue(Region &region, Type accumulator);
  Block *addBlock(Region &region, unsigned indices,
                  ArrayRef<Type> values = {}) {
    Block &block = region.emplaceBlock();
    for (unsigned i = 0; i < indices; ++i)
      block.addArgument(IndexType::get(context), first.getLoc());
    for (Type type : values)
      block.addArgument(type, first.getLoc());
    return &block;
  }
  /// Constant extents of (batch..., and the given), 0 where symbolic.
  SmallVector<int64_t> bounds(ArrayRef<AffineExpr> extents) {
    SmallVector<int64_t> result;
    for (AffineExpr extent : extents) {
      auto constant = dyn_cast<AffineConstantExpr>(extent);
      result.push_back(constant ? constant.getValue() : 0);
    }
    return result;
  }

  KernelScope &scope;
  KernelOp group;
  ElementEmitter emitter;
  MLIRContext *context;
  SmallVector<ir::ContractOp> contracts;
  ir::ContractOp first;
  unsigned numBatch = 0;
  SmallVector<AffineExpr> extents; ///< batch..., M, N, K
  SmallVector<ir::ContractOp> lefts, rights;
  SmallVector<int64_t> terms;
};

} // namespace

/// Extents of a contraction: (batch..., M, N, K).
static SmallVector<AffineExpr> getExtents(ir::ContractOp op) {
  SmallVector<AffineExpr> extents = getDims(op.getResult().getType());
  extents.push_back(getDims(op.getLhs().getType()).back());
  return extents;
}

LogicalResult ContractBuilder::collectTerms() {
  extents = getExtents(first);
  auto find = [](SmallVector<ir::ContractOp> &ops, ir::ContractOp op,
                 bool rhs) -> int64_t {
    for (auto [i, other] : llvm::enumerate(ops))
      if (rhs ? other.getRhs() == op.getRhs() &&
                    other.getTransposeRhs() == op.getTransposeRhs()
              : other.getLhs() == op.getLhs())
        return i;
    ops.push_back(op);
    return ops.size() - 1;
  };
  auto isUnsigned = [](Value value) {
    return cast<RankedTensorType>(value.getType())
        .getElementType()
        .isUnsignedInteger(8);
  };
  for (ir::ContractOp op : contracts) {
    if (getExtents(op) != extents || op.getSplit() != first.getSplit() ||
        isUnsigned(op.getLhs()) != isUnsigned(first.getLhs()) ||
        isUnsigned(op.getRhs()) != isUnsigned(first.getRhs()) ||
        op.getResult().getType() != first.getResult().getType())
      return op.emitOpError("convert_quern_c2: differs in extents, types or "
                            "split from the other contraction of its kernel");
    terms.push_back(find(lefts, op, false));
    terms.push_back(find(rights, op, true));
  }
  return success();
}

Index ContractBuilder::operandIndex(ir::ContractOp op, bool isRhs,
                                    const Index &index) {
  // `index` is (batch..., row, k).
  Value operand = isRhs ? op.getRhs() : op.getLhs();
  unsigned rank = cast<RankedTensorType>(operand.getType()).getRank();
  Index result(index.end() - rank, index.end());
  if (isRhs && !op.getTransposeRhs())
    std::swap(result[rank - 1], result[rank - 2]);
  return result;
}

void ContractBuilder::fillOperand(Region &region, Value operand,
                                  ir::ContractOp op, bool isRhs) {
  Block *block = addBlock(region, numBatch + 2);
  SmallVector<AffineExpr> shape(extents.begin(), extents.begin() + numBatch);
  shape.push_back(extents[numBatch + (isRhs ? 1 : 0)]);
  shape.push_back(extents[numBatch + 2]);
  emitter.withInner(block, bounds(shape), [&](const Index &index) {
    OpBuilder &b = emitter.getBuilder();
    tile::YieldOp::create(
        b, op.getLoc(),
        emitter.emitStored(operand, operandIndex(op, isRhs, index)));
  });
}

void ContractBuilder::fillRescale(Region &region) {
  int64_t split = *first.getSplit();
  Block *block = addBlock(region, numBatch + 3);
  SmallVector<AffineExpr> shape(extents);
  shape.back() = shape.back().ceilDiv(split);
  emitter.withInner(block, bounds(shape), [&](const Index &index) {
    OpBuilder &b = emitter.getBuilder();
    SmallVector<Value> factors, addends;
    bool corrected = llvm::any_of(contracts, [](ir::ContractOp op) {
      return op.getLhsZeros() || op.getRhsZeros();
    });
    for (ir::ContractOp op : contracts) {
      // Where this group's first element finds its block of an operand.
      auto place = [&](ArrayRef<int64_t> extentsOfBlock, bool isRhs) {
        Index element(index.begin(), index.begin() + numBatch);
        element.push_back(index[numBatch + (isRhs ? 1 : 0)]);
        element.push_back(index[numBatch + 2] * split);
        auto type = cast<RankedTensorType>(
            (isRhs ? op.getRhs() : op.getLhs()).getType());
        return blockIndex(operandIndex(op, isRhs, element),
                          normalizeBlock(type, extentsOfBlock));
      };
      // The product of the scales there are.
      Value factor;
      if (op.getLhsScales())
        factor =
            emitter.emitF32(op.getLhsScales(), place(*op.getLhsBlock(), false));
      if (op.getRhsScales()) {
        Value r =
            emitter.emitF32(op.getRhsScales(), place(*op.getRhsBlock(), true));
        factor = factor ? arith::MulFOp::create(b, op.getLoc(), factor, r) : r;
      }
      factors.push_back(factor ? factor : emitFloat(b, op.getLoc(), 1.0f));
      if (!corrected)
        continue;
      Value addend =
          arith::ConstantOp::create(b, op.getLoc(), b.getI32IntegerAttr(0));
      auto subtract = [&](Value zeros, ArrayRef<int64_t> zerosBlock, Value sums,
                          bool zerosAreRhs) {
        if (!zeros)
          return;
        auto type = cast<RankedTensorType>(
            (zerosAreRhs ? op.getLhs() : op.getRhs()).getType());
        SmallVector<int64_t> sumsBlock(type.getRank(), 1);
        sumsBlock[zerosAreRhs || op.getTransposeRhs() ? type.getRank() - 1
                                                      : type.getRank() - 2] =
            split;
        Value zero = emitter.emitI32(zeros, place(zerosBlock, zerosAreRhs));
        Value sum = emitter.emitI32(sums, place(sumsBlock, !zerosAreRhs));
        addend = arith::SubIOp::create(
            b, op.getLoc(), addend,
            arith::MulIOp::create(b, op.getLoc(), zero, sum));
      };
      if (op.getLhsZeros())
        subtract(op.getLhsZeros(), *op.getLhsBlock(), op.getRhsSums(), false);
      if (op.getRhsZeros())
        subtract(op.getRhsZeros(), *op.getRhsBlock(), op.getLhsSums(), true);
      addends.push_back(addend);
    }
    factors.append(addends);
    tile::YieldOp::create(b, first.getLoc(), factors);
  });
}

void ContractBuilder::fillEpilogue(Region &region, Type accumulator) {
  SmallVector<Type> accumulators(contracts.size(), accumulator);
  Block *block = addBlock(region, numBatch + 2, accumulators);
  auto shape = ArrayRef(extents).drop_back();
  emitter.withInner(block, bounds(shape), [&](const Index &index) {
    for (auto [t, op] : llvm::enumerate(contracts))
      emitter.define(op.getResult(), index,
                     block->getArgument(numBatch + 2 + t));
    auto yield = cast<ir::YieldOp>(group.getBody().front().getTerminator());
    for (auto [value, result] :
         llvm::zip_equal(yield.getValues(), group.getResults())) {
      Value scalar = emitter.emitStored(value, index);
      emitter.store(value.getLoc(), scalar, {result}, index);
    }
    tile::YieldOp::create(emitter.getBuilder(), first.getLoc(), ValueRange());
  });
}

LogicalResult ContractBuilder::run() {
  if (failed(collectTerms()))
    return failure();
  auto yield = cast<ir::YieldOp>(group.getBody().front().getTerminator());
  for (Value value : yield.getValues())
    if (auto type = dyn_cast<RankedTensorType>(value.getType());
        !type || getDims(type) != ArrayRef(extents).drop_back())
      return group.emitOpError("convert_quern_c2: gives a value whose shape "
                               "is not the product's");
  OpBuilder b(context);
  b.setInsertionPointToEnd(&scope.kernel.getBody().front());
  auto isUnsigned = [](Value value) {
    return cast<RankedTensorType>(value.getType())
        .getElementType()
        .isUnsignedInteger(8);
  };
  auto map = AffineMap::get(0, scope.numSymbols, extents, context);
  auto contract = tile::ContractOp::create(
      b, first.getLoc(), map, numBatch, lefts.size(), terms,
      isUnsigned(first.getLhs()), isUnsigned(first.getRhs()),
      first.getSplitAttr(), lefts.size() + rights.size());
  // Operands first, so that the kernel's arguments begin with them.
  unsigned next = 0;
  for (ir::ContractOp op : lefts)
    fillOperand(contract.getOperandRegions()[next++], op.getLhs(), op, false);
  for (ir::ContractOp op : rights)
    fillOperand(contract.getOperandRegions()[next++], op.getRhs(), op, true);
  if (first.getSplit())
    fillRescale(contract.getRescale());
  fillEpilogue(contract.getEpilogue(),
               first.getResult().getType().getElementType());
  return failure(emitter.failed());
}

LogicalResult conversion::buildContractKernel(KernelScope &scope,
                                              KernelOp group) {
  return ContractBuilder(scope, group).run();
}
