//===- DrawnOperands.h - What a layer is timed on ---------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// `quern bench` and `quern tune` time layers on operands that are drawn, for
// one set of sizes after the other. Weights stay as they are while their shapes
// do: drawing and packing them takes longer than measuring.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_TOOLS_QUERN_DRAWNOPERANDS_H
#define QUERN_TOOLS_QUERN_DRAWNOPERANDS_H

#include "compiler/pipelines/Oracle.h"
#include "quern/quern.h"

namespace quern::tool {

struct DrawnOperands {
  std::vector<Tensor> weights, inputs, outputs;
  std::vector<TensorView> inputViews, outputViews;

  /// For these values of the layer's symbols; whether the weights are others
  /// than before. OutOfMemory where a run cannot fit.
  Result<bool> draw(const Layer &layer, const Oracle &oracle,
                    const std::vector<int64_t> &sizes);
};

/// The layer's outputs, zero, in declared order.
Result<std::vector<Tensor>> makeOutputs(const Layer &layer,
                                        std::span<const SymbolRange> values);

/// Every symbol's value as a range.
std::vector<SymbolRange> rangesOf(const Layer &layer,
                                  const std::vector<int64_t> &sizes);

} // namespace quern::tool

#endif // QUERN_TOOLS_QUERN_DRAWNOPERANDS_H
