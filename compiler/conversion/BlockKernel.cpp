//===- BlockKernel.cpp - Groups without a contraction ---------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/conversion/Kernels.h"
#include "dialects/quern/Transforms/Passes.h"

using namespace mlir;
using namespace quern;
using namespace quern::conversion;
using namespace quern::ir;

namespace {

/// Elements of the last axis one point of an element-wise kernel handles:
/// enough to hide the cost of a point, few enough to spread a single row.
constexpr int64_t elementwisePiece = 1024;

/// What the domain of a block kernel is: blocks of a tensor.
struct Anchor {
  RankedTensorType shape;
  SmallVector<int64_t> extents; ///< Normalised: 0 is the whole axis.
};

class BlockBuilder {
public:
  BlockBuilder(KernelScope &scope, Block *group, Location loc)
      : scope(scope), emitter(scope, group), loc(loc),
        context(loc.getContext()) {}

  /// Opens tile.blocks over the anchor's blocks.
  void open(const Anchor &anchor);
  /// Stores `value` under `key`: per element in a map when it has the anchor's
  /// shape, per block when it has the blocks' shape.
  LogicalResult storeAll(ArrayRef<std::pair<Value, BufferKey>> values);

  ElementEmitter &getEmitter() { return emitter; }
  const Index &getPoint() const { return point; }
  const Anchor &getAnchor() const { return anchor; }

private:
  KernelScope &scope;
  ElementEmitter emitter;
  Location loc;
  MLIRContext *context;
  Anchor anchor;
  Index point; ///< The block's index in the scale shape.
};

} // namespace

void BlockBuilder::open(const Anchor &given) {
  anchor = given;
  OpBuilder b(context);
  b.setInsertionPointToEnd(&scope.kernel.getBody().front());
  SmallVector<AffineExpr> domain;
  SmallVector<int64_t> bounds;
  for (auto [dim, extent] :
       llvm::zip_equal(getDims(anchor.shape), anchor.extents))
    if (extent != 0) {
      domain.push_back(
          simplifyAffineExpr(dim.ceilDiv(extent), 0, scope.numSymbols));
      auto constant = dyn_cast<AffineConstantExpr>(domain.back());
      bounds.push_back(constant ? constant.getValue() : 0);
    }
  auto map = AffineMap::get(0, scope.numSymbols, domain, context);
  auto blocks = tile::BlocksOp::create(b, loc, map);
  Block &body = blocks.getBody().emplaceBlock();
  for (size_t i = 0; i < domain.size(); ++i)
    body.addArgument(b.getIndexType(), loc);
  Index outer = emitter.openOuter(&body, bounds);
  size_t next = 0;
  for (int64_t extent : anchor.extents)
    point.push_back(extent == 0 ? getAffineConstantExpr(0, context)
                                : outer[next++]);
}

LogicalResult
BlockBuilder::storeAll(ArrayRef<std::pair<Value, BufferKey>> values) {
  SmallVector<AffineExpr> elements = getDims(anchor.shape);
  SmallVector<AffineExpr> blocks = getDims(getBlockType(
      anchor.shape, anchor.extents, anchor.shape.getElementType()));
  SmallVector<std::pair<Value, BufferKey>> perElement;
  for (auto &[value, key] : values) {
    SmallVector<AffineExpr> dims = getDims(conversion::getTensorType(key));
    if (dims == elements && dims != blocks) {
      perElement.push_back({value, key});
    } else if (dims == blocks) {
      emitter.atOuter([&, &value = value, &key = key] {
        Value scalar = emitter.emitStored(value, point);
        emitter.store(value.getLoc(), scalar, key, point);
      });
    } else {
      return emitError(value.getLoc(), "convert_quern_c2: a value of type ")
             << value.getType() << " is neither per element nor per block of "
             << anchor.shape;
    }
  }
  if (!perElement.empty())
    emitter.map(loc, anchor.shape, anchor.extents, point,
                [&](const Index &index) {
                  for (auto &[value, key] : perElement) {
                    Value scalar = emitter.emitStored(value, index);
                    emitter.store(value.getLoc(), scalar, key, index);
                  }
                });
  return failure(emitter.failed());
}

/// Rows, and pieces of the last axis where it may be long.
static Anchor getElementwiseAnchor(RankedTensorType shape) {
  SmallVector<int64_t> extents(shape.getRank(), 1);
  if (!extents.empty())
    extents.back() = elementwisePiece;
  return {shape, normalizeBlock(shape, extents)};
}

/// The blocks of the group's reductions; they agree, or the group was formed
/// wrongly and emission says so.
static std::optional<Anchor> getReductionAnchor(ir::KernelOp group) {
  for (Operation &op : group.getBody().front()) {
    if (auto reduce = dyn_cast<ir::ReduceOp>(op)) {
      RankedTensorType shape = reduce.getInput().getType();
      return Anchor{shape, normalizeBlock(shape, reduce.getBlock())};
    }
    if (auto sums = dyn_cast<SumCodesOp>(op)) {
      RankedTensorType shape = sums.getInput().getType();
      return Anchor{shape, normalizeBlock(shape, sums.getBlock())};
    }
    if (auto count = dyn_cast<CountClippedOp>(op)) {
      RankedTensorType shape = count.getInput().getType();
      return Anchor{shape, normalizeBlock(shape, count.getBlock())};
    }
    if (auto count = dyn_cast<AddCountsOp>(op)) {
      RankedTensorType shape = count.getInput().getType();
      return Anchor{shape, normalizeBlock(shape, count.getBlock())};
    }
    if (auto percentile = dyn_cast<PercentileOp>(op)) {
      RankedTensorType shape = percentile.getInput().getType();
      return Anchor{shape, normalizeBlock(shape, percentile.getBlock())};
    }
    if (isa<SoftmaxOp, RmsNormOp, LayerNormOp>(op)) {
      auto shape = cast<RankedTensorType>(op.getOperand(0).getType());
      SmallVector<int64_t> extents(shape.getRank(), 1);
      extents.back() = 0;
      return Anchor{shape, normalizeBlock(shape, extents)};
    }
  }
  return std::nullopt;
}

LogicalResult conversion::buildBlockKernel(KernelScope &scope,
                                           ir::KernelOp group) {
  Block &body = group.getBody().front();
  auto yield = cast<ir::YieldOp>(body.getTerminator());
  std::optional<Anchor> anchor = getReductionAnchor(group);
  if (!anchor)
    anchor = getElementwiseAnchor(
        cast<RankedTensorType>(yield.getValues()[0].getType()));
  BlockBuilder builder(scope, &body, group.getLoc());
  builder.open(*anchor);
  SmallVector<std::pair<Value, BufferKey>> values;
  for (auto [value, result] :
       llvm::zip_equal(yield.getValues(), group.getResults()))
    values.push_back({value, {result}});
  return builder.storeAll(values);
}

void conversion::buildCopyKernel(KernelScope &scope, const BufferKey &from,
                                 Location loc) {
  BlockBuilder builder(scope, nullptr, loc);
  builder.open(getElementwiseAnchor(conversion::getTensorType(from)));
  ElementEmitter &emitter = builder.getEmitter();
  Value source = scope.getBuffer(from, false);
  Value target =
      scope.kernel.getBody().front().addArgument(source.getType(), loc);
  emitter.map(loc, builder.getAnchor().shape, builder.getAnchor().extents,
              builder.getPoint(), [&](const Index &index) {
                emitter.storeBuffer(loc, emitter.loadBuffer(loc, from, index),
                                    target, index);
              });
}

LogicalResult conversion::buildConcatPart(KernelScope &scope,
                                          ir::KernelOp group, ConcatOp concat,
                                          unsigned input) {
  Value part = concat.getInputs()[input];
  AffineExpr offset = getAffineConstantExpr(0, group.getContext());
  for (Value before : concat.getInputs().take_front(input))
    offset =
        offset +
        getDims(cast<RankedTensorType>(before.getType()))[concat.getAxis()];
  BlockBuilder builder(scope, &group.getBody().front(), concat.getLoc());
  builder.open(getElementwiseAnchor(cast<RankedTensorType>(part.getType())));
  ElementEmitter &emitter = builder.getEmitter();
  emitter.map(
      concat.getLoc(), builder.getAnchor().shape, builder.getAnchor().extents,
      builder.getPoint(), [&](const Index &index) {
        Value scalar = emitter.emitStored(part, index);
        Index target(index);
        target[concat.getAxis()] = target[concat.getAxis()] + offset;
        emitter.store(concat.getLoc(), scalar, {group.getResult(0)}, target);
      });
  return failure(emitter.failed());
}

tile::NumericsClass conversion::getNumericsClass(ir::KernelOp group) {
  auto result = tile::NumericsClass::Exact;
  auto weaken = [&](tile::NumericsClass to) { result = std::max(result, to); };
  for (Operation &op : group.getBody().front()) {
    if (auto contract = dyn_cast<ir::ContractOp>(op)) {
      if (!contract.getLhs().getType().getElementType().isInteger(8))
        weaken(tile::NumericsClass::Bounded);
    } else if (auto reduce = dyn_cast<ir::ReduceOp>(op)) {
      if (reduce.getKind() == ir::ReduceKind::Sum ||
          reduce.getKind() == ir::ReduceKind::Mean)
        weaken(tile::NumericsClass::Ordered);
    } else if (isa<SoftmaxOp, RmsNormOp, LayerNormOp>(op)) {
      weaken(tile::NumericsClass::Ordered);
    }
  }
  return result;
}

LogicalResult conversion::verifyRank(Value value) {
  RankedTensorType type;
  if (auto quantized = dyn_cast<QTensorType>(value.getType()))
    type = quantized.getCodes();
  else
    type = cast<RankedTensorType>(value.getType());
  if (!getDType(type.getElementType()))
    return emitError(value.getLoc(), "convert_quern_c5: a tensor of ")
           << type.getElementType() << ", which no buffer holds";
  if (type.getRank() <= 6)
    return success();
  return emitError(value.getLoc(), "convert_quern_c5: a tensor of rank ")
         << type.getRank() << "; buffers have 6 dimensions at most";
}
