//===- EmitShapes.cpp - Operations that move elements ---------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/frontend/LayerEmitter.h"

#include <fmt/format.h>

using namespace mlir;
using namespace quern;
using namespace quern::frontend;

//===----------------------------------------------------------------------===//
// Reshape
//===----------------------------------------------------------------------===//

Operand LayerEmitter::reshape(Place place, Operand x, Dims dims,
                              Place dimsPlace) {
  RankedTensorType tensor = plain(place, "'reshape'", x);
  if (!tensor)
    return {};
  for (AffineExpr dim : dims)
    if (auto constant = dyn_cast<AffineConstantExpr>(dim);
        constant && constant.getValue() == -1)
      return error(dimsPlace.line ? dimsPlace : place, "an extent of -1",
                   {"extents are not inferred: write each one"});
  auto target = llvm::dyn_cast_or_null<RankedTensorType>(
      tensorType(dimsPlace, dims, *getDType(tensor.getElementType())));
  if (!target)
    return {};
  if (!ir::haveSameCount(ir::getDims(tensor), ir::getDims(target),
                         symbols.size()))
    return error(dimsPlace.line ? dimsPlace : place,
                 fmt::format("reshape to {} does not keep the element count "
                             "of {}",
                             symbols.printShape(ir::getDims(target)), show(x)),
                 {"the products of the extents must be equal for every value "
                  "of the symbols; to split a symbolic axis declare its part, "
                  "such as 64*H, and write [H, 64]"});
  return Operand::ofValue(
      ir::ReshapeOp::create(builder, loc(place), target, x.value), place);
}

//===----------------------------------------------------------------------===//
// Transpose
//===----------------------------------------------------------------------===//

Operand LayerEmitter::transpose(Place place, Operand x,
                                llvm::ArrayRef<int64_t> permutation,
                                Place listPlace) {
  RankedTensorType tensor = plain(place, "'transpose'", x);
  if (!tensor)
    return {};
  SmallVector<AffineExpr> dims = ir::getDims(tensor), permuted;
  SmallVector<bool> seen(dims.size(), false);
  bool legal = permutation.size() == dims.size();
  for (size_t i = 0; legal && i < permutation.size(); ++i) {
    int64_t p = permutation[i];
    legal = p >= 0 && p < static_cast<int64_t>(dims.size()) && !seen[p];
    if (legal) {
      seen[p] = true;
      permuted.push_back(dims[p]);
    }
  }
  if (!legal)
    return error(
        listPlace.line ? listPlace : place,
        fmt::format("[{}] is no permutation of the axes of {}",
                    fmt::join(permutation.begin(), permutation.end(), ", "),
                    show(x)),
        {dims.empty() ? std::string("a tensor of rank 0 has no axes")
                      : fmt::format("list each axis from 0 to {} once",
                                    dims.size() - 1)});
  return Operand::ofValue(
      ir::TransposeOp::create(builder, loc(place),
                              type(permuted, tensor.getElementType()), x.value,
                              permutation),
      place);
}

Operand LayerEmitter::transposeLast(Place place, Operand x) {
  if (x.isPoison())
    return {};
  if (!x.isNumber() && isa<ir::QTensorType>(x.value.getType()))
    return error(place, fmt::format("'.T' of a quantized value: {}", show(x)),
                 {"a quantized operand is transposed only on the right of "
                  "'@': x @ w.T"});
  RankedTensorType tensor = plain(place, "'.T'", x);
  if (!tensor)
    return {};
  int64_t rank = tensor.getRank();
  if (rank < 2)
    return error(place, fmt::format("'.T' needs two axes, found {}", show(x)));
  SmallVector<int64_t> permutation;
  for (int64_t i = 0; i < rank; ++i)
    permutation.push_back(i);
  std::swap(permutation[rank - 1], permutation[rank - 2]);
  return transpose(place, std::move(x), permutation, place);
}

//===----------------------------------------------------------------------===//
// Slice
//===----------------------------------------------------------------------===//

Operand LayerEmitter::slice(Place place, Operand x,
                            llvm::ArrayRef<SliceRange> ranges) {
  RankedTensorType tensor = plain(place, "a slice", x);
  if (!tensor)
    return {};
  SmallVector<AffineExpr> dims = ir::getDims(tensor), extents, offsets;
  if (ranges.size() > dims.size())
    return error(
        place,
        fmt::format("a slice with {} ranges of {}", ranges.size(), show(x)),
        {"give at most one range for each axis"});
  SmallVector<int64_t> strides;
  for (auto [i, length] : llvm::enumerate(dims)) {
    SliceRange range;
    if (i < ranges.size())
      range = ranges[i];
    Place where = range.place.line ? range.place : place;
    if (range.step < 1 || range.step > maxExtent)
      return error(where, fmt::format("a step of {}", range.step),
                   {fmt::format("steps are 1 to {}", maxExtent)});
    auto bound = [&](AffineExpr written, AffineExpr otherwise) {
      if (!written)
        return otherwise;
      auto constant = dyn_cast<AffineConstantExpr>(symbols.simplify(written));
      return symbols.simplify(
          constant && constant.getValue() < 0 ? length + written : written);
    };
    AffineExpr start = bound(range.start, symbols.constant(0));
    AffineExpr stop = bound(range.stop, length);
    // Every difference below is small when both its sides are.
    for (const auto &[smaller, larger] :
         {std::pair(symbols.constant(0), start), std::pair(start, stop),
          std::pair(stop, length)}) {
      AffineExpr slack = larger - smaller;
      if (symbols.isSmall(slack) && symbols.isNeverNegative(slack))
        continue;
      bool symbolic = !isa<AffineConstantExpr>(symbols.simplify(slack));
      return error(
          where,
          fmt::format("the range {}:{} is not within the axis of {}{}: {} > "
                      "{}{}",
                      symbols.print(start), symbols.print(stop),
                      symbols.print(length),
                      symbolic ? " for all values of the symbols" : "",
                      symbols.print(smaller), symbols.print(larger),
                      symbolic ? " is possible" : ""),
          {symbolic ? fmt::format("with {}; narrow a range: with M in 16..4096",
                                  symbols.printRanges(slack))
                    : std::string("0 <= start <= stop <= extent must hold")});
    }
    AffineExpr extent = symbols.simplify((stop - start).ceilDiv(range.step));
    if (auto constant = dyn_cast<AffineConstantExpr>(extent);
        constant && constant.getValue() == 0)
      return error(where,
                   fmt::format("the range {}:{} is empty", symbols.print(start),
                               symbols.print(stop)));
    offsets.push_back(start);
    strides.push_back(range.step);
    extents.push_back(extent);
  }
  return Operand::ofValue(
      ir::SliceOp::create(builder, loc(place),
                          type(extents, tensor.getElementType()), x.value,
                          AffineMapAttr::get(AffineMap::get(0, symbols.size(),
                                                            offsets, context)),
                          builder.getDenseI64ArrayAttr(strides)),
      place);
}

//===----------------------------------------------------------------------===//
// Concat and gather
//===----------------------------------------------------------------------===//

Operand LayerEmitter::concat(Place place, llvm::ArrayRef<Operand> inputs,
                             int64_t axis, Place axisPlace) {
  SmallVector<Value> values;
  SmallVector<AffineExpr> dims;
  RankedTensorType first;
  std::optional<int64_t> index;
  for (const Operand &input : inputs) {
    RankedTensorType tensor = plain(place, "'concat'", input);
    if (!tensor)
      return {};
    values.push_back(input.value);
    if (!first) {
      first = tensor;
      dims = ir::getDims(tensor);
      index =
          axisIndex(axisPlace.line ? axisPlace : place, axis, tensor.getRank());
      if (!index)
        return {};
      continue;
    }
    SmallVector<AffineExpr> other = ir::getDims(tensor);
    bool agree = other.size() == dims.size() &&
                 tensor.getElementType() == first.getElementType();
    for (size_t d = 0; agree && d < dims.size(); ++d)
      agree = d == static_cast<size_t>(*index) || other[d] == dims[d];
    if (!agree)
      return error(at(input, place),
                   fmt::format("'concat' along axis {} of {}, and {}", *index,
                               show(inputs[0]), show(input)),
                   {"element types and all other extents must be equal"});
    dims[*index] = symbols.simplify(dims[*index] + other[*index]);
    if (!symbols.isSmall(dims[*index]))
      return error(place, "the joined axis is too long");
  }
  if (!tensorType(place, dims, *getDType(first.getElementType())))
    return {};
  return Operand::ofValue(
      ir::ConcatOp::create(builder, loc(place),
                           type(dims, first.getElementType()), values, *index),
      place);
}

Operand LayerEmitter::gather(Place place, Operand table, Operand indices) {
  RankedTensorType rows = plain(place, "the table of 'gather'", table);
  RankedTensorType index = plain(place, "'gather'", indices);
  if (!rows || !index)
    return {};
  if (rows.getRank() < 1)
    return error(
        at(table, place),
        fmt::format("the table of 'gather' needs rows, found {}", show(table)));
  if (!index.getElementType().isInteger(32))
    return error(
        at(indices, place),
        fmt::format("the indices of 'gather' are i32, found {}", show(indices)),
        {"declare them i32[M]"});
  AffineExpr count = ir::getDims(rows)[0];
  if (std::optional<int64_t> least = symbols.lowerBound(count);
      !least || *least < 1)
    return error(
        at(table, place),
        fmt::format("the table of 'gather' may have no rows: {}", show(table)),
        {fmt::format("with {}; an index is clamped to the table, which needs a "
                     "row for that: with V in 1..32000",
                     symbols.printRanges(count))});
  SmallVector<AffineExpr> dims = ir::getDims(index);
  llvm::append_range(dims, ArrayRef(ir::getDims(rows)).drop_front());
  if (!checkRank(place, dims.size()))
    return {};
  return Operand::ofValue(
      ir::GatherOp::create(builder, loc(place),
                           type(dims, rows.getElementType()), table.value,
                           indices.value),
      place);
}
