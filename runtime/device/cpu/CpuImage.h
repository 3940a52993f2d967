//===- CpuImage.h - Machine code mapped for execution -----------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// A CPU image of a module is position-independent bytes without relocations:
// loading it is mapping it. No page is ever writable and executable at once.
// The bytes go into an anonymous file that is mapped read and execute, so that
// loading also works where a process may not turn writable memory executable;
// where such files are refused, memory is written, then protected.
//
// The image is unmapped with the object: whoever calls into it keeps it alive.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_DEVICE_CPU_CPUIMAGE_H
#define QUERN_DEVICE_CPU_CPUIMAGE_H

#include "runtime/device/cpu/KernelAbi.h"
#include "runtime/module/Module.h"

#include <string_view>

namespace quern {
inline namespace v0 {
namespace cpu {

class CpuImage {
public:
  /// Maps a code object of kind CpuImage. `name` shows in /proc/self/maps and
  /// in profilers.
  static Result<CpuImage> map(const CodeDesc &code, std::string_view name);

  CpuImage(CpuImage &&other) noexcept;
  CpuImage &operator=(CpuImage &&other) noexcept;
  ~CpuImage();

  /// The kernel at that entry point; null if the image has none of that name.
  KernelFn find(std::string_view symbol) const;

  const void *address() const { return base; }
  size_t size() const { return bytes; }

private:
  CpuImage() = default;

  void *base = nullptr;
  size_t bytes = 0; ///< Whole pages.
  std::vector<CodeSymbol> symbols;
};

/// Calls generated code. It has no type information in front of its entry
/// points, which UBSan's check of indirect calls would read.
#if defined(__clang__)
__attribute__((no_sanitize("function")))
#endif
inline void callKernel(KernelFn kernel, const KernelArgs &args, int64_t begin,
                       int64_t end, void *scratch) {
  kernel(&args, begin, end, scratch);
}

} // namespace cpu
} // namespace v0
} // namespace quern

#endif // QUERN_DEVICE_CPU_CPUIMAGE_H
