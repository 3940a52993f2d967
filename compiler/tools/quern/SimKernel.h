//===- SimKernel.h - One kernel on a simulated device -----------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Loads PTX through the driver table and launches a kernel of it, as a host
// program would: buffers are allocated and filled before each launch and read
// back after it.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_TOOLS_QUERN_SIMKERNEL_H
#define QUERN_TOOLS_QUERN_SIMKERNEL_H

#include "compiler/tools/quern/SimArguments.h"
#include "runtime/device/sim/SimDevice.h"

#include <array>
#include <optional>

namespace quern::tool {

using Extents = std::array<unsigned, 3>;

struct SimLaunch {
  Extents grid = {1, 1, 1};
  Extents block = {1, 1, 1};
  std::optional<Extents> cluster;
  bool cooperative = false;
  unsigned dynamicSharedBytes = 0;
};

/// What one launch came to.
struct SimOutcome {
  std::vector<Diagnostic> faults; ///< At most 64, one for each place and kind.
  uint64_t faultCount = 0;
  sim::Counters counters;
  double milliseconds = 0;
  std::vector<Tensor> buffers; ///< Contents afterwards, one for each argument;
                               ///< empty for values.
};

class SimKernel {
public:
  /// `file` is what messages call the text.
  static Result<SimKernel> load(sim::SimTarget target, const std::string &ptx,
                                const std::string &kernel,
                                const std::string &file);
  SimKernel(SimKernel &&other) noexcept;
  SimKernel &operator=(SimKernel &&) = delete;
  ~SimKernel();

  /// Faults are an outcome; an error is a launch that the device refuses.
  Result<SimOutcome> run(const SimLaunch &launch,
                         const std::vector<SimArgument> &arguments,
                         const sim::SimOptions &options);

private:
  explicit SimKernel(sim::SimTarget target);
  /// The device's own explanation, or what the status means.
  Diagnostic explain(cuda::DriverStatus status, const std::string &what) const;

  const cuda::DriverTable *driver;
  sim::SimDevice *device;
  cuda::ModuleHandle module = nullptr;
  cuda::FunctionHandle function = nullptr;
  std::string file;
  bool retained = false;
};

} // namespace quern::tool

#endif // QUERN_TOOLS_QUERN_SIMKERNEL_H
