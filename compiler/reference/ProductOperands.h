//===- ProductOperands.h - What a product reads -----------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Operands as rows of numbers, the factors that belong to their blocks, and all
// that decides how a product is made of them. Products.cpp has the loops.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_REFERENCE_PRODUCTOPERANDS_H
#define QUERN_REFERENCE_PRODUCTOPERANDS_H

#include "compiler/reference/Floats.h"
#include "compiler/reference/Machine.h"
#include "compiler/reference/ProductKernel.h"

#include <algorithm>

namespace quern::reference::product {

/// Scales with the map that finds them.
struct Factors {
  ScaleIndexer indexer;
  std::vector<double> values; ///< f32 values in the mode exact.

  Factors(llvm::ArrayRef<int64_t> block, const Tensor &codes,
          const Tensor &scales)
      : indexer(block, codes.shape()), values(scales.elements()) {
    scales.load(0, scales.elements(), values.data());
  }
  double at(int64_t row, int64_t column) const {
    return values[indexer.base(row) + column / indexer.lastExtent()];
  }
};

/// The scales or zero points of a quantized value.
inline std::optional<Factors> factorsOf(const Value &value,
                                        const std::optional<Tensor> &part) {
  if (!part)
    return std::nullopt;
  return Factors(value.block, value.tensor, *part);
}

/// An operand as rows of numbers; optionally dequantized on the way, and then
/// rounded to the other operand's type.
class Operand {
public:
  explicit Operand(const Tensor &tensor) : tensor(tensor) {}
  /// Subtracts the zero points: exact, as codes and their differences are
  /// small integers.
  void shift(const Factors *points) { zeros = points; }
  void dequantize(const Factors *scales, std::optional<DType> rounded) {
    factors = scales;
    type = rounded;
  }
  int64_t rowLength() const { return tensor.rowLength(); }

  template <typename T>
  void load(int64_t row, int64_t column, int64_t n, T *out) const {
    tensor.load(row * tensor.rowLength() + column, n, out);
    if (zeros) {
      int64_t base = zeros->indexer.base(row);
      int64_t extent = zeros->indexer.lastExtent();
      for (int64_t i = 0; i < n; ++i)
        out[i] -= static_cast<T>(zeros->values[base + (column + i) / extent]);
    }
    if (!factors)
      return;
    int64_t base = factors->indexer.base(row);
    int64_t extent = factors->indexer.lastExtent();
    for (int64_t i = 0; i < n; ++i) {
      double scale = factors->values[base + (column + i) / extent];
      if (!type) {
        out[i] = static_cast<T>(out[i] * scale);
        continue;
      }
      float value = static_cast<float>(out[i]) * static_cast<float>(scale);
      out[i] = *type == DType::F32
                   ? value
                   : decodeFloat(*type, encodeFloat(*type, value));
    }
  }

private:
  const Tensor &tensor;
  const Factors *zeros = nullptr;
  const Factors *factors = nullptr;
  std::optional<DType> type;
};

/// Everything a product needs beside its kind of arithmetic.
struct Product {
  Product(const Tensor &lhs, const Tensor &rhs) : lhs(lhs), rhs(rhs) {}

  Operand lhs, rhs;
  int64_t batches = 1, m = 0, n = 0, k = 0;
  bool shared = false; ///< The right operand has no batch dimensions.
  bool transposed = false;
  /// Bounds of the segments; a product of one block has one, maybe empty.
  std::vector<std::pair<int64_t, int64_t>> segments;
  /// Split: the parts are accumulated by fma with the factors' product, where
  /// a missing factor is 1, and the sum is multiplied with those that are
  /// whole.
  bool split = false;
  const Factors *lhsScales = nullptr, *rhsScales = nullptr;
  const Factors *lhsWhole = nullptr, *rhsWhole = nullptr;
  bool real = false;
  /// Seed of the coins that move bounded parts by their bound; 0: none.
  uint64_t perturbation = 0;
  /// See Options::f8Error; 2^-24 for all other elements.
  double error = 0x1p-24;
  /// See Options; false but for products of bf16.
  bool flushes = false, dropsSubnormals = false;

  /// Whether subnormal sums that become zero may change a sum of n products by
  /// more than the 512th part of the sum of their magnitudes.
  bool hangsOnFlushing(int64_t n, double magnitudes) const {
    return dropsSubnormals && magnitudes > 0 &&
           magnitudes <= 512 * static_cast<double>(n) * 0x1p-126;
  }
  /// The error of a sum of n products whose magnitudes have that sum.
  double boundOf(int64_t n, double magnitudes) const {
    double count = static_cast<double>(n);
    double bound =
        error > 0x1p-24
            ? magnitudes * (std::min(count, 128.0) * error + count * 0x1p-24)
            : magnitudes * (count * error);
    // A sum that is flushed is lost, and it is no more than its products.
    if (flushes)
      bound += std::min(count * 0x1p-126, magnitudes);
    return bound;
  }

  int64_t rhsBatch(int64_t batch) const { return shared ? 0 : batch; }
  /// The factors of `count` rows or columns where K is at `at`.
  void lhsFactors(const Factors *of, int64_t batch, int64_t row, int64_t at,
                  int64_t count, double *out) const {
    for (int64_t i = 0; i < count; ++i)
      out[i] = of ? of->at(batch * m + row + i, at) : 1.0;
  }
  void rhsFactors(const Factors *of, int64_t batch, int64_t column, int64_t at,
                  int64_t count, double *out) const {
    for (int64_t j = 0; j < count; ++j)
      out[j] = !of          ? 1.0
               : transposed ? of->at(rhsBatch(batch) * n + column + j, at)
                            : of->at(rhsBatch(batch) * k + at, column + j);
  }
  /// Writes b[k][j] for a chunk of a panel; missing columns are zero.
  template <typename T>
  void packPanel(int64_t batch, int64_t column, int64_t columns, int64_t begin,
                 int64_t depth, T *scratch, T *out) const {
    constexpr int64_t width = panelWidth<T>;
    if (columns < width)
      std::fill(out, out + depth * width, T(0));
    if (!transposed) {
      for (int64_t i = 0; i < depth; ++i)
        rhs.load(rhsBatch(batch) * k + begin + i, column, columns,
                 out + i * width);
      return;
    }
    for (int64_t j = 0; j < columns; ++j) {
      rhs.load(rhsBatch(batch) * n + column + j, begin, depth, scratch);
      for (int64_t i = 0; i < depth; ++i)
        out[i * width + j] = scratch[i];
    }
  }
};
} // namespace quern::reference::product

#endif // QUERN_REFERENCE_PRODUCTOPERANDS_H
