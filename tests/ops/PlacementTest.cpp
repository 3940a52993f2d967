//===- PlacementTest.cpp - Every placement gives the same bits ------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// The layers of PlacedLayers.h, with their quantizations in the places that the
// compiler says are possible, beside a drawn place of the other quantizations.
// Of a layer's places those are run that were met least until then, so that the
// rare ones are taken wherever they can be. Results are compared with the
// reference, which knows nothing of placements: bits for exact and ordered
// layers, the stated bound for others. What was met is counted, and must be
// enough.
//
// QUERN_SEED sets the first seed (else it is the day's), QUERN_LAYERS the
// count, and QUERN_COVERAGE names a file for the counts, a line each. A failure
// names the seed of its layer: QUERN_SEED=... QUERN_LAYERS=1 repeats it in all
// its places.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/cuda/Nvrtc.h"
#include "tests/ops/LayerCheck.h"
#include "tests/ops/PlacedLayers.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <limits>
#include <map>
#include <random>
#include <set>

using namespace quern;
using namespace quern::test;

namespace {

uint64_t environment(const char *name, uint64_t otherwise) {
  const char *text = std::getenv(name);
  return text && *text ? std::strtoull(text, nullptr, 10) : otherwise;
}

using Sites = std::vector<QuantizationPlacement>;

/// Whether a quantization, or one of several of that name, is there for some
/// number of rows.
bool isPlacedAt(const Sites &sites, const std::string &name,
                const std::string &placement) {
  for (const QuantizationPlacement &site : sites)
    for (const auto &option : site.options)
      if (site.value == name && option.chosen && option.placement == placement)
        return true;
  return false;
}

/// What there is for `m` rows.
Sites sitesFor(const Sites &sites, int64_t m) {
  Sites found;
  for (const QuantizationPlacement &site : sites)
    if (std::ranges::all_of(site.when, [&](const RangeDesc &range) {
          return m >= range.min && m <= range.max;
        }))
      found.push_back(site);
  return found;
}

/// Where the first of that name is.
std::string placeOf(const Sites &sites, const std::string &name) {
  for (const QuantizationPlacement &site : sites)
    for (const auto &option : site.options)
      if (site.value == name && option.chosen)
        return option.placement;
  return "nowhere";
}

/// How often everything was met.
struct Met {
  /// "panel of softmax, i8": the runs, and whether any layer could be so.
  std::map<std::string, int> cells;
  std::set<std::string> legal;
  std::map<std::string, int> placements, producers, formats, granularities,
      scaleTypes, chains;
  std::map<std::string, int> features;
  int layers = 0, runs = 0, refused = 0;

  int timesOf(const std::string &cell) const {
    auto found = cells.find(cell);
    return found == cells.end() ? 0 : found->second;
  }

  /// "12<tab>panel of softmax, i8" for each.
  void write(const char *path) const {
    std::ofstream file(path);
    for (const std::string &cell : legal)
      file << timesOf(cell) << '\t' << cell << '\n';
    EXPECT_TRUE(file.flush()) << path;
  }

  void print(const std::string &target, uint64_t seed) const {
    fmt::print("{}, QUERN_SEED={} to {}: {} layers, {} runs, {} layers refused "
               "by the target\n",
               target, seed, seed + layers - 1, layers, runs, refused);
    int least = runs;
    for (const std::string &cell : legal)
      least = std::min(least, timesOf(cell));
    fmt::print("  {} cells of placement, producer and format, each at least {} "
               "times\n",
               legal.size(), least);
    for (const auto &[what, counts] : {std::pair("placements", &placements),
                                       {"producers", &producers},
                                       {"formats", &formats},
                                       {"granularities", &granularities},
                                       {"scale types", &scaleTypes},
                                       {"chains", &chains},
                                       {"inputs", &features}}) {
      std::vector<std::string> texts;
      for (const auto &[name, count] : *counts)
        texts.push_back(fmt::format("{} {}", name, count));
      fmt::print("  {}: {}\n", what, fmt::join(texts, ", "));
    }
  }
};

/// What the drawn activations hold: zero rows, rows with a NaN, numbers far
/// beyond the others.
std::set<std::string> featuresOf(const Layer &layer,
                                 const std::vector<Tensor> &operands) {
  std::set<std::string> found;
  size_t next = 0;
  for (const Operand &operand : layer.operands()) {
    if (operand.role == Operand::Role::Output)
      continue;
    const Tensor &tensor = operands[next++];
    if (operand.role != Operand::Role::Input || tensor.shape().rank() != 2)
      continue;
    std::vector<float> values = tensor.toFloats();
    size_t length = static_cast<size_t>(tensor.shape()[1]);
    for (size_t row = 0; row < values.size(); row += length) {
      bool isZero = true;
      for (size_t i = row; i < row + length; ++i) {
        isZero &= values[i] == 0;
        if (std::isnan(values[i]))
          found.insert("NaN rows");
        // Normal numbers are drawn within 6.
        else if (std::isfinite(values[i]) && std::fabs(values[i]) > 6)
          found.insert("outliers");
      }
      if (isZero)
        found.insert("zero rows");
    }
  }
  return found;
}

class PlacedRun {
public:
  PlacedRun(std::string target, uint64_t seed, Met &met)
      : seed(seed), met(met), placed(makePlacedLayer(seed)) {
    setting.target = std::move(target);
    setting.threads = 1 + static_cast<unsigned>(seed / 7 % 3);
    // Each of its kernels takes longer to compile than all its runs.
    setting.buckets = seed / 5 % 4 == 0 ? "auto" : "one";
  }

  /// Runs the quantization in at most so many of its possible places.
  void run(size_t most);

private:
  Result<Sites> findSites() const;
  void runAt(const std::string &placement, const Sites &sites);
  Result<CompileOutput> compileAt(const std::string &placement,
                                  const Sites &sites);
  void count(const std::string &placement, const Layer &layer,
             const PlacedLayer::Run &run);
  std::string cellOf(const std::string &placement) const {
    return fmt::format("{} of {}, {}", placement, placed.producer,
                       placed.format);
  }

  uint64_t seed;
  Met &met;
  PlacedLayer placed;
  LayerRun setting;
  std::optional<Oracle> oracle;
  /// The answers for the layer's runs, which are the same for all placements.
  std::vector<std::vector<Tensor>> operands;
  std::vector<Oracle::Answer> answers;
};

} // namespace

/// The places of each quantization, without making code.
Result<Sites> PlacedRun::findSites() const {
  CompileRequest request;
  request.source = placed.text;
  request.name = "drawn.qn";
  request.target = *Target::parse(setting.target);
  request.wanted = {Stage::Tile};
  request.textsOnly = true;
  request.settings = {"buckets=" + setting.buckets};
  auto output = compileLayer(request);
  if (!output)
    return output.error();
  return std::move(output->quantizations);
}

/// With the others at drawn places; as the choices before change what is
/// possible after, at the compiler's where that cannot be.
Result<CompileOutput> PlacedRun::compileAt(const std::string &placement,
                                           const Sites &sites) {
  // From nothing that was run before, so that a failure can be repeated.
  std::vector<uint64_t> start(placement.begin(), placement.end());
  start.push_back(seed);
  std::seed_seq sequence(start.begin(), start.end());
  std::mt19937_64 random(sequence);
  std::string wish;
  std::set<std::string> wished;
  for (const QuantizationPlacement &site : sites) {
    if (!wished.insert(site.value).second)
      continue;
    std::vector<std::string> possible;
    for (const auto &option : site.options)
      if (option.possible)
        possible.push_back(option.placement);
    wish += fmt::format(
        "{}{}:{}", wish.empty() ? "" : ",", site.value,
        site.value == "hq" ? placement : possible[random() % possible.size()]);
  }
  Result<CompileOutput> compiled = fail(Errc::Internal, "never compiled");
  for (const std::string &attempt : {wish, "hq:" + placement}) {
    setting.placement = attempt;
    compiled = compileFor(setting, placed.text, "drawn.qn");
    if (compiled || compiled.error().code != Errc::InvalidArgument)
      break;
  }
  return compiled;
}

void PlacedRun::count(const std::string &placement, const Layer &layer,
                      const PlacedLayer::Run &run) {
  ++met.runs;
  ++met.cells[cellOf(placement)];
  ++met.placements[placement];
  ++met.producers[placed.producer];
  ++met.formats[placed.format];
  ++met.granularities[placed.granularity.substr(0,
                                                placed.granularity.find('('))];
  ++met.scaleTypes[placed.scaleType];
  if (run.hasTails)
    ++met.features["tails"];
  auto at = &run - placed.runs.data();
  for (const std::string &feature : featuresOf(layer, operands[at]))
    ++met.features[feature];
}

void PlacedRun::runAt(const std::string &placement, const Sites &sites) {
  auto compiled = compileAt(placement, sites);
  SCOPED_TRACE("placement=" + setting.placement);
  ASSERT_TRUE(compiled) << compiled.error().render();
  ASSERT_TRUE(isPlacedAt(compiled->quantizations, "hq", placement));
  auto layer = loadFor(setting, *compiled);
  ASSERT_TRUE(layer) << layer.error().render();
  if (placed.isChain)
    ++met.chains[placement + " then " + placeOf(compiled->quantizations, "yq")];
  for (size_t r = 0; r < placed.runs.size(); ++r) {
    const PlacedLayer::Run &run = placed.runs[r];
    SCOPED_TRACE(fmt::format("M = {}, {}", run.m, reference::name(run.corner)));
    if (answers.size() <= r) {
      auto drawn = oracle->drawInputs(std::array{run.m}, seed, {}, run.corner);
      ASSERT_TRUE(drawn) << drawn.error().render();
      operands.push_back(std::move(*drawn));
      std::vector<TensorView> views(operands[r].begin(), operands[r].end());
      auto answer = oracle->answer(views, 1, toleranceOf(*layer));
      ASSERT_TRUE(answer) << answer.error().render();
      answers.push_back(std::move(*answer));
    }
    // Few rows may be placed elsewhere than many.
    if (isPlacedAt(sitesFor(compiled->quantizations, run.m), "hq", placement))
      count(placement, *layer, run);
    std::vector<TensorView> views(operands[r].begin(), operands[r].end());
    expectAnswer(*layer, *oracle, views, std::array{run.m}, answers[r]);
  }
}

void PlacedRun::run(size_t most) {
  SCOPED_TRACE(fmt::format("{}, {} threads, QUERN_SEED={}\n{}", setting.target,
                           setting.threads, seed, placed.text));
  ++met.layers;
  auto made = Oracle::create(placed.text, "drawn.qn");
  ASSERT_TRUE(made) << made.error().render();
  oracle = std::move(*made);
  auto sites = findSites();
  if (!sites && sites.error().code == Errc::Unsupported &&
      setting.target != "cpu") {
    ++met.refused;
    return;
  }
  ASSERT_TRUE(sites) << sites.error().render();
  std::vector<std::string> possible;
  for (const QuantizationPlacement &site : *sites)
    for (const auto &option : site.options)
      // Its scales and its codes may be two.
      if (site.value == "hq" && option.possible &&
          std::ranges::find(possible, option.placement) == possible.end()) {
        met.legal.insert(cellOf(option.placement));
        possible.push_back(option.placement);
      }
  ASSERT_FALSE(possible.empty()) << "hq can be nowhere";
  std::ranges::rotate(possible,
                      possible.begin() + placed.number % possible.size());
  std::map<std::string, std::tuple<int, int, size_t>> order;
  for (const std::string &placement : possible)
    order[placement] = {met.timesOf(cellOf(placement)),
                        met.placements[placement], order.size()};
  std::ranges::sort(possible, {}, [&](const std::string &placement) {
    return order.at(placement);
  });
  for (size_t i = 0; i < std::min(most, possible.size()); ++i)
    if (!testing::Test::HasFatalFailure())
      runAt(possible[i], *sites);
}

namespace {

Met checkTargets(const std::vector<std::string> &targets, uint64_t count,
                 size_t most, uint64_t part = 0) {
  uint64_t today = static_cast<uint64_t>(std::time(nullptr)) / 86400 * 100000;
  uint64_t first = environment("QUERN_SEED", today) + part * count;
  if (count == 1)
    most = std::numeric_limits<size_t>::max();
  Met met;
  for (uint64_t seed = first;
       seed < first + count && !testing::Test::HasFatalFailure(); ++seed) {
    // Each kind of layer meets each target.
    uint64_t round = seed / (producers().size() * formats().size());
    PlacedRun(targets[(seed + round) % targets.size()], seed, met).run(most);
    if ((seed - first + 1) % 50 == 0 && seed + 1 < first + count) {
      fmt::print("  {} layers; the next is QUERN_SEED={}\n", seed - first + 1,
                 seed + 1);
      std::fflush(stdout);
    }
  }
  met.print(fmt::format("{}", fmt::join(targets, ", ")), first);
  if (const char *path = std::getenv("QUERN_COVERAGE"))
    met.write(path);
  // Each of them in a fourth of the runs.
  if (met.layers >= 50 && !testing::Test::HasFatalFailure())
    for (const char *feature : {"tails", "zero rows", "NaN rows", "outliers"})
      EXPECT_GE(4 * met.features[feature], met.runs) << feature;
  return met;
}

} // namespace

/// In two halves, which ctest runs beside each other.
class PlacementsByChance : public testing::TestWithParam<int> {};

TEST_P(PlacementsByChance, Cpu) {
  uint64_t count = environment("QUERN_LAYERS", 500);
  Met met = checkTargets({"cpu", "cpu", "cpu:generic"}, count, 4, GetParam());
  if (count < 500 || HasFatalFailure())
    return;
  // What a product makes can be anywhere but in a cluster, other values in the
  // product that reads their codes and apart. What a norm or softmax makes is
  // quantized in its kernel, and so are dequantized codes unless neither blocks
  // contain the other.
  size_t pairs = formats().size();
  EXPECT_EQ(met.legal.size(), 4 * pairs * 6 + 2 * pairs * 2 + 3 * pairs);
  for (const std::string &cell : met.legal)
    EXPECT_GE(met.cells[cell],
              cell.starts_with("consumer of requantize") ? 3 : 10)
        << cell;
  EXPECT_GE(met.chains.size(), 12u);
  for (const char *type : {"f32", "f16", "bf16"})
    EXPECT_GE(5 * met.scaleTypes[type], met.runs / 2) << type;
}

INSTANTIATE_TEST_SUITE_P(Half, PlacementsByChance, testing::Values(0, 1));

TEST(Placements, Sim) {
  if (auto nvrtc = cuda::Nvrtc::get(); !nvrtc)
    GTEST_SKIP() << nvrtc.error().message;
  uint64_t count = environment("QUERN_LAYERS", 60);
  Met met = checkTargets({"sim:sm_80", "sim:sm_90a", "sim:sm_120a"}, count, 2);
  if (count < 60 || HasFatalFailure())
    return;
  for (const char *placement :
       {"register", "tile", "cluster", "grid", "panel", "consumer", "separate"})
    EXPECT_GE(met.placements[placement], 4) << placement;
  for (const char *producer : producers())
    EXPECT_GE(met.producers[producer], 4) << producer;
  for (const char *format : formats())
    EXPECT_GE(met.formats[format], 10) << format;
}
