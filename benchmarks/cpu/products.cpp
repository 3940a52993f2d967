//===- products.cpp - Layers of products against the machine's limits -----===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Whole layers (Layers.h). Beside each sample the limits are measured
// (Limits.h), and what is printed is the median of the ratios:
//
//     GOPS, % of peak     of two operations per multiply-add of the products,
//                         against the peak of the instruction they are made of
//     GB/s, % of reads    of the bytes of the weights, where rows are few
//
// Each turn takes every figure three times and keeps the best, so that a moment
// disturbed by another process counts neither for nor against.
//
// With --save texts and compiled modules are written to a folder, and with
// --beside those of another build (quern compile TEXT -o MODULE) are run in
// turns with this one's.
//
//===----------------------------------------------------------------------===//

#include "benchmarks/Spread.h"
#include "benchmarks/cpu/Layers.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>

using namespace quern;
using namespace quern::bench;

/// The rows of a module are symbolic: one file for all of them.
static std::string fileOf(const std::string &folder, const ProductLayer &row,
                          std::string_view ending = "qnm") {
  std::string name =
      fmt::format("{:016x}.{}", std::hash<std::string>{}(row.text), ending);
  return (std::filesystem::path(folder) / name).string();
}

int main(int argc, char **argv) {
  CLI::App app(
      "Layers of int8, int4 and bf16 products against the machine's limits");
  unsigned turns = 15, patience = 0;
  std::vector<unsigned> threads = {1, 2};
  std::string save, beside;
  std::vector<std::string> only;
  app.add_option("--turns", turns, "samples of each row");
  app.add_option("--patience", patience,
                 "how often to wait for the processors to be free");
  app.add_option("--threads", threads)->delimiter(',');
  app.add_option("--save", save, "folder to write the modules to");
  app.add_option("--beside", beside, "folder of modules to run in turns");
  app.add_option("--only", only, "rows whose name contains one of these")
      ->delimiter(',');
  CLI11_PARSE(app, argc, argv);

  std::vector<ProductLayer> all = {
      linear(128, 4096, 4096),       linear(128, 11008, 4096),
      linear(128, 4096, 11008),      swiglu(128, 4096, 11008),
      linear(7, 333, 1000),          linear(8, 336, 1024),
      linear(1, 4096, 4096),         linear(1, 4096, 4096, true),
      linear(1, 11008, 4096, true),  linear(1, 4096, 11008, true),
      linear(2, 4096, 4096),         linear(4, 4096, 4096),
      linear(8, 4096, 4096),         linear(8, 11008, 4096, true),
      swiglu(1, 4096, 11008),        linear(2048, 4096, 4096),
      linear4(128, 4096, 4096, 128), linear4(128, 4096, 4096, 32),
      linear4(1, 4096, 4096, 128),   linear4(1, 11008, 4096, 128, true),
      linear4(1, 4096, 4096, 32),    linear4(8, 4096, 4096, 128),
      linearBf16(128, 4096, 4096),   linearBf16(128, 11008, 4096),
      linearBf16(128, 4096, 11008),  linearBf16(8, 4096, 4096),
      linearBf16(1, 4096, 4096),     linearBf16(1, 11008, 4096, true)};
  std::vector<ProductLayer> rows;
  for (const ProductLayer &row : all)
    if (only.empty() ||
        std::any_of(only.begin(), only.end(), [&](const std::string &part) {
          return row.name.find(part) != std::string::npos;
        }))
      rows.push_back(row);

  LargeMemory memory(size_t(320) << 20);
  fmt::print("# clock {:.2f} GHz\n", clockRate(*makeExecutor(1)) * 1e-9);
  fmt::print(
      "| layer | threads | us | GOPS | % of peak | GB/s | read rate | % "
      "of reads | beside us | ratio | wins |\n"
      "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- "
      "|\n");
  std::map<measure::DotKind, double> alone; // Of one thread.
  std::map<std::string, CompiledLayer> modules;
  for (const ProductLayer &row : rows) {
    auto [found, isFirst] = modules.try_emplace(row.text);
    if (isFirst) {
      found->second = compiled(row);
      for (const std::string &schedule : found->second.schedules)
        fmt::print("#   {}\n", schedule);
    }
    const auto &[module, schedules, dot] = found->second;
    if (isFirst) {
      if (!save.empty())
        std::ofstream(fileOf(save, row, "qn")) << row.text;
      if (!save.empty())
        std::ofstream(fileOf(save, row), std::ios::binary)
            .write(reinterpret_cast<const char *>(module.data()),
                   module.size());
    }
    auto [known, isNew] = alone.try_emplace(dot.kind, 0.0);
    double &one = known->second;
    for (int i = 0; isNew && i < 20; ++i)
      one = std::max(one, dotPeak(*makeExecutor(1), dot));
    for (unsigned count : threads) {
      std::shared_ptr<Executor> executor = makeExecutor(count);
      RunningLayer running(module, row, executor);
      std::optional<RunningLayer> other;
      if (!beside.empty()) {
        std::ifstream file(fileOf(beside, row), std::ios::binary);
        std::vector<char> bytes((std::istreambuf_iterator<char>(file)), {});
        if (!bytes.empty())
          other.emplace(std::as_bytes(std::span(bytes)), row, executor);
      }
      // The limit for weights is read from where they are.
      size_t readBytes = row.cold ? size_t(320) << 20 : size_t(row.weightBytes);
      bool few = row.m <= 16;
      std::vector<double> times, shares, reads, readShares, others, ratios;
      unsigned wins = 0;
      double best = 0;
      for (int i = 0; i < 10; ++i)
        best = std::max({best, dotPeak(*executor, dot), count * one});
      for (unsigned turn = 0; turn < turns; ++turn) {
        // A turn in which the processors were not ours does not count.
        double peak = 0, reading = 0, mine = 1e30, theirs = other ? 1e30 : 0;
        for (int attempt = 0; attempt < 3; ++attempt) {
          double now = dotPeak(*executor, dot);
          if (now < 0.95 * best && patience > 0) {
            --patience;
            --attempt;
            continue;
          }
          peak = std::max(peak, now);
          if (few)
            reading =
                std::max(reading, readRate(*executor, memory.first(readBytes)));
          // Which of two goes first changes from time to time.
          if (other && (turn + attempt) % 2)
            theirs = std::min(theirs, other->sample());
          mine = std::min(mine, running.sample());
          if (other && (turn + attempt) % 2 == 0)
            theirs = std::min(theirs, other->sample());
        }
        times.push_back(mine);
        shares.push_back(100 * row.operations / (mine * 1e-6) / peak);
        reads.push_back(reading * 1e-9);
        readShares.push_back(100 * row.weightBytes / (mine * 1e-6) / reading);
        others.push_back(theirs);
        ratios.push_back(theirs / mine);
        wins += mine < theirs;
      }
      double time = Spread(times).median;
      fmt::print("| {} | {} | {:.1f} | {:.0f} | {:.1f} +- {:.1f} |", row.name,
                 count, time, row.operations / time * 1e-3,
                 Spread(shares).median, Spread(shares).half);
      if (few)
        fmt::print(" {:.1f} | {:.1f} | {:.1f} +- {:.1f} |",
                   row.weightBytes / time * 1e-3, Spread(reads).median,
                   Spread(readShares).median, Spread(readShares).half);
      else
        fmt::print(" | | |");
      if (other)
        fmt::print(" {:.1f} | {:.3f} | {}/{} |\n", Spread(others).median,
                   Spread(ratios).median, wins, turns);
      else
        fmt::print(" | | |\n");
      std::fflush(stdout);
    }
  }
  return 0;
}
