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

Result<void>
quern::writeFileAtomically(const std::string &path,
                           std::span<const std::span<const std::byte>> pieces) {
  auto failed = [&](int error) {
    return fail(Errc::InvalidFile,
                fmt::format("cannot write {}: {}", path, std::strerror(error)));
  };
  // A device or a pipe (/dev/stdout) cannot be replaced, and has no halves.
  struct stat existing;
  bool exists = ::stat(path.c_str(), &existing) == 0;
  bool special = exists && !S_ISREG(existing.st_mode);
  std::string temporary;
  int file = special ? ::open(path.c_str(), O_WRONLY | O_CLOEXEC)
                     : openTemporary(path, temporary);
  if (file < 0)
    return failed(errno);
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
  if (ok && !special && ::rename(temporary.c_str(), path.c_str()) != 0) {
    ok = false;
    error = errno;
  }
  if (ok && !special)
    syncFolder(path);
  if (!ok && !special)
    ::unlink(temporary.c_str());
  if (!ok)
    return failed(error);
  return {};
}

Result<void> quern::writeFileAtomically(const std::string &path,
                                        std::span<const std::byte> bytes) {
  std::span<const std::byte> pieces[] = {bytes};
  return writeFileAtomically(path, pieces);
}
