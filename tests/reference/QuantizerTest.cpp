//===- QuantizerTest.cpp - Codes, scales, corners and bounds --------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "LayerText.h"

#include "compiler/reference/Floats.h"

#include <bit>
#include <cmath>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <limits>
#include <random>

using namespace quern;
using namespace quern::reference;

namespace {
constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double notANumber = std::numeric_limits<double>::quiet_NaN();

std::string recipe(double divisor, double low, double high,
                   const std::string &rounding = "half_even",
                   const std::string &floor = "1.17549435E-38") {
  return fmt::format(
      "<divisor = {:.15f}, range = {:.1f}, {:.1f}, rounding = {}, floor = {}>",
      divisor, low, high, rounding, floor);
}

/// Quantizes a tensor: codes, scales, and what dequantize makes of them.
std::vector<HostTensor> quantize(const HostTensor &x, const std::string &codes,
                                 const std::vector<int64_t> &block,
                                 const std::string &how,
                                 const std::string &scale = "f32",
                                 Mode mode = Mode::Exact) {
  std::string element = x.dtype == DType::F32   ? "f32"
                        : x.dtype == DType::F16 ? "f16"
                                                : "bf16";
  std::string in = tensorText(x.shape, element);
  std::string q = quantizedText(x.shape, codes, block, scale);
  std::string out = tensorText(x.shape, "f32");
  return layerOf({in}, {q, out},
                 fmt::format("%q = quern.quantize %a0 {} : {} -> {}\n"
                             "%y = quern.dequantize %q : {} -> {}\n"
                             "return %q, %y : {}, {}",
                             how, in, q, q, out, q, out))
      .run({x}, mode);
}

HostTensor randomTensor(DType dtype, std::vector<int64_t> shape, int seed,
                        double size = 1) {
  std::mt19937_64 random(seed);
  std::normal_distribution<double> normal;
  HostTensor x(dtype, std::move(shape));
  for (int64_t i = 0; i < x.elements(); ++i)
    x.set(i, size * normal(random));
  return x;
}
} // namespace

TEST(Quantize, RoundingModes) {
  // With an absolute maximum of 127 the scale is 1.
  HostTensor x =
      tensorOf(DType::F32, {1, 7}, {127, 0.5, 1.5, -0.5, -2.5, 2.75, -2.75});
  using Values = std::vector<double>;
  auto codes = [&](const std::string &rounding) {
    return valuesOf(
        quantize(x, "i8", {1, 0}, recipe(127, -127, 127, rounding))[0]);
  };
  EXPECT_EQ(codes("half_even"), (Values{127, 0, 2, 0, -2, 3, -3}));
  EXPECT_EQ(codes("half_away"), (Values{127, 1, 2, -1, -3, 3, -3}));
  EXPECT_EQ(codes("toward_zero"), (Values{127, 0, 1, 0, -2, 2, -2}));
}

TEST(Quantize, ClampsToTheRange) {
  HostTensor x = tensorOf(DType::F32, {1, 4}, {-127, -100, 100, 127});
  EXPECT_EQ(valuesOf(quantize(x, "i8", {1, 0}, recipe(127, -100, 90))[0]),
            (std::vector<double>{-100, -100, 90, 90}));
  // Codes of a divisor below the range reach beyond it.
  EXPECT_EQ(valuesOf(quantize(x, "i8", {1, 0}, recipe(127.5, -128, 127))[0]),
            (std::vector<double>{-128, -100, 100, 127}));
  EXPECT_EQ(valuesOf(quantize(x, "ui8", {1, 0}, recipe(255, 0, 255))[0]),
            (std::vector<double>{0, 0, 201, 255}));
}

TEST(Quantize, CornersOfDynamicBlocks) {
  HostTensor x = tensorOf(DType::F32, {5, 3},
                          {0, -0.0, 0,        // zeros: the floor
                           1, notANumber, -5, // NaN: only this row
                           1, -infinity, 3,   // infinity
                           0x1p-140, 0, 0,    // below the floor
                           2, -4, 1});
  std::vector<HostTensor> q = quantize(x, "i8", {1, 0}, int8Recipe);
  EXPECT_EQ(valuesOf(q[0]), (std::vector<double>{0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                                                 0, 0, 64, -127, 32}));
  EXPECT_EQ(q[1].get(0), 0x1p-126);
  EXPECT_NE(q[1].get(1), q[1].get(1));
  EXPECT_EQ(q[1].get(2), infinity);
  EXPECT_EQ(q[1].get(3), 0x1p-126);
  EXPECT_EQ(q[1].get(4), static_cast<double>(4.0f / 127.0f));
  for (int i : {0, 1, 2, 9, 10, 11})
    EXPECT_EQ(q[2].get(i), 0.0) << i;
  for (int i : {3, 4, 5, 6, 7, 8}) // 0 * NaN and 0 * infinity
    EXPECT_NE(q[2].get(i), q[2].get(i)) << i;
}

TEST(Quantize, StaticScales) {
  std::string in = "tensor<1x5xf32>", s = "tensor<1x1xf32>";
  std::string q = quantizedText({1, 5}, "i8", {0, 0});
  Layer layer = layerOf({in, s}, {q},
                        fmt::format("%q = quern.quantize %a0 scale %a1 : {} {} "
                                    ": {} -> {}\nreturn %q : {}",
                                    s, int8Recipe, in, q, q));
  std::vector<HostTensor> results = layer.run(
      {tensorOf(DType::F32, {1, 5}, {notANumber, infinity, -infinity, 1, -300}),
       tensorOf(DType::F32, {1, 1}, {0.5})});
  EXPECT_EQ(valuesOf(results[0]), (std::vector<double>{0, 127, -127, 2, -127}));
  EXPECT_EQ(valuesOf(results[1]), (std::vector<double>{0.5}));
}

TEST(Quantize, ScaleTypesRoundBeforeUse) {
  HostTensor x = tensorOf(DType::F32, {1, 3}, {100, 33.3, -71});
  for (auto [text, type] :
       {std::pair("f16", DType::F16), {"bf16", DType::BF16}}) {
    std::vector<HostTensor> q =
        quantize(x, "i8", {1, 0}, recipe(127, -127, 127), text);
    float s = decodeFloat(type, encodeFloat(type, 100.0f / 127.0f));
    EXPECT_EQ(q[1].get(0), s);
    for (int i = 0; i < 3; ++i)
      EXPECT_EQ(q[0].get(i),
                std::min(127.0f, std::rint(static_cast<float>(x.get(i)) / s)));
  }
}

namespace {
std::string powers(double divisor, double largest, const std::string &word,
                   const std::string &floor = "1.17549435E-38") {
  std::string text = recipe(divisor, -largest, largest, "half_even", floor);
  text.pop_back();
  return text + ", scale_rounding = " + word + ">";
}

/// The scale of a block whose absolute maximum is `amax`.
double powerScale(double amax, double divisor, const std::string &word,
                  const std::string &type = "f32",
                  const std::string &floor = "1.17549435E-38") {
  HostTensor x = tensorOf(DType::F32, {1, 2}, {0, -amax});
  return quantize(x, "f8E4M3FN", {1, 0}, powers(divisor, 448, word, floor),
                  type)[1]
      .get(0);
}
} // namespace

TEST(Quantize, PowersOfTwo) {
  struct Row {
    double amax, divisor, ceil, floor, even;
  };
  // floor compares exponents: 448 counts as 256.
  for (const Row &row : std::initializer_list<Row>{
           {448, 448, 1, 1, 1},
           {256, 448, 1, 1, 0.5},
           {255, 448, 1, 0.5, 0.5},
           {449, 448, 2, 1, 1},
           {0x1.c00002p8, 448, 2, 1, 1},
           {511, 448, 2, 1, 1},
           {512, 448, 2, 2, 1},
           {1, 1, 1, 1, 1},
           {0x1.000002p0, 1, 2, 1, 1},
           {0x1.fffffep-1, 1, 1, 0.5, 1},
           // Half-way, between fields 127 and 128, then 126 and 127.
           {1.5, 1, 2, 1, 2},
           {0.75, 1, 1, 0.5, 0.5},
           {3, 1, 4, 2, 2},
           {0x1.800002p1, 1, 4, 2, 4},
           {0x1.7ffffep0, 1, 2, 1, 1},
           // The smallest normal number bounds, and so does the largest power.
           {0, 448, 0x1p-126, 0x1p-126, 0x1p-126},
           {0x1p-140, 448, 0x1p-126, 0x1p-126, 0x1p-126},
           {0x1.fffffep127, 1, 0x1p127, 0x1p127, 0x1p127},
           {0x1.4p127, 1, 0x1p127, 0x1p127, 0x1p127},
           {infinity, 1, infinity, infinity, infinity},
       }) {
    EXPECT_EQ(powerScale(row.amax, row.divisor, "power_ceil"), row.ceil)
        << row.amax << " / " << row.divisor;
    EXPECT_EQ(powerScale(row.amax, row.divisor, "power_floor"), row.floor)
        << row.amax << " / " << row.divisor;
    EXPECT_EQ(powerScale(row.amax, row.divisor, "power_even"), row.even)
        << row.amax << " / " << row.divisor;
  }
  for (const char *word : {"power_ceil", "power_floor", "power_even"}) {
    double nan = powerScale(notANumber, 448, word);
    EXPECT_NE(nan, nan);
    // f16 has fewer powers; beyond them a scale stays the largest.
    EXPECT_EQ(powerScale(0x1p40, 1, word, "f16", "6.103515625E-05"), 0x1p15);
    EXPECT_EQ(powerScale(0x1p-40, 1, word, "f16", "6.103515625E-05"), 0x1p-14);
    EXPECT_EQ(powerScale(infinity, 1, word, "f16", "6.103515625E-05"),
              infinity);
    // A floor that is none is rounded like any scale.
    EXPECT_EQ(powerScale(0, 1, word, "f32", "1.2"),
              std::string(word) == "power_ceil" ? 2 : 1);
  }
}

/// The smallest power of two that is not below amax / divisor, exactly: the
/// quotient's rounding never loses one (docs/numerics.md).
TEST(Quantize, PowerCeilIsExact) {
  std::mt19937_64 random(12);
  constexpr int count = 20000;
  for (float divisor : {127.0f, 448.0f, 0x1.fffffep6f, 3.0f, 0x1.000002p0f}) {
    HostTensor x(DType::F32, {count, 1});
    for (int i = 0; i < count; ++i) {
      // Near a power of two times the divisor, where a quotient may round.
      float near = std::ldexp(divisor, static_cast<int>(random() % 40) - 20);
      for (int step = static_cast<int>(random() % 7) - 3; step != 0;
           step -= step > 0 ? 1 : -1)
        near = std::nextafter(near, step > 0 ? INFINITY : 0.0f);
      x.set(i, near);
    }
    HostTensor scales =
        quantize(x, "i8", {1, 0}, powers(divisor, 127, "power_ceil"))[1];
    for (int i = 0; i < count; ++i) {
      double s = scales.get(i);
      EXPECT_GE(s * divisor, x.get(i));
      EXPECT_LT(s / 2 * divisor, x.get(i));
    }
  }
}

TEST(Quantize, PowersOfTwoWithZeroPoints) {
  HostTensor x = tensorOf(DType::F32, {1, 3}, {-100, 200, 20});
  std::string q = "!quern.qtensor<tensor<1x3xui8>, #quern.scale<block = [1, "
                  "0], type = f32>, zeros = ui8>";
  std::string how = recipe(255, 0, 255);
  how.pop_back();
  using Values = std::vector<double>;
  // The range is 300, the divisor 255, or 128 where exponents are compared.
  for (auto [word, scale, zero, codes] :
       {std::tuple("power_ceil", 2.0, 50.0, Values{0, 150, 60}),
        {"power_floor", 2.0, 50.0, {0, 150, 60}},
        {"power_even", 1.0, 100.0, {0, 255, 120}}}) {
    std::vector<HostTensor> results =
        layerOf({"tensor<1x3xf32>"}, {q},
                fmt::format("%q = quern.quantize %a0 {}, scale_rounding = {}> "
                            ": tensor<1x3xf32> -> {}\nreturn %q : {}",
                            how, word, q, q))
            .run({x});
    EXPECT_EQ(results[1].get(0), scale);
    EXPECT_EQ(results[2].get(0), zero);
    EXPECT_EQ(valuesOf(results[0]), codes);
  }
}

namespace {
std::string statistic(double divisor, const std::string &text) {
  std::string how = recipe(divisor, -127, 127);
  how.pop_back();
  return how + ", statistic = " + text + ">";
}
} // namespace

/// A percentile is at most a factor of 1 + 2^-4 above the exact order
/// statistic, and never below it.
TEST(Quantize, PercentilesBoundTheOrderStatistic) {
  for (auto [percent, share] : {std::pair("99.9", 0.001),
                                {"99.0", 0.01},
                                {"75.0", 0.25},
                                {"50.0", 0.5}})
    for (int64_t n : {1, 2, 10, 100, 999, 1000, 1001, 2500}) {
      HostTensor x = randomTensor(DType::F32, {3, n}, static_cast<int>(n), 40);
      std::vector<HostTensor> q =
          quantize(x, "i8", {1, 0},
                   statistic(1, std::string("percentile(") + percent + ")"));
      for (int64_t row = 0; row < 3; ++row) {
        std::vector<double> sorted;
        for (int64_t i = 0; i < n; ++i)
          sorted.push_back(std::fabs(x.get(row * n + i)));
        std::sort(sorted.rbegin(), sorted.rend());
        // A product of decimals, whose floor is meant.
        auto outside = static_cast<int64_t>(share * n + 1e-9);
        double exact = sorted[outside], found = q[1].get(row);
        EXPECT_GT(found, exact) << percent << " of " << n;
        EXPECT_LE(found, exact * (1 + 0x1p-4)) << percent << " of " << n;
        EXPECT_LE(std::count_if(sorted.begin(), sorted.end(),
                                [&](double value) { return value > found; }),
                  outside);
      }
    }
}

TEST(Quantize, PercentilesLeaveOutWhatIsNoNumber) {
  HostTensor x(DType::F32, {4, 100});
  for (int64_t i = 0; i < 400; ++i)
    x.set(i, i % 2 ? 1.5 : -1.25);
  x.set(3, notANumber); // Within 2 percent, and beyond.
  x.set(50, -infinity);
  for (int i : {110, 120, 130})
    x.set(i, i == 120 ? notANumber : infinity);
  for (int i = 200; i < 300; ++i)
    x.set(i, i == 250 ? 1e30 : 0); // Zeros, and an outlier.
  for (int i = 300; i < 400; ++i)
    x.set(i, 0x1.fffffep127);
  std::vector<HostTensor> q =
      quantize(x, "i8", {1, 0}, statistic(2, "percentile(98.0)"));
  EXPECT_EQ(q[1].get(0), 1.5625 / 2); // The edge above 1.5.
  EXPECT_EQ(q[0].get(3), 0);
  EXPECT_EQ(q[0].get(50), -127);
  EXPECT_EQ(q[0].get(1), 2);
  EXPECT_EQ(q[1].get(1), infinity);
  EXPECT_EQ(q[0].get(101), 0);
  EXPECT_EQ(q[1].get(2), 0x1p-126); // The floor.
  EXPECT_EQ(q[0].get(250), 127);
  EXPECT_EQ(q[1].get(3), 0x1.fffffep126); // No edge above: the largest number.
}

TEST(Quantize, SamplesTakeEveryNthElementOfABlock) {
  HostTensor x(DType::F32, {2, 11});
  for (int64_t i = 0; i < 22; ++i)
    x.set(i, static_cast<double>(i));
  auto scales = [&](std::vector<int64_t> block, const char *text) {
    return valuesOf(quantize(x, "i8", block, statistic(1, text))[1]);
  };
  using Values = std::vector<double>;
  EXPECT_EQ(scales({1, 0}, "sampled(4.0)"), (Values{8, 19}));
  EXPECT_EQ(scales({1, 0}, "sampled(100.0)"), (Values{0x1p-126, 11}));
  EXPECT_EQ(scales({0, 0}, "sampled(3.0)"), (Values{20}));
  EXPECT_EQ(scales({1, 4}, "sampled(2.0)"), (Values{2, 6, 10, 13, 17, 21}));
  EXPECT_EQ(scales({2, 4}, "sampled(4.0)"), (Values{11, 15, 19}));
}

TEST(Quantize, FloatCodes) {
  for (auto [text, type, largest] :
       {std::tuple("f8E4M3FN", DType::F8E4M3, 448.0),
        std::tuple("f8E5M2", DType::F8E5M2, 57344.0)}) {
    HostTensor x = randomTensor(DType::F32, {4, 33}, 5, 10);
    x.set(33, notANumber); // Row 1 becomes NaN as a whole: the scale is.
    std::vector<HostTensor> q =
        quantize(x, text, {1, 0}, recipe(largest, -largest, largest));
    EXPECT_EQ(q[0].dtype, type);
    for (int64_t i = 0; i < x.elements(); ++i) {
      double code = q[0].get(i), s = q[1].get(i / 33);
      if (i / 33 == 1) {
        EXPECT_NE(code, code);
        continue;
      }
      float t = static_cast<float>(x.get(i)) / static_cast<float>(s);
      EXPECT_EQ(code, decodeFloat(type, encodeFloat(type, t))) << i;
      EXPECT_LE(std::fabs(code), largest);
    }
  }
}

TEST(Quantize, FloatCodesOfStaticScalesSaturateAndKeepNaN) {
  std::string in = "tensor<1x4xf32>", s = "tensor<1x1xf32>";
  std::string q = quantizedText({1, 4}, "f8E4M3FN", {0, 0});
  std::vector<HostTensor> results =
      layerOf({in, s}, {q},
              fmt::format("%q = quern.quantize %a0 scale %a1 : {} {} : {} -> "
                          "{}\nreturn %q : {}",
                          s, recipe(448, -448, 448), in, q, q))
          .run({tensorOf(DType::F32, {1, 4}, {notANumber, infinity, -1000, 3}),
                tensorOf(DType::F32, {1, 1}, {1})});
  EXPECT_NE(results[0].get(0), results[0].get(0));
  EXPECT_EQ(results[0].get(1), 448);
  EXPECT_EQ(results[0].get(2), -448);
  EXPECT_EQ(results[0].get(3), 3);
}

TEST(Quantize, RandomBlocksAgainstBruteForce) {
  std::mt19937_64 random(6);
  for (int round = 0; round < 60; ++round) {
    std::vector<int64_t> shape, block;
    int rank = 1 + random() % 3;
    for (int d = 0; d < rank; ++d) {
      shape.push_back(1 + random() % 13);
      block.push_back(random() % 7); // 0 the whole axis; 5 of 12 is short.
    }
    HostTensor x = randomTensor(DType::F32, shape, round, 3);
    std::vector<HostTensor> q = quantize(x, "i8", block, int8Recipe);
    // Every element against all others whose block is the same.
    auto blockOf = [&](int64_t index) {
      std::vector<int64_t> at(rank);
      for (int d = rank - 1; d >= 0; --d) {
        int64_t i = index % shape[d];
        index /= shape[d];
        at[d] = block[d] ? i / block[d] : 0;
      }
      return at;
    };
    std::vector<int64_t> scaleShape;
    for (int d = 0; d < rank; ++d)
      scaleShape.push_back(block[d] ? (shape[d] + block[d] - 1) / block[d] : 1);
    ASSERT_EQ(q[1].shape, scaleShape);
    for (int64_t i = 0; i < x.elements(); ++i) {
      float amax = 0;
      for (int64_t j = 0; j < x.elements(); ++j)
        if (blockOf(j) == blockOf(i))
          amax = std::max(amax, static_cast<float>(std::fabs(x.get(j))));
      float s = amax / 127.0f;
      int64_t flat = 0;
      for (int d = 0; d < rank; ++d)
        flat = flat * scaleShape[d] + blockOf(i)[d];
      EXPECT_EQ(q[1].get(flat), s);
      float code = std::rint(static_cast<float>(x.get(i)) / s);
      EXPECT_EQ(q[0].get(i), code);
      EXPECT_EQ(q[2].get(i), code * s);
    }
  }
}

TEST(Quantize, ErrorIsAtMostHalfAStep) {
  // |x - s q| <= s (1/2 + 2^-16) inside the range.
  for (DType dtype : {DType::F32, DType::F16, DType::BF16})
    for (double size : {1e-30, 1e-3, 1.0, 1e4}) {
      HostTensor x = randomTensor(dtype, {64, 257}, 7, size);
      std::vector<HostTensor> q = quantize(x, "i8", {1, 0}, int8Recipe);
      for (int64_t i = 0; i < x.elements(); ++i) {
        double s = q[1].get(i / 257);
        double exact = q[0].get(i) * s;
        EXPECT_LE(std::fabs(x.get(i) - exact), s * (0.5 + 0x1p-16));
      }
    }
}

TEST(Quantize, RealIsTheIdentity) {
  HostTensor x = randomTensor(DType::F16, {3, 40}, 8);
  x.set(5, 0);
  x.set(41, infinity);
  std::vector<HostTensor> q =
      quantize(x, "i8", {1, 0}, int8Recipe, "f32", Mode::Real);
  ASSERT_EQ(q.size(), 3u);
  EXPECT_EQ(q[2].dtype, DType::F32);
  for (int64_t i = 0; i < x.elements(); ++i)
    EXPECT_FLOAT_EQ(q[2].get(i), x.get(i));
}

TEST(Quantize, RefusesCodesOutsideTheirType) {
  std::string in = "tensor<1x4xf32>", q = quantizedText({1, 4}, "i8", {1, 0});
  Layer layer = layerOf({in}, {q},
                        fmt::format("%q = quern.quantize %a0 {} : {} -> {}\n"
                                    "return %q : {}",
                                    recipe(255, 0, 255), in, q, q));
  EXPECT_NE(layer.refusal({HostTensor(DType::F32, {1, 4})})
                .find("codes of type i8 cannot be clamped to [0, 255]"),
            std::string::npos);
}

//===----------------------------------------------------------------------===//
// Division without a divide
//===----------------------------------------------------------------------===//

namespace {
/// r = 1/s once per scale, then q = x r; e = fma(-q, s, x); t = fma(e, r, q).
float divideByFma(float x, float s) {
  float r = 1.0f / s;
  float q = x * r;
  float e = std::fma(-q, s, x);
  return std::fma(e, r, q);
}

float fromBits(uint64_t bits) {
  return std::bit_cast<float>(static_cast<uint32_t>(bits));
}
} // namespace

TEST(Division, ByFmaIsCorrectlyRoundedFromTwoToTheMinus102Up) {
  std::mt19937_64 random(9);
  auto check = [](float x, float s) {
    float magnitude = std::fabs(x);
    if (magnitude != 0 && magnitude < 0x1p-102f)
      return; // The remainder may underflow; see the next test.
    float q = x * (1.0f / s);
    if (std::isfinite(q)) {
      EXPECT_EQ(divideByFma(x, s), x / s) << std::hexfloat << x << " / " << s;
    }
  };
  for (int i = 0; i < 4000000; ++i) {
    uint64_t a = random();
    // s and 1/s are normal.
    float s = fromBits((a & 0x7fffff) | ((1 + (a >> 23) % 252) << 23));
    float x = fromBits(random() & 0xffffffff);
    if (std::isfinite(x))
      check(x, s);
  }
  // Adversarial: mantissas at the ends and near each other.
  for (uint32_t m :
       {0u, 1u, 2u, 3u, 0x7fffffu, 0x7ffffeu, 0x400000u, 0x3fffffu, 0x555555u})
    for (uint32_t n = 0; n < 4096; ++n) {
      float s = fromBits((100u << 23) | m);
      check(fromBits((105u << 23) | n), s);
      check(fromBits((105u << 23) | (0x7fffff - n)), s);
      check(fromBits((105u << 23) | ((m + n) & 0x7fffff)), s);
    }
  // And x close to k s and to (k + 1/2) s, where a quantizer decides.
  for (int i = 0; i < 1000000; ++i) {
    float s = fromBits((random() & 0x7fffff) | ((1 + random() % 252) << 23));
    double target =
        (static_cast<int>(random() % 255) - 127) + (random() % 2 ? 0.5 : 0.0);
    float x = static_cast<float>(target * s);
    for (float near : {x, std::nextafter(x, 1e30f), std::nextafter(x, -1e30f)})
      check(near, s);
  }
}

namespace {
float codeOf(DType type, float t) {
  if (!isFloat(type))
    return t != t ? 0.0f : std::min(127.0f, std::max(-127.0f, std::rint(t)));
  float largest = type == DType::F8E4M3 ? 448.0f : 57344.0f;
  float clamped = t > largest ? largest : t < -largest ? -largest : t;
  return decodeFloat(type, encodeFloat(type, clamped));
}

/// A number halfway between two codes' values, or a code's value.
double decisionPoint(DType type, std::mt19937_64 &random) {
  if (!isFloat(type))
    return (static_cast<int>(random() % 255) - 127) + (random() % 2) * 0.5;
  uint32_t bits = random() % 0x7b;
  double low = decodeFloat(type, bits), high = decodeFloat(type, bits + 1);
  return (random() % 2 ? 1 : -1) * (random() % 2 ? (low + high) / 2 : low);
}
} // namespace

TEST(Division, ByFmaGivesTheSameCodesForScalesFromTwoToTheMinus80Up) {
  std::mt19937_64 random(10);
  for (DType type : {DType::I8, DType::F8E4M3, DType::F8E5M2})
    for (int i = 0; i < 2000000; ++i) {
      uint64_t a = random();
      // From 2^-80 to below 2^126.
      float s = fromBits((a & 0x7fffff) | ((47 + (a >> 23) % 206) << 23));
      float x = fromBits(random() & 0xffffffff);
      if (i % 2) {
        x = static_cast<float>(decisionPoint(type, random) * s);
        x = i % 3 == 0   ? std::nextafter(x, INFINITY)
            : i % 3 == 1 ? std::nextafter(x, -INFINITY)
                         : x;
      }
      // Where q is not finite it is the answer itself: NaN, or saturated.
      float q = x * (1.0f / s);
      float t = std::isfinite(q) ? divideByFma(x, s) : q;
      float expected = codeOf(type, x / s), actual = codeOf(type, t);
      EXPECT_TRUE(expected == actual ||
                  (expected != expected && actual != actual))
          << std::hexfloat << x << " / " << s << ": " << actual << ", expected "
          << expected;
    }
}

TEST(Division, ByFmaFailsWhereTheRemainderUnderflows) {
  // Why the rule needs its bounds: just below a tie, in the smallest scales.
  float s = 0x1.9d4f52p-126f;
  EXPECT_EQ(divideByFma(0x1.9d4f54p-127f, s), 0.5f);
  EXPECT_GT(0x1.9d4f54p-127f / s, 0.5f);
  // And where x * r overflows, it gives NaN instead of saturating.
  EXPECT_TRUE(std::isnan(divideByFma(0x1p100f, 0x1p-100f)));
}
