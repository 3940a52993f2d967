//===- ModuleVerifier.h - What a runnable module must satisfy ---*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// The rules the runtime relies on without asking again:
//
//  - there are at most 64 symbols, with distinct names, 0 <= min <= max and
//    multiple >= 1;
//  - every expression uses symbols that exist;
//  - ranks are at most 6, alignments powers of two from 1 to 4096;
//  - launches name kernels and buffers that exist; blocks have 1 to 1024
//    threads;
//  - inputs, weights and outputs have distinct names, and every variant has
//    the same signature;
//  - prepare launches touch weights and packed buffers only, and their
//    expressions use only symbols that a weight's shape fixes, as do the
//    shapes of packed buffers; a packed buffer that a run launch reads is
//    touched by a prepare launch;
//  - every kernel of a CPU variant has exactly one entry point, inside its
//    image; other variants carry code.
//
// ModuleDesc::parse applies them to files; the loader to descriptions that
// never were a file.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_MODULE_MODULEVERIFIER_H
#define QUERN_MODULE_MODULEVERIFIER_H

#include "runtime/module/Module.h"

#include <optional>

namespace quern {
inline namespace v0 {

/// InvalidFile with the rule that is broken, or success.
Result<void> verifyModule(const ModuleDesc &module);

/// Inputs, weights and outputs.
constexpr bool inSignature(BufferRole role) {
  return role == BufferRole::Input || role == BufferRole::Weight ||
         role == BufferRole::Output;
}

/// For each symbol whether the shape of some weight fixes its value: the
/// symbol alone, or times a positive constant, is a dimension.
std::vector<bool> symbolsFixedByWeights(const ModuleDesc &module,
                                        const VariantDesc &variant);

/// The symbol and factor of a dimension of the form `s`, `s * c` or `c * s`
/// with c > 0: the forms from which a shape yields the symbol's value.
struct LinearDimension {
  unsigned symbol = 0;
  int64_t factor = 1;
};
std::optional<LinearDimension> asLinear(const SymExpr &expr);

} // namespace v0
} // namespace quern

#endif // QUERN_MODULE_MODULEVERIFIER_H
