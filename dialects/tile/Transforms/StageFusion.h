//===- StageFusion.h - Two launches as one kernel ---------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// The ways in which a program's launches are put together. Each changes the
// program and its kernels and nothing that is computed; whether a target can
// run the result, and whether it pays, is decided before
// (compiler/select/Placement.h).
//
//     fuse        the stages of both kernels in one. A temporary that only they
//                 use becomes a tile.local, unless it is to stay in memory.
//     accumulate  a reduction moves to where its elements are made: the kernel
//                 that stores them also combines them into state, and the
//                 kernel that reduced reads one number. A temporary that nobody
//                 reads then is no longer stored.
//     absorb      a map that only stores elements moves to where they are read:
//                 the reader computes them on load.
//
// Every function returns an empty reason when it changed the program, and
// otherwise why it could not, having changed nothing.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_DIALECTS_TILE_TRANSFORMS_STAGEFUSION_H
#define QUERN_DIALECTS_TILE_TRANSFORMS_STAGEFUSION_H

#include "dialects/tile/IR/Tile.h"

#include <string>

namespace quern::tile {

/// The kernel a launch runs.
KernelOp getKernel(LaunchOp launch);

/// "gated_product" of "quern_swiglu_mlp_1_gated_product".
llvm::StringRef roleOf(llvm::StringRef kernelName);

/// The one launch of a run that writes `buffer`, or null.
LaunchOp getWriter(ProgramOp program, mlir::Value buffer);
/// The launches of a run that read `buffer`, in order.
llvm::SmallVector<LaunchOp> getReaders(ProgramOp program, mlir::Value buffer);

struct FuseOptions {
  Placement placement = Placement::Tile;
  /// Temporaries that only the two use stay buffers of the program.
  bool keepInMemory = false;
};

/// One launch in place of two, `first` before `second`. `fused` is set.
std::string fuse(LaunchOp first, LaunchOp second, const FuseOptions &options,
                 LaunchOp &fused);

/// Moves the level-0 reductions of `reader` (a tile.blocks kernel) over
/// `buffer` to where `writer` stores it.
std::string accumulate(LaunchOp writer, LaunchOp reader, mlir::Value buffer);

/// Removes the map of `maker` that stores `buffer`; the operands of `reader`'s
/// product that load it compute it instead.
std::string absorb(LaunchOp maker, LaunchOp reader, mlir::Value buffer);

} // namespace quern::tile

#endif // QUERN_DIALECTS_TILE_TRANSFORMS_STAGEFUSION_H
