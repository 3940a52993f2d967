//===- EmitElementwise.cpp - Element-wise operations ----------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/frontend/ElementTypes.h"
#include "compiler/frontend/LayerEmitter.h"

#include <fmt/format.h>

#include <cmath>

using namespace mlir;
using namespace quern;
using namespace quern::frontend;

//===----------------------------------------------------------------------===//
// Element types and shapes of several operands
//===----------------------------------------------------------------------===//

Type LayerEmitter::commonElement(Place place, llvm::StringRef what,
                                 llvm::ArrayRef<Operand> operands) {
  Type common;
  const Operand *first = nullptr;
  for (const Operand &operand : operands) {
    if (operand.isNumber())
      continue;
    Type element =
        cast<RankedTensorType>(operand.value.getType()).getElementType();
    if (!common || common == element) {
      common = element;
      first = &operand;
      continue;
    }
    if (!common.isF32() && !element.isF32()) {
      error(place,
            fmt::format("{} mixes f16 and bf16: {}, and {}",
                        std::string_view(what), show(*first), show(operand)),
            {"neither holds the other's values; convert one, such as x as "
             "f32"});
      return {};
    }
    common = Float32Type::get(context);
  }
  return common ? common : Type(Float32Type::get(context));
}

Value LayerEmitter::convert(Place place, const Operand &operand, Type element) {
  if (operand.isNumber()) {
    APFloat value(operand.number);
    bool losesInfo = false;
    value.convert(cast<FloatType>(element).getFloatSemantics(),
                  APFloat::rmNearestTiesToEven, &losesInfo);
    if (!value.isFinite() && std::isfinite(operand.number)) {
      error(at(operand, place),
            fmt::format("{} is beyond the range of {}", operand.number,
                        name(*getDType(element))),
            {"use a wider element type, such as x as f32, or inf"});
      return {};
    }
    return ir::ConstantOp::create(builder, loc(at(operand, place)),
                                  RankedTensorType::get({}, element),
                                  FloatAttr::get(element, value));
  }
  auto tensor = cast<RankedTensorType>(operand.value.getType());
  if (tensor.getElementType() == element)
    return operand.value;
  return ir::CastOp::create(builder, loc(place), tensor.clone(element),
                            operand.value);
}

std::optional<SmallVector<AffineExpr>>
LayerEmitter::broadcast(Place place, llvm::StringRef what,
                        llvm::ArrayRef<Operand> operands) {
  SmallVector<AffineExpr> result; // reversed: aligned at the right
  SmallVector<const Operand *> from;
  AffineExpr one = symbols.constant(1);
  for (const Operand &operand : operands) {
    if (operand.isNumber())
      continue;
    auto dims = ir::getDims(cast<RankedTensorType>(operand.value.getType()));
    for (size_t i = 0; i < dims.size(); ++i) {
      AffineExpr dim = dims[dims.size() - 1 - i];
      if (i >= result.size()) {
        result.push_back(dim);
        from.push_back(&operand);
      } else if (result[i] == one) {
        result[i] = dim;
        from[i] = &operand;
      } else if (dim != one && dim != result[i]) {
        error(place,
              fmt::format("the shapes of {} do not broadcast: {}, and {}; "
                          "extents {} and {} differ",
                          std::string_view(what), show(*from[i]), show(operand),
                          symbols.print(result[i]), symbols.print(dim)),
              {"shapes align at the right; extents must be equal, or one of "
               "them 1"});
        return std::nullopt;
      }
    }
  }
  std::reverse(result.begin(), result.end());
  return result;
}

std::optional<LayerEmitter::Alike>
LayerEmitter::alike(Place place, llvm::StringRef what,
                    llvm::ArrayRef<Operand> numbers,
                    llvm::ArrayRef<Operand> shaped) {
  for (const Operand &operand : numbers)
    if (!operand.isNumber() && !plainFloat(place, what, operand))
      return std::nullopt;
  Alike result;
  result.element = commonElement(place, what, numbers);
  if (!result.element)
    return std::nullopt;
  auto dims = broadcast(place, what, shaped);
  if (!dims)
    return std::nullopt;
  result.dims = std::move(*dims);
  for (const Operand &operand : numbers) {
    result.values.push_back(convert(place, operand, result.element));
    if (!result.values.back())
      return std::nullopt;
  }
  return result;
}

//===----------------------------------------------------------------------===//
// Operations
//===----------------------------------------------------------------------===//

std::vector<llvm::StringRef> LayerEmitter::arithmetic(MLIRContext *context,
                                                      unsigned numOperands) {
  std::vector<llvm::StringRef> mnemonics;
  for (RegisteredOperationName op :
       context->getRegisteredOperationsByDialect("quern"))
    if (op.hasInterface<ir::ArithmeticInterface>() &&
        (numOperands == 1 ? op.hasTrait<OpTrait::OneOperand>()
                          : op.hasTrait<OpTrait::NOperands<2>::Impl>()))
      mnemonics.push_back(op.stripDialect());
  return mnemonics;
}

static Value create(OpBuilder &builder, Location loc, llvm::StringRef mnemonic,
                    Type type, ValueRange operands) {
  OperationState state(loc, ("quern." + mnemonic).str());
  state.addOperands(operands);
  state.addTypes(type);
  return builder.create(state)->getResult(0);
}

Operand LayerEmitter::unary(Place place, llvm::StringRef mnemonic,
                            llvm::StringRef spelling, Operand x) {
  if (x.isNumber() && mnemonic == "neg")
    return Operand::ofNumber(-x.number, place);
  std::string what = fmt::format("'{}'", std::string_view(spelling));
  if (!plainFloat(place, what, x))
    return {};
  return Operand::ofValue(
      create(builder, loc(place), mnemonic, x.value.getType(), x.value), place);
}

/// Arithmetic on two numbers of the text; nothing where it has none.
static std::optional<double> fold(llvm::StringRef mnemonic, double a,
                                  double b) {
  if (mnemonic == "add")
    return a + b;
  if (mnemonic == "sub")
    return a - b;
  if (mnemonic == "mul")
    return a * b;
  if (mnemonic == "div")
    return a / b;
  if (mnemonic == "max")
    return std::max(a, b);
  if (mnemonic == "min")
    return std::min(a, b);
  return std::nullopt;
}

Operand LayerEmitter::binary(Place place, llvm::StringRef mnemonic,
                             llvm::StringRef spelling, Operand lhs,
                             Operand rhs) {
  if (lhs.isPoison() || rhs.isPoison())
    return {};
  std::string what = fmt::format("'{}'", std::string_view(spelling));
  if (lhs.isNumber() && rhs.isNumber()) {
    double a = lhs.number, b = rhs.number;
    std::optional<double> folded = fold(mnemonic, a, b);
    if (!folded)
      return error(place, fmt::format("{} of two numbers", what),
                   {"one operand must be a tensor"});
    double value = *folded;
    // Not a number only from numbers that make none, such as 0/0.
    if (std::isnan(value) ||
        (std::isinf(value) && std::isfinite(a) && std::isfinite(b)))
      return error(place, fmt::format("{} {} {} is no finite number", a,
                                      std::string_view(spelling), b));
    return Operand::ofNumber(value, place);
  }
  auto both = alike(place, what, {lhs, rhs}, {lhs, rhs});
  if (!both)
    return {};
  return Operand::ofValue(create(builder, loc(place), mnemonic,
                                 type(both->dims, both->element), both->values),
                          place);
}

Operand LayerEmitter::compare(Place place, ir::ComparePredicate predicate,
                              llvm::StringRef spelling, Operand lhs,
                              Operand rhs) {
  if (lhs.isPoison() || rhs.isPoison())
    return {};
  std::string what = fmt::format("'{}'", std::string_view(spelling));
  if (lhs.isNumber() && rhs.isNumber())
    return error(place, fmt::format("{} compares two numbers", what),
                 {"one operand must be a tensor"});
  auto both = alike(place, what, {lhs, rhs}, {lhs, rhs});
  if (!both)
    return {};
  return Operand::ofValue(
      ir::CompareOp::create(builder, loc(place),
                            type(both->dims, builder.getI1Type()), predicate,
                            both->values[0], both->values[1]),
      place);
}

Operand LayerEmitter::where(Place place, Operand condition, Operand lhs,
                            Operand rhs) {
  if (condition.isPoison() || lhs.isPoison() || rhs.isPoison())
    return {};
  RankedTensorType conditionType =
      plain(place, "the condition of 'where'", condition);
  if (!conditionType)
    return {};
  if (!conditionType.getElementType().isInteger(1))
    return error(at(condition, place),
                 fmt::format("the condition of 'where' must be a comparison, "
                             "found {}",
                             show(condition)),
                 {"such as where(x > 0, x, 0)"});
  auto both = alike(place, "'where'", {lhs, rhs}, {condition, lhs, rhs});
  if (!both)
    return {};
  return Operand::ofValue(
      ir::SelectOp::create(builder, loc(place), type(both->dims, both->element),
                           condition.value, both->values[0], both->values[1]),
      place);
}

Operand LayerEmitter::convertTo(Place place, Operand x, DType type,
                                Place typePlace) {
  if (x.isPoison())
    return {};
  Type element = quern::getElementType(context, type);
  if (!isFloat(type))
    return error(typePlace.line ? typePlace : place,
                 fmt::format("a conversion to {}", name(type)),
                 {"'as' converts to f16, bf16, f32, f8e4m3 or f8e5m2; codes "
                  "are made by quantize(x, i8 per token)"});
  if (x.isNumber()) {
    Value value = convert(place, x, element);
    return value ? Operand::ofValue(value, place) : Operand();
  }
  RankedTensorType tensor = plain(place, "'as'", x);
  if (!tensor)
    return {};
  if (tensor.getElementType().isInteger(1))
    return error(at(x, place),
                 fmt::format("'as' needs a number tensor, found {}", show(x)),
                 {"write where(condition, 1, 0)"});
  if (tensor.getElementType() == element)
    return x;
  return Operand::ofValue(
      ir::CastOp::create(builder, loc(place), tensor.clone(element), x.value),
      place);
}
