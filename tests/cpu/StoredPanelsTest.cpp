//===- StoredPanelsTest.cpp - Float products of codes and narrow floats ---===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "CpuHarness.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <random>

using namespace quern;
using namespace quern::test;
using cpugen::CpuLevel;
using cpugen::CpuTarget;
using ::testing::HasSubstr;

namespace {

/// What one right operand is.
struct Weight {
  std::string storage = "i4"; ///< i4, ui4, i8, ui8, f16, bf16 or f8E4M3FN.
  /// Elements to a scale, "" for none: "16", or "s2" for all of K.
  std::string group = "";
  bool zeroPoints = false;  ///< One to each scale.
  std::string rounded = ""; ///< To this type, which is multiplied then.
  bool transposed = true;   ///< w[n, k], not w[k, n].
  int64_t zeroGroup = 0;    ///< Of zero points, if not the scales' one.

  bool packed() const { return storage == "i4" || storage == "ui4"; }
  bool isInteger() const {
    return packed() || storage == "i8" || storage == "ui8";
  }
  int64_t groupOf(int64_t k) const {
    return group == "s2" ? k : std::stoll(group);
  }
  int64_t zerosOf(int64_t k) const {
    return zeroGroup ? zeroGroup : groupOf(k);
  }
  std::string operand(const std::string &name) const;
};

std::string Weight::operand(const std::string &name) const {
  std::string body = fmt::format(
      "    %0 = tile.load %{0} at #{1} (%n, %k) : !W{0} -> {2}\n", name,
      transposed ? "id" : "swap", isInteger() ? "i8" : storage);
  bool isUnsigned = storage[0] == 'u';
  body += isInteger()
              ? fmt::format("    %1 = arith.{} %0 : i8 to f32\n",
                            isUnsigned ? "uitofp" : "sitofp")
              : fmt::format("    %1 = arith.extf %0 : {} to f32\n", storage);
  std::string result = "%1";
  if (zeroPoints) {
    body +=
        fmt::format("    %z = tile.load %z{0} at affine_map<(d0, d1)[s0, s1, "
                    "s2] -> (d0, d1 floordiv {1})> (%n, %k) : !Z{0} -> i8\n"
                    "    %zf = arith.uitofp %z : i8 to f32\n"
                    "    %2 = arith.subf %1, %zf : f32\n",
                    name, zeroGroup ? std::to_string(zeroGroup) : group);
    result = "%2";
  }
  if (!group.empty()) {
    std::string column = group == "s2" ? "0" : "d1 floordiv " + group;
    body += fmt::format("    %s = tile.load %s{0} at affine_map<(d0, d1)[s0, "
                        "s1, s2] -> (d0, {1})> (%n, %k) : !S{0} -> f16\n"
                        "    %sf = arith.extf %s : f16 to f32\n"
                        "    %3 = arith.mulf {2}, %sf : f32\n",
                        name, column, result);
    result = "%3";
  }
  if (!rounded.empty()) {
    body +=
        fmt::format("    %4 = arith.truncf {} : f32 to {}\n", result, rounded);
    result = "%4";
  }
  return body + fmt::format("    tile.yield {} : {}\n", result,
                            rounded.empty() ? "f32" : rounded);
}

/// y[m, n] = the sum over the weights w of sum_k a[m, k] w[n, k].
std::string productOf(const std::vector<Weight> &weights) {
  std::string types, buffers, arguments, parameters, list, operands, terms,
      sums, writes;
  for (auto [i, w] : llvm::enumerate(weights)) {
    std::string name = i ? "v" : "w";
    std::string group = w.group.empty() || w.group == "s2" ? "" : w.group;
    auto columns = [&](const std::string &length) {
      return length.empty() ? std::string("1") : "s2 ceildiv " + length;
    };
    std::string zeros = w.zeroGroup ? std::to_string(w.zeroGroup) : group;
    types +=
        fmt::format("!W{0} = !tile.buffer<()[s0, s1, s2] -> ({1}), {2}>\n"
                    "!S{0} = !tile.buffer<()[s0, s1, s2] -> (s1, {3}), f16>\n"
                    "!Z{0} = !tile.buffer<()[s0, s1, s2] -> (s1, {4}), ui8>\n",
                    name, w.transposed ? "s1, s2" : "s2, s1", w.storage,
                    columns(group), columns(zeros));
    for (std::string part : {"W", "S", "Z"}) {
      std::string value = part == "W" ? name : (part == "S" ? "s" : "z") + name;
      buffers += fmt::format(
          "  %{0} = tile.buffer \"{0}\" \"values\" weight : !{1}{2}\n", value,
          part, name);
      arguments += fmt::format("%{}, ", value);
      list += fmt::format("!{}{}, ", part, name);
      parameters += fmt::format("%{}: !{}{}, ", value, part, name);
      writes += "false, ";
    }
    operands +=
        "  operand (%n: index, %k: index) {\n" + w.operand(name) + "  }\n";
    terms += fmt::format("{}0, {}", i ? ", " : "", i);
    sums += fmt::format(", %acc{}: f32", i);
  }
  bool two = weights.size() == 2;
  const std::string &type = weights[0].rounded;
  std::string left = "    tile.yield %0 : f32\n";
  if (!type.empty())
    left = fmt::format("    %1 = arith.truncf %0 : f32 to {0}\n"
                       "    tile.yield %1 : {0}\n",
                       type);
  return types + fmt::format(R"mlir(
!A = !tile.buffer<()[s0, s1, s2] -> (s0, s2), f32>
!Y = !tile.buffer<()[s0, s1, s2] -> (s0, s1), f32>
#symbols = [#tile.symbol<"M", 0, 512, 1>, #tile.symbol<"N", 0, 512, 1>, #tile.symbol<"K", 0, 1024, 1>]
#id = affine_map<(d0, d1)[s0, s1, s2] -> (d0, d1)>
#swap = affine_map<(d0, d1)[s0, s1, s2] -> (d1, d0)>
tile.program @layer symbols #symbols numerics "strict" {{
  %a = tile.buffer "a" "values" input : !A
{0}  %y = tile.buffer "y" "values" output : !Y
  tile.launch @product (%a, {1}%y) : !A, {2}!Y
}}
tile.kernel @product attributes {{symbols = #symbols, writes = array<i1: false, {3}true>, numerics_class = 2 : i32, reason = "test"}} (%a: !A, {4}%y: !Y) {{
  tile.contract {{extents = affine_map<()[s0, s1, s2] -> (s0, s1, s2)>, num_batch = 0 : i64, num_lhs = 1 : i64, terms = array<i64: {5}>}}
  epilogue (%m: index, %n: index{6}) {{
    {7}
    tile.store %sum to %y at #id (%m, %n) : f32, !Y
    tile.yield
  }}
  operand (%m: index, %k: index) {{
    %0 = tile.load %a at #id (%m, %k) : !A -> f32
{8}  }}
{9}}}
)mlir",
                             buffers, arguments, list, writes, parameters,
                             terms, sums,
                             two ? "%sum = arith.addf %acc0, %acc1 : f32"
                                 : "%zero = arith.constant -0.0 : f32\n    "
                                   "%sum = arith.addf %acc0, %zero : f32",
                             left, operands);
}

float decodeE4m3(uint8_t code) {
  int exponent = code >> 3 & 15, fraction = code & 7;
  float magnitude = exponent == 0
                        ? std::ldexp(float(fraction), -9)
                        : std::ldexp(float(fraction | 8), exponent - 10);
  return code & 128 ? -magnitude : magnitude;
}

float half(uint16_t bits) { return float(std::bit_cast<_Float16>(bits)); }

/// A weight's values, and what lies in its buffers.
struct Data {
  std::vector<uint8_t> bytes;
  std::vector<uint16_t> scales;
  std::vector<uint8_t> zeros;
  std::vector<float> values; ///< [n][k]
};

Data draw(const Weight &w, int64_t n, int64_t k, std::mt19937 &random) {
  Data data;
  int64_t rows = w.transposed ? n : k, length = w.transposed ? k : n;
  int64_t width = w.storage == "f16" || w.storage == "bf16" ? 2 : 1;
  int64_t rowBytes = w.packed() ? (length + 1) / 2 : length * width;
  data.bytes.resize(rows * rowBytes);
  for (uint8_t &byte : data.bytes) {
    byte = random();
    if (w.storage == "f8E4M3FN" && (byte & 127) == 127)
      byte = 0;
  }
  if (width == 2) // Near one.
    for (size_t i = 1; i < data.bytes.size(); i += 2)
      data.bytes[i] =
          (data.bytes[i] & 0x83) | (w.storage == "f16" ? 0x38 : 0x3c);
  auto columns = [&](int64_t g) { return g > 0 ? (k + g - 1) / g : 0; };
  bool scaled = !w.group.empty();
  int64_t numScales = !scaled ? 1 : w.group == "s2" ? 1 : columns(w.groupOf(k));
  int64_t numZeros = !w.zeroPoints ? numScales : columns(w.zerosOf(k));
  data.scales.resize(n * numScales);
  for (uint16_t &s : data.scales)
    s = 0x2c00 | (random() & 0x3ff);
  data.zeros.resize(n * numZeros);
  for (uint8_t &z : data.zeros)
    z = random() % 16;
  data.values.resize(n * k);
  for (int64_t j = 0; j < n; ++j)
    for (int64_t l = 0; l < k; ++l) {
      int64_t row = w.transposed ? j : l, at = w.transposed ? l : j;
      const uint8_t *line = data.bytes.data() + row * rowBytes;
      float x;
      if (w.packed()) {
        unsigned nibble = line[at / 2] >> (at % 2 * 4) & 15;
        x = w.storage == "i4" && nibble > 7 ? float(nibble) - 16
                                            : float(nibble);
      } else if (width == 2) {
        uint16_t bits = line[2 * at] | line[2 * at + 1] << 8;
        x = w.storage == "f16" ? half(bits)
                               : std::bit_cast<float>(uint32_t(bits) << 16);
      } else {
        x = w.storage == "f8E4M3FN" ? decodeE4m3(line[at])
            : w.storage == "i8"     ? float(int8_t(line[at]))
                                    : float(line[at]);
      }
      if (w.zeroPoints)
        x -= float(data.zeros[j * numZeros + l / w.zerosOf(k)]);
      if (scaled)
        x *= half(data.scales[j * numScales +
                              (w.group == "s2" ? 0 : l / w.groupOf(k))]);
      if (!w.rounded.empty())
        x = float(_Float16(x));
      data.values[j * k + l] = x;
    }
  return data;
}

void check(const std::vector<Weight> &weights, bool stored = true) {
  std::mt19937 random(29);
  for (const CpuTarget &target : executableTargets()) {
    CompiledProgram program(productOf(weights), target);
    ASSERT_EQ(program.error, "");
    bool half = !weights[0].rounded.empty() || weights[0].storage == "f16";
    if (!half || target.convertsHalf())
      EXPECT_EQ(program.variant.kernels.front().schedule.find("as stored") !=
                    std::string::npos,
                stored);
    for (int round = 0; round < 18; ++round) {
      // Few rows of two panels and of one, a tile, blocks; chunks and none.
      int64_t m =
          round < 6 ? round / 2 + 1 : random() % (round < 14 ? 20 : 150);
      int64_t n = random() % 100, k = random() % (round % 2 ? 500 : 70);
      SCOPED_TRACE(fmt::format("{} {} m {} n {} k {}", target.name(),
                               weights[0].storage, m, n, k));
      program.allocate({m, n, k});
      std::vector<float> a(m * k);
      for (float &x : a) // Exact in f16.
        x = float(int(random() % 257) - 128) / 64;
      program.set("a", a);
      std::vector<Data> data;
      for (auto [i, w] : llvm::enumerate(weights)) {
        data.push_back(draw(w, n, k, random));
        std::string name = i ? "v" : "w";
        program.set(name, data[i].bytes);
        program.set("s" + name, data[i].scales);
        program.set("z" + name, data[i].zeros);
      }
      program.run(1 + round % 3);
      ASSERT_TRUE(program.intact()) << program.error;
      auto y = program.get<float>("y");
      for (int64_t i = 0; i < m; ++i)
        for (int64_t j = 0; j < n; ++j) {
          float expected = 0;
          for (auto [term, weight] : llvm::enumerate(data)) {
            float sum = 0;
            for (int64_t l = 0; l < k; ++l) {
              float x = a[i * k + l], w = weight.values[j * k + l];
              sum = target.hasFma() ? std::fma(x, w, sum) : sum + x * w;
            }
            expected = term ? expected + sum : sum;
          }
          ASSERT_EQ(y[i * n + j], expected) << i << ", " << j;
        }
    }
  }
}

} // namespace

TEST(StoredPanels, CodesOfFourBits) {
  check({{.storage = "i4", .group = "32"}});
  check({{.storage = "ui4", .group = "16", .zeroPoints = true}});
  check({{.storage = "i4", .group = "24", .rounded = "f16"}});
  check({{.storage = "i4", .group = "128", .transposed = false}});
  check({{.storage = "ui4", .rounded = "f16"}});
}

TEST(StoredPanels, CodesOfEightBits) {
  check({{.storage = "i8", .group = "48"}});
  check({{.storage = "ui8", .group = "s2", .rounded = "f16"}});
  check({{.storage = "i8", .rounded = "f16"}});
  check({{.storage = "f8E4M3FN", .group = "32"}});
}

TEST(StoredPanels, FloatsOfSixteenBits) {
  check({{.storage = "f16"}});
  check({{.storage = "bf16", .transposed = false}});
}

TEST(StoredPanels, ZeroPointsWithGroupsOfTheirOwn) {
  check(
      {{.storage = "ui4", .group = "32", .zeroPoints = true, .zeroGroup = 64}});
  check(
      {{.storage = "ui4", .group = "64", .zeroPoints = true, .zeroGroup = 32}});
}

TEST(StoredPanels, TwoOperandsSideBySide) {
  check({{.storage = "i4", .group = "32"}, {.storage = "ui4", .group = "64"}});
  check({{.storage = "i8", .group = "s2"},
         {.storage = "f8E4M3FN", .group = "32", .zeroPoints = true}});
}

TEST(StoredPanels, WhatIsDecodedWhilePacking) {
  // Odd groups, short ones, such that are no multiples, different widths.
  check({{.storage = "i4", .group = "33"}}, false);
  check({{.storage = "i8", .group = "8"}}, false);
  check(
      {{.storage = "ui4", .group = "32", .zeroPoints = true, .zeroGroup = 48}},
      false);
  check({{.storage = "i4", .group = "32"}, {.storage = "i8", .group = "32"}},
        false);
}

TEST(StoredPanels, TakeTheMemoryOfTheirElements) {
  for (CpuLevel level : {CpuLevel::Generic, CpuLevel::Avx2,
                         CpuLevel::Avx512Vnni, CpuLevel::AArch64DotProd}) {
    CompiledProgram program(productOf({{.storage = "i4", .group = "128"}}),
                            CpuTarget::forLevel(level));
    ASSERT_EQ(program.error, "");
    program.allocate({1, 256, 1024});
    // The buffer of the program that is not the layer's.
    size_t packed = program.memory.back().size();
    // Codes, and for each group a scale, in whole cache lines.
    EXPECT_LE(packed, 256 * (1024 / 2 + 1024 / 128 * 8)) << int(level);
    EXPECT_GE(packed, 256 * 1024 / 2);
  }
}

TEST(StoredPanels, NotForPairsOfBf16) {
  // Their steps are two elements wide.
  auto packing = [](const std::string &type) {
    CompiledProgram program(productOf({{.storage = "i4", .rounded = type}}),
                            CpuTarget::forLevel(CpuLevel::Avx512Bf16));
    EXPECT_EQ(program.error, "");
    return program.variant.kernels.front().schedule;
  };
  EXPECT_THAT(packing("f16"), HasSubstr("as stored"));
  EXPECT_THAT(packing("bf16"), HasSubstr("bf16 pairs"));
}
