//===- BucketsTest.cpp - Plans with launches for few rows -----------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Layers whose range of rows is parted (compiler/select/Buckets.h): the parts,
// what they share, and that nobody can tell by the bits which one ran.
//
//===----------------------------------------------------------------------===//

#include "LayerCheck.h"

#include "runtime/device/cuda/Nvrtc.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

using namespace quern;
using namespace quern::test;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

namespace {

/// Two products with a quantization between them; `with` stands behind M.
std::string mlp(const std::string &blocks, const std::string &with = "") {
  return fmt::format(
      "layer mlp(x: f16[M, 64], weight a: i8[256, 64] * f32[256, 1],\n"
      "          weight b: i8[256, 64] * f32[256, 1],\n"
      "          weight c: i8[48, 256] * f32[48, 1]) -> f16[M, 48]{} {{\n"
      "  xq = quantize(x, i8 per token)\n"
      "  h = silu(xq @ a.T) * (xq @ b.T) as f16\n"
      "  hq = quantize(h, i8 {})\n"
      "  return hq @ c.T\n}}\n",
      with, blocks);
}

/// The ranges of a variant's run launches, each once.
std::vector<std::pair<int64_t, int64_t>> rangesOf(const CompileOutput &output) {
  std::vector<std::pair<int64_t, int64_t>> ranges;
  for (const LaunchDesc &launch : output.module.variants[0].launches)
    for (const RangeDesc &range : launch.when)
      if (std::pair one(range.min, range.max);
          ranges.empty() || ranges.back() != one)
        ranges.push_back(one);
  return ranges;
}

/// Compiled without code: for plans NVRTC is not needed, and its module has
/// none either.
Result<CompileOutput> place(const std::string &text, const std::string &target,
                            std::vector<std::string> settings = {}) {
  CompileRequest request;
  request.source = text;
  request.target = *Target::parse(target);
  request.settings = std::move(settings);
  request.wanted = {Stage::Tile};
  request.textsOnly = true;
  return compileLayer(request);
}

/// `when [...]` of every launch in the text, by the kernel's name.
std::vector<std::string> launchesOf(const CompileOutput &output) {
  std::vector<std::string> launches;
  std::istringstream text(output.texts[0].text);
  for (std::string line; std::getline(text, line);) {
    size_t at = line.find("tile.launch @");
    if (at == std::string::npos)
      continue;
    std::string name = line.substr(at + 13, line.find('(', at) - at - 13);
    size_t when = line.find("#tile.range<");
    launches.push_back(
        when == std::string::npos
            ? name
            : name + " " +
                  line.substr(when + 12, line.find('>', when) - when - 12));
  }
  return launches;
}

std::string refusalOf(const std::string &buckets) {
  auto output = place(mlp("per token"), "cuda:sm_80", {"buckets=" + buckets});
  return output ? std::string("none") : output.error().render();
}

} // namespace

TEST(Buckets, PartTheRangeOfRows) {
  auto launches = [](const std::string &text, const std::string &target,
                     std::vector<std::string> settings = {}) {
    if (text.find("xq") != std::string::npos)
      settings.push_back("placement=xq:separate,hq:grid");
    auto output = place(text, target, std::move(settings));
    EXPECT_TRUE(output) << output.error().render();
    return launchesOf(*output);
  };
  EXPECT_THAT(
      launches(mlp("per token", " with M in 1..100"), "cuda:sm_80"),
      ElementsAre(R"(quern_mlp_0_quantize "M", 1, 16)",
                  R"(quern_mlp_1_gated_product_quantize_M16 "M", 1, 16)",
                  R"(quern_mlp_3_product_M16 "M", 1, 16)",
                  R"(quern_mlp_0_quantize "M", 17, 64)",
                  R"(quern_mlp_1_gated_product_quantize_M64 "M", 17, 64)",
                  R"(quern_mlp_3_product_M64 "M", 17, 64)",
                  R"(quern_mlp_0_quantize "M", 65, 100)",
                  R"(quern_mlp_1_gated_product_quantize "M", 65, 100)",
                  R"(quern_mlp_3_product "M", 65, 100)"));
  // Fewer rows than another schedule is for, and one number of them.
  for (const char *few : {" with M in 1..16", " with M in 17..64",
                          " with M in 65..4096", " with M in 9..9"})
    EXPECT_THAT(launches(mlp("per token", few), "cuda:sm_80"), SizeIs(3))
        << few;
  EXPECT_THAT(launches(mlp("per token"), "cuda:sm_80", {"buckets=one"}),
              SizeIs(3));
  EXPECT_THAT(launches(mlp("per token"), "cpu"), SizeIs(testing::Le(4)));
  // What is asked for is parted only where it makes a difference.
  EXPECT_THAT(launches(mlp("per token"), "cuda:sm_80", {"buckets=200,300"}),
              SizeIs(3));
  EXPECT_THAT(launches(mlp("per token"), "cuda:sm_80", {"buckets=20,60"}),
              SizeIs(9));
  // A layer without a product, and one of products without a symbol's rows.
  EXPECT_THAT(launches("layer f(x: f16[M, 64]) -> i8[M, 64] * f32[M, 1] {\n"
                       "  return quantize(x, i8 per token)\n}\n",
                       "cuda:sm_80"),
              SizeIs(1));
}

TEST(Buckets, EndWhereMultiplesDo) {
  auto output =
      place(mlp("per token", " with M in 8..800, M % 24 == 0"), "cuda:sm_90a");
  ASSERT_TRUE(output) << output.error().render();
  std::set<std::string> ranges;
  for (const std::string &launch : launchesOf(*output))
    ranges.insert(launch.substr(launch.find(' ')));
  // No M is up to 16, and 48 is the last up to 64.
  EXPECT_THAT(ranges, ElementsAre(R"( "M", 72, 800)", R"( "M", 8, 48)"));
  output =
      place(mlp("per token", " with M in 0..800, M % 24 == 0"), "cuda:sm_90a");
  ASSERT_TRUE(output) << output.error().render();
  for (const std::string &launch : launchesOf(*output))
    EXPECT_THAT(launch, testing::Not(HasSubstr(", 0, 0"))) << "for no rows";
}

TEST(Buckets, PlaceEachForItself) {
  // Where hq is chosen to be, by the last number of rows.
  auto places = [](const std::string &text,
                   std::vector<std::string> settings = {}) {
    auto output = place(text, "cuda:sm_90a", std::move(settings));
    EXPECT_TRUE(output) << output.error().render();
    std::map<int64_t, std::string> found;
    for (const QuantizationPlacement &site : output->quantizations) {
      if (site.value != "hq" || site.when.size() != 1)
        continue;
      for (const std::vector<int64_t> &sizes : site.sizes) {
        EXPECT_GE(sizes[0], site.when[0].min);
        EXPECT_LE(sizes[0], site.when[0].max);
      }
      for (const auto &option : site.options)
        if (option.chosen)
          found[site.when[0].max] =
              option.placement + (site.isWished ? ", asked for" : "") +
              (site.refusedWish.empty() ? "" : ", refused");
    }
    return found;
  };
  // Of up to 64 rows a group of two products lies in one tile. For more, the
  // lower tiles that this takes would read the weights more often.
  std::string wide =
      "layer wide(x: f16[M, 2048], weight a: i8[5632, 2048] * f32[5632, 1],\n"
      "           weight b: i8[5632, 2048] * f32[5632, 1],\n"
      "           weight c: i8[2048, 5632] * f32[2048, 1]) -> f16[M, 2048] {\n"
      "  xq = quantize(x, i8 per token)\n"
      "  h = silu(xq @ a.T) * (xq @ b.T) as f16\n"
      "  hq = quantize(h, i8 per group(128))\n"
      "  return hq @ c.T\n}\n";
  EXPECT_THAT(places(wide),
              ElementsAre(testing::Pair(16, "tile"), testing::Pair(64, "tile"),
                          testing::Pair(INT32_MAX, "grid")));
  // No tile has a multiple of 20 rows, but some have all 16 or 64 of them.
  auto wished = places(mlp("per block(20, 64)"), {"placement=hq:grid"});
  EXPECT_EQ(wished[16], "grid, asked for");
  EXPECT_EQ(wished[64], "grid, asked for");
  EXPECT_THAT(wished[INT32_MAX], testing::EndsWith(", refused"));
  auto nowhere =
      place(mlp("per token"), "cuda:sm_90a", {"placement=hq:register"});
  ASSERT_FALSE(nowhere);
  EXPECT_THAT(nowhere.error().message, HasSubstr("cannot be placed"));
}

TEST(Buckets, AreScheduledWhereGroupsPad) {
  // Groups of 48 are padded to 64 before there is a schedule.
  auto output = compileFor({"cuda:sm_80", "all", 1, "separate"},
                           mlp("per group(48)"), "pads.qn");
  if (!output && output.error().code == Errc::NoDevice)
    GTEST_SKIP() << output.error().message;
  ASSERT_TRUE(output) << output.error().render();
  EXPECT_THAT(rangesOf(*output), SizeIs(3));
  std::set<std::string> tiles;
  std::set<std::string> schedules;
  for (const KernelDesc &kernel : output->module.variants[0].kernels)
    if (size_t at = kernel.schedule.find("tile "); at != std::string::npos)
      tiles.insert(kernel.name.substr(0, kernel.name.rfind('_')) + ": " +
                   kernel.schedule.substr(at, kernel.schedule.find('x') - at));
  EXPECT_THAT(tiles,
              testing::IsSupersetOf({"quern_mlp_3_product_M16: tile 16",
                                     "quern_mlp_3_product_M64: tile 64"}));
}

TEST(Buckets, AreOfTheRowsThatRunsChange) {
  auto symbolsOf = [](const std::string &text) {
    auto output = place(text, "cuda:sm_80");
    EXPECT_TRUE(output) << output.error().render();
    std::set<std::string> symbols;
    for (const std::string &launch : launchesOf(*output))
      if (size_t at = launch.find('"'); at != std::string::npos)
        symbols.insert(launch.substr(at + 1, launch.rfind('"') - at - 1));
    return symbols;
  };
  // The rows of a weight are the same in every run.
  EXPECT_THAT(symbolsOf("layer f(weight w: f16[N, 64], x: f16[M, 64]) -> "
                        "(f16[N, M], f16[M, N]) {\n"
                        "  return w @ x.T, x @ w.T\n}\n"),
              ElementsAre("M"));
  EXPECT_THAT(symbolsOf("layer f(weight w: f16[96, 64], x: f16[2*M, 64]) -> "
                        "f16[2*M, 96] {\n  return x @ w.T\n}\n"),
              IsEmpty());
}

TEST(Buckets, BadOnesAreRefused) {
  for (const char *bad : {"", "0", "-1", "16,8", "16,16", "x", "16,", "1.5",
                          "1,2,3,4,5,6,7,8", "99999999999999999999"})
    EXPECT_THAT(refusalOf(bad), HasSubstr("does not say where buckets end"))
        << bad;
  EXPECT_EQ(refusalOf("1,2,3,4,5,6,7"), "none");
  EXPECT_EQ(refusalOf(" 8, 32 "), "none");
}

TEST(Buckets, ShareWhatIsPackedAndWhatIsAlike) {
  if (auto nvrtc = cuda::Nvrtc::get(); !nvrtc)
    GTEST_SKIP() << nvrtc.error().message;
  // Weights of [K, N] are brought into rows of K once.
  auto output = compileFor({"cuda:sm_90a"},
                           "layer f(x: f16[M, 64], weight w: f16[64, 96]) -> "
                           "f16[M, 96] {\n  return x @ w\n}\n",
                           "f.qn");
  ASSERT_TRUE(output) << output.error().render();
  const VariantDesc &variant = output->module.variants[0];
  EXPECT_THAT(rangesOf(*output), SizeIs(3));
  std::set<uint32_t> prepared, read, kernels;
  for (const LaunchDesc &launch : variant.launches) {
    kernels.insert(launch.kernel);
    for (uint32_t buffer : launch.buffers)
      if (variant.buffers[buffer].role == BufferRole::Packed)
        (launch.phase == LaunchPhase::Prepare ? prepared : read).insert(buffer);
  }
  EXPECT_THAT(prepared, SizeIs(1));
  EXPECT_EQ(prepared, read);
  EXPECT_THAT(kernels, SizeIs(4));
  EXPECT_THAT(variant.launches, SizeIs(4));
}

namespace {
class BucketsOn : public testing::TestWithParam<const char *> {};
} // namespace

TEST_P(BucketsOn, BitsAreTheSame) {
  std::string target = GetParam();
  if (auto nvrtc = cuda::Nvrtc::get(); !nvrtc && target.starts_with("sim"))
    GTEST_SKIP() << nvrtc.error().message;
  const std::string layers[] = {
      mlp("per token"), mlp("per group(128)"), mlp("per group(48)"),
      mlp("per tensor"),
      // A transposed weight, an activation that is brought into rows of K, and
      // scales that split the product.
      "layer t(x: f16[64, M], weight w: f16[64, 40]) -> f16[M, 40] {\n"
      "  return x.T @ w\n}\n",
      "layer g(x: f16[M, 96], weight w: i8[40, 96] * f16[40, 96/32]) -> "
      "f32[M, 40] {\n  return quantize(x, i8 per group(32)) @ w.T\n}\n"};
  uint64_t seed = 1;
  for (const std::string &text : layers) {
    SCOPED_TRACE(text);
    LayerRun run{target, "all", 2, "auto", target == "cpu" ? "4,16" : "auto"};
    auto compiled = compileFor(run, text, "buckets.qn");
    ASSERT_TRUE(compiled) << compiled.error().render();
    auto layer = loadFor(run, *compiled);
    ASSERT_TRUE(layer) << layer.error().render();
    auto oracle = Oracle::create(text, "buckets.qn");
    ASSERT_TRUE(oracle) << oracle.error().render();
    for (int64_t rows : {1, 4, 5, 16, 17, 64, 65, 80})
      expectAgreement(*layer, *oracle, {rows}, seed++);
  }
}

TEST_P(BucketsOn, NoRowsAreRight) {
  std::string target = GetParam();
  if (auto nvrtc = cuda::Nvrtc::get(); !nvrtc && target.starts_with("sim"))
    GTEST_SKIP() << nvrtc.error().message;
  LayerRun run{target, "all", 2, "auto", target == "cpu" ? "4,16" : "auto"};
  auto compiled = compileFor(run, mlp("per token"), "buckets.qn");
  ASSERT_TRUE(compiled) << compiled.error().render();
  auto layer = loadFor(run, *compiled);
  ASSERT_TRUE(layer) << layer.error().render();
  auto oracle = Oracle::create(mlp("per token"), "buckets.qn");
  ASSERT_TRUE(oracle) << oracle.error().render();
  expectAgreement(*layer, *oracle, {0}, 1);
}

INSTANTIATE_TEST_SUITE_P(Targets, BucketsOn,
                         testing::Values("cpu", "sim:sm_80", "sim:sm_90a"),
                         [](const auto &info) {
                           std::string name = info.param;
                           std::ranges::replace(name, ':', '_');
                           return name;
                         });
