//===- Mbarrier.h - Barriers in shared memory -------------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// The mbarrier objects of PTX (ISA, "Parallel Synchronization and
// Communication Instructions: mbarrier"): a phase, the expected and the pending
// arrivals of the current phase, and the bytes of asynchronous transactions it
// still expects. The phase completes when no arrival and no byte is pending.
//
// The object's state is kept beside memory, in Block::mbarriers; its eight
// bytes in shared memory are filled with a pattern, and an ordinary load or
// store of them between init and inval is a BarrierMisuse fault, because their
// contents are opaque.
//
// Modelling choices:
//  - A state token is the number of the phase the arrival counted for, above
//    20 bits of arrivals pending before it (for mbarrier.pending_count).
//    test_wait with it is true once the object is in a later phase; a token
//    that is more than one phase old is a fault ("only the current or the
//    immediately preceding phase").
//  - The parity form is true exactly if the current phase's parity differs.
//  - try_wait may return early: a failing try_wait suspends its warp until
//    anything changes, but may also just return false, by the seed.
//  - Arrivals release and waits acquire unless marked .relaxed; scopes are not
//    told apart, because common code waits at .cta for remote arrivals.
//  - The count of pending bytes may be negative while it lasts (data may land
//    before expect_tx), but not beyond 2^20-1 either way.
//  - An asynchronous operation that signals an object whose init nothing has
//    made visible to the async proxy (fence.mbarrier_init or fence.proxy.async
//    after init) is a MissingProxyFence fault.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_DEVICE_SIM_MBARRIER_H
#define QUERN_DEVICE_SIM_MBARRIER_H

#include "runtime/device/sim/Clock.h"

#include <cstdint>

namespace quern {
inline namespace v0 {
namespace sim {

struct Block;
struct Warp;
struct Instr;
struct Launch;
struct SharedPlace;

struct Mbarrier {
  static constexpr uint32_t maxCount = (1u << 20) - 1;
  static constexpr int32_t maxBytes = (1 << 20) - 1;

  uint32_t expected = 0; ///< Arrivals of the next phases.
  int32_t pending = 0;   ///< Arrivals still to come in this phase.
  int32_t bytes = 0;     ///< Transaction bytes still to come.
  uint64_t phase = 0;
  bool visibleToAsync = false;
  Epoch initialised;
  /// What arrivals of the current phase released; what completed phases did.
  Clock arriving;
  Clock completed;
  uint32_t line = 0; ///< PTX line of init, for reports.
};

/// Moves on to the next phase if nothing is pending.
void completePhase(Launch &launch, Mbarrier &mbarrier);

// Instructions on mbarriers for one thread. `place` may lie in another block of
// the cluster where PTX allows it. They report faults themselves and then do
// nothing (returning 0 or false).

void mbarrierInit(Warp &warp, const Instr &instr, int lane, SharedPlace place,
                  uint32_t count);
void mbarrierInvalidate(Warp &warp, const Instr &instr, int lane,
                        SharedPlace place);
/// `count` arrivals after `expectBytes` more expected bytes. `drop` lowers the
/// expected count of later phases, `noComplete` forbids completing the phase.
/// Returns the state token.
uint64_t mbarrierArrive(Warp &warp, const Instr &instr, int lane,
                        SharedPlace place, uint32_t count, uint32_t expectBytes,
                        bool relaxed = false, bool drop = false,
                        bool noComplete = false);
/// cp.async.mbarrier.arrive: `count` more arrivals are pending in this phase.
bool mbarrierAwaitMore(Warp &warp, const Instr &instr, int lane,
                       SharedPlace place, uint32_t count);
void mbarrierExpectBytes(Warp &warp, const Instr &instr, int lane,
                         SharedPlace place, uint32_t bytes);
/// mbarrier.complete_tx: simulates an asynchronous completion.
void mbarrierCompleteBytes(Warp &warp, const Instr &instr, int lane,
                           SharedPlace place, uint32_t bytes);
/// Whether the phase of `token`, or the one with `parity`, has completed;
/// acquires if so.
bool mbarrierTestState(Warp &warp, const Instr &instr, int lane,
                       SharedPlace place, uint64_t token, bool relaxed);
bool mbarrierTestParity(Warp &warp, const Instr &instr, int lane,
                        SharedPlace place, uint32_t parity, bool relaxed);

} // namespace sim
} // namespace v0
} // namespace quern

#endif // QUERN_DEVICE_SIM_MBARRIER_H
