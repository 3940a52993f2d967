//===- DeviceBench.h - A conformance case on a driver -----------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Runs conformance cases through a driver table. Each kernel is loaded alone,
// its entry with whatever its file holds outside entries: one instruction that
// a device does not know must not hide the others.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_TESTS_CONFORMANCE_DEVICEBENCH_H
#define QUERN_TESTS_CONFORMANCE_DEVICEBENCH_H

#include "runtime/core/Result.h"
#include "runtime/device/cuda/DriverApi.h"
#include "tests/conformance/Bench.h"

#include <functional>
#include <map>

namespace quern::conformance {

/// A device that cases run on.
struct Device {
  const cuda::DriverTable *driver = nullptr;
  std::string name;
  int capability = 0;
  /// What the device found wrong with the latest call, beyond its status; may
  /// be null. Clears nothing.
  std::function<std::string()> reports;
  /// Names a buffer and write-protects it, where the device can.
  std::function<void(uint64_t, const char *, bool)> describe;
};

/// Initialises the first device of a driver and makes its context current.
Result<Device> openDevice(const cuda::DriverTable &driver);

/// What came of a case.
struct Outcome {
  enum class Status { Passed, Failed, Unsupported, NotHere };
  Status status = Status::Passed;
  std::string message;
  /// What was compared: the hash of all bits as they came, and of bounded
  /// results the first bits themselves.
  struct Record {
    std::string what;
    bool exact = true;
    uint64_t hash = 0;
    size_t elements = 0;
    std::vector<uint32_t> bits;
    double worst = 0; ///< Bounded: the largest |error| / tolerance.
  };
  std::vector<Record> records;
  std::vector<ModelShare> models;
  double milliseconds = 0;
};

/// The PTX with one entry alone; empty if it is not there.
std::string isolateEntry(const std::string &ptx, const std::string &kernel);

/// Runs one case on the kernels in `ptx`.
Outcome runCase(const Case &test, const Device &device, const std::string &ptx,
                uint64_t seed);

} // namespace quern::conformance

#endif // QUERN_TESTS_CONFORMANCE_DEVICEBENCH_H
