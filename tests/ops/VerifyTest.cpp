//===- VerifyTest.cpp - Does quern verify find what is wrong? -------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Right layers pass. Faults are planted in what a run wrote, between the run
// and the comparison: each must be found, where it was planted and nowhere
// else.
//
//===----------------------------------------------------------------------===//

#include "compiler/verify/Verify.h"
#include "runtime/device/cuda/Nvrtc.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

using namespace quern;
using namespace quern::verify;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

namespace {

constexpr const char *mlp =
    "layer mlp(x: f16[M, 32], weight a: i8[48, 32] * f32[48, 1], "
    "weight b: i8[24, 48] * f32[24, 1]) -> f16[M, 24] with M in 0..200 {\n"
    "  xq = quantize(x, i8 per token)\n"
    "  h = relu(xq @ a.T) as f16\n"
    "  hq = quantize(h, i8 per token)\n"
    "  return hq @ b.T\n}\n";

constexpr const char *fp8 =
    "layer fp8(x: f32[M, 64], weight w: f8e4m3[16, 64] * f32[16, 1]) "
    "-> f32[M, 16] {\n"
    "  return quantize(x, f8e4m3 per token) @ w.T\n}\n";

VerifyOptions optionsFor(const char *text) {
  VerifyOptions options;
  options.source = text;
  options.name = "test.qn";
  options.targets = {"cpu"};
  options.cases = 8;
  return options;
}

/// Changes the lowest bit of an output's byte.
void flip(const TensorView &output, size_t byte) {
  auto *data = static_cast<std::byte *>(output.data);
  data[byte] ^= std::byte{1};
}

} // namespace

TEST(Verify, RightLayersPass) {
  VerifyOptions options = optionsFor(mlp);
  options.targets = {"cpu", "cpu:generic"};
  options.cases = 25;
  options.batchInvariant = true;
  auto report = verifyLayer(options);
  ASSERT_TRUE(report) << report.error().render();
  EXPECT_TRUE(report->passed());
  EXPECT_EQ(report->cases, 25u);
  // Two targets, with two numbers of threads; xq in two places, hq in four, and
  // fuse=none.
  EXPECT_EQ(report->rows.size(), 2u * 2 * (2 * 4 + 1));
  std::set<std::string> places;
  unsigned chosen = 0;
  for (const VerifyRow &row : report->rows) {
    EXPECT_EQ(row.cases, 25u);
    EXPECT_EQ(row.failed, 0u);
    EXPECT_GT(row.elements, 0);
    if (row.target == "cpu" && row.threads == 1)
      places.insert(row.places);
    chosen += row.isChosen && row.fuse == "all";
  }
  EXPECT_EQ(places.size(), 9u);
  EXPECT_EQ(chosen, 4u);
  // All kinds of values that the layer has a place for.
  EXPECT_EQ(report->corners.size(), 14u);
  std::set<int64_t> sizes;
  for (const Symbols &at : report->sizes)
    sizes.insert(at[0]);
  for (int64_t edge : {0, 1, 15, 16, 17, 31, 33, 63, 65, 127, 129, 200})
    EXPECT_TRUE(sizes.count(edge)) << edge;
  ASSERT_TRUE(report->batch);
  EXPECT_THAT(report->batch->symbols, ElementsAre("M"));
  EXPECT_EQ(report->batch->rows.size(), report->rows.size());
  for (const BatchReport::Row &row : report->batch->rows)
    EXPECT_GT(row.rows, 10u);
}

TEST(Verify, FindsOneWrongBit) {
  VerifyOptions options = optionsFor(mlp);
  unsigned planted = 0;
  options.afterRun = [&](const Subject &subject, const Symbols &symbols,
                         const std::vector<TensorView> &outputs) {
    if (subject.setting.placement != "xq:separate,hq:grid" ||
        subject.setting.threads != 2 || symbols[0] <= 16)
      return;
    ++planted;
    flip(outputs[0], 2 * 24 * 16);
  };
  auto report = verifyLayer(options);
  ASSERT_TRUE(report) << report.error().render();
  EXPECT_FALSE(report->passed());
  ASSERT_TRUE(report->firstFailure);
  EXPECT_GT(planted, 0u);
  const VerifyFailure failure = *report->firstFailure;
  for (size_t i = 0; i < report->rows.size(); ++i)
    EXPECT_EQ(report->rows[i].failed, i == failure.row ? planted : 0u);
  const VerifyRow &row = report->rows[failure.row];
  EXPECT_EQ(row.placement, "xq:separate,hq:grid");
  EXPECT_EQ(row.threads, 2u);
  EXPECT_THAT(failure.what, HasSubstr("at [16, 0]: expected"));
  EXPECT_THAT(failure.what, HasSubstr("equal bits"));

  // The case alone, in the one setting, is the same case.
  options.onlyCase = failure.where.number;
  options.placements = {row.placement};
  options.fuse = {"all"};
  options.threads = {2};
  auto again = verifyLayer(options);
  ASSERT_TRUE(again) << again.error().render();
  ASSERT_EQ(again->rows.size(), 1u);
  ASSERT_TRUE(again->firstFailure);
  EXPECT_EQ(again->firstFailure->where.symbols, failure.where.symbols);
  EXPECT_EQ(again->firstFailure->where.seed, failure.where.seed);
  EXPECT_EQ(again->firstFailure->where.corner, failure.where.corner);
  EXPECT_EQ(again->firstFailure->what, failure.what);
}

TEST(Verify, FindsBytesWrittenBesideAnOutput) {
  VerifyOptions options = optionsFor(mlp);
  options.afterRun = [](const Subject &, const Symbols &symbols,
                        const std::vector<TensorView> &outputs) {
    if (symbols[0] == 17)
      flip(outputs[0], 2 * 24 * 17 + 3);
  };
  options.cases = 24;
  auto report = verifyLayer(options);
  ASSERT_TRUE(report) << report.error().render();
  ASSERT_TRUE(report->firstFailure);
  EXPECT_THAT(report->firstFailure->what,
              HasSubstr("3 bytes after the end of result"));
}

/// A sum may be off by its bound, and no further.
TEST(Verify, BoundedLayersAreHeldToTheirBound) {
  for (double change : {0x1p-20, 0x1p-8}) {
    VerifyOptions options = optionsFor(fp8);
    auto oracle = Oracle::create(fp8, "test.qn");
    ASSERT_TRUE(oracle);
    Cases cases(*oracle, options.seed);
    for (options.onlyCase = 0;; ++*options.onlyCase)
      if (Case one = cases.get(*options.onlyCase);
          one.corner == reference::Corner::None && one.symbols[0] > 1)
        break;
    options.afterRun = [&](const Subject &, const Symbols &symbols,
                           const std::vector<TensorView> &outputs) {
      auto *data = static_cast<float *>(outputs[0].data);
      for (int64_t i = 0; i < 16 * symbols[0]; ++i)
        data[i] += static_cast<float>(change);
    };
    auto report = verifyLayer(options);
    ASSERT_TRUE(report) << report.error().render();
    EXPECT_EQ(report->numericsClass, NumericsClass::Bounded);
    EXPECT_EQ(report->passed(), change < 0x1p-10);
    const VerifyRow &row = report->rows[0];
    EXPECT_GT(row.error, 0);
    EXPECT_GT(row.share, 0);
    EXPECT_EQ(row.share <= 1, change < 0x1p-10);
  }
}

//===----------------------------------------------------------------------===//
// Batches
//===----------------------------------------------------------------------===//

TEST(BatchInvariance, FindsARowThatDependsOnItsBatch) {
  VerifyOptions options = optionsFor(mlp);
  options.cases = 0;
  options.batchInvariant = true;
  options.threads = {1};
  options.fuse = {"none"};
  options.afterRun = [](const Subject &, const Symbols &symbols,
                        const std::vector<TensorView> &outputs) {
    if (symbols[0] == 1)
      flip(outputs[0], 2 * 5);
  };
  auto report = verifyLayer(options);
  ASSERT_TRUE(report) << report.error().render();
  EXPECT_FALSE(report->passed());
  ASSERT_TRUE(report->batch);
  EXPECT_THAT(report->batch->byDefinition, IsEmpty());
  ASSERT_EQ(report->batch->rows.size(), 1u);
  // Each row that was run alone, and no other.
  EXPECT_GE(report->batch->rows[0].differing, 3u);
  EXPECT_LE(report->batch->rows[0].differing, 4u);
  EXPECT_THAT(report->batch->firstFailure,
              HasSubstr("alone in a batch of M = 1"));
  EXPECT_THAT(report->batch->firstFailure, HasSubstr("element 5 of the row"));
}

TEST(BatchInvariance, SharedScalesAreNamed) {
  for (auto [blocks, message] :
       {std::pair("per tensor", "hq shares a scale among all rows of M"),
        {"per block(4, 16)", "hq shares a scale among 4 rows of M"}}) {
    std::string text = mlp;
    size_t at = text.find("quantize(h, i8 per token)");
    text.replace(at, 25, fmt::format("quantize(h, i8 {})", blocks));
    VerifyOptions options = optionsFor(text.c_str());
    options.cases = 0;
    options.batchInvariant = true;
    auto report = verifyLayer(options);
    ASSERT_TRUE(report) << report.error().render();
    EXPECT_FALSE(report->passed());
    ASSERT_EQ(report->batch->byDefinition.size(), 1u);
    EXPECT_THAT(report->batch->byDefinition[0], HasSubstr(message));
    EXPECT_THAT(report->batch->byDefinition[0], HasSubstr("line 4, column "));
  }
}

/// Rows that meet in another way than by a scale.
TEST(BatchInvariance, TheReferencesRowsAreLookedAtToo) {
  VerifyOptions options =
      optionsFor("layer mixed(x: f32[M, 8]) -> f32[M, 8] {\n"
                 "  t = softmax(transpose(x, [1, 0]))\n"
                 "  return transpose(t, [1, 0])\n}\n");
  options.cases = 0;
  options.batchInvariant = true;
  auto report = verifyLayer(options);
  ASSERT_TRUE(report) << report.error().render();
  EXPECT_FALSE(report->passed());
  ASSERT_EQ(report->batch->byDefinition.size(), 1u);
  EXPECT_THAT(report->batch->byDefinition[0],
              HasSubstr("in the reference too: row "));
}

TEST(BatchInvariance, RefusesLayersWithoutBatches) {
  struct Row {
    const char *text, *reason;
  };
  for (Row row :
       {Row{"layer a(x: f32[4, 8]) -> f32[4, 8] {\n  return x + x\n}\n",
            "it has no symbols"},
        {"layer a(x: f32[8, N]) -> f32[8, N] {\n  return x + x\n}\n",
         "N is in dimension 1 of x"},
        {"layer a(x: f32[M, 8], y: f32[M, 8]) -> f32[M, M] {\n"
         "  return x @ y.T\n}\n",
         "M is in dimension 1 of result"},
        {"layer a(x: f32[M, 8]) -> f32[1, 8] {\n"
         "  return reshape(sum(x, axis = 0), [1, 8])\n}\n",
         "has no row for each index of M"}}) {
    VerifyOptions options = optionsFor(row.text);
    options.batchInvariant = true;
    auto report = verifyLayer(options);
    ASSERT_FALSE(report) << row.text;
    EXPECT_EQ(report.error().code, Errc::Unsupported)
        << report.error().render();
    EXPECT_THAT(report.error().render(), HasSubstr(row.reason));
  }
}

//===----------------------------------------------------------------------===//
// Sizes, targets, placements
//===----------------------------------------------------------------------===//

TEST(VerifySizes, KeepToRangesMultiplesAndTheBudget) {
  std::vector<SymbolDesc> symbols = {{"M", 3, 4096, 1}, {"K", 0, 512, 48}};
  auto work = [](const Symbols &at) { return double(at[0]) * double(at[1]); };
  Sizes sizes(symbols, work, 20000, 7);
  EXPECT_THAT(sizes.least(), ElementsAre(3, 48));
  ASSERT_EQ(sizes.leftOut().size(), 1u);
  EXPECT_EQ(sizes.leftOut()[0], "M: all above 416, of at most 4096");
  std::set<int64_t> met[2];
  for (unsigned number = 0; number < 200; ++number) {
    Symbols at = sizes.ofCase(number);
    EXPECT_EQ(at, sizes.ofCase(number));
    EXPECT_LE(work(at), 20000);
    for (size_t s = 0; s < 2; ++s) {
      EXPECT_GE(at[s], symbols[s].min);
      EXPECT_LE(at[s], symbols[s].max);
      EXPECT_EQ(at[s] % symbols[s].multiple, 0);
      met[s].insert(at[s]);
    }
  }
  for (int64_t edge : {3, 15, 16, 17, 31, 33, 63, 65, 127, 129, 416})
    EXPECT_TRUE(met[0].count(edge)) << edge;
  for (int64_t edge : {0, 48, 96, 144, 480})
    EXPECT_TRUE(met[1].count(edge)) << edge;
}

TEST(Verify, StopsWhenAsked) {
  for (unsigned after : {0u, 60u}) {
    VerifyOptions options = optionsFor(mlp);
    options.cases = 1000000;
    unsigned asked = 0;
    options.isStopped = [&] { return asked++ >= after; };
    auto report = verifyLayer(options);
    ASSERT_TRUE(report) << report.error().render();
    EXPECT_TRUE(report->isStopped);
    EXPECT_EQ(report->layer, after ? "mlp" : "test.qn");
    EXPECT_TRUE(report->passed());
    EXPECT_LT(report->cases, 60u);
  }
}

TEST(Verify, NamedTargetsAndPlacementsMustBe) {
  VerifyOptions options = optionsFor(mlp);
  options.targets = {"cpu", "gpu"};
  auto report = verifyLayer(options);
  ASSERT_FALSE(report);
  EXPECT_EQ(report.error().code, Errc::InvalidArgument);

  options = optionsFor(mlp);
  options.placements = {"hq:cluster"};
  report = verifyLayer(options);
  ASSERT_FALSE(report);
  EXPECT_THAT(report.error().message, HasSubstr("a CPU has no clusters"));

  // A general wish, for every quantization that can be there.
  options.placements = {"panel"};
  options.targets = {"cpu", "cpu:generic"};
  options.fuse = {"all"};
  options.threads = {1};
  report = verifyLayer(options);
  ASSERT_TRUE(report) << report.error().render();
  ASSERT_EQ(report->rows.size(), 2u);
  EXPECT_THAT(report->rows[0].places, HasSubstr("hq:panel"));

  // One wish that cannot be is noted beside one that can.
  options.placements = {"hq:grid", "hq:cluster"};
  options.targets = {"cpu"};
  report = verifyLayer(options);
  ASSERT_TRUE(report) << report.error().render();
  EXPECT_EQ(report->rows.size(), 1u);
  ASSERT_FALSE(report->notes.empty());
  EXPECT_THAT(report->notes[0], HasSubstr("a CPU has no clusters"));
}

/// Where no target is named, those that cannot be are left out with a note.
TEST(Verify, OtherTargetsAreLeftOut) {
  VerifyOptions options =
      optionsFor("layer product(a: f32[M, 8], b: f32[8, 8]) -> f32[M, 8] {\n"
                 "  return a @ b\n}\n");
  options.targets = {};
  options.cases = 4;
  auto report = verifyLayer(options);
  ASSERT_TRUE(report) << report.error().render();
  EXPECT_TRUE(report->passed());
  for (const VerifyRow &row : report->rows)
    EXPECT_TRUE(row.target.starts_with("cpu")) << row.target;
  bool noted = false;
  for (const std::string &note : report->notes)
    noted |= note.starts_with("sim:sm_80 is left out: ");
  EXPECT_TRUE(noted);

  options.targets = {"sim:sm_80"};
  report = verifyLayer(options);
  ASSERT_FALSE(report);
  EXPECT_EQ(report.error().code,
            cuda::Nvrtc::get() ? Errc::Unsupported : report.error().code);
}
