//===- PackedIntegerOps.h - Pairs of 16-bit integers, .relu -----*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_DEVICE_SIM_PACKEDINTEGEROPS_H
#define QUERN_DEVICE_SIM_PACKEDINTEGEROPS_H

#include "runtime/device/sim/InstrBuilder.h"

namespace quern {
inline namespace v0 {
namespace sim {

enum class PackedOp : uint8_t { Add, Min, Max };

/// Decodes add, min and max of .u16x2 and .s16x2, and min and max with .relu;
/// false if the instruction is none of these.
bool decodePackedInteger(InstrBuilder &builder, PackedOp op);

} // namespace sim
} // namespace v0
} // namespace quern

#endif // QUERN_DEVICE_SIM_PACKEDINTEGEROPS_H
