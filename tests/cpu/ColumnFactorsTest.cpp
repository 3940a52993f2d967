//===- ColumnFactorsTest.cpp - Scales in front of packed groups -----------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
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

/// Two products of one left operand, batched; the codes of the right ones are
/// the same for all of a batch and their scales are not:
///
///     y[z, m, n] = sum a[z, m, k] w[n, k] sw[z, n, kb]
///                + sum a[z, m, k] v[n, k] sv[z, n, kb]
static std::string batchedScales(int64_t group, const std::string &typeOfW,
                                 const std::string &typeOfV) {
  auto load = [](const std::string &name, const std::string &type) {
    std::string narrow = fmt::format(
        "    %{0}_s = tile.load %s{0} at #scale (%z, %n, %kb) : !S{0} -> {1}\n",
        name, type);
    return type == "f32"
               ? narrow
               : narrow + fmt::format(
                              "    %{0}_f = arith.extf %{0}_s : {1} to f32\n",
                              name, type);
  };
  auto result = [](const std::string &name, const std::string &type) {
    return fmt::format("%{}_{}", name, type == "f32" ? "s" : "f");
  };
  return fmt::format(R"mlir(
!A = !tile.buffer<()[s0, s1, s2, s3] -> (s0, s1, s3), i8>
!W = !tile.buffer<()[s0, s1, s2, s3] -> (s2, s3), i8>
!Sw = !tile.buffer<()[s0, s1, s2, s3] -> (s0, s2, s3 ceildiv {0}), {1}>
!Sv = !tile.buffer<()[s0, s1, s2, s3] -> (s0, s2, s3 ceildiv {0}), {2}>
!Y = !tile.buffer<()[s0, s1, s2, s3] -> (s0, s1, s2), f32>
#symbols = [#tile.symbol<"B", 0, 8, 1>, #tile.symbol<"M", 0, 64, 1>, #tile.symbol<"N", 0, 128, 1>, #tile.symbol<"K", 0, 512, 1>]
#id = affine_map<(d0, d1) -> (d0, d1)>
#scale = affine_map<(d0, d1, d2) -> (d0, d1, d2)>
tile.program @layer symbols #symbols numerics "strict" {{
  %a = tile.buffer "a" "codes" input : !A
  %w = tile.buffer "w" "codes" weight : !W
  %v = tile.buffer "v" "codes" weight : !W
  %sw = tile.buffer "sw" "scales" weight : !Sw
  %sv = tile.buffer "sv" "scales" weight : !Sv
  %y = tile.buffer "y" "values" output : !Y
  tile.launch @product (%a, %w, %v, %sw, %sv, %y) : !A, !W, !W, !Sw, !Sv, !Y
}}
tile.kernel @product attributes {{symbols = #symbols, writes = array<i1: false, false, false, false, false, true>, numerics_class = 0 : i32, reason = "test"}} (%a: !A, %w: !W, %v: !W, %sw: !Sw, %sv: !Sv, %y: !Y) {{
  tile.contract {{extents = affine_map<()[s0, s1, s2, s3] -> (s0, s1, s2, s3)>, num_batch = 1 : i64, num_lhs = 1 : i64, terms = array<i64: 0, 0, 0, 1>, split = {0} : i64}}
  epilogue (%z: index, %m: index, %n: index, %acc0: f32, %acc1: f32) {{
    %sum = arith.addf %acc0, %acc1 : f32
    tile.store %sum to %y at #scale (%z, %m, %n) : f32, !Y
    tile.yield
  }}
  rescale (%z: index, %m: index, %n: index, %kb: index) {{
{3}{4}    tile.yield {5}, {6} : f32, f32
  }}
  operand (%z: index, %m: index, %k: index) {{
    %0 = tile.load %a at #scale (%z, %m, %k) : !A -> i8
    tile.yield %0 : i8
  }}
  operand (%z: index, %n: index, %k: index) {{
    %0 = tile.load %w at #id (%n, %k) : !W -> i8
    tile.yield %0 : i8
  }}
  operand (%z: index, %n: index, %k: index) {{
    %0 = tile.load %v at #id (%n, %k) : !W -> i8
    tile.yield %0 : i8
  }}
}}
)mlir",
                     group, typeOfW, typeOfV, load("w", typeOfW),
                     load("v", typeOfV), result("w", typeOfW),
                     result("v", typeOfV));
}

/// A number near 1 that any of the types can hold, as its bits.
template <typename T> static T bitsNearOne(unsigned drawn, bool isBf16) {
  auto value = float(1 + (drawn % 8) / 8.0);
  if constexpr (sizeof(T) == 4)
    return std::bit_cast<T>(value);
  else if (isBf16)
    return T(std::bit_cast<uint32_t>(value) >> 16);
  else
    return std::bit_cast<T>(_Float16(value));
}

template <typename Sw, typename Sv>
static void check(const std::string &typeOfW, const std::string &typeOfV) {
  std::mt19937 random(17);
  for (const cpugen::CpuTarget &target : executableTargets())
    for (int64_t group : {32, 24, 6}) {
      CompiledProgram program(batchedScales(group, typeOfW, typeOfV), target);
      ASSERT_EQ(program.error, "");
      for (int round = 0; round < 8; ++round) {
        int64_t b = random() % 4, m = random() % 20, n = random() % 70,
                k = random() % 120;
        SCOPED_TRACE(fmt::format("{} group {} {} {} b {} m {} n {} k {}",
                                 target.name(), group, typeOfW, typeOfV, b, m,
                                 n, k));
        int64_t groups = (k + group - 1) / group;
        std::vector<int8_t> a(b * m * k), w(n * k), v(n * k);
        for (std::vector<int8_t> *codes : {&a, &w, &v})
          for (int8_t &code : *codes)
            code = int8_t(random());
        std::vector<Sw> sw(b * n * groups);
        std::vector<Sv> sv(b * n * groups);
        std::vector<float> fw(sw.size()), fv(sv.size());
        for (size_t i = 0; i < sw.size(); ++i) {
          unsigned x = random(), y = random();
          sw[i] = bitsNearOne<Sw>(x, typeOfW == "bf16");
          sv[i] = bitsNearOne<Sv>(y, typeOfV == "bf16");
          fw[i] = float(1 + (x % 8) / 8.0);
          fv[i] = float(1 + (y % 8) / 8.0);
        }
        program.allocate({b, m, n, k});
        program.set("a", a);
        program.set("w", w);
        program.set("v", v);
        program.set("sw", sw);
        program.set("sv", sv);
        program.run(1 + round % 2);
        ASSERT_TRUE(program.intact()) << program.error;
        auto y = program.get<float>("y");
        for (int64_t z = 0; z < b; ++z)
          for (int64_t i = 0; i < m; ++i)
            for (int64_t j = 0; j < n; ++j) {
              float sums[2] = {0, 0};
              for (int64_t g = 0; g < groups; ++g) {
                int32_t parts[2] = {0, 0};
                for (int64_t l = g * group; l < std::min(k, (g + 1) * group);
                     ++l) {
                  int32_t left = a[(z * m + i) * k + l];
                  parts[0] += left * w[j * k + l];
                  parts[1] += left * v[j * k + l];
                }
                int64_t at = (z * n + j) * groups + g;
                sums[0] = std::fma(float(parts[0]), fw[at], sums[0]);
                sums[1] = std::fma(float(parts[1]), fv[at], sums[1]);
              }
              ASSERT_EQ(y[(z * m + i) * n + j], sums[0] + sums[1])
                  << z << ", " << i << ", " << j;
            }
      }
    }
}

TEST(ColumnFactors, OfABatchWhoseCodesAreShared) {
  check<uint32_t, uint32_t>("f32", "f32");
  check<uint16_t, uint16_t>("f16", "f16");
  check<uint16_t, uint16_t>("bf16", "bf16");
}

TEST(ColumnFactors, OfTypesThatDiffer) {
  check<uint16_t, uint32_t>("f16", "f32");
  check<uint32_t, uint16_t>("f32", "bf16");
}
