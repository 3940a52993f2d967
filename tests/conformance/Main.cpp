//===- Main.cpp - Runs the conformance set on a device --------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
//   conformance --driver sim:sm_90a [OPTION...]
//   conformance --driver real       [OPTION...]
//
//   --ptx FOLDER      the kernels' PTX (default: where it was built from)
//   --only TEXT       only cases whose name contains TEXT
//   --budget S        seconds for all (3600)
//   --case-seconds S  seconds after which one case counts as hung (600)
//   --seed N          of the data (1) and, simulated, of the schedules
//   --schedules N     simulated: run each case under N schedules (3)
//   --json FILE       what every case gave, written again after each
//   --compare FILE    say where results differ from an earlier --json
//   --all-variants    run every PTX that the device takes, not only the one
//                     made for it
//   --list            print the cases and stop
//
// A case that hangs, crashes or leaves the device unusable fails alone: see
// tests/gpu/Supervisor.h.
//
// Exit codes: 0 all cases that apply passed, 1 one failed or met an unknown
// instruction, 2 wrong arguments, 77 there is no such device.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/cuda/DriverLoader.h"
#include "runtime/device/sim/SimDevice.h"
#include "tests/conformance/DeviceBench.h"
#include "tests/conformance/KernelFiles.h"
#include "tests/gpu/Arguments.h"
#include "tests/gpu/Supervisor.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <cstdio>
#include <fstream>
#include <iterator>

using namespace quern;
using namespace quern::conformance;
using Json = nlohmann::ordered_json;

namespace {

struct Options {
  std::string driver, ptx = QUERN_CONFORMANCE_PTX, only, json, compare;
  uint64_t seed = 1;
  int schedules = 3;
  bool allVariants = false, list = false;
  double budget = 3600, caseSeconds = 600;
};

/// Nothing, and the reason printed, if the arguments are refused.
std::optional<Options> parse(int argc, char **argv) {
  Options options;
  gputest::Arguments arguments;
  arguments.text("--driver", options.driver);
  arguments.text("--ptx", options.ptx);
  arguments.text("--only", options.only);
  arguments.number("--budget", options.budget, 1.0, 1e6);
  arguments.number("--case-seconds", options.caseSeconds, 0.1, 1e6);
  arguments.number("--seed", options.seed, uint64_t{0}, UINT64_MAX);
  arguments.number("--schedules", options.schedules, 1, 1000);
  arguments.text("--json", options.json);
  arguments.text("--compare", options.compare);
  arguments.flag("--all-variants", options.allVariants);
  arguments.flag("--list", options.list);
  auto problem = arguments.parse(argc, argv);
  if (!problem && options.driver.empty() && !options.list)
    problem = "--driver is missing";
  if (problem) {
    fmt::print(stderr, "conformance: {}\n", *problem);
    return std::nullopt;
  }
  return options;
}

const char *nameOf(Outcome::Status status) {
  switch (status) {
  case Outcome::Status::Passed:
    return "passed";
  case Outcome::Status::Failed:
    return "FAILED";
  case Outcome::Status::Unsupported:
    return "UNSUPPORTED";
  case Outcome::Status::NotHere:
    break;
  }
  return "not for this device";
}

Json toJson(const Outcome &outcome) {
  Json json = {{"status", nameOf(outcome.status)}};
  if (!outcome.message.empty())
    json["message"] = outcome.message;
  json["milliseconds"] = outcome.milliseconds;
  for (const Outcome::Record &record : outcome.records) {
    Json entry = {{"what", record.what},
                  {"class", record.exact ? "exact" : "bounded"},
                  {"elements", record.elements},
                  {"hash", fmt::format("{:016x}", record.hash)}};
    if (!record.exact) {
      entry["worst"] = record.worst;
      std::string bits;
      for (uint32_t word : record.bits)
        bits += fmt::format("{:08x}", word);
      entry["bits"] = bits;
    }
    json["results"].push_back(entry);
  }
  for (const ModelShare &share : outcome.models)
    json["models"].push_back(
        {{"model", share.model}, {"equal", share.equal}, {"of", share.of}});
  return json;
}

/// Prints where `now` differs from an earlier run: bounded results may, and
/// that is what one wants to know; exact ones that passed cannot.
int compareRuns(const Json &then, const Json &now) {
  int different = 0, compared = 0;
  for (auto &[name, test] : now["cases"].items()) {
    if (!then["cases"].contains(name))
      continue;
    const Json &before = then["cases"][name];
    if (before.value("status", "") != test.value("status", "")) {
      fmt::print("  {}: {} here, {} there\n", name, test.value("status", ""),
                 before.value("status", ""));
      ++different;
      continue;
    }
    for (const Json &result : test.value("results", Json::array()))
      for (const Json &old : before.value("results", Json::array())) {
        if (old["what"] != result["what"])
          continue;
        ++compared;
        if (old["hash"] != result["hash"]) {
          fmt::print("  {}, {}: other bits than there ({})\n", name,
                     result["what"].get<std::string>(),
                     result["class"].get<std::string>());
          ++different;
        }
      }
  }
  fmt::print("{} results compared with those of {}: {} differ\n", compared,
             then.value("device", "?"), different);
  return different;
}

std::string readFile(const std::string &path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

/// The device, and the simulated one behind it, if it is one.
struct Opened {
  Device device;
  sim::SimDevice *simulated = nullptr;
};

Result<Opened> open(const std::string &name) {
  Opened opened;
  const cuda::DriverTable *table = nullptr;
  if (name == "real") {
    auto system = cuda::systemDriver();
    if (!system)
      return system.error();
    table = *system;
  } else {
    auto target = name.starts_with("sim:")
                      ? sim::parseSimTarget(std::string_view(name).substr(4))
                      : std::nullopt;
    if (!target)
      return fail(Errc::InvalidArgument,
                  "no such driver: " + name + "; 'real' or 'sim:sm_90a'");
    table = &sim::simulatedDriver(*target);
    opened.simulated = &sim::SimDevice::get(*target);
  }
  auto device = openDevice(*table);
  if (!device)
    return device.error();
  opened.device = *device;
  if (sim::SimDevice *simulated = opened.simulated) {
    opened.device.reports = [simulated] {
      std::string text;
      for (const Diagnostic &report : simulated->lastReports())
        if (text.size() < 2000)
          text += report.render() + "\n";
      return text;
    };
    opened.device.describe = [simulated](uint64_t address, const char *name,
                                         bool readOnly) {
      simulated->describe(address, name, readOnly);
    };
  }
  return opened;
}

/// A case on one variant, under every schedule if simulated.
Outcome runVariant(const Case &test, const Opened &opened,
                   const Options &options, const std::string &ptx) {
  Outcome outcome;
  int schedules = opened.simulated ? options.schedules : 1;
  for (int s = 0; s < schedules; ++s) {
    if (opened.simulated) {
      sim::SimOptions simOptions;
      simOptions.seed = options.seed + s;
      opened.simulated->setOptions(simOptions);
    }
    Outcome next = runCase(test, opened.device, ptx, options.seed);
    if (s && next.status == Outcome::Status::Passed)
      for (size_t i = 0; i < next.records.size(); ++i)
        if (next.records[i].hash != outcome.records[i].hash) {
          next.status = Outcome::Status::Failed;
          next.message = fmt::format("{}: other bits under schedule {}",
                                     next.records[i].what, s + 1);
        }
    next.milliseconds += outcome.milliseconds;
    outcome = std::move(next);
    if (outcome.status != Outcome::Status::Passed)
      break;
  }
  return outcome;
}

/// A case on every variant that is asked for: an array of entries.
gputest::CaseAnswer runVariants(const Case &test, const Opened &opened,
                                const Options &options) {
  int capability = opened.device.capability;
  const KernelFile *file = nullptr;
  for (const KernelFile &candidate : kernelFiles())
    if (std::string_view(candidate.name) == test.file)
      file = &candidate;
  std::vector<const char *> variants;
  if (file && options.allVariants) {
    for (const char *arch : file->archs)
      if (runsOn(arch, capability))
        variants.push_back(arch);
  } else if (const char *arch = file ? variantFor(*file, capability) : nullptr)
    variants.push_back(arch);
  Json entries = Json::array();
  gputest::CaseAnswer answer;
  for (const char *arch : variants) {
    std::string ptx =
        readFile(fmt::format("{}/{}.{}.ptx", options.ptx, test.file, arch));
    Outcome outcome = runVariant(test, opened, options, ptx);
    Json entry = toJson(outcome);
    entry["arch"] = arch;
    entries.push_back(entry);
    if (outcome.status != Outcome::Status::Passed &&
        opened.device.driver->ctxSynchronize() != cuda::status::Success) {
      answer.deviceLost = true;
      break;
    }
  }
  answer.text = entries.dump(-1, ' ', false, Json::error_handler_t::replace);
  return answer;
}

/// What became of a case, as entries of the results.
Json entriesOf(const gputest::CaseReport &report) {
  using End = gputest::CaseReport::End;
  if (report.end == End::Answered)
    return Json::parse(report.text);
  Json entry = {{"status", report.end == End::TimedOut ? "HUNG"
                           : report.end == End::Died   ? "CRASHED"
                                                       : "NOT RUN"},
                {"message", report.end == End::TimedOut
                                ? "killed: it took too long"
                                : report.text},
                {"arch", "?"}};
  return Json::array({entry});
}

/// Replaces the file as a whole: a reader finds the old or the new one.
bool writeJson(const std::string &path, const Json &json) {
  std::string fresh = path + ".new";
  std::ofstream out(fresh);
  out << json.dump(1) << "\n";
  out.close();
  return out && std::rename(fresh.c_str(), path.c_str()) == 0;
}

/// Passed, failed, unsupported, not for this device.
struct Counts {
  int passed = 0, failed = 0, unsupported = 0, notHere = 0;
  void add(const std::string &status) {
    (status == "passed"        ? passed
     : status == "UNSUPPORTED" ? unsupported
                               : failed)++;
  }
};

} // namespace

int main(int argc, char **argv) {
  std::optional<Options> options = parse(argc, argv);
  if (!options)
    return 2;
  std::vector<Case> cases = allCases();
  if (options->list) {
    for (const Case &test : cases)
      fmt::print("{:12} {}\n", test.file, test.name);
    return 0;
  }
  std::erase_if(cases, [&](const Case &test) {
    return test.name.find(options->only) == std::string::npos;
  });

  gputest::Supervision supervision;
  supervision.totalSeconds = options->budget;
  supervision.caseSeconds = options->caseSeconds;
  Opened opened;
  supervision.open = [&]() -> Result<std::string> {
    auto device = open(options->driver);
    if (!device)
      return device.error();
    opened = std::move(*device);
    return Json{{"device", opened.device.name},
                {"capability", opened.device.capability},
                {"seed", options->seed}}
        .dump();
  };
  supervision.run = [&](size_t i) {
    return runVariants(cases[i], opened, *options);
  };
  Json json;
  Counts counts;
  bool written = true;
  auto keep = [&] {
    json["passed"] = counts.passed;
    json["failed"] = counts.failed;
    json["unsupported"] = counts.unsupported;
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
  supervision.report = [&](const gputest::CaseReport &report) {
    const Case &test = cases[report.index];
    Json entries = entriesOf(report);
    counts.notHere += entries.empty();
    for (Json &entry : entries) {
      std::string status = entry["status"], arch = entry["arch"];
      entry.erase("arch");
      counts.add(status);
      if (status != "passed")
        fmt::print("  {:11} {} ({}.{}): {}\n", status, test.name, test.file,
                   arch, entry.value("message", std::string()));
      std::fflush(stdout);
      std::string key = test.name;
      if (options->allVariants)
        key += fmt::format(" [{}]", arch);
      json["cases"][key] = entry;
    }
    keep();
  };
  if (auto done = gputest::supervise(cases.size(), supervision); !done) {
    fmt::print("{}: {}\n",
               done.error().code == Errc::NoDevice ? "skipped" : "failed",
               done.error().message);
    if (options->driver != "real")
      return 2;
    return done.error().code == Errc::NoDevice ? 77 : 1;
  }
  keep();
  fmt::print("conformance: {} passed, {} failed, {} unsupported, {} not for "
             "this device\n",
             counts.passed, counts.failed, counts.unsupported, counts.notHere);
  if (!written) {
    fmt::print(stderr, "{} cannot be written\n", options->json);
    return 2;
  }
  if (!options->compare.empty()) {
    Json then = Json::parse(readFile(options->compare), nullptr, false);
    if (then.is_discarded() || !then.contains("cases")) {
      fmt::print(stderr, "{} is no result of an earlier run\n",
                 options->compare);
      return 2;
    }
    compareRuns(then, json);
  }
  return counts.failed || counts.unsupported || !counts.passed ? 1 : 0;
}
