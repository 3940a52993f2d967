//===- Compare.cpp - Are these results right? -----------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/reference/Compare.h"

#include "compiler/reference/Floats.h"

#include <bit>
#include <cmath>
#include <fmt/format.h>
#include <fmt/ranges.h>

namespace quern::reference {

/// Of results, which are never packed.
static uint32_t bitsOf(const HostTensor &tensor, int64_t index) {
  switch (byteWidth(tensor.dtype)) {
  case 1:
    return tensor.as<uint8_t>()[index];
  case 2:
    return tensor.as<uint16_t>()[index];
  default:
    return tensor.as<uint32_t>()[index];
  }
}

/// Consecutive numbers of a type have consecutive positions.
static int64_t positionOf(const HostTensor &tensor, int64_t index) {
  if (isFloat(tensor.dtype))
    return orderedIndex(tensor.dtype, bitsOf(tensor, index));
  return static_cast<int64_t>(tensor.get(index));
}

/// The codes of a quantized tensor, or values of so few bits that steps are
/// the only sensible measure.
static bool countsInSteps(DType type) {
  return !isFloat(type) || byteWidth(type) == 1;
}

static int64_t rowLength(const HostTensor &tensor) {
  return tensor.shape.empty() ? 1 : std::max<int64_t>(tensor.shape.back(), 1);
}

/// The largest finite magnitude, at least that of the smallest number.
static double largestOfRow(const HostTensor &tensor, int64_t row,
                           int64_t length) {
  double largest = 0x1p-149;
  for (int64_t i = row * length; i < (row + 1) * length; ++i)
    if (double value = std::fabs(tensor.get(i)); std::isfinite(value))
      largest = std::max(largest, value);
  return largest;
}

static Result<void> checkLike(llvm::ArrayRef<HostTensor> expected,
                              llvm::ArrayRef<HostTensor> actual) {
  if (expected.size() != actual.size())
    return fail(Errc::InvalidArgument,
                fmt::format("{} tensors to compare with {} expected ones",
                            actual.size(), expected.size()));
  for (size_t i = 0; i < expected.size(); ++i)
    if (expected[i].dtype != actual[i].dtype ||
        expected[i].shape != actual[i].shape ||
        expected[i].bytes.size() != actual[i].bytes.size())
      return fail(Errc::InvalidArgument,
                  fmt::format("result {} is {}[{}], expected {}[{}]", i,
                              name(actual[i].dtype),
                              fmt::join(actual[i].shape, ", "),
                              name(expected[i].dtype),
                              fmt::join(expected[i].shape, ", ")));
  return {};
}

//===----------------------------------------------------------------------===//
// Tolerance
//===----------------------------------------------------------------------===//

/// Runs with moved parts, and what their largest change is multiplied by.
/// A softmax between two large logits moves only when theirs move apart, which
/// a trial does half the time: with four, one such row in sixteen was missed.
static constexpr unsigned trials = 8;
static constexpr double safety = 4.0;
/// Codes differ in single places even where no trial moved one.
static constexpr double leastCodeShare = 1e-3;

Result<Tolerance> deriveTolerance(mlir::func::FuncOp layer,
                                  llvm::ArrayRef<HostTensor> inputs,
                                  llvm::ArrayRef<HostTensor> expected,
                                  const Options &options) {
  Tolerance tolerance;
  tolerance.numericsClass = classify(layer);
  if (tolerance.numericsClass != NumericsClass::Bounded)
    return tolerance;
  for (const HostTensor &tensor : expected) {
    tolerance.rows.emplace_back(tensor.elements() / rowLength(tensor), 0.0);
    tolerance.codeShare.push_back(leastCodeShare);
    tolerance.undetermined.emplace_back(tensor.elements(), false);
  }
  for (unsigned trial = 0; trial < trials + options.flushesBf16; ++trial) {
    bool drops = trial == trials;
    Options moved = options;
    moved.perturbation = drops ? 0 : trial + 1;
    moved.dropsSubnormals = drops;
    Result<std::vector<HostTensor>> results =
        interpret(layer, inputs, Mode::Exact, moved);
    if (!results)
      return results.error();
    if (Result<void> alike = checkLike(expected, *results); !alike)
      return alike.error();
    for (size_t t = 0; t < expected.size(); ++t) {
      int64_t length = rowLength(expected[t]), different = 0;
      for (int64_t i = 0; i < expected[t].elements(); ++i) {
        double before = expected[t].get(i), after = (*results)[t].get(i);
        double change = std::fabs(before - after);
        // One of them infinite or NaN, and not both in the same way.
        if (!std::isfinite(change) && before != after &&
            !(std::isnan(before) && std::isnan(after)))
          tolerance.undetermined[t][i] = true;
        // A scale may be among what is lost, and small codes do not show it.
        if (drops && countsInSteps(expected[t].dtype) &&
            std::abs(positionOf(expected[t], i) -
                     positionOf((*results)[t], i)) > 1)
          std::fill_n(tolerance.undetermined[t].begin() + i / length * length,
                      length, true);
        different += bitsOf(expected[t], i) != bitsOf((*results)[t], i);
        double &row = tolerance.rows[t][i / length];
        // A NaN or infinity on either side says nothing about size.
        if (std::isfinite(change))
          row = std::max(row, safety * change);
      }
      if (expected[t].elements())
        tolerance.codeShare[t] =
            std::max(tolerance.codeShare[t],
                     std::min(1.0, safety * static_cast<double>(different) /
                                       expected[t].elements()));
    }
  }
  return tolerance;
}

//===----------------------------------------------------------------------===//
// Comparison
//===----------------------------------------------------------------------===//

Result<Comparison> compare(llvm::ArrayRef<HostTensor> expected,
                           llvm::ArrayRef<HostTensor> actual,
                           const Tolerance &tolerance) {
  if (Result<void> alike = checkLike(expected, actual); !alike)
    return alike.error();
  bool bounded = tolerance.numericsClass == NumericsClass::Bounded;
  if (bounded && (tolerance.rows.size() != expected.size() ||
                  tolerance.codeShare.size() != expected.size() ||
                  (!tolerance.undetermined.empty() &&
                   tolerance.undetermined.size() != expected.size())))
    return fail(Errc::InvalidArgument,
                "the tolerance was derived for another number of results");
  Comparison comparison;
  comparison.numericsClass = tolerance.numericsClass;
  bool worstFails = false;
  double worstExcess = -1;
  for (size_t t = 0; t < expected.size(); ++t) {
    const HostTensor &e = expected[t], &a = actual[t];
    int64_t length = rowLength(e), steps = 0;
    int64_t measured = -1; // The row that `largest` is of.
    double largest = 0;
    if (bounded &&
        static_cast<int64_t>(tolerance.rows[t].size()) != e.elements() / length)
      return fail(Errc::InvalidArgument,
                  fmt::format("the tolerance of result {} was derived for "
                              "another shape",
                              t));
    comparison.elements += e.elements();
    for (int64_t i = 0; i < e.elements(); ++i) {
      if (bounded && !tolerance.undetermined.empty() &&
          tolerance.undetermined[t][i]) {
        ++comparison.undetermined;
        continue;
      }
      if (bitsOf(e, i) == bitsOf(a, i))
        continue;
      double x = e.get(i), y = a.get(i);
      if (x != x && y != y)
        continue;
      ++comparison.different;
      int64_t ulps = std::abs(positionOf(e, i) - positionOf(a, i));
      double allowed = 0, excess = static_cast<double>(ulps);
      bool fails = true;
      if (bounded && x == x && y == y) {
        if (countsInSteps(e.dtype)) {
          allowed = 1;
          fails = ulps > 1;
          steps += !fails;
        } else {
          allowed = tolerance.rows[t][i / length] +
                    tolerance.extraRelative * std::fabs(x);
          double error = std::fabs(x - y);
          fails = ulps > 1 && !(error <= allowed);
          // How many times over; anything but a number is the worst.
          excess = allowed > 0 ? error / allowed : error * HUGE_VAL;
          if (!(excess < HUGE_VAL))
            excess = HUGE_VAL;
          if (measured != i / length) {
            measured = i / length;
            largest = largestOfRow(e, measured, length);
          }
          comparison.error = std::max(comparison.error, error / largest);
          if (ulps > 1)
            comparison.share = std::max(comparison.share, excess);
        }
      } else if (x != x || y != y) {
        excess = HUGE_VAL;
      }
      comparison.mismatches += fails;
      if (std::pair(fails, excess) <= std::pair(worstFails, worstExcess))
        continue;
      worstFails = fails;
      worstExcess = excess;
      std::vector<int64_t> index(e.shape.size());
      int64_t rest = i;
      for (size_t d = index.size(); d-- > 0; rest /= e.shape[d])
        index[d] = rest % e.shape[d];
      comparison.worst = WorstElement{t, std::move(index), x, y, ulps, allowed};
    }
    if (bounded && static_cast<double>(steps) >
                       std::max(1.0, tolerance.codeShare[t] * e.elements()))
      comparison.mismatches += steps;
    comparison.steps += steps;
  }
  return comparison;
}

std::string Comparison::render() const {
  std::string skipped =
      undetermined ? fmt::format("; {} not compared, their sums overflow in "
                                 "some order, or hang on subnormal numbers",
                                 undetermined)
                   : std::string();
  if (!worst)
    return fmt::format("{} elements, class {}: all bits equal{}", elements,
                       name(numericsClass), skipped);
  std::string text =
      fmt::format("{} elements, class {}: {} differ, {} beyond what is allowed",
                  elements, name(numericsClass), different, mismatches);
  text += fmt::format("; worst: result {} at [{}]: expected {:.9g}, found "
                      "{:.9g}, {} ulp apart",
                      worst->tensor, fmt::join(worst->index, ", "),
                      worst->expected, worst->actual, worst->ulps);
  if (worst->allowed > 0)
    text += fmt::format(", {:.3g} allowed", worst->allowed);
  return text + skipped;
}

} // namespace quern::reference
