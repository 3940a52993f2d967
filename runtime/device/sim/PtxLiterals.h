//===- PtxLiterals.h - Numbers and address spaces in PTX --------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_DEVICE_SIM_PTXLITERALS_H
#define QUERN_DEVICE_SIM_PTXLITERALS_H

#include "runtime/device/sim/PtxSyntax.h"

#include <optional>

namespace quern {
inline namespace v0 {
namespace sim {
namespace ptx {

/// Decimal, 0x hexadecimal, 0b binary or 0 octal, with an optional U; nothing
/// if the word is none of these or exceeds 64 bits.
std::optional<uint64_t> parseInteger(std::string_view word);
/// An integer, 0f3F800000, 0d..., or 1.5 (a double); makes `operand` an
/// immediate. False if the word is none.
bool parseImmediate(std::string_view word, bool negative, Operand &operand);

/// "global" and its like.
std::optional<Space> parseSpace(std::string_view word);

} // namespace ptx
} // namespace sim
} // namespace v0
} // namespace quern

#endif // QUERN_DEVICE_SIM_PTXLITERALS_H
