//===- Quantization.cpp - quantize and dequantize -------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// The recipe of runtime/core/Quantizer.h, with a true division per element:
// the forms without one, which targets use, are proven against this.
//
//===----------------------------------------------------------------------===//

#include "compiler/reference/Floats.h"
#include "compiler/reference/Machine.h"
#include "compiler/reference/Math.h"
#include "compiler/reference/Parallel.h"

#include <bit>
#include <cmath>
#include <fmt/format.h>

using namespace mlir;
using namespace quern::ir;

namespace quern::reference {

/// Calls `work(row, begin row's scale base)` for all rows, on threads that
/// never share a scale: the first axis is cut at block boundaries only.
static void forEachRow(Machine &machine, const Tensor &tensor,
                       ArrayRef<int64_t> block,
                       llvm::function_ref<void(int64_t, int64_t)> work) {
  ScaleIndexer indexer(block, tensor.shape());
  int64_t rows = tensor.rows();
  if (tensor.rank() < 2 || tensor.elements() == 0) {
    for (int64_t row = 0; row < rows; ++row)
      work(row, indexer.base(row));
    return;
  }
  int64_t first = tensor.shape().front();
  int64_t perIndex = rows / first;
  int64_t extent = block.front() == 0 ? first : block.front();
  int64_t panels = (first + extent - 1) / extent;
  parallelFor(machine.threads, panels, 1, [&](int64_t begin, int64_t end) {
    int64_t last = std::min(end * extent, first) * perIndex;
    for (int64_t row = begin * extent * perIndex; row < last; ++row)
      work(row, indexer.base(row));
  });
}

/// Calls `work(begin, n, scale)` for the runs of a row under one scale.
template <typename Work>
static void forEachRun(int64_t length, int64_t extent, int64_t base,
                       Work work) {
  for (int64_t begin = 0, scale = base; begin < length;
       begin += extent, ++scale)
    work(begin, std::min(extent, length - begin), scale);
}

static float roundTo(quern::Rounding rounding, float t) {
  switch (rounding) {
  case quern::Rounding::HalfEven:
    return std::nearbyint(t);
  case quern::Rounding::HalfAway:
    return std::round(t);
  case quern::Rounding::TowardZero:
    return std::trunc(t);
  }
  return t;
}

/// The code of one element as a number; stored without further rounding for
/// integers, with one for float codes.
static float encode(const Quantizer &q, float x, float s, float zero) {
  float t = x / s;
  if (isFloat(q.codeType)) {
    // -0 is below +0; NaN compares false and stays.
    auto below = [](float a, float b) {
      return a < b || (a == b && std::signbit(a) && !std::signbit(b));
    };
    if (below(t, q.qmin))
      return q.qmin;
    return below(q.qmax, t) ? q.qmax : t;
  }
  if (t != t)
    t = 0.0f;
  // Beyond 2^23 everything is far outside the codes' range, and the sum's
  // rounding does not matter.
  t = roundTo(q.rounding, t) + zero;
  return t < q.qmin ? q.qmin : t > q.qmax ? q.qmax : t;
}

/// The power of two a scale is rounded to, where the recipe wants one. Beside
/// the targets' arithmetic on bits this is written with frexp.
template <typename T> static T roundScale(const Quantizer &q, T s, T most) {
  if (q.scaleRounding == ScaleRounding::Nearest || !std::isfinite(s))
    return s;
  int exponent = 0;
  T fraction = std::frexp(s, &exponent); // s = fraction * 2^exponent
  T below = std::ldexp(T(0.5), exponent);
  bool up = false;
  if (q.scaleRounding == ScaleRounding::PowerCeil)
    up = fraction > T(0.5);
  else if (q.scaleRounding == ScaleRounding::PowerEven)
    up = fraction > T(0.75) ||
         (fraction == T(0.75) && (exponent - 1 + 127) % 2 != 0);
  // The double of the largest power is out of range.
  return up && below < most ? 2 * below : std::min(below, most);
}
template <typename T> static T roundScale(const Quantizer &q, T s) {
  return roundScale(q, s, static_cast<T>(q.largestPower()));
}

/// The bits of what all but a share of a block's elements are not above; by a
/// histogram, where targets count anew for every bit.
static uint32_t percentile(const Quantizer &q,
                           const std::vector<float> &block) {
  constexpr unsigned shift = 23 - Statistic::bits;
  constexpr uint32_t infinityBits = 0x7f800000u;
  std::vector<int64_t> histogram((infinityBits >> shift) + 1, 0);
  for (float x : block)
    ++histogram[std::min(std::bit_cast<uint32_t>(x) & 0x7fffffffu,
                         infinityBits) >>
                shift];
  auto allowed = static_cast<int64_t>(
      static_cast<float>(static_cast<int32_t>(block.size())) *
      q.statistic.tail());
  int64_t above = 0;
  for (size_t key = histogram.size(); key-- > 0;) {
    above += histogram[key];
    if (above <= allowed && key != 0)
      continue;
    return key == infinityBits >> shift
               ? infinityBits
               : std::min(static_cast<uint32_t>(key + 1) << shift,
                          infinityBits - 1);
  }
  return 0;
}

/// The statistic of every block, as bits of f32.
static std::vector<uint32_t> gatherStatistic(const Tensor &input,
                                             ArrayRef<int64_t> block,
                                             const Quantizer &q,
                                             int64_t scales) {
  ScaleIndexer indexer(block, input.shape());
  int64_t length = input.rowLength(), extent = indexer.lastExtent();
  bool isPercentile = q.statistic.kind == Statistic::Kind::Percentile;
  int64_t stride = isPercentile ? 1 : q.statistic.stride();
  std::vector<std::vector<float>> members(scales);
  std::vector<float> x(length);
  for (int64_t row = 0; input.elements() && row < input.rows(); ++row) {
    input.load(row * length, length, x.data());
    forEachRun(length, extent, indexer.base(row),
               [&](int64_t begin, int64_t n, int64_t scale) {
                 for (int64_t i = 0; i < n; i += stride)
                   members[scale].push_back(x[begin + i]);
               });
  }
  std::vector<uint32_t> result;
  for (const std::vector<float> &own : members) {
    uint32_t largest = 0;
    for (float value : own)
      largest = std::max(largest, std::bit_cast<uint32_t>(value) & 0x7fffffffu);
    result.push_back(isPercentile ? percentile(q, own) : largest);
  }
  return result;
}

/// The scales of a dynamic quantization.
static Result<void> computeScales(Machine &machine, const Tensor &input,
                                  ArrayRef<int64_t> block, const Quantizer &q,
                                  Tensor &scales) {
  int64_t length = input.rowLength();
  int64_t extent = ScaleIndexer(block, input.shape()).lastExtent();
  if (machine.real()) {
    std::vector<double> amax(scales.elements(), 0.0);
    forEachRow(machine, input, block, [&](int64_t row, int64_t base) {
      std::vector<double> x(length);
      input.load(row * length, length, x.data());
      forEachRun(length, extent, base,
                 [&](int64_t begin, int64_t n, int64_t scale) {
                   for (int64_t i = begin; i < begin + n; ++i)
                     amax[scale] = strictMax(amax[scale], std::fabs(x[i]));
                 });
    });
    for (double &a : amax)
      a = std::isfinite(a)
              ? roundScale(
                    q, std::max(a / static_cast<double>(q.effectiveDivisor()),
                                static_cast<double>(q.floor)))
              : 1.0;
    scales.store(0, scales.elements(), amax.data());
    return {};
  }
  std::vector<uint32_t> amax(scales.elements(), 0);
  if (q.statistic.kind != Statistic::Kind::AbsMax)
    amax = gatherStatistic(input, block, q, scales.elements());
  else
    forEachRow(machine, input, block, [&](int64_t row, int64_t base) {
      std::vector<float> x(length);
      input.load(row * length, length, x.data());
      forEachRun(length, extent, base,
                 [&](int64_t begin, int64_t n, int64_t scale) {
                   uint32_t largest = amax[scale];
                   for (int64_t i = begin; i < begin + n; ++i)
                     largest = std::max(largest, std::bit_cast<uint32_t>(x[i]) &
                                                     0x7fffffffu);
                   amax[scale] = largest;
                 });
    });
  std::vector<float> s(amax.size());
  for (size_t i = 0; i < amax.size(); ++i)
    s[i] = roundScale(
        q, strictMax(std::bit_cast<float>(amax[i]) / q.effectiveDivisor(),
                     q.floor));
  scales.store(0, scales.elements(), s.data());
  return {};
}

/// The scales and zero points of a dynamic quantization.
static void computeScalesAndZeros(Machine &machine, const Tensor &input,
                                  ArrayRef<int64_t> block, const Quantizer &q,
                                  Tensor &scales, Tensor &zeros) {
  int64_t length = input.rowLength();
  int64_t extent = ScaleIndexer(block, input.shape()).lastExtent();
  auto compute = [&](auto start) {
    using T = decltype(start);
    // The range of every block, which holds 0.
    std::vector<T> above(scales.elements(), T(0)), below(above);
    forEachRow(machine, input, block, [&](int64_t row, int64_t base) {
      std::vector<T> x(length);
      input.load(row * length, length, x.data());
      forEachRun(length, extent, base,
                 [&](int64_t begin, int64_t n, int64_t scale) {
                   for (int64_t i = begin; i < begin + n; ++i) {
                     above[scale] = strictMax(above[scale], x[i]);
                     below[scale] = strictMax(below[scale], -x[i]);
                   }
                 });
    });
    std::vector<T> s(scales.elements()), z(scales.elements());
    for (size_t i = 0; i < s.size(); ++i)
      s[i] = roundScale(q, strictMax((above[i] + below[i]) /
                                         static_cast<T>(q.effectiveDivisor()),
                                     static_cast<T>(q.floor)));
    scales.store(0, scales.elements(), s.data());
    scales.load(0, scales.elements(), s.data()); // As they are stored.
    for (size_t i = 0; i < s.size(); ++i) {
      T point = below[i] / s[i] + static_cast<T>(q.qmin);
      point = point > static_cast<T>(q.qmax) ? static_cast<T>(q.qmax) : point;
      z[i] = point == point ? std::nearbyint(point) : T(0);
    }
    zeros.store(0, zeros.elements(), z.data());
  };
  if (machine.real())
    compute(0.0);
  else
    compute(0.0f);
}

Result<void> evaluate(Machine &machine, PowerOfTwoOp op) {
  Result<Tensor> made = machine.make(op.getResult().getType());
  if (!made)
    return opError(op, made.error().code, made.error().message);
  const Tensor &input = machine.tensor(op.getInput());
  if (input.elements() != made->elements())
    return opError(op, Errc::Unsupported, "operands that repeat");
  Quantizer q;
  q.scaleRounding = static_cast<quern::ScaleRounding>(op.getRounding());
  auto round = [&](auto zero) {
    std::vector<decltype(zero)> x(made->elements());
    input.load(0, made->elements(), x.data());
    for (auto &value : x)
      value =
          roundScale<decltype(zero)>(q, value, op.getMost().convertToFloat());
    made->store(0, made->elements(), x.data());
  };
  if (machine.real())
    round(0.0);
  else
    round(0.0f);
  machine.set(op.getResult(), std::move(*made));
  return {};
}

Result<void> evaluate(Machine &machine, CountClippedOp op) {
  Quantizer q;
  q.qmin = op.getQuantizer().getQmin().convertToFloat();
  q.qmax = op.getQuantizer().getQmax().convertToFloat();
  q.rounding = static_cast<quern::Rounding>(op.getQuantizer().getRounding());
  const Tensor &input = machine.tensor(op.getInput());
  const Tensor &scales = machine.tensor(op.getScales());
  Result<Tensor> made = machine.make(op.getResult().getType());
  if (!made)
    return opError(op, made.error().code, made.error().message);
  std::vector<double> counts(made->elements(), 0.0);
  if (op.getBefore())
    machine.tensor(op.getBefore()).load(0, made->elements(), counts.data());
  std::vector<float> s(scales.elements());
  scales.load(0, scales.elements(), s.data());
  ScaleIndexer counters(op.getBlock(), input.shape());
  ScaleIndexer scaleOf(op.getScaleBlock(), input.shape());
  int64_t length = input.rowLength();
  int64_t countRun = counters.lastExtent(), scaleRun = scaleOf.lastExtent();
  std::vector<float> x(length);
  for (int64_t row = 0; input.elements() && row < input.rows(); ++row) {
    input.load(row * length, length, x.data());
    for (int64_t i = 0; i < length; ++i) {
      float t = x[i] / s[scaleOf.base(row) + i / scaleRun];
      if (!op.getFloatCodes() && t == t)
        t = roundTo(q.rounding, t);
      if (t < q.qmin || t > q.qmax)
        counts[counters.base(row) + i / countRun] += 1;
    }
  }
  for (double &count : counts) // Modulo 2^32.
    count = static_cast<int32_t>(
        static_cast<uint32_t>(static_cast<int64_t>(count)));
  made->store(0, made->elements(), counts.data());
  machine.set(op.getResult(), std::move(*made));
  return {};
}

Result<void> evaluate(Machine &machine, QuantizeOp op) {
  QTensorType type = op.getResult().getType();
  Quantizer q = getQuantizer(op.getQuantizer(), type);
  if (!isFloat(q.codeType) &&
      (q.qmin != std::trunc(q.qmin) || q.qmax != std::trunc(q.qmax) ||
       q.qmin < (q.codeType == DType::U8 ? 0 : -128) ||
       q.qmax > (q.codeType == DType::U8 ? 255 : 127) || q.qmin > q.qmax))
    return opError(op, Errc::InvalidSource,
                   fmt::format("codes of type {} cannot be clamped to [{}, {}]",
                               name(q.codeType), q.qmin, q.qmax));
  const Tensor &input = machine.tensor(op.getInput());
  ArrayRef<int64_t> block = type.getScale().getBlock();
  Result<Tensor> codes = machine.make(type.getCodes());
  if (!codes)
    return opError(op, codes.error().code, codes.error().message);
  Result<Tensor> scales = machine.make(type.getScalesType());
  if (!scales)
    return opError(op, scales.error().code, scales.error().message);
  std::optional<Tensor> zeros;
  if (type.hasZeros()) {
    Result<Tensor> made = machine.make(type.getZerosType());
    if (!made)
      return opError(op, made.error().code, made.error().message);
    zeros = std::move(*made);
  }
  if (op.getScale()) {
    *scales = machine.tensor(op.getScale());
    if (op.getZero())
      zeros = machine.tensor(op.getZero());
  } else if (zeros) {
    computeScalesAndZeros(machine, input, block, q, *scales, *zeros);
  } else if (Result<void> done =
                 computeScales(machine, input, block, q, *scales);
             !done) {
    return done;
  }

  int64_t length = input.rowLength();
  int64_t extent = ScaleIndexer(block, input.shape()).lastExtent();
  auto encodeRows = [&](auto zero, auto code) {
    using T = decltype(zero);
    std::vector<T> s(scales->elements()), z(scales->elements(), T(0));
    scales->load(0, scales->elements(), s.data());
    if (zeros)
      zeros->load(0, zeros->elements(), z.data());
    forEachRow(machine, input, block, [&](int64_t row, int64_t base) {
      std::vector<T> x(length);
      input.load(row * length, length, x.data());
      forEachRun(length, extent, base,
                 [&](int64_t begin, int64_t n, int64_t scale) {
                   for (int64_t i = begin; i < begin + n; ++i)
                     x[i] = code(x[i], s[scale], z[scale]);
                 });
      codes->store(row * length, length, x.data());
    });
  };
  if (machine.real())
    encodeRows(0.0, [](double x, double s, double z) { return x / s + z; });
  else
    encodeRows(0.0f,
               [&](float x, float s, float z) { return encode(q, x, s, z); });
  machine.values[op.getResult()] =
      Value{*codes, *scales, {block.begin(), block.end()}, zeros};
  return {};
}

Result<void> evaluate(Machine &machine, DequantizeOp op) {
  const Value &input = machine.get(op.getInput());
  Result<Tensor> result = machine.make(op.getResult().getType());
  if (!result)
    return opError(op, result.error().code, result.error().message);
  int64_t length = input.tensor.rowLength();
  int64_t extent = ScaleIndexer(input.block, input.tensor.shape()).lastExtent();
  auto decodeRows = [&](auto zero) {
    using T = decltype(zero);
    std::vector<T> s(input.scales->elements()), z(s.size(), T(0));
    input.scales->load(0, input.scales->elements(), s.data());
    if (input.zeros)
      input.zeros->load(0, input.zeros->elements(), z.data());
    forEachRow(machine, input.tensor, input.block,
               [&](int64_t row, int64_t base) {
                 std::vector<T> x(length);
                 input.tensor.load(row * length, length, x.data());
                 forEachRun(length, extent, base,
                            [&](int64_t begin, int64_t n, int64_t scale) {
                              for (int64_t i = begin; i < begin + n; ++i)
                                x[i] = (x[i] - z[scale]) * s[scale];
                            });
                 result->store(row * length, length, x.data());
               });
  };
  if (machine.real())
    decodeRows(0.0);
  else
    decodeRows(0.0f);
  machine.set(op.getResult(), std::move(*result));
  return {};
}

} // namespace quern::reference
