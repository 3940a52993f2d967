//===- SplitProductsTest.cpp - Split products, to the bit -----------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// One element of small products, beside bits computed by hand, that is with
// rational numbers and one rounding where docs/numerics.md writes one. K is 5,
// in groups of 2 (the last is short), and the numbers are such that a scale of
// all of K gives other bits when it is applied to each part instead of the sum.
//
//===----------------------------------------------------------------------===//

#include "LayerText.h"

#include <cmath>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <limits>

using namespace quern;
using namespace quern::reference;

namespace {

/// What multiplies one row with one column: [1, K] and [1, K].
struct Operand {
  std::string code;
  DType type;
  std::vector<double> codes;
  std::vector<double> zeros = {}; ///< Of u8, one for each scale.
};

/// Three parts: 12, -11953 and -320.
const Operand signedRow{"i8", DType::I8, {3, -7, 100, 11, -5}};
const Operand signedColumn{"i8", DType::I8, {25, 9, -128, 77, 64}};
/// Less the zero points: 3088, -37014 and -427.
const Operand shiftedRow{"ui8", DType::U8, {200, 13, 100, 255, 0}, {7}};
const Operand shiftedColumn{
    "ui8", DType::U8, {25, 9, 130, 77, 64}, {9, 200, 3}};
/// The same with the zero points' blocks the other way round.
const Operand groupedRow{"ui8", DType::U8, {25, 9, 130, 77, 64}, {9, 200, 3}};
const Operand plainColumn{"ui8", DType::U8, {200, 13, 100, 255, 0}, {7}};
/// 39.875, -57343.53125 and -320.
const Operand floatRow{
    "f8E4M3FN", DType::F8E4M3, {1.75, -0.625, 448, 0x3p-9, -5}};
const Operand floatColumn{"f8E4M3FN", DType::F8E4M3, {26, 9, -128, 80, 64}};

const std::vector<double> lhsGroups = {0.7, 0.7, 0.9}, lhsWhole = {0.3};
const std::vector<double> rhsGroups = {0.013, 0.6, 0.03}, rhsWhole = {0.9};

/// How K is written in the layer.
enum class Extent { Constant, Symbol };

/// The layer's element for the first `k` codes; a block of scales is `lhsK`
/// codes, 0 for all of them.
float element(const Operand &lhs, std::vector<double> lhsScales, int64_t lhsK,
              const Operand &rhs, std::vector<double> rhsScales, int64_t rhsK,
              Extent extent = Extent::Constant, int64_t k = 5) {
  bool symbol = extent == Extent::Symbol;
  auto typeOf = [&](const Operand &operand, int64_t block) {
    return fmt::format(
        "!quern.qtensor<tensor<{}>, #quern.scale<block = [1, {}], type = "
        "f32>{}>",
        symbol
            ? fmt::format("1x?x{}, affine_map<()[s0] -> (1, s0)>", operand.code)
            : fmt::format("1x{}x{}", k, operand.code),
        block, operand.zeros.empty() ? "" : ", zeros = ui8");
  };
  std::string l = typeOf(lhs, lhsK), r = typeOf(rhs, rhsK);
  Layer layer(fmt::format(
      "func.func @layer(%x: {0}, %w: {1}) -> tensor<1x1xf32> attributes "
      "{{quern.symbols = [{2}], quern.numerics = \"strict\"}} {{\n"
      "%y = quern.matmul %x, %w transpose_rhs : {0}, {1} -> tensor<1x1xf32>\n"
      "return %y : tensor<1x1xf32>\n}}",
      l, r, symbol ? "#quern.symbol<\"K\", 0, 64, 1>" : ""));
  std::vector<HostTensor> inputs;
  for (auto [operand, scales, block] :
       {std::tuple(&lhs, lhsScales, lhsK), {&rhs, rhsScales, rhsK}}) {
    int64_t blocks = block ? (k + block - 1) / block : 1;
    auto first = [](const std::vector<double> &values, int64_t n) {
      return std::vector<double>(values.begin(), values.begin() + n);
    };
    inputs.push_back(tensorOf(operand->type, {1, k}, first(operand->codes, k)));
    inputs.push_back(tensorOf(DType::F32, {1, blocks}, first(scales, blocks)));
    if (!operand->zeros.empty())
      inputs.push_back(
          tensorOf(DType::U8, {1, blocks}, first(operand->zeros, blocks)));
  }
  std::vector<HostTensor> results = layer.run(inputs);
  return results.empty() ? 0.0f : static_cast<float>(results[0].get(0));
}

} // namespace

TEST(SplitProducts, AWholeScaleOnTheLeftMultipliesTheSum) {
  // acc = fma(12, .013, 0), fma(-11953, .6, acc), fma(-320, .03, acc); * .3
  EXPECT_EQ(element(signedRow, lhsWhole, 0, signedColumn, rhsGroups, 2),
            -0x1.0d4bf2p+11f);
  // The zero point of all of K is in the parts, although its scale is not.
  EXPECT_EQ(element(shiftedRow, lhsWhole, 0, shiftedColumn, rhsGroups, 2),
            -0x1.9fe522p+12f);
  EXPECT_EQ(element(floatRow, lhsWhole, 0, floatColumn, rhsGroups, 2),
            -0x1.42a47ep+13f);
}

TEST(SplitProducts, AWholeScaleOnTheRightMultipliesTheSum) {
  // acc = fma(12, .7, 0), fma(-11953, .7, acc), fma(-320, .9, acc); * .9
  EXPECT_EQ(element(signedRow, lhsGroups, 2, signedColumn, rhsWhole, 0),
            -0x1.e6607ap+12f);
  EXPECT_EQ(element(groupedRow, lhsGroups, 2, plainColumn, rhsWhole, 0),
            -0x1.535dp+14f);
  EXPECT_EQ(element(floatRow, lhsGroups, 2, floatColumn, rhsWhole, 0),
            -0x1.1c11p+15f);
}

TEST(SplitProducts, ScalesThatBothVaryAreMultipliedFirst) {
  EXPECT_EQ(element(signedRow, lhsGroups, 2, signedColumn, rhsGroups, 2),
            -0x1.3a4ca8p+12f);
  EXPECT_EQ(element(floatRow, lhsGroups, 2, floatColumn, rhsGroups, 2),
            -0x1.787240p+14f);
  EXPECT_EQ(element({"ui8", DType::U8, shiftedRow.codes, {7, 7, 7}}, lhsGroups,
                    2, shiftedColumn, rhsGroups, 2),
            -0x1.e54a7ap+13f);
}

TEST(SplitProducts, AWholeScaleIsTheSameForOneRowAndForTheTensor) {
  // A block over all rows, which is the block of the one row.
  Layer layer(
      "func.func @layer(%x: !quern.qtensor<tensor<2x5xi8>, #quern.scale<block "
      "= [0, 0], type = f32>>, %w: !quern.qtensor<tensor<1x5xi8>, "
      "#quern.scale<block = [1, 2], type = f32>>) -> tensor<2x1xf32> "
      "attributes {quern.symbols = [], quern.numerics = \"strict\"} {\n"
      "%y = quern.matmul %x, %w transpose_rhs : !quern.qtensor<tensor<2x5xi8>, "
      "#quern.scale<block = [0, 0], type = f32>>, "
      "!quern.qtensor<tensor<1x5xi8>, #quern.scale<block = [1, 2], type = "
      "f32>> -> tensor<2x1xf32>\nreturn %y : tensor<2x1xf32>\n}");
  HostTensor x =
      tensorOf(DType::I8, {2, 5}, {3, -7, 100, 11, -5, -3, 7, -100, -11, 5});
  HostTensor y = layer.run({x, tensorOf(DType::F32, {1, 1}, lhsWhole),
                            tensorOf(DType::I8, {1, 5}, signedColumn.codes),
                            tensorOf(DType::F32, {1, 3}, rhsGroups)})[0];
  EXPECT_EQ(y.get(0), -0x1.0d4bf2p+11f);
  EXPECT_EQ(y.get(1), 0x1.0d4bf2p+11f);
}

TEST(SplitProducts, TypesDecideWhereAScaleGoes) {
  // A group that covers a constant K is a whole scale: (12 * s_a) * s_b. Of a
  // symbolic K it is a group whatever K is in a run: (12 * s_b) * s_a.
  auto oneGroup = [](Extent extent, int64_t block) {
    return element(signedRow, {0.1}, 0, signedColumn, {0.29}, block, extent, 2);
  };
  EXPECT_EQ(oneGroup(Extent::Constant, 2), 0x1.645a1cp-2f);
  EXPECT_EQ(oneGroup(Extent::Constant, 64), 0x1.645a1cp-2f);
  EXPECT_EQ(oneGroup(Extent::Symbol, 0), 0x1.645a1cp-2f);
  EXPECT_EQ(oneGroup(Extent::Symbol, 2), 0x1.645a1ep-2f);
  EXPECT_EQ(oneGroup(Extent::Symbol, 64), 0x1.645a1ep-2f);

  EXPECT_EQ(element(signedRow, lhsWhole, 0, signedColumn, rhsGroups, 2,
                    Extent::Symbol),
            -0x1.0d4bf2p+11f);
  EXPECT_EQ(element(signedRow, lhsGroups, 2, signedColumn, rhsWhole, 0,
                    Extent::Symbol),
            -0x1.e6607ap+12f);
}

TEST(SplitProducts, AWholeScaleMultipliesASumOfNothing) {
  EXPECT_EQ(element(signedRow, lhsWhole, 0, signedColumn, rhsGroups, 2,
                    Extent::Symbol, 0),
            0.0f);
  EXPECT_TRUE(
      std::isnan(element(signedRow, {std::numeric_limits<double>::infinity()},
                         0, signedColumn, rhsGroups, 2, Extent::Symbol, 0)));
}
