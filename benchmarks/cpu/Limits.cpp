//===- Limits.cpp - What the machine can do at most -----------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "benchmarks/cpu/Limits.h"

#include <algorithm>
#include <ctime>

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

/// 64 bytes from anywhere, in one register of AVX-512 or two of AVX2.
using Line = uint64_t __attribute__((vector_size(64), aligned(1)));

/// Reads four equal parts side by side, fetched ahead or not.
template <bool Fetches>
[[gnu::always_inline]] static inline void readLines(const std::byte *data,
                                                    size_t bytes) {
  constexpr size_t ahead = 2048;
  size_t part = bytes / 4;
  Line sums[4] = {};
  for (size_t at = 0; at + 128 <= part; at += 128)
    for (int stream = 0; stream < 4; ++stream) {
      const std::byte *from = data + stream * part + at;
      if (Fetches) {
        __builtin_prefetch(from + ahead);
        __builtin_prefetch(from + ahead + 64);
      }
      auto *lines = reinterpret_cast<const Line *>(from);
      sums[stream] ^= lines[0];
      sums[stream] ^= lines[1];
    }
  // Used, so that nothing is left out.
  for (Line &sum : sums)
    asm volatile("" : : "m"(sum));
}

template <bool Fetches>
__attribute__((target("avx512f"))) static void readWide(const std::byte *data,
                                                        size_t bytes) {
  readLines<Fetches>(data, bytes);
}
template <bool Fetches>
__attribute__((target("avx2"))) static void readNarrow(const std::byte *data,
                                                       size_t bytes) {
  readLines<Fetches>(data, bytes);
}

template <bool Fetches>
static double readOnce(Executor &executor, std::span<const std::byte> data) {
  size_t threads = executor.threads(), part = data.size() / threads;
  auto read = __builtin_cpu_supports("avx512f") ? readWide<Fetches>
                                                : readNarrow<Fetches>;
  double start = now(executor);
  executor.parallelFor(threads, 1, [&](int64_t begin, int64_t end, unsigned) {
    for (int64_t i = begin; i < end; ++i)
      read(data.data() + i * part, part);
  });
  return double(data.size()) / (now(executor) - start);
}

double bench::readRate(Executor &executor, std::span<const std::byte> data) {
  if (!__builtin_cpu_supports("avx2"))
    return 0;
  return std::max(readOnce<true>(executor, data),
                  readOnce<false>(executor, data));
}
