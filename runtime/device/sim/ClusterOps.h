//===- ClusterOps.h - Special registers of clusters -------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_DEVICE_SIM_CLUSTEROPS_H
#define QUERN_DEVICE_SIM_CLUSTEROPS_H

#include "runtime/device/sim/Opcodes.h"

#include <utility>

namespace quern {
inline namespace v0 {
namespace sim {

/// Part of findSpecialRegister().
std::span<const std::pair<std::string_view, SpecialRegister>>
clusterRegisters();

} // namespace sim
} // namespace v0
} // namespace quern

#endif // QUERN_DEVICE_SIM_CLUSTEROPS_H
