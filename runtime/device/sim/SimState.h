//===- SimState.h - What a simulated device keeps ---------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Private to the files that begin with Sim.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_DEVICE_SIM_SIMSTATE_H
#define QUERN_DEVICE_SIM_SIMSTATE_H

#include "runtime/device/sim/DeviceMemory.h"
#include "runtime/device/sim/Program.h"
#include "runtime/device/sim/SimDevice.h"
#include "runtime/device/sim/TensorMap.h"

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
/// -1 for an attribute we do not know.
int attributeOf(const DeviceModel &model, cuda::DeviceAttribute attribute);
struct StatusName {
  cuda::DriverStatus status;
  const char *name;
  const char *text;
};
/// Null for a status we never return.
const StatusName *findStatus(cuda::DriverStatus status);

inline constexpr int defaultSharedPerBlock = 48 << 10;
inline constexpr int reservedSharedPerBlock = 1 << 10;
inline constexpr int maxThreadsPerBlock = 1024;
inline constexpr uint32_t portableClusterBlocks = 8;
inline constexpr uint32_t maxClusterBlocks = 16;
/// Multiprocessors that can hold one cluster together (a GPC). Real devices
/// have groups of 16 and 18; the smaller number promises nothing wrong.
inline constexpr int multiprocessorsPerGroup = 16;

/// Blocks of a cluster along each axis.
struct ClusterShape {
  uint32_t size[3] = {1, 1, 1};
  bool isExplicit = false;
  uint32_t blocks() const { return size[0] * size[1] * size[2]; }
};

struct SimFunction {
  struct SimModule *module = nullptr;
  Kernel kernel;
  int maxDynamicShared = defaultSharedPerBlock;
  bool allowNonPortableCluster = false;
};

struct SimModule {
  std::map<std::string, std::unique_ptr<SimFunction>, std::less<>> functions;
  /// Kernels that cannot be run, and why.
  std::map<std::string, Diagnostic, std::less<>> refused;
  std::vector<uint64_t> globals; ///< Allocations of its variables.
};

struct SimGraph;
struct SimGraphExec;

struct SimStream {
  SimGraph *capture = nullptr; ///< The graph under construction.
  bool beganCapture = false;   ///< It was begun here, not joined.
  std::vector<size_t> latest;  ///< Nodes the next one comes after.
};
struct SimEvent {
  bool recorded = false;
  SimGraph *capture = nullptr; ///< Recorded during this capture,
  std::vector<size_t> latest;  ///< after these nodes.
  std::chrono::steady_clock::time_point time;
};

struct SimDevice::Impl {
  explicit Impl(SimTarget target);
  ~Impl();

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
  std::map<void *, std::unique_ptr<SimGraph>> graphs;
  std::map<void *, std::unique_ptr<SimGraphExec>> graphExecs;
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
  /// Copies the arguments to the layout kernels expect.
  cuda::DriverStatus pack(const SimFunction &function, void **parameters,
                          std::vector<std::byte> &bytes);
  cuda::DriverStatus launch(const cuda::LaunchConfig &config,
                            SimFunction &function,
                            std::vector<std::byte> parameters);
  /// The cluster a launch would have, or why it cannot.
  Result<ClusterShape> clusterOf(const cuda::LaunchConfig &config,
                                 const SimFunction &function) const;
  int maxActiveClusters(const SimFunction &function, int blockSize,
                        size_t dynamicShared, const ClusterShape &shape) const;
  /// Keeps `why` as the report.
  cuda::DriverStatus refuse(cuda::DriverStatus status, Diagnostic why);
  cuda::DriverStatus encodeTensorMap(cuda::TensorMapStorage *map,
                                     const TensorMapRequest &request);
  int maxBlocksPerMultiprocessor(const SimFunction &function, int blockSize,
                                 size_t dynamicShared) const;

private:
  Result<void> placeGlobals(const ptx::Module &parsed, SimModule &module,
                            std::map<std::string_view, struct Symbol> &symbols);
};

/// The value of a function attribute, in `value`, or an error.
cuda::DriverStatus functionAttribute(const SimDevice::Impl &device,
                                     const SimFunction &function,
                                     cuda::FunctionAttribute attribute,
                                     int &value);
cuda::DriverStatus setFunctionAttribute(SimDevice::Impl &device,
                                        SimFunction &function,
                                        cuda::FunctionAttribute attribute,
                                        int value);

} // namespace sim
} // namespace v0
} // namespace quern

#endif // QUERN_DEVICE_SIM_SIMSTATE_H
