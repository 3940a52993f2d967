//===- WgmmaTest.cpp - wgmma: types, layouts, forms, misuse ---------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// The test lays matrices out in shared memory element by element, from the
// canonical layouts of the PTX ISA, and compares one product with sums on the
// host. Operands are small integers, so that every type's sums are exact.
//
//===----------------------------------------------------------------------===//

#include "tests/sim/PtxSnippet.h"
#include "tests/sim/SimHarness.h"

#include <cmath>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <random>

using namespace quern;
using namespace quern::simtest;
namespace status = quern::cuda::status;
using testing::HasSubstr;

namespace {

constexpr unsigned imageBytes = 32768, offsetB = 16384;

struct Variant {
  const char *name;
  const char *types; ///< D.A.B
  unsigned n, bits;
  unsigned swizzle = 128; ///< Span; 16: none.
  bool transposeA = false, transposeB = false;
  bool registersOfA = false;
  bool accumulate = true;
  int sign = 1;
};

/// Where element (line, k) lies: `line` is a row of A or a column of B.
unsigned place(const Variant &v, bool transposed, unsigned line, unsigned k,
               unsigned lines, unsigned &leading, unsigned &stride) {
  unsigned bytes = v.bits / 8, span = v.swizzle, offset;
  if (span == 16) {
    // Core matrices of 8 lines of 16 bytes, one after the other.
    unsigned along = (transposed ? line : k) * bytes;
    unsigned across = transposed ? k : line;
    unsigned groups = (transposed ? 16 : lines) / 8;
    unsigned core = along / 16 * groups + across / 8;
    offset = core * 128 + across % 8 * 16 + along % 16;
    // K-major: leading runs along k; MN-major: stride along the lines.
    leading = transposed ? 128 : groups * 128;
    stride = transposed ? groups * 128 : 128;
    return offset;
  }
  if (transposed) {
    unsigned along = line * bytes;
    leading = 16 / 8 * 8 * span; // The next panel of `span` bytes.
    stride = 8 * span;
    offset =
        along / span * leading + k / 8 * stride + k % 8 * span + along % span;
  } else {
    leading = 16;
    stride = 8 * span;
    offset = line / 8 * stride + line % 8 * span + k * bytes;
  }
  unsigned chunks = span / 16;
  return offset ^ ((offset / 128 % chunks) * 16);
}

uint32_t codeOf(const std::string &type, int value) {
  if (type == "s8" || type == "u8")
    return static_cast<uint8_t>(value);
  float f = static_cast<float>(value);
  uint32_t bits;
  std::memcpy(&bits, &f, 4);
  if (type == "tf32")
    return bits;
  if (type == "bf16")
    return bits >> 16;
  auto half = static_cast<_Float16>(f);
  uint16_t code;
  std::memcpy(&code, &half, 2);
  if (type == "f16")
    return code;
  if (type == "e5m2")
    return code >> 8;
  // e4m3 of 0, 1, 2, 3 and their negatives.
  static const uint8_t codes[] = {0x00, 0x38, 0x40, 0x44};
  return codes[value < 0 ? -value : value] | (value < 0 ? 0x80 : 0);
}

uint64_t descriptor(unsigned start, unsigned leading, unsigned stride,
                    unsigned span) {
  uint64_t mode = span == 128 ? 1 : span == 64 ? 2 : span == 32 ? 3 : 0;
  return start >> 4 | uint64_t(leading >> 4) << 16 |
         uint64_t(stride >> 4) << 32 | mode << 62;
}

class Wgmma : public testing::TestWithParam<Variant> {};

TEST_P(Wgmma, MatchesTheDefinition) {
  const Variant &v = GetParam();
  std::string types = v.types;
  std::string typeD = types.substr(0, types.find('.'));
  std::string rest = types.substr(types.find('.') + 1);
  std::string typeA = rest.substr(0, rest.find('.'));
  std::string typeB = rest.substr(rest.find('.') + 1);
  bool integers = typeD == "s32", halves = typeD == "f16";
  unsigned depth = 256 / v.bits, bytes = v.bits / 8;
  unsigned count = v.n / (halves ? 4 : 2);

  std::mt19937 random(7);
  auto draw = [&](const std::string &type) {
    int value = int(random() % 7) - 3;
    return type == "u8" ? std::abs(value) : value;
  };
  std::vector<int> a(64 * depth), b(v.n * depth);
  for (int &x : a)
    x = draw(typeA);
  for (int &x : b)
    x = draw(typeB);
  // The image of shared memory, and plain rows of A behind it.
  std::vector<uint8_t> image(imageBytes + 64 * 32);
  unsigned leadingA = 0, strideA = 0, leadingB = 0, strideB = 0;
  auto put = [&](unsigned at, uint32_t code) {
    std::memcpy(&image[at], &code, bytes);
  };
  for (unsigned row = 0; row < 64; ++row)
    for (unsigned k = 0; k < depth; ++k) {
      uint32_t code = codeOf(typeA, a[row * depth + k]);
      put(place(v, v.transposeA, row, k, 64, leadingA, strideA), code);
      put(imageBytes + (row * depth + k) * bytes, code);
    }
  for (unsigned column = 0; column < v.n; ++column)
    for (unsigned k = 0; k < depth; ++k)
      put(offsetB + place(v, v.transposeB, column, k, v.n, leadingB, strideB),
          codeOf(typeB, b[column * depth + k]));

  std::string body = ".reg .b32 %q<128>;\n.reg .pred %s;\nmov.u32 %r2, tile;\n"
                     "mul.wide.u32 %rd4, %r0, 16;\nadd.s64 %rd5, %rd0, %rd4;\n"
                     "shl.b32 %r2, %r0, 4;\n";
  for (unsigned i = 0; i < imageBytes / 2048; ++i) {
    std::string at = std::to_string(i * 2048);
    body += "ld.global.v4.u32 {%r4,%r5,%r6,%r7}, [%rd5+" + at +
            "];\nst.shared.v4.u32 [%r2+" + at + "], {%r4,%r5,%r6,%r7};\n";
  }
  body += "fence.proxy.async.shared::cta;\nbar.sync 0;\n";
  // Registers of A: row 16 * warp + g, word t, from the plain rows.
  body += "shr.u32 %r4, %r0, 5;\nshl.b32 %r4, %r4, 9;\nand.b32 %r5, %r0, 31;\n"
          "shr.u32 %r6, %r5, 2;\nshl.b32 %r6, %r6, 5;\nadd.s32 %r4, %r4, %r6;\n"
          "and.b32 %r5, %r5, 3;\nshl.b32 %r5, %r5, 2;\nadd.s32 %r4, %r4, %r5;\n"
          "cvt.u64.u32 %rd6, %r4;\nadd.s64 %rd6, %rd6, %rd0;\n";
  for (unsigned i = 0; i < 4; ++i)
    body += "ld.global.u32 %r" + std::to_string(20 + i) + ", [%rd6+" +
            std::to_string(imageBytes + i % 2 * 256 + i / 2 * 16) + "];\n";
  std::string list;
  for (unsigned i = 0; i < count; ++i) {
    std::string reg = "%q" + std::to_string(i);
    if (v.accumulate)
      body += "mov.b32 " + reg + ", " +
              (integers ? "5"
               : halves ? "0x44004400"
                        : "0x40800000") +
              ";\n";
    list += (i ? ", " : "") + reg;
  }
  body += std::string("setp.eq.u32 %s, 0, ") + (v.accumulate ? "0" : "1") +
          ";\nmov.b64 %rd8, " +
          std::to_string(descriptor(0, leadingA, strideA, v.swizzle)) +
          ";\nmov.b64 %rd9, " +
          std::to_string(descriptor(offsetB, leadingB, strideB, v.swizzle)) +
          ";\nwgmma.fence.sync.aligned;\nwgmma.mma_async.sync.aligned.m64n" +
          std::to_string(v.n) + "k" + std::to_string(depth) + "." + types +
          " {" + list + "}, " +
          (v.registersOfA ? "{%r20, %r21, %r22, %r23}" : "%rd8") + ", %rd9, %s";
  if (!integers)
    body += std::string(", ") + (v.sign < 0 ? "-1" : "1") + ", 1";
  if (v.bits == 16) {
    if (!v.registersOfA)
      body += v.transposeA ? ", 1" : ", 0";
    body += v.transposeB ? ", 1" : ", 0";
  }
  body += ";\nwgmma.commit_group.sync.aligned;\n"
          "wgmma.wait_group.sync.aligned 0;\nmul.wide.u32 %rd10, %r0, " +
          std::to_string(count * 4) + ";\nadd.s64 %rd10, %rd10, %rd1;\n";
  for (unsigned i = 0; i < count; ++i)
    body += "st.global.u32 [%rd10+" + std::to_string(i * 4) + "], %q" +
            std::to_string(i) + ";\n";

  Session session(sim::SimTarget::Sm90a);
  ASSERT_TRUE(session.load(
      ptxSnippet(body, ".shared .align 1024 .b8 tile[32768];\n", "sm_90a")))
      << session.reportText();
  auto in = session.buffer("in", image, true);
  auto out = session.buffer("out", std::vector<uint32_t>(128 * count));
  Session::Shape shape;
  shape.block[0] = 128;
  for (uint64_t seed = 1; seed <= 4; ++seed) {
    sim::SimOptions options;
    options.seed = seed;
    session.setOptions(options);
    ASSERT_EQ(session.launch("test", shape, in, out, 0u), status::Success)
        << session.reportText();
    auto got = session.read<uint32_t>(out, 128 * count);
    for (unsigned thread = 0; thread < 128; ++thread)
      for (unsigned i = 0; i < v.n / 2; ++i) {
        unsigned g = thread % 32 / 4, t = thread % 4;
        unsigned row = thread / 32 * 16 + g + i / 2 % 2 * 8;
        unsigned column = i / 4 * 8 + t * 2 + i % 2;
        int sum = 0;
        for (unsigned k = 0; k < depth; ++k)
          sum += a[row * depth + k] * b[column * depth + k];
        sum = sum * v.sign + (v.accumulate ? (integers ? 5 : 4) : 0);
        uint32_t word = got[thread * count + (halves ? i / 2 : i)];
        if (halves) {
          ASSERT_EQ(word >> i % 2 * 16 & 0xffff, codeOf("f16", sum))
              << row << " " << column;
        } else if (integers) {
          ASSERT_EQ(int(word), sum) << row << " " << column;
        } else {
          ASSERT_EQ(word, codeOf("tf32", sum)) << row << " " << column;
        }
      }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Variants, Wgmma,
    testing::Values(
        Variant{"s8", "s32.s8.s8", 64, 8},
        Variant{"u8s8_swizzle64", "s32.u8.s8", 48, 8, 64},
        Variant{"s8u8_swizzle32", "s32.s8.u8", 16, 8, 32},
        Variant{"u8_plain", "s32.u8.u8", 24, 8, 16},
        Variant{"s8_registers", "s32.s8.s8", 32, 8, 128, false, false, true},
        Variant{"s8_fresh", "s32.s8.s8", 8, 8, 128, false, false, false, false},
        Variant{"e4m3", "f32.e4m3.e4m3", 40, 8},
        Variant{"e5m2_registers", "f32.e5m2.e4m3", 24, 8, 64, false, false,
                true},
        Variant{"e4m3_f16", "f16.e4m3.e5m2", 16, 8, 32},
        Variant{"f16", "f32.f16.f16", 64, 16},
        Variant{"f16_f16", "f16.f16.f16", 72, 16, 64},
        Variant{"f16_transposed_b", "f32.f16.f16", 128, 16, 128, false, true},
        Variant{"f16_transposed_a", "f32.f16.f16", 32, 16, 64, true, false},
        Variant{"f16_transposed_both_plain", "f32.f16.f16", 16, 16, 16, true,
                true},
        Variant{"bf16_transposed_both", "f32.bf16.bf16", 32, 16, 32, true,
                true},
        Variant{"bf16_registers_negated", "f32.bf16.bf16", 64, 16, 128, false,
                true, true, true, -1},
        Variant{"bf16_plain", "f32.bf16.bf16", 16, 16, 16},
        Variant{"tf32", "f32.tf32.tf32", 32, 32},
        Variant{"tf32_negated_plain", "f32.tf32.tf32", 8, 32, 16, false, false,
                false, false, -1}),
    [](const auto &info) { return info.param.name; });

//===----------------------------------------------------------------------===//
// Misuse
//===----------------------------------------------------------------------===//

class WgmmaFault : public testing::Test {
protected:
  /// Runs on zeroed shared memory; `before` and `after` surround the product.
  std::string run(const std::string &before, const std::string &after,
                  const std::string &descriptorOfB = "%rd9",
                  unsigned threads = 128) {
    std::string body = "mov.u32 %r2, tile;\nshl.b32 %r2, %r0, 4;\nmov.u32 %r3, 0;\n"
                       "st.shared.v4.u32 [%r2], {%r3,%r3,%r3,%r3};\n"
                       "st.shared.v4.u32 [%r2+2048], {%r3,%r3,%r3,%r3};\n"
                       "fence.proxy.async.shared::cta;\nbar.sync 0;\n"
                       "mov.b64 %rd9, " +
                       std::to_string(descriptor(0, 1024, 128, 16)) +
                       ";\nsetp.eq.u32 %p1, 0, 0;\nsetp.eq.u32 %p2, 0, 1;\n" +
                       before +
                       "wgmma.mma_async.sync.aligned.m64n8k32.s32.s8.s8 "
                       "{%r10,%r11,%r12,%r13}, " +
                       descriptorOfB + ", " + descriptorOfB + ", %p2;\n" +
                       after + "st.global.u32 [%rd1], %r10;\n";
    EXPECT_TRUE(session.load(
        ptxSnippet(body, ".shared .align 1024 .b8 tile[4096];\n", "sm_90a")))
        << session.reportText();
    auto out = session.buffer("out", std::vector<uint32_t>(4));
    Session::Shape shape;
    shape.block[0] = threads;
    session.launch("test", shape, out, out, 0u);
    return session.reportText();
  }
  const std::string fence = "wgmma.fence.sync.aligned;\n";
  const std::string commit = "wgmma.commit_group.sync.aligned;\n";
  const std::string wait = "wgmma.wait_group.sync.aligned 0;\n";
  Session session{sim::SimTarget::Sm90a};
};

TEST_F(WgmmaFault, NothingIsReportedWhereNothingIsWrong) {
  EXPECT_EQ(run(fence, commit + wait), "");
}
TEST_F(WgmmaFault, AccumulatorBeforeTheWait) {
  EXPECT_THAT(run(fence, commit), HasSubstr("accumulator"));
  EXPECT_THAT(run(fence, wait), HasSubstr("accumulator"));
  EXPECT_THAT(run(fence, commit + "wgmma.wait_group.sync.aligned 1;\n"),
              HasSubstr("accumulator"));
}
TEST_F(WgmmaFault, ACopyOfAnAccumulatorIsOneToo) {
  EXPECT_THAT(run(fence, commit +
                             "mov.b32 %r20, %r10;\nadd.s32 %r21, %r20, "
                             "1;\n" +
                             wait),
              HasSubstr("accumulator"));
  EXPECT_EQ(run(fence, commit + "mov.b32 %r20, %r10;\n" + wait +
                           "add.s32 %r21, %r20, 1;\n"),
            "");
}
TEST_F(WgmmaFault, MissingFence) {
  EXPECT_THAT(run("", commit + wait), HasSubstr("wgmma.fence"));
  EXPECT_THAT(run(fence + "mov.u32 %r10, 1;\n", commit + wait),
              HasSubstr("wgmma.fence"));
}
TEST_F(WgmmaFault, PartOfAWarpgroup) {
  EXPECT_THAT(run(fence, commit + wait, "%rd9", 96),
              HasSubstr("do not make a warpgroup"));
  EXPECT_THAT(
      run("setp.ge.u32 %p3, %r0, 96;\n@%p3 ret;\n" + fence, commit + wait),
      testing::Not(testing::IsEmpty()));
}
TEST_F(WgmmaFault, Descriptors) {
  EXPECT_THAT(run(fence + "cvt.u64.u32 %rd10, %r0;\n", commit + wait, "%rd10"),
              HasSubstr("not the same"));
  EXPECT_THAT(run(fence + "mov.b64 %rd10, 0x8000;\n", commit + wait, "%rd10"),
              HasSubstr("no field"));
  EXPECT_THAT(
      run(fence + "mov.b64 %rd10, 0x2000000000000;\n", commit + wait, "%rd10"),
      HasSubstr("base offset"));
  EXPECT_THAT(run(fence + "mov.b64 %rd10, 0x3000;\n", commit + wait, "%rd10"),
              HasSubstr("out of bounds"));
}

TEST(WgmmaRefusal, FormsThatDoNotExist) {
  struct Case {
    const char *text, *says;
  };
  for (const Case &c : std::initializer_list<Case>{
           {"wgmma.mma_async.sync.aligned.m64n12k32.s32.s8.s8 {%r1}, %rd1, "
            "%rd2, 1;",
            "does not exist"},
           {"wgmma.mma_async.sync.aligned.m64n40k32.s32.s8.s8 {%r1}, %rd1, "
            "%rd2, 1;",
            "does not exist"},
           {"wgmma.mma_async.sync.aligned.m64n8k16.f32.f16.bf16 {%r1}, %rd1, "
            "%rd2, 1, 1, 1, 0, 0;",
            "does not exist"},
           {"wgmma.mma_async.sync.aligned.m64n8k256.s32.b1.b1.and.popc {%r1}, "
            "%rd1, %rd2, 1;",
            ".b1"},
           {"wgmma.mma_async.sp.sync.aligned.m64n8k64.s32.s8.s8 {%r1}, %rd1, "
            "%rd2, 1;",
            "sparse"},
           {"tcgen05.wait::ld.sync.aligned;", "tcgen05"}}) {
    Session session(sim::SimTarget::Sm90a);
    EXPECT_FALSE(session.load(ptxSnippet(c.text, "", "sm_90a")));
    EXPECT_THAT(session.reportText(), HasSubstr(c.says)) << c.text;
  }
}

} // namespace
