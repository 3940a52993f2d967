//===- FileReader.h - A file's contents, read and checked -------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Bytes of a regular file, copied into memory when asked for. Files are not
// mapped: another process that truncates a mapped file makes every access
// beyond its new end a fatal signal, which a library cannot turn into a
// Result. A file that shrinks while it is read is InvalidFile.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_IO_FILEREADER_H
#define QUERN_IO_FILEREADER_H

#include "runtime/core/Result.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace quern {
inline namespace v0 {

class FileReader {
public:
  /// InvalidFile if it cannot be opened or is not a regular file.
  static Result<FileReader> open(const std::string &path);

  FileReader(FileReader &&other) noexcept;
  FileReader &operator=(FileReader &&other) noexcept;
  ~FileReader();

  const std::string &path() const { return name; }
  /// When it was opened.
  uint64_t size() const { return bytes; }

  /// Fills `to` from `offset` on. Safe from several threads at once.
  Result<void> read(uint64_t offset, std::span<std::byte> to) const;

private:
  FileReader() = default;
  std::string name;
  int descriptor = -1;
  uint64_t bytes = 0;
};

/// The whole file.
Result<std::vector<std::byte>> readFile(const std::string &path);

} // namespace v0
} // namespace quern

#endif // QUERN_IO_FILEREADER_H
