//===- FileReader.cpp - A file's contents, read and checked ---------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/io/FileReader.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

using namespace quern;

static Diagnostic refuse(const std::string &path, std::string reason) {
  Diagnostic diagnostic = fail(Errc::InvalidFile, std::move(reason));
  diagnostic.file = path;
  return diagnostic;
}

Result<FileReader> FileReader::open(const std::string &path) {
  FileReader file;
  file.name = path;
  // Without O_NONBLOCK opening a named pipe would wait for a writer.
  file.descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (file.descriptor < 0)
    return refuse(
        path, fmt::format("cannot open the file: {}", std::strerror(errno)));
  struct stat info;
  if (fstat(file.descriptor, &info) != 0)
    return refuse(
        path, fmt::format("cannot read the file: {}", std::strerror(errno)));
  if (!S_ISREG(info.st_mode))
    return refuse(path, "cannot read the file: it is not a regular file");
  file.bytes = static_cast<uint64_t>(info.st_size);
  return file;
}

FileReader::FileReader(FileReader &&other) noexcept
    : name(std::move(other.name)),
      descriptor(std::exchange(other.descriptor, -1)),
      bytes(std::exchange(other.bytes, 0)) {}

FileReader &FileReader::operator=(FileReader &&other) noexcept {
  std::swap(name, other.name);
  std::swap(descriptor, other.descriptor);
  std::swap(bytes, other.bytes);
  return *this;
}

FileReader::~FileReader() {
  if (descriptor >= 0)
    ::close(descriptor);
}

Result<void> FileReader::read(uint64_t offset, std::span<std::byte> to) const {
  while (!to.empty()) {
    ssize_t got =
        ::pread(descriptor, to.data(), to.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR)
      continue;
    if (got < 0)
      return refuse(
          name, fmt::format("cannot read the file: {}", std::strerror(errno)));
    if (got == 0)
      return refuse(name,
                    fmt::format("the file ends at byte {}, before byte {}: it "
                                "was cut while it was read",
                                offset, offset + to.size()));
    offset += static_cast<uint64_t>(got);
    to = to.subspan(static_cast<size_t>(got));
  }
  return {};
}

Result<std::vector<std::byte>> quern::readFile(const std::string &path) {
  Result<FileReader> file = FileReader::open(path);
  if (!file)
    return file.error();
  std::vector<std::byte> bytes(file->size());
  if (Result<void> read = file->read(0, bytes); !read)
    return read.error();
  return bytes;
}
