//===- MmaScaled.cpp - Narrow and block-scaled mma.sync ------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// PTX ISA: "mma", .kind::f8f6f4, .kind::mxf8f6f4, .kind::mxf4, .kind::mxf4nvf4
// and "Block Scaling". In containers of a byte a 6-bit float has bits 0 to 5
// and a 4-bit float bits 2 to 5; with k = 64 elements are four bits wide.
//
// Each row of A and column of B has s scales (1, 2 or 4), each for 64 / s or 32
// / s neighbours along k: bytes from byte-id on of the word of one lane,
//
//   A   row r: lane 4 (r mod 8) + 2 thread-id + r / 8
//   B   column c: lane 4 c + thread-id
//
//===----------------------------------------------------------------------===//

#include "tests/conformance/Fragments.h"
#include "tests/conformance/Products.h"

#include <cmath>

using namespace quern;
using namespace quern::conformance;

namespace {

/// Where the instruction's scales are; `perRow` is 0 without any.
struct Scales {
  int perRow = 0;
  bool isE4M3 = false; ///< Else powers of two.
  int byteA = 0, threadA = 0, byteB = 0, threadB = 0;
};

/// Scales around 1.
Words drawScales(Random &random, bool isE4M3) {
  Words words(32);
  for (uint32_t &word : words)
    for (int i = 0; i < 4; ++i)
      word |= (isE4M3 ? 0x30 + random.below(16) : 124 + random.below(7))
              << 8 * i;
  return words;
}
double scaleOf(uint32_t word, int byte, bool isE4M3) {
  uint32_t bits = word >> 8 * byte & 0xff;
  return isE4M3 ? decode(e4m3, bits)
                : std::ldexp(1.0, static_cast<int>(bits) - 127);
}

/// Any number of the format, but no NaN and no infinity.
Words draw(Random &random, const Format &format, size_t count) {
  Words words(count);
  for (uint32_t &x : words)
    do
      x = random.below(1u << format.bits());
    while (!std::isfinite(decode(format, x)) ||
           std::fabs(decode(format, x)) > 64);
  return words;
}

void multiply(Bench &bench, const char *kernel, const Format &formatA,
              const Format &formatB, int k, const Scales &scales) {
  Random &random = bench.random();
  Shape s = {16, k, k == 64 ? 4 : 8};
  Words a = draw(random, formatA, 16 * k), b = draw(random, formatB, k * 8);
  Words scalesA = drawScales(random, scales.isE4M3),
        scalesB = drawScales(random, scales.isE4M3);
  Words c(16 * 8);
  for (uint32_t &x : c)
    x = asBits(static_cast<float>(random.number(10, -6, 6)));
  auto contain = [&](const Format &format, uint32_t bits) {
    return s.elementBits == 8 && format.bits() == 4 ? bits << 2 : bits;
  };
  Words fa = fragments(s, s.aRegisters(), [&](int lane, int i) {
    Place p = placeA(s, lane, i);
    return contain(formatA, a[p.row * k + p.column]);
  });
  Words fb = fragments(s, s.bRegisters(), [&](int lane, int i) {
    Place p = placeB(s, lane, i);
    return contain(formatB, b[p.row * 8 + p.column]);
  });
  Words fc(128);
  std::vector<FloatSum> sums(128);
  for (int lane = 0; lane < 32; ++lane)
    for (int i = 0; i < 4; ++i) {
      Place p = placeC(lane, i);
      fc[lane * 4 + i] = c[p.row * 8 + p.column];
      FloatSum &sum = sums[lane * 4 + i];
      sum.c = asFloat(fc[lane * 4 + i]);
      for (int x = 0; x < k; ++x) {
        double left = decode(formatA, a[p.row * k + x]);
        double right = decode(formatB, b[x * 8 + p.column]);
        if (scales.perRow) {
          int block = x / (k / scales.perRow);
          left *=
              scaleOf(scalesA[4 * (p.row % 8) + 2 * scales.threadA + p.row / 8],
                      scales.byteA + block, scales.isE4M3);
          right *= scaleOf(scalesB[4 * p.column + scales.threadB],
                           scales.byteB + block, scales.isE4M3);
        }
        sum.a.push_back(left);
        sum.b.push_back(right);
      }
    }
  Buffer out = bench.output(512, "d");
  if (scales.perRow)
    bench.launch(kernel, {}, bench.input(fa, "a"), bench.input(fb, "b"),
                 bench.input(fc, "c"), bench.input(scalesA, "scales of a"),
                 bench.input(scalesB, "scales of b"), out);
  else
    bench.launch(kernel, {}, bench.input(fa, "a"), bench.input(fb, "b"),
                 bench.input(fc, "c"), out);
  Words bits = bench.read<uint32_t>(out);
  std::vector<double> expected, actual, tolerance;
  for (size_t i = 0; i < sums.size(); ++i) {
    expected.push_back(sums[i].value());
    actual.push_back(asFloat(bits[i]));
    // Tensor cores of narrow types have been seen to keep 13 bits below the
    // largest term.
    tolerance.push_back(sumTolerance(sums[i], 13));
  }
  bench.expectNear("d", expected, actual, tolerance, bits);
}

Case plain(const char *name, const char *kernel, Format a, Format b) {
  return {name, "mma_scaled",
          [=](Bench &bench) { multiply(bench, kernel, a, b, 32, {}); }};
}
Case scaled(const char *name, const char *kernel, Format a, Format b, int k,
            Scales scales) {
  return {name, "mma_scaled",
          [=](Bench &bench) { multiply(bench, kernel, a, b, k, scales); }};
}

} // namespace

std::vector<Case> conformance::scaledMmaCases() {
  return {
      plain("mma f8f6f4 e3m2 e2m1", "mma_e3m2_e2m1", e3m2, e2m1),
      plain("mma f8f6f4 e2m1 e4m3", "mma_e2m1_e4m3", e2m1, e4m3),
      plain("mma f8f6f4 e5m2 e2m3", "mma_e5m2_e2m3", e5m2, e2m3),
      scaled("mma mxf8f6f4 e4m3 e5m2", "mma_mxf8_e4m3_e5m2", e4m3, e5m2, 32,
             {1, false, 2, 1, 1, 3}),
      scaled("mma mxf8f6f4 e2m3 e2m1", "mma_mxf8_e2m3_e2m1", e2m3, e2m1, 32,
             {1, false, 0, 0, 3, 0}),
      scaled("mma mxf4", "mma_mxf4", e2m1, e2m1, 64, {2, false, 2, 1, 0, 2}),
      scaled("mma mxf4nvf4", "mma_nvf4", e2m1, e2m1, 64, {4, true, 0, 0, 0, 1}),
  };
}
