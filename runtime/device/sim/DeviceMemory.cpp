//===- DeviceMemory.cpp - Global memory of the simulated device -----------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/sim/DeviceMemory.h"

#include <cstring>
#include <fmt/format.h>
#include <new>

using namespace quern;
using namespace quern::sim;

Allocation *DeviceMemory::allocate(uint64_t bytes, std::string name) {
  if (bytes == 0 || bytes > capacity || usedBytes > capacity - bytes)
    return nullptr;
  uint64_t total = bytes + 2 * redZone + alignment;
  std::unique_ptr<std::byte[]> storage(new (std::nothrow) std::byte[total]);
  if (!storage)
    return nullptr;
  uint64_t begin = reinterpret_cast<uint64_t>(storage.get()) + redZone;
  uint64_t base = (begin + alignment - 1) / alignment * alignment;
  std::memset(storage.get(), 0xCD, total);
  Allocation allocation;
  allocation.base = base;
  allocation.size = bytes;
  allocation.name =
      name.empty() ? fmt::format("allocation {}", ++serial) : std::move(name);
  allocation.storage = std::move(storage);
  usedBytes += bytes;
  return &(allocations[base] = std::move(allocation));
}

bool DeviceMemory::release(uint64_t base) {
  auto it = allocations.find(base);
  if (it == allocations.end() || it->second.freed)
    return false;
  it->second.freed = true;
  usedBytes -= it->second.size;
  quarantined += it->second.size;
  quarantine.push_back(base);
  while (quarantined > quarantineBytes) {
    auto oldest = allocations.find(quarantine.front());
    quarantine.pop_front();
    quarantined -= oldest->second.size;
    allocations.erase(oldest);
  }
  return true;
}

Allocation *DeviceMemory::find(uint64_t address) {
  auto after = allocations.upper_bound(address);
  if (after != allocations.begin()) {
    Allocation &before = std::prev(after)->second;
    if (address - before.base < before.size + redZone)
      return &before;
  }
  if (after != allocations.end() && after->second.base - address <= redZone)
    return &after->second;
  return nullptr;
}
