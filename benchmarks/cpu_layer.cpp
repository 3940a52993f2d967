//===- cpu_layer.cpp - A whole layer on one CPU thread --------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Compiles a layer for this machine and times each of its launches: what the
// parts of a fused layer cost beside each other.
//
// Usage: cpu_layer_bench FILE [symbol value, default 128]...
//
//===----------------------------------------------------------------------===//

#include "CpuHarness.h"
#include "compiler/pipelines/Compiler.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <sstream>

using namespace quern;
using namespace quern::test;

/// Time of this thread on a CPU: what other processes take does not count.
static double milliseconds() {
  timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return 1e3 * time.tv_sec + 1e-6 * time.tv_nsec;
}

int main(int argc, char **argv) {
  if (argc < 2) {
    fmt::print(stderr, "usage: cpu_layer_bench FILE [symbol value]...\n");
    return 2;
  }
  std::ifstream file(argv[1]);
  std::stringstream text;
  text << file.rdbuf();
  std::string source = text.str();
  CompileRequest request;
  request.source = source;
  request.name = argv[1];
  if (std::getenv("QUERN_DUMP"))
    request.wanted = {Stage::Asm};
  double start = milliseconds();
  auto output = compileLayer(request);
  double total = milliseconds() - start;
  if (!output) {
    fmt::print(stderr, "{}\n", output.error().render());
    return 1;
  }
  for (const auto &stage : output->texts)
    fmt::print("{}\n", stage.text);
  fmt::print("compiled in {:.1f} ms:", total);
  for (const auto &time : output->times)
    fmt::print(" {} {:.1f}", time.phase, time.milliseconds);
  fmt::print("\n");

  CompiledProgram program(output->module.variants[0]);
  std::vector<int64_t> symbols(output->module.symbols.size(), 128);
  for (size_t i = 0; i < symbols.size() && int(i) + 2 < argc; ++i)
    symbols[i] = std::atoll(argv[i + 2]);
  program.allocate(symbols);
  // Ordinary numbers in every type: f16 and f32 near 1, small codes.
  for (GuardedMemory &buffer : program.memory)
    for (size_t i = 0; i + 4 <= buffer.size(); i += 4)
      *reinterpret_cast<uint32_t *>(buffer.data() + i) =
          0x3c003c00 + (i * 2654435761u >> 23);
  const auto &launches = program.variant.launches;
  for (int phase = 0; phase < 2; ++phase)
    for (size_t i = 0; i < launches.size(); ++i) {
      if (static_cast<int>(launches[i].phase) != phase)
        continue;
      std::vector<double> times;
      for (int turn = 0; turn < 9; ++turn) {
        start = milliseconds();
        program.runLaunch(i);
        times.push_back(milliseconds() - start);
      }
      std::sort(times.begin(), times.end());
      const KernelDesc &kernel = program.variant.kernels[launches[i].kernel];
      fmt::print("{:8.3f} ms  {} {} [{}]\n", times[times.size() / 2],
                 phase == 0 ? "prepare" : "run", kernel.name, kernel.schedule);
    }
  return 0;
}
