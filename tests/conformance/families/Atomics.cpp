//===- Atomics.cpp - atom and red -----------------------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// PTX ISA: "atom", "red". In which order threads come is open, so what is
// compared does not depend on it: final values of operations that commute (the
// float sums are of small integers, hence exact), and of those that do not,
// that no value was lost or seen twice.
//
//===----------------------------------------------------------------------===//

#include "tests/conformance/Bench.h"
#include "tests/conformance/Codecs.h"

#include <algorithm>
#include <cstring>

using namespace quern;
using namespace quern::conformance;

namespace {

constexpr int wordOperations = 17, longOperations = 5, slotCount = 8;

void run(Bench &bench, const char *kernel, unsigned blocks) {
  Random &random = bench.random();
  int n = static_cast<int>(blocks) * 256;
  Words slots(n), values(n);
  for (uint32_t &s : slots)
    s = random.below(slotCount);
  for (uint32_t &v : values)
    v = random.bits();
  Words words(wordOperations * slotCount);
  for (size_t i = 0; i < words.size(); ++i)
    words[i] = i / slotCount == 9 || i / slotCount == 10 ? 0 : random.below(9);
  for (int s = 0; s < slotCount; ++s)
    words[3 * slotCount + s] = ~0u;
  std::vector<uint64_t> longs(longOperations * slotCount, 7);
  for (int s = 0; s < slotCount; ++s)
    longs[4 * slotCount + s] = 0;

  Buffer dWords = bench.inout(words, "words"),
         dLongs = bench.inout(longs, "longs");
  Buffer old = bench.output(sizeof(uint32_t) * 11 * n, "old");
  bench.launch(kernel, {.grid = {blocks}, .block = {256}},
               bench.input(slots, "slots"), bench.input(values, "values"),
               dWords, dLongs, old);

  Words expected = words;
  std::vector<uint64_t> expectedLongs = longs;
  std::vector<int> count(slotCount);
  auto s32 = [](uint32_t x) { return static_cast<int32_t>(x); };
  std::vector<uint32_t> floatSum(slotCount);
  std::vector<double> doubleSum(slotCount);
  std::vector<double> lowSum(slotCount), highSum(slotCount);
  for (int i = 0; i < n; ++i) {
    uint32_t s = slots[i], v = values[i];
    auto at = [&](int k) -> uint32_t & { return expected[k * slotCount + s]; };
    ++count[s];
    at(0) += v;
    at(1) = std::min(s32(at(1)), s32(v));
    at(2) = std::max(at(2), v);
    at(3) &= v;
    at(4) |= v;
    at(5) ^= v;
    at(6) = at(6) >= 10 ? 0 : at(6) + 1;
    at(7) = at(7) == 0 || at(7) > 10 ? 10 : at(7) - 1;
    floatSum[s] += v & 255;
    // The halves hold subnormal f16 numbers, multiples of 2^-14.
    lowSum[s] += decode(f16, (v & 3) * 0x400);
    highSum[s] += decode(f16, (v >> 16 & 3) * 0x400);
    at(11) += v;
    at(12) = std::max(s32(at(12)), s32(v));
    at(13) = std::min(at(13), v);
    at(14) |= v;
    at(15) = at(15) >= 12 ? 0 : at(15) + 1;
    at(16) += v;
    uint64_t y = static_cast<uint64_t>(v) << 20 | v;
    auto wide = [&](int k) -> uint64_t & {
      return expectedLongs[k * slotCount + s];
    };
    wide(0) += y;
    wide(1) = std::min(wide(1), y);
    wide(2) = static_cast<uint64_t>(
        std::max(static_cast<int64_t>(wide(2)), static_cast<int64_t>(y)));
    wide(3) ^= y;
    doubleSum[s] += static_cast<double>(y & 255);
  }
  for (int s = 0; s < slotCount; ++s) {
    expected[9 * slotCount + s] = asBits(static_cast<float>(floatSum[s]));
    expected[10 * slotCount + s] =
        encode(f16, lowSum[s], Round::Even, false, 0) |
        encode(f16, highSum[s], Round::Even, false, 0) << 16;
    std::memcpy(&expectedLongs[4 * slotCount + s], &doubleSum[s], 8);
  }
  Words final = bench.read<uint32_t>(dWords);
  Words returned = bench.read<uint32_t>(old);
  // exch: what was there, what was put there, what is there now: all of the
  // first two come out as returns and the last.
  for (int s = 0; s < slotCount; ++s) {
    Words in = {words[8 * slotCount + s]}, out = {final[8 * slotCount + s]};
    for (int i = 0; i < n; ++i)
      if (static_cast<int>(slots[i]) == s) {
        in.push_back(values[i]);
        out.push_back(returned[8 * n + i]);
      }
    std::sort(in.begin(), in.end());
    std::sort(out.begin(), out.end());
    bench.expect(in == out, "exch lost or repeated a value");
    expected[8 * slotCount + s] = final[8 * slotCount + s] = 0;
  }
  bench.expectBits("32-bit operations", expected, final);
  bench.expectBits("64-bit operations", expectedLongs,
                   bench.read<uint64_t>(dLongs));
  // add: every return is a sum of some of the values; the first to come sees
  // the initial one.
  for (int s = 0; s < slotCount; ++s) {
    bool found = !count[s];
    for (int i = 0; i < n; ++i)
      found |= static_cast<int>(slots[i]) == s && returned[i] == words[s];
    bench.expect(found, "no thread's add saw the initial value");
  }
}

} // namespace

std::vector<Case> conformance::atomicCases() {
  return {{"atom and red, global memory", "atomics",
           [](Bench &bench) { run(bench, "atomics_global", 4); }},
          {"atom and red, shared memory", "atomics",
           [](Bench &bench) { run(bench, "atomics_shared", 1); }}};
}
