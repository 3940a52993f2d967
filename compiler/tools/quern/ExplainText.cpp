//===- ExplainText.cpp - An explanation in words --------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/tools/quern/Explanation.h"
#include "compiler/tools/quern/SimCounters.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

using namespace quern;
using namespace quern::tool;

static void printScales(const Explanation &explanation) {
  const CompileOutput &output = explanation.output();
  const std::string &file = explanation.options.file;
  if (!output.placements.empty())
    fmt::print("\nWhere scales are applied\n");
  if (explanation.file.isModule)
    fmt::print("read from {}; where scales are applied, and what is predicted, "
               "is said for a layer's text alone\n",
               file);
  for (const ScalePlacement &placement : output.placements)
    fmt::print("  {}:{}: {}\n", file, placement.line, placement.text);
  if (explanation.report().scales.empty())
    return;
  fmt::print("\nEvery scale, from its type to the kernels\n");
  for (const ScalePath &path : explanation.report().scales) {
    fmt::print("  {}, of {}{}\n", path.buffer, path.type,
               path.isDynamic ? ", dynamic" : "");
    for (const ScalePath::Use &use : path.uses)
      if (auto launch = explanation.launchOf(use.launch);
          launch && explanation.isShown(explanation.kernels[*launch].when))
        fmt::print("    {}, stage {}: {}\n", explanation.kernelText(*launch),
                   use.stage + 1, use.text);
    if (path.uses.empty())
      fmt::print("    not used\n");
  }
}

/// "119 k sectors, 3.96 MB read, 352 kB written"
static std::string movedText(const select::Moved &moved) {
  std::string text;
  if (moved.sectors() > 0)
    text = fmt::format("{:.0f} sectors of 32 bytes, ", moved.sectors());
  return text + fmt::format("{} read, {} written", bytesText(moved.bytesRead),
                            bytesText(moved.bytesWritten));
}

static std::string passesText(int passes) {
  return passes == 1 ? "1 pass" : fmt::format("{} passes", passes);
}

static void printOption(const Explanation &explanation,
                        const QuantizationPlacement &site,
                        const QuantizationPlacement::Option &option) {
  std::string costs;
  for (size_t s = 0; s < option.costs.size(); ++s) {
    std::string at = explanation.sizesText(site.sizes[s]);
    costs += fmt::format("{}{:.1f} us{}{}", s ? ", " : "", option.costs[s],
                         at.empty() ? "" : " at ", at);
  }
  fmt::print("    {} {:<9} {}\n", option.chosen ? "->" : "  ", option.placement,
             option.possible ? "beyond a static scale: " + costs
                             : "not possible: " + option.reason);
  for (size_t s = 0; s < option.terms.size(); ++s) {
    std::string at = explanation.sizesText(site.predictedFor[s]);
    std::string indent = fmt::format("{:17}", "");
    bool known = s < option.moves.size() && option.moves[s];
    fmt::print("{}{}{}\n", indent, at.empty() ? "" : at + ": ",
               known ? fmt::format("moves {}, saves {} over the value",
                                   bytesText(option.moves[s]->bytes),
                                   passesText(option.moves[s]->passesSaved))
                     : "what it moves is not predicted");
    for (const auto &term : option.terms[s])
      fmt::print("{}  {:<8} {:>8}  {}\n", indent, term.kind,
                 timeText(term.microseconds), term.text);
  }
}

static void printQuantizations(const Explanation &explanation) {
  const CompileOutput &output = explanation.output();
  if (output.quantizations.empty())
    return;
  fmt::print("\nWhere dynamic quantizations are computed\n");
  for (const QuantizationPlacement &site : output.quantizations) {
    if (!explanation.isShown(site.when))
      continue;
    std::string range = explanation.rangeText(site.when);
    fmt::print("  {}:{}: {}{}\n", explanation.options.file, site.line,
               site.value, range.empty() ? "" : ", where " + range);
    for (const auto &option : site.options)
      printOption(explanation, site, option);
    for (size_t s = 0; s < site.staticBytes.size(); ++s) {
      std::string at = explanation.sizesText(site.predictedFor[s]);
      fmt::print("       static    would move {}{}\n",
                 bytesText(site.staticBytes[s]), at.empty() ? "" : " at " + at);
    }
    for (const std::string &sentence : whyChosen(explanation, site))
      fmt::print("    why: {}\n", sentence);
  }
}

static void printPrediction(const Explanation &explanation,
                            const Prediction &prediction, size_t launch) {
  const select::KernelTraffic *traffic =
      explanation.trafficOf(prediction, launch);
  std::string at = explanation.sizesText(prediction.sizes);
  if (!traffic)
    return;
  const sim::Counters *counted =
      explanation.countedOf(launch, prediction.sizes);
  fmt::print("     moves{}: {}{}\n", at.empty() ? "" : " at " + at,
             movedText(traffic->moved()),
             counted
                 ? fmt::format(" (counted: {} sectors)", counted->globalSectors)
                 : "");
  const select::Peaks &peaks = explanation.report().peaks;
  select::Roofline roof = select::rooflineOf(*traffic, peaks);
  fmt::print("     bound by {}: {} at least take {}, {} operations {}; {:.3g} "
             "operations per byte; {:.0f} % of the run\n",
             roof.boundByMemory() ? "memory" : "arithmetic",
             bytesText(roof.bytes), timeText(roof.memoryTime),
             countText(roof.operations), timeText(roof.arithmeticTime),
             roof.intensity(), 100 * explanation.shareOf(prediction, launch));
}

/// The kernels of a phase that are launched for these sizes alone.
static void printKernels(const Explanation &explanation, LaunchPhase phase,
                         const std::vector<RangeDesc> &when,
                         const std::string &title) {
  bool any = false;
  const auto &predictions = explanation.report().predictions;
  for (size_t i = 0; i < explanation.kernels.size(); ++i) {
    const ExplainedKernel &kernel = explanation.kernels[i];
    if (kernel.phase != phase || kernel.when != when)
      continue;
    if (!any)
      fmt::print("\n{}\n", title);
    any = true;
    const KernelDesc &desc = *kernel.desc;
    fmt::print("  {}. {} [{}]\n     why: {}\n", kernel.number, desc.name,
               name(desc.numericsClass), desc.reason);
    if (!desc.schedule.empty())
      fmt::print("     how: {}\n", desc.schedule);
    if (desc.registers)
      fmt::print("     {} registers, {} B static shared memory, {} B spilled\n",
                 desc.registers, desc.staticSharedBytes, desc.spillBytes);
    fmt::print("     on:  {}\n", fmt::join(kernel.buffers, ", "));
    if (const select::KernelTraffic *traffic = explanation.partsOf(i))
      for (const select::KernelPart &part : traffic->parts)
        fmt::print("     {}: {}\n", part.klass, part.what);
    for (const Prediction &prediction : predictions)
      if (prediction.unknown.empty())
        printPrediction(explanation, prediction, i);
    for (const std::string &reason : explanation.unknownOf(i))
      fmt::print("     what it moves is not predicted: {}\n", reason);
  }
}

static void printPeaks(const Explanation &explanation) {
  const LayerReport &report = explanation.report();
  if (report.predictions.empty())
    return;
  const select::Peaks &peaks = report.peaks;
  fmt::print(
      "\nPredictions are for {}: {}/s from memory; operations, {}/s on 8 "
      "bits, {}/s on 16, {}/s beside products\n",
      peaks.machine, bytesText(peaks.bytes * 1e6),
      countText(peaks.operations8 * 1e6), countText(peaks.operations16 * 1e6),
      countText(peaks.scalar * 1e6));
  for (const Prediction &prediction : report.predictions)
    if (!prediction.unknown.empty())
      fmt::print("nothing is predicted for {}: {}\n",
                 explanation.sizesText(prediction.sizes), prediction.unknown);
}

static void printCounted(const Counted &counted, const std::string &target) {
  fmt::print("\nCounted by {} in one run{}{}\n", target,
             counted.sizes.empty() ? "" : " with ",
             fmt::join(counted.sizes, ", "));
  for (size_t i = 0; i < counted.launches.size(); ++i) {
    const sim::LaunchRecord &launch = counted.launches[i];
    fmt::print("  {}. {}, grid {}, block {}\n", i + 1, launch.kernel,
               fmt::join(launch.grid, "x"), fmt::join(launch.block, "x"));
    fmt::print("{}", describe(launch.counters, true, "     "));
  }
}

void quern::tool::printText(const Explanation &explanation) {
  fmt::print("{} for {}: {}\n", explanation.output().module.layer,
             explanation.variant.target, explanation.counts.print());
  printScales(explanation);
  printQuantizations(explanation);
  printKernels(explanation, LaunchPhase::Prepare, {},
               "Once, when weights are bound");
  for (const std::vector<RangeDesc> &when : explanation.ranges()) {
    std::string title = when.empty()
                            ? "In every run"
                            : "In runs with " + explanation.rangeText(when);
    if (explanation.isShown(when))
      printKernels(explanation, LaunchPhase::Run, when, title);
    else
      fmt::print("\n{}: other kernels; --set one of these sizes to see them\n",
                 title);
  }
  if (!explanation.output().unusedSchedules.empty())
    fmt::print("\nOf the record of {}, not used\n  {}\n",
               explanation.options.tuned,
               fmt::join(explanation.output().unusedSchedules, "\n  "));
  printPeaks(explanation);
  fmt::print("\nBuffers\n");
  for (const ExplainedBuffer &buffer : explanation.buffers) {
    if (!explanation.isShown(buffer.when))
      continue;
    std::string range = explanation.rangeText(buffer.when);
    fmt::print("  {:<10} {:<24} {}{}{}\n", buffer.role, buffer.name,
               buffer.type,
               buffer.bytes ? fmt::format(", {} bytes", *buffer.bytes) : "",
               range.empty() ? "" : ", where " + range);
  }
  if (explanation.counted)
    printCounted(*explanation.counted, explanation.options.target);
}
