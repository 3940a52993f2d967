//===- Device.h - Code loaded on something that runs it ---------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// A `Program` is a variant's code loaded on a device: the CPU, or CUDA through
// the driver table (real or simulated). It knows how to launch and where
// memory comes from; when, with which buffers and sizes is decided above
// (runtime/jit). All members may be called from several threads at once.
//
// Addresses are `void *`: host pointers on the CPU, device addresses on CUDA.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_DEVICE_DEVICE_H
#define QUERN_DEVICE_DEVICE_H

#include "quern/executor.h"
#include "runtime/module/Module.h"

#include <memory>

namespace quern {
inline namespace v0 {

/// A launch's sizes for given symbol values.
struct LaunchSizes {
  int64_t items = 0;
  int64_t grain = 1;
  std::array<int64_t, 3> grid = {1, 1, 1};
  int64_t dynamicSharedBytes = 0;
  int64_t residentBlocks = 0;
};

/// Everything of one launch. The arrays live until it has been enqueued.
struct LaunchCall {
  const LaunchDesc *launch = nullptr;
  const LaunchSizes *sizes = nullptr;
  void *const *buffers = nullptr; ///< In the launch's order.
  std::span<const int64_t> symbols;
  /// `Program::workers` pieces of per-worker scratch, `scratchStride` apart.
  std::byte *scratch = nullptr;
  uint64_t scratchStride = 0;
};

class Program {
public:
  virtual ~Program() = default;

  /// Memory at least 64-byte aligned; never null for bytes > 0.
  virtual Result<void *> allocate(uint64_t bytes) = 0;
  virtual void release(void *address) = 0;

  /// True when kernels read host pointers, so that operands are passed as they
  /// are.
  virtual bool usesHostMemory() const = 0;

  /// A queue of this program's own; null where there are none.
  virtual Result<void *> makeStream() = 0;
  virtual void destroyStream(void *stream) = 0;
  virtual Result<void> synchronize(void *stream) = 0;

  virtual Result<void> copyIn(void *to, const void *from, uint64_t bytes,
                              void *stream) = 0;
  virtual Result<void> copyOut(void *to, const void *from, uint64_t bytes,
                               void *stream) = 0;

  virtual Result<void> copyWithin(void *to, const void *from, uint64_t bytes,
                                  void *stream) = 0;

  virtual Result<void> zero(void *at, uint64_t bytes, void *stream) = 0;

  virtual unsigned workers() const = 0;
  virtual Result<void> launch(const LaunchCall &call, void *stream) = 0;
};

/// Memory of a program, freed with it.
class DeviceMemory {
public:
  DeviceMemory() = default;
  static Result<DeviceMemory> allocate(std::shared_ptr<Program> program,
                                       uint64_t bytes) {
    DeviceMemory memory;
    if (bytes) {
      Result<void *> address = program->allocate(bytes);
      if (!address)
        return address.error();
      memory.address = *address;
      memory.program = std::move(program);
      memory.bytes = bytes;
    }
    return memory;
  }
  DeviceMemory(DeviceMemory &&other) noexcept { swap(other); }
  DeviceMemory &operator=(DeviceMemory &&other) noexcept {
    swap(other);
    return *this;
  }
  ~DeviceMemory() {
    if (address)
      program->release(address);
  }

  std::byte *data() const { return static_cast<std::byte *>(address); }
  uint64_t size() const { return bytes; }

private:
  void swap(DeviceMemory &other) {
    std::swap(program, other.program);
    std::swap(address, other.address);
    std::swap(bytes, other.bytes);
  }
  std::shared_ptr<Program> program;
  void *address = nullptr;
  uint64_t bytes = 0;
};

} // namespace v0
} // namespace quern

#endif // QUERN_DEVICE_DEVICE_H
