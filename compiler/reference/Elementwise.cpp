//===- Elementwise.cpp - The table of element-wise operations -------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// One line per operation: its f32 meaning, every rounding as written in
// docs/numerics.md, and its meaning as mathematics. x, y and z are its
// operands in order. The result of the f32 meaning is rounded once to the
// result's element type.
//
// Integers: only operations that pass values on (cast, select, compare, max,
// min) have a meaning on i8, ui8 and i32, and only casts *from* them; they are
// evaluated in double, which holds every i32. Arithmetic on integers and casts
// to them are refused: a quantizer is the way to integers.
//
//===----------------------------------------------------------------------===//

#include "compiler/reference/Machine.h"
#include "compiler/reference/Math.h"
#include "compiler/reference/Parallel.h"

#include <cmath>
#include <fmt/format.h>
#include <numbers>

using namespace mlir;
using namespace quern::ir;

namespace quern::reference {

namespace {
struct Entry {
  llvm::StringLiteral name;
  unsigned arity;
  bool onIntegers;
  float (*exact)(float, float, float);
  double (*real)(double, double, double);
};
} // namespace

#define QUERN_MEANING(name, arity, onIntegers, exact, real)                    \
  Entry {                                                                      \
    name, arity, onIntegers,                                                   \
        [](float x, float y, float z) -> float {                               \
          (void)x, (void)y, (void)z;                                           \
          return exact;                                                        \
        },                                                                     \
        [](double x, double y, double z) -> double {                           \
          (void)x, (void)y, (void)z;                                           \
          return real;                                                         \
        }                                                                      \
  }
#define QUERN_SAME(name, arity, onIntegers, meaning)                           \
  QUERN_MEANING(name, arity, onIntegers, meaning, meaning)

static const Entry table[] = {
    // clang-format off
    QUERN_SAME("add",  2, false, x + y),
    QUERN_SAME("sub",  2, false, x - y),
    QUERN_SAME("mul",  2, false, x * y),
    QUERN_SAME("div",  2, false, x / y),
    QUERN_SAME("max",  2, true,  strictMax(x, y)),
    QUERN_SAME("min",  2, true,  strictMin(x, y)),
    QUERN_SAME("neg",  1, false, -x),
    QUERN_SAME("abs",  1, false, std::fabs(x)),
    QUERN_SAME("sqrt", 1, false, std::sqrt(x)),
    QUERN_SAME("relu", 1, false, strictMax(x, decltype(x)(0))),
    QUERN_MEANING("exp",  1, false, strictExp(x),  std::exp(x)),
    QUERN_MEANING("tanh", 1, false, strictTanh(x), std::tanh(x)),
    QUERN_MEANING("erf",  1, false, strictErf(x),  std::erf(x)),
    QUERN_MEANING("sigmoid", 1, false, 1.0f / (1.0f + strictExp(-x)), 1.0 / (1.0 + std::exp(-x))),
    QUERN_MEANING("silu",    1, false, x / (1.0f + strictExp(-x)),    x / (1.0 + std::exp(-x))),
    QUERN_MEANING("gelu_erf", 1, false,
        (0.5f * x) * (1.0f + strictErf(x * 0x1.6a09e6p-1f)),
        (0.5 * x) * (1.0 + std::erf(x / std::numbers::sqrt2))),
    QUERN_MEANING("gelu_tanh", 1, false,
        (0.5f * x) * (1.0f + strictTanh(0x1.988454p-1f * std::fma(0x1.6e4e26p-5f * (x * x), x, x))),
        (0.5 * x) * (1.0 + std::tanh(std::numbers::sqrt2 * std::numbers::inv_sqrtpi * (x + 0.044715 * x * x * x)))),
    QUERN_SAME("cast", 1, true, x),
    QUERN_SAME("select", 3, true, x != 0 ? y : z),
    QUERN_SAME("compare lt", 2, true, x <  y),
    QUERN_SAME("compare le", 2, true, x <= y),
    QUERN_SAME("compare gt", 2, true, x >  y),
    QUERN_SAME("compare ge", 2, true, x >= y),
    QUERN_SAME("compare eq", 2, true, x == y),
    QUERN_SAME("compare ne", 2, true, x != y),
    // clang-format on
};

static const Entry *findEntry(Operation *op) {
  std::string key = op->getName().stripDialect().str();
  if (auto compare = dyn_cast<CompareOp>(op))
    key += " " + stringifyComparePredicate(compare.getPredicate()).str();
  for (const Entry &entry : table)
    if (entry.name == key)
      return &entry;
  return nullptr;
}

namespace {
/// Where the elements of a broadcast operand lie: a flat index per row of the
/// result, and whether the last axis repeats.
class BroadcastOperand {
public:
  BroadcastOperand(const Tensor &tensor, ArrayRef<int64_t> result)
      : tensor(tensor), result(result), strides(result.size(), 0) {
    int64_t stride = 1;
    size_t skip = result.size() - tensor.rank();
    for (int64_t d = tensor.rank() - 1; d >= 0; --d) {
      if (tensor.shape()[d] != 1)
        strides[skip + d] = stride;
      stride *= tensor.shape()[d];
    }
  }
  template <typename T>
  void load(int64_t row, int64_t column, int64_t n, T *out) const {
    int64_t index = 0;
    for (int64_t d = static_cast<int64_t>(result.size()) - 2; d >= 0; --d) {
      index += row % result[d] * strides[d];
      row /= result[d];
    }
    if (!strides.empty() && strides.back())
      return tensor.load(index + column, n, out);
    tensor.load(index, 1, out);
    std::fill(out + 1, out + n, *out);
  }

private:
  const Tensor &tensor;
  ArrayRef<int64_t> result;
  SmallVector<int64_t> strides;
};
} // namespace

template <typename T>
static void apply(Machine &machine, T (*meaning)(T, T, T),
                  ArrayRef<BroadcastOperand> operands, Tensor &result) {
  constexpr int64_t chunk = 1024;
  int64_t length = result.rowLength();
  if (length == 0)
    return;
  int64_t perRow = (length + chunk - 1) / chunk;
  parallelFor(machine.threads, result.rows() * perRow, 4,
              [&](int64_t begin, int64_t end) {
                std::vector<T> buffer(4 * chunk);
                T *x = buffer.data(), *y = x + chunk, *z = y + chunk,
                  *out = z + chunk;
                for (int64_t item = begin; item < end; ++item) {
                  int64_t row = item / perRow;
                  int64_t column = item % perRow * chunk;
                  int64_t n = std::min(chunk, length - column);
                  for (auto [i, operand] : llvm::enumerate(operands))
                    operand.load(row, column, n, x + i * chunk);
                  for (int64_t i = 0; i < n; ++i)
                    out[i] = meaning(x[i], y[i], z[i]);
                  result.store(row * length + column, n, out);
                }
              });
}

Result<void> evaluateElementwise(Machine &machine, Operation *op) {
  const Entry *entry = findEntry(op);
  if (!entry || entry->arity != op->getNumOperands())
    return opError(op, Errc::Unsupported,
                   "the reference's table has no line for this operation");
  auto type = cast<RankedTensorType>(op->getResult(0).getType());
  bool onIntegers = isa<IntegerType>(type.getElementType()) &&
                    !type.getElementType().isInteger(1);
  if (isa<CastOp>(op) && isa<IntegerType>(type.getElementType()) &&
      cast<RankedTensorType>(op->getOperand(0).getType()).getElementType() !=
          type.getElementType())
    return opError(op, Errc::Unsupported,
                   "a cast to an integer type has no defined rounding; use "
                   "quantize");
  SmallVector<Type> types{type.getElementType()};
  for (mlir::Value operand : op->getOperands())
    types.push_back(cast<RankedTensorType>(operand.getType()).getElementType());
  // Comparing or selecting i32 must not pass through f32.
  bool wide = false;
  for (Type element : types)
    if (auto integer = dyn_cast<IntegerType>(element)) {
      wide |= integer.getWidth() >= 32 && !isa<CastOp>(op);
      if (!entry->onIntegers)
        return opError(op, Errc::Unsupported,
                       "arithmetic on integers has no meaning; cast the "
                       "operands to a float type first");
    }
  wide |= onIntegers;

  Result<Tensor> result = machine.make(type);
  if (!result)
    return opError(op, result.error().code, result.error().message);
  SmallVector<BroadcastOperand> operands;
  for (mlir::Value operand : op->getOperands())
    operands.emplace_back(machine.tensor(operand), result->shape());
  if (machine.real() || wide)
    apply(machine, entry->real, operands, *result);
  else
    apply(machine, entry->exact, operands, *result);
  machine.set(op->getResult(0), std::move(*result));
  return {};
}

} // namespace quern::reference
