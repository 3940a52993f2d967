//===- RunModules.cpp - Runs a set of compiled layers ---------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
//   run_modules FOLDER --driver real|sim:sm_90a [--schedules N] [--only TEXT]
//               [--json FILE] [--time [--budget SECONDS]]
//
// Loads every module of FOLDER that the device takes, runs it on drawn operands
// and judges its outputs, or, with --time, times the layers that the set names
// (Timing.cpp). On a simulated device each run is made under N schedules (3).
//
// Exit codes: 0 all right, 1 an output was wrong or a module did not run,
// 2 wrong arguments, 77 no such device.
//
//===----------------------------------------------------------------------===//

#include "tests/gpu/Timing.h"

#include "runtime/device/cuda/CudaProgram.h"
#include "runtime/device/sim/SimDevice.h"
#include "runtime/jit/Drivers.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <optional>

using namespace quern;
using namespace quern::gputest;
using Json = nlohmann::ordered_json;

namespace {

struct Options {
  std::string folder, driver, only, json;
  int schedules = 3;
  bool time = false;
  double budget = 180;
};

std::optional<Options> parse(int argc, char **argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    std::string_view name = argv[i];
    if (name == "--time") {
      options.time = true;
    } else if (!name.starts_with("--")) {
      options.folder = name;
    } else if (i + 1 == argc) {
      return std::nullopt;
    } else {
      std::string value = argv[++i];
      if (name == "--driver")
        options.driver = value;
      else if (name == "--only")
        options.only = value;
      else if (name == "--json")
        options.json = value;
      else if (name == "--schedules")
        options.schedules = std::max(1, std::atoi(value.c_str()));
      else if (name == "--budget")
        options.budget = std::atof(value.c_str());
      else
        return std::nullopt;
    }
  }
  if (options.folder.empty() || options.driver.empty())
    return std::nullopt;
  return options;
}

/// Draws the operands of a run and runs the layer on them.
Result<std::vector<Tensor>> runOnce(const Layer &layer, const ModuleRun &run) {
  auto ranges = rangesOf(layer, run.symbols);
  auto operands = drawOperands(layer, run.symbols, run.seed, run.corners);
  if (!operands)
    return operands.error();
  std::vector<TensorView> inputs, weights, outputs;
  std::vector<Tensor> results;
  size_t next = 0;
  for (const Operand &operand : layer.operands())
    if (operand.role == Operand::Role::Output) {
      auto shape = layer.shapeOf(operand.name, ranges);
      if (!shape)
        return shape.error();
      auto result = Tensor::zeros(operand.dtype, *shape, operand.name);
      if (!result)
        return result.error();
      // What is not written is to be seen.
      if (result->bytes())
        std::memset(result->data(), 0xa5, result->bytes());
      results.push_back(std::move(*result));
    } else {
      (operand.role == Operand::Role::Input ? inputs : weights)
          .push_back((*operands)[next++]);
    }
  outputs.assign(results.begin(), results.end());
  auto bound = layer.bindWeights(weights);
  if (!bound)
    return bound.error();
  auto context = layer.makeContext(*bound, ranges);
  if (!context)
    return context.error();
  if (auto done = context->run(inputs, outputs); !done)
    return done.error();
  return results;
}

/// Why the run is wrong; empty if it is right.
std::string judgeRun(const Options &options, const ModuleRun &run,
                     const std::vector<Tensor> &results, std::string &detail) {
  std::string stored;
  if (!run.file.empty()) {
    std::ifstream in(options.folder + "/" + run.file, std::ios::binary);
    stored.assign(std::istreambuf_iterator<char>(in), {});
  }
  if (results.size() != run.outputs.size())
    return fmt::format("{} outputs, not {}", results.size(),
                       run.outputs.size());
  size_t at = 0;
  for (size_t i = 0; i < results.size(); ++i) {
    const ExpectedOutput &bound = run.outputs[i];
    if (at + bound.bytes > stored.size())
      return run.file + " is too short";
    std::span<const std::byte> expected(
        reinterpret_cast<const std::byte *>(stored.data()) + at, bound.bytes);
    at += bound.bytes;
    Verdict verdict = judge(bound, expected, results[i]);
    if (!verdict.passed)
      return fmt::format("{}: {}", bound.name, verdict.text);
    detail = verdict.text;
  }
  return {};
}

int checkModules(const Options &options, const ModuleSet &set,
                 const TestDevice &device, Json &json) {
  int passed = 0, failed = 0, notHere = 0;
  for (const ModuleCase &module : set.modules) {
    if (module.runs.empty() ||
        module.name.find(options.only) == std::string::npos)
      continue;
    std::string arch = bestArch(module.archs, device.capability);
    if (arch.empty()) {
      ++notHere;
      continue;
    }
    Json entry = {{"arch", arch}};
    std::string problem;
    auto layer = loadFile(modulePath(options.folder, module.name, arch),
                          {.target = device.target, .executor = nullptr});
    if (!layer)
      problem = layer.error().render();
    int schedules = device.simulated ? options.schedules : 1;
    for (const ModuleRun &run : module.runs) {
      for (int s = 0; s < schedules && problem.empty(); ++s) {
        if (device.simulated) {
          sim::SimOptions simOptions;
          simOptions.seed = static_cast<uint64_t>(s) + 1;
          device.simulated->setOptions(simOptions);
        }
        std::string detail;
        auto results = runOnce(*layer, run);
        if (!results)
          problem = results.error().render();
        else
          problem = judgeRun(options, run, *results, detail);
        entry["runs"].push_back({{"symbols", run.symbols}, {"result", detail}});
        if (!problem.empty())
          problem = fmt::format("[{}]{}: {}", fmt::join(run.symbols, ", "),
                                run.corners ? " with corners" : "", problem);
      }
    }
    if (problem.empty()) {
      ++passed;
      entry["status"] = "passed";
    } else {
      ++failed;
      entry["status"] = "FAILED";
      entry["message"] = problem;
      fmt::print("  FAILED {} ({}): {}\n", module.name, arch, problem);
      std::fflush(stdout);
    }
    json["modules"][module.name] = entry;
  }
  fmt::print("modules: {} passed, {} failed, {} not for this device\n", passed,
             failed, notHere);
  json["passed"] = passed;
  json["failed"] = failed;
  return failed || !passed ? 1 : 0;
}

} // namespace

int main(int argc, char **argv) {
  std::optional<Options> options = parse(argc, argv);
  if (!options) {
    fmt::print(stderr, "usage: run_modules FOLDER --driver real|sim:sm_NN "
                       "[--schedules N] [--only TEXT]\n  [--json FILE] [--time "
                       "[--budget SECONDS]]\n");
    return 2;
  }
  auto device = openTestDevice(options->driver);
  if (!device) {
    fmt::print("skipped: {}\n", device.error().message);
    return options->driver == "real" ? 77 : 2;
  }
  auto set = readSet(options->folder);
  if (!set) {
    fmt::print(stderr, "{}\n", set.error().render());
    return 2;
  }
  fmt::print("{} (compute capability {}.{})\n", device->name,
             device->capability / 10, device->capability % 10);
  Json json = {{"device", device->name}, {"capability", device->capability}};
  int code = 0;
  if (!options->time) {
    code = checkModules(*options, *set, *device, json);
  } else {
    for (const TimedCase &timed : set->timed) {
      if (timed.name.find(options->only) == std::string::npos)
        continue;
      auto archs = std::find_if(
          set->modules.begin(), set->modules.end(),
          [&](const ModuleCase &m) { return m.name == timed.name; });
      std::string arch = archs == set->modules.end()
                             ? ""
                             : bestArch(archs->archs, device->capability);
      if (arch.empty())
        continue;
      double share = options->budget / static_cast<double>(set->timed.size());
      auto timing = timeLayer(modulePath(options->folder, timed.name, arch),
                              timed, *device, share);
      if (!timing) {
        fmt::print("  FAILED {}: {}\n", timed.name, timing.error().render());
        code = 1;
        continue;
      }
      fmt::print("  {:24} [{}] {:10.2f} us {:8.1f} TOP/s {:8.1f} GB/s{}\n",
                 timed.name, fmt::join(timed.symbols, ", "),
                 timing->microseconds,
                 timed.operations / timing->microseconds * 1e-6,
                 timed.bytes / timing->microseconds * 1e-3,
                 timing->replayed ? "  (graph)" : "");
      std::fflush(stdout);
      json["timed"].push_back({{"name", timed.name},
                               {"symbols", timed.symbols},
                               {"peer", timed.peer},
                               {"microseconds", timing->microseconds},
                               {"least", timing->least},
                               {"samples", timing->samples},
                               {"buffers", timing->buffers},
                               {"graph", timing->replayed},
                               {"operations", timed.operations},
                               {"bytes", timed.bytes}});
    }
  }
  if (!options->json.empty()) {
    std::ofstream out(options->json);
    out << json.dump(1) << "\n";
    if (!out.flush()) {
      fmt::print(stderr, "{} cannot be written\n", options->json);
      return 2;
    }
  }
  return code;
}
