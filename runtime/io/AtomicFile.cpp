//===- AtomicFile.cpp - Files that appear whole or not at all -------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/io/AtomicFile.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
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

Result<void> quern::writeFileAtomically(
    const std::string &path,
    std::span<const std::span<const std::byte>> pieces) {
  auto failed = [&](int error) {
    return fail(Errc::InvalidFile, fmt::format("cannot write {}: {}", path,
                                               std::strerror(error)));
  };
  // A device or a pipe (/dev/stdout) cannot be replaced, and has no halves.
  struct stat existing;
  bool exists = ::stat(path.c_str(), &existing) == 0;
  bool special = exists && !S_ISREG(existing.st_mode);
  std::string temporary = path + ".XXXXXX";
  int file = special ? ::open(path.c_str(), O_WRONLY | O_CLOEXEC)
                     : ::mkostemp(temporary.data(), O_CLOEXEC);
  if (file < 0)
    return failed(errno);
  bool ok = true;
  for (std::span<const std::byte> piece : pieces)
    ok = ok && writeAll(file, piece);
  if (!special) {
    // mkostemp makes files private; give what open() would have given.
    mode_t mask = ::umask(0);
    ::umask(mask);
    ok = ok && ::fchmod(file, exists ? existing.st_mode & 07777
                                     : 0666 & ~mask) == 0;
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
