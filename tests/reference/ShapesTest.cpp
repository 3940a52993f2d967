//===- ShapesTest.cpp - Operations that move elements ---------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "LayerText.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

using namespace quern;
using namespace quern::reference;

namespace {
HostTensor counted(DType dtype, std::vector<int64_t> shape, int64_t from = 0) {
  HostTensor x(dtype, std::move(shape));
  for (int64_t i = 0; i < x.elements(); ++i)
    x.set(i, static_cast<double>(from + i));
  return x;
}

/// Both modes must move the same elements.
HostTensor move(const Layer &layer, const std::vector<HostTensor> &inputs) {
  HostTensor exact = layer.run(inputs)[0];
  std::vector<RealTensor> real = layer.runReal(inputs);
  EXPECT_EQ(real[0].shape, exact.shape);
  EXPECT_EQ(real[0].values, valuesOf(exact));
  return exact;
}
} // namespace

TEST(Shapes, Reshape) {
  Layer layer =
      layerOf({"tensor<2x6xf16>"}, {"tensor<3x4xf16>"},
              "%y = quern.reshape %a0 : tensor<2x6xf16> -> tensor<3x4xf16>\n"
              "return %y : tensor<3x4xf16>");
  HostTensor x = counted(DType::F16, {2, 6});
  HostTensor y = move(layer, {x});
  EXPECT_EQ(y.shape, (std::vector<int64_t>{3, 4}));
  EXPECT_EQ(y.bytes, x.bytes);
}

TEST(Shapes, Transpose) {
  Layer layer =
      layerOf({"tensor<2x3x4xf32>"}, {"tensor<4x2x3xf32>"},
              "%y = quern.transpose %a0 [2, 0, 1] : tensor<2x3x4xf32> -> "
              "tensor<4x2x3xf32>\nreturn %y : tensor<4x2x3xf32>");
  HostTensor x = counted(DType::F32, {2, 3, 4});
  HostTensor y = move(layer, {x});
  for (int64_t i = 0; i < 4; ++i)
    for (int64_t j = 0; j < 2; ++j)
      for (int64_t k = 0; k < 3; ++k)
        EXPECT_EQ(y.get((i * 2 + j) * 3 + k), x.get((j * 3 + k) * 4 + i));
}

TEST(Shapes, SliceByOffsetsAndStrides) {
  Layer layer =
      layerOf({"tensor<5x9xi8>"}, {"tensor<2x4xi8>"},
              "%y = quern.slice %a0 from affine_map<() -> (1, 2)> by [3, 2] : "
              "tensor<5x9xi8> -> tensor<2x4xi8>\nreturn %y : tensor<2x4xi8>");
  HostTensor x = counted(DType::I8, {5, 9});
  HostTensor y = move(layer, {x});
  for (int64_t i = 0; i < 2; ++i)
    for (int64_t j = 0; j < 4; ++j)
      EXPECT_EQ(y.get(i * 4 + j), x.get((1 + 3 * i) * 9 + 2 + 2 * j));
}

TEST(Shapes, SliceBySymbolicOffsets) {
  // The second half of the columns; the offset is a symbol.
  const char *text = R"(
!x = tensor<3x?xf32, affine_map<()[s0] -> (3, s0 * 2)>>
!y = tensor<3x?xf32, affine_map<()[s0] -> (3, s0)>>
func.func @halves(%x: !x) -> !y attributes {quern.symbols = [#quern.symbol<"N", 1, 100, 1>]} {
  %y = quern.slice %x from affine_map<()[s0] -> (0, s0)> by [1, 1] : !x -> !y
  return %y : !y
})";
  HostTensor x = counted(DType::F32, {3, 14});
  HostTensor y = move(Layer(text), {x});
  ASSERT_EQ(y.shape, (std::vector<int64_t>{3, 7}));
  for (int64_t i = 0; i < 21; ++i)
    EXPECT_EQ(y.get(i), x.get(i / 7 * 14 + 7 + i % 7));
  // An odd extent is twice no N.
  EXPECT_NE(Layer(text)
                .refusal({counted(DType::F32, {3, 15})})
                .find("no input's shape determines the symbol N"),
            std::string::npos);
}

TEST(Shapes, SliceOutOfBoundsIsRefusedAtRun) {
  // The verifier cannot decide s0 + 4 <= 9; the run does.
  const char *text = R"(
!n = tensor<?xf32, affine_map<()[s0] -> (s0)>>
func.func @part(%x: tensor<9xf32>, %n: !n) -> tensor<4xf32> attributes {quern.symbols = [#quern.symbol<"N", 1, 100, 1>]} {
  %y = quern.slice %x from affine_map<()[s0] -> (s0)> by [1] : tensor<9xf32> -> tensor<4xf32>
  return %y : tensor<4xf32>
})";
  Layer layer(text);
  HostTensor x = counted(DType::F32, {9});
  EXPECT_EQ(valuesOf(layer.run({x, counted(DType::F32, {5})})[0]),
            (std::vector<double>{5, 6, 7, 8}));
  EXPECT_NE(layer.refusal({x, counted(DType::F32, {6})})
                .find("takes 4 elements by steps of 1 from 6 of axis 0, which "
                      "has 9"),
            std::string::npos);
}

TEST(Shapes, Concat) {
  for (int64_t axis : {0, 1, 2}) {
    std::vector<int64_t> a = {2, 3, 2}, b = a, r = a;
    b[axis] = 4;
    r[axis] += 4;
    std::string ta = tensorText(a, "f16"), tb = tensorText(b, "f16"),
                tr = tensorText(r, "f16");
    Layer layer = layerOf({ta, tb}, {tr},
                          fmt::format("%y = quern.concat %a0, %a1 axis {} : "
                                      "{}, {} -> {}\nreturn %y : {}",
                                      axis, ta, tb, tr, tr));
    HostTensor x = counted(DType::F16, a), z = counted(DType::F16, b, 100);
    HostTensor y = move(layer, {x, z});
    for (int64_t i = 0; i < y.elements(); ++i) {
      int64_t at[3] = {i / (r[1] * r[2]), i / r[2] % r[1], i % r[2]};
      bool first = at[axis] < a[axis];
      if (!first)
        at[axis] -= a[axis];
      const std::vector<int64_t> &s = first ? a : b;
      EXPECT_EQ(y.get(i),
                (first ? x : z).get((at[0] * s[1] + at[1]) * s[2] + at[2]));
    }
  }
}

TEST(Shapes, ConcatOfAnOperandAndAComputedValueInReal) {
  Layer layer = layerOf(
      {"tensor<2xf16>"}, {"tensor<4xf16>"},
      "%n = quern.neg %a0 : tensor<2xf16> -> tensor<2xf16>\n"
      "%y = quern.concat %a0, %n axis 0 : tensor<2xf16>, tensor<2xf16> -> "
      "tensor<4xf16>\nreturn %y : tensor<4xf16>");
  EXPECT_EQ(valuesOf(move(layer, {tensorOf(DType::F16, {2}, {3, 4})})),
            (std::vector<double>{3, 4, -3, -4}));
}

TEST(Shapes, GatherClampsItsIndices) {
  Layer layer = layerOf(
      {"tensor<4x3xf16>", "tensor<2x3xi32>"}, {"tensor<2x3x3xf16>"},
      "%y = quern.gather %a0, %a1 : tensor<4x3xf16>, tensor<2x3xi32> -> "
      "tensor<2x3x3xf16>\nreturn %y : tensor<2x3x3xf16>");
  HostTensor table = counted(DType::F16, {4, 3});
  HostTensor rows =
      tensorOf(DType::I32, {2, 3}, {0, 3, 2, -5, 4, 2147483647.0});
  HostTensor y = move(layer, {table, rows});
  const int64_t expected[] = {0, 3, 2, 0, 3, 3};
  for (int64_t i = 0; i < 18; ++i)
    EXPECT_EQ(y.get(i), table.get(expected[i / 3] * 3 + i % 3));
}

TEST(Shapes, GatherFromNoRowsIsRefused) {
  Layer layer =
      layerOf({"tensor<0x3xf16>", "tensor<2xi32>"}, {"tensor<2x3xf16>"},
              "%y = quern.gather %a0, %a1 : tensor<0x3xf16>, tensor<2xi32> -> "
              "tensor<2x3xf16>\nreturn %y : tensor<2x3xf16>");
  EXPECT_NE(layer
                .refusal({HostTensor(DType::F16, {0, 3}),
                          HostTensor(DType::I32, {2})})
                .find("the table has no rows"),
            std::string::npos);
}
