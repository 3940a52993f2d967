//===- Float.cpp - f32 arithmetic -----------------------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// PTX ISA: "Floating Point Instructions", "Comparison and Selection
// Instructions". Arithmetic gives the canonical NaN 0x7fffffff; instructions
// that only move or change a sign may keep another, so their NaNs are compared
// as such. Approximations are held to the errors that the ISA states.
//
//===----------------------------------------------------------------------===//

#include "tests/conformance/Arithmetic.h"
#include "tests/conformance/Rows.h"

#include <algorithm>

using namespace quern;
using namespace quern::conformance;

namespace {

using U = uint32_t;
constexpr U nan = 0x7fffffff;

const Words specials = {
    0x00000000, 0x80000000, 0x3f800000, 0xbf800000, 0x7f800000, 0xff800000,
    0x7fc00000, 0x7f800001, 0xffc12345, 0x00000001, 0x80000001, 0x007fffff,
    0x807fffff, 0x00800000, 0x80800000, 0x7f7fffff, 0xff7fffff, 0x3f000000,
    0x3fc00000, 0x40200000, 0x34000000, 0x33800000, 0x1a800000, 0x5a800000};

double f(U bits) { return decode(f32, bits); }
double flushed(U bits) {
  double value = f(bits);
  return std::fabs(value) < 0x1p-126 ? std::copysign(0.0, value) : value;
}
U result(double value, Round round) {
  return encode(f32, value, round, false, nan);
}
U flushedResult(double value) {
  U bits = result(value, Round::Even);
  // Flushing looks at the rounded result.
  return (bits & 0x7f800000) ? bits : bits & 0x80000000;
}
U anyNan(U bits) { return std::isnan(f(bits)) ? nan : bits; }

template <typename F> Row<U> row(const char *name, F function) {
  return {name, function};
}
template <typename F> Row<U> lenient(const char *name, F function) {
  return {name, function, -1, anyNan};
}

Case sums() {
  auto add = [](Round r) {
    return [r](U a, U b, U) { return result(addToOdd(f(a), f(b), r), r); };
  };
  auto mul = [](Round r) {
    return [r](U a, U b, U) { return result(f(a) * f(b), r); };
  };
  auto fma = [](Round r) {
    return
        [r](U a, U b, U c) { return result(fmaToOdd(f(a), f(b), f(c), r), r); };
  };
  constexpr Round even = Round::Even;
  return rowsCase<U>(
      "f32 sums and products", "float", "float_sums",
      {row("add.rn", add(even)),
       row("add.rz", add(Round::Zero)),
       row("add.rm", add(Round::Down)),
       row("add.rp", add(Round::Up)),
       row("add.rn.ftz",
           [](U a, U b, U) {
             return flushedResult(addToOdd(flushed(a), flushed(b), even));
           }),
       row("add.rn.sat",
           [](U a, U b, U) {
             return result(saturated(addToOdd(f(a), f(b), even)), even);
           }),
       row("sub.rn",
           [](U a, U b, U) {
             return result(addToOdd(f(a), -f(b), even), even);
           }),
       row("sub.rm",
           [](U a, U b, U) {
             return result(addToOdd(f(a), -f(b), Round::Down), Round::Down);
           }),
       row("mul.rn", mul(even)),
       row("mul.rz", mul(Round::Zero)),
       row("mul.rm", mul(Round::Down)),
       row("mul.rp", mul(Round::Up)),
       row("mul.rn.ftz",
           [](U a, U b, U) { return flushedResult(flushed(a) * flushed(b)); }),
       row("mul.rn.sat",
           [](U a, U b, U) { return result(saturated(f(a) * f(b)), even); }),
       row("fma.rn", fma(even)),
       row("fma.rz", fma(Round::Zero)),
       row("fma.rm", fma(Round::Down)),
       row("fma.rp", fma(Round::Up)),
       row("fma.rn.ftz",
           [](U a, U b, U c) {
             return flushedResult(
                 fmaToOdd(flushed(a), flushed(b), flushed(c), even));
           }),
       row("fma.rn.sat",
           [](U a, U b, U c) {
             return result(saturated(fmaToOdd(f(a), f(b), f(c), even)), even);
           })},
      specials);
}

Case quotients() {
  std::vector<Row<U>> rows;
  static constexpr std::pair<Round, const char *> rounds[] = {
      {Round::Even, "rn"},
      {Round::Zero, "rz"},
      {Round::Down, "rm"},
      {Round::Up, "rp"}};
  for (auto [r, name] : rounds)
    rows.push_back(lenient(
        "div", [r = r](U a, U b, U) { return result(f(a) / f(b), r); }));
  for (auto [r, name] : rounds)
    rows.push_back(
        lenient("rcp", [r = r](U a, U, U) { return result(1 / f(a), r); }));
  for (auto [r, name] : rounds)
    rows.push_back(lenient(
        "sqrt", [r = r](U a, U, U) { return result(std::sqrt(f(a)), r); }));
  return rowsCase<U>("f32 quotients and roots", "float", "float_quotients",
                     std::move(rows), specials);
}

/// minNum and maxNum with -0 below +0.
U smaller(U a, U b, bool larger) {
  double x = f(a), y = f(b);
  if (std::isnan(x) && std::isnan(y))
    return nan;
  if (std::isnan(x))
    return b;
  if (std::isnan(y))
    return a;
  bool first = x < y || (x == y && std::signbit(x) && !std::signbit(y));
  return first != larger ? a : b;
}
bool either(U a, U b) { return std::isnan(f(a)) || std::isnan(f(b)); }
U flushBits(U a) { return (a & 0x7f800000) ? a : a & 0x80000000; }

Case choices() {
  return rowsCase<U>(
      "f32 minima, signs and comparisons", "float", "float_choices",
      {row("min", [](U a, U b, U) { return smaller(a, b, false); }),
       row("max", [](U a, U b, U) { return smaller(a, b, true); }),
       row("min.NaN",
           [](U a, U b, U) {
             return either(a, b) ? nan : smaller(a, b, false);
           }),
       row("max.NaN",
           [](U a, U b, U) {
             return either(a, b) ? nan : smaller(a, b, true);
           }),
       row("min.ftz",
           [](U a, U b, U) {
             return smaller(flushBits(a), flushBits(b), false);
           }),
       row("max.ftz",
           [](U a, U b, U) {
             return smaller(flushBits(a), flushBits(b), true);
           }),
       lenient("abs", [](U a, U, U) { return a & 0x7fffffff; }),
       lenient("neg", [](U a, U, U) { return a ^ 0x80000000; }),
       lenient("abs.ftz", [](U a, U, U) { return flushBits(a) & 0x7fffffff; }),
       lenient("copysign",
               [](U a, U b, U) { return (a & 0x80000000) | (b & 0x7fffffff); }),
       row("setp.eq", [](U a, U b, U) -> U { return f(a) == f(b); }),
       row("setp.ne",
           [](U a, U b, U) -> U { return !either(a, b) && f(a) != f(b); }),
       row("setp.lt", [](U a, U b, U) -> U { return f(a) < f(b); }),
       row("setp.ge", [](U a, U b, U) -> U { return f(a) >= f(b); }),
       row("setp.equ",
           [](U a, U b, U) -> U { return either(a, b) || f(a) == f(b); }),
       row("setp.neu", [](U a, U b, U) -> U { return f(a) != f(b); }),
       row("setp.ltu",
           [](U a, U b, U) -> U { return either(a, b) || f(a) < f(b); }),
       row("setp.gtu",
           [](U a, U b, U) -> U { return either(a, b) || f(a) > f(b); }),
       row("setp.num", [](U a, U b, U) -> U { return !either(a, b); }),
       row("setp.nan", [](U a, U b, U) -> U { return either(a, b); }),
       row("setp.lt.ftz",
           [](U a, U b, U) -> U { return flushed(a) < flushed(b); }),
       row("testp.finite", [](U a, U, U) -> U { return std::isfinite(f(a)); }),
       row("testp.infinite", [](U a, U, U) -> U { return std::isinf(f(a)); }),
       // Zeros count as normal.
       row("testp.normal",
           [](U a, U, U) -> U {
             return f(a) == 0 || (std::isfinite(f(a)) && (a & 0x7f800000));
           }),
       row("testp.subnormal",
           [](U a, U, U) -> U { return !(a & 0x7f800000) && (a & 0x7fffff); }),
       row("testp.notanumber",
           [](U a, U, U) -> U { return std::isnan(f(a)); })},
      specials);
}

void approximations(Bench &bench) {
  constexpr int n = 1024;
  Random &random = bench.random();
  Words a(n), b(n);
  for (int i = 0; i < n; ++i) {
    a[i] = asBits(static_cast<float>(random.number(23, -20, 6)));
    b[i] = asBits(static_cast<float>(random.number(23, -20, 6)));
  }
  Buffer out = bench.output(7 * n * 4);
  bench.launch("float_approximations", {.grid = {n / 128}, .block = {128}},
               bench.input(a, "a"), bench.input(b, "b"), bench.input(b, "c"),
               out, n);
  Words all = bench.read<uint32_t>(out);
  struct Approximation {
    const char *name;
    double (*value)(double a, double b);
    /// Allowed: relative to the value, and absolute.
    double relative, absolute;
  };
  // The ISA's figures. tanh: 2^-10.987 relative; lg2: 2^-22.6 absolute within
  // (0.5, 2), relative 2^-22 elsewhere; div.full: 2 ulp.
  const Approximation rows[] = {
      {"ex2.approx.ftz",
       [](double a, double) {
         double value = std::exp2(a);
         return value < 0x1p-126 ? 0 : value; // .ftz
       },
       0x1p-21, 0},
      {"rcp.approx.ftz", [](double a, double) { return 1 / a; }, 0x1p-22, 0},
      {"rsqrt.approx", [](double a, double) { return 1 / std::sqrt(a); },
       0x1p-22, 0},
      {"sqrt.approx", [](double a, double) { return std::sqrt(a); }, 0x1p-22,
       0},
      {"lg2.approx", [](double a, double) { return std::log2(a); }, 0x1p-22,
       0x1p-22},
      {"tanh.approx", [](double a, double) { return std::tanh(a); }, 0x1p-10,
       0},
      {"div.full", [](double a, double b) { return a / b; }, 0x1p-22, 0}};
  for (size_t r = 0; r < std::size(rows); ++r) {
    std::vector<double> expected, actual, tolerance;
    Words bits;
    for (int i = 0; i < n; ++i) {
      double value = rows[r].value(f(a[i]), f(b[i]));
      expected.push_back(value);
      bits.push_back(all[r * n + i]);
      actual.push_back(f(bits.back()));
      tolerance.push_back(std::isfinite(value)
                              ? rows[r].relative * std::fabs(value) +
                                    rows[r].absolute
                              : 0);
    }
    bench.expectNear(rows[r].name, expected, actual, tolerance, bits);
  }
}

} // namespace

std::vector<Case> conformance::floatCases() {
  return {sums(),
          quotients(),
          choices(),
          {"f32 approximations", "float", approximations}};
}
