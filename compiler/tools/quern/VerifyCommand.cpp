//===- VerifyCommand.cpp - quern verify -----------------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/tools/quern/Commands.h"
#include "compiler/tools/quern/Json.h"
#include "compiler/tools/quern/Progress.h"
#include "compiler/tools/quern/RunMemory.h"
#include "compiler/verify/Verify.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <csignal>

using namespace quern;
using namespace quern::tool;
using verify::VerifyFailure;
using verify::VerifyReport;
using verify::VerifyRow;

/// The shell's code for a program that was interrupted.
static constexpr int interrupted = 128 + SIGINT;

static volatile std::sig_atomic_t stopAsked = 0;

/// From now on the first SIGINT only asks to stop; the next one ends the
/// process.
static void catchInterrupt() {
  struct sigaction action = {};
  action.sa_handler = [](int) { stopAsked = 1; };
  action.sa_flags = SA_RESETHAND;
  sigaction(SIGINT, &action, nullptr);
}

//===----------------------------------------------------------------------===//
// Words
//===----------------------------------------------------------------------===//

/// `word`, in quotes where a shell would not take it as it is.
static std::string quoted(const std::string &word) {
  auto isPlain = [](unsigned char c) {
    return std::isalnum(c) ||
           std::string_view("/._-+=:,@%").find(c) != std::string_view::npos;
  };
  if (!word.empty() && std::all_of(word.begin(), word.end(), isPlain))
    return word;
  std::string text = "'";
  for (char c : word)
    text += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return text + "'";
}

static std::string sizesText(const VerifyReport &report,
                             const verify::Symbols &values) {
  std::vector<std::string> texts;
  for (size_t s = 0; s < values.size(); ++s)
    texts.push_back(fmt::format("{} = {}", report.symbols[s], values[s]));
  return fmt::format("{}", fmt::join(texts, ", "));
}

/// The commands that repeat a failed run, the shorter one first.
static std::vector<std::string> commandsFor(const VerifyCommandOptions &options,
                                            const VerifyReport &report) {
  const VerifyFailure &failure = *report.firstFailure;
  const VerifyRow &row = report.rows[failure.row];
  std::string file = quoted(options.file);
  if (!options.layer.empty())
    file += " --layer " + quoted(options.layer);
  std::vector<std::string> commands;
  std::string threads =
      row.onCpu ? fmt::format(" --threads {}", row.threads) : "";
  if (failure.where.corner == reference::Corner::None) {
    std::string set;
    for (size_t s = 0; s < report.symbols.size(); ++s)
      set += fmt::format(" --set {}={}", report.symbols[s],
                         failure.where.symbols[s]);
    commands.push_back(fmt::format(
        "quern run {} --check{} --seed {} --target {} {}{}", file, set,
        failure.where.seed, row.target,
        row.fuse == "none" ? "--fuse none" : "--placement " + row.placement,
        threads));
  }
  commands.push_back(fmt::format(
      "quern verify {} --seed {} --case {} --targets {} --fuse {}{}{}", file,
      options.seed, failure.where.number, row.target, row.fuse,
      row.fuse == "none" ? "" : " --placements " + row.placement, threads));
  return commands;
}

static unsigned countFailed(const VerifyReport &report) {
  unsigned failed = 0;
  for (const VerifyRow &row : report.rows)
    failed += row.failed;
  return failed;
}

//===----------------------------------------------------------------------===//
// Tables
//===----------------------------------------------------------------------===//

static std::string placesText(const VerifyRow &row) {
  if (row.places.empty())
    return "-";
  return row.places + (row.isChosen ? " (auto)" : "");
}

/// What came closest to the bound, or went beyond it.
static std::string worstText(const VerifyReport &report, const VerifyRow &row) {
  if (report.numericsClass != NumericsClass::Bounded)
    return row.failed ? "WRONG" : row.cases ? "equal bits" : "-";
  std::string text =
      row.error == 0   ? "equal bits"
      : row.share == 0 ? fmt::format("{:.1g} of the row, one ulp", row.error)
                       : fmt::format("{:.1g} of the row, {:.1g} % of the bound",
                                     row.error, 100 * row.share);
  if (row.codesOff)
    text += fmt::format("; {} by one",
                        countOf(static_cast<size_t>(row.codesOff), "code"));
  return row.failed ? "WRONG: " + text : text;
}

static void printRows(const VerifyReport &report) {
  size_t width = 10;
  for (const VerifyRow &row : report.rows)
    width = std::max(width, placesText(row).size());
  fmt::print("  {:<12} {:<5} {:<{}} {:>7} {:>6} {:>6}  {}\n", "target", "fuse",
             "placement", width, "threads", "cases", "failed", "worst");
  for (const VerifyRow &row : report.rows)
    fmt::print("  {:<12} {:<5} {:<{}} {:>7} {:>6} {:>6}  {}\n", row.target,
               row.fuse, placesText(row), width,
               row.onCpu ? std::to_string(row.threads) : "-", row.cases,
               row.failed, worstText(report, row));
}

static void printBatch(const VerifyReport &report) {
  const verify::BatchReport &batch = *report.batch;
  fmt::print("batch dimension {}:\n", fmt::join(batch.symbols, ", "));
  for (const std::string &reason : batch.byDefinition)
    fmt::print("  not batch-invariant by definition: {}\n", reason);
  unsigned rows = 0, differing = 0;
  for (const verify::BatchReport::Row &row : batch.rows) {
    rows += row.rows;
    differing += row.differing;
    if (!row.error.empty())
      fmt::print("  {}, placement {}: {}", report.rows[row.subject].target,
                 report.rows[row.subject].placement, row.error);
  }
  if (rows)
    fmt::print("  {} run again alone, in other batches and at other places, in "
               "{}: {}\n",
               countOf(rows, "row"), countOf(batch.rows.size(), "setting"),
               differing ? fmt::format("{} have other bits", differing)
                         : std::string("the same bits"));
  if (!batch.firstFailure.empty())
    fmt::print("  first: {}\n", batch.firstFailure);
  if (differing && report.numericsClass == NumericsClass::Bounded)
    fmt::print("  the layer is bounded: its sums of floats have no fixed "
               "order, and batch-invariance is promised to exact and ordered "
               "layers\n");
}

static void print(const VerifyCommandOptions &options,
                  const VerifyReport &report) {
  fmt::print("{} ({}), seed {}: {} in {}{}\n", report.layer,
             name(report.numericsClass), options.seed,
             countOf(report.cases, "case"),
             countOf(report.rows.size(), "setting"),
             report.isStopped ? ", stopped before the end" : "");
  if (!report.symbols.empty() && !report.sizes.empty()) {
    std::vector<std::string> texts;
    for (const verify::Symbols &sizes : report.sizes)
      texts.push_back(fmt::format("{}", fmt::join(sizes, "x")));
    fmt::print("  {}: {}\n", fmt::join(report.symbols, " x "),
               fmt::join(texts, ", "));
  }
  if (!report.corners.empty()) {
    std::vector<std::string> texts;
    for (const auto &[what, count] : report.corners)
      texts.push_back(count > 1 ? fmt::format("{} ({})", what, count) : what);
    fmt::print("  values: {}\n", fmt::join(texts, ", "));
  }
  for (const std::string &note : report.notes)
    fmt::print("  note: {}\n", note);
  if (!report.rows.empty() && report.cases)
    printRows(report);
  if (report.firstFailure) {
    const VerifyFailure &failure = *report.firstFailure;
    const VerifyRow &row = report.rows[failure.row];
    fmt::print("first of {}: {}, fuse {}, placement {}, case {}: {}{}{}, "
               "inputs from seed {}\n",
               countOf(countFailed(report), "failed run"), row.target, row.fuse,
               placesText(row), failure.where.number,
               sizesText(report, failure.where.symbols),
               report.symbols.empty() ? "" : ", ", name(failure.where.corner),
               failure.where.seed);
    fmt::print("  {}\n", failure.what);
    for (const std::string &command : commandsFor(options, report))
      fmt::print("  again: {}\n", command);
  }
  if (report.batch)
    printBatch(report);
  fmt::print("{}\n",
             report.passed()
                 ? report.isStopped ? "stopped; nothing wrong so far" : "right"
                 : "WRONG");
}

//===----------------------------------------------------------------------===//
// JSON
//===----------------------------------------------------------------------===//

static nlohmann::ordered_json toJson(const VerifyReport &report,
                                     const verify::BatchReport &batch) {
  nlohmann::ordered_json json;
  json["symbols"] = batch.symbols;
  json["by_definition"] = batch.byDefinition;
  json["settings"] = nlohmann::ordered_json::array();
  for (const verify::BatchReport::Row &row : batch.rows) {
    nlohmann::ordered_json one;
    one["setting"] = row.subject;
    one["rows"] = row.rows;
    one["differing"] = row.differing;
    if (!row.error.empty())
      one["error"] = row.error;
    json["settings"].push_back(std::move(one));
  }
  if (!batch.firstFailure.empty())
    json["first_failure"] = batch.firstFailure;
  json["passed"] = batch.passed();
  return json;
}

static void printJson(const VerifyCommandOptions &options,
                      const VerifyReport &report) {
  nlohmann::ordered_json json;
  json["layer"] = report.layer;
  json["class"] = std::string(name(report.numericsClass));
  json["seed"] = options.seed;
  json["cases"] = report.cases;
  json["stopped"] = report.isStopped;
  json["symbols"] = report.symbols;
  json["sizes"] = report.sizes;
  json["values"] = report.corners;
  json["notes"] = report.notes;
  json["settings"] = nlohmann::ordered_json::array();
  for (const VerifyRow &row : report.rows)
    json["settings"].push_back({{"target", row.target},
                                {"code", row.code},
                                {"fuse", row.fuse},
                                {"placement", row.places},
                                {"chosen", row.isChosen},
                                {"threads", row.threads},
                                {"cases", row.cases},
                                {"failed", row.failed},
                                {"elements", row.elements},
                                {"error", row.error},
                                {"share_of_bound", row.share},
                                {"codes_off_by_one", row.codesOff}});
  if (report.firstFailure) {
    const VerifyFailure &failure = *report.firstFailure;
    json["first_failure"] = {
        {"setting", failure.row},
        {"case", failure.where.number},
        {"sizes", failure.where.symbols},
        {"values", std::string(name(failure.where.corner))},
        {"input_seed", failure.where.seed},
        {"what", failure.what},
        {"commands", commandsFor(options, report)}};
  }
  if (report.batch)
    json["batch_invariance"] = toJson(report, *report.batch);
  json["passed"] = report.passed();
  fmt::print("{}\n", toText(json));
}

//===----------------------------------------------------------------------===//
// The command
//===----------------------------------------------------------------------===//

int quern::tool::verifyFile(const VerifyCommandOptions &options) {
  auto source = readTextFile(options.file);
  if (!source) {
    Diagnostic diagnostic = source.error();
    if (options.file.ends_with(".qnm"))
      diagnostic.notes = {"quern verify compiles the layer itself: give it the "
                          ".qn file; quern run --check takes modules"};
    return report(diagnostic);
  }
  Progress progress;
  verify::VerifyOptions how;
  how.source = std::move(*source);
  how.name = options.file;
  how.layer = options.layer;
  how.targets = options.targets;
  how.placements = options.placements;
  how.fuse = options.fuse;
  how.threads = options.threads;
  how.cases = options.cases;
  how.seed = options.seed;
  how.onlyCase = options.onlyCase;
  how.batchInvariant = options.batchInvariant;
  how.isStopped = [] { return stopAsked != 0; };
  how.show = [&](const std::string &step) { progress.show(step); };
  how.showStep = [&](const std::string &step, size_t number, size_t of) {
    progress.show(step, number, of);
  };
  how.admit = [](const Layer &layer, const verify::Symbols &symbols) {
    std::vector<std::string> drawn;
    for (const Operand &operand : layer.operands())
      if (operand.role != Operand::Role::Output)
        drawn.push_back(operand.name);
    return checkMemory(layer, symbols, drawn, /*check=*/true);
  };
  catchInterrupt();
  auto verified = verify::verifyLayer(how);
  progress.clear();
  if (!verified)
    return report(verified.error());
  if (options.json)
    printJson(options, *verified);
  else
    print(options, *verified);
  if (!verified->passed())
    return Mismatch;
  return verified->isStopped ? interrupted : Right;
}
