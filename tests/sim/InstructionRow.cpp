//===- InstructionRow.cpp - One instruction and what it should do ---------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "tests/sim/InstructionRow.h"

#include "tests/sim/PtxSnippet.h"
#include "tests/sim/SimHarness.h"

#include <gtest/gtest.h>
#include <random>

using namespace quern;
using namespace quern::simtest;
namespace status = quern::cuda::status;

namespace {

/// The kind of a register: 'h' 16 bits, 'r' 32, 'l' 64, 'f' f32, 'e' f64.
unsigned bytesOf(char kind) {
  return kind == 'h' ? 2 : kind == 'r' || kind == 'f' ? 4 : 8;
}
std::string registerOf(char kind, unsigned index) {
  const char *prefix = kind == 'h'   ? "%h"
                       : kind == 'r' ? "%r"
                       : kind == 'l' ? "%rd"
                       : kind == 'f' ? "%f"
                                     : "%d";
  return prefix + std::to_string(10 + index);
}
std::string memoryType(char kind) {
  return kind == 'h'   ? "u16"
         : kind == 'r' ? "u32"
         : kind == 'f' ? "f32"
         : kind == 'e' ? "f64"
                       : "u64";
}

using Values = std::vector<std::vector<uint64_t>>; // [lane][operand]

uint64_t specialValue(char kind, std::mt19937_64 &random) {
  static const uint32_t floats[] = {
      0,          0x80000000, 0x3f800000, 0xbf800000, 0x7f800000, 0xff800000,
      0x7fc00000, 1,          0x007fffff, 0x00800000, 0x7f7fffff, 0xff7fffff,
      0x4b000000, 0x4effffff, 0x4f000000, 0xcf000000, 0x3f000000, 0x3fc00000,
      0x40200000, 0xbf000000, 0x5f000000, 0x43e00000, 0x3a800000, 0x477fe000};
  static const uint16_t halves[] = {0,      0x8000, 0x3c00, 0xbc00, 0x7c00,
                                    0xfc00, 0x7e00, 1,      0x03ff, 0x0400,
                                    0x7bff, 0xfbff, 0x3800, 0x3e00};
  static const uint64_t integers[] = {0,
                                      1,
                                      ~uint64_t(0),
                                      2,
                                      31,
                                      32,
                                      33,
                                      63,
                                      64,
                                      0x7fff,
                                      0x8000,
                                      0x7fffffff,
                                      0x80000000,
                                      0x7fffffffffffffff,
                                      uint64_t(1) << 63,
                                      0xffffffff,
                                      127,
                                      128,
                                      255,
                                      0xffffff80};
  switch (random() % 3) {
  case 0:
    if (kind == 'f')
      return floats[random() % std::size(floats)];
    if (kind == 'h' && random() % 2)
      return halves[random() % std::size(halves)];
    if (kind == 'e')
      return std::bit_cast<uint64_t>(
          double(std::bit_cast<float>(floats[random() % std::size(floats)])));
    return integers[random() % std::size(integers)];
  case 1:
    // Floats of moderate size, so that sums and products stay finite.
    if (kind == 'f')
      return std::bit_cast<uint32_t>(
          static_cast<float>(static_cast<double>(int64_t(random())) * 1e-15));
    if (kind == 'e')
      return std::bit_cast<uint64_t>(static_cast<double>(int64_t(random())) *
                                     1e-15);
    if (kind == 'h')
      return (random() & 0x87ff) | 0x3800;
    return random() % 100;
  default:
    return random();
  }
}

uint64_t maskOf(unsigned bytes) {
  return bytes == 8 ? ~uint64_t(0) : (uint64_t(1) << (bytes * 8)) - 1;
}

/// All NaNs are equal; `kind` says how to look at the bits.
bool same(uint64_t a, uint64_t b, const std::string &compareAs) {
  if (a == b)
    return true;
  auto nan16 = [](uint64_t x) { return (x & 0x7fff) > 0x7c00; };
  auto nanB = [](uint64_t x) { return (x & 0x7fff) > 0x7f80; };
  if (compareAs == "f32")
    return std::isnan(std::bit_cast<float>(uint32_t(a))) &&
           std::isnan(std::bit_cast<float>(uint32_t(b)));
  if (compareAs == "f64")
    return std::isnan(std::bit_cast<double>(a)) &&
           std::isnan(std::bit_cast<double>(b));
  if (compareAs == "f16")
    return nan16(a) && nan16(b);
  if (compareAs == "bf16")
    return nanB(a) && nanB(b);
  if (compareAs == "f16x2" || compareAs == "bf16x2") {
    std::string part = compareAs.substr(0, compareAs.size() - 2);
    return same(a & 0xffff, b & 0xffff, part) &&
           same(a >> 16 & 0xffff, b >> 16 & 0xffff, part);
  }
  return false;
}

std::string instantiate(const Row &row) {
  std::string out;
  std::string text = row.text;
  for (size_t i = 0; i < text.size(); ++i) {
    bool alone =
        (i == 0 || !(isalnum(text[i - 1]) || text[i - 1] == '.' ||
                     text[i - 1] == '%' || text[i - 1] == '_')) &&
        (i + 1 == text.size() || !(isalnum(text[i + 1]) || text[i + 1] == '_'));
    size_t operand = std::string("dabc").find(text[i]);
    if (alone && operand != std::string::npos)
      out += registerOf(row.kinds[operand], static_cast<unsigned>(operand));
    else
      out += text[i];
  }
  return out;
}

} // namespace

void simtest::check(const Row &row) {
  SCOPED_TRACE(row.text);
  std::string kinds = row.kinds;
  size_t sources = kinds.size() - 1;
  std::string body = "mul.wide.u32 %rd4, %r0, 32;\nadd.s64 %rd5, %rd0, %rd4;\n"
                     "mul.wide.u32 %rd6, %r0, 8;\nadd.s64 %rd7, %rd1, %rd6;\n";
  for (size_t i = 0; i < sources; ++i)
    body += "ld.global." + memoryType(kinds[i + 1]) + " " +
            registerOf(kinds[i + 1], static_cast<unsigned>(i + 1)) +
            ", [%rd5+" + std::to_string(8 * i) + "];\n";
  body += instantiate(row) + "\n";
  body += "st.global." + memoryType(kinds[0]) + " [%rd7], " +
          registerOf(kinds[0], 0) + ";\n";
  std::string target = row.target;
  Session session(target == "sm_100a" ? sim::SimTarget::Sm100a
                                      : sim::SimTarget::Sm90a);
  ASSERT_TRUE(session.load(ptxSnippet(body, "", target)))
      << session.reportText();
  constexpr size_t lanes = 512;
  std::mt19937_64 random(std::hash<std::string>()(row.text));
  std::vector<uint64_t> in(lanes * 4);
  for (size_t lane = 0; lane < lanes; ++lane)
    for (size_t i = 0; i < sources; ++i)
      in[lane * 4 + i] =
          specialValue(kinds[i + 1], random) & maskOf(bytesOf(kinds[i + 1]));
  auto pin = session.buffer("in", in, true);
  auto pout = session.buffer("out", std::vector<uint64_t>(lanes, 0));
  Session::Shape shape;
  shape.block[0] = lanes;
  ASSERT_EQ(session.launch("test", shape, pin, pout, 0u), status::Success)
      << session.reportText();
  std::vector<uint64_t> out = session.read<uint64_t>(pout, lanes);
  for (size_t lane = 0; lane < lanes; ++lane) {
    uint64_t a = in[lane * 4], b = in[lane * 4 + 1], c = in[lane * 4 + 2];
    uint64_t expected = row.expected(a, b, c) & maskOf(bytesOf(kinds[0]));
    if (row.tolerance) {
      float got = std::bit_cast<float>(uint32_t(out[lane]));
      float want = std::bit_cast<float>(uint32_t(expected));
      if (got == want || (std::isnan(got) && std::isnan(want)))
        continue;
      ASSERT_LE(std::fabs(got - want), row.tolerance * std::fabs(want))
          << std::hex << a;
      continue;
    }
    ASSERT_TRUE(same(out[lane], expected, row.compareAs))
        << std::hex << "got " << out[lane] << ", expected " << expected
        << " for " << a << ", " << b << ", " << c;
  }
}
