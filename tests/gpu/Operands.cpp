//===- Operands.cpp - Drawn operands, and outputs judged ------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "tests/gpu/ModuleSet.h"

#include <fmt/format.h>

#include <cmath>
#include <cstring>
#include <limits>

using namespace quern;
using namespace quern::gputest;

namespace {

class Random {
public:
  Random(uint64_t seed, const std::string &name)
      : state(seed * 0x9e3779b97f4a7c15u + 1) {
    for (char c : name)
      state = (state ^ static_cast<uint8_t>(c)) * 0x100000001b3u;
    state |= 1;
  }
  uint64_t next() {
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return state * 0x2545f4914f6cdd1du;
  }
  /// About N(0, 1): the sum of four 16-bit numbers.
  float normal() {
    uint64_t word = next();
    int sum = 0;
    for (int i = 0; i < 4; ++i)
      sum += static_cast<int>(word >> 16 * i & 0xffff);
    return static_cast<float>(sum - 2 * 65535) * (1.0f / 37837.0f);
  }

private:
  uint64_t state;
};

bool endsWith(const std::string &text, const char *suffix) {
  std::string_view end(suffix);
  return text.size() >= end.size() &&
         std::string_view(text).substr(text.size() - end.size()) == end;
}

/// What kernels stumble over; none whose sums overflow.
constexpr float corners[] = {std::numeric_limits<float>::quiet_NaN(),
                             std::numeric_limits<float>::infinity(),
                             -std::numeric_limits<float>::infinity(),
                             0.0f,
                             -0.0f,
                             1e-41f,
                             65504.0f,
                             -1e15f};

bool isF8(DType dtype) {
  return dtype == DType::F8E4M3 || dtype == DType::F8E5M2;
}
bool isNanCode(DType dtype, uint8_t code) {
  return dtype == DType::F8E4M3 ? (code & 0x7f) == 0x7f : (code & 0x7f) > 0x7c;
}

/// The bits of element i, with every NaN the same.
uint64_t bitsOf(const TensorView &tensor, int64_t i) {
  uint64_t bits = 0;
  unsigned width = byteWidth(tensor.dtype);
  std::memcpy(&bits, static_cast<const std::byte *>(tensor.data) + i * width,
              width);
  switch (tensor.dtype) {
  case DType::F32:
    return (bits & 0x7fffffff) > 0x7f800000 ? 0x7fffffff : bits;
  case DType::F16:
    return (bits & 0x7fff) > 0x7c00 ? 0x7fff : bits;
  case DType::BF16:
    return (bits & 0x7fff) > 0x7f80 ? 0x7fff : bits;
  case DType::F8E4M3:
  case DType::F8E5M2:
    return isNanCode(tensor.dtype, static_cast<uint8_t>(bits)) ? 0x7f : bits;
  default:
    return bits;
  }
}

/// A number that grows by one from each value of the type to the next.
int64_t positionOf(DType dtype, uint64_t bits) {
  unsigned width = byteWidth(dtype) * 8;
  uint64_t sign = uint64_t{1} << (width - 1);
  bool negative = bits & sign;
  if (isFloat(dtype))
    return negative ? -static_cast<int64_t>(bits & (sign - 1))
                    : static_cast<int64_t>(bits);
  if (dtype == DType::U8 || dtype == DType::Bool)
    return static_cast<int64_t>(bits);
  return negative ? static_cast<int64_t>(bits) -
                        static_cast<int64_t>(width == 64 ? 0 : sign << 1)
                  : static_cast<int64_t>(bits);
}

} // namespace

Result<Tensor> gputest::drawOperand(const std::string &name, DType dtype,
                                    const Shape &shape, uint64_t seed,
                                    bool withCorners) {
  auto tensor = Tensor::zeros(dtype, shape, name);
  if (!tensor)
    return tensor;
  Random random(seed, name);
  int64_t count = tensor->elements();
  if (dtype == DType::I32) {
    // Rows of a table; some lie outside and are clamped.
    auto *indices = static_cast<int32_t *>(tensor->data());
    for (int64_t i = 0; i < count; ++i)
      indices[i] = static_cast<int32_t>(random.next() >> 32 & 127) - 16;
    return tensor;
  }
  if (!isFloat(dtype) || (isF8(dtype) && endsWith(name, ".codes"))) {
    unsigned width = byteWidth(dtype);
    if (width != 1)
      return fail(Errc::Unsupported,
                  fmt::format("operand '{}' is of type {}, which is not drawn",
                              name, quern::name(dtype)));
    auto *codes = static_cast<uint8_t *>(tensor->data());
    for (int64_t i = 0; i < count; ++i) {
      auto code = static_cast<uint8_t>(random.next() >> 32);
      if (dtype == DType::I8 && code == 0x80)
        code = 0x81; // -127 is the least code of a symmetric quantizer
      if (dtype == DType::Bool)
        code &= 1;
      if (isF8(dtype) && isNanCode(dtype, code))
        code = 0x30;
      codes[i] = code;
    }
    return tensor;
  }
  std::vector<float> values(static_cast<size_t>(count));
  int64_t columns = shape.rank() ? shape[shape.rank() - 1] : 1;
  bool scale = endsWith(name, ".scales") || name == "s";
  for (int64_t i = 0; i < count; ++i) {
    float value = random.normal();
    if (scale)
      value = 0.004f + 0.002f * std::fabs(value);
    else if (columns > 16 && i % columns % 97 == 13)
      value *= 8;
    values[i] = value;
  }
  if (withCorners && !scale)
    for (int64_t i = static_cast<int64_t>(seed % 17); i < count;
         i += 41 + static_cast<int64_t>(seed % 13))
      values[i] = corners[(i + seed) % std::size(corners)];
  return Tensor::fromFloats(dtype, shape, values, name);
}

uint64_t gputest::hashOf(const TensorView &tensor) {
  uint64_t hash = 0xcbf29ce484222325u;
  int64_t count = tensor.shape.elements().value_or(0);
  for (int64_t i = 0; i < count; ++i)
    hash = (hash ^ bitsOf(tensor, i)) * 0x100000001b3u;
  return hash;
}

Verdict gputest::judge(const ExpectedOutput &bound,
                       std::span<const std::byte> expected,
                       const Tensor &actual) {
  if (expected.empty() && actual.bytes() != 0) {
    bool same = hashOf(actual) == bound.hash;
    return {same, same ? "equal bits" : "other bits than the reference's"};
  }
  if (expected.size() != actual.bytes())
    return {false,
            fmt::format("{} bytes, not {}", actual.bytes(), expected.size())};
  TensorView wanted(actual.dtype(), actual.shape(), expected.data());
  TensorView found(actual);
  bool bounded = bound.numericsClass == "bounded";
  bool steps = !isFloat(actual.dtype()) || isF8(actual.dtype());
  auto reference = Tensor::zeros(actual.dtype(), actual.shape());
  if (!reference)
    return {false, reference.error().message};
  std::memcpy(reference->data(), expected.data(), expected.size());
  std::vector<float> x = reference->toFloats(), y = actual.toFloats();
  int64_t length =
      actual.shape().rank() ? actual.shape()[actual.shape().rank() - 1] : 1;
  int64_t different = 0, wrong = 0, offByOne = 0, first = -1;
  double nearest = 0;
  for (int64_t i = 0; i < actual.elements(); ++i) {
    uint64_t e = bitsOf(wanted, i), a = bitsOf(found, i);
    if (e == a)
      continue;
    ++different;
    int64_t ulps =
        std::abs(positionOf(actual.dtype(), e) - positionOf(actual.dtype(), a));
    bool fails = true;
    if (bounded && !std::isnan(x[i]) && !std::isnan(y[i])) {
      if (steps) {
        fails = ulps > 1;
        offByOne += !fails;
      } else {
        double error = std::fabs(static_cast<double>(x[i]) - y[i]);
        double allowed = bound.extraRelative * std::fabs(x[i]);
        if (static_cast<size_t>(i / length) < bound.rows.size())
          allowed += bound.rows[i / length];
        fails = ulps > 1 && !(error <= allowed);
        if (allowed > 0)
          nearest = std::max(nearest, error / allowed);
      }
    }
    if (fails && !wrong++)
      first = i;
  }
  if (static_cast<double>(offByOne) >
      std::max(1.0, bound.codeShare * static_cast<double>(actual.elements())))
    return {false, fmt::format("{} of {} codes are one off, more than {:.2g}",
                               offByOne, actual.elements(), bound.codeShare)};
  if (wrong)
    return {false,
            fmt::format("{} of {} elements are wrong, first [{}]: {} instead "
                        "of {}",
                        wrong, actual.elements(), first, y[first], x[first])};
  return {true, different ? fmt::format("{} of {} differ, at most {:.2g} of "
                                        "what is allowed",
                                        different, actual.elements(), nearest)
                          : "equal bits"};
}
