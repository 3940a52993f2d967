//===- FloatInstructionTest.cpp - Floats against the host -----------------===//
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

} // namespace
