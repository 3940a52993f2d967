//===- IntegerInstructionTest.cpp - Integers and bits against the host ----===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "tests/sim/InstructionRow.h"

#include <gtest/gtest.h>
#include <string>

using namespace quern;
using namespace quern::simtest;

namespace {

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
       [](U a, U, U) { return U(std::fpclassify(F(a)) == FP_SUBNORMAL); }},
      {"mov.b64 d, {a, b};", "lrr", [](U a, U b, U) { return b << 32 | a; }},
      {"mov.b64 {%r2, d}, a;", "rl", [](U a, U, U) { return a >> 32; }},
      {"mov.b32 d, {a, b};", "rhh", [](U a, U b, U) { return b << 16 | a; }},
      {"mov.b32 {d, %h2}, a;", "hr", [](U a, U, U) { return a; }},
  };
  for (const Row &row : rows)
    check(row);
}

} // namespace
