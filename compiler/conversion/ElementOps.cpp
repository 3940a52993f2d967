//===- ElementOps.cpp - What each op is at an index -----------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// For each op of a group: which elements of its operands an element needs
// (`operandsOf`), and what is computed from them (`combine`). Apart, so that
// operands are emitted from a list of what is still to do and not by calls
// within calls: a group is as deep as it is long, and the stack is not.
//
//===----------------------------------------------------------------------===//

#include "compiler/conversion/ElementEmitter.h"

#include "compiler/conversion/Elementwise.h"
#include "dialects/quern/Transforms/Passes.h"

#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace quern;
using namespace quern::conversion;
using namespace quern::ir;

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

/// The op that computes `value` in this kernel; null where it is loaded.
Operation *ElementEmitter::getComputedBy(Value value) const {
  Operation *op = value.getDefiningOp();
  return op && group && op->getBlock() == group ? op : nullptr;
}

//===----------------------------------------------------------------------===//
// Operands
//===----------------------------------------------------------------------===//

SmallVector<ElementEmitter::Demand>
ElementEmitter::operandsOf(Value value, const Index &index) {
  SmallVector<Demand> demands;
  Operation *op = getComputedBy(value);
  if (!op)
    return demands;
  auto want = [&](Value operand, Index at, Form form) {
    demands.push_back({operand, simplifyAll(std::move(at)), form});
  };
  auto broadcast = [&](Value operand, Form form) {
    want(operand, broadcastIndex(operand, value, index), form);
  };
  auto all = [&](Form form) {
    for (Value operand : op->getOperands())
      broadcast(operand, form);
  };
  if (isa<ArithmeticInterface, CompareOp>(op)) {
    all(Form::F32);
    return demands;
  }
  TypeSwitch<Operation *>(op)
      .Case([&](CastOp cast) {
        bool same = cast.getInput().getType().getElementType() ==
                    cast.getResult().getType().getElementType();
        all(same ? Form::Stored : Form::F32);
      })
      .Case([&](SelectOp) { all(Form::Stored); })
      .Case([&](PowerOfTwoOp) { all(Form::F32); })
      .Case([&](EncodeOp encode) {
        Index block =
            blockIndex(index, normalizeBlock(encode.getInput().getType(),
                                             encode.getBlock()));
        want(encode.getInput(), index, Form::F32);
        want(encode.getScales(), block, Form::F32);
        if (encode.getZeros())
          want(encode.getZeros(), block, Form::I32);
      })
      .Case([&](CorrectZerosOp correct) {
        broadcast(correct.getAcc(), Form::I32);
        for (auto [zeros, sums] :
             {std::pair(correct.getLhsZeros(), correct.getRhsSums()),
              {correct.getRhsZeros(), correct.getLhsSums()}})
          if (zeros) {
            broadcast(zeros, Form::I32);
            broadcast(sums, Form::I32);
          }
      })
      .Case([&](DequantizeOp dequantize) {
        auto made = dequantize.getInput().getDefiningOp<MakeQTensorOp>();
        if (!made)
          return; // Its parts are loaded.
        QTensorType type = dequantize.getInput().getType();
        Index block = blockIndex(
            index, normalizeBlock(type.getCodes(), type.getScale().getBlock()));
        want(made.getCodes(), index, Form::F32);
        want(made.getScales(), block, Form::F32);
        if (made.getZeros())
          want(made.getZeros(), block, Form::F32);
      })
      .Case<CodesOp, ScalesOp, ZerosOp>([&](auto) {
        BufferKey key = resolveBuffer(value);
        if (key.part == Part::Values)
          want(key.value, index, Form::Stored);
      })
      .Case([&](ExpandScalesOp expand) {
        want(expand.getInput(),
             blockIndex(index, normalizeBlock(expand.getResult().getType(),
                                              expand.getBlock())),
             Form::Stored);
      })
      .Case([&](ReshapeOp reshape) {
        want(reshape.getInput(),
             reshapeIndex(getDims(reshape.getInput().getType()),
                          getDims(reshape.getResult().getType()), index),
             Form::Stored);
      })
      .Case([&](TransposeOp transpose) {
        Index source(index.size());
        for (auto [i, p] : llvm::enumerate(transpose.getPermutation()))
          source[p] = index[i];
        want(transpose.getInput(), source, Form::Stored);
      })
      .Case([&](SliceOp slice) {
        Index source;
        for (auto [i, offset, stride] : llvm::zip_equal(
                 index, slice.getOffsets().getResults(), slice.getStrides()))
          source.push_back(i * stride + offset);
        want(slice.getInput(), source, Form::Stored);
      })
      .Case([&](GatherOp gather) {
        unsigned rank = gather.getIndices().getType().getRank();
        want(gather.getIndices(), Index(index.begin(), index.begin() + rank),
             Form::Stored);
      });
  return demands;
}

bool ElementEmitter::isKnown(const Demand &demand) {
  // Constants are written where they are used.
  if (demand.value.getDefiningOp<ConstantOp>())
    return true;
  Type element =
      cast<RankedTensorType>(demand.value.getType()).getElementType();
  unsigned slot = 0;
  if (demand.form == Form::F32 && !element.isF32())
    slot = 1;
  else if (demand.form == Form::I32 && !element.isInteger(32))
    slot = 2;
  bool outer = !inInner || (outerBlock && !usesInner(demand.index));
  const Memo &memo = outer ? outerMemo : innerMemo;
  return memo.count(
      memoKey(demand.value.getAsOpaquePointer(), slot, demand.index));
}

Value ElementEmitter::emit(const Demand &demand) {
  switch (demand.form) {
  case Form::Stored:
    return emitStored(demand.value, demand.index);
  case Form::F32:
    return emitF32(demand.value, demand.index);
  case Form::I32:
    return emitI32(demand.value, demand.index);
  }
  llvm_unreachable("a form");
}

void ElementEmitter::emitOperands(Value value, const Index &index) {
  // Depth first, first operand first: the order of a recursive walk.
  struct Pending {
    Demand demand;
    bool expanded = false;
  };
  SmallVector<Pending, 0> work;
  auto push = [&](Value of, const Index &at) {
    SmallVector<Demand> demands = operandsOf(of, at);
    for (Demand &demand : llvm::reverse(demands))
      if (!isKnown(demand))
        work.push_back({std::move(demand)});
  };
  // A known element may still be wanted in another form.
  auto isStored = [&](const Demand &demand) {
    return isKnown({demand.value, demand.index, Form::Stored});
  };
  push(value, index);
  while (!work.empty()) {
    if (!work.back().expanded && !isStored(work.back().demand)) {
      work.back().expanded = true;
      Demand demand = work.back().demand;
      push(demand.value, demand.index);
      continue;
    }
    Demand demand = work.pop_back_val().demand;
    if (!isKnown(demand))
      emit(demand);
  }
}

//===----------------------------------------------------------------------===//
// Results
//===----------------------------------------------------------------------===//

Value ElementEmitter::compute(Value value, const Index &index) {
  Operation *op = getComputedBy(value);
  if (!op)
    return load(value.getLoc(), resolveBuffer(value), index);
  SmallVector<Value> operands;
  for (const Demand &demand : operandsOf(value, index))
    operands.push_back(emit(demand));
  return combine(op, value, index, operands);
}

Value ElementEmitter::combine(Operation *op, Value value, const Index &index,
                              ArrayRef<Value> operands) {
  Location loc = op->getLoc();
  Type element = cast<RankedTensorType>(value.getType()).getElementType();
  auto refuse = [&] {
    return error(op,
                 "convert_quern_c2: has no meaning per element inside this "
                 "kernel",
                 getStoredType(element));
  };
  if (auto arithmetic = dyn_cast<ArithmeticInterface>(op)) {
    Value result = emitArithmetic(builder, arithmetic, operands);
    return result ? fromF32(builder, loc, result, element) : refuse();
  }
  return TypeSwitch<Operation *, Value>(op)
      .Case([&](CastOp cast) {
        bool same = cast.getInput().getType().getElementType() == element;
        return same ? operands[0] : fromF32(builder, loc, operands[0], element);
      })
      .Case([&](CompareOp compare) {
        return emitCompare(builder, compare, operands[0], operands[1]);
      })
      .Case([&](SelectOp) -> Value {
        return arith::SelectOp::create(builder, loc, operands[0], operands[1],
                                       operands[2]);
      })
      .Case([&](PowerOfTwoOp power) {
        return emitPowerOfTwo(builder, power, operands[0]);
      })
      .Case([&](EncodeOp encode) {
        Value zero = encode.getZeros() ? operands[2] : Value();
        return emitCode(builder, loc, operands[0], operands[1], zero,
                        encode.getQuantizer(), encode.getWithinAttr(), element);
      })
      .Case([&](CorrectZerosOp) {
        Value result = operands[0];
        for (size_t i = 1; i + 1 < operands.size(); i += 2) {
          Value correction =
              arith::MulIOp::create(builder, loc, operands[i], operands[i + 1]);
          result = arith::SubIOp::create(builder, loc, result, correction);
        }
        return result;
      })
      .Case([&](DequantizeOp dequantize) {
        return combineDequantize(dequantize, index, operands);
      })
      .Case<CodesOp, ScalesOp, ZerosOp>([&](auto) {
        return operands.empty() ? load(loc, resolveBuffer(value), index)
                                : operands[0];
      })
      .Case<ExpandScalesOp, ReshapeOp, TransposeOp, SliceOp>(
          [&](auto) { return operands[0]; })
      .Case([&](GatherOp gather) {
        return emitGather(gather, index, operands[0]);
      })
      .Case([&](ConcatOp concat) { return emitConcat(concat, index); })
      .Case([&](ReduceOp reduce) { return emitReduce(reduce, index); })
      .Case([&](SumCodesOp sums) { return emitSumCodes(sums, index); })
      .Case([&](CountClippedOp op) { return emitCountClipped(op, index); })
      .Case([&](PercentileOp op) { return emitPercentile(op, index); })
      .Case([&](AddCountsOp op) { return emitAddCounts(op, index); })
      .Case<SoftmaxOp, RmsNormOp, LayerNormOp>(
          [&](auto) { return emitRowOp(op, index); })
      .Default([&](Operation *) { return refuse(); });
}

Value ElementEmitter::combineDequantize(DequantizeOp op, const Index &index,
                                        ArrayRef<Value> operands) {
  Location loc = op.getLoc();
  QTensorType type = op.getInput().getType();
  Value code, scale, zero;
  if (!operands.empty()) {
    code = operands[0];
    scale = operands[1];
    zero = type.hasZeros() ? operands[2] : Value();
  } else {
    Index block = simplifyAll(blockIndex(
        index, normalizeBlock(type.getCodes(), type.getScale().getBlock())));
    Value stored = load(loc, {op.getInput(), Part::Codes}, index);
    code = toF32(builder, loc, stored, type.getCodes().getElementType());
    auto ofBlock = [&](Part part, Type element) {
      Value result;
      auto emit = [&] {
        Value stored = load(loc, {op.getInput(), part}, block);
        result = toF32(builder, loc, stored, element);
      };
      if (inInner && outerBlock && !usesInner(block))
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
}

Value ElementEmitter::emitGather(GatherOp op, const Index &index, Value row) {
  Location loc = op.getLoc();
  unsigned rank = op.getIndices().getType().getRank();
  AffineExpr rows = getDims(op.getTable().getType())[0];
  if (getLowerBound(rows, scope.layer) < 1)
    return error(op,
                 "convert_quern_c4: the table may have no rows; give the "
                 "symbol of its first axis a minimum of 1",
                 getStoredType(op.getResult().getType().getElementType()));
  Type indexType = builder.getIndexType();
  row = arith::IndexCastOp::create(builder, loc, indexType, row);
  Value zero = indexValue(loc, builder.getAffineConstantExpr(0));
  Value last = indexValue(loc, rows - 1);
  Value notBelow = arith::MaxSIOp::create(builder, loc, row, zero);
  row = arith::MinSIOp::create(builder, loc, notBelow, last);
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
    Value notBelow = arith::MaxSIOp::create(builder, loc, local, zero);
    Value last = indexValue(loc, length - 1);
    local = arith::MinSIOp::create(builder, loc, notBelow, last);
    Index source = index;
    source[op.getAxis()] = addDim(local, inInner, 0);
    parts.push_back({offset, emitStored(input, source)});
    offset = simplifyAffineExpr(offset + length, 0, scope.numSymbols);
  }
  Value result = parts[0].second;
  for (auto &[start, element] : llvm::drop_begin(parts)) {
    Value first = indexValue(loc, start);
    Value inside = arith::CmpIOp::create(builder, loc,
                                         arith::CmpIPredicate::sge, at, first);
    result = arith::SelectOp::create(builder, loc, inside, element, result);
  }
  return result;
}
