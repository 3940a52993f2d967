//===- Protocol.h - What host and emulated process say ----------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// The test runs on the machine at hand, kernels in a process of the emulator.
// Both map one file, the arena; places in it are told as offsets. The test
// writes requests to the process's standard input, one at a time, and reads an
// answer to each from its standard output: a status, not 0 for an error, and a
// text. Both sides are little-endian with 64-bit integers of one layout.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_TESTS_AARCH64_PROTOCOL_H
#define QUERN_TESTS_AARCH64_PROTOCOL_H

#include <cerrno>
#include <cstdint>
#include <unistd.h>

namespace quern::test {

enum class RequestKind : int64_t {
  Check,  ///< Text: a target, then the features it needs, in lines.
  Map,    ///< Code at `place`, `size` bytes: its number is the status, negated.
  Unmap,  ///< The code of that number.
  Launch, ///< `size` buffers as offsets (-1: none), then `symbols` values.
};

struct Request {
  RequestKind kind;
  int64_t code = 0;    ///< The number of mapped code.
  int64_t place = 0;   ///< Launch: of the kernel in its code.
  int64_t size = 0;    ///< Check: bytes of the text that follows.
  int64_t symbols = 0; ///< Numbers that follow the buffers.
  int64_t begin = 0, end = 0;
  int64_t scratch = 0; ///< Offset in the arena.
};

struct Response {
  int64_t status = 0;
  int64_t size = 0; ///< Bytes of the text that follows.
};

/// Reads or writes all of it; false where the other side has ended.
inline bool readAll(int file, void *to, size_t bytes) {
  for (auto *at = static_cast<char *>(to); bytes > 0;) {
    ssize_t n = read(file, at, bytes);
    if (n < 0 && errno == EINTR)
      continue;
    if (n <= 0)
      return false;
    at += n;
    bytes -= static_cast<size_t>(n);
  }
  return true;
}
inline bool writeAll(int file, const void *from, size_t bytes) {
  for (const auto *at = static_cast<const char *>(from); bytes > 0;) {
    ssize_t n = write(file, at, bytes);
    if (n < 0 && errno == EINTR)
      continue;
    if (n <= 0)
      return false;
    at += n;
    bytes -= static_cast<size_t>(n);
  }
  return true;
}

/// The arena's, most of which is never touched.
inline constexpr int64_t arenaBytes = int64_t(4) << 30;

} // namespace quern::test

#endif // QUERN_TESTS_AARCH64_PROTOCOL_H
