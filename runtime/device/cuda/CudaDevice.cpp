//===- CudaDevice.cpp - A device behind a driver table --------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/cuda/CudaProgram.h"

#include "runtime/device/cuda/DriverLoader.h"

#include <fmt/format.h>

#include <charconv>

using namespace quern;
using namespace quern::cuda;

Result<void> CudaDevice::check(DriverStatus code, std::string_view what) const {
  if (code == status::Success)
    return {};
  return driverError(table, code, fmt::format("cannot {}", what));
}

Result<std::shared_ptr<CudaDevice>> CudaDevice::open(const DriverTable &table,
                                                     int ordinal) {
  std::shared_ptr<CudaDevice> device(new CudaDevice(table));
  int count = 0, major = 0, minor = 0;
  char name[256] = {};
  auto attribute = [&](int *value, DeviceAttribute which) {
    return device->check(table.deviceGetAttribute(value, which, device->device),
                         "ask the device for an attribute");
  };
  if (auto ok = device->check(table.init(0), "initialise the driver"); !ok)
    return ok.error();
  if (auto ok = device->check(table.deviceGetCount(&count), "count devices");
      !ok)
    return ok.error();
  if (ordinal < 0 || ordinal >= count)
    return fail(Errc::NoDevice, fmt::format("there is no CUDA device {}; the "
                                            "driver has {}",
                                            ordinal, count));
  if (auto ok = device->check(table.deviceGet(&device->device, ordinal),
                              "open the device");
      !ok)
    return ok.error();
  if (auto ok = device->check(
          table.deviceGetName(name, sizeof(name) - 1, device->device),
          "ask for the device's name");
      !ok)
    return ok.error();
  if (auto ok = attribute(&major, device_attribute::ComputeCapabilityMajor);
      !ok)
    return ok.error();
  if (auto ok = attribute(&minor, device_attribute::ComputeCapabilityMinor);
      !ok)
    return ok.error();
  if (auto ok = attribute(&device->sharedBytes,
                          device_attribute::MaxSharedMemoryPerBlockOptin);
      !ok)
    return ok.error();
  if (auto ok = attribute(&device->multiprocessorCount,
                          device_attribute::MultiprocessorCount);
      !ok)
    return ok.error();
  if (auto ok =
          attribute(&device->cooperative, device_attribute::CooperativeLaunch);
      !ok)
    return ok.error();
  device->label = name;
  device->computeCapability = 10 * major + minor;
  if (auto ok = device->check(
          table.devicePrimaryCtxRetain(&device->context, device->device),
          "retain the device's context");
      !ok) {
    device->context = nullptr;
    return ok.error();
  }
  return device;
}

CudaDevice::~CudaDevice() {
  if (context)
    table.devicePrimaryCtxRelease(device);
}

CudaDevice::Scope::Scope(const CudaDevice &device) : table(device.table) {
  table.ctxGetCurrent(&previous);
  changed = previous != device.context &&
            table.ctxSetCurrent(device.context) == status::Success;
}

CudaDevice::Scope::~Scope() {
  if (changed)
    table.ctxSetCurrent(previous);
}

bool cuda::canRun(std::string_view arch, bool hasPtx, int capability) {
  if (!arch.starts_with("sm_"))
    return false;
  arch.remove_prefix(3);
  int number = 0;
  auto [end, error] =
      std::from_chars(arch.data(), arch.data() + arch.size(), number);
  if (error != std::errc())
    return false;
  std::string_view suffix = arch.substr(end - arch.data());
  if (number == capability)
    return suffix.empty() || suffix == "a" || suffix == "f";
  // "a" code runs on its own capability only; "f" code within its family.
  if (suffix == "f")
    return number / 10 == capability / 10 && number < capability;
  if (!suffix.empty())
    return false;
  return number < capability && (hasPtx || number / 10 == capability / 10);
}
