//===- ObjectCode.h - From LLVM IR to a loadable image ----------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// The object LLVM emits is linked right here into one flat image: the code,
// then its constants, with every reference resolved relative to the place it
// stands in. The image runs at any page-aligned address (AArch64's pairs of a
// page and an offset in it need the alignment: 4096 bytes, whatever the
// system's pages are), needs no loader and no other library. Whatever would
// need one (an undefined symbol, an absolute address) is an internal error that
// names it.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_COMPILER_LOWER_CPU_OBJECTCODE_H
#define QUERN_COMPILER_LOWER_CPU_OBJECTCODE_H

#include "compiler/lower/cpu/CpuTarget.h"
#include "runtime/module/Module.h"

#include "llvm/ADT/SmallVector.h"
#include "llvm/IR/Module.h"
#include "llvm/Support/MemoryBufferRef.h"
#include "llvm/Target/TargetMachine.h"

#include <memory>

namespace quern::cpugen {

Result<std::unique_ptr<llvm::TargetMachine>>
createTargetMachine(const CpuTarget &target);

/// Simplifies, vectorised code being given: no loop is transformed beyond
/// moving invariant code out of it.
void optimize(llvm::Module &module);

/// An ELF object, or assembly text.
Result<llvm::SmallVector<char, 0>>
emitFile(llvm::Module &module, llvm::TargetMachine &machine, bool assembly);

/// The image of an ELF object for x86-64 or AArch64; `symbols` are the global
/// functions.
Result<CodeDesc> linkImage(llvm::MemoryBufferRef object);

} // namespace quern::cpugen

#endif // QUERN_COMPILER_LOWER_CPU_OBJECTCODE_H
