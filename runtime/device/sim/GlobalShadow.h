//===- GlobalShadow.h - Histories of global memory --------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// The histories (AccessHistory.h) of global memory touched in one launch, in
// pages made on first use. Memory that is read-only for kernels has none.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_DEVICE_SIM_GLOBALSHADOW_H
#define QUERN_DEVICE_SIM_GLOBALSHADOW_H

#include "runtime/device/sim/AccessHistory.h"

#include <memory>
#include <unordered_map>

namespace quern {
inline namespace v0 {
namespace sim {

struct GlobalShadow {
  static constexpr uint64_t pageBytes = uint64_t(1) << 14;
  struct Page {
    std::array<AccessHistory::State, pageBytes / AccessHistory::bytesPerCell>
        cells;
    bool written = false;
  };
  std::unordered_map<uint64_t, std::unique_ptr<Page>> pages; ///< By number.

  Page &page(uint64_t address) {
    uint64_t number = address / pageBytes;
    Cached &cached = cache[number % cache.size()];
    if (cached.number != number)
      cached = {number, find(number)};
    return *cached.page;
  }
  /// `Finding::offset` counts from `address`.
  std::optional<AccessHistory::Finding> apply(AccessHistory &history,
                                              uint64_t address, uint64_t bytes,
                                              AccessHistory::Cursor &cursor);
  std::optional<AccessHistory::Finding>
  apply(AccessHistory &history, uint64_t address, uint64_t bytes,
        const AccessHistory::Access &access) {
    AccessHistory::Cursor cursor = history.begin(access);
    return apply(history, address, bytes, cursor);
  }

private:
  struct Cached {
    uint64_t number = ~uint64_t(0);
    Page *page = nullptr;
  };
  Page *find(uint64_t number);
  std::array<Cached, 256> cache;
};

} // namespace sim
} // namespace v0
} // namespace quern

#endif // QUERN_DEVICE_SIM_GLOBALSHADOW_H
