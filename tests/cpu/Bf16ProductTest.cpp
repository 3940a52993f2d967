//===- Bf16ProductTest.cpp - Products of bf16 on the CPU ------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// At the level avx512-bf16 the bits of every sum are known: fmas over K in one
// order, whatever the shape of tiles, blocks, chunks and calls. At the others
// a sum is within its bound.
//
//===----------------------------------------------------------------------===//

#include "CpuHarness.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <random>

using namespace quern;
using namespace quern::test;
using cpugen::CpuLevel;
using cpugen::CpuTarget;
using testing::HasSubstr;

namespace {

/// y[m, n] = sum_k a[m, k] w[n, k], or w[k, n], as f32. `fixedK`: K's value.
/// With `terms` 2 it is the sum of two such products, of a with w and with w2.
struct ProductText {
  std::string left = "bf16", right = "bf16";
  bool transposed = true;
  unsigned terms = 1;
  int64_t fixedK = 0;
  /// The left elements are negated on their way: no plain load.
  bool computed = false;

  std::string text() const {
    std::string k = fixedK ? std::to_string(fixedK) : "s2";
    std::string shape = transposed ? "(s1, " + k + ")" : "(" + k + ", s1)";
    std::string at = transposed ? "(%n, %k)" : "(%k, %n)";
    std::string text = fmt::format(
        R"mlir(
!A = !tile.buffer<()[s0, s1, s2] -> (s0, {0}), {1}>
!W = !tile.buffer<()[s0, s1, s2] -> {2}, {3}>
!Y = !tile.buffer<()[s0, s1, s2] -> (s0, s1), f32>
#symbols = [#tile.symbol<"M", 0, 512, 1>, #tile.symbol<"N", 0, 512, 1>, #tile.symbol<"K", 0, 8192, 1>]
#id = affine_map<(d0, d1) -> (d0, d1)>
tile.program @layer symbols #symbols numerics "strict" {{
  %a = tile.buffer "a" "values" input : !A
  %w = tile.buffer "w" "values" weight : !W
  %w2 = tile.buffer "w2" "values" weight : !W
  %y = tile.buffer "y" "values" output : !Y
  tile.launch @product (%a, %w, %w2, %y) : !A, !W, !W, !Y
}}
tile.kernel @product attributes {{symbols = #symbols, writes = array<i1: false, false, false, true>, numerics_class = 2 : i32, reason = "test"}} (%a: !A, %w: !W, %w2: !W, %y: !Y) {{
  tile.contract {{extents = affine_map<()[s0, s1, s2] -> (s0, s1, {0})>, num_batch = 0 : i64, num_lhs = 1 : i64, terms = array<i64: 0, 0{4}>}}
  epilogue (%m: index, %n: index, %acc: f32{5}) {{
    {6}
    tile.store %sum to %y at #id (%m, %n) : f32, !Y
    tile.yield
  }}
  operand (%m: index, %k: index) {{
    %0 = tile.load %a at #id (%m, %k) : !A -> {1}
    {8}
  }}
  operand (%n: index, %k: index) {{
    %0 = tile.load %w at #id {7} : !W -> {3}
    tile.yield %0 : {3}
  }}
)mlir",
        k, left, shape, right, terms == 2 ? ", 0, 1" : "",
        terms == 2 ? ", %acc2: f32" : "",
        terms == 2 ? "%sum = arith.addf %acc, %acc2 : f32"
                   : "%zero = arith.constant -0.0 : f32\n    %sum = "
                     "arith.addf %acc, %zero : f32",
        at,
        computed ? fmt::format("%x = arith.extf %0 : {0} to f32\n"
                               "    %1 = arith.negf %x : f32\n"
                               "    %2 = arith.truncf %1 : f32 to {0}\n"
                               "    tile.yield %2 : {0}",
                               left)
                 : fmt::format("tile.yield %0 : {}", left));
    if (terms == 2)
      text += fmt::format("  operand (%n: index, %k: index) {{\n"
                          "    %0 = tile.load %w2 at #id {} : !W -> {}\n"
                          "    tile.yield %0 : {}\n  }}\n",
                          at, right, right);
    return text + "}\n";
  }
};

float decode(uint16_t code) {
  return std::bit_cast<float>(uint32_t(code) << 16);
}
uint16_t bf16(float x) { return std::bit_cast<uint32_t>(x) >> 16; }

/// A subnormal number is zero, of its sign.
float flushed(float x) {
  return std::fabs(x) < 0x1p-126f ? std::copysign(0.0f, x) : x;
}

/// The fmas of vdpbf16ps: of two elements the second comes first.
float dotOf(const std::vector<float> &a, const std::vector<float> &b) {
  float sum = 0;
  for (size_t k = 0; k < a.size(); k += 2)
    for (size_t at : {k + 1, k})
      sum = flushed(std::fma(at < a.size() ? flushed(a[at]) : 0.0f,
                             at < a.size() ? flushed(b[at]) : 0.0f, sum));
  return sum;
}

enum class Values { Normal, Corners, Tiny };

uint16_t draw(Values values, std::mt19937 &random) {
  std::normal_distribution<float> normal;
  uint16_t sign = random() & 0x8000;
  if (values == Values::Tiny) // Products around the smallest normal number.
    return sign | (random() % 4 ? 0x2000 + random() % 0x80 : random() % 0x80);
  if (values == Values::Corners && random() % 64 == 0) {
    const uint16_t corners[] = {0x7f80, 0x7fc0, 0x0001, 0x007f, 0x0080,
                                0x7f7f, 0x5f00, 0x0000, 0x2000};
    return sign | corners[random() % std::size(corners)];
  }
  return bf16(normal(random));
}

/// A random product, compared element by element.
void check(CompiledProgram &program, const ProductText &how, bool exactly,
           Values values, int64_t m, int64_t n, int64_t k, unsigned calls,
           std::mt19937 &random) {
  program.allocate({m, n, k});
  std::vector<uint16_t> a(m * k),
      w[2] = {std::vector<uint16_t>(n * k), std::vector<uint16_t>(n * k)};
  for (auto *data : {&a, &w[0], &w[1]})
    for (uint16_t &x : *data)
      x = draw(values, random);
  program.set("a", a);
  program.set("w", w[0]);
  program.set("w2", w[1]);
  program.run(calls);
  ASSERT_TRUE(program.intact()) << program.error;
  std::vector<float> y = program.get<float>("y");
  std::vector<float> left(k), right(k);
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t l = 0; l < k; ++l)
      left[l] = how.computed ? -decode(a[i * k + l]) : decode(a[i * k + l]);
    for (int64_t j = 0; j < n; ++j) {
      float expected = 0;
      double sum = 0, magnitudes = 0;
      for (unsigned term = 0; term < how.terms; ++term) {
        for (int64_t l = 0; l < k; ++l) {
          right[l] = decode(w[term][how.transposed ? j * k + l : l * n + j]);
          sum += double(left[l]) * right[l];
          magnitudes += std::fabs(double(left[l]) * right[l]);
        }
        float dot = dotOf(left, right);
        expected = term ? expected + dot : dot;
      }
      float found = y[i * n + j];
      if (exactly && expected != expected) {
        ASSERT_NE(found, found) << "at " << i << ", " << j;
      } else if (exactly) {
        ASSERT_EQ(std::bit_cast<uint32_t>(found),
                  std::bit_cast<uint32_t>(expected))
            << "at " << i << ", " << j << ": " << found << ", not " << expected;
      } else if (magnitudes == 0 || std::isfinite(magnitudes)) {
        ASSERT_NEAR(found, sum, magnitudes * k * 0x1p-23)
            << "at " << i << ", " << j;
      }
    }
  }
}

/// Tests of the code need the machine; those of what is chosen do not.
std::optional<CpuTarget> bf16Target() {
  if (auto host = CpuTarget::host(); host && host->hasBf16Dot())
    return CpuTarget::forLevel(CpuLevel::Avx512Bf16);
  return std::nullopt;
}

std::string scheduleOf(const ProductText &how, CpuLevel level) {
  CompiledProgram program(how.text(), CpuTarget::forLevel(level));
  EXPECT_EQ(program.error, "");
  return program.error.empty() ? program.variant.kernels.back().schedule : "";
}

} // namespace

TEST(Bf16Products, HaveTheirInstructionWhereBothOperandsAreBf16) {
  EXPECT_THAT(scheduleOf({}, CpuLevel::Avx512Bf16), HasSubstr("(vdpbf16ps)"));
  EXPECT_THAT(
      scheduleOf({.transposed = false, .terms = 2}, CpuLevel::Avx512Bf16),
      HasSubstr("(vdpbf16ps)"));
  EXPECT_THAT(scheduleOf({.computed = true}, CpuLevel::Avx512Bf16),
              HasSubstr("(vdpbf16ps)"));
  // No other floats, no other level.
  EXPECT_THAT(scheduleOf({.left = "f16", .right = "f16"}, CpuLevel::Avx512Bf16),
              HasSubstr("(fma)"));
  EXPECT_THAT(scheduleOf({.left = "f32", .right = "f32"}, CpuLevel::Avx512Bf16),
              HasSubstr("(fma)"));
  EXPECT_THAT(scheduleOf({}, CpuLevel::Avx512Vnni), HasSubstr("(fma)"));
  EXPECT_THAT(scheduleOf({}, CpuLevel::Generic), HasSubstr("(mulps+addps)"));
}

TEST(Bf16Products, NameWhatTheyNeed) {
  CompiledProgram program(ProductText().text(),
                          CpuTarget::forLevel(CpuLevel::Avx512Bf16));
  ASSERT_EQ(program.error, "");
  EXPECT_EQ(program.variant.target, "cpu:avx512-bf16");
  EXPECT_THAT(program.variant.requiredFeatures,
              testing::IsSupersetOf({"avx512bf16", "avx512vnni", "avx512bw"}));
  CompiledProgram below(ProductText().text(),
                        CpuTarget::forLevel(CpuLevel::Avx512Vnni));
  EXPECT_THAT(below.variant.requiredFeatures,
              testing::Not(testing::Contains("avx512bf16")));
}

TEST(Bf16Products, OfAllShapes) {
  std::mt19937 random(1);
  for (const CpuTarget &target : executableTargets())
    for (const ProductText &how :
         {ProductText{}, ProductText{.transposed = false},
          ProductText{.terms = 2}, ProductText{.computed = true}}) {
      CompiledProgram program(how.text(), target);
      ASSERT_EQ(program.error, "");
      bool exactly = target.hasBf16Dot();
      for (int round = 0; round < 40; ++round) {
        int64_t m = random() % 41, n = random() % 101, k = random() % 301;
        if (round == 0)
          k = 0;
        if (round == 1)
          m = 0;
        if (round == 2)
          k = 1;
        auto values = static_cast<Values>(exactly ? round % 3 : 0);
        SCOPED_TRACE(fmt::format(
            "{} m {} n {} k {} terms {}{}{} values {}", target.name(), m, n, k,
            how.terms, how.transposed ? "" : " [K, N]",
            how.computed ? " computed" : "", static_cast<int>(values)));
        check(program, how, exactly, values, m, n, k, 1 + round % 3, random);
        if (HasFatalFailure())
          return;
      }
    }
}

/// Caches so small that K is computed in chunks and M in several blocks.
TEST(Bf16Products, KeepTheirBitsInChunksAndBlocks) {
  std::optional<CpuTarget> target = bf16Target();
  if (!target)
    GTEST_SKIP() << "this machine has no AVX-512 BF16";
  std::mt19937 random(2);
  target->caches.l2 = 16 << 10;
  for (int64_t k : {499, 2047})
    for (unsigned terms : {1u, 2u}) {
      ProductText how{.terms = terms, .fixedK = k};
      CompiledProgram program(how.text(), *target);
      ASSERT_EQ(program.error, "");
      const std::string &schedule = program.variant.kernels.back().schedule;
      EXPECT_THAT(schedule, HasSubstr("of K"));
      int round = 0;
      for (int64_t m : {1, 3, 8, 13, 140, 270})
        for (int64_t n : {1, 33, 95}) {
          SCOPED_TRACE(fmt::format("m {} n {} k {}: {}", m, n, k, schedule));
          check(program, how, true, static_cast<Values>(round % 3), m, n, k,
                1 + round % 3, random);
          ++round;
          if (HasFatalFailure())
            return;
        }
    }
}

/// What pads the last step is zero on both sides: an infinity or NaN in the
/// last element, or in a neighbour's row, spoils its own row or column alone.
TEST(Bf16Products, PadTheLastStep) {
  std::optional<CpuTarget> target = bf16Target();
  if (!target)
    GTEST_SKIP() << "this machine has no AVX-512 BF16";
  CompiledProgram program(ProductText().text(), *target);
  ASSERT_EQ(program.error, "");
  const float inf = std::numeric_limits<float>::infinity();
  for (int64_t m : {1, 2, 5, 8, 9, 17})
    for (int64_t k : {1, 3, 31, 33, 63, 513}) {
      SCOPED_TRACE(fmt::format("m {} k {}", m, k));
      constexpr int64_t n = 35;
      program.allocate({m, n, k});
      // Left over from a run before: scratch holds NaN then.
      std::vector<uint16_t> a(m * k, bf16(NAN)), w(n * k, bf16(1));
      program.set("a", a);
      program.set("w", w);
      program.run();
      a.assign(m * k, bf16(1));
      a[k - 1] = bf16(inf); // Row 0's last, before row 1's first.
      w[(n - 1) * k] = bf16(-inf);
      program.set("a", a);
      program.set("w", w);
      program.run();
      std::vector<float> y = program.get<float>("y");
      for (int64_t i = 0; i < m; ++i)
        for (int64_t j = 0; j < n; ++j) {
          float found = y[i * n + j];
          if (i == 0 && j == n - 1 && k > 1)
            EXPECT_NE(found, found);
          else if (i == 0 || j == n - 1)
            EXPECT_EQ(found, j == n - 1 ? -inf : inf) << i << ", " << j;
          else
            EXPECT_EQ(found, float(k)) << i << ", " << j;
        }
    }
}

TEST(Bf16Products, CornersOfTheInstruction) {
  std::optional<CpuTarget> target = bf16Target();
  if (!target)
    GTEST_SKIP() << "this machine has no AVX-512 BF16";
  CompiledProgram program(ProductText().text(), *target);
  ASSERT_EQ(program.error, "");
  const float inf = std::numeric_limits<float>::infinity();
  const float largest = decode(0x7f7f);
  struct {
    std::vector<float> a, w;
    float sum;
  } cases[] = {
      {{inf}, {2}, inf},
      {{-inf, 1}, {2, 1}, -inf},
      {{inf, inf}, {1, -1}, NAN},
      {{NAN, 1}, {1, 1}, NAN},
      {{inf}, {0}, NAN},
      // A subnormal element counts as zero, beside an infinity too.
      {{0x1p-130f}, {1}, 0},
      {{1, 0x1p-130f}, {1, 0x1p100f}, 1},
      {{inf}, {0x1p-130f}, NAN},
      // Sums that are subnormal are lost; the second element comes first.
      {{0x1p-64f, 0x1p-64f}, {0x1p-63f, 0x1p-63f}, 0},
      {{0x1p-63f, 0x1p-64f}, {0x1p-63f, 0x1p-63f}, 0x1p-126f},
      {{0x1p-64f, 0x1p-63f}, {0x1p-63f, 0x1p-63f}, 0x1.8p-126f},
      // A product is not rounded before it is added.
      {{largest, -largest}, {2, 2}, -inf},
      {{-largest, largest}, {2, 1}, -largest},
      {{largest, largest}, {-1, 1}, 0},
  };
  for (const auto &[a, w, sum] : cases) {
    program.allocate({1, 1, static_cast<int64_t>(a.size())});
    std::vector<uint16_t> left, right;
    for (float x : a)
      left.push_back(bf16(x));
    for (float x : w)
      right.push_back(bf16(x));
    program.set("a", left);
    program.set("w", right);
    program.run();
    float found = program.get<float>("y")[0];
    SCOPED_TRACE(
        fmt::format("({}) . ({})", fmt::join(a, ", "), fmt::join(w, ", ")));
    EXPECT_EQ(std::bit_cast<uint32_t>(dotOf(a, w)) & 0x7fffffff,
              std::bit_cast<uint32_t>(sum) & 0x7fffffff)
        << dotOf(a, w);
    if (sum == sum)
      EXPECT_EQ(found, sum);
    else
      EXPECT_NE(found, found);
  }
}
