//===- DrawnOperands.cpp - What a layer is timed on -----------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/tools/quern/DrawnOperands.h"

#include "compiler/tools/quern/RunMemory.h"

#include <algorithm>

using namespace quern;
using namespace quern::tool;

std::vector<SymbolRange>
quern::tool::rangesOf(const Layer &layer, const std::vector<int64_t> &sizes) {
  std::vector<SymbolRange> values;
  for (size_t s = 0; s < sizes.size(); ++s)
    values.push_back({layer.symbols()[s].name, sizes[s], sizes[s]});
  return values;
}

Result<std::vector<Tensor>>
quern::tool::makeOutputs(const Layer &layer,
                         std::span<const SymbolRange> values) {
  std::vector<Tensor> outputs;
  for (const Operand &operand : layer.operands()) {
    if (operand.role != Operand::Role::Output)
      continue;
    auto shape = layer.shapeOf(operand.name, values);
    if (!shape)
      return shape.error();
    auto tensor = Tensor::zeros(operand.dtype, *shape, operand.name);
    if (!tensor)
      return tensor.error();
    outputs.push_back(std::move(*tensor));
  }
  return outputs;
}

Result<bool> DrawnOperands::draw(const Layer &layer, const Oracle &oracle,
                                 const std::vector<int64_t> &sizes) {
  std::vector<SymbolRange> values = rangesOf(layer, sizes);
  std::vector<std::string> all, kept;
  bool keepsWeights = !weights.empty();
  for (const Operand &operand : layer.operands()) {
    if (operand.role == Operand::Role::Output)
      continue;
    all.push_back(operand.name);
    if (operand.role != Operand::Role::Weight)
      continue;
    auto shape = layer.shapeOf(operand.name, values);
    if (!shape)
      return shape.error();
    kept.push_back(operand.name);
    keepsWeights &=
        std::any_of(weights.begin(), weights.end(), [&](const Tensor &weight) {
          return weight.name() == operand.name && weight.shape() == *shape;
        });
  }
  if (!keepsWeights) {
    kept.clear();
    weights.clear();
  }
  inputs.clear();
  inputViews.clear();
  outputViews.clear();
  // `quern run` checks the same, and says it in the same words.
  if (auto fits = checkMemory(layer, sizes, all, false); !fits)
    return fits.error();
  auto drawn = oracle.drawInputs(sizes, 0, kept);
  if (!drawn)
    return drawn.error();
  auto made = makeOutputs(layer, values);
  if (!made)
    return made.error();
  outputs = std::move(*made);
  for (const Operand &operand : layer.operands()) {
    if (operand.role == Operand::Role::Output)
      continue;
    bool isWeight = operand.role == Operand::Role::Weight;
    for (Tensor &tensor : *drawn)
      // State is an input and an output of one name.
      if (tensor.name() == operand.name)
        (isWeight ? weights : inputs).push_back(std::move(tensor));
  }
  for (const Tensor &input : inputs)
    inputViews.emplace_back(input);
  for (const Tensor &output : outputs)
    outputViews.emplace_back(output);
  return !keepsWeights;
}
