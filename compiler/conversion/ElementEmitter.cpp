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

static Type getStoredType(Type element) {
  return element.isUnsignedInteger(8)
             ? IntegerType::get(element.getContext(), 8)
             : element;
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

/// The index of a broadcast operand: aligned at the right, 0 where an extent
/// of 1 repeats.
static Index broadcastIndex(Value operand, Value result, const Index &index) {
  SmallVector<AffineExpr> dims =
      getDims(cast<RankedTensorType>(operand.getType()));
  SmallVector<AffineExpr> target =
      getDims(cast<RankedTensorType>(result.getType()));
  size_t skip = target.size() - dims.size();
  Index source(index.begin() + skip, index.end());
  for (auto [d, expr] : llvm::enumerate(source)) {
    if (dims[d] != target[skip + d])
      expr = getAffineConstantExpr(0, expr.getContext());
  }
  return source;
}

Value ElementEmitter::compute(Value value, const Index &index) {
  Operation *op = value.getDefiningOp();
  if (!op || !group || op->getBlock() != group)
    return load(value.getLoc(), resolveBuffer(value), index);
  Location loc = op->getLoc();
  Type element = cast<RankedTensorType>(value.getType()).getElementType();
  auto numbers = [&](ValueRange operands) {
    SmallVector<Value> scalars;
    for (Value operand : operands)
      scalars.push_back(
          emitF32(operand, broadcastIndex(operand, value, index)));
    return scalars;
  };

  if (auto arithmetic = dyn_cast<ArithmeticInterface>(op)) {
    SmallVector<Value> operands = numbers(op->getOperands());
    Value result = emitArithmetic(builder, arithmetic, operands);
    return result ? fromF32(builder, loc, result, element)
                  : error(op, "convert_quern_c2: has no meaning on scalars",
                          getStoredType(element));
  }
  return TypeSwitch<Operation *, Value>(op)
      .Case([&](CastOp cast) {
        Value operand = cast.getInput();
        if (cast.getInput().getType().getElementType() == element)
          return emitStored(operand, broadcastIndex(operand, value, index));
        return fromF32(builder, loc,
                       emitF32(operand, broadcastIndex(operand, value, index)),
                       element);
      })
      .Case([&](CompareOp compare) {
        SmallVector<Value> operands = numbers(op->getOperands());
        return emitCompare(builder, compare, operands[0], operands[1]);
      })
      .Case([&](SelectOp select) -> Value {
        SmallVector<Value> operands;
        for (Value operand : op->getOperands())
          operands.push_back(
              emitStored(operand, broadcastIndex(operand, value, index)));
        return arith::SelectOp::create(builder, loc, operands[0], operands[1],
                                       operands[2]);
      })
      .Case([&](EncodeOp encode) {
        Value x = emitF32(encode.getInput(), index);
        Index block =
            blockIndex(index, normalizeBlock(encode.getInput().getType(),
                                             encode.getBlock()));
        Value s = emitF32(encode.getScales(), block);
        Value zero =
            encode.getZeros() ? emitI32(encode.getZeros(), block) : Value();
        return emitCode(builder, loc, x, s, zero, encode.getQuantizer(),
                        element);
      })
      .Case([&](CorrectZerosOp correct) {
        auto at = [&](Value operand) {
          return operand
                     ? emitI32(operand, broadcastIndex(operand, value, index))
                     : Value();
        };
        Value result = at(correct.getAcc());
        for (auto [zeros, sums] :
             {std::pair(correct.getLhsZeros(), correct.getRhsSums()),
              {correct.getRhsZeros(), correct.getLhsSums()}})
          if (zeros)
            result = arith::SubIOp::create(
                builder, loc, result,
                arith::MulIOp::create(builder, loc, at(zeros), at(sums)));
        return result;
      })
      .Case([&](DequantizeOp dequantize) -> Value {
        QTensorType type = dequantize.getInput().getType();
        Index block = blockIndex(
            index, normalizeBlock(type.getCodes(), type.getScale().getBlock()));
        Value code, scale, zero;
        if (auto made = dequantize.getInput().getDefiningOp<MakeQTensorOp>()) {
          code = emitF32(made.getCodes(), index);
          scale = emitF32(made.getScales(), block);
          if (made.getZeros())
            zero = emitF32(made.getZeros(), block);
        } else {
          code = toF32(builder, loc,
                       load(loc, {dequantize.getInput(), Part::Codes}, index),
                       type.getCodes().getElementType());
          auto ofBlock = [&](Part part, Type stored) {
            Value result;
            auto emit = [&] {
              result = toF32(
                  builder, loc,
                  load(loc, {dequantize.getInput(), part}, simplifyAll(block)),
                  stored);
            };
            if (inInner && outerBlock && !usesInner(simplifyAll(block)))
              atOuter(emit);
            else
              emit();
            return result;
          };
          scale = ofBlock(Part::Scales, type.getScale().getType());
          if (type.hasZeros())
            zero = ofBlock(Part::Zeros, type.getZeros());
        }
        // Both are small integers: their difference in f32 is exact.
        if (zero)
          code = arith::SubFOp::create(builder, loc, code, zero);
        return arith::MulFOp::create(builder, loc, code, scale);
      })
      .Case<CodesOp, ScalesOp, ZerosOp>([&](auto) {
        BufferKey key = resolveBuffer(value);
        return key.part == Part::Values ? emitStored(key.value, index)
                                        : load(loc, key, index);
      })
      .Case([&](ExpandScalesOp expand) {
        return emitStored(
            expand.getInput(),
            blockIndex(index, normalizeBlock(expand.getResult().getType(),
                                             expand.getBlock())));
      })
      .Case([&](ReshapeOp reshape) {
        return emitStored(reshape.getInput(),
                          reshapeIndex(getDims(reshape.getInput().getType()),
                                       getDims(reshape.getResult().getType()),
                                       index));
      })
      .Case([&](TransposeOp transpose) {
        Index source(index.size());
        for (auto [i, p] : llvm::enumerate(transpose.getPermutation()))
          source[p] = index[i];
        return emitStored(transpose.getInput(), source);
      })
      .Case([&](SliceOp slice) {
        Index source;
        for (auto [i, offset, stride] : llvm::zip_equal(
                 index, slice.getOffsets().getResults(), slice.getStrides()))
          source.push_back(i * stride + offset);
        return emitStored(slice.getInput(), source);
      })
      .Case([&](GatherOp gather) { return emitGather(gather, index); })
      .Case([&](ConcatOp concat) { return emitConcat(concat, index); })
      .Case([&](ReduceOp reduce) { return emitReduce(reduce, index); })
      .Case([&](SumCodesOp sums) { return emitSumCodes(sums, index); })
      .Case<SoftmaxOp, RmsNormOp, LayerNormOp>(
          [&](auto) { return emitRowOp(op, index); })
      .Default([&](Operation *) {
        return error(op,
                     "convert_quern_c2: has no meaning per element inside "
                     "this kernel",
                     getStoredType(element));
      });
}

Value ElementEmitter::emitGather(GatherOp op, const Index &index) {
  Location loc = op.getLoc();
  unsigned rank = op.getIndices().getType().getRank();
  AffineExpr rows = getDims(op.getTable().getType())[0];
  if (getLowerBound(rows, scope.layer) < 1)
    return error(op,
                 "convert_quern_c4: the table may have no rows; give the "
                 "symbol of its first axis a minimum of 1",
                 getStoredType(op.getResult().getType().getElementType()));
  Value row =
      emitStored(op.getIndices(), Index(index.begin(), index.begin() + rank));
  Type indexType = builder.getIndexType();
  row = arith::IndexCastOp::create(builder, loc, indexType, row);
  Value zero = indexValue(loc, builder.getAffineConstantExpr(0));
  Value last = indexValue(loc, rows - 1);
  row = arith::MinSIOp::create(
      builder, loc, arith::MaxSIOp::create(builder, loc, row, zero), last);
  Index source{addDim(row, inInner, 0)};
  source.append(index.begin() + rank, index.end());
  return emitStored(op.getTable(), source);
}

Value ElementEmitter::emitConcat(ConcatOp op, const Index &index) {
  // Every input is read at its own index, clamped into it, and the position
  // along the axis chooses.
  Location loc = op.getLoc();
  AffineExpr position = index[op.getAxis()];
  Value at = indexValue(loc, position);
  Value zero = indexValue(loc, builder.getAffineConstantExpr(0));
  SmallVector<std::pair<AffineExpr, Value>> parts; // first index, element
  AffineExpr offset = builder.getAffineConstantExpr(0);
  for (Value input : op.getInputs()) {
    AffineExpr length =
        getDims(cast<RankedTensorType>(input.getType()))[op.getAxis()];
    if (getLowerBound(length, scope.layer) < 1)
      return error(op,
                   "convert_quern_c4: an input may be empty along the axis; "
                   "give its symbol a minimum of 1",
                   getStoredType(op.getResult().getType().getElementType()));
    Value local = indexValue(loc, position - offset);
    local = arith::MinSIOp::create(
        builder, loc, arith::MaxSIOp::create(builder, loc, local, zero),
        indexValue(loc, length - 1));
    Index source = index;
    source[op.getAxis()] = addDim(local, inInner, 0);
    parts.push_back({offset, emitStored(input, source)});
    offset = simplifyAffineExpr(offset + length, 0, scope.numSymbols);
  }
  Value result = parts[0].second;
  for (auto &[start, element] : llvm::drop_begin(parts)) {
    Value inside = arith::CmpIOp::create(
        builder, loc, arith::CmpIPredicate::sge, at, indexValue(loc, start));
    result = arith::SelectOp::create(builder, loc, inside, element, result);
  }
  return result;
}
