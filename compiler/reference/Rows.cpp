//===- Rows.cpp - Reductions, softmax and norms ---------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// The ordered sum of docs/numerics.md: element i is added to partial i mod
// 256, then the partials are halved eight times. In double, where nothing is
// rounded in effect, the same order is used.
//
//===----------------------------------------------------------------------===//

#include "compiler/reference/Machine.h"
#include "compiler/reference/Math.h"
#include "compiler/reference/Parallel.h"

#include <bit>
#include <cmath>
#include <limits>

using namespace mlir;
using namespace quern::ir;

namespace quern::reference {

namespace {
/// The ordered sum, fed in runs.
template <typename T> class OrderedSum {
public:
  void add(T x) { partial[count++ & 255] += x; }
  T finish() {
    for (int half = 128; half >= 1; half /= 2)
      for (int t = 0; t < half; ++t)
        partial[t] += partial[t + half];
    return partial[0];
  }
  T mean() { return finish() / static_cast<T>(count); }

private:
  T partial[256] = {};
  int64_t count = 0;
};
} // namespace

//===----------------------------------------------------------------------===//
// reduce
//===----------------------------------------------------------------------===//

/// Reduces one block: `visit` calls its argument with every run of it in
/// row-major order.
template <typename T, typename Visit>
static T reduceBlock(ReduceKind kind, Visit visit) {
  switch (kind) {
  case ReduceKind::Sum:
  case ReduceKind::Mean: {
    OrderedSum<T> sum;
    visit([&](const T *x, int64_t n) {
      for (int64_t i = 0; i < n; ++i)
        sum.add(x[i]);
    });
    return kind == ReduceKind::Sum ? sum.finish() : sum.mean();
  }
  case ReduceKind::Max: {
    T largest = -std::numeric_limits<T>::infinity();
    visit([&](const T *x, int64_t n) {
      for (int64_t i = 0; i < n; ++i)
        largest = strictMax(largest, x[i]);
    });
    return largest;
  }
  case ReduceKind::Min: {
    T smallest = std::numeric_limits<T>::infinity();
    visit([&](const T *x, int64_t n) {
      for (int64_t i = 0; i < n; ++i)
        smallest = strictMin(smallest, x[i]);
    });
    return smallest;
  }
  case ReduceKind::AbsMax: {
    // On the magnitude's bits a NaN is above everything.
    using Bits = std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>;
    Bits largest = 0;
    visit([&](const T *x, int64_t n) {
      for (int64_t i = 0; i < n; ++i)
        largest = std::max(largest, std::bit_cast<Bits>(std::fabs(x[i])));
    });
    return std::bit_cast<T>(largest);
  }
  }
  return T(0);
}

template <typename T>
static void reduceAll(Machine &machine, ReduceOp op, const Tensor &input,
                      Tensor &result) {
  ArrayRef<int64_t> shape = input.shape();
  int64_t rank = input.rank();
  SmallVector<int64_t> extents, strides(rank, 1);
  for (auto [block, length] : llvm::zip_equal(op.getBlock(), shape))
    extents.push_back(std::max<int64_t>(block == 0 ? length : block, 1));
  for (int64_t d = rank - 2; d >= 0; --d)
    strides[d] = strides[d + 1] * shape[d + 1];
  parallelFor(machine.threads, result.elements(), 1,
              [&](int64_t from, int64_t to) {
                std::vector<T> run(rank ? shape[rank - 1] + 1 : 1);
                for (int64_t item = from; item < to; ++item) {
                  SmallVector<int64_t> begin(rank), size(rank);
                  int64_t rest = item, outer = 1;
                  for (int64_t d = rank - 1; d >= 0; --d) {
                    begin[d] = rest % result.shape()[d] * extents[d];
                    rest /= result.shape()[d];
                    size[d] = std::min(extents[d], shape[d] - begin[d]);
                    if (d != rank - 1)
                      outer *= size[d];
                  }
                  int64_t length = rank ? size[rank - 1] : 1;
                  T value = reduceBlock<T>(op.getKind(), [&](auto take) {
                    for (int64_t row = 0; row < outer; ++row) {
                      int64_t index = rank ? begin[rank - 1] : 0, left = row;
                      for (int64_t d = rank - 2; d >= 0; --d) {
                        index += (begin[d] + left % size[d]) * strides[d];
                        left /= size[d];
                      }
                      input.load(index, length, run.data());
                      take(run.data(), length);
                    }
                  });
                  result.store(item, 1, &value);
                }
              });
}

Result<void> evaluate(Machine &machine, ReduceOp op) {
  Result<Tensor> result = machine.make(op.getResult().getType());
  if (!result)
    return opError(op, result.error().code, result.error().message);
  const Tensor &input = machine.tensor(op.getInput());
  if (isa<IntegerType>(op.getInput().getType().getElementType()))
    return opError(op, Errc::Unsupported,
                   "reductions are of float elements; cast first");
  if (machine.real())
    reduceAll<double>(machine, op, input, *result);
  else
    reduceAll<float>(machine, op, input, *result);
  machine.set(op.getResult(), std::move(*result));
  return {};
}

//===----------------------------------------------------------------------===//
// Whole rows
//===----------------------------------------------------------------------===//

static float exponential(float x) { return strictExp(x); }
static double exponential(double x) { return std::exp(x); }

/// Applies `work(row of T, length)` to every row along the last axis.
template <typename T, typename Work>
static void mapRows(Machine &machine, const Tensor &input, Tensor &result,
                    Work work) {
  int64_t length = input.rowLength();
  if (length == 0)
    return;
  parallelFor(machine.threads, input.rows(), 1, [&](int64_t from, int64_t to) {
    std::vector<T> x(length);
    for (int64_t row = from; row < to; ++row) {
      input.load(row * length, length, x.data());
      work(x.data(), length);
      result.store(row * length, length, x.data());
    }
  });
}

/// Runs `body` with a zero of the mode's type of arithmetic.
template <typename Body>
static Result<void> withRows(Machine &machine, Operation *op, Body body) {
  auto type = cast<RankedTensorType>(op->getResult(0).getType());
  for (Type each : op->getOperandTypes())
    if (isa<IntegerType>(cast<RankedTensorType>(each).getElementType()) ||
        isa<IntegerType>(type.getElementType()))
      return opError(op, Errc::Unsupported,
                     "operands and result have float elements; cast first");
  Result<Tensor> result = machine.make(type);
  if (!result)
    return opError(op, result.error().code, result.error().message);
  if (machine.real())
    body(0.0, *result);
  else
    body(0.0f, *result);
  machine.set(op->getResult(0), std::move(*result));
  return {};
}

template <typename T> static std::vector<T> loadAll(const Tensor &tensor) {
  std::vector<T> values(tensor.elements());
  tensor.load(0, tensor.elements(), values.data());
  return values;
}

Result<void> evaluate(Machine &machine, SoftmaxOp op) {
  const Tensor &input = machine.tensor(op.getInput());
  return withRows(machine, op, [&](auto zero, Tensor &result) {
    using T = decltype(zero);
    mapRows<T>(machine, input, result, [](T *x, int64_t n) {
      T largest = -std::numeric_limits<T>::infinity();
      for (int64_t i = 0; i < n; ++i)
        largest = strictMax(largest, x[i]);
      OrderedSum<T> sum;
      for (int64_t i = 0; i < n; ++i) {
        x[i] = exponential(x[i] - largest);
        sum.add(x[i]);
      }
      T total = sum.finish();
      for (int64_t i = 0; i < n; ++i)
        x[i] = x[i] / total;
    });
  });
}

Result<void> evaluate(Machine &machine, RmsNormOp op) {
  const Tensor &input = machine.tensor(op.getInput());
  return withRows(machine, op, [&](auto zero, Tensor &result) {
    using T = decltype(zero);
    std::vector<T> w = loadAll<T>(machine.tensor(op.getWeight()));
    T eps = op.getEps().convertToFloat();
    mapRows<T>(machine, input, result, [&](T *x, int64_t n) {
      OrderedSum<T> squares;
      for (int64_t i = 0; i < n; ++i)
        squares.add(x[i] * x[i]);
      T r = T(1) / std::sqrt(squares.mean() + eps);
      for (int64_t i = 0; i < n; ++i)
        x[i] = (x[i] * r) * w[i];
    });
  });
}

Result<void> evaluate(Machine &machine, LayerNormOp op) {
  const Tensor &input = machine.tensor(op.getInput());
  return withRows(machine, op, [&](auto zero, Tensor &result) {
    using T = decltype(zero);
    std::vector<T> w = loadAll<T>(machine.tensor(op.getWeight()));
    std::vector<T> b = loadAll<T>(machine.tensor(op.getBias()));
    T eps = op.getEps().convertToFloat();
    mapRows<T>(machine, input, result, [&](T *x, int64_t n) {
      OrderedSum<T> sum, squares;
      for (int64_t i = 0; i < n; ++i)
        sum.add(x[i]);
      T mean = sum.mean();
      for (int64_t i = 0; i < n; ++i) {
        x[i] = x[i] - mean;
        squares.add(x[i] * x[i]);
      }
      T r = T(1) / std::sqrt(squares.mean() + eps);
      for (int64_t i = 0; i < n; ++i)
        x[i] = ((x[i] * r) * w[i]) + b[i];
    });
  });
}

} // namespace quern::reference
