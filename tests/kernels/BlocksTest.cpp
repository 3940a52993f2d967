//===- BlocksTest.cpp - Block kernels executed on the simulator -----------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// The block family against plain loops, bit by bit: dynamic quantization per
// row and per group, softmax, norms, maps over everything, sums of integers,
// short last blocks, and stages that read what earlier ones stored.
//
//===----------------------------------------------------------------------===//

#include "tests/kernels/KernelHarness.h"
#include "tests/kernels/StrictMath.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cfloat>
#include <functional>
#include <random>

using namespace quern;
using namespace quern::test;

/// A module of one blocks kernel. `buffers` are name, role, shape, element;
/// `$name` in the body stands for the buffer's type.
struct TestBuffer {
  std::string name, role, shape, element;
};

static std::string blocksModule(const std::vector<TestBuffer> &buffers,
                                std::string body, int64_t maxM = 4096) {
  std::string symbols = fmt::format("[#tile.symbol<\"M\", 0, {}, 1>]", maxM);
  std::string out = fmt::format(
      "tile.program @layer symbols {} numerics \"strict\" {{\n", symbols);
  std::string names, types, params, writes;
  for (const TestBuffer &b : buffers) {
    std::string type =
        fmt::format("!tile.buffer<()[s0] -> ({}), {}>", b.shape, b.element);
    out += fmt::format("  %{0} = tile.buffer \"{0}\" \"values\" {1} : {2}\n",
                       b.name, b.role, type);
    const char *comma = names.empty() ? "" : ", ";
    names += comma + ("%" + b.name);
    types += comma + type;
    params += fmt::format("{}%{}: {}", comma, b.name, type);
    writes += fmt::format("{}{}", comma, b.role == "output");
    std::string key = "$" + b.name + " ";
    for (size_t at; (at = body.find(key)) != std::string::npos;)
      body.replace(at, key.size(), type + " ");
  }
  out += fmt::format("  tile.launch @kernel({}) : {}\n}}\n", names, types);
  out += fmt::format("tile.kernel @kernel attributes {{symbols = {}, writes = "
                     "array<i1: {}>, numerics_class = 1 : i32, reason = "
                     "\"test\"}} ({}) {{\n{}\n}}\n",
                     symbols, writes, params, body);
  return out;
}

static std::vector<float> normals(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float &value : values)
    value = normal(random);
  return values;
}

/// Compiles, runs at several M, seeds and architectures, and compares y.
static void
check(const std::string &text, const std::vector<int64_t> &rows,
      const std::function<Buffers(int64_t)> &inputs,
      const std::function<std::string(int64_t, const Buffers &)> &compare) {
  for (const char *arch : {"sm_80", "sm_120a"}) {
    Result<VariantDesc> variant = compileTile(text, arch);
    ASSERT_TRUE(variant) << variant.error().render() << text;
    for (const KernelDesc &kernel : variant->kernels)
      EXPECT_EQ(kernel.spillBytes, 0u);
    for (int64_t M : rows)
      for (uint64_t seed : {1, 2}) {
        Buffers buffers = inputs(M);
        Result<void> done = runOnSimulator(*variant, {M}, buffers, seed);
        ASSERT_TRUE(done) << arch << " M=" << M << "\n"
                          << done.error().render();
        std::string difference = compare(M, buffers);
        ASSERT_TRUE(difference.empty())
            << arch << " M=" << M << ": " << difference;
      }
  }
}

static std::string compareFloats(const std::vector<float> &got,
                                 const std::vector<float> &want) {
  if (got.size() != want.size())
    return fmt::format("{} values instead of {}", got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i)
    if (!sameBits(got[i], want[i]))
      return fmt::format("element {}: {} instead of {}", i, got[i], want[i]);
  return {};
}

/// Dynamic quantization of rows in groups of `group`; the last may be short.
static std::string quantizeText(int64_t K, int64_t group) {
  int64_t groups = (K + group - 1) / group;
  std::string body = fmt::format(R"(
  tile.blocks affine_map<()[s0] -> (s0, {1})> (%m: index, %g: index) {{
    %amax = tile.reduce umax (%m, %g) box affine_map<(d0, d1)[s0] -> ({2})>
        clamp affine_map<(d0, d1)[s0] -> ({0} - d1 * {2})> (%k: index) {{
      %v = tile.load %x at affine_map<(d0, d1, d2)[s0] -> (d0, d1 * {2} + d2)> (%m, %g, %k) : $x -> f32
      %b = arith.bitcast %v : f32 to i32
      %mask = arith.constant 2147483647 : i32
      %a = arith.andi %b, %mask : i32
      tile.yield %a : i32
    }} : i32
    %f = arith.bitcast %amax : i32 to f32
    %div = arith.constant 127.0 : f32
    %q = arith.divf %f, %div : f32
    %floor = arith.constant 1.17549435E-38 : f32
    %scale = arith.maximumf %q, %floor : f32
    tile.store %scale to %s at affine_map<(d0, d1)[s0] -> (d0, d1)> (%m, %g) : f32, $s 
    tile.map (%m, %g) box affine_map<(d0, d1)[s0] -> ({2})>
        clamp affine_map<(d0, d1)[s0] -> ({0} - d1 * {2})> (%k: index) {{
      %v = tile.load %x at affine_map<(d0, d1, d2)[s0] -> (d0, d1 * {2} + d2)> (%m, %g, %k) : $x -> f32
      %t = arith.divf %v, %scale : f32
      %r = math.roundeven %t : f32
      %lo = arith.constant -127.0 : f32
      %hi = arith.constant 127.0 : f32
      %c0 = arith.maximumf %r, %lo : f32
      %c1 = arith.minimumf %c0, %hi : f32
      %nan = arith.cmpf uno, %t, %t : f32
      %zero = arith.constant 0.0 : f32
      %c2 = arith.select %nan, %zero, %c1 : f32
      %code = arith.fptosi %c2 : f32 to i8
      tile.store %code to %c at affine_map<(d0, d1, d2)[s0] -> (d0, d1 * {2} + d2)> (%m, %g, %k) : i8, $c 
      tile.yield
    }}
  }})",
                                 K, groups, group);
  return blocksModule({{"x", "input", fmt::format("s0, {}", K), "f32"},
                       {"s", "output", fmt::format("s0, {}", groups), "f32"},
                       {"c", "output", fmt::format("s0, {}", K), "i8"}},
                      body);
}

static void checkQuantize(int64_t K, int64_t group) {
  int64_t groups = (K + group - 1) / group;
  auto inputs = [&](int64_t M) {
    Buffers buffers;
    std::vector<float> x = normals(M * K, 7);
    if (M > 2) {
      x[K] = NAN;                              // A NaN takes its block.
      std::fill_n(x.begin() + 2 * K, K, 0.0f); // Zeros give codes 0.
    }
    buffers.set("x", x);
    return buffers;
  };
  auto compare = [&](int64_t M, const Buffers &buffers) {
    std::vector<float> x = buffers.get<float>("x"), s(M * groups);
    std::vector<int8_t> codes = buffers.get<int8_t>("c");
    for (int64_t m = 0; m < M; ++m)
      for (int64_t g = 0; g < groups; ++g) {
        uint32_t amax = 0;
        int64_t begin = g * group, end = std::min(K, begin + group);
        for (int64_t k = begin; k < end; ++k)
          amax = std::max(amax,
                          std::bit_cast<uint32_t>(x[m * K + k]) & 0x7fffffff);
        float scale = std::bit_cast<float>(amax) / 127;
        scale = scale != scale ? scale : std::max(scale, 0x1p-126f);
        s[m * groups + g] = scale;
        for (int64_t k = begin; k < end; ++k) {
          float t = x[m * K + k] / scale;
          int want = t != t ? 0
                            : static_cast<int>(std::clamp(std::nearbyint(t),
                                                          -127.0f, 127.0f));
          if (codes[m * K + k] != want)
            return fmt::format("code [{}, {}] = {} instead of {}", m, k,
                               codes[m * K + k], want);
        }
      }
    return compareFloats(buffers.get<float>("s"), s);
  };
  check(quantizeText(K, group), {1, 5, 17}, inputs, compare);
}

TEST(Blocks, QuantizesRows) {
  QUERN_NEEDS_NVRTC();
  checkQuantize(1000, 1000);
}

TEST(Blocks, QuantizesGroups) {
  QUERN_NEEDS_NVRTC();
  checkQuantize(300, 128); // The last group is short.
  checkQuantize(96, 32);
}

static std::string softmaxText(int64_t K) {
  return blocksModule({{"x", "input", fmt::format("s0, {}", K), "f32"},
                       {"y", "output", fmt::format("s0, {}", K), "f32"}},
                      fmt::format(R"(
  tile.blocks affine_map<()[s0] -> (s0)> (%m: index) {{
    %max = tile.reduce maximumf (%m) box affine_map<(d0)[s0] -> ({0})> (%k: index) {{
      %v = tile.load %x at affine_map<(d0, d1)[s0] -> (d0, d1)> (%m, %k) : $x -> f32
      tile.yield %v : f32
    }} : f32
    tile.map (%m) box affine_map<(d0)[s0] -> ({0})> (%k: index) {{
      %v = tile.load %x at affine_map<(d0, d1)[s0] -> (d0, d1)> (%m, %k) : $x -> f32
      %d = arith.subf %v, %max : f32
      %e = math.exp %d : f32
      tile.store %e to %y at affine_map<(d0, d1)[s0] -> (d0, d1)> (%m, %k) : f32, $y 
      tile.yield
    }}
    %sum = tile.reduce addf (%m) box affine_map<(d0)[s0] -> ({0})> (%k: index) {{
      %v = tile.load %y at affine_map<(d0, d1)[s0] -> (d0, d1)> (%m, %k) : $y -> f32
      tile.yield %v : f32
    }} : f32
    tile.map (%m) box affine_map<(d0)[s0] -> ({0})> (%k: index) {{
      %v = tile.load %y at affine_map<(d0, d1)[s0] -> (d0, d1)> (%m, %k) : $y -> f32
      %q = arith.divf %v, %sum : f32
      tile.store %q to %y at affine_map<(d0, d1)[s0] -> (d0, d1)> (%m, %k) : f32, $y 
      tile.yield
    }}
  }})",
                                  K));
}

TEST(Blocks, Softmax) {
  QUERN_NEEDS_NVRTC();
  // Block teams, and warp teams with 1, 2, 4 and 8 partials per lane.
  for (int64_t K : {777, 256, 200, 100, 50, 31}) {
    auto inputs = [&](int64_t M) {
      Buffers buffers;
      buffers.set("x", normals(M * K, 3));
      return buffers;
    };
    auto compare = [&](int64_t M, const Buffers &buffers) {
      std::vector<float> x = buffers.get<float>("x"), y;
      for (int64_t m = 0; m < M; ++m) {
        float max = -INFINITY;
        std::vector<float> e(K);
        for (int64_t k = 0; k < K; ++k)
          max = std::max(max, x[m * K + k]);
        for (int64_t k = 0; k < K; ++k)
          e[k] = strictExp(x[m * K + k] - max);
        float sum = orderedSum(e);
        for (int64_t k = 0; k < K; ++k)
          y.push_back(e[k] / sum);
      }
      return compareFloats(buffers.get<float>("y"), y);
    };
    check(softmaxText(K), {1, 9}, inputs, compare);
  }
}

TEST(Blocks, OneMapOverEverything) {
  QUERN_NEEDS_NVRTC();
  std::string text = blocksModule(
      {{"x", "input", "3, s0, 37", "f32"}, {"y", "output", "3, s0, 37", "f32"}},
      R"(
  tile.blocks affine_map<()[s0] -> (3, s0)> (%b: index, %m: index) {
    tile.map (%b, %m) box affine_map<(d0, d1)[s0] -> (37)> (%k: index) {
      %v = tile.load %x at affine_map<(d0, d1, d2)[s0] -> (d0, d1, d2)> (%b, %m, %k) : $x -> f32
      %t = math.tanh %v : f32
      %e = math.erf %v : f32
      %s = arith.addf %t, %e : f32
      %a = math.absf %v : f32
      %r = math.sqrt %a : f32
      %f = math.fma %s, %r, %v : f32
      %i = tile.index affine_map<(d0)[s0] -> (d0 mod 2)> (%k)
      %zero = arith.constant 0 : index
      %even = arith.cmpi eq, %i, %zero : index
      %n = arith.negf %f : f32
      %c = arith.select %even, %f, %n : f32
      tile.store %c to %y at affine_map<(d0, d1, d2)[s0] -> (d0, d1, d2)> (%b, %m, %k) : f32, $y 
      tile.yield
    }
  })");
  auto inputs = [&](int64_t M) {
    Buffers buffers;
    std::vector<float> x = normals(3 * M * 37, 11);
    for (float &value : x)
      value *= 3;
    x[0] = NAN, x[1] = INFINITY, x[2] = -INFINITY, x[3] = -0.0f;
    x[4] = 1e-40f; // Subnormals are kept.
    buffers.set("x", x);
    return buffers;
  };
  auto compare = [&](int64_t M, const Buffers &buffers) {
    std::vector<float> y, x = buffers.get<float>("x");
    for (size_t i = 0; i < x.size(); ++i) {
      float v = x[i];
      float f =
          std::fma(strictTanh(v) + strictErf(v), std::sqrt(std::fabs(v)), v);
      y.push_back(i % 37 % 2 == 0 ? f : -f);
    }
    return compareFloats(buffers.get<float>("y"), y);
  };
  check(text, {1, 17}, inputs, compare);
}

TEST(Blocks, SumsIntegersAndWritesColumns) {
  QUERN_NEEDS_NVRTC();
  std::string text = blocksModule(
      {{"x", "input", "s0, 300", "ui8"}, {"y", "output", "300", "i32"}},
      R"(
  tile.blocks affine_map<()[s0] -> (300)> (%n: index) {
    %sum = tile.reduce addi (%n) box affine_map<(d0)[s0] -> (s0)> (%m: index) {
      %v = tile.load %x at affine_map<(d0, d1)[s0] -> (d1, d0)> (%n, %m) : $x -> i8
      %w = arith.extui %v : i8 to i32
      %c = arith.constant 16843009 : i32
      %p = arith.muli %w, %c : i32
      tile.yield %p : i32
    } : i32
    tile.store %sum to %y at affine_map<(d0)[s0] -> (d0)> (%n) : i32, $y 
  })");
  auto inputs = [&](int64_t M) {
    Buffers buffers;
    std::mt19937 random(5);
    std::vector<uint8_t> x(M * 300);
    for (uint8_t &value : x)
      value = static_cast<uint8_t>(random());
    buffers.set("x", x);
    return buffers;
  };
  auto compare = [&](int64_t M, const Buffers &buffers) -> std::string {
    std::vector<uint8_t> x = buffers.get<uint8_t>("x");
    std::vector<uint32_t> y = buffers.get<uint32_t>("y");
    for (int64_t n = 0; n < 300; ++n) {
      uint32_t sum = 0; // Wraps.
      for (int64_t m = 0; m < M; ++m)
        sum += x[m * 300 + n] * 16843009u;
      if (y[n] != sum)
        return fmt::format("column {}: {} instead of {}", n, y[n], sum);
    }
    return {};
  };
  check(text, {1, 130}, inputs, compare);
}

/// Numbers whose encoding decides between two codes, on both sides of every
/// such decision, and those that are no numbers.
static std::vector<float> numbersForF8(size_t count, bool isE5M2) {
  std::vector<float> values = {0.0f,      -0.0f,    NAN,     -NAN,    INFINITY,
                               -INFINITY, 1e-45f,   -1e-38f, 464.0f,  464.1f,
                               61440.0f,  65504.0f, 1e30f,   -FLT_MAX};
  for (int code = 0; code < (isE5M2 ? 0x7b : 0x7e); ++code) {
    float low = fromF8(code, isE5M2), high = fromF8(code + 1, isE5M2);
    float middle = (low + high) / 2;
    for (float value : {low, middle, std::nextafter(middle, 0.0f),
                        std::nextafter(middle, high)})
      values.push_back(code % 3 ? value : -value);
  }
  std::vector<float> random = normals(count, 13);
  for (size_t i = values.size(); i < count; ++i)
    values.push_back(random[i] *
                     std::ldexp(1.0f, static_cast<int>(i % 40) - 24));
  values.resize(count);
  return values;
}

TEST(Blocks, EightBitFloatsConvertAsWritten) {
  QUERN_NEEDS_NVRTC();
  for (bool isE5M2 : {false, true}) {
    const char *type = isE5M2 ? "f8E5M2" : "f8E4M3FN";
    std::string text = blocksModule({{"x", "input", "s0, 256", "f32"},
                                     {"d", "input", "256", type},
                                     {"y", "output", "s0, 256", "f32"},
                                     {"c", "output", "s0, 256", type}},
                                    fmt::format(R"(
  tile.blocks affine_map<()[s0] -> (s0)> (%m: index) {{
    tile.map (%m) box affine_map<(d0)[s0] -> (256)> (%k: index) {{
      %v = tile.load %x at affine_map<(d0, d1)[s0] -> (d0, d1)> (%m, %k) : $x -> f32
      %code = arith.truncf %v : f32 to {0}
      tile.store %code to %c at affine_map<(d0, d1)[s0] -> (d0, d1)> (%m, %k) : {0}, $c 
      %e = tile.load %d at affine_map<(d0)[s0] -> (d0)> (%k) : $d -> {0}
      %f = arith.extf %e : {0} to f32
      tile.store %f to %y at affine_map<(d0, d1)[s0] -> (d0, d1)> (%m, %k) : f32, $y 
      tile.yield
    }}
  }})",
                                                type));
    auto inputs = [&](int64_t M) {
      Buffers buffers;
      buffers.set("x", numbersForF8(M * 256, isE5M2));
      std::vector<uint8_t> codes(256);
      for (int i = 0; i < 256; ++i)
        codes[i] = static_cast<uint8_t>(i);
      buffers.set("d", codes);
      return buffers;
    };
    auto compare = [&](int64_t M, const Buffers &buffers) -> std::string {
      std::vector<float> x = buffers.get<float>("x"), decoded, want;
      std::vector<uint8_t> codes = buffers.get<uint8_t>("c");
      for (size_t i = 0; i < x.size(); ++i) {
        // As values, so that all NaNs are one.
        float got = fromF8(codes[i], isE5M2);
        float right = fromF8(toF8(x[i], isE5M2), isE5M2);
        if (!sameBits(got, right))
          return fmt::format("{} encodes to {} instead of {}", x[i], got,
                             right);
        want.push_back(fromF8(static_cast<uint8_t>(i % 256), isE5M2));
      }
      return compareFloats(buffers.get<float>("y"), want);
    };
    check(text, {1, 9}, inputs, compare);
  }
}

TEST(BlocksFaults, ArePlantedAndCaught) {
  QUERN_NEEDS_NVRTC();
  // Without the barrier before a block's partial results are read, or with the
  // butterfly turned into a shift, something must be noticed. (The very first
  // barrier guards against an earlier reduction, of which there is none.)
  int64_t K = 777;
  for (auto [from, to] :
       {std::pair("bar.sync \t0;", ""), {"shfl.sync.bfly", "shfl.sync.up"}}) {
    Result<VariantDesc> variant = compileTile(softmaxText(K), "sm_80");
    ASSERT_TRUE(variant) << variant.error().render();
    ASSERT_TRUE(editPtx(*variant, "bar.sync \t0;", "bar.sync 0;"));
    ASSERT_TRUE(editPtx(*variant, from, to)) << from;
    bool caught = false;
    for (uint64_t seed = 1; seed <= 5 && !caught; ++seed) {
      Buffers buffers;
      std::vector<float> x = normals(3 * K, 3);
      buffers.set("x", x);
      if (!runOnSimulator(*variant, {3}, buffers, seed)) {
        caught = true;
        break;
      }
      std::vector<float> y = buffers.get<float>("y");
      for (int64_t m = 0; m < 3; ++m) {
        float max =
            *std::max_element(x.begin() + m * K, x.begin() + (m + 1) * K);
        std::vector<float> e;
        for (int64_t k = 0; k < K; ++k)
          e.push_back(strictExp(x[m * K + k] - max));
        float sum = orderedSum(e);
        for (int64_t k = 0; k < K; ++k)
          caught |= !sameBits(y[m * K + k], e[k] / sum);
      }
    }
    EXPECT_TRUE(caught) << from;
  }
}
