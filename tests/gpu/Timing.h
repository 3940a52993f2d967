//===- Timing.h - Timing a layer on a device --------------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// A layer's time is the median over many runs, each between two events on one
// stream, after a few runs that are not counted. Operands rotate through so
// many buffers that together they exceed the L2 cache twice: a run finds none
// of its operands there, as in a network. Runs too short to be timed one by one
// (under 50 microseconds) are taken together: a round through all buffers is
// captured into a graph, and the graph's replay divided by its runs.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_TESTS_GPU_TIMING_H
#define QUERN_TESTS_GPU_TIMING_H

#include "quern/quern.h"
#include "runtime/device/cuda/DriverApi.h"
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
  int buffers = 0; ///< Sets of operands that took turns.
  bool replayed = false;
};

/// Spends about `seconds`.
Result<Timing> timeLayer(const std::string &module, const TimedCase &timed,
                         const TestDevice &device, double seconds);

} // namespace quern::gputest

#endif // QUERN_TESTS_GPU_TIMING_H
