//===- ContextState.cpp - The memory of one run in flight -----------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/jit/ContextState.h"

#include "runtime/jit/ArenaPlanner.h"
#include "runtime/jit/Drivers.h"
#include "runtime/module/ModuleVerifier.h"

#include <fmt/format.h>

#include <algorithm>

using namespace quern;
using namespace quern::detail;

ContextState::~ContextState() {
  if (stream) {
    // Memory must outlive what still uses it.
    (void)layer->program->synchronize(stream);
    layer->program->destroyStream(stream);
  }
}

/// The ranges to prepare for: the given ones within the declared ones, and
/// exactly the values that the weights give.
static Result<std::vector<Interval>>
resolveRanges(const LayerState &layer, const WeightsState *weights,
              std::span<const SymbolRange> ranges) {
  std::vector<Interval> out;
  for (const SymbolDesc &symbol : layer.symbolDescs)
    out.push_back({symbol.min, symbol.max});
  for (const SymbolRange &range : ranges) {
    size_t i = 0;
    while (i < out.size() && layer.symbolDescs[i].name != range.name)
      ++i;
    if (i == out.size()) {
      std::string names;
      for (const SymbolDesc &symbol : layer.symbolDescs)
        names += (names.empty() ? "" : ", ") + symbol.name;
      return fail(
          Errc::InvalidArgument,
          fmt::format("layer '{}' has no symbol '{}'", layer.name, range.name),
          {"its symbols: " + (names.empty() ? "none" : names)});
    }
    const SymbolDesc &symbol = layer.symbolDescs[i];
    if (range.min > range.max || range.min < symbol.min ||
        range.max > symbol.max)
      return fail(Errc::InvalidArgument,
                  fmt::format("the range {}..{} for {} is not a range within "
                              "{}..{}",
                              range.min, range.max, symbol.name, symbol.min,
                              symbol.max));
    out[i] = {range.min, range.max};
  }
  for (size_t i = 0; weights && i < out.size(); ++i) {
    if (!weights->symbols.known[i])
      continue;
    int64_t value = weights->symbols.value[i];
    if (value < out[i].min || value > out[i].max)
      return fail(Errc::InvalidArgument,
                  fmt::format("the weights give {} = {}, outside the range "
                              "{}..{}",
                              layer.symbolDescs[i].name, value, out[i].min,
                              out[i].max));
    out[i] = {value, value};
  }
  return out;
}

Result<std::unique_ptr<ContextState>>
ContextState::make(std::shared_ptr<const LayerState> layer,
                   std::shared_ptr<const WeightsState> weights,
                   std::span<const SymbolRange> ranges) {
  auto context = std::make_unique<ContextState>();
  context->layer = layer;
  context->address.assign(layer->variant.buffers.size(), nullptr);
  context->inputs.resize(layer->inputs.size());
  context->outputs.resize(layer->outputs.size());
  context->staging.resize(layer->variant.buffers.size());
  context->symbols = SymbolValues(layer->symbolDescs.size());

  Result<std::vector<Interval>> resolved =
      resolveRanges(*layer, weights.get(), ranges);
  if (!resolved)
    return resolved.error();
  context->prepared = std::move(*resolved);
  if (Result<void> ok = context->useWeights(std::move(weights)); !ok)
    return ok.error();
  Result<LaunchSequence> launches =
      LaunchSequence::make(layer, layer->runLaunches, context->prepared);
  if (!launches)
    return launches.error();
  context->launches.emplace(std::move(*launches));
  if (Result<void> ok = context->placeTemporaries(); !ok)
    return ok.error();
  Result<void *> stream = layer->program->makeStream();
  if (!stream)
    return stream.error();
  context->stream = *stream;
  return context;
}

namespace {
/// Ends a context's being busy.
struct Clear {
  std::atomic_flag &flag;
  ~Clear() { flag.clear(std::memory_order_release); }
};
} // namespace

Result<void>
ContextState::useWeights(std::shared_ptr<const WeightsState> other) {
  if (!other && !layer->weights.empty())
    return fail(
        Errc::InvalidArgument,
        fmt::format("layer '{}' has weights, and none are bound", layer->name),
        {"bind them with Layer::bindWeights"});
  if (other && other->layer != layer)
    return fail(Errc::InvalidArgument,
                fmt::format("these weights were bound by another layer ('{}')",
                            other->layer->name));
  if (other)
    for (size_t i = 0; i < prepared.size(); ++i)
      if (other->symbols.known[i] &&
          (other->symbols.value[i] < prepared[i].min ||
           other->symbols.value[i] > prepared[i].max))
        return fail(Errc::InvalidArgument,
                    fmt::format("the weights give {} = {}; the context was "
                                "prepared for {}..{}",
                                layer->symbolDescs[i].name,
                                other->symbols.value[i], prepared[i].min,
                                prepared[i].max));
  if (busy.test_and_set(std::memory_order_acquire))
    return fail(Errc::InvalidArgument,
                fmt::format("a run of layer '{}' is in flight in this context",
                            layer->name),
                {"change weights between runs"});
  Clear clear{busy};
  weights = std::move(other);
  for (uint32_t i = 0; weights && i < address.size(); ++i) {
    BufferRole role = layer->buffer(i).role;
    if (role == BufferRole::Weight || role == BufferRole::Packed)
      address[i] = weights->address[i];
  }
  return {};
}

struct ContextState::Temporaries {
  std::vector<ArenaItem> items; ///< As LayerState::temporaries.
  ArenaPlan plan;
};

Result<ContextState::Temporaries>
ContextState::planFor(std::span<const Interval> held) const {
  Temporaries out;
  for (uint32_t buffer : layer->temporaries) {
    // Never used so far: the first use lies behind the last.
    ArenaItem item{0, std::max(layer->buffer(buffer).alignment, 64u), 1, 0};
    for (uint32_t i : layer->users[buffer]) {
      std::vector<Interval> ranges(held.begin(), held.end());
      if (!narrow(ranges, layer->runLaunch(i).when))
        continue;
      Result<uint64_t> bytes = maxBytes(layer->buffer(buffer), ranges);
      if (!bytes)
        return fail(bytes.error().code,
                    fmt::format("{}: {}", describe(*layer, buffer),
                                bytes.error().message),
                    bytes.error().notes);
      item.bytes = std::max(item.bytes, *bytes);
      if (item.first > item.last)
        item.first = i;
      item.last = i;
      // State is zeroed before the first launch that happens with this one.
      for (uint32_t other = 0;
           layer->buffer(buffer).role == BufferRole::State &&
           other < item.first;
           ++other) {
        std::vector<Interval> both = ranges;
        if (narrow(both, layer->runLaunch(other).when))
          item.first = other;
      }
    }
    out.items.push_back(item);
  }
  out.plan = planArena(out.items);
  return out;
}

/// Longer strips cost nothing but memory, and shorter ones wait for each other
/// more often.
Result<ContextState::Temporaries> ContextState::planStrips() {
  Result<Temporaries> all = planFor(prepared);
  std::optional<uint32_t> symbol = layer->variant.rowSymbol;
  if (!symbol)
    return all;
  constexpr uint64_t perThread = 4 << 20;
  constexpr int64_t unit = VariantDesc::stripUnit, fewest = 2;
  uint64_t threads = layer->program->workers();
  uint64_t most = std::max(threads * perThread, launches->scratchBytes()) -
                  launches->scratchBytes();
  int64_t last = prepared[*symbol].max;
  if ((all && all->plan.bytes <= most) || last <= fewest * unit)
    return all;
  std::vector<Interval> held = prepared;
  auto planOf = [&](int64_t units) {
    Interval &rows = held[*symbol];
    rows.max = std::min(last, units * unit);
    rows.min = std::min(rows.min, rows.max);
    return planFor(held);
  };
  // The most units with which temporaries fit, between these.
  int64_t fits = fewest, above = (last - 1) / unit + 1;
  while (above - fits > 1) {
    int64_t middle = fits + (above - fits) / 2;
    Result<Temporaries> tried = planOf(middle);
    (tried && tried->plan.bytes <= most ? fits : above) = middle;
  }
  stripRows = fits * unit;
  return planOf(fits);
}

Result<void> ContextState::placeTemporaries() {
  Result<Temporaries> temporaries = planStrips();
  if (!temporaries)
    return temporaries.error();
  const std::vector<ArenaItem> &items = temporaries->items;
  const ArenaPlan &plan = temporaries->plan;
  auto refuse = [&](const quern::Diagnostic &why) {
    return fail(why.code,
                fmt::format("the intermediates of layer '{}' need {} bytes: {}",
                            layer->name, plan.bytes, why.message),
                {"prepare the context for smaller ranges"});
  };
  for (size_t i = 0;
       layer->target.kind == Target::Kind::Sim && i < items.size(); ++i) {
    Result<DeviceMemory> memory =
        DeviceMemory::allocate(layer->program, items[i].bytes);
    if (!memory)
      return refuse(memory.error());
    uint32_t buffer = layer->temporaries[i];
    address[buffer] = memory->data();
    nameForReports(layer->target, memory->data(), layer->bufferNames[buffer],
                   /*readOnly=*/false);
    apart.push_back(std::move(*memory));
  }
  if (!apart.empty())
    return {};
  Result<DeviceMemory> memory =
      DeviceMemory::allocate(layer->program, plan.bytes);
  if (!memory)
    return refuse(memory.error());
  arena = std::move(*memory);
  for (size_t i = 0; i < items.size(); ++i)
    address[layer->temporaries[i]] =
        arena.data() ? arena.data() + plan.offsets[i] : nullptr;
  return {};
}

Result<void> ContextState::checkOperands(TensorList in, TensorList out) {
  const LayerState &l = *layer;
  if (Result<void> ok = matchViews(l, in, l.inputs, inputs); !ok)
    return ok;
  if (Result<void> ok = matchViews(l, out, l.outputs, outputs); !ok)
    return ok;
  symbols.reset(weights ? &weights->symbols : nullptr);
  if (Result<void> ok = solveSymbols(l, l.inputs, inputs, symbols); !ok)
    return ok;
  if (Result<void> ok = solveSymbols(l, l.outputs, outputs, symbols); !ok)
    return ok;
  if (Result<void> ok = checkSymbols(l, symbols, /*all=*/true); !ok)
    return ok;
  if (Result<void> ok = checkShapes(l, l.inputs, inputs, symbols); !ok)
    return ok;
  if (Result<void> ok = checkShapes(l, l.outputs, outputs, symbols); !ok)
    return ok;
  for (size_t i = 0; i < prepared.size(); ++i)
    if (symbols.value[i] < prepared[i].min ||
        symbols.value[i] > prepared[i].max)
      return fail(Errc::InvalidArgument,
                  fmt::format("{} = {} is outside {}..{}, for which the "
                              "context was prepared",
                              l.symbolDescs[i].name, symbols.value[i],
                              prepared[i].min, prepared[i].max),
                  {"make a context for the larger range"});
  if (Result<void> ok = checkStorage(l, l.inputs, inputs); !ok)
    return ok;
  if (Result<void> ok = checkStorage(l, l.outputs, outputs); !ok)
    return ok;
  return checkOverlap();
}

static uint64_t bytesOf(const TensorView &view) {
  return static_cast<uint64_t>(*view.shape.bytes(view.dtype));
}

Result<void> ContextState::checkOverlap() const {
  auto overlaps = [](const TensorView &a, uintptr_t begin, uint64_t bytes) {
    auto at = reinterpret_cast<uintptr_t>(a.data);
    return bytes && bytesOf(a) && at < begin + bytes && begin < at + bytesOf(a);
  };
  auto viewsOverlap = [&](const TensorView &a, const TensorView &b) {
    return a.memory == b.memory &&
           overlaps(a, reinterpret_cast<uintptr_t>(b.data), bytesOf(b));
  };
  auto refusal = [&](size_t output, std::string with) {
    return fail(Errc::InvalidArgument,
                fmt::format("{} overlaps {} in memory",
                            describe(*layer, layer->outputs[output]), with),
                {"outputs may overlap nothing else that the run touches"});
  };
  // An operand that is updated may stay where it is.
  auto isUpdate = [&](size_t o, size_t i) {
    return outputs[o]->data == inputs[i]->data &&
           layer->bufferNames[layer->outputs[o]] ==
               layer->bufferNames[layer->inputs[i]];
  };
  for (size_t o = 0; o < outputs.size(); ++o) {
    for (size_t i = 0; i < inputs.size(); ++i)
      if (viewsOverlap(*outputs[o], *inputs[i]) && !isUpdate(o, i))
        return refusal(o, describe(*layer, layer->inputs[i]));
    for (size_t other = 0; other < o; ++other)
      if (viewsOverlap(*outputs[o], *outputs[other]))
        return refusal(o, describe(*layer, layer->outputs[other]));
    Memory home =
        layer->program->usesHostMemory() ? Memory::Host : Memory::Device;
    if (weights && outputs[o]->memory == home)
      for (std::span<const std::byte> b : weights->borrowed)
        if (overlaps(*outputs[o], reinterpret_cast<uintptr_t>(b.data()),
                     b.size()))
          return refusal(o, "a borrowed weight");
  }
  return {};
}

/// The address kernels get for an operand: its own, or that of a device copy.
Result<void *> ContextState::place(uint32_t buffer, const TensorView &view) {
  if (layer->program->usesHostMemory() || view.memory == Memory::Device)
    return view.data;
  DeviceMemory &copy = staging[buffer];
  if (copy.size() < bytesOf(view)) {
    Result<uint64_t> bytes = maxBytes(layer->buffer(buffer), prepared);
    if (!bytes)
      return bytes.error();
    Result<DeviceMemory> memory =
        DeviceMemory::allocate(layer->program, *bytes);
    if (!memory)
      return memory.error();
    copy = std::move(*memory);
    nameForReports(layer->target, copy.data(), layer->bufferNames[buffer],
                   layer->buffer(buffer).role == BufferRole::Input);
  }
  return static_cast<void *>(copy.data());
}

/// Fills in the operands' addresses and copies inputs that lie elsewhere; true
/// when an operand is in host memory of which kernels see a copy.
Result<bool> ContextState::stageInputs(void *queue) {
  bool copied = false;
  for (size_t i = 0; i < inputs.size() + outputs.size(); ++i) {
    bool isInput = i < inputs.size();
    size_t k = isInput ? i : i - inputs.size();
    uint32_t buffer = isInput ? layer->inputs[k] : layer->outputs[k];
    const TensorView &view = isInput ? *inputs[k] : *outputs[k];
    Result<void *> to = place(buffer, view);
    if (!to)
      return to.error();
    address[buffer] = *to;
    if (*to == view.data || bytesOf(view) == 0)
      continue;
    copied = true;
    if (isInput)
      if (Result<void> ok =
              layer->program->copyIn(*to, view.data, bytesOf(view), queue);
          !ok)
        return ok.error();
  }
  return copied;
}

Result<void> ContextState::collectOutputs(void *queue) {
  for (size_t i = 0; i < outputs.size(); ++i) {
    void *from = address[layer->outputs[i]];
    if (from == outputs[i]->data || bytesOf(*outputs[i]) == 0)
      continue;
    if (Result<void> ok = layer->program->copyOut(outputs[i]->data, from,
                                                  bytesOf(*outputs[i]), queue);
        !ok)
      return ok;
  }
  return {};
}

Result<void> ContextState::clearState(void *queue) {
  for (uint32_t buffer : layer->state) {
    if (std::ranges::none_of(layer->users[buffer], [&](uint32_t i) {
          return layer->runLaunch(i).happens(symbols.value);
        }))
      continue;
    const BufferDesc &desc = layer->buffer(buffer);
    uint64_t bytes = byteWidth(desc.dtype);
    for (const SymExpr &extent : desc.shape) {
      Result<int64_t> value = extent.evaluate(symbols.value);
      if (!value)
        return value.error();
      // Within the bounds that the arena was planned for.
      bytes *= static_cast<uint64_t>(*value);
    }
    if (Result<void> ok = layer->program->zero(address[buffer], bytes, queue);
        !ok)
      return ok;
  }
  return {};
}

/// Whether strips of a run have parts of this operand for themselves.
bool ContextState::hasRows(uint32_t buffer) const {
  const std::vector<SymExpr> &shape = layer->buffer(buffer).shape;
  auto rows = shape.empty() ? std::nullopt : asLinear(shape[0]);
  return rows && rows->factor == 1 && rows->symbol == layer->variant.rowSymbol;
}

/// Lets kernels see the operands from this row on, of so many.
void ContextState::moveOperands(int64_t row, int64_t rows) {
  // As many bytes as the rows before take: of a list of packed elements, whose
  // bytes hold two, that is no multiple of what one row takes.
  auto bytesBefore = [&](const TensorView &view) {
    if (isPacked(view.dtype) && view.shape.rank() == 1)
      return uint64_t(row) / 2;
    return bytesOf(view) / uint64_t(rows) * uint64_t(row);
  };
  auto move = [&](uint32_t buffer, const TensorView &view) {
    if (hasRows(buffer))
      address[buffer] = static_cast<std::byte *>(view.data) + bytesBefore(view);
  };
  for (size_t i = 0; i < inputs.size(); ++i)
    move(layer->inputs[i], *inputs[i]);
  for (size_t i = 0; i < outputs.size(); ++i)
    move(layer->outputs[i], *outputs[i]);
}

/// The launches, strip by strip where the rows are too many. Operands are in
/// host memory then: their addresses are those of the views.
Result<void> ContextState::issue(void *queue) {
  if (!stripRows || symbols.value[*layer->variant.rowSymbol] <= stripRows)
    return launches->issue(address, symbols.value, queue);
  int64_t &value = symbols.value[*layer->variant.rowSymbol];
  int64_t rows = value, strips = (rows - 1) / stripRows + 1;
  constexpr int64_t unit = VariantDesc::stripUnit;
  Result<void> done;
  for (int64_t i = 0, row = 0; i < strips && done; ++i) {
    // The unit nearest to an even share, behind which the others fit.
    int64_t end = (rows * (i + 1) / strips + unit / 2) / unit;
    int64_t left = rows - (strips - i - 1) * stripRows;
    end = std::max(end, (left + unit - 1) / unit) * unit;
    end = i + 1 == strips ? rows : end;
    value = end - row;
    moveOperands(row, rows);
    done = launches->issue(address, symbols.value, queue);
    row = end;
  }
  value = rows;
  return done;
}

Result<void> ContextState::run(TensorList in, TensorList out, void *queue) {
  if (busy.test_and_set(std::memory_order_acquire))
    return fail(Errc::InvalidArgument,
                fmt::format("a run of layer '{}' is in flight in this context",
                            layer->name),
                {"make one context for each run in flight"});
  Clear clear{busy};

  if (Result<void> ok = checkOperands(in, out); !ok)
    return ok;
  if (!queue)
    queue = stream;
  Result<bool> copied = stageInputs(queue);
  if (!copied) {
    // Copies of earlier operands may be in flight.
    (void)layer->program->synchronize(queue);
    return copied.error();
  }
  Result<void> done = clearState(queue);
  if (done)
    done = issue(queue);
  if (!*copied)
    return done;
  if (done)
    done = collectOutputs(queue);
  // The caller's memory is its own again when this returns, whatever happened.
  Result<void> waited = layer->program->synchronize(queue);
  return done ? waited : done;
}
