//===- SimHarness.cpp - Running kernels in tests --------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "tests/sim/SimHarness.h"

#include "runtime/device/cuda/Nvrtc.h"

#include <cstdlib>
#include <fstream>
#include <gtest/gtest.h>
#include <sstream>

using namespace quern;
using namespace quern::simtest;
namespace status = quern::cuda::status;

Session::Session(sim::SimTarget target)
    : driver(sim::simulatedDriver(target)),
      device(sim::SimDevice::get(target)) {
  driver.init(0);
  cuda::ContextHandle context = nullptr;
  driver.devicePrimaryCtxRetain(&context, 0);
  driver.ctxSetCurrent(context);
  device.setOptions(sim::SimOptions());
}

Session::~Session() {
  for (cuda::DevicePtr address : buffers)
    driver.memFree(address);
  if (module)
    driver.moduleUnload(module);
  driver.devicePrimaryCtxRelease(0);
}

bool Session::load(const std::string &ptx) {
  if (module)
    driver.moduleUnload(module);
  module = nullptr;
  return driver.moduleLoadDataEx(&module, ptx.c_str(), 0, nullptr, nullptr) ==
         status::Success;
}

cuda::DevicePtr Session::rawBuffer(const std::string &name, const void *data,
                                   size_t bytes, bool readOnly) {
  cuda::DevicePtr address = 0;
  EXPECT_EQ(driver.memAlloc(&address, bytes), status::Success);
  EXPECT_EQ(driver.memcpyHtoDAsync(address, data, bytes, nullptr),
            status::Success);
  EXPECT_TRUE(device.describe(address, name, readOnly));
  buffers.push_back(address);
  return address;
}

cuda::FunctionHandle Session::function(const std::string &kernel) {
  cuda::FunctionHandle function = nullptr;
  EXPECT_EQ(driver.moduleGetFunction(&function, module, kernel.c_str()),
            status::Success)
      << kernel;
  return function;
}

cuda::DriverStatus Session::launchRaw(const std::string &kernel,
                                      const Shape &shape, void **arguments) {
  cuda::FunctionHandle function = this->function(kernel);
  if (shape.dynamicShared) {
    EXPECT_EQ(driver.funcSetAttribute(
                  function, cuda::function_attribute::MaxDynamicSharedSizeBytes,
                  static_cast<int>(shape.dynamicShared)),
              status::Success);
  }
  cuda::LaunchConfig config = {};
  config.gridDimX = shape.grid[0];
  config.gridDimY = shape.grid[1];
  config.gridDimZ = shape.grid[2];
  config.blockDimX = shape.block[0];
  config.blockDimY = shape.block[1];
  config.blockDimZ = shape.block[2];
  config.sharedMemBytes = shape.dynamicShared;
  cuda::LaunchAttribute attributes[2] = {};
  config.attributes = attributes;
  if (shape.cooperative) {
    cuda::LaunchAttribute &attribute = attributes[config.attributeCount++];
    attribute.id = cuda::LaunchAttribute::Cooperative;
    attribute.value.cooperative = 1;
  }
  if (shape.cluster[0]) {
    cuda::LaunchAttribute &attribute = attributes[config.attributeCount++];
    attribute.id = cuda::LaunchAttribute::ClusterDimension;
    attribute.value.clusterDim = {shape.cluster[0], shape.cluster[1],
                                  shape.cluster[2]};
  }
  return driver.launchKernelEx(&config, function, arguments, nullptr);
}

std::string Session::reportText() const {
  std::string text;
  for (const Diagnostic &report : reports())
    text += report.render();
  return text;
}

static std::string readFile(const std::string &path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return file ? text.str() : std::string();
}

static std::string goldenPath(const std::string &kernel,
                              const std::string &arch) {
  return std::string(QUERN_TESTS_DIR) + "/golden/ptx/" + kernel + "." + arch +
         ".ptx";
}

bool simtest::hasNvrtc() { return static_cast<bool>(cuda::Nvrtc::get()); }

std::string simtest::goldenPtx(const std::string &kernel,
                               const std::string &arch) {
  return readFile(goldenPath(kernel, arch));
}

std::string simtest::ptxOf(const std::string &kernel, const std::string &arch,
                           std::string &why,
                           const std::vector<std::string> &options) {
  Result<cuda::Nvrtc *> nvrtc = cuda::Nvrtc::get();
  if (!nvrtc) {
    std::string golden = options.empty() ? goldenPtx(kernel, arch) : "";
    if (golden.empty())
      why = nvrtc.error().message + ", and there is no golden PTX";
    return golden;
  }
  std::string path =
      std::string(QUERN_TESTS_DIR) + "/sim/kernels/" + kernel + ".cu";
  cuda::NvrtcOptions compileOptions;
  compileOptions.extra = options;
  // An absolute name keeps the folder of the build out of the golden texts.
  Result<cuda::NvrtcOutput> output = (*nvrtc)->compile(
      readFile(path), "/kernels/" + kernel + ".cu", {}, arch, compileOptions);
  if (!output) {
    ADD_FAILURE() << output.error().render();
    why = "compile error";
    return {};
  }
  // One golden text for each of NVRTC's two code generators is enough.
  bool kept = arch == "sm_80" || arch == "sm_120a" ||
              (kernel == "hopper" && arch == "sm_90a");
  if (kept && options.empty() && std::getenv("QUERN_UPDATE_GOLDEN"))
    std::ofstream(goldenPath(kernel, arch), std::ios::binary) << output->ptx;
  return output->ptx;
}

std::string simtest::replaced(std::string text, const std::string &from,
                              const std::string &to, size_t n) {
  size_t at = text.find(from);
  for (; n && at != std::string::npos; --n)
    at = text.find(from, at + 1);
  if (at == std::string::npos) {
    ADD_FAILURE() << "'" << from << "' is not in the PTX";
    return text;
  }
  return text.replace(at, from.size(), to);
}
