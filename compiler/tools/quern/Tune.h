//===- Tune.h - Which sizes are better on this machine ----------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// `quern tune` measures the candidates of compiler/lower/cpu/Candidates.h for
// each product of a layer, and writes a record (Schedules.h) that later
// compilations take by `--tuned`. It is a command of its own: what it makes is
// a file to keep, not an opinion on the layer's speed as `quern bench` has one,
// and no compilation measures anything.
//
// Two modules of the layer run in turns: one as the model has it, one with the
// next candidate of each product. Products are timed launch by launch, so that
// one module tries a candidate of every product at once. Of each set of sizes
// there are so many pairs (`--pairs`); within a pair either module runs once
// uncounted and then for some milliseconds, the second one first in every other
// pair. A pair in which a thread of the process lost its CPU is measured again,
// so long as no more than that were lost.
//
// A candidate is *better* where it is faster at one of the sizes (Pairs.h:
// wins four pairs of five) and slower at none. Of each respect the best is
// kept, their changes are made all at once, and that is measured against the
// model once more, in fresh pairs. Where it is not better then, the best single
// candidate is, and where that fails, the model's choice stays. So chance has
// to strike twice.
//
// What is measured decides among the candidates and nothing else: their list
// and the form of the record follow from the layer, the target and the sizes.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_TOOLS_QUERN_TUNE_H
#define QUERN_TOOLS_QUERN_TUNE_H

#include "compiler/lower/cpu/Candidates.h"
#include "compiler/lower/cpu/Schedules.h"
#include "compiler/tools/quern/Commands.h"
#include "runtime/measure/Pairs.h"

namespace quern::tool {

/// One choice against the model's.
struct Trial {
  std::string what; ///< "rows=6 block-rows=126"
  cpugen::Blocking blocking;
  std::string refused; ///< Why the product cannot be cut so after all.
  std::vector<measure::Pairs> sizes; ///< Of each set of them.
  bool confirms = false; ///< Measured again, and not the first time.

  bool isBetter() const;
  /// How many times as fast, over all sizes (the geometric mean).
  double gain() const;
};

struct TunedProduct {
  cpugen::ProductKey product;
  std::vector<std::string> kernels; ///< That compute it.
  cpugen::Blocking model, chosen;
  std::vector<int64_t> rows; ///< That were measured, ascending.
  std::vector<cpugen::Candidate> candidates;
  std::vector<Trial> trials; ///< In the order they were measured.
  /// The trial by which `chosen` is not the model's.
  std::optional<size_t> winner;

  /// A record's entry that has it cut so.
  cpugen::ScheduleEntry entryOf(const cpugen::Blocking &blocking) const;
};

struct TuneReport {
  std::string layer, processor;
  std::string target; ///< Of the code: "cpu:avx2".
  cpugen::CpuCaches caches;
  unsigned threads = 0, pairs = 0;
  std::vector<std::string> sizes; ///< "M = 128", one for each set.
  std::vector<TunedProduct> products;

  cpugen::Schedules record(const std::string &file) const;
};

Result<TuneReport> tuneLayer(const TuneOptions &options);

} // namespace quern::tool

#endif // QUERN_TOOLS_QUERN_TUNE_H
