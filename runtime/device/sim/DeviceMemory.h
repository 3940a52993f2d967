//===- DeviceMemory.h - Global memory of the simulated device ---*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Device addresses are host addresses of blocks allocated here. Each block lies
// between red zones, so that a small overrun hits no neighbour, and freed
// blocks stay in quarantine for a while, so that a stale pointer is recognised
// rather than reused. Fresh memory is filled with 0xCD: reading it before
// writing gives garbage, as on a device.
//
// Not thread-safe; SimDevice locks.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_DEVICE_SIM_DEVICEMEMORY_H
#define QUERN_DEVICE_SIM_DEVICEMEMORY_H

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>

namespace quern {
inline namespace v0 {
namespace sim {

struct Allocation {
  uint64_t base = 0;
  uint64_t size = 0; ///< Bytes.
  std::string name;  ///< For reports; "allocation 7" until named.
  bool readOnly = false;
  bool freed = false;
  std::unique_ptr<std::byte[]> storage;

  bool contains(uint64_t address, uint64_t bytes) const {
    return address >= base && bytes <= size && address - base <= size - bytes;
  }
};

class DeviceMemory {
public:
  static constexpr uint64_t alignment = 256;
  static constexpr uint64_t redZone = 4096;
  static constexpr uint64_t quarantineBytes = uint64_t(64) << 20;

  explicit DeviceMemory(uint64_t capacity) : capacity(capacity) {}

  /// Null when `capacity` or the host's memory is exhausted, or `bytes` is 0.
  Allocation *allocate(uint64_t bytes, std::string name = {});
  /// False unless `base` is the start of a live allocation.
  bool release(uint64_t base);
  /// The live or quarantined allocation holding `address`, or whose red zone
  /// does; null if none is near.
  Allocation *find(uint64_t address);
  /// True when [address, address + bytes) lies in one live allocation.
  bool isLive(uint64_t address, uint64_t bytes) {
    Allocation *allocation = find(address);
    return allocation && !allocation->freed &&
           allocation->contains(address, bytes);
  }
  uint64_t used() const { return usedBytes; }

private:
  std::map<uint64_t, Allocation> allocations;
  std::deque<uint64_t> quarantine;
  uint64_t capacity;
  uint64_t usedBytes = 0;
  uint64_t quarantined = 0;
  uint64_t serial = 0;
};

} // namespace sim
} // namespace v0
} // namespace quern

#endif // QUERN_DEVICE_SIM_DEVICEMEMORY_H
