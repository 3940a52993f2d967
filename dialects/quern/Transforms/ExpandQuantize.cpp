//===- ExpandQuantize.cpp - quantize becomes reduce, scale, encode --------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "dialects/quern/Transforms/Passes.h"

#include "mlir/IR/Builders.h"

namespace quern::ir {
#define GEN_PASS_DEF_EXPANDQUANTIZE
#include "dialects/quern/Transforms/Passes.h.inc"
} // namespace quern::ir

using namespace mlir;
using namespace quern;
using namespace quern::ir;

namespace {

/// What a quantize op becomes. Everything made here is marked as its part.
class Expansion {
public:
  explicit Expansion(QuantizeOp op)
      : op(op), b(op), loc(op.getLoc()), type(op.getResult().getType()),
        f32(b.getF32Type()) {
    block.assign(type.getScale().getBlock().begin(),
                 type.getScale().getBlock().end());
    perBlock = getBlockType(op.getInput().getType(), block, f32);
  }

  Value run() {
    Value scales = op.getScale(), zeros = op.getZero();
    FloatAttr within;
    if (!scales) {
      within = boundOfQuotients();
      if (type.hasZeros())
        std::tie(scales, zeros) = scalesAndZeros();
      else
        scales = scaleOf(statistic());
    }
    Value codes =
        mark(EncodeOp::create(b, loc, type.getCodes(), op.getInput(), scales,
                              zeros, op.getQuantizer(), block, within));
    return MakeQTensorOp::create(b, loc, type, codes, scales, zeros);
  }

private:
  Value mark(Operation *made) {
    made->setAttr(partAttrName, b.getStringAttr("quantize"));
    return made->getResult(0);
  }
  Value constant(const APFloat &value) {
    return ConstantOp::create(b, loc, RankedTensorType::get({}, f32),
                              FloatAttr::get(f32, value));
  }

  /// The maxima of the blocks in f32. Whole leading axes: the maxima of rows,
  /// then their maximum.
  Value maxima(ReduceKind kind, Value input) {
    ArrayRef<int64_t> block = sampleBlock.empty() ? this->block : sampleBlock;
    SmallVector<int64_t> rows, rest;
    auto shape = cast<RankedTensorType>(input.getType());
    Type element =
        kind == ReduceKind::AbsMax ? Type(f32) : shape.getElementType();
    bool twoSteps = splitLeadingAxes(shape, block, rows, rest);
    if (twoSteps)
      input = mark(ReduceOp::create(b, loc, getBlockType(shape, rows, element),
                                    kind, input, rows));
    Value most =
        mark(ReduceOp::create(b, loc, getBlockType(shape, block, element), kind,
                              input, twoSteps ? rest : block));
    if (element != f32)
      most = mark(CastOp::create(b, loc, perBlock, most));
    return most;
  }

  /// What the scale is made of.
  Value statistic() {
    Quantizer quantizer = getQuantizer(op.getQuantizer(), type);
    Value input = op.getInput();
    switch (quantizer.statistic.kind) {
    case Statistic::Kind::AbsMax:
      break;
    case Statistic::Kind::Percentile:
      return mark(PercentileOp::create(
          b, loc, perBlock, input, APFloat(quantizer.statistic.tail()), block));
    case Statistic::Kind::Sampled:
      return maxima(ReduceKind::AbsMax, sample(quantizer.statistic.stride()));
    }
    return maxima(ReduceKind::AbsMax, input);
  }

  /// Every `stride`-th element along the last axis; `block` becomes that of
  /// the sample.
  Value sample(int64_t stride) {
    RankedTensorType whole = op.getInput().getType();
    SmallVector<AffineExpr> dims = getDims(whole);
    SmallVector<AffineExpr> offsets(dims.size(), b.getAffineConstantExpr(0));
    SmallVector<int64_t> strides(dims.size(), 1);
    strides.back() = stride;
    dims.back() = dims.back().ceilDiv(stride);
    unsigned symbols = getNumSymbols(whole);
    sampleBlock = block;
    if (block.back() != 0)
      sampleBlock.back() = block.back() / stride;
    return SliceOp::create(
        b, loc, getTensorType(dims, whole.getElementType(), symbols),
        op.getInput(),
        AffineMapAttr::get(AffineMap::get(0, symbols, offsets, b.getContext())),
        b.getDenseI64ArrayAttr(strides));
  }

  /// A scale from the absolute maximum, or the length of the range, exactly as
  /// docs/numerics.md writes it.
  Value scaleOf(Value range) {
    Quantizer quantizer = getQuantizer(op.getQuantizer(), type);
    Value scale =
        mark(DivOp::create(b, loc, perBlock, range,
                           constant(APFloat(quantizer.effectiveDivisor()))));
    scale = mark(MaxOp::create(b, loc, perBlock, scale,
                               constant(APFloat(quantizer.floor))));
    if (quantizer.scaleRounding != quern::ScaleRounding::Nearest)
      scale = mark(PowerOfTwoOp::create(
          b, loc, perBlock, op.getQuantizer().getScaleRounding(), scale,
          APFloat(quantizer.largestPower())));
    if (type.getScalesType() != perBlock)
      scale = mark(CastOp::create(b, loc, type.getScalesType(), scale));
    return scale;
  }

  /// How large x / s comes where s was made of the block's absolute maximum, or
  /// of its range with 0 in it, which is no smaller: no more than the divisor,
  /// but for the rounding of s, by less than 2^-8 of it where s is a normal
  /// number. A power of two may be held down by the largest one of its type.
  FloatAttr boundOfQuotients() {
    Quantizer quantizer = getQuantizer(op.getQuantizer(), type);
    // Beyond what codes reach a bound says nothing, and far beyond it quotients
    // overflow on the way.
    constexpr float largestBound = 0x1p16f;
    // Of a subnormal scale the rounding may be half.
    float smallestNormal =
        type.getScale().getType().isF16() ? 0x1p-14f : 0x1p-126f;
    if (quantizer.scaleRounding != quern::ScaleRounding::Nearest ||
        quantizer.statistic.kind != Statistic::Kind::AbsMax ||
        quantizer.floor < smallestNormal || quantizer.divisor > largestBound)
      return {};
    return b.getF32FloatAttr(quantizer.divisor * (1 + 0x1p-8f));
  }

  std::pair<Value, Value> scalesAndZeros() {
    QuantizerAttr quantizer = op.getQuantizer();
    Value zero = constant(APFloat(0.0f)), input = op.getInput();
    Value above = mark(
        MaxOp::create(b, loc, perBlock, maxima(ReduceKind::Max, input), zero));
    Value below =
        mark(NegOp::create(b, loc, perBlock, maxima(ReduceKind::Min, input)));
    below = mark(MaxOp::create(b, loc, perBlock, below, zero));
    Value scales = scaleOf(mark(AddOp::create(b, loc, perBlock, above, below)));
    Value stored = scales;
    if (type.getScalesType() != perBlock)
      stored = mark(CastOp::create(b, loc, perBlock, stored));
    Value steps = mark(DivOp::create(b, loc, perBlock, below, stored));
    Value point = mark(
        AddOp::create(b, loc, perBlock, steps, constant(quantizer.getQmin())));
    point = mark(
        MinOp::create(b, loc, perBlock, point, constant(quantizer.getQmax())));
    // The cast rounds half to even and takes NaN to 0.
    return {scales, mark(CastOp::create(b, loc, type.getZerosType(), point))};
  }

  QuantizeOp op;
  OpBuilder b;
  Location loc;
  QTensorType type;
  Type f32;
  SmallVector<int64_t> block, sampleBlock;
  RankedTensorType perBlock;
};

/// Counts of blocks that span leading axes: of rows first, as maxima are.
void splitCount(CountClippedOp op) {
  SmallVector<int64_t> rows, rest;
  RankedTensorType input = op.getInput().getType();
  if (!splitLeadingAxes(input, op.getBlock(), rows, rest))
    return;
  OpBuilder b(op);
  auto ofRows = CountClippedOp::create(
      b, op.getLoc(), getBlockType(input, rows, b.getI32Type()), op.getInput(),
      op.getScales(), Value(), op.getQuantizer(), op.getFloatCodes(),
      op.getScaleBlock(), rows);
  auto all = AddCountsOp::create(b, op.getLoc(), op.getResult().getType(),
                                 ofRows, op.getBefore(), rest);
  op.getResult().replaceAllUsesWith(all.getResult());
  op.erase();
}

struct ExpandQuantize : quern::ir::impl::ExpandQuantizeBase<ExpandQuantize> {
  void runOnOperation() override {
    SmallVector<QuantizeOp> ops;
    getOperation().walk([&](QuantizeOp op) { ops.push_back(op); });
    for (QuantizeOp op : ops) {
      Value joined = Expansion(op).run();
      op.getResult().replaceAllUsesWith(joined);
      op.erase();
    }
    SmallVector<CountClippedOp> counts;
    getOperation().walk([&](CountClippedOp op) { counts.push_back(op); });
    llvm::for_each(counts, splitCount);
    // Later passes see codes and scales directly.
    getOperation().walk([](Operation *op) {
      Value source;
      if (auto codes = dyn_cast<CodesOp>(op)) {
        if (auto made = codes.getInput().getDefiningOp<MakeQTensorOp>())
          source = made.getCodes();
      } else if (auto scales = dyn_cast<ScalesOp>(op)) {
        if (auto made = scales.getInput().getDefiningOp<MakeQTensorOp>())
          source = made.getScales();
      } else if (auto zeros = dyn_cast<ZerosOp>(op)) {
        if (auto made = zeros.getInput().getDefiningOp<MakeQTensorOp>())
          source = made.getZeros();
      }
      if (!source)
        return;
      op->getResult(0).replaceAllUsesWith(source);
      op->erase();
    });
  }
};

} // namespace
