//===- Half.cpp - Packed f16 and bf16 arithmetic --------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// PTX ISA: "Half Precision Floating Point Instructions". Results round once,
// subnormals are kept, and the canonical NaN of both types is 0x7fff.
//
//===----------------------------------------------------------------------===//

#include "tests/conformance/Arithmetic.h"
#include "tests/conformance/Rows.h"

using namespace quern;
using namespace quern::conformance;

namespace {

using U = uint32_t;

/// Pairs whose halves are special in one type or the other.
const Words specials = {0x00000000, 0x80008000, 0x3c003c00, 0x3f803f80,
                        0x7c00fc00, 0x7f80ff80, 0x7e007c01, 0x7fc07f81,
                        0x00018001, 0x03ff83ff, 0x04000080, 0x7bfffbff,
                        0x7f7fff7f, 0x3c003c01, 0x38003800, 0x10001000};

using Operation = double (*)(double a, double b, double c);

/// Applies an operation on both halves.
Row<U> packed(const char *name, Format format, Operation operation,
              bool canonicalNan = true, bool anyZero = false) {
  Row<U> row = {
      name, [=](U a, U b, U c) {
        U both = 0;
        for (int h = 0; h < 2; ++h) {
          auto half = [&](U x) { return decode(format, x >> 16 * h & 0xffff); };
          double value = operation(half(a), half(b), half(c));
          both |= encode(format, value, Round::Even, false, 0x7fff) << 16 * h;
        }
        return both;
      }};
  // Signs and payloads of NaNs that are only moved are not defined.
  if (!canonicalNan || anyZero)
    row.canonical = [=](U x) {
      U both = 0;
      for (int h = 0; h < 2; ++h) {
        U half = x >> 16 * h & 0xffff;
        if (!canonicalNan && std::isnan(decode(format, half)))
          half = 0x7fff;
        if (anyZero && half == 0x8000) // Whether relu(-0) is -0 is not said.
          half = 0;
        both |= half << 16 * h;
      }
      return both;
    };
  return row;
}

double add(double a, double b, double) { return addToOdd(a, b, Round::Even); }
double sub(double a, double b, double) { return addToOdd(a, -b, Round::Even); }
double mul(double a, double b, double) { return a * b; }
double fused(double a, double b, double c) {
  return fmaToOdd(a, b, c, Round::Even);
}
double addSat(double a, double b, double) {
  return saturated(addToOdd(a, b, Round::Even));
}
double fmaRelu(double a, double b, double c) {
  double value = fmaToOdd(a, b, c, Round::Even);
  return value < 0 || (value == 0 && std::signbit(value)) ? 0.0 : value;
}
double least(double a, double b, double) {
  if (std::isnan(a) || std::isnan(b))
    return std::isnan(a) ? b : a;
  return a < b || (a == b && std::signbit(a)) ? a : b;
}
double most(double a, double b, double) {
  if (std::isnan(a) || std::isnan(b))
    return std::isnan(a) ? b : a;
  return a > b || (a == b && !std::signbit(a)) ? a : b;
}
double mostNan(double a, double b, double c) {
  return std::isnan(a) ? a : std::isnan(b) ? b : most(a, b, c);
}
double negate(double a, double, double) { return -a; }
double magnitude(double a, double, double) { return std::fabs(a); }
/// .ftz: f16's smallest normal number is 2^-14.
double flush(double x) {
  return std::fabs(x) < 0x1p-14 ? std::copysign(0.0, x) : x;
}
double mulFtz(double a, double b, double) {
  double product = flush(a) * flush(b);
  return flush(roundTo(f16, product, Round::Even));
}

} // namespace

std::vector<Case> conformance::halfCases() {
  return {
      rowsCase<U>("f16x2 arithmetic", "half", "half_f16x2",
                  {packed("add", f16, add), packed("sub", f16, sub),
                   packed("mul", f16, mul), packed("fma", f16, fused),
                   packed("add.sat", f16, addSat),
                   packed("fma.relu", f16, fmaRelu, true, true),
                   packed("mul.ftz", f16, mulFtz), packed("min", f16, least),
                   packed("max", f16, most), packed("max.NaN", f16, mostNan),
                   packed("neg", f16, negate, false),
                   packed("abs", f16, magnitude, false)},
                  specials),
      rowsCase<U>("bf16x2 arithmetic", "half", "half_bf16x2",
                  {packed("fma", bf16, fused),
                   packed("fma.relu", bf16, fmaRelu, true, true),
                   packed("min", bf16, least), packed("max", bf16, most),
                   packed("max.NaN", bf16, mostNan),
                   packed("neg", bf16, negate, false),
                   packed("abs", bf16, magnitude, false)},
                  specials),
      rowsCase<U>(
          "bf16x2 sums and products", "half_90", "half_bf16x2_sums",
          {packed("add", bf16, add),
           packed("sub", bf16, sub),
           packed("mul", bf16, mul),
           {"cvt.f32.bf16", [](U a, U, U) { return a << 16; }, -1,
            [](U x) { return std::isnan(decode(f32, x)) ? 0x7fffffff : x; }}},
          specials)};
}
