//===- CudaProgram.h - CUDA code, loaded through a driver table -*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// A device reached through a DriverTable, and programs loaded on it. The table
// may be libcuda's or the simulator's; nothing here can tell.
//
// The device's primary context is retained while anything lives on it, and
// made current around each call on the calling thread, which gets its own
// context back afterwards.
//
// Kernels take the launch's buffer addresses in order, then every symbol of the
// layer as a 64-bit integer. Launches are enqueued on the stream given; none
// synchronises. Where a launch's blocks take work from a queue or wait for each
// other, the device is asked how many it holds at once, and no more are
// launched.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_DEVICE_CUDA_CUDAPROGRAM_H
#define QUERN_DEVICE_CUDA_CUDAPROGRAM_H

#include "runtime/device/Device.h"
#include "runtime/device/cuda/DriverApi.h"

#include <string>

namespace quern {
inline namespace v0 {
namespace cuda {

class CudaDevice {
public:
  /// Initialises the driver and retains the device's primary context. The
  /// table must outlive the device. NoDevice if there is no such device.
  static Result<std::shared_ptr<CudaDevice>> open(const DriverTable &table,
                                                  int ordinal);
  ~CudaDevice();
  CudaDevice(const CudaDevice &) = delete;

  const DriverTable &driver() const { return table; }
  const std::string &name() const { return label; }
  /// Compute capability as 10 * major + minor: 90.
  int capability() const { return computeCapability; }
  /// Bytes of shared memory a block may have when it asks for it.
  int maxSharedBytes() const { return sharedBytes; }
  int multiprocessors() const { return multiprocessorCount; }
  /// Launches whose blocks are all resident at once.
  bool isCooperative() const { return cooperative != 0; }
  bool hasClusters() const { return computeCapability >= 90; }

  /// Success, or what the driver says, with `what` was attempted.
  Result<void> check(DriverStatus status, std::string_view what) const;

  /// Makes the device's context current while it lives.
  class Scope {
  public:
    explicit Scope(const CudaDevice &device);
    ~Scope();
    Scope(const Scope &) = delete;

  private:
    const DriverTable &table;
    ContextHandle previous = nullptr;
    bool changed = false;
  };

private:
  explicit CudaDevice(const DriverTable &table) : table(table) {}

  const DriverTable &table;
  DeviceOrdinal device = 0;
  ContextHandle context = nullptr;
  std::string label;
  int computeCapability = 0;
  int sharedBytes = 0;
  int multiprocessorCount = 0;
  int cooperative = 0;
};

/// Whether code for an architecture such as "sm_90a" can run on a device of
/// that capability: the same one; for plain architectures also a later minor
/// (cubin), or any later one (PTX, which the driver translates).
bool canRun(std::string_view arch, bool hasPtx, int capability);

/// Loads a CUDA variant: its cubin, or, where the driver has no use for it,
/// its PTX.
Result<std::shared_ptr<Program>>
loadProgram(const VariantDesc &variant, std::shared_ptr<CudaDevice> device);

} // namespace cuda
} // namespace v0
} // namespace quern

#endif // QUERN_DEVICE_CUDA_CUDAPROGRAM_H
