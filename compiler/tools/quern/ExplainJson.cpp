//===- ExplainJson.cpp - An explanation as JSON ---------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Every key stands in docs/explain.md.
//
//===----------------------------------------------------------------------===//

#include "compiler/tools/quern/Explanation.h"
#include "compiler/tools/quern/SimCounters.h"

#include <nlohmann/json.hpp>

#include <cmath>

using namespace quern;
using namespace quern::tool;
using Json = nlohmann::ordered_json;

/// Predictions are sums of samples: whole numbers of them are shown.
static Json whole(double number) {
  return std::isfinite(number) && std::abs(number) < 9e15
             ? Json(static_cast<int64_t>(std::llround(number)))
             : Json(number);
}

static Json movedJson(const select::Moved &moved) {
  Json json = {{"bytes_read", whole(moved.bytesRead)},
               {"bytes_written", whole(moved.bytesWritten)}};
  if (moved.sectors() > 0) {
    json["sectors_read"] = whole(moved.sectorsRead);
    json["sectors_written"] = whole(moved.sectorsWritten);
  }
  return json;
}

/// [{"symbol": "M", "min": 1, "max": 16}]
static Json whenJson(const Explanation &explanation,
                     const std::vector<RangeDesc> &when) {
  Json json = Json::array();
  for (const RangeDesc &range : when)
    json.push_back(
        {{"symbol", explanation.output().module.symbols[range.symbol].name},
         {"min", range.min},
         {"max", range.max}});
  return json;
}

static Json optionJson(const QuantizationPlacement &site,
                       const QuantizationPlacement::Option &option) {
  Json entry = {{"placement", option.placement},
                {"possible", option.possible},
                {"chosen", option.chosen}};
  if (!option.possible) {
    entry["reason"] = option.reason;
    return entry;
  }
  entry["microseconds"] = option.costs;
  for (size_t s = 0; s < option.terms.size(); ++s) {
    Json predicted = {{"sizes", site.predictedFor[s]}};
    double sum = 0;
    predicted["terms"] = Json::array();
    for (const auto &term : option.terms[s]) {
      sum += term.microseconds;
      predicted["terms"].push_back({{"kind", term.kind},
                                    {"microseconds", term.microseconds},
                                    {"text", term.text}});
    }
    predicted["microseconds"] = sum;
    if (s < option.moves.size() && option.moves[s]) {
      predicted["bytes"] = whole(option.moves[s]->bytes);
      predicted["passes_saved"] = option.moves[s]->passesSaved;
    }
    entry["predicted"].push_back(std::move(predicted));
  }
  return entry;
}

static Json quantizationJson(const Explanation &explanation,
                             const QuantizationPlacement &site) {
  Json options;
  for (const auto &option : site.options)
    options.push_back(optionJson(site, option));
  Json json = {{"line", site.line},
               {"value", site.value},
               {"sizes", site.sizes},
               {"options", std::move(options)}};
  if (!site.when.empty())
    json["when"] = whenJson(explanation, site.when);
  for (size_t s = 0; s < site.staticBytes.size(); ++s)
    json["static"].push_back({{"sizes", site.predictedFor[s]},
                              {"bytes", whole(site.staticBytes[s])}});
  json["why"] = whyChosen(explanation, site);
  return json;
}

static Json predictionJson(const Explanation &explanation,
                           const Prediction &prediction, size_t launch) {
  const select::KernelTraffic *traffic =
      explanation.trafficOf(prediction, launch);
  Json json = {{"sizes", prediction.sizes}};
  if (!traffic) {
    const auto &all = prediction.traffic.kernels;
    size_t number = *explanation.kernels[launch].ofProgram;
    if (number < all.size() && all[number].isSkipped)
      json["skipped"] = true;
    else
      json["unknown"] = number < all.size() && prediction.unknown.empty()
                            ? all[number].unknown
                            : prediction.unknown;
    return json;
  }
  json["moved"] = movedJson(traffic->moved());
  for (const select::BufferTraffic &buffer : traffic->buffers) {
    Json entry = {{"buffer", buffer.buffer}, {"own", buffer.isOwn}};
    entry.update(movedJson(buffer.moved));
    json["buffers"].push_back(std::move(entry));
  }
  select::Roofline roof =
      select::rooflineOf(*traffic, explanation.report().peaks);
  json["roofline"] = {{"bytes", whole(roof.bytes)},
                      {"operations", whole(roof.operations)},
                      {"operations_per_byte", roof.intensity()},
                      {"memory_microseconds", roof.memoryTime},
                      {"arithmetic_microseconds", roof.arithmeticTime},
                      {"bound", roof.boundByMemory() ? "memory" : "arithmetic"},
                      {"share", explanation.shareOf(prediction, launch)}};
  if (const sim::Counters *counted =
          explanation.countedOf(launch, prediction.sizes))
    json["counted_sectors"] = counted->globalSectors;
  return json;
}

static Json graphJson(const LayerGraph &graph) {
  Json json = Json::array();
  static constexpr const char *kinds[] = {"input", "weight", "operation",
                                          "output"};
  for (const LayerGraph::Node &node : graph.nodes) {
    Json entry = {{"kind", kinds[static_cast<size_t>(node.kind)]},
                  {"label", node.label},
                  {"name", node.name},
                  {"type", node.type},
                  {"inputs", node.inputs}};
    if (!node.klass.empty())
      entry["class"] = node.klass;
    if (node.line)
      entry["line"] = node.line;
    json.push_back(std::move(entry));
  }
  return json;
}

Json quern::tool::toJson(const Explanation &explanation) {
  const CompileOutput &output = explanation.output();
  const LayerReport &report = explanation.report();
  Json json;
  json["layer"] = output.module.layer;
  json["target"] = explanation.variant.target;
  json["kernel_counts"] = {{"run", explanation.counts.run},
                           {"prepare", explanation.counts.prepare}};
  for (const SymbolDesc &symbol : output.module.symbols)
    json["symbols"].push_back(symbol.name);
  if (!report.graph.nodes.empty())
    json["graph"] = graphJson(report.graph);
  for (const ScalePlacement &placement : output.placements)
    json["scales"].push_back(
        {{"line", placement.line}, {"placement", placement.text}});
  for (const ScalePath &path : report.scales) {
    Json entry = {{"buffer", path.buffer},
                  {"of", path.owner},
                  {"type", path.type},
                  {"dynamic", path.isDynamic}};
    entry["uses"] = Json::array();
    for (const ScalePath::Use &use : path.uses)
      if (auto launch = explanation.launchOf(use.launch))
        entry["uses"].push_back(
            {{"launch", *launch}, {"stage", use.stage}, {"how", use.text}});
    json["scale_paths"].push_back(std::move(entry));
  }
  for (const QuantizationPlacement &site : output.quantizations)
    json["quantizations"].push_back(quantizationJson(explanation, site));
  if (!output.unusedSchedules.empty())
    json["unused_schedules"] = output.unusedSchedules;
  for (size_t i = 0; i < explanation.kernels.size(); ++i) {
    const ExplainedKernel &kernel = explanation.kernels[i];
    Json entry = {{"kernel", kernel.desc->name},
                  {"phase", kernel.prepares() ? "prepare" : "run"},
                  {"reason", kernel.desc->reason},
                  {"class", std::string(name(kernel.desc->numericsClass))},
                  {"schedule", kernel.desc->schedule},
                  {"buffers", kernel.buffers}};
    if (!kernel.when.empty())
      entry["when"] = whenJson(explanation, kernel.when);
    if (const select::KernelTraffic *traffic = explanation.partsOf(i))
      for (const select::KernelPart &part : traffic->parts)
        entry["operations"].push_back(
            {{"what", part.what}, {"class", part.klass}});
    for (const Prediction &prediction : report.predictions)
      if (kernel.ofProgram)
        entry["predicted"].push_back(
            predictionJson(explanation, prediction, i));
    json["launches"].push_back(std::move(entry));
  }
  if (!report.predictions.empty())
    json["peaks"] = {
        {"machine", report.peaks.machine},
        {"bytes_per_microsecond", report.peaks.bytes},
        {"operations_per_microsecond_8_bits", report.peaks.operations8},
        {"operations_per_microsecond_16_bits", report.peaks.operations16},
        {"other_operations_per_microsecond", report.peaks.scalar}};
  for (const ExplainedBuffer &buffer : explanation.buffers) {
    Json entry = {
        {"name", buffer.name}, {"role", buffer.role}, {"type", buffer.type}};
    if (buffer.bytes)
      entry["bytes"] = *buffer.bytes;
    if (!buffer.when.empty())
      entry["when"] = whenJson(explanation, buffer.when);
    json["buffers"].push_back(std::move(entry));
  }
  if (explanation.counted)
    for (const sim::LaunchRecord &launch : explanation.counted->launches)
      json["counted"].push_back({{"kernel", launch.kernel},
                                 {"sizes", explanation.counted->sizes},
                                 {"grid", launch.grid},
                                 {"block", launch.block},
                                 {"counters", toJson(launch.counters, true)}});
  return json;
}
