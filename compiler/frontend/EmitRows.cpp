//===- EmitRows.cpp - Reductions and normalisations -----------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/frontend/LayerEmitter.h"

#include <fmt/format.h>

#include <cmath>

using namespace mlir;
using namespace quern;
using namespace quern::frontend;

Operand LayerEmitter::reduce(Place place, ir::ReduceKind kind,
                             llvm::StringRef spelling, Operand x,
                             llvm::ArrayRef<int64_t> axes, Place axesPlace) {
  RankedTensorType tensor =
      plainFloat(place, fmt::format("'{}'", std::string_view(spelling)), x);
  if (!tensor)
    return {};
  Place where = axesPlace.line ? axesPlace : place;
  if (axes.empty())
    return error(where, "no axis to reduce", {"write axis = -1"});
  SmallVector<int64_t> block(tensor.getRank(), 1);
  for (int64_t axis : axes) {
    std::optional<int64_t> index = axisIndex(where, axis, tensor.getRank());
    if (!index)
      return {};
    if (block[*index] == 0)
      return error(where, fmt::format("axis {} is given twice", axis));
    block[*index] = 0;
  }
  SmallVector<AffineExpr> dims = ir::getDims(tensor);
  for (auto [dim, extent] : llvm::zip_equal(dims, block))
    if (extent == 0)
      dim = symbols.constant(1);
  Type element = kind == ir::ReduceKind::AbsMax
                     ? Type(Float32Type::get(context))
                     : tensor.getElementType();
  return Operand::ofValue(ir::ReduceOp::create(builder, loc(place),
                                               type(dims, element), kind,
                                               x.value, block),
                          place);
}

Operand LayerEmitter::softmax(Place place, Operand x) {
  RankedTensorType tensor = plainFloat(place, "'softmax'", x);
  if (!tensor)
    return {};
  if (tensor.getRank() < 1)
    return error(at(x, place),
                 fmt::format("'softmax' needs an axis, found {}", show(x)));
  return Operand::ofValue(
      ir::SoftmaxOp::create(builder, loc(place), tensor, x.value), place);
}

bool LayerEmitter::checkLastAxisVector(Place place, llvm::StringRef function,
                                       llvm::StringRef role, RankedTensorType x,
                                       const Operand &vector) {
  RankedTensorType tensor =
      plainFloat(place,
                 fmt::format("the {} of '{}'", std::string_view(role),
                             std::string_view(function)),
                 vector);
  if (!tensor)
    return false;
  if (x.getRank() < 1) {
    error(place, fmt::format("'{}' needs an axis, found a tensor of rank 0",
                             std::string_view(function)));
    return false;
  }
  AffineExpr extent = ir::getDims(x).back();
  if (tensor.getRank() == 1 && ir::getDims(tensor)[0] == extent)
    return true;
  error(at(vector, place),
        fmt::format("the {} of '{}' is one number for each element of the "
                    "last axis, {}; found {}",
                    std::string_view(role), std::string_view(function),
                    symbols.printShape({extent}), show(vector)));
  return false;
}

/// eps as the f32 it is computed with; reports a negative or infinite one.
static std::optional<float> epsilon(double eps, Place place, Errors &errors) {
  float value = static_cast<float>(eps);
  if (value >= 0 && std::isfinite(value))
    return value;
  errors.add(place, fmt::format("eps = {}", eps),
             {"eps is a finite number, 0 or more"});
  return std::nullopt;
}

Operand LayerEmitter::rmsnorm(Place place, Operand x, Operand weight,
                              double eps, Place epsPlace) {
  RankedTensorType tensor = plainFloat(place, "'rmsnorm'", x);
  if (!tensor || weight.isPoison() ||
      !checkLastAxisVector(place, "rmsnorm", "weight", tensor, weight))
    return {};
  auto value = epsilon(eps, epsPlace.line ? epsPlace : place, errors);
  if (!value)
    return {};
  return Operand::ofValue(
      ir::RmsNormOp::create(builder, loc(place), tensor, x.value, weight.value,
                            builder.getF32FloatAttr(*value)),
      place);
}

Operand LayerEmitter::layernorm(Place place, Operand x, Operand weight,
                                Operand bias, double eps, Place epsPlace) {
  RankedTensorType tensor = plainFloat(place, "'layernorm'", x);
  if (!tensor || weight.isPoison() || bias.isPoison() ||
      !checkLastAxisVector(place, "layernorm", "weight", tensor, weight) ||
      !checkLastAxisVector(place, "layernorm", "bias", tensor, bias))
    return {};
  auto value = epsilon(eps, epsPlace.line ? epsPlace : place, errors);
  if (!value)
    return {};
  return Operand::ofValue(
      ir::LayerNormOp::create(builder, loc(place), tensor, x.value,
                              weight.value, bias.value,
                              builder.getF32FloatAttr(*value)),
      place);
}
