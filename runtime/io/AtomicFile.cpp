//===- AtomicFile.cpp - Files that appear whole or not at all -------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/io/AtomicFile.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

using namespace quern;

/// Writes everything; false with errno set.
static bool writeAll(int file, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    ssize_t written = ::write(file, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR)
      continue;
    if (written < 0)
      return false;
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
  return true;
}

static std::string folderOf(const std::string &path) {
  size_t slash = path.rfind('/');
  return slash == std::string::npos ? "" : path.substr(0, slash + 1);
}

/// A new file beside `path`, with the permissions any new file gets (mkstemp
/// would make it private); below 0 with errno set.
static int openTemporary(const std::string &path, std::string &name) {
  for (int attempt = 0; attempt < 100; ++attempt) {
    uint64_t random;
    if (::getrandom(&random, sizeof(random), 0) != sizeof(random))
      return -1;
    name =
        fmt::format("{}{}{:016x}", folderOf(path), temporaryFilePrefix, random);
    int file =
        ::open(name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (file >= 0 || errno != EEXIST)
      return file;
  }
  return -1;
}

/// Makes the rename durable, where the system allows; without it a crash may
/// bring the old contents back, whole.
static void syncFolder(const std::string &path) {
  std::string folder = folderOf(path);
  int file = ::open(folder.empty() ? "." : folder.c_str(),
                    O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (file < 0)
    return;
  ::fsync(file);
  ::close(file);
}

static Diagnostic cannotWrite(const std::string &path, int error) {
  return fail(Errc::InvalidFile,
              fmt::format("cannot write {}: {}", path, std::strerror(error)));
}

AtomicFiles::~AtomicFiles() {
  for (const Pending &file : pending)
    ::unlink(file.temporary.c_str());
}

Result<void>
AtomicFiles::add(const std::string &path,
                 std::span<const std::span<const std::byte>> pieces) {
  struct stat existing;
  bool exists = ::stat(path.c_str(), &existing) == 0;
  bool special = exists && !S_ISREG(existing.st_mode);
  // Room first: once the file is there, nothing may throw.
  pending.reserve(pending.size() + 1);
  Pending added{{}, path};
  int file = special ? ::open(path.c_str(), O_WRONLY | O_CLOEXEC)
                     : openTemporary(path, added.temporary);
  if (file < 0)
    return cannotWrite(path, errno);
  if (!special)
    pending.push_back(std::move(added));
  bool ok = true;
  for (std::span<const std::byte> piece : pieces)
    ok = ok && writeAll(file, piece);
  if (!special) {
    if (exists)
      ok = ok && ::fchmod(file, existing.st_mode & 07777) == 0;
    ok = ok && ::fsync(file) == 0;
  }
  int error = errno;
  if (::close(file) != 0 && ok) {
    ok = false;
    error = errno;
  }
  if (!ok)
    return cannotWrite(path, error);
  return {};
}

Result<void> AtomicFiles::commit() {
  for (size_t i = 0; i < pending.size(); ++i) {
    const Pending &file = pending[i];
    if (::rename(file.temporary.c_str(), file.path.c_str()) != 0) {
      Diagnostic diagnostic = cannotWrite(file.path, errno);
      pending.erase(pending.begin(), pending.begin() + static_cast<long>(i));
      return diagnostic;
    }
    syncFolder(file.path);
  }
  pending.clear();
  return {};
}

Result<void>
quern::writeFileAtomically(const std::string &path,
                           std::span<const std::span<const std::byte>> pieces) {
  AtomicFiles file;
  if (Result<void> added = file.add(path, pieces); !added)
    return added;
  return file.commit();
}

Result<void> quern::writeFileAtomically(const std::string &path,
                                        std::span<const std::byte> bytes) {
  std::span<const std::byte> pieces[] = {bytes};
  return writeFileAtomically(path, pieces);
}
