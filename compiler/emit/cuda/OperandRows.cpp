//===- OperandRows.cpp - Operands a product can read as they lie ----------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/emit/cuda/OperandRows.h"

#include <numeric>

using namespace mlir;
using namespace quern;
using namespace quern::emit;

std::optional<OperandRows> OperandRows::of(tile::ContractOp op,
                                           Region &region) {
  tile::LoadOp load = op.getPlainLoad(region);
  return load ? of(op, region, load) : std::nullopt;
}

std::optional<OperandRows> OperandRows::of(tile::ContractOp op, Region &region,
                                           tile::LoadOp load) {
  // The map over the region's arguments: batch dimensions, row, k.
  MLIRContext *context = op.getContext();
  SmallVector<AffineExpr> args;
  for (Value index : load.getIndices()) {
    auto arg = dyn_cast<BlockArgument>(index);
    if (!arg || arg.getOwner() != &region.front())
      return std::nullopt;
    args.push_back(getAffineDimExpr(arg.getArgNumber(), context));
  }
  unsigned row = op.getNumBatch(), k = row + 1;
  tile::BufferType type = load.getBuffer().getType();
  AffineMap shape = type.getShape();
  Type element = type.getElementType();
  SmallVector<AffineExpr> at;
  for (AffineExpr expr : load.getMap().getResults())
    at.push_back(expr.replaceDims(args));
  if (at.size() < 2 || at.back() != getAffineDimExpr(k, context))
    return std::nullopt;

  OperandRows rows;
  rows.buffer = load.getBuffer();
  rows.packed = getWideType(element) != element;
  AffineExpr stride = getAffineConstantExpr(1, context);
  for (size_t i = at.size(); i-- > 0;) {
    AffineExpr extent = shape.getResult(i);
    if (i + 1 == at.size()) {
      stride = rows.packed ? extent.ceilDiv(2) : extent;
      continue;
    }
    if (at[i] == getAffineDimExpr(row, context)) {
      if (rows.stride)
        return std::nullopt;
      rows.stride = stride;
    } else if (at[i].isFunctionOfDim(row) || at[i].isFunctionOfDim(k)) {
      return std::nullopt;
    } else {
      rows.batch.push_back({at[i], stride});
    }
    stride = stride * extent;
  }
  if (!rows.stride)
    return std::nullopt;
  return rows;
}

int64_t OperandRows::alignment(const Symbols &symbols,
                               unsigned elementBytes) const {
  if (packed)
    elementBytes = 1;
  int64_t bytes = std::gcd<int64_t>(16, symbols.divisor(stride) *
                                            static_cast<int64_t>(elementBytes));
  for (auto &[index, indexStride] : batch)
    bytes = std::gcd(bytes, symbols.divisor(index * indexStride) *
                                static_cast<int64_t>(elementBytes));
  return bytes;
}

Index OperandRows::offset(Symbols &symbols,
                          ArrayRef<Index> batchIndices) const {
  Index sum = Index::constant(0);
  for (auto &[index, indexStride] : batch)
    sum =
        sum + symbols.affine(index, batchIndices) * symbols.affine(indexStride);
  return sum;
}
