//===- Drivers.cpp - Which CUDA driver a target means ---------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/jit/Drivers.h"

#include "runtime/device/cuda/CudaProgram.h"
#include "runtime/device/cuda/DriverLoader.h"
#include "runtime/device/sim/SimDevice.h"

#include <fmt/format.h>

using namespace quern;
using namespace quern::detail;

Result<const cuda::DriverTable *> detail::driverFor(const Target &target) {
  if (target.kind == Target::Kind::Cpu)
    return static_cast<const cuda::DriverTable *>(nullptr);
  if (target.kind == Target::Kind::Cuda)
    return cuda::systemDriver();
  if (auto simulated = sim::parseSimTarget(target.arch))
    return &sim::simulatedDriver(*simulated);
  std::string known;
  for (unsigned i = 0; i < sim::simTargetCount; ++i)
    known += fmt::format("{}sim:{}", i ? ", " : "",
                         sim::name(static_cast<sim::SimTarget>(i)));
  return fail(
      Errc::Unsupported,
      fmt::format("there is no simulated device for {}", target.print()),
      {"there are: " + known});
}

Result<std::string> detail::nativeArchitecture() {
  Result<const cuda::DriverTable *> driver = cuda::systemDriver();
  if (!driver)
    return driver.error();
  auto device = cuda::CudaDevice::open(**driver, 0);
  if (!device)
    return device.error();
  // From Hopper on, the instructions that matter are in the 'a' variants.
  int capability = (*device)->capability();
  return fmt::format("sm_{}{}", capability, capability >= 90 ? "a" : "");
}

void detail::nameForReports(const Target &target, const void *address,
                            const std::string &name, bool readOnly) {
  if (target.kind != Target::Kind::Sim || !address)
    return;
  if (auto simulated = sim::parseSimTarget(target.arch))
    sim::SimDevice::get(*simulated)
        .describe(reinterpret_cast<uintptr_t>(address), name, readOnly);
}

Diagnostic detail::explainFailure(const Target &target, Diagnostic diagnostic) {
  if (target.kind != Target::Kind::Sim || diagnostic.code != Errc::DeviceError)
    return diagnostic;
  auto simulated = sim::parseSimTarget(target.arch);
  if (!simulated)
    return diagnostic;
  for (const Diagnostic &report :
       sim::SimDevice::get(*simulated).lastReports()) {
    if (report.code == Errc::CheckFailed)
      diagnostic.code = Errc::CheckFailed;
    std::string text = report.render();
    while (text.ends_with('\n'))
      text.pop_back();
    diagnostic.notes.push_back(std::move(text));
  }
  return diagnostic;
}
