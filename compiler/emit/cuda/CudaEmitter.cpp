//===- CudaEmitter.cpp - A tile program as one CUDA unit ------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/emit/cuda/CudaEmitter.h"

#include "compiler/emit/cuda/KernelText.h"
#include "compiler/emit/cuda/Materialise.h"

#include "llvm/ADT/MapVector.h"
#include "llvm/Support/xxhash.h"

#include <fmt/format.h>

using namespace mlir;
using namespace quern;
using namespace quern::emit;

static Result<tile::ProgramOp> onlyProgram(ModuleOp module) {
  auto programs = llvm::to_vector(module.getOps<tile::ProgramOp>());
  if (programs.size() == 1)
    return programs[0];
  return fail(
      Errc::Internal,
      fmt::format("a tile module holds one program, not {}", programs.size()));
}

/// `x_codes`, or `x` for a plain tensor.
static std::string bufferName(tile::BufferOp buffer) {
  std::string name = buffer.getName().str();
  if (buffer.getPart() != "values")
    name += "_" + buffer.getPart().str();
  return identifier(name);
}

static BufferDesc describe(tile::BufferOp buffer) {
  auto type = cast<tile::BufferType>(buffer.getResult().getType());
  BufferDesc desc;
  desc.name = buffer.getName().str();
  desc.part = buffer.getPart().str();
  desc.dtype = *getDType(type.getElementType());
  desc.role = static_cast<BufferRole>(buffer.getRole());
  // What products copy is copied 16 bytes at a time; stores are element by
  // element. Buffers of the plan's own keep their wider default.
  if (desc.role == BufferRole::Input || desc.role == BufferRole::Weight)
    desc.alignment = 16;
  else if (desc.role == BufferRole::Output)
    desc.alignment = byteWidth(desc.dtype);
  for (AffineExpr extent : type.getShape().getResults())
    desc.shape.push_back(tile::toSymExpr(extent));
  return desc;
}

/// Emits a kernel under the name that holds the hash of its text.
static Result<KernelText> emitHashed(tile::KernelOp kernel, StringRef layer,
                                     std::vector<std::string> buffers,
                                     const CudaTarget &target,
                                     std::string &symbol) {
  // A kernel's own name often begins with the layer's.
  std::string prefix = "quern_" + identifier(layer);
  std::string own = identifier(kernel.getSymName());
  StringRef rest = own;
  rest.consume_front("quern_");
  rest.consume_front(identifier(layer));
  rest.consume_front("_");
  KernelNames names;
  names.shortName = rest.empty() ? "kernel" : rest.str();
  names.buffers = std::move(buffers);
  names.symbol = prefix + "_" + names.shortName;
  Result<KernelText> draft = emitKernel(kernel, names, target);
  if (!draft)
    return draft;
  names.symbol += fmt::format(
      "_{:08x}",
      static_cast<uint32_t>(llvm::xxh3_64bits(draft->text.str("unit"))));
  symbol = names.symbol;
  return emitKernel(kernel, names, target);
}

Result<CudaUnit> emit::emitCuda(ModuleOp tileModule, const CudaTarget &target) {
  OwningOpRef<ModuleOp> copy = tileModule.clone();
  Result<tile::ProgramOp> found = onlyProgram(*copy);
  if (!found)
    return found.error();
  tile::ProgramOp program = *found;
  if (program.getNumerics() != "strict")
    return refuse(program.getLoc(),
                  fmt::format("numerics '{}' are not available on CUDA yet",
                              program.getNumerics().str()),
                  {"accepted: strict"});
  if (Result<void> done = materialiseOperands(program); !done)
    return done.error();

  CudaUnit unit;
  StringRef layer = program.getSymName();
  unit.name = stablePath(fmt::format("quern_{}.cu", identifier(layer)));
  unit.plan.target = "cuda:" + target.name();

  llvm::DenseMap<Value, uint32_t> bufferNumber;
  llvm::DenseMap<Value, std::string> bufferNames;
  for (auto buffer : program.getBody().getOps<tile::BufferOp>()) {
    bufferNumber[buffer] = unit.plan.buffers.size();
    bufferNames[buffer] = bufferName(buffer);
    unit.plan.buffers.push_back(describe(buffer));
  }

  // Kernels in the order they are first launched.
  struct Emitted {
    uint32_t number;
    KernelText text;
  };
  llvm::MapVector<StringRef, Emitted> kernels;
  std::set<std::string> headers = {"common/math.cuh"};
  SymbolTable table(*copy);
  for (auto launch : program.getBody().getOps<tile::LaunchOp>()) {
    auto kernel = table.lookup<tile::KernelOp>(launch.getKernel());
    if (!kernel)
      return fail(Errc::Internal, fmt::format("launch of '{}', which is no "
                                              "kernel of the module",
                                              launch.getKernel().str()));
    if (!kernels.contains(kernel.getSymName())) {
      std::vector<std::string> names;
      for (Value buffer : launch.getBuffers())
        names.push_back(bufferNames[buffer]);
      std::string symbol;
      Result<KernelText> text =
          emitHashed(kernel, layer, std::move(names), target, symbol);
      if (!text)
        return text.error();
      headers.insert(text->header);
      if (text->accumulates)
        headers.insert("common/accumulate.cuh");
      if (text->unpacks)
        headers.insert("common/packed.cuh");
      if (text->decodes)
        headers.insert("gemm_mma/packed_rows.cuh");
      KernelDesc desc;
      desc.name = symbol;
      desc.reason = kernel.getReason().str();
      desc.schedule = text->schedule;
      desc.numericsClass =
          static_cast<NumericsClass>(kernel.getNumericsClass());
      uint32_t number = unit.plan.kernels.size();
      unit.plan.kernels.push_back(std::move(desc));
      kernels.insert({kernel.getSymName(), Emitted{number, std::move(*text)}});
    }
    const Emitted &emitted = kernels.find(kernel.getSymName())->second;
    LaunchDesc desc = emitted.text.launch;
    desc.kernel = emitted.number;
    desc.phase = static_cast<LaunchPhase>(launch.getPhase());
    for (auto [symbol, min, max] : tile::getRanges(launch))
      desc.when.push_back({symbol, min, max});
    for (Value buffer : launch.getBuffers())
      desc.buffers.push_back(bufferNumber[buffer]);
    if (!emitted.text.ownBuffers.empty() && desc.phase == LaunchPhase::Prepare)
      return refuse(kernel.getLoc(),
                    "a kernel that needs state cannot run when "
                    "weights are bound");
    for (const BufferDesc &own : emitted.text.ownBuffers) {
      desc.buffers.push_back(unit.plan.buffers.size());
      unit.plan.buffers.push_back(own);
    }
    unit.plan.launches.push_back(std::move(desc));
  }

  SourceText text;
  text.add(fmt::format("// Layer {} for {}, written by Quern.", layer.str(),
                       target.name()));
  for (const std::string &header : headers)
    text.add(fmt::format("#include \"{}\"", header));
  text.add("");
  text.add("using namespace quern;");
  for (auto &[symbol, emitted] : kernels)
    text.append(emitted.text.text);
  unit.source = text.str(unit.name);
  unit.readable = text.readable();
  unit.originalOf = [text = std::move(text)](const std::string &file) {
    return text.originalOf(file);
  };
  return unit;
}
