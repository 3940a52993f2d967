//===- SimCommand.cpp - quern sim -----------------------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/tools/quern/Commands.h"
#include "compiler/tools/quern/Json.h"
#include "compiler/tools/quern/SimCounters.h"
#include "compiler/tools/quern/SimKernel.h"
#include "runtime/device/sim/PtxParser.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>

using namespace quern;
using namespace quern::tool;
using sim::ptx::Function;

static Result<Extents> parseExtents(const std::string &option,
                                    const std::string &text) {
  Extents extents = {1, 1, 1};
  size_t dimension = 0, at = 0;
  do {
    size_t comma = std::min(text.find(',', at), text.size());
    unsigned value = 0;
    auto [end, error] =
        std::from_chars(text.data() + at, text.data() + comma, value);
    if (dimension == 3 || error != std::errc() || end != text.data() + comma ||
        !value)
      return fail(Errc::InvalidArgument,
                  fmt::format("{} takes X, X,Y or X,Y,Z, each at least 1; not "
                              "\"{}\"",
                              option, text));
    extents[dimension++] = value;
    at = comma + 1;
  } while (at <= text.size());
  return extents;
}

static std::string show(const Extents &extents) {
  return fmt::format("{}x{}x{}", extents[0], extents[1], extents[2]);
}

/// The number in "sm_90a".
static int architectureOf(std::string_view target) {
  int number = 0;
  if (target.starts_with("sm_"))
    std::from_chars(target.data() + 3, target.data() + target.size(), number);
  return number;
}

/// The device asked for, or the oldest that runs the PTX.
static Result<sim::SimTarget> chooseTarget(const std::string &asked,
                                           std::string_view ptxTarget) {
  std::string known;
  for (unsigned i = 0; i < sim::simTargetCount; ++i) {
    auto target = static_cast<sim::SimTarget>(i);
    known += fmt::format("{}{}", i ? ", " : "", name(target));
  }
  if (!asked.empty()) {
    std::string arch = asked.starts_with("sim:") ? asked.substr(4) : asked;
    if (auto target = sim::parseSimTarget(arch))
      return *target;
    return fail(Errc::InvalidArgument,
                fmt::format("there is no simulated device for {}", asked),
                {"there are: " + known});
  }
  if (auto target = sim::parseSimTarget(ptxTarget))
    return *target;
  bool portable =
      !ptxTarget.empty() && ptxTarget.back() >= '0' && ptxTarget.back() <= '9';
  for (unsigned i = 0; i < sim::simTargetCount && portable; ++i) {
    auto target = static_cast<sim::SimTarget>(i);
    if (architectureOf(name(target)) >= architectureOf(ptxTarget))
      return target;
  }
  return fail(Errc::Unsupported,
              fmt::format("no simulated device runs PTX for {}", ptxTarget),
              {"there are: " + known});
}

static std::vector<const Function *> kernelsOf(const sim::ptx::Module &module) {
  std::vector<const Function *> kernels;
  for (const Function &function : module.functions)
    if (function.isEntry && function.hasBody)
      kernels.push_back(&function);
  return kernels;
}

static int list(const SimCommandOptions &options,
                const sim::ptx::Module &module) {
  std::vector<const Function *> kernels = kernelsOf(module);
  if (options.json) {
    nlohmann::ordered_json json;
    json["file"] = options.file;
    json["target"] = std::string(module.target);
    json["kernels"] = nlohmann::ordered_json::array();
    for (const Function *kernel : kernels) {
      nlohmann::ordered_json entry;
      entry["name"] = std::string(kernel->name);
      entry["parameters"] = nlohmann::ordered_json::array();
      for (const sim::ptx::Variable &parameter : kernel->parameters)
        entry["parameters"].push_back({{"name", std::string(parameter.name)},
                                       {"type", std::string(parameter.type)},
                                       {"bytes", parameterBytes(parameter)}});
      entry["required_threads"] = kernel->requiredThreads;
      entry["max_threads"] = kernel->maxThreads;
      json["kernels"].push_back(entry);
    }
    fmt::print("{}\n", toText(json));
    return Right;
  }
  fmt::print("{}: PTX {} for {}, {}\n", options.file, module.version,
             module.target, countOf(kernels.size(), "kernel"));
  for (const Function *kernel : kernels) {
    std::string threads;
    if (kernel->requiredThreads)
      threads = fmt::format(", blocks of {} threads", kernel->requiredThreads);
    else if (kernel->maxThreads)
      threads = fmt::format(", at most {} threads", kernel->maxThreads);
    fmt::print("  {}{}\n", kernel->name, threads);
    for (const sim::ptx::Variable &parameter : kernel->parameters)
      fmt::print("    {}\n", describe(parameter));
  }
  return Right;
}

namespace {
/// All schedules of one kernel, and what they found.
class Simulation {
public:
  explicit Simulation(const SimCommandOptions &options) : options(options) {}

  Result<void> execute(const sim::ptx::Module &module, const std::string &text);
  void print() const;
  void printJson() const;
  bool clean() const { return !failedSchedules; }

private:
  Result<void> describeLaunch(const Function &kernel);
  void compare(const SimOutcome &outcome, uint64_t seed);
  void addFaults(const std::vector<Diagnostic> &reports, uint64_t seed);

  const SimCommandOptions &options;
  SimLaunch launch;
  std::string device;
  std::vector<SimArgument> arguments;
  SimOutcome first; ///< Of the first schedule.
  /// A place and kind of fault, as the first schedule that has it tells it.
  struct Found {
    Diagnostic report;
    uint64_t seed;
    unsigned schedules;
  };
  std::vector<Found> faults;
  std::map<std::string, size_t> faultAt; ///< Index into `faults`.
  /// Of the first schedule that has any.
  uint64_t faultSeed = 0, faultCount = 0;
  unsigned failedSchedules = 0;
  /// Buffers whose contents depend on the schedule, and where.
  std::vector<std::string> differences;
  std::vector<double> times;
};
} // namespace

Result<void> Simulation::describeLaunch(const Function &kernel) {
  auto grid = parseExtents("--grid", options.grid);
  if (!grid)
    return grid.error();
  launch.grid = *grid;
  if (options.block.empty() && !kernel.requiredThreads)
    return fail(Errc::InvalidArgument,
                fmt::format("--block is missing: how many threads has a block "
                            "of {}?",
                            kernel.name));
  auto block = parseExtents(
      "--block", options.block.empty() ? std::to_string(kernel.requiredThreads)
                                       : options.block);
  if (!block)
    return block.error();
  launch.block = *block;
  if (!options.cluster.empty()) {
    auto cluster = parseExtents("--cluster", options.cluster);
    if (!cluster)
      return cluster.error();
    launch.cluster = *cluster;
  }
  launch.cooperative = options.cooperative;
  launch.dynamicSharedBytes = options.shared;
  return {};
}

/// Puts the line of the source into a report, where the file is at hand: as
/// named, or beside the PTX.
static void quoteSource(Diagnostic &report, const std::string &ptxFile) {
  std::filesystem::path beside =
      std::filesystem::path(ptxFile).parent_path() / report.file;
  for (const std::string &path : {report.file, beside.string()}) {
    std::error_code error;
    if (!std::filesystem::is_regular_file(path, error))
      continue;
    std::ifstream file(path);
    unsigned number = 0;
    for (std::string line; std::getline(file, line) && number < 1000000;)
      if (++number == report.line && line.size() < 1000) {
        report.sourceLine = line;
        return;
      }
  }
}

/// Different schedules find different faults.
void Simulation::addFaults(const std::vector<Diagnostic> &reports,
                           uint64_t seed) {
  for (const Diagnostic &report : reports) {
    // "kernel NAME: KIND: ..." at a place and, first of the notes, in the PTX.
    size_t colon = report.message.find(": ");
    colon = colon == std::string::npos ? colon
                                       : report.message.find(": ", colon + 2);
    std::string key =
        fmt::format("{}:{}:{}:{}:{}", report.file, report.line, report.column,
                    report.notes.empty() ? "" : report.notes.front(),
                    report.message.substr(0, colon));
    auto [at, fresh] = faultAt.try_emplace(key, faults.size());
    if (fresh)
      faults.push_back({report, seed, 1});
    else
      ++faults[at->second].schedules;
  }
}

/// Notes buffers that hold other bytes than after the first schedule.
void Simulation::compare(const SimOutcome &outcome, uint64_t seed) {
  for (size_t i = 0; i < arguments.size(); ++i) {
    const Tensor &a = first.buffers[i], &b = outcome.buffers[i];
    if (!a.bytes() || std::memcmp(a.data(), b.data(), a.bytes()) == 0)
      continue;
    auto *left = static_cast<const std::byte *>(a.data());
    auto *right = static_cast<const std::byte *>(b.data());
    size_t at = static_cast<size_t>(
        std::mismatch(left, left + a.bytes(), right).first - left);
    differences.push_back(fmt::format(
        "{} differs between seeds {} and {}, first at element {}",
        arguments[i].name, options.seed, seed, at / byteWidth(a.dtype())));
  }
}

Result<void> Simulation::execute(const sim::ptx::Module &module,
                                 const std::string &text) {
  std::vector<std::string> names;
  const Function *kernel = nullptr;
  for (const Function *function : kernelsOf(module)) {
    names.emplace_back(function->name);
    if (function->name == options.kernel)
      kernel = function;
  }
  if (!kernel)
    return fail(
        Errc::InvalidArgument,
        fmt::format("{} has no kernel {}", options.file, options.kernel),
        {names.empty()
             ? std::string("it has no kernels at all")
             : fmt::format("its kernels are {}", fmt::join(names, ", "))});
  auto target = chooseTarget(options.target, module.target);
  if (!target)
    return target.error();
  device = name(*target);
  if (auto described = describeLaunch(*kernel); !described)
    return described;
  auto parsed = parseSimArguments(options.arguments, *kernel, options.seed);
  if (!parsed)
    return parsed.error();
  arguments = std::move(*parsed);
  auto loaded = SimKernel::load(*target, text, options.kernel, options.file);
  if (!loaded)
    return loaded.error();
  for (unsigned i = 0; i < options.schedules; ++i) {
    sim::SimOptions choice;
    choice.seed = options.seed + i;
    choice.checks = !options.withoutChecks;
    choice.watchdog = options.watchdog;
    auto outcome = loaded->run(launch, arguments, choice);
    if (!outcome)
      return outcome.error();
    times.push_back(outcome->milliseconds);
    if (outcome->faultCount && !failedSchedules++) {
      faultSeed = choice.seed;
      faultCount = outcome->faultCount;
    }
    addFaults(outcome->faults, choice.seed);
    if (!i)
      first = std::move(*outcome);
    else if (differences.empty())
      compare(*outcome, choice.seed);
  }
  for (Found &fault : faults)
    quoteSource(fault.report, options.file);
  std::sort(times.begin(), times.end());
  AtomicFiles together;
  for (size_t i = 0; i < arguments.size(); ++i)
    if (!arguments[i].output.empty())
      if (auto added = addSimOutput(together, arguments[i], first.buffers[i]);
          !added)
        return added;
  return together.commit();
}

void Simulation::print() const {
  std::string shape =
      fmt::format("grid {}, block {}", show(launch.grid), show(launch.block));
  if (launch.cluster)
    shape += fmt::format(", clusters of {}", show(*launch.cluster));
  if (launch.cooperative)
    shape += ", cooperative";
  if (launch.dynamicSharedBytes)
    shape += fmt::format(", {} B dynamic shared", launch.dynamicSharedBytes);
  fmt::print("{} of {} on sim:{}, {}\n", options.kernel, options.file, device,
             shape);
  bool sameSeed = true;
  for (const Found &fault : faults) {
    Diagnostic report = fault.report;
    if (fault.seed != faultSeed) {
      sameSeed = false;
      report.notes.push_back(fmt::format("first with --seed {}", fault.seed));
    }
    fmt::print("{}", report.render());
  }
  if (clean())
    fmt::print("  clean in {}, {:.2f} ms{}\n",
               countOf(options.schedules, "schedule"), times[times.size() / 2],
               times.size() > 1 ? " each" : "");
  else
    fmt::print("  {} in {} of {}; {} with --seed {}\n",
               countOf(faultCount, "fault"), failedSchedules,
               countOf(options.schedules, "schedule"),
               sameSeed ? "the above" : "the others above", faultSeed);
  for (const std::string &difference : differences)
    fmt::print("  {}\n", difference);
  fmt::print("{}", describe(first.counters, !options.withoutChecks, "  "));
  for (const SimArgument &argument : arguments)
    if (!argument.output.empty())
      fmt::print("  wrote {}\n", argument.output);
}

void Simulation::printJson() const {
  nlohmann::ordered_json json;
  json["kernel"] = options.kernel;
  json["target"] = "sim:" + device;
  json["grid"] = launch.grid;
  json["block"] = launch.block;
  if (launch.cluster)
    json["cluster"] = *launch.cluster;
  json["seed"] = options.seed;
  json["schedules"] = options.schedules;
  json["failed_schedules"] = failedSchedules;
  json["fault_count"] = faultCount;
  json["faults"] = nlohmann::ordered_json::array();
  for (const Found &fault : faults)
    json["faults"].push_back({{"file", fault.report.file},
                              {"line", fault.report.line},
                              {"message", fault.report.message},
                              {"notes", fault.report.notes},
                              {"seed", fault.seed},
                              {"schedules", fault.schedules}});
  json["differences"] = differences;
  json["milliseconds"] = times[times.size() / 2];
  json["checks"] = !options.withoutChecks;
  json["counters"] = toJson(first.counters, !options.withoutChecks);
  fmt::print("{}\n", toText(json));
}

int quern::tool::simulate(const SimCommandOptions &options) {
  auto text = readTextFile(options.file);
  if (!text)
    return report(text.error());
  auto module = sim::ptx::parse(*text, options.file);
  if (!module)
    return report(module.error());
  if (options.kernel.empty())
    return list(options, *module);
  Simulation simulation(options);
  if (auto done = simulation.execute(*module, *text); !done)
    return report(done.error());
  if (options.json)
    simulation.printJson();
  else
    simulation.print();
  return simulation.clean() ? Right : Mismatch;
}
