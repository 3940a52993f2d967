//===- ModuleCache.cpp - A folder of compiled modules ---------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/cache/ModuleCache.h"

#include "runtime/io/AtomicFile.h"
#include "runtime/io/FileReader.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <dirent.h>
#include <functional>
#include <sys/stat.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

using namespace quern;

static constexpr std::string_view extension = ".qnm";
static constexpr size_t contentDigits = 32, compilerDigits = 16;

CacheKey CacheKey::make(std::span<const std::string_view> texts,
                        uint64_t compiler) {
  // Lengths go in front, so that no two lists of texts look the same.
  std::string all;
  for (std::string_view text : texts) {
    all += fmt::format("{}:", text.size());
    all += text;
  }
  XXH128_hash_t hash = XXH3_128bits(all.data(), all.size());
  CacheKey key;
  key.content = {hash.high64, hash.low64};
  key.compiler = compiler;
  return key;
}

static std::string contentPart(const CacheKey &key) {
  return fmt::format("{:016x}{:016x}-", key.content[0], key.content[1]);
}

std::string CacheKey::fileName() const {
  return fmt::format("{}{:016x}{}", contentPart(*this), compiler, extension);
}

/// Whether a file's name is that of an entry.
static bool isEntryName(std::string_view name) {
  auto isHex = [](std::string_view text) {
    return text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
  };
  return name.size() == contentDigits + 1 + compilerDigits + extension.size() &&
         name[contentDigits] == '-' && name.ends_with(extension) &&
         isHex(name.substr(0, contentDigits)) &&
         isHex(name.substr(contentDigits + 1, compilerDigits));
}

std::string ModuleCache::defaultFolder() {
  auto get = [](const char *name) -> std::string_view {
    const char *value = secure_getenv(name);
    return value ? value : "";
  };
  if (std::string_view own = get("QUERN_CACHE"); !own.empty())
    return std::string(own);
  // The XDG base directory specification: relative paths are ignored.
  if (std::string_view xdg = get("XDG_CACHE_HOME"); xdg.starts_with('/'))
    return std::string(xdg) + "/quern";
  if (std::string_view home = get("HOME"); home.starts_with('/'))
    return std::string(home) + "/.cache/quern";
  return {};
}

static Diagnostic refuse(const std::string &path, std::string reason) {
  Diagnostic diagnostic = fail(Errc::InvalidFile, std::move(reason));
  diagnostic.file = path;
  return diagnostic;
}

/// Whether code from this folder may be run: nothing if so. `missing` tells
/// apart a folder that is not there.
static std::optional<Diagnostic> whyNotTrusted(const std::string &path,
                                               bool &missing) {
  struct stat info;
  missing = false;
  if (path.empty())
    return refuse("cache", "no cache folder: none of QUERN_CACHE, "
                           "XDG_CACHE_HOME and HOME is set");
  if (stat(path.c_str(), &info) != 0) {
    missing = errno == ENOENT;
    return refuse(path, fmt::format("cannot use the cache folder: {}",
                                    std::strerror(errno)));
  }
  if (!S_ISDIR(info.st_mode))
    return refuse(path, "cannot use the cache folder: it is not a folder");
  if (info.st_uid != geteuid() && info.st_uid != 0)
    return refuse(path, "cannot use the cache folder: it belongs to another "
                        "user, who could place code in it");
  if (info.st_mode & (S_IWGRP | S_IWOTH))
    return refuse(path, "cannot use the cache folder: other users can write "
                        "to it, and could place code in it (chmod 700)");
  return std::nullopt;
}

/// Makes the folder and those above it, new ones with mode 0700.
static void makeFolders(const std::string &path) {
  for (size_t at = 1; at <= path.size(); ++at)
    if (at == path.size() || path[at] == '/')
      mkdir(path.substr(0, at).c_str(), 0700);
}

/// Calls `visit` for each name in the folder; false if it cannot be read.
static bool visitNames(const std::string &path,
                       const std::function<void(const std::string &)> &visit) {
  DIR *dir = opendir(path.c_str());
  if (!dir)
    return false;
  while (dirent *item = readdir(dir))
    visit(item->d_name);
  closedir(dir);
  return true;
}

/// A file's bytes if they are a valid module.
static std::optional<std::vector<std::byte>>
readModule(const std::string &file) {
  // In memory before it is checked: what is used is what was checked.
  Result<std::vector<std::byte>> bytes = readFile(file);
  if (!bytes || !ModuleDesc::parse(*bytes))
    return std::nullopt;
  return std::move(*bytes);
}

std::optional<std::vector<std::byte>>
ModuleCache::find(const CacheKey &key) const {
  bool missing;
  if (whyNotTrusted(path, missing))
    return std::nullopt;
  if (key.compiler)
    return readModule(path + "/" + key.fileName());
  // Any compiler's, the newest that is valid.
  std::vector<std::pair<int64_t, std::string>> candidates;
  std::string prefix = contentPart(key);
  visitNames(path, [&](const std::string &name) {
    struct stat info;
    if (isEntryName(name) && name.starts_with(prefix) &&
        stat((path + "/" + name).c_str(), &info) == 0)
      candidates.push_back({info.st_mtime, name});
  });
  std::sort(candidates.rbegin(), candidates.rend());
  for (const auto &[time, name] : candidates)
    if (auto found = readModule(path + "/" + name))
      return found;
  return std::nullopt;
}

Result<void> ModuleCache::publish(const CacheKey &key,
                                  std::span<const std::byte> module) const {
  bool missing;
  std::optional<Diagnostic> why = whyNotTrusted(path, missing);
  if (why && missing) {
    makeFolders(path);
    why = whyNotTrusted(path, missing);
  }
  if (why)
    return *why;

  return writeFileAtomically(path + "/" + key.fileName(), module);
}

Result<std::vector<CacheEntry>> ModuleCache::list() const {
  bool missing;
  if (std::optional<Diagnostic> why = whyNotTrusted(path, missing)) {
    if (missing)
      return std::vector<CacheEntry>();
    return *why;
  }
  std::vector<CacheEntry> entries;
  bool readable = visitNames(path, [&](const std::string &name) {
    if (!isEntryName(name))
      return;
    CacheEntry entry;
    entry.fileName = name;
    struct stat info;
    if (stat((path + "/" + name).c_str(), &info) == 0) {
      entry.bytes = static_cast<uint64_t>(info.st_size);
      entry.modified = info.st_mtime;
    }
    Result<std::vector<std::byte>> file = readFile(path + "/" + name);
    Result<ModuleDesc> module =
        file ? ModuleDesc::parse(*file) : Result<ModuleDesc>(file.error());
    if (module) {
      entry.layer = module->layer;
      for (const VariantDesc &variant : module->variants)
        entry.targets.push_back(variant.target);
    } else {
      entry.fault = module.error().message;
    }
    entries.push_back(std::move(entry));
  });
  if (!readable)
    return refuse(path, fmt::format("cannot read the cache folder: {}",
                                    std::strerror(errno)));
  std::sort(entries.begin(), entries.end(),
            [](const CacheEntry &a, const CacheEntry &b) {
              return a.fileName < b.fileName;
            });
  return entries;
}

Result<unsigned> ModuleCache::clear(bool onlyInvalid) const {
  Result<std::vector<CacheEntry>> entries = list();
  if (!entries)
    return entries.error();
  std::vector<std::string> doomed;
  for (const CacheEntry &entry : *entries)
    if (!onlyInvalid || !entry.fault.empty())
      doomed.push_back(entry.fileName);
  // A temporary file of the last hour may be another process' work in
  // progress.
  visitNames(path, [&](const std::string &name) {
    struct stat info;
    if (name.starts_with(temporaryFilePrefix) &&
        stat((path + "/" + name).c_str(), &info) == 0 &&
        info.st_mtime < std::time(nullptr) - 3600)
      doomed.push_back(name);
  });
  unsigned removed = 0;
  for (const std::string &name : doomed) {
    if (unlink((path + "/" + name).c_str()) == 0)
      ++removed;
    else if (errno != ENOENT) // Another process was faster.
      return refuse(path + "/" + name,
                    fmt::format("cannot remove it: {}", std::strerror(errno)));
  }
  return removed;
}
