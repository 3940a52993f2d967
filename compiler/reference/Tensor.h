//===- Tensor.h - Values inside the interpreter -----------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// A value during interpretation: either elements in their storage type (all of
// the mode *exact*, and the layer's operands in the mode *real*, which are not
// copied), or doubles. Operations see elements as runs of f32 or f64; the
// storage type appears in load and store only.
//
// Integer elements load as numbers. An i32 loads as f32 rounded half to even,
// as the conversion of an accumulator is defined.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_REFERENCE_TENSOR_H
#define QUERN_REFERENCE_TENSOR_H

#include "compiler/reference/HostTensor.h"

#include "llvm/ADT/ArrayRef.h"

#include <memory>
#include <optional>

namespace quern::reference {

class Tensor {
public:
  Tensor() = default;
  /// A new tensor of zeros; doubles when `real`, else of the storage type.
  /// `data` is null when there is no memory.
  Tensor(std::vector<int64_t> shape, DType dtype, bool real);
  /// The elements of an operand, which must outlive this.
  static Tensor borrow(const HostTensor &tensor);

  const std::vector<int64_t> &shape() const { return extents; }
  int64_t rank() const { return static_cast<int64_t>(extents.size()); }
  int64_t elements() const { return count; }
  /// Extent of the last axis; 1 for rank 0.
  int64_t rowLength() const { return extents.empty() ? 1 : extents.back(); }
  /// Number of rows along the last axis; 0 when there are no elements and the
  /// rows cannot be counted by division.
  int64_t rows() const;
  DType dtype() const { return type; }
  unsigned elementWidth() const { return real ? 8 : byteWidth(type); }
  const std::byte *data() const { return bytes; }
  /// Only for tensors made by the first constructor and not yet shared.
  std::byte *mutableData() { return owner.get(); }

  void load(int64_t begin, int64_t n, float *out) const;
  void load(int64_t begin, int64_t n, double *out) const;
  /// Rounds once, half to even, to the storage type.
  void store(int64_t begin, int64_t n, const float *values);
  void store(int64_t begin, int64_t n, const double *values);
  double get(int64_t index) const {
    double value;
    load(index, 1, &value);
    return value;
  }

  /// The same elements under another shape of as many.
  Tensor reshaped(std::vector<int64_t> shape) const;
  /// Packed elements as i8 or u8; others as they are.
  Tensor widened() const;
  /// As doubles, whatever it was.
  Tensor toReal() const;
  HostTensor toHost() const;

private:
  std::vector<int64_t> extents;
  int64_t count = 0;
  DType type = DType::F32;
  bool real = false;
  const std::byte *bytes = nullptr;
  std::shared_ptr<std::byte[]> owner;
};

/// Finds scales by row: `base` of a row of the codes (its flat index over all
/// axes but the last) plus the column over `lastExtent` is the scale's index.
class ScaleIndexer {
public:
  ScaleIndexer(llvm::ArrayRef<int64_t> block, llvm::ArrayRef<int64_t> shape);
  int64_t base(int64_t row) const;
  int64_t lastExtent() const { return extent; }
  llvm::ArrayRef<int64_t> scaleShape() const { return scales; }

private:
  std::vector<int64_t> shape, blocks, scales;
  int64_t extent = 1;
};

/// A value of the IR: a tensor, or the parts of a quantized one.
struct Value {
  Tensor tensor; ///< The codes when quantized.
  std::optional<Tensor> scales;
  std::vector<int64_t> block;  ///< The scale's block map when quantized.
  std::optional<Tensor> zeros; ///< Found by the same map.

  bool quantized() const { return scales.has_value(); }
};

} // namespace quern::reference

#endif // QUERN_REFERENCE_TENSOR_H
