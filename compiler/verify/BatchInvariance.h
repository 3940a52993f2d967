//===- BatchInvariance.h - Does a row depend on its batch? ------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// A symbol is a batch dimension where it is the leading extent of at least one
// input and of every output, and occurs in no other extent and no weight. Then
// each of its indices is a row: a slice of those inputs that gives a slice of
// each output. A layer is batch-invariant where the bits of a row depend on
// nothing but that slice (and the other operands): not on the other rows, how
// many they are, or where among them it stands.
//
// It is tested: some rows of a batch are run again alone (in as small a batch
// as the symbol allows) and in batches of other sizes, at other places, among
// other rows that hold NaNs, infinities and large numbers.
//
// Some layers are not batch-invariant by what they mean: where a dynamic
// quantization shares a scale among rows. These are named from the layer's
// text; and where the reference's rows depend on their batch, that is said too.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_COMPILER_VERIFY_BATCHINVARIANCE_H
#define QUERN_COMPILER_VERIFY_BATCHINVARIANCE_H

#include "compiler/pipelines/Oracle.h"
#include "compiler/verify/Settings.h"
#include "compiler/verify/Sizes.h"

#include <optional>

namespace quern::verify {

struct BatchReport {
  /// The batch dimensions by name.
  std::vector<std::string> symbols;
  /// Why a row depends on its batch by definition; empty where none does.
  std::vector<std::string> byDefinition;
  struct Row {
    size_t subject = 0;
    unsigned rows = 0, differing = 0;
    std::string error; ///< A run that failed.
  };
  std::vector<Row> rows;
  /// The first row that depends on its batch, in full.
  std::string firstFailure;

  bool passed() const;
};

struct BatchOptions {
  uint64_t seed = 0;
  unsigned threads = 0; ///< Of the reference.
  std::function<bool()> isStopped;
  std::function<void(size_t number, size_t of)> show;
  /// May change what a run wrote; for tests that plant faults.
  std::function<void(const Subject &, const Symbols &,
                     const std::vector<TensorView> &outputs)>
      afterRun;
};

/// Symbols that are batch dimensions; Unsupported, with the reason for each
/// symbol, where none is.
Result<std::vector<size_t>> findBatchSymbols(const Layer &layer);

Result<BatchReport> checkBatchInvariance(const std::vector<Subject> &subjects,
                                         const Oracle &oracle,
                                         const Sizes &sizes,
                                         const BatchOptions &options);

} // namespace quern::verify

#endif // QUERN_COMPILER_VERIFY_BATCHINVARIANCE_H
