//===- nvrtc_cold.cpp - Compile time of emitted kernels -------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// How long a kernel takes from tile IR to cubin in a process that has compiled
// nothing before, the figure a user waits for: each measurement runs in a
// process of its own, and counts opening NVRTC, emission and compilation.
//
//     nvrtc_cold_bench [REPETITIONS] [ARCH...]
//
// prints the median and the least of every kernel and architecture. The
// targets are 300 ms, 350 ms with two accumulators, with NVRTC in the page
// cache and the machine otherwise idle.
//
//===----------------------------------------------------------------------===//

#include "tests/kernels/ContractCase.h"
#include "tests/kernels/KernelHarness.h"

#include "compiler/emit/cuda/CudaCompiler.h"
#include "dialects/tile/IR/Tile.h"

#include "mlir/Parser/Parser.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <sys/wait.h>
#include <unistd.h>

using namespace quern;
using namespace quern::test;

namespace {

struct Measured {
  double milliseconds = -1; ///< Negative: it failed.
  double inNvrtc = 0;
  uint32_t registers = 0, spillBytes = 0;
};

} // namespace

/// One compile in a child process.
static Measured measure(const ContractCase &c, const std::string &arch) {
  int ends[2];
  if (pipe(ends) != 0)
    return {};
  pid_t child = fork();
  if (child == 0) {
    Measured result;
    mlir::MLIRContext context(mlir::MLIRContext::Threading::DISABLED);
    context.loadDialect<tile::TileDialect>();
    auto module = mlir::parseSourceString<mlir::ModuleOp>(c.text(), &context);
    auto target = emit::CudaTarget::parse(arch);
    auto start = std::chrono::steady_clock::now();
    auto compiled = emit::compileTimed(*module, *target, {});
    if (compiled) {
      result.milliseconds = std::chrono::duration<double, std::milli>(
                                std::chrono::steady_clock::now() - start)
                                .count();
      result.inNvrtc = compiled->compileMilliseconds;
      result.registers = compiled->variant.kernels[0].registers;
      result.spillBytes = compiled->variant.kernels[0].spillBytes;
    }
    ssize_t written = write(ends[1], &result, sizeof(result));
    _exit(written == sizeof(result) ? 0 : 1);
  }
  close(ends[1]);
  Measured result;
  if (read(ends[0], &result, sizeof(result)) != sizeof(result))
    result = {};
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  return result;
}

int main(int argc, char **argv) {
  int repetitions = argc > 1 ? std::max(1, std::atoi(argv[1])) : 5;
  std::vector<std::string> archs(argv + std::min(argc, 2), argv + argc);
  if (archs.empty())
    archs = {"sm_80", "sm_89", "sm_90a", "sm_100a", "sm_120a"};
  struct Row {
    const char *name;
    ContractCase c;
  };
  std::vector<Row> rows(5);
  for (Row &row : rows)
    row.c.N = 4096, row.c.K = 4096;
  rows[0].name = "i8 linear";
  rows[1].name = "i8 gated, two accumulators";
  rows[1].c.terms = 2;
  rows[2].name = "i8 split by 128";
  rows[2].c.split = 128;
  rows[3].name = "f16";
  rows[3].c.lhs = rows[3].c.rhs = "f16";
  rows[4].name = "i8 linear, M <= 16";
  rows[4].c.maxM = 16;
  fmt::print("{:<28} {:<8} {:>8} {:>8} {:>8} {:>5} {:>6}\n", "kernel", "arch",
             "median", "least", "nvrtc", "regs", "spills");
  for (const Row &row : rows)
    for (const std::string &arch : archs) {
      std::vector<Measured> runs;
      for (int i = 0; i < repetitions; ++i)
        runs.push_back(measure(row.c, arch));
      std::sort(runs.begin(), runs.end(), [](auto &a, auto &b) {
        return a.milliseconds < b.milliseconds;
      });
      const Measured &middle = runs[runs.size() / 2];
      if (runs[0].milliseconds < 0) {
        fmt::print("{:<28} {:<8} failed\n", row.name, arch);
        continue;
      }
      fmt::print("{:<28} {:<8} {:>8.1f} {:>8.1f} {:>8.1f} {:>5} {:>6}\n",
                 row.name, arch, middle.milliseconds, runs[0].milliseconds,
                 middle.inNvrtc, middle.registers, middle.spillBytes);
    }
  return 0;
}
