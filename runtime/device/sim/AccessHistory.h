//===- AccessHistory.h - Who touched which byte, and in what order -*- C++ -*-//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// The race detector. For every byte of shared and global memory it knows the
// last write, the reads since, whether the byte was ever written, and whether
// an asynchronous operation into it is in flight.
//
// Such a history is interned: a *state* is a number that stands for one such
// tuple, and a *cell* is the state of four neighbouring bytes, or of each of
// them where they differ (a split cell). Memory that was treated alike has the
// same state, so checking an access of a warp is mostly: do these cells hold
// the state seen a moment ago? then they go to the state computed a moment ago.
// Shadow memory is as large as the memory it shadows.
//
// A state's accesses are *records*: epoch, instruction and kind. An access
// races with an earlier one of another agent exactly if its clock does not know
// the epoch (Clock.h), one of them writes, and they are not both strong with
// scopes that include each other (PTX ISA, "Morally strong operations", "Data
// races").
//
// A byte keeps the reads that no later read is ordered after, at most
// `maxReaders` of them; with more the earliest are forgotten.
//
// Not thread-safe: each host thread has its own.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_DEVICE_SIM_ACCESSHISTORY_H
#define QUERN_DEVICE_SIM_ACCESSHISTORY_H

#include "runtime/device/sim/Clock.h"
#include "runtime/device/sim/Faults.h"
#include "runtime/device/sim/Program.h"

#include <array>
#include <cstring>
#include <optional>
#include <span>
#include <vector>

namespace quern {
inline namespace v0 {
namespace sim {

class AccessHistory {
public:
  using State = uint32_t;
  /// Never touched, and not initialised: shared memory when a block starts.
  static constexpr State untouched = 0;
  /// Never touched, but with contents: global memory.
  static constexpr State initialised = 1;
  static constexpr unsigned bytesPerCell = 4;
  static constexpr unsigned maxReaders = 128;

  AccessHistory();

  /// What an access does to the history of a byte.
  enum class Kind : uint8_t {
    Read,
    Write,
    Atomic,     ///< Reads and writes at once.
    BeginWrite, ///< An asynchronous write was issued; it is in flight.
    EndWrite,   ///< It has landed; nothing is checked.
    MakeOpaque, ///< The bytes become a mbarrier object.
    EndOpaque,
  };
  struct Access {
    Kind kind = Kind::Read;
    bool strong = false;      ///< Relaxed or stronger, or volatile.
    bool nonCoherent = false; ///< ld.global.nc
    bool asyncProxy = false;
    Scope scope = Scope::Sys;
    uint32_t instr = 0; ///< Index into Kernel::code.
    Epoch epoch;
    uint32_t cluster = 0; ///< The block's cluster, for scopes.
    const Clock *clock = nullptr;
  };

  struct Record {
    Epoch epoch;
    uint32_t instr = 0;
    uint32_t cluster = 0;
    bool strong = false;
    bool nonCoherent = false;
    bool atomic = false;
    Scope scope = Scope::Sys;
    bool operator==(const Record &) const = default;
  };
  /// What a check found, at the first byte where it did.
  struct Finding {
    FaultKind kind = FaultKind::Race;
    uint64_t offset = 0; ///< From the first cell.
    Record earlier;
    bool earlierWrites = false;
  };

  /// One instruction's access, applied to any number of ranges: remembers the
  /// latest transition, which mostly serves for the next range too.
  struct Cursor {
    Access access;
    uint32_t record = 0;
    State from = ~State(0);
    State to = 0;
  };
  Cursor begin(const Access &access) {
    return {access, recordOf(access), ~State(0), 0};
  }
  /// Applies the access to bytes [offset, offset + bytes) of memory whose
  /// history starts at `cells`.
  std::optional<Finding> apply(Cursor &cursor, State *cells, uint64_t offset,
                               uint64_t bytes) {
    if ((offset | bytes) % bytesPerCell)
      return applySlowly(cursor, cells, offset, bytes);
    State *at = cells + offset / bytesPerCell;
    State *end = at + bytes / bytesPerCell;
    uint64_t pair = cursor.from | uint64_t(cursor.from) << 32;
    uint64_t replaced = cursor.to | uint64_t(cursor.to) << 32;
    for (; end - at >= 2; at += 2) {
      uint64_t both;
      std::memcpy(&both, at, sizeof(both));
      if (both != pair)
        break;
      std::memcpy(at, &replaced, sizeof(both));
    }
    if (at == end)
      return std::nullopt;
    uint64_t done = static_cast<uint64_t>(at - cells) * bytesPerCell;
    return applySlowly(cursor, cells, done, offset + bytes - done);
  }
  std::optional<Finding> apply(State *cells, uint64_t offset, uint64_t bytes,
                               const Access &access) {
    Cursor cursor = begin(access);
    return apply(cursor, cells, offset, bytes);
  }

  /// Whether a byte was written in this launch, and by whom.
  const Record *writerOf(State state) const;
  bool isSplit(State state) const { return state & splitBit; }
  State byteState(State cell, unsigned byte) const {
    return isSplit(cell) ? splits[cell & ~splitBit][byte] : cell;
  }
  /// Calls f(record, writes) for each access a byte remembers.
  template <typename F> void forAccesses(State state, F f) const {
    const Node &node = nodes[state];
    if (node.writer)
      f(records[node.writer], true);
    for (uint32_t at = node.readers; at; at = readers[at].next)
      f(records[readers[at].record], false);
  }

  /// True when it is time to call collect() with all cells in use.
  bool isFull() const {
    return nodes.size() > limit || records.size() > recordLimit ||
           readers.size() > readerLimit;
  }
  void collect(std::span<const std::span<State>> cells);

private:
  static constexpr State splitBit = State(1) << 31;
  struct Node {
    uint32_t writer = 0;  ///< Record; 0: none.
    uint32_t readers = 0; ///< List of ReadNode.
    bool initialised = false;
    bool inFlight = false;
    bool opaque = false;
    bool operator==(const Node &) const = default;
  };
  struct ReadNode {
    uint32_t record = 0;
    uint32_t next = 0;
  };
  struct Memo {
    State from = ~State(0);
    uint32_t record = 0;
    Kind kind = Kind::Read;
    State to = 0;
  };

  uint32_t recordOf(const Access &access);
  std::optional<Finding> applySlowly(Cursor &cursor, State *cells,
                                     uint64_t offset, uint64_t bytes);
  State transition(State from, const Access &access, uint32_t record,
                   std::optional<Finding> &finding);
  std::optional<Finding> check(const Node &node, const Access &access) const;
  bool isOrdered(const Record &earlier, const Access &access,
                 bool earlierWrites) const;
  State transitionByte(State *cell, unsigned first, unsigned count,
                       const Access &access, uint32_t record,
                       std::optional<Finding> &finding);

  std::vector<Record> records;
  std::vector<Node> nodes;
  std::vector<ReadNode> readers;
  std::vector<std::array<State, 4>> splits;
  std::vector<uint32_t> freeSplits;
  std::vector<uint32_t> kept; ///< Of transition(), to save allocations.
  std::array<Memo, 512> memo;
  std::array<uint32_t, 128> recent = {}; ///< Records, by agent.
  static constexpr size_t leastLimit = size_t(1) << 18;
  size_t limit = leastLimit;
  size_t recordLimit = leastLimit * 4;
  size_t readerLimit = leastLimit * 8;
};

} // namespace sim
} // namespace v0
} // namespace quern

#endif // QUERN_DEVICE_SIM_ACCESSHISTORY_H
