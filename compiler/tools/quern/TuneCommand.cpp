//===- TuneCommand.cpp - quern tune ---------------------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/tools/quern/Json.h"
#include "compiler/tools/quern/Tune.h"
#include "runtime/io/AtomicFile.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

using namespace quern;
using namespace quern::tool;
using Json = nlohmann::ordered_json;

/// "1.07 times as fast at M = 128 (14 of 15 pairs)", for each set of sizes.
static std::string resultText(const Trial &trial, const TuneReport &report) {
  std::vector<std::string> parts;
  for (size_t c = 0; c < trial.sizes.size(); ++c)
    parts.push_back(fmt::format("{:.3f} times as fast at {} ({} of {} pairs)",
                                trial.sizes[c].ratio(), report.sizes[c],
                                trial.sizes[c].wins(), trial.sizes[c].count()));
  return fmt::format("{}", fmt::join(parts, ", "));
}

/// A file's name, in one line.
static std::string inOneLine(std::string text) {
  for (char &c : text)
    if (static_cast<unsigned char>(c) < ' ')
      c = '?';
  return text;
}

cpugen::Schedules TuneReport::record(const std::string &file) const {
  cpugen::Schedules record;
  record.target = target;
  record.caches = caches;
  for (const TunedProduct &product : products) {
    cpugen::ScheduleEntry entry = product.entryOf(product.chosen);
    std::string what = fmt::format("{}", fmt::join(product.kernels, ", "));
    entry.comments.push_back(
        product.winner
            ? fmt::format("{}: {}", what,
                          resultText(product.trials[*product.winner], *this))
            : fmt::format("{}: the model's choice; of {} none was better at {}",
                          what, countOf(product.candidates.size(), "candidate"),
                          fmt::join(sizes, ", ")));
    record.entries.push_back(std::move(entry));
  }
  record.entries.front().comments.insert(
      record.entries.front().comments.begin(),
      fmt::format("{} of {}{}, with {}", layer, inOneLine(file),
                  processor.empty() ? "" : ", on " + processor,
                  countOf(threads, "thread")));
  return record;
}

static void printText(const TuneReport &report) {
  fmt::print("{} for {}{}, with {}: {} at {}\n", report.layer, report.target,
             report.processor.empty() ? "" : " on " + report.processor,
             countOf(report.threads, "thread"), countOf(report.pairs, "pair"),
             fmt::join(report.sizes, ", "));
  for (const TunedProduct &product : report.products) {
    fmt::print("\n  {}\n    {}\n    the model's choice: {}\n",
               fmt::join(product.kernels, ", "), product.product.text(),
               cpugen::fieldsOf(product.model));
    for (const Trial &trial : product.trials)
      fmt::print("    {}{}: {}{}\n", trial.confirms ? "again " : "", trial.what,
                 trial.refused.empty() ? resultText(trial, report)
                                       : "not possible: " + trial.refused,
                 trial.isBetter() ? ", better" : "");
    if (product.winner)
      fmt::print("    -> {}\n", product.trials[*product.winner].what);
    else
      fmt::print("    -> the model's choice\n");
  }
}

static Json toJson(const cpugen::Blocking &blocking) {
  return {{"rows", blocking.rows},
          {"few_rows", blocking.fewRows},
          {"block_rows", blocking.blockRows},
          {"chunk_steps",
           blocking.chunkSteps ? Json(*blocking.chunkSteps) : Json()},
          {"ahead", blocking.aheadBytes},
          {"few_ahead", blocking.fewAhead ? Json(*blocking.fewAhead) : Json()}};
}

static Json toJson(const Trial &trial, const TuneReport &report) {
  Json json = {{"what", trial.what},
               {"confirms", trial.confirms},
               {"better", trial.isBetter()},
               {"blocking", toJson(trial.blocking)}};
  if (!trial.refused.empty())
    json["refused"] = trial.refused;
  json["sizes"] = Json::array();
  for (size_t c = 0; c < trial.sizes.size(); ++c)
    json["sizes"].push_back({{"at", report.sizes[c]},
                             {"times_as_fast", trial.sizes[c].ratio()},
                             {"wins", trial.sizes[c].wins()},
                             {"losses", trial.sizes[c].losses()},
                             {"pairs", trial.sizes[c].count()}});
  return json;
}

static Json toJson(const TuneReport &report, const std::string &record) {
  Json json = {{"layer", report.layer},         {"target", report.target},
               {"processor", report.processor}, {"threads", report.threads},
               {"pairs", report.pairs},         {"sizes", report.sizes}};
  for (const TunedProduct &product : report.products) {
    Json one = {{"product", product.product.text()},
                {"kernels", product.kernels},
                {"rows", product.rows},
                {"model", toJson(product.model)},
                {"chosen", toJson(product.chosen)},
                {"is_model", !product.winner}};
    one["trials"] = Json::array();
    for (const Trial &trial : product.trials)
      one["trials"].push_back(toJson(trial, report));
    json["products"].push_back(std::move(one));
  }
  json["record"] = record;
  return json;
}

int quern::tool::tune(const TuneOptions &options) {
  auto tuned = tuneLayer(options);
  if (!tuned)
    return report(tuned.error());
  std::string record = tuned->record(options.file).print();
  bool writes = !options.output.empty();
  if (writes)
    if (auto written = writeFileAtomically(options.output,
                                           std::as_bytes(std::span(record)));
        !written)
      return report(written.error());
  if (options.json) {
    fmt::print("{}\n", toText(toJson(*tuned, record)));
  } else if (writes) {
    printText(*tuned);
    fmt::print("\nwrote {}\n", options.output);
  } else {
    fmt::print("{}", record);
  }
  return Right;
}
