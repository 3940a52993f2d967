//===- RunCommand.cpp - quern run -----------------------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/tools/quern/Operands.h"
#include "compiler/tools/quern/Request.h"
#include "quern/io.h"
#include "runtime/jit/LayerState.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>
#include <cmath>

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
    if (auto writable = checkWritable(path); !writable)
      return writable.error();
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

namespace {
/// A layer with its operands, what it computed, and what that is worth.
class Run {
public:
  explicit Run(const RunOptions &options) : options(options) {}

  Result<void> execute();
  void print() const;
  void printJson() const;
  bool passed() const {
    return std::all_of(checks.begin(), checks.end(),
                       [](const OutputCheck &check) { return check.passed; });
  }

private:
  Result<void> makeOracle();
  Result<void> allocateOutputs(std::span<const SymbolRange> values);
  Result<void> launch(std::span<const SymbolRange> values);
  Result<void> write() const;

  const detail::LayerState &state() const {
    return detail::LayerAccess::state(*layer);
  }
  double medianMs() const { return times[times.size() / 2]; }

  const RunOptions &options;
  CompiledFile file;
  std::shared_ptr<Executor> executor;
  std::optional<Layer> layer;
  std::optional<Oracle> oracle;
  OutputFiles files;
  Operands operands;
  std::vector<Tensor> outputs;
  std::vector<TensorView> outputViews;
  std::vector<double> times;
  std::vector<OutputCheck> checks;
};
} // namespace

/// The reference for the layer's text; none for a module without.
Result<void> Run::makeOracle() {
  const ModuleDesc &module = file.compiled.module;
  if (module.source.empty()) {
    if (options.check)
      return fail(Errc::InvalidArgument,
                  fmt::format("--check: {} does not carry its layer's text, "
                              "which the reference needs",
                              options.file),
                  {"compile it without --no-source, or check the .qn file"});
    return {};
  }
  auto made = Oracle::create(module.source,
                             file.isModule ? "the text in " + options.file
                                           : options.file,
                             module.layer);
  if (!made)
    return made.error();
  std::vector<std::string> operandNames, resultNames;
  for (const Operand &operand : layer->operands())
    (operand.role == Operand::Role::Output ? resultNames : operandNames)
        .push_back(operand.name);
  if (made->symbols() != module.symbols ||
      made->operandNames() != operandNames ||
      made->resultNames() != resultNames)
    return fail(Errc::InvalidFile,
                fmt::format("{}: the layer's text in it is not what its code "
                            "was made of",
                            options.file));
  oracle = std::move(*made);
  return {};
}

Result<void> Run::allocateOutputs(std::span<const SymbolRange> values) {
  for (const Operand &operand : layer->operands()) {
    if (operand.role != Operand::Role::Output)
      continue;
    auto shape = layer->shapeOf(operand.name, values);
    if (!shape)
      return shape.error();
    auto tensor = Tensor::zeros(operand.dtype, *shape, operand.name);
    if (!tensor)
      return tensor.error();
    outputs.push_back(std::move(*tensor));
    outputViews.emplace_back(outputs.back());
    outputViews.back().name = operand.name;
  }
  return {};
}

/// Binds the weights, prepares, and runs as often as asked.
Result<void> Run::launch(std::span<const SymbolRange> values) {
  std::vector<TensorView> inputs, weights;
  size_t next = 0;
  for (const Operand &operand : layer->operands())
    if (operand.role != Operand::Role::Output)
      (operand.role == Operand::Role::Input ? inputs : weights)
          .push_back(operands.views[next++]);
  auto bound = layer->bindWeights(weights, WeightMemory::Borrow);
  if (!bound)
    return bound.error();
  auto context = layer->makeContext(*bound, values);
  if (!context)
    return context.error();
  if (auto made = allocateOutputs(values); !made)
    return made;
  for (unsigned i = 0; i < options.repeat; ++i) {
    Clock::time_point start = Clock::now();
    if (auto done = context->run(inputs, outputViews); !done)
      return done;
    times.push_back(millisecondsSince(start));
  }
  std::sort(times.begin(), times.end());
  return {};
}

Result<void> Run::write() const {
  for (const auto &[name, path] : files.files)
    for (const Tensor &output : outputs)
      if (output.name() == name)
        if (auto written = writeNpy(path, output); !written)
          return written;
  return {};
}

Result<void> Run::execute() {
  auto compiled = compileOrRead(options);
  if (!compiled)
    return compiled.error();
  file = std::move(*compiled);
  LoadOptions loading;
  loading.target = options.target;
  loading.executor = executor = makeExecutor(options.threads);
  auto loaded = load(file.compiled.module.serialize(), loading);
  if (!loaded)
    return loaded.error();
  layer = std::move(*loaded);
  auto planned = planOutputs(*layer, options.outputs);
  if (!planned)
    return planned.error();
  files = std::move(*planned);
  if (auto made = makeOracle(); !made)
    return made;
  auto gathered = gatherOperands(*layer, oracle ? &*oracle : nullptr, options);
  if (!gathered)
    return gathered.error();
  operands = std::move(*gathered);

  std::vector<SymbolRange> values;
  const std::vector<Symbol> &symbols = layer->symbols();
  for (size_t s = 0; s < symbols.size(); ++s)
    values.push_back(
        {symbols[s].name, operands.symbols[s], operands.symbols[s]});
  if (auto done = launch(values); !done)
    return done;
  if (options.check) {
    auto checked = oracle->check(operands.views, outputViews,
                                 executor->threads(), layer->target());
    if (!checked)
      return checked.error();
    checks = std::move(*checked);
  }
  return write();
}

void Run::printJson() const {
  nlohmann::ordered_json json;
  json["layer"] = layer->name();
  json["target"] = layer->target();
  json["seed"] = options.seed;
  const std::vector<Symbol> &symbols = layer->symbols();
  for (size_t s = 0; s < symbols.size(); ++s)
    json["symbols"][symbols[s].name] = operands.symbols[s];
  json["kernels"] = state().variant.kernels.size();
  json["threads"] = executor->threads();
  if (!file.isModule)
    json["compile_ms"] = file.compileMs;
  json["run_ms"] = medianMs();
  json["runs"] = times.size();
  json["drawn"] = operands.drawn;
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
}

void Run::print() const {
  std::string values;
  const std::vector<Symbol> &symbols = layer->symbols();
  for (size_t s = 0; s < symbols.size(); ++s)
    values += fmt::format(", {} = {}", symbols[s].name, operands.symbols[s]);
  fmt::print("{} on {}{}\n", layer->name(), options.target, values);
  std::string made =
      file.isModule ? fmt::format("loaded {}:", options.file)
                    : fmt::format("compiled in {:.0f} ms to", file.compileMs);
  fmt::print("  {} {} ({})\n", made,
             countOf(state().runLaunches.size(), "kernel"), layer->target());
  fmt::print("  ran in {:.3f} ms{}\n", medianMs(),
             times.size() > 1 ? fmt::format(" (median of {})", times.size())
                              : std::string());
  if (!operands.drawn.empty())
    fmt::print("  drawn with seed {}: {}\n", options.seed,
               fmt::join(operands.drawn, ", "));
  for (const Tensor &output : outputs)
    fmt::print("  {} {}\n", output.name(), summarize(output));
  for (const OutputCheck &check : checks)
    fmt::print("  check {}: {} ({}; {})\n", check.name,
               check.passed ? "right" : "WRONG", check.requirement,
               check.worst);
}

int quern::tool::run(const RunOptions &options) {
  Run run(options);
  if (auto done = run.execute(); !done)
    return report(done.error());
  if (options.json)
    run.printJson();
  else
    run.print();
  return run.passed() ? Right : Mismatch;
}
