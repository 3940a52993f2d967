//===- ShadowMemory.cpp - Races and initialisation in shared memory -------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/sim/ShadowMemory.h"

#include <algorithm>

using namespace quern;
using namespace quern::sim;

void ShadowMemory::reset(uint32_t newBytes, uint32_t newWarps) {
  bytes = newBytes;
  warps = newWarps;
  writers.assign(bytes, 0);
  readers.assign(size_t(bytes) * warps, 0);
  clocks.assign(size_t(32) * 32, 0);
  for (uint32_t warp = 0; warp < 32; ++warp)
    clock(warp)[warp] = 1;
}

std::optional<ShadowMemory::Finding>
ShadowMemory::checkWriter(uint32_t warp, uint32_t offset, uint32_t count,
                          bool isRead, bool isAtomic) {
  const uint32_t *words = &writers[offset];
  const uint16_t *seen = clock(warp);
  // Neighbouring bytes nearly always have the same history: compare them all
  // with the first in one vectorised sweep, then look at that one only.
  uint32_t differs = 0;
  for (uint32_t i = 1; i < count; ++i)
    differs |= words[i] ^ words[0];
  uint32_t examined = differs ? count : 1;
  for (uint32_t i = 0; i < examined; ++i) {
    uint32_t word = words[i];
    if (word & inFlight)
      return Finding{FaultKind::InFlightCopy, offset + i, writerOf(word),
                     Finding::Earlier::Write};
    uint32_t writer = writerOf(word);
    bool both = isAtomic && (word & byAtomic);
    if (writer != warp && timeOf(word) > seen[writer] && !both)
      return Finding{FaultKind::Race, offset + i, writer,
                     Finding::Earlier::Write};
    if (isRead && !(word & initialized))
      return Finding{FaultKind::UninitializedShared, offset + i, writer,
                     Finding::Earlier::None};
  }
  return std::nullopt;
}

std::optional<ShadowMemory::Finding>
ShadowMemory::checkReaders(uint32_t warp, uint32_t offset, uint32_t count) {
  const uint16_t *seen = clock(warp);
  for (uint32_t reader = 0; reader < warps; ++reader) {
    if (reader == warp)
      continue;
    const uint16_t *times = readTimes(reader, offset);
    uint16_t limit = seen[reader];
    unsigned late = 0;
    for (uint32_t i = 0; i < count; ++i)
      late |= times[i] > limit;
    if (!late)
      continue;
    uint32_t at = 0;
    while (times[at] <= limit)
      ++at;
    return Finding{FaultKind::Race, offset + at, reader,
                   Finding::Earlier::Read};
  }
  return std::nullopt;
}

void ShadowMemory::setWriter(uint32_t warp, uint32_t offset, uint32_t count,
                             uint32_t flags) {
  std::fill_n(&writers[offset], count, clock(warp)[warp] | warp << 16 | flags);
}

std::optional<ShadowMemory::Finding>
ShadowMemory::read(uint32_t warp, uint32_t offset, uint32_t count) {
  std::optional<Finding> finding =
      checkWriter(warp, offset, count, /*isRead=*/true, /*isAtomic=*/false);
  std::fill_n(readTimes(warp, offset), count, clock(warp)[warp]);
  return finding;
}

std::optional<ShadowMemory::Finding>
ShadowMemory::write(uint32_t warp, uint32_t offset, uint32_t count) {
  std::optional<Finding> finding =
      checkWriter(warp, offset, count, /*isRead=*/false, /*isAtomic=*/false);
  if (!finding)
    finding = checkReaders(warp, offset, count);
  setWriter(warp, offset, count, initialized);
  return finding;
}

std::optional<ShadowMemory::Finding>
ShadowMemory::atomic(uint32_t warp, uint32_t offset, uint32_t count) {
  std::optional<Finding> finding =
      checkWriter(warp, offset, count, /*isRead=*/true, /*isAtomic=*/true);
  if (!finding)
    finding = checkReaders(warp, offset, count);
  setWriter(warp, offset, count, initialized | byAtomic);
  return finding;
}

std::optional<ShadowMemory::Finding>
ShadowMemory::beginCopy(uint32_t warp, uint32_t offset, uint32_t count) {
  std::optional<Finding> finding =
      checkWriter(warp, offset, count, /*isRead=*/false, /*isAtomic=*/false);
  if (!finding)
    finding = checkReaders(warp, offset, count);
  setWriter(warp, offset, count, inFlight);
  return finding;
}

void ShadowMemory::endCopy(uint32_t warp, uint32_t offset, uint32_t count) {
  setWriter(warp, offset, count, initialized);
}

void ShadowMemory::release(uint32_t warp, Clock &into) {
  if (clock(warp)[warp] >= 0xffff - 1)
    restartClocks();
  if (into.epoch != epoch) {
    into = Clock();
    into.epoch = epoch;
  }
  const uint16_t *mine = clock(warp);
  for (unsigned i = 0; i < 32; ++i)
    into.times[i] = std::max(into.times[i], mine[i]);
  ++clock(warp)[warp];
}

void ShadowMemory::acquire(uint32_t warp, const Clock &from) {
  if (from.epoch != epoch)
    return;
  // The own time is ahead of any other warp's knowledge of it.
  uint16_t *mine = clock(warp);
  for (unsigned i = 0; i < 32; ++i)
    mine[i] = std::max(mine[i], from.times[i]);
}

/// Times are 16 bits wide. Before they run out, history is dropped: every
/// access so far counts as ordered. With one barrier per few dozen
/// instructions this happens once in millions of them.
void ShadowMemory::restartClocks() {
  std::fill(readers.begin(), readers.end(), 0);
  for (uint32_t &word : writers)
    word &= ~0xffffu;
  std::fill(clocks.begin(), clocks.end(), 0);
  for (uint32_t warp = 0; warp < 32; ++warp)
    clock(warp)[warp] = 1;
  ++epoch;
}
