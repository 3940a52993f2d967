//===- DecodeFit.cpp - Right operands that are decoded on load ------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/emit/cuda/DecodeFit.h"

#include <numeric>

using namespace mlir;
using namespace quern;
using namespace quern::emit;

/// Whether `expr` uses dimension `k` only within floordivs by constants that a
/// step divides; `every` becomes a divisor of those.
static bool changesBySteps(AffineExpr expr, unsigned k, int64_t &every) {
  if (!expr.isFunctionOfDim(k))
    return true;
  auto binary = dyn_cast<AffineBinaryOpExpr>(expr);
  if (!binary)
    return false;
  auto by = dyn_cast<AffineConstantExpr>(binary.getRHS());
  if (binary.getKind() == AffineExprKind::FloorDiv && by &&
      binary.getLHS() == getAffineDimExpr(k, expr.getContext())) {
    every = std::gcd(every, by.getValue());
    return by.getValue() > 0 && by.getValue() % DecodeFit::step == 0;
  }
  return changesBySteps(binary.getLHS(), k, every) &&
         changesBySteps(binary.getRHS(), k, every);
}

/// Whether a load that is no code's has the same result for the elements of a
/// step.
static bool isOfSteps(tile::LoadOp load, Value k, int64_t &every) {
  for (auto [i, index] : llvm::enumerate(load.getIndices()))
    if (index == k)
      for (AffineExpr expr : load.getMap().getResults())
        if (!changesBySteps(expr, i, every))
          return false;
  return true;
}

/// The load of a four-bit code, if there is just one.
static tile::LoadOp codesOf(Region &region) {
  tile::LoadOp codes;
  Value k = region.getArguments().back();
  for (auto load : region.getOps<tile::LoadOp>()) {
    Type stored = load.getBuffer().getType().getElementType();
    bool isAlongK = false;
    for (auto [i, index] : llvm::enumerate(load.getIndices()))
      isAlongK |= index == k && load.getMap().getResults().back() ==
                                    getAffineDimExpr(i, load.getContext());
    if (getWideType(stored) == stored || !isAlongK)
      continue;
    if (codes)
      return {};
    codes = load;
  }
  return codes;
}

/// Fits what becomes of the codes, beside floats.
static bool fitValue(Region &region, Type wanted, DecodeFit::Operand &operand,
                     int64_t &every) {
  Block &block = region.front();
  Value code = operand.codes, k = region.getArguments().back();
  if (!code.hasOneUse())
    return false;
  bool isUnsigned =
      operand.codes.getBuffer().getType().getElementType().isUnsignedInteger();
  operand.number = *code.getUsers().begin();
  if (!(isUnsigned ? isa<arith::UIToFPOp>(operand.number)
                   : isa<arith::SIToFPOp>(operand.number)) ||
      !operand.number->getResult(0).getType().isF32())
    return false;
  auto rounded =
      block.getTerminator()->getOperand(0).getDefiningOp<arith::TruncFOp>();
  if (!rounded || rounded.getType() != wanted ||
      !rounded.getIn().getType().isF32())
    return false;
  operand.value = rounded.getIn();
  // Only loads know k, and what is computed of the code is f32 alone.
  for (OpOperand &use : k.getUses())
    if (!isa<tile::LoadOp>(use.getOwner()))
      return false;
  llvm::DenseSet<Value> decoded = {operand.number->getResult(0)};
  llvm::DenseSet<Value> known;
  for (Operation &op : block.without_terminator()) {
    if (&op == operand.codes || &op == operand.number || &op == rounded)
      continue;
    if (auto load = dyn_cast<tile::LoadOp>(op)) {
      if (!isOfSteps(load, k, every))
        return false;
      continue;
    }
    if (llvm::none_of(op.getOperands(),
                      [&](Value value) { return decoded.contains(value); }))
      continue;
    if (op.getNumResults() != 1 || !op.getResult(0).getType().isF32())
      return false;
    decoded.insert(op.getResult(0));
    operand.ops.push_back(&op);
    for (Value value : op.getOperands()) {
      if (decoded.contains(value) || value.getDefiningOp<arith::ConstantOp>() ||
          !known.insert(value).second)
        continue;
      if (!value.getType().isF32())
        return false;
      operand.factors.push_back(value);
    }
  }
  return decoded.contains(operand.value) && !operand.factors.empty();
}

/// The factors in the order that halves ask for, if the value is made so.
static std::vector<Value> factorsOfHalves(const DecodeFit::Operand &operand,
                                          Type left) {
  auto product = operand.value.getDefiningOp<arith::MulFOp>();
  if (!product)
    return {};
  for (auto [number, scale] : {std::pair(product.getLhs(), product.getRhs()),
                               {product.getRhs(), product.getLhs()}}) {
    auto extended = scale.getDefiningOp<arith::ExtFOp>();
    if (!extended || extended.getIn().getType() != left)
      continue;
    if (number == operand.number->getResult(0))
      return {scale};
    auto difference = number.getDefiningOp<arith::SubFOp>();
    if (!difference || difference.getLhs() != operand.number->getResult(0))
      continue;
    Operation *zero = difference.getRhs().getDefiningOp();
    auto load = zero && isa<arith::SIToFPOp, arith::UIToFPOp>(zero)
                    ? zero->getOperand(0).getDefiningOp<tile::LoadOp>()
                    : tile::LoadOp();
    // Of bf16 the large power is 128: the sum with wider zero points would be
    // rounded.
    if (load && load.getBuffer().getType().getElementType().isInteger(4))
      return {scale, difference.getRhs()};
  }
  return {};
}

std::optional<DecodeFit> DecodeFit::of(tile::ContractOp contract) {
  Type left = contract.getElementType(contract.getLhsRegion(0));
  bool isFloat = left.isF16() || left.isBF16();
  if (!isFloat && !left.isInteger(8))
    return std::nullopt;
  if (contract.getSplit().value_or(0) % step != 0)
    return std::nullopt;
  DecodeFit fit;
  for (Region &region :
       contract.getOperandRegions().drop_front(contract.getNumLhs())) {
    Operand operand;
    operand.codes = codesOf(region);
    if (!operand.codes)
      return std::nullopt;
    auto rows = OperandRows::of(contract, region, operand.codes);
    if (!rows)
      return std::nullopt;
    operand.rows = std::move(*rows);
    Type element = operand.codes.getBuffer().getType().getElementType();
    if (fit.element && fit.element != element)
      return std::nullopt;
    fit.element = element;
    if (isFloat) {
      if (!fitValue(region, left, operand, fit.every) ||
          (!fit.operands.empty() && operand.factors.size() != fit.numFactors()))
        return std::nullopt;
    } else if (region.front().getTerminator()->getOperand(0) !=
                   operand.codes.getResult() ||
               std::distance(region.front().begin(), region.front().end()) !=
                   2) {
      return std::nullopt;
    }
    fit.operands.push_back(std::move(operand));
  }
  if (fit.operands.empty())
    return std::nullopt;
  fit.halves = isFloat;
  for (const Operand &operand : fit.operands)
    fit.halves = fit.halves && factorsOfHalves(operand, left).size() ==
                                   operand.factors.size();
  if (fit.halves)
    for (Operand &operand : fit.operands)
      operand.factors = factorsOfHalves(operand, left);
  return fit;
}
