//===- GlobalShadow.cpp - Histories of global memory ----------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/sim/GlobalShadow.h"

#include <algorithm>

using namespace quern;
using namespace quern::sim;

GlobalShadow::Page *GlobalShadow::find(uint64_t number) {
  std::unique_ptr<Page> &page = pages[number];
  if (!page) {
    page = std::make_unique<Page>();
    page->cells.fill(AccessHistory::initialised);
  }
  return page.get();
}

std::optional<AccessHistory::Finding>
GlobalShadow::apply(AccessHistory &history, uint64_t address, uint64_t bytes,
                    AccessHistory::Cursor &cursor) {
  std::optional<AccessHistory::Finding> result;
  for (uint64_t at = address, end = address + bytes; at < end;) {
    Page &where = page(at);
    uint64_t offset = at % pageBytes;
    uint64_t count = std::min(end - at, pageBytes - offset);
    where.written |= cursor.access.kind != AccessHistory::Kind::Read;
    std::optional<AccessHistory::Finding> finding =
        history.apply(cursor, where.cells.data(), offset, count);
    if (finding && !result) {
      result = finding;
      result->offset += at - offset - address;
    }
    at += count;
  }
  return result;
}
