//===- Sizes.h - At which sizes a layer is verified -------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Values for a layer's symbols, within their ranges and divisibility. Most
// faults live at the edges of something, so these come first, in an order drawn
// from the seed:
//
//     0 (where legal), the least value, 1, 15, 16, 17, 31, 33, 63, 65, 127,
//     129, and the largest value that the budget allows;
//
// every fourth value is random, its logarithm uniform. Values that the
// divisibility forbids are rounded up.
//
// The budget is an amount of work (Oracle::work) and the same for every case,
// whatever it is run on: a case means the same sizes everywhere. The least
// sizes are always within it.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_COMPILER_VERIFY_SIZES_H
#define QUERN_COMPILER_VERIFY_SIZES_H

#include "runtime/module/Module.h"

#include <functional>
#include <string>
#include <vector>

namespace quern::verify {

using Symbols = std::vector<int64_t>;

class Sizes {
public:
  using Work = std::function<double(const Symbols &)>;
  Sizes(std::vector<SymbolDesc> symbols, Work work, double budget,
        uint64_t seed);

  /// The sizes of a case; the same for the same seed and number.
  Symbols ofCase(unsigned number) const;
  /// The least value of each symbol that is not 0.
  const Symbols &least() const { return smallest; }
  /// Legal values of a symbol from `wanted`, others at their least, that the
  /// budget allows; ascending, 0 left out.
  std::vector<int64_t> within(size_t symbol,
                              const std::vector<int64_t> &wanted) const;
  /// What the budget left out, for people: "M: 127, 129; 2048 is the largest,
  /// of 4096".
  const std::vector<std::string> &leftOut() const { return leftOutTexts; }

private:
  bool fits(const Symbols &values) const { return work(values) <= budget; }
  /// `value` in place of the symbol's least one.
  Symbols with(size_t symbol, int64_t value) const;
  int64_t largestOf(size_t symbol) const;

  std::vector<SymbolDesc> symbols;
  Work work;
  double budget;
  uint64_t seed;
  Symbols smallest, largest;
  std::vector<std::vector<int64_t>> edges; ///< By symbol, shuffled.
  std::vector<std::string> leftOutTexts;
};

} // namespace quern::verify

#endif // QUERN_COMPILER_VERIFY_SIZES_H
