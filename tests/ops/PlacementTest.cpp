//===- PlacementTest.cpp - Every placement gives the same bits ------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Layers of one shape: a product (plain, with bias and activation, with a
// residual, gated) or a row operation makes a value, a dynamic quantization
// encodes it, and a product reads the codes. What is made, the format, the
// blocks and the sizes are drawn; so is the placement, among those the compiler
// says are possible, so that each is met often. Results are compared with the
// reference, which knows nothing of placements: bits for exact and ordered
// layers, the stated bound for others.
//
// QUERN_SEED sets the first seed (else it is the day's), QUERN_LAYERS the
// count.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/cuda/Nvrtc.h"
#include "tests/ops/LayerCheck.h"

#include <cstdlib>
#include <ctime>
#include <random>
#include <set>

using namespace quern;
using namespace quern::test;

namespace {

uint64_t environment(const char *name, uint64_t otherwise) {
  const char *text = std::getenv(name);
  return text && *text ? std::strtoull(text, nullptr, 10) : otherwise;
}

/// What was drawn for one layer.
struct Drawn {
  std::string text, producer, format;
  int64_t m = 1;
  bool tails = false, corners = false;
};

class Draw {
public:
  explicit Draw(uint64_t seed) : random(seed) {}

  Drawn layer();
  template <typename T> T pick(std::initializer_list<T> values) {
    return *(values.begin() + random() % values.size());
  }
  size_t below(size_t count) { return random() % count; }

private:
  std::string blocks(int64_t columns);

  std::mt19937_64 random;
};

std::string Draw::blocks(int64_t columns) {
  switch (below(7)) {
  case 0:
  case 1:
    return "per token";
  case 2:
    return "per tensor";
  case 3:
    return fmt::format("per group({})",
                       pick<int64_t>({4, 8, 16, 24, 32, 50, 64, 128}));
  case 4:
    return fmt::format("per block({}, {})", pick<int64_t>({1, 2, 3, 8, 16}),
                       pick<int64_t>({8, 32, 48, 128}));
  case 5:
    return fmt::format("per tokens({})", pick<int64_t>({2, 4, 8, 16, 32}));
  default:
    return fmt::format("per group({})", columns);
  }
}

Drawn Draw::layer() {
  Drawn drawn;
  drawn.m = pick<int64_t>({1, 2, 7, 16, 33, 64, 130});
  int64_t k = pick<int64_t>({32, 64, 96, 160});
  int64_t n = pick<int64_t>({32, 48, 64, 100, 128, 192, 260});
  int64_t p = pick<int64_t>({16, 40, 64});
  drawn.tails = drawn.m % 16 != 0 || n % 32 != 0 || p % 32 != 0;
  drawn.producer = pick<std::string>(
      {"product", "activation", "residual", "gated", "rmsnorm", "input"});
  std::string type = pick<std::string>({"f16", "f16", "bf16", "f32"});
  drawn.format = pick<std::string>({"i8", "i8", "(u8 - u8)", "f8e4m3"});
  std::string parameters = fmt::format("x: f16[M, {}]", k), body;
  if (drawn.producer == "input" || drawn.producer == "rmsnorm") {
    parameters = fmt::format("x: {}[M, {}]", type, n);
    if (drawn.producer == "rmsnorm") {
      parameters += fmt::format(", g: {}[{}]", type, n);
      body = fmt::format("  h = rmsnorm(x, g, eps = 1e-6) as {}\n", type);
    } else {
      body = "  h = x\n";
    }
  } else {
    parameters += fmt::format(", weight a: i8[{0}, {1}] * f32[{0}, 1]", n, k);
    std::string product = "(xq @ a.T)";
    std::string value = product;
    if (drawn.producer == "activation") {
      parameters += fmt::format(", b: f32[{}]", n);
      value = fmt::format("{}({} + b)", pick<std::string>({"relu", "silu"}),
                          product);
    } else if (drawn.producer == "residual") {
      parameters += fmt::format(", r: f16[M, {}]", n);
      value = fmt::format("{} + r", product);
    } else if (drawn.producer == "gated") {
      parameters += fmt::format(", weight u: i8[{0}, {1}] * f32[{0}, 1]", n, k);
      value = fmt::format("silu({}) * (xq @ u.T)", product);
    }
    body = fmt::format("  xq = quantize(x, i8 per token)\n  h = {} as {}\n",
                       value, type);
  }
  std::string granularity = blocks(n);
  std::string power = pick<std::string>(
      {"", "", "", "", "", "power_ceil", "power_floor", "power_even"});
  std::string settings = power.empty() ? "" : ", scale_rounding = " + power;
  bool simple = granularity == "per token" || granularity == "per tensor";
  size_t statistic = drawn.format == "(u8 - u8)" ? 9 : below(10);
  if (statistic == 0) {
    settings += ", statistic = percentile(95)";
  } else if (statistic == 1 && simple) {
    const char *shape = granularity == "per token" ? "[M, 1]" : "[1, 1]";
    parameters +=
        fmt::format(", inout amax: f32{0}, inout clipped: i32{0}", shape);
    settings += ", predicted = amax, clipped = clipped";
  }
  body += fmt::format("  hq = quantize(h, {} {}{})\n", drawn.format,
                      granularity, settings);
  if (drawn.format == "f8e4m3") {
    parameters +=
        fmt::format(", weight d: f8e4m3[{0}, {1}] * f32[{0}, 1]", p, n);
  } else {
    parameters += fmt::format(", weight d: i8[{0}, {1}] * f32[{0}, 1]", p, n);
  }
  // Some results are the codes themselves, or the value beside them.
  size_t kind = below(6);
  std::string results = fmt::format("f16[M, {}]", p);
  std::string yielded = "hq @ d.T as f16";
  if (kind == 0) {
    results = fmt::format("f32[M, {}]", n);
    yielded = "dequantize(hq)";
    parameters = parameters.substr(0, parameters.find(", weight d:"));
  } else if (kind == 1) {
    results = fmt::format("({}, {}[M, {}])", results, type, n);
    yielded += ", h";
  }
  drawn.corners = below(4) == 0;
  drawn.text = fmt::format("layer drawn({}) -> {} {{\n{}  return {}\n}}\n",
                           parameters, results, body, yielded);
  return drawn;
}

/// How often each legal placement was met, by format and producer.
struct Met {
  std::map<std::string, int> cells, placements;
  int layers = 0, runs = 0, tails = 0, corners = 0, refused = 0;

  void print(const char *target, uint64_t seed) const {
    fmt::print("{}, seeds {} to {}: {} layers, {} runs, {} with tails, {} with "
               "NaN, infinities and zeros, {} refused by the target\n",
               target, seed, seed + layers - 1, layers, runs, tails, corners,
               refused);
    for (const auto &[what, count] : placements)
      fmt::print("  {} {}\n", what, count);
  }
};

/// A wish for every quantization: one of its possible placements.
std::string drawPlacements(const CompileOutput &compiled, Draw &draw) {
  std::string wish;
  for (const QuantizationPlacement &site : compiled.quantizations) {
    std::vector<std::string> possible;
    for (const auto &option : site.options)
      if (option.possible)
        possible.push_back(option.placement);
    wish += fmt::format("{}{}:{}", wish.empty() ? "" : ",", site.value,
                        possible[draw.below(possible.size())]);
  }
  return wish;
}

void checkDrawn(const std::string &target, uint64_t seed, Met &met) {
  Draw draw(seed);
  Drawn drawn = draw.layer();
  SCOPED_TRACE(fmt::format("{}, QUERN_SEED={}\n{}", target, seed, drawn.text));
  ++met.layers;
  auto oracle = Oracle::create(drawn.text, "drawn.qn");
  ASSERT_TRUE(oracle) << oracle.error().render();
  LayerRun run{target, "all", 1 + unsigned(seed % 3)};
  auto compiled = compileFor(run, drawn.text, "drawn.qn");
  if (!compiled && compiled.error().code == Errc::Unsupported &&
      target != "cpu") {
    ++met.refused;
    return;
  }
  ASSERT_TRUE(compiled) << compiled.error().render();
  std::string wish = drawPlacements(*compiled, draw);
  // The choices before change what is possible after: take what is granted.
  for (std::string placement : {wish, std::string("auto")}) {
    if (placement.empty())
      continue;
    run.placement = placement;
    auto placed = compileFor(run, drawn.text, "drawn.qn");
    if (!placed && placed.error().code == Errc::InvalidArgument)
      continue;
    SCOPED_TRACE("placement=" + placement);
    ASSERT_TRUE(placed) << placed.error().render();
    auto layer = loadFor(run, *placed);
    ASSERT_TRUE(layer) << layer.error().render();
    ++met.runs;
    met.tails += drawn.tails;
    met.corners += drawn.corners;
    for (const QuantizationPlacement &site : placed->quantizations)
      for (const auto &option : site.options)
        if (option.chosen && site.value == "hq")
          ++met.placements[fmt::format("{} of {}, {}", option.placement,
                                       drawn.producer, drawn.format)];
    expectAgreement(*layer, *oracle, {drawn.m}, seed, drawn.corners);
  }
}

void checkTarget(const std::vector<std::string> &targets, uint64_t count,
                 uint64_t part = 0) {
  uint64_t today = static_cast<uint64_t>(std::time(nullptr)) / 86400 * 100000;
  count = environment("QUERN_LAYERS", count);
  uint64_t first = environment("QUERN_SEED", today) + part * count;
  Met met;
  for (uint64_t seed = first;
       seed < first + count && !testing::Test::HasFatalFailure(); ++seed)
    checkDrawn(targets[seed % targets.size()], seed, met);
  met.print(targets[0].c_str(), first);
  if (count < 50)
    return;
  EXPECT_GE(4 * met.tails, met.runs);
  EXPECT_GE(8 * met.corners, met.runs);
}

} // namespace

/// In two halves, which ctest runs beside each other.
class PlacementsByChance : public testing::TestWithParam<int> {};

TEST_P(PlacementsByChance, Cpu) {
  checkTarget({"cpu", "cpu", "cpu:generic"}, 500, GetParam());
}

INSTANTIATE_TEST_SUITE_P(Half, PlacementsByChance, testing::Values(0, 1));

TEST(Placements, Sim) {
  if (auto nvrtc = cuda::Nvrtc::get(); !nvrtc)
    GTEST_SKIP() << nvrtc.error().message;
  checkTarget({"sim:sm_80", "sim:sm_90a", "sim:sm_120a"}, 60);
}
