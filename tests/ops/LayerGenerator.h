//===- LayerGenerator.h - How a random layer grows --------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// The state behind makeRandomLayer: the parameters, statements and plain
// values written so far, and one function for each step that may come next.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_TESTS_OPS_LAYERGENERATOR_H
#define QUERN_TESTS_OPS_LAYERGENERATOR_H

#include "tests/ops/RandomLayers.h"

#include <initializer_list>
#include <set>
#include <utility>

namespace quern::test {

/// An extent: a number, or a symbol's name.
struct Extent {
  std::string text;
  int64_t number = -1; ///< -1 for a symbol.

  Extent(int64_t number) : text(std::to_string(number)), number(number) {}
  Extent(std::string symbol) : text(std::move(symbol)) {}
  bool isSymbol() const { return number < 0; }
  bool operator==(const Extent &other) const { return text == other.text; }
};

using Extents = std::vector<Extent>;

/// A plain value.
struct Value {
  std::string name, type;
  Extents shape;
};

/// Block extents per axis: 0 is the whole axis, 1 an element.
using Blocks = std::vector<int64_t>;

class LayerGenerator {
public:
  explicit LayerGenerator(uint64_t seed) : state(seed) {}
  RandomLayer make();

private:
  // Chance (splitmix64, the same numbers everywhere).
  uint64_t next() {
    uint64_t z = (state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  int64_t below(int64_t n) { return next() % static_cast<uint64_t>(n); }
  bool chance(int percent) { return below(100) < percent; }
  template <typename T> T pick(std::initializer_list<T> list) {
    return list.begin()[below(list.size())];
  }

  // Text.
  void count(const std::string &operation) { ++layer.operations[operation]; }
  std::string parameter(const std::string &type, bool weight = false);
  Value plainParameter(const std::string &type, Extents shape,
                       bool weight = false);
  Value assign(const std::string &expression, std::string type, Extents shape);
  static std::string print(const Extents &shape);
  static std::string print(const Value &value) {
    return value.type + print(value.shape);
  }

  // Values.
  Value any();
  Value anyOfRank(size_t least);
  std::string floatType() {
    return pick<const char *>({"f32", "f16", "f16", "bf16"});
  }
  Extents anyShape();
  Extent rows() {
    return chance(75) ? Extent("M") : Extent(pick<int64_t>({1, 5, 16, 33}));
  }
  /// Operand beside `value`: of its type or f32, broadcast against it.
  Value partner(const Value &value);

  // Granularities.
  Blocks anyBlocks(const Extents &shape);
  std::string printBlocks(const Extents &shape, const Blocks &blocks,
                          const std::string &scaleType);
  static std::string scaleShape(const Extents &shape, const Blocks &blocks);
  std::string codesText(const std::string &codes, const Extents &shape,
                        bool zeros);
  void useSymbols(const Extents &shape);
  /// `quantize(...)`, and the type of its result.
  std::pair<std::string, std::string>
  quantize(const Value &value, const std::string &codes, const Blocks &blocks);

  // Operations.
  void unary();
  void binary();
  void select();
  void convert();
  void normalize();
  void reduce();
  void reshape();
  void transpose();
  void slice();
  void concat();
  void gather();
  void requantize();
  void dequantizeParameter();
  void product();
  void floatProduct();
  void batchProduct();

  uint64_t state;
  RandomLayer layer;
  std::vector<std::string> parameters, statements;
  std::vector<Value> values;
  std::set<std::string> symbols;
};

} // namespace quern::test

#endif // QUERN_TESTS_OPS_LAYERGENERATOR_H
