//===- RowsTest.cpp - Reductions, softmax and norms -----------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "LayerText.h"

#include "compiler/reference/Math.h"

#include <cmath>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>
#include <limits>
#include <random>

using namespace quern;
using namespace quern::reference;

namespace {
constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double notANumber = std::numeric_limits<double>::quiet_NaN();

HostTensor randomTensor(DType dtype, std::vector<int64_t> shape, int seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<double> normal;
  HostTensor x(dtype, std::move(shape));
  for (int64_t i = 0; i < x.elements(); ++i)
    x.set(i, normal(random) * std::exp2(static_cast<double>(random() % 8)));
  return x;
}

/// The written tree, seen from its root: the sum of the partials whose index
/// is `at` modulo `stride` is that of those at `at` and at `at + stride`
/// modulo twice the stride.
float tree(const std::vector<float> &x, size_t at, size_t stride) {
  if (stride == 256) {
    float sum = 0;
    for (size_t i = at; i < x.size(); i += 256)
      sum += x[i];
    return sum;
  }
  return tree(x, at, 2 * stride) + tree(x, at + stride, 2 * stride);
}
float orderedSum(const std::vector<float> &x) { return tree(x, 0, 1); }

HostTensor reduce(const std::string &kind, const HostTensor &x,
                  const std::vector<int64_t> &block, const char *element) {
  std::vector<int64_t> shape;
  for (size_t d = 0; d < block.size(); ++d)
    shape.push_back(block[d] ? (x.shape[d] + block[d] - 1) / block[d] : 1);
  std::string in = tensorText(x.shape, element);
  std::string out = tensorText(shape, kind == "absmax" ? "f32" : element);
  return layerOf({in}, {out},
                 fmt::format("%y = quern.reduce {} %a0 block [{}] : {} -> "
                             "{}\nreturn %y : {}",
                             kind, fmt::join(block, ", "), in, out, out))
      .run({x})[0];
}

std::vector<float> rowOf(const HostTensor &x, int64_t row) {
  std::vector<float> values;
  int64_t n = x.shape.back();
  for (int64_t i = 0; i < n; ++i)
    values.push_back(static_cast<float>(x.get(row * n + i)));
  return values;
}
} // namespace

TEST(Rows, SumsFollowTheWrittenTree) {
  for (int64_t n : {1, 2, 3, 127, 255, 256, 257, 511, 1000, 5000}) {
    HostTensor x = randomTensor(DType::F32, {3, n}, static_cast<int>(n));
    HostTensor sum = reduce("sum", x, {1, 0}, "f32");
    HostTensor mean = reduce("mean", x, {1, 0}, "f32");
    for (int64_t row = 0; row < 3; ++row) {
      EXPECT_EQ(sum.get(row), orderedSum(rowOf(x, row))) << n;
      EXPECT_EQ(mean.get(row),
                orderedSum(rowOf(x, row)) / static_cast<float>(n))
          << n;
    }
  }
}

TEST(Rows, TheTreeIsNotAnyOrder) {
  // Guards the test above: the plain ascending sum is another number.
  HostTensor x = randomTensor(DType::F32, {1, 5000}, 1);
  float plain = 0;
  for (float value : rowOf(x, 0))
    plain += value;
  EXPECT_NE(reduce("sum", x, {1, 0}, "f32").get(0), plain);
}

TEST(Rows, BlocksAgainstBruteForce) {
  std::mt19937_64 random(2);
  for (int round = 0; round < 60; ++round) {
    std::vector<int64_t> shape, block;
    int rank = 1 + random() % 3;
    for (int d = 0; d < rank; ++d) {
      shape.push_back(1 + random() % 20);
      block.push_back(random() % 8);
    }
    HostTensor x = randomTensor(DType::F16, shape, round);
    HostTensor sum = reduce("sum", x, block, "f16");
    HostTensor most = reduce("max", x, block, "f16");
    HostTensor size = reduce("absmax", x, block, "f16");
    for (int64_t r = 0; r < sum.elements(); ++r) {
      std::vector<float> members;
      for (int64_t i = 0; i < x.elements(); ++i) {
        int64_t rest = i, flat = 0, stride = 1;
        for (int d = rank - 1; d >= 0; --d) {
          flat += (block[d] ? rest % shape[d] / block[d] : 0) * stride;
          rest /= shape[d];
          stride *= sum.shape[d];
        }
        if (flat == r)
          members.push_back(static_cast<float>(x.get(i)));
      }
      float largest = -INFINITY, magnitude = 0;
      for (float value : members) {
        largest = std::max(largest, value);
        magnitude = std::max(magnitude, std::fabs(value));
      }
      EXPECT_EQ(most.get(r), largest);
      EXPECT_EQ(size.get(r), magnitude);
      HostTensor expected = tensorOf(DType::F16, {1}, {orderedSum(members)});
      EXPECT_EQ(sum.get(r), expected.get(0));
    }
  }
}

TEST(Rows, NaNAndEmptyBlocks) {
  HostTensor x =
      tensorOf(DType::F32, {2, 3}, {1, notANumber, 3, -1, -infinity, 2});
  for (const char *kind : {"sum", "max", "absmax"}) {
    HostTensor y = reduce(kind, x, {1, 0}, "f32");
    EXPECT_NE(y.get(0), y.get(0)) << kind;
  }
  EXPECT_EQ(reduce("max", x, {1, 0}, "f32").get(1), 2);
  EXPECT_EQ(reduce("absmax", x, {1, 0}, "f32").get(1), infinity);
  HostTensor none(DType::F32, {2, 0});
  EXPECT_EQ(reduce("sum", none, {1, 0}, "f32").get(0), 0);
  EXPECT_EQ(reduce("absmax", none, {1, 0}, "f32").get(0), 0);
  EXPECT_EQ(reduce("max", none, {1, 0}, "f32").get(0), -infinity);
  HostTensor mean = reduce("mean", none, {1, 0}, "f32");
  EXPECT_NE(mean.get(0), mean.get(0));
}

TEST(Rows, Softmax) {
  for (auto [text, type] :
       {std::pair("f32", DType::F32), {"f16", DType::F16}}) {
    std::string t = tensorText({4, 300}, text);
    HostTensor x = randomTensor(type, {4, 300}, 3);
    x.set(300, infinity);
    for (int64_t i = 600; i < 900; ++i)
      x.set(i, -infinity);
    Layer layer = layerOf({t}, {t},
                          fmt::format("%y = quern.softmax %a0 : {0} -> "
                                      "{0}\nreturn %y : {0}",
                                      t));
    HostTensor y = layer.run({x})[0];
    HostTensor expected(type, {4, 300});
    for (int64_t row = 0; row < 4; ++row) {
      std::vector<float> e = rowOf(x, row);
      float most = *std::max_element(e.begin(), e.end());
      for (float &value : e)
        value = strictExp(value - most);
      float total = orderedSum(e);
      for (int64_t i = 0; i < 300; ++i)
        expected.set(row * 300 + i, e[i] / total);
    }
    EXPECT_EQ(bitsOf(y), bitsOf(expected)) << text;
    EXPECT_NE(y.get(600), y.get(600)); // A row of -infinity is NaN.
    std::vector<RealTensor> real = layer.runReal({x});
    double sum = 0;
    for (int64_t i = 0; i < 300; ++i) {
      sum += real[0].values[i];
      EXPECT_NEAR(real[0].values[i], y.get(i), 1e-3);
    }
    EXPECT_NEAR(sum, 1, 1e-12);
  }
}

TEST(Rows, Norms) {
  int64_t n = 700;
  HostTensor x = randomTensor(DType::F16, {3, n}, 4);
  HostTensor w = randomTensor(DType::F16, {n}, 5);
  HostTensor b = randomTensor(DType::F16, {n}, 6);
  std::string t = tensorText({3, n}, "f16"), v = tensorText({n}, "f16");
  float eps = 1e-5f;
  Layer rms =
      layerOf({t, v}, {t},
              fmt::format("%y = quern.rmsnorm %a0, %a1 eps 1.000000e-05 "
                          ": {0}, {1} -> {0}\nreturn %y : {0}",
                          t, v));
  Layer layer =
      layerOf({t, v, v}, {t},
              fmt::format("%y = quern.layernorm %a0, %a1, %a2 eps 1.000000e-05 "
                          ": {0}, {1}, {1} -> {0}\nreturn %y : {0}",
                          t, v));
  HostTensor r = rms.run({x, w})[0], l = layer.run({x, w, b})[0];
  HostTensor wantedR(DType::F16, {3, n}), wantedL(DType::F16, {3, n});
  for (int64_t row = 0; row < 3; ++row) {
    std::vector<float> d = rowOf(x, row), squares;
    for (float value : d)
      squares.push_back(value * value);
    float inverse =
        1.0f / std::sqrt(orderedSum(squares) / static_cast<float>(n) + eps);
    for (int64_t i = 0; i < n; ++i)
      wantedR.set(row * n + i, (d[i] * inverse) * static_cast<float>(w.get(i)));
    float mean = orderedSum(d) / static_cast<float>(n);
    for (int64_t i = 0; i < n; ++i) {
      d[i] = d[i] - mean;
      squares[i] = d[i] * d[i];
    }
    inverse =
        1.0f / std::sqrt(orderedSum(squares) / static_cast<float>(n) + eps);
    for (int64_t i = 0; i < n; ++i)
      wantedL.set(row * n + i,
                  ((d[i] * inverse) * static_cast<float>(w.get(i))) +
                      static_cast<float>(b.get(i)));
  }
  EXPECT_EQ(bitsOf(r), bitsOf(wantedR));
  EXPECT_EQ(bitsOf(l), bitsOf(wantedL));
  // In double both are within f16's rounding of that.
  std::vector<RealTensor> real = layer.runReal({x, w, b});
  for (int64_t i = 0; i < 3 * n; ++i)
    EXPECT_NEAR(real[0].values[i], l.get(i),
                0x1p-10 * std::fabs(l.get(i)) + 1e-3);
}
