//===- Pairs.h - Whether one thing is faster than another -------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Two things are timed in turns, and a pair of neighbouring samples is
// compared: what disturbs the machine for longer than a sample disturbs both.
// One is *faster* where it wins four pairs of five or more (12 of 15). Of two
// that are the same, one is said to be faster by chance in one comparison of
// 57 then (15 pairs): whoever picks the best of many compares it once more.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_MEASURE_PAIRS_H
#define QUERN_MEASURE_PAIRS_H

#include "runtime/measure/Spread.h"

namespace quern {
inline namespace v0 {
namespace measure {

class Pairs {
public:
  /// Seconds of either in one pair.
  void add(double first, double second) {
    ratios.push_back(second > 0 ? first / second : 1);
  }
  size_t count() const { return ratios.size(); }
  /// Pairs in which the second was faster.
  size_t wins() const {
    return static_cast<size_t>(std::count_if(
        ratios.begin(), ratios.end(), [](double ratio) { return ratio > 1; }));
  }
  size_t losses() const {
    return static_cast<size_t>(std::count_if(
        ratios.begin(), ratios.end(), [](double ratio) { return ratio < 1; }));
  }
  /// The median of how many times as fast the second is.
  double ratio() const { return Spread(ratios).median; }

  /// Of so many pairs one has to win.
  static size_t majorityOf(size_t pairs) { return (4 * pairs + 4) / 5; }
  bool isFaster() const { return count() && wins() >= majorityOf(count()); }
  bool isSlower() const { return count() && losses() >= majorityOf(count()); }

private:
  std::vector<double> ratios;
};

} // namespace measure
} // namespace v0
} // namespace quern

#endif // QUERN_MEASURE_PAIRS_H
