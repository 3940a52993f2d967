//===- MmaTest.cpp - Every mma variant against the CPU --------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "tests/sim/PtxSnippet.h"
#include "tests/sim/SimHarness.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
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
  const char *types; ///< D.A.B.C, with what stands before them.
  int k;
  unsigned bits;     ///< Of an element of A and B.
  unsigned codeMask; ///< Keeps random elements finite.
  double (*a)(unsigned);
  double (*b)(unsigned);
  bool halfAccumulators = false;
  sim::SimTarget target = sim::SimTarget::Sm89;
};

double signedByte(unsigned x) { return static_cast<int8_t>(x); }
double unsignedByte(unsigned x) { return static_cast<uint8_t>(x); }
double signedNibble(unsigned x) { return static_cast<int>((x & 15) ^ 8) - 8; }
double unsignedNibble(unsigned x) { return x & 15; }
double brain(unsigned x) {
  uint32_t bits = x << 16;
  float f;
  std::memcpy(&f, &bits, 4);
  return f;
}
double tensorFloat(unsigned x) {
  uint32_t bits = x & 0xffffe000;
  float f;
  std::memcpy(&f, &bits, 4);
  return f;
}
double e3m2(unsigned x) {
  double v = (x >> 2 & 7) ? std::ldexp(4 + (x & 3), int(x >> 2 & 7) - 5)
                          : std::ldexp(x & 3, -4);
  return x & 0x20 ? -v : v;
}
double e2m3(unsigned x) {
  double v = (x >> 3 & 3) ? std::ldexp(8 + (x & 7), int(x >> 3 & 3) - 4)
                          : std::ldexp(x & 7, -3);
  return x & 0x20 ? -v : v;
}
double e2m1Code(unsigned x) {
  static const double values[] = {0, .5, 1, 1.5, 2, 3, 4, 6};
  return x & 8 ? -values[x & 7] : values[x & 7];
}
double e2m1(unsigned x) { return e2m1Code(x >> 2 & 15); }
double e4m3(unsigned x) { return fp8(x, 3, 7); }
double e5m2(unsigned x) { return fp8(x, 2, 15); }

constexpr auto sm120 = sim::SimTarget::Sm120a;
const Variant variants[] = {
    {"s8s8", "m16n8k32", "s32.s8.s8.s32", 32, 8, 0xff, signedByte, signedByte},
    {"u8s8", "m16n8k32", "s32.u8.s8.s32", 32, 8, 0xff, unsignedByte,
     signedByte},
    {"s8u8", "m16n8k32", "s32.s8.u8.s32", 32, 8, 0xff, signedByte,
     unsignedByte},
    {"u8u8", "m16n8k32", "s32.u8.u8.s32", 32, 8, 0xff, unsignedByte,
     unsignedByte},
    {"s8k16", "m16n8k16", "s32.s8.s8.s32", 16, 8, 0xff, signedByte, signedByte},
    {"s8m8", "m8n8k16", "s32.s8.s8.s32", 16, 8, 0xff, signedByte, signedByte},
    {"u8m8", "m8n8k16", "s32.u8.u8.s32", 16, 8, 0xff, unsignedByte,
     unsignedByte},
    {"s8sat", "m16n8k32", "satfinite.s32.s8.s8.s32", 32, 8, 0xff, signedByte,
     signedByte},
    {"s4", "m16n8k64", "s32.s4.s4.s32", 64, 4, 0xff, signedNibble,
     signedNibble},
    {"u4s4", "m16n8k32", "s32.u4.s4.s32", 32, 4, 0xff, unsignedNibble,
     signedNibble},
    {"s4u4", "m16n8k64", "s32.s4.u4.s32", 64, 4, 0xff, signedNibble,
     unsignedNibble},
    {"u4m8", "m8n8k32", "s32.u4.u4.s32", 32, 4, 0xff, unsignedNibble,
     unsignedNibble},
    {"s4sat", "m16n8k64", "satfinite.s32.s4.s4.s32", 64, 4, 0xff, signedNibble,
     signedNibble},
    {"f16", "m16n8k16", "f32.f16.f16.f32", 16, 16, 0xb7ff, half, half},
    {"f16k8", "m16n8k8", "f32.f16.f16.f32", 8, 16, 0xb7ff, half, half},
    {"f16acc", "m16n8k16", "f16.f16.f16.f16", 16, 16, 0xb7ff, half, half, true},
    {"f16k8acc", "m16n8k8", "f16.f16.f16.f16", 8, 16, 0xb7ff, half, half, true},
    {"bf16", "m16n8k16", "f32.bf16.bf16.f32", 16, 16, 0xbfff, brain, brain},
    {"bf16k8", "m16n8k8", "f32.bf16.bf16.f32", 8, 16, 0xbfff, brain, brain},
    {"tf32", "m16n8k8", "f32.tf32.tf32.f32", 8, 32, 0xbfffffff, tensorFloat,
     tensorFloat},
    {"tf32k4", "m16n8k4", "f32.tf32.tf32.f32", 4, 32, 0xbfffffff, tensorFloat,
     tensorFloat},
    {"e4m3", "m16n8k32", "f32.e4m3.e4m3.f32", 32, 8, 0xbf, e4m3, e4m3},
    {"e5m2", "m16n8k32", "f32.e5m2.e4m3.f32", 32, 8, 0xbf, e5m2, e4m3},
    {"e4m3e5m2k16", "m16n8k16", "f32.e4m3.e5m2.f32", 16, 8, 0xbf, e4m3, e5m2},
    {"e5m2acc", "m16n8k32", "f16.e5m2.e5m2.f16", 32, 8, 0xaf, e5m2, e5m2, true},
    {"f8f6f4", "m16n8k32", "kind::f8f6f4.f32.e4m3.e5m2.f32", 32, 8, 0xbf, e4m3,
     e5m2, false, sim::SimTarget::Sm100a},
    {"e2m1e4m3", "m16n8k32", "kind::f8f6f4.f32.e2m1.e4m3.f32", 32, 8, 0xbf,
     e2m1, e4m3, false, sm120},
    {"e3m2e2m3", "m16n8k32", "kind::f8f6f4.f32.e3m2.e2m3.f32", 32, 8, 0xff,
     e3m2, e2m3, false, sm120},
    {"e2m3acc", "m16n8k32", "kind::f8f6f4.f16.e2m3.e2m1.f16", 32, 8, 0xff, e2m3,
     e2m1, true, sm120},
};

/// Registers of a fragment, loaded straight by the definition: a lane's word in
/// `part` (16 bytes each) of row or column `row` + lane / 4.
std::string loadWord(const std::string &reg, unsigned rowBytes, unsigned row,
                     unsigned part) {
  return "mad.lo.s32 %r4, %r2, " + std::to_string(rowBytes) +
         ", %r3;\ncvt.u64.u32 %rd4, %r4;\nadd.s64 %rd5, %rd0, %rd4;\n"
         "ld.global.u32 " +
         reg + ", [%rd5+" + std::to_string(row * rowBytes + part * 16) + "];\n";
}
std::string listed(const char *prefix, unsigned first, unsigned count) {
  std::string list;
  for (unsigned i = 0; i < count; ++i)
    list += (i ? ", " : "{") + (prefix + std::to_string(first + i));
  return list + "}";
}

/// A module that loads the fragments of rows 0 to 15 of A and 16 to 23 (columns
/// of B) from `in`, accumulators from `out` (register i of lane l at word
/// i * 32 + l), executes `opcode`, and writes them back.
std::string mmaModule(const std::string &opcode, unsigned rowBytes,
                      bool eightRows, unsigned accumulators,
                      const std::string &target, const std::string &tail = "") {
  unsigned halves = rowBytes / 16, ofA = eightRows ? 1 : 2 * halves;
  std::string body = "shr.u32 %r2, %r0, 2;\nand.b32 %r3, %r0, 3;\n"
                     "shl.b32 %r3, %r3, 2;\n";
  for (unsigned i = 0; i < ofA; ++i)
    body +=
        loadWord("%r" + std::to_string(10 + i), rowBytes, i & 1 ? 8 : 0, i / 2);
  for (unsigned i = 0; i < halves; ++i)
    body += loadWord("%r" + std::to_string(20 + i), rowBytes, 16, i);
  body += "mul.wide.u32 %rd6, %r0, 4;\nadd.s64 %rd7, %rd1, %rd6;\n";
  for (unsigned i = 0; i < accumulators; ++i)
    body += "ld.global.u32 %r" + std::to_string(30 + i) + ", [%rd7+" +
            std::to_string(i * 128) + "];\n";
  body += opcode + " " + listed("%r", 40, accumulators) + ", " +
          listed("%r", 10, ofA) + ", " + listed("%r", 20, halves) + ", " +
          listed("%r", 30, accumulators) + tail + ";\n";
  for (unsigned i = 0; i < accumulators; ++i)
    body += "st.global.u32 [%rd7+" + std::to_string(i * 128) + "], %r" +
            std::to_string(40 + i) + ";\n";
  return ptxSnippet(body, "", target);
}

unsigned elementAt(const std::vector<uint8_t> &in, size_t index,
                   unsigned bits) {
  if (bits == 4)
    return in[index / 2] >> index % 2 * 4 & 15;
  unsigned value = 0;
  for (unsigned i = 0; i < bits / 8; ++i)
    value |= unsigned(in[index * bits / 8 + i]) << 8 * i;
  return value;
}

class Mma : public testing::TestWithParam<Variant> {};

TEST_P(Mma, MatchesTheDefinition) {
  const Variant &v = GetParam();
  std::string types = v.types;
  bool saturates = types.find("satfinite") != std::string::npos;
  bool integers = types.find("s32") != std::string::npos;
  bool eightRows = std::string(v.shape).starts_with("m8");
  unsigned depth = static_cast<unsigned>(v.k);
  unsigned rowBytes = depth * v.bits / 8;
  unsigned accumulators = v.halfAccumulators || eightRows ? 2 : 4;
  std::string target(sim::name(v.target));
  Session session(v.target);
  ASSERT_TRUE(session.load(mmaModule(
      std::string("mma.sync.aligned.") + v.shape + ".row.col." + v.types,
      rowBytes, eightRows, accumulators, target)))
      << session.reportText();

  std::mt19937 random(9);
  std::vector<uint8_t> in(24 * rowBytes);
  unsigned step = std::max(v.bits, 8u) / 8;
  for (unsigned i = 0; i < in.size(); i += step) {
    unsigned code = random() & v.codeMask;
    for (unsigned j = 0; j < step; ++j)
      in[i + j] = static_cast<uint8_t>(code >> 8 * j);
  }
  auto element = [&](unsigned row, unsigned k) {
    return elementAt(in, size_t(row) * depth + k, v.bits);
  };
  std::vector<uint32_t> acc(accumulators * 32);
  for (uint32_t &word : acc) {
    float start = static_cast<float>(random() % 17) - 8;
    int whole = static_cast<int>(random() % 1000) - 500;
    if (saturates)
      whole += random() % 2 ? 0x7ffffe00 : -0x7ffffe00;
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
    for (unsigned i = 0; i < (eightRows ? 2 : 4); ++i) {
      unsigned row = lane / 4 + 8 * (i / 2), column = lane % 4 * 2 + i % 2;
      unsigned word = v.halfAccumulators ? i / 2 : i;
      uint32_t before = acc[word * 32 + lane], after = out[word * 32 + lane];
      if (integers) {
        int64_t sum = static_cast<int32_t>(before);
        for (unsigned k = 0; k < depth; ++k)
          sum += static_cast<int32_t>(v.a(element(row, k)) *
                                      v.b(element(16 + column, k)));
        if (saturates)
          sum = std::clamp<int64_t>(sum, INT32_MIN, INT32_MAX);
        ASSERT_EQ(static_cast<int32_t>(after), static_cast<int32_t>(sum))
            << lane << " " << i;
        continue;
      }
      float sum;
      if (v.halfAccumulators)
        sum = static_cast<float>(half(before >> (i % 2 * 16) & 0xffff));
      else
        std::memcpy(&sum, &before, 4);
      for (unsigned k = 0; k < depth; ++k)
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

struct Scaled {
  const char *name;
  const char *shape;
  const char *modifiers; ///< From .kind to .scale_vec.
  const char *types;
  const char *scaleType;
  unsigned bits, perRow;
  double (*a)(unsigned);
  double (*b)(unsigned);
  unsigned byteId, threadA, threadB;
};
class ScaledMma : public testing::TestWithParam<Scaled> {};

TEST_P(ScaledMma, MatchesTheDefinition) {
  const Scaled &v = GetParam();
  unsigned depth = 256 / v.bits;
  auto ids = [&](unsigned thread) {
    return "{" + std::to_string(v.byteId) + ", " + std::to_string(thread) + "}";
  };
  // Scales of A stand behind the accumulators in `out`, then those of B.
  std::string text =
      mmaModule(std::string("ld.global.u32 %r50, [%rd7+512];\n"
                            "ld.global.u32 %r51, [%rd7+640];\n"
                            "mma.sync.aligned.") +
                    v.shape + ".row.col." + v.modifiers + "." + v.types + "." +
                    v.scaleType,
                32, false, 4, "sm_120a",
                ", %r50, " + ids(v.threadA) + ", %r51, " + ids(v.threadB));
  Session session(sm120);
  ASSERT_TRUE(session.load(text)) << session.reportText();
  std::mt19937 random(5);
  std::vector<uint8_t> in(24 * 32);
  for (uint8_t &x : in)
    x = static_cast<uint8_t>(random() & 0xbf);
  std::vector<uint32_t> out(6 * 32);
  for (unsigned i = 0; i < out.size(); ++i) {
    float start = static_cast<float>(random() % 9);
    std::memcpy(&out[i], &start, 4);
    if (i >= 128) // Exponents around 1.
      out[i] = v.scaleType[1] == 'e' && v.scaleType[2] == '8'
                   ? 0x7a7a7a7a + (random() & 0x07070707)
                   : 0x30303030 + (random() & 0x0f0f0f0f);
  }
  auto scaleOf = [&](unsigned word, unsigned block) {
    unsigned code = out[word] >> 8 * (v.byteId + block) & 0xff;
    return v.scaleType[2] == '8' ? std::ldexp(1.0, int(code) - 127)
                                 : e4m3(code);
  };
  auto pin = session.buffer("in", in, true);
  auto pout = session.buffer("out", out);
  ASSERT_EQ(session.launch("test", {}, pin, pout, 0u), status::Success)
      << session.reportText();
  auto got = session.read<uint32_t>(pout, 128);
  for (unsigned lane = 0; lane < 32; ++lane)
    for (unsigned i = 0; i < 4; ++i) {
      unsigned row = lane / 4 + 8 * (i / 2), column = lane % 4 * 2 + i % 2;
      float sum;
      std::memcpy(&sum, &out[i * 32 + lane], 4);
      for (unsigned k = 0; k < depth; ++k) {
        unsigned block = k / (depth / v.perRow);
        unsigned laneA = row % 8 * 4 + v.threadA * 2 + row / 8;
        unsigned laneB = column * 4 + v.threadB;
        sum += static_cast<float>(
            v.a(elementAt(in, size_t(row) * depth + k, v.bits)) *
            v.b(elementAt(in, size_t(16 + column) * depth + k, v.bits)) *
            scaleOf(128 + laneA, block) * scaleOf(160 + laneB, block));
      }
      float after;
      std::memcpy(&after, &got[i * 32 + lane], 4);
      ASSERT_EQ(after, sum) << lane << " " << i;
    }
}

INSTANTIATE_TEST_SUITE_P(
    Variants, ScaledMma,
    testing::Values(
        Scaled{"mxf8", "m16n8k32", "kind::mxf8f6f4.block_scale.scale_vec::1X",
               "f32.e4m3.e5m2.f32", "ue8m0", 8, 1, e4m3, e5m2, 2, 1, 3},
        Scaled{"mxf6f4", "m16n8k32", "kind::mxf8f6f4.block_scale",
               "f32.e3m2.e2m1.f32", "ue8m0", 8, 1, e3m2, e2m1, 0, 0, 0},
        Scaled{"mxf4", "m16n8k64", "kind::mxf4.block_scale",
               "f32.e2m1.e2m1.f32", "ue8m0", 4, 2, e2m1Code, e2m1Code, 2, 1, 2},
        Scaled{"nvf4", "m16n8k64", "kind::mxf4nvf4.block_scale.scale_vec::4X",
               "f32.e2m1.e2m1.f32", "ue4m3", 4, 4, e2m1Code, e2m1Code, 0, 0,
               1}),
    [](const auto &info) { return info.param.name; });

TEST(Mma, IsRefusedWhereTheTargetLacksIt) {
  struct Case {
    const char *opcode, *target, *why;
  };
  for (const Case &c : std::initializer_list<Case>{
           {"mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32", "sm_80",
            "sm_89"},
           {"mma.sync.aligned.m16n8k32.row.col.kind::f8f6f4.f32.e4m3.e4m3.f32",
            "sm_90a", "sm_100"},
           {"mma.sync.aligned.m16n8k32.row.col.kind::f8f6f4.f32.e2m1.e4m3.f32",
            "sm_100a", "sm_120a"},
           {"mma.sync.aligned.m16n8k256.row.col.s32.b1.b1.s32.and.popc",
            "sm_80", ".b1"},
           {"mma.sp.sync.aligned.m16n8k64.row.col.s32.s8.s8.s32", "sm_80",
            "sparse"}}) {
    sim::SimTarget target = sim::SimTarget::Sm80;
    for (auto candidate : {sim::SimTarget::Sm90a, sim::SimTarget::Sm100a})
      if (sim::name(candidate) == c.target)
        target = candidate;
    Session session(target);
    EXPECT_FALSE(session.load(mmaModule(c.opcode, 32, false, 4, c.target)));
    EXPECT_NE(session.reportText().find(c.why), std::string::npos)
        << session.reportText();
    EXPECT_NE(session.reportText().find(c.opcode), std::string::npos);
  }
}

INSTANTIATE_TEST_SUITE_P(Variants, Mma, testing::ValuesIn(variants),
                         [](const auto &info) { return info.param.name; });

} // namespace
