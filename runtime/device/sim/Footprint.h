//===- Footprint.h - Which bytes of memory were touched ---------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Two bits for each byte of global memory that a launch read or wrote, in pages
// made on first use: what a perfect cache would have to move. Not thread-safe;
// launches that run apart are added up afterwards.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_DEVICE_SIM_FOOTPRINT_H
#define QUERN_DEVICE_SIM_FOOTPRINT_H

#include <array>
#include <cstdint>
#include <memory>
#include <unordered_map>

namespace quern {
inline namespace v0 {
namespace sim {

class Footprint {
public:
  void touch(uint64_t address, uint64_t bytes, bool read, bool written);
  /// `bytes` at the address of each of the lanes.
  void touchLanes(const uint64_t addresses[32], uint32_t lanes, uint32_t bytes,
                  bool read, bool written);
  void add(const Footprint &other);
  uint64_t bytesRead() const;
  uint64_t bytesWritten() const;

private:
  static constexpr uint64_t pageBytes = uint64_t(1) << 14;
  using Bits = std::array<uint64_t, pageBytes / 64>;
  struct Page {
    Bits read = {};
    Bits written = {};
  };
  Page &page(uint64_t number);

  std::unordered_map<uint64_t, std::unique_ptr<Page>> pages;
  struct Cached {
    uint64_t number = ~uint64_t(0);
    Page *page = nullptr;
  };
  std::array<Cached, 64> cache;
};

} // namespace sim
} // namespace v0
} // namespace quern

#endif // QUERN_DEVICE_SIM_FOOTPRINT_H
