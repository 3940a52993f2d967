//===- BenchJson.cpp - What was measured, as JSON -------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Seconds, operations and bytes per second, shares of 1. What there is nothing
// to say about is null.
//
//===----------------------------------------------------------------------===//

#include "compiler/tools/quern/Bench.h"
#include "compiler/tools/quern/Json.h"

using namespace quern;
using namespace quern::measure;
using namespace quern::tool;

using Json = nlohmann::ordered_json;

static Json orNull(double value) { return value > 0 ? Json(value) : Json(); }

static Json toJson(const Spread &spread) {
  return {
      {"median", spread.median}, {"low", spread.low}, {"high", spread.high}};
}

static void addWork(Json &json, const BenchedWork &work) {
  json["seconds"] = toJson(work.seconds);
  json["operations"] = work.isKnown ? Json(work.operations) : Json();
  json["bytes"] = work.isKnown ? Json(work.bytes) : Json();
  json["weight_bytes"] = work.isKnown ? Json(work.weightBytes) : Json();
  json["share_of_peak"] = orNull(work.shareOfPeak);
  json["share_of_reads"] = orNull(work.shareOfReads);
  json["share_of_bound"] = orNull(work.shareOfBound);
  json["bound_by"] = !work.isKnown || work.shareOfBound <= 0 ? Json()
                     : work.boundByReads ? Json("reading")
                                         : Json("arithmetic");
}

Json quern::tool::toJson(const BenchReport &report,
                         const BenchOptions &options) {
  Json json;
  json["layer"] = report.layer;
  json["file"] = options.file;
  json["target"] = report.target;
  json["threads"] = report.threads;
  json["compile_ms"] = report.compileMs;
  json["machine"]["processor"] = report.processor;
  json["machine"]["peaks"] = Json::array();
  for (const BenchedPeak &peak : report.peaks)
    json["machine"]["peaks"].push_back(
        {{"instruction", peak.dot.name()},
         {"operations_per_second", ::toJson(peak.operations)},
         {"best", peak.best.operations},
         {"clock_hz", peak.best.clock},
         {"instructions_per_cycle", peak.best.perCycle},
         {"issue_limit", peak.best.issueLimit()},
         {"counts", peak.best.counts()}});
  json["machine"]["reads"] = Json::array();
  for (const ReadRate &level : report.levels)
    json["machine"]["reads"].push_back(
        {{"level", std::string(name(level.level))},
         {"bytes", level.bytes},
         {"bytes_per_second", level.rate}});
  json["cases"] = Json::array();
  for (const BenchedCase &one : report.cases) {
    Json c;
    c["symbols"] = Json::object();
    for (size_t s = 0; s < one.sizes.size(); ++s)
      c["symbols"][report.symbolNames[s]] = one.sizes[s];
    addWork(c, one.run);
    c["read_from"] = one.level ? Json(std::string(name(*one.level))) : Json();
    c["read_rate"] = one.level ? ::toJson(one.readRate) : Json();
    c["samples"] = one.samples;
    c["samples_counted"] = one.counted;
    c["samples_interrupted"] = one.interrupted;
    c["samples_without_peak"] = one.peakless;
    c["runs_per_sample"] = one.runsPerSample;
    c["weight_sets"] = one.copies;
    c["launches"] = Json::array();
    for (const BenchedLaunch &launch : one.launches) {
      Json l;
      l["kernel"] = launch.kernel;
      l["instruction"] = launch.dot ? Json(launch.dot->name()) : Json();
      addWork(l, launch);
      c["launches"].push_back(std::move(l));
    }
    json["cases"].push_back(std::move(c));
  }
  return json;
}
