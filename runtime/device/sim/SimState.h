//===- SimState.h - What a simulated device keeps ---------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Private to SimDevice.cpp and SimDriver.cpp.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_DEVICE_SIM_SIMSTATE_H
#define QUERN_DEVICE_SIM_SIMSTATE_H

#include "runtime/device/sim/DeviceMemory.h"
#include "runtime/device/sim/Program.h"
#include "runtime/device/sim/SimDevice.h"

#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <span>

namespace quern {
inline namespace v0 {
namespace sim {

/// Figures of the devices we stand in for.
struct DeviceModel {
  std::string_view arch;
  std::string_view name;
  int major, minor;
  bool exactArch; ///< An "a" target: runs the code of no other.
  int multiprocessors;
  int sharedPerBlockOptin;
  int sharedPerMultiprocessor;
  int threadsPerMultiprocessor;
  int blocksPerMultiprocessor;
  int l2Bytes;
  int clockKhz;
  int memoryClockKhz;
  int memoryBusBits;
  uint64_t memoryBytes;
};
const DeviceModel &modelOf(SimTarget target);

inline constexpr int defaultSharedPerBlock = 48 << 10;
inline constexpr int reservedSharedPerBlock = 1 << 10;
inline constexpr int maxThreadsPerBlock = 1024;

struct SimFunction {
  struct SimModule *module = nullptr;
  Kernel kernel;
  int maxDynamicShared = defaultSharedPerBlock;
};

struct SimModule {
  std::map<std::string, std::unique_ptr<SimFunction>, std::less<>> functions;
  std::vector<uint64_t> globals; ///< Allocations of its variables.
};

struct SimStream {};
struct SimEvent {
  bool recorded = false;
  std::chrono::steady_clock::time_point time;
};

struct SimDevice::Impl {
  explicit Impl(SimTarget target)
      : target(target), model(modelOf(target)), memory(model.memoryBytes) {}

  SimTarget target;
  const DeviceModel &model;
  mutable std::mutex mutex;
  bool initialized = false;
  unsigned contextReferences = 0;
  SimOptions options;
  DeviceMemory memory;
  std::map<void *, std::unique_ptr<SimModule>> modules;
  std::map<void *, SimFunction *> functions;
  std::map<void *, std::unique_ptr<SimStream>> streams;
  std::map<void *, std::unique_ptr<SimEvent>> events;
  std::vector<Diagnostic> reports;
  uint64_t faultCount = 0;
  Counters counters;
  bool recording = false;
  std::vector<LaunchRecord> records;

  /// The address of the device doubles as its context.
  cuda::ContextHandle context() {
    return reinterpret_cast<cuda::ContextHandle>(this);
  }

  // The mutex must be held.

  /// Parses and decodes PTX; InvalidPtx and friends with a report on failure.
  cuda::DriverStatus loadModule(const char *image, SimModule *&module);
  void unloadModule(void *handle);
  cuda::DriverStatus launch(const cuda::LaunchConfig &config,
                            SimFunction &function, void **parameters);
  int maxBlocksPerMultiprocessor(const SimFunction &function, int blockSize,
                                 size_t dynamicShared) const;

private:
  Result<void> placeGlobals(const ptx::Module &parsed, SimModule &module,
                            std::map<std::string_view, struct Symbol> &symbols);
  cuda::DriverStatus refuse(cuda::DriverStatus status, Diagnostic why);
};

} // namespace sim
} // namespace v0
} // namespace quern

#endif // QUERN_DEVICE_SIM_SIMSTATE_H
