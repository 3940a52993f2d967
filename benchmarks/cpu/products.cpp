//===- products.cpp - Layers of products against the machine's limits -----===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Whole layers, compiled from their text and run through the runtime, the
// quantization of the input per token included. Beside each sample the limits
// are measured (Limits.h), and what is printed is the median of the ratios:
//
//     GOPS, % of peak     of two operations per multiply-add of the products,
//                         and of vpdpbusd, or of vdpbf16ps where they are bf16
//     GB/s, % of reads    of the bytes of the weights, where rows are few
//
// "hot" runs use the same weights every time; "cold" ones take turns with as
// many copies of them as exceed any cache, as the blocks of a network would.
// Each turn takes every figure three times and keeps the best, so that a moment
// disturbed by another process counts neither for nor against.
//
// With --save texts and compiled modules are written to a folder, and with
// --beside those of another build (quern compile TEXT -o MODULE) are run in
// turns with this one's.
//
//===----------------------------------------------------------------------===//

#include "benchmarks/OrExit.h"
#include "benchmarks/Spread.h"
#include "benchmarks/cpu/Limits.h"
#include "compiler/pipelines/Compiler.h"
#include "runtime/include/quern/quern.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <sys/mman.h>

using namespace quern;
using namespace quern::bench;

namespace {

struct Row {
  std::string name;
  std::string text;
  int64_t m;
  double operations;  ///< Of a run.
  double weightBytes; ///< Of the codes, or of the numbers.
  bool cold = false;
};

/// A large piece of memory with few translations.
class LargeMemory {
public:
  explicit LargeMemory(size_t bytes) : bytes(bytes) {
    start =
        static_cast<std::byte *>(mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    madvise(start, bytes, MADV_HUGEPAGE);
    std::memset(start, 1, bytes);
  }
  LargeMemory(const LargeMemory &) = delete;
  ~LargeMemory() { munmap(start, bytes); }
  std::span<const std::byte> first(size_t count) const {
    return {start, std::min(count, bytes)};
  }

private:
  std::byte *start;
  size_t bytes;
};

class Running {
public:
  Running(std::span<const std::byte> module, const Row &row,
          std::shared_ptr<Executor> executor);
  /// Microseconds of a run: the mean over runs that take a millisecond or two
  /// together, or more where that is one.
  double sample();

private:
  void run();
  std::shared_ptr<Executor> executor;
  std::optional<Layer> layer;
  std::vector<Weights> weights;
  std::optional<Context> context;
  std::vector<std::vector<std::byte>> storage;
  std::vector<TensorView> inputs, outputs;
  size_t turn = 0;
  unsigned repeats = 1;
};

} // namespace

static void fill(std::vector<std::byte> &data, DType dtype,
                 std::minstd_rand &random) {
  std::normal_distribution<float> normal;
  for (size_t at = 0; at < data.size(); at += byteWidth(dtype)) {
    if (dtype == DType::F32) {
      float value = normal(random);
      std::memcpy(&data[at], &value, 4);
    } else if (dtype == DType::F16) {
      auto value = static_cast<_Float16>(normal(random));
      std::memcpy(&data[at], &value, 2);
    } else if (dtype == DType::BF16) {
      float value = normal(random);
      std::memcpy(&data[at], reinterpret_cast<std::byte *>(&value) + 2, 2);
    } else {
      data[at] = std::byte(random() % 255 - 127);
    }
  }
}

Running::Running(std::span<const std::byte> module, const Row &row,
                 std::shared_ptr<Executor> with)
    : executor(std::move(with)) {
  LoadOptions options;
  options.executor = executor;
  layer = orExit(load(module, options));
  std::minstd_rand random(7);
  std::vector<TensorView> constant;
  for (const Operand &operand : layer->operands()) {
    std::vector<int64_t> extents;
    for (const std::string &extent : operand.shape)
      extents.push_back(extent == "M" ? row.m : std::stoll(extent));
    TensorView view;
    view.name = operand.name;
    view.dtype = operand.dtype;
    view.shape = Shape(extents);
    std::vector<std::byte> data(*view.shape.elements() *
                                byteWidth(operand.dtype));
    if (operand.role != Operand::Role::Output)
      fill(data, operand.dtype, random);
    view.data = data.data();
    storage.push_back(std::move(data));
    (operand.role == Operand::Role::Weight  ? constant
     : operand.role == Operand::Role::Input ? inputs
                                            : outputs)
        .push_back(view);
  }
  size_t copies = row.cold ? size_t(std::ceil(3e8 / row.weightBytes)) : 1;
  for (size_t i = 0; i < copies; ++i)
    weights.push_back(orExit(layer->bindWeights(constant)));
  context = orExit(layer->makeContext(weights[0], {{"M", row.m, row.m}}));
  run();
  double start = now(*executor);
  for (size_t i = 0; i < copies; ++i)
    run();
  double once = (now(*executor) - start) / copies;
  repeats = std::clamp<double>(1e-3 / once, 1, 1000);
}

void Running::run() {
  if (weights.size() > 1)
    orExit(context->setWeights(weights[turn++ % weights.size()]));
  orExit(context->run(inputs, outputs));
}

double Running::sample() {
  double start = now(*executor);
  for (unsigned i = 0; i < repeats; ++i)
    run();
  return (now(*executor) - start) / repeats * 1e6;
}

static Row linear(int64_t m, int64_t n, int64_t k, bool cold = false) {
  Row row;
  row.name = fmt::format("linear {}x{}x{}{}", m, n, k, cold ? " cold" : "");
  row.text = fmt::format("layer linear(x: f32[M, {1}],\n"
                         "             weight w: i8[{0}, {1}] * f32[{0}, 1])\n"
                         "    -> f32[M, {0}] {{\n"
                         "  xq = quantize(x, i8 per token)\n"
                         "  return xq @ w.T\n}}\n",
                         n, k);
  row.m = m;
  row.operations = 2.0 * m * n * k;
  row.weightBytes = double(n) * k;
  row.cold = cold;
  return row;
}

/// Weights of four bits with a scale for each group.
static Row linear4(int64_t m, int64_t n, int64_t k, int64_t group,
                   bool cold = false) {
  Row row = linear(m, n, k, cold);
  row.name =
      fmt::format("int4 g{} {}x{}x{}{}", group, m, n, k, cold ? " cold" : "");
  row.text =
      fmt::format("layer linear(x: f32[M, {1}],\n"
                  "             weight w: i4[{0}, {1}] * f16[{0}, {1}/{2}])\n"
                  "    -> f32[M, {0}] {{\n"
                  "  xq = quantize(x, i8 per token)\n"
                  "  return xq @ w.T\n}}\n",
                  n, k, group);
  row.weightBytes /= 2;
  return row;
}

/// Weights and activations of bf16.
static Row linearBf16(int64_t m, int64_t n, int64_t k, bool cold = false) {
  Row row = linear(m, n, k, cold);
  row.name = fmt::format("bf16 {}x{}x{}{}", m, n, k, cold ? " cold" : "");
  row.text = fmt::format("layer linear(x: bf16[M, {1}],\n"
                         "             weight w: bf16[{0}, {1}])\n"
                         "    -> f32[M, {0}] {{\n"
                         "  return x @ w.T\n}}\n",
                         n, k);
  row.weightBytes *= 2;
  return row;
}

static Row swiglu(int64_t m, int64_t hidden, int64_t inner) {
  Row row;
  row.name = fmt::format("swiglu {}x{}x{}", m, hidden, inner);
  row.text =
      fmt::format("layer swiglu(x: f16[M, {0}],\n"
                  "             weight w_gate: i8[{1}, {0}] * f32[{1}, 1],\n"
                  "             weight w_up: i8[{1}, {0}] * f32[{1}, 1],\n"
                  "             weight w_down: i8[{0}, {1}] * f32[{0}, 1])\n"
                  "    -> f16[M, {0}] {{\n"
                  "  xq = quantize(x, i8 per token)\n"
                  "  h = silu(xq @ w_gate.T) * (xq @ w_up.T) as f16\n"
                  "  hq = quantize(h, i8 per token)\n"
                  "  return hq @ w_down.T\n}}\n",
                  hidden, inner);
  row.m = m;
  row.operations = 6.0 * m * hidden * inner;
  row.weightBytes = 3.0 * hidden * inner;
  return row;
}

/// The sizes of a sweep, "M=1..16,128", in place of one of the shape's.
static std::vector<Row> sweep(const std::string &text) {
  std::vector<Row> rows;
  char axis = text.empty() ? 'M' : text[0];
  size_t equals = text.find('=');
  std::stringstream list(equals == std::string::npos ? ""
                                                     : text.substr(equals + 1));
  for (std::string item; std::getline(list, item, ',');) {
    int64_t low = std::atoll(item.c_str()), high = low, step = 1;
    if (size_t dots = item.find(".."); dots != std::string::npos) {
      high = std::atoll(item.c_str() + dots + 2);
      if (size_t by = item.find('/'); by != std::string::npos)
        step = std::max<int64_t>(1, std::atoll(item.c_str() + by + 1));
    }
    for (int64_t size = low; size > 0 && size <= high; size += step)
      rows.push_back(linear(axis == 'M' ? size : 128, axis == 'N' ? size : 4096,
                            axis == 'K' ? size : 4096));
  }
  return rows;
}

struct Compiled {
  std::vector<std::byte> module;
  measure::Dot dot; ///< What its products are made of.
};

static Compiled compiled(const Row &row) {
  CompileRequest request;
  request.source = row.text;
  request.name = "bench";
  request.target = orExit(Target::parse("cpu"));
  CompileOutput output = orExit(compileLayer(request));
  const VariantDesc &variant = output.module.variants[0];
  Compiled result;
  for (const KernelDesc &kernel : variant.kernels) {
    fmt::print("#   {}: {}\n", kernel.name, kernel.schedule);
    if (auto dot = measure::dotOf(kernel.schedule, variant.target))
      result.dot = *dot;
  }
  result.module = output.module.serialize();
  return result;
}

/// The rows of a module are symbolic: one file for all of them.
static std::string fileOf(const std::string &folder, const Row &row,
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
  std::string save, beside, sizes;
  std::vector<std::string> only;
  app.add_option("--turns", turns, "samples of each row");
  app.add_option("--patience", patience,
                 "how often to wait for the processors to be free");
  app.add_option("--threads", threads)->delimiter(',');
  app.add_option("--save", save, "folder to write the modules to");
  app.add_option("--beside", beside, "folder of modules to run in turns");
  app.add_option("--sweep", sizes, "such as M=1..64,128..2048/128");
  app.add_option("--only", only, "rows whose name contains one of these")
      ->delimiter(',');
  CLI11_PARSE(app, argc, argv);

  std::vector<Row> all = {
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
  if (!sizes.empty())
    all = sweep(sizes);
  std::vector<Row> rows;
  for (const Row &row : all)
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
  std::map<std::string, Compiled> modules;
  for (const Row &row : rows) {
    auto [found, isFirst] = modules.try_emplace(row.text);
    if (isFirst)
      found->second = compiled(row);
    const auto &[module, dot] = found->second;
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
      Running running(module, row, executor);
      std::optional<Running> other;
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
