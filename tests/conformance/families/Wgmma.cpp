//===- Wgmma.cpp - Products of warpgroups ---------------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// PTX ISA: "Asynchronous Warpgroup Level Matrix Multiply-Accumulate Operation"
// (register fragments, shared memory layouts, strides, matrix descriptor). With
// w = warp, g = lane / 4 and t = lane mod 4, accumulator i of a lane is
//
//   row 16 w + g + 8 (i / 2 mod 2), column 8 (i / 4) + 2 t + i mod 2
//
// and A in registers is mma.sync's fragment, 16 rows to a warp. In shared
// memory eight lines of 16 bytes (rows of A, columns of B, K-major) make a core
// matrix; "leading" is the distance of core matrices along k, "stride" that
// along the other index. Swizzled, the lines of eight are as wide as the
// swizzle, and their chunks are exchanged as tensor copies do it.
//
//===----------------------------------------------------------------------===//

#include "tests/conformance/Products.h"

#include <cmath>

using namespace quern;
using namespace quern::conformance;

namespace {

constexpr int m = 64, n = 16, imageBytes = 8192;

/// How a matrix lies in shared memory. Lines are rows of A or columns of B.
struct Layout {
  const char *name;
  int swizzle = 0;      ///< Width in bytes; 0: none.
  bool mnMajor = false; ///< Lines run along k, 16-bit elements only.
  int skip = 0;         ///< Bytes into a swizzled line at which k = 0 lies.

  uint64_t descriptor() const {
    uint64_t leading, stride;
    if (!swizzle) {
      leading = 128;
      stride = 256;
    } else {
      leading = mnMajor ? 16 * swizzle : 16;
      stride = 8 * swizzle;
    }
    uint64_t mode = swizzle == 128  ? 1
                    : swizzle == 64 ? 2
                    : swizzle == 32 ? 3
                                    : 0;
    return leading / 16 << 16 | stride / 16 << 32 | mode << 62 |
           static_cast<uint64_t>(skip / 16);
  }

  /// The byte at which element (line, k) of `width` bytes begins.
  int place(int line, int k, int width) const {
    int at;
    if (!mnMajor) {
      int byte = k * width + skip;
      at = swizzle
               ? line / 8 * 8 * swizzle + line % 8 * swizzle + byte
               : line / 8 * 256 + byte / 16 * 128 + line % 8 * 16 + byte % 16;
    } else {
      // Chunks of eight elements along the line index; eight k make a core
      // matrix.
      int chunk = line / 8, inside = line % 8 * 2;
      int wide = swizzle / 16;
      at = swizzle ? chunk / wide * 16 * swizzle + k / 8 * 8 * swizzle +
                         k % 8 * swizzle + chunk % wide * 16 + inside
                   : chunk * 256 + k / 8 * 128 + k % 8 * 16 + inside;
    }
    if (swizzle) {
      int mask = swizzle / 16 - 1;
      at ^= (at >> 7 & mask) << 4;
    }
    return at;
  }
};

void put(std::vector<uint8_t> &image, int at, uint32_t bits, int width) {
  for (int i = 0; i < width; ++i)
    image[at + i] = static_cast<uint8_t>(bits >> 8 * i);
}

struct Place {
  int row, column;
};
Place placeD(int thread, int i) {
  int lane = thread % 32;
  return {thread / 32 * 16 + lane / 4 + 8 * (i / 2 % 2),
          8 * (i / 4) + 2 * (lane % 4) + i % 2};
}
Place placeA(int thread, int i, int perRegister) {
  int lane = thread % 32, e = perRegister;
  return {thread / 32 * 16 + lane / 4 + 8 * (i / e % 2),
          e * (lane % 4) + i % e + 4 * e * (i / (2 * e))};
}

/// A product's operands, on their way to a kernel.
struct Operands {
  std::vector<uint32_t> a, b; ///< Bits of A (m x k) and B (k x n).
  int k, width;               ///< Bytes of an element.

  void launch(Bench &bench, const std::string &kernel, const Layout &layoutA,
              const Layout &layoutB, const Words &c, int scale,
              const Buffer &out) const {
    std::vector<uint8_t> imageA(imageBytes, 0x5a), imageB(imageBytes, 0x5a);
    for (int r = 0; r < m; ++r)
      for (int i = 0; i < k; ++i)
        put(imageA, layoutA.place(r, i, width), a[r * k + i], width);
    for (int col = 0; col < n; ++col)
      for (int i = 0; i < k; ++i)
        put(imageB, layoutB.place(col, i, width), b[i * n + col], width);
    Words registers(128 * 4);
    int e = 4 / width;
    for (int thread = 0; thread < 128; ++thread)
      for (int i = 0; i < 4 * e; ++i) {
        Place p = placeA(thread, i, e);
        registers[thread * 4 + i / e] |= a[p.row * k + p.column]
                                         << (i % e * 8 * width);
      }
    bench.launch(kernel, {.block = {128}}, bench.input(imageA, "A"),
                 bench.input(imageB, "B"), layoutA.descriptor(),
                 layoutB.descriptor(), bench.input(registers, "registers"),
                 bench.input(c, "c"), scale, out);
  }
};

void runInteger(Bench &bench, const char *kernel, bool signedA, bool signedB,
                const Layout &layoutA, const Layout &layoutB) {
  Random &random = bench.random();
  Operands operands{{}, {}, 32, 1};
  for (int i = 0; i < m * 32; ++i)
    operands.a.push_back(random.bits() & 0xff);
  for (int i = 0; i < n * 32; ++i)
    operands.b.push_back(random.bits() & 0xff);
  auto value = [](uint32_t bits, bool isSigned) -> int32_t {
    return isSigned ? static_cast<int8_t>(bits) : static_cast<int32_t>(bits);
  };
  for (int scale : {1, 0}) {
    Words c(128 * 8), expected(128 * 8);
    for (int thread = 0; thread < 128; ++thread)
      for (int i = 0; i < 8; ++i) {
        Place p = placeD(thread, i);
        uint32_t start = random.bits();
        c[thread * 8 + i] = start;
        uint32_t sum = scale ? start : 0;
        for (int k = 0; k < 32; ++k)
          sum += static_cast<uint32_t>(
              value(operands.a[p.row * 32 + k], signedA) *
              value(operands.b[k * n + p.column], signedB));
        expected[thread * 8 + i] = sum;
      }
    Buffer out = bench.output(expected.size() * 4, "d");
    operands.launch(bench, kernel, layoutA, layoutB, c, scale, out);
    bench.expectBits(std::string(layoutA.name) + ", scale-d " +
                         std::to_string(scale),
                     expected, bench.read<uint32_t>(out));
  }
}

void runFloat(Bench &bench, const char *kernel, const Format &a,
              const Format &b, int width, double sign, const Layout &layoutA,
              const Layout &layoutB, int keptBits, bool models) {
  Random &random = bench.random();
  int k = 32 / width;
  auto draw = [&](const Format &format) {
    return encode(format, random.number(format.mantissaBits, -6, 3),
                  Round::Even, true, 0);
  };
  // tf32 operands sit in the upper bits of an f32.
  int shift = 8 * width - a.bits();
  Operands operands{{}, {}, k, width};
  for (int i = 0; i < m * k; ++i)
    operands.a.push_back(draw(a) << shift);
  for (int i = 0; i < n * k; ++i)
    operands.b.push_back(draw(b) << shift);
  Words c(128 * 8);
  std::vector<FloatSum> sums(128 * 8);
  for (int thread = 0; thread < 128; ++thread)
    for (int i = 0; i < 8; ++i) {
      Place p = placeD(thread, i);
      uint32_t bits =
          encode(f32, random.number(23, -6, 6), Round::Even, true, 0);
      c[thread * 8 + i] = bits;
      FloatSum &sum = sums[thread * 8 + i];
      sum.c = decode(f32, bits);
      for (int j = 0; j < k; ++j) {
        sum.a.push_back(sign * decode(a, operands.a[p.row * k + j] >> shift));
        sum.b.push_back(decode(b, operands.b[j * n + p.column] >> shift));
      }
    }
  Buffer out = bench.output(c.size() * 4, "d");
  operands.launch(bench, kernel, layoutA, layoutB, c, 1, out);
  Words bits = bench.read<uint32_t>(out);
  std::vector<double> expected, actual, tolerance;
  for (size_t i = 0; i < bits.size(); ++i) {
    expected.push_back(sums[i].value());
    actual.push_back(decode(f32, bits[i]));
    tolerance.push_back(sumTolerance(sums[i], keptBits));
  }
  bench.expectNear(layoutA.name, expected, actual, tolerance, bits);
  if (models)
    recordModels(bench, layoutA.name, sums, bits);
}

const Layout kMajor[] = {{"no swizzle"},
                         {"32-byte swizzle", 32},
                         {"64-byte swizzle", 64},
                         {"128-byte swizzle", 128},
                         {"64-byte swizzle, second k", 64, false, 32},
                         {"128-byte swizzle, third k", 128, false, 64}};
const Layout mnMajor[] = {{"MN-major, no swizzle", 0, true},
                          {"MN-major, 32-byte swizzle", 32, true},
                          {"MN-major, 64-byte swizzle", 64, true},
                          {"MN-major, 128-byte swizzle", 128, true}};

Case integerCase(const char *name, const char *kernel, bool signedA,
                 bool signedB) {
  return {name, "wgmma", [=](Bench &bench) {
            for (const Layout &layout : kMajor)
              runInteger(bench, kernel, signedA, signedB, layout, layout);
          }};
}
Case floatCase(const char *name, const char *kernel, Format a, Format b,
               int width, bool mn = false, double sign = 1, int keptBits = 23) {
  return {name, "wgmma", [=](Bench &bench) {
            bool first = true;
            auto run = [&](const Layout &layoutA, const Layout &layoutB) {
              runFloat(bench, kernel, a, b, width, sign, layoutA, layoutB,
                       keptBits, first);
              first = false;
            };
            if (mn)
              for (const Layout &layout : mnMajor) {
                // B's 16 columns are less than a swizzled line of 64 elements;
                // it takes the widest that fits.
                run(layout, layout.swizzle > 32 ? mnMajor[1] : layout);
              }
            else
              for (const Layout &layout : kMajor)
                run(layout, layout);
          }};
}

void registersChange(Bench &bench) {
  Words in(384), expected(384);
  for (size_t t = 0; t < in.size(); ++t) {
    in[t] = bench.random().bits();
    expected[t] = in[t] * (t < 128 ? 3 : 5);
  }
  Buffer out = bench.output(in.size() * 4);
  bench.launch("wgmma_setmaxnreg", {.block = {384}}, bench.input(in), out);
  bench.expectBits("values", expected, bench.read<uint32_t>(out));
}

} // namespace

std::vector<Case> conformance::wgmmaCases() {
  constexpr int fp8Bits = 13;
  return {
      integerCase("wgmma s8 s8", "wgmma_s8_s8", true, true),
      integerCase("wgmma u8 u8", "wgmma_u8_u8", false, false),
      integerCase("wgmma u8 s8", "wgmma_u8_s8", false, true),
      integerCase("wgmma s8 s8, A in registers", "wgmma_regs_s8_s8", true,
                  true),
      floatCase("wgmma e4m3 e4m3", "wgmma_e4m3_e4m3", e4m3, e4m3, 1, false, 1,
                fp8Bits),
      floatCase("wgmma e5m2 e4m3", "wgmma_e5m2_e4m3", e5m2, e4m3, 1, false, 1,
                fp8Bits),
      floatCase("wgmma e4m3 e4m3, A in registers", "wgmma_regs_e4m3_e4m3", e4m3,
                e4m3, 1, false, 1, fp8Bits),
      floatCase("wgmma f16", "wgmma_f16", f16, f16, 2),
      floatCase("wgmma f16, A negated", "wgmma_f16_negated", f16, f16, 2, false,
                -1),
      floatCase("wgmma f16, MN-major", "wgmma_f16_mn", f16, f16, 2, true),
      floatCase("wgmma bf16", "wgmma_bf16", bf16, bf16, 2),
      floatCase("wgmma bf16, MN-major", "wgmma_bf16_mn", bf16, bf16, 2, true),
      floatCase("wgmma f16, A in registers", "wgmma_regs_f16", f16, f16, 2),
      floatCase("wgmma f16, A in registers, B MN-major", "wgmma_regs_f16_mn",
                f16, f16, 2, true),
      floatCase("wgmma tf32", "wgmma_tf32", tf32, tf32, 4),
      {"setmaxnreg", "wgmma", registersChange},
  };
}
