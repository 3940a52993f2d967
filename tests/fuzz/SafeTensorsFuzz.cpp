//===- SafeTensorsFuzz.cpp - Any bytes as a .safetensors file -------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/io/SafeTensorsHeader.h"
#include "tests/fuzz/Fuzz.h"

using namespace quern;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  auto file = std::as_bytes(std::span(data, size));
  auto bytes = safeTensorsHeaderBytes(file, size);
  if (!bytes)
    return 0;
  fuzz::require(*bytes <= size - 8, "the header lies within the file");
  auto header = parseSafeTensors(
      {reinterpret_cast<const char *>(data) + 8, *bytes}, size);
  if (!header)
    return 0;
  uint64_t end = 0;
  for (const SafeTensors::Entry &entry : header->entries) {
    fuzz::require(entry.begin == end && entry.end >= entry.begin,
                  "tensors lie one after the other");
    end = entry.end;
  }
  fuzz::require(header->dataOffset + end == size,
                "tensors cover the data exactly");
  return 0;
}
