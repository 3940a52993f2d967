//===- Layer.cpp - The public handles -------------------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "quern/quern.h"

#include "runtime/core/AllocationGuard.h"
#include "runtime/jit/ContextState.h"
#include "runtime/jit/Drivers.h"

#include <fmt/format.h>

#include <algorithm>

using namespace quern;
using namespace quern::detail;

Layer::Layer(std::shared_ptr<const LayerState> state)
    : state(std::move(state)) {}

const std::string &Layer::name() const { return state->name; }
const std::string &Layer::target() const { return state->variant.target; }
const std::vector<Symbol> &Layer::symbols() const { return state->symbols; }
const std::vector<Operand> &Layer::operands() const { return state->operands; }

Result<Weights> Layer::bindWeights(TensorList views,
                                   WeightMemory memory) const {
  return guardAllocations([&]() -> Result<Weights> {
    auto bound = detail::bindWeights(state, views, memory);
    if (!bound)
      return explainFailure(state->target, bound.error());
    Weights weights;
    weights.state = std::move(*bound);
    return weights;
  });
}

Result<Context> Layer::makeContext(const Weights &weights,
                                   std::span<const SymbolRange> ranges) const {
  return guardAllocations([&]() -> Result<Context> {
    auto made = ContextState::make(state, weights.state, ranges);
    if (!made)
      return made.error();
    return Context(std::move(*made));
  });
}

static Result<Shape> evaluateShape(const BufferDesc &buffer,
                                   std::span<const int64_t> symbols) {
  std::vector<int64_t> extents;
  for (const SymExpr &dim : buffer.shape) {
    Result<int64_t> extent = dim.evaluate(symbols);
    if (!extent)
      return extent.error();
    extents.push_back(*extent);
  }
  return Shape(extents);
}

Result<Shape> Layer::shapeOf(std::string_view operand,
                             std::span<const SymbolRange> values) const {
  return guardAllocations([&]() -> Result<Shape> {
    SymbolValues symbols(state->symbolDescs.size());
    for (const SymbolRange &value : values) {
      size_t i = 0;
      while (i < state->symbolDescs.size() &&
             state->symbolDescs[i].name != value.name)
        ++i;
      if (i == state->symbolDescs.size() || value.min != value.max)
        return fail(
            Errc::InvalidArgument,
            fmt::format("'{}' is not a symbol of layer '{}', or was not "
                        "given one value",
                        value.name, state->name));
      symbols.value[i] = value.min;
      symbols.known[i] = 1;
    }
    for (uint32_t b = 0; b < state->variant.buffers.size(); ++b) {
      if (state->bufferNames[b] != operand)
        continue;
      for (const SymExpr &dim : state->buffer(b).shape)
        for (const SymExpr::Node &node : dim.nodes())
          if (node.op == SymExpr::Op::Symbol && !symbols.known[node.value])
            return fail(Errc::InvalidArgument,
                        fmt::format("the shape of '{}' needs a value for {}",
                                    operand,
                                    state->symbolDescs[node.value].name));
      return evaluateShape(state->buffer(b), symbols.value);
    }
    return fail(Errc::InvalidArgument, fmt::format("layer '{}' has no operand "
                                                   "'{}'",
                                                   state->name, operand));
  });
}

Result<std::vector<Tensor>> Layer::call(TensorList views) const {
  return guardAllocations([&]() -> Result<std::vector<Tensor>> {
    const LayerState &l = *state;
    // Inputs and weights in declared order.
    std::vector<uint32_t> buffers;
    std::ranges::merge(l.inputs, l.weights, std::back_inserter(buffers));
    std::vector<const TensorView *> slots(buffers.size());
    if (Result<void> ok = matchViews(l, views, buffers, slots); !ok)
      return ok.error();
    std::vector<TensorView> inputs, weights;
    for (size_t i = 0; i < buffers.size(); ++i) {
      TensorView view = *slots[i];
      view.name = {}; // From here on by position.
      bool isInput = l.buffer(buffers[i]).role == BufferRole::Input;
      (isInput ? inputs : weights).push_back(view);
    }
    SymbolValues symbols(l.symbolDescs.size());
    if (Result<void> ok = solveSymbols(l, buffers, slots, symbols); !ok)
      return ok.error();
    if (Result<void> ok = checkSymbols(l, symbols, /*all=*/true); !ok)
      return ok.error();
    if (Result<void> ok = checkShapes(l, buffers, slots, symbols); !ok)
      return ok.error();

    Result<Weights> bound = bindWeights(weights, WeightMemory::Borrow);
    if (!bound)
      return bound.error();
    std::vector<SymbolRange> ranges;
    for (size_t i = 0; i < l.symbolDescs.size(); ++i)
      ranges.push_back(
          {l.symbolDescs[i].name, symbols.value[i], symbols.value[i]});
    Result<Context> context = makeContext(*bound, ranges);
    if (!context)
      return context.error();

    std::vector<Tensor> outputs;
    std::vector<TensorView> outputViews;
    for (uint32_t buffer : l.outputs) {
      Result<Shape> shape = evaluateShape(l.buffer(buffer), symbols.value);
      if (!shape)
        return shape.error();
      Result<Tensor> tensor =
          Tensor::zeros(l.buffer(buffer).dtype, *shape, l.bufferNames[buffer]);
      if (!tensor)
        return tensor.error();
      outputs.push_back(std::move(*tensor));
    }
    for (const Tensor &tensor : outputs)
      outputViews.emplace_back(tensor);
    if (Result<void> ok = context->run(inputs, outputViews); !ok)
      return ok.error();
    return outputs;
  });
}

Context::Context(std::unique_ptr<ContextState> state)
    : state(std::move(state)) {}
Context::Context(Context &&) noexcept = default;
Context &Context::operator=(Context &&) noexcept = default;
Context::~Context() = default;

Result<void> Context::run(TensorList inputs, TensorList outputs, void *stream) {
  return guardAllocations([&]() -> Result<void> {
    Result<void> done = state->run(inputs, outputs, stream);
    if (!done)
      return explainFailure(state->layer->target, done.error());
    return done;
  });
}

Result<void> Context::synchronize() {
  return guardAllocations([&]() -> Result<void> {
    return state->layer->program->synchronize(state->stream);
  });
}

Result<void> Context::setWeights(const Weights &weights) {
  return guardAllocations(
      [&]() -> Result<void> { return state->useWeights(weights.state); });
}

uint64_t Context::arenaBytes() const {
  uint64_t bytes = state->arena.size();
  for (const DeviceMemory &temporary : state->apart)
    bytes += temporary.size();
  return bytes;
}
uint64_t Context::scratchBytes() const {
  return state->launches->scratchBytes();
}
