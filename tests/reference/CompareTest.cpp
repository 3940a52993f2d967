//===- CompareTest.cpp - Classes, tolerances and verdicts -----------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "LayerText.h"

#include "compiler/reference/Compare.h"
#include "compiler/reference/RandomInputs.h"

#include <cmath>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <limits>

using namespace quern;
using namespace quern::reference;
using testing::HasSubstr;

namespace {
constexpr double notANumber = std::numeric_limits<double>::quiet_NaN();

Comparison verdict(const std::vector<HostTensor> &expected,
                   const std::vector<HostTensor> &actual,
                   const Tolerance &tolerance = {}) {
  auto result = compare(expected, actual, tolerance);
  EXPECT_TRUE(bool(result)) << (result ? "" : result.error().message);
  return *result;
}

/// An f16 product, then what `tail` says.
std::string product(const std::string &tail, const std::string &result,
                    const char *numerics = "strict") {
  return fmt::format(R"(
!x = tensor<16x512xf16>
!w = tensor<24x512xf16>
!y = tensor<16x24xf32>
!q = !quern.qtensor<tensor<16x24xi8>, #quern.scale<block = [1, 0], type = f32>>
func.func @layer(%x: !x, %w: !w {{quern.weight}}) -> {} attributes {{quern.symbols = [], quern.numerics = "{}"}} {{
  %y = quern.matmul %x, %w transpose_rhs : !x, !w -> !y
  {}
}})",
                     result, numerics, tail);
}

/// The product in f32, summed downwards: another legal order.
HostTensor otherOrder(const HostTensor &x, const HostTensor &w) {
  HostTensor y(DType::F32, {16, 24});
  for (int64_t i = 0; i < 16; ++i)
    for (int64_t j = 0; j < 24; ++j) {
      float sum = 0;
      for (int64_t t = 511; t >= 0; --t)
        sum += static_cast<float>(x.get(i * 512 + t)) *
               static_cast<float>(w.get(j * 512 + t));
      y.as<float>()[i * 24 + j] = sum;
    }
  return y;
}
} // namespace

TEST(Classes, EachOpAndTheWeakest) {
  Layer layer(product("%s = quern.softmax %y : !y -> !y\n"
                      "%q = quern.quantize %s <divisor = 127.0, range = "
                      "-127.0, 127.0, rounding = half_even, floor = "
                      "1.17549435E-38> : !y -> !q\nreturn %q : !q",
                      "!q"));
  std::vector<ClassifiedOp> ops = classifyOps(layer.func());
  ASSERT_EQ(ops.size(), 3u);
  EXPECT_EQ(ops[0].numericsClass, NumericsClass::Bounded);
  EXPECT_EQ(ops[1].numericsClass, NumericsClass::Ordered);
  EXPECT_EQ(ops[2].numericsClass, NumericsClass::Exact);
  EXPECT_EQ(classify(layer.func()), NumericsClass::Bounded);
  EXPECT_EQ(name(NumericsClass::Ordered), "ordered");

  std::string l = quantizedText({4, 8}, "i8", {1, 0});
  std::string m = tensorText({4, 4}, "f32");
  auto integers = [&](const char *numerics) {
    return Layer(fmt::format(
        "func.func @layer(%x: {0}) -> {1} attributes {{quern.numerics = "
        "\"{2}\"}} {{\n%y = quern.matmul %x, %x transpose_rhs : {0}, {0} -> "
        "{1}\n%z = quern.silu %y : {1} -> {1}\nreturn %z : {1}\n}}",
        l, m, numerics));
  };
  EXPECT_EQ(classify(integers("strict").func()), NumericsClass::Exact);
  EXPECT_EQ(classify(integers("fast").func()), NumericsClass::Bounded);
}

TEST(Compare, BitsMustBeEqual) {
  HostTensor a = tensorOf(DType::F32, {2, 2}, {1, 2, notANumber, 0});
  HostTensor b = a;
  b.as<uint32_t>()[2] = 0xffc12345u; // another NaN
  Comparison same = verdict({a}, {b});
  EXPECT_TRUE(same.passed());
  EXPECT_EQ(same.elements, 4);
  EXPECT_FALSE(same.worst.has_value());
  EXPECT_THAT(same.render(), HasSubstr("all bits equal"));

  b.as<uint32_t>()[1] += 3;
  b.set(3, -0.0);
  Comparison different = verdict({a}, {b});
  EXPECT_FALSE(different.passed());
  EXPECT_EQ(different.mismatches, 2); // A zero's sign is a bit.
  ASSERT_TRUE(different.worst.has_value());
  EXPECT_EQ(different.worst->index, (std::vector<int64_t>{0, 1}));
  EXPECT_EQ(different.worst->ulps, 3);
  EXPECT_THAT(different.render(), HasSubstr("[0, 1]: expected 2, found"));

  b.set(0, notANumber);
  Comparison missing = verdict({a}, {b});
  EXPECT_EQ(missing.worst->index, (std::vector<int64_t>{0, 0}));
}

TEST(Compare, RefusesOtherShapes) {
  HostTensor a(DType::F32, {2, 2}), b(DType::F32, {4}), c(DType::F16, {2, 2});
  EXPECT_FALSE(bool(compare({a}, {b})));
  EXPECT_FALSE(bool(compare({a}, {a, a})));
  auto wrong = compare({a}, {c});
  ASSERT_FALSE(bool(wrong));
  EXPECT_THAT(wrong.error().message,
              HasSubstr("result 0 is f16[2, 2], expected f32[2, 2]"));
}

TEST(Tolerance, AcceptsAnotherOrderAndNoFault) {
  Layer layer(product("return %y : !y", "!y"));
  for (int seed = 0; seed < 5; ++seed) {
    auto in = *randomInputs(layer.func(), {}, seed);
    std::vector<HostTensor> expected = layer.run(in);
    auto tolerance = deriveTolerance(layer.func(), in, expected);
    ASSERT_TRUE(bool(tolerance));
    HostTensor other = otherOrder(in[0], in[1]);
    Comparison right = verdict(expected, {other}, *tolerance);
    EXPECT_TRUE(right.passed()) << right.render();
    EXPECT_GT(right.different, 0); // The orders do differ.
    EXPECT_GT(right.error, 0);
    EXPECT_LT(right.error, 1e-4);
    EXPECT_LE(right.share, 1);
    // The stated bound at every element lies within the tolerance.
    for (int64_t i = 0; i < 16; ++i)
      for (int64_t j = 0; j < 24; ++j) {
        double magnitude = 0;
        for (int64_t t = 0; t < 512; ++t)
          magnitude +=
              std::fabs(in[0].get(i * 512 + t) * in[1].get(j * 512 + t));
        EXPECT_LE(512 * 0x1p-24 * magnitude, tolerance->rows[0][i]);
      }
    // One product left out is a fault.
    int64_t i = seed, j = 3, t = 77;
    while (std::fabs(in[0].get(i * 512 + t) * in[1].get(j * 512 + t)) < 0.02)
      ++t;
    other.as<float>()[i * 24 + j] -=
        static_cast<float>(in[0].get(i * 512 + t) * in[1].get(j * 512 + t));
    Comparison wrong = verdict(expected, {other}, *tolerance);
    EXPECT_EQ(wrong.mismatches, 1) << wrong.render();
    EXPECT_GT(wrong.share, 1);
    EXPECT_GT(wrong.error, right.error);
    EXPECT_EQ(wrong.worst->index, (std::vector<int64_t>{i, j}));
  }
}

TEST(Tolerance, CodesMayDifferByOneInASmallShare) {
  const char *tail = "%q = quern.quantize %y <divisor = 127.0, range = -127.0, "
                     "127.0, rounding = half_even, floor = 1.17549435E-38> : "
                     "!y -> !q\nreturn %q : !q";
  Layer layer(product(tail, "!q"));
  auto in = *randomInputs(layer.func(), {}, 1);
  std::vector<HostTensor> expected = layer.run(in);
  ASSERT_EQ(expected.size(), 2u);
  auto tolerance = deriveTolerance(layer.func(), in, expected);
  ASSERT_TRUE(bool(tolerance));
  std::vector<HostTensor> actual = expected;
  int8_t &code = actual[0].as<int8_t>()[5];
  code += code > 0 ? -1 : 1;
  EXPECT_TRUE(verdict(expected, actual, *tolerance).passed());
  EXPECT_EQ(verdict(expected, actual, *tolerance).steps, 1);
  // By two is wrong.
  int8_t &other = actual[0].as<int8_t>()[50];
  other += other > 0 ? -2 : 2;
  EXPECT_EQ(verdict(expected, actual, *tolerance).mismatches, 1);
  // And so are many by one.
  actual = expected;
  for (int8_t &each : actual[0].as<int8_t>())
    each += each > 0 ? -1 : 1;
  EXPECT_FALSE(verdict(expected, actual, *tolerance).passed());
}

/// y = a * b.T with one row of `a` for each case, b all ones.
TEST(Tolerance, OverflowIsComparedWhereEveryOrderAgrees) {
  constexpr double big = 3e38, inf = INFINITY;
  Layer layer =
      layerOf({"tensor<7x4xf32>", "tensor<1x4xf32>"}, {"tensor<7x1xf32>"},
              "%y = quern.matmul %a0, %a1 transpose_rhs : "
              "tensor<7x4xf32>, tensor<1x4xf32> -> tensor<7x1xf32>\n"
              "return %y : tensor<7x1xf32>");
  ASSERT_TRUE(layer.valid()) << layer.error();
  std::vector<HostTensor> in = {
      tensorOf(DType::F32, {7, 4},
               {big,  big,  big,  big,  // Inf in every order
                -big, -big, -big, -1,   // -Inf in every order
                big,  big,  -big, -big, // a number, Inf, -Inf or NaN
                big,  big,  -big, 0,    // a number or Inf
                inf,  1,    -1,   2,    // Inf by an operand
                inf,  -inf, 1,    2,    // NaN by two operands
                1,    2,    3,    4}),
      tensorOf(DType::F32, {1, 4}, {1, 1, 1, 1})};
  std::vector<HostTensor> expected = layer.run(in);
  ASSERT_EQ(expected.size(), 1u);
  EXPECT_EQ(expected[0].get(0), inf);
  EXPECT_EQ(expected[0].get(1), -inf);
  EXPECT_EQ(expected[0].get(4), inf);
  EXPECT_TRUE(std::isnan(expected[0].get(5)));
  EXPECT_EQ(expected[0].get(6), 10);
  auto tolerance = deriveTolerance(layer.func(), in, expected);
  ASSERT_TRUE(bool(tolerance));
  EXPECT_EQ(tolerance->undetermined[0],
            (std::vector<bool>{false, false, true, true, false, false, false}));
  for (double other : {inf, -inf, notANumber, 0.0}) {
    std::vector<HostTensor> actual = expected;
    actual[0].set(2, other);
    Comparison comparison = verdict(expected, actual, *tolerance);
    EXPECT_TRUE(comparison.passed()) << comparison.render();
    EXPECT_EQ(comparison.undetermined, 2);
  }
  for (int row : {0, 1, 4, 5, 6}) {
    std::vector<HostTensor> actual = expected;
    actual[0].set(row, big);
    EXPECT_EQ(verdict(expected, actual, *tolerance).mismatches, 1) << row;
  }
}

TEST(Tolerance, ExactLayersHaveNone) {
  Layer layer = layerOf({"tensor<4xf32>"}, {"tensor<4xf32>"},
                        "%y = quern.exp %a0 : tensor<4xf32> -> tensor<4xf32>\n"
                        "return %y : tensor<4xf32>");
  auto in = *randomInputs(layer.func(), {}, 1);
  std::vector<HostTensor> expected = layer.run(in), actual = expected;
  auto tolerance = deriveTolerance(layer.func(), in, expected);
  ASSERT_TRUE(bool(tolerance));
  EXPECT_EQ(tolerance->numericsClass, NumericsClass::Exact);
  actual[0].as<uint32_t>()[0] ^= 1;
  EXPECT_FALSE(verdict(expected, actual, *tolerance).passed());
}

TEST(Tolerance, FollowsWhatMultiplies8BitFloats) {
  Options shortSums;
  shortSums.f8Error = 0x1p-13;
  for (bool f8 : {true, false}) {
    std::string text = product("return %y : !y", "!y");
    for (size_t at; f8 && (at = text.find("xf16>")) != std::string::npos;)
      text.replace(at, 5, "xf8E4M3FN>");
    Layer layer(text);
    auto in = *randomInputs(layer.func(), {}, 5);
    std::vector<HostTensor> expected = layer.run(in);
    auto usual = deriveTolerance(layer.func(), in, expected);
    auto wide = deriveTolerance(layer.func(), in, expected, shortSums);
    ASSERT_TRUE(bool(usual) && bool(wide));
    // 512 products in f32, or four sums of 128 in 13 bits added up in f32.
    double ratio = f8 ? (128 * 0x1p-13 + 512 * 0x1p-24) / (512 * 0x1p-24) : 1;
    for (size_t row = 0; row < 16; ++row) {
      double measured = wide->rows[0][row] / usual->rows[0][row];
      EXPECT_NEAR(measured, ratio, ratio * 0.25) << row;
    }
  }
}

/// Rows 0 to 2 of x: normal numbers; the products' sums of subnormal elements
/// alone; one such element beside an infinity.
static std::vector<HostTensor> withSubnormals(Layer &layer) {
  auto in = *randomInputs(layer.func(), {}, 5);
  int64_t k = in[0].shape.back();
  for (int64_t i = 0; i < k; ++i)
    in[0].set(k + i, 0x1p-130 * double(1 + i % 7));
  in[0].set(2 * k, HUGE_VAL);
  for (int64_t i = 0; i < in[1].shape[0]; ++i)
    in[1].set(i * k, 0x1p-130);
  return in;
}

TEST(Tolerance, FollowsWhatFlushesSubnormalBf16) {
  Options flushing;
  flushing.flushesBf16 = true;
  Options dropping;
  dropping.dropsSubnormals = true;
  for (bool isBf16 : {true, false}) {
    std::string text = product("return %y : !y", "!y");
    for (size_t at; isBf16 && (at = text.find("xf16>")) != std::string::npos;)
      text.replace(at, 5, "xbf16>");
    Layer layer(text);
    std::vector<HostTensor> in = withSubnormals(layer);
    std::vector<HostTensor> expected = layer.run(in);
    auto flushed = interpret(layer.func(), in, Mode::Exact, dropping);
    auto usual = deriveTolerance(layer.func(), in, expected);
    auto wide = deriveTolerance(layer.func(), in, expected, flushing);
    ASSERT_TRUE(bool(flushed) && bool(usual) && bool(wide));
    // What a machine that flushes gives passes where it may, and only there.
    EXPECT_EQ(verdict(expected, *flushed, *wide).passed(), true);
    EXPECT_EQ(verdict(expected, *flushed, *usual).passed(), !isBf16);
    if (!isBf16)
      continue;
    int64_t n = expected[0].shape.back();
    EXPECT_EQ((*flushed)[0].get(n), 0);
    EXPECT_NE(expected[0].get(n), 0);
    // An infinity times what is taken for zero.
    EXPECT_NE((*flushed)[0].get(2 * n), (*flushed)[0].get(2 * n));
    EXPECT_TRUE(std::isinf(expected[0].get(2 * n)));
    EXPECT_TRUE(wide->undetermined[0][2 * n]);
    // Rows of normal numbers are compared as closely as ever.
    EXPECT_FALSE(wide->undetermined[0][0]);
    EXPECT_LE(wide->rows[0][0], usual->rows[0][0] * 1.0001);
  }
}

TEST(Tolerance, NaNIsNoNumberInBoundedLayersEither) {
  Layer layer(product("return %y : !y", "!y"));
  auto in = *randomInputs(layer.func(), {}, 2, Corner::NaNRows);
  std::vector<HostTensor> expected = layer.run(in), actual = expected;
  auto tolerance = deriveTolerance(layer.func(), in, expected);
  ASSERT_TRUE(bool(tolerance));
  EXPECT_TRUE(verdict(expected, actual, *tolerance).passed());
  ASSERT_NE(expected[0].get(0), expected[0].get(0));
  actual[0].set(0, 1.0);
  EXPECT_EQ(verdict(expected, actual, *tolerance).mismatches, 1);
  actual = expected;
  actual[0].set(30, notANumber);
  EXPECT_EQ(verdict(expected, actual, *tolerance).mismatches, 1);
}
