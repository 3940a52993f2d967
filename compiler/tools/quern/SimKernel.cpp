//===- SimKernel.cpp - One kernel on a simulated device -------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/tools/quern/SimKernel.h"

#include <fmt/format.h>

#include <chrono>
#include <utility>

using namespace quern;
using namespace quern::tool;
namespace status = quern::cuda::status;

SimKernel::SimKernel(sim::SimTarget target)
    : driver(&sim::simulatedDriver(target)),
      device(&sim::SimDevice::get(target)) {}

SimKernel::SimKernel(SimKernel &&other) noexcept
    : driver(other.driver), device(other.device),
      module(std::exchange(other.module, nullptr)),
      function(std::exchange(other.function, nullptr)),
      file(std::move(other.file)),
      retained(std::exchange(other.retained, false)) {}

SimKernel::~SimKernel() {
  if (module)
    driver->moduleUnload(module);
  if (retained)
    driver->devicePrimaryCtxRelease(0);
}

Diagnostic SimKernel::explain(cuda::DriverStatus code,
                              const std::string &what) const {
  std::vector<Diagnostic> reports = device->lastReports();
  if (!reports.empty()) {
    Diagnostic diagnostic = reports.front();
    // What the device calls a text without a name.
    if (diagnostic.file == "PTX")
      diagnostic.file = file;
    return diagnostic;
  }
  const char *text = nullptr;
  driver->getErrorString(code, &text);
  return fail(Errc::InvalidArgument,
              fmt::format("{}: {}: {}", file, what, text ? text : "failed"));
}

Result<SimKernel> SimKernel::load(sim::SimTarget target, const std::string &ptx,
                                  const std::string &kernel,
                                  const std::string &file) {
  SimKernel loaded(target);
  loaded.file = file;
  cuda::ContextHandle context = nullptr;
  loaded.driver->init(0);
  if (auto code = loaded.driver->devicePrimaryCtxRetain(&context, 0))
    return loaded.explain(code, "opening the device");
  loaded.retained = true;
  loaded.driver->ctxSetCurrent(context);
  if (auto code = loaded.driver->moduleLoadDataEx(&loaded.module, ptx.c_str(),
                                                  0, nullptr, nullptr))
    return loaded.explain(code, "loading the module");
  if (auto code = loaded.driver->moduleGetFunction(
          &loaded.function, loaded.module, kernel.c_str()))
    return loaded.explain(code, "kernel " + kernel);
  return loaded;
}

namespace {
/// Device buffers of one launch.
struct Buffers {
  const cuda::DriverTable *driver;
  std::vector<cuda::DevicePtr> addresses;
  ~Buffers() {
    for (cuda::DevicePtr address : addresses)
      if (address)
        driver->memFree(address);
  }
};
} // namespace

Result<SimOutcome> SimKernel::run(const SimLaunch &launch,
                                  const std::vector<SimArgument> &arguments,
                                  const sim::SimOptions &options) {
  Buffers buffers{driver, {}};
  std::vector<void *> pointers;
  buffers.addresses.resize(arguments.size());
  for (size_t i = 0; i < arguments.size(); ++i) {
    const SimArgument &argument = arguments[i];
    cuda::DevicePtr &address = buffers.addresses[i];
    if (!argument.isBuffer) {
      pointers.push_back(const_cast<std::byte *>(argument.value.data()));
      continue;
    }
    pointers.push_back(&address);
    size_t bytes = argument.contents.bytes();
    if (!bytes)
      continue; // An empty buffer is the null pointer.
    if (auto code = driver->memAlloc(&address, bytes))
      return explain(code, "allocating " + argument.name);
    if (auto code = driver->memcpyHtoDAsync(address, argument.contents.data(),
                                            bytes, nullptr))
      return explain(code, "filling " + argument.name);
    device->describe(address, argument.name, argument.readOnly);
  }

  cuda::LaunchAttribute attributes[2] = {};
  cuda::LaunchConfig config = {};
  config.gridDimX = launch.grid[0];
  config.gridDimY = launch.grid[1];
  config.gridDimZ = launch.grid[2];
  config.blockDimX = launch.block[0];
  config.blockDimY = launch.block[1];
  config.blockDimZ = launch.block[2];
  config.sharedMemBytes = launch.dynamicSharedBytes;
  config.attributes = attributes;
  if (launch.cooperative) {
    cuda::LaunchAttribute &attribute = attributes[config.attributeCount++];
    attribute.id = cuda::LaunchAttribute::Cooperative;
    attribute.value.cooperative = 1;
  }
  if (launch.cluster) {
    cuda::LaunchAttribute &attribute = attributes[config.attributeCount++];
    attribute.id = cuda::LaunchAttribute::ClusterDimension;
    attribute.value.clusterDim = {(*launch.cluster)[0], (*launch.cluster)[1],
                                  (*launch.cluster)[2]};
  }
  if (launch.dynamicSharedBytes)
    if (auto code = driver->funcSetAttribute(
            function, cuda::function_attribute::MaxDynamicSharedSizeBytes,
            static_cast<int>(launch.dynamicSharedBytes)))
      return explain(code, fmt::format("{} bytes of dynamic shared memory",
                                       launch.dynamicSharedBytes));
  device->setOptions(options);
  auto start = std::chrono::steady_clock::now();
  auto code =
      driver->launchKernelEx(&config, function, pointers.data(), nullptr);
  SimOutcome outcome;
  outcome.milliseconds = std::chrono::duration<double, std::milli>(
                             std::chrono::steady_clock::now() - start)
                             .count();
  outcome.faults = device->lastReports();
  outcome.faultCount = device->lastFaultCount();
  outcome.counters = device->lastCounters();
  if (code != status::Success &&
      (outcome.faults.empty() ||
       outcome.faults.front().code != Errc::CheckFailed))
    return explain(code, "the launch");
  for (size_t i = 0; i < arguments.size(); ++i) {
    const Tensor &before = arguments[i].contents;
    Tensor &after = outcome.buffers.emplace_back();
    if (!arguments[i].isBuffer)
      continue;
    auto made = Tensor::zeros(before.dtype(), before.shape());
    if (!made)
      return made.error();
    after = std::move(*made);
    if (buffers.addresses[i])
      if (auto read = driver->memcpyDtoHAsync(
              after.data(), buffers.addresses[i], after.bytes(), nullptr))
        return explain(read, "reading " + arguments[i].name);
  }
  return outcome;
}
