//===- Tensor.cpp - Values inside the interpreter -------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/reference/Tensor.h"

#include "compiler/reference/Floats.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace quern::reference {

//===----------------------------------------------------------------------===//
// Elements
//===----------------------------------------------------------------------===//

template <typename S, typename T>
static void loadPlain(const std::byte *bytes, int64_t begin, int64_t n,
                      T *out) {
  auto *source = reinterpret_cast<const S *>(bytes) + begin;
  for (int64_t i = 0; i < n; ++i)
    out[i] = static_cast<T>(source[i]);
}

template <typename S, typename T>
static void loadCoded(DType type, const std::byte *bytes, int64_t begin,
                      int64_t n, T *out) {
  auto *source = reinterpret_cast<const S *>(bytes) + begin;
  for (int64_t i = 0; i < n; ++i)
    out[i] = decodeFloat(type, source[i]);
}

/// The byte and the shift of element `index` where rows are of that length.
static std::pair<int64_t, unsigned> placeOf(int64_t index, int64_t row) {
  return {index / row * ((row + 1) / 2) + index % row / 2,
          static_cast<unsigned>(index % row % 2 * 4)};
}

template <typename T>
static void loadPacked(DType type, const std::byte *bytes, int64_t row,
                       int64_t begin, int64_t n, T *out) {
  for (int64_t i = 0; i < n; ++i) {
    auto [at, shift] = placeOf(begin + i, row);
    int code = std::to_integer<int>(bytes[at]) >> shift & 15;
    out[i] = static_cast<T>(type == DType::I4 && code >= 8 ? code - 16 : code);
  }
}

/// `row` is the length of the last axis.
template <typename T>
static void loadAny(DType type, bool real, const std::byte *bytes, int64_t row,
                    int64_t begin, int64_t n, T *out) {
  if (real)
    return loadPlain<double>(bytes, begin, n, out);
  switch (type) {
  case DType::I4:
  case DType::U4:
    return loadPacked(type, bytes, row, begin, n, out);
  case DType::I8:
    return loadPlain<int8_t>(bytes, begin, n, out);
  case DType::U8:
  case DType::Bool:
    return loadPlain<uint8_t>(bytes, begin, n, out);
  case DType::I32:
    return loadPlain<int32_t>(bytes, begin, n, out);
  case DType::I64:
    return loadPlain<int64_t>(bytes, begin, n, out);
  case DType::F32:
    return loadPlain<float>(bytes, begin, n, out);
  case DType::F16:
  case DType::BF16:
    return loadCoded<uint16_t>(type, bytes, begin, n, out);
  case DType::F8E4M3:
  case DType::F8E5M2:
    return loadCoded<uint8_t>(type, bytes, begin, n, out);
  }
}

template <typename S, typename T>
static void storePlain(std::byte *bytes, int64_t begin, int64_t n,
                       const T *values) {
  auto *target = reinterpret_cast<S *>(bytes) + begin;
  for (int64_t i = 0; i < n; ++i)
    target[i] = static_cast<S>(values[i]);
}

template <typename S, typename T>
static void storeCoded(DType type, std::byte *bytes, int64_t begin, int64_t n,
                       const T *values) {
  auto *target = reinterpret_cast<S *>(bytes) + begin;
  for (int64_t i = 0; i < n; ++i)
    target[i] = static_cast<S>(encodeFloat(type, values[i]));
}

template <typename T>
static void storePacked(std::byte *bytes, int64_t row, int64_t begin, int64_t n,
                        const T *values) {
  for (int64_t i = 0; i < n; ++i) {
    auto [at, shift] = placeOf(begin + i, row);
    bytes[at] = (bytes[at] & std::byte(0xf0 >> shift)) |
                std::byte((static_cast<int>(values[i]) & 15) << shift);
  }
}

template <typename T>
static void storeAny(DType type, bool real, std::byte *bytes, int64_t row,
                     int64_t begin, int64_t n, const T *values) {
  if (real)
    return storePlain<double>(bytes, begin, n, values);
  switch (type) {
  case DType::I4:
  case DType::U4:
    return storePacked(bytes, row, begin, n, values);
  case DType::I8:
    return storePlain<int8_t>(bytes, begin, n, values);
  case DType::U8:
  case DType::Bool:
    return storePlain<uint8_t>(bytes, begin, n, values);
  case DType::I32:
    return storePlain<int32_t>(bytes, begin, n, values);
  case DType::I64:
    return storePlain<int64_t>(bytes, begin, n, values);
  case DType::F32:
    return storePlain<float>(bytes, begin, n, values);
  case DType::F16:
  case DType::BF16:
    return storeCoded<uint16_t>(type, bytes, begin, n, values);
  case DType::F8E4M3:
  case DType::F8E5M2:
    return storeCoded<uint8_t>(type, bytes, begin, n, values);
  }
}

double HostTensor::get(int64_t index) const {
  double value = 0;
  loadAny(dtype, false, bytes.data(), shape.empty() ? 1 : shape.back(), index,
          1, &value);
  return value;
}

void HostTensor::set(int64_t index, double value) {
  storeAny(dtype, false, bytes.data(), shape.empty() ? 1 : shape.back(), index,
           1, &value);
}

//===----------------------------------------------------------------------===//
// Tensor
//===----------------------------------------------------------------------===//

static int64_t product(llvm::ArrayRef<int64_t> extents) {
  int64_t count = 1;
  for (int64_t extent : extents)
    count *= extent;
  return count;
}

Tensor::Tensor(std::vector<int64_t> shape, DType dtype, bool real)
    : extents(std::move(shape)), count(product(extents)), type(dtype),
      real(real) {
  size_t size = static_cast<size_t>(count) * elementWidth();
  // calloc reports exhaustion by value. Room for one element even when there
  // is none: a pointer then always means success.
  owner = std::shared_ptr<std::byte[]>(
      static_cast<std::byte *>(std::calloc(size + 8, 1)), std::free);
  bytes = owner.get();
}

Tensor Tensor::borrow(const HostTensor &tensor) {
  Tensor result;
  result.extents = tensor.shape;
  result.count = tensor.elements();
  result.type = tensor.dtype;
  result.bytes = tensor.bytes.data();
  return result;
}

int64_t Tensor::rows() const {
  return extents.empty() ? 1 : product(llvm::ArrayRef(extents).drop_back());
}

void Tensor::load(int64_t begin, int64_t n, float *out) const {
  loadAny(type, real, bytes, rowLength(), begin, n, out);
}
void Tensor::load(int64_t begin, int64_t n, double *out) const {
  loadAny(type, real, bytes, rowLength(), begin, n, out);
}
void Tensor::store(int64_t begin, int64_t n, const float *values) {
  storeAny(type, real, owner.get(), rowLength(), begin, n, values);
}
void Tensor::store(int64_t begin, int64_t n, const double *values) {
  storeAny(type, real, owner.get(), rowLength(), begin, n, values);
}

Tensor Tensor::reshaped(std::vector<int64_t> shape) const {
  Tensor result = *this;
  result.extents = std::move(shape);
  return result;
}

Tensor Tensor::widened() const {
  if (real || !isPacked(type))
    return *this;
  Tensor result(extents, type == DType::I4 ? DType::I8 : DType::U8, false);
  for (int64_t i = 0; i < count; ++i) {
    double value = get(i);
    result.store(i, 1, &value);
  }
  return result;
}

Tensor Tensor::toReal() const {
  if (real)
    return *this;
  Tensor result(extents, type, true);
  load(0, count, reinterpret_cast<double *>(result.mutableData()));
  return result;
}

HostTensor Tensor::toHost() const {
  HostTensor result(real ? DType::F32 : type, extents);
  if (real)
    load(0, count, result.as<float>().data());
  else if (count)
    std::memcpy(result.bytes.data(), bytes, result.bytes.size());
  return result;
}

//===----------------------------------------------------------------------===//
// ScaleIndexer
//===----------------------------------------------------------------------===//

ScaleIndexer::ScaleIndexer(llvm::ArrayRef<int64_t> block,
                           llvm::ArrayRef<int64_t> shape)
    : shape(shape.begin(), shape.end()) {
  for (auto [extentOf, length] : llvm::zip_equal(block, shape)) {
    bool whole = extentOf == 0;
    int64_t e = std::max<int64_t>(whole ? length : extentOf, 1);
    blocks.push_back(e);
    scales.push_back(whole ? 1 : (length + e - 1) / e);
  }
  if (!blocks.empty())
    extent = blocks.back();
}

int64_t ScaleIndexer::base(int64_t row) const {
  int64_t index = 0, stride = scales.empty() ? 1 : scales.back();
  for (int64_t d = static_cast<int64_t>(shape.size()) - 2; d >= 0; --d) {
    // Rows of an axis without indices are asked for where none is read.
    int64_t length = std::max<int64_t>(shape[d], 1);
    index += row % length / blocks[d] * stride;
    row /= length;
    stride *= scales[d];
  }
  return index;
}

} // namespace quern::reference
