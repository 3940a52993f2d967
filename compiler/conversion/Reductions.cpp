//===- Reductions.cpp - Reductions, softmax and norms ---------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// The part of ElementEmitter that builds tile.reduce and tile.map over blocks.
// What lies between two stages of a row op (the centred values of a layernorm,
// the exponentials of a softmax) is computed again in each stage: rows are in
// cache, and no local buffer is needed.
//
//===----------------------------------------------------------------------===//

#include "compiler/conversion/ElementEmitter.h"
#include "compiler/conversion/Elementwise.h"

#include <bit>

using namespace mlir;
using namespace quern;
using namespace quern::conversion;
using namespace quern::ir;

ElementEmitter::Box ElementEmitter::getBox(RankedTensorType shape,
                                           ArrayRef<int64_t> extents,
                                           const Index &block) {
  Box box;
  SmallVector<AffineExpr> lengths = getDims(shape);
  for (auto [d, extent] : llvm::enumerate(extents)) {
    if (extent == 1)
      continue;
    box.boxDims.push_back(d);
    AffineExpr length = lengths[d];
    if (extent == 0) {
      auto constant = dyn_cast<AffineConstantExpr>(length);
      box.extents.push_back(length);
      box.clamp.push_back(length);
      box.bounds.push_back(constant ? constant.getValue() : 0);
      continue;
    }
    box.extents.push_back(builder.getAffineConstantExpr(extent));
    box.bounds.push_back(extent);
    if (isMultipleOf(length, extent, scope.symbols)) {
      box.clamp.push_back(box.extents.back());
    } else {
      box.clamp.push_back(length - block[d] * extent);
      box.clamped = true;
    }
  }
  return box;
}

void ElementEmitter::fillBox(Operation *op, Region &region, const Box &box,
                             ArrayRef<int64_t> extents, const Index &block,
                             function_ref<void(const Index &)> element) {
  Block &body = region.emplaceBlock();
  for (size_t i = 0; i < box.boxDims.size(); ++i)
    body.addArgument(builder.getIndexType(), op->getLoc());
  Operation *savedAnchor = std::exchange(outerAnchor, op);
  withInner(&body, box.bounds, [&](const Index &inner) {
    Index index(block);
    for (auto [position, d] : llvm::enumerate(box.boxDims))
      index[d] = extents[d] == 0 ? inner[position]
                                 : block[d] * extents[d] + inner[position];
    element(index);
  });
  outerAnchor = savedAnchor;
}

Value ElementEmitter::reduce(Operation *op, unsigned slot,
                             tile::ReduceKind kind, RankedTensorType shape,
                             ArrayRef<int64_t> extents, const Index &block,
                             function_ref<Value(const Index &)> element) {
  bool integer =
      kind == tile::ReduceKind::UMax || kind == tile::ReduceKind::AddI;
  Type type = integer ? Type(builder.getI32Type()) : Type(builder.getF32Type());
  Index at = simplifyAll(block);
  if (!outerBlock || usesInner(at))
    return error(op,
                 "convert_quern_c2: its blocks are not the blocks of the "
                 "kernel it is in",
                 type);
  auto key = memoKey(op, 16 + slot, at);
  if (auto it = outerMemo.find(key); it != outerMemo.end())
    return it->second;
  Value result;
  atOuter([&] {
    Box box = getBox(shape, extents, at);
    SmallVector<AffineExpr> exprs(box.extents);
    exprs.append(box.clamp);
    auto [both, point] = access(exprs);
    unsigned rank = box.extents.size();
    auto reduceOp = tile::ReduceOp::create(
        builder, op->getLoc(), type,
        tile::ReduceKindAttr::get(builder.getContext(), kind), point,
        AffineMapAttr::get(both.getSliceMap(0, rank)),
        box.clamped ? AffineMapAttr::get(both.getSliceMap(rank, rank))
                    : AffineMapAttr());
    fillBox(reduceOp, reduceOp.getBody(), box, extents, at,
            [&](const Index &index) {
              Value contribution = element(index);
              tile::YieldOp::create(builder, op->getLoc(), contribution);
            });
    result = reduceOp;
  });
  outerMemo[key] = result;
  return result;
}

void ElementEmitter::map(Location loc, RankedTensorType shape,
                         ArrayRef<int64_t> extents, const Index &block,
                         function_ref<void(const Index &)> element) {
  atOuter([&] {
    Index at = simplifyAll(block);
    Box box = getBox(shape, extents, at);
    SmallVector<AffineExpr> exprs(box.extents);
    exprs.append(box.clamp);
    auto [both, point] = access(exprs);
    unsigned rank = box.extents.size();
    auto mapOp = tile::MapOp::create(
        builder, loc, point, AffineMapAttr::get(both.getSliceMap(0, rank)),
        box.clamped ? AffineMapAttr::get(both.getSliceMap(rank, rank))
                    : AffineMapAttr());
    fillBox(mapOp, mapOp.getBody(), box, extents, at, [&](const Index &index) {
      element(index);
      tile::YieldOp::create(builder, loc, ValueRange());
    });
  });
}

Value ElementEmitter::blockCount(Location loc, RankedTensorType shape,
                                 ArrayRef<int64_t> extents,
                                 const Index &block) {
  // As an index value where it depends on symbols or on where a block ends.
  int64_t constant = 1;
  Value dynamic;
  auto multiply = [&](Value value) {
    dynamic =
        dynamic ? arith::MulIOp::create(builder, loc, dynamic, value) : value;
  };
  SmallVector<AffineExpr> lengths = getDims(shape);
  for (auto [d, extent] : llvm::enumerate(extents)) {
    AffineExpr length = lengths[d];
    auto fixed = dyn_cast<AffineConstantExpr>(length);
    if (extent == 0 && fixed) {
      constant *= fixed.getValue();
    } else if (extent == 0) {
      multiply(indexValue(loc, length));
    } else if (extent == 1 || isMultipleOf(length, extent, scope.symbols)) {
      constant *= extent;
    } else {
      Value left = indexValue(loc, simplify(length - block[d] * extent,
                                            dimExtents, scope.numSymbols));
      Value whole = indexValue(loc, builder.getAffineConstantExpr(extent));
      multiply(arith::MinSIOp::create(builder, loc, left, whole));
    }
  }
  if (!dynamic)
    return emitFloat(builder, loc, static_cast<float>(constant));
  if (constant != 1)
    multiply(indexValue(loc, builder.getAffineConstantExpr(constant)));
  Value integer =
      arith::IndexCastOp::create(builder, loc, builder.getI32Type(), dynamic);
  return arith::SIToFPOp::create(builder, loc, builder.getF32Type(), integer);
}

Value ElementEmitter::emitReduce(ReduceOp op, const Index &index) {
  Location loc = op.getLoc();
  RankedTensorType shape = op.getInput().getType();
  SmallVector<int64_t> extents = normalizeBlock(shape, op.getBlock());
  Type element = op.getResult().getType().getElementType();
  auto value = [&](const Index &at) { return emitF32(op.getInput(), at); };
  switch (op.getKind()) {
  case ir::ReduceKind::AbsMax: {
    Value bits =
        reduce(op, 0, tile::ReduceKind::UMax, shape, extents, index,
               [&](const Index &at) -> Value {
                 Value raw = arith::BitcastOp::create(
                     builder, loc, builder.getI32Type(), value(at));
                 Value mask = arith::ConstantOp::create(
                     builder, loc, builder.getI32IntegerAttr(0x7fffffff));
                 return arith::AndIOp::create(builder, loc, raw, mask);
               });
    return arith::BitcastOp::create(builder, loc, builder.getF32Type(), bits);
  }
  case ir::ReduceKind::Max:
    return fromF32(
        builder, loc,
        reduce(op, 0, tile::ReduceKind::MaximumF, shape, extents, index, value),
        element);
  case ir::ReduceKind::Min: {
    // The negated maximum of what is negated: exact, and NaN stays NaN.
    Value most = reduce(op, 0, tile::ReduceKind::MaximumF, shape, extents,
                        index, [&](const Index &at) -> Value {
                          return arith::NegFOp::create(builder, loc, value(at));
                        });
    return fromF32(builder, loc, arith::NegFOp::create(builder, loc, most),
                   element);
  }
  case ir::ReduceKind::Sum:
  case ir::ReduceKind::Mean: {
    Value sum =
        reduce(op, 0, tile::ReduceKind::AddF, shape, extents, index, value);
    if (op.getKind() == ir::ReduceKind::Mean)
      sum = arith::DivFOp::create(builder, loc, sum,
                                  blockCount(loc, shape, extents, index));
    return fromF32(builder, loc, sum, element);
  }
  }
  return {};
}

Value ElementEmitter::emitSumCodes(SumCodesOp op, const Index &index) {
  Location loc = op.getLoc();
  RankedTensorType shape = op.getInput().getType();
  return reduce(
      op, 0, tile::ReduceKind::AddI, shape,
      normalizeBlock(shape, op.getBlock()), index,
      [&](const Index &at) -> Value {
        Value code = emitI32(op.getInput(), at);
        if (!op.getZeros())
          return code;
        Value zero =
            emitI32(op.getZeros(),
                    blockIndex(at, normalizeBlock(shape, *op.getZerosBlock())));
        return arith::SubIOp::create(builder, loc, code, zero);
      });
}

Value ElementEmitter::emitCountClipped(CountClippedOp op, const Index &index) {
  Location loc = op.getLoc();
  RankedTensorType shape = op.getInput().getType();
  Value count =
      reduce(op, 0, tile::ReduceKind::AddI, shape,
             normalizeBlock(shape, op.getBlock()), index,
             [&](const Index &at) -> Value {
               Value x = emitF32(op.getInput(), at);
               Value scale = emitF32(
                   op.getScales(),
                   blockIndex(at, normalizeBlock(shape, op.getScaleBlock())));
               return emitIsClipped(builder, loc, x, scale, op.getQuantizer(),
                                    op.getFloatCodes());
             });
  return op.getBefore()
             ? arith::AddIOp::create(builder, loc,
                                     emitI32(op.getBefore(), index), count)
                   .getResult()
             : count;
}

/// The key is found bit by bit from the top, each by counting the elements that
/// reach it: passes over a block in cache, and sums whose order is free.
Value ElementEmitter::emitPercentile(PercentileOp op, const Index &index) {
  constexpr int shift = 23 - static_cast<int>(Statistic::bits);
  constexpr int keyOfInfinity = 0x7f800000 >> shift;
  Location loc = op.getLoc();
  RankedTensorType shape = op.getInput().getType();
  SmallVector<int64_t> extents = normalizeBlock(shape, op.getBlock());
  Index at = simplifyAll(index);
  if (!outerBlock || usesInner(at))
    return error(op,
                 "convert_quern_c2: its blocks are not the blocks of the "
                 "kernel it is in",
                 builder.getF32Type());
  auto known = memoKey(op, 15, at);
  if (auto it = outerMemo.find(known); it != outerMemo.end())
    return it->second;
  auto number = [&](int32_t value) -> Value {
    return arith::ConstantOp::create(builder, loc,
                                     builder.getI32IntegerAttr(value));
  };
  auto isAbove = [&](Value a, Value b) -> Value {
    return arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::sgt, a, b);
  };
  auto choose = [&](Value condition, Value yes, Value no) -> Value {
    return arith::SelectOp::create(builder, loc, condition, yes, no);
  };
  Value allowed, found;
  atOuter([&] {
    Value count = blockCount(loc, shape, extents, at);
    Value tail = emitFloat(builder, loc, op.getTail().convertToFloat());
    Value share = arith::MulFOp::create(builder, loc, count, tail);
    allowed =
        arith::FPToSIOp::create(builder, loc, builder.getI32Type(), share);
    found = number(0);
  });
  unsigned slot = 0;
  for (int bit = std::bit_width(unsigned(keyOfInfinity)); bit-- > 0; ++slot) {
    Value candidate, least;
    atOuter([&] {
      candidate = arith::OrIOp::create(builder, loc, found, number(1 << bit));
      // One below the least pattern of that key.
      least = arith::ShLIOp::create(builder, loc, candidate, number(shift));
      least = arith::SubIOp::create(builder, loc, least, number(1));
    });
    Value reached = reduce(
        op, slot, tile::ReduceKind::AddI, shape, extents, at,
        [&](const Index &element) -> Value {
          Value bits =
              arith::BitcastOp::create(builder, loc, builder.getI32Type(),
                                       emitF32(op.getInput(), element));
          bits = arith::AndIOp::create(builder, loc, bits, number(0x7fffffff));
          // All NaNs are one, beside infinity.
          bits = arith::MinSIOp::create(builder, loc, bits, number(0x7f800000));
          Value one = number(1), none = number(0);
          return choose(isAbove(bits, least), one, none);
        });
    atOuter(
        [&] { found = choose(isAbove(reached, allowed), candidate, found); });
  }
  Value result;
  atOuter([&] {
    Value edge = arith::AddIOp::create(builder, loc, found, number(1));
    edge = arith::ShLIOp::create(builder, loc, edge, number(shift));
    edge = arith::MinSIOp::create(builder, loc, edge, number(0x7f7fffff));
    // 4080 << 19 is infinity; one key more would be beyond 31 bits.
    Value isFinite = isAbove(number(keyOfInfinity), found);
    edge = choose(isFinite, edge, number(0x7f800000));
    result = arith::BitcastOp::create(builder, loc, builder.getF32Type(), edge);
  });
  outerMemo[known] = result;
  return result;
}

Value ElementEmitter::emitAddCounts(AddCountsOp op, const Index &index) {
  Location loc = op.getLoc();
  RankedTensorType shape = op.getInput().getType();
  Value sum =
      reduce(op, 0, tile::ReduceKind::AddI, shape,
             normalizeBlock(shape, op.getBlock()), index,
             [&](const Index &at) { return emitI32(op.getInput(), at); });
  return op.getBefore() ? arith::AddIOp::create(
                              builder, loc, emitI32(op.getBefore(), index), sum)
                              .getResult()
                        : sum;
}

Value ElementEmitter::emitRowOp(Operation *op, const Index &index) {
  Location loc = op->getLoc();
  Value input = op->getOperand(0);
  auto shape = cast<RankedTensorType>(input.getType());
  SmallVector<int64_t> extents(shape.getRank(), 1);
  extents.back() = 0;
  extents = normalizeBlock(shape, extents);
  // The row: an extent of 1 that became the whole axis needs index 0 too.
  Index row = blockIndex(index, extents);
  Type element =
      cast<RankedTensorType>(op->getResult(0).getType()).getElementType();
  auto reduceRow = [&](unsigned slot, tile::ReduceKind kind,
                       function_ref<Value(const Index &)> body) {
    return reduce(op, slot, kind, shape, extents, row, body);
  };
  // Scalars of the row are emitted once, outside of the element bodies.
  auto atRow = [&](unsigned slot, function_ref<Value()> emit) {
    auto key = memoKey(op, 64 + slot, simplifyAll(row));
    if (auto it = outerMemo.find(key); it != outerMemo.end())
      return it->second;
    Value result;
    if (!outerBlock || usesInner(simplifyAll(row)))
      return error(op,
                   "convert_quern_c2: its rows are not the blocks of the "
                   "kernel it is in",
                   builder.getF32Type());
    atOuter([&] { result = emit(); });
    outerMemo[key] = result;
    return result;
  };
  auto x = [&](const Index &at) { return emitF32(input, at); };
  auto sub = [&](Value a, Value b) -> Value {
    return arith::SubFOp::create(builder, loc, a, b);
  };
  auto add = [&](Value a, Value b) -> Value {
    return arith::AddFOp::create(builder, loc, a, b);
  };
  auto mul = [&](Value a, Value b) -> Value {
    return arith::MulFOp::create(builder, loc, a, b);
  };
  auto div = [&](Value a, Value b) -> Value {
    return arith::DivFOp::create(builder, loc, a, b);
  };

  if (isa<SoftmaxOp>(op)) {
    auto exponential = [&](const Index &at) -> Value {
      Value max = reduceRow(0, tile::ReduceKind::MaximumF, x);
      return math::ExpOp::create(builder, loc, sub(x(at), max));
    };
    Value sum = reduceRow(1, tile::ReduceKind::AddF, exponential);
    return fromF32(builder, loc, div(exponential(index), sum), element);
  }

  // mean(f) over the row; 1 / sqrt(mean + eps).
  auto mean = [&](unsigned slot, function_ref<Value(const Index &)> body) {
    return atRow(slot, [&] {
      Value sum = reduceRow(slot, tile::ReduceKind::AddF, body);
      return div(sum, blockCount(loc, shape, extents, row));
    });
  };
  auto inverseRoot = [&](unsigned slot, APFloat eps,
                         function_ref<Value(const Index &)> body) {
    Value variance = mean(slot, body);
    return atRow(slot + 8, [&] {
      Value shifted =
          add(variance, emitFloat(builder, loc, eps.convertToFloat()));
      Value root = math::SqrtOp::create(builder, loc, shifted);
      return div(emitFloat(builder, loc, 1.0f), root);
    });
  };
  Index last{index.back()};
  auto weight = [&](Value vector) { return emitF32(vector, last); };

  if (auto norm = dyn_cast<RmsNormOp>(op)) {
    Value r = inverseRoot(0, norm.getEps(),
                          [&](const Index &at) { return mul(x(at), x(at)); });
    return fromF32(builder, loc,
                   mul(mul(x(index), r), weight(norm.getWeight())), element);
  }
  auto norm = cast<LayerNormOp>(op);
  auto centred = [&](const Index &at) {
    Value u = mean(0, x);
    return sub(x(at), u);
  };
  Value r = inverseRoot(1, norm.getEps(), [&](const Index &at) {
    Value d = centred(at);
    return mul(d, d);
  });
  Value y = mul(mul(centred(index), r), weight(norm.getWeight()));
  return fromF32(builder, loc, add(y, weight(norm.getBias())), element);
}
