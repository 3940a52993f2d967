//===- dynamic.cpp - What a dynamic scale costs beside a static one -------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Every layer is compiled three ways:
//
//     static   the inner quantizations have a scale given with the layer
//     fused    dynamic, placed as the compiler chooses (or --placement says)
//     unfused  dynamic, each quantization apart from products (`separate`; with
//              the norm that makes its value, where there is one)
//
// On a CPU the three are timed in turn; samples are interleaved, so that a slow
// minute of the machine slows all three, and one sample is the mean of as many
// runs as take a few milliseconds. Printed are medians and, behind +-, half the
// interquartile range, of the ratios to the static sample beside each. What
// unfused costs beyond static is the price of the scale; `share` is how much of
// it is left when fused.
//
// With --target sim:ARCH each layer runs once, whole, and is counted: sectors
// of global memory and instructions of warps, as ratios to the static layer.
//
//===----------------------------------------------------------------------===//

#include "benchmarks/Spread.h"
#include "benchmarks/dynamic/Compiled.h"
#include "benchmarks/dynamic/Layers.h"
#include "runtime/device/sim/SimDevice.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <fstream>
#include <memory>

using namespace quern;
using namespace quern::bench;

namespace {

/// A layer three ways: static, fused, unfused.
struct Trio {
  std::unique_ptr<Compiled> ways[3];

  Trio(const LayerCase &layer, const Scheme &scheme, const std::string &target,
       const std::string &placement, int64_t m) {
    std::string dynamic = layer.text(scheme, false);
    ways[0] =
        std::make_unique<Compiled>(layer.text(scheme, true), "auto", target, m);
    ways[1] = std::make_unique<Compiled>(dynamic, placement, target, m);
    ways[2] = std::make_unique<Compiled>(dynamic, "separate", target, m);
  }

  std::string kernels() const {
    return fmt::format("{}/{}/{}", ways[0]->kernels(), ways[1]->kernels(),
                       ways[2]->kernels());
  }
};

void printHead(const char *second) {
  fmt::print("| layer | scheme | M | {} | fused / static | unfused / static | "
             "share | kernels | bytes, fused and unfused / static | placed |\n"
             "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
             second);
}

/// A line of the table; `first` and the ratios are text.
void printRow(const LayerCase &layer, const Scheme &scheme, int64_t m,
              const std::string &first, const std::string &fused,
              const std::string &unfused, const std::string &share,
              const Trio &trio) {
  double base = trio.ways[0]->bytes();
  fmt::print("| {} | {} | {} | {} | {} | {} | {} | {} | {:.3f}, {:.3f} | {} "
             "|\n",
             layer.name, scheme.name(), m, first, fused, unfused, share,
             trio.kernels(), trio.ways[1]->bytes() / base,
             trio.ways[2]->bytes() / base, trio.ways[1]->placements());
  std::fflush(stdout);
}

nlohmann::ordered_json timed(const LayerCase &layer, const Scheme &scheme,
                             int64_t m, unsigned samples, Trio &trio) {
  for (auto &way : trio.ways)
    way->sample(2);
  double once = trio.ways[0]->sample(2);
  auto times = static_cast<unsigned>(
      std::clamp(4000.0 / std::max(once, 1.0), 1.0, 1000.0));
  std::vector<double> fixed, fused, unfused;
  for (unsigned s = 0; s < samples; ++s) {
    double us[3];
    for (unsigned r = 0; r < 3; ++r)
      us[(s + r) % 3] = trio.ways[(s + r) % 3]->sample(times);
    fixed.push_back(us[0]);
    fused.push_back(us[1] / us[0]);
    unfused.push_back(us[2] / us[0]);
  }
  Spread a(fixed), b(fused), c(unfused);
  std::string share =
      c.median > 1.02 ? fmt::format("{:.2f}", (b.median - 1) / (c.median - 1))
                      : "-";
  printRow(layer, scheme, m, fmt::format("{:.1f}", a.median),
           fmt::format("{:.3f} ± {:.3f}", b.median, b.half),
           fmt::format("{:.3f} ± {:.3f}", c.median, c.half), share, trio);
  return {{"static_us", a.median},
          {"fused", {b.median, b.half}},
          {"unfused", {c.median, c.half}}};
}

nlohmann::ordered_json counted(const LayerCase &layer, const Scheme &scheme,
                               int64_t m, const Target &target, Trio &trio) {
  sim::SimDevice &device =
      sim::SimDevice::get(*sim::parseSimTarget(target.arch));
  device.setOptions({.checks = false});
  double sectors[3] = {}, instructions[3] = {};
  for (unsigned way = 0; way < 3; ++way) {
    device.recordLaunches(true);
    trio.ways[way]->run();
    for (const sim::LaunchRecord &launch : device.launchRecords()) {
      sectors[way] += double(launch.counters.globalSectors);
      instructions[way] += double(launch.counters.warpInstructions);
    }
    device.recordLaunches(false);
  }
  auto ratios = [&](unsigned way) {
    return fmt::format("{:.3f}, {:.3f}", sectors[way] / sectors[0],
                       instructions[way] / instructions[0]);
  };
  printRow(
      layer, scheme, m,
      fmt::format("{:.3f}, {:.2f}", 1e-6 * sectors[0], 1e-6 * instructions[0]),
      ratios(1), ratios(2), "-", trio);
  return {{"sectors", {sectors[0], sectors[1], sectors[2]}},
          {"warp_instructions",
           {instructions[0], instructions[1], instructions[2]}}};
}

} // namespace

int main(int argc, char **argv) {
  CLI::App app("What a dynamic scale costs beside a static one");
  std::vector<std::string> only, wanted;
  std::vector<int64_t> rows = {1, 8, 32, 128, 512};
  std::string placement = "auto", target = "cpu", json;
  unsigned samples = 15;
  app.add_option("--case", only, "layers whose name contains this");
  app.add_option("--scheme", wanted, "schemes whose name contains this");
  app.add_option("--rows", rows, "values of M");
  app.add_option("--target", target, "cpu, or sim:ARCH to count");
  app.add_option("--placement", placement, "for the fused layer");
  app.add_option("--samples", samples)->check(CLI::Range(3, 1000));
  app.add_option("--json", json, "writes the figures to a file");
  CLI11_PARSE(app, argc, argv);
  auto parsed = Target::parse(target);
  if (!parsed) {
    fmt::print(stderr, "{}\n", parsed.error().render());
    return 2;
  }
  bool counts = parsed->kind == Target::Kind::Sim;
  auto chosen = [](const std::vector<std::string> &parts,
                   const std::string &name) {
    return parts.empty() || std::ranges::any_of(parts, [&](const auto &part) {
             return name.find(part) != std::string::npos;
           });
  };

  nlohmann::ordered_json results;
  printHead(counts ? "static: 10^6 sectors, warp instructions" : "static, us");
  for (const LayerCase &layer : layerCases())
    for (const Scheme &scheme : schemes())
      for (int64_t m : rows) {
        if (!chosen(only, layer.name) || !chosen(wanted, scheme.name()))
          continue;
        Trio trio(layer, scheme, target, placement, m);
        nlohmann::ordered_json entry = {{"layer", layer.name},
                                        {"scheme", scheme.name()},
                                        {"M", m},
                                        {"placed", trio.ways[1]->placements()},
                                        {"kernels", trio.kernels()}};
        entry.update(counts ? counted(layer, scheme, m, *parsed, trio)
                            : timed(layer, scheme, m, samples, trio));
        results.push_back(std::move(entry));
      }
  if (!json.empty())
    std::ofstream(json) << results.dump(2) << "\n";
  return 0;
}
