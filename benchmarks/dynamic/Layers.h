//===- Layers.h - Layers with static and dynamic scales ---------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// The layers whose scales are compared, as texts. Each is written once and
// comes in every scheme: a format of codes, a granularity, and scales that are
// computed or given. A static scale is given with the granularity that the
// dynamic one has, so that both multiply with the same factors; only a scale
// per token is compared with one per tensor, which is what a static scale is
// in practice (and the cheaper one).
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_BENCHMARKS_DYNAMIC_LAYERS_H
#define QUERN_BENCHMARKS_DYNAMIC_LAYERS_H

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace quern::bench {

struct Scheme {
  enum class Blocks : uint8_t { Token, Group128, Tensor };
  std::string code; ///< "i8"
  Blocks blocks = Blocks::Token;

  std::string name() const;
};

/// Every format of codes with every granularity.
std::vector<Scheme> schemes();

/// Writes the parts of a layer that differ between schemes.
class Writer {
public:
  Writer(const Scheme &scheme, bool isStatic)
      : scheme(scheme), isStatic(isStatic) {}

  /// "i8"
  const std::string &code() const { return scheme.code; }
  /// What the layer's input is quantized to: always dynamic, per token.
  std::string input() const { return scheme.code + " per token"; }
  /// What a value with so many columns is quantized to.
  std::string inner(int64_t columns);
  /// The scales that `inner` asked for, as parameters.
  std::string parameters() const { return declared; }

private:
  const Scheme &scheme;
  bool isStatic;
  unsigned count = 0;
  std::string declared;
};

struct LayerCase {
  std::string name;
  /// The layer without its head, and the parameters behind the scales'.
  std::function<std::string(Writer &)> write;

  std::string text(const Scheme &scheme, bool isStatic) const;
};

std::vector<LayerCase> layerCases();

} // namespace quern::bench

#endif // QUERN_BENCHMARKS_DYNAMIC_LAYERS_H
