//===- InstructionTest.cpp - Each instruction against the host ------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// One row for each instruction: its text with operands d, a, b, c, and what the
// host computes. Operands run through special values and random bits. Expected
// values come from the host's own arithmetic and <cfenv>, not from the
// simulator's.
//
//===----------------------------------------------------------------------===//

#include "tests/sim/PtxSnippet.h"
#include "tests/sim/SimHarness.h"

#include <algorithm>
#include <bit>
#include <cfenv>
#include <cmath>
#include <functional>
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

struct Row {
  const char *text;  ///< With d, a, b, c as operands: "add.s32 d, a, b;".
  const char *kinds; ///< Of d, a, b, c: "rrr".
  std::function<uint64_t(uint64_t, uint64_t, uint64_t)> expected;
  const char *compareAs = "bits";
  /// For approximations: a relative error allowed in f32.
  double tolerance = 0;
};

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

void check(const Row &row) {
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
  Session session(sim::SimTarget::Sm90a);
  ASSERT_TRUE(session.load(ptxSnippet(body, "", "sm_90a")))
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

// Conversions of operands.
float F(uint64_t x) { return std::bit_cast<float>(uint32_t(x)); }
uint64_t F(float x) { return std::bit_cast<uint32_t>(x); }
double D(uint64_t x) { return std::bit_cast<double>(x); }
uint64_t D(double x) { return std::bit_cast<uint64_t>(x); }
float H(uint64_t x) { return float(std::bit_cast<_Float16>(uint16_t(x))); }
uint64_t H(float x) {
  return std::bit_cast<uint16_t>(static_cast<_Float16>(x));
}
float B(uint64_t x) { return F(x << 16 & 0xffffffff); }
/// Round to nearest even by long division of the bits, independent of the
/// simulator's way.
uint64_t B(double x) {
  if (std::isnan(x))
    return 0x7fff;
  // The two neighbours of x among bf16 numbers, by truncation of a float that
  // was rounded toward zero.
  int old = std::fegetround();
  std::fesetround(FE_TOWARDZERO);
  volatile double wide = x;
  volatile float truncated = static_cast<float>(wide);
  std::fesetround(old);
  uint32_t low = std::bit_cast<uint32_t>(float(truncated)) & 0xffff0000;
  uint32_t high = low + 0x10000;
  if ((low & 0x7fffffff) >= 0x7f800000)
    return low >> 16;
  double lowValue = F(uint64_t(low));
  double highValue = (high & 0x7fffffff) >= 0x7f800000
                         ? std::copysign(0x1p128, x)
                         : F(uint64_t(high));
  double toLow = std::fabs(x - lowValue), toHigh = std::fabs(highValue - x);
  bool pickHigh = toHigh < toLow || (toHigh == toLow && (low >> 16 & 1));
  return (pickHigh ? high : low) >> 16;
}
float flushed(float x) {
  return std::fpclassify(x) == FP_SUBNORMAL ? std::copysign(0.0f, x) : x;
}

/// std::fmin and fmax, for which quiet and signalling NaNs are alike.
double lesser(double x, double y) {
  return std::isnan(x) ? y : std::isnan(y) ? x : std::min(x, y);
}
double greater(double x, double y) {
  return std::isnan(x) ? y : std::isnan(y) ? x : std::max(x, y);
}

/// Evaluates `f` under a rounding mode.
template <typename T> float rounded(int mode, T f) {
  int old = std::fegetround();
  std::fesetround(mode);
  volatile float result = f();
  std::fesetround(old);
  return result;
}

template <typename T> T toInteger(double x) {
  if (std::isnan(x))
    return 0;
  if (x <= double(std::numeric_limits<T>::min()))
    return std::numeric_limits<T>::min();
  if (x >= double(std::numeric_limits<T>::max()))
    return std::numeric_limits<T>::max();
  return static_cast<T>(x);
}

/// Both halves of a packed operation.
template <typename Op>
std::function<uint64_t(uint64_t, uint64_t, uint64_t)> packed(Op op) {
  return [=](uint64_t a, uint64_t b, uint64_t c) {
    return (op(a & 0xffff, b & 0xffff, c & 0xffff) & 0xffff) |
           (op(a >> 16 & 0xffff, b >> 16 & 0xffff, c >> 16 & 0xffff) & 0xffff)
               << 16;
  };
}

using U = uint64_t;

TEST(Instruction, IntegerArithmetic) {
  const Row rows[] = {
      {"add.s32 d, a, b;", "rrr", [](U a, U b, U) { return a + b; }},
      {"add.s64 d, a, b;", "lll", [](U a, U b, U) { return a + b; }},
      {"add.u16 d, a, b;", "hhh", [](U a, U b, U) { return a + b; }},
      {"sub.s32 d, a, b;", "rrr", [](U a, U b, U) { return a - b; }},
      {"add.sat.s32 d, a, b;", "rrr",
       [](U a, U b, U) {
         int64_t s = int64_t(int32_t(a)) + int32_t(b);
         return U(std::clamp<int64_t>(s, INT32_MIN, INT32_MAX));
       }},
      {"mul.lo.s32 d, a, b;", "rrr", [](U a, U b, U) { return a * b; }},
      {"mul.lo.u64 d, a, b;", "lll", [](U a, U b, U) { return a * b; }},
      {"mul.lo.s16 d, a, b;", "hhh", [](U a, U b, U) { return a * b; }},
      {"mul.hi.s32 d, a, b;", "rrr",
       [](U a, U b, U) { return U((int64_t(int32_t(a)) * int32_t(b)) >> 32); }},
      {"mul.hi.u32 d, a, b;", "rrr", [](U a, U b, U) { return a * b >> 32; }},
      {"mul.hi.u64 d, a, b;", "lll",
       [](U a, U b, U) { return U((unsigned __int128)a * b >> 64); }},
      {"mul.hi.s64 d, a, b;", "lll",
       [](U a, U b, U) { return U((__int128)(int64_t)a * (int64_t)b >> 64); }},
      {"mul.wide.s32 d, a, b;", "lrr",
       [](U a, U b, U) { return U(int64_t(int32_t(a)) * int32_t(b)); }},
      {"mul.wide.u16 d, a, b;", "rhh", [](U a, U b, U) { return a * b; }},
      {"mul.wide.s16 d, a, b;", "rhh",
       [](U a, U b, U) { return U(int16_t(a) * int16_t(b)); }},
      {"mad.lo.s32 d, a, b, c;", "rrrr",
       [](U a, U b, U c) { return a * b + c; }},
      {"mad.lo.u64 d, a, b, c;", "llll",
       [](U a, U b, U c) { return a * b + c; }},
      {"mad.hi.u32 d, a, b, c;", "rrrr",
       [](U a, U b, U c) { return (a * b >> 32) + c; }},
      {"mad.wide.s32 d, a, b, c;", "lrrl",
       [](U a, U b, U c) { return U(int64_t(int32_t(a)) * int32_t(b)) + c; }},
      {"div.u32 d, a, b;", "rrr",
       [](U a, U b, U) { return b ? a / b : ~U(0); }},
      {"div.s32 d, a, b;", "rrr",
       [](U a, U b, U) {
         return U(int32_t(b) ? int64_t(int32_t(a)) / int32_t(b) : -1);
       }},
      {"div.s64 d, a, b;", "lll",
       [](U a, U b, U) {
         return U(b ? (__int128)(int64_t)a / (int64_t)b : -1);
       }},
      {"rem.s32 d, a, b;", "rrr",
       [](U a, U b, U) {
         return int32_t(b) ? U(int64_t(int32_t(a)) % int32_t(b)) : a;
       }},
      {"rem.u64 d, a, b;", "lll", [](U a, U b, U) { return b ? a % b : a; }},
      {"min.s32 d, a, b;", "rrr",
       [](U a, U b, U) { return U(std::min(int32_t(a), int32_t(b))); }},
      {"max.u32 d, a, b;", "rrr", [](U a, U b, U) { return std::max(a, b); }},
      {"max.s16 d, a, b;", "hhh",
       [](U a, U b, U) { return U(std::max(int16_t(a), int16_t(b))); }},
      {"max.s64 d, a, b;", "lll",
       [](U a, U b, U) { return U(std::max(int64_t(a), int64_t(b))); }},
      {"neg.s32 d, a;", "rr", [](U a, U, U) { return -a; }},
      {"abs.s32 d, a;", "rr",
       [](U a, U, U) { return U(int32_t(a) < 0 ? -a : a); }},
      {"sad.u32 d, a, b, c;", "rrrr",
       [](U a, U b, U c) { return (a > b ? a - b : b - a) + c; }},
      {"dp4a.s32.u32 d, a, b, c;", "rrrr",
       [](U a, U b, U c) {
         for (int i = 0; i < 4; ++i)
           c += U(int64_t(int8_t(a >> 8 * i)) * uint8_t(b >> 8 * i));
         return c;
       }},
  };
  for (const Row &row : rows)
    check(row);
}

TEST(Instruction, Bits) {
  const Row rows[] = {
      {"and.b32 d, a, b;", "rrr", [](U a, U b, U) { return a & b; }},
      {"or.b64 d, a, b;", "lll", [](U a, U b, U) { return a | b; }},
      {"xor.b16 d, a, b;", "hhh", [](U a, U b, U) { return a ^ b; }},
      {"not.b32 d, a;", "rr", [](U a, U, U) { return ~a; }},
      {"cnot.b32 d, a;", "rr", [](U a, U, U) { return U(a == 0); }},
      {"shl.b32 d, a, b;", "rrr",
       [](U a, U b, U) { return b > 31 ? 0 : a << b; }},
      {"shl.b64 d, a, b;", "llr",
       [](U a, U b, U) { return b > 63 ? 0 : a << b; }},
      {"shr.u32 d, a, b;", "rrr",
       [](U a, U b, U) { return b > 31 ? 0 : a >> b; }},
      {"shr.s32 d, a, b;", "rrr",
       [](U a, U b, U) { return U(int32_t(a) >> std::min<U>(b, 31)); }},
      {"shr.s16 d, a, b;", "hhr",
       [](U a, U b, U) { return U(int16_t(a) >> std::min<U>(b, 15)); }},
      {"shr.s64 d, a, b;", "llr",
       [](U a, U b, U) { return U(int64_t(a) >> std::min<U>(b, 63)); }},
      {"shf.l.wrap.b32 d, a, b, c;", "rrrr",
       [](U a, U b, U c) {
         c &= 31;
         return c ? b << c | a >> (32 - c) : b;
       }},
      {"shf.r.clamp.b32 d, a, b, c;", "rrrr",
       [](U a, U b, U c) {
         return c >= 32 ? b : c ? a >> c | b << (32 - c) : a;
       }},
      {"lop3.b32 d, a, b, c, 0x6a;", "rrrr",
       [](U a, U b, U c) { return (a & b) ^ c; }},
      {"lop3.b32 d, a, b, c, 0xe8;", "rrrr",
       [](U a, U b, U c) { return (a & b) | (a & c) | (b & c); }},
      {"bfe.u32 d, a, b, c;", "rrrr",
       [](U a, U b, U c) {
         uint32_t r = 0, at = b & 255, n = c & 255;
         for (uint32_t i = 0; i < 32; ++i)
           if (i < n && at + i < 32)
             r |= uint32_t(a >> (at + i) & 1) << i;
         return U(r);
       }},
      {"bfe.s32 d, a, b, c;", "rrrr",
       [](U a, U b, U c) {
         uint32_t r = 0, at = b & 255, n = c & 255;
         uint32_t sign = n ? a >> std::min(at + n - 1, 31u) & 1 : 0;
         for (uint32_t i = 0; i < 32; ++i)
           r |= (i < n && at + i < 32 ? uint32_t(a >> (at + i) & 1) : sign)
                << i;
         return U(r);
       }},
      {"bfe.s64 d, a, b, c;", "llrr",
       [](U a, U b, U c) {
         uint64_t r = 0;
         uint32_t at = b & 255, n = c & 255;
         uint64_t sign = n ? a >> std::min(at + n - 1, 63u) & 1 : 0;
         for (uint32_t i = 0; i < 64; ++i)
           r |= (i < n && at + i < 64 ? a >> (at + i) & 1 : sign) << i;
         return r;
       }},
      {"prmt.b32 d, a, b, c;", "rrrr",
       [](U a, U b, U c) {
         U both = b << 32 | a, r = 0;
         for (int i = 0; i < 4; ++i) {
           U s = c >> 4 * i & 15, byte = both >> (s & 7) * 8 & 255;
           r |= (s & 8 ? (byte >> 7) * 255 : byte) << 8 * i;
         }
         return r;
       }},
      {"popc.b32 d, a;", "rr", [](U a, U, U) { return U(std::popcount(a)); }},
      {"popc.b64 d, a;", "rl", [](U a, U, U) { return U(std::popcount(a)); }},
      {"clz.b32 d, a;", "rr",
       [](U a, U, U) { return U(std::countl_zero(uint32_t(a))); }},
      {"brev.b32 d, a;", "rr",
       [](U a, U, U) {
         U r = 0;
         for (int i = 0; i < 32; ++i)
           r = r << 1 | (a >> i & 1);
         return r;
       }},
      {"bfind.u32 d, a;", "rr",
       [](U a, U, U) {
         return a ? U(31 - std::countl_zero(uint32_t(a))) : U(~0u);
       }},
      {"bfind.s32 d, a;", "rr",
       [](U a, U, U) {
         uint32_t v = int32_t(a) < 0 ? ~uint32_t(a) : uint32_t(a);
         return v ? U(31 - std::countl_zero(v)) : U(~0u);
       }},
      {"bfi.b32 d, a, b, c, 7;", "rrrr",
       [](U a, U b, U c) {
         uint32_t at = c & 255, r = uint32_t(b);
         for (uint32_t i = 0; i < 7 && at + i < 32; ++i) {
           r &= ~(1u << (at + i));
           r |= uint32_t(a >> i & 1) << (at + i);
         }
         return U(r);
       }},
  };
  for (const Row &row : rows)
    check(row);
}

TEST(Instruction, SinglePrecision) {
  auto directed = [](int mode, auto f) {
    return [=](U a, U b, U c) {
      volatile float x = F(a), y = F(b), z = F(c);
      return F(rounded(mode, [&] { return f(x, y, z); }));
    };
  };
  auto add = [](float x, float y, float) { return x + y; };
  auto mul = [](float x, float y, float) { return x * y; };
  auto div = [](float x, float y, float) { return x / y; };
  auto root = [](float x, float, float) { return std::sqrt(x); };
  const Row rows[] = {
      {"add.f32 d, a, b;", "fff", [](U a, U b, U) { return F(F(a) + F(b)); },
       "f32"},
      {"sub.rn.f32 d, a, b;", "fff", [](U a, U b, U) { return F(F(a) - F(b)); },
       "f32"},
      {"mul.f32 d, a, b;", "fff", [](U a, U b, U) { return F(F(a) * F(b)); },
       "f32"},
      {"fma.rn.f32 d, a, b, c;", "ffff",
       [](U a, U b, U c) { return F(std::fma(F(a), F(b), F(c))); }, "f32"},
      {"div.rn.f32 d, a, b;", "fff", [](U a, U b, U) { return F(F(a) / F(b)); },
       "f32"},
      {"sqrt.rn.f32 d, a;", "ff", [](U a, U, U) { return F(std::sqrt(F(a))); },
       "f32"},
      {"rcp.rn.f32 d, a;", "ff", [](U a, U, U) { return F(1 / F(a)); }, "f32"},
      {"add.rz.f32 d, a, b;", "fff", directed(FE_TOWARDZERO, add), "f32"},
      {"add.rm.f32 d, a, b;", "fff", directed(FE_DOWNWARD, add), "f32"},
      {"add.rp.f32 d, a, b;", "fff", directed(FE_UPWARD, add), "f32"},
      {"mul.rz.f32 d, a, b;", "fff", directed(FE_TOWARDZERO, mul), "f32"},
      {"mul.rm.f32 d, a, b;", "fff", directed(FE_DOWNWARD, mul), "f32"},
      {"mul.rp.f32 d, a, b;", "fff", directed(FE_UPWARD, mul), "f32"},
      {"div.rz.f32 d, a, b;", "fff", directed(FE_TOWARDZERO, div), "f32"},
      {"div.rp.f32 d, a, b;", "fff", directed(FE_UPWARD, div), "f32"},
      {"sqrt.rm.f32 d, a;", "ff", directed(FE_DOWNWARD, root), "f32"},
      {"sqrt.rp.f32 d, a;", "ff", directed(FE_UPWARD, root), "f32"},
      {"add.ftz.f32 d, a, b;", "fff",
       [](U a, U b, U) { return F(flushed(flushed(F(a)) + flushed(F(b)))); },
       "f32"},
      {"mul.ftz.f32 d, a, b;", "fff",
       [](U a, U b, U) { return F(flushed(flushed(F(a)) * flushed(F(b)))); },
       "f32"},
      {"add.sat.f32 d, a, b;", "fff",
       [](U a, U b, U) {
         float s = F(a) + F(b);
         return F(s > 0 ? std::min(s, 1.0f) : 0.0f);
       },
       "f32"},
      {"min.f32 d, a, b;", "fff",
       [](U a, U b, U) {
         float x = F(a), y = F(b);
         if (x == 0 && y == 0)
           return a | b;
         return F(float(lesser(x, y)));
       },
       "f32"},
      {"max.f32 d, a, b;", "fff",
       [](U a, U b, U) {
         float x = F(a), y = F(b);
         if (x == 0 && y == 0)
           return a & b;
         return F(float(greater(x, y)));
       },
       "f32"},
      {"max.NaN.f32 d, a, b;", "fff",
       [](U a, U b, U) {
         float x = F(a), y = F(b);
         if (std::isnan(x) || std::isnan(y))
           return U(0x7fffffff);
         return x == 0 && y == 0 ? a & b : F(float(greater(x, y)));
       }},
      {"neg.f32 d, a;", "ff", [](U a, U, U) { return a ^ 0x80000000; }},
      {"abs.f32 d, a;", "ff", [](U a, U, U) { return a & 0x7fffffff; }},
      {"copysign.f32 d, a, b;", "fff",
       [](U a, U b, U) { return (a & 0x80000000) | (b & 0x7fffffff); }},
      {"ex2.approx.ftz.f32 d, a;", "ff",
       [](U a, U, U) { return F(flushed(std::exp2(flushed(F(a))))); }, "f32",
       1e-6},
      {"rcp.approx.ftz.f32 d, a;", "ff",
       [](U a, U, U) { return F(flushed(1 / flushed(F(a)))); }, "f32", 1e-6},
      {"lg2.approx.f32 d, a;", "ff",
       [](U a, U, U) { return F(std::log2(F(a))); }, "f32", 1e-6},
      {"rsqrt.approx.f32 d, a;", "ff",
       [](U a, U, U) { return F(1 / std::sqrt(F(a))); }, "f32", 1e-6},
      {"tanh.approx.f32 d, a;", "ff",
       [](U a, U, U) { return F(std::tanh(F(a))); }, "f32", 1e-6},
  };
  for (const Row &row : rows)
    check(row);
}

TEST(Instruction, OtherPrecisions) {
  // f16 and bf16: one rounding of the exact result. Sums of halves are exact
  // in double; products of three need 128-bit care, hence long double.
  auto fmaHalf = [](U a, U b, U c) -> U {
    // 11-bit operands: a * b + c spans at most 80 bits; compare candidates
    // exactly through double-double.
    double p = double(H(a)) * double(H(b)), z = H(c);
    long double exact = static_cast<long double>(p) + z;
    if (std::isnan(double(exact)))
      return 0x7fff;
    // 64 bits of mantissa: inexact only if p and z are 2^53 apart or so, when
    // the smaller one just decides a tie; nudge by its sign.
    long double rest = (static_cast<long double>(p) - exact) + z;
    double narrow = static_cast<double>(exact);
    long double error = (exact - narrow) + rest;
    if (error != 0 && !std::isinf(narrow) &&
        !(std::bit_cast<uint64_t>(narrow) & 1))
      narrow = std::nextafter(narrow, error > 0 ? HUGE_VAL : -HUGE_VAL);
    // A double this close to the exact value with its last bit odd rounds as
    // the exact value does.
    int exponent = 0;
    if (narrow == 0 || std::isinf(narrow))
      return H(float(narrow));
    std::frexp(narrow, &exponent);
    int ulp = std::max(exponent - 11, -24);
    double scaled = std::nearbyint(std::ldexp(narrow, -ulp));
    double value = std::ldexp(scaled, ulp);
    return H(value > 1e6    ? HUGE_VALF
             : value < -1e6 ? -HUGE_VALF
                            : float(value)) |
           (std::signbit(narrow) ? 0x8000 : 0);
  };
  auto addHalf = [](U a, U b, U) { return H(H(a) + H(b)); };
  auto mulHalf = [](U a, U b, U) { return H(H(a) * H(b)); };
  auto addBrain = [](U a, U b, U) { return B(double(B(a)) + double(B(b))); };
  auto mulBrain = [](U a, U b, U) { return B(double(B(a)) * double(B(b))); };
  auto maxHalf = [](U a, U b, U) -> U {
    float x = H(a), y = H(b);
    if (x == 0 && y == 0)
      return a & b;
    return H(float(greater(x, y)));
  };
  const Row rows[] = {
      {"add.rn.f16 d, a, b;", "hhh", addHalf, "f16"},
      {"sub.f16 d, a, b;", "hhh", [](U a, U b, U) { return H(H(a) - H(b)); },
       "f16"},
      {"mul.f16 d, a, b;", "hhh", mulHalf, "f16"},
      {"fma.rn.f16 d, a, b, c;", "hhhh", fmaHalf, "f16"},
      {"add.f16x2 d, a, b;", "rrr", packed(addHalf), "f16x2"},
      {"mul.f16x2 d, a, b;", "rrr", packed(mulHalf), "f16x2"},
      {"fma.rn.f16x2 d, a, b, c;", "rrrr", packed(fmaHalf), "f16x2"},
      {"max.f16 d, a, b;", "hhh", maxHalf, "f16"},
      {"max.f16x2 d, a, b;", "rrr", packed(maxHalf), "f16x2"},
      {"neg.f16x2 d, a;", "rr", [](U a, U, U) { return a ^ 0x80008000; }},
      {"abs.bf16x2 d, a;", "rr", [](U a, U, U) { return a & 0x7fff7fff; }},
      {"add.bf16 d, a, b;", "hhh", addBrain, "bf16"},
      {"mul.bf16x2 d, a, b;", "rrr", packed(mulBrain), "bf16x2"},
      {"add.f64 d, a, b;", "eee", [](U a, U b, U) { return D(D(a) + D(b)); },
       "f64"},
      {"fma.rn.f64 d, a, b, c;", "eeee",
       [](U a, U b, U c) { return D(std::fma(D(a), D(b), D(c))); }, "f64"},
      {"div.rn.f64 d, a, b;", "eee", [](U a, U b, U) { return D(D(a) / D(b)); },
       "f64"},
      {"max.f64 d, a, b;", "eee",
       [](U a, U b, U) {
         return D(a) == 0 && D(b) == 0 ? a & b : D(greater(D(a), D(b)));
       },
       "f64"},
  };
  for (const Row &row : rows)
    check(row);
}

TEST(Instruction, Conversions) {
  auto fp8 = [](U code, int mantissaBits, int bias, bool hasInfinity) {
    int exponentBits = 7 - mantissaBits;
    int e = int(code >> mantissaBits) & ((1 << exponentBits) - 1);
    int m = int(code) & ((1 << mantissaBits) - 1);
    double v = e ? std::ldexp(1 + std::ldexp(m, -mantissaBits), e - bias)
                 : std::ldexp(m, 1 - bias - mantissaBits);
    if (hasInfinity && e == (1 << exponentBits) - 1)
      v = m ? NAN : HUGE_VAL;
    if (!hasInfinity && (code & 0x7f) == 0x7f)
      v = NAN;
    return code & 0x80 ? -v : v;
  };
  // The nearest code by search over all of them.
  auto nearest = [=](double x, int mantissaBits, int bias, bool hasInfinity,
                     U maxCode) -> U {
    if (std::isnan(x))
      return 0x7f;
    U sign = std::signbit(x) ? 0x80 : 0, best = 0;
    double distance = HUGE_VAL;
    for (U code = 0; code <= maxCode; ++code) {
      double d = std::fabs(std::min(std::fabs(x), 1e6) -
                           fp8(code, mantissaBits, bias, hasInfinity));
      if (d < distance || (d == distance && !(code & 1) && std::isfinite(d))) {
        best = code;
        distance = d;
      }
    }
    return sign | (std::isinf(x) ? maxCode : best);
  };
  const Row rows[] = {
      {"cvt.u32.u16 d, a;", "rh", [](U a, U, U) { return a; }},
      {"cvt.s32.s16 d, a;", "rh", [](U a, U, U) { return U(int16_t(a)); }},
      {"cvt.s64.s32 d, a;", "lr", [](U a, U, U) { return U(int32_t(a)); }},
      {"cvt.u64.u32 d, a;", "lr", [](U a, U, U) { return a; }},
      {"cvt.u32.u64 d, a;", "rl", [](U a, U, U) { return a; }},
      {"cvt.s32.s8 d, a;", "rr", [](U a, U, U) { return U(int8_t(a)); }},
      {"cvt.s16.s8 d, a;", "hh", [](U a, U, U) { return U(int8_t(a)); }},
      {"cvt.u32.u8 d, a;", "rr", [](U a, U, U) { return a & 255; }},
      {"cvt.u8.u32 d, a;", "rr", [](U a, U, U) { return a & 255; }},
      {"cvt.sat.s8.s32 d, a;", "rr",
       [](U a, U, U) { return U(std::clamp(int32_t(a), -128, 127)); }},
      {"cvt.sat.u8.s32 d, a;", "rr",
       [](U a, U, U) { return U(std::clamp(int32_t(a), 0, 255)); }},
      {"cvt.rn.f32.s32 d, a;", "fr",
       [](U a, U, U) { return F(float(int32_t(a))); }},
      {"cvt.rn.f32.u32 d, a;", "fr",
       [](U a, U, U) { return F(float(uint32_t(a))); }},
      {"cvt.rn.f32.u64 d, a;", "fl", [](U a, U, U) { return F(float(a)); }},
      {"cvt.rn.f32.s64 d, a;", "fl",
       [](U a, U, U) { return F(float(int64_t(a))); }},
      {"cvt.rn.f32.u8 d, a;", "fh",
       [](U a, U, U) { return F(float(a & 255)); }},
      {"cvt.rz.f32.s32 d, a;", "fr",
       [](U a, U, U) {
         volatile int32_t x = int32_t(a);
         return F(rounded(FE_TOWARDZERO, [&] { return float(x); }));
       }},
      {"cvt.rp.f32.u32 d, a;", "fr",
       [](U a, U, U) {
         volatile uint32_t x = uint32_t(a);
         return F(rounded(FE_UPWARD, [&] { return float(x); }));
       }},
      {"cvt.rn.f64.s64 d, a;", "el",
       [](U a, U, U) { return D(double(int64_t(a))); }},
      {"cvt.rn.f16.s32 d, a;", "hr",
       [](U a, U, U) { return H(float(double(int32_t(a)))); }, "f16"},
      {"cvt.rni.s32.f32 d, a;", "rf",
       [](U a, U, U) { return U(toInteger<int32_t>(std::nearbyint(F(a)))); }},
      {"cvt.rzi.s32.f32 d, a;", "rf",
       [](U a, U, U) { return U(toInteger<int32_t>(std::trunc(F(a)))); }},
      {"cvt.rmi.s32.f32 d, a;", "rf",
       [](U a, U, U) { return U(toInteger<int32_t>(std::floor(F(a)))); }},
      {"cvt.rpi.u32.f32 d, a;", "rf",
       [](U a, U, U) { return U(toInteger<uint32_t>(std::ceil(F(a)))); }},
      {"cvt.rni.s8.f32 d, a;", "rf",
       [](U a, U, U) { return U(toInteger<int8_t>(std::nearbyint(F(a)))); }},
      {"cvt.rni.s64.f32 d, a;", "lf",
       [](U a, U, U) { return U(toInteger<int64_t>(std::nearbyint(F(a)))); }},
      {"cvt.rzi.u64.f64 d, a;", "le",
       [](U a, U, U) { return U(toInteger<uint64_t>(std::trunc(D(a)))); }},
      {"cvt.rni.f32.f32 d, a;", "ff",
       [](U a, U, U) { return F(std::nearbyint(F(a))); }, "f32"},
      {"cvt.rmi.ftz.f32.f32 d, a;", "ff",
       [](U a, U, U) { return F(std::floor(flushed(F(a)))); }, "f32"},
      {"cvt.sat.f32.f32 d, a;", "ff",
       [](U a, U, U) { return F(F(a) > 0 ? std::min(F(a), 1.0f) : 0.0f); }},
      {"cvt.f32.f16 d, a;", "fh", [](U a, U, U) { return F(H(a)); }, "f32"},
      {"cvt.rn.f16.f32 d, a;", "hf", [](U a, U, U) { return H(F(a)); }, "f16"},
      {"cvt.f32.bf16 d, a;", "fh", [](U a, U, U) { return F(B(a)); }, "f32"},
      {"cvt.rn.bf16.f32 d, a;", "hf", [](U a, U, U) { return B(double(F(a))); },
       "bf16"},
      {"cvt.f64.f32 d, a;", "ef", [](U a, U, U) { return D(double(F(a))); },
       "f64"},
      {"cvt.rn.f32.f64 d, a;", "fe", [](U a, U, U) { return F(float(D(a))); },
       "f32"},
      {"cvt.rz.f32.f64 d, a;", "fe",
       [](U a, U, U) {
         volatile double x = D(a);
         return F(rounded(FE_TOWARDZERO, [&] { return float(x); }));
       },
       "f32"},
      {"cvt.rn.f16x2.f32 d, a, b;", "rff",
       [](U a, U b, U) { return H(F(a)) << 16 | H(F(b)); }, "f16x2"},
      {"cvt.rn.bf16x2.f32 d, a, b;", "rff",
       [](U a, U b, U) { return B(double(F(a))) << 16 | B(double(F(b))); },
       "bf16x2"},
      {"cvt.rn.satfinite.e4m3x2.f32 d, a, b;", "hff",
       [=](U a, U b, U) {
         return nearest(F(a), 3, 7, false, 0x7e) << 8 |
                nearest(F(b), 3, 7, false, 0x7e);
       }},
      {"cvt.rn.satfinite.e5m2x2.f32 d, a, b;", "hff",
       [=](U a, U b, U) {
         return nearest(F(a), 2, 15, true, 0x7b) << 8 |
                nearest(F(b), 2, 15, true, 0x7b);
       }},
      {"cvt.rn.f16x2.e4m3x2 d, a;", "rh",
       [=](U a, U, U) {
         return H(float(fp8(a >> 8 & 255, 3, 7, false))) << 16 |
                H(float(fp8(a & 255, 3, 7, false)));
       },
       "f16x2"},
      {"cvt.rn.f16x2.e5m2x2 d, a;", "rh",
       [=](U a, U, U) {
         return H(float(fp8(a >> 8 & 255, 2, 15, true))) << 16 |
                H(float(fp8(a & 255, 2, 15, true)));
       },
       "f16x2"},
      {"cvt.rna.tf32.f32 d, a;", "rr",
       [](U a, U, U) -> U {
         if (std::isnan(F(a)))
           return 0x7fffffff;
         return std::isinf(F(a)) ? a : (a + 0x1000) & ~U(0x1fff);
       }},
  };
  for (const Row &row : rows)
    check(row);
}

TEST(Instruction, ComparisonsAndSelections) {
  struct Compare {
    const char *name;
    bool (*ordered)(double, double);
    bool ifUnordered;
  };
  const Compare compares[] = {
      {"eq", [](double a, double b) { return a == b; }, false},
      {"ne", [](double a, double b) { return a != b; }, false},
      {"lt", [](double a, double b) { return a < b; }, false},
      {"le", [](double a, double b) { return a <= b; }, false},
      {"gt", [](double a, double b) { return a > b; }, false},
      {"ge", [](double a, double b) { return a >= b; }, false},
      {"equ", [](double a, double b) { return a == b; }, true},
      {"neu", [](double a, double b) { return a != b; }, true},
      {"ltu", [](double a, double b) { return a < b; }, true},
      {"leu", [](double a, double b) { return a <= b; }, true},
      {"gtu", [](double a, double b) { return a > b; }, true},
      {"geu", [](double a, double b) { return a >= b; }, true},
      {"num", [](double, double) { return true; }, false},
      {"nan", [](double, double) { return false; }, true},
  };
  for (const Compare &c : compares) {
    std::string text = std::string("setp.") + c.name +
                       ".f32 %p1, a, b;\nselp.u32 d, 1, 0, %p1;";
    check({text.c_str(), "rff", [&](U a, U b, U) {
             float x = F(a), y = F(b);
             return U(std::isnan(x) || std::isnan(y) ? c.ifUnordered
                                                     : c.ordered(x, y));
           }});
    text = std::string("setp.") + c.name +
           ".f16 %p1, a, b;\nselp.u32 d, 1, 0, %p1;";
    check({text.c_str(), "rhh", [&](U a, U b, U) {
             float x = H(a), y = H(b);
             return U(std::isnan(x) || std::isnan(y) ? c.ifUnordered
                                                     : c.ordered(x, y));
           }});
  }
  const Row rows[] = {
      {"setp.lt.s32 %p1, a, b;\nselp.b32 d, a, b, %p1;", "rrr",
       [](U a, U b, U) { return int32_t(a) < int32_t(b) ? a : b; }},
      {"setp.lo.u32 %p1, a, b;\nselp.b32 d, a, b, %p1;", "rrr",
       [](U a, U b, U) { return std::min(a, b); }},
      {"setp.hs.u64 %p1, a, b;\nselp.b64 d, a, b, %p1;", "lll",
       [](U a, U b, U) { return std::max(a, b); }},
      {"setp.gt.s16 %p1, a, b;\nselp.b16 d, a, b, %p1;", "hhh",
       [](U a, U b, U) { return int16_t(a) > int16_t(b) ? a : b; }},
      {"setp.ne.s32 %p1, c, 0;\nsetp.lt.and.s32 %p2|%p3, a, b, !%p1;\n"
       "selp.u32 d, 1, 0, %p2;\nselp.u32 %r2, 2, 0, %p3;\n"
       "add.s32 d, d, %r2;",
       "rrrr",
       [](U a, U b, U c) {
         bool less = int32_t(a) < int32_t(b), q = c == 0;
         return U(less && q) + 2 * U(!less && q);
       }},
      {"set.ge.u32.f32 d, a, b;", "rff",
       [](U a, U b, U) { return U(F(a) >= F(b) ? ~0u : 0u); }},
      {"slct.b32.s32 d, a, b, c;", "rrrr",
       [](U a, U b, U c) { return int32_t(c) >= 0 ? a : b; }},
      {"testp.notanumber.f32 %p1, a;\nselp.u32 d, 1, 0, %p1;", "rf",
       [](U a, U, U) { return U(std::isnan(F(a))); }},
      {"testp.subnormal.f32 %p1, a;\nselp.u32 d, 1, 0, %p1;", "rf",
       [](U a, U, U) {
         int kind = std::fpclassify(F(a));
         return U(kind == FP_SUBNORMAL || kind == FP_ZERO);
       }},
      {"mov.b64 d, {a, b};", "lrr", [](U a, U b, U) { return b << 32 | a; }},
      {"mov.b64 {%r2, d}, a;", "rl", [](U a, U, U) { return a >> 32; }},
      {"mov.b32 d, {a, b};", "rhh", [](U a, U b, U) { return b << 16 | a; }},
      {"mov.b32 {d, %h2}, a;", "hr", [](U a, U, U) { return a; }},
  };
  for (const Row &row : rows)
    check(row);
}

} // namespace
