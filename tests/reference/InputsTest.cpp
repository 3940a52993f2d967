//===- InputsTest.cpp - Signatures, symbols and random inputs -------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "LayerText.h"

#include "compiler/reference/RandomInputs.h"

#include <cmath>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <limits>

using namespace quern;
using namespace quern::reference;
using testing::HasSubstr;

namespace {
const char *const text = R"(
!x = tensor<?x64xf16, affine_map<()[s0, s1] -> (s0, 64)>>
!w = !quern.qtensor<tensor<8x64xi8>, #quern.scale<block = [1, 0], type = f32>>
!z = tensor<?xf32, affine_map<()[s0, s1] -> (s0 + s1 * 4)>>
func.func @named(%x: !x {quern.name = "x"}, %w: !w {quern.name = "w", quern.weight},
    %z: !z {quern.name = "z"}, %t: tensor<64xf32> {quern.name = "t", quern.weight}) -> !x
    attributes {quern.symbols = [#quern.symbol<"M", 4, 64, 4>, #quern.symbol<"N", 1, 9, 1>]} {
  return %x : !x
})";

std::vector<HostTensor> inputs(int64_t m = 8, int64_t z = 20) {
  return {HostTensor(DType::F16, {m, 64}), HostTensor(DType::I8, {8, 64}),
          HostTensor(DType::F32, {8, 1}), HostTensor(DType::F32, {z}),
          HostTensor(DType::F32, {64})};
}
} // namespace

TEST(Inputs, SymbolsFollowFromShapes) {
  Layer layer(text);
  // N stands only in M + 4 N = 20.
  auto symbols = inferSymbols(layer.func(), inputs());
  ASSERT_TRUE(bool(symbols));
  EXPECT_EQ(*symbols, (std::vector<int64_t>{8, 3}));
  auto empty = inferSymbols(layer.func(), inputs(0, 4));
  ASSERT_TRUE(bool(empty));
  EXPECT_EQ(*empty, (std::vector<int64_t>{0, 1}));
}

TEST(Inputs, MistakesAreNamed) {
  Layer layer(text);
  std::vector<HostTensor> in = inputs();
  in.pop_back();
  EXPECT_THAT(layer.refusal(in),
              HasSubstr("4 inputs given, 5 expected: x, w (codes), w (scales), "
                        "z, t"));
  in = inputs();
  in[0] = HostTensor(DType::F32, {8, 64});
  EXPECT_THAT(layer.refusal(in),
              HasSubstr("layer named: x has element type f32, expected f16"));
  in = inputs();
  in[1] = HostTensor(DType::I8, {512});
  EXPECT_THAT(layer.refusal(in), HasSubstr("w (codes) has rank 1, expected 2"));
  in = inputs();
  in[0].bytes.pop_back();
  EXPECT_THAT(layer.refusal(in),
              HasSubstr("x of shape [8, 64] needs 1024 bytes, has 1023"));
  in = inputs();
  in[2] = HostTensor(DType::F32, {7, 1});
  EXPECT_THAT(layer.refusal(in),
              HasSubstr("dimension 0 of w (scales) is 7, expected 8 (with M = "
                        "8, N = 3)"));
  EXPECT_THAT(layer.refusal(inputs(6, 18)),
              HasSubstr("M = 6 by the inputs' shapes; it must lie in 4..64 and "
                        "be a multiple of 4"));
  EXPECT_THAT(layer.refusal(inputs(68, 80)), HasSubstr("M = 68"));
  EXPECT_THAT(layer.refusal(inputs(8, 21)),
              HasSubstr("no input's shape determines the symbol N"));
  EXPECT_THAT(layer.refusal(inputs(8, 48)), HasSubstr("N = 10"));
  in = inputs();
  in[0].shape = {-8, 64};
  EXPECT_THAT(layer.refusal(in), HasSubstr("impossible shape"));
  in[0].shape = {int64_t(1) << 62, 64};
  EXPECT_THAT(layer.refusal(in), HasSubstr("impossible shape"));
}

TEST(Inputs, AnOperationWithoutMeaningIsNamed) {
  Layer layer(R"(
func.func private @other(tensor<4xf32>) -> tensor<4xf32>
func.func @calls(%x: tensor<4xf32>) -> tensor<4xf32> {
  %y = func.call @other(%x) : (tensor<4xf32>) -> tensor<4xf32>
  return %y : tensor<4xf32>
})");
  auto module = layer.func()->getParentOfType<mlir::ModuleOp>();
  auto calls = module.lookupSymbol<mlir::func::FuncOp>("calls");
  auto result = interpret(calls, {HostTensor(DType::F32, {4})}, Mode::Exact);
  ASSERT_FALSE(bool(result));
  EXPECT_EQ(result.error().code, Errc::Unsupported);
  EXPECT_THAT(result.error().message, HasSubstr("func.call"));
  auto external = interpret(layer.func(), {}, Mode::Exact);
  ASSERT_FALSE(bool(external));
  EXPECT_THAT(external.error().message, HasSubstr("no body"));
}

TEST(Inputs, ElementTypesWithoutABufferAreRefused) {
  Layer layer(R"(
func.func @wide(%x: tensor<4xf64>) -> tensor<4xf64> {
  return %x : tensor<4xf64>
})");
  EXPECT_THAT(layer.refusal({HostTensor(DType::F32, {4})}),
              HasSubstr("argument 0 has the element type f64"));
  Layer inside(R"(
func.func @wide(%x: tensor<4xf32>) -> tensor<4xf32> {
  %y = quern.cast %x : tensor<4xf32> -> tensor<4xf64>
  return %x : tensor<4xf32>
})");
  EXPECT_THAT(inside.refusal({HostTensor(DType::F32, {4})}),
              HasSubstr("f64 is no element type of the quern dialect"));
}

TEST(Inputs, ValuesTooLargeForMemoryAreRefused) {
  Layer layer(R"(
func.func @huge(%x: tensor<1xf32>) -> tensor<1xf32> {
  %y = quern.add %x, %x : tensor<1xf32>, tensor<1xf32> -> tensor<100000000x1000000xf32>
  return %x : tensor<1xf32>
})");
  EXPECT_THAT(layer.refusal({HostTensor(DType::F32, {1})}),
              HasSubstr("no memory for"));
}

TEST(RandomInputs, AreTheSameForTheSameSeed) {
  Layer layer(text);
  auto a = randomInputs(layer.func(), {8, 3}, 42);
  auto b = randomInputs(layer.func(), {8, 3}, 42);
  auto c = randomInputs(layer.func(), {8, 3}, 43);
  auto d = randomInputs(layer.func(), {12, 3}, 42);
  ASSERT_TRUE(a && b && c && d);
  ASSERT_EQ(a->size(), 5u);
  for (size_t i = 0; i < a->size(); ++i) {
    EXPECT_EQ((*a)[i].bytes, (*b)[i].bytes);
    EXPECT_NE((*a)[i].bytes, (*c)[i].bytes);
  }
  // Another M leaves the weights alone.
  EXPECT_EQ((*a)[1].bytes, (*d)[1].bytes);
  EXPECT_EQ(inferSymbols(layer.func(), *a).operator*(),
            (std::vector<int64_t>{8, 3}));
}

TEST(RandomInputs, TheGeneratorIsFixed) {
  // xoshiro256** seeded by splitmix64(0): the first words, by the published
  // reference implementations.
  Random random(0);
  EXPECT_EQ(random.next(), 11091344671253066420ull);
  EXPECT_EQ(random.next(), 13793997310169335082ull);
}

TEST(RandomInputs, HaveTheirDistributions) {
  Random random(1);
  double sum = 0, squares = 0, largest = 0;
  int beyondTwo = 0;
  for (int i = 0; i < 200000; ++i) {
    double x = random.normal();
    sum += x, squares += x * x, largest = std::max(largest, std::fabs(x));
    beyondTwo += std::fabs(x) > 2;
  }
  EXPECT_NEAR(sum / 200000, 0, 0.01);
  EXPECT_NEAR(squares / 200000, 1, 0.02);
  EXPECT_NEAR(beyondTwo / 200000.0, 0.0455, 0.003);
  EXPECT_GT(largest, 3.5);

  Layer layer(text);
  auto in = randomInputs(layer.func(), {64, 9}, 2);
  ASSERT_TRUE(bool(in));
  for (int8_t code : (*in)[1].as<int8_t>())
    EXPECT_NE(code, -128);
  for (float scale : (*in)[2].as<float>()) {
    EXPECT_GE(scale, 0.5f / (127 * 8));
    EXPECT_LE(scale, 1.5f / (127 * 8));
  }
}

TEST(RandomInputs, SomeChannelsAreOutliers) {
  Layer layer(R"(
func.func @wide(%x: tensor<32x4096xf32>) -> tensor<32x4096xf32> {
  return %x : tensor<32x4096xf32>
})");
  auto in = randomInputs(layer.func(), {}, 3);
  ASSERT_TRUE(bool(in));
  int outliers = 0;
  for (int64_t channel = 0; channel < 4096; ++channel) {
    double squares = 0;
    for (int64_t row = 0; row < 32; ++row)
      squares += std::pow((*in)[0].get(row * 4096 + channel), 2);
    outliers += std::sqrt(squares / 32) > 4;
  }
  EXPECT_GT(outliers, 30);
  EXPECT_LT(outliers, 120);
}

TEST(RandomInputs, Corners) {
  Layer layer(text);
  auto draw = [&](Corner corner) {
    return std::move(*randomInputs(layer.func(), {12, 3}, 4, corner));
  };
  HostTensor zero = draw(Corner::ZeroRows)[0], nan = draw(Corner::NaNRows)[0];
  HostTensor inf = draw(Corner::InfRows)[0], tiny = draw(Corner::Denormals)[0];
  HostTensor large = draw(Corner::Large)[0];
  for (int64_t row = 0; row < 12; ++row) {
    int zeros = 0, nans = 0, infinities = 0;
    for (int64_t i = row * 64; i < row * 64 + 64; ++i) {
      zeros += zero.get(i) == 0;
      nans += std::isnan(nan.get(i));
      infinities += std::isinf(inf.get(i));
      EXPECT_LT(std::fabs(tiny.get(i)), 0x1p-14);
      EXPECT_GE(std::fabs(large.get(i)), 16000);
      EXPECT_TRUE(std::isfinite(large.get(i)));
    }
    EXPECT_EQ(zeros, row % 3 ? 0 : 64);
    EXPECT_EQ(nans, row % 3 ? 0 : 1);
    EXPECT_EQ(infinities, row % 3 ? 0 : 1);
  }
  // Weights are never touched.
  EXPECT_EQ(draw(Corner::NaNRows)[4].bytes, draw(Corner::None)[4].bytes);
}

TEST(RandomInputs, CornersOfRowsAndOfCodes) {
  Layer layer(text);
  auto draw = [&](Corner corner) {
    return std::move(*randomInputs(layer.func(), {12, 3}, 4, corner));
  };
  auto plain = draw(Corner::None), mixed = draw(Corner::MixedRows);
  auto oneHot = draw(Corner::OneHot), constant = draw(Corner::Constant);
  auto zeros = draw(Corner::Zeros);
  for (int64_t row = 0; row < 12; ++row) {
    int equal = 0, none = 0, nans = 0, hot = 0;
    for (int64_t i = row * 64; i < row * 64 + 64; ++i) {
      equal += mixed[0].get(i) == plain[0].get(i);
      none += mixed[0].get(i) == 0;
      nans += std::isnan(mixed[0].get(i));
      hot += std::fabs(oneHot[0].get(i)) >= 1;
      EXPECT_EQ(constant[0].get(i), constant[0].get(0));
      EXPECT_EQ(zeros[0].get(i), 0);
    }
    EXPECT_EQ(hot, 1);
    EXPECT_EQ(none >= 64, row % 4 == 1);
    EXPECT_EQ(nans, row % 4 == 2);
    EXPECT_EQ(equal >= 63, row % 4 != 1);
  }

  auto codes = draw(Corner::ExtremeCodes);
  EXPECT_EQ(codes[0].bytes, plain[0].bytes);
  for (int8_t code : codes[1].as<int8_t>())
    EXPECT_TRUE(code == -128 || code == 0 || code == 127) << int(code);
  auto tiny = draw(Corner::TinyScales), huge = draw(Corner::HugeScales);
  int tinies = 0, huges = 0;
  for (int64_t i = 0; i < 8; ++i) {
    tinies += tiny[2].get(i) < 0x1p-125;
    huges += huge[2].get(i) > 0x1p62;
  }
  EXPECT_EQ(tinies, 4);
  EXPECT_EQ(huges, 4);

  EXPECT_TRUE(applies(Corner::NaNRows, layer.func()));
  EXPECT_TRUE(applies(Corner::TinyScales, layer.func()));
  EXPECT_FALSE(applies(Corner::ExtremeZeros, layer.func()));
  EXPECT_EQ(allCorners().size(), 15u);
  for (Corner corner : allCorners())
    EXPECT_NE(name(corner), "?");
}

TEST(RandomInputs, RefusesWrongSymbols) {
  Layer layer(text);
  auto few = randomInputs(layer.func(), {8}, 1);
  ASSERT_FALSE(bool(few));
  EXPECT_THAT(few.error().message,
              HasSubstr("1 symbol values given, 2 declared"));
  auto negative = randomInputs(layer.func(), {-8, 1}, 1);
  ASSERT_FALSE(bool(negative));
  EXPECT_THAT(negative.error().message, HasSubstr("impossible shape"));
}
