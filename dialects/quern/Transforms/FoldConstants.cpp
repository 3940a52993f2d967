//===- FoldConstants.cpp - What is constant is computed now ---------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Constants have rank 0, so folding is arithmetic on single f32 numbers: IEEE,
// to nearest, through APFloat, hence the same on every host.
//
//===----------------------------------------------------------------------===//

#include "dialects/quern/Transforms/Passes.h"

#include "mlir/IR/Builders.h"
#include "llvm/ADT/TypeSwitch.h"

#include <cmath>

namespace quern::ir {
#define GEN_PASS_DEF_FOLDCONSTANTS
#include "dialects/quern/Transforms/Passes.h.inc"
} // namespace quern::ir

using namespace mlir;
using namespace quern;
using namespace quern::ir;

namespace {

constexpr auto nearest = APFloat::rmNearestTiesToEven;

/// The f32 value of a constant; nothing for integers that f32 cannot hold.
std::optional<APFloat> getNumber(Value value) {
  auto constant = value.getDefiningOp<ConstantOp>();
  if (!constant)
    return std::nullopt;
  if (auto number = dyn_cast<FloatAttr>(constant.getValue())) {
    APFloat result = number.getValue();
    bool lost = false;
    result.convert(APFloat::IEEEsingle(), nearest, &lost);
    return result;
  }
  auto integer = dyn_cast<IntegerAttr>(constant.getValue());
  if (!integer)
    return std::nullopt;
  Type type = integer.getType();
  bool isSigned = !type.isUnsignedInteger() && !type.isInteger(1);
  APFloat result(APFloat::IEEEsingle());
  result.convertFromAPInt(integer.getValue(), isSigned, nearest);
  return result;
}

/// f32 to a float element type, half to even; 8-bit floats saturate.
TypedAttr roundTo(APFloat value, Type element) {
  auto type = dyn_cast<FloatType>(element);
  if (!type)
    return {};
  const llvm::fltSemantics &semantics = type.getFloatSemantics();
  bool lost = false;
  if (isa<Float8E4M3FNType, Float8E5M2Type>(type) && !value.isNaN()) {
    APFloat largest = APFloat::getLargest(semantics, value.isNegative());
    largest.convert(APFloat::IEEEsingle(), nearest, &lost);
    if (abs(value) > abs(largest))
      value = largest;
  }
  value.convert(semantics, nearest, &lost);
  return FloatAttr::get(type, value);
}

/// Ops whose value f32 arithmetic gives exactly as the targets do.
std::optional<APFloat> evaluate(Operation *op, ArrayRef<APFloat> x) {
  auto compute = [](APFloat a, const APFloat &b,
                    APFloat::opStatus (APFloat::*operation)(
                        const APFloat &, APFloat::roundingMode)) {
    (a.*operation)(b, nearest);
    return a;
  };
  return TypeSwitch<Operation *, std::optional<APFloat>>(op)
      .Case([&](AddOp) { return compute(x[0], x[1], &APFloat::add); })
      .Case([&](SubOp) { return compute(x[0], x[1], &APFloat::subtract); })
      .Case([&](MulOp) { return compute(x[0], x[1], &APFloat::multiply); })
      .Case([&](DivOp) { return compute(x[0], x[1], &APFloat::divide); })
      .Case([&](MaxOp) { return llvm::maximum(x[0], x[1]); })
      .Case([&](MinOp) { return llvm::minimum(x[0], x[1]); })
      .Case([&](NegOp) { return neg(x[0]); })
      .Case([&](AbsOp) { return abs(x[0]); })
      .Case([&](ReluOp) {
        return llvm::maximum(x[0], APFloat::getZero(APFloat::IEEEsingle()));
      })
      .Case([&](SqrtOp) {
        // IEEE requires sqrt to be correctly rounded on every host.
        return APFloat(std::sqrt(x[0].convertToFloat()));
      })
      .Case([&](CastOp) { return x[0]; })
      .Default([](Operation *) { return std::nullopt; });
}

TypedAttr foldCompare(CompareOp op, const APFloat &x, const APFloat &y) {
  APFloat::cmpResult order = x.compare(y);
  bool less = order == APFloat::cmpLessThan, equal = order == APFloat::cmpEqual,
       greater = order == APFloat::cmpGreaterThan;
  bool result = false;
  switch (op.getPredicate()) {
  case ComparePredicate::LT:
    result = less;
    break;
  case ComparePredicate::LE:
    result = less || equal;
    break;
  case ComparePredicate::GT:
    result = greater;
    break;
  case ComparePredicate::GE:
    result = greater || equal;
    break;
  case ComparePredicate::EQ:
    result = equal;
    break;
  case ComparePredicate::NE:
    result = !equal;
    break;
  }
  return IntegerAttr::get(IntegerType::get(op.getContext(), 1), result);
}

/// Whether every value of `from` is one of `to`.
bool isWidening(Type from, Type to) {
  if (from == to)
    return true;
  auto a = dyn_cast<FloatType>(from), b = dyn_cast<FloatType>(to);
  if (!a || !b)
    return false;
  const llvm::fltSemantics &s = a.getFloatSemantics(),
                           &t = b.getFloatSemantics();
  return APFloat::semanticsPrecision(s) <= APFloat::semanticsPrecision(t) &&
         APFloat::semanticsMaxExponent(s) <= APFloat::semanticsMaxExponent(t) &&
         APFloat::semanticsMinExponent(s) -
                 static_cast<int>(APFloat::semanticsPrecision(s)) >=
             APFloat::semanticsMinExponent(t) -
                 static_cast<int>(APFloat::semanticsPrecision(t));
}

class Folder {
public:
  explicit Folder(func::FuncOp layer) : layer(layer) {}

  void run() {
    for (bool changed = true; changed;) {
      changed = false;
      for (Operation &op : llvm::make_early_inc_range(layer.getBody().front()))
        changed |= visit(&op);
    }
  }

private:
  bool replace(Operation *op, Value value) {
    if (!value || value.getType() != op->getResult(0).getType())
      return false;
    op->getResult(0).replaceAllUsesWith(value);
    op->erase();
    return true;
  }

  bool replace(Operation *op, TypedAttr attr) {
    auto type = cast<RankedTensorType>(op->getResult(0).getType());
    if (!attr || type.getRank() != 0)
      return false;
    OpBuilder b(op);
    return replace(op, ConstantOp::create(b, op->getLoc(), type, attr));
  }

  bool visit(Operation *op) {
    if (isa<func::ReturnOp>(op))
      return false;
    if (op->use_empty() && isPure(op)) {
      op->erase();
      return true;
    }
    if (auto codes = dyn_cast<CodesOp>(op)) {
      auto made = codes.getInput().getDefiningOp<MakeQTensorOp>();
      return made && replace(op, made.getCodes());
    }
    if (auto scales = dyn_cast<ScalesOp>(op)) {
      auto made = scales.getInput().getDefiningOp<MakeQTensorOp>();
      return made && replace(op, made.getScales());
    }
    if (auto zeros = dyn_cast<ZerosOp>(op)) {
      auto made = zeros.getInput().getDefiningOp<MakeQTensorOp>();
      return made && replace(op, made.getZeros());
    }
    if (auto cast = dyn_cast<CastOp>(op); cast && visitCast(cast))
      return true;
    if (auto select = dyn_cast<SelectOp>(op))
      return visitSelect(select);
    if (!isa<ElementwiseInterface>(op))
      return false;
    SmallVector<APFloat> numbers;
    for (Value operand : op->getOperands()) {
      std::optional<APFloat> number = getNumber(operand);
      if (!number)
        return false;
      numbers.push_back(*number);
    }
    if (auto compare = dyn_cast<CompareOp>(op))
      return replace(op, foldCompare(compare, numbers[0], numbers[1]));
    std::optional<APFloat> value = evaluate(op, numbers);
    return value && replace(op, roundTo(*value, cast<RankedTensorType>(
                                                    op->getResult(0).getType())
                                                    .getElementType()));
  }

  bool visitCast(CastOp op) {
    if (replace(op, op.getInput())) // to the same type
      return true;
    auto inner = op.getInput().getDefiningOp<CastOp>();
    if (!inner || getDims(inner.getInput().getType()) !=
                      getDims(op.getResult().getType()))
      return false;
    Type from = inner.getInput().getType().getElementType();
    Type middle = inner.getResult().getType().getElementType();
    if (!isWidening(from, middle))
      return false;
    if (replace(op, inner.getInput()))
      return true;
    op.getInputMutable().assign(inner.getInput());
    return true;
  }

  bool visitSelect(SelectOp op) {
    auto condition = op.getCondition().getDefiningOp<ConstantOp>();
    if (!condition)
      return false;
    auto value = cast<IntegerAttr>(condition.getValue());
    return replace(op, value.getValue().isZero() ? op.getRhs() : op.getLhs());
  }

  func::FuncOp layer;
};

struct FoldConstants : quern::ir::impl::FoldConstantsBase<FoldConstants> {
  void runOnOperation() override {
    if (!getOperation().isDeclaration())
      Folder(getOperation()).run();
  }
};

} // namespace
