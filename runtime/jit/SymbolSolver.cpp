//===- SymbolSolver.cpp - From operands to symbol values ------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/jit/SymbolSolver.h"

#include "runtime/module/ModuleVerifier.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

using namespace quern;
using namespace quern::detail;

static Diagnostic bad(std::string message,
                      std::vector<std::string> notes = {}) {
  return fail(Errc::InvalidArgument, std::move(message), std::move(notes));
}

void SymbolValues::reset(const SymbolValues *start) {
  if (start)
    *this = *start;
  else
    std::fill(known.begin(), known.end(), uint8_t{0});
}

/// "x", or "x.values" for the one part of a plain operand.
static bool isNamed(const LayerState &layer, uint32_t buffer,
                    std::string_view name) {
  const std::string &own = layer.bufferNames[buffer];
  return name == own ||
         (name.size() == own.size() + 7 && name.starts_with(own) &&
          name.ends_with(".values") && own == layer.buffer(buffer).name);
}

static std::string names(const LayerState &layer,
                         std::span<const uint32_t> buffers) {
  std::string out;
  for (uint32_t b : buffers)
    out += (out.empty() ? "" : ", ") + layer.bufferNames[b];
  return out.empty() ? "none" : out;
}

Result<void> detail::matchViews(const LayerState &layer, TensorList views,
                                std::span<const uint32_t> buffers,
                                std::span<const TensorView *> slots) {
  std::fill(slots.begin(), slots.end(), nullptr);
  for (size_t i = 0; i < views.size(); ++i) {
    const TensorView &view = views[i];
    size_t slot = i;
    if (!view.name.empty()) {
      slot = 0;
      while (slot < buffers.size() && !isNamed(layer, buffers[slot], view.name))
        ++slot;
      if (slot == buffers.size())
        return bad(fmt::format("layer '{}' has no operand '{}' here",
                               layer.name, view.name),
                   {"accepted are: " + names(layer, buffers)});
    } else if (slot >= buffers.size()) {
      return bad(fmt::format("layer '{}' takes {} operands here, {} were given",
                             layer.name, buffers.size(), views.size()),
                 {"in this order: " + names(layer, buffers)});
    }
    if (slots[slot])
      return bad(
          fmt::format("{} was given twice", describe(layer, buffers[slot])));
    slots[slot] = &view;
  }
  for (size_t i = 0; i < buffers.size(); ++i)
    if (!slots[i])
      return bad(fmt::format("{} is missing", describe(layer, buffers[i])),
                 {"expected are: " + names(layer, buffers)});
  return {};
}

/// "M = 130 (dimension 0 of input 'x')"
static std::string origin(const LayerState &layer, const SymbolValues &values,
                          size_t symbol) {
  return fmt::format("{} = {} (dimension {} of {})",
                     layer.symbolDescs[symbol].name, values.value[symbol],
                     values.dimension[symbol],
                     describe(layer, values.buffer[symbol]));
}

Result<void> detail::solveSymbols(const LayerState &layer,
                                  std::span<const uint32_t> buffers,
                                  std::span<const TensorView *const> slots,
                                  SymbolValues &values) {
  for (size_t i = 0; i < buffers.size(); ++i) {
    uint32_t index = buffers[i];
    const BufferDesc &buffer = layer.buffer(index);
    const TensorView &view = *slots[i];
    if (view.dtype != buffer.dtype)
      return bad(fmt::format("{} has element type {}, expected {}",
                             describe(layer, index), name(view.dtype),
                             name(buffer.dtype)),
                 isPacked(buffer.dtype)
                     ? std::vector<std::string>{"two of its elements share a "
                                                "byte, the first in the low "
                                                "half; the shape counts "
                                                "elements"}
                     : std::vector<std::string>{});
    if (view.shape.rank() != buffer.shape.size())
      return bad(fmt::format("{} has shape {} of rank {}, expected rank {}",
                             describe(layer, index), view.shape.print(),
                             view.shape.rank(), buffer.shape.size()));
    if (!view.shape.bytes(view.dtype))
      return bad(fmt::format("{} has shape {}, which is negative or too large",
                             describe(layer, index), view.shape.print()));
    for (uint32_t d = 0; d < buffer.shape.size(); ++d) {
      std::optional<LinearDimension> linear = asLinear(buffer.shape[d]);
      if (!linear || values.known[linear->symbol])
        continue; // checkShapes compares it.
      if (view.shape[d] % linear->factor)
        return bad(fmt::format("{} has {} in dimension {}, expected a multiple "
                               "of {} ({})",
                               describe(layer, index), view.shape[d], d,
                               linear->factor,
                               buffer.shape[d].print(layer.symbolNames())));
      values.value[linear->symbol] = view.shape[d] / linear->factor;
      values.known[linear->symbol] = 1;
      values.buffer[linear->symbol] = index;
      values.dimension[linear->symbol] = d;
    }
  }
  return {};
}

Result<void> detail::checkSymbols(const LayerState &layer,
                                  const SymbolValues &values, bool all) {
  for (size_t i = 0; i < layer.symbolDescs.size(); ++i) {
    const SymbolDesc &symbol = layer.symbolDescs[i];
    if (!values.known[i]) {
      if (all)
        return bad(fmt::format("no operand gives a value to {}", symbol.name));
      continue;
    }
    int64_t value = values.value[i];
    if (value < symbol.min || value > symbol.max)
      return bad(fmt::format("{} is outside {}..{}", origin(layer, values, i),
                             symbol.min, symbol.max));
    if (value % symbol.multiple) {
      int64_t below = value / symbol.multiple * symbol.multiple;
      std::string nearest;
      if (below >= symbol.min)
        nearest = fmt::format("{}", below);
      if (symbol.max - below >= symbol.multiple)
        nearest += fmt::format("{}{}", nearest.empty() ? "" : " and ",
                               below + symbol.multiple);
      return bad(fmt::format("{} is not a multiple of {}",
                             origin(layer, values, i), symbol.multiple),
                 nearest.empty() ? std::vector<std::string>{}
                                 : std::vector<std::string>{
                                       "the nearest accepted: " + nearest});
    }
  }
  return {};
}

Result<void> detail::checkShapes(const LayerState &layer,
                                 std::span<const uint32_t> buffers,
                                 std::span<const TensorView *const> slots,
                                 const SymbolValues &values) {
  for (size_t i = 0; i < buffers.size(); ++i) {
    uint32_t index = buffers[i];
    const BufferDesc &buffer = layer.buffer(index);
    for (uint32_t d = 0; d < buffer.shape.size(); ++d) {
      Result<int64_t> expected = buffer.shape[d].evaluate(values.value);
      if (!expected)
        return bad(fmt::format("dimension {} of {}: {}", d,
                               describe(layer, index),
                               expected.error().message));
      // Kernels count coordinates in 32 bits.
      if (*expected > INT32_MAX)
        return bad(fmt::format("{} has {} in dimension {}; extents are at most "
                               "{}",
                               describe(layer, index), *expected, d,
                               INT32_MAX));
      if (*expected == slots[i]->shape[d])
        continue;
      std::string message =
          fmt::format("{} has {} in dimension {}, expected {}",
                      describe(layer, index), slots[i]->shape[d], d, *expected);
      std::vector<std::string> notes;
      if (!buffer.shape[d].isConstant()) {
        notes.push_back(fmt::format(
            "the dimension is {}", buffer.shape[d].print(layer.symbolNames())));
        for (const SymExpr::Node &node : buffer.shape[d].nodes())
          if (node.op == SymExpr::Op::Symbol)
            notes.push_back("here " + origin(layer, values, node.value));
      }
      return bad(std::move(message), std::move(notes));
    }
  }
  return {};
}

/// Whether the strides are those of dense row-major elements. The stride of an
/// extent of 1 does not matter.
static bool isDense(const TensorView &view) {
  if (view.strides.rank() == 0)
    return true;
  if (view.strides.rank() != view.shape.rank())
    return false;
  int64_t expected = 1;
  for (unsigned d = view.shape.rank(); d-- > 0;) {
    if (view.shape[d] != 1 && view.strides[d] != expected)
      return false;
    expected *= view.shape[d];
  }
  return true;
}

Result<void> detail::checkStorage(const LayerState &layer,
                                  std::span<const uint32_t> buffers,
                                  std::span<const TensorView *const> slots) {
  for (size_t i = 0; i < buffers.size(); ++i) {
    const BufferDesc &buffer = layer.buffer(buffers[i]);
    const TensorView &view = *slots[i];
    if (view.shape.elements() == 0)
      continue;
    if (!view.data)
      return bad(fmt::format("{} has no address", describe(layer, buffers[i])));
    if (!isDense(view))
      return bad(fmt::format("{} has strides {} for shape {}; strided operands "
                             "are not supported",
                             describe(layer, buffers[i]), view.strides.print(),
                             view.shape.print()),
                 {"copy it to dense row-major elements"});
    bool device = view.memory == Memory::Device;
    if (device && layer.program->usesHostMemory())
      return bad(fmt::format("{} is a device address, but the layer runs on {}",
                             describe(layer, buffers[i]),
                             layer.variant.target));
    uint64_t alignment = device ? buffer.alignment : byteWidth(buffer.dtype);
    if (reinterpret_cast<uintptr_t>(view.data) % alignment)
      return bad(fmt::format("the address of {} is not a multiple of {} bytes",
                             describe(layer, buffers[i]), alignment),
                 {device ? "the layer's code loads that many bytes at once"
                         : "elements must be aligned to their size"});
  }
  return {};
}
