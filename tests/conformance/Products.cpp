//===- Products.cpp - Sums of products, and models of hardware's sums -----===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "tests/conformance/Products.h"

#include <algorithm>
#include <cmath>
#include <string>

using namespace quern;
using namespace quern::conformance;

double FloatSum::value() const {
  double sum = c;
  for (size_t i = 0; i < a.size(); ++i)
    sum += a[i] * b[i];
  return sum;
}

double FloatSum::largestTerm() const {
  double most = std::fabs(c);
  for (size_t i = 0; i < a.size(); ++i)
    most = std::max(most, std::fabs(a[i] * b[i]));
  return most;
}

double conformance::sumTolerance(const FloatSum &sum, int keptBits) {
  double most = sum.largestTerm();
  for (double value : {sum.value()})
    if (std::isfinite(value))
      most = std::max(most, std::fabs(value));
  if (!std::isfinite(most))
    return 0;
  // Every term may lose one unit, and every step's sum one more; exponents of
  // products are the sums of their factors', one too low at times.
  return std::ldexp(most, 2 - keptBits) *
         static_cast<double>(2 * sum.a.size() + 2);
}

namespace {

/// Units of 2^-64.
using Fixed = __int128;
constexpr int unit = 64;

Fixed toFixed(double value) {
  int exponent = 0;
  double mantissa = std::frexp(value, &exponent); // [0.5, 1)
  auto integer = static_cast<int64_t>(std::ldexp(mantissa, 53));
  int shift = exponent - 53 + unit;
  return shift >= 0 ? static_cast<Fixed>(integer) << shift
                    : static_cast<Fixed>(integer >> -shift);
}
double toDouble(Fixed value) {
  // Exact for what fits 53 bits; used after rounding to fewer.
  return std::ldexp(static_cast<double>(value), -unit);
}
int exponentOf(Fixed value) {
  unsigned __int128 magnitude = value < 0 ? -value : value;
  int e = -1 - unit;
  while (magnitude) {
    magnitude >>= 1;
    ++e;
  }
  return e;
}
/// The multiple of 2^step at or below in magnitude, or nearest (ties to even).
Fixed cut(Fixed value, int step, bool nearest) {
  int shift = step + unit;
  if (shift <= 0)
    return value;
  bool negative = value < 0;
  unsigned __int128 magnitude = negative ? -value : value;
  unsigned __int128 kept = magnitude >> shift;
  if (nearest) {
    unsigned __int128 rest = magnitude - (kept << shift);
    unsigned __int128 half = static_cast<unsigned __int128>(1) << (shift - 1);
    kept += rest > half || (rest == half && (kept & 1));
  }
  Fixed result = static_cast<Fixed>(kept << shift);
  return negative ? -result : result;
}
double toF32(Fixed value, bool nearest) {
  if (value == 0)
    return 0;
  return toDouble(cut(value, exponentOf(value) - 23, nearest));
}

struct Model {
  int block, keptBits;
  bool nearest;

  std::string name() const {
    return "blocks of " + std::to_string(block) + ", " +
           std::to_string(keptBits) + " bits below the largest, " +
           (nearest ? "to nearest" : "cut");
  }

  double operator()(const FloatSum &sum) const {
    double accumulator = sum.c;
    for (size_t begin = 0; begin < sum.a.size(); begin += block) {
      size_t end = std::min(begin + block, sum.a.size());
      int top = accumulator ? std::ilogb(accumulator) : -1000;
      for (size_t i = begin; i < end; ++i)
        if (sum.a[i] && sum.b[i])
          top = std::max(top, std::ilogb(sum.a[i]) + std::ilogb(sum.b[i]));
      Fixed total = cut(toFixed(accumulator), top - keptBits, false);
      for (size_t i = begin; i < end; ++i)
        total += cut(toFixed(sum.a[i] * sum.b[i]), top - keptBits, false);
      accumulator = toF32(total, nearest);
    }
    return accumulator;
  }
};

} // namespace

void conformance::recordModels(Bench &bench, const std::string &what,
                               const std::vector<FloatSum> &sums,
                               const std::vector<uint32_t> &bits) {
  std::vector<size_t> finite;
  for (size_t i = 0; i < sums.size(); ++i)
    if (std::isfinite(sums[i].value()))
      finite.push_back(i);
  auto share = [&](const std::string &name, auto model) {
    ModelShare result{what + ": " + name, 0, finite.size()};
    for (size_t i : finite)
      result.equal += static_cast<double>(asFloat(bits[i])) == model(sums[i]);
    return result;
  };
  bench.recordModel(share("exact, to nearest", [](const FloatSum &sum) {
    Fixed total = toFixed(sum.c);
    for (size_t i = 0; i < sum.a.size(); ++i)
      total += toFixed(sum.a[i] * sum.b[i]);
    return toF32(total, true);
  }));
  bench.recordModel(share("f32 fma in order", [](const FloatSum &sum) {
    float accumulator = static_cast<float>(sum.c);
    for (size_t i = 0; i < sum.a.size(); ++i)
      accumulator = std::fmaf(static_cast<float>(sum.a[i]),
                              static_cast<float>(sum.b[i]), accumulator);
    return static_cast<double>(accumulator);
  }));
  std::vector<ModelShare> models;
  for (int block : {4, 8, 16, 32})
    for (int keptBits : {13, 14, 22, 23, 24, 25, 26})
      for (bool nearest : {false, true}) {
        if (static_cast<size_t>(block) > sums[0].a.size() && block != 4)
          continue;
        Model model{block, keptBits, nearest};
        models.push_back(share(model.name(), model));
      }
  std::stable_sort(models.begin(), models.end(),
                   [](auto &a, auto &b) { return a.equal > b.equal; });
  for (const ModelShare &model : models)
    if (model.equal == models.front().equal)
      bench.recordModel(model);
}
