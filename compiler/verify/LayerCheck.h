//===- LayerCheck.h - A layer on one target, run once -----------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// The steps that `quern verify` and the tests of whole layers share: compile a
// text in a setting, load it, run it into outputs that lie between guards.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_COMPILER_VERIFY_LAYERCHECK_H
#define QUERN_COMPILER_VERIFY_LAYERCHECK_H

#include "compiler/pipelines/Compiler.h"
#include "quern/quern.h"

#include <deque>
#include <string>
#include <string_view>
#include <vector>

namespace quern::verify {

/// How a layer is compiled and run.
struct Setting {
  std::string target = "cpu";
  std::string fuse = "all";
  unsigned threads = 2;
  std::string placement = "auto"; ///< Unused with fuse=none.
  std::string buckets = "auto";
  std::string tuned = {}; ///< The text of a record of schedules, if any.
};

/// The compiled module, or the compiler's refusal. `name` is what messages call
/// the text; `layer` picks one of several.
Result<CompileOutput> compileFor(const Setting &setting, std::string_view text,
                                 const std::string &name,
                                 const std::string &layer = {});

Result<Layer> loadFor(const Setting &setting, const CompileOutput &compiled);

/// Outputs between bytes that a run must leave alone.
class GuardedOutputs {
public:
  void add(DType dtype, const Shape &shape, const std::string &name);
  const std::vector<TensorView> &getViews() const { return views; }

  /// What was written outside of the outputs, by name and distance; empty where
  /// nothing was.
  std::string findDamage() const;

private:
  static constexpr size_t guard = 64;
  static constexpr std::byte untouched{0xa5};

  // A deque's elements stay where they are: the views point at them.
  std::deque<std::vector<std::byte>> memory;
  std::deque<std::string> names;
  std::vector<TensorView> views;
};

/// Binds, prepares and runs a layer once; the operands are inputs and weights
/// in declared order.
Result<void> runInto(const Layer &layer, std::span<const TensorView> operands,
                     std::span<const int64_t> symbols, GuardedOutputs &outputs);

} // namespace quern::verify

#endif // QUERN_COMPILER_VERIFY_LAYERCHECK_H
