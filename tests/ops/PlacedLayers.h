//===- PlacedLayers.h - Layers around one quantization ----------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Layers of one shape: something makes a value, a dynamic quantization (`hq`)
// encodes it, and a product reads the codes; in some a second quantization
// (`yq`) and product follow, in some the codes are a result. A layer follows
// from its seed alone. Seeds walk through all pairs of a producer and a format;
// from one round of these to the next, and from pair to pair, through eleven
// kinds of granularity, so that every placement that can be is met often.
// Sizes, element types, types of scales, bias and activation are drawn.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_TESTS_OPS_PLACEDLAYERS_H
#define QUERN_TESTS_OPS_PLACEDLAYERS_H

#include "compiler/reference/Corner.h"

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace quern::test {

/// What makes the value that is quantized.
std::span<const char *const> producers();
/// What it becomes.
std::span<const char *const> formats();

struct PlacedLayer {
  std::string text;
  uint64_t number = 0; ///< Goes up by one from round to round.
  std::string producer, format, granularity, scaleType;
  /// Whether a product makes the value: it can then be placed there.
  bool isOfProduct = false;
  bool isChain = false; ///< A second quantization follows.
  struct Run {
    int64_t m = 1;
    reference::Corner corner = reference::Corner::None;
    bool hasTails = false; ///< Some extent is no multiple of a tile.
  };
  std::vector<Run> runs;
};

PlacedLayer makePlacedLayer(uint64_t seed);

} // namespace quern::test

#endif // QUERN_TESTS_OPS_PLACEDLAYERS_H
