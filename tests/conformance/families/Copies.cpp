//===- Copies.cpp - Loads, stores and cp.async ----------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// PTX ISA: "ld", "ld.global.nc", "st", "cp.async", "cp.async.wait_group",
// "cp.async.mbarrier.arrive".
//
//===----------------------------------------------------------------------===//

#include "tests/conformance/Bench.h"

#include <algorithm>

using namespace quern;
using namespace quern::conformance;

namespace {

std::vector<uint8_t> randomBytes(Bench &bench, size_t count) {
  std::vector<uint8_t> bytes(count);
  for (uint8_t &b : bytes)
    b = static_cast<uint8_t>(bench.random().bits());
  return bytes;
}

void widths(Bench &bench) {
  std::vector<uint8_t> in = randomBytes(bench, 64 * 16);
  std::vector<uint8_t> expected(64 * 96, 0xcd);
  for (int t = 0; t < 64; ++t) {
    const uint8_t *p = in.data() + 16 * t;
    uint8_t *out = expected.data() + 96 * t;
    auto u16 = [&](int at) -> uint32_t { return p[at] | p[at + 1] << 8; };
    auto u32 = [&](int at) { return u16(at) | u16(at + 2) << 16; };
    auto put = [&](int word, uint32_t value) {
      std::memcpy(out + 4 * word, &value, 4);
    };
    put(0, p[1]);
    put(1, static_cast<uint32_t>(static_cast<int8_t>(p[3])));
    put(2, u16(2));
    put(3, static_cast<uint32_t>(static_cast<int16_t>(u16(6))));
    put(4, u32(12));
    put(5, p[5]);
    for (int i = 0; i < 4; ++i)
      put(6 + i, u32(12 - 4 * i));
    std::memcpy(out + 48, p + 8, 8);
    std::memcpy(out + 56, p, 8);
    for (int i = 0; i < 4; ++i)
      out[64 + i] = p[11 - i];
    put(18, static_cast<uint32_t>(static_cast<int16_t>(u16(4))));
    put(19, static_cast<uint32_t>(static_cast<int16_t>(u16(6))));
    std::memcpy(out + 80, p + 6, 2);
    out[83] = p[6];
  }
  Buffer out = bench.output(expected.size());
  bench.launch("copies_widths", {.block = {64}}, bench.input(in), out);
  bench.expectBits("bytes", expected, bench.read<uint8_t>(out));
}

void asynchronous(Bench &bench) {
  std::vector<uint8_t> in = randomBytes(bench, 128 * 16);
  Words sizes(128);
  for (uint32_t &n : sizes)
    n = bench.random().below(17);
  std::vector<uint8_t> expected(4 * 2048, 0xcd);
  const uint32_t sectionSizes[] = {4, 8, 16, 16};
  for (uint32_t section = 0; section < 4; ++section)
    for (uint32_t t = 0; t < 128; ++t) {
      uint32_t whole = sectionSizes[section];
      uint32_t n = section == 3 ? 16 : std::min(sizes[t], whole);
      uint8_t *to = expected.data() + section * 2048 + t * 16;
      std::fill(to, to + whole, 0);
      std::copy_n(in.data() + 16 * t, n, to);
    }
  Buffer out = bench.output(expected.size());
  bench.launch("copies_async", {.block = {128}}, bench.input(in),
               bench.input(sizes, "sizes"), out);
  bench.expectBits("shared memory", expected, bench.read<uint8_t>(out));
}

void groups(Bench &bench) {
  Words in(3 * 512), expected(1024);
  for (uint32_t &v : in)
    v = bench.random().bits();
  for (int i = 0; i < 512; ++i) {
    expected[i] = in[i] + in[512 + 511 - i];
    expected[512 + i] = in[1024 + 511 - i];
  }
  Buffer out = bench.output(4096);
  bench.launch("copies_groups", {.block = {128}}, bench.input(in), out);
  bench.expectBits("groups", expected, bench.read<uint32_t>(out));
}

void arrivals(Bench &bench) {
  Words in(512), expected(512);
  for (uint32_t &v : in)
    v = bench.random().bits();
  std::reverse_copy(in.begin(), in.end(), expected.begin());
  Buffer out = bench.output(2048);
  bench.launch("copies_arrive", {.block = {128}}, bench.input(in), out);
  bench.expectBits("tile", expected, bench.read<uint32_t>(out));
}

} // namespace

std::vector<Case> conformance::copyCases() {
  return {{"ld and st of every width", "copies", widths},
          {"cp.async with zero fill", "copies", asynchronous},
          {"cp.async groups", "copies", groups},
          {"cp.async.mbarrier.arrive", "copies", arrivals}};
}
