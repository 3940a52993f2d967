//===- Spread.h - The median of samples and how far they lie ----*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Samples of time have a long tail to one side: their median and quartiles say
// what is usual, their mean does not. Quartiles are samples, not interpolated:
// of n sorted ones, number (n - 1) / 4 and 3 (n - 1) / 4, rounded down.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_MEASURE_SPREAD_H
#define QUERN_MEASURE_SPREAD_H

#include <algorithm>
#include <cstddef>
#include <vector>

namespace quern {
inline namespace v0 {
namespace measure {

struct Spread {
  double median = 0, low = 0, high = 0; ///< The quartiles around the median.

  Spread() = default;
  /// All zero where there are no values.
  explicit Spread(std::vector<double> values) {
    if (values.empty())
      return;
    std::sort(values.begin(), values.end());
    auto at = [&](size_t quarters) {
      return values[quarters * (values.size() - 1) / 4];
    };
    low = at(1), median = at(2), high = at(3);
  }
};

} // namespace measure
} // namespace v0
} // namespace quern

#endif // QUERN_MEASURE_SPREAD_H
