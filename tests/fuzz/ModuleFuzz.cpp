//===- ModuleFuzz.cpp - Any bytes as a module -----------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Checksums are made to fit first: behind them the reader's own checks stand
// alone. What is accepted must survive being written and read again.
//
//===----------------------------------------------------------------------===//

#include "runtime/module/ModuleFormat.h"
#include "tests/fuzz/Fuzz.h"

#include <cstring>

using namespace quern;

static void reseal(std::vector<std::byte> &file) {
  uint32_t sections = 0;
  if (file.size() < format::headerBytes)
    return;
  std::memcpy(&sections, file.data() + 12, 4);
  for (uint32_t i = 0; i < sections && i < format::maxSections; ++i) {
    size_t at = format::headerBytes + format::tableEntryBytes * i;
    uint32_t kind;
    uint64_t offset, size;
    if (at + format::tableEntryBytes > file.size())
      return;
    std::memcpy(&offset, file.data() + at + 8, 8);
    std::memcpy(&size, file.data() + at + 16, 8);
    if (offset > file.size() || size > file.size() - offset)
      continue;
    std::memcpy(&kind, file.data() + at, 4);
    if (kind == static_cast<uint32_t>(format::SectionKind::Seal) && size >= 8) {
      uint64_t seal = format::checksum(std::span(file).first(at + 24));
      std::memcpy(file.data() + offset, &seal, 8);
    }
    uint64_t sum = format::checksum(std::span(file).subspan(offset, size));
    std::memcpy(file.data() + at + 24, &sum, 8);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  auto bytes = std::as_bytes(std::span(data, size));
  std::vector<std::byte> file(bytes.begin(), bytes.end());
  (void)ModuleDesc::parse(file);
  reseal(file);
  auto module = ModuleDesc::parse(file);
  if (!module)
    return 0;
  auto again = ModuleDesc::parse(module->serialize());
  fuzz::require(bool(again), "what was read can be written and read");
  fuzz::require(*again == *module, "and is the same");
  return 0;
}
