//===- JoinBlocks.h - Quantizations join what makes their value -*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// A norm, a softmax, a quantization, or element-wise ops whose value is needed
// elsewhere too, and then a quantization of finer (or coarser) blocks: two
// kernels of blocks, of which the second reads what the first wrote. Where
// strips hold blocks of both (StageStrips.h) they become one kernel of two
// stages. This saves a launch and the value's way through memory. The strips
// are the blocks of the coarser stage, of which there are as many as before;
// those of the finer one are not shared out any wider, which is why a target
// limits how long a strip may be. It is done wherever it can be, before
// quantizations are placed beside products, and is no placement itself: a
// quantization that is asked to be `separate` is apart from products, not from
// the norm before it, just as one per token is in the norm's own stage.
// `fuse=none` does without.
//
// Bits are those of the stages one after the other, whose bodies are unchanged:
// each sees the value as it was rounded to its declared type.
//
// A value that others read, or the layer returns, is written as before. Apart
// stay, with the reason in the second kernel's `reason`:
//
//   - what has no strips;
//   - values of which a strip is too large to be kept;
//   - values that several kernels make, a part each;
//   - kernels that write an inout argument, whose memory others may still read;
//   - what more than `mostStages` stages would have to hold.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_DIALECTS_TILE_TRANSFORMS_JOINBLOCKS_H
#define QUERN_DIALECTS_TILE_TRANSFORMS_JOINBLOCKS_H

#include "dialects/tile/Transforms/StageFusion.h"
#include "dialects/tile/Transforms/StageStrips.h"

namespace quern::tile {

/// What a target can keep between stages.
struct JoinLimits {
  /// Bytes that what the stages of a strip hand each other may take, whether it
  /// is in memory besides or not.
  int64_t heldBytes;
  /// Where they are kept, for messages: "shared memory".
  std::string place;
};

/// Joins every quantization of the program that it can. Called before
/// quantizations are placed.
void joinQuantizations(ProgramOp program, const JoinLimits &limits);

/// Stages of one kernel, at most.
inline constexpr unsigned mostStages = 4;

} // namespace quern::tile

#endif // QUERN_DIALECTS_TILE_TRANSFORMS_JOINBLOCKS_H
