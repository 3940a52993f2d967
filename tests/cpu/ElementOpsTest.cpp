//===- ElementOpsTest.cpp - Every scalar op, bit for bit ------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Each op is run on vectors of ordinary and extraordinary numbers at every
// level this machine executes, and compared with the host's scalar arithmetic;
// exp, tanh and erf with a transcription of docs/numerics.md; conversions from
// and to small floats with all codes, and with rounding done in double.
//
//===----------------------------------------------------------------------===//

#include "CpuHarness.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <functional>
#include <random>

using namespace quern;
using namespace quern::test;

static uint32_t bitsOf(float x) { return std::bit_cast<uint32_t>(x); }
static bool same(float x, float y) {
  return bitsOf(x) == bitsOf(y) || (x != x && y != y);
}

/// A map over N elements of buffers x, y, z (of `in`) to r (of `out`); the body
/// computes %r from %x, %y, %z.
static std::string elementwise(const std::string &in, const std::string &out,
                               const std::string &body) {
  return fmt::format(R"mlir(
!I = !tile.buffer<()[s0] -> (s0), {0}>
!O = !tile.buffer<()[s0] -> (s0), {1}>
#symbols = [#tile.symbol<"N", 0, 100000, 1>]
#id = affine_map<(d0) -> (d0)>
tile.program @layer symbols #symbols numerics "strict" {{
  %x = tile.buffer "x" "values" input : !I
  %y = tile.buffer "y" "values" input : !I
  %z = tile.buffer "z" "values" input : !I
  %r = tile.buffer "r" "values" output : !O
  tile.launch @map (%x, %y, %z, %r) : !I, !I, !I, !O
}}
tile.kernel @map attributes {{symbols = #symbols, writes = array<i1: false, false, false, true>, numerics_class = 0 : i32, reason = "test"}} (%bx: !I, %by: !I, %bz: !I, %br: !O) {{
  tile.blocks affine_map<()[s0] -> ()> () {{
    tile.map () box affine_map<()[s0] -> (s0)> (%i: index) {{
      %x = tile.load %bx at #id (%i) : !I -> {0}
      %y = tile.load %by at #id (%i) : !I -> {0}
      %z = tile.load %bz at #id (%i) : !I -> {0}
      {2}
      tile.store %r to %br at #id (%i) : {3}, !O
      tile.yield
    }}
  }}
}}
)mlir",
                     in, out, body, out == "ui8" ? "i8" : out);
}

static std::vector<float> interestingFloats() {
  const float special[] = {0.0f,      -0.0f,      1.0f,       -1.0f,
                           0.5f,      -0.5f,      1.5f,       2.5f,
                           -2.5f,     3.5f,       INFINITY,   -INFINITY,
                           NAN,       0x1p-149f,  -0x1p-149f, 0x1p-126f,
                           0x1p127f,  3.4e38f,    -3.4e38f,   8388607.5f,
                           8388608.f, 16777217.f, 0.625f,     -0.625f,
                           4.0f,      -4.0f,      88.7f,      89.5f,
                           -87.3f,    -103.9f,    -105.0f,    0x1.fffffep-127f,
                           1e-40f,    65504.f,    65519.f,    65520.f,
                           448.f,     464.f,      57344.f,    61440.f,
                           0x1p-24f,  0x1p-25f,   0x1.8p-25f, 0x1p-9f,
                           0x1p-10f,  0x1.8p-10f};
  std::vector<float> values(std::begin(special), std::end(special));
  std::mt19937 random(5);
  std::normal_distribution<float> normal(0, 4);
  for (int i = 0; i < 700; ++i)
    values.push_back(normal(random));
  for (int i = 0; i < 700; ++i)
    values.push_back(std::bit_cast<float>(uint32_t(random())));
  // Ties of f16 and bf16: a short mantissa and half a unit.
  for (int i = 0; i < 200; ++i) {
    uint32_t base = random() & 0xbfffffff;
    values.push_back(std::bit_cast<float>((base & 0xffffe000) | 0x1000));
    values.push_back(std::bit_cast<float>((base & 0xffff0000) | 0x8000));
    values.push_back(std::bit_cast<float>((base & 0xfff00000) | 0x80000));
    values.push_back(std::bit_cast<float>((base & 0xffe00000) | 0x100000));
  }
  return values;
}

template <typename T>
static std::vector<T> shuffled(std::vector<T> values, unsigned seed) {
  std::mt19937 random(seed);
  std::shuffle(values.begin(), values.end(), random);
  return values;
}

template <typename In, typename Out>
static void check(const std::string &in, const std::string &out,
                  const std::string &body, const std::vector<In> &x,
                  const std::vector<In> &y, const std::vector<In> &z,
                  std::function<Out(In, In, In)> expected) {
  for (const cpugen::CpuTarget &target : executableTargets()) {
    SCOPED_TRACE(target.name() + ": " + body);
    CompiledProgram program(elementwise(in, out, body), target);
    ASSERT_EQ(program.error, "");
    program.allocate({int64_t(x.size())});
    program.set("x", x);
    program.set("y", y);
    program.set("z", z);
    program.run();
    ASSERT_TRUE(program.intact()) << program.error;
    std::vector<Out> r = program.get<Out>("r");
    for (size_t i = 0; i < x.size(); ++i) {
      Out want = expected(x[i], y[i], z[i]);
      if constexpr (std::is_same_v<Out, float>)
        ASSERT_TRUE(same(r[i], want))
            << x[i] << ", " << y[i] << ", " << z[i] << " gives " << r[i]
            << " instead of " << want;
      else
        ASSERT_EQ(r[i], want) << +x[i] << ", " << +y[i] << ", " << +z[i];
    }
  }
}

static void checkFloat(const std::string &op,
                       std::function<float(float, float, float)> expected) {
  std::vector<float> x = interestingFloats();
  check<float, float>("f32", "f32", op, x, shuffled(x, 1), shuffled(x, 2),
                      expected);
}

static float maximum(float x, float y) {
  if (x != x || y != y)
    return NAN;
  if (x == y)
    return std::signbit(x) ? y : x;
  return x > y ? x : y;
}

TEST(ElementOps, Arithmetic) {
  checkFloat("%r = arith.addf %x, %y : f32",
             [](float x, float y, float) { return x + y; });
  checkFloat("%r = arith.subf %x, %y : f32",
             [](float x, float y, float) { return x - y; });
  checkFloat("%r = arith.mulf %x, %y : f32",
             [](float x, float y, float) { return x * y; });
  checkFloat("%r = arith.divf %x, %y : f32",
             [](float x, float y, float) { return x / y; });
  checkFloat("%r = arith.negf %x : f32",
             [](float x, float, float) { return -x; });
  checkFloat("%r = math.absf %x : f32",
             [](float x, float, float) { return std::fabs(x); });
  checkFloat("%r = math.sqrt %x : f32",
             [](float x, float, float) { return std::sqrt(x); });
  checkFloat("%r = math.roundeven %x : f32",
             [](float x, float, float) { return std::nearbyint(x); });
  checkFloat("%r = arith.maximumf %x, %y : f32",
             [](float x, float y, float) { return maximum(x, y); });
  checkFloat("%r = arith.minimumf %x, %y : f32",
             [](float x, float y, float) { return -maximum(-x, -y); });
}

TEST(ElementOps, ProductAndSumAreNotContracted) {
  checkFloat("%p = arith.mulf %x, %y : f32\n %r = arith.addf %p, %z : f32",
             [](float x, float y, float z) {
               volatile float p = x * y;
               return p + z;
             });
}

TEST(ElementOps, FusedMultiplyAdd) {
  checkFloat("%r = math.fma %x, %y, %z : f32",
             [](float x, float y, float z) { return std::fma(x, y, z); });
  // Near-cancelling and barely inexact sums, subnormal results.
  std::mt19937 random(6);
  std::vector<float> x, y, z;
  for (int i = 0; i < 20000; ++i) {
    float a = std::bit_cast<float>(0x3f800000 | (uint32_t(random()) >> 9));
    float b = std::bit_cast<float>(0x3f800000 | (uint32_t(random()) >> 9));
    int scale = int(random() % 300) - 150;
    float product = std::ldexp(a * b, scale);
    float near = std::nextafter(-product, random() & 1 ? INFINITY : -INFINITY);
    x.push_back(std::ldexp(a, scale / 2));
    y.push_back(std::ldexp(b, scale - scale / 2));
    z.push_back(i % 4 == 0   ? near
                : i % 4 == 1 ? std::ldexp(near, int(random() % 60) - 30)
                : i % 4 == 2 ? std::ldexp(1.0f, int(random() % 280) - 149)
                             : -std::ldexp(1.0f, scale - 24));
  }
  check<float, float>(
      "f32", "f32", "%r = math.fma %x, %y, %z : f32", x, y, z,
      [](float a, float b, float c) { return std::fma(a, b, c); });
}

//===----------------------------------------------------------------------===//
// docs/numerics.md, transcribed
//===----------------------------------------------------------------------===//

static float exactExp(float x) {
  float xc = x < -104.0f ? -104.0f : x;
  xc = xc > 89.0f ? 89.0f : xc;
  xc = x == x ? xc : 0.0f;
  float n = std::nearbyint(xc * 0x1.715476p+0f);
  float r = std::fma(n, -0x1.62e4p-1f, xc);
  r = std::fma(n, -0x1.7f7d1cp-20f, r);
  float p = 1.9875691500e-4f;
  p = std::fma(p, r, 1.3981999507e-3f);
  p = std::fma(p, r, 8.3334519073e-3f);
  p = std::fma(p, r, 4.1665795894e-2f);
  p = std::fma(p, r, 1.6666665459e-1f);
  p = std::fma(p, r, 5.0000001201e-1f);
  float z = r * r;
  float y = std::fma(p, z, r);
  y = y + 1;
  int32_t i = int32_t(n), a = i >> 1, b = i - a;
  y = (y * std::bit_cast<float>((a + 127) << 23)) *
      std::bit_cast<float>((b + 127) << 23);
  return x == x ? y : x;
}

static float exactTanh(float x) {
  float a = std::fabs(x), z = x * x;
  float p = -5.70498872745e-3f;
  p = std::fma(p, z, 2.06390887954e-2f);
  p = std::fma(p, z, -5.37397155531e-2f);
  p = std::fma(p, z, 1.33314422036e-1f);
  p = std::fma(p, z, -3.33332819422e-1f);
  float small = std::fma(p * z, x, x);
  float s = exactExp(a + a);
  float big = std::copysign(1.0f - 2.0f / (s + 1.0f), x);
  return a < 0.625f ? small : big;
}

static float exactErf(float x) {
  float xc = x < -4 ? -4 : x;
  xc = xc > 4 ? 4 : xc;
  float z = xc * xc;
  float p = -2.72614225801306e-10f;
  p = std::fma(p, z, 2.77068142495902e-08f);
  p = std::fma(p, z, -2.10102402082508e-06f);
  p = std::fma(p, z, -5.69250639462346e-05f);
  p = std::fma(p, z, -7.34990630326855e-04f);
  p = std::fma(p, z, -2.95459980854025e-03f);
  p = std::fma(p, z, -1.60960333262415e-02f);
  p = xc * p;
  float q = -1.45660718464996e-05f;
  q = std::fma(q, z, -2.13374055278905e-04f);
  q = std::fma(q, z, -1.68282697438203e-03f);
  q = std::fma(q, z, -7.37332916720468e-03f);
  q = std::fma(q, z, -1.42647390514189e-02f);
  float r = p / q;
  r = r > 1 ? 1 : r;
  return r < -1 ? -1 : r;
}

TEST(ElementOps, StrictPolynomials) {
  checkFloat("%r = math.exp %x : f32",
             [](float x, float, float) { return exactExp(x); });
  checkFloat("%r = math.tanh %x : f32",
             [](float x, float, float) { return exactTanh(x); });
  checkFloat("%r = math.erf %x : f32",
             [](float x, float, float) { return exactErf(x); });
}

//===----------------------------------------------------------------------===//
// Small floats
//===----------------------------------------------------------------------===//

namespace {
struct SmallFloat {
  const char *name;
  int bits, mantissa, bias;
  bool infinity, saturates;

  double value(uint32_t code) const {
    int exponentBits = bits - 1 - mantissa;
    uint32_t exponent = (code >> mantissa) & ((1u << exponentBits) - 1);
    uint32_t fraction = code & ((1u << mantissa) - 1);
    uint32_t top = (1u << exponentBits) - 1;
    double sign = code >> (bits - 1) & 1 ? -1 : 1;
    if (infinity && exponent == top)
      return fraction ? NAN : sign * INFINITY;
    if (!infinity && exponent == top && fraction == (1u << mantissa) - 1)
      return NAN;
    if (exponent == 0)
      return sign * std::ldexp(double(fraction), 1 - bias - mantissa);
    return sign * std::ldexp(double(fraction | 1u << mantissa),
                             int(exponent) - bias - mantissa);
  }
  /// The magnitude's code, by search over all finite ones: the nearest, the
  /// even one of two.
  uint32_t encode(float x) const {
    uint32_t sign = std::signbit(x) ? 1u << (bits - 1) : 0;
    double a = std::fabs(double(x));
    uint32_t low = 0, high = (1u << (bits - 1)) - 1;
    while (!std::isfinite(value(high)))
      --high;
    uint32_t largest = high;
    if (a >= value(largest)) {
      // Beyond: half a unit more is the limit of rounding down.
      double unit = value(largest) - value(largest - 1);
      if (saturates || a < value(largest) + unit / 2)
        return sign | largest;
      return sign | (largest + 1);
    }
    while (high - low > 1) {
      uint32_t middle = (low + high) / 2;
      (value(middle) <= a ? low : high) = middle;
    }
    double below = a - value(low), above = value(high) - a;
    uint32_t code = below < above   ? low
                    : above < below ? high
                    : low % 2 == 0  ? low
                                    : high;
    return sign | code;
  }
};
} // namespace

static const SmallFloat smallFloats[] = {
    {"f16", 16, 10, 15, true, false},
    {"bf16", 16, 7, 127, true, false},
    {"f8E4M3FN", 8, 3, 7, false, true},
    {"f8E5M2", 8, 2, 15, true, true},
};

template <typename Code> static void checkSmallFloat(const SmallFloat &type) {
  // Decoding: every code.
  std::vector<Code> codes;
  for (uint32_t code = 0; code < (1u << type.bits); ++code)
    codes.push_back(code);
  check<Code, float>(type.name, "f32",
                     fmt::format("%r = arith.extf %x : {} to f32", type.name),
                     codes, codes, codes,
                     [&](Code x, Code, Code) { return float(type.value(x)); });
  // Encoding; NaN is compared by what it decodes to.
  std::vector<float> x = interestingFloats();
  for (const cpugen::CpuTarget &target : executableTargets()) {
    SCOPED_TRACE(target.name() + " " + type.name);
    CompiledProgram program(
        elementwise("f32", type.name,
                    fmt::format("%r = arith.truncf %x : f32 to {}", type.name)),
        target);
    ASSERT_EQ(program.error, "");
    program.allocate({int64_t(x.size())});
    program.set("x", x);
    program.run();
    std::vector<Code> r = program.get<Code>("r");
    for (size_t i = 0; i < x.size(); ++i) {
      if (x[i] != x[i])
        ASSERT_TRUE(std::isnan(type.value(r[i]))) << r[i];
      else
        ASSERT_EQ(uint32_t(r[i]), type.encode(x[i])) << x[i];
    }
  }
}

TEST(ElementOps, SmallFloats) {
  checkSmallFloat<uint16_t>(smallFloats[0]);
  checkSmallFloat<uint16_t>(smallFloats[1]);
  checkSmallFloat<uint8_t>(smallFloats[2]);
  checkSmallFloat<uint8_t>(smallFloats[3]);
}

//===----------------------------------------------------------------------===//
// Integers, comparisons, conversions
//===----------------------------------------------------------------------===//

TEST(ElementOps, Integers) {
  std::mt19937 random(7);
  std::vector<int32_t> x = {0, 1, -1, INT32_MIN, INT32_MAX};
  for (int i = 0; i < 500; ++i)
    x.push_back(random());
  std::vector<int32_t> y = shuffled(x, 3), z = shuffled(x, 4);
  using U = uint32_t;
  using Fn = std::function<int32_t(int32_t, int32_t, int32_t)>;
  const std::pair<const char *, Fn> ops[] = {
      {"arith.addi", [](U a, U b, U) { return a + b; }},
      {"arith.subi", [](U a, U b, U) { return a - b; }},
      {"arith.muli", [](U a, U b, U) { return a * b; }},
      {"arith.andi", [](U a, U b, U) { return a & b; }},
      {"arith.ori", [](U a, U b, U) { return a | b; }},
      {"arith.xori", [](U a, U b, U) { return a ^ b; }},
      {"arith.maxui", [](U a, U b, U) { return std::max(a, b); }},
      {"arith.maxsi",
       [](int32_t a, int32_t b, int32_t) { return std::max(a, b); }},
      {"arith.minsi",
       [](int32_t a, int32_t b, int32_t) { return std::min(a, b); }},
  };
  for (const auto &[name, expected] : ops)
    check<int32_t, int32_t>("i32", "i32",
                            fmt::format("%r = {} %x, %y : i32", name), x, y, z,
                            expected);
  const std::pair<const char *, Fn> shifts[] = {
      {"arith.shli", [](U a, U b, U) { return a << (b & 31); }},
      {"arith.shrui", [](U a, U b, U) { return a >> (b & 31); }},
      {"arith.shrsi",
       [](int32_t a, int32_t b, int32_t) { return a >> (b & 31); }},
  };
  for (const auto &[name, expected] : shifts)
    check<int32_t, int32_t>("i32", "i32",
                            fmt::format("%c = arith.constant 31 : i32\n"
                                        "%s = arith.andi %y, %c : i32\n"
                                        "%r = {} %x, %s : i32",
                                        name),
                            x, y, z, expected);
  const std::pair<const char *, std::function<bool(int32_t, int32_t)>>
      compares[] = {
          {"eq", [](int32_t a, int32_t b) { return a == b; }},
          {"ne", [](int32_t a, int32_t b) { return a != b; }},
          {"slt", [](int32_t a, int32_t b) { return a < b; }},
          {"sge", [](int32_t a, int32_t b) { return a >= b; }},
          {"ult", [](U a, U b) { return a < b; }},
          {"uge", [](U a, U b) { return a >= b; }},
      };
  for (const auto &[name, expected] : compares)
    check<int32_t, int32_t>(
        "i32", "i32",
        fmt::format("%c = arith.cmpi {}, %x, %y : i32\n"
                    "%r = arith.select %c, %z, %x : i32",
                    name),
        x, y, z, [&, expected = expected](int32_t a, int32_t b, int32_t c) {
          return expected(a, b) ? c : a;
        });
}

TEST(ElementOps, FloatComparisons) {
  const std::pair<const char *, std::function<bool(float, float)>> ops[] = {
      {"oeq", [](float a, float b) { return a == b; }},
      {"olt", [](float a, float b) { return a < b; }},
      {"ole", [](float a, float b) { return a <= b; }},
      {"ogt", [](float a, float b) { return a > b; }},
      {"oge", [](float a, float b) { return a >= b; }},
      {"one", [](float a, float b) { return a < b || a > b; }},
      {"ord", [](float a, float b) { return a == a && b == b; }},
      {"uno", [](float a, float b) { return a != a || b != b; }},
      {"une", [](float a, float b) { return a != b; }},
      {"ult", [](float a, float b) { return !(a >= b); }},
  };
  for (const auto &[name, expected] : ops) {
    checkFloat(fmt::format("%c = arith.cmpf {}, %x, %y : f32\n"
                           "%r = arith.select %c, %z, %x : f32",
                           name),
               [&, expected = expected](float a, float b, float c) {
                 return expected(a, b) ? c : a;
               });
    std::vector<float> x = interestingFloats();
    check<float, uint8_t>("f32", "i1",
                          fmt::format("%r = arith.cmpf {}, %x, %y : f32", name),
                          x, shuffled(x, 1), shuffled(x, 2),
                          [&, expected = expected](float a, float b, float) {
                            return uint8_t(expected(a, b));
                          });
  }
}

TEST(ElementOps, Conversions) {
  std::mt19937 random(8);
  std::vector<int32_t> x = {0, 1, -1, INT32_MIN, INT32_MAX, 16777217};
  for (int i = 0; i < 500; ++i)
    x.push_back(random());
  check<int32_t, float>("i32", "f32", "%r = arith.sitofp %x : i32 to f32", x, x,
                        x,
                        [](int32_t a, int32_t, int32_t) { return float(a); });
  check<int32_t, float>(
      "i32", "f32", "%r = arith.uitofp %x : i32 to f32", x, x, x,
      [](int32_t a, int32_t, int32_t) { return float(uint32_t(a)); });
  std::vector<int8_t> codes;
  for (int i = -128; i < 128; ++i)
    codes.push_back(i);
  check<int8_t, float>("i8", "f32", "%r = arith.sitofp %x : i8 to f32", codes,
                       codes, codes,
                       [](int8_t a, int8_t, int8_t) { return float(a); });
  check<int8_t, float>(
      "i8", "f32", "%r = arith.uitofp %x : i8 to f32", codes, codes, codes,
      [](int8_t a, int8_t, int8_t) { return float(uint8_t(a)); });
  check<int8_t, int32_t>(
      "i8", "i32", "%r = arith.extui %x : i8 to i32", codes, codes, codes,
      [](int8_t a, int8_t, int8_t) { return int32_t(uint8_t(a)); });
  check<int32_t, int8_t>("i32", "i8", "%r = arith.trunci %x : i32 to i8", x, x,
                         x,
                         [](int32_t a, int32_t, int32_t) { return int8_t(a); });
  std::vector<float> f;
  for (int i = -1280; i < 1270; ++i)
    f.push_back(i * 0.1f);
  check<float, int8_t>("f32", "i8", "%r = arith.fptosi %x : f32 to i8", f, f, f,
                       [](float a, float, float) { return int8_t(a); });
  for (float &v : f)
    v = std::fabs(v) * 2 > 255 ? 255 : std::fabs(v) * 2;
  check<float, uint8_t>(
      "f32", "ui8",
      "%u = arith.fptoui %x : f32 to i32\n"
      "%r0 = arith.trunci %u : i32 to i8\n"
      "%c = arith.constant 0 : i8\n"
      "%r = arith.ori %r0, %c : i8",
      f, f, f, [](float a, float, float) { return uint8_t(uint32_t(a)); });
}
