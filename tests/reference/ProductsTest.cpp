//===- ProductsTest.cpp - matmul and contract against scalar loops --------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "LayerText.h"

#include "compiler/reference/Floats.h"
#include "compiler/reference/RandomInputs.h"

#include <cmath>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>
#include <random>

using namespace quern;
using namespace quern::reference;

namespace {

/// Sizes of a product and the blocks of its scales, lhs [.., m, k] and rhs
/// [.., n, k] or [.., k, n].
struct Shape {
  int64_t batch = 0; ///< 0: no batch dimension.
  int64_t m, n, k;
  bool transposed = true;
  bool shared = true; ///< The right operand has no batch dimension.
  int64_t lhsRows = 1, lhsK = 0, rhsN = 1, rhsK = 0;

  std::vector<int64_t> lhs() const {
    return batch ? std::vector{batch, m, k} : std::vector{m, k};
  }
  std::vector<int64_t> rhs() const {
    std::vector<int64_t> shape =
        transposed ? std::vector{n, k} : std::vector{k, n};
    if (batch && !shared)
      shape.insert(shape.begin(), batch);
    return shape;
  }
  std::vector<int64_t> result() const {
    return batch ? std::vector{batch, m, n} : std::vector{m, n};
  }
  std::vector<int64_t> lhsBlock() const {
    return batch ? std::vector<int64_t>{1, lhsRows, lhsK}
                 : std::vector<int64_t>{lhsRows, lhsK};
  }
  std::vector<int64_t> rhsBlock() const {
    std::vector<int64_t> block =
        transposed ? std::vector{rhsN, rhsK} : std::vector{rhsK, rhsN};
    if (batch && !shared)
      block.insert(block.begin(), 1);
    return block;
  }
};

int64_t blocksOf(int64_t length, int64_t extent) {
  return extent ? (length + extent - 1) / extent : 1;
}
int64_t blockAt(int64_t index, int64_t extent) {
  return extent ? index / extent : 0;
}

std::string matmul(const Shape &s, const std::string &l, const std::string &r) {
  std::string out = tensorText(s.result(), "f32");
  return fmt::format("%y = quern.matmul %a0, %a1{} : {}, {} -> {}\nreturn %y : "
                     "{}",
                     s.transposed ? " transpose_rhs" : "", l, r, out, out);
}

/// Draws codes and scales for a layer by its own types.
std::vector<HostTensor> draw(const Layer &layer, int seed) {
  auto inputs = randomInputs(layer.func(), {}, seed);
  EXPECT_TRUE(bool(inputs));
  return std::move(*inputs);
}

struct Element {
  const Shape &s;
  const std::vector<HostTensor> &in;

  int64_t lhsIndex(int64_t b, int64_t i, int64_t t) const {
    return (b * s.m + i) * s.k + t;
  }
  int64_t rhsIndex(int64_t b, int64_t j, int64_t t) const {
    int64_t base = s.shared ? 0 : b * s.n * s.k;
    return base + (s.transposed ? j * s.k + t : t * s.n + j);
  }
  float lhsScale(int64_t b, int64_t i, int64_t t) const {
    int64_t rows = blocksOf(s.m, s.lhsRows), columns = blocksOf(s.k, s.lhsK);
    return in[1].as<float>()[(b * rows + blockAt(i, s.lhsRows)) * columns +
                             blockAt(t, s.lhsK)];
  }
  float rhsScale(int64_t b, int64_t j, int64_t t) const {
    int64_t ns = blocksOf(s.n, s.rhsN), ks = blocksOf(s.k, s.rhsK);
    int64_t base = s.shared ? 0 : b * ns * ks;
    int64_t bn = blockAt(j, s.rhsN), bk = blockAt(t, s.rhsK);
    return in[3]
        .as<float>()[base + (s.transposed ? bn * ks + bk : bk * ns + bn)];
  }
};

/// One element of the product of two quantized tensors, by the law.
float quantizedElement(const Element &e, int64_t b, int64_t i, int64_t j) {
  const Shape &s = e.s;
  int64_t lhsK = s.lhsK >= s.k ? 0 : s.lhsK, rhsK = s.rhsK >= s.k ? 0 : s.rhsK;
  int64_t g = lhsK && rhsK ? std::min(lhsK, rhsK) : std::max(lhsK, rhsK);
  auto sum = [&](int64_t begin, int64_t end) {
    if (isFloat(e.in[0].dtype)) {
      double part = 0;
      for (int64_t t = begin; t < end; ++t)
        part +=
            e.in[0].get(e.lhsIndex(b, i, t)) * e.in[2].get(e.rhsIndex(b, j, t));
      return static_cast<float>(part);
    }
    int64_t part = 0;
    for (int64_t t = begin; t < end; ++t)
      part += static_cast<int64_t>(e.in[0].get(e.lhsIndex(b, i, t))) *
              static_cast<int64_t>(e.in[2].get(e.rhsIndex(b, j, t)));
    return static_cast<float>(static_cast<int32_t>(part));
  };
  if (!g)
    return (sum(0, s.k) * e.lhsScale(b, i, 0)) * e.rhsScale(b, j, 0);
  float acc = 0;
  for (int64_t begin = 0; begin < s.k; begin += g) {
    float l = e.lhsScale(b, i, begin), r = e.rhsScale(b, j, begin);
    acc = std::fma(sum(begin, std::min(begin + g, s.k)),
                   !lhsK   ? r
                   : !rhsK ? l
                           : l * r,
                   acc);
  }
  if (!lhsK)
    acc *= e.lhsScale(b, i, 0);
  return rhsK ? acc : acc * e.rhsScale(b, j, 0);
}

void checkQuantized(const Shape &s, const char *lhs, const char *rhs,
                    int seed) {
  std::string l = quantizedText(s.lhs(), lhs, s.lhsBlock());
  std::string r = quantizedText(s.rhs(), rhs, s.rhsBlock());
  Layer layer =
      layerOf({l, r}, {tensorText(s.result(), "f32")}, matmul(s, l, r));
  ASSERT_TRUE(layer.valid());
  std::vector<HostTensor> in = draw(layer, seed);
  HostTensor y = layer.run(in)[0];
  std::vector<RealTensor> real = layer.runReal(in);
  Element e{s, in};
  int64_t at = 0;
  for (int64_t b = 0; b < std::max<int64_t>(s.batch, 1); ++b)
    for (int64_t i = 0; i < s.m; ++i)
      for (int64_t j = 0; j < s.n; ++j, ++at) {
        ASSERT_EQ(y.get(at), quantizedElement(e, b, i, j))
            << fmt::format("[{}, {}, {}] of {} x {}", b, i, j, l, r);
        double exact = 0;
        for (int64_t t = 0; t < s.k; ++t)
          exact += in[0].get(e.lhsIndex(b, i, t)) * e.lhsScale(b, i, t) *
                   in[2].get(e.rhsIndex(b, j, t)) * e.rhsScale(b, j, t);
        ASSERT_NEAR(real[0].values[at], exact,
                    1e-12 + 1e-12 * std::fabs(exact));
      }
}

} // namespace

TEST(Products, RowScalesOfEveryCodeType) {
  Shape s{.m = 9, .n = 37, .k = 600};
  checkQuantized(s, "i8", "i8", 1);
  checkQuantized(s, "ui8", "i8", 2);
  checkQuantized(s, "i8", "ui8", 3);
  checkQuantized(s, "ui8", "ui8", 4);
  checkQuantized(s, "f8E4M3FN", "f8E4M3FN", 5);
  checkQuantized(s, "f8E5M2", "f8E4M3FN", 6);
}

TEST(Products, RandomBlocksAgainstBruteForce) {
  std::mt19937_64 random(7);
  const int64_t extents[] = {0, 1, 2, 3, 5, 16, 64};
  for (int round = 0; round < 80; ++round) {
    Shape s{.m = 1 + static_cast<int64_t>(random() % 10),
            .n = 1 + static_cast<int64_t>(random() % 70),
            .k = 2 + static_cast<int64_t>(random() % 300)};
    s.batch = random() % 3 ? 0 : 1 + random() % 3;
    s.transposed = random() % 2;
    s.shared = !s.batch || random() % 2;
    s.lhsRows = extents[random() % 7];
    s.rhsN = extents[random() % 7];
    // Along the contracted axis: one a multiple of the other, not 1, with
    // short last blocks.
    int64_t g = 2 + random() % 40, factor = 1 + random() % 3;
    s.lhsK = random() % 3 ? g : 0;
    s.rhsK = random() % 3 ? g * factor : 0;
    if (random() % 2)
      std::swap(s.lhsK, s.rhsK);
    if (round % 5 == 0)
      checkQuantized(s, "f8E5M2", "f8E4M3FN", round);
    else
      checkQuantized(s, random() % 2 ? "i8" : "ui8", "i8", round);
    if (HasFatalFailure())
      return;
  }
}

TEST(Products, Floats) {
  std::mt19937_64 random(8);
  for (auto [text, type] : {std::pair("f32", DType::F32),
                            {"f16", DType::F16},
                            {"bf16", DType::BF16},
                            {"f8E4M3FN", DType::F8E4M3}})
    for (bool transposed : {true, false}) {
      Shape s{.batch = 2,
              .m = 8,
              .n = 21,
              .k = 700,
              .transposed = transposed,
              .shared = transposed};
      std::string l = tensorText(s.lhs(), text), r = tensorText(s.rhs(), text);
      Layer layer =
          layerOf({l, r}, {tensorText(s.result(), "f32")}, matmul(s, l, r));
      std::vector<HostTensor> in = draw(layer, 9);
      HostTensor y = layer.run(in)[0];
      Element e{s, in};
      for (int64_t b = 0; b < 2; ++b)
        for (int64_t i = 0; i < s.m; ++i)
          for (int64_t j = 0; j < s.n; ++j) {
            long double sum = 0;
            for (int64_t t = 0; t < s.k; ++t)
              sum += static_cast<long double>(in[0].get(e.lhsIndex(b, i, t))) *
                     in[1].get(e.rhsIndex(b, j, t));
            // One rounding of a sum that is nearly exact.
            float expected = static_cast<float>(sum);
            float actual = static_cast<float>(y.get((b * s.m + i) * s.n + j));
            EXPECT_LE(std::fabs(actual - expected),
                      std::fabs(expected) * 0x1p-23f)
                << text;
          }
    }
}

TEST(Products, AQuantizedOperandBesideAFloatOneIsDequantizedFirst) {
  for (bool left : {true, false}) {
    Shape s{.m = 5, .n = 33, .k = 130};
    s.lhsK = 32, s.rhsK = 32;
    std::string l = left ? quantizedText(s.lhs(), "i8", s.lhsBlock())
                         : tensorText(s.lhs(), "f16");
    std::string r = left ? tensorText(s.rhs(), "f16")
                         : quantizedText(s.rhs(), "i8", s.rhsBlock());
    Layer layer =
        layerOf({l, r}, {tensorText(s.result(), "f32")}, matmul(s, l, r));
    std::vector<HostTensor> in = draw(layer, 10);
    HostTensor y = layer.run(in)[0];
    const HostTensor &codes = in[left ? 0 : 1], &scales = in[left ? 1 : 2];
    const HostTensor &floats = in[left ? 2 : 0];
    auto dequantized = [&](int64_t row, int64_t t) {
      float value = static_cast<float>(codes.get(row * s.k + t)) *
                    static_cast<float>(scales.get(row * 5 + t / 32));
      return static_cast<double>(
          decodeFloat(DType::F16, encodeFloat(DType::F16, value)));
    };
    for (int64_t i = 0; i < s.m; ++i)
      for (int64_t j = 0; j < s.n; ++j) {
        double sum = 0;
        for (int64_t t = 0; t < s.k; ++t)
          sum += dequantized(left ? i : j, t) *
                 floats.get((left ? j : i) * s.k + t);
        EXPECT_NEAR(y.get(i * s.n + j), sum, std::fabs(sum) * 0x1p-23);
      }
  }
}

TEST(Products, NothingToContractAndNoRows) {
  for (auto [m, k] : {std::pair<int64_t, int64_t>{2, 0}, {0, 8}, {0, 0}}) {
    Shape s{.m = m, .n = 3, .k = k};
    std::string l = quantizedText(s.lhs(), "i8", s.lhsBlock());
    std::string r = quantizedText(s.rhs(), "i8", s.rhsBlock());
    Layer layer =
        layerOf({l, r}, {tensorText(s.result(), "f32")}, matmul(s, l, r));
    HostTensor y = layer.run(draw(layer, 11))[0];
    EXPECT_EQ(y.elements(), m * 3);
    for (double value : valuesOf(y))
      EXPECT_EQ(value, 0);
  }
}

TEST(Products, SumsThatCouldLeave32BitsAreCut) {
  // i8 codes may be -128: 131071 products are safe, 130944 is the last
  // multiple of 128.
  int64_t k = 140000;
  Shape s{.m = 1, .n = 2, .k = k};
  std::string l = quantizedText(s.lhs(), "i8", s.lhsBlock());
  std::string r = quantizedText(s.rhs(), "i8", s.rhsBlock());
  Layer layer =
      layerOf({l, r}, {tensorText(s.result(), "f32")}, matmul(s, l, r));
  HostTensor a(DType::I8, {1, k}), b(DType::I8, {2, k});
  for (int8_t &code : a.as<int8_t>())
    code = -128;
  for (int64_t i = 0; i < 2 * k; ++i)
    b.as<int8_t>()[i] = i < k ? -128 : static_cast<int8_t>(i % 7);
  HostTensor sa = tensorOf(DType::F32, {1, 1}, {0.001});
  HostTensor sb = tensorOf(DType::F32, {2, 1}, {0.01, 0.3});
  HostTensor y = layer.run({a, sa, b, sb})[0];
  for (int64_t j = 0; j < 2; ++j) {
    float acc = 0;
    for (int64_t begin = 0; begin < k; begin += 130944) {
      int32_t part = 0;
      for (int64_t t = begin; t < std::min<int64_t>(begin + 130944, k); ++t)
        part += a.as<int8_t>()[t] * b.as<int8_t>()[j * k + t];
      acc += static_cast<float>(part);
    }
    EXPECT_EQ(y.get(j), (acc * sa.as<float>()[0]) * sb.as<float>()[j]);
  }
}

//===----------------------------------------------------------------------===//
// contract
//===----------------------------------------------------------------------===//

TEST(Contract, GivesRawSums) {
  std::string l = tensorText({4, 300}, "i8"), r = tensorText({300, 35}, "ui8");
  std::string out = tensorText({4, 35}, "i32");
  Layer layer = layerOf({l, r}, {out},
                        fmt::format("%y = quern.contract %a0, %a1 : {}, {} -> "
                                    "{}\nreturn %y : {}",
                                    l, r, out, out));
  std::vector<HostTensor> in = draw(layer, 12);
  HostTensor y = layer.run(in)[0];
  for (int64_t i = 0; i < 4; ++i)
    for (int64_t j = 0; j < 35; ++j) {
      int32_t sum = 0;
      for (int64_t t = 0; t < 300; ++t)
        sum +=
            in[0].as<int8_t>()[i * 300 + t] * in[1].as<uint8_t>()[t * 35 + j];
      EXPECT_EQ(y.as<int32_t>()[i * 35 + j], sum);
    }
}

TEST(Contract, RefusesASumBeyond32Bits) {
  int64_t k = 140000;
  std::string t = tensorText({1, k}, "i8"), out = tensorText({1, 1}, "i32");
  Layer layer = layerOf({t}, {out},
                        fmt::format("%y = quern.contract %a0, %a0 "
                                    "{{transpose_rhs}} : {}, {} -> {}\nreturn "
                                    "%y : {}",
                                    t, t, out, out));
  HostTensor a(DType::I8, {1, k});
  for (int8_t &code : a.as<int8_t>())
    code = 127;
  EXPECT_NE(layer.refusal({a}).find("leaves 32 bits"), std::string::npos);
  for (int8_t &code : a.as<int8_t>())
    code = 1;
  EXPECT_EQ(layer.run({a})[0].get(0), static_cast<double>(k));
}

TEST(Contract, WithHoistedScalesIsTheMatmul) {
  // What the passes make of a product: raw sums and an epilogue, or a split
  // with its factors, inside a kernel region.
  struct Case {
    int64_t lhsK, rhsK;
  };
  for (auto [lhsK, rhsK] : {Case{0, 0}, {48, 48}, {48, 0}, {0, 48}})
    for (const char *code : {"i8", "f8E4M3FN"}) {
      Shape s{.m = 6, .n = 20, .k = 200};
      s.lhsK = lhsK, s.rhsK = rhsK;
      int64_t g = std::max(lhsK, rhsK);
      std::string l = quantizedText(s.lhs(), code, s.lhsBlock());
      std::string r = quantizedText(s.rhs(), code, s.rhsBlock());
      std::string y = tensorText(s.result(), "f32");
      Layer before = layerOf({l, r}, {y}, matmul(s, l, r));
      std::string cl = tensorText(s.lhs(), code),
                  cr = tensorText(s.rhs(), code);
      std::string sl = tensorText({6, blocksOf(200, lhsK)}, "f32");
      std::string sr = tensorText({20, blocksOf(200, rhsK)}, "f32");
      std::string raw = g || *code == 'f' ? y : tensorText({6, 20}, "i32");
      std::string body = fmt::format(
          "%ca = quern.codes %a0 : {} -> {}\n%cb = quern.codes %a1 : {} -> {}\n"
          "%sa = quern.scales %a0 : {} -> {}\n%sb = quern.scales %a1 : {} -> "
          "{}\n%k = quern.kernel \"product\" because \"one product\" : {} {{\n"
          "%p = quern.contract %ca, %cb ",
          l, cl, r, cr, l, sl, r, sr, y);
      std::string attributes = "transpose_rhs";
      if (g)
        attributes += fmt::format(", split = {}", g);
      if (lhsK) {
        body += fmt::format("lhs_scales %sa : {} ", sl);
        attributes += fmt::format(", lhs_block = array<i64: 1, {}>", lhsK);
      }
      if (rhsK) {
        body += fmt::format("rhs_scales %sb : {} ", sr);
        attributes += fmt::format(", rhs_block = array<i64: 1, {}>", rhsK);
      }
      body += fmt::format("{{{}}} : {}, {} -> {}\n%f = quern.cast %p : {} -> "
                          "{}\n",
                          attributes, cl, cr, raw, raw, y);
      std::string last = "%f";
      if (!lhsK) {
        body +=
            fmt::format("%m = quern.mul %f, %sa : {0}, {1} -> {0}\n", y, sl);
        last = "%m";
      }
      if (!rhsK) {
        body += fmt::format(
            "%t = quern.transpose %sb [1, 0] : {0} -> tensor<1x20xf32>\n"
            "%o = quern.mul {2}, %t : {1}, tensor<1x20xf32> -> {1}\n",
            sr, y, last);
        last = "%o";
      }
      body +=
          fmt::format("quern.yield {1} : {0}\n}}\nreturn %k : {0}", y, last);
      Layer after = layerOf({l, r}, {y}, body);
      if (!before.valid() || !after.valid())
        return;
      std::vector<HostTensor> in = draw(before, 13);
      EXPECT_EQ(before.run(in)[0].bytes, after.run(in)[0].bytes)
          << code << " " << lhsK << " " << rhsK;
      std::vector<RealTensor> a = before.runReal(in), b = after.runReal(in);
      for (size_t i = 0; i < a[0].values.size(); ++i)
        EXPECT_NEAR(a[0].values[i], b[0].values[i], 1e-12);
    }
}
