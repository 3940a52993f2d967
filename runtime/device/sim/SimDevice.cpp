//===- SimDevice.cpp - A CUDA device without a GPU ------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/sim/SimDevice.h"

#include "runtime/device/sim/Decoder.h"
#include "runtime/device/sim/PtxParser.h"
#include "runtime/device/sim/SimGraph.h"
#include "runtime/device/sim/SimState.h"

#include <algorithm>
#include <cstring>
#include <fmt/format.h>

using namespace quern;
using namespace quern::sim;
namespace status = quern::cuda::status;

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

cuda::DriverStatus
SimDevice::Impl::encodeTensorMap(cuda::TensorMapStorage *map,
                                 const TensorMapRequest &request) {
  static_assert(sizeof(*map) == tensorMapBytes);
  reports.clear();
  if (!map)
    return status::InvalidValue;
  Result<TensorMap> made = makeTensorMap(request);
  if (!made)
    return refuse(made.error().code == Errc::Unsupported ? status::NotSupported
                                                         : status::InvalidValue,
                  made.error());
  std::byte bytes[tensorMapBytes];
  sim::encodeTensorMap(*made, bytes);
  std::memcpy(map, bytes, sizeof(bytes));
  return status::Success;
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
  struct Pointer {
    std::byte *to;
    unsigned bytes;
    const ptx::Operand *value;
    const ptx::Variable *variable;
  };
  std::vector<Pointer> pointers;
  for (const ptx::Variable &variable : parsed.variables) {
    // An external one is "not declared" where it is used.
    if ((variable.space != ptx::Space::Global &&
         variable.space != ptx::Space::Const) ||
        variable.isExtern)
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
      if (value.kind == ptx::Operand::Kind::Immediate)
        std::memcpy(to, &value.value, bytes);
      else
        pointers.push_back({to, bytes, &value, &variable});
      to += bytes;
    }
    allocation->readOnly = variable.space == ptx::Space::Const;
    symbols[variable.name] = {AddressSpace::Global, allocation->base};
  }
  // Global addresses are generic addresses, too. What is initialised with
  // anything else cannot be used: it is "not declared".
  for (const Pointer &pointer : pointers) {
    auto found = symbols.find(pointer.value->name);
    if (found == symbols.end() || pointer.bytes != 8) {
      symbols.erase(pointer.variable->name);
      continue;
    }
    uint64_t address =
        found->second.address + static_cast<uint64_t>(pointer.value->offset);
    std::memcpy(pointer.to, &address, sizeof(address));
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
    if (!kernel) {
      module->refused.emplace(function.name, kernel.error());
      continue;
    }
    auto owned = std::make_unique<SimFunction>();
    owned->module = module.get();
    owned->kernel = std::move(*kernel);
    functions[owned.get()] = owned.get();
    module->functions[std::string(function.name)] = std::move(owned);
  }
  // A module is of use if any of its kernels is; the others are refused when
  // they are asked for.
  if (module->functions.empty() && !module->refused.empty()) {
    Diagnostic first = module->refused.begin()->second;
    for (const auto &[name, why] : module->refused)
      if (why.line < first.line)
        first = why;
    return abandon(first);
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
// SimDevice
//===----------------------------------------------------------------------===//

SimDevice::Impl::Impl(SimTarget target)
    : target(target), model(modelOf(target)), memory(model.memoryBytes) {}
SimDevice::Impl::~Impl() = default;

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
