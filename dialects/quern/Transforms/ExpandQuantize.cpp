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

/// The scales of `op` from the absolute maxima of its blocks, exactly as
/// docs/numerics.md writes them.
Value computeScales(OpBuilder &b, QuantizeOp op, NamedAttribute part) {
  Location loc = op.getLoc();
  QTensorType type = op.getResult().getType();
  Type f32 = b.getF32Type();
  RankedTensorType maxima =
      getBlockType(op.getInput().getType(), type.getScale().getBlock(), f32);
  auto constant = [&](const APFloat &value) -> Value {
    return ConstantOp::create(b, loc, RankedTensorType::get({}, f32),
                              FloatAttr::get(f32, value));
  };
  auto mark = [&](Operation *made) {
    made->setAttr(part.getName(), part.getValue());
    return made->getResult(0);
  };
  Value input = op.getInput();
  SmallVector<int64_t> block(type.getScale().getBlock());
  // Whole leading axes: the maxima of rows, then their maximum.
  SmallVector<int64_t> rows(block), rest(block.size(), 1);
  bool twoSteps = false;
  for (size_t d = 0; d + 1 < block.size(); ++d) {
    AffineExpr length = getDims(op.getInput().getType())[d];
    if (block[d] != 0 || length == b.getAffineConstantExpr(1))
      continue;
    rows[d] = 1;
    rest[d] = 0;
    twoSteps = true;
  }
  if (twoSteps) {
    input = mark(ReduceOp::create(
        b, loc, getBlockType(op.getInput().getType(), rows, f32),
        ReduceKind::AbsMax, input, rows));
    block = rest;
  }
  Value amax =
      mark(ReduceOp::create(b, loc, maxima, ReduceKind::AbsMax, input, block));
  Value scale = mark(DivOp::create(b, loc, maxima, amax,
                                   constant(op.getQuantizer().getDivisor())));
  scale = mark(MaxOp::create(b, loc, maxima, scale,
                             constant(op.getQuantizer().getFloor())));
  if (type.getScalesType() != maxima)
    scale = mark(CastOp::create(b, loc, type.getScalesType(), scale));
  return scale;
}

struct ExpandQuantize : quern::ir::impl::ExpandQuantizeBase<ExpandQuantize> {
  void runOnOperation() override {
    SmallVector<QuantizeOp> ops;
    getOperation().walk([&](QuantizeOp op) { ops.push_back(op); });
    for (QuantizeOp op : ops) {
      OpBuilder b(op);
      QTensorType type = op.getResult().getType();
      NamedAttribute part(b.getStringAttr(partAttrName),
                          b.getStringAttr("quantize"));
      Value scales = op.getScale();
      if (!scales)
        scales = computeScales(b, op, part);
      auto codes = EncodeOp::create(b, op.getLoc(), type.getCodes(),
                                    op.getInput(), scales, op.getQuantizer(),
                                    type.getScale().getBlock());
      codes->setAttr(part.getName(), part.getValue());
      Value joined = MakeQTensorOp::create(b, op.getLoc(), type, codes, scales);
      op.getResult().replaceAllUsesWith(joined);
      op.erase();
    }
    // Later passes see codes and scales directly.
    getOperation().walk([](Operation *op) {
      Value source;
      if (auto codes = dyn_cast<CodesOp>(op)) {
        if (auto made = codes.getInput().getDefiningOp<MakeQTensorOp>())
          source = made.getCodes();
      } else if (auto scales = dyn_cast<ScalesOp>(op)) {
        if (auto made = scales.getInput().getDefiningOp<MakeQTensorOp>())
          source = made.getScales();
      }
      if (!source)
        return;
      op->getResult(0).replaceAllUsesWith(source);
      op->erase();
    });
  }
};

} // namespace
