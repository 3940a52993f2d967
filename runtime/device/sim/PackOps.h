//===- PackOps.h - cvt.pack -------------------------------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_DEVICE_SIM_PACKOPS_H
#define QUERN_DEVICE_SIM_PACKOPS_H

#include "runtime/device/sim/InstrBuilder.h"

namespace quern {
inline namespace v0 {
namespace sim {

/// cvt.pack, whose `.pack` is taken: integers saturated to 8 or 16 bits and
/// placed side by side.
void decodePack(InstrBuilder &builder);

} // namespace sim
} // namespace v0
} // namespace quern

#endif // QUERN_DEVICE_SIM_PACKOPS_H
