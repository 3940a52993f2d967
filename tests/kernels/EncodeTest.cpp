//===- EncodeTest.cpp - Products that encode their operand on load --------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// The placement `consumer` on CUDA, at ragged sizes and under several schedules
// of the simulator: the same bits as the kernels apart, no fault of any kind,
// no spilled register, and no more traffic where it is chosen.
//
//===----------------------------------------------------------------------===//

#include "compiler/pipelines/Compiler.h"
#include "tests/kernels/FusedCase.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <regex>

using namespace quern;
using namespace quern::test;
using testing::HasSubstr;

namespace {

/// xq = quantize(x), multiplied by weights w.
struct Case {
  std::string to = "i8 per token", type = "f16";
  int64_t N = 72, K = 160;
  std::string w = "i8[N, K] * f32[N, 1]";
  bool gated = false;
  std::string range = "0..4096"; ///< Of M.

  std::string text() const {
    std::string weight = w;
    for (auto [name, value] : {std::pair("K", K), {"N", N}})
      for (size_t at; (at = weight.find(name)) != std::string::npos;)
        weight.replace(at, 1, fmt::format("{}", value));
    return fmt::format(
        "layer encoded(x: {0}[M, {1}], weight w: {2}{3}) -> f16[M, {4}]\n"
        "    with M in {5} {{\n  xq = quantize(x, {6})\n  return {7} as f16\n"
        "}}\n",
        type, K, weight, gated ? ", weight v: " + weight : "", N, range, to,
        gated ? "silu(xq @ w.T) * (xq @ v.T)" : "xq @ w.T");
  }
};

/// A value made by one product and read by another.
std::string chain(const std::string &to, int64_t N, int64_t P,
                  const std::string &results = "") {
  return fmt::format(
      "layer chain(x: f16[M, 64], weight a: f16[{0}, 64], weight b: "
      "{3}[{1}, {0}] * f32[{1}, 1]) -> {4}f16[M, {1}]{5}\n    with M in "
      "0..4096 {{\n  h = x @ a.T as f16\n  hq = quantize(h, {2})\n"
      "  return {6}hq @ b.T as f16\n}}\n",
      N, P, to, to.starts_with("f8") ? to.substr(0, 6) : "i8",
      results.empty() ? "" : "(h: f16[M, " + std::to_string(N) + "], y: ",
      results.empty() ? "" : ")", results);
}

} // namespace

/// Both forms at several M and seeds.
static void check(const std::string &layer, const std::string &arch,
                  const std::vector<int64_t> &rows,
                  const std::string &wish = "consumer", unsigned fewer = 1) {
  FuseRequest request{.layer = layer, .arch = arch, .wish = wish};
  SCOPED_TRACE(fmt::format("{} on {}: {}", wish, arch, layer));
  Result<FusedPair> pair = compileFused(request);
  ASSERT_TRUE(pair) << pair.error().render();
  ASSERT_THAT(pair->source, HasSubstr("encode_rows.cuh"));
  for (const KernelDesc &kernel : pair->fused.kernels)
    EXPECT_EQ(kernel.spillBytes, 0u) << kernel.schedule;
  EXPECT_EQ(pair->fused.kernels.size() + fewer, pair->unfused.kernels.size());
  for (int64_t M : rows) {
    Buffers want = drawBuffers(pair->unfused, {M}, 7, true);
    Result<void> done = runOnSimulator(pair->unfused, {M}, want, 1);
    ASSERT_TRUE(done) << done.error().render();
    for (uint64_t seed : {1, 2}) {
      Buffers got = drawBuffers(pair->fused, {M}, 7, true);
      done = runOnSimulator(pair->fused, {M}, got, seed);
      ASSERT_TRUE(done) << "M=" << M << "\n"
                        << done.error().render() << pair->source;
      std::string difference = compareOutputs(pair->fused, got, want);
      ASSERT_TRUE(difference.empty())
          << "M=" << M << " seed " << seed << ": " << difference << "\n"
          << pair->source;
    }
  }
}

TEST(Encode, RowsOfAnInput) {
  QUERN_NEEDS_NVRTC();
  check(Case{}.text(), "sm_80", {0, 1, 37, 130});
  check(Case{.N = 300, .range = "0..16"}.text(), "sm_80", {1, 16});
}

TEST(Encode, RowsOfEveryAlignment) {
  QUERN_NEEDS_NVRTC();
  for (const char *type : {"f16", "f32"})
    for (int64_t K : {36, 38, 41, 3}) // Of f16: 8, 4 and 2 bytes.
      check(Case{.type = type, .K = K}.text(), "sm_80", {37});
}

TEST(Encode, EveryTypeOfValueAndCode) {
  QUERN_NEEDS_NVRTC();
  for (const char *type : {"f16", "bf16", "f32"})
    for (const char *to : {"i8", "u8", "(u8 - u8)", "f8e4m3", "f8e5m2"}) {
      Case c{.to = fmt::format("{} per token", to), .type = type};
      if (to[0] == 'f')
        c.w = fmt::format("{}[N, K] * f32[N, 1]", to);
      check(c.text(), type[0] == 'b' ? "sm_89" : "sm_80", {37});
    }
}

TEST(Encode, BlocksOfEveryShape) {
  QUERN_NEEDS_NVRTC();
  for (const char *blocks : {"group(32)", "group(64)", "group(128)",
                             "block(2, 32)", "block(3, 64)", "block(16, 160)"})
    check(Case{.to = fmt::format("i8 per {}", blocks)}.text(), "sm_80", {37});
  check(Case{.to = "(u8 - u8) per group(32)"}.text(), "sm_80", {37});
  check(Case{.to = "f8e4m3 per group(128)",
             .K = 384,
             .w = "f8e4m3[N, K] * f32[N/128, K/128]"}
            .text(),
        "sm_89", {37});
}

TEST(Encode, SplitSumsAndZeroPoints) {
  QUERN_NEEDS_NVRTC();
  check(Case{.w = "i8[N, K] * f32[N, K/32]"}.text(), "sm_80", {37});
  // The sum of a row's codes, which are made once more for it.
  check(Case{.to = "(u8 - u8) per token",
             .w = "(u8[N, K] - u8[N, 1]) * f32[N, 1]"}
            .text(),
        "sm_80", {37});
  // Sums that are promoted.
  check(
      Case{.to = "f8e4m3 per token", .K = 384, .w = "f8e4m3[N, K] * f32[N, 1]"}
          .text(),
      "sm_90a", {37});
}

TEST(Encode, GatedProducts) {
  QUERN_NEEDS_NVRTC();
  check(Case{.gated = true}.text(), "sm_80", {37});
  check(Case{.N = 200, .w = "i8[N, K] * f32[N, K/32]", .gated = true}.text(),
        "sm_120a", {37});
}

TEST(Encode, BatchedProducts) {
  QUERN_NEEDS_NVRTC();
  for (const char *to : {"i8 per token", "i8 per group(32)"})
    check(fmt::format("layer batched(x: f16[3, M, 64], w: i8[3, 72, 64] * "
                      "f32[3, 72, 1]) -> f16[3, M, 72]\n    with M in 1..64 "
                      "{{\n  return quantize(x, {}) @ w.T as f16\n}}\n",
                      to),
          "sm_80", {1, 37});
}

TEST(Encode, ValuesThatAProductMade) {
  QUERN_NEEDS_NVRTC();
  for (const char *to :
       {"i8 per token", "(u8 - u8) per token", "i8 per group(32)",
        "i8 per block(2, 64)", "f8e4m3 per token"})
    check(chain(to, 192, 72), "sm_80", {0, 37, 130});
  // And who else reads the value.
  check(chain("i8 per token", 192, 72, "h, "), "sm_80", {37});
}

TEST(Encode, StagesOnBothSides) {
  QUERN_NEEDS_NVRTC();
  std::string layer =
      "layer both(x: f16[M, 160], weight a: i8[192, 160] * f32[192, 1], weight "
      "b: i8[64, 192] * f32[64, 1]) -> f16[M, 64]\n    with M in 0..4096 {\n"
      "  xq = quantize(x, i8 per token)\n  h = relu(xq @ a.T) as f16\n"
      "  hq = quantize(h, i8 per token)\n  return hq @ b.T as f16\n}\n";
  for (const char *place : {"tile", "grid", "panel", "consumer", "cluster"})
    check(layer, place[0] == 'c' ? "sm_90a" : "sm_80", {0, 37, 130},
          fmt::format("xq:consumer,hq:{}", place), 2);
}

TEST(Encode, SpillsNothingOnAnyArchitecture) {
  QUERN_NEEDS_NVRTC();
  for (const char *arch : {"sm_80", "sm_89", "sm_90a", "sm_100a", "sm_120a"})
    for (const char *to : {"i8 per token", "(u8 - u8) per group(128)",
                           "f8e4m3 per token", "f8e4m3 per group(128)"})
      for (const char *type : {"f16", "f32"})
        for (int64_t N : {64, 512}) {
          Case c{.to = to, .type = type, .N = N, .K = 512};
          if (to[0] == 'f')
            c.w = "f8e4m3[N, K] * f32[N, 1]";
          c.gated = N == 512;
          FuseRequest request{.layer = c.text(), .arch = arch};
          request.wish = "consumer";
          request.alone = true;
          Result<FusedPair> pair = compileFused(request);
          ASSERT_TRUE(pair) << pair.error().render();
          for (const KernelDesc &kernel : pair->fused.kernels)
            EXPECT_EQ(kernel.spillBytes, 0u)
                << arch << ": " << kernel.schedule << ", " << kernel.registers
                << " registers";
        }
}

//===----------------------------------------------------------------------===//
// Traffic
//===----------------------------------------------------------------------===//

static uint64_t sectorsOf(const VariantDesc &variant, int64_t M) {
  Buffers buffers = drawBuffers(variant, {M}, 3);
  sim::Counters counters;
  Result<void> done = runOnSimulator(variant, {M}, buffers, 1, &counters);
  EXPECT_TRUE(done) << done.error().render();
  return counters.globalSectors;
}

/// Whether the cost model places the quantization in its consumer.
static bool isChosen(const std::string &layer, const std::string &arch) {
  CompileRequest request;
  request.source = layer;
  request.target = *Target::parse("cuda:" + arch);
  request.wanted = {Stage::Tile};
  request.textsOnly = true;
  request.settings = {"buckets=one"};
  auto output = compileLayer(request);
  EXPECT_TRUE(output) << output.error().render();
  for (const QuantizationPlacement &site : output->quantizations)
    for (const auto &option : site.options)
      if (option.placement == "consumer")
        return option.chosen;
  return false;
}

TEST(EncodeCost, NoMoreTrafficWhereItIsChosen) {
  QUERN_NEEDS_NVRTC();
  constexpr int64_t M = 64;
  unsigned chosen = 0;
  for (int64_t K : {256, 512, 4096})
    for (int64_t N : {64, 256, 1024}) {
      Case c{.N = N, .K = K};
      bool isPick = isChosen(c.text(), "sm_90a");
      chosen += isPick;
      // Wide products of long rows take long to simulate, and are not chosen.
      if (N * K > 256 * 512) {
        EXPECT_FALSE(isPick) << c.text();
        continue;
      }
      FuseRequest request{.layer = c.text(), .arch = "sm_90a"};
      request.wish = "consumer";
      Result<FusedPair> pair = compileFused(request);
      ASSERT_TRUE(pair) << pair.error().render();
      uint64_t consumer = sectorsOf(pair->fused, M);
      uint64_t separate = sectorsOf(pair->unfused, M);
      FuseRequest fixed = request;
      fixed.wish.clear();
      fixed.count = 0;
      fixed.layer = fmt::format(
          "layer encoded(x: f16[M, {0}], weight w: i8[{1}, {0}] * f32[{1}, 1], "
          "s: f32[1, 1]) -> f16[M, {1}]\n    with M in 0..4096 {{\n"
          "  xq = quantize(x, i8 per tensor, scale = s)\n"
          "  return xq @ w.T as f16\n}}\n",
          K, N);
      Result<FusedPair> statics = compileFused(fixed);
      ASSERT_TRUE(statics) << statics.error().render();
      uint64_t least = sectorsOf(statics->unfused, M);
      fmt::print("K={:4} N={:4}: {} sectors consumer{}, {} separate, {} with a "
                 "static scale\n",
                 K, N, consumer, isPick ? " (chosen)" : "", separate, least);
      RecordProperty(fmt::format("{}x{}", K, N),
                     fmt::format("{} consumer, {} separate, {} static",
                                 consumer, separate, least));
      // Tiles are 32 rows high: two panels read the right operand, which stays
      // in the cache, where one did.
      uint64_t again = K * N / 32;
      if (isPick)
        EXPECT_LE(consumer, separate + (N > 64 ? again : 0));
    }
  EXPECT_GE(chosen, 3u) << "narrow products of short rows";
}

TEST(EncodeCost, NoMoreTrafficBehindAProduct) {
  QUERN_NEEDS_NVRTC();
  FuseRequest request{.layer = chain("i8 per token", 256, 64),
                      .arch = "sm_90a",
                      .wish = "consumer"};
  Result<FusedPair> pair = compileFused(request);
  ASSERT_TRUE(pair) << pair.error().render();
  uint64_t consumer = sectorsOf(pair->fused, 64),
           separate = sectorsOf(pair->unfused, 64);
  fmt::print("{} sectors consumer, {} separate\n", consumer, separate);
  EXPECT_LE(consumer, separate);
}

/// What `explain` says that the kernels move is what they move.
TEST(EncodeCost, TrafficIsPredicted) {
  QUERN_NEEDS_NVRTC();
  constexpr int64_t M = 64;
  for (const std::string &layer :
       {Case{.N = 256, .K = 256}.text(), chain("i8 per token", 256, 64)}) {
    SCOPED_TRACE(layer);
    CompileRequest compile;
    compile.source = layer;
    compile.target = *Target::parse("cuda:sm_90a");
    compile.wanted = {Stage::Tile};
    compile.settings = {"placement=consumer", "buckets=one"};
    compile.textsOnly = true;
    compile.predict = true;
    compile.predictAt = {{"M", M}};
    auto output = compileLayer(compile);
    ASSERT_TRUE(output) << output.error().render();
    ASSERT_EQ(output->report.predictions.size(), 1u);
    double predicted = 0;
    for (const auto &kernel : output->report.predictions[0].traffic.kernels) {
      EXPECT_EQ(kernel.unknown, "") << kernel.kernel;
      for (const auto &buffer : kernel.buffers)
        predicted += buffer.moved.sectorsRead + buffer.moved.sectorsWritten;
    }
    FuseRequest request{.layer = layer, .arch = "sm_90a"};
    request.wish = "consumer";
    Result<FusedPair> pair = compileFused(request);
    ASSERT_TRUE(pair) << pair.error().render();
    double counted = double(sectorsOf(pair->fused, M));
    EXPECT_NEAR(predicted, counted, 0.03 * counted);
  }
}

//===----------------------------------------------------------------------===//
// Refusals
//===----------------------------------------------------------------------===//

TEST(EncodeRefusals, SayWhy) {
  auto whyNot = [](const std::string &layer) {
    CompileRequest request;
    request.source = layer;
    request.target = *Target::parse("cuda:sm_80");
    request.wanted = {Stage::Tile};
    request.settings = {"placement=consumer", "buckets=one"};
    request.textsOnly = true;
    auto output = compileLayer(request);
    return output ? std::string("it is accepted") : output.error().render();
  };
  EXPECT_THAT(whyNot(Case{.to = "i8 per group(50)", .K = 500}.text()),
              HasSubstr("groups of 50 have to be padded to a multiple of 32"));
  EXPECT_THAT(
      whyNot(Case{.to = "i8 per block(48, 32)"}.text()),
      HasSubstr("blocks of 48 rows would be reduced again by every tile"));
  EXPECT_THAT(
      whyNot(Case{.to = "i8 per group(32)", .K = 32768}.text()),
      HasSubstr("the scales of a tile's 32 rows may take more than 40 KiB"));
  EXPECT_THAT(whyNot("layer r(x: f16[M, 64], weight w: i8[64, 64] * f32[64, 1])"
                     " -> (f16[M, 64], i8[M, 64] per token) {\n"
                     "  xq = quantize(x, i8 per token)\n"
                     "  return xq @ w.T as f16, xq\n}\n"),
              HasSubstr("the codes are a result of the layer"));
}

//===----------------------------------------------------------------------===//
// Planted faults
//===----------------------------------------------------------------------===//

/// Whether the kernel edited in PTX, everywhere it matches, is caught by a
/// report of the simulator or a wrong value, under one of a few schedules.
static bool isCaught(const std::string &from, const std::string &by) {
  FuseRequest request{.layer = Case{}.text(), .arch = "sm_80"};
  request.wish = "consumer";
  Result<FusedPair> pair = compileFused(request);
  if (!pair) {
    ADD_FAILURE() << pair.error().render();
    return false;
  }
  for (CodeDesc &code : pair->fused.code) {
    if (code.kind != CodeKind::Ptx)
      continue;
    std::string text(reinterpret_cast<const char *>(code.bytes.data()),
                     code.bytes.size());
    std::string edited = std::regex_replace(text, std::regex(from), by);
    if (edited == text && from != by) {
      ADD_FAILURE() << "nothing to edit: " << from;
      return false;
    }
    code.bytes.resize(edited.size());
    std::memcpy(code.bytes.data(), edited.data(), edited.size());
  }
  Buffers want = drawBuffers(pair->unfused, {70}, 7);
  EXPECT_TRUE(runOnSimulator(pair->unfused, {70}, want, 1));
  for (uint64_t seed = 1; seed <= 6; ++seed) {
    Buffers got = drawBuffers(pair->fused, {70}, 7);
    if (!runOnSimulator(pair->fused, {70}, got, seed) ||
        !compareOutputs(pair->fused, got, want).empty())
      return true;
  }
  return false;
}

TEST(EncodeFaults, AreCaught) {
  QUERN_NEEDS_NVRTC();
  // Values encoded before their copies have ended.
  EXPECT_TRUE(
      isCaught(R"(cp\.async\.wait_group 1;)", "cp.async.wait_group 9;"));
  // No barrier between codes, or scales, and their readers.
  EXPECT_TRUE(isCaught(R"((bar\.sync|barrier\.sync)\s+0;)", ""));
  // Codes where the product does not look for them.
  EXPECT_TRUE(isCaught(R"(st\.shared\.v2\.u32 \[(%r\d+)\])",
                       "st.shared.v2.u32 [$1+8]"));
  // Rows that are reduced to something else.
  EXPECT_TRUE(isCaught(R"(max\.u32)", "min.u32"));
}

TEST(EncodeFaults, CleanKernelsPass) {
  QUERN_NEEDS_NVRTC();
  EXPECT_FALSE(isCaught(".target", ".target"));
}
