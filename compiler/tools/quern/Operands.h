//===- Operands.h - Where a run's operands come from ------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// A layer's operands come from .npy files (`--input`), from .safetensors files
// (`--weights`, by the operand's own name or the one `--bind` gives), or are
// drawn. An operand is named as the runtime names it: `x`, and for a quantized
// one `w.codes` and `w.scales`. A file's name that matches nothing, two sources
// for one operand, a wrong type or shape, and a NaN in a weight are errors that
// name both sides. Scales and zero points may lack the axes that the layer
// declares as 1, as most files have them: f32[128] for f32[128, 1].
//
// Drawing needs the reference's knowledge of the layer: without its text every
// operand must be given.
//
// Symbols get their values from `--set`, else from the shapes of the operands
// given; one that has neither is an error.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_TOOLS_QUERN_OPERANDS_H
#define QUERN_TOOLS_QUERN_OPERANDS_H

#include "compiler/pipelines/Oracle.h"
#include "compiler/tools/quern/Commands.h"
#include "quern/io.h"
#include "quern/quern.h"

#include <optional>

namespace quern::tool {

struct Operands {
  /// In declared order, inputs and weights together; each named.
  std::vector<TensorView> views;
  /// Values of the layer's symbols, in their order.
  std::vector<int64_t> symbols;
  /// Names of the operands that were drawn.
  std::vector<std::string> drawn;
  /// What the views point at.
  std::vector<Tensor> owned;
  std::vector<SafeTensors> files;
};

/// `oracle` is null where the layer's text is not known.
Result<Operands> gatherOperands(const Layer &layer, const Oracle *oracle,
                                const RunOptions &options);

/// The values of `names` from `--set` alone, in order; a symbol without one is
/// left out of the result's `second`.
Result<std::vector<std::optional<int64_t>>>
parseSymbolValues(const std::vector<SymbolDesc> &symbols,
                  const std::vector<std::string> &settings);

} // namespace quern::tool

#endif // QUERN_TOOLS_QUERN_OPERANDS_H
