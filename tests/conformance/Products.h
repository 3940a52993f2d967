//===- Products.h - Sums of products, as hardware adds ----------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// What matrix instructions are compared with. Products of small floats are
// exact in a double, and with exponents kept in a narrow range so are their
// sums in 128-bit fixed point: the true value is known.
//
// The ISA leaves open in which order and with how many bits the hardware adds.
// What is known from measurements (Fasi et al., "Numerical behavior of NVIDIA
// tensor cores", 2021) is a family of models: the terms of a block, with the
// accumulator, are aligned to the largest exponent, cut off some bits below it,
// added, and the sum is cut to f32. `recordModels` tells which members of the
// family reproduce the bits a device gave.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_TESTS_CONFORMANCE_PRODUCTS_H
#define QUERN_TESTS_CONFORMANCE_PRODUCTS_H

#include "tests/conformance/Bench.h"
#include "tests/conformance/Codecs.h"

namespace quern::conformance {

/// One element of a product: c + sum of a[i] * b[i].
struct FloatSum {
  double c = 0;
  std::vector<double> a, b;

  /// The sum in double; special values as IEEE 754 has them.
  double value() const;
  /// The largest magnitude among the products and c.
  double largestTerm() const;
};

/// How far from the true sum an f32 accumulation may be that keeps `keptBits`
/// bits below the largest term of each step.
double sumTolerance(const FloatSum &sum, int keptBits);

/// Records the models that reproduce the largest share of `bits` (f32), and
/// "exact, to nearest" in any case. Sums with NaN or infinities are left out.
void recordModels(Bench &bench, const std::string &what,
                  const std::vector<FloatSum> &sums,
                  const std::vector<uint32_t> &bits);

} // namespace quern::conformance

#endif // QUERN_TESTS_CONFORMANCE_PRODUCTS_H
