//===- BenchText.cpp - What was measured, in words ------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/tools/quern/Bench.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

using namespace quern;
using namespace quern::measure;
using namespace quern::tool;

std::string BenchReport::sizesText(const BenchedCase &one) const {
  std::vector<std::string> parts;
  for (size_t s = 0; s < one.sizes.size(); ++s)
    parts.push_back(fmt::format("{} = {}", symbolNames[s], one.sizes[s]));
  return fmt::format("{}", fmt::join(parts, ", "));
}

/// Four digits or so, in the unit that fits `by`.
static std::string timeText(double seconds, double by) {
  if (by >= 1)
    return fmt::format("{:.3f} s", seconds);
  if (by >= 1e-3)
    return fmt::format("{:.3f} ms", seconds * 1e3);
  return fmt::format("{:.2f} us", seconds * 1e6);
}

static void printMachine(const BenchReport &report) {
  fmt::print("\nThis machine now{}, with {}\n",
             report.processor.empty() ? "" : " (" + report.processor + ")",
             countOf(report.threads, "thread"));
  for (const BenchedPeak &peak : report.peaks) {
    const Peak &best = peak.best;
    fmt::print("  {}: {:.0f} Gop/s at best, {:.0f} the median; {:.2f} {} a "
               "cycle at {:.2f} GHz\n",
               peak.dot.name(), best.operations / 1e9,
               peak.operations.median / 1e9, best.perCycle,
               peak.dot.instructions() == 1 ? "started"
                                            : "instructions started",
               best.clock / 1e9);
    if (!best.counts())
      fmt::print("    the peak does not count: it is {:.1f} % of {:.0f} a "
                 "cycle, and less than {:.0f} % means that threads were "
                 "interrupted or share a core\n",
                 100 * best.shareOfLimit(), best.issueLimit(),
                 100 * leastShareOfIssueLimit);
  }
  std::vector<std::string> rates;
  for (const ReadRate &level : report.levels)
    rates.push_back(fmt::format("{:.1f} GB/s from {} ({})", level.rate / 1e9,
                                name(level.level),
                                bytesText(double(level.bytes))));
  if (!rates.empty())
    fmt::print("  reads: {}\n", fmt::join(rates, ", "));
}

static std::string percent(double share) {
  return share > 0 ? fmt::format("{:.1f} %", 100 * share) : "-";
}

static void printWork(const std::string &title, const BenchedWork &work,
                      bool hasReads) {
  const Spread &t = work.seconds;
  std::string bound = "-";
  if (!work.isKnown)
    bound = "not predicted";
  else if (work.shareOfBound > 0)
    bound = fmt::format("{} ({:.0f} %)",
                        work.boundByReads ? "reading" : "arithmetic",
                        100 * work.shareOfBound);
  fmt::print(
      "  {:<30} {:>11} {:>20} {:>8} {:>8} {:>8} {:>8}  {}\n", title,
      timeText(t.median, t.median),
      fmt::format("{}..{}",
                  timeText(t.low, t.median)
                      .substr(0, timeText(t.low, t.median).find(' ')),
                  timeText(t.high, t.median)),
      work.operations > 0 ? fmt::format("{:.1f}", work.rate() / 1e9) : "-",
      percent(work.shareOfPeak),
      work.weightBytes > 0 ? fmt::format("{:.1f}", work.weightRate() / 1e9)
                           : "-",
      hasReads ? percent(work.shareOfReads) : "-", bound);
}

/// As much of a name as the table has room for.
static std::string shortened(const std::string &name) {
  return name.size() <= 26 ? name : name.substr(0, 23) + "...";
}

static void printCase(const BenchReport &report, const BenchedCase &one) {
  std::string sizes = report.sizesText(one);
  bool hasReads = one.readRate.median > 0;
  printWork(sizes.empty() ? "a run" : sizes, one.run, hasReads);
  if (one.launches.size() > 1)
    for (size_t i = 0; i < one.launches.size(); ++i)
      printWork(
          fmt::format("  {} {}", i + 1, shortened(one.launches[i].kernel)),
          one.launches[i], hasReads);
}

static void printNotes(const BenchReport &report) {
  for (const BenchedCase &one : report.cases) {
    std::string at = report.sizesText(one);
    if (!at.empty())
      at += ": ";
    std::string where =
        one.level ? fmt::format("{} of a run are read at {:.1f} GB/s from {}",
                                bytesText(one.run.bytes),
                                one.readRate.median / 1e9, name(*one.level))
                  : fmt::format("{} of a run; their rate was not measured",
                                bytesText(one.run.bytes));
    std::string counted =
        one.counted == one.samples
            ? fmt::format("{} of {}", countOf(one.samples, "sample"),
                          countOf(one.runsPerSample, "run"))
            : fmt::format("{} of {} samples of {}", one.counted, one.samples,
                          countOf(one.runsPerSample, "run"));
    std::string trouble;
    if (one.interrupted)
      trouble += fmt::format("; {} interrupted", one.interrupted);
    if (one.peakless)
      trouble += fmt::format("; {} without a peak that counts", one.peakless);
    if (one.counted == one.samples && one.interrupted + one.peakless > 0)
      trouble += " (too many to leave out: the machine is busy)";
    fmt::print("  {}{}; {}{}{}\n", at, where, counted,
               one.copies > 1
                   ? fmt::format(", {} sets of weights in turns", one.copies)
                   : "",
               trouble);
  }
}

void quern::tool::printText(const BenchReport &report) {
  fmt::print("{} for {}, compiled in {:.0f} ms\n", report.layer, report.target,
             report.compileMs);
  printMachine(report);
  fmt::print("\n  {:<30} {:>11} {:>20} {:>8} {:>8} {:>8} {:>8}  {}\n", "",
             "median", "quartiles", "Gop/s", "of peak", "weights", "of reads",
             "bound by");
  fmt::print("  {:<30} {:>11} {:>20} {:>8} {:>8} {:>8} {:>8}  {}\n", "", "", "",
             "", "", "GB/s", "", "(reached)");
  for (const BenchedCase &one : report.cases)
    printCase(report, one);
  fmt::print("\n");
  printNotes(report);
}
