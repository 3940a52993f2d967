//===- CodesTest.cpp - Numbers that become codes on the CPU ---------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Encodings and the maxima before them, beside plain loops: scales of all
// magnitudes, numbers that are none, both zeros, rows of any length.
//
//===----------------------------------------------------------------------===//

#include "CpuHarness.h"

#include "runtime/tensor/FloatCodes.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <random>

using namespace quern;
using namespace quern::test;

/// q = clamp(round(x / s)) + z with a scale and a zero point per row, and
/// f = the same quotient as an 8-bit float.
static const char *const encodeRows = R"mlir(
!X = !tile.buffer<()[s0, s1] -> (s0, s1), f32>
!Q = !tile.buffer<()[s0, s1] -> (s0, s1), i8>
!F = !tile.buffer<()[s0, s1] -> (s0, s1), f8E4M3FN>
!S = !tile.buffer<()[s0, s1] -> (s0), f32>
!Z = !tile.buffer<()[s0, s1] -> (s0), i32>
#symbols = [#tile.symbol<"M", 0, 64, 1>, #tile.symbol<"N", 0, 1024, 1>]
#id = affine_map<(d0, d1) -> (d0, d1)>
#row = affine_map<(d0) -> (d0)>
tile.program @layer symbols #symbols numerics "strict" {
  %x = tile.buffer "x" "values" input : !X
  %s = tile.buffer "s" "values" input : !S
  %z = tile.buffer "z" "values" input : !Z
  %q = tile.buffer "q" "codes" output : !Q
  %zq = tile.buffer "zq" "codes" output : !Q
  %f = tile.buffer "f" "codes" output : !F
  tile.launch @encode (%x, %s, %z, %q, %zq, %f) : !X, !S, !Z, !Q, !Q, !F
}
tile.kernel @encode attributes {symbols = #symbols, writes = array<i1: false, false, false, true, true, true>, numerics_class = 0 : i32, reason = "test"} (%x: !X, %s: !S, %z: !Z, %q: !Q, %zq: !Q, %f: !F) {
  tile.blocks affine_map<()[s0, s1] -> (s0)> (%i: index) {
    %scale = tile.load %s at #row (%i) : !S -> f32
    %point = tile.load %z at #row (%i) : !Z -> i32
    %zero = arith.constant 0.0 : f32
    %lo = arith.constant -1.270000e+02 : f32
    %hi = arith.constant 1.270000e+02 : f32
    tile.map (%i) box affine_map<(d0)[s0, s1] -> (s1)> (%j: index) {
      %v = tile.load %x at #id (%i, %j) : !X -> f32
      %t = arith.divf %v, %scale {tile.to_code} : f32
      %nan = arith.cmpf uno, %t, %t : f32
      %n = arith.select %nan, %zero, %t : f32
      %a = arith.maximumf %n, %lo : f32
      %b = arith.minimumf %a, %hi : f32
      %r = math.roundeven %b : f32
      %k = arith.fptosi %r : f32 to i32
      %code = arith.trunci %k : i32 to i8
      tile.store %code to %q at #id (%i, %j) : i8, !Q
      tile.yield
    }
    tile.map (%i) box affine_map<(d0)[s0, s1] -> (s1)> (%j: index) {
      %v = tile.load %x at #id (%i, %j) : !X -> f32
      %t = arith.divf %v, %scale {tile.to_code} : f32
      %nan = arith.cmpf uno, %t, %t : f32
      %n = arith.select %nan, %zero, %t : f32
      %offset = arith.sitofp %point : i32 to f32
      %low = arith.constant -1.280000e+02 : f32
      %lz = arith.subf %low, %offset : f32
      %hz = arith.subf %hi, %offset : f32
      %a = arith.maximumf %n, %lz : f32
      %b = arith.minimumf %a, %hz : f32
      %r = math.roundeven %b : f32
      %k = arith.fptosi %r : f32 to i32
      %sum = arith.addi %k, %point : i32
      %code = arith.trunci %sum : i32 to i8
      tile.store %code to %zq at #id (%i, %j) : i8, !Q
      tile.yield
    }
    tile.map (%i) box affine_map<(d0)[s0, s1] -> (s1)> (%j: index) {
      %v = tile.load %x at #id (%i, %j) : !X -> f32
      %t = arith.divf %v, %scale {tile.to_code} : f32
      %code = arith.truncf %t : f32 to f8E4M3FN
      tile.store %code to %f at #id (%i, %j) : f8E4M3FN, !F
      tile.yield
    }
  }
}
)mlir";

TEST(Codes, EncodingsWithAnyScale) {
  std::mt19937 random(11);
  std::normal_distribution<float> normal;
  const float scales[] = {0.02f,    1.0f,     0x1p-126f, 0x1p-100f,
                          0x1p-80f, 0x1p-81f, 0x1p126f,  0x1p127f,
                          INFINITY, NAN,      3.0f,      1e-3f};
  const float special[] = {0.0f,      -0.0f,      INFINITY, -INFINITY,
                           NAN,       -NAN,       3e38f,    -3e38f,
                           0x1p-149f, -0x1p-140f, 127.5f,   -127.5f};
  for (const cpugen::CpuTarget &target : executableTargets()) {
    CompiledProgram program(encodeRows, target);
    ASSERT_EQ(program.error, "");
    for (int round = 0; round < 24; ++round) {
      int64_t m = std::size(scales), n = 1 + random() % 100;
      SCOPED_TRACE(fmt::format("{} m {} n {}", target.name(), m, n));
      std::vector<float> x(m * n), s(scales, scales + m);
      std::vector<int32_t> z(m);
      for (int64_t i = 0; i < m; ++i) {
        z[i] = int32_t(random() % 256) - 128;
        for (int64_t j = 0; j < n; ++j) {
          // Half-way points among them.
          float &v = x[i * n + j];
          v = normal(random) * 90 * s[i];
          if (random() % 3 == 0)
            v = (float(random() % 260) - 130 + 0.5f) * s[i];
          if (random() % 8 == 0)
            v = special[random() % std::size(special)];
        }
      }
      program.allocate({m, n});
      program.set("x", x);
      program.set("s", s);
      program.set("z", z);
      program.run(1 + round % 2);
      ASSERT_TRUE(program.intact()) << program.error;
      auto q = program.get<int8_t>("q"), zq = program.get<int8_t>("zq");
      auto f = program.get<uint8_t>("f");
      for (int64_t at = 0; at < m * n; ++at) {
        float scale = s[at / n], t = x[at] / scale;
        int32_t point = z[at / n];
        SCOPED_TRACE(fmt::format("{} / {} at {}", x[at], scale, at));
        float clamped = t != t ? 0 : std::clamp(t, -127.0f, 127.0f);
        ASSERT_EQ(q[at], int(std::nearbyint(clamped)));
        float shifted = t != t
                            ? std::clamp(0.0f, -128.0f - point, 127.0f - point)
                            : std::clamp(t, -128.0f - point, 127.0f - point);
        ASSERT_EQ(zq[at], int(std::nearbyint(shifted)) + point);
        uint8_t expected = uint8_t(encodeFloat(t, formatF8E4M3));
        if (t != t)
          ASSERT_EQ(f[at] & 0x7f, 0x7f);
        else
          ASSERT_EQ(f[at], expected);
      }
    }
  }
}

/// Quotients that do not leave the range of a float format, as its codes.
static std::string floatCodesOf(const char *type, double within) {
  return fmt::format(R"mlir(
!X = !tile.buffer<()[s0, s1] -> (s0, s1), f32>
!F = !tile.buffer<()[s0, s1] -> (s0, s1), {0}>
!S = !tile.buffer<()[s0, s1] -> (s0), f32>
#symbols = [#tile.symbol<"M", 0, 64, 1>, #tile.symbol<"N", 0, 100000, 1>]
#id = affine_map<(d0, d1) -> (d0, d1)>
tile.program @layer symbols #symbols numerics "strict" {{
  %x = tile.buffer "x" "values" input : !X
  %s = tile.buffer "s" "values" input : !S
  %f = tile.buffer "f" "codes" output : !F
  tile.launch @encode (%x, %s, %f) : !X, !S, !F
}}
tile.kernel @encode attributes {{symbols = #symbols, writes = array<i1: false, false, true>, numerics_class = 0 : i32, reason = "test"}} (%x: !X, %s: !S, %f: !F) {{
  tile.blocks affine_map<()[s0, s1] -> (s0)> (%i: index) {{
    %scale = tile.load %s at affine_map<(d0) -> (d0)> (%i) : !S -> f32
    tile.map (%i) box affine_map<(d0)[s0, s1] -> (s1)> (%j: index) {{
      %v = tile.load %x at #id (%i, %j) : !X -> f32
      %t = arith.divf %v, %scale {{tile.to_code, tile.within = {1:.6e} : f32}} : f32
      %code = arith.truncf %t : f32 to {0}
      tile.store %code to %f at #id (%i, %j) : {0}, !F
      tile.yield
    }}
  }}
}}
)mlir",
                     type, within);
}

/// Every f16, and every half-way point of the format with its neighbours, over
/// scales that f16s may have made, and over tiny, huge and no numbers.
TEST(Codes, BoundedQuotientsToEightBitFloats) {
  struct Case {
    const char *type;
    FloatFormat format;
    uint32_t largest;
  };
  const float scales[] = {1.0f,
                          0.5f,
                          65504.0f / 448,
                          0x1p-24f / 448,
                          3.0f / 448,
                          0.02f,
                          1.1754944e-38,
                          0x1.fffffep-9f,
                          0x1.000002p-9f,
                          1.0f / 57344,
                          0x1p-80f,
                          0x1.8p-81f,
                          0x1p126f,
                          0x1.8p126f,
                          INFINITY,
                          0x1p-149f,
                          NAN};
  std::vector<float> halves;
  for (uint32_t code = 0; code < 0x10000; ++code)
    halves.push_back(decodeFloat(code, formatF16));
  for (const Case &c : {Case{"f8E4M3FN", formatF8E4M3, 0x7e},
                        Case{"f8E5M2", formatF8E5M2, 0x7b}}) {
    float largest = decodeFloat(c.largest, c.format);
    float within = largest * (1 + 0x1p-8f);
    // Exact: a code has four bits at most.
    std::vector<float> points;
    for (uint32_t code = 0; code <= c.largest; ++code) {
      float low = decodeFloat(code, c.format);
      points.push_back(low);
      if (code < c.largest)
        points.push_back((low + decodeFloat(code + 1, c.format)) / 2);
    }
    for (const cpugen::CpuTarget &target : executableTargets()) {
      CompiledProgram program(floatCodesOf(c.type, within), target);
      ASSERT_EQ(program.error, "");
      int64_t m = std::size(scales), n = halves.size() + 6 * points.size();
      std::vector<float> x;
      for (float s : scales) {
        size_t row = x.size();
        x.insert(x.end(), halves.begin(), halves.end());
        for (float point : points) {
          float v = point * s;
          for (float w :
               {v, std::nextafter(v, INFINITY), std::nextafter(v, 0.0f)})
            x.insert(x.end(), {w, -w});
        }
        // What a finite scale promises.
        for (size_t i = row; std::isfinite(s) && i < x.size(); ++i)
          if (!(std::fabs(x[i] / s) < within))
            x[i] = std::copysign(0.0f, x[i]);
      }
      program.allocate({m, n});
      program.set("x", x);
      program.set("s", std::vector<float>(scales, scales + m));
      program.run(2);
      ASSERT_TRUE(program.intact()) << program.error;
      auto f = program.get<uint8_t>("f");
      for (int64_t at = 0; at < m * n; ++at) {
        float t = x[at] / scales[at / n];
        auto found = decodeFloat(f[at], c.format);
        if (t != t)
          ASSERT_TRUE(found != found);
        else
          ASSERT_EQ(f[at], encodeFloat(t, c.format)) << fmt::format(
              "{} {}: {} / {}", target.name(), c.type, x[at], scales[at / n]);
      }
    }
  }
}

/// Largest magnitudes and largest numbers of rows of 16-bit floats.
static std::string maximaOf(const char *type) {
  return fmt::format(R"mlir(
!X = !tile.buffer<()[s0, s1] -> (s0, s1), {0}>
!I = !tile.buffer<()[s0, s1] -> (s0), i32>
!S = !tile.buffer<()[s0, s1] -> (s0), f32>
#symbols = [#tile.symbol<"M", 0, 64, 1>, #tile.symbol<"N", 0, 1024, 1>]
#id = affine_map<(d0, d1) -> (d0, d1)>
#row = affine_map<(d0) -> (d0)>
#box = affine_map<(d0)[s0, s1] -> (s1)>
tile.program @layer symbols #symbols numerics "strict" {{
  %x = tile.buffer "x" "values" input : !X
  %a = tile.buffer "a" "values" output : !I
  %b = tile.buffer "b" "values" output : !S
  tile.launch @maxima (%x, %a, %b) : !X, !I, !S
}}
tile.kernel @maxima attributes {{symbols = #symbols, writes = array<i1: false, true, true>, numerics_class = 0 : i32, reason = "test"}} (%x: !X, %a: !I, %b: !S) {{
  tile.blocks affine_map<()[s0, s1] -> (s0)> (%i: index) {{
    %0 = tile.reduce umax (%i) box #box (%j: index) {{
      %v = tile.load %x at #id (%i, %j) : !X -> {0}
      %f = arith.extf %v : {0} to f32
      %w = arith.bitcast %f : f32 to i32
      %mask = arith.constant 2147483647 : i32
      %m = arith.andi %w, %mask : i32
      tile.yield %m : i32
    }} : i32
    tile.store %0 to %a at #row (%i) : i32, !I
    %1 = tile.reduce maximumf (%i) box #box (%j: index) {{
      %v = tile.load %x at #id (%i, %j) : !X -> {0}
      %f = arith.extf %v : {0} to f32
      tile.yield %f : f32
    }} : f32
    tile.store %1 to %b at #row (%i) : f32, !S
  }}
}}
)mlir",
                     type);
}

TEST(Codes, MaximaOfHalves) {
  std::mt19937 random(12);
  for (bool brain : {false, true})
    for (const cpugen::CpuTarget &target : executableTargets()) {
      CompiledProgram program(maximaOf(brain ? "bf16" : "f16"), target);
      ASSERT_EQ(program.error, "");
      for (int round = 0; round < 60; ++round) {
        int64_t m = 1 + random() % 4, n = random() % (round % 4 ? 90 : 400);
        SCOPED_TRACE(fmt::format("{} m {} n {}", target.name(), m, n));
        // Any bits: NaN of both signs, infinities, subnormals, zeros. In other
        // rounds the exponent's top bit is off, and there are none of the first
        // two; in others again nothing but zeros.
        std::vector<uint16_t> x(m * n);
        for (uint16_t &v : x)
          v = uint16_t(random()) & (round % 3 == 0   ? 0xffff
                                    : round % 3 == 1 ? 0xbfff
                                                     : 0x8000);
        program.allocate({m, n});
        program.set("x", x);
        program.run(1 + round % 2);
        ASSERT_TRUE(program.intact()) << program.error;
        auto a = program.get<uint32_t>("a");
        auto b = program.get<float>("b");
        for (int64_t i = 0; i < m; ++i) {
          float magnitude = 0, largest = -INFINITY;
          for (int64_t j = 0; j < n; ++j) {
            float v = brain ? std::bit_cast<float>(uint32_t(x[i * n + j]) << 16)
                            : decodeFloat(x[i * n + j], formatF16);
            if (v != v || largest != largest)
              magnitude = largest = NAN;
            else {
              magnitude = std::max(magnitude, std::fabs(v));
              if (v > largest || (v == largest && !std::signbit(v)))
                largest = v;
            }
          }
          float found = std::bit_cast<float>(a[i]);
          if (magnitude != magnitude) {
            ASSERT_TRUE(found != found && b[i] != b[i]);
          } else {
            ASSERT_EQ(found, magnitude);
            ASSERT_EQ(std::bit_cast<uint32_t>(b[i]),
                      std::bit_cast<uint32_t>(largest));
          }
        }
      }
    }
}

/// A scale made of the numbers it divides leaves nothing to clamp.
TEST(Codes, OwnScalesNeedNoClamps) {
  auto loop = [](bool within) {
    std::string text = encodeRows;
    // The first quotient alone.
    std::string mark = "{tile.to_code}";
    if (within)
      text.replace(text.find(mark), mark.size(),
                   "{tile.to_code, tile.within = 127.4 : f32}");
    CompiledProgram program(
        text, cpugen::CpuTarget::forLevel(cpugen::CpuLevel::Avx512Vnni), true);
    EXPECT_EQ(program.error, "");
    std::string assembly = program.dumps.assembly;
    size_t end = assembly.find("vcvtps2dq");
    size_t begin = assembly.rfind(".LBB", end);
    return assembly.substr(begin, end - begin);
  };
  EXPECT_NE(loop(false).find("vminps"), std::string::npos) << loop(false);
  EXPECT_EQ(loop(true).find("vminps"), std::string::npos) << loop(true);
  EXPECT_EQ(loop(true).find("vcmp"), std::string::npos) << loop(true);

  auto cpu = cpugen::CpuTarget::forLevel(cpugen::CpuLevel::Avx512Vnni);
  for (double within : {449.75, 470.0}) {
    CompiledProgram program(floatCodesOf("f8E4M3FN", within), cpu, true);
    EXPECT_EQ(program.error, "");
    // The other copy of the loop divides, and looks for NaN.
    std::string assembly = program.dumps.assembly;
    size_t end = assembly.find("vpmovdb"), other = assembly.find("vdivps");
    if (end > other)
      end = assembly.find("vpmovdb", end + 1);
    size_t begin = assembly.rfind(".LBB", end);
    std::string loop = assembly.substr(begin, end - begin);
    EXPECT_EQ(loop.find("vpcmp") == std::string::npos, within < 464) << loop;
  }
}
