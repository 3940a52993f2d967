//===- LayerRun.h - A layer, its operands and what it computed --*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// The steps of `quern run`, which `quern explain` takes too where the simulator
// is to count: compile or read the layer, gather operands, run, compare with
// the reference, write outputs.
//
// On the simulator a layer runs once for each schedule, and every one must give
// the same bits: Quern's kernels leave nothing to the order of warps.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_TOOLS_QUERN_LAYERRUN_H
#define QUERN_TOOLS_QUERN_LAYERRUN_H

#include "compiler/tools/quern/Operands.h"
#include "compiler/tools/quern/Progress.h"
#include "compiler/tools/quern/Request.h"
#include "runtime/device/sim/SimDevice.h"

namespace quern::tool {

class LayerRun {
public:
  explicit LayerRun(const RunOptions &options) : options(options) {}

  Result<void> execute();
  /// The same for a file that is compiled or read already.
  Result<void> execute(CompiledFile compiled);

  bool passed() const;
  double medianMs() const { return times[times.size() / 2]; }

  const RunOptions &options;
  CompiledFile file;
  std::shared_ptr<Executor> executor;
  std::optional<Layer> layer;
  Operands operands;
  std::vector<Tensor> outputs;
  std::vector<double> times; ///< Of each run, ascending.
  std::vector<OutputCheck> checks;
  /// Simulator only: the launches of the first schedule.
  std::vector<sim::LaunchRecord> records;

private:
  struct OutputFile {
    std::string operand, path;
    std::string place; ///< The path as one name, whatever links lead to it.
  };
  Result<void> planOutputs();
  Result<void> makeOracle();
  Result<void> allocateOutputs(std::span<const SymbolRange> values);
  Result<void> launch(std::span<const SymbolRange> values, Progress &progress);
  Result<void> runSchedules(Context &context,
                            const std::vector<TensorView> &inputs,
                            Progress &progress);
  Result<void> write() const;

  std::optional<Oracle> oracle;
  std::vector<OutputFile> files;
  std::vector<TensorView> outputViews;
};

} // namespace quern::tool

#endif // QUERN_TOOLS_QUERN_LAYERRUN_H
