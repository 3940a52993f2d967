//===- PlacedLayers.cpp - Layers around one quantization ------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "tests/ops/PlacedLayers.h"

#include <fmt/format.h>

#include <initializer_list>
#include <random>

using namespace quern;
using namespace quern::test;
using reference::Corner;

std::span<const char *const> test::producers() {
  static constexpr const char *all[] = {
      "product", "activation", "residual", "gated",     "rmsnorm",
      "softmax", "layernorm",  "input",    "requantize"};
  return all;
}

std::span<const char *const> test::formats() {
  static constexpr const char *all[] = {"i8", "(u8 - u8)", "(i8 - i8)",
                                        "f8e4m3", "f8e5m2"};
  return all;
}

namespace {

class Generator {
public:
  explicit Generator(uint64_t seed) : seed(seed), random(seed) {}

  PlacedLayer make();

private:
  std::string granularity(uint64_t round, int64_t columns);
  void makeValue();
  void makeProduct();
  void addRuns(uint64_t round);
  /// The type of a weight that multiplies codes of the format.
  std::string weightOf(const std::string &format, int64_t n, int64_t k);
  void parameter(const std::string &text) {
    parameters += (parameters.empty() ? "" : ", ") + text;
  }
  template <typename T> T pick(std::initializer_list<T> values) {
    return *(values.begin() + random() % values.size());
  }
  size_t below(size_t count) { return random() % count; }

  uint64_t seed;
  std::mt19937_64 random;
  PlacedLayer layer;
  std::string parameters, body, type;
  int64_t k = 0, n = 0, p = 0;
};

} // namespace

/// Narrow groups, which nearly everything can hold, every second time.
std::string Generator::granularity(uint64_t round, int64_t columns) {
  switch (round % 11) {
  case 1:
  case 6:
    return "per token";
  case 3:
    return fmt::format("per group({})",
                       pick<int64_t>({24, 48, 50, 64, 100, 128}));
  case 5:
    return pick<int>({0, 1}) ? "per tensor"
                             : fmt::format("per group({})", columns);
  case 7:
    if (below(3) == 0)
      return fmt::format("per tokens({})", pick<int64_t>({2, 4, 8, 16, 32}));
    return fmt::format("per block({}, {})", pick<int64_t>({2, 3, 8, 16}),
                       pick<int64_t>({8, 32, 48, 128}));
  case 2:
  case 9:
    return fmt::format("per group({})", pick<int64_t>({8, 16, 32}));
  default:
    // What is made row by row is in its reader only with blocks of many rows.
    if (layer.producer == "rmsnorm" || layer.producer == "layernorm" ||
        layer.producer == "softmax")
      return pick<const char *>(
          {"per tensor", "per tokens(16)", "per tokens(8)", "per group(4)"});
    return "per group(4)"; // What every register tile holds.
  }
}

std::string Generator::weightOf(const std::string &format, int64_t n,
                                int64_t k) {
  std::string scale = pick<const char *>({"f32", "f32", "f16"});
  std::string codes = format.starts_with("f8")
                          ? pick<const char *>({"f8e4m3", "f8e5m2"})
                          : pick<const char *>({"i8", "i8", "u8"});
  return fmt::format("{0}[{1}, {2}] * {3}[{1}, 1]", codes, n, k, scale);
}

void Generator::makeProduct() {
  layer.isOfProduct = true;
  parameter(fmt::format("x: {}[M, {}]",
                        pick<const char *>({"f16", "f16", "bf16", "f32"}), k));
  parameter(fmt::format("weight a: i8[{0}, {1}] * f32[{0}, 1]", n, k));
  std::string value = "xq @ a.T";
  if (layer.producer == "activation") {
    parameter(fmt::format("b: f32[{}]", n));
    value = fmt::format("{}(xq @ a.T + b)",
                        pick<const char *>({"relu", "silu", "gelu"}));
  } else if (layer.producer == "residual") {
    parameter(fmt::format("r: f16[M, {}]", n));
    value = "xq @ a.T + r";
  } else if (layer.producer == "gated") {
    parameter(fmt::format("weight u: i8[{0}, {1}] * f32[{0}, 1]", n, k));
    value = "silu(xq @ a.T) * (xq @ u.T)";
  }
  const char *blocks = pick<const char *>(
      {"per token", "per token", "per group(32)", "per tensor"});
  body = fmt::format("  xq = quantize(x, i8 {})\n  h = {} as {}\n", blocks,
                     value, type);
}

void Generator::makeValue() {
  if (layer.producer == "product" || layer.producer == "activation" ||
      layer.producer == "residual" || layer.producer == "gated")
    return makeProduct();
  parameter(fmt::format("x: {}[M, {}]", type, n));
  if (layer.producer == "input") {
    body = "  h = x\n";
  } else if (layer.producer == "softmax") {
    body = "  h = softmax(x)\n";
  } else if (layer.producer == "requantize") {
    body = fmt::format(
        "  xq = quantize(x, i8 {})\n  h = dequantize(xq) as {}\n",
        // What is quantized by many rows is never joined with what follows.
        pick<const char *>({"per token", "per group(32)", "per group(12)",
                            "per block(12, 20)", "per block(12, 20)"}),
        type);
  } else {
    parameter(fmt::format("g: {}[{}]", type, n));
    if (layer.producer == "layernorm")
      parameter(fmt::format("c: {}[{}]", type, n));
    body = fmt::format("  h = {}(x, g, {}eps = 1e-6)\n", layer.producer,
                       layer.producer == "layernorm" ? "c, " : "");
  }
}

void Generator::addRuns(uint64_t round) {
  // A NaN among blocks of several rows spoils them all: not in all runs.
  static constexpr Corner others[] = {
      Corner::None,   Corner::MixedRows, Corner::Scattered, Corner::NaNRows,
      Corner::None,   Corner::ZeroRows,  Corner::Denormals, Corner::InfRows,
      Corner::OneHot, Corner::Large,     Corner::Constant};
  layer.runs.push_back(
      {pick<int64_t>({3, 7, 16, 33, 64, 130}), Corner::MixedRows});
  layer.runs.push_back({pick<int64_t>({1, 2, 15, 17, 32, 65}),
                        others[(round + seed % 5) % std::size(others)]});
  layer.runs.push_back({pick<int64_t>({4, 31, 40, 96}),
                        below(2) ? Corner::MixedRows : Corner::None});
  for (PlacedLayer::Run &run : layer.runs)
    run.hasTails = run.m % 16 != 0 || n % 32 != 0 || p % 32 != 0;
}

PlacedLayer Generator::make() {
  size_t pairs = producers().size() * formats().size();
  uint64_t round = layer.number = seed / pairs + seed % pairs;
  layer.producer = producers()[seed % pairs / formats().size()];
  layer.format = formats()[seed % formats().size()];
  k = pick<int64_t>({32, 64, 96, 160});
  n = pick<int64_t>({32, 48, 64, 100, 128, 192, 260});
  if (round % 11 == 6) // Rows wider than a tile.
    n = pick<int64_t>({192, 260, 320});
  p = pick<int64_t>({16, 40, 64});
  type = pick<const char *>({"f16", "f16", "bf16", "f32"});
  makeValue();
  layer.granularity = granularity(round, n);
  layer.scaleType = pick<const char *>({"f32", "f32", "f16", "bf16"});
  std::string power = pick<const char *>(
      {"", "", "", "", "", ", scale_rounding = power_ceil",
       ", scale_rounding = power_floor", ", scale_rounding = power_even"});
  body += fmt::format(
      "  hq = quantize(h, {} {}{}{})\n", layer.format, layer.granularity,
      layer.scaleType == "f32" ? "" : " * " + layer.scaleType, power);
  // Some results are the codes themselves, or the value beside them. Without a
  // product on either side there is nothing to place.
  std::string results = fmt::format("f32[M, {}]", n);
  std::string yielded = "dequantize(hq)";
  if (round % 11 != 7 || !layer.isOfProduct) {
    parameter("weight d: " + weightOf(layer.format, p, n));
    results = fmt::format("f16[M, {}]", p);
    yielded = "hq @ d.T as f16";
    layer.isChain = round % 3 == 1;
    if (layer.isChain) {
      std::string format = formats()[below(formats().size())];
      body += fmt::format("  y = hq @ d.T as f16\n  yq = quantize(y, {} {})\n",
                          format, granularity(below(11), p));
      parameter("weight e: " + weightOf(format, 24, p));
      results = "f16[M, 24]";
      yielded = "yq @ e.T as f16";
    }
    // On a CPU such a value is stored before it is looked at.
    if (layer.granularity != "per group(4)" && below(4) == 0) {
      results = fmt::format("({}, {}[M, {}])", results, type, n);
      yielded += ", h";
    }
  }
  addRuns(round);
  layer.text = fmt::format("layer drawn({}) -> {} {{\n{}  return {}\n}}\n",
                           parameters, results, body, yielded);
  return std::move(layer);
}

PlacedLayer test::makePlacedLayer(uint64_t seed) {
  return Generator(seed).make();
}
