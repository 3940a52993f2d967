//===- EmulatedProgram.cpp - CPU code, loaded in the emulator -------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// A second cpu::loadProgram. Programs of this folder have it in the place of
// the runtime's: their layers are checked, planned and launched by the runtime
// as ever, and only the kernels run elsewhere.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/cpu/CpuProgram.h"
#include "runtime/device/cpu/HostProgram.h"
#include "tests/aarch64/Emulator.h"

#include <fmt/format.h>

#include <algorithm>

using namespace quern;
using namespace quern::test;

namespace {
class EmulatedProgram final : public cpu::HostProgram {
public:
  EmulatedProgram(Emulator &emulator, int64_t code,
                  std::vector<uint64_t> kernels, unsigned threads)
      : emulator(emulator), code(code), kernels(std::move(kernels)),
        threads(threads) {}
  ~EmulatedProgram() override { (void)emulator.unmap(code); }

  Result<void *> allocate(uint64_t bytes) override {
    return emulator.allocate(bytes);
  }
  void release(void *address) override { emulator.release(address); }
  bool usesHostMemory() const override { return false; }

  unsigned workers() const override { return threads; }

  /// In as many calls as there are threads, one after the other.
  Result<void> launch(const LaunchCall &call, void *) override {
    int64_t items = call.sizes->items;
    for (unsigned worker = 0; worker < threads; ++worker) {
      int64_t begin = items * worker / threads;
      int64_t end = items * (worker + 1) / threads;
      if (begin >= end)
        continue;
      std::span<void *const> buffers(call.buffers, call.launch->buffers.size());
      auto done = emulator.launch(code, kernels[call.launch->kernel], buffers,
                                  call.symbols, begin, end,
                                  call.scratch + worker * call.scratchStride);
      if (!done)
        return done;
    }
    return {};
  }

private:
  Emulator &emulator;
  int64_t code;
  std::vector<uint64_t> kernels;
  unsigned threads;
};
} // namespace

Result<std::shared_ptr<Program>>
cpu::loadProgram(const VariantDesc &variant, std::string_view layer,
                 std::shared_ptr<Executor> executor) {
  Result<Emulator *> emulator = Emulator::get();
  if (!emulator)
    return emulator.error();
  if (variant.code.size() != 1)
    return fail(Errc::InvalidFile,
                fmt::format("'{}' has {} images", layer, variant.code.size()));
  const CodeDesc &image = variant.code.front();
  std::vector<uint64_t> kernels;
  for (const KernelDesc &kernel : variant.kernels) {
    auto symbol =
        std::ranges::find(image.symbols, kernel.name, &CodeSymbol::name);
    if (symbol == image.symbols.end())
      return fail(Errc::InvalidFile,
                  fmt::format("kernel '{}' has no entry point", kernel.name));
    kernels.push_back(symbol->offset);
  }
  Result<int64_t> code = (*emulator)->map(image.bytes);
  if (!code)
    return code.error();
  return std::shared_ptr<Program>(std::make_shared<EmulatedProgram>(
      **emulator, *code, std::move(kernels), executor->threads()));
}
