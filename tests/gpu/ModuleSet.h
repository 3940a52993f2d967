//===- ModuleSet.h - Compiled layers and their results ----------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// A folder with compiled layers and a manifest, made where the compiler is
// (Prepare.cpp) and run where it is not (RunModules.cpp):
//
//   manifest.json             what is below, by module
//   modules/NAME.ARCH.qnm     a layer for one architecture
//   expected/NAME.N.bin       what run N must give: its outputs, one after the
//                             other, as they lie in memory
//
// Operands are drawn from a seed on either side (`drawOperand`) and not stored:
// the weights of a real layer are larger than everything else together.
//
// Outputs of `exact` and `ordered` layers must have the same bits, all NaNs
// counting as equal; of these a hash is enough, and large ones are not stored.
// `bounded` ones must lie within what the reference allowed, row by row.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_TESTS_GPU_MODULESET_H
#define QUERN_TESTS_GPU_MODULESET_H

#include "quern/tensor.h"

#include <string>
#include <vector>

namespace quern::gputest {

struct ExpectedOutput {
  std::string name;
  std::string numericsClass; ///< "exact", "ordered", "bounded".
  uint64_t hash = 0;         ///< Of the bits, with NaNs made one.
  uint64_t bytes = 0;        ///< In the file; 0 where it is left out.
  std::vector<double> rows;  ///< Bounded floats: allowed, by row.
  double codeShare = 0;
  double extraRelative = 0;
};

struct ModuleRun {
  std::vector<int64_t> symbols;
  uint64_t seed = 1;
  bool corners = false; ///< NaN, infinities, subnormals among the inputs.
  std::string file;     ///< Under the set's folder; empty: hashes alone.
  std::vector<ExpectedOutput> outputs;
};

struct ModuleCase {
  std::string name;
  std::vector<std::string> archs;
  std::vector<ModuleRun> runs;
};

/// A layer to be timed.
struct TimedCase {
  std::string name;
  std::vector<int64_t> symbols;
  double operations = 0; ///< Multiplications and additions of its products.
  double bytes = 0;      ///< Operands and results, once each.
  std::string peer;      ///< What it stands beside: "i8 128x4096x4096".
};

struct ModuleSet {
  std::string producer;
  std::vector<ModuleCase> modules;
  std::vector<TimedCase> timed;
};

Result<ModuleSet> readSet(const std::string &folder);
Result<void> writeSet(const std::string &folder, const ModuleSet &set);

std::string modulePath(const std::string &folder, const std::string &name,
                       const std::string &arch);

/// Random elements of an operand ("w.codes", "w.scales", "x"): codes over their
/// whole range, small positive scales, indices of a table of some hundred rows,
/// activations about N(0, 1) with a few columns of outliers.
Result<Tensor> drawOperand(const std::string &name, DType dtype,
                           const Shape &shape, uint64_t seed, bool corners);

/// FNV-1a over the elements, every NaN as the same one.
uint64_t hashOf(const TensorView &tensor);

struct Verdict {
  bool passed = false;
  std::string text; ///< What was wrong, or how near to the bound it came.
};
/// Compares an output by its class; `expected` is empty where only the hash is
/// known.
Verdict judge(const ExpectedOutput &bound, std::span<const std::byte> expected,
              const Tensor &actual);

} // namespace quern::gputest

#endif // QUERN_TESTS_GPU_MODULESET_H
