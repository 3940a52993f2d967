//===- Load.cpp - From module files to layers -----------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "quern/quern.h"

#include "runtime/core/AllocationGuard.h"
#include "runtime/io/FileReader.h"
#include "runtime/jit/Drivers.h"
#include "runtime/jit/LayerState.h"

#include <mutex>

using namespace quern;

/// One default executor for all layers of the process, for as long as one of
/// them lives.
static std::shared_ptr<Executor> defaultExecutor() {
  static std::mutex mutex;
  static std::weak_ptr<Executor> shared;
  std::lock_guard lock(mutex);
  std::shared_ptr<Executor> executor = shared.lock();
  if (!executor)
    shared = executor = makeExecutor();
  return executor;
}

Result<Layer> quern::load(std::span<const std::byte> bytes,
                          const LoadOptions &options) {
  return guardAllocations([&]() -> Result<Layer> {
    Result<Target> target = Target::parse(options.target);
    if (!target)
      return target.error();
    Result<ModuleDesc> module = ModuleDesc::parse(bytes);
    if (!module)
      return module.error();
    Result<const cuda::DriverTable *> driver = detail::driverFor(*target);
    if (!driver)
      return driver.error();
    auto state = detail::bindModule(
        std::move(*module), *target,
        options.executor ? options.executor : defaultExecutor(), *driver);
    if (!state)
      return detail::explainFailure(*target, state.error());
    return detail::LayerAccess::make(std::move(*state));
  });
}

Result<Layer> quern::loadFile(const std::string &path,
                              const LoadOptions &options) {
  return guardAllocations([&]() -> Result<Layer> {
    Result<std::vector<std::byte>> file = readFile(path);
    if (!file)
      return file.error();
    Result<Layer> layer = load(*file, options);
    if (layer)
      return layer;
    Diagnostic diagnostic = layer.error();
    if (diagnostic.file.empty())
      diagnostic.file = path;
    return diagnostic;
  });
}
