//===- WeightsState.cpp - Weights in the layout the code wants ------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/jit/WeightsState.h"

#include "runtime/jit/Drivers.h"
#include "runtime/jit/LaunchSequence.h"

#include <fmt/format.h>

using namespace quern;
using namespace quern::detail;

namespace {

class Binder {
public:
  Binder(std::shared_ptr<const LayerState> layer, WeightMemory policy)
      : layer(*layer), program(layer->program), policy(policy),
        state(std::make_shared<WeightsState>()) {
    state->layer = std::move(layer);
    state->symbols = SymbolValues(this->layer.symbolDescs.size());
    state->address.assign(this->layer.variant.buffers.size(), nullptr);
  }
  ~Binder() {
    // Copies may still read the caller's memory when one of them failed.
    if (stream) {
      (void)program->synchronize(stream);
      program->destroyStream(stream);
    }
  }

  Result<std::shared_ptr<const WeightsState>> bind(TensorList views) {
    std::vector<const TensorView *> slots(layer.weights.size());
    SymbolValues &symbols = state->symbols;
    if (Result<void> ok = matchViews(layer, views, layer.weights, slots); !ok)
      return ok.error();
    if (Result<void> ok = solveSymbols(layer, layer.weights, slots, symbols);
        !ok)
      return ok.error();
    if (Result<void> ok = checkSymbols(layer, symbols, /*all=*/false); !ok)
      return ok.error();
    if (Result<void> ok = checkShapes(layer, layer.weights, slots, symbols);
        !ok)
      return ok.error();
    if (Result<void> ok = checkStorage(layer, layer.weights, slots); !ok)
      return ok.error();

    Result<void *> made = program->makeStream();
    if (!made)
      return made.error();
    stream = *made;
    for (size_t i = 0; i < slots.size(); ++i)
      if (Result<void> ok = place(layer.weights[i], *slots[i]); !ok)
        return ok.error();
    if (Result<void> ok = pack(); !ok)
      return ok.error();
    return std::shared_ptr<const WeightsState>(std::move(state));
  }

private:
  /// Gives a weight its address: the caller's, or a copy. Copies that only the
  /// packing reads go away with this object.
  Result<void> place(uint32_t buffer, const TensorView &view) {
    bool kept = !layer.users[buffer].empty();
    bool here = (view.memory == Memory::Device) != program->usesHostMemory();
    auto bytes = static_cast<uint64_t>(*view.shape.bytes(view.dtype));
    if (here && (!kept || policy == WeightMemory::Borrow)) {
      state->address[buffer] = view.data;
      if (kept)
        state->borrowed.push_back(
            {static_cast<const std::byte *>(view.data), bytes});
      return {};
    }
    Result<DeviceMemory> copy = DeviceMemory::allocate(program, bytes);
    if (!copy)
      return copy.error();
    state->address[buffer] = copy->data();
    nameForReports(layer.target, copy->data(), layer.bufferNames[buffer],
                   /*readOnly=*/true);
    Result<void> done =
        view.memory == Memory::Device
            ? program->copyWithin(copy->data(), view.data, bytes, stream)
            : program->copyIn(copy->data(), view.data, bytes, stream);
    (kept ? state->memory : transient).push_back(std::move(*copy));
    return done;
  }

  Result<void> pack() {
    // Only symbols the weights give are used here; the others' ranges do not
    // matter.
    std::vector<Interval> exact(layer.symbolDescs.size());
    for (size_t i = 0; i < exact.size(); ++i)
      if (state->symbols.known[i])
        exact[i] = {state->symbols.value[i], state->symbols.value[i]};
      else
        state->symbols.value[i] = 0;
    for (uint32_t buffer : layer.packed) {
      Result<uint64_t> bytes = maxBytes(layer.buffer(buffer), exact);
      if (!bytes)
        return bytes.error();
      Result<DeviceMemory> memory = DeviceMemory::allocate(program, *bytes);
      if (!memory)
        return memory.error();
      state->address[buffer] = memory->data();
      nameForReports(layer.target, memory->data(), layer.bufferNames[buffer],
                     /*readOnly=*/false);
      state->memory.push_back(std::move(*memory));
    }
    Result<LaunchSequence> launches =
        LaunchSequence::make(state->layer, layer.prepareLaunches, exact);
    if (!launches)
      return launches.error();
    Result<void> issued =
        launches->issue(state->address, state->symbols.value, stream);
    // Copies and launches read the caller's memory and the transient copies:
    // wait, even after a failure, before either goes away.
    Result<void> waited = program->synchronize(stream);
    if (!issued)
      return issued;
    for (uint32_t buffer : layer.weights)
      if (layer.users[buffer].empty())
        state->address[buffer] = nullptr;
    return waited;
  }

  const LayerState &layer;
  std::shared_ptr<Program> program;
  WeightMemory policy;
  std::shared_ptr<WeightsState> state;
  std::vector<DeviceMemory> transient;
  void *stream = nullptr;
};

} // namespace

Result<std::shared_ptr<const WeightsState>>
detail::bindWeights(std::shared_ptr<const LayerState> layer, TensorList views,
                    WeightMemory memory) {
  return Binder(std::move(layer), memory).bind(views);
}
