//===- Layers.h - Layers of products that benchmarks run --------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Whole layers, compiled from their text for this machine and run through the
// runtime, the quantization of the input per token included. Rows are a symbol
// of the text, M: one module for all numbers of them.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_BENCHMARKS_CPU_LAYERS_H
#define QUERN_BENCHMARKS_CPU_LAYERS_H

#include "benchmarks/cpu/Limits.h"
#include "runtime/include/quern/quern.h"

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace quern::bench {

struct ProductLayer {
  std::string name;
  std::string text;
  int64_t m;
  double operations;  ///< Of a run.
  double weightBytes; ///< Of the codes, or of the numbers.
  /// Runs take turns with as many copies of the weights as exceed any cache, as
  /// the blocks of a network would. Else they use the same ones every time.
  bool cold = false;
};

/// f32[M, k] quantized per token, by i8[n, k] with a scale for each column.
ProductLayer linear(int64_t m, int64_t n, int64_t k, bool cold = false);
/// By i4[n, k] with an f16 scale for each group.
ProductLayer linear4(int64_t m, int64_t n, int64_t k, int64_t group,
                     bool cold = false);
/// Weights and activations of bf16.
ProductLayer linearBf16(int64_t m, int64_t n, int64_t k, bool cold = false);
/// f16 in and out, three products of 8 bits.
ProductLayer swiglu(int64_t m, int64_t hidden, int64_t inner);

struct CompiledLayer {
  std::vector<std::byte> module;
  std::vector<std::string> schedules; ///< "KERNEL: what it is cut into"
  measure::Dot dot;                   ///< What its products are made of.
};
/// Ends the program where the layer cannot be compiled.
CompiledLayer compiled(const ProductLayer &layer);

/// A layer with random weights and inputs.
class RunningLayer {
public:
  RunningLayer(std::span<const std::byte> module, const ProductLayer &of,
               std::shared_ptr<Executor> executor);
  /// The same layer with other rows, on the same weights.
  RunningLayer(const RunningLayer &other, const ProductLayer &of);
  void run();
  /// Microseconds of a run: the mean over runs that take a millisecond or two
  /// together, or more where that is one.
  double sample();

private:
  /// Tensors of a role; random ones, but for outputs.
  std::vector<TensorView> tensors(Operand::Role role, int64_t m,
                                  std::vector<std::vector<std::byte>> &data);
  void prepare(const ProductLayer &of);

  std::shared_ptr<Executor> executor;
  std::shared_ptr<const Layer> layer;
  std::vector<Weights> weights;
  std::optional<Context> context;
  std::vector<std::vector<std::byte>> storage;
  std::vector<TensorView> inputs, outputs;
  size_t turn = 0;
  unsigned repeats = 1;
};

/// A large piece of memory with few translations.
class LargeMemory {
public:
  explicit LargeMemory(size_t bytes);
  LargeMemory(const LargeMemory &) = delete;
  ~LargeMemory();
  std::span<const std::byte> first(size_t count) const;

private:
  std::byte *start;
  size_t bytes;
};

} // namespace quern::bench

#endif // QUERN_BENCHMARKS_CPU_LAYERS_H
