//===- Control.cpp - Branches by index, parts of warps at barriers -------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// PTX ISA: "brx.idx", "barrier{.cta}": without .aligned a thread waits for
// those of its warp, from wherever they come.
//
//===----------------------------------------------------------------------===//

#include "tests/conformance/Bench.h"

using namespace quern;
using namespace quern::conformance;

namespace {

void choose(Bench &bench) {
  constexpr uint32_t values[] = {1, 20, 300, 4001};
  Words in(256), expected(256);
  for (size_t i = 0; i < in.size(); ++i) {
    in[i] = bench.random().below(4);
    expected[i] = values[in[i]];
  }
  Buffer out = bench.output(1024);
  bench.launch("control_switch", {.grid = {2}, .block = {128}}, bench.input(in),
               out);
  bench.expectBits("values", expected, bench.read<uint32_t>(out));
}

/// Nobody, everybody, halves, every other thread, and some.
Words masks(Bench &bench) {
  return {0, ~0u, 0xffff0000, 0x55555555, bench.random().bits()};
}

void meet(Bench &bench) {
  for (uint32_t high : masks(bench)) {
    Words expected(128);
    for (uint32_t t = 0; t < 128; ++t) {
      uint32_t other = 127 - t;
      expected[t] =
          other + (high >> other % 32 & 1 ? 1000 : 0) + (high >> t % 32 & 1);
    }
    Buffer out = bench.output(512);
    bench.launch("control_barrier", {.block = {128}}, high, out);
    bench.expectBits("what others wrote", expected, bench.read<uint32_t>(out));
  }
}

void arrive(Bench &bench) {
  for (uint32_t high : masks(bench)) {
    Words expected(64);
    for (uint32_t t = 0; t < 64; ++t)
      expected[t] = 3 * (63 - t) + 1;
    Buffer out = bench.output(256);
    bench.launch("control_arrive", {.block = {128}}, high, out);
    bench.expectBits("handed over", expected, bench.read<uint32_t>(out));
  }
}

} // namespace

std::vector<Case> conformance::controlCases() {
  return {{"brx.idx", "control", choose},
          {"barrier.sync of parts of warps", "control", meet},
          {"barrier.arrive of parts of warps", "control", arrive}};
}
