//===- Tensor.cpp - Arrays that go into and come out of layers ------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "quern/tensor.h"

#include "runtime/core/AllocationGuard.h"
#include "runtime/tensor/FloatCodes.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <limits>

using namespace quern;

std::optional<int64_t> Shape::elements() const {
  if (count > maxRank)
    return std::nullopt;
  // An extent of 0 makes the product 0 however large the others are.
  int64_t product = 1;
  bool zero = false;
  for (int64_t extent : extents()) {
    if (extent < 0)
      return std::nullopt;
    zero |= extent == 0;
  }
  if (zero)
    return 0;
  for (int64_t extent : extents())
    if (__builtin_mul_overflow(product, extent, &product))
      return std::nullopt;
  return product;
}

std::optional<int64_t> Shape::bytes(DType dtype) const {
  std::optional<int64_t> number = elements();
  if (!number || *number == 0)
    return number;
  int64_t row = count == 0 ? 1 : dims[count - 1], total;
  if (isPacked(dtype))
    return *number / row * static_cast<int64_t>(rowBytes(dtype, row));
  if (__builtin_mul_overflow(*number, int64_t{byteWidth(dtype)}, &total))
    return std::nullopt;
  return total;
}

std::string Shape::print() const {
  return fmt::format("[{}{}]", fmt::join(extents(), ", "),
                     count > maxRank ? ", ..." : "");
}

void Tensor::Free::operator()(void *p) const { std::free(p); }

Result<Tensor> Tensor::zeros(DType dtype, Shape shape, std::string name) {
  return guardAllocations([&]() -> Result<Tensor> {
    std::optional<int64_t> bytes = shape.bytes(dtype);
    if (!bytes || *bytes > INT64_MAX - 64)
      return fail(
          Errc::InvalidArgument,
          fmt::format("{} is not the shape of a tensor: extents are not "
                      "negative, at most {} of them, and their product "
                      "fits 64 bits",
                      shape.print(), Shape::maxRank));
    Tensor tensor;
    tensor.type = dtype;
    tensor.dims = shape;
    tensor.count = *shape.elements();
    tensor.size = static_cast<size_t>(*bytes);
    tensor.label = std::move(name);
    // At least one line, so that even an empty tensor has an address.
    size_t size = (tensor.size + 64) / 64 * 64;
    tensor.storage.reset(std::aligned_alloc(64, size));
    if (!tensor.storage)
      return fail(Errc::OutOfMemory,
                  fmt::format("cannot allocate {} bytes for a tensor {}",
                              *bytes, shape.print()));
    std::memset(tensor.storage.get(), 0, size);
    return tensor;
  });
}

namespace {

template <typename T> T saturate(float value) {
  if (value != value)
    return 0;
  // Compared as double: the bounds of i64 are no floats, and 2^63 itself must
  // not be converted.
  double rounded = std::nearbyint(static_cast<double>(value));
  if (rounded <= static_cast<double>(std::numeric_limits<T>::min()))
    return std::numeric_limits<T>::min();
  if (rounded >= static_cast<double>(std::numeric_limits<T>::max()))
    return std::numeric_limits<T>::max();
  return static_cast<T>(rounded);
}

template <typename T, typename F>
void fill(void *to, std::span<const float> from, F convert) {
  T *out = static_cast<T *>(to);
  for (size_t i = 0; i < from.size(); ++i)
    out[i] = convert(from[i]);
}

/// Where element `i` of a packed tensor lies: its byte, and by how many bits it
/// is shifted there.
struct NibblePlace {
  size_t byte;
  unsigned shift;
};
NibblePlace placeOf(size_t i, size_t row) {
  return {i / row * ((row + 1) / 2) + i % row / 2,
          static_cast<unsigned>(i % row % 2 * 4)};
}

size_t rowOf(const Shape &shape) {
  return shape.rank() == 0 ? 1 : static_cast<size_t>(shape[shape.rank() - 1]);
}

template <typename T, typename F>
void read(const void *from, std::vector<float> &to, F convert) {
  const T *in = static_cast<const T *>(from);
  for (size_t i = 0; i < to.size(); ++i)
    to[i] = convert(in[i]);
}

template <typename T>
void encode(void *to, std::span<const float> from, FloatFormat f) {
  fill<T>(to, from, [f](float v) { return static_cast<T>(encodeFloat(v, f)); });
}

template <typename T>
void decode(const void *from, std::vector<float> &to, FloatFormat f) {
  read<T>(from, to, [f](T v) { return decodeFloat(v, f); });
}

} // namespace

Result<Tensor> Tensor::fromFloats(DType dtype, Shape shape,
                                  std::span<const float> values,
                                  std::string name) {
  return guardAllocations([&]() -> Result<Tensor> {
    std::optional<int64_t> elements = shape.elements();
    if (elements && static_cast<uint64_t>(*elements) != values.size())
      return fail(
          Errc::InvalidArgument,
          fmt::format("a tensor {} has {} elements, {} values were given",
                      shape.print(), *elements, values.size()));
    Result<Tensor> tensor = zeros(dtype, shape, std::move(name));
    if (!tensor)
      return tensor;
    void *to = tensor->data();
    switch (dtype) {
    case DType::I8:
      fill<int8_t>(to, values, saturate<int8_t>);
      break;
    case DType::U8:
      fill<uint8_t>(to, values, saturate<uint8_t>);
      break;
    case DType::I32:
      fill<int32_t>(to, values, saturate<int32_t>);
      break;
    case DType::I64:
      fill<int64_t>(to, values, saturate<int64_t>);
      break;
    case DType::Bool:
      fill<uint8_t>(to, values, [](float v) { return v != 0.0f; });
      break;
    case DType::F32:
      fill<float>(to, values, [](float v) { return v; });
      break;
    case DType::F16:
      encode<uint16_t>(to, values, formatF16);
      break;
    case DType::BF16:
      encode<uint16_t>(to, values, formatBF16);
      break;
    case DType::F8E4M3:
      encode<uint8_t>(to, values, formatF8E4M3);
      break;
    case DType::F8E5M2:
      encode<uint8_t>(to, values, formatF8E5M2);
      break;
    case DType::I4:
    case DType::U4:
      for (size_t i = 0; i < values.size(); ++i) {
        int low = dtype == DType::I4 ? -8 : 0;
        int code = std::clamp<int>(saturate<int8_t>(values[i]), low, low + 15);
        NibblePlace at = placeOf(i, rowOf(shape));
        static_cast<uint8_t *>(to)[at.byte] |=
            static_cast<uint8_t>((code & 15) << at.shift);
      }
      break;
    }
    return tensor;
  });
}

Result<Tensor> Tensor::clone() const {
  return guardAllocations([&]() -> Result<Tensor> {
    Result<Tensor> copy = zeros(type, dims, label);
    if (copy && bytes())
      std::memcpy(copy->data(), data(), bytes());
    return copy;
  });
}

std::vector<float> Tensor::toFloats() const {
  std::vector<float> out(static_cast<size_t>(count));
  auto cast = [](auto v) { return static_cast<float>(v); };
  switch (type) {
  case DType::I8:
    read<int8_t>(data(), out, cast);
    break;
  case DType::U8:
  case DType::Bool:
    read<uint8_t>(data(), out, cast);
    break;
  case DType::I32:
    read<int32_t>(data(), out, cast);
    break;
  case DType::I64:
    read<int64_t>(data(), out, cast);
    break;
  case DType::F32:
    read<float>(data(), out, cast);
    break;
  case DType::F16:
    decode<uint16_t>(data(), out, formatF16);
    break;
  case DType::BF16:
    decode<uint16_t>(data(), out, formatBF16);
    break;
  case DType::F8E4M3:
    decode<uint8_t>(data(), out, formatF8E4M3);
    break;
  case DType::F8E5M2:
    decode<uint8_t>(data(), out, formatF8E5M2);
    break;
  case DType::I4:
  case DType::U4:
    for (size_t i = 0; i < out.size(); ++i) {
      NibblePlace at = placeOf(i, rowOf(dims));
      int code = static_cast<const uint8_t *>(data())[at.byte] >> at.shift & 15;
      out[i] =
          static_cast<float>(type == DType::I4 && code >= 8 ? code - 16 : code);
    }
    break;
  }
  return out;
}

/// The first element whose magnitude bits exceed `infinity` (for formats
/// without one, the largest finite code).
template <typename T>
static std::optional<int64_t> firstAbove(const TensorView &tensor, int64_t n,
                                         T magnitude, T infinity) {
  const char *bytes = static_cast<const char *>(tensor.data);
  for (int64_t i = 0; i < n; ++i) {
    T bits; // Copied out: the view may be unaligned.
    std::memcpy(&bits, bytes + i * sizeof(T), sizeof(T));
    if ((bits & magnitude) > infinity)
      return i;
  }
  return std::nullopt;
}

std::optional<int64_t> quern::findNaN(const TensorView &tensor) {
  std::optional<int64_t> n = tensor.shape.elements();
  if (!n || !tensor.data || tensor.memory != Memory::Host)
    return std::nullopt;
  switch (tensor.dtype) {
  case DType::F32:
    return firstAbove<uint32_t>(tensor, *n, 0x7fffffffu, 0x7f800000u);
  case DType::F16:
    return firstAbove<uint16_t>(tensor, *n, 0x7fff, 0x7c00);
  case DType::BF16:
    return firstAbove<uint16_t>(tensor, *n, 0x7fff, 0x7f80);
  case DType::F8E4M3:
    return firstAbove<uint8_t>(tensor, *n, 0x7f, 0x7e);
  case DType::F8E5M2:
    return firstAbove<uint8_t>(tensor, *n, 0x7f, 0x7c);
  default:
    return std::nullopt;
  }
}
