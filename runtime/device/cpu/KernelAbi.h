//===- KernelAbi.h - How the runtime calls CPU kernels ----------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Generated CPU code has one calling convention and no undefined symbol: what
// it may need from outside arrives in its arguments. This header is the whole
// contract between generated code and runtime, and is part of the module
// format: extend at the end, never change.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_DEVICE_CPU_KERNELABI_H
#define QUERN_DEVICE_CPU_KERNELABI_H

#include <cstdint>

namespace quern {
inline namespace v0 {
namespace cpu {

extern "C" {

/// Arguments of one launch, shared by all its calls.
struct KernelArgs {
  /// Addresses of the launch's buffers, in the plan's order.
  void *const *buffers;
  /// Values of the layer's symbols.
  const int64_t *symbols;
};

/// Processes the items [begin, end) of a launch. Calls for disjoint ranges may
/// run at once; `scratch` is this call's alone, 64-byte aligned, of the
/// launch's `scratchBytes`, with undefined contents.
using KernelFn = void (*)(const KernelArgs *args, int64_t begin, int64_t end,
                          void *scratch);
}

} // namespace cpu
} // namespace v0
} // namespace quern

#endif // QUERN_DEVICE_CPU_KERNELABI_H
