//===- EmitProducts.cpp - Quantization and products -----------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// The laws of a product are quern_matmul_c1 to c8; here they are explained in
// the text's own words before an op exists.
//
//===----------------------------------------------------------------------===//

#include "compiler/frontend/LayerEmitter.h"

#include <fmt/format.h>

#include <cmath>
#include <limits>

using namespace mlir;
using namespace quern;
using namespace quern::frontend;

//===----------------------------------------------------------------------===//
// Quantization
//===----------------------------------------------------------------------===//

/// The range of the codes a type can hold.
static std::pair<double, double> codeRange(DType codes) {
  switch (codes) {
  case DType::U8:
    return {0, 255};
  case DType::F8E4M3:
    return {-448, 448};
  case DType::F8E5M2:
    return {-57344, 57344};
  default:
    return {-128, 127};
  }
}

std::optional<Quantizer>
LayerEmitter::recipe(Place place, ir::QTensorType type, bool isStatic,
                     const QuantizeSettings &settings) {
  DType codes = *getDType(type.getCodes().getElementType());
  DType scales = *getDType(type.getScale().getType());
  Quantizer q = Quantizer::defaultFor(codes, scales, type.hasZeros());
  auto [low, high] = codeRange(codes);
  auto refuse = [&](Place where, std::string message, std::string note) {
    error(where.line ? where : place, std::move(message), {std::move(note)});
    return std::nullopt;
  };
  for (const auto &[setting, what] :
       {std::pair(&settings.divisor, "divisor"), {&settings.floor, "floor"}}) {
    if (!*setting)
      continue;
    if (isStatic)
      return refuse((*setting)->place,
                    fmt::format("{} beside a given scale", what),
                    "a divisor and a floor make a scale from the data; with "
                    "scale = s the scale is s");
    double value = (*setting)->value;
    if (!(static_cast<float>(value) > 0) ||
        !std::isfinite(static_cast<float>(value)))
      return refuse((*setting)->place, fmt::format("a {} of {}", what, value),
                    fmt::format("a {} is a positive f32 number", what));
  }
  if (settings.floor) {
    // A smaller scale could round to zero in its type.
    if (static_cast<float>(settings.floor->value) < q.floor)
      return refuse(settings.floor->place,
                    fmt::format("a floor of {} for {} scales",
                                settings.floor->value, name(scales)),
                    fmt::format("a floor is at least the smallest normal "
                                "number of {}, {}",
                                name(scales), q.floor));
    // A larger one would round to an infinity.
    float largest = scales == DType::F16    ? 65504.0f
                    : scales == DType::BF16 ? 0x1.fep127f
                                            : std::numeric_limits<float>::max();
    if (static_cast<float>(settings.floor->value) > largest)
      return refuse(settings.floor->place,
                    fmt::format("a floor of {} for {} scales",
                                settings.floor->value, name(scales)),
                    fmt::format("a floor is at most the largest number of {}, "
                                "{}",
                                name(scales), largest));
    q.floor = static_cast<float>(settings.floor->value);
  }
  if (settings.divisor)
    q.divisor = static_cast<float>(settings.divisor->value);
  for (const auto &[setting, what, target] :
       {std::tuple(&settings.qmin, "qmin", &q.qmin),
        std::tuple(&settings.qmax, "qmax", &q.qmax)}) {
    if (!*setting)
      continue;
    double value = (*setting)->value;
    if (!(value >= low && value <= high) ||
        (!isFloat(codes) && value != std::floor(value)))
      return refuse((*setting)->place, fmt::format("{} = {}", what, value),
                    fmt::format("{} codes are {}from {} to {}", name(codes),
                                isFloat(codes) ? "" : "integers ", low, high));
    *target = static_cast<float>(value);
  }
  if (q.qmin > q.qmax)
    return refuse(settings.qmin ? settings.qmin->place : settings.qmax->place,
                  fmt::format("codes from {} to {}", q.qmin, q.qmax),
                  "qmin must not exceed qmax");
  if (settings.rounding) {
    if (isFloat(codes) && *settings.rounding != Rounding::HalfEven)
      return refuse(settings.roundingPlace,
                    fmt::format("this rounding for {} codes", name(codes)),
                    "float codes round half_even; the others are for i8 and "
                    "u8");
    q.rounding = *settings.rounding;
  }
  if (settings.scaleRounding) {
    if (isStatic)
      return refuse(settings.scaleRoundingPlace,
                    "a rounding of scales beside a given scale",
                    "with scale = s the scale is s as it stands");
    q.scaleRounding = *settings.scaleRounding;
  }
  if (settings.statistic && settings.statistic->kind != Statistic::Kind::AbsMax)
    if (!checkStatistic(place, type, isStatic, settings))
      return std::nullopt;
  q.statistic = settings.statistic.value_or(Statistic());
  return q;
}

bool LayerEmitter::checkStatistic(Place place, ir::QTensorType type,
                                  bool isStatic,
                                  const QuantizeSettings &settings) {
  const Statistic &statistic = *settings.statistic;
  float parameter = statistic.parameter;
  auto refuse = [&](std::string message, std::string note) {
    error(settings.statisticPlace.line ? settings.statisticPlace : place,
          std::move(message), {std::move(note)});
    return false;
  };
  if (isStatic)
    return refuse("a statistic beside a given scale",
                  "with scale = s nothing is asked of the data");
  if (settings.predicted)
    return refuse("a statistic beside a predicted scale",
                  "the state is blended with the absolute maximum");
  if (type.hasZeros())
    return refuse("a statistic with zero points",
                  "percentile and sampled are of magnitudes; write the codes' "
                  "type without zero points");
  if (statistic.kind == Statistic::Kind::Percentile) {
    if (!(parameter >= Statistic::leastPercentile &&
          parameter <= Statistic::mostPercentile))
      return refuse(fmt::format("a percentile of {}", parameter),
                    "a percentile is from 50 to 99.9999; without a statistic "
                    "no element is left out");
    return true;
  }
  if (!(parameter >= 2 && parameter <= 65536 &&
        parameter == std::floor(parameter)))
    return refuse(fmt::format("a sample with a stride of {}", parameter),
                  "the stride is an integer from 2 to 65536");
  llvm::ArrayRef<int64_t> block = type.getScale().getBlock();
  int64_t last = block.empty() ? 1 : block.back();
  if (last != 0 && last % statistic.stride() != 0)
    return refuse(fmt::format("a sample with a stride of {} of blocks that "
                              "have {} along the last axis",
                              statistic.stride(), last),
                  "the stride divides that extent, or the block spans the "
                  "axis");
  return true;
}

Operand LayerEmitter::quantize(Place place, Operand x, Type type,
                               Place typePlace, std::optional<Operand> scale,
                               std::optional<Operand> zero,
                               const QuantizeSettings &settings) {
  RankedTensorType input = plainFloat(place, "'quantize'", x);
  auto quantized = llvm::dyn_cast_or_null<ir::QTensorType>(type);
  if (!input || !quantized || (scale && scale->isPoison()) ||
      (zero && zero->isPoison()))
    return {};
  if (quantized.getCodes() != quantized.getReadCodesType())
    return error(typePlace.line ? typePlace : place,
                 fmt::format("quantize to {}", symbols.print(type)),
                 {"codes of four bits are parameters' alone: quantize makes "
                  "i8, u8, f8e4m3 and f8e5m2"});
  if (ir::getDims(input) != ir::getDims(quantized.getCodes()))
    return error(
        typePlace.line ? typePlace : place,
        fmt::format("quantize to {}, found {}", symbols.print(type), show(x)),
        {"the codes have the shape of what is quantized"});
  std::optional<Quantizer> quantizer =
      recipe(place, quantized, scale.has_value(), settings);
  if (!quantizer)
    return {};
  if (settings.predicted && scale)
    return error(at(*settings.predicted, place),
                 "a predicted scale beside a given one",
                 {"give scale = s, or predicted = amax"});
  for (const auto &[given, what, where] :
       {std::tuple(settings.clipped.has_value(), "clipped",
                   settings.clipped ? settings.clipped->place : Place()),
        {settings.decay.has_value(), "decay",
         settings.decay ? settings.decay->place : Place()}})
    if (given && !settings.predicted)
      return error(where.line ? where : place,
                   fmt::format("'{}' without 'predicted'", what),
                   {"write predicted = amax, where amax is an inout parameter "
                    "that keeps the statistic between calls"});
  if (settings.predicted)
    return quantizePredicted(place, x, quantized, *quantizer, settings);
  if (zero && !quantized.hasZeros())
    return error(at(*zero, place), "a zero point for codes without one",
                 {"write the codes' type as (u8 - u8) per token"});
  if (quantized.hasZeros() && scale.has_value() != zero.has_value())
    return error(place,
                 scale ? "a scale without a zero point"
                       : "a zero point without a scale",
                 {"give both, scale = s, zero = z, or neither"});
  Value scaleValue, zeroValue;
  if (scale &&
      !(scaleValue = given(place, "scale", *scale, quantized.getScalesType())))
    return {};
  if (zero && !(zeroValue = given(place, "zero point", *zero,
                                  quantized.getZerosType())))
    return {};
  return Operand::ofValue(
      ir::QuantizeOp::create(builder, loc(place), quantized, x.value,
                             scaleValue, zeroValue,
                             ir::getQuantizerAttr(context, *quantizer)),
      place);
}

Value LayerEmitter::given(Place place, llvm::StringRef what,
                          const Operand &operand, RankedTensorType wanted) {
  std::string shown = symbols.print(Type(wanted));
  if (operand.isNumber())
    error(at(operand, place),
          fmt::format("the {} is {}, found {}", std::string_view(what), shown,
                      show(operand)),
          {fmt::format("declare a parameter: s: {}", shown)});
  else if (operand.value.getType() != wanted)
    error(at(operand, place),
          fmt::format("the granularity needs a {} of type {}, found {}",
                      std::string_view(what), shown, show(operand)),
          {"shape and element type must be those"});
  else
    return operand.value;
  return {};
}

Operand LayerEmitter::dequantize(Place place, Operand x) {
  if (x.isPoison())
    return {};
  auto quantized = x.isNumber() ? ir::QTensorType()
                                : dyn_cast<ir::QTensorType>(x.value.getType());
  if (!quantized)
    return error(
        at(x, place),
        fmt::format("'dequantize' needs a quantized value, found {}", show(x)),
        {"only a value of a type such as i8[M, 64] * f32[M, 1] has "
         "codes"});
  return Operand::ofValue(ir::DequantizeOp::create(builder, loc(place),
                                                   quantized.getValueType(),
                                                   x.value),
                          place);
}

//===----------------------------------------------------------------------===//
// Products
//===----------------------------------------------------------------------===//

static RankedTensorType shapeOf(const Operand &operand) {
  if (auto quantized = dyn_cast<ir::QTensorType>(operand.value.getType()))
    return quantized.getCodes();
  return cast<RankedTensorType>(operand.value.getType());
}

static bool isQuantized(const Operand &operand) {
  return isa<ir::QTensorType>(operand.value.getType());
}

bool LayerEmitter::checkProductShapes(Place place, const Operand &lhs,
                                      const Operand &rhs, bool transposeRhs) {
  auto l = ir::getDims(shapeOf(lhs)), r = ir::getDims(shapeOf(rhs));
  auto refuse = [&](std::string message, std::string note) {
    error(place, std::move(message), {std::move(note)});
    return false;
  };
  if (l.size() < 2 || r.size() < 2)
    return refuse(fmt::format("'@' needs tensors of rank 2 or more: {}, and {}",
                              show(lhs), show(rhs)),
                  "give a vector a second axis: reshape(v, [1, 64])");
  if (l.size() < r.size())
    return refuse(
        fmt::format("the right operand of '@' has more batch dimensions than "
                    "the left: {}, and {}",
                    show(lhs), show(rhs)),
        "only a right operand of rank 2 is shared by all batches");
  AffineExpr k = transposeRhs ? r.back() : r[r.size() - 2];
  AffineExpr n = transposeRhs ? r[r.size() - 2] : r.back();
  if (l.back() != k) {
    std::string note =
        "the last axis of the left operand is summed with the last but one "
        "of the right";
    if (l.back() == n)
      note = transposeRhs
                 ? fmt::format("without .T the extents would agree: {}",
                               rhs.name.empty() ? "x @ w" : rhs.name)
                 : fmt::format("with .T on the right operand the extents "
                               "would agree: {}.T",
                               rhs.name.empty() ? "(...)" : rhs.name);
    else if (transposeRhs)
      note = "with .T on the right operand both last axes are summed over";
    return refuse(fmt::format("'@' contracts {} elements of the left operand "
                              "with {} of the right: {}, and {}{}",
                              symbols.print(l.back()), symbols.print(k),
                              show(lhs), show(rhs),
                              transposeRhs ? ", transposed" : ""),
                  std::move(note));
  }
  if (r.size() != 2 && ArrayRef(l).drop_back(2) != ArrayRef(r).drop_back(2))
    return refuse(
        fmt::format("the batch dimensions of '@' differ: {} on the left, {} "
                    "on the right",
                    symbols.printShape(ArrayRef(l).drop_back(2)),
                    symbols.printShape(ArrayRef(r).drop_back(2))),
        "all but the last two extents must be equal, or the right operand "
        "has rank 2");
  return true;
}

/// quern_matmul_c5 to c7, for two quantized operands.
bool LayerEmitter::checkScales(Place place, const Operand &lhs,
                               const Operand &rhs, bool transposeRhs) {
  RankedTensorType l = shapeOf(lhs), r = shapeOf(rhs);
  auto refuse = [&](Place where, std::string message, std::string note) {
    error(where, std::move(message), {std::move(note)});
    return false;
  };
  if (isa<FloatType>(l.getElementType()) != isa<FloatType>(r.getElementType()))
    return refuse(
        place,
        fmt::format("'@' of integer and float codes: {}, and {}", show(lhs),
                    show(rhs)),
        "quantize both to integer codes (i8, u8, i4, u4) or both to float "
        "codes (f8e4m3, f8e5m2)");
  AffineExpr k = ir::getDims(l).back();
  auto length = dyn_cast<AffineConstantExpr>(k);
  auto extent = [&](const Operand &operand, int64_t dim) -> int64_t {
    int64_t e = cast<ir::QTensorType>(operand.value.getType())
                    .getScale()
                    .getBlock()[dim];
    return length && e >= length.getValue() ? 0 : e;
  };
  int64_t left = extent(lhs, l.getRank() - 1);
  int64_t right = extent(rhs, r.getRank() - (transposeRhs ? 1 : 2));
  for (auto [operand, e, side] :
       {std::tuple(&lhs, left, "left"), std::tuple(&rhs, right, "right")})
    if (e == 1)
      return refuse(
          at(*operand, place),
          fmt::format("the scale of the {} operand varies with every element "
                      "of the axis of {} that '@' sums over: {}",
                      side, symbols.print(k), show(*operand)),
          "such a scale can be neither applied after the sum nor split off "
          "it; use one scale per row or per group along that axis, fold the "
          "scale into the other operand before quantizing it, or write "
          "dequantize(...)");
  int64_t small = std::min(left, right), large = std::max(left, right);
  if (small != 0 && large % small != 0)
    return refuse(place,
                  fmt::format("the scales of '@' are constant over {} and {} "
                              "elements of the axis that is summed: {}, and "
                              "{}",
                              left, right, show(lhs), show(rhs)),
                  "one block must be a multiple of the other, so that the sum "
                  "splits into parts with one pair of scales each");
  return true;
}

Operand LayerEmitter::matmul(Place place, Operand lhs, Operand rhs,
                             bool transposeRhs) {
  if (lhs.isPoison() || rhs.isPoison())
    return {};
  for (const Operand &operand : {lhs, rhs})
    if (operand.isNumber())
      return error(at(operand, place),
                   fmt::format("'@' needs tensors, found {}", show(operand)),
                   {"multiply by a number with '*'"});
  for (const Operand &operand : {lhs, rhs})
    if (!isQuantized(operand)) {
      Type element = shapeOf(operand).getElementType();
      if (!isa<FloatType>(element))
        return error(at(operand, place),
                     fmt::format("'@' of a plain {} tensor: {}",
                                 name(*getDType(element)), show(operand)),
                     {"codes need their scales: declare i8[N, K] * f32[N, 1], "
                      "or convert: x as f32"});
    }
  if (!checkProductShapes(place, lhs, rhs, transposeRhs))
    return {};
  bool l = isQuantized(lhs), r = isQuantized(rhs);
  if (l && r) {
    if (!checkScales(place, lhs, rhs, transposeRhs))
      return {};
  } else if (l || r) {
    const Operand &other = l ? rhs : lhs;
    if (!plainFloat(place, "'@' with a quantized operand", other))
      return {};
  } else if (Type a = shapeOf(lhs).getElementType(),
             b = shapeOf(rhs).getElementType();
             a != b) {
    // As beside any operator: f16 and bf16 widen to f32, nothing else does.
    if (!plainFloat(place, "'@' of two element types", lhs) ||
        !plainFloat(place, "'@' of two element types", rhs))
      return {};
    Type element = commonElement(place, "'@'", {lhs, rhs});
    if (!element)
      return {};
    lhs.value = convert(place, lhs, element);
    rhs.value = convert(place, rhs, element);
  }
  auto ldims = ir::getDims(shapeOf(lhs)), rdims = ir::getDims(shapeOf(rhs));
  SmallVector<AffineExpr> dims(ldims.begin(), ldims.end() - 1);
  dims.push_back(transposeRhs ? rdims[rdims.size() - 2] : rdims.back());
  return Operand::ofValue(
      ir::MatmulOp::create(builder, loc(place),
                           type(dims, Float32Type::get(context)), lhs.value,
                           rhs.value, transposeRhs),
      place);
}
