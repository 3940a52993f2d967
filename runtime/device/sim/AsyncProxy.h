//===- AsyncProxy.h - Operations that land later ----------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Bulk copies, tensor copies (TMA), wgmma, st.async, red.async and arrivals of
// cp.async are issued by a thread and carried out later by hardware. The
// simulator does the same: the instruction creates an `AsyncOp` that says what
// it will read and write and what it signals; the machine performs it at a
// random moment that the program allows, drawn from the seed: at once, some
// turns later, or only when something waits for it.
//
// An instruction is written like this (a 1-D bulk copy, global to shared):
//
//     AsyncOp op = beginAsync(warp, instr, lane);
//     SharedPlace to = locateShared(warp, instr, lane, address, bytes, 16);
//     const std::byte *from = op.readGlobal(source, bytes, 16);
//     std::byte *data = op.writeShared(to, bytes);   // poisons, marks in
//     flight if (!from || !data)
//       return;                                      // already reported
//     op.onLanding([=](AsyncOp &) { std::memcpy(data, from, bytes); });
//     op.signal(mbarrierPlace, bytes);               // complete_tx::bytes
//     schedule(std::move(op));
//
// What the machine does with it:
//
//  - All reads and writes are checked when the operation is issued, against the
//    clocks of the issuing thread, as accesses of the async proxy: a generic
//    write that no fence.proxy.async separates from the operation is a
//    MissingProxyFence fault; anything unordered is a race (generic reads need
//    no proxy fence before an asynchronous overwrite, only order). From issue
//    on they count as performed "somewhere in the future": any access by others
//    that is not ordered after completion is a race, and touching bytes it
//    writes is an InFlightCopy fault until it has landed.
//  - Landing runs `onLanding`, once, then signals. Operations with the same
//    non-zero `chain` land in the order they were scheduled (wgmma on one
//    accumulator); others in any order.
//  - Completion makes the accesses known to whoever observes it:
//      signal(mbarrier, n)  complete_tx of n bytes when landing; waiters of
//      that
//                           phase know the operation.
//      joinBulkGroup()      belongs to the thread's open bulk group. After
//                           commitBulkGroup/waitBulkGroup(n, read) the thread
//                           knows its reads, and its writes unless `read`.
//      joinWgmmaGroup()     the same for the warpgroup's wgmma groups; what
//                           onLanding wrote to registers may then be read.
//
// Reads are performed at landing: the bytes an operation reads must not change
// before. Because accesses are recorded at issue, a store to them is found as a
// race even if this schedule happened to be harmless.
//
// Everything here takes place on the thread that simulates the block.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_DEVICE_SIM_ASYNCPROXY_H
#define QUERN_DEVICE_SIM_ASYNCPROXY_H

#include "runtime/device/sim/Machine.h"

#include <functional>

namespace quern {
inline namespace v0 {
namespace sim {

struct AsyncOp {
  Warp *warp = nullptr; ///< The issuing warp, or one of the warpgroup.
  const Instr *instr = nullptr;
  int lane = 0; ///< The issuing thread; -1 for a whole warpgroup.
  uint64_t chain = 0;
  /// cp.async, st.async and red.async: no proxy fences are needed, and the
  /// async proxy knows nothing of what they wrote.
  bool viaGenericProxy = false;

  // Checked accesses. Null after a fault (which has been reported) and, for
  // zero bytes, never. `alignment` 0 asks for none.

  const std::byte *readShared(SharedPlace place, uint32_t bytes);
  /// Fills the range with 0xCD until the operation lands.
  std::byte *writeShared(SharedPlace place, uint32_t bytes);
  const std::byte *readGlobal(uint64_t address, uint64_t bytes,
                              uint32_t alignment);
  std::byte *writeGlobal(uint64_t address, uint64_t bytes, uint32_t alignment);
  /// Reductions are relaxed atomics at .gpu scope; those of red.async at
  /// .cluster scope.
  std::byte *reduceGlobal(uint64_t address, uint64_t bytes, uint32_t alignment);
  std::byte *reduceShared(SharedPlace place, uint32_t bytes);

  void onLanding(std::function<void(AsyncOp &)> action) {
    perform = std::move(action);
  }
  void signal(SharedPlace mbarrier, uint32_t bytes) {
    signals.push_back({mbarrier, bytes, 0});
  }
  /// Arrives instead, `count` times.
  void arrive(SharedPlace mbarrier, uint32_t count) {
    signals.push_back({mbarrier, 0, count});
  }
  void joinBulkGroup();
  void joinWgmmaGroup();

  // The machine's own.

  enum class Group : uint8_t { None, Bulk, Wgmma, Copies };
  struct Signal {
    SharedPlace mbarrier;
    uint32_t bytes;
    uint32_t arrivals;
  };
  struct Written {
    Block *block; ///< Null: global memory.
    uint64_t begin;
    uint64_t bytes;
  };
  /// What the issuer knew. Reads and writes have epochs of their own: knowing
  /// the writes includes knowing the reads.
  Clock clock;
  Epoch reads;
  Epoch writes;
  Group group = Group::None;
  uint32_t groupNumber = 0; ///< Of Copies: the earliest.
  uint32_t lanes = 0;       ///< Of Copies: whose they are.
  bool readsShared = false;
  bool landed = false;
  uint32_t waitedBy = 0; ///< Warps of the warpgroup that waited for it.
  uint64_t due = 0;      ///< Launch::turn at which it lands.
  std::function<void(AsyncOp &)> perform;
  std::vector<Signal> signals;
  std::vector<Written> written;

  AccessHistory::Access access(AccessHistory::Kind kind) const;
};

/// A new operation of `lane` of `warp`.
AsyncOp beginAsync(Warp &warp, const Instr &instr, int lane);
/// A new operation of a warpgroup, which may rely on what all four know.
AsyncOp beginAsync(Warp *const (&warps)[4], const Instr &instr);
/// Hands the operation to the machine, which draws when it lands.
void schedule(AsyncOp op);

// Groups of bulk operations belong to a thread (cp.async.bulk.commit_group,
// cp.async.bulk.wait_group[.read]); `lanes` are the executing ones.
void commitBulkGroup(Warp &warp, uint32_t lanes);
void waitBulkGroup(Warp &warp, uint32_t lanes, uint32_t pending, bool readOnly);

/// cp.async.wait_group, of copies that an mbarrier was told of: lands those of
/// all but the latest `pending` groups of each lane.
void waitCopies(Warp &warp, uint32_t lanes, uint64_t pending, bool everything);

// wgmma groups belong to a warp; the four of a warpgroup execute the same ones.
void commitWgmmaGroup(Warp &warp);
void waitWgmmaGroup(Warp &warp, uint32_t pending);
/// Carries out what the warpgroup has issued, without waiting for it.
void landWgmmas(Warp &warp);

/// The rendezvous of a warpgroup (warps 4n..4n+3 of a block) at a collective
/// instruction. Call it first: for three of the warps it returns false and they
/// wait (return at once); for the last it returns true, having filled `warps`:
/// carry the instruction out for all four. A warp that comes to another
/// instruction, with lanes missing, or never, is reported.
bool meetWarpgroup(Warp &warp, const Instr &instr, Warp *(&warps)[4]);

// Accumulators between wgmma and the wait. A register marked here must not be
// read or written by any instruction but those with Instr::touchesPending set
// (wgmma itself); others get a PendingAccumulator fault.
void markPending(Warp &warp, uint32_t slot);
void clearPending(Warp &warp, uint32_t slot);

/// "shared offset 512", and which block's if it is not the warp's.
std::string describe(const Warp &warp, SharedPlace place);

/// A place in shared memory from a shared::cluster or generic address, checked
/// for bounds, alignment and a block that has exited; `block` is null after a
/// fault.
SharedPlace locateShared(Warp &warp, const Instr &instr, int lane,
                         uint64_t address, uint32_t bytes, uint32_t alignment);
/// The same place in another block of the cluster (multicast).
SharedPlace peerPlace(Warp &warp, const Instr &instr, int lane,
                      SharedPlace place, uint32_t rank);

} // namespace sim
} // namespace v0
} // namespace quern

#endif // QUERN_DEVICE_SIM_ASYNCPROXY_H
