//===- ContextState.h - The memory of one run in flight ---------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
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
  DeviceMemory arena;                          ///< All temporaries.
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
  Result<void> planTemporaries();
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
