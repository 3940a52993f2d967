//===- OpCases.h - Every operation as a small layer -------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// One row per operation (or per kind of one). A row is a layer in the language
// and the symbol values to run it at; the tests take every row through every
// target, fused and unfused, and compare with the reference by the class of
// the layer's operations. To test a new operation, add a row.
//
// `{T}` in a text stands for each of the row's element types in turn.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_TESTS_OPS_OPCASES_H
#define QUERN_TESTS_OPS_OPCASES_H

#include <cstdint>
#include <string>
#include <vector>

namespace quern::test {

struct OpCase {
  const char *name;
  const char *text;
  /// Values of the layer's symbols, in order, for each run.
  std::vector<std::vector<int64_t>> sizes;
  std::vector<const char *> types = {"f32", "f16", "bf16"};
  /// Empty when CUDA can do it; else words of the refusal.
  const char *cudaRefusal = "";
};

const std::vector<OpCase> &opCases();
/// Those whose codes share bytes (PackedCases.cpp).
const std::vector<OpCase> &packedCases();

} // namespace quern::test

#endif // QUERN_TESTS_OPS_OPCASES_H
