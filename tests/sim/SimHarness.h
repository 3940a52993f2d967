//===- SimHarness.h - Running kernels in tests ------------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Loads PTX into a simulated device, owns its buffers and launches kernels, the
// way a host program does: through the driver table.
//
// Kernels of the tests are CUDA C++ files under tests/sim/kernels. Their PTX
// comes from NVRTC where there is one, else from tests/golden/ptx; the golden
// texts are also run where NVRTC is installed. QUERN_UPDATE_GOLDEN=1 rewrites
// them.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_TESTS_SIM_SIMHARNESS_H
#define QUERN_TESTS_SIM_SIMHARNESS_H

#include "runtime/device/sim/SimDevice.h"

#include <cstring>
#include <optional>
#include <string>
#include <vector>

namespace quern::simtest {

/// A device with one loaded module.
class Session {
public:
  explicit Session(sim::SimTarget target = sim::SimTarget::Sm80);
  ~Session();
  Session(const Session &) = delete;

  /// False if the module was refused; see reports().
  bool load(const std::string &ptx);

  /// A named device buffer holding a copy of `data`.
  template <typename T>
  cuda::DevicePtr buffer(const std::string &name, const std::vector<T> &data,
                         bool readOnly = false) {
    return rawBuffer(name, data.data(), data.size() * sizeof(T), readOnly);
  }
  template <typename T>
  std::vector<T> read(cuda::DevicePtr address, size_t count) {
    std::vector<T> data(count);
    driver.memcpyDtoHAsync(data.data(), address, count * sizeof(T), nullptr);
    return data;
  }

  /// A kernel of the module.
  cuda::FunctionHandle function(const std::string &kernel);

  struct Shape {
    unsigned grid[3] = {1, 1, 1};
    unsigned block[3] = {32, 1, 1};
    unsigned dynamicShared = 0;
    bool cooperative = false;
    unsigned cluster[3] = {0, 0, 0}; ///< 0: no attribute.
  };
  /// Arguments are passed by value: addresses, ints, floats.
  template <typename... Args>
  cuda::DriverStatus launch(const std::string &kernel, const Shape &shape,
                            Args... args) {
    void *pointers[] = {static_cast<void *>(&args)..., nullptr};
    return launchRaw(kernel, shape, pointers);
  }

  /// The same for a module that may not have the kernel, or with other
  /// parameters.
  template <typename... Args>
  void tryLaunch(const std::string &kernel, const Shape &shape, Args... args) {
    cuda::FunctionHandle function = nullptr;
    if (driver.moduleGetFunction(&function, module, kernel.c_str()) == 0) {
      // Room for the largest parameters PTX can declare, and the most.
      std::vector<uint64_t> values = {static_cast<uint64_t>(args)...};
      values.resize(8192);
      std::vector<void *> pointers(33000, values.data());
      for (size_t i = 0; i < sizeof...(Args); ++i)
        pointers[i] = &values[i];
      cuda::LaunchConfig config = {1, 1, 1,       shape.block[0], 1,
                                   1, 0, nullptr, nullptr,        0};
      driver.launchKernelEx(&config, function, pointers.data(), nullptr);
    }
  }

  std::vector<Diagnostic> reports() const { return device.lastReports(); }
  /// All reports as text, for messages and matching.
  std::string reportText() const;
  sim::Counters counters() const { return device.lastCounters(); }
  void setOptions(const sim::SimOptions &options) {
    device.setOptions(options);
  }

  const cuda::DriverTable &driver;
  sim::SimDevice &device;

private:
  cuda::DevicePtr rawBuffer(const std::string &name, const void *data,
                            size_t bytes, bool readOnly);
  cuda::DriverStatus launchRaw(const std::string &kernel, const Shape &shape,
                               void **arguments);

  cuda::ModuleHandle module = nullptr;
  std::vector<cuda::DevicePtr> buffers;
};

/// The PTX of tests/sim/kernels/<kernel>.cu for `arch`; empty, with `why` set,
/// if there is neither NVRTC nor a golden text.
std::string ptxOf(const std::string &kernel, const std::string &arch,
                  std::string &why,
                  const std::vector<std::string> &options = {});
/// The golden text alone; empty if there is none.
std::string goldenPtx(const std::string &kernel, const std::string &arch);
bool hasNvrtc();

/// Replaces the `n`-th occurrence of `from` (0 is the first); fails the test if
/// there is none.
std::string replaced(std::string text, const std::string &from,
                     const std::string &to, size_t n = 0);

} // namespace quern::simtest

#endif // QUERN_TESTS_SIM_SIMHARNESS_H
