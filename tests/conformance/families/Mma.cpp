//===- Mma.cpp - mma.sync -------------------------------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Which element lies where: Fragments.h.
//
//===----------------------------------------------------------------------===//

#include "tests/conformance/Fragments.h"
#include "tests/conformance/Products.h"

#include <algorithm>
#include <cmath>
#include <limits>

using namespace quern;
using namespace quern::conformance;

namespace {

int64_t valueOf(uint32_t bits, int width, bool isSigned) {
  if (!isSigned || !(bits >> (width - 1) & 1))
    return bits;
  return static_cast<int64_t>(bits) - (int64_t{1} << width);
}

Case integerCase(const char *name, const char *kernel, Shape s, bool signedA,
                 bool signedB, bool saturate = false) {
  return {name, "mma", [=](Bench &bench) {
            Random &random = bench.random();
            uint32_t mask = (1u << s.elementBits) - 1;
            std::vector<uint32_t> a(s.m * s.k), b(s.k * 8);
            std::vector<int32_t> c(s.m * 8);
            for (uint32_t &x : a)
              x = random.bits() & mask;
            for (uint32_t &x : b)
              x = random.bits() & mask;
            // Without saturation sums wrap: start near the ends.
            for (size_t i = 0; i < c.size(); ++i)
              c[i] =
                  saturate ? INT32_MAX - static_cast<int>(random.below(1 << 20))
                  : i % 3 == 0 ? INT32_MAX - static_cast<int>(random.below(999))
                               : static_cast<int32_t>(random.bits()) / 2;
            auto at = [&](const std::vector<uint32_t> &m, int r, int col,
                          int columns) { return m[r * columns + col]; };
            Words fa = fragments(s, s.aRegisters(), [&](int lane, int i) {
              Place p = placeA(s, lane, i);
              return at(a, p.row, p.column, s.k);
            });
            Words fb = fragments(s, s.bRegisters(), [&](int lane, int i) {
              Place p = placeB(s, lane, i);
              return at(b, p.row, p.column, 8);
            });
            int count = s.accumulators();
            Words fc(32 * count), expected(32 * count);
            for (int lane = 0; lane < 32; ++lane)
              for (int i = 0; i < count; ++i) {
                Place p = placeC(lane, i);
                int64_t sum = c[p.row * 8 + p.column];
                fc[lane * count + i] = static_cast<uint32_t>(sum);
                for (int k = 0; k < s.k; ++k)
                  sum += valueOf(at(a, p.row, k, s.k), s.elementBits, signedA) *
                         valueOf(at(b, k, p.column, 8), s.elementBits, signedB);
                if (saturate)
                  sum = std::clamp<int64_t>(sum, INT32_MIN, INT32_MAX);
                expected[lane * count + i] = static_cast<uint32_t>(sum);
              }
            Buffer out = bench.output(expected.size() * 4, "d");
            bench.launch(kernel, {}, bench.input(fa, "a"), bench.input(fb, "b"),
                         bench.input(fc, "c"), out);
            bench.expectBits("d", expected, bench.read<uint32_t>(out));
          }};
}

/// `special` puts NaN, infinities and subnormals among the operands.
void runFloat(Bench &bench, const char *kernel, const Shape &s,
              const Format &formatA, const Format &formatB,
              const Format &accumulator, int keptBits, bool special) {
  Random &random = bench.random();
  auto draw = [&](const Format &format, size_t count) {
    std::vector<uint32_t> bits(count);
    for (uint32_t &x : bits) {
      x = encode(format, random.number(format.mantissaBits, -6, 3), Round::Even,
                 true, 0);
      if (special && random.below(16) == 0)
        x = random.below(1u << format.mantissaBits); // subnormal
    }
    return bits;
  };
  std::vector<uint32_t> a = draw(formatA, s.m * s.k),
                        b = draw(formatB, s.k * 8);
  if (special) {
    uint32_t top = ((1u << formatA.exponentBits) - 1) << formatA.mantissaBits;
    a[3 * s.k + 1] = top | ((1u << formatA.mantissaBits) - 1); // NaN in row 3
    if (formatA.hasInfinity)
      a[5 * s.k + 2] = top; // infinity in row 5
  }
  std::vector<uint32_t> c(s.m * 8);
  for (uint32_t &x : c)
    x = encode(accumulator, random.number(accumulator.mantissaBits, -6, 6),
               Round::Even, true, 0);
  // tf32 operands sit in the upper bits of an f32.
  int shift = s.elementBits - formatA.bits();
  auto place = [&](uint32_t bits) { return bits << shift; };

  Words fa = fragments(s, s.aRegisters(), [&](int lane, int i) {
    Place p = placeA(s, lane, i);
    return place(a[p.row * s.k + p.column]);
  });
  Words fb = fragments(s, s.bRegisters(), [&](int lane, int i) {
    Place p = placeB(s, lane, i);
    return place(b[p.row * 8 + p.column]);
  });
  int count = s.accumulators();
  bool packed = accumulator.bits() == 16;
  int registers = packed ? count / 2 : count;
  Words fc(32 * registers);
  std::vector<FloatSum> sums(32 * count);
  for (int lane = 0; lane < 32; ++lane)
    for (int i = 0; i < count; ++i) {
      Place p = placeC(lane, i);
      uint32_t bits = c[p.row * 8 + p.column];
      if (packed)
        fc[lane * registers + i / 2] |= bits << (16 * (i % 2));
      else
        fc[lane * registers + i] = bits;
      FloatSum &sum = sums[lane * count + i];
      sum.c = decode(accumulator, bits);
      for (int k = 0; k < s.k; ++k) {
        sum.a.push_back(decode(formatA, a[p.row * s.k + k]));
        sum.b.push_back(decode(formatB, b[k * 8 + p.column]));
      }
    }
  Buffer out = bench.output(fc.size() * 4, "d");
  bench.launch(kernel, {}, bench.input(fa, "a"), bench.input(fb, "b"),
               bench.input(fc, "c"), out);
  Words d = bench.read<uint32_t>(out);
  std::vector<double> expected, actual, tolerance;
  Words bits;
  for (int lane = 0; lane < 32; ++lane)
    for (int i = 0; i < count; ++i) {
      const FloatSum &sum = sums[lane * count + i];
      uint32_t own =
          packed ? d[lane * registers + i / 2] >> (16 * (i % 2)) & 0xffff
                 : d[lane * registers + i];
      bits.push_back(own);
      expected.push_back(sum.value());
      actual.push_back(decode(accumulator, own));
      double allowed = sumTolerance(sum, keptBits);
      if (packed && std::isfinite(sum.value())) // Rounded in every step.
        allowed +=
            std::ldexp(std::max(std::fabs(sum.value()), sum.largestTerm()), -9);
      tolerance.push_back(allowed);
    }
  std::string what = special ? "special values" : "d";
  bench.expectNear(what, expected, actual, tolerance, bits);
  if (!packed && !special)
    recordModels(bench, what, sums, bits);
}

Case floatCase(const char *name, const char *file, const char *kernel, Shape s,
               Format a, Format b, Format accumulator, int keptBits = 23) {
  return {name, file, [=](Bench &bench) {
            for (bool special : {false, true})
              runFloat(bench, kernel, s, a, b, accumulator, keptBits, special);
          }};
}

} // namespace

std::vector<Case> conformance::mmaCases() {
  // Tensor cores of the fp8 types keep 13 bits below the largest term.
  constexpr int fp8Bits = 13;
  return {
      integerCase("mma m16n8k32 s8 s8", "mma_k32_s8_s8", {16, 32, 8}, true,
                  true),
      integerCase("mma m16n8k32 u8 s8", "mma_k32_u8_s8", {16, 32, 8}, false,
                  true),
      integerCase("mma m16n8k32 s8 u8", "mma_k32_s8_u8", {16, 32, 8}, true,
                  false),
      integerCase("mma m16n8k32 u8 u8", "mma_k32_u8_u8", {16, 32, 8}, false,
                  false),
      integerCase("mma m16n8k32 u8 u8 satfinite", "mma_k32_u8_u8_sat",
                  {16, 32, 8}, false, false, true),
      integerCase("mma m16n8k16 s8 s8", "mma_k16_s8_s8", {16, 16, 8}, true,
                  true),
      integerCase("mma m16n8k16 u8 s8", "mma_k16_u8_s8", {16, 16, 8}, false,
                  true),
      integerCase("mma m8n8k16 s8 s8", "mma_m8k16_s8_s8", {8, 16, 8}, true,
                  true),
      integerCase("mma m8n8k16 s8 u8", "mma_m8k16_s8_u8", {8, 16, 8}, true,
                  false),
      integerCase("mma m16n8k64 s4 s4", "mma_k64_s4_s4", {16, 64, 4}, true,
                  true),
      integerCase("mma m16n8k64 u4 s4", "mma_k64_u4_s4", {16, 64, 4}, false,
                  true),
      integerCase("mma m16n8k32 s4 u4", "mma_k32_s4_u4", {16, 32, 4}, true,
                  false),
      integerCase("mma m16n8k32 u4 u4", "mma_k32_u4_u4", {16, 32, 4}, false,
                  false),
      integerCase("mma m8n8k32 s4 s4", "mma_m8k32_s4_s4", {8, 32, 4}, true,
                  true),
      floatCase("mma m16n8k16 f16", "mma", "mma_k16_f16", {16, 16, 16}, f16,
                f16, f32),
      floatCase("mma m16n8k8 f16", "mma", "mma_k8_f16", {16, 8, 16}, f16, f16,
                f32),
      floatCase("mma m16n8k16 f16 to f16", "mma", "mma_k16_f16_f16",
                {16, 16, 16}, f16, f16, f16),
      floatCase("mma m16n8k8 f16 to f16", "mma", "mma_k8_f16_f16", {16, 8, 16},
                f16, f16, f16),
      floatCase("mma m16n8k16 bf16", "mma", "mma_k16_bf16", {16, 16, 16}, bf16,
                bf16, f32),
      floatCase("mma m16n8k8 bf16", "mma", "mma_k8_bf16", {16, 8, 16}, bf16,
                bf16, f32),
      floatCase("mma m16n8k8 tf32", "mma", "mma_k8_tf32", {16, 8, 32}, tf32,
                tf32, f32),
      floatCase("mma m16n8k4 tf32", "mma", "mma_k4_tf32", {16, 4, 32}, tf32,
                tf32, f32),
      floatCase("mma m16n8k32 e4m3 e4m3", "mma_fp8", "mma_k32_e4m3_e4m3",
                {16, 32, 8}, e4m3, e4m3, f32, fp8Bits),
      floatCase("mma m16n8k32 e4m3 e5m2", "mma_fp8", "mma_k32_e4m3_e5m2",
                {16, 32, 8}, e4m3, e5m2, f32, fp8Bits),
      floatCase("mma m16n8k32 e5m2 e4m3", "mma_fp8", "mma_k32_e5m2_e4m3",
                {16, 32, 8}, e5m2, e4m3, f32, fp8Bits),
      floatCase("mma m16n8k32 e5m2 e5m2", "mma_fp8", "mma_k32_e5m2_e5m2",
                {16, 32, 8}, e5m2, e5m2, f32, fp8Bits),
  };
}
