//===- LayerCheck.h - A layer on a target against the reference -*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// What the tests of whole layers share: compile a text for a target, load it,
// run it on drawn inputs, see that nothing beside the outputs was written, and
// compare with the reference by the class of the layer's operations.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_TESTS_OPS_LAYERCHECK_H
#define QUERN_TESTS_OPS_LAYERCHECK_H

#include "compiler/pipelines/Compiler.h"
#include "compiler/pipelines/Oracle.h"
#include "quern/quern.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include <deque>
#include <iterator>
#include <limits>

namespace quern::test {

/// How a layer is compiled and run.
struct LayerRun {
  std::string target = "cpu";
  std::string fuse = "all";
  unsigned threads = 2;
  std::string placement = "auto";
};

/// The compiled module, or the compiler's refusal. `name` is what messages
/// call the text.
inline Result<CompileOutput> compileFor(const LayerRun &run,
                                        const std::string &text,
                                        const std::string &name) {
  auto target = Target::parse(run.target);
  if (!target)
    return target.error();
  CompileRequest request;
  request.source = text;
  request.name = name;
  request.target = *target;
  request.settings = {"fuse=" + run.fuse};
  if (run.fuse == "all")
    request.settings.push_back("placement=" + run.placement);
  return compileLayer(request);
}

inline Result<Layer> loadFor(const LayerRun &run,
                             const CompileOutput &compiled) {
  LoadOptions loading;
  loading.target = run.target;
  loading.executor = makeExecutor(run.threads);
  return load(compiled.module.serialize(), loading);
}

/// Outputs between bytes that a run must leave alone.
class GuardedOutputs {
public:
  static constexpr size_t guard = 64;

  void add(DType dtype, const Shape &shape, const std::string &name) {
    size_t bytes = static_cast<size_t>(*shape.elements()) * byteWidth(dtype);
    memory.emplace_back(guard + bytes + guard, std::byte{0xa5});
    std::vector<std::byte> &own = memory.back();
    names.push_back(name);
    views.emplace_back(dtype, shape, own.data() + guard, names.back());
  }
  const std::vector<TensorView> &getViews() const { return views; }

  void expectGuardsIntact() const {
    for (size_t i = 0; i < memory.size(); ++i)
      for (size_t at = 0; at < guard; ++at) {
        EXPECT_EQ(memory[i][at], std::byte{0xa5})
            << guard - at << " bytes before " << names[i];
        EXPECT_EQ(memory[i][memory[i].size() - guard + at], std::byte{0xa5})
            << at << " bytes after the end of " << names[i];
      }
  }

private:
  // A deque's elements stay where they are: the views point at them.
  std::deque<std::vector<std::byte>> memory;
  std::deque<std::string> names;
  std::vector<TensorView> views;
};

/// Binds, prepares and runs a layer once; the operands are inputs and weights
/// in declared order.
inline Result<void> runInto(const Layer &layer,
                            const std::vector<TensorView> &operands,
                            const std::vector<int64_t> &symbols,
                            GuardedOutputs &outputs) {
  std::vector<SymbolRange> ranges;
  for (size_t s = 0; s < symbols.size(); ++s)
    ranges.push_back({layer.symbols()[s].name, symbols[s], symbols[s]});
  std::vector<TensorView> inputs, weights;
  size_t next = 0;
  for (const Operand &operand : layer.operands()) {
    if (operand.role != Operand::Role::Output) {
      (operand.role == Operand::Role::Input ? inputs : weights)
          .push_back(operands[next++]);
      continue;
    }
    auto shape = layer.shapeOf(operand.name, ranges);
    if (!shape)
      return shape.error();
    outputs.add(operand.dtype, *shape, operand.name);
  }
  auto bound = layer.bindWeights(weights);
  if (!bound)
    return bound.error();
  auto context = layer.makeContext(*bound, ranges);
  if (!context)
    return context.error();
  return context->run(inputs, outputs.getViews());
}

/// Writes what kernels stumble over into some elements of the plain float
/// inputs: NaN, infinities, signed zeros, subnormals, large numbers (but none
/// whose sums overflow, where the order of a bounded sum decides between
/// infinity and NaN).
inline void plantCorners(const Layer &layer, std::vector<Tensor> &operands,
                         uint64_t seed) {
  static constexpr float corners[] = {std::numeric_limits<float>::quiet_NaN(),
                                      std::numeric_limits<float>::infinity(),
                                      -std::numeric_limits<float>::infinity(),
                                      0.0f,
                                      -0.0f,
                                      1e-41f,
                                      65504.0f,
                                      -1e15f};
  size_t next = 0;
  for (const Operand &operand : layer.operands()) {
    if (operand.role == Operand::Role::Output)
      continue;
    Tensor &tensor = operands[next++];
    if (operand.role == Operand::Role::Weight || !isFloat(tensor.dtype()) ||
        operand.name.find('.') != std::string::npos)
      continue;
    std::vector<float> values = tensor.toFloats();
    for (size_t i = seed % 17; i < values.size(); i += 41 + seed % 13)
      values[i] = corners[(i + seed) % std::size(corners)];
    auto planted = Tensor::fromFloats(tensor.dtype(), tensor.shape(), values,
                                      tensor.name());
    ASSERT_TRUE(planted) << planted.error().render();
    tensor = std::move(*planted);
  }
}

/// Runs the layer once on inputs drawn from the seed, with corners among them
/// if so wished, and expects every output to pass; gives the checks, none when
/// it could not run.
inline std::vector<OutputCheck>
expectAgreement(const Layer &layer, const Oracle &oracle,
                const std::vector<int64_t> &symbols, uint64_t seed,
                bool corners = false) {
  SCOPED_TRACE(
      fmt::format("symbols [{}], seed {}", fmt::join(symbols, ", "), seed));
  auto operands = oracle.drawInputs(symbols, seed, {});
  if (!operands) {
    ADD_FAILURE() << operands.error().render();
    return {};
  }
  if (corners)
    plantCorners(layer, *operands, seed);
  std::vector<TensorView> views(operands->begin(), operands->end());
  GuardedOutputs outputs;
  if (auto done = runInto(layer, views, symbols, outputs); !done) {
    ADD_FAILURE() << done.error().render();
    return {};
  }
  outputs.expectGuardsIntact();
  auto checks = oracle.check(views, outputs.getViews(), 1);
  if (!checks) {
    ADD_FAILURE() << checks.error().render();
    return {};
  }
  EXPECT_FALSE(checks->empty());
  for (const OutputCheck &check : *checks)
    EXPECT_TRUE(check.passed)
        << check.name << ": " << check.requirement << "; " << check.worst;
  return *checks;
}

} // namespace quern::test

#endif // QUERN_TESTS_OPS_LAYERCHECK_H
