//===- ContractTest.cpp - Products on the CPU -----------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "CpuHarness.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <random>

using namespace quern;
using namespace quern::test;

/// y[m, n] = sum_k a[m, k] * w[n, k], as i32.
static std::string integerProduct(bool leftUnsigned, bool rightUnsigned) {
  return fmt::format(R"mlir(
!A = !tile.buffer<()[s0, s1, s2] -> (s0, s2), {0}>
!W = !tile.buffer<()[s0, s1, s2] -> (s1, s2), {1}>
!Y = !tile.buffer<()[s0, s1, s2] -> (s0, s1), i32>
#symbols = [#tile.symbol<"M", 0, 64, 1>, #tile.symbol<"N", 0, 128, 1>, #tile.symbol<"K", 0, 512, 1>]
#id = affine_map<(d0, d1) -> (d0, d1)>
tile.program @layer symbols #symbols numerics "strict" {{
  %a = tile.buffer "a" "values" input : !A
  %w = tile.buffer "w" "codes" weight : !W
  %y = tile.buffer "y" "values" output : !Y
  tile.launch @product (%a, %w, %y) : !A, !W, !Y
}}
tile.kernel @product attributes {{symbols = #symbols, writes = array<i1: false, false, true>, numerics_class = 0 : i32, reason = "test"}} (%a: !A, %w: !W, %y: !Y) {{
  tile.contract {{extents = affine_map<()[s0, s1, s2] -> (s0, s1, s2)>, num_batch = 0 : i64, num_lhs = 1 : i64, terms = array<i64: 0, 0>{2}{3}}}
  epilogue (%m: index, %n: index, %acc: i32) {{
    tile.store %acc to %y at #id (%m, %n) : i32, !Y
    tile.yield
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
                     leftUnsigned ? "ui8" : "i8", rightUnsigned ? "ui8" : "i8",
                     leftUnsigned ? ", lhs_unsigned" : "",
                     rightUnsigned ? ", rhs_unsigned" : "");
}

TEST(Contract, IntegerProductsOfAllShapesAndSigns) {
  std::mt19937 random(1);
  for (const cpugen::CpuTarget &target : executableTargets())
    for (int signs = 0; signs < 4; ++signs) {
      bool leftUnsigned = signs & 1, rightUnsigned = signs & 2;
      CompiledProgram program(integerProduct(leftUnsigned, rightUnsigned),
                              target);
      ASSERT_EQ(program.error, "");
      for (int round = 0; round < 60; ++round) {
        int64_t m = random() % 41, n = random() % 101, k = random() % 301;
        if (round == 0)
          k = 0;
        if (round == 1)
          m = 0;
        SCOPED_TRACE(fmt::format("{} signs {} m {} n {} k {}", target.name(),
                                 signs, m, n, k));
        program.allocate({m, n, k});
        std::vector<uint8_t> a(m * k), w(n * k);
        for (uint8_t &x : a)
          x = random();
        for (uint8_t &x : w)
          x = random();
        program.set("a", a);
        program.set("w", w);
        program.run(1 + round % 3);
        ASSERT_TRUE(program.intact()) << program.error;
        std::vector<int32_t> y = program.get<int32_t>("y");
        for (int64_t i = 0; i < m; ++i)
          for (int64_t j = 0; j < n; ++j) {
            int32_t sum = 0;
            for (int64_t l = 0; l < k; ++l) {
              int x = leftUnsigned ? a[i * k + l] : int8_t(a[i * k + l]);
              int z = rightUnsigned ? w[j * k + l] : int8_t(w[j * k + l]);
              sum += x * z;
            }
            ASSERT_EQ(y[i * n + j], sum) << "at " << i << ", " << j;
          }
      }
    }
}
