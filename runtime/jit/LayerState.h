//===- LayerState.h - A module's variant bound to a device ------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// What the public handles of quern.h point at. A LayerState is immutable once
// made: contexts and weights refer to it from any thread.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_JIT_LAYERSTATE_H
#define QUERN_JIT_LAYERSTATE_H

#include "quern/quern.h"
#include "runtime/device/Device.h"
#include "runtime/device/cuda/DriverApi.h"
#include "runtime/jit/SymBounds.h"
#include "runtime/module/Module.h"

namespace quern {
inline namespace v0 {
namespace detail {

struct LayerState {
  std::string name;
  Target target; ///< As asked for.
  std::vector<SymbolDesc> symbolDescs;
  VariantDesc variant; ///< Its code is dropped after loading.
  std::shared_ptr<Program> program;

  std::vector<Symbol> symbols;
  std::vector<Operand> operands;
  /// Buffers by role, in declared order.
  std::vector<uint32_t> inputs, weights, outputs, temporaries, packed;
  std::vector<uint32_t> state; ///< Those temporaries that start as zero.
  /// Per buffer: "x", "w.codes".
  std::vector<std::string> bufferNames;
  /// Launches by phase, in order.
  std::vector<uint32_t> prepareLaunches, runLaunches;
  /// Per buffer: the run launches that touch it, by their place among them.
  std::vector<std::vector<uint32_t>> users;

  const BufferDesc &buffer(uint32_t index) const {
    return variant.buffers[index];
  }
  const LaunchDesc &runLaunch(uint32_t place) const {
    return variant.launches[runLaunches[place]];
  }
  std::vector<std::string> symbolNames() const;
};

/// Between the public handle and what it points at; never null.
struct LayerAccess {
  static Layer make(std::shared_ptr<const LayerState> state) {
    return Layer(std::move(state));
  }
  static const LayerState &state(const Layer &layer) { return *layer.state; }
};

/// Chooses the variant for a target, loads its code and sorts its plan.
/// `driver` is for targets other than the CPU, and outlives the layer.
Result<std::shared_ptr<const LayerState>>
bindModule(ModuleDesc module, const Target &target,
           std::shared_ptr<Executor> executor,
           const cuda::DriverTable *driver = nullptr);

/// "input 'x'", "weight 'w.codes'".
std::string describe(const LayerState &layer, uint32_t buffer);

} // namespace detail
} // namespace v0
} // namespace quern

#endif // QUERN_JIT_LAYERSTATE_H
