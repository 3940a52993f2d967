//===- CpuTarget.h - What a CPU variant may use -----------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// CPU code is generated for one of six levels. A level is a fixed set of
// instruction-set features, so that a module made on one machine runs on every
// machine of that level, and the bits and the code are the same wherever it
// was made; the machine at hand only steers instruction scheduling and the
// sizes of blocks.
//
//     generic           x86-64 baseline (SSE2)           4 lanes of 32 bits
//     avx2              x86-64-v3 (AVX2, FMA, F16C)       8 lanes
//     avx-vnni          avx2 and AVX-VNNI                 8 lanes, vpdpbusd
//     avx512-vnni       x86-64-v4 and AVX-512 VNNI       16 lanes, vpdpbusd
//     avx512-bf16       avx512-vnni and AVX-512 BF16     16 lanes, vdpbf16ps
//     aarch64-dotprod   Armv8.1-A and the dot product     4 lanes, sdot, udot
//
// A level of x86-64 has all that those above it have, but for the encodings
// without AVX-512 that make up AVX-VNNI. Bits are the same on all levels where
// an operation's class is exact or ordered (docs/numerics.md).
//
// Code for any level is compiled on any machine; what runs it asks whether it
// is here (runtime/device/cpu/CpuFeatures.h).
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_COMPILER_LOWER_CPU_CPUTARGET_H
#define QUERN_COMPILER_LOWER_CPU_CPUTARGET_H

#include "runtime/core/Result.h"

#include <string>
#include <string_view>
#include <vector>

namespace quern::cpugen {

/// In ascending order; each architecture for itself.
enum class CpuLevel : uint8_t {
  Generic,
  Avx2,
  AvxVnni,
  Avx512Vnni,
  Avx512Bf16,
  AArch64DotProd
};

/// All of them, in order.
inline constexpr CpuLevel allCpuLevels[] = {
    CpuLevel::Generic,    CpuLevel::Avx2,       CpuLevel::AvxVnni,
    CpuLevel::Avx512Vnni, CpuLevel::Avx512Bf16, CpuLevel::AArch64DotProd};

/// What an instruction that adds four products of bytes to each lane takes, or
/// a few instructions that are faster than widening the bytes.
enum class ByteDot : uint8_t {
  None,  ///< There is none.
  Mixed, ///< Unsigned times signed (vpdpbusd).
  /// Unsigned times signed, where two products fit 16 bits: one of the operands
  /// is at most 15 (pmaddubsw, pmaddwd by ones, add).
  Narrow,
  Same, ///< Both signed (sdot) or both unsigned (udot).
};

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
    return hasAvx512() ? 16 : level == CpuLevel::Avx2 || hasAvxVnni() ? 8 : 4;
  }
  bool isAArch64() const { return level == CpuLevel::AArch64DotProd; }
  bool hasAvxVnni() const { return level == CpuLevel::AvxVnni; }
  /// Vectors of 512 bits, 32 registers, and vpdpbusd.
  bool hasAvx512() const {
    return level == CpuLevel::Avx512Vnni || hasBf16Dot();
  }
  bool hasBf16Dot() const { return level == CpuLevel::Avx512Bf16; }
  ByteDot byteDot() const {
    return isAArch64()                   ? ByteDot::Same
           : hasAvx512() || hasAvxVnni() ? ByteDot::Mixed
           : level == CpuLevel::Avx2     ? ByteDot::Narrow
                                         : ByteDot::None;
  }
  /// Vector registers.
  unsigned registers() const { return hasAvx512() || isAArch64() ? 32 : 16; }
  bool hasFma() const { return level != CpuLevel::Generic; }
  /// Instructions from f16 to f32 and back.
  bool convertsHalf() const { return level != CpuLevel::Generic; }
  /// Instructions that round f32 to integral f32.
  bool roundsToIntegral() const { return level != CpuLevel::Generic; }
  /// Lanes can be switched off per instruction at no cost.
  bool hasMasks() const { return hasAvx512(); }
  /// A multiply-add takes one lane of a vector for all lanes of its other
  /// operand.
  bool multipliesByLane() const { return isAArch64(); }

  /// "cpu:avx512-bf16", "cpu:aarch64-dotprod", "cpu:generic", ...
  std::string name() const;

  static CpuTarget forLevel(CpuLevel level);
  /// The highest level this machine supports; `Unsupported` where it supports
  /// none.
  static Result<CpuTarget> host();
  /// "cpu" is the host; "cpu:LEVEL" names a level. What is the name of an
  /// instruction set that no code is made for is refused with the level that a
  /// machine with it runs instead.
  static Result<CpuTarget> parse(std::string_view text);
};

} // namespace quern::cpugen

#endif // QUERN_COMPILER_LOWER_CPU_CPUTARGET_H
