//===- KernelHarness.h - Compiled tile modules on the simulator -*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// For tests of CUDA kernels without a GPU: parses tile IR from text, compiles
// it for an architecture, and runs its launches, prepare ones first, through
// the driver table of the PTX simulator. Any report of the simulator (a race,
// a byte out of bounds, an uninitialised read) fails the test.
//
// Buffers are found by "name" or "name_part"; temporaries and packed buffers
// are allocated and uninitialised, state is zero. Buffers read only are
// write-protected.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_TESTS_KERNELS_KERNELHARNESS_H
#define QUERN_TESTS_KERNELS_KERNELHARNESS_H

#include "runtime/core/Result.h"
#include "runtime/device/sim/SimOptions.h"
#include "runtime/module/Module.h"

#include <cstring>
#include <map>
#include <string>
#include <vector>

namespace quern::test {

/// Host memory of the buffers, by name.
class Buffers {
public:
  template <typename T> void set(const std::string &name, std::vector<T> data) {
    std::vector<std::byte> &bytes = contents[name];
    bytes.resize(data.size() * sizeof(T));
    if (!data.empty())
      std::memcpy(bytes.data(), data.data(), bytes.size());
  }
  template <typename T> std::vector<T> get(const std::string &name) const {
    const std::vector<std::byte> &bytes = contents.at(name);
    std::vector<T> data(bytes.size() / sizeof(T));
    if (!data.empty())
      std::memcpy(data.data(), bytes.data(), data.size() * sizeof(T));
    return data;
  }
  std::map<std::string, std::vector<std::byte>> contents;
};

/// Compiles tile IR. A parse error is InvalidSource.
Result<VariantDesc> compileTile(const std::string &text,
                                const std::string &arch);

/// Runs all launches of a variant under a schedule seed; outputs appear in
/// `buffers`, and the sums of the counters of a run's launches in `counters`.
/// Kernels with a queue run with at most `maxBlocks` blocks, if given.
Result<void> runOnSimulator(const VariantDesc &variant,
                            const std::vector<int64_t> &symbols,
                            Buffers &buffers, uint64_t seed,
                            sim::Counters *counters = nullptr,
                            unsigned maxBlocks = 0);

/// Replaces the first `from` in the variant's PTX, to plant a fault. False if
/// it does not occur.
bool editPtx(VariantDesc &variant, const std::string &from,
             const std::string &to);

/// Whether NVRTC can be used here; else why not.
bool hasNvrtc(std::string &why);

} // namespace quern::test

/// Skips the test where NVRTC is missing.
#define QUERN_NEEDS_NVRTC()                                                    \
  do {                                                                         \
    std::string why;                                                           \
    if (!quern::test::hasNvrtc(why))                                           \
      GTEST_SKIP() << why;                                                     \
  } while (false)

#endif // QUERN_TESTS_KERNELS_KERNELHARNESS_H
