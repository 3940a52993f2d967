//===- AccumulateTest.cpp - State that many threads gather in -------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// tile.accumulate in the epilogue of a product, in a map over everything and in
// blocks: into one word, into a word per row, per column and per element, under
// several schedules. A second kernel copies the state out.
//
//===----------------------------------------------------------------------===//

#include "tests/kernels/KernelHarness.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>

using namespace quern;
using namespace quern::test;

namespace {

/// Where elements (m, n) of a 5-bit value go.
struct Target {
  std::string shape, at; ///< Of the state; the element's place in it.
  int64_t size, perM, perN;
};

constexpr int64_t N = 72, K = 64;

} // namespace

static const Target targets[] = {{"1", "0", 1, 0, 0},
                                 {"200", "d0", 200, 1, 0},
                                 {"72", "d1", 72, 0, 1},
                                 {"14400", "d0 * 72 + d1", 14400, 72, 1}};

/// A program of `kernel`, which gathers in %most and %sum, and one that copies
/// both out.
static std::string programOf(const Target &t, const std::string &buffers,
                             const std::string &operands,
                             const std::string &types,
                             const std::string &kernel) {
  std::string word = fmt::format("!tile.buffer<()[s0] -> ({}), i32>", t.shape);
  std::string symbols = "[#tile.symbol<\"M\", 0, 200, 1>]";
  std::string out = fmt::format(
      "tile.program @layer symbols {0} numerics \"strict\" {{\n{1}"
      "  %most = tile.buffer \"most\" \"values\" state : {2}\n"
      "  %sum = tile.buffer \"sum\" \"values\" state : {2}\n"
      "  %a = tile.buffer \"a\" \"values\" output : {2}\n"
      "  %b = tile.buffer \"b\" \"values\" output : {2}\n"
      "  tile.launch @kernel({3}, %most, %sum) : {4}, {2}, {2}\n"
      "  tile.launch @copy(%most, %sum, %a, %b) : {2}, {2}, {2}, {2}\n}}\n",
      symbols, buffers, word, operands, types);
  out += fmt::format(
      "tile.kernel @copy attributes {{symbols = {0}, writes = array<i1: false, "
      "false, true, true>, numerics_class = 0 : i32, reason = \"test\"}} "
      "(%most: {1}, %sum: {1}, %a: {1}, %b: {1}) {{\n"
      "  tile.blocks affine_map<()[s0] -> ()> () {{\n"
      "    tile.map () box affine_map<()[s0] -> ({2})> (%i: index) {{\n"
      "      %x = tile.load %most at affine_map<(d0)[s0] -> (d0)>(%i) : {1} -> "
      "i32\n"
      "      tile.store %x to %a at affine_map<(d0)[s0] -> (d0)>(%i) : i32, "
      "{1}\n"
      "      %y = tile.load %sum at affine_map<(d0)[s0] -> (d0)>(%i) : {1} -> "
      "i32\n"
      "      tile.store %y to %b at affine_map<(d0)[s0] -> (d0)>(%i) : i32, "
      "{1}\n"
      "      tile.yield\n    }}\n  }}\n}}\n",
      symbols, word, t.shape);
  return out + kernel;
}

static std::string gather(const Target &t, const std::string &value) {
  std::string word = fmt::format("!tile.buffer<()[s0] -> ({}), i32>", t.shape);
  return fmt::format(
      "      tile.accumulate umax {0} to %most at affine_map<(d0, d1)[s0] -> "
      "({1})>(%m, %n) : {2}\n"
      "      tile.accumulate addi {0} to %sum at affine_map<(d0, d1)[s0] -> "
      "({1})>(%m, %n) : {2}\n",
      value, t.at, word);
}

static std::string header(const Target &t, const std::string &arguments,
                          unsigned count) {
  std::string word = fmt::format("!tile.buffer<()[s0] -> ({}), i32>", t.shape);
  std::string writes;
  for (unsigned i = 0; i < count; ++i)
    writes += "false, ";
  return fmt::format(
      "tile.kernel @kernel attributes {{symbols = [#tile.symbol<\"M\", 0, 200, "
      "1>], writes = array<i1: {}true, true>, numerics_class = 0 : i32, reason "
      "= \"test\"}} ({}, %most: {}, %sum: {}) {{\n",
      writes, arguments, word, word);
}

/// The product of x and w, gathered as it comes.
static std::string productText(const Target &t) {
  std::string x = "!tile.buffer<()[s0] -> (s0, 64), i8>",
              w = "!tile.buffer<()[s0] -> (72, 64), i8>";
  std::string operand =
      "  operand (%r: index, %k: index) {{\n    %c = tile.load %{} at "
      "affine_map<(d0, d1)[s0] -> (d0, d1)>(%r, %k) : {} -> i8\n    tile.yield "
      "%c : i8\n  }}\n";
  std::string kernel =
      header(t, fmt::format("%x: {}, %w: {}", x, w), 2) +
      "  tile.contract {extents = affine_map<()[s0] -> (s0, 72, 64)>, "
      "num_batch "
      "= 0 : i64, num_lhs = 1 : i64, terms = array<i64: 0, 0>}\n"
      "  epilogue (%m: index, %n: index, %acc: i32) {\n" +
      gather(t, "%acc") + "    tile.yield\n  }\n" +
      fmt::format(fmt::runtime(operand), "x", x) +
      fmt::format(fmt::runtime(operand), "w", w) + "}\n";
  return programOf(
      t,
      fmt::format("  %x = tile.buffer \"x\" \"values\" input : {}\n"
                  "  %w = tile.buffer \"w\" \"values\" weight : "
                  "{}\n",
                  x, w),
      "%x, %w", x + ", " + w, kernel);
}

/// The elements of v, as one map or row by row with a reduction beside it.
static std::string mapText(const Target &t, bool rows) {
  std::string v = "!tile.buffer<()[s0] -> (s0, 72), i32>";
  std::string load = "      %v = tile.load %v_ at affine_map<(d0, d1)[s0] -> "
                     "(d0, d1)>(%m, %n) : " +
                     v + " -> i32\n";
  std::string map = load + gather(t, "%v") + "      tile.yield\n    }\n";
  std::string body =
      rows
          ? "  tile.blocks affine_map<()[s0] -> (s0)> (%m: index) {\n"
            "    %largest = tile.reduce umax () box affine_map<()[s0] -> (72)> "
            "(%n: index) {\n" +
                load +
                "      tile.yield %v : i32\n    } : i32\n"
                "    tile.map () box affine_map<()[s0] -> (72)> (%n: index) "
                "{\n" +
                map + "  }\n"
          : "  tile.blocks affine_map<()[s0] -> ()> () {\n"
            "    tile.map () box affine_map<()[s0] -> (s0, 72)> (%m: index, "
            "%n: index) {\n" +
                map + "  }\n";
  return programOf(
      t, fmt::format("  %v_ = tile.buffer \"v\" \"values\" input : {}\n", v),
      "%v_", v, header(t, "%v_: " + v, 1) + body + "}\n");
}

static void check(const Target &t, const std::string &text, bool isProduct) {
  Result<VariantDesc> variant = compileTile(text, "sm_80");
  ASSERT_TRUE(variant) << variant.error().render() << text;
  for (int64_t M : {0, 1, 37, 200})
    for (uint64_t seed : {1, 2, 3}) {
      Buffers buffers;
      std::vector<int8_t> x(M * K), w(N * K);
      for (size_t i = 0; i < x.size(); ++i)
        x[i] = static_cast<int8_t>(i * 37 % 251);
      for (size_t i = 0; i < w.size(); ++i)
        w[i] = static_cast<int8_t>(i * 53 % 241);
      std::vector<int32_t> v(M * N);
      for (int64_t m = 0; m < M; ++m)
        for (int64_t n = 0; n < N; ++n)
          for (int64_t k = 0; k < K; ++k)
            v[m * N + n] += x[m * K + k] * w[n * K + k];
      if (isProduct) {
        buffers.set("x", x);
        buffers.set("w", w);
      } else {
        buffers.set("v", v);
      }
      std::vector<uint32_t> most(t.size), sum(t.size);
      for (int64_t m = 0; m < M; ++m)
        for (int64_t n = 0; n < N; ++n) {
          auto value = static_cast<uint32_t>(v[m * N + n]);
          int64_t at = m * t.perM + n * t.perN;
          most[at] = std::max(most[at], value);
          sum[at] += value;
        }
      Result<void> done = runOnSimulator(*variant, {M}, buffers, seed);
      ASSERT_TRUE(done) << done.error().render();
      EXPECT_EQ(buffers.get<uint32_t>("a"), most) << t.at << " M=" << M;
      EXPECT_EQ(buffers.get<uint32_t>("b"), sum) << t.at << " M=" << M;
    }
}

TEST(Accumulate, InAProductsEpilogue) {
  QUERN_NEEDS_NVRTC();
  for (const Target &t : targets)
    check(t, productText(t), true);
}

TEST(Accumulate, InAMapOverEverything) {
  QUERN_NEEDS_NVRTC();
  for (const Target &t : targets)
    check(t, mapText(t, false), false);
}

TEST(Accumulate, InBlocks) {
  QUERN_NEEDS_NVRTC();
  for (const Target &t : targets)
    check(t, mapText(t, true), false);
}
