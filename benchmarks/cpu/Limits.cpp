//===- Limits.cpp - What the machine can do at most -----------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "benchmarks/cpu/Limits.h"

#include <algorithm>
#include <ctime>
#include <immintrin.h>

using namespace quern;
using namespace quern::bench;

double bench::now(const Executor &executor) {
  timespec time;
  clock_gettime(executor.threads() == 1 ? CLOCK_THREAD_CPUTIME_ID
                                        : CLOCK_MONOTONIC,
                &time);
  return double(time.tv_sec) + 1e-9 * double(time.tv_nsec);
}

double bench::dotPeak(Executor &executor, measure::Dot dot) {
  if (!measure::canRun(dot))
    return 0;
  constexpr uint64_t steps = 80000 * 48;
  double start = now(executor);
  executor.parallelFor(executor.threads(), 1,
                       [&](int64_t begin, int64_t end, unsigned) {
                         for (int64_t i = begin; i < end; ++i)
                           measure::dotSteps(dot, steps);
                       });
  return executor.threads() * (steps * dot.operations()) /
         (now(executor) - start);
}

double bench::clockRate(Executor &executor) {
  constexpr long rounds = 200000;
  long count = rounds, sum = 0;
  double start = now(executor);
  asm volatile("1:\n"
               "add $1, %1\n add $1, %1\n add $1, %1\n add $1, %1\n"
               "add $1, %1\n add $1, %1\n add $1, %1\n add $1, %1\n"
               "imul $1, %1, %1\n"
               "dec %0\n jnz 1b\n"
               : "+r"(count), "+r"(sum)
               :
               : "cc");
  // Eight additions of one cycle and a multiplication of three, so that no
  // processor joins the additions into one.
  return rounds * 11.0 / (now(executor) - start);
}

/// Reads four equal parts side by side, fetched ahead or not.
template <bool Fetches>
__attribute__((target("avx512f"))) static void
readStreams(const std::byte *data, size_t bytes) {
  constexpr size_t ahead = 2048;
  size_t part = bytes / 4;
  __m512i sums[4] = {};
  for (size_t at = 0; at + 128 <= part; at += 128)
    for (int stream = 0; stream < 4; ++stream) {
      const std::byte *from = data + stream * part + at;
      if (Fetches) {
        _mm_prefetch(reinterpret_cast<const char *>(from + ahead), _MM_HINT_T0);
        _mm_prefetch(reinterpret_cast<const char *>(from + ahead + 64),
                     _MM_HINT_T0);
      }
      sums[stream] = _mm512_xor_si512(sums[stream], _mm512_loadu_si512(from));
      sums[stream] =
          _mm512_xor_si512(sums[stream], _mm512_loadu_si512(from + 64));
    }
  // Used, so that nothing is left out.
  asm volatile("" : : "v"(sums[0]), "v"(sums[1]), "v"(sums[2]), "v"(sums[3]));
}

template <bool Fetches>
static double readOnce(Executor &executor, std::span<const std::byte> data) {
  size_t threads = executor.threads(), part = data.size() / threads;
  double start = now(executor);
  executor.parallelFor(threads, 1, [&](int64_t begin, int64_t end, unsigned) {
    for (int64_t i = begin; i < end; ++i)
      readStreams<Fetches>(data.data() + i * part, part);
  });
  return double(data.size()) / (now(executor) - start);
}

double bench::readRate(Executor &executor, std::span<const std::byte> data) {
  if (!__builtin_cpu_supports("avx512f"))
    return 0;
  return std::max(readOnce<true>(executor, data),
                  readOnce<false>(executor, data));
}
