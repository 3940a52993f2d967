//===- Warp.cpp - shfl, vote, match, redux --------------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// PTX ISA: "shfl.sync", "vote.sync", "match.sync", "redux.sync". `shfl` as its
// pseudo code has it: c holds the clamp in bits 0-4 and the segment mask in
// bits 8-12.
//
//===----------------------------------------------------------------------===//

#include "tests/conformance/Bench.h"

#include <algorithm>
#include <string>

using namespace quern;
using namespace quern::conformance;

namespace {

void shuffles(Bench &bench) {
  Random &random = bench.random();
  Words values(32), lanes(32);
  // Whole warps, segments of 16, 8 and 2, clamps within segments, and `up`'s
  // clamp of 0.
  for (uint32_t c : {0x1fu, 0x0u, 0x101fu, 0x1000u, 0x181fu, 0x1800u, 0x1e1fu,
                     0x1803u, 0x000bu}) {
    for (int l = 0; l < 32; ++l) {
      values[l] = random.bits();
      lanes[l] = random.below(40);
    }
    Words expected(4 * 64);
    for (int mode = 0; mode < 4; ++mode)
      for (int lane = 0; lane < 32; ++lane) {
        int b = lanes[lane] & 31, clamp = c & 31, segment = c >> 8 & 31;
        int most = (lane & segment) | (clamp & ~segment);
        int least = lane & segment;
        int source = mode == 0   ? lane - b
                     : mode == 1 ? lane + b
                     : mode == 2 ? lane ^ b
                                 : least | (b & ~segment);
        bool within = mode == 0 ? source >= most : source <= most;
        expected[mode * 64 + lane] = values[within ? source : lane];
        expected[mode * 64 + 32 + lane] = within;
      }
    Buffer out = bench.output(expected.size() * 4);
    bench.launch("warp_shuffle", {}, bench.input(values, "values"),
                 bench.input(lanes, "lanes"), c, out);
    bench.expectBits("c = " + std::to_string(c), expected,
                     bench.read<uint32_t>(out));
  }
}

/// What the lanes of one mask get.
void expectVotes(const Words &a, uint32_t mask, const std::vector<int> &active,
                 Words &expected) {
  auto lanesWhere = [&](auto holds) {
    uint32_t found = 0;
    for (int l : active)
      found |= uint32_t(holds(l)) << l;
    return found;
  };
  uint32_t odd = lanesWhere([&](int l) { return a[l] & 1; });
  for (int l : active) {
    auto put = [&](int row, uint32_t v) { expected[row * 32 + l] = v; };
    put(0, odd == mask);
    put(1, odd != 0);
    put(2, odd == mask || odd == 0);
    put(3, odd);
    put(4, lanesWhere([&](int o) { return a[o] % 5 == a[l] % 5; }));
    uint32_t equal = lanesWhere([&](int o) { return a[o] == a[l]; });
    bool all = equal == mask;
    put(5, all ? mask : 0);
    put(6, all);
    put(7, lanesWhere([&](int o) { return a[o] % 3 == a[l] % 3; }));
    auto reduce = [&](int row, auto op) {
      uint32_t r = a[active[0]];
      for (size_t i = 1; i < active.size(); ++i)
        r = op(r, a[active[i]]);
      put(row, r);
    };
    auto add = [](uint32_t x, uint32_t y) { return x + y; };
    auto s = [](uint32_t x) { return static_cast<int32_t>(x); };
    reduce(8, add);
    reduce(9, add);
    reduce(10, [](uint32_t x, uint32_t y) { return std::min(x, y); });
    reduce(11, [](uint32_t x, uint32_t y) { return std::max(x, y); });
    reduce(12, [=](uint32_t x, uint32_t y) { return s(x) < s(y) ? x : y; });
    reduce(13, [=](uint32_t x, uint32_t y) { return s(x) > s(y) ? x : y; });
    reduce(14, [](uint32_t x, uint32_t y) { return x & y; });
    reduce(15, [](uint32_t x, uint32_t y) { return x | y; });
    reduce(16, [](uint32_t x, uint32_t y) { return x ^ y; });
  }
}

/// The groups that lanes 0 to 31 make, as masks; one mask for all of them.
struct Groups {
  const char *name;
  std::vector<uint32_t> masks;
};

void votes(Bench &bench) {
  Random &random = bench.random();
  const Groups all[] = {
      {"the whole warp", {0xffffffff}},
      {"its lower half", {0x0000ffff}},
      {"the first and the last", {0x80000001}},
      {"a pattern", {0x5a5a5a5a}},
      {"tiles of 8", {0xff, 0xff00, 0xff0000, 0xff000000}},
      {"two interleaved groups", {0x5a5a5a5a, 0xa5a5a5a5}},
      {"groups of one, some, and none", {0x1, 0x2, 0x0ff00ffc, 0xf0000000}}};
  for (const Groups &groups : all)
    for (int kind = 0; kind < 4; ++kind) {
      Words a(32), masks(32);
      uint32_t same = random.bits() | 1;
      for (uint32_t &x : a)
        x = kind == 0 ? same : kind == 1 ? same & ~1u : random.bits();
      // Different answers for different groups.
      if (groups.masks.size() > 1 && kind == 0)
        for (int l = 0; l < 32; ++l)
          a[l] += groups.masks[0] >> l & 1;
      Words expected(17 * 32, 0xcdcdcdcd);
      for (uint32_t mask : groups.masks) {
        std::vector<int> active;
        for (int l = 0; l < 32; ++l)
          if (mask >> l & 1) {
            active.push_back(l);
            masks[l] = mask;
          }
        expectVotes(a, mask, active, expected);
      }
      Buffer out = bench.output(expected.size() * 4);
      bench.launch("warp_votes", {}, bench.input(a, "values"),
                   bench.input(masks, "masks"), out);
      bench.expectBits(groups.name + (", values " + std::to_string(kind)),
                       expected, bench.read<uint32_t>(out));
    }
}

} // namespace

std::vector<Case> conformance::warpCases() {
  return {{"shfl.sync", "warp", shuffles},
          {"vote, match, redux", "warp", votes}};
}
