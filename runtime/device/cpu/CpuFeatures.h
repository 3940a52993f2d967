//===- CpuFeatures.h - What this machine can execute ------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// The instruction-set extensions of the running machine, in LLVM's spelling. A
// feature counts only when the operating system saves the registers it needs:
// an AVX-512 instruction faults on a processor that has it under a kernel that
// does not enable it. AMX is not reported: a process must ask for it first, and
// no code uses it.
//
// The environment variable QUERN_CPU_WITHOUT takes features away, as in
// "avx512vnni,avx512bf16": to run what another machine would. A name that is
// no feature is an error wherever code is chosen by features. The variable is
// not read in programs with more rights than their user.
//
// Features have names within an architecture. Code of a target named
// "cpu:aarch64" and so on is for AArch64, code of any other for x86-64: code
// that needs no feature still does not run on the other architecture.
//
// Bits: x86-64 Intel SDM volume 2A, CPUID leaves 1, 7 (subleaves 0 and 1) and
// 0x80000001; register state from XCR0 (XGETBV), volume 1 chapter 13. AArch64:
// the Linux kernel's "ARM64 ELF hwcaps", which speak for processor and kernel.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_DEVICE_CPU_CPUFEATURES_H
#define QUERN_DEVICE_CPU_CPUFEATURES_H

#include "runtime/core/Result.h"

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace quern {
inline namespace v0 {
namespace cpu {

/// "x86-64", "AArch64", or "unknown one".
std::string_view hostArchitecture();

/// What code for a target such as "cpu:avx2" is for; as above.
std::string_view architectureOf(std::string_view target);

/// Sorted; detected once, less what QUERN_CPU_WITHOUT names. Empty on
/// processors other than x86-64 and AArch64.
std::span<const std::string> hostFeatures();

/// InvalidArgument where QUERN_CPU_WITHOUT names what is no feature.
Result<void> checkWithout();

bool hostHas(std::string_view feature);

/// The first of `required` that the machine lacks; empty if it has all.
std::string_view firstMissing(std::span<const std::string> required);

/// Why this machine cannot run code for `target` that requires those features,
/// as in "is for AArch64, and this machine is an x86-64"; empty if it can.
std::string whyNotHere(std::string_view target,
                       std::span<const std::string> required);

} // namespace cpu
} // namespace v0
} // namespace quern

#endif // QUERN_DEVICE_CPU_CPUFEATURES_H
