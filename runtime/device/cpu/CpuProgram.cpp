//===- CpuProgram.cpp - CPU code, loaded ----------------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/cpu/CpuProgram.h"

#include "runtime/device/cpu/CpuFeatures.h"
#include "runtime/device/cpu/CpuImage.h"
#include "runtime/device/cpu/HostProgram.h"

#include <fmt/format.h>

#include <atomic>
#include <cstdlib>
#include <sys/mman.h>

using namespace quern;
using namespace quern::cpu;

namespace {

class CpuProgram final : public HostProgram {
public:
  CpuProgram(std::vector<CpuImage> images, std::vector<KernelFn> kernels,
             std::shared_ptr<Executor> executor)
      : images(std::move(images)), kernels(std::move(kernels)),
        executor(std::move(executor)), threads(this->executor->threads()) {}

  Result<void *> allocate(uint64_t bytes) override {
    // Whole pages: no two allocations share a cache line.
    constexpr uint64_t page = 4096, large = 2 << 20;
    if (bytes <= UINT64_MAX - page) {
      uint64_t whole = (bytes + page - 1) / page * page;
      // What is read from end to end, as packed weights are, is read faster
      // through few translations. A system that has none to give says no, and
      // nothing else changes.
      bool wants = whole >= 2 * large;
      // aligned_alloc would want a multiple of the alignment.
      void *p = nullptr;
      if (posix_memalign(&p, wants ? large : page, whole) == 0) {
        if (wants)
          (void)madvise(p, whole, MADV_HUGEPAGE);
        return p;
      }
    }
    return fail(Errc::OutOfMemory,
                fmt::format("cannot allocate {} bytes", bytes));
  }
  void release(void *address) override { std::free(address); }
  bool usesHostMemory() const override { return true; }

  unsigned workers() const override { return threads; }

  Result<void> launch(const LaunchCall &call, void *) override {
    if (call.sizes->items <= 0)
      return {};
    KernelArgs args{call.buffers, call.symbols.data()};
    KernelFn kernel = kernels[call.launch->kernel];
    // A host's executor is held to its contract: a worker number beyond the
    // scratch would be a stray write.
    std::atomic<unsigned> stray{0};
    auto body = [&](int64_t begin, int64_t end, unsigned worker) {
      if (worker >= threads)
        stray.store(worker, std::memory_order_relaxed);
      else
        callKernel(kernel, args, begin, end,
                   call.scratch + worker * call.scratchStride);
    };
    executor->parallelFor(call.sizes->items, call.sizes->grain, body);
    if (unsigned worker = stray.load())
      return fail(Errc::InvalidArgument,
                  fmt::format("the executor has {} threads and called worker "
                              "{}",
                              threads, worker));
    return {};
  }

private:
  std::vector<CpuImage> images;
  std::vector<KernelFn> kernels;
  std::shared_ptr<Executor> executor;
  unsigned threads;
};

} // namespace

Result<std::shared_ptr<Program>>
cpu::loadProgram(const VariantDesc &variant, std::string_view layer,
                 std::shared_ptr<Executor> executor) {
  if (std::string why = whyNotHere(variant.target, variant.requiredFeatures);
      !why.empty())
    return fail(Errc::Unsupported,
                fmt::format("the code for '{}' {}", variant.target, why),
                {"compile the layer for this machine: target cpu"});
  if (executor->threads() < 1)
    return fail(Errc::InvalidArgument, "the executor has no threads");
  std::vector<CpuImage> images;
  for (const CodeDesc &code : variant.code) {
    Result<CpuImage> image = CpuImage::map(code, layer);
    if (!image)
      return image.error();
    images.push_back(std::move(*image));
  }
  std::vector<KernelFn> kernels;
  for (const KernelDesc &kernel : variant.kernels) {
    KernelFn entry = nullptr;
    for (const CpuImage &image : images)
      if (KernelFn found = image.find(kernel.name))
        entry = found;
    if (!entry)
      return fail(Errc::InvalidFile, fmt::format("kernel '{}' has no entry "
                                                 "point",
                                                 kernel.name));
    kernels.push_back(entry);
  }
  return std::shared_ptr<Program>(std::make_shared<CpuProgram>(
      std::move(images), std::move(kernels), std::move(executor)));
}
