//===- WeightsState.h - Weights in the layout the code wants ----*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// One set of weights: what the prepare launches wrote (packed buffers), and
// the weights that run launches read as they are. Immutable once made.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_JIT_WEIGHTSSTATE_H
#define QUERN_JIT_WEIGHTSSTATE_H

#include "runtime/jit/SymbolSolver.h"

namespace quern {
inline namespace v0 {
namespace detail {

struct WeightsState {
  std::shared_ptr<const LayerState> layer;
  SymbolValues symbols; ///< Those that the weights' shapes give.
  /// Per buffer of the plan: its address, or null if runs do not need it.
  std::vector<void *> address;
  /// Borrowed host weights, which outputs must not overlap.
  std::vector<std::span<const std::byte>> borrowed;
  std::vector<DeviceMemory> memory;
};

Result<std::shared_ptr<const WeightsState>>
bindWeights(std::shared_ptr<const LayerState> layer, TensorList views,
            WeightMemory memory);

} // namespace detail
} // namespace v0
} // namespace quern

#endif // QUERN_JIT_WEIGHTSSTATE_H
