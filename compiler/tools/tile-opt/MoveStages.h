//===- MoveStages.h - The moves of StageFusion.h as a pass ------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// -tile-move-stages="move=fuse first=0 second=1 placement=tile" puts the
// first and second launch of the program into one kernel; move=accumulate and
// move=absorb take `buffer`, the name of the value between the two. A refusal
// is an error with its reason. For trying and testing: the compiler calls the
// moves itself.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_COMPILER_TOOLS_TILEOPT_MOVESTAGES_H
#define QUERN_COMPILER_TOOLS_TILEOPT_MOVESTAGES_H

namespace quern::tile {
void registerMoveStagesPass();
} // namespace quern::tile

#endif // QUERN_COMPILER_TOOLS_TILEOPT_MOVESTAGES_H
