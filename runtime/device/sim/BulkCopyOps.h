//===- BulkCopyOps.h - What bulk and tensor copies share --------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_DEVICE_SIM_BULKCOPYOPS_H
#define QUERN_DEVICE_SIM_BULKCOPYOPS_H

#include "runtime/device/sim/AsyncProxy.h"
#include "runtime/device/sim/InstrBuilder.h"

namespace quern {
inline namespace v0 {
namespace sim {

// Instr::flags of both families.
inline constexpr uint8_t bulkToShared = 1;   ///< From global memory.
inline constexpr uint8_t bulkFromShared = 2; ///< Both: shared to shared.
inline constexpr uint8_t bulkMulticast = 4;
inline constexpr uint8_t bulkOwnBlock = 8; ///< Destination is shared::cta.
inline constexpr uint8_t bulkWideBarrier = 16;
inline constexpr uint8_t bulkPrefetch = 32;

// Operands beyond Instr::address: slots[0] the mbarrier's address register (its
// offset is Instr::target), slots[1] the mask of blocks, slots[2] the size.

/// Binds [mbar] to slots[0].
void bindMbarrier(InstrBuilder &builder, size_t index);

/// One destination of a copy into shared memory, with its mbarrier.
struct BulkTarget {
  SharedPlace data;
  SharedPlace mbarrier;
};
/// The destinations of `lane`: one, or one for each block of the mask. Empty
/// after a fault.
std::vector<BulkTarget> bulkTargets(Warp &warp, const Instr &instr, int lane,
                                    uint64_t address, uint32_t bytes,
                                    uint32_t alignment);

/// cp.async.bulk and cp.reduce.async.bulk; what stands before `.bulk` is taken.
void decodeBulk(InstrBuilder &builder, bool reduces);
void decodeTensorCopy(InstrBuilder &builder, bool reduces);

/// st.async and red.async; what stands before `.async` is taken, it too.
void decodeStoreAsync(InstrBuilder &builder);
void decodeReduceAsync(InstrBuilder &builder);

} // namespace sim
} // namespace v0
} // namespace quern

#endif // QUERN_DEVICE_SIM_BULKCOPYOPS_H
