//===- StoredDecoding.cpp - Stored elements on their way to a product -----===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Many rows multiply chunks that were decoded into scratch; few rows decode in
// registers, where each element is used a few times and then forgotten.
//
//===----------------------------------------------------------------------===//

#include "compiler/lower/cpu/ColumnFactors.h"
#include "compiler/lower/cpu/ContractLowering.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace quern;
using namespace quern::cpugen;
using llvm::Value;
namespace arith = mlir::arith;

/// An integer of 8 bits that is rounded to a float of 16 is exact there: what
/// stands in front of the rounding.
static mlir::Value withoutExactRounding(mlir::Value value) {
  auto rounded = value.getDefiningOp<arith::TruncFOp>();
  mlir::Operation *source = rounded ? rounded.getIn().getDefiningOp() : nullptr;
  if (source && llvm::isa<arith::SIToFPOp, arith::UIToFPOp>(source) &&
      source->getOperand(0).getType().isInteger(8) &&
      value.getType().getIntOrFloatBitWidth() == 16)
    return rounded.getIn();
  return value;
}

llvm::SmallVector<Value *>
StoredPanels::loadFactors(Emitter &e, const ContractPlan &plan, unsigned number,
                          Value *start, unsigned half) const {
  const StoredOperand &operand = operands[number];
  llvm::SmallVector<Value *> factors;
  for (auto [i, factor] : llvm::enumerate(operand.factors)) {
    mlir::Type stored = factor.stored.getType();
    int64_t place = factorOffset(operand, i) +
                    half * plan.lanes * ColumnFactors::bytesOf(stored);
    factors.push_back(ColumnFactors::load(e, plan.lanes, stored,
                                          e.offset(start, e.i64(place))));
  }
  return factors;
}

Emitter::Values StoredPanels::decodeRow(
    KernelScope &scope, const ContractPlan &plan, unsigned number, Value *line,
    unsigned half, llvm::ArrayRef<Value *> factors, unsigned elements) const {
  Emitter &e = scope.e;
  llvm::IRBuilder<> &b = e.b;
  const StoredOperand &operand = operands[number];
  mlir::Block &block = plan.op.getRhsRegion(number).front();
  unsigned lanes = plan.lanes;
  llvm::Type *vector = vectorType(e, lanes);
  Value *row =
      e.load(vector, e.offset(line, e.i64(half * lanes * storageBytes())),
             Memory::Read, 1);
  // As the region's load gives them; halves in 32 bits, to which they are
  // widened anyway.
  Emitter::Values loaded = {row};
  if (elementsPerRow() == 2) {
    Value *wide = b.CreateZExt(row, e.vectorType(b.getInt32Ty(), lanes));
    bool isSigned = operand.dtype == DType::I4;
    auto nibble = [&](unsigned up) {
      Value *moved = b.CreateShl(wide, e.i32(up, wide));
      moved = isSigned ? b.CreateAShr(moved, e.i32(28, wide))
                       : b.CreateLShr(moved, e.i32(28, wide));
      return b.CreateTrunc(moved, vector);
    };
    loaded = {nibble(28)};
    if (elements == 2)
      loaded.push_back(nibble(24));
  }
  Emitter::Values decoded;
  for (Value *value : loaded) {
    ElementBody body(scope, lanes, nullptr);
    body.bind(operand.load.getResult(), {value});
    for (auto [factor, bits] : llvm::zip(operand.factors, factors))
      body.bind(factor.value, {bits});
    for (mlir::Operation *op : operand.elementOps)
      body.emit(*op);
    mlir::Value result =
        withoutExactRounding(block.getTerminator()->getOperand(0));
    Value *element = body.spread(body.lookup(result));
    decoded.push_back(e.decode(element, *getDType(result.getType())));
  }
  return decoded;
}

Value *StoredPanels::lineOf(Emitter &e, Value *start, Value *row) const {
  return e.offset(rowAddress(e, e.i64(0), start),
                  e.mul(row, e.i64(rowBytes())));
}

llvm::Function *StoredPanels::emitDecoding(Emitter &e, const ContractPlan &plan,
                                           unsigned number,
                                           llvm::StringRef name) const {
  llvm::IRBuilder<> &b = e.b;
  llvm::IRBuilder<>::InsertPointGuard guard(b);
  llvm::Type *pointer = b.getPtrTy(), *i64 = b.getInt64Ty();
  auto *type = llvm::FunctionType::get(
      b.getVoidTy(), {pointer, i64, i64, i64, pointer}, false);
  llvm::Function *function = e.beginFunction(name, type, /*external=*/false);
  function->addFnAttr(llvm::Attribute::NoInline);
  Value *panel = function->getArg(0), *bytes = function->getArg(1);
  Value *begin = function->getArg(2), *end = function->getArg(3);
  Value *target = function->getArg(4);
  KernelScope scope{
      .e = e, .symbols = {}, .buffers = decltype(scope.buffers)()};
  unsigned lanes = plan.lanes, perRow = elementsPerRow();
  auto decodePart = [&](Value *start, Value *base, Value *first, Value *last) {
    llvm::SmallVector<Value *> factors[2];
    for (unsigned half = 0; half < 2; ++half)
      factors[half] = loadFactors(e, plan, number, start, half);
    e.loop(first, last, e.i64(perRow), [&](Value *k) {
      Value *row = e.floorDiv(b.CreateSub(k, base), e.i64(perRow));
      Value *line = lineOf(e, start, row);
      Value *out = e.offset(
          target, e.mul(b.CreateSub(k, begin), e.i64(plan.rowBytes())));
      for (unsigned half = 0; half < 2; ++half)
        for (auto [i, element] : llvm::enumerate(decodeRow(
                 scope, plan, number, line, half, factors[half], perRow)))
          e.store(element,
                  e.offset(out, e.i64(i * plan.rowBytes() + half * lanes * 4)),
                  Memory::Scratch, 4 * lanes);
    });
  };
  if (!group) {
    decodePart(panel, e.i64(0), begin, end);
  } else {
    Value *length = e.i64(*group);
    e.loop(e.floorDiv(begin, length), e.ceilDiv(end, length), e.i64(1),
           [&](Value *index) {
             Value *base = e.mul(index, length);
             decodePart(e.offset(panel, e.mul(index, bytes)), base,
                        e.max(begin, base), e.min(end, e.add(base, length)));
           });
  }
  b.CreateRetVoid();
  return function;
}

llvm::Function *StoredPanels::emitFewRows(Emitter &e, const ContractPlan &plan,
                                          unsigned number, unsigned rows,
                                          llvm::StringRef name) const {
  llvm::IRBuilder<> &b = e.b;
  llvm::IRBuilder<>::InsertPointGuard guard(b);
  llvm::Type *pointer = b.getPtrTy(), *i64 = b.getInt64Ty();
  auto *type = llvm::FunctionType::get(
      b.getVoidTy(), {pointer, i64, pointer, i64, i64, i64, pointer}, false);
  llvm::Function *function = e.beginFunction(name, type, /*external=*/false);
  function->addFnAttr(llvm::Attribute::NoInline);
  Value *left = function->getArg(0), *stride = function->getArg(1);
  Value *panel = function->getArg(2), *apart = function->getArg(3);
  Value *bytes = function->getArg(4), *k = function->getArg(5);
  Value *sums = function->getArg(6);
  KernelScope scope{
      .e = e, .symbols = {}, .buffers = decltype(scope.buffers)()};
  unsigned lanes = plan.lanes;
  constexpr unsigned panels = 2;
  llvm::Type *vector = e.vectorType(b.getFloatTy(), lanes);

  // In the order of panels, rows and halves.
  Emitter::Values zeros(panels * rows * 2,
                        llvm::Constant::getNullValue(vector));
  auto addPart = [&](Value *start, Value *base, Value *count,
                     Emitter::Values before) {
    llvm::SmallVector<Value *> factors[panels][2];
    for (unsigned i = 0; i < panels; ++i)
      for (unsigned half = 0; half < 2; ++half)
        factors[i][half] = loadFactors(
            e, plan, number, e.offset(start, e.mul(apart, e.i64(i))), half);
    auto addRow = [&](Value *row, unsigned elements,
                      llvm::ArrayRef<Value *> carried) {
      Emitter::Values next(carried);
      Value *first = e.add(base, e.mul(row, e.i64(elementsPerRow())));
      llvm::SmallVector<Value *> elementsOfLeft;
      for (unsigned i = 0; i < elements; ++i)
        for (unsigned each = 0; each < rows; ++each) {
          Value *place = e.add(e.mul(stride, e.i64(each)),
                               e.mul(e.add(first, e.i64(i)), e.i64(4)));
          elementsOfLeft.push_back(e.splat(
              e.load(b.getFloatTy(), e.offset(left, place), Memory::Scratch, 4),
              lanes));
        }
      for (unsigned i = 0; i < panels; ++i) {
        Value *line = lineOf(e, e.offset(start, e.mul(apart, e.i64(i))), row);
        for (unsigned half = 0; half < 2; ++half) {
          Emitter::Values decoded = decodeRow(scope, plan, number, line, half,
                                              factors[i][half], elements);
          for (auto [step, element] : llvm::enumerate(decoded))
            for (unsigned each = 0; each < rows; ++each) {
              Value *&sum = next[2 * (i * rows + each) + half];
              sum = multiplyAdd(e, plan, sum,
                                elementsOfLeft[step * rows + each], element);
            }
        }
      }
      return next;
    };
    unsigned perRow = elementsPerRow();
    Value *whole = e.floorDiv(count, e.i64(perRow));
    Emitter::Values after =
        e.loop(e.i64(0), whole, e.i64(1), before,
               [&](Value *row, llvm::ArrayRef<Value *> carried) {
                 return addRow(row, perRow, carried);
               });
    // Groups are even; K may not be.
    bool isEven = plan.constantK().value_or(1) % perRow == 0;
    if (isEven)
      return after;
    // The second element of the last row may be none.
    Value *rest = b.CreateSub(count, e.mul(whole, e.i64(perRow)));
    return e.branch(
        b.CreateICmpSGT(rest, e.i64(0)),
        [&] { return addRow(whole, 1, after); }, [&] { return after; });
  };
  Emitter::Values results;
  if (!group) {
    results = addPart(panel, e.i64(0), k, zeros);
  } else {
    Value *length = e.i64(*group);
    results = e.loop(e.i64(0), e.ceilDiv(k, length), e.i64(1), zeros,
                     [&](Value *index, llvm::ArrayRef<Value *> carried) {
                       Value *base = e.mul(index, length);
                       return addPart(e.offset(panel, e.mul(index, bytes)),
                                      base, e.min(length, b.CreateSub(k, base)),
                                      Emitter::Values(carried));
                     });
  }
  for (auto [i, result] : llvm::enumerate(results)) {
    unsigned which = i / (2 * rows), vectorInTile = i % (2 * rows);
    e.store(result,
            e.offset(sums, e.i64(which * plan.tileBytes() +
                                 vectorInTile * lanes * 4)),
            Memory::Scratch, 4 * lanes);
  }
  b.CreateRetVoid();
  return function;
}

//===----------------------------------------------------------------------===//
// In the product's kernel
//===----------------------------------------------------------------------===//

/// A chunk of each right operand's panels.
void ContractLowering::decodePanels(llvm::ArrayRef<Value *> packedPanels,
                                    Value *chunk) {
  Value *length = e.i64(*plan.blocking.chunkSteps);
  Value *first = e.mul(chunk, length);
  Value *last = e.min(e.add(first, length), k);
  forWidenedPanels(packedPanels, [&](unsigned right, Value *from, Value *to) {
    b.CreateCall(decoding[right], {from, groupBytes, first, last, to});
  });
}

/// Few rows by two panels, all of K.
void ContractLowering::multiplyDecoding(const TilePosition &at) {
  unsigned few = plan.blocking.fewRows;
  for (unsigned term = 0; term < op.getNumTerms(); ++term) {
    unsigned right = op.getTerms()[2 * term + 1];
    Value *tile = decodingFew[right * few];
    for (unsigned rows = 2; rows <= few; ++rows)
      tile = b.CreateSelect(b.CreateICmpEQ(at.rows, e.i64(rows)),
                            decodingFew[right * few + rows - 1], tile);
    b.CreateCall(decodingFew[0]->getFunctionType(), tile,
                 {left(term, at.tileRow), leftStride, panel(term, at),
                  bytesApart(at.panels), groupBytes, k, sums(term, at)});
  }
}

/// Changes what a tile works on to the chunk that was decoded; meanwhile it
/// fetches its share of the next one, or of the next panel's first.
void ContractLowering::readDecoded(TileData &data, const TilePosition &at,
                                   unsigned term, Value *firstStep) {
  data.panel = widePanel(op.getTerms()[2 * term + 1]);
  data.panelBytes = e.i64(plan.wideChunkBytes());
  Value *later = e.add(firstStep, e.i64(*plan.blocking.chunkSteps));
  Value *share =
      e.mul(e.mul(e.i64(*plan.blocking.chunkSteps), fetch.step), at.number);
  data.ahead =
      e.offset(panel(term, at),
               e.add(plan.storedPanels->offsetOf(e, later, groupBytes), share));
}
