//===- Barrier.cpp - Barriers of a block and of a grid --------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// PTX ISA: "barrier{.cta}", "mbarrier", and the memory consistency model for
// the barrier of a grid. What is tested is that data passes: a barrier that
// does not hold its threads gives other values.
//
//===----------------------------------------------------------------------===//

#include "tests/conformance/Bench.h"

using namespace quern;
using namespace quern::conformance;

namespace {

void named(Bench &bench) {
  Words expected(256);
  for (uint32_t lot = 0; lot < 4; ++lot)
    for (uint32_t t = 0; t < 64; ++t)
      expected[lot * 64 + t] = lot * 1000 + (63 - t) * 7;
  Buffer out = bench.output(1024);
  bench.launch("barrier_named", {.block = {128}}, out);
  bench.expectBits("handed over", expected, bench.read<uint32_t>(out));
}

void reductions(Bench &bench) {
  for (int kind = 0; kind < 3; ++kind) {
    Words in(96), expected(96 * 3);
    uint32_t count = 0;
    for (uint32_t &v : in) {
      v = kind == 0 ? 1 : kind == 1 ? 0 : bench.random().below(2);
      count += v;
    }
    for (size_t t = 0; t < in.size(); ++t) {
      expected[t * 3] = count;
      expected[t * 3 + 1] = count == in.size();
      expected[t * 3 + 2] = count != 0;
    }
    Buffer out = bench.output(expected.size() * 4);
    bench.launch("barrier_reductions", {.block = {96}}, bench.input(in), out);
    bench.expectBits("reductions", expected, bench.read<uint32_t>(out));
  }
}

void grid(Bench &bench) {
  constexpr uint32_t blocks = 6, n = 64;
  Words in(blocks * n), expected(blocks * n), zero(1);
  for (uint32_t &v : in)
    v = bench.random().bits();
  for (uint32_t b = 0; b < blocks; ++b)
    for (uint32_t t = 0; t < n; ++t)
      for (uint32_t o = 0; o < blocks; ++o)
        expected[b * n + t] += in[o * n + (t + o) % n] * 3;
  Buffer data = bench.output(in.size() * 4, "data");
  Buffer out = bench.output(in.size() * 4, "out");
  bench.launch("barrier_grid",
               {.grid = {blocks}, .block = {n}, .cooperative = true},
               bench.input(in), data, bench.inout(zero, "counter"), out);
  bench.expectBits("sums over all blocks", expected, bench.read<uint32_t>(out));
}

void mbarriers(Bench &bench) {
  Words in(256), expected(256);
  for (uint32_t &v : in)
    v = bench.random().bits();
  for (uint32_t round = 0; round < 4; ++round)
    for (uint32_t t = 0; t < 64; ++t)
      expected[round * 64 + t] = in[round * 64 + (t + 1) % 64];
  Buffer out = bench.output(1024), pending = bench.output(1024, "pending");
  bench.launch("barrier_mbarrier", {.block = {64}}, bench.input(in), out,
               pending);
  bench.expectBits("neighbours", expected, bench.read<uint32_t>(out));
  // States are of before the arrival: 65 to 1 are pending, each number seen by
  // one arrival; the arrival of noComplete (whose state is not kept) is one of
  // them.
  Words counts = bench.read<uint32_t>(pending);
  for (int round = 0; round < 4; round += 2) {
    std::vector<bool> seen(66);
    bool fine = true;
    for (int t = 0; t < 64; ++t) {
      uint32_t count = counts[round * 64 + t];
      fine &= count >= 1 && count <= 65 && !seen[count];
      if (count <= 65)
        seen[count] = true;
    }
    bench.expect(fine, "pending_count gives a number twice, or one beyond 65");
  }
}

} // namespace

std::vector<Case> conformance::barrierCases() {
  return {{"barrier.sync, barrier.arrive", "barrier", named},
          {"barrier.red", "barrier", reductions},
          {"barrier of a cooperative grid", "barrier", grid},
          {"mbarrier by state and parity", "barrier", mbarriers}};
}
