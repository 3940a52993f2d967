//===- quantize.cpp - A quantizer alone, beside a copy --------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// What a dynamic quantization costs as a loop of its own: the baseline that
// fused placements are compared with has to be a good one. A quantizer reads a
// value and writes codes; beside it, in turn, as many bytes are read and
// written by memcpy, by as many threads. Printed is the quantizer's share of
// the copy's rate, the median over the turns with half the interquartile range,
// for values in a thread's second-level cache, in the shared one, and in
// memory.
//
//===----------------------------------------------------------------------===//

#include "benchmarks/OrExit.h"
#include "benchmarks/Spread.h"
#include "compiler/pipelines/Compiler.h"
#include "runtime/include/quern/quern.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <random>

using namespace quern;
using quern::bench::orExit;
using quern::bench::Spread;

namespace {

template <typename Run> double seconds(Run run, unsigned times) {
  auto start = std::chrono::steady_clock::now();
  for (unsigned i = 0; i < times; ++i)
    run();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start)
             .count() /
         times;
}

/// A layer that quantizes, with operands.
class Quantizer {
public:
  Quantizer(const std::string &type, const std::string &format, int64_t rows,
            int64_t columns, unsigned threads)
      : layer(compile(type, format, columns, threads)) {
    std::minstd_rand random(7);
    std::normal_distribution<float> normal;
    for (const Operand &operand : layer.operands()) {
      std::vector<int64_t> extents;
      for (const std::string &extent : operand.shape)
        extents.push_back(extent == "M" ? rows : std::stoll(extent));
      Shape shape(extents);
      size_t count = *shape.elements();
      std::vector<std::byte> data(count * byteWidth(operand.dtype));
      if (operand.role == Operand::Role::Input)
        for (size_t i = 0; i < count; ++i) {
          float value = normal(random);
          auto half = static_cast<_Float16>(value);
          if (operand.dtype == DType::F32)
            std::memcpy(data.data() + 4 * i, &value, 4);
          else
            std::memcpy(data.data() + 2 * i, &half, 2);
        }
      bytes += data.size();
      TensorView view;
      view.name = operand.name;
      view.dtype = operand.dtype;
      view.shape = shape;
      view.data = data.data();
      storage.push_back(std::move(data));
      (operand.role == Operand::Role::Input ? inputs : outputs).push_back(view);
    }
    context = orExit(layer.makeContext({}, {{"M", rows, rows}}));
  }

  void run() {
    if (Result<void> done = context->run(inputs, outputs); !done) {
      fmt::print(stderr, "{}\n", done.error().render());
      std::exit(1);
    }
  }

  size_t bytes = 0; ///< Read and written.

private:
  static Layer compile(const std::string &type, const std::string &format,
                       int64_t columns, unsigned threads) {
    // `i8 per token` of x is the type `i8[M, K] per token`.
    size_t at = format.find(" per ");
    std::string result =
        format.front() == '('
            ? fmt::format("(u8[M, {}] - u8)", columns)
            : fmt::format("{}[M, {}]", format.substr(0, at), columns);
    std::string text = fmt::format(
        "layer q(x: {}[M, {}]) -> {}{} {{\n  return quantize(x, {})\n}}\n",
        type, columns, result, format.substr(at), format);
    CompileRequest request;
    request.source = text;
    request.name = "quantize";
    CompileOutput output = orExit(compileLayer(request));
    std::vector<std::byte> bytes = output.module.serialize();
    LoadOptions options;
    options.executor = makeExecutor(threads);
    return orExit(load(bytes, options));
  }

  Layer layer;
  std::optional<Context> context;
  std::vector<std::vector<std::byte>> storage;
  std::vector<TensorView> inputs, outputs;
};

/// Copies half of `bytes` to the other half.
class Copy {
public:
  Copy(size_t bytes, unsigned threads)
      : from(bytes / 2, std::byte(1)), to(bytes / 2),
        executor(makeExecutor(threads)) {}

  void run() {
    constexpr int64_t piece = 16 << 10;
    int64_t pieces = (int64_t(from.size()) + piece - 1) / piece;
    executor->parallelFor(pieces, 1, [&](int64_t begin, int64_t end, unsigned) {
      int64_t first = begin * piece;
      int64_t last = std::min<int64_t>(end * piece, from.size());
      std::memcpy(to.data() + first, from.data() + first, last - first);
    });
  }

private:
  std::vector<std::byte> from, to;
  std::shared_ptr<Executor> executor;
};

} // namespace

int main(int argc, char **argv) {
  CLI::App app("A quantizer alone, beside a copy of as many bytes");
  std::vector<std::string> types = {"f16", "f32"};
  std::vector<std::string> formats = {"i8 per token", "i8 per group(128)",
                                      "i8 per tensor", "(u8 - u8) per token",
                                      "f8e4m3 per token"};
  std::vector<unsigned> threads = {1, 2};
  unsigned samples = 15;
  app.add_option("--type", types, "of the value");
  app.add_option("--format", formats, "of the codes, as in \"i8 per token\"")
      ->check([](const std::string &format) {
        return format.find(" per ") == std::string::npos
                   ? std::string("codes and blocks are wanted, as in "
                                 "\"i8 per token\"")
                   : std::string();
      });
  app.add_option("--threads", threads);
  app.add_option("--samples", samples)->check(CLI::Range(3, 1000));
  CLI11_PARSE(app, argc, argv);

  fmt::print("{:<6} {:<22} {:>7} {:>6}x{:<6} {:>10}  {:>14} {:>10}\n", "value",
             "codes", "threads", "rows", "cols", "us", "share of copy",
             "copy GB/s");
  for (const std::string &type : types)
    for (const std::string &format : formats)
      for (unsigned count : threads)
        // Of f16: 384 KiB, 6 MiB and 192 MiB in all.
        for (auto [rows, columns] : {std::pair<int64_t, int64_t>{128, 1024},
                                     {512, 4096},
                                     {16384, 4096}}) {
          Quantizer quantizer(type, format, rows, columns, count);
          Copy copy(quantizer.bytes, count);
          double once = seconds([&] { quantizer.run(); }, 3);
          auto times =
              static_cast<unsigned>(std::clamp(2e-3 / once, 1.0, 1000.0));
          std::vector<double> shares, us, rates;
          for (unsigned s = 0; s < samples; ++s) {
            double copied = seconds([&] { copy.run(); }, times);
            double taken = seconds([&] { quantizer.run(); }, times);
            shares.push_back(copied / taken);
            us.push_back(1e6 * taken);
            rates.push_back(1e-9 * quantizer.bytes / copied);
          }
          Spread share(shares);
          fmt::print("{:<6} {:<22} {:>7} {:>6}x{:<6} {:>10.1f}  {:>5.1f} % +- "
                     "{:<4.1f} {:>8.1f}\n",
                     type, format, count, rows, columns, Spread(us).median,
                     100 * share.median, 100 * share.half,
                     Spread(rates).median);
          std::fflush(stdout);
        }
  return 0;
}
