//===- Faults.cpp - What the simulator's checks find ----------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/sim/Faults.h"

using namespace quern;
using namespace quern::sim;

std::string_view sim::name(FaultKind kind) {
  switch (kind) {
  case FaultKind::OutOfBounds:
    return "out of bounds";
  case FaultKind::FreedMemory:
    return "use of freed memory";
  case FaultKind::Misaligned:
    return "misaligned access";
  case FaultKind::ReadOnlyWrite:
    return "write to a read-only buffer";
  case FaultKind::UninitializedShared:
    return "uninitialised shared memory";
  case FaultKind::UninitializedRegister:
    return "uninitialised register";
  case FaultKind::InFlightCopy:
    return "asynchronous copy in flight";
  case FaultKind::Race:
    return "race";
  case FaultKind::MissingProxyFence:
    return "missing proxy fence";
  case FaultKind::NonCoherentRead:
    return "non-coherent read";
  case FaultKind::PendingAccumulator:
    return "pending accumulator";
  case FaultKind::ExitedBlock:
    return "shared memory of an exited block";
  case FaultKind::DivergentBarrier:
    return "divergent barrier";
  case FaultKind::DivergentCollective:
    return "divergent collective";
  case FaultKind::BarrierMisuse:
    return "barrier misuse";
  case FaultKind::PendingCopyAtExit:
    return "exit with pending work";
  case FaultKind::Deadlock:
    return "deadlock";
  case FaultKind::InvalidOperation:
    return "invalid operation";
  }
  return "fault";
}

cuda::DriverStatus sim::statusOf(FaultKind kind) {
  switch (kind) {
  case FaultKind::OutOfBounds:
  case FaultKind::FreedMemory:
  case FaultKind::ReadOnlyWrite:
    return cuda::status::IllegalAddress;
  case FaultKind::Misaligned:
    return cuda::status::MisalignedAddress;
  default:
    return cuda::status::LaunchFailed;
  }
}

void FaultLog::merge(FaultLog other) {
  count += other.count;
  if (other.status != cuda::status::Success &&
      (status == cuda::status::Success || status == cuda::status::LaunchFailed))
    status = other.status;
  for (size_t i = 0; i < other.reports.size(); ++i)
    if (reports.size() < maxReports && seen.insert(other.places[i]).second)
      add(std::move(other.reports[i]), other.places[i].first,
          other.places[i].second);
}
