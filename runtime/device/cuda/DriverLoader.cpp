//===- DriverLoader.cpp - Opening libcuda ---------------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/cuda/DriverLoader.h"

#include <dlfcn.h>
#include <fmt/format.h>
#include <string_view>

using namespace quern;
using namespace quern::cuda;

namespace {

/// cuGetProcAddress as of CUDA 12 and as of 11.3; the older one lacks the last
/// parameter, which callees of the usual conventions may be passed anyway, but
/// the two are kept apart by their exported names.
using GetProcAddressV2 = DriverStatus (*)(const char *symbol, void **function,
                                          int version, uint64_t flags,
                                          int *symbolStatus);
using GetProcAddressV1 = DriverStatus (*)(const char *symbol, void **function,
                                          int version, uint64_t flags);

class Lookup {
public:
  explicit Lookup(void *library) : library(library) {
    v2 = reinterpret_cast<GetProcAddressV2>(
        dlsym(library, "cuGetProcAddress_v2"));
    v1 = reinterpret_cast<GetProcAddressV1>(dlsym(library, "cuGetProcAddress"));
  }

  void *find(std::string_view symbol, int version) const {
    std::string base(symbol);
    if (size_t at = base.rfind("_v");
        at != std::string::npos && at + 3 == base.size())
      base.resize(at);
    void *function = nullptr;
    int symbolStatus = 0;
    if (v2 &&
        v2(base.c_str(), &function, version, 0, &symbolStatus) ==
            status::Success &&
        function)
      return function;
    if (!v2 && v1 &&
        v1(base.c_str(), &function, version, 0) == status::Success && function)
      return function;
    return dlsym(library, std::string(symbol).c_str());
  }

private:
  void *library;
  GetProcAddressV2 v2 = nullptr;
  GetProcAddressV1 v1 = nullptr;
};

} // namespace

Result<DriverTable> cuda::loadDriver(const std::string &path) {
  void *library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    const char *why = dlerror();
    return fail(Errc::NoDevice, "no CUDA driver on this machine",
                {fmt::format("{}: {}", path, why ? why : "cannot be opened")});
  }
  // The library stays open for ever: a driver does not survive unloading.
  Lookup lookup(library);
  DriverTable table;
  const char *missing = nullptr;
#define QUERN_CUDA_LOAD(member, symbol, version, parameters)                   \
  table.member =                                                               \
      reinterpret_cast<decltype(table.member)>(lookup.find(#symbol, version)); \
  if (!table.member && !missing)                                               \
    missing = #symbol;
  QUERN_CUDA_DRIVER_ENTRIES(QUERN_CUDA_LOAD)
#undef QUERN_CUDA_LOAD
#define QUERN_CUDA_TRY(member, symbol, version, parameters)                    \
  table.member =                                                               \
      reinterpret_cast<decltype(table.member)>(lookup.find(#symbol, version));
  QUERN_CUDA_DRIVER_OPTIONAL_ENTRIES(QUERN_CUDA_TRY)
#undef QUERN_CUDA_TRY
  if (missing)
    return fail(Errc::NoDevice,
                fmt::format("the CUDA driver {} lacks {}", path, missing),
                {"a driver for CUDA 11.8 or later is needed"});
  DriverStatus result = table.init(0);
  if (result == status::StubLibrary)
    return fail(Errc::NoDevice, "no CUDA driver on this machine",
                {fmt::format("{} is a CUDA toolkit's, for linking only", path),
                 "install NVIDIA's driver, or run on --target cpu or sim"});
  if (result != status::Success)
    return fail(Errc::NoDevice,
                fmt::format("the CUDA driver cannot be initialised: {}",
                            describe(table, result)));
  return table;
}

Result<const DriverTable *> cuda::systemDriver() {
  static const Result<DriverTable> loaded = loadDriver("libcuda.so.1");
  if (!loaded)
    return loaded.error();
  return &*loaded;
}

std::string cuda::describe(const DriverTable &driver, DriverStatus status) {
  const char *name = nullptr, *text = nullptr;
  if (driver.getErrorName(status, &name) != status::Success || !name)
    return fmt::format("CUDA error {}", status);
  if (driver.getErrorString(status, &text) != status::Success || !text)
    text = "no description";
  return fmt::format("{} ({}): {}", name, status, text);
}

Diagnostic cuda::driverError(const DriverTable &driver, DriverStatus status,
                             const std::string &action) {
  return fail(status == status::OutOfMemory ? Errc::OutOfMemory
                                            : Errc::DeviceError,
              fmt::format("{}: {}", action, describe(driver, status)));
}
