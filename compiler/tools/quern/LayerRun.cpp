//===- LayerRun.cpp - A layer, its operands and what it computed ----------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/tools/quern/LayerRun.h"

#include "compiler/tools/quern/DrawnOperands.h"

#include "runtime/io/AtomicFile.h"
#include "runtime/io/NpyFormat.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <cstring>

using namespace quern;
using namespace quern::tool;

using Clock = std::chrono::steady_clock;

static double millisecondsSince(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start)
      .count();
}

Result<void> LayerRun::planOutputs() {
  std::vector<std::string> names;
  for (const Operand &operand : layer->operands())
    if (operand.role == Operand::Role::Output)
      names.push_back(operand.name);
  for (const std::string &text : options.outputs) {
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
    for (const Operand &operand : layer->operands())
      if (auto header = npyHeader(operand.dtype, {});
          !header && operand.name == name &&
          operand.role == Operand::Role::Output)
        return fail(
            header.error().code,
            fmt::format("--output {}: {}", text, header.error().message),
            header.error().notes);
    if (auto writable = checkWritable(path); !writable)
      return writable.error();
    std::string place = placeOf(path);
    for (const OutputFile &other : files)
      if (other.operand == name || other.place == place)
        return fail(Errc::InvalidArgument,
                    fmt::format("--output {}: {} is given twice", text,
                                other.operand == name ? "output " + name
                                                      : "file " + path));
    files.push_back({name, path, place});
  }
  return {};
}

/// The reference for the layer's text; none for a module without.
Result<void> LayerRun::makeOracle() {
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

Result<void> LayerRun::allocateOutputs(std::span<const SymbolRange> values) {
  auto made = makeOutputs(*layer, values);
  if (!made)
    return made.error();
  outputs = std::move(*made);
  outputViews.assign(outputs.begin(), outputs.end());
  return {};
}

/// Runs once for each seed of the simulator's scheduler.
Result<void> LayerRun::runSchedules(Context &context,
                                    const std::vector<TensorView> &inputs,
                                    Progress &progress) {
  auto device = sim::parseSimTarget(Target::parse(options.target)->arch);
  if (!device)
    return fail(Errc::Internal, "a simulated target without its device");
  sim::SimDevice &simulator = sim::SimDevice::get(*device);
  sim::SimOptions choice = simulator.options();
  std::vector<Tensor> first;
  for (unsigned i = 0; i < options.schedules; ++i) {
    choice.seed = options.scheduleSeed + i;
    simulator.setOptions(choice);
    simulator.recordLaunches(i == 0);
    Result<void> done;
    progress.show("simulating", i + 1, options.schedules);
    for (unsigned r = 0; r < options.repeat && done; ++r) {
      Clock::time_point start = Clock::now();
      done = context.run(inputs, outputViews);
      times.push_back(millisecondsSince(start));
      if (i == 0 && r == 0)
        records = simulator.launchRecords();
      simulator.recordLaunches(false);
    }
    if (!done) {
      Diagnostic diagnostic = done.error();
      if (diagnostic.code == Errc::CheckFailed)
        diagnostic.notes.push_back(
            fmt::format("in schedule {} of {}; repeat it with --schedule-seed "
                        "{}",
                        i + 1, options.schedules, choice.seed));
      return diagnostic;
    }
    for (size_t o = 0; o < outputs.size(); ++o) {
      if (i == 0) {
        auto copy = outputs[o].clone();
        if (!copy)
          return copy.error();
        first.push_back(std::move(*copy));
      } else if (outputs[o].bytes() &&
                 std::memcmp(outputs[o].data(), first[o].data(),
                             first[o].bytes()) != 0) {
        return fail(Errc::CheckFailed,
                    fmt::format("output {} depends on the schedule: seeds {} "
                                "and {} give different bits",
                                outputs[o].name(), options.scheduleSeed,
                                choice.seed));
      }
    }
  }
  std::sort(times.begin(), times.end());
  return {};
}

/// Binds the weights, prepares, and runs as often as asked.
Result<void> LayerRun::launch(std::span<const SymbolRange> values,
                              Progress &progress) {
  std::vector<TensorView> inputs, weights;
  size_t next = 0;
  for (const Operand &operand : layer->operands())
    if (operand.role != Operand::Role::Output)
      (operand.role == Operand::Role::Input ? inputs : weights)
          .push_back(operands.views[next++]);
  progress.show("packing weights");
  auto bound = layer->bindWeights(weights, WeightMemory::Borrow);
  if (!bound)
    return bound.error();
  auto context = layer->makeContext(*bound, values);
  if (!context)
    return context.error();
  if (auto made = allocateOutputs(values); !made)
    return made;
  if (Target::parse(options.target)->kind == Target::Kind::Sim)
    return runSchedules(*context, inputs, progress);
  for (unsigned i = 0; i < options.repeat; ++i) {
    progress.show("running", i + 1, options.repeat);
    Clock::time_point start = Clock::now();
    if (auto done = context->run(inputs, outputViews); !done)
      return done;
    times.push_back(millisecondsSince(start));
  }
  std::sort(times.begin(), times.end());
  return {};
}

Result<void> LayerRun::write() const {
  AtomicFiles together;
  for (const OutputFile &file : files)
    for (const Tensor &output : outputs)
      if (output.name() == file.operand)
        if (auto written = addNpy(together, file.path, output); !written)
          return written;
  return together.commit();
}

Result<void> LayerRun::execute() {
  Progress compiling;
  compiling.show("compiling");
  auto compiled = compileOrRead(options);
  if (!compiled)
    return compiled.error();
  compiling.clear();
  return execute(std::move(*compiled));
}

bool LayerRun::passed() const {
  return std::all_of(checks.begin(), checks.end(),
                     [](const OutputCheck &check) { return check.passed; });
}

Result<void> LayerRun::execute(CompiledFile compiled) {
  file = std::move(compiled);
  auto target = Target::parse(options.target);
  if (!target)
    return target.error();
  if (target->kind != Target::Kind::Sim && options.schedules != 1)
    return fail(Errc::InvalidArgument,
                fmt::format("--schedules is for simulated targets, not for {}",
                            options.target),
                {"give --target sim:sm_80, say"});
  if (target->kind != Target::Kind::Sim && options.isGiven("--schedule-seed"))
    return fail(Errc::InvalidArgument,
                fmt::format("--schedule-seed is for simulated targets, not for "
                            "{}",
                            options.target),
                {"give --target sim:sm_80, say"});
  LoadOptions loading;
  loading.target = options.target;
  loading.executor = executor = makeExecutor(options.threads);
  auto loaded = load(file.compiled.module.serialize(), loading);
  if (!loaded)
    return loaded.error();
  layer = std::move(*loaded);
  if (auto planned = planOutputs(); !planned)
    return planned;
  if (auto made = makeOracle(); !made)
    return made;
  Progress progress;
  progress.show("reading and drawing operands");
  auto gathered = gatherOperands(*layer, oracle ? &*oracle : nullptr, options);
  if (!gathered)
    return gathered.error();
  operands = std::move(*gathered);

  std::vector<SymbolRange> values;
  const std::vector<Symbol> &symbols = layer->symbols();
  for (size_t s = 0; s < symbols.size(); ++s)
    values.push_back(
        {symbols[s].name, operands.symbols[s], operands.symbols[s]});
  if (auto done = launch(values, progress); !done)
    return done;
  if (options.check) {
    progress.show("comparing with the reference");
    auto checked = oracle->check(operands.views, outputViews,
                                 executor->threads(), layer->target());
    if (!checked)
      return checked.error();
    checks = std::move(*checked);
  }
  if (!files.empty())
    progress.show("writing");
  return write();
}
