//===- PtxParser.h - PTX text to a tree -------------------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Parses the PTX a compiler emits: module directives, variables with
// initialisers, functions, instructions, `.file` and `.loc`. DWARF sections are
// skipped. Malformed text gives an InvalidSource diagnostic with the PTX line;
// sizes are bounded so that no text can make the parser run away.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_DEVICE_SIM_PTXPARSER_H
#define QUERN_DEVICE_SIM_PTXPARSER_H

#include "runtime/core/Result.h"
#include "runtime/device/sim/PtxSyntax.h"

namespace quern {
inline namespace v0 {
namespace sim {
namespace ptx {

/// `name` is what diagnostics call the text, e.g. "gemm.ptx".
Result<Module> parse(std::string text, std::string_view name = "PTX");

} // namespace ptx
} // namespace sim
} // namespace v0
} // namespace quern

#endif // QUERN_DEVICE_SIM_PTXPARSER_H
