//===- CpuHarness.cpp - Runs tile programs compiled for the CPU -----------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "CpuHarness.h"

#include "dialects/tile/IR/Tile.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/Parser/Parser.h"
#include "runtime/device/cpu/CpuFeatures.h"
#include "runtime/device/cpu/KernelAbi.h"

#include <sys/mman.h>

using namespace quern;
using namespace quern::test;

static constexpr size_t guardBytes = 256;
static constexpr std::byte guardByte{0xa5};

GuardedMemory::GuardedMemory(size_t size)
    : storage(size + 2 * guardBytes + 64, guardByte), bytes(size) {
  auto address = reinterpret_cast<uintptr_t>(storage.data()) + guardBytes;
  start = reinterpret_cast<std::byte *>((address + 63) / 64 * 64);
}

bool GuardedMemory::intact() const {
  const std::byte *begin = storage.data(), *end = begin + storage.size();
  for (const std::byte *p = begin; p < end; ++p)
    if ((p < start || p >= start + bytes) && *p != guardByte)
      return false;
  return true;
}

CompiledProgram::CompiledProgram(const std::string &text,
                                 const cpugen::CpuTarget &target, bool dump) {
  mlir::MLIRContext context(mlir::MLIRContext::Threading::DISABLED);
  context.loadDialect<tile::TileDialect, mlir::arith::ArithDialect,
                      mlir::math::MathDialect>();
  mlir::ScopedDiagnosticHandler handler(&context,
                                        [&](mlir::Diagnostic &diagnostic) {
                                          error += diagnostic.str() + "\n";
                                          return mlir::success();
                                        });
  auto module = mlir::parseSourceString<mlir::ModuleOp>(text, &context);
  if (!module)
    return;
  auto result =
      cpugen::compileForCpu(*module, target, dump ? &dumps : nullptr, &times);
  if (!result) {
    error = result.error().render();
    return;
  }
  variant = std::move(*result);
  mapImage();
}

CompiledProgram::CompiledProgram(VariantDesc compiled)
    : variant(std::move(compiled)) {
  mapImage();
}

void CompiledProgram::mapImage() {
  const CodeDesc &code = variant.code[0];
  imageSize = (code.bytes.size() + 4095) / 4096 * 4096;
  image = mmap(nullptr, imageSize, PROT_READ | PROT_WRITE,
               MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  std::memcpy(image, code.bytes.data(), code.bytes.size());
  mprotect(image, imageSize, PROT_READ | PROT_EXEC);
}

CompiledProgram::~CompiledProgram() {
  if (image)
    munmap(image, imageSize);
}

void CompiledProgram::allocate(std::vector<int64_t> values) {
  symbols = std::move(values);
  memory.clear();
  for (const BufferDesc &buffer : variant.buffers) {
    int64_t bytes = byteWidth(buffer.dtype);
    for (const SymExpr &extent : buffer.shape)
      bytes *= *extent.evaluate(symbols);
    memory.emplace_back(bytes);
  }
}

size_t CompiledProgram::indexOf(const std::string &name) const {
  for (size_t i = 0; i < variant.buffers.size(); ++i)
    if (variant.buffers[i].name == name)
      return i;
  return 0;
}

void CompiledProgram::call(const LaunchDesc &launch, int64_t begin, int64_t end,
                           GuardedMemory &scratch) {
  std::vector<void *> addresses;
  std::vector<std::span<std::byte>> buffers;
  for (uint32_t buffer : launch.buffers) {
    addresses.push_back(memory[buffer].data());
    buffers.emplace_back(memory[buffer].data(), memory[buffer].size());
  }
  const KernelDesc &kernel = variant.kernels[launch.kernel];
  for (const CodeSymbol &symbol : variant.code[0].symbols)
    if (symbol.name == kernel.name) {
      if (foreignMachine) {
        std::string wrong = foreignMachine->run(
            {variant.code[0], symbol.offset, std::move(buffers), symbols, begin,
             end, std::span(scratch.data(), scratch.size())});
        if (!wrong.empty())
          error = wrong;
        return;
      }
      auto *function = reinterpret_cast<cpu::KernelFn>(
          static_cast<std::byte *>(image) + symbol.offset);
      cpu::KernelArgs args = {addresses.data(), symbols.data()};
      function(&args, begin, end, scratch.data());
    }
}

void CompiledProgram::runLaunch(size_t index) {
  const LaunchDesc &launch = variant.launches[index];
  GuardedMemory scratch(*launch.scratchBytes.evaluate(symbols));
  call(launch, 0, *launch.items.evaluate(symbols), scratch);
}

void CompiledProgram::run(unsigned calls) {
  for (const LaunchDesc &launch : variant.launches) {
    int64_t items = *launch.items.evaluate(symbols);
    if (items == 0)
      continue;
    GuardedMemory scratch(*launch.scratchBytes.evaluate(symbols));
    for (unsigned i = 0; i < calls; ++i) {
      int64_t begin = items * i / calls, end = items * (i + 1) / calls;
      if (begin < end)
        call(launch, begin, end, scratch);
    }
    if (!scratch.intact())
      error = "a kernel wrote beside its scratch memory";
  }
}

bool CompiledProgram::intact() const {
  for (const GuardedMemory &buffer : memory)
    if (!buffer.intact())
      return false;
  return error.empty();
}

ForeignMachine *quern::test::foreignMachine = nullptr;

std::vector<cpugen::CpuTarget> quern::test::executableTargets() {
  if (foreignMachine)
    return {foreignMachine->target()};
  std::vector<cpugen::CpuTarget> targets;
  for (cpugen::CpuLevel level : cpugen::allCpuLevels) {
    auto target = cpugen::CpuTarget::forLevel(level);
    if (cpu::whyNotHere(target.name(), target.features).empty())
      targets.push_back(std::move(target));
  }
  return targets;
}
