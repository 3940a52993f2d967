//===- Sizes.cpp - At which sizes a layer is verified ---------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/verify/Sizes.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <random>

using namespace quern;
using namespace quern::verify;

/// The least multiple that is not below the value.
static int64_t roundUp(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

/// No size beyond this is drawn, however cheap it is.
static constexpr int64_t largestSize = int64_t(1) << 20;

/// The fewest rows behind those that GPUs have kernels of their own for: their
/// own kernels may take longer than others.
static constexpr int64_t firstOfKernels[] = {17, 65};
static constexpr double moreBudget = 8;

Sizes::Sizes(std::vector<SymbolDesc> descs, Work work, double budget,
             uint64_t seed)
    : symbols(std::move(descs)), work(std::move(work)), budget(budget),
      seed(seed) {
  for (const SymbolDesc &symbol : symbols)
    smallest.push_back(
        roundUp(std::max<int64_t>(symbol.min, 1), symbol.multiple));
  for (size_t s = 0; s < symbols.size(); ++s) {
    const SymbolDesc &symbol = symbols[s];
    largest.push_back(largestOf(s));
    std::vector<int64_t> list, tooLarge;
    auto add = [&](int64_t value) {
      bool isFirst = std::ranges::count(firstOfKernels, value) &&
                     this->work(with(s, value)) <= moreBudget * budget;
      std::vector<int64_t> &to =
          value <= largest[s] || value == 0 || isFirst ? list : tooLarge;
      if (value <= symbol.max &&
          std::find(to.begin(), to.end(), value) == to.end())
        to.push_back(value);
    };
    if (symbol.min == 0)
      add(0);
    add(smallest[s]);
    for (int64_t edge : {15, 16, 17, 31, 33, 63, 64, 65, 127, 129})
      if (edge >= symbol.min)
        add(roundUp(edge, symbol.multiple));
    add(largest[s]);
    std::mt19937_64 random(seed * 0x9e3779b97f4a7c15ull + s);
    for (size_t i = list.size(); i > 1; --i)
      std::swap(list[i - 1], list[random() % i]);
    edges.push_back(std::move(list));
    if (largest[s] == symbol.max / symbol.multiple * symbol.multiple)
      continue;
    std::string text = symbol.name + ": ";
    if (!tooLarge.empty())
      text += fmt::format("{}; ", fmt::join(tooLarge, ", "));
    leftOutTexts.push_back(text +
                           (symbol.max >= largestSize
                                ? fmt::format("all above {}", largest[s])
                                : fmt::format("all above {}, of at most {}",
                                              largest[s], symbol.max)));
  }
}

Symbols Sizes::with(size_t symbol, int64_t value) const {
  Symbols values = smallest;
  values[symbol] = value;
  return values;
}

int64_t Sizes::largestOf(size_t symbol) const {
  const SymbolDesc &desc = symbols[symbol];
  int64_t low = smallest[symbol] / desc.multiple;
  int64_t high = std::min(desc.max, largestSize) / desc.multiple;
  // Work grows with every symbol.
  while (low < high) {
    int64_t middle = low + (high - low + 1) / 2;
    if (fits(with(symbol, middle * desc.multiple)))
      low = middle;
    else
      high = middle - 1;
  }
  return low * desc.multiple;
}

std::vector<int64_t> Sizes::within(size_t symbol,
                                   const std::vector<int64_t> &wanted) const {
  const SymbolDesc &desc = symbols[symbol];
  std::vector<int64_t> list;
  for (int64_t value : wanted) {
    int64_t legal = roundUp(std::max(value, smallest[symbol]), desc.multiple);
    if (legal <= largest[symbol])
      list.push_back(legal);
  }
  std::sort(list.begin(), list.end());
  list.erase(std::unique(list.begin(), list.end()), list.end());
  return list;
}

Symbols Sizes::ofCase(unsigned number) const {
  std::mt19937_64 random((seed ^ 0x5851f42d4c957f2dull) + number);
  Symbols values;
  for (size_t s = 0; s < symbols.size(); ++s) {
    // Three edges, then a random value. Symbols walk their lists at different
    // paces, so that other pairs meet in the next round.
    size_t count = edges[s].size();
    size_t step = number - number / 4;
    if (number % 4 != 3) {
      values.push_back(edges[s][(step + s * (step / count)) % count]);
      continue;
    }
    double low = std::log2(static_cast<double>(smallest[s]));
    double high = std::log2(static_cast<double>(largest[s]));
    double at = static_cast<double>(random() >> 11) * 0x1p-53;
    int64_t value = static_cast<int64_t>(std::exp2(low + (high - low) * at));
    values.push_back(std::clamp(roundUp(value, symbols[s].multiple),
                                smallest[s], largest[s]));
  }
  // One symbol in turn keeps its value where they are too large together.
  for (size_t i = 1; i < symbols.size() && !fits(values); ++i) {
    size_t s = (number + i) % symbols.size();
    values[s] = std::min(values[s], smallest[s]);
  }
  return values;
}
