//===- EmitPredicted.cpp - Scales that earlier calls predict --------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// `quantize(x, ..., predicted = amax)` encodes with a scale from what earlier
// calls saw, so that no reduction stands before the first code, and blends this
// call's absolute maximum into the state beside it. It is written out here in
// ops that exist anyhow: docs/numerics.md has the formulas, in this order.
//
//===----------------------------------------------------------------------===//

#include "compiler/frontend/LayerEmitter.h"

#include <fmt/format.h>

#include <limits>

using namespace mlir;
using namespace quern;
using namespace quern::frontend;

Value LayerEmitter::state(Place place, llvm::StringRef setting,
                          const Operand &operand, RankedTensorType wanted) {
  if (operand.isPoison())
    return {};
  Place where = at(operand, place);
  std::string shown = symbols.print(Type(wanted));
  const Inout *inout = operand.isNumber() ? nullptr : findInout(operand.name);
  if (!inout) {
    error(where,
          fmt::format("'{}' needs an inout parameter, found {}",
                      std::string_view(setting), show(operand)),
          {fmt::format("declare it among the layer's parameters: inout {}: {}",
                       setting == "predicted" ? "amax" : "count", shown)});
    return {};
  }
  if (inout->isUpdated) {
    refuseSecondUpdate(where, *inout);
    return {};
  }
  if (inout->type != wanted) {
    error(where,
          fmt::format("the granularity needs '{}' to be {}, found {}",
                      std::string_view(setting), shown, show(operand)),
          {"shape and element type must be those"});
    return {};
  }
  return operand.value;
}

Operand LayerEmitter::quantizePredicted(Place place, const Operand &x,
                                        ir::QTensorType quantized,
                                        const Quantizer &quantizer,
                                        const QuantizeSettings &settings) {
  const Operand &predicted = *settings.predicted;
  if (quantized.hasZeros())
    return error(at(predicted, place), "a predicted scale with zero points",
                 {"the state is one absolute maximum; write the codes' type "
                  "without zero points"});
  double decay = settings.decay ? settings.decay->value : 0.01;
  if (!(decay > 0 && decay <= 1))
    return error(settings.decay->place.line ? settings.decay->place : place,
                 fmt::format("a decay of {}", decay),
                 {"the share of the newest maximum is above 0 and at most 1"});
  llvm::ArrayRef<int64_t> block = quantized.getScale().getBlock();
  Type f32 = Float32Type::get(context);
  RankedTensorType codes = quantized.getCodes();
  RankedTensorType perBlock = ir::getBlockType(codes, block, f32);
  RankedTensorType counts =
      ir::getBlockType(codes, block, IntegerType::get(context, 32));
  Value before = state(place, "predicted", predicted, perBlock), countBefore;
  if (!before)
    return {};
  if (settings.clipped &&
      !(countBefore = state(place, "clipped", *settings.clipped, counts)))
    return {};

  Location where = loc(place);
  auto number = [&](float value) -> Value {
    return ir::ConstantOp::create(builder, where,
                                  RankedTensorType::get({}, f32),
                                  builder.getF32FloatAttr(value));
  };
  auto compare = [&](ir::ComparePredicate predicate, Value a,
                     Value b) -> Value {
    return ir::CompareOp::create(
        builder, where, type(ir::getDims(perBlock), builder.getI1Type()),
        predicate, a, b);
  };
  auto choose = [&](Value condition, Value yes, Value no) -> Value {
    return ir::SelectOp::create(builder, where, perBlock, condition, yes, no);
  };
  Value zero = number(0),
        infinity = number(std::numeric_limits<float>::infinity());

  // The scale, from the state alone. Without a history it is 1. What is said of
  // the history is said in two ways, a < b and b > a, so that the scale and the
  // new state share no value and neither kernel waits for the other's.
  auto ifHistory = [&](bool flipped, Value yes, Value no) {
    auto isLess = [&](Value a, Value b) {
      return flipped ? compare(ir::ComparePredicate::GT, b, a)
                     : compare(ir::ComparePredicate::LT, a, b);
    };
    Value inner = choose(isLess(before, infinity), yes, no);
    return choose(isLess(zero, before), inner, no);
  };
  Value divisor = number(quantizer.effectiveDivisor());
  Value scale = ir::DivOp::create(builder, where, perBlock,
                                  ifHistory(false, before, divisor), divisor);
  scale = ir::MaxOp::create(builder, where, perBlock, scale,
                            number(quantizer.floor));
  if (quantizer.scaleRounding != ScaleRounding::Nearest)
    scale = ir::PowerOfTwoOp::create(
        builder, where, perBlock,
        static_cast<ir::ScaleRounding>(quantizer.scaleRounding), scale,
        llvm::APFloat(quantizer.largestPower()));
  if (quantized.getScalesType() != perBlock)
    scale =
        ir::CastOp::create(builder, where, quantized.getScalesType(), scale);
  ir::QuantizerAttr recipe = ir::getQuantizerAttr(context, quantizer);
  auto result = ir::QuantizeOp::create(builder, where, quantized, x.value,
                                       scale, Value(), recipe);

  // What this call saw.
  auto tensor = cast<RankedTensorType>(x.value.getType());
  SmallVector<int64_t> rows, rest;
  Value current = x.value;
  bool twoSteps = ir::splitLeadingAxes(tensor, block, rows, rest);
  if (twoSteps)
    current = ir::ReduceOp::create(builder, where,
                                   ir::getBlockType(tensor, rows, f32),
                                   ir::ReduceKind::AbsMax, current, rows);
  current =
      ir::ReduceOp::create(builder, where, perBlock, ir::ReduceKind::AbsMax,
                           current, twoSteps ? ArrayRef<int64_t>(rest) : block);
  Value kept = ir::MulOp::create(builder, where, perBlock, before,
                                 number(static_cast<float>(1 - decay)));
  Value added = ir::MulOp::create(builder, where, perBlock, current,
                                  number(static_cast<float>(decay)));
  Value blended = ir::AddOp::create(builder, where, perBlock, kept, added);
  // A NaN or an infinity among the data leaves the state as it was.
  Value isNumber = compare(ir::ComparePredicate::LT, current, infinity);
  Value after = choose(isNumber, ifHistory(true, blended, current), before);
  update(at(predicted, place), predicted.name,
         Operand::ofValue(after, place, predicted.name));
  if (countBefore) {
    Value count = ir::CountClippedOp::create(
        builder, where, counts, x.value, scale, countBefore, recipe,
        isFloat(quantizer.codeType), block, block);
    update(at(*settings.clipped, place), settings.clipped->name,
           Operand::ofValue(count, place, settings.clipped->name));
  }
  return Operand::ofValue(result, place);
}
