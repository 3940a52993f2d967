//===- sweep.cpp - Whether cost grows as the work does --------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// One size of a product, M, N or K, takes many values, and the others stay. A
// point's *share* is how near it comes to the machine's limit: the larger of
// operations against the peak of the dot instruction and, for up to 16 rows,
// bytes of weights against the rate of reading them (Limits.h), both measured
// beside the sample. Two ratios say whether a size costs what its neighbours
// let one expect:
//
//     class    the share against that of the neighbours among the listed sizes
//              that leave the same rest when divided by the tile, interpolated
//              between them over the logarithm of the size
//     whole    for a size with a rest: against the next multiple of the tile,
//              where that is listed
//
// N and K are judged from three tiles on: a panel and its steps take their time
// whatever of them is used, and of one or two that can be half.
//
// The tile is the register tile's rows for M, a panel's columns for N, and
// eight elements for K, which are whole rows of a panel of every kind. All
// points are sampled in every turn, up and down by turns, and a ratio is the
// median over turns of that turn's ratios: what the machine does over minutes
// falls out. Points whose ratio is below --class or --whole are measured once
// more beside their neighbours, in twice as many turns, and that counts; the
// table marks them, and its other lines stay as they were.
//
//     cpu_sweep_bench [M N K] [--layer int8] [--turns 11] [--json FILE]
//
// plot_sweep.py draws what --json wrote (docs/bench.md).
//
//===----------------------------------------------------------------------===//

#include "benchmarks/Spread.h"
#include "benchmarks/cpu/Layers.h"
#include "runtime/measure/Machine.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <set>

using namespace quern;
using namespace quern::bench;

namespace {

/// Of each turn, in order.
struct Samples {
  std::vector<double> microseconds, shares, operationShares;
};

struct Point {
  int64_t size;
  ProductLayer layer;
  std::optional<RunningLayer> running;
  Samples samples;
  std::optional<double> classRatio, wholeRatio;
  bool isSecond = false; ///< Measured once more.
};

/// A point's on either side within its class, and the next whole tile; null:
/// there is none.
struct Neighbours {
  Point *before = nullptr, *behind = nullptr, *whole = nullptr;

  std::vector<Point *> all() const {
    std::vector<Point *> there;
    for (Point *one : {before, behind, whole})
      if (one)
        there.push_back(one);
    return there;
  }
};

struct Options {
  char axis = 'M';
  std::string kind = "int8";
  unsigned threads = 1, turns = 11;
  int64_t m = 128, n = 4096, k = 4096, most = 0;
  double classLimit = 0.85, wholeLimit = 0.75;
};

class Sweep {
public:
  explicit Sweep(const Options &options)
      : options(options), executor(makeExecutor(options.threads)),
        memory(size_t(64) << 20) {}

  void measure();
  void print() const;
  nlohmann::json json() const;

private:
  ProductLayer layerOf(int64_t size) const;
  void list();
  std::map<const Point *, Samples> sample(std::vector<Point *> points,
                                          unsigned turns);
  void turn(const std::vector<Point *> &points,
            std::map<const Point *, Samples> &samples);
  void conclude(Point &point, const std::map<const Point *, Samples> &samples);
  Neighbours neighboursOf(const Point &point);

  Options options;
  std::shared_ptr<Executor> executor;
  LargeMemory memory;
  measure::Dot dot;
  std::string schedule; ///< Of the product.
  int64_t tile = 1;
  std::vector<Point> points;
};

} // namespace

ProductLayer Sweep::layerOf(int64_t size) const {
  int64_t m = options.axis == 'M' ? size : options.m;
  int64_t n = options.axis == 'N' ? size : options.n;
  int64_t k = options.axis == 'K' ? size : options.k;
  return options.kind == "int4"   ? linear4(m, n, k, 128)
         : options.kind == "bf16" ? linearBf16(m, n, k)
                                  : linear(m, n, k);
}

/// Every size of some tiles, then ever fewer: multiples of the tile, one more
/// and one less, and the multiple behind.
void Sweep::list() {
  CompiledLayer first = compiled(layerOf(1024));
  dot = first.dot;
  unsigned rows = 0, columns = 0;
  for (const std::string &text : first.schedules)
    if (size_t found = text.find("tile "); found != std::string::npos) {
      schedule = text;
      std::sscanf(text.c_str() + found, "tile %ux%u", &rows, &columns);
    }
  tile = options.axis == 'M' ? rows : options.axis == 'N' ? columns : 8;
  if (tile < 2) {
    fmt::print(stderr, "cpu_sweep_bench: no tile in \"{}\"\n", schedule);
    std::exit(1);
  }
  int64_t most = options.most          ? options.most
                 : options.axis == 'M' ? 2048
                                       : 11008;
  std::set<int64_t> sizes;
  auto add = [&](int64_t base) {
    for (int64_t size : {base - 1, base, base + 1, base + tile})
      if (size <= most)
        sizes.insert(size);
  };
  for (int64_t size = 1; size <= std::min<int64_t>(2 * tile + 1, most); ++size)
    sizes.insert(size);
  for (int64_t base = 2 * tile; base <= most;
       base += std::max(base / 4 / tile, int64_t(1)) * tile)
    add(base);
  for (int64_t base = 64; base <= most; base *= 2)
    add(base);
  std::map<std::string, CompiledLayer> modules;
  for (int64_t size : sizes) {
    ProductLayer layer = layerOf(size);
    auto [module, isNew] = modules.try_emplace(layer.text);
    if (isNew)
      module->second = compiled(layer);
    Point &point = points.emplace_back();
    point.size = size;
    if (isNew || points.size() == 1)
      point.running.emplace(module->second.module, layer, executor);
    else
      point.running.emplace(*points.front().running, layer);
    point.layer = std::move(layer);
  }
}

/// A sample of each. Of short runs the best of three, after one that brings
/// their data back into the caches.
void Sweep::turn(const std::vector<Point *> &ofThese,
                 std::map<const Point *, Samples> &samples) {
  constexpr double isShort = 20e3;
  for (Point *point : ofThese) {
    const ProductLayer &layer = point->layer;
    Samples &mine = samples[point];
    double best = 1e30, peak = 0;
    if (mine.microseconds.empty() || mine.microseconds[0] < isShort)
      point->running->run();
    for (int attempt = 0; attempt < 3; ++attempt) {
      peak = std::max(peak, dotPeak(*executor, dot));
      if (attempt == 0 || best < isShort)
        best = std::min(best, point->running->sample());
    }
    double share = layer.operations / (best * 1e-6) / peak;
    mine.operationShares.push_back(share);
    if (layer.m <= 16) {
      auto data = memory.first(size_t(layer.weightBytes));
      double reading = readRate(*executor, data);
      share = std::max(share, layer.weightBytes / (best * 1e-6) / reading);
    }
    mine.microseconds.push_back(best);
    mine.shares.push_back(share);
  }
}

/// Of each as many samples as there are turns, up and down by turns.
std::map<const Point *, Samples> Sweep::sample(std::vector<Point *> ofThese,
                                               unsigned turns) {
  std::map<const Point *, Samples> samples;
  for (unsigned number = 0; number < turns; ++number) {
    turn(ofThese, samples);
    std::reverse(ofThese.begin(), ofThese.end());
  }
  return samples;
}

Neighbours Sweep::neighboursOf(const Point &point) {
  Neighbours found;
  int64_t whole = (point.size + tile - 1) / tile * tile;
  for (Point &other : points) {
    if (other.size == whole && whole != point.size)
      found.whole = &other;
    if (other.size % tile != point.size % tile)
      continue;
    if (other.size < point.size)
      found.before = &other;
    if (other.size > point.size && !found.behind)
      found.behind = &other;
  }
  return found;
}

void Sweep::conclude(Point &point,
                     const std::map<const Point *, Samples> &samples) {
  if (options.axis != 'M' && point.size < 3 * tile)
    return;
  auto [before, behind, whole] = neighboursOf(point);
  const std::vector<double> &mine = samples.at(&point).shares;
  auto ratio = [&](auto expected) {
    std::vector<double> ratios;
    for (size_t turn = 0; turn < mine.size(); ++turn)
      ratios.push_back(mine[turn] / expected(turn));
    return Spread(ratios).median;
  };
  if (before && behind) {
    double weight = std::log(double(point.size) / before->size) /
                    std::log(double(behind->size) / before->size);
    const auto &low = samples.at(before).shares,
               &high = samples.at(behind).shares;
    point.classRatio = ratio([&](size_t turn) {
      return (1 - weight) * low[turn] + weight * high[turn];
    });
  }
  if (whole) {
    const auto &full = samples.at(whole).shares;
    point.wholeRatio = ratio([&](size_t turn) { return full[turn]; });
  }
}

void Sweep::measure() {
  list();
  std::vector<Point *> all;
  for (Point &point : points)
    all.push_back(&point);
  auto samples = sample(all, options.turns);
  for (Point &point : points) {
    conclude(point, samples);
    point.samples = samples.at(&point);
  }
  for (Point &point : points) {
    if (point.classRatio.value_or(1e30) >= options.classLimit &&
        point.wholeRatio.value_or(1e30) >= options.wholeLimit)
      continue;
    std::vector<Point *> few = neighboursOf(point).all();
    few.push_back(&point);
    auto again = sample(few, 2 * options.turns);
    conclude(point, again);
    point.samples = again.at(&point);
    point.isSecond = true;
  }
}

void Sweep::print() const {
  fmt::print("# {}; {}\n# tile of {} along {}; {} turns, {} thread{}\n",
             measure::processorName(), schedule, tile, options.axis,
             options.turns, options.threads, options.threads == 1 ? "" : "s");
  fmt::print("| {} | us | % of {} | share | class | whole | |\n"
             "| --- | --- | --- | --- | --- | --- | --- |\n",
             options.axis, dot.name());
  auto text = [](std::optional<double> ratio) {
    return ratio ? fmt::format("{:.2f}", *ratio) : "";
  };
  // Ratios that there are, those below their limit, and the least.
  struct Tally {
    unsigned count = 0, below = 0;
    double least = 1e30;
    bool add(std::optional<double> ratio, double limit) {
      if (!ratio)
        return false;
      ++count;
      least = std::min(least, *ratio);
      below += *ratio < limit;
      return *ratio < limit;
    }
    std::string text(std::string_view name) const {
      if (!count)
        return fmt::format("no {} ratio", name);
      return fmt::format("{} of {} {} ratios are below, the least is {:.2f}",
                         below, count, name, least);
    }
  } classes, wholes;
  for (const Point &point : points) {
    bool low = classes.add(point.classRatio, options.classLimit);
    low |= wholes.add(point.wholeRatio, options.wholeLimit);
    fmt::print("| {} | {:.1f} | {:.1f} | {:.2f} | {} | {} | {} |\n", point.size,
               Spread(point.samples.microseconds).median,
               100 * Spread(point.samples.operationShares).median,
               Spread(point.samples.shares).median, text(point.classRatio),
               text(point.wholeRatio),
               low              ? "below"
               : point.isSecond ? "again"
                                : "");
  }
  fmt::print("# {} sizes; {}; {}\n", points.size(), classes.text("class"),
             wholes.text("whole"));
}

nlohmann::json Sweep::json() const {
  nlohmann::json result = {{"processor", measure::processorName()},
                           {"schedule", schedule},
                           {"peak", dot.name()},
                           {"axis", std::string(1, options.axis)},
                           {"layer", options.kind},
                           {"m", options.m},
                           {"n", options.n},
                           {"k", options.k},
                           {"tile", tile},
                           {"threads", options.threads},
                           {"turns", options.turns},
                           {"points", nlohmann::json::array()}};
  for (const Point &point : points) {
    nlohmann::json one = {
        {"size", point.size},
        {"microseconds", Spread(point.samples.microseconds).median},
        {"of_peak", Spread(point.samples.operationShares).median},
        {"share", Spread(point.samples.shares).median},
        {"again", point.isSecond}};
    if (point.classRatio)
      one["class"] = *point.classRatio;
    if (point.wholeRatio)
      one["whole"] = *point.wholeRatio;
    result["points"].push_back(one);
  }
  return result;
}

int main(int argc, char **argv) {
  CLI::App app("Whether the cost of a product grows as its sizes do");
  Options options;
  std::vector<std::string> axes = {"M", "N", "K"};
  std::string file;
  app.add_option("axes", axes, "what takes many values, one after the other")
      ->check(CLI::IsMember({"M", "N", "K"}));
  app.add_option("--layer", options.kind, "int8, int4 (groups of 128) or bf16")
      ->check(CLI::IsMember({"int8", "int4", "bf16"}));
  auto size = CLI::Range(1, 1 << 20);
  app.add_option("-m", options.m, "rows, unless they are the axis")
      ->check(size)
      ->capture_default_str();
  app.add_option("-n", options.n, "columns")
      ->check(size)
      ->capture_default_str();
  app.add_option("-k", options.k, "elements of a sum")
      ->check(size)
      ->capture_default_str();
  app.add_option("--most", options.most,
                 "the largest size; without it 2048 of M, else 11008")
      ->check(CLI::Range(64, 1 << 16));
  app.add_option("--threads", options.threads, "CPU threads")
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  app.add_option("--turns", options.turns, "samples of each size")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  auto limit = CLI::Validator(
      [](std::string &text) {
        double value = std::strtod(text.c_str(), nullptr);
        return value >= 0 && value <= 1000 ? "" : "needed is 0 to 1000";
      },
      "RATIO");
  app.add_option("--class", options.classLimit, "least ratio within a class")
      ->check(limit)
      ->capture_default_str();
  app.add_option("--whole", options.wholeLimit, "least ratio to whole tiles")
      ->check(limit)
      ->capture_default_str();
  app.add_option("--json", file, "what was measured, for plot_sweep.py");
  CLI11_PARSE(app, argc, argv);
  if (options.kind == "int4" && std::count(axes.begin(), axes.end(), "K")) {
    fmt::print(stderr, "cpu_sweep_bench: int4 has groups of 128 along K: sweep "
                       "M or N, or another layer\n");
    return 2;
  }
  // What the file holds stays until there is something better.
  if (!file.empty() && !std::ofstream(file, std::ios::app)) {
    fmt::print(stderr, "cpu_sweep_bench: cannot write {}\n", file);
    return 2;
  }
  nlohmann::json sweeps = nlohmann::json::array();
  for (const std::string &axis : axes) {
    options.axis = axis[0];
    Sweep sweep(options);
    sweep.measure();
    sweep.print();
    std::fflush(stdout);
    sweeps.push_back(sweep.json());
    if (!file.empty())
      std::ofstream(file) << sweeps.dump(1) << "\n";
  }
  return 0;
}
