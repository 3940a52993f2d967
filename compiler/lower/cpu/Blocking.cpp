//===- Blocking.cpp - How a product is cut into pieces --------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/lower/cpu/Blocking.h"

#include <fmt/format.h>

#include <algorithm>

using namespace quern;
using namespace quern::cpugen;

Blocking Blocking::choose(const CpuTarget &target, const ProductSizes &sizes) {
  Blocking blocking;
  blocking.columns = 2 * target.lanes();
  blocking.rows = target.registers() == 32 ? 8 : 4;
  blocking.fewRows = blocking.rows / 2 - 1;

  if (sizes.widened)
    blocking.chunkSteps = 128;
  constexpr int64_t leftBytes = 1 << 21, fewest = 128, most = 256;
  if (!sizes.k || *sizes.k <= 0)
    return blocking;
  int64_t rowBytes = *sizes.k * sizes.elementBytes;
  int64_t steps = (rowBytes + 3) / 4;
  int64_t stepBytes = int64_t(blocking.columns) * 4;
  int64_t held = target.caches.l2 / 4 * 3;
  int64_t rows = (held - 2 * sizes.terms * steps * stepBytes) / rowBytes;
  rows = std::min(std::clamp(rows, fewest, most), leftBytes / rowBytes);
  blocking.blockRows =
      std::max<int64_t>(rows / blocking.rows, 1) * blocking.rows;

  // Scaled accumulators are not put off.
  int64_t longest = held / (2 * sizes.terms * stepBytes);
  if (!sizes.split && !sizes.widened && steps > longest) {
    // Chunks of one length, in whole cache lines of left rows.
    int64_t chunks = (steps + longest - 1) / longest;
    blocking.chunkSteps = ((steps + chunks - 1) / chunks + 15) / 16 * 16;
  }
  return blocking;
}

std::string Blocking::text() const {
  std::string text = fmt::format("tile {}x{}", rows, columns);
  if (fewRows)
    text += fmt::format(" or {}x{}", fewRows, 2 * columns);
  return text;
}
