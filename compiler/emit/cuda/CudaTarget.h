//===- CudaTarget.h - Which NVIDIA architecture -----------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// An architecture as NVRTC names it: `sm_80`, `sm_90a`. The suffix `a` allows
// instructions that exist on that very architecture only. Supported: 8.0 and
// later, which have cp.async, ldmatrix and the integer and 16-bit mma.sync
// that the templates are made of.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_COMPILER_EMIT_CUDA_CUDATARGET_H
#define QUERN_COMPILER_EMIT_CUDA_CUDATARGET_H

#include "runtime/core/Result.h"

#include <cstdint>
#include <string>
#include <string_view>

namespace quern::emit {

struct CudaTarget {
  unsigned arch = 80;    ///< 80, 89, 90, 100, 120.
  bool specific = false; ///< The suffix `a`.

  /// Reads `sm_90a`; InvalidArgument with the accepted spellings otherwise.
  static Result<CudaTarget> parse(std::string_view text);
  std::string name() const; ///< "sm_90a"

  /// Shared memory one thread block may use, in bytes, opted in.
  uint32_t sharedBytesPerBlock() const;
  uint32_t sharedBytesPerMultiprocessor() const;
  /// Of shared memory, what the machine keeps of every block's.
  static constexpr uint32_t reservedShared = 1024;
  uint32_t threadsPerMultiprocessor() const;
  /// Of the smallest device with this architecture that people run such
  /// kernels on: an A100, an RTX 3060, a Jetson, an L4, an H100 PCIe, a B200,
  /// an RTX 5060. For estimates; what a device has is asked when code is
  /// loaded.
  uint32_t multiprocessors() const;
  /// Thread blocks can form clusters that read each other's shared memory.
  bool hasClusters() const { return arch >= 90; }

  /// Products of 8-bit floats exist as PTX: from sm_89 on. On sm_90 and sm_10x
  /// the assembler makes f16 products of them; elsewhere they are one machine
  /// instruction, which sums with fewer bits than f32 has.
  bool multipliesF8() const { return arch >= 89; }
  bool sumsF8Short() const { return arch == 89 || arch >= 120; }
};

} // namespace quern::emit

#endif // QUERN_COMPILER_EMIT_CUDA_CUDATARGET_H
