//===- InferScalePlacement.cpp - Where each scale of a product goes -------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// The decision is arithmetic on block extents; this pass only writes it down,
// with its reason, for `quern explain`. HoistScales acts on the same function
// (getProductSplit).
//
//===----------------------------------------------------------------------===//

#include "dialects/quern/Transforms/Passes.h"

#include <fmt/format.h>

namespace quern::ir {
#define GEN_PASS_DEF_INFERSCALEPLACEMENT
#include "dialects/quern/Transforms/Passes.h.inc"
} // namespace quern::ir

using namespace mlir;
using namespace quern;
using namespace quern::ir;

namespace {

struct InferScalePlacement
    : quern::ir::impl::InferScalePlacementBase<InferScalePlacement> {
  LogicalResult place(MatmulOp op) {
    auto lhs = dyn_cast<QTensorType>(op.getLhs().getType());
    auto rhs = dyn_cast<QTensorType>(op.getRhs().getType());
    auto setPlacement = [&](bool isRhs, const std::string &text) {
      op->setAttr(isRhs ? "quern.rhs_placement" : "quern.lhs_placement",
                  StringAttr::get(&getContext(), text));
    };
    if (!lhs || !rhs) {
      if (lhs || rhs)
        setPlacement(bool(rhs),
                     "prologue: the other operand is not quantized, so this "
                     "one is dequantized as it is loaded");
      return success();
    }
    unsigned lhsK = lhs.getRank() - 1;
    unsigned rhsK = rhs.getRank() - (op.getTransposeRhs() ? 1 : 2);
    AffineExpr k = getDims(lhs.getCodes())[lhsK];
    int64_t maxK = getUpperBound(k, getOperation());
    ProductSplit split = getProductSplit(lhs, rhs, rhsK, maxK);
    int64_t exact = getExactSumBlock(lhs, rhs);
    if (split.isScaled() && split.split < 16) {
      int64_t block = std::max(lhs.getScale().getBlock()[lhsK],
                               rhs.getScale().getBlock()[rhsK]);
      if (block > exact && exact != 0)
        return op.emitOpError("quern_placement_c1: a scale block of ")
               << block << " elements along the contracted axis is longer than "
               << "an exact i32 sum of " << exact
               << " products, and has no divisor of at least 16 to cut it by; "
                  "use blocks that are a multiple of 16";
    }
    auto describe = [&](QTensorType type, unsigned dim,
                        bool varies) -> std::string {
      if (varies)
        return fmt::format("split({}): the scale varies every {} elements of "
                           "the contracted axis",
                           split.split, type.getScale().getBlock()[dim]);
      std::string where =
          "epilogue: the scale does not vary along the contracted axis";
      if (split.split && !split.isScaled())
        where += fmt::format("; the sum is cut every {} products so that i32 "
                             "cannot overflow",
                             split.split);
      return where;
    };
    std::string corrected =
        "; zero points by sums of the other operand's codes, exactly";
    setPlacement(false, describe(lhs, lhsK, split.lhsVaries) +
                            (lhs.hasZeros() ? corrected : ""));
    setPlacement(true, describe(rhs, rhsK, split.rhsVaries) +
                           (rhs.hasZeros() ? corrected : ""));
    return success();
  }

  void runOnOperation() override {
    bool failedAny = false;
    getOperation().walk([&](MatmulOp op) { failedAny |= failed(place(op)); });
    if (failedAny)
      signalPassFailure();
  }
};

} // namespace
