//===- HoistScales.cpp - Scales move out of products ----------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// `sum_k (a_k s_a)(b_k s_b) = s_a s_b sum_k a_k b_k` where neither scale varies
// with k, and where one does, the other still leaves the sum; rounding makes
// the two sides differ, and quern.matmul *means* the right one (see its
// description), so this pass changes no bits.
//
//===----------------------------------------------------------------------===//

#include "dialects/quern/Transforms/Passes.h"

#include "mlir/IR/Builders.h"

#include <numeric>

namespace quern::ir {
#define GEN_PASS_DEF_HOISTSCALES
#include "dialects/quern/Transforms/Passes.h.inc"
} // namespace quern::ir

using namespace mlir;
using namespace quern;
using namespace quern::ir;

namespace {

/// Builds the replacement of one matmul.
struct Hoist {
  MatmulOp op;
  OpBuilder b;
  Location loc;
  unsigned numSymbols = 0;

  explicit Hoist(MatmulOp matmul)
      : op(matmul), b(matmul), loc(matmul.getLoc()),
        numSymbols(getNumSymbols(matmul.getResult().getType())) {}

  Value mark(Operation *made) {
    made->setAttr(partAttrName, b.getStringAttr("product"));
    return made->getResult(0);
  }

  Value castTo(Value value, Type element) {
    auto type = cast<RankedTensorType>(value.getType());
    if (type.getElementType() == element)
      return value;
    return mark(CastOp::create(
        b, loc, getTensorType(getDims(type), element, getNumSymbols(type)),
        value));
  }

  /// The zero points of each operand beside the other's sums of codes.
  struct Corrections {
    Value lhsZeros, rhsSums, rhsZeros, lhsSums;
    bool any() const { return lhsZeros || rhsZeros; }
  };

  /// Sums of codes over blocks of `split` along the contracted axis (0: all of
  /// it), less the zero points if `zeros` is given.
  Value sumCodes(Value codes, QTensorType type, unsigned contracted,
                 int64_t split, Value zeros) {
    SmallVector<int64_t> block(type.getRank(), 1);
    block[contracted] = split;
    // On an axis of one element a block of one is the whole axis.
    SmallVector<int64_t> ofZeros(type.getScale().getBlock());
    if (coversAxis(ofZeros[contracted], getDims(type.getCodes())[contracted]))
      ofZeros[contracted] = 0;
    return mark(SumCodesOp::create(
        b, loc, getBlockType(type.getCodes(), block, b.getI32Type()), codes,
        zeros, block,
        zeros ? b.getDenseI64ArrayAttr(ofZeros) : DenseI64ArrayAttr()));
  }

  ContractOp contract(Value lhs, Value rhs, Type element, int64_t split,
                      Value lhsScales = {}, Value rhsScales = {},
                      const Corrections &zeros = {},
                      ArrayRef<int64_t> lhsBlock = {},
                      ArrayRef<int64_t> rhsBlock = {}) {
    RankedTensorType shape = op.getResult().getType();
    auto mapOf = [&](Value scales, Value zeros, ArrayRef<int64_t> block) {
      return scales || zeros ? b.getDenseI64ArrayAttr(block)
                             : DenseI64ArrayAttr();
    };
    auto made = ContractOp::create(
        b, loc, getTensorType(getDims(shape), element, numSymbols), lhs, rhs,
        lhsScales, rhsScales, zeros.lhsZeros, zeros.rhsSums, zeros.rhsZeros,
        zeros.lhsSums, op.getTransposeRhs(),
        split ? b.getI64IntegerAttr(split) : IntegerAttr(),
        mapOf(lhsScales, zeros.lhsZeros, lhsBlock),
        mapOf(rhsScales, zeros.rhsZeros, rhsBlock));
    for (StringRef name : {"quern.lhs_placement", "quern.rhs_placement"})
      if (Attribute placement = op->getAttr(name))
        made->setAttr(name, placement);
    return made;
  }

  /// The scales of one operand, whose K extent is 1, as factors that broadcast
  /// against [..., M, N]: one per row for the left operand (N extent 1), one
  /// per column for the right one (M extent 1).
  Value factors(Value scales, QTensorType type, unsigned contracted,
                bool isRhs) {
    return spread(castTo(scales, b.getF32Type()), type,
                  type.getScale().getBlock(), contracted, isRhs);
  }

  /// The same for any values of `blocks` over the operand's shape.
  Value spread(Value value, QTensorType type, ArrayRef<int64_t> blocks,
               unsigned contracted, bool isRhs) {
    Type element = cast<RankedTensorType>(value.getType()).getElementType();
    SmallVector<AffineExpr> dims = getDims(type.getCodes());
    dims[contracted] = b.getAffineConstantExpr(1);
    SmallVector<int64_t> block(blocks);
    block[contracted] = 1;
    // Blocks of several rows (or batches) are repeated over them; one element
    // per axis or one for all of it broadcasts by itself.
    bool repeats = false;
    for (auto [d, extent] : llvm::enumerate(block)) {
      if (coversAxis(extent, dims[d])) {
        dims[d] = b.getAffineConstantExpr(1);
        extent = 1;
      }
      repeats |= extent > 1;
    }
    if (repeats)
      value = ExpandScalesOp::create(
          b, loc, getTensorType(dims, element, numSymbols), value, block);
    unsigned rank = type.getRank();
    if (isRhs && contracted == rank - 1 &&
        dims[rank - 2] != b.getAffineConstantExpr(1)) {
      SmallVector<int64_t> permutation(rank);
      std::iota(permutation.begin(), permutation.end(), 0);
      std::swap(permutation[rank - 1], permutation[rank - 2]);
      std::swap(dims[rank - 1], dims[rank - 2]);
      value = TransposeOp::create(
          b, loc, getTensorType(dims, element, numSymbols), value, permutation);
    }
    return value;
  }

  Value quantized(QTensorType lhs, QTensorType rhs) {
    Value lhsCodes =
        CodesOp::create(b, loc, lhs.getReadCodesType(), op.getLhs());
    Value lhsScales =
        ScalesOp::create(b, loc, lhs.getScalesType(), op.getLhs());
    Value rhsCodes =
        CodesOp::create(b, loc, rhs.getReadCodesType(), op.getRhs());
    Value rhsScales =
        ScalesOp::create(b, loc, rhs.getScalesType(), op.getRhs());
    unsigned lhsK = lhs.getRank() - 1;
    unsigned rhsK = rhs.getRank() - (op.getTransposeRhs() ? 1 : 2);
    AffineExpr k = getDims(lhs.getCodes())[lhsK];
    ProductSplit split = getProductSplit(
        lhs, rhs, rhsK, getUpperBound(k, op->getParentOfType<func::FuncOp>()));
    bool integers = isa<IntegerType>(lhs.getCodes().getElementType());
    Type element =
        integers && !split.split ? Type(b.getI32Type()) : Type(b.getF32Type());

    // sum (a - za)(b - zb) = sum ab - za sum (b - zb) - zb sum a
    Corrections zeros;
    Value rhsZeros;
    if (rhs.hasZeros())
      rhsZeros = ZerosOp::create(b, loc, rhs.getReadZerosType(), op.getRhs());
    if (lhs.hasZeros()) {
      zeros.lhsZeros =
          ZerosOp::create(b, loc, lhs.getReadZerosType(), op.getLhs());
      zeros.rhsSums = sumCodes(rhsCodes, rhs, rhsK, split.split, rhsZeros);
    }
    if (rhs.hasZeros()) {
      zeros.rhsZeros = rhsZeros;
      zeros.lhsSums = sumCodes(lhsCodes, lhs, lhsK, split.split, {});
    }

    // A block that covers a constant K does not vary along it.
    auto normalize = [&](QTensorType type, unsigned dim) {
      SmallVector<int64_t> block(type.getScale().getBlock());
      if (coversAxis(block[dim], k))
        block[dim] = 0;
      return block;
    };
    Value acc = split.split
                    ? contract(lhsCodes, rhsCodes, element, split.split,
                               split.lhsVaries ? lhsScales : Value(),
                               split.rhsVaries ? rhsScales : Value(), zeros,
                               normalize(lhs, lhsK), normalize(rhs, rhsK))
                    : contract(lhsCodes, rhsCodes, element, 0);
    if (!split.split && zeros.any()) {
      auto along = [&](Value value, QTensorType type, unsigned dim,
                       bool isRhs) {
        return value
                   ? spread(value, type, type.getScale().getBlock(), dim, isRhs)
                   : value;
      };
      auto sums = [&](Value value, QTensorType type, unsigned dim, bool isRhs) {
        return value
                   ? spread(value, type,
                            SmallVector<int64_t>(type.getRank(), 1), dim, isRhs)
                   : value;
      };
      acc = mark(CorrectZerosOp::create(b, loc, acc.getType(), acc,
                                        along(zeros.lhsZeros, lhs, lhsK, false),
                                        sums(zeros.rhsSums, rhs, rhsK, true),
                                        along(zeros.rhsZeros, rhs, rhsK, true),
                                        sums(zeros.lhsSums, lhs, lhsK, false)));
    }
    acc = castTo(acc, b.getF32Type());
    auto multiply = [&](Value scales, QTensorType type, unsigned dim,
                        bool isRhs) {
      acc = mark(MulOp::create(b, loc, op.getResult().getType(), acc,
                               factors(scales, type, dim, isRhs)));
    };
    if (!split.lhsVaries)
      multiply(lhsScales, lhs, lhsK, false);
    if (!split.rhsVaries)
      multiply(rhsScales, rhs, rhsK, true);
    return acc;
  }

  /// A plain operand of element type `element`.
  Value plain(Value operand, Type element) {
    if (auto type = dyn_cast<QTensorType>(operand.getType()))
      operand =
          mark(DequantizeOp::create(b, loc, type.getValueType(), operand));
    return castTo(operand, element);
  }

  Value run() {
    auto lhs = dyn_cast<QTensorType>(op.getLhs().getType());
    auto rhs = dyn_cast<QTensorType>(op.getRhs().getType());
    if (lhs && rhs)
      return quantized(lhs, rhs);
    Type element =
        cast<RankedTensorType>((lhs ? op.getRhs() : op.getLhs()).getType())
            .getElementType();
    return contract(plain(op.getLhs(), element), plain(op.getRhs(), element),
                    b.getF32Type(), 0);
  }
};

struct HoistScales : quern::ir::impl::HoistScalesBase<HoistScales> {
  void runOnOperation() override {
    SmallVector<MatmulOp> ops;
    getOperation().walk([&](MatmulOp op) { ops.push_back(op); });
    for (MatmulOp op : ops) {
      auto element = [](Type type) -> Type {
        if (auto quantized = dyn_cast<QTensorType>(type))
          return quantized.getCodes().getElementType();
        return cast<RankedTensorType>(type).getElementType();
      };
      for (Value operand : op->getOperands())
        if (!isa<QTensorType>(operand.getType()) &&
            !isa<FloatType>(element(operand.getType()))) {
          op.emitOpError("quern_hoist_c1: cannot multiply plain tensors of ")
              << element(operand.getType())
              << "; operands are quantized, or f16, bf16, f32 or 8-bit floats";
          return signalPassFailure();
        }
      Value result = Hoist(op).run();
      op.getResult().replaceAllUsesWith(result);
      op.erase();
    }
  }
};

} // namespace
