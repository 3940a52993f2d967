//===- FileBytes.cpp - A file's contents, mapped --------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/io/FileBytes.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

using namespace quern;

static Diagnostic refuse(const std::string &path, std::string reason) {
  Diagnostic diagnostic = fail(Errc::InvalidFile, std::move(reason));
  diagnostic.file = path;
  return diagnostic;
}

Result<FileBytes> FileBytes::map(const std::string &path) {
  // Without O_NONBLOCK opening a named pipe would wait for a writer.
  int file = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (file < 0)
    return refuse(
        path, fmt::format("cannot open the file: {}", std::strerror(errno)));
  FileBytes mapped;
  struct stat info;
  std::string fault;
  if (fstat(file, &info) != 0)
    fault = std::strerror(errno);
  else if (!S_ISREG(info.st_mode))
    fault = "it is not a regular file";
  else if (info.st_size > 0) {
    mapped.size = static_cast<size_t>(info.st_size);
    void *base = mmap(nullptr, mapped.size, PROT_READ, MAP_PRIVATE, file, 0);
    if (base == MAP_FAILED)
      fault = std::strerror(errno);
    else
      mapped.base = base;
  }
  close(file);
  if (!fault.empty())
    return refuse(path, fmt::format("cannot read the file: {}", fault));
  return mapped;
}

FileBytes::FileBytes(FileBytes &&other) noexcept
    : base(std::exchange(other.base, nullptr)),
      size(std::exchange(other.size, 0)) {}

FileBytes &FileBytes::operator=(FileBytes &&other) noexcept {
  std::swap(base, other.base);
  std::swap(size, other.size);
  return *this;
}

FileBytes::~FileBytes() {
  if (base)
    munmap(base, size);
}
