//===- Drivers.h - Which CUDA driver a target means -------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// The one place where the real driver and the simulated one are told apart.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_JIT_DRIVERS_H
#define QUERN_JIT_DRIVERS_H

#include "runtime/core/Target.h"
#include "runtime/device/cuda/DriverApi.h"

namespace quern {
inline namespace v0 {
namespace detail {

/// libcuda's table for "cuda", a simulated device's for "sim:sm_NN", null for
/// the CPU. NoDevice without a driver, Unsupported for an architecture that is
/// not simulated.
Result<const cuda::DriverTable *> driverFor(const Target &target);

/// The architecture to compile for on this machine's first device: "sm_90a".
Result<std::string> nativeArchitecture();

/// Names an allocation in the simulator's reports, and has it find writes to
/// what is only read. Does nothing for other targets.
void nameForReports(const Target &target, const void *address,
                    const std::string &name, bool readOnly);

/// A failure of the simulator with what it found as notes, and the code
/// CheckFailed if it found a fault; other diagnostics as they are.
Diagnostic explainFailure(const Target &target, Diagnostic diagnostic);

} // namespace detail
} // namespace v0
} // namespace quern

#endif // QUERN_JIT_DRIVERS_H
