//===- StripsFit.h - Who takes which blocks of a strip ----------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Kernels of several tile.blocks stages and no product on a GPU: a thread block
// of 256 threads takes a strip (StageStrips.h) through all stages, or a warp
// does where no block of any stage has more than 256 elements. What stages hand
// each other is held in shared memory. Each stage's blocks are taken by teams:
// as many lanes as a block has elements, up to a warp, for blocks of at most
// 256 elements; else all threads together.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_COMPILER_EMIT_CUDA_STRIPSFIT_H
#define QUERN_COMPILER_EMIT_CUDA_STRIPSFIT_H

#include "compiler/emit/cuda/IndexText.h"
#include "dialects/tile/Transforms/StageStrips.h"

namespace quern::emit {

/// Shared memory for what the stages of a strip hand each other. Static shared
/// memory ends at 48 KiB, of which teams need some; and two to five such thread
/// blocks still run on a multiprocessor side by side.
inline constexpr int64_t stripBytes = 40 * 1024;

struct StripTeams {
  unsigned threads = 256; ///< Of a strip: 256 or 32.
  /// Lanes of a team, per stage; 0: all threads of the strip.
  llvm::SmallVector<unsigned> lanes;
  int64_t heldBytes = 0; ///< Of a strip.

  unsigned stripsPerBlock() const { return 256 / threads; }
};

StripTeams teamsOf(const tile::StageStrips &strips, Symbols &symbols,
                   llvm::ArrayRef<mlir::Attribute> declared);

/// Whether a value is held in shared memory: the first stage that touches it
/// makes it.
bool isHeld(const tile::StageStrips &strips, const tile::StripValue &value);

} // namespace quern::emit

#endif // QUERN_COMPILER_EMIT_CUDA_STRIPSFIT_H
