//===- RunMemory.cpp - Whether a run fits this machine --------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/tools/quern/RunMemory.h"

#include "runtime/jit/LayerState.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <fstream>
#include <unistd.h>

using namespace quern;
using namespace quern::tool;

/// What the system would give without pushing others out, in bytes.
static double availableMemory() {
  std::ifstream file("/proc/meminfo");
  std::string key;
  double value;
  while (file >> key >> value) {
    if (key == "MemAvailable:")
      return value * 1024;
    std::getline(file, key); // The unit.
  }
  return static_cast<double>(sysconf(_SC_PHYS_PAGES)) *
         static_cast<double>(sysconf(_SC_PAGE_SIZE));
}

/// A buffer's size as a double: it may be beyond 64 bits. 0 for sizes that
/// the layer itself will refuse.
static double bytesOf(const BufferDesc &buffer,
                      std::span<const int64_t> symbols) {
  double bytes = byteWidth(buffer.dtype);
  for (size_t d = 0; d < buffer.shape.size(); ++d) {
    Result<int64_t> value = buffer.shape[d].evaluate(symbols);
    auto extent =
        static_cast<uint64_t>(value ? std::max<int64_t>(*value, 0) : 0);
    bool isRow = isPacked(buffer.dtype) && d + 1 == buffer.shape.size();
    bytes *=
        static_cast<double>(isRow ? rowBytes(buffer.dtype, extent) : extent);
  }
  return bytes;
}

namespace {
/// In bytes.
struct Sizes {
  double given = 0, drawn = 0, outputs = 0, packed = 0, temporaries = 0;

  double operands() const { return given + drawn; }
};
} // namespace

static Sizes measure(const detail::LayerState &state,
                     std::span<const int64_t> symbols,
                     const std::vector<std::string> &drawn) {
  Sizes sizes;
  const std::vector<BufferDesc> &buffers = state.variant.buffers;
  for (size_t i = 0; i < buffers.size(); ++i) {
    double bytes = bytesOf(buffers[i], symbols);
    switch (buffers[i].role) {
    case BufferRole::Input:
    case BufferRole::Weight: {
      bool isDrawn = std::find(drawn.begin(), drawn.end(),
                               state.bufferNames[i]) != drawn.end();
      (isDrawn ? sizes.drawn : sizes.given) += bytes;
      break;
    }
    case BufferRole::Output:
      sizes.outputs += bytes;
      break;
    case BufferRole::Packed:
      sizes.packed += bytes;
      break;
    case BufferRole::Temporary:
    case BufferRole::State:
      break;
    }
  }
  for (uint32_t launch : state.runLaunches) {
    if (!state.variant.launches[launch].happens(symbols))
      continue;
    // A launch may name a buffer twice.
    std::vector<uint32_t> used = state.variant.launches[launch].buffers;
    std::sort(used.begin(), used.end());
    used.erase(std::unique(used.begin(), used.end()), used.end());
    double together = 0;
    for (uint32_t buffer : used)
      if (buffers[buffer].role == BufferRole::Temporary ||
          buffers[buffer].role == BufferRole::State)
        together += bytesOf(buffers[buffer], symbols);
    sizes.temporaries = std::max(sizes.temporaries, together);
  }
  return sizes;
}

Result<void> quern::tool::checkMemory(const Layer &layer,
                                      std::span<const int64_t> symbols,
                                      const std::vector<std::string> &drawn,
                                      bool check) {
  const detail::LayerState &state = detail::LayerAccess::state(layer);
  Sizes sizes = measure(state, symbols, drawn);
  double operands = sizes.operands(), outputs = sizes.outputs;
  double copies =
      state.target.kind == Target::Kind::Sim ? operands + outputs : 0;
  struct {
    const char *what;
    double bytes;
  } times[] = {
      {"drawing its operands", sizes.given + 2 * sizes.drawn},
      {"running the layer",
       operands + outputs + sizes.packed + sizes.temporaries + copies},
      {"comparing with the reference", check ? 2 * (operands + outputs) : 0},
  };
  auto worst = std::max_element(
      std::begin(times), std::end(times),
      [](const auto &a, const auto &b) { return a.bytes < b.bytes; });
  double available = availableMemory();
  if (worst->bytes <= available)
    return {};

  std::vector<std::string> values;
  for (size_t s = 0; s < symbols.size(); ++s)
    values.push_back(
        fmt::format("{} = {}", state.symbolDescs[s].name, symbols[s]));
  auto gib = [](double bytes) { return bytes / 0x1p30; };
  return fail(
      Errc::OutOfMemory,
      fmt::format("{}{} takes at least {:.1f} GiB, more than the {:.1f} GiB "
                  "this machine has free",
                  values.empty()
                      ? std::string()
                      : fmt::format("with {} ", fmt::join(values, ", ")),
                  worst->what, gib(worst->bytes), gib(available)),
      {fmt::format(
          "operands {:.1f} GiB, outputs {:.1f}, packed weights {:.1f}, "
          "intermediates {:.1f}",
          gib(operands), gib(outputs), gib(sizes.packed),
          gib(sizes.temporaries))});
}
