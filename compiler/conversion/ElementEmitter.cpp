//===- ElementEmitter.cpp - Scalars of tensors at an index ----------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/conversion/ElementEmitter.h"

#include "compiler/conversion/Elementwise.h"
#include "dialects/quern/Transforms/Passes.h"

#include "llvm/ADT/ScopeExit.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace quern;
using namespace quern::conversion;
using namespace quern::ir;

//===----------------------------------------------------------------------===//
// Buffers
//===----------------------------------------------------------------------===//

BufferKey conversion::resolveBuffer(Value value, Part part) {
  while (Operation *op = value.getDefiningOp()) {
    if (auto codes = dyn_cast<CodesOp>(op)) {
      value = codes.getInput(), part = Part::Codes;
    } else if (auto scales = dyn_cast<ScalesOp>(op)) {
      value = scales.getInput(), part = Part::Scales;
    } else if (auto zeros = dyn_cast<ZerosOp>(op)) {
      value = zeros.getInput(), part = Part::Zeros;
    } else if (auto made = dyn_cast<MakeQTensorOp>(op)) {
      value = part == Part::Codes    ? made.getCodes()
              : part == Part::Scales ? made.getScales()
                                     : made.getZeros();
      part = Part::Values;
    } else {
      break;
    }
  }
  return {value, part};
}

RankedTensorType conversion::getTensorType(const BufferKey &key) {
  if (auto type = dyn_cast<QTensorType>(key.value.getType()))
    return key.part == Part::Codes    ? type.getCodes()
           : key.part == Part::Scales ? type.getScalesType()
                                      : type.getZerosType();
  return cast<RankedTensorType>(key.value.getType());
}

Type conversion::getStoredType(Type element) {
  Type read = getWideType(element);
  return read.isUnsignedInteger(8) ? IntegerType::get(element.getContext(), 8)
                                   : read;
}

Value KernelScope::getBuffer(const BufferKey &key, bool write) {
  Block &body = kernel.getBody().front();
  for (auto [i, argument] : llvm::enumerate(arguments))
    if (!(argument < key) && !(key < argument))
      return body.getArgument(i);
  RankedTensorType type = conversion::getTensorType(key);
  auto shape = AffineMap::get(0, numSymbols, getDims(type), type.getContext());
  arguments.push_back(key);
  writes.push_back(write);
  return body.addArgument(
      tile::BufferType::get(type.getContext(), shape, type.getElementType()),
      key.value.getLoc());
}

//===----------------------------------------------------------------------===//
// Bodies and dimensions
//===----------------------------------------------------------------------===//

AffineExpr ElementEmitter::addDim(Value value, bool inner, int64_t extent) {
  // Positions are never used twice: memoised indices stay meaningful.
  dims.push_back({value, inner});
  dimExtents.push_back(extent);
  return getAffineDimExpr(dims.size() - 1, builder.getContext());
}

Index ElementEmitter::openOuter(Block *block, ArrayRef<int64_t> extents) {
  outerBlock = block;
  builder.setInsertionPointToEnd(block);
  Index index;
  for (auto [argument, extent] :
       llvm::zip_equal(block->getArguments(), extents))
    index.push_back(addDim(argument, false, extent));
  return index;
}

void ElementEmitter::withInner(Block *block, ArrayRef<int64_t> extents,
                               function_ref<void(const Index &)> fill) {
  OpBuilder::InsertionGuard guard(builder);
  Memo saved;
  std::swap(saved, innerMemo);
  bool wasInner = std::exchange(inInner, true);
  builder.setInsertionPointToEnd(block);
  Index index;
  for (auto [i, extent] : llvm::enumerate(extents))
    index.push_back(addDim(block->getArgument(i), true, extent));
  fill(index);
  inInner = wasInner;
  std::swap(saved, innerMemo);
}

void ElementEmitter::atOuter(function_ref<void()> emit) {
  OpBuilder::InsertionGuard guard(builder);
  bool wasInner = std::exchange(inInner, false);
  if (outerAnchor)
    builder.setInsertionPoint(outerAnchor);
  else
    builder.setInsertionPointToEnd(outerBlock);
  emit();
  inInner = wasInner;
}

bool ElementEmitter::usesInner(ArrayRef<AffineExpr> exprs) const {
  bool found = false;
  for (AffineExpr expr : exprs)
    expr.walk([&](AffineExpr e) {
      if (auto dim = dyn_cast<AffineDimExpr>(e))
        found |= dims[dim.getPosition()].inner;
    });
  return found;
}

Index ElementEmitter::simplifyAll(Index index) {
  for (AffineExpr &expr : index)
    expr = simplify(expr, dimExtents, scope.numSymbols);
  return index;
}

std::pair<std::pair<const void *, unsigned>, const void *>
ElementEmitter::memoKey(const void *what, unsigned slot, const Index &index) {
  auto map = AffineMap::get(1 << 16, 1 << 16, index, builder.getContext());
  return {{what, slot}, map.getAsOpaquePointer()};
}

std::pair<AffineMap, SmallVector<Value>>
ElementEmitter::access(ArrayRef<AffineExpr> exprs) {
  SmallVector<AffineExpr> replacements(
      dims.size(), getAffineConstantExpr(0, builder.getContext()));
  llvm::SmallDenseSet<unsigned> used;
  for (AffineExpr expr : exprs)
    expr.walk([&](AffineExpr e) {
      if (auto dim = dyn_cast<AffineDimExpr>(e))
        used.insert(dim.getPosition());
    });
  SmallVector<Value> operands;
  for (unsigned d = 0; d < dims.size(); ++d)
    if (used.contains(d)) {
      replacements[d] = builder.getAffineDimExpr(operands.size());
      operands.push_back(dims[d].value);
    }
  SmallVector<AffineExpr> results;
  for (AffineExpr expr : exprs)
    results.push_back(expr.replaceDims(replacements));
  return {AffineMap::get(operands.size(), scope.numSymbols, results,
                         builder.getContext()),
          operands};
}

Value ElementEmitter::indexValue(Location loc, AffineExpr expr) {
  auto [map, operands] = access(expr);
  return tile::IndexOp::create(builder, loc, builder.getIndexType(), operands,
                               map);
}

Value ElementEmitter::error(Operation *op, const Twine &message, Type dummy) {
  errored = true;
  op->emitOpError(message);
  TypedAttr zero = isa<FloatType>(dummy)
                       ? TypedAttr(FloatAttr::get(dummy, 0.0))
                       : TypedAttr(IntegerAttr::get(dummy, 0));
  return arith::ConstantOp::create(builder, op->getLoc(), zero);
}

//===----------------------------------------------------------------------===//
// Elements
//===----------------------------------------------------------------------===//

Value ElementEmitter::load(Location loc, const BufferKey &key,
                           const Index &index) {
  Value buffer = scope.getBuffer(key, false);
  auto [map, operands] = access(index);
  Type element = getStoredType(conversion::getTensorType(key).getElementType());
  return tile::LoadOp::create(builder, loc, element, buffer, operands, map);
}

void ElementEmitter::storeBuffer(Location loc, Value scalar, Value buffer,
                                 const Index &index) {
  auto [map, operands] = access(simplifyAll(index));
  tile::StoreOp::create(builder, loc, scalar, buffer, operands, map);
}

void ElementEmitter::define(Value value, const Index &index, Value scalar) {
  innerMemo[memoKey(value.getAsOpaquePointer(), 0, simplifyAll(index))] =
      scalar;
}

Value ElementEmitter::emitStored(Value value, Index index) {
  index = simplifyAll(index);
  // Constants are written where they are used.
  if (auto constant = value.getDefiningOp<ConstantOp>()) {
    TypedAttr attr = constant.getValue();
    if (auto integer = dyn_cast<IntegerAttr>(attr))
      attr =
          IntegerAttr::get(getStoredType(attr.getType()), integer.getValue());
    return arith::ConstantOp::create(builder, constant.getLoc(), attr);
  }
  if (inInner && outerBlock && !usesInner(index)) {
    Value result;
    atOuter([&] { result = emitStored(value, index); });
    return result;
  }
  auto key = memoKey(value.getAsOpaquePointer(), 0, index);
  if (auto it = currentMemo().find(key); it != currentMemo().end())
    return it->second;
  emitOperands(value, index);
  Value result = compute(value, index);
  currentMemo()[key] = result;
  return result;
}

Value ElementEmitter::emitF32(Value value, Index index) {
  index = simplifyAll(index);
  Type element = cast<RankedTensorType>(value.getType()).getElementType();
  if (inInner && outerBlock && !usesInner(index) &&
      !value.getDefiningOp<ConstantOp>()) {
    Value result;
    atOuter([&] { result = emitF32(value, index); });
    return result;
  }
  Value stored = emitStored(value, index);
  if (element.isF32())
    return stored;
  auto key = memoKey(value.getAsOpaquePointer(), 1, index);
  if (auto it = currentMemo().find(key); it != currentMemo().end())
    return it->second;
  Value result = toF32(builder, value.getLoc(), stored, element);
  currentMemo()[key] = result;
  return result;
}

Value ElementEmitter::emitI32(Value value, Index index) {
  index = simplifyAll(index);
  if (inInner && outerBlock && !usesInner(index)) {
    Value result;
    atOuter([&] { result = emitI32(value, index); });
    return result;
  }
  Value stored = emitStored(value, index);
  Type element = cast<RankedTensorType>(value.getType()).getElementType();
  if (element.isInteger(32))
    return stored;
  auto key = memoKey(value.getAsOpaquePointer(), 2, index);
  if (auto it = currentMemo().find(key); it != currentMemo().end())
    return it->second;
  Type i32 = builder.getI32Type();
  Value result =
      element.isUnsignedInteger()
          ? arith::ExtUIOp::create(builder, value.getLoc(), i32, stored)
                .getResult()
          : arith::ExtSIOp::create(builder, value.getLoc(), i32, stored)
                .getResult();
  currentMemo()[key] = result;
  return result;
}
