//===- Candidates.h - Sizes that may be better than the model's -*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// What `quern tune` measures. Each candidate differs from the model's choice in
// one of six respects, in this order:
//
//     tile    a register tile of more rows, 5 and 6 with 16 registers, 10 and
//             12 with 32: fewer loads and fewer passes over a panel for each
//             multiply-add, but hardly a register to spare, and rows that are
//             not interleaved (no power of two)
//     few     up to how many rows two panels are read at a time: 0 (never), and
//             every number that registers allow; more accumulators and streams
//             against instructions that fetch
//     block   half and twice as many rows to a block: what a thread copies at
//             once, against how often panels are read
//     chunk   K as a whole, in halves, in quarters (where panels are widened by
//             chunks: half and twice the steps): how much of a panel has to
//             stay in a cache, against sums that are stored and loaded again
//     ahead   how far ahead of its use the panel of a single row tile is
//             fetched: 2, 4, 16 and 32 KiB
//     stream  the same of the panels of few rows, which the model seldom
//             fetches: not at all, 1, 2 and 4 KiB
//
// Smaller tiles are none: what they could gain, tails, is had by tiles of any
// number of rows up to MR already. A candidate that does not change what runs
// for the rows at hand is left out: measured, it could win by chance alone.
// So is one that is not possible (Blocking::problem).
//
// The list follows from its arguments alone. `combine` joins the best of each
// respect, as they seldom stand in each other's way.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_COMPILER_LOWER_CPU_CANDIDATES_H
#define QUERN_COMPILER_LOWER_CPU_CANDIDATES_H

#include "compiler/lower/cpu/Blocking.h"

#include <span>
#include <string_view>
#include <vector>

namespace quern::cpugen {

/// In what a candidate differs from the model's choice.
enum class Respect : uint8_t { Tile, Few, Block, Chunk, Ahead, Stream };
inline constexpr size_t numRespects = 6;
std::string_view name(Respect respect);

struct Candidate {
  Respect respect;
  Blocking blocking;

  /// What is changed: "rows=6 block-rows=126".
  std::string text(const Blocking &model) const;
};

/// Around the model's choice for a product; `rows` are the numbers of rows that
/// are measured.
std::vector<Candidate> candidatesFor(const CpuTarget &target,
                                     const ProductSizes &sizes,
                                     const Blocking &model,
                                     std::span<const int64_t> rows);

/// All of these changes at once, at most one of each respect; nothing where
/// that is not possible.
std::optional<Blocking> combine(const CpuTarget &target,
                                const ProductSizes &sizes,
                                const Blocking &model,
                                std::span<const Candidate> changes);

} // namespace quern::cpugen

#endif // QUERN_COMPILER_LOWER_CPU_CANDIDATES_H
