//===- Relocations.h - References within an image ---------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// What a relocation puts into the place it is for, when all that is known is
// where the image's parts lie relative to each other. Its base is a multiple of
// 4096, so that differences of addresses, differences of 4-KiB pages and
// offsets in such pages are known; absolute addresses are not.
//
// From the ELF specifications: "System V ABI, AMD64 supplement", table 4.9, and
// "ELF for the Arm 64-bit Architecture", section 5.7; S is the symbol's
// address, A the addend, P the place, Page(x) = x with its low twelve bits
// clear.
//
//     x86-64     PC32, PLT32, PC64               S + A - P
//     AArch64    PREL16, PREL32, PREL64          S + A - P
//                CALL26, JUMP26, CONDBR19,
//                TSTBR14, LD_PREL_LO19           S + A - P, words
//                ADR_PREL_LO21                   S + A - P
//                ADR_PREL_PG_HI21                Page(S + A) - Page(P), pages
//                ADD_ABS_LO12_NC                 (S + A) in its page
//                LDSTn_ABS_LO12_NC               the same, in units of n bits
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_COMPILER_LOWER_CPU_RELOCATIONS_H
#define QUERN_COMPILER_LOWER_CPU_RELOCATIONS_H

#include "runtime/core/Result.h"

#include "llvm/TargetParser/Triple.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace quern::cpugen {

struct Relocation {
  uint64_t type;    ///< An ELF relocation type of the architecture.
  std::string name; ///< Of the type, for messages.
  uint64_t place;   ///< P, as an offset in the image.
  int64_t target;   ///< S + A, likewise; may lie outside.
};

/// Writes it into the image. Errors, all Internal: a type that needs a loader,
/// a place outside the image, a distance or an alignment that it cannot hold.
Result<void> apply(const Relocation &relocation,
                   llvm::Triple::ArchType architecture,
                   std::span<std::byte> image);

} // namespace quern::cpugen

#endif // QUERN_COMPILER_LOWER_CPU_RELOCATIONS_H
