//===- Timing.h - Timing a layer on a device --------------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// A layer's time is the median over many replays of a graph, each between two
// events, divided by the runs that the graph holds. Operands rotate through so
// many buffers that together they exceed the L2 cache twice: a run finds none
// of its operands there, as in a network. The graph holds as many rounds
// through all buffers as take 2 ms, so that what comes before its first kernel,
// some microseconds, does not count, and no run waits for the host. Replays of
// the first 0.2 s are not counted: they bring the device to its clock rate.
//
// peers.py times others by the same rules.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_TESTS_GPU_TIMING_H
#define QUERN_TESTS_GPU_TIMING_H

#include "quern/quern.h"
#include "runtime/device/cuda/CudaProgram.h"
#include "runtime/device/sim/SimDevice.h"
#include "tests/gpu/ModuleSet.h"

namespace quern::gputest {

/// The device that everything runs on.
struct TestDevice {
  std::string target; ///< "cuda" or "sim:sm_90a".
  std::string name;
  int capability = 0;
  int64_t l2Bytes = 0;
  const cuda::DriverTable *driver = nullptr;
  sim::SimDevice *simulated = nullptr;
  /// Keeps the device's context from being made anew for every layer.
  std::shared_ptr<cuda::CudaDevice> held;

  /// Whether every further call would fail, as after an illegal address.
  bool isLost() const;
};

/// "real", or a simulated device. NoDevice if there is none.
Result<TestDevice> openTestDevice(const std::string &driver);

/// Of the architectures a module is there for, the one for this device: made
/// for it, else the latest that runs on it; empty if there is none.
std::string bestArch(const std::vector<std::string> &archs, int capability);

std::vector<SymbolRange> rangesOf(const Layer &layer,
                                  const std::vector<int64_t> &symbols);
/// Inputs and weights in declared order.
Result<std::vector<Tensor>> drawOperands(const Layer &layer,
                                         const std::vector<int64_t> &symbols,
                                         uint64_t seed, bool corners);

struct Timing {
  double microseconds = 0; ///< The median.
  double least = 0;
  int samples = 0;
  int buffers = 0;  ///< Sets of operands that took turns.
  int together = 0; ///< Runs in the graph.
};

/// Spends about `seconds`, drawing operands and packing weights included.
Result<Timing> timeLayer(const std::string &module, const TimedCase &timed,
                         const TestDevice &device, double seconds);

} // namespace quern::gputest

#endif // QUERN_TESTS_GPU_TIMING_H
