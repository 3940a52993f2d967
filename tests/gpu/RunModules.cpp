//===- RunModules.cpp - Runs a set of compiled layers ---------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
//   run_modules FOLDER --driver real|sim:sm_90a [OPTION...]
//
//   --time            time the layers that the set names (Timing.cpp) instead
//   --only TEXT       only modules whose name contains TEXT
//   --schedules N     simulated: run each module under N schedules (3)
//   --budget S        seconds for all (3600); timing divides them up
//   --case-seconds S  seconds after which one module counts as hung (600)
//   --json FILE       what every module gave, written again after each
//
// Loads every module of FOLDER that the device takes, runs it on drawn operands
// and judges its outputs. A module that hangs, crashes or leaves the device
// unusable fails alone: see Supervisor.h.
//
// Exit codes: 0 all right, 1 an output was wrong or a module did not run,
// 2 wrong arguments, 77 no such device.
//
//===----------------------------------------------------------------------===//

#include "tests/gpu/Arguments.h"
#include "tests/gpu/Supervisor.h"
#include "tests/gpu/Timing.h"

#include "runtime/device/sim/SimDevice.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
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
  double budget = 3600, caseSeconds = 600;
};

/// Nothing, and the reason printed, if the arguments are refused.
std::optional<Options> parse(int argc, char **argv) {
  Options options;
  Arguments arguments;
  arguments.positional("folder", options.folder);
  arguments.text("--driver", options.driver, /*required=*/true);
  arguments.flag("--time", options.time);
  arguments.text("--only", options.only);
  arguments.number("--schedules", options.schedules, 1, 1000);
  arguments.number("--budget", options.budget, 1.0, 1e6);
  arguments.number("--case-seconds", options.caseSeconds, 0.1, 1e6);
  arguments.text("--json", options.json);
  if (auto problem = arguments.parse(argc, argv)) {
    fmt::print(stderr, "run_modules: {}\n", *problem);
    return std::nullopt;
  }
  return options;
}

std::string toText(const Json &json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
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

CaseAnswer checkModule(const Options &options, const ModuleCase &module,
                       const TestDevice &device) {
  CaseAnswer answer;
  std::string arch = bestArch(module.archs, device.capability);
  if (arch.empty()) {
    answer.text = toText({{"status", "not for this device"}});
    return answer;
  }
  Json entry = {{"arch", arch}};
  std::string problem;
  auto failed = [&](const Diagnostic &error) {
    problem = error.render();
    answer.deviceLost = device.isLost();
  };
  auto layer = loadFile(modulePath(options.folder, module.name, arch),
                        {.target = device.target, .executor = nullptr});
  if (!layer)
    failed(layer.error());
  int schedules = device.simulated ? options.schedules : 1;
  for (const ModuleRun &run : module.runs)
    for (int s = 0; s < schedules && problem.empty(); ++s) {
      if (device.simulated) {
        sim::SimOptions simOptions;
        simOptions.seed = static_cast<uint64_t>(s) + 1;
        device.simulated->setOptions(simOptions);
      }
      std::string detail;
      auto results = runOnce(*layer, run);
      if (!results)
        failed(results.error());
      else
        problem = judgeRun(options, run, *results, detail);
      entry["runs"].push_back({{"symbols", run.symbols}, {"result", detail}});
      if (!problem.empty())
        problem = fmt::format("[{}]{}: {}", fmt::join(run.symbols, ", "),
                              run.corners ? " with corners" : "", problem);
    }
  entry["status"] = problem.empty() ? "passed" : "FAILED";
  if (!problem.empty())
    entry["message"] = problem;
  answer.text = toText(entry);
  return answer;
}

CaseAnswer timeModule(const Options &options, const ModuleSet &set,
                      const TimedCase &timed, const TestDevice &device,
                      double seconds) {
  CaseAnswer answer;
  auto module =
      std::find_if(set.modules.begin(), set.modules.end(),
                   [&](const ModuleCase &m) { return m.name == timed.name; });
  std::string arch = module == set.modules.end()
                         ? ""
                         : bestArch(module->archs, device.capability);
  if (arch.empty()) {
    answer.text = toText({{"status", "not for this device"}});
    return answer;
  }
  auto timing = timeLayer(modulePath(options.folder, timed.name, arch), timed,
                          device, seconds);
  if (!timing) {
    answer.text =
        toText({{"status", "FAILED"}, {"message", timing.error().render()}});
    answer.deviceLost = device.isLost();
    return answer;
  }
  answer.text = toText({{"status", "passed"},
                        {"microseconds", timing->microseconds},
                        {"least", timing->least},
                        {"samples", timing->samples},
                        {"buffers", timing->buffers},
                        {"together", timing->together}});
  return answer;
}

/// What became of a case, as an entry of the results.
Json entryOf(const CaseReport &report) {
  using End = CaseReport::End;
  if (report.end == End::TimedOut)
    return {{"status", "HUNG"}, {"message", "killed: it took too long"}};
  if (report.end == End::Died)
    return {{"status", "CRASHED"}, {"message", report.text}};
  if (report.end == End::NotBegun)
    return {{"status", "NOT RUN"}, {"message", report.text}};
  return Json::parse(report.text);
}

/// Replaces the file as a whole: a reader finds the old or the new one.
bool writeJson(const std::string &path, const Json &json) {
  std::string fresh = path + ".new";
  std::ofstream out(fresh);
  out << json.dump(1, ' ', false, Json::error_handler_t::replace) << "\n";
  out.close();
  return out && std::rename(fresh.c_str(), path.c_str()) == 0;
}

} // namespace

int main(int argc, char **argv) {
  std::optional<Options> options = parse(argc, argv);
  if (!options)
    return 2;
  auto set = readSet(options->folder);
  if (!set) {
    fmt::print(stderr, "{}\n", set.error().render());
    return 2;
  }
  std::vector<const ModuleCase *> modules;
  std::vector<const TimedCase *> timed;
  for (const ModuleCase &module : set->modules)
    if (!options->time && !module.runs.empty() &&
        module.name.find(options->only) != std::string::npos)
      modules.push_back(&module);
  for (const TimedCase &entry : set->timed)
    if (options->time && entry.name.find(options->only) != std::string::npos)
      timed.push_back(&entry);
  size_t count = options->time ? timed.size() : modules.size();

  using Clock = std::chrono::steady_clock;
  Clock::time_point begin = Clock::now();
  Supervision supervision;
  supervision.caseSeconds = options->caseSeconds;
  supervision.totalSeconds = options->budget;
  TestDevice device;
  supervision.open = [&]() -> Result<std::string> {
    auto opened = openTestDevice(options->driver);
    if (!opened)
      return opened.error();
    device = std::move(*opened);
    return toText({{"device", device.name}, {"capability", device.capability}});
  };
  supervision.run = [&](size_t i) {
    if (!options->time)
      return checkModule(*options, *modules[i], device);
    double spent = std::chrono::duration<double>(Clock::now() - begin).count();
    // What earlier layers left over is for the later ones.
    double share = (options->budget - spent) / static_cast<double>(count - i);
    return timeModule(*options, *set, *timed[i], device, share);
  };

  Json json;
  bool written = true;
  int passed = 0, failed = 0, notHere = 0;
  auto keep = [&] {
    json["passed"] = passed;
    json["failed"] = failed;
    if (!options->json.empty())
      written = writeJson(options->json, json);
  };
  supervision.opened = [&](const std::string &text) {
    json = Json::parse(text);
    int capability = json["capability"];
    fmt::print("{} (compute capability {}.{})\n",
               json["device"].get<std::string>(), capability / 10,
               capability % 10);
    std::fflush(stdout);
  };
  supervision.report = [&](const CaseReport &report) {
    Json entry = entryOf(report);
    std::string status = entry["status"];
    const std::string &name =
        options->time ? timed[report.index]->name : modules[report.index]->name;
    (status == "passed"                ? passed
     : status == "not for this device" ? notHere
                                       : failed)++;
    if (status != "passed" && status != "not for this device")
      fmt::print("  {} {}: {}\n", status, name,
                 entry.value("message", std::string()));
    if (!options->time) {
      json["modules"][name] = entry;
    } else {
      const TimedCase &timing = *timed[report.index];
      Json whole = {{"name", name},
                    {"symbols", timing.symbols},
                    {"peer", timing.peer},
                    {"operations", timing.operations},
                    {"bytes", timing.bytes}};
      whole.update(entry);
      json["timed"].push_back(whole);
      if (double micro = entry.value("microseconds", 0.0); micro > 0)
        fmt::print("  {:24} [{}] {:10.2f} us {:8.1f} TOP/s {:8.1f} GB/s\n",
                   name, fmt::join(timing.symbols, ", "), micro,
                   timing.operations / micro * 1e-6,
                   timing.bytes / micro * 1e-3);
    }
    std::fflush(stdout);
    keep();
  };
  if (auto done = supervise(count, supervision); !done) {
    fmt::print("{}: {}\n",
               done.error().code == Errc::NoDevice ? "skipped" : "failed",
               done.error().message);
    if (options->driver != "real")
      return 2;
    return done.error().code == Errc::NoDevice ? 77 : 1;
  }
  keep();
  if (!written) {
    fmt::print(stderr, "{} cannot be written\n", options->json);
    return 2;
  }
  fmt::print("{}: {} passed, {} failed, {} not for this device\n",
             options->time ? "timings" : "modules", passed, failed, notHere);
  return failed || !passed ? 1 : 0;
}
