//===- MmaTest.cpp - Every mma variant against the CPU --------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "tests/sim/PtxSnippet.h"
#include "tests/sim/SimHarness.h"

#include <cmath>
#include <functional>
#include <gtest/gtest.h>
#include <random>

using namespace quern;
using namespace quern::simtest;
namespace status = quern::cuda::status;

namespace {

double fp8(unsigned code, int mantissaBits, int bias) {
  int e = int(code >> mantissaBits) & ((1 << (7 - mantissaBits)) - 1);
  int m = int(code) & ((1 << mantissaBits) - 1);
  double v = e ? std::ldexp(1 + std::ldexp(m, -mantissaBits), e - bias)
               : std::ldexp(m, 1 - bias - mantissaBits);
  return code & 0x80 ? -v : v;
}
double half(unsigned x) {
  uint16_t bits = static_cast<uint16_t>(x);
  _Float16 h;
  std::memcpy(&h, &bits, 2);
  return static_cast<float>(h);
}

struct Variant {
  const char *name;
  const char *shape;
  const char *types; ///< D.A.B.C
  int k;
  unsigned bytes;    ///< Of an element of A and B.
  unsigned codeMask; ///< Keeps random elements finite.
  double (*a)(unsigned);
  double (*b)(unsigned);
  bool halfAccumulators = false;
};

double signedByte(unsigned x) { return static_cast<int8_t>(x); }
double unsignedByte(unsigned x) { return static_cast<uint8_t>(x); }
double e4m3(unsigned x) { return fp8(x, 3, 7); }
double e5m2(unsigned x) { return fp8(x, 2, 15); }

const Variant variants[] = {
    {"s8s8", "m16n8k32", "s32.s8.s8.s32", 32, 1, 0xff, signedByte, signedByte},
    {"u8s8", "m16n8k32", "s32.u8.s8.s32", 32, 1, 0xff, unsignedByte,
     signedByte},
    {"s8u8", "m16n8k32", "s32.s8.u8.s32", 32, 1, 0xff, signedByte,
     unsignedByte},
    {"u8u8", "m16n8k32", "s32.u8.u8.s32", 32, 1, 0xff, unsignedByte,
     unsignedByte},
    {"s8k16", "m16n8k16", "s32.s8.s8.s32", 16, 1, 0xff, signedByte, signedByte},
    {"f16", "m16n8k16", "f32.f16.f16.f32", 16, 2, 0xb7ff, half, half},
    {"f16k8", "m16n8k8", "f32.f16.f16.f32", 8, 2, 0xb7ff, half, half},
    {"f16acc", "m16n8k16", "f16.f16.f16.f16", 16, 2, 0xb7ff, half, half, true},
    {"e4m3", "m16n8k32", "f32.e4m3.e4m3.f32", 32, 1, 0xbf, e4m3, e4m3},
    {"e5m2", "m16n8k32", "f32.e5m2.e4m3.f32", 32, 1, 0xbf, e5m2, e4m3},
};

class Mma : public testing::TestWithParam<Variant> {};

TEST_P(Mma, MatchesTheDefinition) {
  const Variant &v = GetParam();
  bool integers = v.a == signedByte || v.a == unsignedByte;
  unsigned rowWords = static_cast<unsigned>(v.k) * v.bytes / 4;
  unsigned halves = rowWords / 4;
  unsigned accumulators = v.halfAccumulators ? 2 : 4;
  // Registers are loaded straight by the definition of the fragments.
  std::string body = "shr.u32 %r2, %r0, 2;\nand.b32 %r3, %r0, 3;\n"
                     "shl.b32 %r3, %r3, 2;\n";
  auto loadWord = [&](const std::string &reg, const std::string &base,
                      unsigned row, unsigned part) {
    body += "mad.lo.s32 %r4, %r2, " + std::to_string(rowWords * 4) +
            ", %r3;\ncvt.u64.u32 %rd4, %r4;\nadd.s64 %rd5, " + base +
            ", %rd4;\nld.global.u32 " + reg + ", [%rd5+" +
            std::to_string(row * rowWords * 4 + part * 16) + "];\n";
  };
  std::string a, b, c, d;
  auto append = [](std::string &list, const std::string &reg) {
    list += (list.empty() ? "" : ", ") + reg;
  };
  for (unsigned i = 0; i < 2 * halves; ++i) {
    std::string reg = "%r" + std::to_string(10 + i);
    loadWord(reg, "%rd0", i & 1 ? 8 : 0, i / 2);
    append(a, reg);
  }
  for (unsigned i = 0; i < halves; ++i) {
    std::string reg = "%r" + std::to_string(20 + i);
    loadWord(reg, "%rd0", 16, i);
    append(b, reg);
  }
  // Accumulators: slot i of lane l at word i * 32 + l of `out`.
  body += "mul.wide.u32 %rd6, %r0, 4;\nadd.s64 %rd7, %rd1, %rd6;\n";
  for (unsigned i = 0; i < accumulators; ++i) {
    std::string reg = "%r" + std::to_string(30 + i);
    body +=
        "ld.global.u32 " + reg + ", [%rd7+" + std::to_string(i * 128) + "];\n";
    append(c, reg);
    append(d, "%r" + std::to_string(40 + i));
  }
  body += std::string("mma.sync.aligned.") + v.shape + ".row.col." + v.types +
          " {" + d + "}, {" + a + "}, {" + b + "}, {" + c + "};\n";
  for (unsigned i = 0; i < accumulators; ++i)
    body += "st.global.u32 [%rd7+" + std::to_string(i * 128) + "], %r" +
            std::to_string(40 + i) + ";\n";
  Session session(sim::SimTarget::Sm89);
  ASSERT_TRUE(session.load(ptxSnippet(body, "", "sm_89")))
      << session.reportText();

  std::mt19937 random(9);
  std::vector<uint8_t> in(24 * rowWords * 4);
  auto element = [&](unsigned row, unsigned k) -> unsigned {
    const uint8_t *at = &in[(row * unsigned(v.k) + k) * v.bytes];
    return v.bytes == 2 ? unsigned(at[0] | at[1] << 8) : at[0];
  };
  for (unsigned i = 0; i < in.size(); i += v.bytes) {
    unsigned code = random() & v.codeMask;
    for (unsigned j = 0; j < v.bytes; ++j)
      in[i + j] = static_cast<uint8_t>(code >> 8 * j);
  }
  std::vector<uint32_t> acc(accumulators * 32);
  for (uint32_t &word : acc) {
    float start = static_cast<float>(random() % 17) - 8;
    int whole = static_cast<int>(random() % 1000) - 500;
    if (v.halfAccumulators)
      word = 0x3c003c00;
    else if (integers)
      std::memcpy(&word, &whole, 4);
    else
      std::memcpy(&word, &start, 4);
  }
  auto pin = session.buffer("in", in, true);
  auto pout = session.buffer("out", acc);
  ASSERT_EQ(session.launch("test", {}, pin, pout, 0u), status::Success)
      << session.reportText();
  auto out = session.read<uint32_t>(pout, acc.size());
  for (unsigned lane = 0; lane < 32; ++lane)
    for (unsigned i = 0; i < 4; ++i) {
      unsigned row = lane / 4 + 8 * (i / 2), column = lane % 4 * 2 + i % 2;
      unsigned word = v.halfAccumulators ? i / 2 : i;
      uint32_t before = acc[word * 32 + lane], after = out[word * 32 + lane];
      if (integers) {
        int32_t sum = static_cast<int32_t>(before);
        for (unsigned k = 0; k < unsigned(v.k); ++k)
          sum += static_cast<int32_t>(v.a(element(row, k)) *
                                      v.b(element(16 + column, k)));
        ASSERT_EQ(static_cast<int32_t>(after), sum) << lane << " " << i;
        continue;
      }
      float sum;
      if (v.halfAccumulators)
        sum = static_cast<float>(half(before >> (i % 2 * 16) & 0xffff));
      else
        std::memcpy(&sum, &before, 4);
      for (unsigned k = 0; k < unsigned(v.k); ++k)
        sum += static_cast<float>(v.a(element(row, k))) *
               static_cast<float>(v.b(element(16 + column, k)));
      if (v.halfAccumulators) {
        ASSERT_EQ(half(after >> (i % 2 * 16) & 0xffff),
                  static_cast<float>(static_cast<_Float16>(sum)));
        continue;
      }
      float got;
      std::memcpy(&got, &after, 4);
      ASSERT_EQ(got, sum) << lane << " " << i;
    }
}

INSTANTIATE_TEST_SUITE_P(Variants, Mma, testing::ValuesIn(variants),
                         [](const auto &info) { return info.param.name; });

} // namespace
