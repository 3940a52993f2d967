//===- FileBytes.h - A file's contents, mapped ------------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Read-only bytes of a regular file, mapped privately. A file that another
// process truncates while it is mapped faults on access, as any mapping does;
// files that are published by renaming (as Quern's cache does) never change.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_IO_FILEBYTES_H
#define QUERN_IO_FILEBYTES_H

#include "runtime/core/Result.h"

#include <cstddef>
#include <span>
#include <string>

namespace quern {
inline namespace v0 {

class FileBytes {
public:
  /// InvalidFile if it cannot be opened or is not a regular file.
  static Result<FileBytes> map(const std::string &path);

  FileBytes(FileBytes &&other) noexcept;
  FileBytes &operator=(FileBytes &&other) noexcept;
  ~FileBytes();

  std::span<const std::byte> bytes() const {
    return {static_cast<const std::byte *>(base), size};
  }

private:
  FileBytes() = default;
  void *base = nullptr;
  size_t size = 0;
};

} // namespace v0
} // namespace quern

#endif // QUERN_IO_FILEBYTES_H
