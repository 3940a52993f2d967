//===- SimDevice.cpp - A CUDA device without a GPU ------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/sim/SimDevice.h"

#include "runtime/device/sim/Decoder.h"
#include "runtime/device/sim/Machine.h"
#include "runtime/device/sim/PtxParser.h"
#include "runtime/device/sim/SimState.h"

#include <algorithm>
#include <cstring>
#include <fmt/format.h>

using namespace quern;
using namespace quern::sim;
namespace status = quern::cuda::status;

static constexpr uint64_t maxBlocks = uint64_t(1) << 24;
static constexpr uint64_t maxVariableBytes = uint64_t(256) << 20;

const DeviceModel &sim::modelOf(SimTarget target) {
  constexpr uint64_t gib = uint64_t(1) << 30;
  // Limits from NVIDIA's programming guide (compute capabilities); the rest is
  // that of the A100, RTX 4090, H100 SXM, B200 and RTX 5090.
  static const DeviceModel models[simTargetCount] = {
      {"sm_80", "Simulated A100", 8, 0, false, 108, 163 << 10, 164 << 10, 2048,
       32, 40 << 20, 1410000, 1215000, 5120, 8 * gib},
      {"sm_89", "Simulated RTX 4090", 8, 9, false, 128, 99 << 10, 100 << 10,
       1536, 24, 72 << 20, 2520000, 10501000, 384, 8 * gib},
      {"sm_90a", "Simulated H100", 9, 0, true, 132, 227 << 10, 228 << 10, 2048,
       32, 50 << 20, 1980000, 2619000, 5120, 8 * gib},
      {"sm_100a", "Simulated B200", 10, 0, true, 148, 227 << 10, 228 << 10,
       2048, 32, 126 << 20, 1965000, 3996000, 8192, 8 * gib},
      {"sm_120a", "Simulated RTX 5090", 12, 0, true, 170, 99 << 10, 100 << 10,
       1536, 24, 96 << 20, 2407000, 14001000, 512, 8 * gib},
  };
  return models[static_cast<unsigned>(target)];
}

std::string_view sim::name(SimTarget target) { return modelOf(target).arch; }

std::optional<SimTarget> sim::parseSimTarget(std::string_view text) {
  for (unsigned i = 0; i < simTargetCount; ++i)
    if (name(static_cast<SimTarget>(i)) == text)
      return static_cast<SimTarget>(i);
  return std::nullopt;
}

//===----------------------------------------------------------------------===//
// Modules
//===----------------------------------------------------------------------===//

cuda::DriverStatus SimDevice::Impl::refuse(cuda::DriverStatus code,
                                           Diagnostic why) {
  reports.assign(1, std::move(why));
  return code;
}

/// Whether PTX for `target` ("sm_80", "sm_90a") runs on the device: "a" code on
/// that very architecture, other code on it and later ones.
static bool runsOn(std::string_view target, const DeviceModel &model) {
  if (target == model.arch)
    return true;
  if (target.substr(0, 3) != "sm_")
    return false;
  int number = 0;
  for (char c : target.substr(3)) {
    if (c < '0' || c > '9' || number > 9999)
      return false;
    number = number * 10 + (c - '0');
  }
  return number > 0 && number <= model.major * 10 + model.minor;
}

Result<void> SimDevice::Impl::placeGlobals(const ptx::Module &parsed,
                                           SimModule &module,
                                           SymbolTable &symbols) {
  for (const ptx::Variable &variable : parsed.variables) {
    if (variable.space != ptx::Space::Global &&
        variable.space != ptx::Space::Const)
      continue;
    unsigned bytes = elementBytes(variable.type);
    auto refused = [&](std::string message) {
      Diagnostic error = fail(Errc::Unsupported, std::move(message));
      error.file = "PTX";
      error.line = variable.line;
      return error;
    };
    if (!bytes || !variable.elements)
      return refused(fmt::format("variable '{}' has no size", variable.name));
    if (bytes * variable.elements > maxVariableBytes)
      return refused(fmt::format("variable '{}' has {} bytes; at most {} are "
                                 "supported",
                                 variable.name, bytes * variable.elements,
                                 maxVariableBytes));
    Allocation *allocation =
        memory.allocate(bytes * variable.elements, std::string(variable.name));
    if (!allocation)
      return refused(fmt::format("no memory for variable '{}' of {} bytes",
                                 variable.name, bytes * variable.elements));
    module.globals.push_back(allocation->base);
    auto *to = reinterpret_cast<std::byte *>(allocation->base);
    // Variables without a value are zero.
    std::memset(to, 0, allocation->size);
    for (const ptx::Operand &value : variable.initializer) {
      if (value.kind != ptx::Operand::Kind::Immediate)
        return refused(fmt::format("variable '{}' is initialised with '{}'; "
                                   "only numbers are supported",
                                   variable.name, value.name));
      std::memcpy(to, &value.value, bytes);
      to += bytes;
    }
    allocation->readOnly = variable.space == ptx::Space::Const;
    symbols[variable.name] = {AddressSpace::Global, allocation->base};
  }
  return {};
}

cuda::DriverStatus SimDevice::Impl::loadModule(const char *image,
                                               SimModule *&result) {
  result = nullptr;
  reports.clear();
  if (std::memcmp(image,
                  "\x7f"
                  "ELF",
                  4) == 0)
    return refuse(status::NoBinaryForGpu,
                  fail(Errc::Unsupported,
                       "the simulated device runs PTX text, not cubins"));
  Result<ptx::Module> parsed = ptx::parse(image);
  if (!parsed)
    return refuse(status::InvalidPtx, parsed.error());
  if (!runsOn(parsed->target, model))
    return refuse(
        status::NoBinaryForGpu,
        fail(Errc::Unsupported, fmt::format("PTX for '{}' does not run on {}",
                                            parsed->target, model.arch)));
  auto module = std::make_unique<SimModule>();
  SymbolTable symbols;
  auto abandon = [&](Diagnostic why) {
    for (uint64_t base : module->globals)
      memory.release(base);
    return refuse(status::InvalidPtx, std::move(why));
  };
  if (Result<void> placed = placeGlobals(*parsed, *module, symbols); !placed)
    return abandon(placed.error());
  for (const ptx::Function &function : parsed->functions) {
    if (!function.isEntry || !function.hasBody)
      continue;
    Result<Kernel> kernel = decodeKernel(*parsed, function, symbols);
    if (!kernel)
      return abandon(kernel.error());
    auto owned = std::make_unique<SimFunction>();
    owned->module = module.get();
    owned->kernel = std::move(*kernel);
    functions[owned.get()] = owned.get();
    module->functions[std::string(function.name)] = std::move(owned);
  }
  result = module.get();
  modules[result] = std::move(module);
  return status::Success;
}

void SimDevice::Impl::unloadModule(void *handle) {
  auto it = modules.find(handle);
  for (const auto &[name, function] : it->second->functions)
    functions.erase(function.get());
  for (uint64_t base : it->second->globals)
    memory.release(base);
  modules.erase(it);
}

//===----------------------------------------------------------------------===//
// Launches
//===----------------------------------------------------------------------===//

int SimDevice::Impl::maxBlocksPerMultiprocessor(const SimFunction &function,
                                                int blockSize,
                                                size_t dynamicShared) const {
  if (blockSize <= 0 || blockSize > maxThreadsPerBlock)
    return 0;
  int threads = (blockSize + 31) / 32 * 32;
  int byThreads = model.threadsPerMultiprocessor / threads;
  uint64_t shared = function.kernel.dynamicSharedOffset + dynamicShared +
                    reservedSharedPerBlock;
  int byShared = static_cast<int>(std::min<uint64_t>(
      uint64_t(model.sharedPerMultiprocessor) / shared, 1024));
  return std::min({byThreads, byShared, model.blocksPerMultiprocessor});
}

cuda::DriverStatus SimDevice::Impl::launch(const cuda::LaunchConfig &config,
                                           SimFunction &function,
                                           void **parameters) {
  const Kernel &kernel = function.kernel;
  reports.clear();
  faultCount = 0;
  counters = Counters();
  auto refused = [&](cuda::DriverStatus code, std::string message) {
    return refuse(code,
                  fail(Errc::InvalidArgument,
                       fmt::format("launch of {}: {}", kernel.name, message)));
  };
  Launch run;
  run.kernel = &kernel;
  run.memory = &memory;
  run.options = options;
  const unsigned grid[3] = {config.gridDimX, config.gridDimY, config.gridDimZ};
  const unsigned block[3] = {config.blockDimX, config.blockDimY,
                             config.blockDimZ};
  const unsigned gridLimits[3] = {0x7fffffff, 65535, 65535};
  const unsigned blockLimits[3] = {1024, 1024, 64};
  uint64_t blocks = 1, threads = 1;
  for (unsigned i = 0; i < 3; ++i) {
    if (!grid[i] || grid[i] > gridLimits[i] || !block[i] ||
        block[i] > blockLimits[i])
      return refused(status::InvalidValue,
                     fmt::format("grid ({}, {}, {}) of blocks ({}, {}, {}) is "
                                 "outside the device's limits",
                                 grid[0], grid[1], grid[2], block[0], block[1],
                                 block[2]));
    run.grid[i] = grid[i];
    run.block[i] = block[i];
    blocks *= grid[i];
    threads *= block[i];
  }
  if (threads > maxThreadsPerBlock)
    return refused(status::InvalidValue,
                   fmt::format("{} threads in a block; at most {}", threads,
                               maxThreadsPerBlock));
  if (kernel.maxThreads && threads > kernel.maxThreads)
    return refused(status::LaunchOutOfResources,
                   fmt::format("{} threads in a block; the kernel was compiled "
                               "for at most {}",
                               threads, kernel.maxThreads));
  if (kernel.exactThreads && threads != kernel.maxThreads)
    return refused(status::InvalidValue,
                   fmt::format("{} threads in a block; the kernel needs {}",
                               threads, kernel.maxThreads));
  if (blocks > maxBlocks)
    return refused(status::NotSupported,
                   fmt::format("{} blocks; the simulator runs at most {}",
                               blocks, maxBlocks));
  uint64_t shared =
      uint64_t(kernel.dynamicSharedOffset) + config.sharedMemBytes;
  if (config.sharedMemBytes >
          static_cast<unsigned>(function.maxDynamicShared) ||
      shared > static_cast<uint64_t>(model.sharedPerBlockOptin) ||
      (function.maxDynamicShared == defaultSharedPerBlock &&
       shared > defaultSharedPerBlock))
    return refused(
        status::InvalidValue,
        fmt::format("{} bytes of shared memory ({} dynamic); the function's "
                    "MaxDynamicSharedSizeBytes is {} and the device allows {}",
                    shared, config.sharedMemBytes, function.maxDynamicShared,
                    model.sharedPerBlockOptin));
  run.dynamicSharedBytes = config.sharedMemBytes;
  for (unsigned i = 0; i < config.attributeCount; ++i) {
    const cuda::LaunchAttribute &attribute = config.attributes[i];
    switch (attribute.id) {
    case cuda::LaunchAttribute::Cooperative:
      run.cooperative = attribute.value.cooperative != 0;
      break;
    case cuda::LaunchAttribute::ProgrammaticStreamSerialization:
      break; // Launches never overlap here.
    case cuda::LaunchAttribute::ClusterDimension:
      if (attribute.value.clusterDim.x == 1 &&
          attribute.value.clusterDim.y == 1 &&
          attribute.value.clusterDim.z == 1)
        break;
      return refused(status::NotSupported, "clusters are not simulated");
    default:
      return refused(status::NotSupported,
                     fmt::format("launch attribute {} is not simulated",
                                 static_cast<int>(attribute.id)));
    }
  }
  if (run.cooperative) {
    uint64_t resident =
        uint64_t(maxBlocksPerMultiprocessor(function, static_cast<int>(threads),
                                            config.sharedMemBytes)) *
        static_cast<uint64_t>(model.multiprocessors);
    if (blocks > resident)
      return refused(status::CooperativeLaunchTooLarge,
                     fmt::format("{} blocks cannot all be resident; {} can",
                                 blocks, resident));
  }
  if (!kernel.parameters.empty() && !parameters)
    return refused(status::InvalidValue, "no parameters are given");
  run.parameters.resize(kernel.parameterBytes);
  for (size_t i = 0; i < kernel.parameters.size(); ++i) {
    if (!parameters[i])
      return refused(status::InvalidValue,
                     fmt::format("parameter {} is null", i));
    std::memcpy(run.parameters.data() + kernel.parameters[i].offset,
                parameters[i], kernel.parameters[i].bytes);
  }
  run.run();
  counters = run.counters;
  counters.globalUniqueBytesRead = run.footprint.bytesRead();
  counters.globalUniqueBytesWritten = run.footprint.bytesWritten();
  faultCount = run.faults.count;
  reports = std::move(run.faults.reports);
  if (recording)
    records.push_back({kernel.name,
                       {run.grid[0], run.grid[1], run.grid[2]},
                       {run.block[0], run.block[1], run.block[2]},
                       counters,
                       faultCount});
  return run.faults.status;
}

//===----------------------------------------------------------------------===//
// SimDevice
//===----------------------------------------------------------------------===//

SimDevice::SimDevice(SimTarget target)
    : state(std::make_unique<Impl>(target)) {}
SimDevice::~SimDevice() = default;

SimDevice &SimDevice::get(SimTarget target) {
  // Never destroyed: threads may use a device until the process ends.
  static SimDevice *const *devices = [] {
    static SimDevice *all[simTargetCount];
    for (unsigned i = 0; i < simTargetCount; ++i)
      all[i] = new SimDevice(static_cast<SimTarget>(i));
    return all;
  }();
  return *devices[static_cast<unsigned>(target)];
}

void SimDevice::setOptions(const SimOptions &options) {
  std::lock_guard lock(state->mutex);
  state->options = options;
}
SimOptions SimDevice::options() const {
  std::lock_guard lock(state->mutex);
  return state->options;
}
std::vector<Diagnostic> SimDevice::lastReports() const {
  std::lock_guard lock(state->mutex);
  return state->reports;
}
uint64_t SimDevice::lastFaultCount() const {
  std::lock_guard lock(state->mutex);
  return state->faultCount;
}
Counters SimDevice::lastCounters() const {
  std::lock_guard lock(state->mutex);
  return state->counters;
}
void SimDevice::recordLaunches(bool on) {
  std::lock_guard lock(state->mutex);
  state->recording = on;
  state->records.clear();
}
std::vector<LaunchRecord> SimDevice::launchRecords() const {
  std::lock_guard lock(state->mutex);
  return state->records;
}
uint64_t SimDevice::bytesInUse() const {
  std::lock_guard lock(state->mutex);
  return state->memory.used();
}

bool SimDevice::describe(cuda::DevicePtr address, std::string name,
                         bool readOnly) {
  std::lock_guard lock(state->mutex);
  Allocation *allocation = state->memory.find(address);
  if (!allocation || allocation->freed || !allocation->contains(address, 1))
    return false;
  allocation->name = std::move(name);
  allocation->readOnly = readOnly;
  return true;
}
