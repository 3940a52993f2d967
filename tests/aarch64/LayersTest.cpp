//===- LayersTest.cpp - Whole layers on AArch64 ---------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Layers compiled for cpu:aarch64-dotprod, run under qemu and compared with the
// reference by the class of their operations, as tests/ops does with the levels
// that this machine has: every operation, layers made by chance, and dynamic
// quantizations wherever they can be. Everything runs in one process of the
// emulator.
//
// QUERN_SEED sets the first seed (else it is the day's), QUERN_LAYERS how many
// layers are made. A failure names its layer's seed.
//
//===----------------------------------------------------------------------===//

#include "tests/aarch64/Emulator.h"
#include "tests/ops/LayerCheck.h"
#include "tests/ops/OpCases.h"
#include "tests/ops/PlacedLayers.h"
#include "tests/ops/RandomLayers.h"
#include "tests/ops/ScheduleCases.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <map>

using namespace quern;
using namespace quern::test;

namespace {
constexpr const char *level = "cpu:aarch64-dotprod";

uint64_t environment(const char *name, uint64_t otherwise) {
  const char *text = std::getenv(name);
  return text && *text ? std::strtoull(text, nullptr, 10) : otherwise;
}
uint64_t firstSeed() {
  return environment("QUERN_SEED",
                     static_cast<uint64_t>(std::time(nullptr)) / 86400);
}

class AArch64 : public testing::Test {
protected:
  void SetUp() override {
    Result<Emulator *> got = Emulator::get();
    if (!got && got.error().code == Errc::Unsupported)
      GTEST_SKIP() << got.error().message;
    ASSERT_TRUE(got) << got.error().render();
    emulator = *got;
  }
  void TearDown() override {
    if (emulator) {
      EXPECT_EQ(emulator->damage(), "");
    }
    fmt::print("{} layers, {} runs\n", layers, runs);
  }

  /// Loads what the emulated machine says it can run. The runtime of this one
  /// would refuse it, and rightly: so it is called what it is not.
  Result<Layer> load(CompileOutput compiled, const LayerRun &run) {
    VariantDesc &variant = compiled.module.variants.front();
    EXPECT_EQ(variant.target, level);
    if (auto can = emulator->check(variant.target, variant.requiredFeatures);
        !can)
      return can.error();
    variant.target = "cpu:generic";
    variant.requiredFeatures.clear();
    ++layers;
    return loadFor({"cpu", run.fuse, run.threads}, compiled);
  }

  void expectRight(const LayerRun &run, const std::string &text,
                   const std::vector<std::vector<int64_t>> &sizes,
                   uint64_t seed, Corner corner = Corner::None) {
    SCOPED_TRACE(fmt::format("fuse={}, placement={}, {} threads, seed {}\n{}",
                             run.fuse, run.placement, run.threads, seed, text));
    auto compiled = compileFor(run, text, "layer.qn");
    ASSERT_TRUE(compiled) << compiled.error().render();
    expectRight(run, *compiled, text, sizes, seed, corner);
  }

  void expectRight(const LayerRun &run, const CompileOutput &compiled,
                   const std::string &text,
                   const std::vector<std::vector<int64_t>> &sizes,
                   uint64_t seed, Corner corner) {
    auto layer = load(compiled, run);
    ASSERT_TRUE(layer) << layer.error().render();
    auto oracle = Oracle::create(text, "layer.qn");
    ASSERT_TRUE(oracle) << oracle.error().render();
    for (const std::vector<int64_t> &size : sizes) {
      ++runs;
      for (const OutputCheck &check :
           expectAgreement(*layer, *oracle, size, seed, corner))
        ++classes[std::string(name(check.numericsClass))];
    }
  }

  Emulator *emulator = nullptr;
  int layers = 0, runs = 0;
  std::map<std::string, int> classes;
};

LayerRun setting(const char *fuse, unsigned threads,
                 std::string placement = "auto") {
  return {level, fuse, threads, std::move(placement)};
}

std::string withType(std::string text, const std::string &type) {
  for (size_t at; (at = text.find("{T}")) != std::string::npos;)
    text.replace(at, 3, type);
  return text;
}
} // namespace

TEST_F(AArch64, TakesItsOwnCodeAlone) {
  std::vector<std::string> none, dot = {"dotprod"};
  EXPECT_TRUE(emulator->check(level, dot));
  auto foreign = emulator->check("cpu:generic", none);
  ASSERT_FALSE(foreign);
  EXPECT_EQ(foreign.error().message,
            "is for x86-64, and this machine is an AArch64");
  // Armv8.0-A.
  auto older = Emulator::start("cortex-a53");
  ASSERT_TRUE(older) << older.error().render();
  auto refused = (*older)->check(level, dot);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().message,
            "needs the CPU feature dotprod, which this machine lacks");
  std::vector<std::string> simple = {"fp-armv8", "neon"};
  EXPECT_TRUE((*older)->check(level, simple));
}

/// Signed products made unsigned ones, in every place of the code.
static int exchangeProducts(std::vector<std::byte> &code) {
  int exchanged = 0;
  for (size_t at = 0; at + 4 <= code.size(); at += 4) {
    uint32_t word;
    std::memcpy(&word, &code[at], 4);
    // sdot of vectors, and by an element; udot differs in bit 29.
    if ((word & 0xffe0fc00) != 0x4e809400 && (word & 0xffc0f400) != 0x4f80e000)
      continue;
    word |= 1u << 29;
    std::memcpy(&code[at], &word, 4);
    ++exchanged;
  }
  return exchanged;
}

TEST_F(AArch64, NoticesAnotherInstruction) {
  std::string text = "layer t(x: i8[M, 64] * f32[M, 1], weight w: i8[24, 64] * "
                     "f32[24, 1]) -> f32[M, 24] {\n  return x @ w.T\n}\n";
  LayerRun run = setting("all", 1);
  auto compiled = compileFor(run, text, "layer.qn");
  ASSERT_TRUE(compiled) << compiled.error().render();
  expectRight(run, *compiled, text, {{9}}, 1, Corner::None);
  auto &code = compiled->module.variants.front().code.front().bytes;
  EXPECT_GE(exchangeProducts(code), 16);
  auto layer = load(*compiled, run);
  ASSERT_TRUE(layer) << layer.error().render();
  auto oracle = Oracle::create(text, "layer.qn");
  ASSERT_TRUE(oracle) << oracle.error().render();
  std::vector<int64_t> sizes = {9};
  auto operands = oracle->drawInputs(sizes, 1, {}, Corner::None);
  ASSERT_TRUE(operands);
  std::vector<TensorView> views(operands->begin(), operands->end());
  auto answer = oracle->answer(views, 1);
  ASSERT_TRUE(answer);
  verify::GuardedOutputs outputs;
  ASSERT_TRUE(verify::runInto(*layer, views, sizes, outputs));
  auto checks = oracle->check(*answer, outputs.getViews());
  ASSERT_TRUE(checks);
  ASSERT_EQ(checks->size(), 1u);
  EXPECT_FALSE(checks->front().passed);
}

/// Code that the machine cannot execute ends its process, and only that.
TEST_F(AArch64, TellsWhatAProcessDiedOf) {
  auto other = Emulator::start("max");
  ASSERT_TRUE(other) << other.error().render();
  std::vector<std::byte> code(16); // udf #0
  auto mapped = (*other)->map(code);
  ASSERT_TRUE(mapped) << mapped.error().render();
  auto done = (*other)->launch(*mapped, 0, {}, {}, 0, 1, nullptr);
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().message, "the emulated process was ended by signal 4");
  auto later = (*other)->unmap(*mapped);
  ASSERT_FALSE(later);
  EXPECT_EQ(later.error().message, "the emulated process has ended before");
}

TEST_F(AArch64, Operations) {
  uint64_t seed = 100;
  for (const auto *cases : {&opCases(), &packedCases()})
    for (const OpCase &row : *cases) {
      SCOPED_TRACE(row.name);
      for (const char *type : row.types) {
        bool fused = ++seed % 2;
        expectRight(setting(fused ? "all" : "none", 1 + seed % 2),
                    withType(row.text, type), row.sizes, seed,
                    seed % 3 ? Corner::None : Corner::Scattered);
      }
    }
}

TEST_F(AArch64, RandomLayers) {
  uint64_t first = firstSeed(), count = environment("QUERN_LAYERS", 120);
  fmt::print("QUERN_SEED={}\n", first);
  for (uint64_t seed = first; seed < first + count; ++seed) {
    RandomLayer random = makeRandomLayer(seed);
    expectRight(setting(seed % 3 ? "all" : "none", 1 + seed % 2), random.text,
                random.sizes, seed,
                seed % 4 ? Corner::None : Corner::Scattered);
  }
  if (count < 50)
    return;
  for (const char *what : {"exact", "ordered", "bounded"})
    EXPECT_GT(classes[what], 0) << what;
}

TEST_F(AArch64, QuantizationsInTheirPlaces) {
  uint64_t first = firstSeed(), count = environment("QUERN_LAYERS", 30);
  fmt::print("QUERN_SEED={}\n", first);
  std::map<std::string, int> met;
  for (uint64_t seed = first; seed < first + count; ++seed) {
    PlacedLayer layer = makePlacedLayer(seed);
    SCOPED_TRACE(layer.text);
    LayerRun run = setting("all", 1 + seed % 2);
    auto chosen = compileFor(run, layer.text, "layer.qn");
    ASSERT_TRUE(chosen) << chosen.error().render();
    std::vector<std::string> places;
    for (const QuantizationPlacement &site : chosen->quantizations)
      for (const auto &option : site.options)
        if (site.value == "hq" && option.possible &&
            std::ranges::find(places, option.placement) == places.end())
          places.push_back(option.placement);
    ASSERT_FALSE(places.empty());
    // Those that were met least.
    std::ranges::sort(places, {}, [&](const std::string &place) {
      return std::pair(met[place], place);
    });
    places.resize(std::min<size_t>(places.size(), 2));
    for (const std::string &place : places) {
      ++met[place];
      run.placement = "hq:" + place;
      const PlacedLayer::Run &at = layer.runs[seed % layer.runs.size()];
      expectRight(run, layer.text, {{at.m}}, seed, at.corner);
    }
  }
  if (count < 30)
    return;
  for (const char *place :
       {"register", "tile", "panel", "grid", "consumer", "separate"})
    EXPECT_GT(met[place], 2) << place;
}

/// Whatever `quern tune` could find on such a machine.
TEST_F(AArch64, ProductsAreCutOtherwise) {
  for (const ScheduledLayer &layer : scheduledLayers()) {
    SCOPED_TRACE(layer.name);
    LayerRun run = setting("all", 2);
    auto base = compileFor(run, layer.text, "layer.qn");
    ASSERT_TRUE(base) << base.error().render();
    for (const cpugen::Schedules &record : recordsOf(*base)) {
      run.tuned = record.print();
      SCOPED_TRACE(run.tuned);
      auto tuned = compileFor(run, layer.text, "layer.qn");
      ASSERT_TRUE(tuned) << tuned.error().render();
      ASSERT_TRUE(tuned->unusedSchedules.empty());
      expectRight(run, *tuned, layer.text, {{1}, {3}, {7}, {29}}, 5,
                  Corner::None);
    }
  }
  EXPECT_GT(runs, 500);
}
