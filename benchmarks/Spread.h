//===- Spread.h - The median of samples and how far they lie ----*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_BENCHMARKS_SPREAD_H
#define QUERN_BENCHMARKS_SPREAD_H

#include <algorithm>
#include <cstddef>
#include <vector>

namespace quern::bench {

struct Spread {
  double median = 0;
  double half = 0; ///< Half the interquartile range.

  /// Of at least one value.
  explicit Spread(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    auto at = [&](double q) {
      return values[static_cast<size_t>(q * double(values.size() - 1))];
    };
    median = at(0.5);
    half = (at(0.75) - at(0.25)) / 2;
  }
};

} // namespace quern::bench

#endif // QUERN_BENCHMARKS_SPREAD_H
