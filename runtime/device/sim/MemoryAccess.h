//===- MemoryAccess.h - Checked addresses of a warp -------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Every access to memory goes through resolve(): it turns the addresses of a
// warp's lanes into host pointers, after checking bounds, alignment,
// permissions, initialisation and races, and counts sectors and bank
// conflicts. Lanes that failed get no pointer; the instruction skips them.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_DEVICE_SIM_MEMORYACCESS_H
#define QUERN_DEVICE_SIM_MEMORYACCESS_H

#include "runtime/device/sim/Machine.h"

namespace quern {
inline namespace v0 {
namespace sim {

enum class Access : uint8_t { Read, Write, Atomic };

struct LaneAddresses {
  uint64_t value[32];
};

/// register + offset for every active lane.
LaneAddresses computeAddresses(Warp &warp, const Address &address);

/// Pointers to `bytes` bytes for the lanes of the returned mask. `alignment`
/// is what each address must be a multiple of.
uint32_t resolve(Warp &warp, const Instr &instr, AddressSpace space,
                 const LaneAddresses &addresses, uint32_t bytes,
                 uint32_t alignment, Access access, std::byte *pointers[32]);

/// Global memory alone; `instr` is the one to blame.
uint32_t resolveGlobal(Warp &warp, const Instr &instr,
                       const LaneAddresses &addresses, uint32_t lanes,
                       uint32_t bytes, uint32_t alignment, Access access,
                       std::byte *pointers[32]);

/// Checks a shared access of one lane, or of a range several lanes touch
/// together; false if it is out of bounds.
bool checkShared(Warp &warp, const Instr &instr, int lane, uint64_t offset,
                 uint32_t bytes, Access access);

/// Bounds, permission and alignment (0: none) of a range of global memory, for
/// one lane; reports and returns false. The history is not touched.
bool checkGlobal(Warp &warp, const Instr &instr, int lane, uint64_t address,
                 uint64_t bytes, uint32_t alignment, Access access);

/// An access of any kind to shared memory of the cluster, in bounds; tells what
/// the history found. True if it found nothing.
bool touchShared(Warp &warp, const Instr &instr, int lane, SharedPlace place,
                 uint32_t bytes, AccessHistory::Kind kind);

/// Checked accesses of one instruction to the block's own shared memory, one
/// lane or range of lanes after the other: as checkShared(), but faster.
class SharedAccess {
public:
  SharedAccess(Warp &warp, const Instr &instr, AccessHistory::Kind kind);
  /// False if the range is out of bounds.
  bool check(int lane, uint64_t offset, uint32_t bytes) {
    Block &block = *warp.block;
    if (offset > block.sharedBytes || bytes > block.sharedBytes - offset)
      return outOfBounds(lane, offset, bytes);
    if (history)
      if (auto finding =
              history->apply(cursor, block.history.data(), offset, bytes))
        report(lane, *finding);
    return true;
  }

private:
  bool outOfBounds(int lane, uint64_t offset, uint32_t bytes);
  void report(int lane, const AccessHistory::Finding &finding);

  Warp &warp;
  const Instr &instr;
  AccessHistory *history; ///< Null without checks.
  AccessHistory::Cursor cursor;
};

/// Reports what the history found; `place` says where.
void reportFinding(Warp &warp, const Instr &instr, int lane,
                   const AccessHistory::Finding &finding,
                   AccessHistory::Kind kind, const std::string &place);
/// "gemm.cuh:120, PTX line 300: ld.shared.b32" of an instruction of the kernel.
std::string placeOf(const Kernel &kernel, uint32_t instruction);
/// "(3, 0, 1)" of a block given by its linear index.
std::string blockName(const Launch &launch, uint32_t linear);
/// "offset 16 of x"
std::string describeGlobal(Launch &launch, uint64_t address);
/// The same, or "shared offset 16", of a pointer that resolve() gave.
std::string describeHost(Warp &warp, const std::byte *pointer);

/// A hash of the lanes' addresses and of what is there, to recognise polling.
uint64_t hashOfPlaces(uint32_t lanes, std::byte *const (&pointers)[32],
                      uint32_t bytes);

/// How many passes a shared-memory access takes beyond the least possible.
/// Accesses of 8 and 16 bytes are served by halves and quarters of a warp.
unsigned bankConflicts(const LaneAddresses &addresses, uint32_t lanes,
                       uint32_t bytes);

} // namespace sim
} // namespace v0
} // namespace quern

#endif // QUERN_DEVICE_SIM_MEMORYACCESS_H
