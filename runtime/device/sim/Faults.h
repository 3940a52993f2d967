//===- Faults.h - What the simulator's checks find --------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Every check of the simulator reports here. A fault is told once for each
// instruction and kind (a missing barrier in a loop would otherwise fill
// memory); further ones are only counted.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_DEVICE_SIM_FAULTS_H
#define QUERN_DEVICE_SIM_FAULTS_H

#include "runtime/core/Result.h"
#include "runtime/device/cuda/DriverApi.h"

#include <set>
#include <string_view>
#include <utility>
#include <vector>

namespace quern {
inline namespace v0 {
namespace sim {

enum class FaultKind : uint8_t {
  OutOfBounds,
  FreedMemory,
  Misaligned,
  ReadOnlyWrite,
  UninitializedShared,
  UninitializedRegister,
  InFlightCopy, ///< Touching the destination of an unfinished async copy.
  Race,         ///< Two accesses of a byte that nothing orders.
  /// An asynchronous operation that is ordered after a write of the generic
  /// proxy, but not by way of a proxy fence.
  MissingProxyFence,
  NonCoherentRead,    ///< .nc of data written in the same launch.
  PendingAccumulator, ///< A register of a wgmma that was not waited for.
  ExitedBlock,        ///< Shared memory of a block that has exited.
  DivergentBarrier,
  DivergentCollective, ///< mma, ldmatrix or shfl without its whole warp.
  BarrierMisuse,       ///< Barriers and mbarriers: wrong counts, wrong objects.
  PendingCopyAtExit,
  Deadlock,
  InvalidOperation, ///< An operand value that the instruction does not allow.
};

/// The word a report starts with: "race", "out of bounds", ...
std::string_view name(FaultKind kind);

/// What a driver would return for a launch with such a fault.
cuda::DriverStatus statusOf(FaultKind kind);

/// The faults of one launch.
class FaultLog {
public:
  /// True when a fault at this instruction is news and should be described.
  bool isNew(uint32_t instruction, FaultKind kind) {
    ++count;
    // A bad address says more than "launch failed".
    if (status == cuda::status::Success || status == cuda::status::LaunchFailed)
      status = statusOf(kind);
    return reports.size() < maxReports &&
           seen.emplace(instruction, kind).second;
  }
  /// The same the other way round: counts a fault only if it is no news.
  bool isKnown(uint32_t instruction, FaultKind kind) {
    bool told =
        reports.size() >= maxReports || seen.count({instruction, kind}) != 0;
    if (told)
      isNew(instruction, kind);
    return told;
  }
  /// Describes the fault that isNew() was asked about last.
  void add(Diagnostic diagnostic, uint32_t instruction, FaultKind kind) {
    reports.push_back(std::move(diagnostic));
    places.emplace_back(instruction, kind);
  }
  /// Adds those of another part of the launch.
  void merge(FaultLog other);

  static constexpr size_t maxReports = 64;
  std::vector<Diagnostic> reports;
  uint64_t count = 0;
  /// What the launch returns.
  cuda::DriverStatus status = cuda::status::Success;

private:
  std::vector<std::pair<uint32_t, FaultKind>> places; ///< Of the reports.
  std::set<std::pair<uint32_t, FaultKind>> seen;
};

} // namespace sim
} // namespace v0
} // namespace quern

#endif // QUERN_DEVICE_SIM_FAULTS_H
