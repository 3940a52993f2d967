//===- Shapes.cpp - Constants and operations that move elements -----------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Elements are copied as bytes. In the mode real an operand of the layer is
// still in its storage type; it becomes doubles first, so that all operands of
// an operation are alike.
//
//===----------------------------------------------------------------------===//

#include "compiler/reference/Machine.h"

#include <cmath>
#include <cstring>
#include <fmt/format.h>

using namespace mlir;
using namespace quern::ir;

namespace quern::reference {

static Tensor operand(Machine &machine, mlir::Value value) {
  const Tensor &tensor = machine.tensor(value);
  return machine.real() ? tensor.toReal() : tensor;
}

Result<void> evaluate(Machine &machine, ConstantOp op) {
  Result<Tensor> result = machine.make(op.getResult().getType());
  if (!result)
    return opError(op, result.error().code, result.error().message);
  double value;
  if (auto number = dyn_cast<FloatAttr>(op.getValue()))
    value = number.getValueAsDouble();
  else if (auto integer = dyn_cast<IntegerAttr>(op.getValue()))
    value =
        integer.getType().isUnsignedInteger() || integer.getType().isInteger(1)
            ? static_cast<double>(integer.getValue().getZExtValue())
            : static_cast<double>(integer.getValue().getSExtValue());
  else
    return opError(op, Errc::Unsupported,
                   "the value is neither a float nor an integer");
  result->store(0, 1, &value);
  machine.set(op.getResult(), std::move(*result));
  return {};
}

Result<void> evaluate(Machine &machine, ReshapeOp op) {
  Result<std::vector<int64_t>> shape =
      machine.shapeOf(op.getResult().getType());
  if (!shape)
    return opError(op, shape.error().code, shape.error().message);
  Tensor input = operand(machine, op.getInput());
  Tensor result = input.reshaped(*shape);
  if (result.rows() * result.rowLength() != input.elements())
    return opError(op, Errc::InvalidArgument,
                   fmt::format("{} elements cannot take a shape of {}",
                               input.elements(),
                               result.rows() * result.rowLength()));
  machine.set(op.getResult(), std::move(result));
  return {};
}

/// Copies to `result`, for every index of it, the element of `input` at
/// `start + sum(index[d] * stride[d])`.
static void copyStrided(const Tensor &input, int64_t start,
                        ArrayRef<int64_t> strides, Tensor &result) {
  if (result.elements() == 0)
    return;
  size_t width = input.elementWidth();
  int64_t length = result.rowLength();
  int64_t step = strides.empty() ? 1 : strides.back();
  std::byte *out = result.mutableData();
  for (int64_t row = 0; row < result.rows(); ++row) {
    int64_t index = start, rest = row;
    for (int64_t d = result.rank() - 2; d >= 0; --d) {
      index += rest % result.shape()[d] * strides[d];
      rest /= result.shape()[d];
    }
    for (int64_t i = 0; i < length; ++i, out += width)
      std::memcpy(out, input.data() + (index + i * step) * width, width);
  }
}

static SmallVector<int64_t> stridesOf(ArrayRef<int64_t> shape) {
  SmallVector<int64_t> strides(shape.size(), 1);
  for (int64_t d = static_cast<int64_t>(shape.size()) - 2; d >= 0; --d)
    strides[d] = strides[d + 1] * shape[d + 1];
  return strides;
}

Result<void> evaluate(Machine &machine, TransposeOp op) {
  Tensor input = operand(machine, op.getInput());
  Result<Tensor> result = machine.make(op.getResult().getType());
  if (!result)
    return opError(op, result.error().code, result.error().message);
  SmallVector<int64_t> strides = stridesOf(input.shape()), permuted;
  for (int64_t p : op.getPermutation())
    permuted.push_back(strides[p]);
  copyStrided(input, 0, permuted, *result);
  machine.set(op.getResult(), std::move(*result));
  return {};
}

Result<void> evaluate(Machine &machine, SliceOp op) {
  Tensor input = operand(machine, op.getInput());
  Result<Tensor> result = machine.make(op.getResult().getType());
  if (!result)
    return opError(op, result.error().code, result.error().message);
  SmallVector<int64_t> strides = stridesOf(input.shape());
  int64_t start = 0;
  for (int64_t d = 0; d < input.rank(); ++d) {
    std::optional<int64_t> offset =
        evaluateExpr(op.getOffsets().getResult(d), machine.symbols);
    int64_t extent = result->shape()[d], stride = op.getStrides()[d];
    int64_t last;
    if (extent == 0)
      continue; // Nothing is read, wherever it would start.
    if (!offset || *offset < 0 ||
        __builtin_mul_overflow(extent - 1, stride, &last) ||
        __builtin_add_overflow(last, *offset, &last) ||
        last >= input.shape()[d])
      return opError(op, Errc::InvalidArgument,
                     fmt::format("takes {} elements by steps of {} from {} of "
                                 "axis {}, which has {}",
                                 extent, stride,
                                 offset ? fmt::to_string(*offset) : "nowhere",
                                 d, input.shape()[d]));
    start += *offset * strides[d];
    strides[d] = extent > 1 ? strides[d] * stride : 0;
  }
  copyStrided(input, start, strides, *result);
  machine.set(op.getResult(), std::move(*result));
  return {};
}

Result<void> evaluate(Machine &machine, ConcatOp op) {
  Result<Tensor> result = machine.make(op.getResult().getType());
  if (!result)
    return opError(op, result.error().code, result.error().message);
  int64_t axis = op.getAxis();
  int64_t outer = 1, inner = result->elementWidth();
  for (int64_t extent : ArrayRef(result->shape()).take_front(axis))
    outer *= extent;
  for (int64_t extent : ArrayRef(result->shape()).drop_front(axis + 1))
    inner *= extent;
  int64_t total = result->shape()[axis], position = 0;
  for (mlir::Value value : op.getInputs()) {
    Tensor input = operand(machine, value);
    int64_t extent = input.shape()[axis];
    for (int64_t i = 0; i < outer; ++i)
      if (extent != 0 && inner != 0)
        std::memcpy(result->mutableData() + (i * total + position) * inner,
                    input.data() + i * extent * inner, extent * inner);
    position += extent;
  }
  machine.set(op.getResult(), std::move(*result));
  return {};
}

Result<void> evaluate(Machine &machine, GatherOp op) {
  Tensor table = operand(machine, op.getTable());
  const Tensor &indices = machine.tensor(op.getIndices());
  Result<Tensor> result = machine.make(op.getResult().getType());
  if (!result)
    return opError(op, result.error().code, result.error().message);
  int64_t height = table.shape().front();
  if (height == 0 && result->elements() != 0)
    return opError(op, Errc::InvalidArgument,
                   "the table has no rows to take from");
  size_t rowBytes = table.elementWidth();
  for (int64_t extent : ArrayRef(table.shape()).drop_front())
    rowBytes *= extent;
  for (int64_t i = 0; rowBytes && i < indices.elements(); ++i) {
    double wanted = indices.get(i);
    int64_t row = wanted < 0 ? 0
                  : wanted >= static_cast<double>(height)
                      ? height - 1
                      : static_cast<int64_t>(wanted);
    std::memcpy(result->mutableData() + i * rowBytes,
                table.data() + row * rowBytes, rowBytes);
  }
  machine.set(op.getResult(), std::move(*result));
  return {};
}

} // namespace quern::reference
