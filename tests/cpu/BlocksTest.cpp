//===- BlocksTest.cpp - Reductions and maps on the CPU --------------------===//
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

static uint32_t bitsOf(float x) { return std::bit_cast<uint32_t>(x); }
static bool same(float x, float y) {
  return bitsOf(x) == bitsOf(y) || (x != x && y != y);
}

/// docs/numerics.md, "Sums".
static float orderedSum(const std::vector<float> &values) {
  std::vector<float> partial(256, 0.0f);
  for (size_t i = 0; i < values.size(); ++i)
    partial[i % 256] += values[i];
  for (size_t half = 128; half >= 1; half /= 2)
    for (size_t t = 0; t < half; ++t)
      partial[t] += partial[t + half];
  return partial[0];
}

static std::vector<float> randomFloats(size_t count, std::mt19937 &random) {
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float &x : values)
    x = normal(random);
  return values;
}

/// Per-row int8 quantization of an M x N matrix, with its scales.
static const char *const quantizeRows = R"mlir(
!X = !tile.buffer<()[s0, s1] -> (s0, s1), f32>
!Q = !tile.buffer<()[s0, s1] -> (s0, s1), i8>
!S = !tile.buffer<()[s0, s1] -> (s0, 1), f32>
#symbols = [#tile.symbol<"M", 0, 64, 1>, #tile.symbol<"N", 0, 1024, 1>]
#id = affine_map<(d0, d1) -> (d0, d1)>
tile.program @layer symbols #symbols numerics "strict" {
  %x = tile.buffer "x" "values" input : !X
  %q = tile.buffer "q" "codes" output : !Q
  %s = tile.buffer "s" "scales" output : !S
  tile.launch @quantize (%x, %q, %s) : !X, !Q, !S
}
tile.kernel @quantize attributes {symbols = #symbols, writes = array<i1: false, true, true>, numerics_class = 0 : i32, reason = "test"} (%x: !X, %q: !Q, %s: !S) {
  tile.blocks affine_map<()[s0, s1] -> (s0)> (%i: index) {
    %amax = tile.reduce umax (%i) box affine_map<(d0)[s0, s1] -> (s1)> (%j: index) {
      %v = tile.load %x at #id (%i, %j) : !X -> f32
      %b = arith.bitcast %v : f32 to i32
      %mask = arith.constant 2147483647 : i32
      %a = arith.andi %b, %mask : i32
      tile.yield %a : i32
    } : i32
    %f = arith.bitcast %amax : i32 to f32
    %c127 = arith.constant 1.270000e+02 : f32
    %floor = arith.constant 1.17549435E-38 : f32
    %d = arith.divf %f, %c127 : f32
    %scale = arith.maximumf %d, %floor : f32
    tile.store %scale to %s at affine_map<(d0) -> (d0, 0)> (%i) : f32, !S
    tile.map (%i) box affine_map<(d0)[s0, s1] -> (s1)> (%j: index) {
      %v = tile.load %x at #id (%i, %j) : !X -> f32
      %t = arith.divf %v, %scale : f32
      %r = math.roundeven %t : f32
      %lo = arith.constant -1.270000e+02 : f32
      %hi = arith.constant 1.270000e+02 : f32
      %zero = arith.constant 0.0 : f32
      %lt = arith.cmpf olt, %r, %lo : f32
      %r1 = arith.select %lt, %lo, %r : f32
      %gt = arith.cmpf ogt, %r1, %hi : f32
      %r2 = arith.select %gt, %hi, %r1 : f32
      %nan = arith.cmpf uno, %r2, %r2 : f32
      %r3 = arith.select %nan, %zero, %r2 : f32
      %code = arith.fptosi %r3 : f32 to i8
      tile.store %code to %q at #id (%i, %j) : i8, !Q
      tile.yield
    }
  }
}
)mlir";

TEST(Blocks, QuantizeRows) {
  std::mt19937 random(2);
  for (const cpugen::CpuTarget &target : executableTargets()) {
    CompiledProgram program(quantizeRows, target);
    ASSERT_EQ(program.error, "");
    for (int round = 0; round < 40; ++round) {
      int64_t m = random() % 9, n = random() % 200;
      SCOPED_TRACE(fmt::format("{} m {} n {}", target.name(), m, n));
      std::vector<float> x = randomFloats(m * n, random);
      if (round % 4 == 1 && !x.empty())
        x[random() % x.size()] = std::nanf("");
      if (round % 4 == 2 && !x.empty())
        x[random() % x.size()] = INFINITY;
      if (round % 4 == 3)
        for (float &v : x)
          v *= 1e-41f;
      program.allocate({m, n});
      program.set("x", x);
      program.run(1 + round % 2);
      ASSERT_TRUE(program.intact()) << program.error;
      auto q = program.get<int8_t>("q");
      auto s = program.get<float>("s");
      for (int64_t i = 0; i < m; ++i) {
        uint32_t amax = 0;
        for (int64_t j = 0; j < n; ++j)
          amax = std::max(amax, bitsOf(x[i * n + j]) & 0x7fffffff);
        float scale = std::bit_cast<float>(amax) / 127.0f;
        scale = scale < 0x1p-126f ? 0x1p-126f : scale;
        ASSERT_TRUE(same(s[i], scale)) << s[i] << " " << scale;
        for (int64_t j = 0; j < n; ++j) {
          float t = std::nearbyint(x[i * n + j] / scale);
          int code = t != t ? 0 : t < -127 ? -127 : t > 127 ? 127 : int(t);
          ASSERT_EQ(q[i * n + j], code) << i << " " << j;
        }
      }
    }
  }
}

/// All four reductions of boxes [P, Q] of a matrix, the last ones clamped.
static std::string reduceBoxes(int64_t p, int64_t q) {
  return fmt::format(
      R"mlir(
!X = !tile.buffer<()[s0, s1] -> (s0, s1), f32>
!R = !tile.buffer<()[s0, s1] -> (s0 ceildiv {0}, s1 ceildiv {1}), f32>
!I = !tile.buffer<()[s0, s1] -> (s0 ceildiv {0}, s1 ceildiv {1}), i32>
#symbols = [#tile.symbol<"M", 0, 64, 1>, #tile.symbol<"N", 0, 1024, 1>]
#id = affine_map<(d0, d1) -> (d0, d1)>
#in = affine_map<(d0, d1, d2, d3) -> (d0 * {0} + d2, d1 * {1} + d3)>
#box = affine_map<(d0, d1)[s0, s1] -> ({0}, {1})>
#clamp = affine_map<(d0, d1)[s0, s1] -> (s0 - d0 * {0}, s1 - d1 * {1})>
tile.program @layer symbols #symbols numerics "strict" {{
  %x = tile.buffer "x" "values" input : !X
  %sum = tile.buffer "sum" "values" output : !R
  %max = tile.buffer "max" "values" output : !R
  %umax = tile.buffer "umax" "values" output : !I
  %count = tile.buffer "count" "values" output : !I
  tile.launch @reduce (%x, %sum, %max, %umax, %count) : !X, !R, !R, !I, !I
}}
tile.kernel @reduce attributes {{symbols = #symbols, writes = array<i1: false, true, true, true, true>, numerics_class = 1 : i32, reason = "test"}} (%x: !X, %sum: !R, %max: !R, %umax: !I, %count: !I) {{
  tile.blocks affine_map<()[s0, s1] -> (s0 ceildiv {0}, s1 ceildiv {1})> (%i: index, %j: index) {{
    %0 = tile.reduce addf (%i, %j) box #box clamp #clamp (%a: index, %b: index) {{
      %v = tile.load %x at #in (%i, %j, %a, %b) : !X -> f32
      tile.yield %v : f32
    }} : f32
    tile.store %0 to %sum at #id (%i, %j) : f32, !R
    %1 = tile.reduce maximumf (%i, %j) box #box clamp #clamp (%a: index, %b: index) {{
      %v = tile.load %x at #in (%i, %j, %a, %b) : !X -> f32
      tile.yield %v : f32
    }} : f32
    tile.store %1 to %max at #id (%i, %j) : f32, !R
    %2 = tile.reduce umax (%i, %j) box #box clamp #clamp (%a: index, %b: index) {{
      %v = tile.load %x at #in (%i, %j, %a, %b) : !X -> f32
      %w = arith.bitcast %v : f32 to i32
      tile.yield %w : i32
    }} : i32
    tile.store %2 to %umax at #id (%i, %j) : i32, !I
    %3 = tile.reduce addi (%i, %j) box #box clamp #clamp (%a: index, %b: index) {{
      %at = tile.index affine_map<(d0, d1) -> (d0 * 1000 + d1)> (%a, %b)
      %w = arith.index_cast %at : index to i32
      tile.yield %w : i32
    }} : i32
    tile.store %3 to %count at #id (%i, %j) : i32, !I
  }}
}}
)mlir",
      p, q);
}

TEST(Blocks, ReductionsOfBoxes) {
  std::mt19937 random(3);
  const std::pair<int64_t, int64_t> boxes[] = {
      {1, 32}, {1, 700}, {3, 48}, {2, 33}, {5, 7}, {7, 1}, {1, 1}, {16, 256}};
  for (const cpugen::CpuTarget &target : executableTargets())
    for (auto [p, q] : boxes) {
      CompiledProgram program(reduceBoxes(p, q), target);
      ASSERT_EQ(program.error, "");
      for (int round = 0; round < 6; ++round) {
        int64_t m = random() % 20, n = random() % 900;
        SCOPED_TRACE(
            fmt::format("{} box {}x{} m {} n {}", target.name(), p, q, m, n));
        std::vector<float> x = randomFloats(m * n, random);
        if (round == 3 && !x.empty())
          x[random() % x.size()] = std::nanf("");
        if (round == 4)
          std::fill(x.begin(), x.end(), -0.0f);
        program.allocate({m, n});
        program.set("x", x);
        program.run(1 + round % 3);
        ASSERT_TRUE(program.intact()) << program.error;
        auto sum = program.get<float>("sum"), max = program.get<float>("max");
        auto umax = program.get<uint32_t>("umax");
        auto count = program.get<int32_t>("count");
        int64_t columns = (n + q - 1) / q;
        for (int64_t i = 0; i * p < m; ++i)
          for (int64_t j = 0; j * q < n; ++j) {
            std::vector<float> values;
            float largest = -INFINITY;
            uint32_t unsignedMax = 0;
            int32_t total = 0;
            for (int64_t a = 0; a < std::min(p, m - i * p); ++a)
              for (int64_t b = 0; b < std::min(q, n - j * q); ++b) {
                float v = x[(i * p + a) * n + j * q + b];
                values.push_back(v);
                unsignedMax = std::max(unsignedMax, bitsOf(v));
                total += a * 1000 + b;
                if (largest != largest || v != v)
                  largest = std::nanf("");
                else if (v > largest || (v == largest && !std::signbit(v)))
                  largest = v;
              }
            int64_t at = i * columns + j;
            ASSERT_TRUE(same(sum[at], orderedSum(values)));
            ASSERT_TRUE(same(max[at], largest));
            ASSERT_EQ(umax[at], unsignedMax);
            ASSERT_EQ(count[at], total);
          }
      }
    }
}

//===----------------------------------------------------------------------===//
// Accesses
//===----------------------------------------------------------------------===//

/// Per point (i) of N: row idx[i] of a table, transposed into column i, beside
/// a part chosen by index (the first 5 columns negated), flags, and a sum kept
/// in a buffer of rank 0 by the first point of a kernel without a domain.
static const char *const accesses = R"mlir(
!T = !tile.buffer<()[s0, s1] -> (32, s1), f16>
!I = !tile.buffer<()[s0, s1] -> (s0), i32>
!O = !tile.buffer<()[s0, s1] -> (s1, s0), f16>
!B = !tile.buffer<()[s0, s1] -> (s0, s1), i1>
!S = !tile.buffer<()[s0, s1] -> (), f32>
#symbols = [#tile.symbol<"N", 0, 64, 1>, #tile.symbol<"D", 0, 64, 1>]
#id = affine_map<(d0, d1) -> (d0, d1)>
tile.program @layer symbols #symbols numerics "strict" {
  %t = tile.buffer "t" "values" input : !T
  %i = tile.buffer "i" "values" input : !I
  %o = tile.buffer "o" "values" output : !O
  %b = tile.buffer "b" "values" output : !B
  %s = tile.buffer "s" "values" output : !S
  tile.launch @gather (%t, %i, %o, %b) : !T, !I, !O, !B
  tile.launch @sum (%t, %s) : !T, !S
}
tile.kernel @gather attributes {symbols = #symbols, writes = array<i1: false, false, true, true>, numerics_class = 0 : i32, reason = "test"} (%t: !T, %i: !I, %o: !O, %b: !B) {
  tile.blocks affine_map<()[s0, s1] -> (s0)> (%p: index) {
    %r = tile.load %i at affine_map<(d0) -> (d0)> (%p) : !I -> i32
    %row = arith.index_cast %r : i32 to index
    tile.map (%p) box affine_map<(d0)[s0, s1] -> (s1)> (%j: index) {
      %v = tile.load %t at #id (%row, %j) : !T -> f16
      %f = arith.extf %v : f16 to f32
      %n = arith.negf %f : f32
      %at = tile.index affine_map<(d0) -> (d0 - 5)> (%j)
      %zero = arith.constant 0 : index
      %c = arith.cmpi slt, %at, %zero : index
      %w = arith.select %c, %n, %f : f32
      %h = arith.truncf %w : f32 to f16
      tile.store %h to %o at affine_map<(d0, d1) -> (d1, d0)> (%p, %j) : f16, !O
      tile.store %c to %b at #id (%p, %j) : i1, !B
      tile.yield
    }
  }
}
tile.kernel @sum attributes {symbols = #symbols, writes = array<i1: false, true>, numerics_class = 1 : i32, reason = "test"} (%t: !T, %s: !S) {
  tile.blocks affine_map<()[s0, s1] -> ()> () {
    %0 = tile.reduce addf () box affine_map<()[s0, s1] -> (s1, 8)> (%j: index, %r: index) {
      %v = tile.load %t at affine_map<(d0, d1) -> (d1 * 4 + d0 mod 4, d0)> (%j, %r) : !T -> f16
      %f = arith.extf %v : f16 to f32
      tile.yield %f : f32
    } : f32
    tile.map () box affine_map<()[s0, s1] -> ()> () {
      tile.store %0 to %s at affine_map<() -> ()> () : f32, !S
      tile.yield
    }
  }
}
)mlir";

TEST(Blocks, GathersTransposesFlagsAndRankZero) {
  std::mt19937 random(9);
  for (const cpugen::CpuTarget &target : executableTargets()) {
    CompiledProgram program(accesses, target);
    ASSERT_EQ(program.error, "");
    for (int round = 0; round < 20; ++round) {
      int64_t n = random() % 20, d = random() % 64;
      SCOPED_TRACE(fmt::format("{} n {} d {}", target.name(), n, d));
      std::vector<uint16_t> t(32 * d);
      for (uint16_t &x : t)
        x = (random() & 0x83ff) | 0x3c00;
      std::vector<int32_t> index(n);
      for (int32_t &x : index)
        x = random() % 32;
      program.allocate({n, d});
      program.set("t", t);
      program.set("i", index);
      program.run(1 + round % 3);
      ASSERT_TRUE(program.intact()) << program.error;
      auto o = program.get<uint16_t>("o");
      auto b = program.get<uint8_t>("b");
      for (int64_t i = 0; i < n; ++i)
        for (int64_t j = 0; j < d; ++j) {
          uint16_t want = t[index[i] * d + j] ^ (j < 5 ? 0x8000 : 0);
          ASSERT_EQ(o[j * n + i], want) << i << " " << j;
          ASSERT_EQ(b[i * d + j], j < 5);
        }
      std::vector<float> values;
      for (int64_t j = 0; j < d; ++j)
        for (int64_t r = 0; r < 8; ++r)
          values.push_back(
              float(std::bit_cast<_Float16>(t[(r * 4 + j % 4) * d + j])));
      ASSERT_TRUE(same(program.get<float>("s")[0], orderedSum(values)));
    }
  }
}
