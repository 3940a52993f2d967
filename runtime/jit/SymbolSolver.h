//===- SymbolSolver.h - From operands to symbol values ----------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Matches views to operands and finds the symbols' values from their shapes.
// A dimension `M` or `M * 4` gives M; every dimension is then held against the
// value its expression has, every symbol against its range and divisibility.
// Messages name the operand, the dimension, what was found and what is
// accepted.
//
// Success allocates nothing: these functions are on the path of every run.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_JIT_SYMBOLSOLVER_H
#define QUERN_JIT_SYMBOLSOLVER_H

#include "runtime/jit/LayerState.h"

namespace quern {
inline namespace v0 {
namespace detail {

/// Values of a layer's symbols and where they came from.
struct SymbolValues {
  std::vector<int64_t> value;
  std::vector<uint8_t> known;
  /// Buffer and dimension that gave the value.
  std::vector<uint32_t> buffer;
  std::vector<uint32_t> dimension;

  explicit SymbolValues(size_t symbols = 0)
      : value(symbols), known(symbols), buffer(symbols), dimension(symbols) {}
  /// Takes over another's values; of the same size, so nothing is allocated.
  void reset(const SymbolValues *start);
};

/// Puts the view for `buffers[i]` at `slots[i]`.
Result<void> matchViews(const LayerState &layer, TensorList views,
                        std::span<const uint32_t> buffers,
                        std::span<const TensorView *> slots);

/// Checks element types and ranks, and takes symbol values from dimensions.
Result<void> solveSymbols(const LayerState &layer,
                          std::span<const uint32_t> buffers,
                          std::span<const TensorView *const> slots,
                          SymbolValues &values);

/// Checks that known values lie in their ranges and are multiples of what they
/// must be. With `all`, every symbol must be known.
Result<void> checkSymbols(const LayerState &layer, const SymbolValues &values,
                          bool all);

/// Checks every dimension, whose symbols must be known.
Result<void> checkShapes(const LayerState &layer,
                         std::span<const uint32_t> buffers,
                         std::span<const TensorView *const> slots,
                         const SymbolValues &values);

/// Checks address, alignment, strides and memory of the views.
Result<void> checkStorage(const LayerState &layer,
                          std::span<const uint32_t> buffers,
                          std::span<const TensorView *const> slots);

} // namespace detail
} // namespace v0
} // namespace quern

#endif // QUERN_JIT_SYMBOLSOLVER_H
