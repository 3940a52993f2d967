//===- Verify.h - A layer against the reference, everywhere -----*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Runs a layer's cases (Cases.h) in all its settings (Settings.h) and compares
// what came out with the reference, by the classes of the layer's operations
// (compiler/reference/Compare.h). The reference computes each case once.
//
// A run fails where an output is further from the reference than its class
// allows, where bytes beside an output were written, and where the runtime or
// the simulator's checks end it with an error. All cases are run whatever
// failed; the first failure is kept in full.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_COMPILER_VERIFY_VERIFY_H
#define QUERN_COMPILER_VERIFY_VERIFY_H

#include "compiler/verify/BatchInvariance.h"
#include "compiler/verify/Cases.h"
#include "compiler/verify/Settings.h"

#include <map>
#include <optional>

namespace quern::verify {

struct VerifyOptions : SubjectOptions {
  unsigned cases = 20;
  uint64_t seed = 0;
  std::optional<unsigned> onlyCase;
  bool batchInvariant = false;
  unsigned referenceThreads = 0; ///< 0 for all.

  /// Refuses sizes that the machine has no memory for.
  std::function<Result<void>(const Layer &, const Symbols &)> admit;
  /// Called with "running case", 3, 20.
  std::function<void(const std::string &step, size_t number, size_t of)>
      showStep;
  /// May change what a run wrote; for tests that plant faults.
  std::function<void(const Subject &, const Symbols &,
                     const std::vector<TensorView> &outputs)>
      afterRun;
};

/// What was run in one setting.
struct VerifyRow {
  std::string target, code, fuse, places;
  bool isChosen = false;
  unsigned threads = 1;
  bool onCpu = true;
  std::string placement; ///< As `--placement` takes it.
  unsigned cases = 0, failed = 0;
  int64_t elements = 0, codesOff = 0;
  double error = 0, share = 0;
};

struct VerifyFailure {
  size_t row = 0;
  Case where;
  std::string what; ///< One or more lines.
};

struct VerifyReport {
  std::string layer;
  std::vector<std::string> symbols;
  NumericsClass numericsClass = NumericsClass::Exact;
  std::vector<VerifyRow> rows;
  /// Targets and placements left out, sizes beyond the budget, cases that the
  /// reference or the memory refuses.
  std::vector<std::string> notes;
  unsigned cases = 0; ///< That were run, in all settings.
  bool isStopped = false;
  std::map<std::string, unsigned> corners; ///< How many cases had each.
  std::vector<Symbols> sizes;              ///< Of each case.
  std::optional<VerifyFailure> firstFailure;
  std::optional<BatchReport> batch;

  bool passed() const { return !firstFailure && (!batch || batch->passed()); }
};

Result<VerifyReport> verifyLayer(const VerifyOptions &options);

} // namespace quern::verify

#endif // QUERN_COMPILER_VERIFY_VERIFY_H
