//===- LaunchSequence.cpp - Issuing a plan's launches ---------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/jit/LaunchSequence.h"

#include <fmt/format.h>

#include <algorithm>

using namespace quern;
using namespace quern::detail;

Result<LaunchSequence>
LaunchSequence::make(std::shared_ptr<const LayerState> layer,
                     std::span<const uint32_t> launches,
                     std::span<const Interval> ranges) {
  LaunchSequence sequence;
  size_t arguments = 0;
  uint64_t perWorker = 0;
  for (uint32_t index : launches) {
    const LaunchDesc &launch = layer->variant.launches[index];
    arguments += launch.buffers.size();
    std::vector<Interval> within(ranges.begin(), ranges.end());
    if (!narrow(within, launch.when))
      continue;
    Result<Interval> scratch = boundsOf(launch.scratchBytes, within);
    if (!scratch)
      return scratch.error();
    perWorker = std::max(
        perWorker, static_cast<uint64_t>(std::max<int64_t>(scratch->max, 0)));
  }
  if (perWorker) {
    // Workers write side by side: a page and a line between them keeps their
    // lines apart and off the same cache sets.
    uint64_t total;
    sequence.scratchStride = (perWorker + 4095) / 4096 * 4096 + 64;
    if (__builtin_mul_overflow(sequence.scratchStride,
                               uint64_t{layer->program->workers()}, &total))
      return fail(Errc::OutOfMemory,
                  fmt::format("{} workers with {} bytes of scratch each",
                              layer->program->workers(), perWorker));
    Result<DeviceMemory> memory = DeviceMemory::allocate(layer->program, total);
    if (!memory)
      return memory.error();
    sequence.scratch = std::move(*memory);
  }
  sequence.arguments.resize(arguments);
  sequence.sizes.resize(launches.size());
  sequence.evaluatedFor.resize(layer->symbolDescs.size());
  sequence.launches = launches;
  sequence.layer = std::move(layer);
  return sequence;
}

Result<void> LaunchSequence::evaluate(std::span<const int64_t> symbols) {
  if (evaluated && std::ranges::equal(symbols, evaluatedFor))
    return {};
  evaluated = false;
  for (size_t i = 0; i < launches.size(); ++i) {
    const LaunchDesc &launch = layer->variant.launches[launches[i]];
    if (!launch.happens(symbols))
      continue;
    LaunchSizes &to = sizes[i];
    const std::pair<const SymExpr *, int64_t *> parts[] = {
        {&launch.items, &to.items},
        {&launch.grain, &to.grain},
        {&launch.grid[0], &to.grid[0]},
        {&launch.grid[1], &to.grid[1]},
        {&launch.grid[2], &to.grid[2]},
        {&launch.dynamicSharedBytes, &to.dynamicSharedBytes},
        {&launch.residentBlocks, &to.residentBlocks}};
    for (auto [expr, value] : parts) {
      Result<int64_t> result = expr->evaluate(symbols);
      if (!result)
        return fail(Errc::InvalidArgument,
                    fmt::format("kernel '{}': {}",
                                layer->variant.kernels[launch.kernel].name,
                                result.error().message));
      *value = *result;
    }
    to.grain = std::max<int64_t>(to.grain, 1);
  }
  std::copy(symbols.begin(), symbols.end(), evaluatedFor.begin());
  evaluated = true;
  return {};
}

Result<void> LaunchSequence::issue(std::span<void *const> addresses,
                                   std::span<const int64_t> symbols,
                                   void *stream) {
  if (Result<void> ok = evaluate(symbols); !ok)
    return ok;
  bool any = launches.empty();
  void **next = arguments.data();
  for (size_t i = 0; i < launches.size(); ++i) {
    const LaunchDesc &launch = layer->variant.launches[launches[i]];
    if (!launch.happens(symbols))
      continue;
    any = true;
    LaunchCall call;
    call.launch = &launch;
    call.sizes = &sizes[i];
    call.buffers = next;
    call.symbols = symbols;
    call.scratch = scratch.data();
    call.scratchStride = scratchStride;
    for (uint32_t buffer : launch.buffers)
      *next++ = addresses[buffer];
    if (Result<void> ok = layer->program->launch(call, stream); !ok)
      return ok;
  }
  if (!any)
    return fail(Errc::InvalidFile,
                fmt::format("the module of layer '{}' has no launches for "
                            "these sizes",
                            layer->name),
                {"compile the layer again"});
  return {};
}
