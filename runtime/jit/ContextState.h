//===- ContextState.h - The memory of one run in flight ---------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Temporaries lie in one arena, sized for the largest values that were
// prepared. Where the variant says that rows may be run in strips, the arena
// and the scratch of all threads together keep to 4 MiB for each thread, as far
// as strips of two units allow: a run of more rows is the sequence of launches
// once for each strip, with the operands' addresses moved on. Strips of a run
// are of nearly the same length.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_JIT_CONTEXTSTATE_H
#define QUERN_JIT_CONTEXTSTATE_H

#include "runtime/jit/LaunchSequence.h"
#include "runtime/jit/WeightsState.h"

#include <atomic>

namespace quern {
inline namespace v0 {
namespace detail {

struct ContextState {
  std::shared_ptr<const LayerState> layer;
  std::shared_ptr<const WeightsState> weights; ///< Null: the layer has none.
  std::vector<Interval> prepared;              ///< Per symbol.
  /// Runs of more rows are cut into strips of at most so many, a multiple of
  /// VariantDesc::stripUnit, so that temporaries keep to what threads have for
  /// themselves. Zero: never.
  int64_t stripRows = 0;
  DeviceMemory arena; ///< All temporaries.
  /// On the simulator, each temporary by itself: so it sees what leaves one.
  std::vector<DeviceMemory> apart;
  std::optional<LaunchSequence> launches;
  /// Per buffer of the plan; temporaries and weights stay, inputs and outputs
  /// are filled in by each run.
  std::vector<void *> address;
  /// Views of the current run, in the order of the layer's inputs, outputs.
  std::vector<const TensorView *> inputs, outputs;
  SymbolValues symbols;
  void *stream = nullptr;
  /// Device copies of operands in host memory, one per buffer, made when first
  /// needed and kept.
  std::vector<DeviceMemory> staging;
  std::atomic_flag busy = ATOMIC_FLAG_INIT;

  ~ContextState();

  static Result<std::unique_ptr<ContextState>>
  make(std::shared_ptr<const LayerState> layer,
       std::shared_ptr<const WeightsState> weights,
       std::span<const SymbolRange> ranges);
  Result<void> useWeights(std::shared_ptr<const WeightsState> weights);
  Result<void> run(TensorList inputs, TensorList outputs, void *stream);

private:
  struct Temporaries;
  Result<Temporaries> planFor(std::span<const Interval> ranges) const;
  Result<Temporaries> planStrips();
  Result<void> placeTemporaries();
  bool hasRows(uint32_t buffer) const;
  void moveOperands(int64_t row, int64_t rows);
  Result<void> issue(void *queue);
  Result<void> checkOperands(TensorList inputs, TensorList outputs);
  Result<void> checkOverlap() const;
  Result<void *> place(uint32_t buffer, const TensorView &view);
  Result<bool> stageInputs(void *stream);
  Result<void> clearState(void *stream);
  Result<void> collectOutputs(void *stream);
};

} // namespace detail
} // namespace v0
} // namespace quern

#endif // QUERN_JIT_CONTEXTSTATE_H
