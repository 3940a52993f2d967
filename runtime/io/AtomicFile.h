//===- AtomicFile.h - Files that appear whole or not at all -----*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// A file is written under a temporary name in its own folder, synced, and
// renamed: a reader sees the old contents, the new ones or nothing, also after
// a crash or on a full disk.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_IO_ATOMICFILE_H
#define QUERN_IO_ATOMICFILE_H

#include "runtime/core/Result.h"

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace quern {
inline namespace v0 {

/// How the temporary files' names begin: what a crash may leave behind.
inline constexpr std::string_view temporaryFilePrefix = ".quern-tmp-";

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
