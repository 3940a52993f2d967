//===- Emulator.h - A process that runs AArch64 kernels ---------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Starts Runner.cpp under qemu-aarch64 and talks to it (Protocol.h). One
// process serves all tests of a program; the calls of several threads wait for
// each other.
//
// Memory for kernels comes from the arena, each piece followed by guard bytes
// that are looked at when it is given back: what a kernel wrote behind a buffer
// is an error of `damage`.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_TESTS_AARCH64_EMULATOR_H
#define QUERN_TESTS_AARCH64_EMULATOR_H

#include "runtime/core/Result.h"
#include "tests/aarch64/Protocol.h"

#include <cstddef>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

namespace quern::test {

class Emulator {
public:
  /// The one of this program. Unsupported, with what to install, where the
  /// build found no emulator or no cross compiler.
  static Result<Emulator *> get();
  /// Another, as that processor ("cortex-a53").
  static Result<std::unique_ptr<Emulator>> start(const std::string &processor);
  ~Emulator();

  /// Whether code for the target runs there, as the runtime's own check says.
  Result<void> check(std::string_view target,
                     std::span<const std::string> features);

  Result<int64_t> map(std::span<const std::byte> code);
  Result<void> unmap(int64_t code);

  /// All addresses are in the arena, or null.
  Result<void> launch(int64_t code, uint64_t kernel,
                      std::span<void *const> buffers,
                      std::span<const int64_t> symbols, int64_t begin,
                      int64_t end, void *scratch);

  /// At a multiple of 64.
  Result<void *> allocate(uint64_t bytes);
  void release(void *address);

  /// What was written behind memory that was given back; empty if nothing.
  std::string damage() const;

private:
  Emulator() = default;
  Result<void> begin(const std::string &processor);
  Result<std::string> ask(const Request &request, const void *more,
                          size_t bytes, int64_t *status);
  int64_t offsetOf(const void *address) const;

  mutable std::mutex mutex;
  std::byte *arena = nullptr;
  int file = -1, input = -1, output = -1;
  int process = -1;
  std::map<uint64_t, uint64_t> used; ///< Offset to bytes, without guards.
  std::string damaged;
};

} // namespace quern::test

#endif // QUERN_TESTS_AARCH64_EMULATOR_H
