//===- Cases.cpp - What a layer is verified with --------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/verify/Cases.h"

#include <algorithm>

using namespace quern;
using namespace quern::verify;
using reference::Corner;

/// Kernels compute whole tiles: what is narrow takes as long as a tile.
static double workOf(const Oracle &oracle, Symbols at) {
  constexpr int64_t tile = 32;
  for (int64_t &value : at)
    value = value == 0 ? 0 : std::max(value, tile);
  return oracle.work(at);
}

Cases::Cases(const Oracle &oracle, uint64_t seed)
    : seed(seed),
      sizes(
          oracle.symbols(),
          [&oracle](const Symbols &at) { return workOf(oracle, at); },
          budgetOf(oracle), seed) {
  for (Corner corner : reference::allCorners()) {
    if (corner == Corner::None || !oracle.applies(corner))
      continue;
    if (corners.size() % 5 == 0)
      corners.push_back(Corner::None);
    corners.push_back(corner);
  }
  if (corners.empty())
    corners.push_back(Corner::None);
}

/// A seed of its own for each case, short enough to be typed.
static uint64_t mix(uint64_t seed, unsigned number) {
  uint64_t z = seed + (number + 1) * 0x9e3779b97f4a7c15ull;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return (z ^ (z >> 31)) >> 32;
}

Case Cases::get(unsigned number) const {
  return {number, sizes.ofCase(number), corners[number % corners.size()],
          mix(seed, number)};
}
