//===- AtomicFile.h - Files that appear whole or not at all -----*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// A file is written under a temporary name in its own folder, synced, and
// renamed: a reader sees the old contents, the new ones or nothing, also after
// a crash or on a full disk. Several files that belong together are all written
// before the first is renamed: a full disk leaves all of the old ones.
//
// A device or a pipe (/dev/stdout) cannot be replaced: it is written when it is
// added.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_IO_ATOMICFILE_H
#define QUERN_IO_ATOMICFILE_H

#include "runtime/core/Result.h"

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace quern {
inline namespace v0 {

/// How the temporary files' names begin: what a crash may leave behind.
inline constexpr std::string_view temporaryFilePrefix = ".quern-tmp-";

/// Files that replace others together. Not for several threads.
class AtomicFiles {
public:
  AtomicFiles() = default;
  AtomicFiles(const AtomicFiles &) = delete;
  AtomicFiles &operator=(const AtomicFiles &) = delete;
  /// Removes what was added and not committed.
  ~AtomicFiles();

  /// Writes the pieces, one after the other, beside `path`, which stays as it
  /// is. InvalidFile with the system's reason when that cannot be done.
  Result<void> add(const std::string &path,
                   std::span<const std::span<const std::byte>> pieces);

  /// Puts every file in its place. When one cannot be, the message names it,
  /// and those added after it are not replaced either.
  Result<void> commit();

private:
  struct Pending {
    std::string temporary, path;
  };
  std::vector<Pending> pending;
};

/// Replaces `path` by a file of these pieces, one after the other. InvalidFile
/// with the system's reason when that cannot be done; nothing is left behind.
Result<void>
writeFileAtomically(const std::string &path,
                    std::span<const std::span<const std::byte>> pieces);
Result<void> writeFileAtomically(const std::string &path,
                                 std::span<const std::byte> bytes);

} // namespace v0
} // namespace quern

#endif // QUERN_IO_ATOMICFILE_H
