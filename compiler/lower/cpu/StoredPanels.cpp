//===- StoredPanels.cpp - Float operands packed as they are stored --------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/lower/cpu/StoredPanels.h"

#include "compiler/lower/cpu/ColumnFactors.h"
#include "compiler/lower/cpu/Contract.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "llvm/ADT/DenseSet.h"

using namespace quern;
using namespace quern::cpugen;
using llvm::Value;
namespace arith = mlir::arith;

//===----------------------------------------------------------------------===//
// What a region does
//===----------------------------------------------------------------------===//

/// Whether `expr` uses dimension `dim` by its quotients by constants alone,
/// which are added to `divisors`.
static bool usesQuotients(mlir::AffineExpr expr, unsigned dim,
                          llvm::SmallVectorImpl<int64_t> &divisors) {
  if (!expr.isFunctionOfDim(dim))
    return true;
  auto binary = llvm::dyn_cast<mlir::AffineBinaryOpExpr>(expr);
  if (!binary)
    return false;
  auto divisor = llvm::dyn_cast<mlir::AffineConstantExpr>(binary.getRHS());
  if (binary.getKind() == mlir::AffineExprKind::FloorDiv && divisor &&
      divisor.getValue() > 0 &&
      binary.getLHS() == mlir::getAffineDimExpr(dim, expr.getContext())) {
    divisors.push_back(divisor.getValue());
    return true;
  }
  return usesQuotients(binary.getLHS(), dim, divisors) &&
         usesQuotients(binary.getRHS(), dim, divisors);
}

/// The least of the divisors, if all others are its multiples.
static std::optional<int64_t> groupOf(llvm::ArrayRef<int64_t> divisors) {
  int64_t least = *llvm::min_element(divisors);
  bool fits = llvm::all_of(
      divisors, [&](int64_t divisor) { return divisor % least == 0; });
  return fits ? std::optional(least) : std::nullopt;
}

/// Whether an op converts to or from f16.
static bool touchesHalf(mlir::Operation &op) {
  auto isHalf = [](mlir::Type type) { return type.isF16(); };
  return llvm::any_of(op.getOperandTypes(), isHalf) ||
         llvm::any_of(op.getResultTypes(), isHalf);
}

namespace {
/// Tells apart what an operand's region computes from column and group and what
/// from the element.
struct RegionReader {
  RegionReader(tile::ContractOp op, unsigned index)
      : block(op.getRhsRegion(index).front()),
        k(block.getArgument(op.getNumBatch() + 1)) {}

  bool read();
  bool readLoad(tile::LoadOp load);

  mlir::Block &block;
  mlir::Value k;
  StoredOperand operand;
  llvm::DenseSet<mlir::Value> ofIndex, ofElement;
  llvm::SmallVector<int64_t> divisors;
};
} // namespace

bool RegionReader::readLoad(tile::LoadOp load) {
  bool perElement = false;
  for (auto [dim, index] : llvm::enumerate(load.getIndices())) {
    if (ofElement.contains(index))
      return false;
    bool uses = llvm::any_of(load.getMap().getResults(), [&](auto expr) {
      return expr.isFunctionOfDim(dim);
    });
    if (ofIndex.contains(index) && uses)
      perElement = true;
    if (index == k)
      for (mlir::AffineExpr expr : load.getMap().getResults())
        perElement |= !usesQuotients(expr, dim, divisors);
  }
  if (!perElement)
    return true;
  auto dtype = getDType(load.getBuffer().getType().getElementType());
  if (operand.load || !dtype || byteWidth(*dtype) > 2 || *dtype == DType::Bool)
    return false;
  operand.load = load;
  operand.dtype = *dtype;
  ofElement.insert(load.getResult());
  return true;
}

bool RegionReader::read() {
  for (mlir::Operation &op : block.without_terminator()) {
    if (op.getNumResults() != 1 || op.getNumRegions() != 0)
      return false;
    mlir::Value result = op.getResult(0);
    if (auto load = llvm::dyn_cast<tile::LoadOp>(op)) {
      if (!readLoad(load))
        return false;
      if (load != operand.load)
        operand.columnOps.push_back(load);
      continue;
    }
    bool element = false, index = false;
    for (mlir::Value used : op.getOperands()) {
      element |= ofElement.contains(used);
      index |= used == k || ofIndex.contains(used);
    }
    if (index) {
      if (element || !result.getType().isIndex())
        return false;
      ofIndex.insert(result);
      operand.loadOps.push_back(&op);
      continue;
    }
    if (element)
      ofElement.insert(result);
    else
      operand.columnOps.push_back(&op);
    // Constants are anywhere.
    if (element || llvm::isa<arith::ConstantOp>(op))
      operand.elementOps.push_back(&op);
  }
  // Indices are computed from column and K with what is computed from neither.
  if (!operand.loadOps.empty())
    operand.loadOps.insert(operand.loadOps.begin(), operand.columnOps.begin(),
                           operand.columnOps.end());
  return operand.load &&
         ofElement.contains(block.getTerminator()->getOperand(0));
}

std::optional<StoredOperand> StoredOperand::match(tile::ContractOp op,
                                                  unsigned index,
                                                  const CpuTarget &target) {
  RegionReader reader(op, index);
  if (!reader.read())
    return std::nullopt;
  StoredOperand &operand = reader.operand;
  if (!reader.divisors.empty()) {
    operand.group = groupOf(reader.divisors);
    // Shorter ones would be factors more than elements, odd ones begin within
    // a row of two.
    constexpr int64_t shortest = 16;
    if (!operand.group || *operand.group < shortest || *operand.group % 2 != 0)
      return std::nullopt;
  }
  if (!target.convertsHalf()) {
    if (operand.dtype == DType::F16)
      return std::nullopt;
    for (mlir::Operation *elementOp : operand.elementOps)
      if (touchesHalf(*elementOp))
        return std::nullopt;
  }
  llvm::DenseSet<mlir::Value> known;
  for (mlir::Operation *elementOp : operand.elementOps)
    for (mlir::Value used : elementOp->getOperands()) {
      if (reader.ofElement.contains(used) ||
          used.getDefiningOp<arith::ConstantOp>() || !known.insert(used).second)
        continue;
      mlir::Operation *source = used.getDefiningOp();
      if (!source || !(used.getType().isF32() || used.getType().isInteger(32)))
        return std::nullopt;
      mlir::Value stored = used;
      if (auto widening = llvm::dyn_cast<arith::ExtFOp>(source)) {
        mlir::Type narrow = widening.getIn().getType();
        if (narrow.isBF16() || (narrow.isF16() && target.convertsHalf()))
          stored = widening.getIn();
      }
      operand.factors.push_back({used, stored});
    }
  return std::move(operand);
}

std::optional<StoredPanels> StoredPanels::match(tile::ContractOp op,
                                                const CpuTarget &target,
                                                unsigned columns) {
  StoredPanels panels;
  panels.columns = columns;
  llvm::SmallVector<int64_t> groups;
  for (unsigned i = 0; i < op.getNumRhs(); ++i) {
    auto operand = StoredOperand::match(op, i, target);
    if (!operand)
      return std::nullopt;
    unsigned bits =
        isPacked(operand->dtype) ? 4 : 8 * byteWidth(operand->dtype);
    if (i > 0 && bits != panels.elementBits)
      return std::nullopt;
    panels.elementBits = bits;
    if (operand->group)
      groups.push_back(*operand->group);
    panels.operands.push_back(std::move(*operand));
  }
  if (!groups.empty()) {
    panels.group = groupOf(groups);
    if (!panels.group)
      return std::nullopt;
  }
  for (const StoredOperand &operand : panels.operands)
    panels.factorBytes =
        std::max(panels.factorBytes,
                 panels.factorOffset(operand, operand.factors.size()));
  return panels;
}

//===----------------------------------------------------------------------===//
// The layout
//===----------------------------------------------------------------------===//

unsigned StoredPanels::factorOffset(const StoredOperand &operand,
                                    unsigned number) const {
  unsigned offset = 0;
  for (unsigned i = 0; i < number; ++i)
    offset +=
        columns * ColumnFactors::bytesOf(operand.factors[i].stored.getType());
  return offset;
}

mlir::AffineExpr StoredPanels::groups(mlir::AffineExpr k) const {
  if (group)
    return k.ceilDiv(*group);
  return mlir::getAffineConstantExpr(1, k.getContext());
}

mlir::AffineExpr StoredPanels::groupRows(mlir::AffineExpr k) const {
  mlir::AffineExpr elements =
      group ? mlir::getAffineConstantExpr(*group, k.getContext()) : k;
  return elements.ceilDiv(elementsPerRow());
}

mlir::AffineExpr StoredPanels::groupBytes(mlir::AffineExpr k) const {
  return (groupRows(k) * rowBytes() + factorBytes).ceilDiv(64) * 64;
}

llvm::Type *StoredPanels::vectorType(Emitter &e, unsigned lanes) const {
  return e.vectorType(e.b.getIntNTy(8 * storageBytes()), lanes);
}

Value *StoredPanels::offsetOf(Emitter &e, Value *element, Value *bytes) const {
  Value *before = e.i64(factorBytes);
  if (group) {
    Value *number = e.floorDiv(element, e.i64(*group));
    before = e.add(before, e.mul(number, bytes));
    element = e.mod(element, e.i64(*group));
  }
  Value *row = e.floorDiv(element, e.i64(elementsPerRow()));
  return e.add(before, e.mul(row, e.i64(rowBytes())));
}

Value *StoredPanels::rowAddress(Emitter &e, Value *column, Value *start) const {
  return e.offset(
      start, e.add(e.i64(factorBytes), e.mul(column, e.i64(storageBytes()))));
}

std::string StoredPanels::text(unsigned operand) const {
  std::string text =
      fmt::format("{} as stored", quern::name(operands[operand].dtype));
  for (auto [i, factor] : llvm::enumerate(operands[operand].factors)) {
    text += i > 0   ? " and "
            : group ? fmt::format(", for a column and {} of K ", *group)
                    : ", for a column ";
    llvm::raw_string_ostream(text) << factor.stored.getType();
  }
  return text;
}

//===----------------------------------------------------------------------===//
// Packing
//===----------------------------------------------------------------------===//

void StoredPanels::pack(KernelScope &scope, const ContractPlan &plan,
                        unsigned number, llvm::ArrayRef<Value *> batch,
                        Value *first, Value *mask, Value *column, Value *kBegin,
                        Value *kEnd, Value *rows, Value *start) const {
  Emitter &e = scope.e;
  llvm::IRBuilder<> &b = e.b;
  const StoredOperand &operand = operands[number];
  mlir::Block &block = plan.op.getRhsRegion(number).front();
  unsigned lanes = plan.lanes;
  auto bodyAt = [&](Value *k) {
    ElementBody body(scope, lanes, mask);
    for (auto [argument, value] : llvm::zip(block.getArguments(), batch))
      body.bind(argument, ElementBody::uniform(value));
    body.bind(block.getArgument(plan.numBatch), body.laneIndex(first, lanes));
    body.bind(block.getArgument(plan.numBatch + 1), ElementBody::uniform(k));
    return body;
  };
  auto existing = [&](Value *value) {
    if (!mask)
      return value;
    return b.CreateSelect(mask, value,
                          llvm::Constant::getNullValue(value->getType()));
  };
  if (!operand.factors.empty()) {
    ElementBody body = bodyAt(kBegin);
    for (mlir::Operation *op : operand.columnOps)
      body.emit(*op);
    for (auto [i, factor] : llvm::enumerate(operand.factors)) {
      unsigned size = ColumnFactors::bytesOf(factor.stored.getType());
      Value *place =
          e.add(e.i64(factorOffset(operand, i)), e.mul(column, e.i64(size)));
      e.store(existing(body.spread(body.lookup(factor.stored))),
              e.offset(start, place), Memory::Written, size * lanes);
    }
  }

  llvm::Type *vector = vectorType(e, lanes);
  Value *zero = llvm::Constant::getNullValue(vector);
  auto element = [&](Value *k) {
    ElementBody body = bodyAt(k);
    for (mlir::Operation *op : operand.loadOps)
      body.emit(*op);
    body.emit(*operand.load.getOperation());
    return existing(body.spread(body.lookup(operand.load.getResult())));
  };
  Value *data = rowAddress(e, column, start);
  int64_t perRow = elementsPerRow();
  auto put = [&](Value *row, bool whole) {
    Value *k = e.add(kBegin, e.mul(row, e.i64(perRow)));
    Value *packed = nullptr;
    for (int64_t i = 0; i < perRow; ++i) {
      Value *at = e.add(k, e.i64(i));
      Value *value = whole ? element(at)
                           : e.branch(
                                 b.CreateICmpSLT(at, kEnd),
                                 [&] { return Emitter::Values{element(at)}; },
                                 [&] { return Emitter::Values{zero}; })[0];
      if (perRow > 1)
        value = i == 0 ? b.CreateAnd(value, llvm::ConstantInt::get(vector, 15))
                       : b.CreateShl(value, llvm::ConstantInt::get(vector, 4));
      packed = packed ? b.CreateOr(packed, value) : value;
    }
    e.store(packed, e.offset(data, e.mul(row, e.i64(rowBytes()))),
            Memory::Written, 1);
  };
  Value *full = e.floorDiv(b.CreateSub(kEnd, kBegin), e.i64(perRow));
  e.loop(e.i64(0), full, e.i64(1), [&](Value *row) { put(row, true); });
  int64_t unit = group.value_or(perRow);
  if (plan.constantK().value_or(1) % unit != 0)
    e.loop(full, rows, e.i64(1), [&](Value *row) { put(row, false); });
}

void StoredPanels::clear(Emitter &e, const ContractPlan &plan, Value *column,
                         Value *rows, Value *start) const {
  Value *data = rowAddress(e, column, start);
  e.loop(e.i64(0), rows, e.i64(1), [&](Value *row) {
    e.store(llvm::Constant::getNullValue(vectorType(e, plan.lanes)),
            e.offset(data, e.mul(row, e.i64(rowBytes()))), Memory::Written, 1);
  });
}
