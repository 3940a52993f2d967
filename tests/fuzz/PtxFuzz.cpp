//===- PtxFuzz.cpp - Any bytes as PTX -------------------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Parses and decodes; then loads the text into a simulated device and launches
// every kernel on a few threads, with one buffer and null for its parameters.
// Whatever the kernel does, the simulator must end with a report or a result.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/sim/Decoder.h"
#include "runtime/device/sim/PtxParser.h"
#include "runtime/device/sim/SimDevice.h"
#include "tests/fuzz/Fuzz.h"

#include <algorithm>
#include <string>

using namespace quern;
using sim::ptx::Variable;

static uint64_t bytesOf(const Variable &variable) {
  return variable.elements * std::max(1u, sim::elementBytes(variable.type));
}

/// Large memories are legal, and would make every run slow.
static bool isSmall(const sim::ptx::Module &module) {
  uint64_t total = 0, code = 0;
  auto add = [&](const std::vector<Variable> &variables) {
    for (const Variable &variable : variables)
      total += std::min<uint64_t>(bytesOf(variable), 1 << 30);
  };
  add(module.variables);
  for (const sim::ptx::Function &function : module.functions) {
    add(function.parameters);
    code += function.body.size();
    for (const sim::ptx::Statement &statement : function.body)
      if (statement.kind == sim::ptx::Statement::Kind::Declaration &&
          statement.variable.space != sim::ptx::Space::Reg)
        add({statement.variable});
  }
  return total < (1 << 20) && code < 20000 && module.functions.size() < 50;
}

static void launch(const std::string &text, const sim::ptx::Module &module,
                   sim::SimTarget target) {
  const cuda::DriverTable &driver = sim::simulatedDriver(target);
  sim::SimDevice &device = sim::SimDevice::get(target);
  cuda::ContextHandle context = nullptr;
  cuda::ModuleHandle handle = nullptr;
  driver.init(0);
  driver.devicePrimaryCtxRetain(&context, 0);
  driver.ctxSetCurrent(context);
  sim::SimOptions options;
  options.watchdog = 4000;
  device.setOptions(options);
  cuda::DevicePtr buffer = 0;
  driver.memAlloc(&buffer, 4096);
  if (driver.moduleLoadDataEx(&handle, text.c_str(), 0, nullptr, nullptr) ==
      cuda::status::Success) {
    for (const sim::ptx::Function &function : module.functions) {
      cuda::FunctionHandle kernel = nullptr;
      std::string name(function.name);
      if (driver.moduleGetFunction(&kernel, handle, name.c_str()) !=
          cuda::status::Success)
        continue;
      // The first parameters are the buffer, the others zero.
      std::vector<std::vector<uint64_t>> values;
      std::vector<void *> parameters;
      for (const Variable &parameter : function.parameters) {
        values.emplace_back(bytesOf(parameter) / 8 + 1,
                            values.size() < 3 ? buffer : 0);
        parameters.push_back(values.back().data());
      }
      parameters.push_back(nullptr);
      cuda::LaunchConfig config = {};
      config.gridDimX = 2;
      config.gridDimY = config.gridDimZ = 1;
      config.blockDimX = 40;
      config.blockDimY = config.blockDimZ = 1;
      auto status =
          driver.launchKernelEx(&config, kernel, parameters.data(), nullptr);
      fuzz::require(status == cuda::status::Success ||
                        !device.lastReports().empty(),
                    "a failed launch says why");
    }
    driver.moduleUnload(handle);
  } else {
    fuzz::require(!device.lastReports().empty(), "a refused module says why");
  }
  driver.memFree(buffer);
  driver.devicePrimaryCtxRelease(0);
  fuzz::require(device.bytesInUse() == 0, "a device gives back what it took");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  std::string text(reinterpret_cast<const char *>(data), size);
  text = text.substr(0, text.find('\0'));
  auto module = sim::ptx::parse(text, "fuzz.ptx");
  if (!module) {
    fuzz::require(!module.error().message.empty(), "a refusal says why");
    return 0;
  }
  // Addresses of variables do not matter to the decoder.
  sim::SymbolTable symbols;
  for (const Variable &variable : module->variables)
    symbols[variable.name] = {sim::AddressSpace::Global, 4096};
  for (const sim::ptx::Function &function : module->functions)
    if (function.isEntry && function.hasBody)
      (void)sim::decodeKernel(*module, function, symbols);
  if (!isSmall(*module))
    return 0;
  // On the device it is for; else on an old and a newer one.
  if (auto target = sim::parseSimTarget(module->target)) {
    launch(text, *module, *target);
    return 0;
  }
  for (sim::SimTarget target : {sim::SimTarget::Sm80, sim::SimTarget::Sm90a})
    launch(text, *module, target);
  return 0;
}
