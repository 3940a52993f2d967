//===- LayerState.cpp - A module's variant bound to a device --------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/jit/LayerState.h"

#include "runtime/device/cpu/CpuProgram.h"
#include "runtime/device/cuda/CudaProgram.h"
#include "runtime/jit/VariantChoice.h"
#include "runtime/module/ModuleVerifier.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

using namespace quern;
using namespace quern::detail;

std::vector<std::string> LayerState::symbolNames() const {
  std::vector<std::string> names;
  for (const SymbolDesc &symbol : symbolDescs)
    names.push_back(symbol.name);
  return names;
}

std::string detail::describe(const LayerState &layer, uint32_t index) {
  std::string_view role;
  switch (layer.buffer(index).role) {
  case BufferRole::Input:
    role = "input";
    break;
  case BufferRole::Weight:
    role = "weight";
    break;
  case BufferRole::Output:
    role = "output";
    break;
  case BufferRole::Temporary:
    role = "temporary";
    break;
  case BufferRole::Packed:
    role = "packed weight";
    break;
  case BufferRole::State:
    role = "state";
    break;
  }
  return fmt::format("{} '{}'", role, layer.bufferNames[index]);
}

/// Sorts buffers and launches by role and phase, and prints the signature.
static void sortPlan(LayerState &layer) {
  const VariantDesc &variant = layer.variant;
  std::vector<std::string> symbolNames = layer.symbolNames();
  for (uint32_t i = 0; i < variant.buffers.size(); ++i) {
    const BufferDesc &b = variant.buffers[i];
    bool plain = b.part.empty() || b.part == "values";
    layer.bufferNames.push_back(plain ? b.name : b.name + "." + b.part);
    Operand::Role role = Operand::Role::Input;
    switch (b.role) {
    case BufferRole::Input:
      layer.inputs.push_back(i);
      break;
    case BufferRole::Weight:
      layer.weights.push_back(i);
      role = Operand::Role::Weight;
      break;
    case BufferRole::Output:
      layer.outputs.push_back(i);
      role = Operand::Role::Output;
      break;
    case BufferRole::Temporary:
      layer.temporaries.push_back(i);
      continue;
    case BufferRole::Packed:
      layer.packed.push_back(i);
      continue;
    case BufferRole::State:
      layer.temporaries.push_back(i);
      layer.state.push_back(i);
      continue;
    }
    Operand operand{layer.bufferNames.back(), role, b.dtype, {}, b.alignment};
    for (const SymExpr &dim : b.shape)
      operand.shape.push_back(dim.print(symbolNames));
    layer.operands.push_back(std::move(operand));
  }
  layer.users.resize(variant.buffers.size());
  for (uint32_t i = 0; i < variant.launches.size(); ++i) {
    const LaunchDesc &launch = variant.launches[i];
    if (launch.phase == LaunchPhase::Prepare) {
      layer.prepareLaunches.push_back(i);
      continue;
    }
    uint32_t number = layer.runLaunches.size();
    layer.runLaunches.push_back(i);
    for (uint32_t b : launch.buffers) {
      // A launch may name a buffer twice.
      if (layer.users[b].empty() || layer.users[b].back() != number)
        layer.users[b].push_back(number);
    }
  }
}

/// Every symbol must follow from some shape, and a weight's shape from
/// weights alone, since it is checked before any run.
static Result<void> checkSymbolsAreInferable(const ModuleDesc &module,
                                             const LayerState &layer) {
  std::vector<bool> byWeights = symbolsFixedByWeights(module, layer.variant);
  std::vector<bool> any = byWeights;
  for (const BufferDesc &b : layer.variant.buffers) {
    for (const SymExpr &dim : b.shape) {
      if (b.role == BufferRole::Input || b.role == BufferRole::Output)
        if (std::optional<LinearDimension> linear = asLinear(dim))
          any[linear->symbol] = true;
      if (b.role == BufferRole::Weight)
        for (const SymExpr::Node &node : dim.nodes())
          if (node.op == SymExpr::Op::Symbol && !byWeights[node.value])
            return fail(Errc::Unsupported,
                        fmt::format("the shape of weight '{}' uses {}, which "
                                    "no weight's dimension gives",
                                    b.name, module.symbols[node.value].name));
    }
  }
  for (size_t i = 0; i < any.size(); ++i)
    if (!any[i])
      return fail(Errc::Unsupported,
                  fmt::format("symbol {} cannot be inferred: no dimension of "
                              "an operand is {} or a multiple of it",
                              module.symbols[i].name, module.symbols[i].name));
  return {};
}

Result<std::shared_ptr<const LayerState>>
detail::bindModule(ModuleDesc module, const Target &target,
                   std::shared_ptr<Executor> executor,
                   const cuda::DriverTable *driver) {
  if (Result<void> ok = verifyModule(module); !ok)
    return ok.error();
  auto layer = std::make_shared<LayerState>();
  layer->name = module.layer;
  layer->target = target;
  layer->symbolDescs = module.symbols;
  for (const SymbolDesc &s : module.symbols)
    layer->symbols.push_back({s.name, s.min, s.max, s.multiple});

  bool onCpu = target.kind == Target::Kind::Cpu;
  std::shared_ptr<cuda::CudaDevice> device;
  if (!onCpu) {
    if (!driver)
      return fail(
          Errc::NoDevice,
          fmt::format("no driver was given for target {}", target.print()));
    auto opened = cuda::CudaDevice::open(*driver, 0);
    if (!opened)
      return opened.error();
    device = std::move(*opened);
  }
  Result<size_t> chosen =
      onCpu ? chooseForCpu(module, target)
            : chooseForCuda(module, target, device->capability());
  if (!chosen)
    return chosen.error();
  layer->variant = std::move(module.variants[*chosen]);
  if (Result<void> ok = checkSymbolsAreInferable(module, *layer); !ok)
    return ok.error();
  Result<std::shared_ptr<Program>> program =
      onCpu ? cpu::loadProgram(layer->variant, layer->name, std::move(executor))
            : cuda::loadProgram(layer->variant, std::move(device));
  if (!program)
    return program.error();
  layer->program = std::move(*program);
  layer->variant.code.clear();
  sortPlan(*layer);
  return std::shared_ptr<const LayerState>(std::move(layer));
}
