//===- MoveStages.h - Moves and joins of stages as passes -------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// -tile-move-stages="move=fuse first=0 second=1 placement=tile" puts the
// first and second launch of the program into one kernel; move=accumulate and
// move=absorb take `buffer`, the name of the value between the two. A refusal
// is an error with its reason. -tile-join-blocks="held=BYTES" does what
// JoinBlocks.h says. For trying and testing: the compiler calls both
// itself.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_COMPILER_TOOLS_TILEOPT_MOVESTAGES_H
#define QUERN_COMPILER_TOOLS_TILEOPT_MOVESTAGES_H

namespace quern::tile {
void registerStagePasses();
} // namespace quern::tile

#endif // QUERN_COMPILER_TOOLS_TILEOPT_MOVESTAGES_H
