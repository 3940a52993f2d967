//===- ContractTest.cpp - Products on the CPU -----------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "CpuHarness.h"
#include "compiler/lower/cpu/Blocking.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

using namespace quern;
using namespace quern::test;

/// y[m, n] = sum_k a[m, k] * w[n, k], as i32; K a number, or symbolic for 0.
static std::string integerProduct(bool leftUnsigned, bool rightUnsigned,
                                  int64_t fixedK = 0, unsigned rightBits = 8) {
  std::string text =
      fmt::format(R"mlir(
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
                  leftUnsigned ? "ui8" : "i8",
                  fmt::format("{}{}", rightUnsigned ? "ui" : "i", rightBits),
                  leftUnsigned ? ", lhs_unsigned" : "",
                  rightUnsigned ? ", rhs_unsigned" : "");
  // Shapes and extents have it last.
  if (fixedK)
    for (std::string_view last : {"(s0, s2)", "(s1, s2)", "(s0, s1, s2)"})
      for (size_t at; (at = text.find(last)) != std::string::npos;)
        text.replace(at + last.size() - 3, 2, fmt::format("{}", fixedK));
  return text;
}

/// A random product of m x n x k, compared element by element.
static void checkProduct(CompiledProgram &program, bool leftUnsigned,
                         bool rightUnsigned, int64_t m, int64_t n, int64_t k,
                         unsigned calls, std::mt19937 &random) {
  program.allocate({m, n, k});
  std::vector<uint8_t> a(m * k), w(n * k);
  for (uint8_t &x : a)
    x = random();
  for (uint8_t &x : w)
    x = random();
  program.set("a", a);
  program.set("w", w);
  program.run(calls);
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
        checkProduct(program, leftUnsigned, rightUnsigned, m, n, k,
                     1 + round % 3, random);
        if (HasFatalFailure())
          return;
      }
    }
}

/// Codes of four bits, where every product has one sign and is as large as it
/// can be: sums in 16 bits have to end before they saturate. K is even, so that
/// rows are whole bytes.
TEST(Contract, LargestSumsOfFourBitCodes) {
  const int64_t n = 33;
  auto check = [&](const cpugen::CpuTarget &target, int signs, int64_t fixedK,
                   std::initializer_list<std::pair<int64_t, int64_t>> sizes) {
    bool leftUnsigned = signs & 1, rightUnsigned = signs & 2;
    CompiledProgram program(
        integerProduct(leftUnsigned, rightUnsigned, fixedK, /*rightBits=*/4),
        target);
    ASSERT_EQ(program.error, "");
    const int lefts[] = {leftUnsigned ? 255 : 127, leftUnsigned ? 0 : -128};
    const int rights[] = {rightUnsigned ? 15 : 7, rightUnsigned ? 0 : -8};
    for (auto [m, k] : sizes)
      for (int left : lefts)
        for (int right : rights) {
          program.allocate({m, n, k});
          uint8_t both = (right & 15) | (right & 15) << 4;
          program.set("a", std::vector<uint8_t>(m * k, left));
          program.set("w", std::vector<uint8_t>(n * k / 2, both));
          program.run(1);
          ASSERT_TRUE(program.intact()) << program.error;
          EXPECT_THAT(program.get<int32_t>("y"),
                      testing::Each(int32_t(k * left * right)))
              << target.name() << ": " << left << " by " << right << ", m " << m
              << ", k " << k;
        }
  };
  for (const cpugen::CpuTarget &target : executableTargets())
    for (int signs = 0; signs < 4; ++signs) {
      check(
          target, signs, 0,
          {{1, 510}, {2, 64}, {3, 66}, {4, 62}, {5, 510}, {13, 34}, {41, 512}});
      // Numbers of steps that the loops know: one round, whole rounds, a rest.
      for (int64_t k : {16, 32, 128, 136})
        check(target, signs, k, {{1, k}, {4, k}, {7, k}});
    }
}

/// Caches so small that K is computed in chunks and M in several blocks, whose
/// rows are shared out.
TEST(Contract, ChunksOfKAndBlocksOfRows) {
  std::mt19937 random(2);
  for (cpugen::CpuTarget target : executableTargets())
    for (int signs = 0; signs < 4; ++signs) {
      bool leftUnsigned = signs & 1, rightUnsigned = signs & 2;
      target.caches.l2 = 8 << 10;
      for (int64_t k : {500, 2047}) {
        CompiledProgram program(integerProduct(leftUnsigned, rightUnsigned, k),
                                target);
        ASSERT_EQ(program.error, "");
        const std::string &schedule = program.variant.kernels.back().schedule;
        EXPECT_THAT(schedule, testing::HasSubstr("of K"));
        int round = 0;
        for (int64_t m : {1, 2, 3, 5, 8, 13, 64, 129, 140, 270})
          for (int64_t n : {1, 33, 95}) {
            SCOPED_TRACE(fmt::format("{} signs {} m {} n {} k {}: {}",
                                     target.name(), signs, m, n, k, schedule));
            checkProduct(program, leftUnsigned, rightUnsigned, m, n, k,
                         1 + ++round % 3, random);
            if (HasFatalFailure())
              return;
          }
      }
    }
}

TEST(Contract, SizesAreChosenByTheCaches) {
  using cpugen::Blocking;
  cpugen::CpuTarget target =
      cpugen::CpuTarget::forLevel(cpugen::CpuLevel::Avx512Vnni);
  // Two panels of 128 KiB and 128 rows fill three quarters of 1 MiB.
  Blocking square = Blocking::choose(target, {.k = 4096});
  EXPECT_EQ(square.rows, 8u);
  EXPECT_EQ(square.columns, 32u);
  EXPECT_EQ(square.blockRows, 128u);
  EXPECT_FALSE(square.chunkSteps);
  EXPECT_EQ(Blocking::choose(target, {.k = 512}).blockRows, 256u);
  EXPECT_FALSE(Blocking::choose(target, {.k = 11008}).chunkSteps);
  // 448 KiB a panel are too much, and so are four of 256.
  EXPECT_EQ(Blocking::choose(target, {.k = 14336}).chunkSteps, 1792);
  EXPECT_EQ(Blocking::choose(target, {.k = 8192, .terms = 2}).chunkSteps, 1024);
  EXPECT_FALSE(
      Blocking::choose(target, {.k = 14336, .split = true}).chunkSteps);
  // The copied rows stay below 2 MiB.
  for (int64_t k : {1, 100, 4096, 11008, 28672, 100000, 1000000}) {
    Blocking blocking = Blocking::choose(target, {.k = k});
    EXPECT_LE(blocking.blockRows * k, std::max<int64_t>(8 * k, 2 << 20)) << k;
    EXPECT_EQ(blocking.blockRows % blocking.rows, 0u) << k;
    EXPECT_GE(blocking.blockRows, blocking.rows) << k;
  }
  // Widened by chunks of 16 KiB, or of 128 steps of f32.
  EXPECT_EQ(Blocking::choose(target, {.k = 4096, .widened = true}).chunkSteps,
            128);
  cpugen::CpuTarget avx2 = cpugen::CpuTarget::forLevel(cpugen::CpuLevel::Avx2);
  EXPECT_EQ(Blocking::choose(avx2, {.k = 4096, .widened = true}).chunkSteps,
            256);
  EXPECT_EQ(
      Blocking::choose(avx2, {.k = 4096, .elementBytes = 4, .widened = true})
          .chunkSteps,
      128);
  // Half the bytes for a step: twice as many fit.
  EXPECT_EQ(Blocking::choose(avx2, {.k = 14336, .elementBytes = 2}).chunkSteps,
            3584);
  EXPECT_FALSE(
      Blocking::choose(avx2, {.k = 14336, .elementBytes = 2, .halved = true})
          .chunkSteps);
  // Two steps of a row, from memory: fetched where the weights are too many for
  // half of 32 MiB.
  EXPECT_EQ(
      Blocking::choose(
          avx2, {.k = 4096, .halvedFew = true, .rightBytes = (16 << 20) + 1})
          .fewAhead,
      2048);
  EXPECT_FALSE(Blocking::choose(
                   avx2, {.k = 4096, .halvedFew = true, .rightBytes = 16 << 20})
                   .fewAhead);
  EXPECT_FALSE(
      Blocking::choose(avx2, {.k = 4096, .rightBytes = 64 << 20}).fewAhead);
  EXPECT_FALSE(Blocking::choose(avx2, {.k = 4096, .halvedFew = true}).fewAhead);
  // What was decoded is in L1.
  Blocking fetching =
      Blocking::choose(avx2, {.k = 4096, .elementBytes = 4, .widened = true});
  fetching.fewAhead = 2048;
  EXPECT_THAT(
      fetching.problem(avx2, {.k = 4096, .elementBytes = 4, .widened = true}),
      testing::HasSubstr("few-ahead=2048"));
  target.caches.l2 = 2 << 20;
  EXPECT_EQ(Blocking::choose(target, {.k = 4096}).blockRows, 256u);
  EXPECT_FALSE(Blocking::choose(target, {.k = 14336}).chunkSteps);
  // What the caches are does not change what the code is called or needs.
  EXPECT_EQ(target.name(), "cpu:avx512-vnni");
  cpugen::CpuCaches host = cpugen::CpuCaches::host();
  EXPECT_GE(host.l1, 8 << 10);
  EXPECT_GE(host.l2, 128 << 10);
  EXPECT_GE(host.l3, 1 << 20);
}
