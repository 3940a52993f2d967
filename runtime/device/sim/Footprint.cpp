//===- Footprint.cpp - Which bytes of memory were touched -----------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/sim/Footprint.h"

#include <algorithm>

using namespace quern;
using namespace quern::sim;

/// Sets bits [begin, begin + count).
template <typename Bits>
static void setBits(Bits &bits, uint64_t begin, uint64_t count) {
  for (uint64_t at = begin, end = begin + count; at < end;) {
    uint64_t bit = at % 64, width = std::min(end - at, 64 - bit);
    uint64_t ones = width == 64 ? ~uint64_t(0) : (uint64_t(1) << width) - 1;
    bits[at / 64] |= ones << bit;
    at += width;
  }
}

template <typename Bits> static uint64_t countBits(const Bits &bits) {
  uint64_t count = 0;
  for (uint64_t word : bits)
    count += static_cast<uint64_t>(__builtin_popcountll(word));
  return count;
}

Footprint::Page &Footprint::page(uint64_t number) {
  Cached &cached = cache[number % cache.size()];
  if (cached.number != number) {
    std::unique_ptr<Page> &page = pages[number];
    if (!page)
      page = std::make_unique<Page>();
    cached = {number, page.get()};
  }
  return *cached.page;
}

void Footprint::touch(uint64_t address, uint64_t bytes, bool read,
                      bool written) {
  for (uint64_t end = address + bytes; address < end;) {
    uint64_t offset = address % pageBytes;
    uint64_t count = std::min(end - address, pageBytes - offset);
    Page &where = page(address / pageBytes);
    if (read)
      setBits(where.read, offset, count);
    if (written)
      setBits(where.written, offset, count);
    address += count;
  }
}

void Footprint::touchLanes(const uint64_t addresses[32], uint32_t lanes,
                           uint32_t bytes, bool read, bool written) {
  // Lanes in a row are one range; lanes at one place are one lane.
  uint64_t begin = 0, length = 0;
  for (uint32_t rest = lanes; rest; rest &= rest - 1) {
    uint64_t address = addresses[__builtin_ctz(rest)];
    if (address == begin && length == bytes)
      continue;
    if (length && address == begin + length) {
      length += bytes;
      continue;
    }
    touch(begin, length, read, written);
    begin = address;
    length = bytes;
  }
  touch(begin, length, read, written);
}

void Footprint::add(const Footprint &other) {
  for (const auto &[number, from] : other.pages) {
    Page &to = page(number);
    for (size_t i = 0; i < to.read.size(); ++i) {
      to.read[i] |= from->read[i];
      to.written[i] |= from->written[i];
    }
  }
}

uint64_t Footprint::bytesRead() const {
  uint64_t count = 0;
  for (const auto &[number, page] : pages)
    count += countBits(page->read);
  return count;
}

uint64_t Footprint::bytesWritten() const {
  uint64_t count = 0;
  for (const auto &[number, page] : pages)
    count += countBits(page->written);
  return count;
}
