//===- ModuleCache.h - A folder of compiled modules -------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Modules by the content they were made from. An entry is an ordinary module
// file named
//
//     <32 hex digits: XXH3-128 of what was compiled>-<16: of the compiler>.qnm
//
// so that a process without a compiler can still use an entry of any compiler,
// while one with a compiler takes only that compiler's.
//
// Trust. Modules carry machine code. The folder is made with mode 0700, and is
// used only if it belongs to this user or root and nobody else can write it.
// The checksums of the module format find accidents: a file that does not
// parse counts as absent and is replaced by the next publication.
//
// Publication writes a temporary file in the same folder, syncs it, and
// renames it: readers see the old file, the new one or none. When two
// processes publish the same entry the later rename wins, and either file is
// right. No lock is taken, so the folder may lie on a network.
//
// Nothing here is fatal: a folder that cannot be used is a cache that is
// always empty. Only `list` and `clear`, which people ask for, say why.
//
// Thread-safety: all functions may be called at once, in any number of
// processes.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_CACHE_MODULECACHE_H
#define QUERN_CACHE_MODULECACHE_H

#include "runtime/module/Module.h"

#include <optional>
#include <string>
#include <string_view>

namespace quern {
inline namespace v0 {

/// What was compiled, and by whom.
struct CacheKey {
  std::array<uint64_t, 2> content{};
  /// 0: no compiler here; `find` then takes an entry of any.
  uint64_t compiler = 0;

  /// A key over texts; ("ab", "c") and ("a", "bc") differ.
  static CacheKey make(std::span<const std::string_view> texts,
                       uint64_t compiler);
  /// The file's name; meaningful when `compiler` is not 0.
  std::string fileName() const;
};

struct CacheEntry {
  std::string fileName;
  uint64_t bytes = 0;
  int64_t modified = 0; ///< Seconds since 1970.
  /// Empty, or why the file is not a valid module.
  std::string fault;
  std::string layer;
  std::vector<std::string> targets;
};

class ModuleCache {
public:
  explicit ModuleCache(std::string folder) : path(std::move(folder)) {}

  /// $QUERN_CACHE, else $XDG_CACHE_HOME/quern, else $HOME/.cache/quern; empty
  /// when none is set, which makes a cache that is always empty. The last two
  /// must be absolute paths.
  static std::string defaultFolder();

  const std::string &folder() const { return path; }

  /// The bytes of a valid module, or nothing.
  std::optional<std::vector<std::byte>> find(const CacheKey &key) const;

  /// Stores a module. A failure matters to nobody but a test or a doctor.
  Result<void> publish(const CacheKey &key,
                       std::span<const std::byte> module) const;

  /// All entries, each read and verified, by name. A folder that does not
  /// exist has none.
  Result<std::vector<CacheEntry>> list() const;

  /// Removes entries (only those that are not valid modules, if asked so) and
  /// temporary files that were left behind; the number of files removed. Other
  /// files stay.
  Result<unsigned> clear(bool onlyInvalid = false) const;

private:
  std::string path;
};

} // namespace v0
} // namespace quern

#endif // QUERN_CACHE_MODULECACHE_H
