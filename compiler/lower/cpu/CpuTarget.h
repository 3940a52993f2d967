//===- CpuTarget.h - What a CPU variant may use -----------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// CPU code is generated for one of four levels. A level is a fixed set of
// instruction-set features, so that a module made on one machine runs on every
// machine of that level, and the bits and the code are the same wherever it
// was made; the machine at hand only steers instruction scheduling and the
// sizes of blocks.
//
//     generic       x86-64 baseline (SSE2)            4 lanes of 32 bits
//     avx2          x86-64-v3 (AVX2, FMA, F16C)        8 lanes
//     avx512-vnni   x86-64-v4 and AVX-512 VNNI        16 lanes, vpdpbusd
//     avx512-bf16   avx512-vnni and AVX-512 BF16      16 lanes, and vdpbf16ps
//
// Each level has all of those above it. Bits are the same on all of them where
// an operation's class is exact or ordered (docs/numerics.md).
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_COMPILER_LOWER_CPU_CPUTARGET_H
#define QUERN_COMPILER_LOWER_CPU_CPUTARGET_H

#include "runtime/core/Result.h"

#include <string>
#include <string_view>
#include <vector>

namespace quern::cpugen {

/// In ascending order.
enum class CpuLevel : uint8_t { Generic, Avx2, Avx512Vnni, Avx512Bf16 };

/// All of them, in order.
inline constexpr CpuLevel allCpuLevels[] = {CpuLevel::Generic, CpuLevel::Avx2,
                                            CpuLevel::Avx512Vnni,
                                            CpuLevel::Avx512Bf16};

/// Data caches as one thread sees them, in bytes. The defaults are what most
/// server processors since 2019 have at least; code for a level is made for
/// them, code for "cpu" for those of the machine at hand.
struct CpuCaches {
  int64_t l1 = 32 << 10;
  int64_t l2 = 1 << 20;
  int64_t l3 = 32 << 20; ///< All of it, though others may share it.

  /// Those of the first processor, as Linux tells in /sys/devices/system/cpu; a
  /// level that is not told of keeps its default.
  static CpuCaches host();
};

struct CpuTarget {
  CpuLevel level = CpuLevel::Generic;
  std::string triple = "x86_64-unknown-linux-gnu";
  /// The instruction set: an LLVM CPU name of the level.
  std::string cpu = "x86-64";
  /// What to schedule for; any LLVM CPU name.
  std::string tuneCpu = "generic";
  /// Features beyond the baseline that code may use, in LLVM's spelling; what
  /// a module records as required.
  std::vector<std::string> features;
  /// What sizes are chosen for (Blocking.h); bits do not depend on it.
  CpuCaches caches;

  unsigned lanes() const {
    return hasAvx512() ? 16 : level == CpuLevel::Avx2 ? 8 : 4;
  }
  /// Vectors of 512 bits, 32 registers, and vpdpbusd.
  bool hasAvx512() const { return level >= CpuLevel::Avx512Vnni; }
  bool hasBf16Dot() const { return level >= CpuLevel::Avx512Bf16; }
  bool hasFma() const { return level != CpuLevel::Generic; }
  bool hasF16C() const { return level != CpuLevel::Generic; }
  bool hasSse41() const { return level != CpuLevel::Generic; }
  /// Lanes can be switched off per instruction at no cost.
  bool hasMasks() const { return hasAvx512(); }

  /// "cpu:avx512-bf16", "cpu:avx512-vnni", "cpu:avx2", "cpu:generic".
  std::string name() const;

  static CpuTarget forLevel(CpuLevel level);
  /// The highest level this machine supports.
  static CpuTarget host();
  /// "cpu" is the host; "cpu:LEVEL" names a level.
  static Result<CpuTarget> parse(std::string_view text);
};

} // namespace quern::cpugen

#endif // QUERN_COMPILER_LOWER_CPU_CPUTARGET_H
