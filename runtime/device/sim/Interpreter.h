//===- Interpreter.h - Running a warp ---------------------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Private to the scheduler.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_DEVICE_SIM_INTERPRETER_H
#define QUERN_DEVICE_SIM_INTERPRETER_H

#include "runtime/device/sim/Machine.h"

namespace quern {
inline namespace v0 {
namespace sim {

/// Executes up to `quantum` instructions of a warp that may run.
void runWarp(Warp &warp, uint32_t quantum);

} // namespace sim
} // namespace v0
} // namespace quern

#endif // QUERN_DEVICE_SIM_INTERPRETER_H
