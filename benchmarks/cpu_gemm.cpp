//===- cpu_gemm.cpp - The int8 product against the machine's peak ---------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// One thread: y[M, N] = f32(sum a w) * s_a[m] * s_w[n] with int8 operands,
// N = K = 4096, for several M. The peak is a loop of 24 independent vpdpbusd;
// product and peak are measured in turns, so that both see the same clock and
// the same neighbours, and the ratio is the median over the turns.
//
// Usage: cpu_gemm [turns, default 15] [N] [K]
//
//===----------------------------------------------------------------------===//

#include "CpuHarness.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <ctime>

using namespace quern;
using namespace quern::test;

/// Time of this thread on a CPU: what other processes take does not count.
static double seconds() {
  timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return time.tv_sec + 1e-9 * time.tv_nsec;
}

/// Operations per second of 24 independent chains of vpdpbusd.
__attribute__((target("avx512f,avx512vnni"))) static double peak() {
  constexpr long rounds = 50000;
  double start = seconds();
  long count = rounds;
#define QUERN_PEAK_ONE(i) "vpdpbusd %%zmm30, %%zmm31, %%zmm" #i "\n"
#define QUERN_PEAK_ALL                                                         \
  QUERN_PEAK_ONE(0)                                                            \
  QUERN_PEAK_ONE(1)                                                            \
  QUERN_PEAK_ONE(2)                                                            \
  QUERN_PEAK_ONE(3)                                                            \
  QUERN_PEAK_ONE(4)                                                            \
  QUERN_PEAK_ONE(5)                                                            \
  QUERN_PEAK_ONE(6)                                                            \
  QUERN_PEAK_ONE(7)                                                            \
  QUERN_PEAK_ONE(8) QUERN_PEAK_ONE(9) QUERN_PEAK_ONE(10) QUERN_PEAK_ONE(11)    \
      QUERN_PEAK_ONE(12) QUERN_PEAK_ONE(13) QUERN_PEAK_ONE(14)                 \
          QUERN_PEAK_ONE(15) QUERN_PEAK_ONE(16) QUERN_PEAK_ONE(17)             \
              QUERN_PEAK_ONE(18) QUERN_PEAK_ONE(19) QUERN_PEAK_ONE(20)         \
                  QUERN_PEAK_ONE(21) QUERN_PEAK_ONE(22) QUERN_PEAK_ONE(23)
  asm volatile("1:\n" QUERN_PEAK_ALL QUERN_PEAK_ALL "dec %0\n jnz 1b\n"
               : "+r"(count)
               :
               : "cc", "zmm0", "zmm1", "zmm2", "zmm3", "zmm4", "zmm5", "zmm6",
                 "zmm7", "zmm8", "zmm9", "zmm10", "zmm11", "zmm12", "zmm13",
                 "zmm14", "zmm15", "zmm16", "zmm17", "zmm18", "zmm19", "zmm20",
                 "zmm21", "zmm22", "zmm23", "zmm30", "zmm31");
  return rounds * 48.0 * 128.0 / (seconds() - start);
}

static std::string product(int64_t n, int64_t k) {
  return fmt::format(R"mlir(
!A = !tile.buffer<()[s0] -> (s0, {1}), i8>
!W = !tile.buffer<()[s0] -> ({0}, {1}), i8>
!SA = !tile.buffer<()[s0] -> (s0, 1), f32>
!SW = !tile.buffer<()[s0] -> ({0}, 1), f32>
!Y = !tile.buffer<()[s0] -> (s0, {0}), f32>
#symbols = [#tile.symbol<"M", 1, 4096, 1>]
#id = affine_map<(d0, d1) -> (d0, d1)>
#row = affine_map<(d0) -> (d0, 0)>
tile.program @layer symbols #symbols numerics "strict" {{
  %a = tile.buffer "a" "codes" input : !A
  %sa = tile.buffer "a" "scales" input : !SA
  %w = tile.buffer "w" "codes" weight : !W
  %sw = tile.buffer "w" "scales" weight : !SW
  %y = tile.buffer "y" "values" output : !Y
  tile.launch @product (%a, %sa, %w, %sw, %y) : !A, !SA, !W, !SW, !Y
}}
tile.kernel @product attributes {{symbols = #symbols, writes = array<i1: false, false, false, false, true>, numerics_class = 0 : i32, reason = "benchmark"}} (%a: !A, %sa: !SA, %w: !W, %sw: !SW, %y: !Y) {{
  tile.contract {{extents = affine_map<()[s0] -> (s0, {0}, {1})>, num_batch = 0 : i64, num_lhs = 1 : i64, terms = array<i64: 0, 0>}}
  epilogue (%m: index, %n: index, %acc: i32) {{
    %f = arith.sitofp %acc : i32 to f32
    %0 = tile.load %sa at #row (%m) : !SA -> f32
    %1 = tile.load %sw at #row (%n) : !SW -> f32
    %2 = arith.mulf %f, %0 : f32
    %3 = arith.mulf %2, %1 : f32
    tile.store %3 to %y at #id (%m, %n) : f32, !Y
    tile.yield
  }}
  operand (%m: index, %k: index) {{
    %0 = tile.load %a at #id (%m, %k) : !A -> i8
    tile.yield %0 : i8
  }}
  operand (%n: index, %k: index) {{
    %0 = tile.load %w at #id (%n, %k) : !W -> i8
    tile.yield %0 : i8
  }}
}}
)mlir",
                     n, k);
}

static double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

int main(int argc, char **argv) {
  unsigned turns = argc > 1 ? std::atoi(argv[1]) : 15;
  int64_t n = argc > 2 ? std::atoll(argv[2]) : 4096;
  int64_t k = argc > 3 ? std::atoll(argv[3]) : 4096;
  Result<cpugen::CpuTarget> host = cpugen::CpuTarget::host();
  if (!host || !host->hasAvx512()) {
    fmt::print("no AVX-512 VNNI on this machine ({})\n",
               host ? host->name() : host.error().message);
    return 0;
  }
  const cpugen::CpuTarget &target = *host;
  CompiledProgram program(product(n, k), target);
  if (!program.error.empty()) {
    fmt::print(stderr, "{}\n", program.error);
    return 1;
  }
  fmt::print("{}\ncompile ms: emit {:.1f}, optimize {:.1f}, codegen {:.1f}, "
             "link {:.2f}\n",
             program.variant.kernels.back().schedule, program.times.emit,
             program.times.optimize, program.times.codegen, program.times.link);
  for (int64_t m : {1, 8, 16, 32, 64, 128, 512}) {
    program.allocate({m});
    for (GuardedMemory &buffer : program.memory)
      for (size_t i = 0; i < buffer.size(); i += 4)
        *reinterpret_cast<uint32_t *>(buffer.data() + i) = 0x3f012345;
    double start = seconds();
    program.runLaunch(0);
    double packing = seconds() - start;
    program.runLaunch(1);
    std::vector<double> ratios, rates;
    for (unsigned turn = 0; turn < turns; ++turn) {
      // The best of three each: a turn disturbed by another process counts
      // neither for nor against.
      double best = 0, rate = 0;
      for (int i = 0; i < 3; ++i) {
        best = std::max(best, peak());
        start = seconds();
        program.runLaunch(1);
        rate = std::max(rate, 2.0 * m * n * k / (seconds() - start));
      }
      ratios.push_back(100 * rate / best);
      rates.push_back(rate * 1e-9);
    }
    fmt::print("M {:4}  {:7.1f} GOPS  {:5.1f} % of peak (best {:.1f})   "
               "packing {:.2f} ms\n",
               m, median(rates), median(ratios),
               *std::max_element(ratios.begin(), ratios.end()), packing * 1e3);
  }
  return 0;
}
