//===- QuernOps.cpp - Verifiers and folds of the quern dialect ------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Every message starts with the label of the law it enforces; the laws stand
// in QuernOps.td.
//
//===----------------------------------------------------------------------===//

#include "dialects/quern/IR/Quern.h"

#include "mlir/IR/Builders.h"

using namespace mlir;
using namespace quern;
using namespace quern::ir;

#define GET_OP_CLASSES
#include "dialects/quern/IR/QuernOps.cpp.inc"

//===----------------------------------------------------------------------===//
// Shapes
//===----------------------------------------------------------------------===//

/// The tensor an operand of a product stands for, whatever its encoding.
static RankedTensorType getPlainType(Type type) {
  if (auto quantized = dyn_cast<QTensorType>(type))
    return quantized.getCodes();
  return cast<RankedTensorType>(type);
}

static std::string toText(AffineExpr expr) {
  std::string text;
  llvm::raw_string_ostream(text) << expr;
  return text;
}

static bool sameShape(RankedTensorType a, RankedTensorType b) {
  return getDims(a) == getDims(b);
}

/// True when `from` broadcasts to `to`: aligned at the right, each extent of
/// `from` is 1 or equal.
static bool broadcastsTo(RankedTensorType from, RankedTensorType to) {
  SmallVector<AffineExpr> source = getDims(from), target = getDims(to);
  if (source.size() > target.size())
    return false;
  size_t skip = target.size() - source.size();
  for (auto [i, dim] : llvm::enumerate(source)) {
    auto constant = dyn_cast<AffineConstantExpr>(dim);
    if (dim != target[skip + i] && !(constant && constant.getValue() == 1))
      return false;
  }
  return true;
}

LogicalResult quern::ir::verifyBroadcast(Operation *op) {
  auto result = cast<RankedTensorType>(op->getResult(0).getType());
  for (auto [i, operand] : llvm::enumerate(op->getOperandTypes()))
    if (!broadcastsTo(cast<RankedTensorType>(operand), result))
      return op->emitOpError("quern_elementwise_c1: operand ")
             << i << " of type " << operand << " does not broadcast to "
             << result;
  return success();
}

/// quern_elementwise_c2 from the operand `first` on.
static LogicalResult verifyElementTypes(Operation *op, unsigned first) {
  auto result = cast<RankedTensorType>(op->getResult(0).getType());
  for (unsigned i = first; i < op->getNumOperands(); ++i) {
    auto type = cast<RankedTensorType>(op->getOperand(i).getType());
    if (type.getElementType() != result.getElementType())
      return op->emitOpError("quern_elementwise_c2: operand ")
             << i << " has element type " << type.getElementType()
             << ", the result " << result.getElementType();
  }
  return success();
}

LogicalResult quern::ir::verifySameElementType(Operation *op) {
  return verifyElementTypes(op, 0);
}

LogicalResult CompareOp::verify() {
  if (!getResult().getType().getElementType().isInteger(1))
    return emitOpError("quern_compare_c1: the result must be i1");
  if (getLhs().getType().getElementType() !=
      getRhs().getType().getElementType())
    return emitOpError("quern_elementwise_c2: comparing ")
           << getLhs().getType().getElementType() << " with "
           << getRhs().getType().getElementType();
  return success();
}

LogicalResult SelectOp::verify() {
  if (!getCondition().getType().getElementType().isInteger(1))
    return emitOpError("quern_select_c1: the condition must be i1");
  return verifyElementTypes(*this, /*first=*/1);
}

LogicalResult ConstantOp::verify() {
  RankedTensorType type = getResult().getType();
  if (type.getRank() != 0 || getValue().getType() != type.getElementType())
    return emitOpError("quern_constant_c1: a value of type ")
           << getValue().getType() << " for a result of type " << type;
  return success();
}

//===----------------------------------------------------------------------===//
// Products
//===----------------------------------------------------------------------===//

/// The shape laws matmul and contract share, under the given op's label.
static LogicalResult verifyProductShapes(Operation *op, StringRef label,
                                         RankedTensorType lhs,
                                         RankedTensorType rhs,
                                         bool transposeRhs,
                                         RankedTensorType result) {
  if (lhs.getRank() < 2 || rhs.getRank() < 2 || lhs.getRank() < rhs.getRank())
    return op->emitOpError(label)
           << "_c1: ranks " << lhs.getRank() << " and " << rhs.getRank()
           << "; both must be at least 2, and the left one not the smaller";
  SmallVector<AffineExpr> l = getDims(lhs), r = getDims(rhs);
  AffineExpr n = transposeRhs ? r[r.size() - 2] : r.back();
  AffineExpr k = transposeRhs ? r.back() : r[r.size() - 2];
  if (l.back() != k)
    return op->emitOpError(label)
           << "_c2: the left operand contracts " << toText(l.back())
           << " elements, the right one " << toText(k);
  ArrayRef<AffineExpr> batch = ArrayRef(l).drop_back(2);
  if (rhs.getRank() != 2 && ArrayRef(r).drop_back(2) != batch)
    return op->emitOpError(label)
           << "_c3: batch extents of " << lhs << " and " << rhs << " differ";
  SmallVector<AffineExpr> expected(batch);
  expected.append({l[l.size() - 2], n});
  if (getDims(result) != expected)
    return op->emitOpError(label) << "_c4: the result has type " << result
                                  << ", which is not the product's shape";
  return success();
}

LogicalResult MatmulOp::verify() {
  RankedTensorType lhs = getPlainType(getLhs().getType());
  RankedTensorType rhs = getPlainType(getRhs().getType());
  RankedTensorType result = getResult().getType();
  if (failed(verifyProductShapes(*this, "quern_matmul", lhs, rhs,
                                 getTransposeRhs(), result)))
    return failure();
  if (!result.getElementType().isF32())
    return emitOpError("quern_matmul_c4: the result is f32, not ")
           << result.getElementType();
  auto lhsQ = dyn_cast<QTensorType>(getLhs().getType());
  auto rhsQ = dyn_cast<QTensorType>(getRhs().getType());
  if (!lhsQ && !rhsQ && lhs.getElementType() != rhs.getElementType())
    return emitOpError("quern_matmul_c8: element types ")
           << lhs.getElementType() << " and " << rhs.getElementType();
  if (lhsQ && rhsQ &&
      isa<FloatType>(lhs.getElementType()) !=
          isa<FloatType>(rhs.getElementType()))
    return emitOpError("quern_matmul_c5: codes ")
           << lhs.getElementType() << " and " << rhs.getElementType()
           << "; both must be integer or both float";

  // Scales along the contracted axis: the last of the left operand, the last
  // or last but one of the right.
  AffineExpr k = getDims(lhs).back();
  auto extentAlongK = [&](QTensorType type, unsigned dim) -> int64_t {
    int64_t extent = type.getScale().getBlock()[dim];
    return coversAxis(extent, k) ? 0 : extent;
  };
  int64_t extents[2] = {0, 0};
  if (lhsQ && rhsQ) {
    extents[0] = extentAlongK(lhsQ, lhs.getRank() - 1);
    extents[1] =
        extentAlongK(rhsQ, rhs.getRank() - (getTransposeRhs() ? 1 : 2));
    for (auto [i, extent] : llvm::enumerate(extents))
      if (extent == 1)
        return emitOpError("quern_matmul_c6: the scale of the ")
               << (i ? "right" : "left")
               << " operand varies with every element of the contracted axis; "
                  "it can be neither applied after the product nor split off. "
                  "Fold it into the other operand, or dequantize first";
    int64_t small = std::min(extents[0], extents[1]);
    int64_t large = std::max(extents[0], extents[1]);
    if (small != 0 && large % small != 0)
      return emitOpError("quern_matmul_c7: scale blocks of ")
             << extents[0] << " and " << extents[1]
             << " along the contracted axis; one must be a multiple of the "
                "other";
  }
  return success();
}

LogicalResult SumCodesOp::verify() {
  RankedTensorType input = getInput().getType();
  auto isBlock = [&](ArrayRef<int64_t> block) {
    return static_cast<int64_t>(block.size()) == input.getRank() &&
           llvm::none_of(block, [](int64_t extent) { return extent < 0; });
  };
  if (!input.getElementType().isInteger(8) || !isBlock(getBlock()) ||
      getResult().getType() !=
          getBlockType(input, getBlock(), IntegerType::get(getContext(), 32)))
    return emitOpError("quern_sum_codes_c1: codes are i8 or ui8, and the "
                       "result is i32 with an element for each block");
  if (bool(getZeros()) != bool(getZerosBlock()))
    return emitOpError("quern_sum_codes_c2: zeros and their block map are "
                       "given together");
  if (!getZeros())
    return success();
  ArrayRef<int64_t> zeros = *getZerosBlock();
  if (!isBlock(zeros) || getZeros().getType() !=
                             getBlockType(input, zeros, input.getElementType()))
    return emitOpError("quern_sum_codes_c2: zeros of type ")
           << getZeros().getType() << " are not those of their block map";
  for (auto [whole, part] : llvm::zip_equal(zeros, getBlock()))
    if (whole != 0 && (part == 0 || whole % part != 0))
      return emitOpError("quern_sum_codes_c2: a block of ")
             << part << " holds parts of several blocks of " << whole
             << " with a zero each";
  return success();
}

LogicalResult CorrectZerosOp::verify() {
  auto element = [](Value value) {
    return cast<RankedTensorType>(value.getType()).getElementType();
  };
  if (!element(getAcc()).isInteger(32) || !element(getResult()).isInteger(32))
    return emitOpError("quern_correct_zeros_c1: accumulator and result are "
                       "i32");
  for (auto [zeros, sums] :
       {std::pair(getLhsZeros(), getRhsSums()), {getRhsZeros(), getLhsSums()}})
    if (bool(zeros) != bool(sums) || (zeros && (!element(zeros).isInteger(8) ||
                                                !element(sums).isInteger(32))))
      return emitOpError("quern_correct_zeros_c1: zeros, i8 or ui8, come with "
                         "the other operand's sums, i32");
  return success();
}

LogicalResult ContractOp::verify() {
  RankedTensorType lhs = getLhs().getType(), rhs = getRhs().getType();
  Type l = lhs.getElementType(), r = rhs.getElementType();
  bool integers = l.isInteger(8) && r.isInteger(8);
  if (!integers && (l != r || !isa<FloatType>(l)) &&
      !(isa<Float8E4M3FNType, Float8E5M2Type>(l) &&
        isa<Float8E4M3FNType, Float8E5M2Type>(r)))
    return emitOpError("quern_contract_c1: element types ")
           << l << " and " << r;
  Type expected = integers && !getSplit()
                      ? Type(IntegerType::get(getContext(), 32))
                      : Type(Float32Type::get(getContext()));
  if (getResult().getType().getElementType() != expected)
    return emitOpError("quern_contract_c2: the result must be ") << expected;
  if (failed(verifyProductShapes(*this, "quern_contract_c3: quern_matmul", lhs,
                                 rhs, getTransposeRhs(),
                                 getResult().getType())))
    return failure();
  bool corrected = getLhsZeros() || getRhsZeros();
  if (bool(getLhsBlock()) != (getLhsScales() || getLhsZeros()) ||
      bool(getRhsBlock()) != (getRhsScales() || getRhsZeros()))
    return emitOpError("quern_contract_c4: a block map is given for each "
                       "operand that has scales or zeros");
  if ((getLhsScales() || getRhsScales()) && !getSplit())
    return emitOpError("quern_contract_c4: scales come only with `split`");
  if (bool(getLhsZeros()) != bool(getRhsSums()) ||
      bool(getRhsZeros()) != bool(getLhsSums()) ||
      (corrected && (!getSplit() || !integers)))
    return emitOpError("quern_contract_c5: zeros come with the other operand's "
                       "sums, in split products of integers");
  if (getSplit() && *getSplit() < 1)
    return emitOpError("quern_contract_c4: split must be at least 1");
  unsigned lhsK = lhs.getRank() - 1;
  unsigned rhsK = rhs.getRank() - (getTransposeRhs() ? 1 : 2);
  // Absent scales and zeros are legal.
  auto legal = [&](RankedTensorType type, Value values,
                   std::optional<ArrayRef<int64_t>> block, unsigned k) {
    if (!values)
      return true;
    auto given = cast<RankedTensorType>(values.getType());
    return static_cast<int64_t>(block->size()) == type.getRank() &&
           (*block)[k] % *getSplit() == 0 &&
           given == getBlockType(type, *block, given.getElementType());
  };
  if (!legal(lhs, getLhsScales(), getLhsBlock(), lhsK) ||
      !legal(rhs, getRhsScales(), getRhsBlock(), rhsK))
    return emitOpError("quern_contract_c4: scales have the shape of their "
                       "block map, whose extent along the contracted axis is "
                       "0 or a multiple of the split");
  auto areSums = [&](Value sums, RankedTensorType type, unsigned k) {
    if (!sums)
      return true;
    SmallVector<int64_t> block(type.getRank(), 1);
    block[k] = *getSplit();
    return sums.getType() ==
           getBlockType(type, block, IntegerType::get(getContext(), 32));
  };
  if (!legal(lhs, getLhsZeros(), getLhsBlock(), lhsK) ||
      !legal(rhs, getRhsZeros(), getRhsBlock(), rhsK) ||
      !areSums(getRhsSums(), rhs, rhsK) || !areSums(getLhsSums(), lhs, lhsK))
    return emitOpError("quern_contract_c5: zeros have the shape of their "
                       "block map, and sums an i32 for each block of the "
                       "split");
  return success();
}

//===----------------------------------------------------------------------===//
// Reductions and row operations
//===----------------------------------------------------------------------===//

LogicalResult ReduceOp::verify() {
  RankedTensorType input = getInput().getType();
  if (static_cast<int64_t>(getBlock().size()) != input.getRank())
    return emitOpError("quern_reduce_c1: ")
           << getBlock().size() << " block extents for rank "
           << input.getRank();
  for (int64_t extent : getBlock())
    if (extent < 0)
      return emitOpError("quern_reduce_c1: negative block extent ") << extent;
  Type element = getKind() == ReduceKind::AbsMax
                     ? Type(Float32Type::get(getContext()))
                     : input.getElementType();
  RankedTensorType expected = getBlockType(input, getBlock(), element);
  if (getResult().getType() != expected)
    return emitOpError("quern_reduce_c1: the result must be ") << expected;
  return success();
}

LogicalResult SoftmaxOp::verify() {
  if (getInput().getType().getRank() < 1 ||
      !sameShape(getInput().getType(), getResult().getType()))
    return emitOpError("quern_softmax_c1: operand ")
           << getInput().getType() << ", result " << getResult().getType();
  return success();
}

/// A vector as long as the last axis of `input`.
static bool isLastAxisVector(RankedTensorType input, RankedTensorType vector) {
  return input.getRank() >= 1 && vector.getRank() == 1 &&
         getDims(vector)[0] == getDims(input).back();
}

LogicalResult RmsNormOp::verify() {
  if (!sameShape(getInput().getType(), getResult().getType()) ||
      !isLastAxisVector(getInput().getType(), getWeight().getType()))
    return emitOpError("quern_rmsnorm_c1: input ")
           << getInput().getType() << ", weight " << getWeight().getType();
  return success();
}

LogicalResult LayerNormOp::verify() {
  if (!sameShape(getInput().getType(), getResult().getType()) ||
      !isLastAxisVector(getInput().getType(), getWeight().getType()) ||
      !isLastAxisVector(getInput().getType(), getBias().getType()))
    return emitOpError("quern_layernorm_c1: input ")
           << getInput().getType() << ", weight " << getWeight().getType()
           << ", bias " << getBias().getType();
  return success();
}

//===----------------------------------------------------------------------===//
// Shape operations
//===----------------------------------------------------------------------===//

static bool sameElementType(RankedTensorType a, RankedTensorType b) {
  return a.getElementType() == b.getElementType();
}

LogicalResult ReshapeOp::verify() {
  RankedTensorType from = getInput().getType(), to = getResult().getType();
  bool equal = haveSameCount(getDims(from), getDims(to),
                             std::max(getNumSymbols(from), getNumSymbols(to)));
  if (!equal || !sameElementType(from, to))
    return emitOpError("quern_reshape_c1: ")
           << from << " and " << to << " hold different elements";
  return success();
}

LogicalResult TransposeOp::verify() {
  RankedTensorType from = getInput().getType(), to = getResult().getType();
  SmallVector<AffineExpr> source = getDims(from), target = getDims(to);
  ArrayRef<int64_t> permutation = getPermutation();
  SmallVector<bool> seen(source.size(), false);
  bool legal = permutation.size() == source.size() &&
               target.size() == source.size() && sameElementType(from, to);
  for (size_t i = 0; legal && i < permutation.size(); ++i) {
    int64_t p = permutation[i];
    legal = p >= 0 && p < from.getRank() && !seen[p] && target[i] == source[p];
    if (legal)
      seen[p] = true;
  }
  if (!legal)
    return emitOpError("quern_transpose_c1: ")
           << from << " to " << to << " is not that permutation";
  return success();
}

LogicalResult SliceOp::verify() {
  RankedTensorType from = getInput().getType(), to = getResult().getType();
  if (getOffsets().getNumResults() != from.getRank() ||
      static_cast<int64_t>(getStrides().size()) != from.getRank() ||
      to.getRank() != from.getRank() || !sameElementType(from, to) ||
      llvm::any_of(getStrides(), [](int64_t s) { return s < 1; }))
    return emitOpError("quern_slice_c1: one offset and one stride of at least "
                       "1 per dimension of ")
           << from;
  unsigned numSymbols =
      std::max(getNumSymbols(from), getOffsets().getNumSymbols());
  for (auto [offset, stride, extent, length] :
       llvm::zip_equal(getOffsets().getResults(), getStrides(), getDims(to),
                       getDims(from))) {
    // The last index read is offset + (extent - 1) * stride < length. Without
    // ranges only a constant difference proves it; the frontend, which knows
    // them, checks the rest.
    AffineExpr slack = simplifyAffineExpr(
        length - 1 - offset - (extent - 1) * stride, 0, numSymbols);
    auto constant = dyn_cast<AffineConstantExpr>(slack);
    auto start = dyn_cast<AffineConstantExpr>(offset);
    if ((constant && constant.getValue() < 0 &&
         !(isa<AffineConstantExpr>(extent) &&
           cast<AffineConstantExpr>(extent).getValue() == 0)) ||
        (start && start.getValue() < 0))
      return emitOpError("quern_slice_c2: reads outside an axis of ")
             << toText(length);
  }
  return success();
}

LogicalResult ConcatOp::verify() {
  RankedTensorType result = getResult().getType();
  int64_t axis = getAxis();
  if (axis < 0 || axis >= result.getRank() || getInputs().empty())
    return emitOpError("quern_concat_c1: axis ")
           << axis << " of a result of rank " << result.getRank();
  AffineExpr sum = getAffineConstantExpr(0, getContext());
  unsigned numSymbols = getNumSymbols(result);
  for (Value input : getInputs()) {
    auto type = cast<RankedTensorType>(input.getType());
    if (type.getRank() != result.getRank() || !sameElementType(type, result))
      return emitOpError("quern_concat_c1: ") << type << " into " << result;
    for (int64_t d = 0; d < result.getRank(); ++d)
      if (d != axis && getDims(type)[d] != getDims(result)[d])
        return emitOpError("quern_concat_c1: ") << type << " into " << result;
    sum = sum + getDims(type)[axis];
    numSymbols = std::max(numSymbols, getNumSymbols(type));
  }
  if (simplifyAffineExpr(sum, 0, numSymbols) != getDims(result)[axis])
    return emitOpError("quern_concat_c1: the extents along axis ")
           << axis << " do not add up to those of " << result;
  return success();
}

LogicalResult GatherOp::verify() {
  RankedTensorType table = getTable().getType(), result = getResult().getType();
  RankedTensorType indices = getIndices().getType();
  SmallVector<AffineExpr> expected = getDims(indices);
  if (table.getRank() >= 1)
    llvm::append_range(expected, ArrayRef(getDims(table)).drop_front());
  if (table.getRank() < 1 || !indices.getElementType().isInteger(32) ||
      getDims(result) != expected || !sameElementType(table, result))
    return emitOpError("quern_gather_c1: table ")
           << table << ", indices " << indices << ", result " << result;
  return success();
}
