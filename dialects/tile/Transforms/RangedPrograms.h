//===- RangedPrograms.h - Programs for some of the sizes --------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// A program can be cut to a range of one of its symbols: what follows may then
// rely on it. Several programs made of one that way, each for a range of its
// own and changed since, become one again whose launches happen for the sizes
// of theirs (`when`).
//
// Signature buffers and packed ones are matched by their order, which nothing
// may have changed; prepare launches are taken from the first program.
// Temporaries and state stay apart. Kernels that do the same become one, with
// symbols that range over all that its launches need.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_DIALECTS_TILE_TRANSFORMS_RANGEDPROGRAMS_H
#define QUERN_DIALECTS_TILE_TRANSFORMS_RANGEDPROGRAMS_H

#include "dialects/tile/IR/Tile.h"

#include "mlir/IR/BuiltinOps.h"

namespace quern::tile {

/// Narrows a symbol of the module's program and of all its kernels.
void narrowSymbol(mlir::ModuleOp module, const SymbolRange &range);

/// What decides how a kernel runs beside its body, as text to compare.
using ScheduleText = llvm::function_ref<std::string(KernelOp)>;

/// Whether two modules hold the same but for the ranges of symbols.
bool areAlike(mlir::ModuleOp a, mlir::ModuleOp b, ScheduleText schedule);

struct RangedProgram {
  mlir::ModuleOp module;
  SymbolRange range;
};

/// Makes the module's program that of all of them; what it held before, they
/// were made of.
void mergePrograms(mlir::ModuleOp module, llvm::ArrayRef<RangedProgram> parts,
                   ScheduleText schedule);

} // namespace quern::tile

#endif // QUERN_DIALECTS_TILE_TRANSFORMS_RANGEDPROGRAMS_H
