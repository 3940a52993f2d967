//===- RunCommand.cpp - quern run -----------------------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/tools/quern/Json.h"
#include "compiler/tools/quern/LayerRun.h"
#include "runtime/jit/LayerState.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>

using namespace quern;
using namespace quern::tool;

/// `f16[64, 4096]  mean 0.012, from -3.1 to 2.9`
static std::string summarize(const Tensor &tensor) {
  std::string text =
      fmt::format("{}{}", name(tensor.dtype()), tensor.shape().print());
  std::vector<float> values = tensor.toFloats();
  if (values.empty())
    return text;
  double sum = 0;
  size_t nans = 0;
  float low = INFINITY, high = -INFINITY;
  for (float value : values) {
    if (std::isnan(value)) {
      ++nans;
      continue;
    }
    sum += value;
    low = std::min(low, value);
    high = std::max(high, value);
  }
  if (nans < values.size())
    text +=
        fmt::format("  mean {:.5g}, from {:.5g} to {:.5g}",
                    sum / static_cast<double>(values.size() - nans), low, high);
  if (nans)
    text += fmt::format("; {} NaN", nans);
  return text;
}

static void printJson(const LayerRun &run) {
  nlohmann::ordered_json json;
  json["layer"] = run.layer->name();
  json["target"] = run.layer->target();
  json["seed"] = run.options.seed;
  const std::vector<Symbol> &symbols = run.layer->symbols();
  for (size_t s = 0; s < symbols.size(); ++s)
    json["symbols"][symbols[s].name] = run.operands.symbols[s];
  KernelCounts counts(detail::LayerAccess::state(*run.layer).variant);
  json["kernel_counts"] = {{"run", counts.run}, {"prepare", counts.prepare}};
  json["threads"] = run.executor->threads();
  if (!run.file.isModule)
    json["compile_ms"] = run.file.compileMs;
  json["run_ms"] = run.medianMs();
  json["runs"] = run.times.size();
  if (!run.records.empty())
    json["schedules"] = run.options.schedules;
  json["drawn"] = run.operands.drawn;
  for (const Tensor &output : run.outputs) {
    nlohmann::ordered_json o;
    o["name"] = output.name();
    o["dtype"] = std::string(name(output.dtype()));
    o["shape"] = std::vector<int64_t>(output.shape().extents().begin(),
                                      output.shape().extents().end());
    json["outputs"].push_back(o);
  }
  for (const OutputCheck &check : run.checks)
    json["checks"].push_back({{"output", check.name},
                              {"passed", check.passed},
                              {"requirement", check.requirement},
                              {"worst", check.worst}});
  fmt::print("{}\n", toText(json));
}

static void print(const LayerRun &run) {
  std::string values;
  const std::vector<Symbol> &symbols = run.layer->symbols();
  for (size_t s = 0; s < symbols.size(); ++s)
    values +=
        fmt::format(", {} = {}", symbols[s].name, run.operands.symbols[s]);
  fmt::print("{} on {}{}\n", run.layer->name(), run.options.target, values);
  std::string made =
      run.file.isModule
          ? fmt::format("loaded {}:", run.options.file)
          : fmt::format("compiled in {:.0f} ms:", run.file.compileMs);
  fmt::print(
      "  {} {} ({})\n", made,
      KernelCounts(detail::LayerAccess::state(*run.layer).variant).print(),
      run.layer->target());
  fmt::print("  ran in {:.3f} ms{}\n", run.medianMs(),
             run.times.size() > 1
                 ? fmt::format(" (median of {})", run.times.size())
                 : std::string());
  if (run.options.schedules > 1)
    fmt::print("  the same bits under {} schedules\n", run.options.schedules);
  if (!run.operands.drawn.empty())
    fmt::print("  drawn with seed {}: {}\n", run.options.seed,
               fmt::join(run.operands.drawn, ", "));
  for (const Tensor &output : run.outputs)
    fmt::print("  {} {}\n", output.name(), summarize(output));
  for (const OutputCheck &check : run.checks)
    fmt::print("  check {}: {} ({}; {})\n", check.name,
               check.passed ? "right" : "WRONG", check.requirement,
               check.worst);
}

int quern::tool::run(const RunOptions &options) {
  LayerRun run(options);
  if (auto done = run.execute(); !done)
    return report(done.error());
  if (options.json)
    printJson(run);
  else
    print(run);
  return run.passed() ? Right : Mismatch;
}
