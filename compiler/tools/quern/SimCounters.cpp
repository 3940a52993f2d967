//===- SimCounters.cpp - What the simulator counted, in words -------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/tools/quern/SimCounters.h"

#include "compiler/tools/quern/Commands.h"
#include "runtime/device/sim/Program.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

using namespace quern;
using namespace quern::tool;

std::string quern::tool::describe(const sim::Counters &counters, bool checked,
                                  const std::string &indent) {
  std::string classes;
  for (size_t c = 0; c < counters.byClass.size(); ++c)
    if (counters.byClass[c])
      classes += fmt::format("{}{} {}", classes.empty() ? "" : ", ",
                             name(static_cast<sim::InstrClass>(c)),
                             counters.byClass[c]);
  std::string text = fmt::format(
      "{0}instructions   {1} of warps, {2} of threads\n{0}               {3}\n",
      indent, counters.warpInstructions, counters.threadInstructions, classes);
  text +=
      fmt::format("{}global memory  {} B read, {} B written in {}, {} of "
                  "32 bytes",
                  indent, counters.globalBytesRead, counters.globalBytesWritten,
                  countOf(counters.globalRequests, "request"),
                  countOf(counters.globalSectors, "sector"));
  if (checked)
    text += fmt::format(
        "\n{}               {} different bytes read, {} written", indent,
        counters.globalUniqueBytesRead, counters.globalUniqueBytesWritten);
  text += fmt::format("\n{}shared memory  {}", indent,
                      countOf(counters.sharedRequests, "request"));
  if (checked)
    text += fmt::format(", {}",
                        countOf(counters.sharedBankConflicts, "bank conflict"));
  text += fmt::format("\n{}barriers       {} in {}\n", indent,
                      counters.barriers, countOf(counters.blocks, "block"));
  return text;
}

nlohmann::ordered_json quern::tool::toJson(const sim::Counters &counters,
                                           bool checked) {
  nlohmann::ordered_json json;
  json["warp_instructions"] = counters.warpInstructions;
  json["thread_instructions"] = counters.threadInstructions;
  for (size_t c = 0; c < counters.byClass.size(); ++c)
    json["by_class"][std::string(name(static_cast<sim::InstrClass>(c)))] =
        counters.byClass[c];
  json["global_bytes_read"] = counters.globalBytesRead;
  json["global_bytes_written"] = counters.globalBytesWritten;
  if (checked) {
    json["global_unique_bytes_read"] = counters.globalUniqueBytesRead;
    json["global_unique_bytes_written"] = counters.globalUniqueBytesWritten;
  }
  json["global_requests"] = counters.globalRequests;
  json["global_sectors"] = counters.globalSectors;
  json["shared_requests"] = counters.sharedRequests;
  if (checked)
    json["shared_bank_conflicts"] = counters.sharedBankConflicts;
  json["barriers"] = counters.barriers;
  json["blocks"] = counters.blocks;
  return json;
}
