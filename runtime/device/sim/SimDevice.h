//===- SimDevice.h - A CUDA device without a GPU ----------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// The second filling of cuda::DriverTable: a device on the host that runs PTX
// instruction by instruction and checks what it does. Host code written for the
// driver runs unchanged; a module's image is PTX text (the very text NVRTC
// returned), not a cubin.
//
//     const cuda::DriverTable &driver = sim::simulatedDriver(SimTarget::Sm90a);
//     driver.init(0); ... driver.launchKernelEx(...);
//     for (const Diagnostic &report : SimDevice::get(target).lastReports()) ...
//
// Differences from a GPU, all deliberate:
//  - Work is done when it is submitted; streams and events only keep order and
//    time. A launch that faulted returns the error itself (700 for bad
//    addresses, 716 for misaligned ones, 719 for everything else), and the
//    context stays usable.
//  - NumRegs is 0: PTX knows no register allocation, and occupancy is computed
//    from threads, blocks and shared memory alone.
//  - What is modelled, and how, is in docs/simulator.md.
//
// What is checked is listed in Faults.h; SimOptions chooses schedule and
// checks. Reports name the kernel, the place in CUDA source (from -lineinfo;
// the PTX line otherwise), the thread and the buffer.
//
// Thread-safety: one lock for each device; launches run one after another.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_DEVICE_SIM_SIMDEVICE_H
#define QUERN_DEVICE_SIM_SIMDEVICE_H

#include "runtime/core/Result.h"
#include "runtime/device/cuda/DriverApi.h"
#include "runtime/device/sim/SimOptions.h"

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace quern {
inline namespace v0 {
namespace sim {

/// The devices that can be simulated, by the architecture they run.
enum class SimTarget : uint8_t { Sm80, Sm89, Sm90a, Sm100a, Sm120a };
inline constexpr unsigned simTargetCount = 5;

/// "sm_90a", as NVRTC's --gpu-architecture takes it.
std::string_view name(SimTarget target);
std::optional<SimTarget> parseSimTarget(std::string_view text);

/// A complete table for one simulated device (ordinal 0). It lives for ever.
const cuda::DriverTable &simulatedDriver(SimTarget target);

/// One launch among several, such as those of a layer's run.
struct LaunchRecord {
  std::string kernel;
  std::array<uint32_t, 3> grid = {};
  std::array<uint32_t, 3> block = {};
  Counters counters;
  uint64_t faultCount = 0;
};

/// What lies behind the table, for those who know that it is simulated.
class SimDevice {
public:
  static SimDevice &get(SimTarget target);

  void setOptions(const SimOptions &options);
  SimOptions options() const;

  /// Faults of the latest launch, or why the latest module did not load.
  /// Errc::CheckFailed for faults; empty if all was well. At most 64.
  std::vector<Diagnostic> lastReports() const;
  /// All faults of the latest launch, told or not.
  uint64_t lastFaultCount() const;
  Counters lastCounters() const;
  /// Forgets all records, and keeps one of each launch from now on (or none).
  void recordLaunches(bool on);
  /// The launches recorded so far, in order.
  std::vector<LaunchRecord> launchRecords() const;

  /// Names the live allocation at `address` in reports, and says whether
  /// kernels may write it. False if there is none.
  bool describe(cuda::DevicePtr address, std::string name, bool readOnly);
  /// Bytes allocated and not freed: 0 at the end of a test means no leak.
  uint64_t bytesInUse() const;

  struct Impl;
  Impl &impl() { return *state; }
  ~SimDevice();

private:
  explicit SimDevice(SimTarget target);
  std::unique_ptr<Impl> state;
};

} // namespace sim
} // namespace v0
} // namespace quern

#endif // QUERN_DEVICE_SIM_SIMDEVICE_H
