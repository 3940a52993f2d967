//===- LayersTest.cpp - Whole layers against scalar loops -----------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "LayerText.h"

#include "compiler/reference/Math.h"
#include "compiler/reference/RandomInputs.h"

#include <cmath>
#include <gtest/gtest.h>
#include <random>

using namespace quern;
using namespace quern::reference;

namespace {

/// One int8 linear layer with dynamic per-token activations.
const char *hello = R"(
func.func @hello(
    %x: tensor<?x256xf16, affine_map<()[s0] -> (s0, 256)>> {quern.name = "x"},
    %w: !quern.qtensor<tensor<128x256xi8>, #quern.scale<block = [1, 0], type = f32>> {quern.name = "w", quern.weight})
    -> (tensor<?x128xf32, affine_map<()[s0] -> (s0, 128)>> {quern.name = "y"})
    attributes {quern.symbols = [#quern.symbol<"M", 1, 4096, 1>], quern.numerics = "strict"} {
  %xq = quern.quantize %x <divisor = 127.0, range = -127.0, 127.0, rounding = half_even, floor = 1.17549435E-38>
    : tensor<?x256xf16, affine_map<()[s0] -> (s0, 256)>>
    -> !quern.qtensor<tensor<?x256xi8, affine_map<()[s0] -> (s0, 256)>>, #quern.scale<block = [1, 0], type = f32>>
  %y = quern.matmul %xq, %w transpose_rhs
    : !quern.qtensor<tensor<?x256xi8, affine_map<()[s0] -> (s0, 256)>>, #quern.scale<block = [1, 0], type = f32>>,
      !quern.qtensor<tensor<128x256xi8>, #quern.scale<block = [1, 0], type = f32>>
    -> tensor<?x128xf32, affine_map<()[s0] -> (s0, 128)>>
  return %y : tensor<?x128xf32, affine_map<()[s0] -> (s0, 128)>>
})";

/// Weights with codes over the whole range and scales around 1 / (127 sqrt K).
std::vector<HostTensor> weights(std::mt19937_64 &random, int64_t n, int64_t k) {
  HostTensor codes(DType::I8, {n, k}), scales(DType::F32, {n, 1});
  for (int8_t &code : codes.as<int8_t>())
    code = static_cast<int8_t>(static_cast<int>(random() % 255) - 127);
  for (float &scale : scales.as<float>())
    scale = static_cast<float>((0.5 + random() % 1000 * 1e-3) /
                               (127 * std::sqrt(static_cast<double>(k))));
  return {codes, scales};
}

HostTensor activations(std::mt19937_64 &random, int64_t m, int64_t k) {
  HostTensor x(DType::F16, {m, k});
  std::normal_distribution<double> normal;
  for (int64_t i = 0; i < x.elements(); ++i)
    x.set(i, normal(random));
  return x;
}

struct Codes {
  std::vector<int> codes;
  std::vector<float> scales;
};

/// Per-row int8 by a few lines of scalar code.
Codes quantizeRows(const std::vector<float> &x, int64_t rows, int64_t length) {
  Codes result{std::vector<int>(x.size()), std::vector<float>(rows)};
  for (int64_t r = 0; r < rows; ++r) {
    float amax = 0;
    for (int64_t i = 0; i < length; ++i)
      amax = std::max(amax, std::fabs(x[r * length + i]));
    float s = std::max(amax / 127.0f, 0x1p-126f);
    result.scales[r] = s;
    for (int64_t i = 0; i < length; ++i)
      result.codes[r * length + i] = static_cast<int>(std::min(
          127.0f, std::max(-127.0f, std::rint(x[r * length + i] / s))));
  }
  return result;
}

/// Codes times codes, scaled in the documented order.
std::vector<float> product(const Codes &a, const HostTensor &codes,
                           const HostTensor &scales, int64_t rows) {
  int64_t n = codes.shape[0], k = codes.shape[1];
  std::vector<float> y(rows * n);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t j = 0; j < n; ++j) {
      int32_t acc = 0;
      for (int64_t i = 0; i < k; ++i)
        acc += a.codes[r * k + i] * codes.as<int8_t>()[j * k + i];
      y[r * n + j] =
          (static_cast<float>(acc) * a.scales[r]) * scales.as<float>()[j];
    }
  return y;
}

std::vector<float> floats(const HostTensor &tensor) {
  std::vector<float> values;
  for (double value : valuesOf(tensor))
    values.push_back(static_cast<float>(value));
  return values;
}

float half(float x) { return static_cast<float>(static_cast<_Float16>(x)); }

} // namespace

TEST(Layers, HelloEqualsScalarLoops) {
  std::mt19937_64 random(1);
  Layer layer(hello);
  for (int64_t m : {1, 7, 129}) {
    HostTensor x = activations(random, m, 256);
    std::vector<HostTensor> w = weights(random, 128, 256);
    std::vector<HostTensor> y = layer.run({x, w[0], w[1]});
    ASSERT_EQ(y.size(), 1u);
    EXPECT_EQ(y[0].dtype, DType::F32);
    EXPECT_EQ(y[0].shape, (std::vector<int64_t>{m, 128}));
    EXPECT_EQ(floats(y[0]),
              product(quantizeRows(floats(x), m, 256), w[0], w[1], m));
    // The threads' number is not in the result.
    EXPECT_EQ(layer.run({x, w[0], w[1]}, Mode::Exact, 1)[0].bytes, y[0].bytes);
  }
}

TEST(Layers, HelloOnNoRows) {
  std::mt19937_64 random(2);
  Layer layer(hello);
  std::vector<HostTensor> w = weights(random, 128, 256);
  std::vector<HostTensor> y =
      layer.run({HostTensor(DType::F16, {0, 256}), w[0], w[1]});
  ASSERT_EQ(y.size(), 1u);
  EXPECT_EQ(y[0].shape, (std::vector<int64_t>{0, 128}));
}

TEST(Layers, HelloInRealIsTheUnquantizedAnswer) {
  std::mt19937_64 random(3);
  Layer layer(hello);
  HostTensor x = activations(random, 3, 256);
  std::vector<HostTensor> w = weights(random, 128, 256);
  std::vector<RealTensor> y = layer.runReal({x, w[0], w[1]});
  ASSERT_EQ(y.size(), 1u);
  for (int64_t r = 0; r < 3; ++r)
    for (int64_t j = 0; j < 128; ++j) {
      double sum = 0;
      for (int64_t i = 0; i < 256; ++i)
        sum += x.get(r * 256 + i) * w[0].get(j * 256 + i) * w[1].get(j);
      EXPECT_NEAR(y[0].values[r * 128 + j], sum, 1e-12);
    }
}

static std::string swiglu(int64_t d, int64_t h) {
  std::string text = R"(
!x = tensor<?xDxf16, affine_map<()[s0] -> (s0, D)>>
!xq = !quern.qtensor<tensor<?xDxi8, affine_map<()[s0] -> (s0, D)>>, #quern.scale<block = [1, 0], type = f32>>
!h = tensor<?xHxf32, affine_map<()[s0] -> (s0, H)>>
!h16 = tensor<?xHxf16, affine_map<()[s0] -> (s0, H)>>
!hq = !quern.qtensor<tensor<?xHxi8, affine_map<()[s0] -> (s0, H)>>, #quern.scale<block = [1, 0], type = f32>>
!y = tensor<?xDxf32, affine_map<()[s0] -> (s0, D)>>
!up = !quern.qtensor<tensor<HxDxi8>, #quern.scale<block = [1, 0], type = f32>>
!down = !quern.qtensor<tensor<DxHxi8>, #quern.scale<block = [1, 0], type = f32>>
func.func @swiglu_mlp(%x: !x {quern.name = "x"}, %wg: !up {quern.name = "w_gate", quern.weight},
    %wu: !up {quern.name = "w_up", quern.weight}, %wd: !down {quern.name = "w_down", quern.weight})
    -> (!x {quern.name = "y"})
    attributes {quern.symbols = [#quern.symbol<"M", 1, 4096, 1>], quern.numerics = "strict"} {
  %xq = quern.quantize %x <divisor = 127.0, range = -127.0, 127.0, rounding = half_even, floor = 1.17549435E-38> : !x -> !xq
  %g = quern.matmul %xq, %wg transpose_rhs : !xq, !up -> !h
  %s = quern.silu %g : !h -> !h
  %u = quern.matmul %xq, %wu transpose_rhs : !xq, !up -> !h
  %p = quern.mul %s, %u : !h, !h -> !h
  %h = quern.cast %p : !h -> !h16
  %hq = quern.quantize %h <divisor = 127.0, range = -127.0, 127.0, rounding = half_even, floor = 1.17549435E-38> : !h16 -> !hq
  %d = quern.matmul %hq, %wd transpose_rhs : !hq, !down -> !y
  %y = quern.cast %d : !y -> !x
  return %y : !x
})";
  auto replace = [&](char letter, int64_t value) {
    // Dimension letters stand between these characters only.
    for (size_t i = 1; i + 1 < text.size(); ++i)
      if (text[i] == letter && std::string("<x ").find(text[i - 1]) < 3 &&
          std::string("x)").find(text[i + 1]) < 2)
        text.replace(i, 1, std::to_string(value));
  };
  replace('D', d);
  replace('H', h);
  return text;
}

TEST(Layers, SwigluEqualsScalarLoops) {
  std::mt19937_64 random(4);
  int64_t m = 5, d = 48, h = 100;
  Layer layer(swiglu(d, h));
  HostTensor x = activations(random, m, d);
  std::vector<HostTensor> gate = weights(random, h, d);
  std::vector<HostTensor> up = weights(random, h, d);
  std::vector<HostTensor> down = weights(random, d, h);
  std::vector<HostTensor> y =
      layer.run({x, gate[0], gate[1], up[0], up[1], down[0], down[1]});
  ASSERT_EQ(y.size(), 1u);
  EXPECT_EQ(y[0].dtype, DType::F16);

  Codes xq = quantizeRows(floats(x), m, d);
  std::vector<float> g = product(xq, gate[0], gate[1], m);
  std::vector<float> u = product(xq, up[0], up[1], m);
  for (size_t i = 0; i < g.size(); ++i)
    g[i] = half((g[i] / (1.0f + strictExp(-g[i]))) * u[i]);
  std::vector<float> expected =
      product(quantizeRows(g, m, h), down[0], down[1], m);
  for (float &value : expected)
    value = half(value);
  EXPECT_EQ(floats(y[0]), expected);
}

TEST(Layers, EveryRowIsItsOwn) {
  // Batch invariance: a row's bits do not depend on the rows beside it, also
  // where those hold zeros, NaN, infinities or the largest numbers.
  int64_t m = 9, d = 64, h = 150;
  Layer layer(swiglu(d, h));
  for (Corner corner : {Corner::None, Corner::ZeroRows, Corner::NaNRows,
                        Corner::InfRows, Corner::Denormals, Corner::Large}) {
    auto drawn = randomInputs(layer.func(), {m}, 5, corner);
    ASSERT_TRUE(bool(drawn));
    std::vector<HostTensor> in = *drawn;
    HostTensor all = layer.run(in)[0];
    for (int64_t row = 0; row < m; ++row) {
      std::vector<HostTensor> one = in;
      one[0] = HostTensor(DType::F16, {1, d});
      for (int64_t i = 0; i < d; ++i)
        one[0].set(i, in[0].get(row * d + i));
      std::vector<uint32_t> alone = bitsOf(layer.run(one)[0]);
      std::vector<uint32_t> together = bitsOf(all);
      for (int64_t i = 0; i < d; ++i)
        ASSERT_EQ(alone[i], together[row * d + i]) << row << ", " << i;
      bool hit = row % 3 == 0;
      for (int64_t i = row * d; i < row * d + d; ++i) {
        if (corner == Corner::NaNRows || corner == Corner::InfRows) {
          ASSERT_EQ(std::isnan(all.get(i)), hit);
        } else if (corner == Corner::ZeroRows && hit) {
          ASSERT_EQ(all.get(i), 0);
        }
      }
    }
  }
}
