//===- RandomLayers.h - Layers that nobody thought of -----------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Writes a well-typed layer in the language from a seed. A layer grows step by
// step: each step applies one operation, chosen by chance, to a value made
// before or to a new parameter, and every layer ends with one to three
// results. The generator keeps the types itself, so a layer that the frontend
// refuses is a bug in one of the two.
//
// What it draws from: element-wise chains, comparisons, reductions and norms,
// shape operations, gathers, dynamic and static quantization, and products of
// quantized and plain operands; int8, uint8 and fp8 codes under granularities
// with odd blocks and short last blocks; one or two symbols, batch dimensions;
// sizes that meet no tile, one, and its edges.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_TESTS_OPS_RANDOMLAYERS_H
#define QUERN_TESTS_OPS_RANDOMLAYERS_H

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace quern::test {

struct RandomLayer {
  std::string text;
  /// Symbol values to run it at.
  std::vector<std::vector<int64_t>> sizes;
  /// How often each operation and kind of granularity occurs in it.
  std::map<std::string, int> operations, granularities;
};

/// The same layer for the same seed, on every platform.
RandomLayer makeRandomLayer(uint64_t seed);

} // namespace quern::test

#endif // QUERN_TESTS_OPS_RANDOMLAYERS_H
