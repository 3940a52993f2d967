//===- RunCommand.cpp - quern run -----------------------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/tools/quern/Operands.h"
#include "compiler/tools/quern/Request.h"
#include "quern/io.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>

using namespace quern;
using namespace quern::tool;

using Clock = std::chrono::steady_clock;

static double millisecondsSince(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start)
      .count();
}

namespace {
/// Where outputs go, by operand name.
struct OutputFiles {
  std::vector<std::pair<std::string, std::string>> files;
};
} // namespace

static Result<OutputFiles> planOutputs(const Layer &layer,
                                       const std::vector<std::string> &given) {
  std::vector<std::string> names;
  for (const Operand &operand : layer.operands())
    if (operand.role == Operand::Role::Output)
      names.push_back(operand.name);
  OutputFiles plan;
  for (const std::string &text : given) {
    size_t equals = text.find('=');
    std::string name =
        equals == std::string::npos ? names.front() : text.substr(0, equals);
    std::string path =
        equals == std::string::npos ? text : text.substr(equals + 1);
    if (equals == std::string::npos && names.size() > 1)
      return fail(
          Errc::InvalidArgument,
          fmt::format("--output {}: the layer has several outputs", text),
          {fmt::format("name one of {}, as in {}={}", fmt::join(names, ", "),
                       names.front(), text)});
    if (std::find(names.begin(), names.end(), name) == names.end())
      return fail(
          Errc::InvalidArgument,
          fmt::format("--output {}: the layer has no output {}", text, name),
          {fmt::format("its outputs are {}", fmt::join(names, ", "))});
    if (path.empty())
      return fail(Errc::InvalidArgument,
                  fmt::format("--output \"{}\" names no file", text));
    for (const auto &[otherName, otherPath] : plan.files)
      if (otherName == name || otherPath == path)
        return fail(
            Errc::InvalidArgument,
            fmt::format("--output {}: {} is given twice", text,
                        otherName == name ? "output " + name : "file " + path));
    // Found out now, not after a long run.
    std::filesystem::path folder = std::filesystem::path(path).parent_path();
    std::error_code error;
    if (std::filesystem::is_directory(path, error))
      return fail(Errc::InvalidArgument,
                  fmt::format("cannot write {}: it is a folder", path));
    if (!folder.empty() && !std::filesystem::is_directory(folder, error))
      return fail(Errc::InvalidArgument,
                  fmt::format("cannot write {}: there is no folder {}", path,
                              folder.string()));
    plan.files.emplace_back(name, path);
  }
  return plan;
}

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

int quern::tool::run(const RunOptions &options) {
  auto request = makeRequest(options);
  if (!request)
    return report(request.error());
  Clock::time_point start = Clock::now();
  auto compiled = compileLayer(request->compile);
  if (!compiled)
    return report(compiled.error());
  double compileMs = millisecondsSince(start);

  LoadOptions loading;
  loading.target = options.target;
  loading.executor = makeExecutor(options.threads);
  unsigned threads = loading.executor->threads();
  std::vector<std::byte> bytes = compiled->module.serialize();
  auto layer = load(bytes, loading);
  if (!layer)
    return report(layer.error());
  auto files = planOutputs(*layer, options.outputs);
  if (!files)
    return report(files.error());
  auto oracle = Oracle::create(*request->source, options.file, layer->name());
  if (!oracle)
    return report(oracle.error());
  auto operands = gatherOperands(*layer, *oracle, options);
  if (!operands)
    return report(operands.error());

  // Bind, prepare, run.
  std::vector<TensorView> inputs, weights;
  size_t next = 0;
  for (const Operand &operand : layer->operands())
    if (operand.role != Operand::Role::Output)
      (operand.role == Operand::Role::Input ? inputs : weights)
          .push_back(operands->views[next++]);
  std::vector<SymbolRange> ranges;
  const std::vector<Symbol> &symbols = layer->symbols();
  for (size_t s = 0; s < symbols.size(); ++s)
    ranges.push_back(
        {symbols[s].name, operands->symbols[s], operands->symbols[s]});
  auto bound = layer->bindWeights(weights, WeightMemory::Borrow);
  if (!bound)
    return report(bound.error());
  auto context = layer->makeContext(*bound, ranges);
  if (!context)
    return report(context.error());
  std::vector<Tensor> outputs;
  std::vector<TensorView> outputViews;
  for (const Operand &operand : layer->operands()) {
    if (operand.role != Operand::Role::Output)
      continue;
    auto shape = layer->shapeOf(operand.name, ranges);
    if (!shape)
      return report(shape.error());
    auto tensor = Tensor::zeros(operand.dtype, *shape, operand.name);
    if (!tensor)
      return report(tensor.error());
    outputs.push_back(std::move(*tensor));
    outputViews.emplace_back(outputs.back());
    outputViews.back().name = operand.name;
  }
  std::vector<double> times;
  for (unsigned i = 0; i < options.repeat; ++i) {
    start = Clock::now();
    if (auto done = context->run(inputs, outputViews); !done)
      return report(done.error());
    times.push_back(millisecondsSince(start));
  }
  std::sort(times.begin(), times.end());
  double runMs = times[times.size() / 2];

  std::vector<OutputCheck> checks;
  if (options.check) {
    auto checked = oracle->check(operands->views, outputViews, threads);
    if (!checked)
      return report(checked.error());
    checks = std::move(*checked);
  }
  for (const auto &[name, path] : files->files)
    for (const Tensor &output : outputs)
      if (output.name() == name)
        if (auto written = writeNpy(path, output); !written)
          return report(written.error());

  const VariantDesc &variant = compiled->module.variants.front();
  bool passed = std::all_of(checks.begin(), checks.end(),
                            [](const OutputCheck &c) { return c.passed; });
  if (options.json) {
    nlohmann::ordered_json json;
    json["layer"] = layer->name();
    json["target"] = layer->target();
    json["seed"] = options.seed;
    for (size_t s = 0; s < symbols.size(); ++s)
      json["symbols"][symbols[s].name] = operands->symbols[s];
    json["kernels"] = variant.kernels.size();
    json["threads"] = threads;
    json["compile_ms"] = compileMs;
    json["run_ms"] = runMs;
    json["runs"] = times.size();
    json["drawn"] = operands->drawn;
    for (const Tensor &output : outputs) {
      nlohmann::ordered_json o;
      o["name"] = output.name();
      o["dtype"] = std::string(name(output.dtype()));
      o["shape"] = std::vector<int64_t>(output.shape().extents().begin(),
                                        output.shape().extents().end());
      json["outputs"].push_back(o);
    }
    for (const OutputCheck &check : checks)
      json["checks"].push_back({{"output", check.name},
                                {"passed", check.passed},
                                {"requirement", check.requirement},
                                {"worst", check.worst}});
    fmt::print("{}\n", json.dump(2));
  } else {
    std::string values;
    for (size_t s = 0; s < symbols.size(); ++s)
      values += fmt::format(", {} = {}", symbols[s].name, operands->symbols[s]);
    fmt::print("{} on {}{}\n", layer->name(), options.target, values);
    fmt::print("  compiled in {:.0f} ms to {} kernels ({})\n", compileMs,
               std::count_if(variant.launches.begin(), variant.launches.end(),
                             [](const LaunchDesc &launch) {
                               return launch.phase == LaunchPhase::Run;
                             }),
               variant.target);
    fmt::print("  ran in {:.3f} ms{}\n", runMs,
               times.size() > 1 ? fmt::format(" (median of {})", times.size())
                                : std::string());
    if (!operands->drawn.empty())
      fmt::print("  drawn with seed {}: {}\n", options.seed,
                 fmt::join(operands->drawn, ", "));
    for (const Tensor &output : outputs)
      fmt::print("  {} {}\n", output.name(), summarize(output));
    for (const OutputCheck &check : checks)
      fmt::print("  check {}: {} ({}; {})\n", check.name,
                 check.passed ? "right" : "WRONG", check.requirement,
                 check.worst);
  }
  return passed ? Right : Mismatch;
}
