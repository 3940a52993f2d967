//===- HostTensor.h - A tensor that owns its bytes --------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// What goes into and comes out of the interpreters: an element type, a shape
// with all extents known, and the elements in row-major order, little-endian
// and packed, exactly as a runtime buffer holds them. A quantized operand is
// two of these, codes then scales, in the order of the layer's signature.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_REFERENCE_HOSTTENSOR_H
#define QUERN_REFERENCE_HOSTTENSOR_H

#include "runtime/core/DType.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace quern::reference {

struct HostTensor {
  DType dtype = DType::F32;
  std::vector<int64_t> shape;
  std::vector<std::byte> bytes;

  HostTensor() = default;
  /// All elements zero.
  HostTensor(DType dtype, std::vector<int64_t> shape)
      : dtype(dtype), shape(std::move(shape)),
        bytes(static_cast<size_t>(bytesOf(dtype, this->shape))) {}

  /// What elements of such a shape take. Extents are not negative, and the
  /// product fits.
  static int64_t bytesOf(DType dtype, std::span<const int64_t> shape) {
    auto bytes = static_cast<int64_t>(rowBytes(
        dtype, shape.empty() ? 1 : static_cast<uint64_t>(shape.back())));
    for (size_t d = 0; d + 1 < shape.size(); ++d)
      bytes *= shape[d];
    return bytes;
  }

  int64_t elements() const {
    int64_t count = 1;
    for (int64_t extent : shape)
      count *= extent;
    return count;
  }
  /// The elements as an array of T, which must have the element's width; the
  /// bytes of packed ones.
  template <typename T> std::span<T> as() {
    return {reinterpret_cast<T *>(bytes.data()), bytes.size() / sizeof(T)};
  }
  template <typename T> std::span<const T> as() const {
    return {reinterpret_cast<const T *>(bytes.data()),
            bytes.size() / sizeof(T)};
  }
  /// Element `index` as a number; codes as their plain value, not scaled.
  double get(int64_t index) const;
  /// Rounds a number (half to even; f8 saturates) to element `index`. Integer
  /// types take integers in range.
  void set(int64_t index, double value);
};

} // namespace quern::reference

#endif // QUERN_REFERENCE_HOSTTENSOR_H
