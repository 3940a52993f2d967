//===- RunMemory.h - Whether a run fits this machine ------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// A run that needs more memory than there is would end the process, or others.
// What it needs at least is counted before anything is allocated, for the three
// times at which most is held at once:
//
//     drawing     each drawn operand twice: as drawn, and as the run sees it
//     running     operands, outputs, packed weights, the temporaries of one
//                 launch; on the simulator the device's copies of operands
//     checking    operands and outputs twice: the run's and the reference's
//
// and compared with what the system says is available. The count is a lower
// bound (the reference's intermediates are left out), so that a refusal is
// always right.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_TOOLS_QUERN_RUNMEMORY_H
#define QUERN_TOOLS_QUERN_RUNMEMORY_H

#include "compiler/tools/quern/Commands.h"
#include "quern/quern.h"

namespace quern::tool {

/// OutOfMemory for symbol values with which the run cannot fit; `drawn` names
/// the operands that no file gives.
Result<void> checkMemory(const Layer &layer, std::span<const int64_t> symbols,
                         const std::vector<std::string> &drawn, bool check);

} // namespace quern::tool

#endif // QUERN_TOOLS_QUERN_RUNMEMORY_H
