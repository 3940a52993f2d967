//===- ScheduleCases.cpp - Layers whose products are cut anew -------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "tests/ops/ScheduleCases.h"

#include <algorithm>

using namespace quern;
using namespace quern::test;

const std::vector<int64_t> quern::test::scheduledRows = {1, 2,  3,  5,
                                                         7, 13, 300};

// Rows, columns and K that are no multiple of anything.
const std::vector<ScheduledLayer> &quern::test::scheduledLayers() {
  using enum cpugen::Respect;
  static const std::vector<ScheduledLayer> layers = {
      {"int8",
       "layer t(x: f32[M, 1003], weight w: i8[75, 1003] * f32[75, 1]) -> "
       "f32[M, 75] {\n  return quantize(x, i8 per token) @ w.T\n}",
       {Tile, Few, Block, Chunk, Ahead}},
      {"int8_groups",
       "layer t(x: f32[M, 520], weight w: i8[75, 520] * f32[75, 520/96]) -> "
       "f32[M, 75] {\n  return quantize(x, i8 per token) @ w.T\n}",
       {Tile, Few, Block, Ahead}},
      // No group is a multiple of a step.
      {"int8_odd_groups",
       "layer t(x: f32[M, 521], weight w: i8[40, 521] * f32[40, 521/101]) -> "
       "f32[M, 40] {\n  return quantize(x, i8 per group(101)) @ w.T\n}",
       {Tile, Few, Block, Ahead}},
      {"uint8_zeros",
       "layer t(x: f16[M, 259], weight w: (u8[75, 259] - u8[75, 1]) * "
       "f32[75, 1]) -> f16[M, 75] {\n"
       "  return quantize(x, (u8 - u8) per token) @ w.T\n}",
       {Tile, Few, Block, Ahead}},
      {"int4",
       "layer t(x: f32[M, 1003], weight w: i4[75, 1003] * f32[75, 1]) -> "
       "f32[M, 75] {\n  return quantize(x, i8 per token) @ w.T\n}",
       {Tile, Few, Block, Chunk, Ahead}},
      {"int4_groups",
       "layer t(x: f16[M, 1000], weight w: i4[75, 1000] * f16[75, 1000/128]) "
       "-> "
       "f16[M, 75] {\n  return quantize(x, i8 per token) @ w.T\n}",
       {Tile, Few, Block, Ahead}},
      {"uint4_groups_zeros",
       "layer t(x: f32[M, 800], weight w: (u4[75, 800] - u4[75, 800/32]) * "
       "f16[75, 800/32]) -> f32[M, 75] {\n"
       "  return quantize(x, i8 per token) @ w.T\n}",
       {Tile, Few, Block, Ahead}},
      // Two terms over the same rows, and rows that are quantized once more.
      {"mlp",
       "layer t(x: f16[M, 200], weight g: i8[137, 200] * f32[137, 1],\n"
       "        weight u: i8[137, 200] * f32[137, 1],\n"
       "        weight d: i8[72, 137] * f32[72, 1]) -> f16[M, 72] {\n"
       "  xq = quantize(x, i8 per token)\n"
       "  h = silu(xq @ g.T) * (xq @ u.T) as f16\n"
       "  return quantize(h, i8 per token) @ d.T\n}",
       {Tile, Few, Block, Ahead}},
      // Two kernels whose row sums are shared where they are alike.
      {"int4_mlp",
       "layer t(x: f16[M, 200], weight u: i4[96, 200] * f16[96, 200/40],\n"
       "        weight d: i4[72, 96] * f16[72, 96/32]) -> f16[M, 72] {\n"
       "  h = relu(quantize(x, i8 per token) @ u.T) as f16\n"
       "  return quantize(h, i8 per token) @ d.T\n}",
       {Tile, Few, Block, Ahead}},
      {"batch",
       "layer t(x: i8[3, M, 131] * f32[3, M, 1], y: i8[3, 45, 131] * "
       "f32[3, 45, 1]) -> f32[3, M, 45] {\n  return x @ y.T\n}",
       {Tile, Few, Block, Ahead}},
      {"float",
       "layer t(x: f32[M, 259], weight w: f32[75, 259]) -> f32[M, 75] {\n"
       "  return x @ w.T\n}",
       {Tile, Few, Block, Chunk, Ahead}},
      {"bf16",
       "layer t(x: bf16[M, 258], weight w: bf16[75, 258]) -> f32[M, 75] {\n"
       "  return x @ w.T\n}",
       {Tile, Few, Block, Chunk, Ahead}},
      {"float_by_int4",
       "layer t(x: f32[M, 256], weight w: i4[75, 256] * f16[75, 256/64]) -> "
       "f32[M, 75] {\n  return x @ w.T\n}",
       {Tile, Few, Block, Ahead}},
  };
  return layers;
}

cpugen::Schedules quern::test::recordOf(const CompileOutput &compiled) {
  cpugen::Schedules record;
  record.target = compiled.module.variants.front().target;
  record.caches = compiled.caches;
  for (const cpugen::ScheduledProduct &product : compiled.products) {
    if (!record.entriesFor(product.product, {}).empty())
      continue;
    cpugen::ScheduleEntry entry;
    entry.product = product.product;
    entry.minRows = scheduledRows.front();
    entry.maxRows = scheduledRows.back();
    entry.blocking = product.model;
    record.entries.push_back(std::move(entry));
  }
  return record;
}

std::vector<cpugen::Schedules>
quern::test::recordsOf(const CompileOutput &compiled) {
  const cpugen::Schedules plain = recordOf(compiled);
  auto target = cpugen::CpuTarget::parse(plain.target);
  if (!target)
    return {};
  std::vector<std::vector<cpugen::Candidate>> candidates;
  size_t rounds = 0;
  for (const cpugen::ScheduleEntry &entry : plain.entries) {
    candidates.push_back(cpugen::candidatesFor(*target, entry.product.sizes(),
                                               entry.blocking, scheduledRows));
    rounds = std::max(rounds, candidates.back().size() + 1);
  }
  std::vector<cpugen::Schedules> records(rounds + 1, plain);
  for (size_t round = 0; round <= rounds; ++round)
    for (size_t p = 0; p < candidates.size(); ++p) {
      cpugen::Blocking &blocking = records[round].entries[p].blocking;
      const std::vector<cpugen::Candidate> &mine = candidates[p];
      size_t turn = (round + p) % (mine.size() + 1);
      if (round < rounds) {
        if (turn < mine.size())
          blocking = mine[turn].blocking;
        continue;
      }
      std::vector<cpugen::Candidate> last;
      for (size_t i = 0; i < mine.size(); ++i)
        if (i + 1 == mine.size() || mine[i + 1].respect != mine[i].respect)
          last.push_back(mine[i]);
      if (auto all = cpugen::combine(*target, plain.entries[p].product.sizes(),
                                     plain.entries[p].blocking, last))
        blocking = *all;
    }
  return records;
}

std::vector<cpugen::Schedules>
quern::test::extremesOf(const CompileOutput &compiled) {
  const cpugen::Schedules plain = recordOf(compiled);
  auto target = cpugen::CpuTarget::parse(plain.target);
  if (!target)
    return {};
  std::vector<cpugen::Schedules> records(3, plain);
  for (size_t p = 0; p < plain.entries.size(); ++p) {
    auto sizes = plain.entries[p].product.sizes();
    cpugen::Blocking blocking = plain.entries[p].blocking;
    auto ofRows = [&](unsigned rows) {
      blocking.rows = blocking.blockRows = rows;
      blocking.fewRows = std::min(blocking.fewRows, std::max(rows, 2u) - 2);
      return blocking;
    };
    unsigned most = 1;
    while (ofRows(most + 1).problem(*target, sizes).empty())
      ++most;
    records[0].entries[p].blocking = ofRows(most);
    records[1].entries[p].blocking = ofRows(2);
    records[2].entries[p].blocking = ofRows(1);
  }
  return records;
}
