//===- CpuHarness.h - Runs tile programs compiled for the CPU ---*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Text of the tile dialect to results, without the runtime: compile, map the
// image into executable memory, allocate every buffer between guard bytes, run
// the launches in order. Items are split over several calls at varying places,
// so that kernels which depend on being called once fail.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_TESTS_CPU_CPUHARNESS_H
#define QUERN_TESTS_CPU_CPUHARNESS_H

#include "compiler/lower/cpu/CpuCompiler.h"

#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace quern::test {

/// Bytes at a 64-byte boundary, followed by guard bytes that must survive.
class GuardedMemory {
public:
  GuardedMemory() = default;
  explicit GuardedMemory(size_t size);
  std::byte *data() { return start; }
  size_t size() const { return bytes; }
  bool intact() const;
  template <typename T> T *as() { return reinterpret_cast<T *>(start); }

private:
  std::vector<std::byte> storage;
  std::byte *start = nullptr;
  size_t bytes = 0;
};

/// Calls kernels of code that is not for this machine.
class ForeignMachine {
public:
  struct Call {
    const CodeDesc &code;
    uint64_t kernel; ///< Its place in the code.
    std::vector<std::span<std::byte>> buffers;
    std::span<const int64_t> symbols;
    int64_t begin, end;
    std::span<std::byte> scratch;
  };
  virtual ~ForeignMachine() = default;
  /// Says what went wrong; empty if nothing.
  virtual std::string run(const Call &call) = 0;
  /// The one level it executes.
  virtual cpugen::CpuTarget target() const = 0;
};

/// Where programs run instead, if set.
extern ForeignMachine *foreignMachine;

class CompiledProgram {
public:
  /// Compiles; `error` holds the message when that fails.
  CompiledProgram(const std::string &text, const cpugen::CpuTarget &target,
                  bool dump = false);
  explicit CompiledProgram(VariantDesc compiled);
  ~CompiledProgram();
  CompiledProgram(const CompiledProgram &) = delete;

  /// Sizes every buffer for these symbol values.
  void allocate(std::vector<int64_t> symbols);
  /// Copies into the buffer with that name and part.
  template <typename T>
  void set(const std::string &name, const std::vector<T> &values) {
    GuardedMemory &buffer = memory[indexOf(name)];
    std::memcpy(buffer.data(), values.data(),
                std::min(buffer.size(), values.size() * sizeof(T)));
  }
  template <typename T> std::vector<T> get(const std::string &name) {
    GuardedMemory &buffer = memory[indexOf(name)];
    return std::vector<T>(buffer.as<T>(),
                          buffer.as<T>() + buffer.size() / sizeof(T));
  }
  /// Runs all launches, prepare ones too, each in up to `calls` calls.
  void run(unsigned calls = 1);
  /// Runs one launch in one call.
  void runLaunch(size_t launch);
  /// True when no kernel wrote beside its buffers.
  bool intact() const;

  std::string error;
  VariantDesc variant;
  cpugen::CpuDumps dumps;
  cpugen::CpuCompileTimes times;
  std::vector<GuardedMemory> memory;
  std::vector<int64_t> symbols;

private:
  size_t indexOf(const std::string &name) const;
  void mapImage();
  void call(const LaunchDesc &launch, int64_t begin, int64_t end,
            GuardedMemory &scratch);

  void *image = nullptr;
  size_t imageSize = 0;
};

/// Levels this machine, or the foreign one, can execute.
std::vector<cpugen::CpuTarget> executableTargets();

} // namespace quern::test

#endif // QUERN_TESTS_CPU_CPUHARNESS_H
