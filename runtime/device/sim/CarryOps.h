//===- CarryOps.h - Sums of many words --------------------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_DEVICE_SIM_CARRYOPS_H
#define QUERN_DEVICE_SIM_CARRYOPS_H

#include "runtime/device/sim/InstrBuilder.h"

namespace quern {
inline namespace v0 {
namespace sim {

enum class CarryOp : uint8_t { Add, Sub, Mad };

/// add, sub and mad with `.cc`, which is taken by the caller if `writes`, and
/// addc, subc and madc if `reads`.
void decodeCarry(InstrBuilder &builder, CarryOp op, bool reads, bool writes);

} // namespace sim
} // namespace v0
} // namespace quern

#endif // QUERN_DEVICE_SIM_CARRYOPS_H
