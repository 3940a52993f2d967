//===- Compiled.h - A compiled layer with operands --------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Errors end the program: a benchmark has nobody to report them to.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_BENCHMARKS_DYNAMIC_COMPILED_H
#define QUERN_BENCHMARKS_DYNAMIC_COMPILED_H

#include "compiler/pipelines/Compiler.h"
#include "runtime/include/quern/quern.h"

namespace quern::bench {

class Compiled {
public:
  /// `setting` is the placement. The operands are drawn, the same each time.
  Compiled(const std::string &text, const std::string &placement,
           const std::string &target, int64_t m);

  void run();
  /// Mean microseconds of `times` runs.
  double sample(unsigned times);

  unsigned kernels() const { return runKernels; }
  /// What the launches of one run read and write, each buffer once per launch.
  double bytes() const { return runBytes; }
  /// "hq grid"
  const std::string &placements() const { return chosen; }

private:
  void bind(int64_t m);

  std::optional<Layer> layer;
  std::optional<Weights> weights;
  std::optional<Context> context;
  std::vector<std::vector<std::byte>> storage;
  std::vector<TensorView> inputs, outputs;
  unsigned runKernels = 0;
  double runBytes = 0;
  std::string chosen;
};

} // namespace quern::bench

#endif // QUERN_BENCHMARKS_DYNAMIC_COMPILED_H
