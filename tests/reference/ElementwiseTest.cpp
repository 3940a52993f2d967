//===- ElementwiseTest.cpp - The table of element-wise operations ---------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "LayerText.h"

#include "compiler/reference/Floats.h"
#include "compiler/reference/Math.h"

#include <bit>
#include <cmath>
#include <fmt/format.h>
#include <functional>
#include <gtest/gtest.h>
#include <limits>
#include <random>

using namespace quern;
using namespace quern::reference;

namespace {
constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float notANumber = std::numeric_limits<float>::quiet_NaN();

struct Case {
  const char *op;
  int arity;
  std::function<float(float, float)> exact;
  std::function<double(double, double)> real;
};

// The same expressions as docs/numerics.md, written a second time.
const Case cases[] = {
    {"add", 2, [](float x, float y) { return x + y; },
     [](double x, double y) { return x + y; }},
    {"sub", 2, [](float x, float y) { return x - y; },
     [](double x, double y) { return x - y; }},
    {"mul", 2, [](float x, float y) { return x * y; },
     [](double x, double y) { return x * y; }},
    {"div", 2, [](float x, float y) { return x / y; },
     [](double x, double y) { return x / y; }},
    {"max", 2,
     [](float x, float y) {
       return std::isnan(x) || std::isnan(y) ? notANumber : std::fmax(x, y);
     },
     [](double x, double y) {
       return std::isnan(x) || std::isnan(y) ? NAN : std::fmax(x, y);
     }},
    {"min", 2,
     [](float x, float y) {
       return std::isnan(x) || std::isnan(y) ? notANumber : std::fmin(x, y);
     },
     [](double x, double y) {
       return std::isnan(x) || std::isnan(y) ? NAN : std::fmin(x, y);
     }},
    {"neg", 1, [](float x, float) { return -x; },
     [](double x, double) { return -x; }},
    {"abs", 1, [](float x, float) { return std::fabs(x); },
     [](double x, double) { return std::fabs(x); }},
    {"relu", 1, [](float x, float) { return x > 0    ? x
                                            : x != x ? x
                                                     : 0.0f; },
     [](double x, double) { return x > 0    ? x
                                   : x != x ? x
                                            : 0.0; }},
    {"sqrt", 1, [](float x, float) { return std::sqrt(x); },
     [](double x, double) { return std::sqrt(x); }},
    {"exp", 1, [](float x, float) { return strictExp(x); },
     [](double x, double) { return std::exp(x); }},
    {"tanh", 1, [](float x, float) { return strictTanh(x); },
     [](double x, double) { return std::tanh(x); }},
    {"erf", 1, [](float x, float) { return strictErf(x); },
     [](double x, double) { return std::erf(x); }},
    {"sigmoid", 1, [](float x, float) { return 1 / (1 + strictExp(-x)); },
     [](double x, double) { return 1 / (1 + std::exp(-x)); }},
    {"silu", 1, [](float x, float) { return x / (1 + strictExp(-x)); },
     [](double x, double) { return x / (1 + std::exp(-x)); }},
    {"gelu_erf", 1,
     [](float x, float) {
       float inner = x * 0.70710678f;
       return (0.5f * x) * (1 + strictErf(inner));
     },
     [](double x, double) { return 0.5 * x * std::erfc(-x / std::sqrt(2.0)); }},
    {"gelu_tanh", 1,
     [](float x, float) {
       float cubic = std::fma(0.044715f * (x * x), x, x);
       return (0.5f * x) * (1 + strictTanh(0.79788456f * cubic));
     },
     [](double x, double) {
       return 0.5 * x *
              (1 + std::tanh(std::sqrt(2 / M_PI) *
                             (x + 0.044715 * std::pow(x, 3))));
     }},
};

const std::pair<const char *, DType> types[] = {
    {"f32", DType::F32}, {"f16", DType::F16}, {"bf16", DType::BF16}};

/// Corners first, then random numbers of many sizes.
HostTensor samples(DType type, int64_t n, int seed) {
  HostTensor x(type, {n});
  std::mt19937_64 random(seed);
  std::normal_distribution<double> normal;
  const double corners[] = {0.0,   -0.0,   infinity, -infinity, notANumber,
                            1.0,   -1.0,   1e-40,    6e-8,      65504,
                            0.625, -0.625, 90,       -104};
  for (int64_t i = 0; i < n; ++i)
    x.set(i, i < 14 ? corners[(i + seed) % 14]
                    : normal(random) *
                          std::exp2(static_cast<double>(random() % 12) - 6));
  return x;
}

std::string unary(const char *op, const std::string &type) {
  return fmt::format("%y = quern.{} %a0 : {} -> {}\nreturn %y : {}", op, type,
                     type, type);
}
std::string binary(const char *op, const std::string &l, const std::string &r,
                   const std::string &result) {
  return fmt::format("%y = quern.{} %a0, %a1 : {}, {} -> {}\nreturn %y : {}",
                     op, l, r, result, result);
}
} // namespace

TEST(Elementwise, ExactIsF32RoundedOnce) {
  for (const Case &c : cases)
    for (auto [text, type] : types) {
      std::string t = tensorText({2000}, text);
      HostTensor x = samples(type, 2000, 0), y = samples(type, 2000, 5);
      std::vector<HostTensor> result =
          c.arity == 1
              ? layerOf({t}, {t}, unary(c.op, t)).run({x})
              : layerOf({t, t}, {t}, binary(c.op, t, t, t)).run({x, y});
      ASSERT_EQ(result.size(), 1u);
      HostTensor expected(type, {2000});
      for (int64_t i = 0; i < 2000; ++i)
        expected.set(i, c.exact(static_cast<float>(x.get(i)),
                                static_cast<float>(y.get(i))));
      EXPECT_EQ(bitsOf(result[0]), bitsOf(expected)) << c.op << " " << text;
    }
}

TEST(Elementwise, RealIsMathematics) {
  for (const Case &c : cases) {
    std::string t = tensorText({2000}, "f16");
    HostTensor x = samples(DType::F16, 2000, 0),
               y = samples(DType::F16, 2000, 5);
    std::vector<RealTensor> result =
        c.arity == 1
            ? layerOf({t}, {t}, unary(c.op, t)).runReal({x})
            : layerOf({t, t}, {t}, binary(c.op, t, t, t)).runReal({x, y});
    ASSERT_EQ(result.size(), 1u);
    for (int64_t i = 0; i < 2000; ++i) {
      double expected = c.real(x.get(i), y.get(i));
      if (std::isnan(expected) ||
          (std::string(c.op).starts_with("gelu") && std::isinf(x.get(i))))
        continue; // 0 * infinity on either side
      if (std::isinf(expected)) {
        EXPECT_EQ(result[0].values[i], expected) << c.op << x.get(i);
      } else {
        EXPECT_NEAR(result[0].values[i], expected,
                    1e-12 * std::fabs(expected) + 1e-15)
            << c.op << " " << x.get(i);
      }
    }
  }
}

TEST(Elementwise, SignsOfZeros) {
  std::string t = tensorText({4}, "f32");
  HostTensor x = tensorOf(DType::F32, {4}, {0.0, -0.0, 0.0, -0.0});
  HostTensor y = tensorOf(DType::F32, {4}, {0.0, 0.0, -0.0, -0.0});
  auto bits = [&](const char *op) {
    return bitsOf(layerOf({t, t}, {t}, binary(op, t, t, t)).run({x, y})[0]);
  };
  const uint32_t minus = 0x80000000u;
  EXPECT_EQ(bits("max"), (std::vector<uint32_t>{0, 0, 0, minus}));
  EXPECT_EQ(bits("min"), (std::vector<uint32_t>{0, minus, minus, minus}));
  EXPECT_EQ(bitsOf(layerOf({t}, {t}, unary("relu", t)).run({x})[0]),
            (std::vector<uint32_t>{0, 0, 0, 0}));
  EXPECT_EQ(bitsOf(layerOf({t}, {t}, unary("neg", t)).run({x})[0]),
            (std::vector<uint32_t>{minus, 0, minus, 0}));
}

TEST(Elementwise, Broadcasting) {
  std::string a = tensorText({2, 3, 1}, "f32"), b = tensorText({4}, "f32");
  std::string r = tensorText({2, 3, 4}, "f32");
  HostTensor x = tensorOf(DType::F32, {2, 3, 1}, {1, 2, 3, 4, 5, 6});
  HostTensor y = tensorOf(DType::F32, {4}, {10, 20, 30, 40});
  HostTensor result =
      layerOf({a, b}, {r}, binary("add", a, b, r)).run({x, y})[0];
  for (int64_t i = 0; i < 24; ++i)
    EXPECT_EQ(result.get(i), x.get(i / 4) + y.get(i % 4));
  // A constant of rank 0, on either side.
  std::string s = tensorText({2, 3, 1}, "f32");
  HostTensor halves =
      layerOf({s}, {s},
              fmt::format("%c = quern.constant 5.000000e-01 : f32 : "
                          "tensor<f32>\n%y = quern.mul %c, %a0 : tensor<f32>, "
                          "{} -> {}\nreturn %y : {}",
                          s, s, s))
          .run({x})[0];
  EXPECT_EQ(valuesOf(halves), (std::vector<double>{0.5, 1, 1.5, 2, 2.5, 3}));
}

TEST(Elementwise, LongRowsAcrossChunksAndThreads) {
  std::string t = tensorText({3, 5000}, "f32"), b = tensorText({3, 1}, "f32");
  HostTensor x(DType::F32, {3, 5000}), y(DType::F32, {3, 1});
  for (int64_t i = 0; i < 15000; ++i)
    x.set(i, i);
  for (int64_t i = 0; i < 3; ++i)
    y.set(i, 0.5 * i);
  Layer layer = layerOf({t, b}, {t}, binary("sub", t, b, t));
  HostTensor result = layer.run({x, y}, Mode::Exact, 3)[0];
  for (int64_t i = 0; i < 15000; ++i)
    ASSERT_EQ(result.get(i), i - 0.5 * (i / 5000));
}

TEST(Elementwise, CompareAndSelect) {
  std::string t = tensorText({6}, "f32"), c = tensorText({6}, "i1");
  HostTensor x = tensorOf(DType::F32, {6}, {1, 2, 3, notANumber, 0, -0.0});
  HostTensor y = tensorOf(DType::F32, {6}, {2, 2, 2, 1, -0.0, notANumber});
  using Values = std::vector<double>;
  for (auto [predicate, expected] : {std::pair("lt", Values{1, 0, 0, 0, 0, 0}),
                                     {"le", Values{1, 1, 0, 0, 1, 0}},
                                     {"gt", Values{0, 0, 1, 0, 0, 0}},
                                     {"ge", Values{0, 1, 1, 0, 1, 0}},
                                     {"eq", Values{0, 1, 0, 0, 1, 0}},
                                     {"ne", Values{1, 0, 1, 1, 0, 1}}}) {
    std::vector<HostTensor> result =
        layerOf(
            {t, t}, {c, t},
            fmt::format("%c = quern.compare {0} %a0, %a1 : {1}, {1} -> {2}\n"
                        "%s = quern.select %c, %a0, %a1 : {2}, {1}, {1} -> "
                        "{1}\nreturn %c, %s : {2}, {1}",
                        predicate, t, c))
            .run({x, y});
    EXPECT_EQ(valuesOf(result[0]), expected) << predicate;
    HostTensor chosen(DType::F32, {6});
    for (int i = 0; i < 6; ++i)
      chosen.set(i, expected[i] ? x.get(i) : y.get(i));
    EXPECT_EQ(bitsOf(result[1]), bitsOf(chosen)) << predicate;
  }
}

TEST(Elementwise, Casts) {
  auto cast = [](const char *from, const char *to, HostTensor x) {
    std::string a = tensorText(x.shape, from), b = tensorText(x.shape, to);
    return layerOf({a}, {b},
                   fmt::format("%y = quern.cast %a0 : {} -> {}\nreturn %y : {}",
                               a, b, b))
        .run({x})[0];
  };
  HostTensor x = tensorOf(
      DType::F32, {5}, {1.0009765625 + 0x1p-11, 1e6, -1e-9, 500, notANumber});
  HostTensor half = cast("f32", "f16", x);
  EXPECT_EQ(half.get(0), 1.001953125); // a tie, to even
  EXPECT_EQ(half.get(1), infinity);
  HostTensor f8 = cast("f32", "f8E4M3FN", x);
  EXPECT_EQ(f8.get(1), 448);
  EXPECT_EQ(f8.get(3), 448);
  EXPECT_NE(f8.get(4), f8.get(4));
  EXPECT_EQ(cast("f8E4M3FN", "f32", f8).get(3), 448);
  // An accumulator rounds half to even into f32.
  HostTensor sums = tensorOf(DType::I32, {3}, {16777217, 16777219, -5});
  EXPECT_EQ(valuesOf(cast("i32", "f32", sums)),
            (std::vector<double>{16777216, 16777220, -5}));
}

TEST(Elementwise, IntegersPassThroughExactly) {
  std::string t = tensorText({3}, "i32"), c = tensorText({3}, "i1");
  HostTensor x = tensorOf(DType::I32, {3}, {16777217, -2147483648.0, 5});
  HostTensor y = tensorOf(DType::I32, {3}, {16777216, 2147483647, 6});
  std::vector<HostTensor> result =
      layerOf({t, t}, {c, t},
              fmt::format("%c = quern.compare gt %a0, %a1 : {0}, {0} -> {1}\n"
                          "%s = quern.select %c, %a0, %a1 : {1}, {0}, {0} -> "
                          "{0}\nreturn %c, %s : {1}, {0}",
                          t, c))
          .run({x, y});
  EXPECT_EQ(valuesOf(result[0]), (std::vector<double>{1, 0, 0}));
  EXPECT_EQ(valuesOf(result[1]),
            (std::vector<double>{16777217, 2147483647, 6}));
}

TEST(Elementwise, RefusesArithmeticOnIntegers) {
  std::string t = tensorText({3}, "i32"), f = tensorText({3}, "f32");
  HostTensor x(DType::I32, {3});
  EXPECT_NE(layerOf({t, t}, {t}, binary("add", t, t, t))
                .refusal({x, x})
                .find("arithmetic on integers"),
            std::string::npos);
  EXPECT_NE(
      layerOf({f}, {t},
              fmt::format("%y = quern.cast %a0 : {} -> {}\nreturn %y : {}", f,
                          t, t))
          .refusal({HostTensor(DType::F32, {3})})
          .find("a cast to an integer type"),
      std::string::npos);
}
