//===- QuantizationOps.cpp - Verifiers of quantization and its parts ------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "dialects/quern/IR/Quern.h"

using namespace mlir;
using namespace quern;
using namespace quern::ir;

static bool sameShape(RankedTensorType a, RankedTensorType b) {
  return getDims(a) == getDims(b);
}

LogicalResult QuantizeOp::verify() {
  RankedTensorType input = getInput().getType();
  QTensorType result = getResult().getType();
  if (result.getCodes() != result.getReadCodesType())
    return emitOpError("quern_quantize_c6: codes of ")
           << result.getCodes().getElementType() << " are not made, only read";
  if (!sameShape(input, result.getCodes()))
    return emitOpError("quern_quantize_c1: input ")
           << input << " and codes " << result.getCodes() << " differ in shape";
  Type type = input.getElementType();
  if (!type.isF16() && !type.isBF16() && !type.isF32())
    return emitOpError("quern_quantize_c2: the input is f16, bf16 or f32, not ")
           << type;
  if (getScale() && getScale().getType() != result.getScalesType())
    return emitOpError("quern_quantize_c3: the scale has type ")
           << getScale().getType() << ", the granularity needs "
           << result.getScalesType();
  if (bool(getZero()) != (getScale() && result.hasZeros()))
    return emitOpError("quern_quantize_c4: a zero point is given exactly where "
                       "a scale is and the result has zeros");
  if (getZero() && getZero().getType() != result.getZerosType())
    return emitOpError("quern_quantize_c4: the zero point has type ")
           << getZero().getType() << ", the granularity needs "
           << result.getZerosType();
  if (getQuantizer().getStatistic() == StatisticKind::AbsMax)
    return success();
  if (getScale() || result.hasZeros())
    return emitOpError("quern_quantize_c5: a statistic beside a given scale, "
                       "or with zeros");
  if (getQuantizer().getStatistic() != StatisticKind::Sampled)
    return success();
  ArrayRef<int64_t> block = result.getScale().getBlock();
  int64_t stride = getQuantizer().getStatisticParameter().convertToFloat();
  if (block.empty() || (block.back() != 0 && block.back() % stride != 0))
    return emitOpError("quern_quantize_c5: a sample with a stride of ")
           << stride << " of blocks that have "
           << (block.empty() ? 1 : block.back()) << " along the last axis";
  return success();
}

LogicalResult DequantizeOp::verify() {
  if (getResult().getType() != getInput().getType().getValueType())
    return emitOpError("quern_dequantize_c1: the result must be ")
           << getInput().getType().getValueType();
  return success();
}

LogicalResult MakeQTensorOp::verify() {
  QTensorType type = getResult().getType();
  if (type.getCodes() != type.getReadCodesType())
    return emitOpError("quern_make_qtensor_c2: codes of ")
           << type.getCodes().getElementType() << " are not made, only read";
  if (getCodes().getType() != type.getCodes() ||
      getScales().getType() != type.getScalesType())
    return emitOpError("quern_make_qtensor_c1: expected codes ")
           << type.getCodes() << " and scales " << type.getScalesType();
  if (bool(getZeros()) != type.hasZeros() ||
      (getZeros() && getZeros().getType() != type.getZerosType()))
    return emitOpError("quern_make_qtensor_c1: zeros are given exactly where "
                       "the result has them, and have its type");
  return success();
}

LogicalResult CodesOp::verify() {
  if (getResult().getType() != getInput().getType().getReadCodesType())
    return emitOpError("quern_codes_c1: the result must be ")
           << getInput().getType().getReadCodesType();
  return success();
}

OpFoldResult CodesOp::fold(FoldAdaptor) {
  if (auto made = getInput().getDefiningOp<MakeQTensorOp>())
    return made.getCodes();
  return {};
}

LogicalResult ScalesOp::verify() {
  if (getResult().getType() != getInput().getType().getScalesType())
    return emitOpError("quern_scales_c1: the result must be ")
           << getInput().getType().getScalesType();
  return success();
}

OpFoldResult ScalesOp::fold(FoldAdaptor) {
  if (auto made = getInput().getDefiningOp<MakeQTensorOp>())
    return made.getScales();
  return {};
}

LogicalResult ZerosOp::verify() {
  QTensorType type = getInput().getType();
  if (!type.hasZeros() || getResult().getType() != type.getReadZerosType())
    return emitOpError("quern_zeros_c1: the operand has ")
           << (type.hasZeros() ? "zeros of another type" : "no zeros");
  return success();
}

OpFoldResult ZerosOp::fold(FoldAdaptor) {
  if (auto made = getInput().getDefiningOp<MakeQTensorOp>())
    return made.getZeros();
  return {};
}

LogicalResult EncodeOp::verify() {
  RankedTensorType input = getInput().getType(), result = getResult().getType();
  Type from = input.getElementType(), to = result.getElementType();
  if (!sameShape(input, result))
    return emitOpError("quern_encode_c1: input ")
           << input << " and codes " << result << " differ in shape";
  if (!from.isF16() && !from.isBF16() && !from.isF32())
    return emitOpError("quern_encode_c1: the input is f16, bf16 or f32, not ")
           << from;
  if (!to.isSignlessInteger(8) && !to.isUnsignedInteger(8) &&
      !isa<Float8E4M3FNType, Float8E5M2Type>(to))
    return emitOpError("quern_encode_c1: codes are i8, ui8, f8E4M3FN or "
                       "f8E5M2, not ")
           << to;
  RankedTensorType scales = getScales().getType();
  Type scale = scales.getElementType();
  if (static_cast<int64_t>(getBlock().size()) != input.getRank() ||
      llvm::any_of(getBlock(), [](int64_t b) { return b < 0; }) ||
      scales != getBlockType(input, getBlock(), scale))
    return emitOpError("quern_encode_c2: ")
           << scales << " are not the scales of " << input
           << " under the given block";
  if (!scale.isF16() && !scale.isBF16() && !scale.isF32())
    return emitOpError("quern_encode_c2: scales are f32, f16 or bf16, not ")
           << scale;
  if (getZeros() &&
      (!to.isInteger(8) ||
       getZeros().getType() != getBlockType(input, getBlock(), to)))
    return emitOpError("quern_encode_c3: zeros have the scales' shape and the "
                       "type of the codes, which are integers");
  return success();
}

LogicalResult ExpandScalesOp::verify() {
  RankedTensorType input = getInput().getType(), result = getResult().getType();
  if (static_cast<int64_t>(getBlock().size()) != result.getRank() ||
      llvm::any_of(getBlock(), [](int64_t b) { return b < 0; }) ||
      input != getBlockType(result, getBlock(), result.getElementType()))
    return emitOpError("quern_expand_scales_c1: ")
           << input << " does not hold one element per block of " << result;
  return success();
}

//===----------------------------------------------------------------------===//
// Parts of a quantization
//===----------------------------------------------------------------------===//

/// i32 with an element for each block.
static bool isCount(RankedTensorType type, RankedTensorType of,
                    ArrayRef<int64_t> block) {
  return static_cast<int64_t>(block.size()) == of.getRank() &&
         llvm::none_of(block, [](int64_t extent) { return extent < 0; }) &&
         type ==
             getBlockType(of, block, IntegerType::get(type.getContext(), 32));
}

LogicalResult CountClippedOp::verify() {
  RankedTensorType input = getInput().getType(), scales = getScales().getType();
  auto isFloat = [](Type type) {
    return type.isF32() || type.isF16() || type.isBF16();
  };
  ArrayRef<int64_t> block = getScaleBlock();
  if (!isFloat(input.getElementType()) || !isFloat(scales.getElementType()) ||
      static_cast<int64_t>(block.size()) != input.getRank() ||
      llvm::any_of(block, [](int64_t extent) { return extent < 0; }) ||
      scales != getBlockType(input, block, scales.getElementType()))
    return emitOpError("quern_count_clipped_c1: ")
           << scales << " are not the scales of " << input
           << " under the given block";
  if (!isCount(getResult().getType(), input, getBlock()) ||
      (getBefore() && getBefore().getType() != Type(getResult().getType())))
    return emitOpError("quern_count_clipped_c2: counts are i32, with an "
                       "element for each block");
  return success();
}

LogicalResult PercentileOp::verify() {
  RankedTensorType input = getInput().getType(), result = getResult().getType();
  Type type = input.getElementType();
  if ((!type.isF32() && !type.isF16() && !type.isBF16()) ||
      static_cast<int64_t>(getBlock().size()) != input.getRank() ||
      llvm::any_of(getBlock(), [](int64_t extent) { return extent < 0; }) ||
      result != getBlockType(input, getBlock(), Float32Type::get(getContext())))
    return emitOpError("quern_percentile_c1: the input is f16, bf16 or f32, "
                       "the result f32 with an element for each block");
  float tail = getTail().convertToFloat();
  if (!(tail > 0 && tail <= 0.5f))
    return emitOpError("quern_percentile_c2: a tail of ")
           << tail << "; it is above 0 and at most 0.5";
  return success();
}

LogicalResult AddCountsOp::verify() {
  RankedTensorType input = getInput().getType();
  if (!input.getElementType().isInteger(32) ||
      !isCount(getResult().getType(), input, getBlock()) ||
      (getBefore() && getBefore().getType() != Type(getResult().getType())))
    return emitOpError("quern_add_counts_c1: counts are i32, with an element "
                       "for each block");
  return success();
}

LogicalResult PowerOfTwoOp::verify() {
  if (!getInput().getType().getElementType().isF32() ||
      !getResult().getType().getElementType().isF32())
    return emitOpError("quern_power_of_two_c1: operand and result are f32");
  if (getRounding() == ScaleRounding::Nearest)
    return emitOpError("quern_power_of_two_c2: the rounding is power_ceil, "
                       "power_floor or power_even");
  uint32_t bits = getMost().bitcastToAPInt().getZExtValue();
  if (bits == 0 || bits >= 0x7f800000u || (bits & 0x7fffffu) != 0)
    return emitOpError("quern_power_of_two_c3: `most` is ")
           << getMost().convertToFloat() << ", not a normal power of two";
  return success();
}
