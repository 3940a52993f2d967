//===- Bench.h - How fast a layer is, beside its machine --------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// `quern bench` measures first and writes then: as words, as JSON, as a page
// with a plot. docs/bench.md tells how to read it.
//
// A *case* is one set of sizes. Each of its samples is, one after the other:
// the peak of every dot instruction its products use, the rate of reading from
// where its data lies, a run that is not counted (it brings caches back to what
// they are between runs), and as many runs as take 10 ms. Ratios are taken
// within a sample, and what is said is their median. A sample in which a thread
// of the process was interrupted, or whose peak does not count, is left out
// where five others or more remain.
//
// What kernels compute and move is what `quern explain` predicts of them:
// operations of products, and every buffer once. A launch is *bound* by the
// longer of two times: that of its products at the peak, and that of its bytes
// at the rate of reading them. Other arithmetic is not counted: the part of the
// time that neither bound explains is what is left to gain, or its cost.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_TOOLS_QUERN_BENCH_H
#define QUERN_TOOLS_QUERN_BENCH_H

#include "compiler/tools/quern/Explanation.h"
#include "runtime/measure/Machine.h"
#include "runtime/measure/Spread.h"

namespace quern::tool {

/// A launch, or all of a run's together.
struct BenchedWork {
  double operations = 0; ///< Of products, multiplications and additions.
  double bytes = 0;      ///< Every buffer once.
  double weightBytes =
      0;               ///< Of these, the layer's weights as it declares them.
  bool isKnown = true; ///< Whether operations and bytes are.
  measure::Spread seconds;
  /// Medians over the samples; 0 where there is nothing to compare with.
  double shareOfPeak = 0;  ///< Time of the products at the peak.
  double shareOfReads = 0; ///< Time of the bytes at the rate of reading.
  double shareOfBound = 0; ///< The longer of the two.
  bool boundByReads = false;

  double rate() const { return operations / seconds.median; }
  double weightRate() const { return weightBytes / seconds.median; }
};

struct BenchedLaunch : BenchedWork {
  size_t number = 0; ///< Of the plan's launches.
  std::string kernel;
  std::optional<measure::Dot> dot;
};

struct BenchedCase {
  std::vector<int64_t> sizes; ///< A value per symbol.
  BenchedWork run;
  std::vector<BenchedLaunch> launches; ///< Those of a run with these sizes.
  /// Where the bytes of a run lie, and how fast they are read; the level is
  /// nothing where that is not measured.
  std::optional<measure::Level> level;
  measure::Spread readRate;
  unsigned runsPerSample = 0;
  unsigned samples = 0, counted = 0, interrupted = 0, peakless = 0;
  unsigned copies = 1; ///< Sets of weights that took turns.
};

struct BenchedPeak {
  measure::Dot dot;
  measure::Peak best;         ///< Over all samples of all cases.
  measure::Spread operations; ///< Per second, of all of them.
  std::vector<double> all;    ///< While measuring.
};

struct BenchReport {
  std::string layer;
  std::string processor;
  std::string target; ///< Of the code: "cpu:avx512-vnni".
  unsigned threads = 0;
  double compileMs = 0;
  std::vector<BenchedPeak> peaks;
  std::vector<measure::ReadRate> levels; ///< Those that were measured.
  std::vector<BenchedCase> cases;
  /// The symbol whose values `cases` differ in, if there are several.
  std::optional<size_t> symbol;
  std::vector<std::string> symbolNames;

  std::string sizesText(const BenchedCase &one) const;
};

/// One set of `--set` options for each case: at most one symbol may have
/// several values, as in "M=1,8,32".
struct BenchSizes {
  std::vector<std::vector<std::string>> cases;
  std::string symbol; ///< The one with several values; empty for none.
};
Result<BenchSizes> expandSizes(const std::vector<std::string> &settings);
/// A case's value of every symbol.
Result<std::vector<int64_t>> sizesOf(const std::vector<SymbolDesc> &symbols,
                                     const std::vector<std::string> &settings);

/// One of a case's samples.
struct BenchSample {
  double seconds = 0;           ///< Of a run.
  std::vector<double> launches; ///< Seconds of each launch of the plan.
  std::vector<double> peaks;    ///< Operations per second, of each dot.
  double readRate = 0;          ///< Bytes per second; 0: not measured.
  bool isInterrupted = false;   ///< A thread of the process was.
  bool hasPeaks = true;         ///< All of them count.
};
/// Fills in the case's times and shares. The samples' peaks are in the order of
/// `peaks`.
void conclude(BenchedCase &one, const std::vector<BenchedPeak> &peaks,
              const std::vector<BenchSample> &samples);

/// Compiles, draws operands, and measures.
Result<BenchReport> benchLayer(const BenchOptions &options);

void printText(const BenchReport &report);
nlohmann::ordered_json toJson(const BenchReport &report,
                              const BenchOptions &options);
/// A page with a plot over the symbol that has several values.
std::string toHtml(const BenchReport &report, const BenchOptions &options);

} // namespace quern::tool

#endif // QUERN_TOOLS_QUERN_BENCH_H
