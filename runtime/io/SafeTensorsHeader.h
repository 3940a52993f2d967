//===- SafeTensorsHeader.h - The header of .safetensors ---------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// A file is: u64 N, N bytes of JSON, the data. The JSON is one object,
//
//     {"name": {"dtype": "F16", "shape": [2, 3], "data_offsets": [0, 12]},
//      ..., "__metadata__": {"key": "text", ...}}
//
// and begins with '{'; spaces may follow it. N is at most 100,000,000. Names
// are unique. Each tensor's bytes are what its type and shape say, and all
// tensors together cover the data exactly, without hole or overlap.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_IO_SAFETENSORSHEADER_H
#define QUERN_IO_SAFETENSORSHEADER_H

#include "quern/io.h"

#include <optional>

namespace quern {
inline namespace v0 {

struct SafeTensorsHeader {
  std::vector<SafeTensors::Entry> entries; ///< By offset.
  std::vector<std::pair<std::string, std::string>> metadata;
  uint64_t dataOffset = 0; ///< In the file.
};

/// The header's N from the file's first 8 bytes (fewer when the file is
/// shorter), held against the file's size.
Result<uint64_t> safeTensorsHeaderBytes(std::span<const std::byte> start,
                                        uint64_t fileBytes);

/// Parses the N bytes of JSON and checks them against the file's size.
Result<SafeTensorsHeader> parseSafeTensors(std::string_view json,
                                           uint64_t fileBytes);

/// Quern's element type for a name such as "BF16"; nothing if it has none.
std::optional<DType> safeTensorsType(std::string_view name);

} // namespace v0
} // namespace quern

#endif // QUERN_IO_SAFETENSORSHEADER_H
