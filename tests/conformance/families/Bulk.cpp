//===- Bulk.cpp - Bulk copies without a tensor map ------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// PTX ISA: "cp.async.bulk", "cp.reduce.async.bulk".
//
//===----------------------------------------------------------------------===//

#include "tests/conformance/Bench.h"
#include "tests/conformance/Codecs.h"

#include <algorithm>

using namespace quern;
using namespace quern::conformance;

namespace {

constexpr size_t tileWords = 4096;

Words randomWords(Bench &bench, size_t count) {
  Words words(count);
  for (uint32_t &w : words)
    w = bench.random().bits();
  return words;
}

void load(Bench &bench) {
  Words in = randomWords(bench, tileWords);
  for (uint32_t bytes : {16u, 528u, 16000u}) {
    Words expected(tileWords, 0xcdcdcdcd);
    std::copy_n(in.begin(), bytes / 4, expected.begin() + 16);
    Buffer out = bench.output(tileWords * 4);
    bench.launch("bulk_load", {.block = {128}}, bench.input(in), bytes, out);
    bench.expectBits(std::to_string(bytes) + " bytes", expected,
                     bench.read<uint32_t>(out));
  }
}

void store(Bench &bench) {
  Words in = randomWords(bench, tileWords);
  constexpr uint32_t bytes = 4096 + 48;
  Words expected(tileWords, 0xcdcdcdcd);
  std::copy_n(in.begin(), bytes / 4, expected.begin());
  Buffer out = bench.output(tileWords * 4);
  bench.launch("bulk_store", {.block = {128}}, bench.input(in), bytes, out);
  bench.expectBits("global memory", expected, bench.read<uint32_t>(out));
}

using Operation = uint32_t (*)(uint32_t there, uint32_t given);
struct Reduction {
  const char *kernel;
  Operation operation;
};

uint32_t addHalves(const Format &format, uint32_t a, uint32_t b) {
  uint32_t both = 0;
  for (int h = 0; h < 2; ++h)
    both |= encode(format,
                   decode(format, a >> 16 * h & 0xffff) +
                       decode(format, b >> 16 * h & 0xffff),
                   Round::Even, false, 0x7fff)
            << 16 * h;
  return both;
}

const Reduction reductions[] = {
    {"bulk_add_u32", [](uint32_t a, uint32_t b) { return a + b; }},
    {"bulk_min_s32",
     [](uint32_t a, uint32_t b) {
       return static_cast<int32_t>(a) < static_cast<int32_t>(b) ? a : b;
     }},
    {"bulk_max_u32", [](uint32_t a, uint32_t b) { return std::max(a, b); }},
    {"bulk_and_b32", [](uint32_t a, uint32_t b) { return a & b; }},
    {"bulk_or_b32", [](uint32_t a, uint32_t b) { return a | b; }},
    {"bulk_xor_b32", [](uint32_t a, uint32_t b) { return a ^ b; }},
    {"bulk_inc_u32", [](uint32_t a, uint32_t b) { return a >= b ? 0 : a + 1; }},
    {"bulk_dec_u32",
     [](uint32_t a, uint32_t b) { return a == 0 || a > b ? b : a - 1; }},
    {"bulk_add_f32",
     [](uint32_t a, uint32_t b) {
       return encode(f32, decode(f32, a) + decode(f32, b), Round::Even, false,
                     0x7fffffff);
     }},
    {"bulk_add_f16",
     [](uint32_t a, uint32_t b) { return addHalves(f16, a, b); }},
    {"bulk_add_bf16",
     [](uint32_t a, uint32_t b) { return addHalves(bf16, a, b); }},
};

void reduce(Bench &bench) {
  constexpr uint32_t bytes = 2048;
  for (const Reduction &reduction : reductions) {
    std::string name = reduction.kernel;
    Words in = randomWords(bench, tileWords), there = randomWords(bench, 1024);
    for (Words *words : {&in, &there})
      for (uint32_t &w : *words) {
        Random &random = bench.random();
        if (name.ends_with("f32"))
          w = encode(f32, random.number(23, -6, 6), Round::Even, false, 0);
        else if (name.ends_with("bf16"))
          w = encode(bf16, random.number(7, -6, 6), Round::Even, false, 0) |
              encode(bf16, random.number(7, -6, 6), Round::Even, false, 0)
                  << 16;
        else if (name.ends_with("f16"))
          w = encode(f16, random.number(10, -6, 6), Round::Even, false, 0) |
              encode(f16, random.number(10, -6, 6), Round::Even, false, 0)
                  << 16;
        else if (name.ends_with("c_u32"))
          w %= 8;
      }
    Words expected = there;
    for (size_t i = 0; i < bytes / 4; ++i)
      expected[i] = reduction.operation(there[i], in[i]);
    Buffer out = bench.inout(there, "out");
    bench.launch(name, {.block = {128}}, bench.input(in), bytes, out);
    bench.expectBits(name, expected, bench.read<uint32_t>(out));
  }
  // 64 bits wide.
  std::vector<uint64_t> in(tileWords / 2), there(512);
  for (auto *list : {&in, &there})
    for (uint64_t &x : *list)
      x = bench.random().next();
  std::vector<uint64_t> expected = there;
  for (size_t i = 0; i < bytes / 8; ++i)
    expected[i] += in[i];
  Buffer out = bench.inout(there, "out");
  bench.launch("bulk_add_u64", {.block = {128}}, bench.input(in), bytes, out);
  bench.expectBits("bulk_add_u64", expected, bench.read<uint64_t>(out));
}

void peer(Bench &bench) {
  constexpr uint32_t blocks = 4;
  Words in = randomWords(bench, blocks * 128), expected(blocks * 256);
  for (uint32_t b = 0; b < blocks; ++b)
    for (uint32_t t = 0; t < 128; ++t) {
      expected[b * 256 + t] = in[(b ^ 1) * 128 + t] + 1;
      expected[b * 256 + 128 + t] = t;
    }
  Buffer out = bench.output(expected.size() * 4);
  bench.launch("bulk_peer", {.grid = {blocks}, .block = {128}, .cluster = 2},
               bench.input(in), out);
  bench.expectBits("the other block's tile", expected,
                   bench.read<uint32_t>(out));
}

} // namespace

std::vector<Case> conformance::bulkCases() {
  return {{"cp.async.bulk to shared memory", "bulk", load},
          {"cp.async.bulk to global memory", "bulk", store},
          {"cp.reduce.async.bulk", "bulk", reduce},
          {"cp.async.bulk within a cluster", "bulk", peer}};
}
