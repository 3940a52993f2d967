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
//   --seed N          of the data (1) and, simulated, of the schedules
//   --schedules N     simulated: run each case under N schedules (3)
//   --json FILE       write what every case gave
//   --compare FILE    say where results differ from an earlier --json
//   --all-variants    run every PTX that the device takes, not only the one
//                     made for it
//   --list            print the cases and stop
//
// Exit codes: 0 all cases that apply passed, 1 one failed or met an unknown
// instruction, 2 wrong arguments, 77 there is no such device.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/cuda/DriverLoader.h"
#include "runtime/device/sim/SimDevice.h"
#include "tests/conformance/DeviceBench.h"
#include "tests/conformance/KernelFiles.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <fstream>
#include <iterator>

using namespace quern;
using namespace quern::conformance;
using Json = nlohmann::ordered_json;

namespace {

constexpr const char *usage =
    "usage: conformance --driver real|sim:sm_NN [--ptx FOLDER] [--only TEXT] "
    "[--seed N]\n  [--schedules N] [--json FILE] [--compare FILE] "
    "[--all-variants] [--list]\n";

struct Options {
  std::string driver, ptx = QUERN_CONFORMANCE_PTX, only, json, compare;
  uint64_t seed = 1;
  int schedules = 3;
  bool allVariants = false, list = false;
};

// By hand, so that the runner builds where there is a compiler and nothing
// else; but nothing is guessed.

/// All of `text` as a number of at least `least`.
template <typename T>
bool readNumber(std::string_view text, T least, T &number) {
  const char *end = text.data() + text.size();
  auto [stop, error] = std::from_chars(text.data(), end, number);
  return error == std::errc() && stop == end && number >= least;
}

/// Says on stderr what is wrong.
std::optional<Options> parse(int argc, char **argv) {
  Options options;
  auto wrong = [](const std::string &what) {
    fmt::print(stderr, "conformance: {}\n{}", what, usage);
    return std::nullopt;
  };
  struct Text {
    std::string_view name;
    std::string *value;
  };
  const Text texts[] = {{"--driver", &options.driver},
                        {"--ptx", &options.ptx},
                        {"--only", &options.only},
                        {"--json", &options.json},
                        {"--compare", &options.compare}};
  for (int i = 1; i < argc; ++i) {
    std::string_view name = argv[i];
    if (name == "--list" || name == "--all-variants") {
      (name == "--list" ? options.list : options.allVariants) = true;
      continue;
    }
    auto text = std::find_if(std::begin(texts), std::end(texts),
                             [&](const Text &t) { return t.name == name; });
    bool isNumber = name == "--seed" || name == "--schedules";
    if (text == std::end(texts) && !isNumber)
      return wrong(fmt::format("there is no option '{}'", name));
    if (i + 1 == argc)
      return wrong(fmt::format("{} needs a value", name));
    std::string_view value = argv[++i];
    if (text != std::end(texts))
      *text->value = value;
    else if (name == "--seed" && !readNumber<uint64_t>(value, 0, options.seed))
      return wrong(fmt::format("--seed: '{}' is no number of 64 bits", value));
    else if (name == "--schedules" &&
             !readNumber<int>(value, 1, options.schedules))
      return wrong(
          fmt::format("--schedules: '{}' is no number from 1 on", value));
  }
  if (options.driver.empty() && !options.list)
    return wrong("--driver is missing");
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

std::optional<Opened> open(const std::string &name, std::string &why) {
  Opened opened;
  const cuda::DriverTable *table = nullptr;
  if (name == "real") {
    auto system = cuda::systemDriver();
    if (!system) {
      why = system.error().message;
      return std::nullopt;
    }
    table = *system;
  } else {
    auto target = name.starts_with("sim:")
                      ? sim::parseSimTarget(std::string_view(name).substr(4))
                      : std::nullopt;
    if (!target) {
      why = "no such driver: " + name + "; 'real' or 'sim:sm_90a'";
      return std::nullopt;
    }
    table = &sim::simulatedDriver(*target);
    opened.simulated = &sim::SimDevice::get(*target);
  }
  auto device = openDevice(*table);
  if (!device) {
    why = device.error().message;
    return std::nullopt;
  }
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
  std::string why;
  std::optional<Opened> opened = open(options->driver, why);
  if (!opened) {
    fmt::print("skipped: {}\n", why);
    return options->driver == "real" ? 77 : 2;
  }
  int capability = opened->device.capability;
  fmt::print("{} (compute capability {}.{})\n", opened->device.name,
             capability / 10, capability % 10);

  Json json = {{"device", opened->device.name},
               {"capability", capability},
               {"seed", options->seed}};
  int counts[4] = {};
  for (const Case &test : cases) {
    if (test.name.find(options->only) == std::string::npos)
      continue;
    const KernelFile *file = nullptr;
    for (const KernelFile &candidate : kernelFiles())
      if (std::string_view(candidate.name) == test.file)
        file = &candidate;
    std::vector<const char *> variants;
    if (file && options->allVariants) {
      for (const char *arch : file->archs)
        if (runsOn(arch, capability))
          variants.push_back(arch);
    } else if (const char *arch =
                   file ? variantFor(*file, capability) : nullptr)
      variants.push_back(arch);
    if (variants.empty()) {
      ++counts[static_cast<int>(Outcome::Status::NotHere)];
      continue;
    }
    for (const char *arch : variants) {
      std::string ptx =
          readFile(fmt::format("{}/{}.{}.ptx", options->ptx, test.file, arch));
      Outcome outcome = runVariant(test, *opened, *options, ptx);
      ++counts[static_cast<int>(outcome.status)];
      if (outcome.status != Outcome::Status::Passed)
        fmt::print("  {:11} {} ({}.{}): {}\n", nameOf(outcome.status),
                   test.name, test.file, arch, outcome.message);
      std::fflush(stdout);
      std::string key = test.name;
      if (options->allVariants)
        key += fmt::format(" [{}]", arch);
      json["cases"][key] = toJson(outcome);
    }
  }
  fmt::print("conformance: {} passed, {} failed, {} unsupported, {} not for "
             "this device\n",
             counts[0], counts[1], counts[2], counts[3]);
  json["passed"] = counts[0];
  json["failed"] = counts[1];
  json["unsupported"] = counts[2];
  if (!options->json.empty()) {
    std::ofstream out(options->json);
    out << json.dump(1) << "\n";
    if (!out.flush()) {
      fmt::print(stderr, "{} cannot be written\n", options->json);
      return 2;
    }
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
  return counts[1] || counts[2] || !counts[0] ? 1 : 0;
}
