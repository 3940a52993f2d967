//===- Cluster.cpp - Clusters and distributed shared memory ---------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// PTX ISA: "mapa", "getctarank", "barrier.cluster", "st.async", "red.async",
// "elect.sync",
// "griddepcontrol", and the special registers of clusters.
//
//===----------------------------------------------------------------------===//

#include "tests/conformance/Bench.h"

#include <algorithm>

using namespace quern;
using namespace quern::conformance;

namespace {

void memory(Bench &bench) {
  constexpr uint32_t blocks = 8, size = 4;
  Words expected(blocks * 64 * 8);
  for (uint32_t b = 0; b < blocks; ++b)
    for (uint32_t t = 0; t < 64; ++t) {
      uint32_t rank = b % size, next = (rank + 1) % size;
      uint32_t before = (rank + size - 1) % size;
      uint32_t *to = &expected[(b * 64 + t) * 8];
      to[0] = rank;
      to[1] = size;
      to[2] = b / size;
      to[3] = blocks / size;
      to[4] = (b - rank + next) * 1000 + 63 - t;
      to[5] = next;
      to[6] = before * 77 + t;
      to[7] = rank == 0 ? 100 + size * (64 * 65 / 2) : 0;
    }
  Buffer out = bench.output(expected.size() * 4);
  bench.launch("cluster_memory",
               {.grid = {blocks}, .block = {64}, .cluster = size}, out);
  bench.expectBits("cluster", expected, bench.read<uint32_t>(out));
}

void asynchronous(Bench &bench) {
  constexpr uint32_t blocks = 8;
  Words expected(blocks * 256);
  for (uint32_t b = 0; b < blocks; ++b)
    for (uint32_t i = 0; i < 256; ++i) {
      uint32_t before = (b % 4 + 3) % 4, t = i / 4;
      const uint32_t words[] = {before * 10000 + t, 1, 2, 3 + t};
      expected[b * 256 + i] = words[i % 4];
    }
  Buffer out = bench.output(expected.size() * 4);
  bench.launch("cluster_async", {.grid = {blocks}, .block = {64}, .cluster = 4},
               out);
  bench.expectBits("stored by the block before", expected,
                   bench.read<uint32_t>(out));
}

void elect(Bench &bench) {
  for (uint32_t mask : {0xffffffffu, 0x00010000u, 0x5a5a5a58u}) {
    Buffer out = bench.output(64 * 4);
    bench.launch("cluster_elect", {}, mask, out);
    Words words = bench.read<uint32_t>(out);
    int elected = 0;
    uint32_t leader = ~0u;
    bool agree = true;
    for (uint32_t l = 0; l < 32; ++l) {
      if (!(mask >> l & 1))
        continue;
      if (leader == ~0u)
        leader = words[l * 2];
      agree &= words[l * 2] == leader;
      elected += words[l * 2 + 1] == 1;
      agree &= (words[l * 2 + 1] == 1) == (l == leader);
    }
    bench.expect(agree, "lanes disagree on who is elected");
    bench.expect(elected == 1, "not exactly one lane is elected");
    bench.expect(leader < 32 && (mask >> leader & 1),
                 "the elected lane is not in the mask");
  }
}

void dependent(Bench &bench) {
  constexpr uint32_t blocks = 4, n = 64;
  Words expected(blocks * n);
  for (uint32_t i = 0; i < blocks * n; ++i) {
    uint32_t from = blocks * n - 1 - i;
    expected[i] = from / n * 100 + from % n;
  }
  Buffer data = bench.output(expected.size() * 4, "data");
  Buffer out = bench.output(expected.size() * 4, "out");
  bench.launch("depend_first", {.grid = {blocks}, .block = {n}}, data);
  bench.launch("depend_second",
               {.grid = {blocks}, .block = {n}, .dependent = true}, data, out);
  bench.expectBits("what the grid before wrote", expected,
                   bench.read<uint32_t>(out));
}

/// Each block's 64 numbers combined into 32 words of the next one.
template <typename T>
void combine(Bench &bench, const char *kernel, T (*apply)(T, T),
             bool sameOperands = false) {
  Random &random = bench.random();
  std::vector<T> begin(32), in(4 * 64), expected(4 * 32);
  for (T &x : begin)
    x = static_cast<T>(sameOperands ? random.below(6) : random.next());
  for (T &x : in)
    x = static_cast<T>(sameOperands ? 4 : random.next());
  for (size_t block = 0; block < 4; ++block)
    for (size_t i = 0; i < 32; ++i) {
      const T *from = &in[(block + 3) % 4 * 64 + 2 * i];
      expected[block * 32 + i] = apply(apply(begin[i], from[0]), from[1]);
    }
  Buffer out = bench.output(expected.size() * sizeof(T));
  bench.launch(kernel, {.grid = {4}, .block = {64}, .cluster = 4},
               bench.input(begin, "begin"), bench.input(in), out);
  bench.expectBits(kernel, expected, bench.read<T>(out));
}

void reductions(Bench &bench) {
  using U = uint32_t;
  combine<U>(bench, "cluster_add_u32", [](U x, U y) { return x + y; });
  combine<int32_t>(bench, "cluster_min_s32",
                   [](int32_t x, int32_t y) { return std::min(x, y); });
  combine<U>(bench, "cluster_max_u32", [](U x, U y) { return std::max(x, y); });
  combine<U>(bench, "cluster_and_b32", [](U x, U y) { return x & y; });
  combine<U>(bench, "cluster_or_b32", [](U x, U y) { return x | y; });
  combine<U>(bench, "cluster_xor_b32", [](U x, U y) { return x ^ y; });
  // The order shows unless all bring the same.
  combine<U>(
      bench, "cluster_inc_u32", [](U x, U y) { return x >= y ? 0 : x + 1; },
      true);
  combine<U>(
      bench, "cluster_dec_u32",
      [](U x, U y) { return x == 0 || x > y ? y : x - 1; }, true);
  combine<uint64_t>(bench, "cluster_add_u64",
                    [](uint64_t x, uint64_t y) { return x + y; });
}

} // namespace

std::vector<Case> conformance::clusterCases() {
  return {
      {"distributed shared memory, mapa, cluster barrier", "cluster", memory},
      {"st.async, remote mbarrier arrive", "cluster", asynchronous},
      {"red.async", "cluster", reductions},
      {"elect.sync", "cluster", elect},
      {"griddepcontrol", "cluster", dependent}};
}
