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
  blocking.rows = usualRows(target.registers());
  blocking.fewRows = blocking.rows / 2 - 1;
  if (sizes.halvedFew && sizes.rightBytes.value_or(0) > target.caches.l3 / 2)
    blocking.fewAhead = 2048;

  int64_t stepBytes = int64_t(blocking.columns) * 4;
  if (sizes.widened)
    blocking.chunkSteps =
        sizes.decoded() ? decodedSteps : wideBytes / stepBytes;
  constexpr int64_t fewest = 128, most = 256;
  if (!sizes.k || *sizes.k <= 0)
    return blocking;
  int64_t rowBytes = sizes.rowBytes(), steps = sizes.steps();
  if (sizes.halved)
    stepBytes /= 2;
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

std::string Blocking::problem(const CpuTarget &target,
                              const ProductSizes &sizes) const {
  // Twice the rows that are chosen here: what else scratch has for each row
  // stays small beside the copy.
  constexpr unsigned mostBlockRows = 512;
  // A chunk of a panel, widened, is 128 KiB then.
  constexpr int64_t mostApart = 1024;
  if (columns != 2 * target.lanes())
    return fmt::format("a panel has {} columns, two vectors of {}",
                       2 * target.lanes(), target.name());
  if (rows < 1 || rows > mostRows(target))
    return fmt::format("rows={}: a tile has from 1 to {} rows with the {} "
                       "registers of {}",
                       rows, mostRows(target), target.registers(),
                       target.name());
  // A panel of few rows that has no other beside it is read by a tile of one
  // row more, which is not a whole one: its rows are not interleaved.
  if (unsigned most = std::min(std::max(rows, 2u) - 2, mostFewRows(target));
      fewRows > most)
    return fmt::format("few-rows={}: with tiles of {} rows on {}, from 0 to {} "
                       "rows can have two panels",
                       fewRows, rows, target.name(), most);
  if (blockRows < rows || blockRows % rows)
    return fmt::format("block-rows={}: a block is a multiple of the tile's {} "
                       "rows",
                       blockRows, rows);
  if (blockRows > mostBlockRows)
    return fmt::format("block-rows={}: a block has {} rows at most", blockRows,
                       mostBlockRows / rows * rows);
  bool knowsK = sizes.k && *sizes.k > 0;
  if (knowsK && blockRows > rows && blockRows > leftBytes / sizes.rowBytes())
    return fmt::format(
        "block-rows={}: rows of {} bytes are copied, and all "
        "together are {} MiB at most: {} rows",
        blockRows, sizes.rowBytes(), leftBytes >> 20,
        std::max<int64_t>(leftBytes / sizes.rowBytes() / rows, 1) * rows);
  if (aheadBytes < 64 || aheadBytes % 64 || aheadBytes > 1 << 16)
    return fmt::format("ahead={}: what is fetched lies a multiple of 64 bytes "
                       "ahead, up to 65536",
                       aheadBytes);
  if (fewAhead && !fewRows)
    return fmt::format("few-ahead={}: with few-rows=0 no rows are few; "
                       "accepted is no",
                       *fewAhead);
  if (fewAhead && sizes.decoded())
    return fmt::format("few-ahead={}: what is decoded takes longer than "
                       "reading it and is not fetched; accepted is no",
                       *fewAhead);
  if (fewAhead && (*fewAhead < 64 || *fewAhead % 64 || *fewAhead > 1 << 16))
    return fmt::format("few-ahead={}: what is fetched lies a multiple of 64 "
                       "bytes ahead, up to 65536; or no",
                       *fewAhead);
  if (!chunkSteps)
    return sizes.widened ? "chunk-steps=no: panels are widened by chunks; "
                           "accepted are multiples of 16"
                         : "";
  if (*chunkSteps < 16 || *chunkSteps % 16)
    return fmt::format("chunk-steps={}: a chunk is a multiple of 16 steps",
                       *chunkSteps);
  if (sizes.widened)
    return *chunkSteps <= mostApart
               ? ""
               : fmt::format("chunk-steps={}: {} steps at most are widened at "
                             "once",
                             *chunkSteps, mostApart);
  if (sizes.split)
    return fmt::format("chunk-steps={}: sums that are scaled within K are not "
                       "put off; accepted is no",
                       *chunkSteps);
  if (!knowsK)
    return fmt::format("chunk-steps={}: K is any number of steps; accepted is "
                       "no",
                       *chunkSteps);
  if (int64_t all = (sizes.steps() + 15) / 16 * 16; *chunkSteps > all)
    return fmt::format("chunk-steps={}: all of K is {} steps; accepted are "
                       "multiples of 16 up to {}, or no",
                       *chunkSteps, sizes.steps(), all);
  return {};
}

std::string Blocking::text() const {
  std::string text = fmt::format("tile {}x{}", rows, columns);
  if (fewRows)
    text += fmt::format(" or {}x{}", fewRows, 2 * columns);
  if (fewRows && fewAhead)
    text += fmt::format(" fetched {} bytes ahead", *fewAhead);
  return text;
}
