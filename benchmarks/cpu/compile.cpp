//===- compile.cpp - How long a layer takes to compile for the CPU --------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// What a user waits for when a layer is met for the first time, and when its
// module is in the cache. Each sample is taken in a process of its own that has
// compiled nothing before (a child of this one, whose libraries are loaded), in
// milliseconds of this thread on a CPU: what other processes take does not
// count. The layers take turns; medians are printed.
//
//     cpu_compile_bench [--turns 15] [--target cpu] [--only NAME...]
//
// From the cache a module is found, read, verified and made executable; its
// weights are not packed yet.
//
//===----------------------------------------------------------------------===//

#include "benchmarks/OrExit.h"
#include "benchmarks/Spread.h"
#include "compiler/pipelines/Compiler.h"
#include "runtime/include/quern/quern.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <functional>
#include <sys/wait.h>
#include <unistd.h>

using namespace quern;
using namespace quern::bench;

namespace {

struct Row {
  std::string name;
  std::string text;
};

struct Sample {
  double milliseconds = 0;
  size_t kernels = 0;
};

} // namespace

static std::vector<Row> rows() {
  auto linear = [](std::string_view x, std::string_view weight) {
    return fmt::format("layer linear(x: {}[M, 4096], weight w: {}) -> "
                       "{}[M, 4096] {{\n"
                       "  xq = quantize(x, i8 per token)\n"
                       "  return xq @ w.T as {}\n}}\n",
                       x, weight, x, x);
  };
  return {
      {"int8", linear("f32", "i8[4096, 4096] * f32[4096, 1]")},
      {"int8 zero points",
       linear("f16", "(i8[4096, 4096] - i8[4096, 1]) * f16[4096, 1]")},
      {"int4 g128", linear("f32", "i4[4096, 4096] * f16[4096, 32]")},
      {"int4 g32", linear("f32", "i4[4096, 4096] * f16[4096, 128]")},
      {"bf16", "layer linear(x: bf16[M, 4096], weight w: bf16[4096, 4096]) -> "
               "f32[M, 4096] {\n  return x @ w.T\n}\n"},
      {"swiglu int8",
       "layer swiglu(x: f16[M, 4096],\n"
       "             weight g: i8[11008, 4096] * f32[11008, 1],\n"
       "             weight u: i8[11008, 4096] * f32[11008, 1],\n"
       "             weight d: i8[4096, 11008] * f32[4096, 1])\n"
       "    -> f16[M, 4096] {\n"
       "  xq = quantize(x, i8 per token)\n"
       "  h = silu(xq @ g.T) * (xq @ u.T) as f16\n"
       "  hq = quantize(h, i8 per token)\n"
       "  return hq @ d.T as f16\n}\n"},
      {"swiglu int4 g128",
       "layer swiglu(x: f16[M, 4096],\n"
       "             weight g: i4[11008, 4096] * f16[11008, 32],\n"
       "             weight u: i4[11008, 4096] * f16[11008, 32],\n"
       "             weight d: i4[4096, 11008] * f16[4096, 86])\n"
       "    -> f16[M, 4096] {\n"
       "  xq = quantize(x, i8 per token)\n"
       "  h = silu(xq @ g.T) * (xq @ u.T) as f16\n"
       "  hq = quantize(h, i8 per token)\n"
       "  return hq @ d.T as f16\n}\n"},
  };
}

/// Of this thread on a CPU.
static double milliseconds() {
  timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return 1e3 * time.tv_sec + 1e-6 * time.tv_nsec;
}

/// What `measure` gives in a process of its own.
static Sample inChild(const std::function<Sample()> &measure) {
  int ends[2];
  if (pipe(ends) != 0) {
    fmt::print(stderr, "no pipe: {}\n", std::strerror(errno));
    std::exit(1);
  }
  pid_t child = fork();
  if (child == 0) {
    Sample sample = measure();
    ssize_t written = write(ends[1], &sample, sizeof(sample));
    _exit(written == sizeof(sample) ? 0 : 1);
  }
  close(ends[1]);
  Sample sample;
  bool isWhole = read(ends[0], &sample, sizeof(sample)) == sizeof(sample);
  close(ends[0]);
  waitpid(child, nullptr, 0);
  if (!isWhole)
    std::exit(1); // The child has said why.
  return sample;
}

int main(int argc, char **argv) {
  CLI::App app("How long layers take to compile for the CPU");
  unsigned turns = 15;
  std::string target = "cpu";
  std::vector<std::string> only;
  app.add_option("--turns", turns, "samples of each figure")
      ->check(CLI::Range(1, 1000));
  app.add_option("--target", target, "the CPU's level");
  app.add_option("--only", only, "layers of these names");
  CLI11_PARSE(app, argc, argv);

  std::vector<Row> layers = rows();
  if (!only.empty())
    std::erase_if(layers, [&](const Row &row) {
      return std::ranges::find(only, row.name) == only.end();
    });
  std::string folder =
      (std::filesystem::temp_directory_path() / "quern-compile-XXXXXX")
          .string();
  if (!mkdtemp(folder.data())) {
    fmt::print(stderr, "no folder {}: {}\n", folder, std::strerror(errno));
    return 1;
  }

  std::vector<std::vector<double>> compiled(layers.size()), cached(compiled);
  std::vector<size_t> kernels(layers.size());
  CompileOptions options;
  options.target = target;
  options.cacheFolder = folder;
  for (unsigned turn = 0; turn <= turns; ++turn)
    for (size_t i = 0; i < layers.size(); ++i) {
      const Row &row = layers[i];
      Sample sample = inChild([&] {
        CompileRequest request;
        request.source = row.text;
        request.name = row.name;
        request.target = orExit(Target::parse(target));
        double start = milliseconds();
        CompileOutput output = orExit(compileLayer(request));
        return Sample{milliseconds() - start,
                      output.module.variants[0].kernels.size()};
      });
      Sample again = inChild([&] {
        double start = milliseconds();
        orExit(compile(row.text, options, row.name));
        return Sample{milliseconds() - start};
      });
      if (turn == 0) // It fills the cache.
        continue;
      compiled[i].push_back(sample.milliseconds);
      cached[i].push_back(again.milliseconds);
      kernels[i] = sample.kernels;
    }
  std::error_code ignored;
  std::filesystem::remove_all(folder, ignored);

  fmt::print("| layer | kernels | compile ms | from the cache ms |\n"
             "| --- | --- | --- | --- |\n");
  for (size_t i = 0; i < layers.size(); ++i) {
    Spread cold(compiled[i]), hit(cached[i]);
    fmt::print("| {} | {} | {:.1f} +- {:.1f} | {:.2f} +- {:.2f} |\n",
               layers[i].name, kernels[i], cold.median, cold.half, hit.median,
               hit.half);
  }
  return 0;
}
