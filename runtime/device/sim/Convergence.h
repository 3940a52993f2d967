//===- Convergence.h - Which lanes of a warp run together -------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Private to the interpreter. When a branch splits a warp, each lane's next
// instruction is remembered and the lanes with the lowest one run first, up to
// the lowest one of the others, where they join. That alone meets only in code
// whose joins stand behind all that leads to them; compilers put unlikely
// blocks behind the join. What the program relies on are therefore the
// instructions that need several lanes: aligned barriers and matrix
// instructions (all that have not exited), shuffles, votes and the like (those
// that their member mask names). There lanes that come early are parked
// (Warp::parked) until those they need have come to the same instruction or
// have exited (PTX ISA, "bar.warp.sync", "shfl.sync": the executing thread
// waits until all non-exited threads of the mask have executed it with the same
// mask). bar.warp.sync meets by its mask alone, from whatever places.
//
// If nothing but parked lanes is left, they will never meet: the lowest of them
// execute their instruction as they are, and it reports who is missing.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_DEVICE_SIM_CONVERGENCE_H
#define QUERN_DEVICE_SIM_CONVERGENCE_H

#include "runtime/device/sim/Machine.h"

namespace quern {
inline namespace v0 {
namespace sim {

/// At a collective that lanes `coming` of the running ones are to execute, but
/// not the whole warp: the lanes that execute it now. That may be fewer, or
/// more with some that were parked here; they are the running ones then. 0: all
/// were parked and others run.
uint32_t meet(Warp &warp, const Instr &instr, uint32_t coming);

/// Puts the lowest lanes in charge that are not running now, if there are any:
/// lanes that spin would starve those they wait for.
void letOthersRun(Warp &warp);

} // namespace sim
} // namespace v0
} // namespace quern

#endif // QUERN_DEVICE_SIM_CONVERGENCE_H
