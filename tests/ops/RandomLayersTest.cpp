//===- RandomLayersTest.cpp - Random layers on every target ---------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// QUERN_SEED sets the first seed, QUERN_LAYERS how many layers are made. A
// failure prints the layer and its seed, so that
//
//     QUERN_SEED=<seed> QUERN_LAYERS=1 random_layers_tests
//
// repeats it alone.
//
//===----------------------------------------------------------------------===//

#include "tests/ops/RandomLayers.h"
#include "runtime/device/cpu/CpuFeatures.h"
#include "runtime/device/cuda/Nvrtc.h"
#include "tests/ops/LayerCheck.h"

#include <cstdlib>

using namespace quern;
using namespace quern::test;

namespace {
uint64_t environment(const char *name, uint64_t otherwise) {
  const char *text = std::getenv(name);
  return text && *text ? std::strtoull(text, nullptr, 10) : otherwise;
}

/// What a test walked through, printed at its end.
struct Coverage {
  std::map<std::string, int> operations, granularities, classes;
  int layers = 0, runs = 0, refused = 0;

  void print(uint64_t seed) const {
    fmt::print("seeds {} to {}: {} layers, {} runs, {} refused by the target\n",
               seed, seed + layers - 1, layers, runs, refused);
    fmt::print("  operations: {}\n", join(operations));
    fmt::print("  granularities: {}\n", join(granularities));
    fmt::print("  outputs by class: {}\n", join(classes));
  }
  static std::string join(const std::map<std::string, int> &counts) {
    std::vector<std::string> texts;
    for (const auto &[what, count] : counts)
      texts.push_back(fmt::format("{} {}", what, count));
    return fmt::format("{}", fmt::join(texts, ", "));
  }
};

void checkOn(const LayerRun &run, const RandomLayer &random,
             const Oracle &oracle, uint64_t seed, Coverage &coverage) {
  SCOPED_TRACE(fmt::format("{}, fuse={}, {} threads, QUERN_SEED={}\n{}",
                           run.target, run.fuse, run.threads, seed,
                           random.text));
  auto compiled = compileFor(run, random.text, "random.qn");
  if (!compiled && run.target.starts_with("sim") &&
      compiled.error().code == Errc::Unsupported) {
    // The one thing a CPU does and CUDA does not.
    EXPECT_NE(compiled.error().message.find("f32 products"), std::string::npos)
        << compiled.error().render();
    EXPECT_NE(compiled.error().line, 0u) << compiled.error().render();
    ++coverage.refused;
    return;
  }
  ASSERT_TRUE(compiled) << compiled.error().render();
  auto layer = loadFor(run, *compiled);
  ASSERT_TRUE(layer) << layer.error().render();
  for (const std::vector<int64_t> &sizes : random.sizes) {
    ++coverage.runs;
    for (const OutputCheck &check :
         expectAgreement(*layer, oracle, sizes, seed,
                         seed % 4 ? Corner::None : Corner::Scattered))
      ++coverage.classes[std::string(name(check.numericsClass))];
  }
}

void checkLayers(uint64_t first, uint64_t count,
                 const std::vector<std::vector<LayerRun>> &runs) {
  Coverage coverage;
  for (uint64_t seed = first; seed < first + count; ++seed) {
    RandomLayer random = makeRandomLayer(seed);
    ++coverage.layers;
    for (const auto &[what, times] : random.operations)
      coverage.operations[what] += times;
    for (const auto &[what, times] : random.granularities)
      coverage.granularities[what] += times;
    auto oracle = Oracle::create(random.text, "random.qn");
    EXPECT_TRUE(oracle) << "QUERN_SEED=" << seed << "\n"
                        << random.text << oracle.error().render();
    if (oracle)
      for (const LayerRun &run : runs[seed % runs.size()])
        checkOn(run, random, *oracle, seed, coverage);
  }
  coverage.print(first);
  if (count < 50)
    return;
  // So many layers walk through everything the generator knows.
  for (const char *what : {"silu",          "+",
                           "where",         "as",
                           "softmax",       "rmsnorm",
                           "layernorm",     "sum",
                           "absmax",        "reshape",
                           "transpose",     "slice",
                           "concat",        "gather",
                           "quantize",      "quantize static",
                           "dequantize",    "integer product",
                           "fp8 product",   "weight-only product",
                           "float product", "product of four bits"})
    EXPECT_GT(coverage.operations[what], 0) << what;
  for (const char *what : {"tensor", "token", "group", "block", "column",
                           "odd block", "short last block", "zero points"})
    EXPECT_GT(coverage.granularities[what], 0) << what;
  for (const char *what : {"exact", "ordered", "bounded"})
    EXPECT_GT(coverage.classes[what], 0) << what;
  EXPECT_LT(8 * coverage.refused, coverage.runs);
}
} // namespace

TEST(RandomLayers, Cpu) {
  const char *vnni = cpu::hostHas("avxvnni") ? "cpu:avx-vnni" : "cpu:generic";
  checkLayers(
      environment("QUERN_SEED", 1), environment("QUERN_LAYERS", 300),
      {{{"cpu", "all", 2}, {"cpu", "none", 1}, {"cpu:generic", "all", 1}},
       {{"cpu", "all", 1}, {"cpu", "none", 2}, {"cpu:generic", "none", 2}},
       {{"cpu", "all", 2}, {vnni, "all", 1}, {vnni, "none", 2}}});
}

TEST(RandomLayers, Sim) {
  if (auto nvrtc = cuda::Nvrtc::get(); !nvrtc)
    GTEST_SKIP() << nvrtc.error().message;
  checkLayers(environment("QUERN_SEED", 1), environment("QUERN_LAYERS", 150),
              {{{"sim:sm_80", "all", 2}},
               {{"sim:sm_120a", "all", 2}},
               {{"sim:sm_80", "none", 2}},
               {{"sim:sm_90a", "all", 2}}});
}
