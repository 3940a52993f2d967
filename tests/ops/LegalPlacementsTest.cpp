//===- LegalPlacementsTest.cpp - Where each quantization may be placed ----===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// tests/ops/placements.txt lists, for every target, granularity and format, the
// placements of a quantization between two products. What is listed must stay
// possible; what became possible is to be listed. QUERN_UPDATE=1 writes the
// file anew.
//
//===----------------------------------------------------------------------===//

#include "compiler/pipelines/Compiler.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

using namespace quern;
using testing::HasSubstr;

namespace {

std::string layerOf(const std::string &format, const std::string &blocks,
                    int64_t n) {
  std::string weight = format.starts_with("f8") ? format : "i8";
  return fmt::format(
      "layer placed(x: f16[M, 64], weight a: i8[{0}, 64] * f32[{0}, 1], "
      "weight b: {1}[64, {0}] * f32[64, 1]) -> f16[M, 64] {{\n"
      "  h = relu(quantize(x, i8 per token) @ a.T) as f16\n"
      "  hq = quantize(h, {2} {3})\n"
      "  return hq @ b.T as f16\n}}\n",
      n, weight, format, blocks);
}

/// What was found out about `hq`.
Result<QuantizationPlacement> place(const std::string &target,
                                    const std::string &text) {
  auto parsed = Target::parse(target);
  if (!parsed)
    return parsed.error();
  CompileRequest request;
  request.source = text;
  request.target = *parsed;
  request.wanted = {Stage::Tile};
  request.textsOnly = true;
  request.settings = {"buckets=one"}; // What is possible for any M.
  auto output = compileLayer(request);
  if (!output)
    return output.error();
  for (const QuantizationPlacement &site : output->quantizations)
    if (site.value == "hq")
      return site;
  return fail(Errc::Internal, "hq is no quantization");
}

std::string table() {
  struct Blocks {
    const char *text;
    int64_t n;
  };
  std::string out;
  for (const char *target :
       {"cpu:avx512-vnni", "cpu:generic", "cuda:sm_80", "cuda:sm_90a"})
    for (Blocks blocks : {Blocks{"per token", 96},
                          {"per token", 11008},
                          {"per group(16)", 512},
                          {"per group(32)", 512},
                          {"per group(128)", 512},
                          {"per group(50)", 500},
                          {"per block(128, 128)", 512},
                          {"per block(2, 64)", 512},
                          {"per tokens(4)", 96},
                          {"per tokens(16)", 11008},
                          {"per tensor", 512}})
      for (const char *format : {"i8", "(u8 - u8)", "f8e4m3", "f8e5m2"}) {
        out += fmt::format("{} | {} of {} | {} |", target, blocks.text,
                           blocks.n, format);
        auto site = place(target, layerOf(format, blocks.text, blocks.n));
        if (!site)
          out += " refused: " + site.error().message;
        else
          for (const auto &option : site->options)
            if (option.possible)
              out += " " + option.placement;
        out += "\n";
      }
  return out;
}

} // namespace

TEST(LegalPlacements, NoneIsLost) {
  const std::string path = QUERN_SOURCE_DIR "/tests/ops/placements.txt";
  std::string now = table();
  if (std::getenv("QUERN_UPDATE")) {
    std::ofstream(path) << now;
    return;
  }
  std::ifstream file(path);
  std::stringstream committed;
  committed << file.rdbuf();
  EXPECT_EQ(now, committed.str())
      << "a placement was lost, or gained: in that case write the table anew "
         "with QUERN_UPDATE=1";
}

TEST(LegalPlacements, WideRowsAreRefusedWithTheirWidth) {
  auto site = place("cuda:sm_90a", layerOf("i8", "per token", 11008));
  ASSERT_TRUE(site) << site.error().render();
  for (const auto &option : site->options) {
    if (option.placement != "tile" && option.placement != "cluster")
      continue;
    EXPECT_FALSE(option.possible) << option.placement;
    EXPECT_THAT(option.reason, HasSubstr("11008"));
  }
}

TEST(LegalPlacements, OneIsChosenAndCostsAreGiven) {
  for (const char *target : {"cpu", "cuda:sm_80", "cuda:sm_90a"}) {
    auto site = place(target, layerOf("i8", "per token", 11008));
    ASSERT_TRUE(site) << site.error().render();
    int chosen = 0;
    for (const auto &option : site->options) {
      chosen += option.chosen;
      EXPECT_EQ(option.possible, option.reason.empty()) << option.placement;
      EXPECT_EQ(option.possible ? site->sizes.size() : 0, option.costs.size());
      EXPECT_TRUE(option.possible || !option.chosen);
    }
    EXPECT_EQ(chosen, 1);
  }
}

/// Blocks of more rows than a thread holds stay out of a CPU's tiles.
TEST(LegalPlacements, TallBlocksAreRefusedWithTheirHeight) {
  auto site = place("cpu", layerOf("i8", "per block(4096, 32)", 512));
  ASSERT_TRUE(site) << site.error().render();
  for (const auto &option : site->options) {
    if (option.placement != "tile" && option.placement != "panel")
      continue;
    EXPECT_FALSE(option.possible) << option.placement;
    EXPECT_THAT(option.reason, HasSubstr("4096 rows"));
  }
}

/// The scales and the codes of one quantization may be two places to decide on;
/// a wish is granted where one of them can be there.
TEST(LegalPlacements, AWishIsForScalesOrCodes) {
  std::string text = layerOf("i8", "per tensor", 512);
  for (auto [wish, possible] : {std::pair("hq:grid", true),
                                {"hq:separate", true},
                                {"hq:consumer", false}}) {
    CompileRequest request;
    request.source = text;
    request.target = *Target::parse("cpu");
    request.settings = {std::string("placement=") + wish};
    request.wanted = {Stage::Tile};
    request.textsOnly = true;
    auto output = compileLayer(request);
    EXPECT_EQ(bool(output), possible)
        << wish << (output ? "" : output.error().render());
  }
}

/// Wishes that cannot be are refused in words.
TEST(LegalPlacements, RefusesWhatCannotBe) {
  struct Wish {
    const char *target, *wish, *message;
  };
  for (Wish wish :
       {Wish{"cpu", "nowhere", "unknown placement \"nowhere\""},
        {"cpu", "hq:cluster", "hq cannot be placed at cluster: a CPU has no"},
        {"cpu", "yq:panel", "no quantization \"yq\" to place"},
        {"cpu", "cluster", "no quantization of the layer can be placed there"},
        {"cuda:sm_80", "hq:cluster", "sm_80 has no clusters, sm_90 has"},
        {"cuda:sm_80", "xq:grid", "no quantization \"xq\""}}) {
    CompileRequest request;
    std::string text = layerOf("i8", "per token", 96);
    request.source = text;
    request.target = *Target::parse(wish.target);
    request.settings = {std::string("placement=") + wish.wish};
    request.wanted = {Stage::Tile};
    request.textsOnly = true;
    auto output = compileLayer(request);
    ASSERT_FALSE(output) << wish.wish;
    EXPECT_EQ(output.error().code, Errc::InvalidArgument);
    EXPECT_THAT(output.error().render(), HasSubstr(wish.message));
  }
  CompileRequest both;
  std::string text = layerOf("i8", "per token", 96);
  both.source = text;
  both.target = *Target::parse("cpu");
  both.settings = {"fuse=none", "placement=panel"};
  auto output = compileLayer(both);
  ASSERT_FALSE(output);
  EXPECT_THAT(output.error().message, HasSubstr("fuse=none forbids"));
}

/// On CUDA no pass over memory is left for the scale of an inner value.
TEST(LegalPlacements, SwigluTakesThreeKernelsOnCuda) {
  std::ifstream file(QUERN_SOURCE_DIR "/examples/swiglu_mlp.qn");
  std::stringstream text;
  text << file.rdbuf();
  std::string source = text.str();
  CompileRequest request;
  request.source = source;
  for (const char *target :
       {"cuda:sm_80", "cuda:sm_89", "cuda:sm_90a", "cuda:sm_120a"}) {
    request.target = *Target::parse(target);
    request.wanted = {Stage::Tile};
    request.textsOnly = true;
    auto output = compileLayer(request);
    ASSERT_TRUE(output) << output.error().render();
    const std::string &tile = output->texts[0].text;
    for (const char *range :
         {"\"M\", 0, 16>", "\"M\", 17, 64>", "\"M\", 65, 2147483647>"}) {
      unsigned launches = 0;
      std::string when = std::string("when [#tile.range<") + range;
      for (size_t at = 0; (at = tile.find(when, at)) != tile.npos; ++at)
        ++launches;
      EXPECT_EQ(launches, 3u) << target << ", " << range;
    }
  }
}
