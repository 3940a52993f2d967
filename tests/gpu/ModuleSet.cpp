//===- ModuleSet.cpp - The manifest of compiled layers --------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "tests/gpu/ModuleSet.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <fstream>

using namespace quern;
using namespace quern::gputest;
using Json = nlohmann::ordered_json;

std::string gputest::modulePath(const std::string &folder,
                                const std::string &name,
                                const std::string &arch) {
  return fmt::format("{}/modules/{}.{}.qnm", folder, name, arch);
}

Result<void> gputest::writeSet(const std::string &folder,
                               const ModuleSet &set) {
  Json json = {{"producer", set.producer}};
  for (const ModuleCase &module : set.modules) {
    Json entry = {{"name", module.name}, {"archs", module.archs}};
    for (const ModuleRun &run : module.runs) {
      Json one = {{"symbols", run.symbols},
                  {"seed", run.seed},
                  {"corners", run.corners},
                  {"file", run.file}};
      for (const ExpectedOutput &output : run.outputs) {
        Json bound = {{"name", output.name},
                      {"class", output.numericsClass},
                      {"hash", output.hash},
                      {"bytes", output.bytes}};
        if (output.numericsClass == "bounded") {
          bound["rows"] = output.rows;
          bound["codeShare"] = output.codeShare;
          bound["extraRelative"] = output.extraRelative;
        }
        one["outputs"].push_back(bound);
      }
      entry["runs"].push_back(one);
    }
    json["modules"].push_back(entry);
  }
  for (const TimedCase &timed : set.timed)
    json["timed"].push_back({{"name", timed.name},
                             {"symbols", timed.symbols},
                             {"operations", timed.operations},
                             {"bytes", timed.bytes},
                             {"peer", timed.peer}});
  std::ofstream out(folder + "/manifest.json");
  out << json.dump(1) << "\n";
  if (!out.flush())
    return fail(Errc::InvalidFile,
                fmt::format("{}/manifest.json cannot be written", folder));
  return {};
}

Result<ModuleSet> gputest::readSet(const std::string &folder) {
  std::string path = folder + "/manifest.json";
  std::ifstream in(path);
  if (!in)
    return fail(Errc::InvalidFile, fmt::format("{} cannot be read", path));
  ModuleSet set;
  try {
    Json json = Json::parse(in);
    set.producer = json.at("producer");
    for (const Json &entry : json.value("modules", Json::array())) {
      ModuleCase module;
      module.name = entry.at("name");
      module.archs = entry.at("archs");
      for (const Json &one : entry.value("runs", Json::array())) {
        ModuleRun run;
        run.symbols = one.at("symbols").get<std::vector<int64_t>>();
        run.seed = one.at("seed");
        run.corners = one.at("corners");
        run.file = one.at("file");
        for (const Json &bound : one.value("outputs", Json::array())) {
          ExpectedOutput output;
          output.name = bound.at("name");
          output.numericsClass = bound.at("class");
          output.hash = bound.at("hash");
          output.bytes = bound.at("bytes");
          output.rows = bound.value("rows", std::vector<double>());
          output.codeShare = bound.value("codeShare", 0.0);
          output.extraRelative = bound.value("extraRelative", 0.0);
          run.outputs.push_back(std::move(output));
        }
        module.runs.push_back(std::move(run));
      }
      set.modules.push_back(std::move(module));
    }
    for (const Json &entry : json.value("timed", Json::array())) {
      TimedCase timed;
      timed.name = entry.at("name");
      timed.symbols = entry.at("symbols").get<std::vector<int64_t>>();
      timed.operations = entry.at("operations");
      timed.bytes = entry.at("bytes");
      timed.peer = entry.at("peer");
      set.timed.push_back(std::move(timed));
    }
  } catch (const Json::exception &error) {
    return fail(Errc::InvalidFile, fmt::format("{}: {}", path, error.what()));
  }
  return set;
}
