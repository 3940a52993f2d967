//===- Integer.cpp - Integer and bit instructions -------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// PTX ISA: "Integer Arithmetic Instructions", "Logic and Shift Instructions",
// and `prmt`.
//
//===----------------------------------------------------------------------===//

#include "tests/conformance/Rows.h"

#include <algorithm>
#include <bit>

using namespace quern;
using namespace quern::conformance;

namespace {

using U = uint32_t;
using S = int32_t;
using L = uint64_t;
using SL = int64_t;

const Words edges = {0,          1,          2,         0x7fffffff, 0x80000000,
                     0x80000001, 0xffffffff, 0xffff,    0x10000,    31,
                     32,         33,         0x00ff00ff};

S clampS(SL value) {
  return static_cast<S>(std::clamp<SL>(value, INT32_MIN, INT32_MAX));
}
L mulHigh(L a, L b) {
  return static_cast<L>(static_cast<unsigned __int128>(a) * b >> 64);
}

/// `bfe`, as the ISA's pseudo code has it; `msb` is 31 or 63.
L extract(L a, unsigned pos, unsigned len, unsigned msb, bool isSigned) {
  L sign = isSigned && len ? a >> std::min(pos + len - 1, msb) & 1 : 0;
  L d = 0;
  for (unsigned i = 0; i <= msb; ++i)
    d |= (i < len && pos + i <= msb ? a >> (pos + i) & 1 : sign) << i;
  return d;
}
/// `bfi`, likewise.
L insert(L a, L b, unsigned pos, unsigned len, unsigned msb) {
  for (unsigned i = 0; i < len && pos + i <= msb; ++i)
    b = (b & ~(L(1) << (pos + i))) | (a >> i & 1) << (pos + i);
  return b;
}
U mask(bool clamp, U position, U width) {
  if (!clamp) {
    position &= 31;
    width &= 31;
  }
  U d = 0;
  for (U i = 0; i < 32; ++i)
    if (i >= position && i - position < width)
      d |= 1u << i;
  return d;
}
U logic(U a, U b, U c, U table) {
  U d = 0;
  for (int i = 0; i < 32; ++i)
    d |= (table >> ((a >> i & 1) << 2 | (b >> i & 1) << 1 | (c >> i & 1)) & 1)
         << i;
  return d;
}
template <typename A, typename B> U dot4(U a, U b, U c) {
  for (int i = 0; i < 4; ++i)
    c += static_cast<U>(static_cast<S>(static_cast<A>(a >> 8 * i)) *
                        static_cast<S>(static_cast<B>(b >> 8 * i)));
  return c;
}
template <typename A, typename B> U dot2(U a, U b, U c, int half) {
  for (int i = 0; i < 2; ++i)
    c +=
        static_cast<U>(static_cast<S>(static_cast<A>(a >> 16 * i)) *
                       static_cast<S>(static_cast<B>(b >> 8 * (2 * half + i))));
  return c;
}

U bytesOf(U a, U b, const int (&select)[4]) {
  U d = 0;
  for (int i = 0; i < 4; ++i) {
    int s = select[3 - i]; // tables are written from the highest byte down
    d |= ((s < 4 ? a >> 8 * s : b >> 8 * (s - 4)) & 0xff) << 8 * i;
  }
  return d;
}
U permute(U a, U b, U c) {
  U d = 0;
  for (int i = 0; i < 4; ++i) {
    U s = c >> 4 * i & 15;
    U byte = (s & 4 ? b >> 8 * (s & 3) : a >> 8 * (s & 3)) & 0xff;
    if (s & 8)
      byte = byte & 0x80 ? 0xff : 0;
    d |= byte << 8 * i;
  }
  return d;
}
using Table = int[4][4];
constexpr Table f4e = {{3, 2, 1, 0}, {4, 3, 2, 1}, {5, 4, 3, 2}, {6, 5, 4, 3}};
constexpr Table b4e = {{5, 6, 7, 0}, {6, 7, 0, 1}, {7, 0, 1, 2}, {0, 1, 2, 3}};
constexpr Table rc8 = {{0, 0, 0, 0}, {1, 1, 1, 1}, {2, 2, 2, 2}, {3, 3, 3, 3}};
constexpr Table ecl = {{3, 2, 1, 0}, {3, 2, 1, 1}, {3, 2, 2, 2}, {3, 3, 3, 3}};
constexpr Table ecr = {{0, 0, 0, 0}, {1, 1, 1, 0}, {2, 2, 1, 0}, {3, 2, 1, 0}};
constexpr Table rc16 = {{1, 0, 1, 0}, {3, 2, 3, 2}, {1, 0, 1, 0}, {3, 2, 3, 2}};

L funnel(U a, U b) { return L(b) << 32 | a; }
U divisor(U b) { return (b & 0xffff) + 1; }

Case sums() {
  return rowsCase<U>(
      "integer sums and products", "integer", "integer_sums",
      {{"add.u32", [](U a, U b, U) { return a + b; }},
       {"sub.s32", [](U a, U b, U) { return a - b; }},
       {"add.sat.s32",
        [](U a, U b, U) -> U { return clampS(SL(S(a)) + S(b)); }},
       {"sub.sat.s32",
        [](U a, U b, U) -> U { return clampS(SL(S(a)) - S(b)); }},
       {"mul.lo.u32", [](U a, U b, U) { return a * b; }},
       {"mul.hi.u32", [](U a, U b, U) { return U(L(a) * b >> 32); }},
       {"mul.hi.s32", [](U a, U b, U) { return U(SL(S(a)) * S(b) >> 32); }},
       {"mad.lo.s32", [](U a, U b, U c) { return a * b + c; }},
       {"mad.hi.u32", [](U a, U b, U c) { return U(L(a) * b >> 32) + c; }},
       {"mad.hi.s32",
        [](U a, U b, U c) { return U(SL(S(a)) * S(b) >> 32) + c; }},
       {"mad.hi.sat.s32",
        [](U a, U b, U c) -> U {
          return clampS((SL(S(a)) * S(b) >> 32) + S(c));
        }},
       {"sad.s32",
        [](U a, U b, U c) { return c + (S(a) > S(b) ? a - b : b - a); }},
       {"sad.u32", [](U a, U b, U c) { return c + (a > b ? a - b : b - a); }},
       {"abs.s32", [](U a, U, U) { return S(a) < 0 ? 0u - a : a; }},
       {"neg.s32", [](U a, U, U) { return 0u - a; }},
       {"min.u32", [](U a, U b, U) { return std::min(a, b); }},
       {"max.u32", [](U a, U b, U) { return std::max(a, b); }},
       {"min.s32", [](U a, U b, U) -> U { return std::min(S(a), S(b)); }},
       {"max.s32", [](U a, U b, U) -> U { return std::max(S(a), S(b)); }},
       {"div.u32", [](U a, U b, U) { return a / divisor(b); }},
       {"div.s32", [](U a, U b, U) { return U(S(a) / S(divisor(b))); }},
       {"rem.u32", [](U a, U b, U) { return a % divisor(b); }},
       {"rem.s32", [](U a, U b, U) { return U(S(a) % S(divisor(b))); }}},
      edges);
}

Case bits() {
  auto find = [](U x) { return x ? 31u - std::countl_zero(x) : ~0u; };
  auto reverse = [](U a) {
    U d = 0;
    for (int i = 0; i < 32; ++i)
      d |= (a >> i & 1) << (31 - i);
    return d;
  };
  return rowsCase<U>(
      "integer bits and dot products", "integer", "integer_bits",
      {{"and.b32", [](U a, U b, U) { return a & b; }},
       {"or.b32", [](U a, U b, U) { return a | b; }},
       {"xor.b32", [](U a, U b, U) { return a ^ b; }},
       {"not.b32", [](U a, U, U) { return ~a; }},
       {"cnot.b32", [](U a, U, U) { return U(a == 0); }},
       {"popc.b32", [](U a, U, U) { return U(std::popcount(a)); }},
       {"clz.b32", [](U a, U, U) { return U(std::countl_zero(a)); }},
       {"brev.b32", [=](U a, U, U) { return reverse(a); }},
       {"bfind.u32", [=](U a, U, U) { return find(a); }},
       {"bfind.s32", [=](U a, U, U) { return find(S(a) < 0 ? ~a : a); }},
       {"bfind.shiftamt.u32",
        [=](U a, U, U) { return a ? 31 - find(a) : ~0u; }},
       {"lop3 0x96", [](U a, U b, U c) { return logic(a, b, c, 0x96); }},
       {"lop3 0xe8", [](U a, U b, U c) { return logic(a, b, c, 0xe8); }},
       {"lop3 0x1b", [](U a, U b, U c) { return logic(a, b, c, 0x1b); }},
       {"lop3 0x6a", [](U a, U b, U c) { return logic(a, b, c, 0x6a); }},
       {"slct.u32.s32", [](U a, U b, U c) { return S(c) >= 0 ? a : b; }},
       {"dp4a.u32.u32", dot4<uint8_t, uint8_t>},
       {"dp4a.s32.u32", dot4<int8_t, uint8_t>},
       {"dp4a.u32.s32", dot4<uint8_t, int8_t>},
       {"dp4a.s32.s32", dot4<int8_t, int8_t>},
       {"dp2a.lo.s32.s32",
        [](U a, U b, U c) { return dot2<int16_t, int8_t>(a, b, c, 0); }},
       {"dp2a.hi.u32.s32",
        [](U a, U b, U c) { return dot2<uint16_t, int8_t>(a, b, c, 1); }}},
      edges);
}

Case shifts() {
  auto s = [](U c) { return c % 40; };
  auto l = [](U c) { return (c >> 8) % 40; };
  return rowsCase<U>(
      "shifts and bit fields", "integer", "integer_shifts",
      {{"shl.b32", [=](U a, U, U c) { return s(c) > 31 ? 0 : a << s(c); }},
       {"shr.u32", [=](U a, U, U c) { return s(c) > 31 ? 0 : a >> s(c); }},
       {"shr.s32", [=](U a, U, U c) { return U(S(a) >> std::min(s(c), 31u)); }},
       {"shf.l.wrap",
        [=](U a, U b, U c) { return U(funnel(a, b) << (s(c) & 31) >> 32); }},
       {"shf.l.clamp",
        [=](U a, U b, U c) {
          return U(funnel(a, b) << std::min(s(c), 32u) >> 32);
        }},
       {"shf.r.wrap",
        [=](U a, U b, U c) { return U(funnel(a, b) >> (s(c) & 31)); }},
       {"shf.r.clamp",
        [=](U a, U b, U c) { return U(funnel(a, b) >> std::min(s(c), 32u)); }},
       {"bfe.u32",
        [=](U a, U, U c) { return U(extract(a, s(c), l(c), 31, false)); }},
       {"bfe.s32",
        [=](U a, U, U c) { return U(extract(a, s(c), l(c), 31, true)); }},
       {"bfi.b32",
        [=](U a, U b, U c) { return U(insert(a, b, s(c), l(c), 31)); }},
       {"bmsk.clamp", [=](U, U, U c) { return mask(true, s(c), l(c)); }},
       {"bmsk.wrap", [=](U, U, U c) { return mask(false, s(c), l(c)); }}},
      edges);
}

Case permutes() {
  return rowsCase<U>(
      "prmt", "integer", "integer_permutes",
      {{"prmt", permute},
       {"prmt.f4e", [](U a, U b, U c) { return bytesOf(a, b, f4e[c & 3]); }},
       {"prmt.b4e", [](U a, U b, U c) { return bytesOf(a, b, b4e[c & 3]); }},
       {"prmt.rc8", [](U a, U b, U c) { return bytesOf(a, b, rc8[c & 3]); }},
       {"prmt.ecl", [](U a, U b, U c) { return bytesOf(a, b, ecl[c & 3]); }},
       {"prmt.ecr", [](U a, U b, U c) { return bytesOf(a, b, ecr[c & 3]); }},
       {"prmt.rc16", [](U a, U b, U c) { return bytesOf(a, b, rc16[c & 3]); }}},
      edges);
}

Case wide() {
  auto x = [](U a, U b) { return L(b) << 32 | a; };
  auto s = [](U c) { return c % 80; };
  auto l = [](U c) { return (c >> 8) % 80; };
  return rowsCase<L>(
      "64-bit integers", "integer", "integer_wide",
      {{"add.u64", [=](U a, U b, U c) { return x(a, b) + x(b, c); }},
       {"sub.s64", [=](U a, U b, U c) { return x(a, b) - x(b, c); }},
       {"mul.lo.u64", [=](U a, U b, U c) { return x(a, b) * x(b, c); }},
       {"mul.hi.u64", [=](U a, U b, U c) { return mulHigh(x(a, b), x(b, c)); }},
       {"mul.hi.s64",
        [=](U a, U b, U c) {
          return L(static_cast<__int128>(SL(x(a, b))) * SL(x(b, c)) >> 64);
        }},
       {"mad.lo.s64",
        [=](U a, U b, U c) { return x(a, b) * x(b, c) + x(a, b); }},
       {"min.u64", [=](U a, U b, U c) { return std::min(x(a, b), x(b, c)); }},
       {"max.s64",
        [=](U a, U b, U c) { return L(std::max(SL(x(a, b)), SL(x(b, c)))); }},
       {"shl.b64",
        [=](U a, U b, U c) { return s(c) > 63 ? 0 : x(a, b) << s(c); }},
       {"shr.u64",
        [=](U a, U b, U c) { return s(c) > 63 ? 0 : x(a, b) >> s(c); }},
       {"shr.s64",
        [=](U a, U b, U c) { return L(SL(x(a, b)) >> std::min(s(c), 63u)); }},
       {"brev.b64",
        [=](U a, U b, U) {
          L d = 0;
          for (int i = 0; i < 64; ++i)
            d |= (x(a, b) >> i & 1) << (63 - i);
          return d;
        }},
       {"bfe.u64",
        [=](U a, U b, U c) { return extract(x(a, b), s(c), l(c), 63, false); }},
       {"bfe.s64",
        [=](U a, U b, U c) { return extract(x(a, b), s(c), l(c), 63, true); }},
       {"bfi.b64",
        [=](U a, U b, U c) {
          return insert(x(a, b), x(b, c), s(c), l(c), 63);
        }},
       {"mul.wide.u32", [](U a, U b, U) { return L(a) * b; }},
       {"mul.wide.s32", [](U a, U b, U) { return L(SL(S(a)) * S(b)); }},
       {"mad.wide.s32",
        [=](U a, U b, U) { return L(SL(S(a)) * S(b)) + x(a, b); }},
       {"popc.b64", [=](U a, U b, U) { return L(std::popcount(x(a, b))); }},
       {"clz.b64", [=](U a, U b, U) { return L(std::countl_zero(x(a, b))); }},
       {"bfind.u64",
        [=](U a, U b, U) {
          return x(a, b) ? L(63 - std::countl_zero(x(a, b))) : L(0xffffffff);
        }},
       {"abs.s64",
        [=](U a, U b, U) { return SL(x(a, b)) < 0 ? 0 - x(a, b) : x(a, b); }},
       {"neg.s64", [=](U a, U b, U) { return 0 - x(a, b); }},
       {"not.b64", [=](U a, U b, U) { return ~x(a, b); }},
       {"cvt.s64.s32", [](U a, U, U) { return L(SL(S(a))); }},
       {"mov.b64 {lo, hi}", [=](U a, U b, U) { return x(b, a); }}},
      edges);
}

} // namespace

std::vector<Case> conformance::integerCases() {
  return {sums(), bits(), shifts(), permutes(), wide()};
}
