//===- Candidates.cpp - Sizes that may be better than the model's ---------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/lower/cpu/Candidates.h"

#include <fmt/format.h>

#include <algorithm>

using namespace quern;
using namespace quern::cpugen;

std::string_view quern::cpugen::name(Respect respect) {
  constexpr std::string_view names[numRespects] = {"tile",  "few",   "block",
                                                   "chunk", "ahead", "stream"};
  return names[static_cast<size_t>(respect)];
}

std::string Candidate::text(const Blocking &model) const {
  std::string text;
  auto add = [&](std::string_view field, auto value, auto before) {
    if (value != before)
      text += fmt::format("{}{}={}", text.empty() ? "" : " ", field, value);
  };
  add("rows", blocking.rows, model.rows);
  add("few-rows", blocking.fewRows, model.fewRows);
  add("block-rows", blocking.blockRows, model.blockRows);
  auto orNo = [](std::optional<int64_t> size) {
    return size ? fmt::format("{}", *size) : "no";
  };
  add("chunk-steps", orNo(blocking.chunkSteps), orNo(model.chunkSteps));
  add("ahead", blocking.aheadBytes, model.aheadBytes);
  add("few-ahead", orNo(blocking.fewAhead), orNo(model.fewAhead));
  return text;
}

/// Blocks stay as large as they are, in whole tiles.
static void setRows(Blocking &blocking, unsigned rows) {
  blocking.rows = rows;
  blocking.blockRows = std::max(blocking.blockRows / rows, 1u) * rows;
}

std::vector<Candidate>
quern::cpugen::candidatesFor(const CpuTarget &target, const ProductSizes &sizes,
                             const Blocking &model,
                             std::span<const int64_t> rows) {
  std::vector<Candidate> candidates;
  auto add = [&](Respect respect, const Blocking &blocking) {
    if (blocking == model || !blocking.problem(target, sizes).empty())
      return;
    for (const Candidate &other : candidates)
      if (other.blocking == blocking)
        return;
    candidates.push_back({respect, blocking});
  };
  /// Whether some of the measured rows are more than `above`, and no more than
  /// `most`.
  auto measures = [&](int64_t above, int64_t most = INT64_MAX) {
    return std::any_of(rows.begin(), rows.end(), [&](int64_t each) {
      return above < each && each <= most;
    });
  };

  unsigned usual = Blocking::usualRows(target.registers());
  if (measures(model.rows))
    for (unsigned more : {usual + usual / 4, usual + usual / 2}) {
      Blocking blocking = model;
      setRows(blocking, more);
      add(Respect::Tile, blocking);
    }
  for (unsigned few = 0; few <= Blocking::mostFewRows(target); ++few) {
    Blocking blocking = model;
    blocking.fewRows = few;
    if (!few)
      blocking.fewAhead.reset();
    if (measures(std::min(few, model.fewRows), std::max(few, model.fewRows)))
      add(Respect::Few, blocking);
  }
  for (unsigned blockRows : {model.blockRows / 2, model.blockRows * 2}) {
    Blocking blocking = model;
    blocking.blockRows = blockRows / model.rows * model.rows;
    if (measures(std::min(blocking.blockRows, model.blockRows)))
      add(Respect::Block, blocking);
  }
  // One row tile reads its panel once, in chunks or not.
  if (measures(model.rows)) {
    std::vector<std::optional<int64_t>> chunks;
    if (sizes.widened) {
      chunks = {*model.chunkSteps / 2, *model.chunkSteps * 2};
    } else if (sizes.k && *sizes.k > 0) {
      chunks = {std::nullopt};
      for (int64_t parts : {2, 4})
        chunks.push_back(((sizes.steps() + parts - 1) / parts + 15) / 16 * 16);
    }
    for (std::optional<int64_t> chunkSteps : chunks) {
      Blocking blocking = model;
      blocking.chunkSteps = chunkSteps;
      add(Respect::Chunk, blocking);
    }
  }
  if (measures(model.fewRows, model.rows))
    for (unsigned ahead : {2048, 4096, 16384, 32768}) {
      Blocking blocking = model;
      blocking.aheadBytes = ahead;
      add(Respect::Ahead, blocking);
    }
  if (measures(0, model.fewRows))
    for (int64_t ahead : {0, 1024, 2048, 4096}) {
      Blocking blocking = model;
      blocking.fewAhead = ahead ? std::optional(ahead) : std::nullopt;
      add(Respect::Stream, blocking);
    }
  return candidates;
}

std::optional<Blocking>
quern::cpugen::combine(const CpuTarget &target, const ProductSizes &sizes,
                       const Blocking &model,
                       std::span<const Candidate> changes) {
  Blocking combined = model;
  for (const Candidate &change : changes) {
    switch (change.respect) {
    case Respect::Tile:
      combined.rows = change.blocking.rows;
      break;
    case Respect::Few:
      combined.fewRows = change.blocking.fewRows;
      break;
    case Respect::Block:
      combined.blockRows = change.blocking.blockRows;
      break;
    case Respect::Chunk:
      combined.chunkSteps = change.blocking.chunkSteps;
      break;
    case Respect::Ahead:
      combined.aheadBytes = change.blocking.aheadBytes;
      break;
    case Respect::Stream:
      combined.fewAhead = change.blocking.fewAhead;
      break;
    }
  }
  setRows(combined, combined.rows);
  if (!combined.fewRows)
    combined.fewAhead.reset();
  if (!combined.problem(target, sizes).empty())
    return std::nullopt;
  return combined;
}
