//===- DeviceBench.cpp - A conformance case on a driver -------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "tests/conformance/DeviceBench.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>

using namespace quern;
using namespace quern::conformance;

double Random::number(int mantissaBits, int low, int high) {
  double mantissa = 1 + std::ldexp(below(1u << mantissaBits), -mantissaBits);
  int exponent = low + static_cast<int>(below(high - low + 1));
  return std::ldexp((bits() & 1) ? -mantissa : mantissa, exponent);
}

Result<Device> conformance::openDevice(const cuda::DriverTable &driver) {
  auto check = [&](cuda::DriverStatus status, const char *what) {
    if (status == cuda::status::Success)
      return Result<void>();
    return Result<void>(
        fail(Errc::DeviceError, fmt::format("{}: status {}", what, status)));
  };
  Device device;
  device.driver = &driver;
  cuda::DeviceOrdinal ordinal = 0;
  cuda::ContextHandle context = nullptr;
  char name[128] = {};
  int major = 0, minor = 0;
  namespace a = cuda::device_attribute;
  for (auto &&[status, what] :
       {std::pair(driver.init(0), "cuInit"),
        std::pair(driver.deviceGet(&ordinal, 0), "cuDeviceGet"),
        std::pair(driver.deviceGetName(name, sizeof(name), ordinal),
                  "cuDeviceGetName"),
        std::pair(driver.deviceGetAttribute(&major, a::ComputeCapabilityMajor,
                                            ordinal),
                  "cuDeviceGetAttribute"),
        std::pair(driver.deviceGetAttribute(&minor, a::ComputeCapabilityMinor,
                                            ordinal),
                  "cuDeviceGetAttribute"),
        std::pair(driver.devicePrimaryCtxRetain(&context, ordinal),
                  "cuDevicePrimaryCtxRetain"),
        std::pair(driver.ctxSetCurrent(context), "cuCtxSetCurrent")})
    if (auto ok = check(status, what); !ok)
      return ok.error();
  device.name = name;
  device.capability = major * 10 + minor;
  return device;
}

std::string conformance::isolateEntry(const std::string &ptx,
                                      const std::string &kernel) {
  static constexpr std::string_view mark = ".visible .entry ";
  std::string result;
  bool found = false;
  size_t at = 0;
  for (;;) {
    size_t entry = ptx.find(mark, at);
    if (entry == std::string::npos)
      break;
    result.append(ptx, at, entry - at);
    // An entry ends with the first line that is a closing brace alone.
    size_t end = ptx.find("\n}\n", entry);
    if (end == std::string::npos)
      return {};
    end += 3;
    size_t name = entry + mark.size();
    if (ptx.compare(name, kernel.size(), kernel) == 0 &&
        ptx[name + kernel.size()] == '(') {
      result.append(ptx, entry, end - entry);
      found = true;
    }
    at = end;
  }
  result.append(ptx, at);
  return found ? result : std::string();
}

namespace {

uint64_t hashOf(const void *data, size_t bytes) {
  // FNV-1a: for telling results apart, not for security.
  uint64_t hash = 0xcbf29ce484222325u;
  for (size_t i = 0; i < bytes; ++i)
    hash = (hash ^ static_cast<const uint8_t *>(data)[i]) * 0x100000001b3u;
  return hash;
}

/// Bits of bounded results that are recorded for each comparison.
constexpr size_t recordedBits = 64;

class DeviceBench final : public Bench {
public:
  DeviceBench(const Device &device, const std::string &ptx, uint64_t seed,
              Outcome &outcome)
      : Bench(seed), device(device), driver(*device.driver), ptx(ptx),
        outcome(outcome) {}
  ~DeviceBench() override {
    for (uint64_t address : buffers)
      driver.memFree(address);
    for (auto &[name, kernel] : kernels)
      driver.moduleUnload(kernel.module);
  }

  int capability() const override { return device.capability; }

  Buffer makeBuffer(const void *data, size_t bytes, bool readOnly,
                    const char *name) override {
    cuda::DevicePtr address = 0;
    check(driver.memAlloc(&address, std::max<size_t>(bytes, 1)), "cuMemAlloc");
    buffers.push_back(address);
    check(driver.memcpyHtoDAsync(address, data, bytes, nullptr),
          "copying to the device");
    check(driver.streamSynchronize(nullptr), "copying to the device");
    if (device.describe)
      device.describe(address, name, readOnly);
    return {address, bytes};
  }

  void readBuffer(const Buffer &buffer, void *to) override {
    check(driver.memcpyDtoHAsync(to, buffer.address, buffer.bytes, nullptr),
          "copying from the device");
    check(driver.streamSynchronize(nullptr), "copying from the device");
  }

  TensorMap tensorMap(const Buffer &buffer,
                      const TensorMapShape &shape) override {
    cuda::TensorMapStorage encoded;
    check(driver.tensorMapEncodeTiled(
              &encoded, shape.dataType,
              static_cast<uint32_t>(shape.extents.size()),
              reinterpret_cast<void *>(buffer.address), shape.extents.data(),
              shape.strides.data(), shape.box.data(),
              shape.elementStrides.data(), 0, shape.swizzle, 0, shape.fillNan),
          "cuTensorMapEncodeTiled");
    TensorMap map;
    static_assert(sizeof(map) == sizeof(encoded));
    std::memcpy(&map, &encoded, sizeof(map));
    return map;
  }

  void launchRaw(const std::string &kernel, const Launch &shape,
                 void **arguments) override {
    cuda::FunctionHandle function = load(kernel);
    if (shape.dynamicShared > 48 * 1024)
      check(driver.funcSetAttribute(
                function, cuda::function_attribute::MaxDynamicSharedSizeBytes,
                static_cast<int>(shape.dynamicShared)),
            "allowing shared memory");
    cuda::LaunchAttribute attributes[3] = {};
    unsigned count = 0;
    if (shape.cluster) {
      attributes[count].id = cuda::LaunchAttribute::ClusterDimension;
      attributes[count++].value.clusterDim = {shape.cluster, 1, 1};
    }
    if (shape.cooperative) {
      attributes[count].id = cuda::LaunchAttribute::Cooperative;
      attributes[count++].value.cooperative = 1;
    }
    if (shape.dependent) {
      attributes[count].id =
          cuda::LaunchAttribute::ProgrammaticStreamSerialization;
      attributes[count++].value.programmaticStreamSerializationAllowed = 1;
    }
    cuda::LaunchConfig config = {};
    config.gridDimX = shape.grid.x;
    config.gridDimY = shape.grid.y;
    config.gridDimZ = shape.grid.z;
    config.blockDimX = shape.block.x;
    config.blockDimY = shape.block.y;
    config.blockDimZ = shape.block.z;
    config.sharedMemBytes = shape.dynamicShared;
    config.attributes = count ? attributes : nullptr;
    config.attributeCount = count;
    check(driver.launchKernelEx(&config, function, arguments, nullptr),
          "launching " + kernel);
    check(driver.streamSynchronize(nullptr), "running " + kernel);
    if (device.reports)
      if (std::string reports = device.reports(); !reports.empty())
        throw CaseError{CaseError::Kind::Failed, kernel + ": " + reports};
  }

  void compareBits(const std::string &what, const void *expected,
                   size_t expectedCount, const void *actual, size_t actualCount,
                   size_t elementBytes) override {
    Outcome::Record record;
    record.what = what;
    record.elements = actualCount;
    record.hash = hashOf(actual, actualCount * elementBytes);
    outcome.records.push_back(record);
    if (expectedCount != actualCount)
      throw CaseError{CaseError::Kind::Failed,
                      fmt::format("{}: {} elements, not {}", what, actualCount,
                                  expectedCount)};
    auto *e = static_cast<const uint8_t *>(expected);
    auto *a = static_cast<const uint8_t *>(actual);
    size_t wrong = 0, first = 0;
    for (size_t i = 0; i < expectedCount; ++i)
      if (std::memcmp(e + i * elementBytes, a + i * elementBytes,
                      elementBytes)) {
        if (!wrong++)
          first = i;
      }
    if (wrong)
      failures.push_back(fmt::format(
          "{}: {} of {} elements differ, first [{}]: 0x{} instead of 0x{}",
          what, wrong, expectedCount, first,
          hex(a + first * elementBytes, elementBytes),
          hex(e + first * elementBytes, elementBytes)));
  }

  void expectNear(const std::string &what, const std::vector<double> &expected,
                  const std::vector<double> &actual,
                  const std::vector<double> &tolerance,
                  const std::vector<uint32_t> &bits) override {
    Outcome::Record record;
    record.what = what;
    record.exact = false;
    record.elements = bits.size();
    record.hash = hashOf(bits.data(), bits.size() * 4);
    record.bits.assign(bits.begin(),
                       bits.begin() + std::min(bits.size(), recordedBits));
    size_t wrong = 0, first = 0;
    for (size_t i = 0; i < expected.size(); ++i) {
      if (std::isnan(expected[i]) && std::isnan(actual[i]))
        continue;
      if (expected[i] == actual[i])
        continue;
      double error = std::fabs(expected[i] - actual[i]);
      if (tolerance[i] > 0)
        record.worst = std::max(record.worst, error / tolerance[i]);
      if (!(error <= tolerance[i]) && !wrong++)
        first = i;
    }
    outcome.records.push_back(record);
    if (wrong)
      failures.push_back(fmt::format(
          "{}: {} of {} elements are off by more than allowed, first [{}]: {} "
          "instead of {} +- {}",
          what, wrong, expected.size(), first, actual[first], expected[first],
          tolerance[first]));
  }

  void expect(bool holds, const std::string &what) override {
    if (!holds)
      failures.push_back(what);
  }
  void recordModel(const ModelShare &share) override {
    outcome.models.push_back(share);
  }

  std::vector<std::string> failures;

private:
  struct Kernel {
    cuda::ModuleHandle module = nullptr;
    cuda::FunctionHandle function = nullptr;
  };

  static std::string hex(const uint8_t *bytes, size_t count) {
    std::string text;
    for (size_t i = count; i-- > 0;)
      text += fmt::format("{:02x}", bytes[i]);
    return text;
  }

  void check(cuda::DriverStatus status, const std::string &what) {
    namespace s = cuda::status;
    if (status == s::Success)
      return;
    const char *name = nullptr;
    driver.getErrorName(status, &name);
    std::string text =
        fmt::format("{}: {}", what, name ? name : std::to_string(status));
    if (device.reports)
      if (std::string reports = device.reports(); !reports.empty())
        text += ": " + reports;
    bool unknown = status == s::InvalidPtx || status == s::NoBinaryForGpu ||
                   status == s::NotSupported;
    throw CaseError{
        unknown ? CaseError::Kind::Unsupported : CaseError::Kind::Failed, text};
  }

  cuda::FunctionHandle load(const std::string &kernel) {
    Kernel &entry = kernels[kernel];
    if (entry.function)
      return entry.function;
    std::string text = isolateEntry(ptx, kernel);
    if (text.empty()) {
      kernels.erase(kernel);
      throw CaseError{CaseError::Kind::Failed,
                      "the PTX has no kernel " + kernel};
    }
    char log[4096] = {};
    cuda::JitOption options[] = {cuda::jit_option::ErrorLogBuffer,
                                 cuda::jit_option::ErrorLogBufferSizeBytes};
    void *values[] = {log, reinterpret_cast<void *>(sizeof(log) - 1)};
    cuda::DriverStatus status = driver.moduleLoadDataEx(
        &entry.module, text.c_str(), 2, options, values);
    if (status != cuda::status::Success) {
      kernels.erase(kernel);
      std::string reason = log;
      while (!reason.empty() && reason.back() == '\n')
        reason.pop_back();
      throw CaseError{
          CaseError::Kind::Unsupported,
          fmt::format("loading {}: status {} {}", kernel, status, reason)};
    }
    check(
        driver.moduleGetFunction(&entry.function, entry.module, kernel.c_str()),
        "finding " + kernel);
    return entry.function;
  }

  const Device &device;
  const cuda::DriverTable &driver;
  const std::string &ptx;
  Outcome &outcome;
  std::vector<uint64_t> buffers;
  std::map<std::string, Kernel> kernels;
};

} // namespace

Outcome conformance::runCase(const Case &test, const Device &device,
                             const std::string &ptx, uint64_t seed) {
  Outcome outcome;
  auto begin = std::chrono::steady_clock::now();
  // Each case has its own numbers, whatever ran before it.
  uint64_t own = hashOf(test.name.data(), test.name.size()) ^ seed;
  try {
    DeviceBench bench(device, ptx, own, outcome);
    test.run(bench);
    for (const std::string &failure : bench.failures) {
      outcome.status = Outcome::Status::Failed;
      outcome.message += (outcome.message.empty() ? "" : "; ") + failure;
    }
  } catch (const CaseError &error) {
    outcome.status = error.kind == CaseError::Kind::Failed
                         ? Outcome::Status::Failed
                         : Outcome::Status::Unsupported;
    outcome.message = error.message;
  }
  outcome.milliseconds = std::chrono::duration<double, std::milli>(
                             std::chrono::steady_clock::now() - begin)
                             .count();
  return outcome;
}
