//===- Explanation.h - All that is said of a layer --------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// `quern explain` gathers first and writes then: as words, as JSON, as a page.
// The three say the same; docs/explain.md tells what it means.
//
// Sizes are those of `--set`; for symbols that it leaves open, a spread over
// their ranges, and small ones where the simulator is to count.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_TOOLS_QUERN_EXPLANATION_H
#define QUERN_TOOLS_QUERN_EXPLANATION_H

#include "compiler/tools/quern/Request.h"
#include "runtime/device/sim/SimDevice.h"

#include <nlohmann/json_fwd.hpp>

#include <optional>

namespace quern::tool {

struct ExplainedKernel {
  LaunchPhase phase;
  const KernelDesc *desc;
  std::vector<std::string> buffers;
  unsigned number = 0; ///< From 1, within its phase.
  std::vector<RangeDesc> when;
  /// The launch of the program that it is; none for what a back end adds.
  std::optional<size_t> ofProgram;

  bool prepares() const { return phase == LaunchPhase::Prepare; }
};

struct ExplainedBuffer {
  const char *role;
  std::string name, type;
  std::optional<int64_t> bytes; ///< Where every symbol is known.
  /// The sizes that it is used for, where it is for some alone.
  std::vector<RangeDesc> when;
};

/// What the simulator counted, and for which sizes.
struct Counted {
  std::vector<int64_t> values;
  std::vector<std::string> sizes; ///< "M = 20"
  std::vector<sim::LaunchRecord> launches;
};

/// Points into the compiled file and the options.
struct Explanation {
  Explanation(const CompiledFile &file, const VariantDesc &variant,
              const ExplainOptions &options)
      : file(file), variant(variant), options(options), counts(variant) {}

  const CompiledFile &file;
  const VariantDesc &variant;
  const ExplainOptions &options;
  KernelCounts counts;
  std::vector<std::optional<int64_t>> given; ///< Sizes, by `--set`.
  std::vector<ExplainedKernel> kernels;      ///< One for each launch.
  std::vector<ExplainedBuffer> buffers;
  std::optional<Counted> counted;

  const CompileOutput &output() const { return file.compiled; }
  const LayerReport &report() const { return file.compiled.report; }
  /// "M = 16"; empty for a layer without symbols.
  std::string sizesText(const std::vector<int64_t> &sizes) const;
  /// "17 <= M <= 64"; empty where it is all sizes.
  std::string rangeText(const std::vector<RangeDesc> &when) const;
  /// Whether some of the sizes that predictions were asked for lie there:
  /// words and pages tell of nothing else.
  bool isShown(const std::vector<RangeDesc> &when) const;
  /// The ranges that launches of runs are for, each once and in order.
  std::vector<std::vector<RangeDesc>> ranges() const;
  /// What the simulator counted of a launch at these sizes, or null.
  const sim::Counters *countedOf(size_t launch,
                                 const std::vector<int64_t> &sizes) const;
  /// What is predicted of a launch; null where nothing is.
  const select::KernelTraffic *trafficOf(const Prediction &prediction,
                                         size_t launch) const;
  /// Why nothing is predicted of a launch, each reason once and with the sizes
  /// that it is for where it is not for all; empty where all is predicted.
  std::vector<std::string> unknownOf(size_t launch) const;
  /// A launch's part of the time that all of a run's are bound to take.
  double shareOf(const Prediction &prediction, size_t launch) const;
  /// What a launch computes; null for those of a back end's own.
  const select::KernelTraffic *partsOf(size_t launch) const;
  /// The plan's number of a launch of the program.
  std::optional<size_t> launchOf(uint32_t ofProgram) const;
  /// "kernel 2", or "preparing kernel 1".
  std::string kernelText(size_t launch) const;
  /// Why scales are where they are: the placements of one operand.
  std::vector<const ScalePlacement *>
  placementsOf(const std::string &operand) const;
};

/// What is read off the plan; values are those of `--set`.
Explanation explainPlan(const CompiledFile &file, const VariantDesc &variant,
                        const ExplainOptions &options,
                        const std::vector<std::optional<int64_t>> &given);

/// Runs the layer once on drawn operands.
Result<Counted> count(const ExplainOptions &options, const CompiledFile &file,
                      const std::vector<std::optional<int64_t>> &given);

/// Why the chosen placement of a quantization is the chosen one, a sentence
/// for each of the predicted sizes.
std::vector<std::string> whyChosen(const Explanation &explanation,
                                   const QuantizationPlacement &site);

void printText(const Explanation &explanation);
nlohmann::ordered_json toJson(const Explanation &explanation);
/// A page of HTML that needs nothing else.
std::string toHtml(const Explanation &explanation);

/// "352 kB"; decimal units, three digits.
std::string bytesText(double bytes);
/// "0.35 us"
std::string timeText(double microseconds);
/// The same for numbers without a unit: "118 k".
std::string countText(double number);

} // namespace quern::tool

#endif // QUERN_TOOLS_QUERN_EXPLANATION_H
