//===- FusedContractTest.cpp - Scales, splits, gates, batches -------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Products as layers have them, compared with plain loops: exactly where the
// operands are codes, within the bound of an f32 sum where they are floats.
//
//===----------------------------------------------------------------------===//

#include "CpuHarness.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <random>

using namespace quern;
using namespace quern::test;

static bool same(float x, float y) {
  return std::bit_cast<uint32_t>(x) == std::bit_cast<uint32_t>(y) ||
         (x != x && y != y);
}

static std::vector<int8_t> randomCodes(size_t count, std::mt19937 &random) {
  std::vector<int8_t> codes(count);
  for (int8_t &x : codes)
    x = random();
  return codes;
}

static std::vector<float> randomScales(size_t count, std::mt19937 &random) {
  std::uniform_real_distribution<float> distribution(0.01f, 0.1f);
  std::vector<float> scales(count);
  for (float &x : scales)
    x = distribution(random);
  return scales;
}

static const char *const symbolsText =
    R"(#symbols = [#tile.symbol<"B", 0, 8, 1>, #tile.symbol<"M", 0, 64, 1>, #tile.symbol<"N", 0, 128, 1>, #tile.symbol<"K", 0, 512, 1>])";

//===----------------------------------------------------------------------===//
// Split accumulation
//===----------------------------------------------------------------------===//

/// Which scales are in the factors of a split product.
enum class Scales { Both, Left, Right };

/// acc = fma(f32(part), sa[m, kb] * sw[n / 8, kb], acc), or one of the two.
static std::string splitProduct(int64_t group, Scales scales) {
  std::string left = "    %0 = tile.load %sa at #id (%m, %kb) : !SA -> f32\n";
  std::string right =
      "    %1 = tile.load %sw at affine_map<(d0, d1) -> (d0 floordiv 8, d1)> "
      "(%n, %kb) : !SW -> f32\n";
  std::string factor = scales == Scales::Left ? left + "    tile.yield %0 : f32"
                       : scales == Scales::Right
                           ? right + "    tile.yield %1 : f32"
                           : left + right +
                                 "    %2 = arith.mulf %0, %1 : f32\n"
                                 "    tile.yield %2 : f32";
  return fmt::format(R"mlir(
!A = !tile.buffer<()[s0, s1, s2, s3] -> (s1, s3), i8>
!W = !tile.buffer<()[s0, s1, s2, s3] -> (s2, s3), i8>
!SA = !tile.buffer<()[s0, s1, s2, s3] -> (s1, s3 ceildiv {0}), f32>
!SW = !tile.buffer<()[s0, s1, s2, s3] -> (s2 ceildiv 8, s3 ceildiv {0}), f32>
!Y = !tile.buffer<()[s0, s1, s2, s3] -> (s1, s2), f32>
{1}
#id = affine_map<(d0, d1) -> (d0, d1)>
tile.program @layer symbols #symbols numerics "strict" {{
  %a = tile.buffer "a" "codes" input : !A
  %sa = tile.buffer "sa" "scales" input : !SA
  %w = tile.buffer "w" "codes" weight : !W
  %sw = tile.buffer "sw" "scales" weight : !SW
  %y = tile.buffer "y" "values" output : !Y
  tile.launch @product (%a, %sa, %w, %sw, %y) : !A, !SA, !W, !SW, !Y
}}
tile.kernel @product attributes {{symbols = #symbols, writes = array<i1: false, false, false, false, true>, numerics_class = 0 : i32, reason = "test"}} (%a: !A, %sa: !SA, %w: !W, %sw: !SW, %y: !Y) {{
  tile.contract {{extents = affine_map<()[s0, s1, s2, s3] -> (s1, s2, s3)>, num_batch = 0 : i64, num_lhs = 1 : i64, terms = array<i64: 0, 0>, split = {0} : i64}}
  epilogue (%m: index, %n: index, %acc: f32) {{
    tile.store %acc to %y at #id (%m, %n) : f32, !Y
    tile.yield
  }}
  rescale (%m: index, %n: index, %kb: index) {{
{2}
  }}
  operand (%m: index, %k: index) {{
    %0 = tile.load %a at #id (%m, %k) : !A -> i8
    tile.yield %0 : i8
  }}
  operand (%n: index, %k: index) {{
    %0 = tile.load %w at #id (%n, %k) : !W -> i8
    tile.yield %0 : i8
  }}
}}
)mlir",
                     group, symbolsText, factor);
}

TEST(FusedContract, SplitAccumulationIsExact) {
  std::mt19937 random(11);
  for (const cpugen::CpuTarget &target : executableTargets())
    for (auto [group, scales] : {std::pair<int64_t, Scales>{32, Scales::Both},
                                 {64, Scales::Both},
                                 {128, Scales::Both},
                                 {1, Scales::Both},
                                 {5, Scales::Both},
                                 {30, Scales::Both},
                                 {32, Scales::Left},
                                 {30, Scales::Left},
                                 {32, Scales::Right},
                                 {30, Scales::Right}}) {
      CompiledProgram program(splitProduct(group, scales), target);
      ASSERT_EQ(program.error, "");
      for (int round = 0; round < 12; ++round) {
        int64_t m = random() % 20, n = random() % 80, k = random() % 200;
        if (round == 0)
          k = 0;
        SCOPED_TRACE(fmt::format("{} group {} scales {} m {} n {} k {}",
                                 target.name(), group, int(scales), m, n, k));
        int64_t groups = (k + group - 1) / group;
        auto a = randomCodes(m * k, random), w = randomCodes(n * k, random);
        auto sa = randomScales(m * groups, random);
        auto sw = randomScales((n + 7) / 8 * groups, random);
        program.allocate({0, m, n, k});
        program.set("a", a);
        program.set("w", w);
        program.set("sa", sa);
        program.set("sw", sw);
        program.run(1 + round % 2);
        ASSERT_TRUE(program.intact()) << program.error;
        auto y = program.get<float>("y");
        for (int64_t i = 0; i < m; ++i)
          for (int64_t j = 0; j < n; ++j) {
            float sum = 0;
            for (int64_t g = 0; g < groups; ++g) {
              int32_t part = 0;
              for (int64_t l = g * group; l < std::min(k, (g + 1) * group); ++l)
                part += a[i * k + l] * w[j * k + l];
              float l = sa[i * groups + g], r = sw[j / 8 * groups + g];
              float factor = scales == Scales::Left    ? l
                             : scales == Scales::Right ? r
                                                       : l * r;
              sum = std::fma(float(part), factor, sum);
            }
            ASSERT_TRUE(same(y[i * n + j], sum)) << i << ", " << j;
          }
      }
    }
}

/// Factors that vary along both axes at once, of two terms, one of them with a
/// part that does not depend on the column.
static const std::string jointFactors = std::string(R"mlir(
!A = !tile.buffer<()[s0, s1, s2, s3] -> (s1, s3), i8>
!W = !tile.buffer<()[s0, s1, s2, s3] -> (s2, s3), i8>
!F = !tile.buffer<()[s0, s1, s2, s3] -> (s1, s2), f32>
#id = affine_map<(d0, d1) -> (d0, d1)>
)mlir") + symbolsText + R"mlir(
tile.program @layer symbols #symbols numerics "strict" {
  %a = tile.buffer "a" "codes" input : !A
  %w = tile.buffer "w" "codes" weight : !W
  %v = tile.buffer "v" "codes" weight : !W
  %f = tile.buffer "f" "scales" input : !F
  %y = tile.buffer "y" "values" output : !F
  tile.launch @product (%a, %w, %v, %f, %y) : !A, !W, !W, !F, !F
}
tile.kernel @product attributes {symbols = #symbols, writes = array<i1: false, false, false, false, true>, numerics_class = 0 : i32, reason = "test"} (%a: !A, %w: !W, %v: !W, %f: !F, %y: !F) {
  tile.contract {extents = affine_map<()[s0, s1, s2, s3] -> (s1, s2, s3)>, num_batch = 0 : i64, num_lhs = 1 : i64, terms = array<i64: 0, 0, 0, 1>, split = 24 : i64}
  epilogue (%m: index, %n: index, %acc0: f32, %acc1: f32) {
    %d = arith.subf %acc0, %acc1 : f32
    tile.store %d to %y at #id (%m, %n) : f32, !F
    tile.yield
  }
  rescale (%m: index, %n: index, %kb: index) {
    %0 = tile.load %f at #id (%m, %n) : !F -> f32
    %1 = arith.index_cast %kb : index to i32
    %2 = arith.sitofp %1 : i32 to f32
    %3 = arith.mulf %0, %2 : f32
    tile.yield %3, %2 : f32, f32
  }
  operand (%m: index, %k: index) {
    %0 = tile.load %a at #id (%m, %k) : !A -> i8
    tile.yield %0 : i8
  }
  operand (%n: index, %k: index) {
    %0 = tile.load %w at #id (%n, %k) : !W -> i8
    tile.yield %0 : i8
  }
  operand (%n: index, %k: index) {
    %0 = tile.load %v at #id (%n, %k) : !W -> i8
    tile.yield %0 : i8
  }
}
)mlir";

TEST(FusedContract, SplitWithFactorsOfBothAxesAtOnce) {
  std::mt19937 random(14);
  for (const cpugen::CpuTarget &target : executableTargets()) {
    CompiledProgram program(jointFactors, target);
    ASSERT_EQ(program.error, "");
    for (int round = 0; round < 10; ++round) {
      int64_t m = random() % 20, n = random() % 70, k = random() % 130;
      SCOPED_TRACE(fmt::format("{} m {} n {} k {}", target.name(), m, n, k));
      auto a = randomCodes(m * k, random), w = randomCodes(n * k, random),
           v = randomCodes(n * k, random);
      auto f = randomScales(m * n, random);
      program.allocate({0, m, n, k});
      program.set("a", a);
      program.set("w", w);
      program.set("v", v);
      program.set("f", f);
      program.run();
      ASSERT_TRUE(program.intact()) << program.error;
      auto y = program.get<float>("y");
      for (int64_t i = 0; i < m; ++i)
        for (int64_t j = 0; j < n; ++j) {
          float sums[2] = {0, 0};
          for (int64_t g = 0; g * 24 < k; ++g) {
            int32_t parts[2] = {0, 0};
            for (int64_t l = g * 24; l < std::min(k, g * 24 + 24); ++l) {
              parts[0] += a[i * k + l] * w[j * k + l];
              parts[1] += a[i * k + l] * v[j * k + l];
            }
            sums[0] =
                std::fma(float(parts[0]), f[i * n + j] * float(g), sums[0]);
            sums[1] = std::fma(float(parts[1]), float(g), sums[1]);
          }
          ASSERT_TRUE(same(y[i * n + j], sums[0] - sums[1])) << i << ", " << j;
        }
    }
  }
}

//===----------------------------------------------------------------------===//
// A gated product
//===----------------------------------------------------------------------===//

/// h = (acc0 * sa * s0) * (acc1 * sa * s1) in f16; the second weight is stored
/// transposed, the left operand encoded on load.
static const std::string gatedProduct = std::string(R"mlir(
!A = !tile.buffer<()[s0, s1, s2, s3] -> (s1, s3), f32>
!W = !tile.buffer<()[s0, s1, s2, s3] -> (s2, s3), i8>
!T = !tile.buffer<()[s0, s1, s2, s3] -> (s3, s2), i8>
!SA = !tile.buffer<()[s0, s1, s2, s3] -> (s1, 1), f32>
!SW = !tile.buffer<()[s0, s1, s2, s3] -> (s2, 1), f32>
!Y = !tile.buffer<()[s0, s1, s2, s3] -> (s1, s2), f16>
#id = affine_map<(d0, d1) -> (d0, d1)>
#swap = affine_map<(d0, d1) -> (d1, d0)>
#row = affine_map<(d0) -> (d0, 0)>
)mlir") + symbolsText + R"mlir(
tile.program @layer symbols #symbols numerics "strict" {
  %a = tile.buffer "a" "values" input : !A
  %sa = tile.buffer "sa" "scales" input : !SA
  %w = tile.buffer "w" "codes" weight : !W
  %v = tile.buffer "v" "codes" input : !T
  %s0 = tile.buffer "s0" "scales" weight : !SW
  %s1 = tile.buffer "s1" "scales" weight : !SW
  %y = tile.buffer "y" "values" output : !Y
  tile.launch @gate (%a, %sa, %w, %v, %s0, %s1, %y) : !A, !SA, !W, !T, !SW, !SW, !Y
}
tile.kernel @gate attributes {symbols = #symbols, writes = array<i1: false, false, false, false, false, false, true>, numerics_class = 0 : i32, reason = "test"} (%a: !A, %sa: !SA, %w: !W, %v: !T, %s0: !SW, %s1: !SW, %y: !Y) {
  tile.contract {extents = affine_map<()[s0, s1, s2, s3] -> (s1, s2, s3)>, num_batch = 0 : i64, num_lhs = 1 : i64, terms = array<i64: 0, 0, 0, 1>}
  epilogue (%m: index, %n: index, %acc0: i32, %acc1: i32) {
    %f0 = arith.sitofp %acc0 : i32 to f32
    %f1 = arith.sitofp %acc1 : i32 to f32
    %l = tile.load %sa at #row (%m) : !SA -> f32
    %r0 = tile.load %s0 at #row (%n) : !SW -> f32
    %r1 = tile.load %s1 at #row (%n) : !SW -> f32
    %p0 = arith.mulf %f0, %l : f32
    %q0 = arith.mulf %p0, %r0 : f32
    %p1 = arith.mulf %f1, %l : f32
    %q1 = arith.mulf %p1, %r1 : f32
    %h = arith.mulf %q0, %q1 : f32
    %t = arith.truncf %h : f32 to f16
    tile.store %t to %y at #id (%m, %n) : f16, !Y
    tile.yield
  }
  operand (%m: index, %k: index) {
    %x = tile.load %a at #id (%m, %k) : !A -> f32
    %s = tile.load %sa at #row (%m) : !SA -> f32
    %d = arith.divf %x, %s : f32
    %lo = arith.constant -127.0 : f32
    %hi = arith.constant 127.0 : f32
    %c0 = arith.maximumf %d, %lo : f32
    %c1 = arith.minimumf %c0, %hi : f32
    %r = math.roundeven %c1 : f32
    %i = arith.fptosi %r : f32 to i8
    tile.yield %i : i8
  }
  operand (%n: index, %k: index) {
    %0 = tile.load %w at #id (%n, %k) : !W -> i8
    tile.yield %0 : i8
  }
  operand (%n: index, %k: index) {
    %0 = tile.load %v at #swap (%n, %k) : !T -> i8
    tile.yield %0 : i8
  }
}
)mlir";

/// f32 to f16 and back, by the host's conversion.
static float throughHalf(float x) { return float(_Float16(x)); }
static float halfValue(uint16_t bits) {
  return float(std::bit_cast<_Float16>(bits));
}

TEST(FusedContract, GatedProductWithEncodingAndTransposedOperand) {
  std::mt19937 random(12);
  for (const cpugen::CpuTarget &target : executableTargets()) {
    CompiledProgram program(gatedProduct, target);
    ASSERT_EQ(program.error, "");
    // The weight is packed once, the input in every run.
    ASSERT_EQ(program.variant.launches.size(), 3u);
    EXPECT_EQ(program.variant.launches[0].phase, LaunchPhase::Prepare);
    EXPECT_EQ(program.variant.launches[1].phase, LaunchPhase::Run);
    for (int round = 0; round < 20; ++round) {
      int64_t m = random() % 30, n = random() % 90, k = random() % 150;
      SCOPED_TRACE(fmt::format("{} m {} n {} k {}", target.name(), m, n, k));
      std::normal_distribution<float> normal;
      std::vector<float> a(m * k);
      for (float &x : a)
        x = normal(random);
      auto w = randomCodes(n * k, random), v = randomCodes(n * k, random);
      auto sa = randomScales(m, random), s0 = randomScales(n, random),
           s1 = randomScales(n, random);
      for (float &x : s0)
        x *= 0.01f;
      program.allocate({0, m, n, k});
      program.set("a", a);
      program.set("sa", sa);
      program.set("w", w);
      program.set("v", v);
      program.set("s0", s0);
      program.set("s1", s1);
      program.run(1 + round % 3);
      ASSERT_TRUE(program.intact()) << program.error;
      auto y = program.get<uint16_t>("y");
      for (int64_t i = 0; i < m; ++i)
        for (int64_t j = 0; j < n; ++j) {
          int32_t acc[2] = {0, 0};
          for (int64_t l = 0; l < k; ++l) {
            float t = a[i * k + l] / sa[i];
            int code =
                int(std::nearbyint(std::min(std::max(t, -127.f), 127.f)));
            acc[0] += code * w[j * k + l];
            acc[1] += code * v[l * n + j];
          }
          float h = (float(acc[0]) * sa[i]) * s0[j] *
                    ((float(acc[1]) * sa[i]) * s1[j]);
          ASSERT_TRUE(same(halfValue(y[i * n + j]), throughHalf(h)))
              << i << ", " << j;
        }
    }
  }
}

//===----------------------------------------------------------------------===//
// Float products, in batches
//===----------------------------------------------------------------------===//

/// y[b, m, n] = sum_k a[b, m, k] * w[b, k, n]; elements are decoded to `type`.
static std::string floatProduct(const std::string &storage,
                                const std::string &type) {
  std::string decode = "";
  std::string value = "%0";
  if (storage != type) {
    decode = fmt::format("%1 = arith.extf %0 : {} to f32", storage);
    value = "%1";
  }
  return fmt::format(
      R"mlir(
!A = !tile.buffer<()[s0, s1, s2, s3] -> (s0, s1, s3), {0}>
!W = !tile.buffer<()[s0, s1, s2, s3] -> (s0, s3, s2), {0}>
!Y = !tile.buffer<()[s0, s1, s2, s3] -> (s0, s1, s2), f32>
{4}
#id = affine_map<(d0, d1, d2) -> (d0, d1, d2)>
#swap = affine_map<(d0, d1, d2) -> (d0, d2, d1)>
tile.program @layer symbols #symbols numerics "strict" {{
  %a = tile.buffer "a" "values" input : !A
  %w = tile.buffer "w" "values" input : !W
  %y = tile.buffer "y" "values" output : !Y
  tile.launch @product (%a, %w, %y) : !A, !W, !Y
}}
tile.kernel @product attributes {{symbols = #symbols, writes = array<i1: false, false, true>, numerics_class = 2 : i32, reason = "test"}} (%a: !A, %w: !W, %y: !Y) {{
  tile.contract {{extents = affine_map<()[s0, s1, s2, s3] -> (s0, s1, s2, s3)>, num_batch = 1 : i64, num_lhs = 1 : i64, terms = array<i64: 0, 0>}}
  epilogue (%b: index, %m: index, %n: index, %acc: f32) {{
    tile.store %acc to %y at #id (%b, %m, %n) : f32, !Y
    tile.yield
  }}
  operand (%b: index, %m: index, %k: index) {{
    %0 = tile.load %a at #id (%b, %m, %k) : !A -> {0}
    {2}
    tile.yield {3} : {1}
  }}
  operand (%b: index, %n: index, %k: index) {{
    %0 = tile.load %w at #swap (%b, %n, %k) : !W -> {0}
    {2}
    tile.yield {3} : {1}
  }}
}}
)mlir",
      storage, type, decode, value, symbolsText);
}

static float decodeE4m3(uint8_t code) {
  uint32_t exponent = code >> 3 & 15, fraction = code & 7;
  float magnitude = exponent == 0
                        ? std::ldexp(float(fraction), -9)
                        : std::ldexp(float(fraction | 8), int(exponent) - 10);
  return code & 128 ? -magnitude : magnitude;
}

template <typename Code>
static void checkFloatProduct(const std::string &storage,
                              const std::string &type, float (*decode)(Code)) {
  std::mt19937 random(13);
  for (const cpugen::CpuTarget &target : executableTargets()) {
    CompiledProgram program(floatProduct(storage, type), target);
    ASSERT_EQ(program.error, "");
    for (int round = 0; round < 12; ++round) {
      int64_t b = random() % 4, m = random() % 20, n = random() % 70,
              k = random() % 120;
      SCOPED_TRACE(fmt::format("{} {} b {} m {} n {} k {}", target.name(),
                               storage, b, m, n, k));
      std::vector<Code> a(b * m * k), w(b * n * k);
      for (std::vector<Code> *values : {&a, &w})
        for (Code &x : *values) {
          uint32_t drawn = random();
          // Exponents near one, no NaN.
          if constexpr (sizeof(Code) == 4)
            x = (drawn & 0x80ffffff) | 0x3f000000;
          else if constexpr (sizeof(Code) == 2)
            x = storage == "bf16" ? (drawn & 0x80ff) | 0x3f00
                                  : (drawn & 0x87ff) | 0x3800;
          else
            x = (drawn & 0x7f) == 0x7f ? 0 : drawn;
        }
      program.allocate({b, m, n, k});
      program.set("a", a);
      program.set("w", w);
      program.run(1 + round % 3);
      ASSERT_TRUE(program.intact()) << program.error;
      auto y = program.get<float>("y");
      for (int64_t q = 0; q < b; ++q)
        for (int64_t i = 0; i < m; ++i)
          for (int64_t j = 0; j < n; ++j) {
            double sum = 0, size = 0;
            for (int64_t l = 0; l < k; ++l) {
              double p = double(decode(a[(q * m + i) * k + l])) *
                         decode(w[(q * k + l) * n + j]);
              sum += p;
              size += std::fabs(p);
            }
            ASSERT_NEAR(y[(q * m + i) * n + j], sum,
                        size * double(k + 2) * 0x1p-24)
                << q << ", " << i << ", " << j;
          }
    }
  }
}

TEST(FusedContract, BatchedFloatProducts) {
  checkFloatProduct<uint32_t>(
      "f32", "f32", [](uint32_t x) { return std::bit_cast<float>(x); });
  checkFloatProduct<uint16_t>("f16", "f16", halfValue);
  checkFloatProduct<uint16_t>("bf16", "bf16", [](uint16_t x) {
    return std::bit_cast<float>(uint32_t(x) << 16);
  });
  checkFloatProduct<uint8_t>("f8E4M3FN", "f32", decodeE4m3);
}
