//===- DriverLoader.h - Opening libcuda -------------------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// The first filling of DriverTable: NVIDIA's driver. libcuda.so.1 is opened on
// first use and never closed; its entries are asked of cuGetProcAddress by name
// and version, or looked up by name in drivers that lack it. A machine without
// a driver is no error of the program: the result is a NoDevice diagnostic that
// says why. The libcuda that CUDA toolkits ship to link against answers
// everything with status 34 and counts as no driver.
//
// Thread-safe.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_DEVICE_CUDA_DRIVERLOADER_H
#define QUERN_DEVICE_CUDA_DRIVERLOADER_H

#include "runtime/core/Result.h"
#include "runtime/device/cuda/DriverApi.h"

#include <string>

namespace quern {
inline namespace v0 {
namespace cuda {

/// The driver, opened and initialised once for the process. The pointer lives
/// for ever.
Result<const DriverTable *> systemDriver();

/// Opens one particular library and initialises it; for tests and diagnosis.
Result<DriverTable> loadDriver(const std::string &library);

/// `status` as the driver names it: "CUDA_ERROR_ILLEGAL_ADDRESS (700): an
/// illegal memory access was encountered".
std::string describe(const DriverTable &driver, DriverStatus status);

/// A DeviceError (or OutOfMemory) diagnostic: "<action>: <status>".
Diagnostic driverError(const DriverTable &driver, DriverStatus status,
                       const std::string &action);

} // namespace cuda
} // namespace v0
} // namespace quern

#endif // QUERN_DEVICE_CUDA_DRIVERLOADER_H
