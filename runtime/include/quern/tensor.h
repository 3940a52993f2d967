//===- tensor.h - Arrays that go into and come out of layers ----*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// `TensorView` points at elements somebody else owns; `Tensor` owns them.
// Elements are dense and row-major, the last dimension contiguous. Ranks go up
// to 6; rank 0 is a single element; extents of 0 are legal. Of i4 and u4, two
// elements of a row share a byte, the first in its low half (core/DType.h).
//
// Alignment: an address must be a multiple of the element size (4 for f32, 1
// for i8), no more. Device addresses handed to a CUDA layer must be aligned as
// the operand says (`Operand::deviceAlignment`).
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_TENSOR_H
#define QUERN_TENSOR_H

#include "runtime/core/DType.h"
#include "runtime/core/Export.h"
#include "runtime/core/Result.h"

#include <array>
#include <cstddef>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace quern {
inline namespace v0 {

/// Extents, outermost first. A plain value of fixed size.
class QUERN_API Shape {
public:
  static constexpr unsigned maxRank = 6;

  Shape() = default;
  /// More than six extents are kept as a rank that everything refuses.
  Shape(std::initializer_list<int64_t> extents)
      : Shape(std::span<const int64_t>(extents.begin(), extents.size())) {}
  explicit Shape(std::span<const int64_t> extents)
      : count(static_cast<unsigned>(extents.size())) {
    for (unsigned i = 0; i < count && i < maxRank; ++i)
      dims[i] = extents[i];
  }

  unsigned rank() const { return count; }
  int64_t operator[](unsigned i) const { return dims[i]; }
  int64_t &operator[](unsigned i) { return dims[i]; }
  std::span<const int64_t> extents() const {
    return {dims.data(), count < maxRank ? count : maxRank};
  }
  /// The number of elements; nothing if an extent is negative, the rank is
  /// above 6 or the product does not fit.
  std::optional<int64_t> elements() const;
  /// What they take in memory; nothing where `elements` is, or where it does
  /// not fit.
  std::optional<int64_t> bytes(DType dtype) const;
  /// `[8, 4096]`
  std::string print() const;
  bool operator==(const Shape &other) const {
    return count == other.count && dims == other.dims;
  }

private:
  std::array<int64_t, maxRank> dims{};
  unsigned count = 0;
};

/// Where the elements lie.
enum class Memory : uint8_t {
  Host = 0,
  Device = 1, ///< An address of the CUDA device the layer runs on.
};

class Tensor;

/// Elements somebody else owns. Inputs and weights are only read.
struct QUERN_API TensorView {
  TensorView() = default;
  TensorView(DType dtype, Shape shape, const void *data,
             std::string_view name = {})
      : dtype(dtype), shape(shape), data(const_cast<void *>(data)), name(name) {
  }
  TensorView(const Tensor &tensor); // NOLINT: a tensor is a view of itself.

  DType dtype = DType::F32;
  Shape shape;
  void *data = nullptr; ///< May be null when there are no elements.
  /// The operand this is for, such as "x", "w.codes" or "w.scales"; empty for
  /// "by position".
  std::string_view name;
  /// In elements, outermost first; rank 0 means dense. Other strides than the
  /// dense ones are refused.
  Shape strides;
  Memory memory = Memory::Host;
};

/// Owns its elements, 64-byte aligned. Moves; copies with `clone`.
class QUERN_API Tensor {
public:
  Tensor() = default; ///< f32, shape [0].

  /// All elements zero. Refuses a shape that is negative or does not fit in
  /// memory.
  static Result<Tensor> zeros(DType dtype, Shape shape, std::string name = {});
  /// Converts to `dtype`, rounding half to even; integers saturate and take 0
  /// for NaN; f8e4m3 saturates. `values` must have as many elements as the
  /// shape.
  static Result<Tensor> fromFloats(DType dtype, Shape shape,
                                   std::span<const float> values,
                                   std::string name = {});
  Result<Tensor> clone() const;

  DType dtype() const { return type; }
  const Shape &shape() const { return dims; }
  int64_t elements() const { return count; }
  size_t bytes() const { return size; }
  void *data() { return storage.get(); }
  const void *data() const { return storage.get(); }
  const std::string &name() const { return label; }
  void setName(std::string name) { label = std::move(name); }

  /// The elements as T; empty unless T has the element's size. Of i4 and u4 the
  /// bytes that hold them.
  template <typename T> std::span<T> as() {
    return sizeof(T) == byteWidth(type)
               ? std::span<T>(static_cast<T *>(data()), size / sizeof(T))
               : std::span<T>();
  }
  template <typename T> std::span<const T> as() const {
    return const_cast<Tensor *>(this)->as<T>();
  }
  /// Every element as f32; exact but for i32 and i64 beyond 2^24. Throws what
  /// `std::vector` throws where there is no memory for them.
  std::vector<float> toFloats() const;

private:
  struct Free {
    void operator()(void *p) const;
  };
  DType type = DType::F32;
  Shape dims = {0};
  int64_t count = 0;
  size_t size = 0; ///< Bytes.
  std::unique_ptr<void, Free> storage;
  std::string label;
};

inline TensorView::TensorView(const Tensor &tensor)
    : TensorView(tensor.dtype(), tensor.shape(), tensor.data(), tensor.name()) {
}

/// A list of views as a parameter: `{x, y}`, a vector, a span. Valid for the
/// call only.
class TensorList {
public:
  TensorList() = default;
  TensorList(std::initializer_list<TensorView> list)
      : views(list.begin(), list.size()) {}
  TensorList(std::span<const TensorView> views) : views(views) {}
  TensorList(const std::vector<TensorView> &views) : views(views) {}

  size_t size() const { return views.size(); }
  const TensorView &operator[](size_t i) const { return views[i]; }
  auto begin() const { return views.begin(); }
  auto end() const { return views.end(); }

private:
  std::span<const TensorView> views;
};

/// The index of the first element that is NaN, if any.
QUERN_API std::optional<int64_t> findNaN(const TensorView &tensor);

} // namespace v0
} // namespace quern

#endif // QUERN_TENSOR_H
