//===- Timing.cpp - Timing a layer on a device ----------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "tests/gpu/Timing.h"

#include "runtime/jit/Drivers.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

using namespace quern;
using namespace quern::gputest;

Result<TestDevice> gputest::openTestDevice(const std::string &driver) {
  TestDevice device;
  device.target = driver == "real" ? "cuda" : driver;
  auto target = Target::parse(device.target);
  if (!target)
    return target.error();
  auto table = detail::driverFor(*target);
  if (!table)
    return table.error();
  if (!*table)
    return fail(Errc::InvalidArgument, driver + " is no CUDA device");
  auto opened = cuda::CudaDevice::open(**table, 0);
  if (!opened)
    return opened.error();
  device.held = *opened;
  device.driver = *table;
  device.name = (*opened)->name();
  device.capability = (*opened)->capability();
  int bytes = 0;
  (*table)->deviceGetAttribute(&bytes, cuda::device_attribute::L2CacheBytes, 0);
  device.l2Bytes = bytes;
  if (target->kind == Target::Kind::Sim)
    device.simulated = &sim::SimDevice::get(*sim::parseSimTarget(target->arch));
  return device;
}

bool TestDevice::isLost() const {
  cuda::CudaDevice::Scope scope(*held);
  return driver->ctxSynchronize() != cuda::status::Success;
}

std::string gputest::bestArch(const std::vector<std::string> &archs,
                              int capability) {
  std::string best;
  for (const std::string &arch : archs)
    if (cuda::canRun(arch, true, capability) &&
        (best.empty() || arch.ends_with('a') || !best.ends_with('a')))
      best = arch;
  return best;
}

std::vector<SymbolRange>
gputest::rangesOf(const Layer &layer, const std::vector<int64_t> &symbols) {
  std::vector<SymbolRange> ranges;
  for (size_t s = 0; s < symbols.size() && s < layer.symbols().size(); ++s)
    ranges.push_back({layer.symbols()[s].name, symbols[s], symbols[s]});
  return ranges;
}

Result<std::vector<Tensor>>
gputest::drawOperands(const Layer &layer, const std::vector<int64_t> &symbols,
                      uint64_t seed, bool corners) {
  auto ranges = rangesOf(layer, symbols);
  std::vector<Tensor> operands;
  for (const Operand &operand : layer.operands()) {
    if (operand.role == Operand::Role::Output)
      continue;
    auto shape = layer.shapeOf(operand.name, ranges);
    if (!shape)
      return shape.error();
    auto drawn = drawOperand(operand.name, operand.dtype, *shape, seed,
                             corners && operand.role == Operand::Role::Input);
    if (!drawn)
      return drawn.error();
    operands.push_back(std::move(*drawn));
  }
  return operands;
}

namespace {

/// Device memory and events, given back at the end.
class Resources {
public:
  explicit Resources(const cuda::DriverTable &driver) : driver(driver) {
    cuda::ContextHandle context = nullptr;
    if (driver.devicePrimaryCtxRetain(&context, 0) == cuda::status::Success)
      driver.ctxSetCurrent(context);
  }
  ~Resources() {
    if (replay)
      driver.graphExecDestroy(replay);
    if (graph)
      driver.graphDestroy(graph);
    for (cuda::EventHandle event : events)
      driver.eventDestroy(event);
    for (cuda::DevicePtr address : memory)
      driver.memFree(address);
    if (stream)
      driver.streamDestroy(stream);
    driver.devicePrimaryCtxRelease(0);
  }
  Resources(const Resources &) = delete;

  Result<void> check(cuda::DriverStatus status, const char *what) {
    if (status == cuda::status::Success)
      return {};
    return fail(Errc::DeviceError, fmt::format("{}: status {}", what, status));
  }
  Result<void *> allocate(size_t bytes) {
    cuda::DevicePtr address = 0;
    if (auto ok = check(driver.memAlloc(&address, std::max<size_t>(bytes, 1)),
                        "cuMemAlloc");
        !ok)
      return ok.error();
    memory.push_back(address);
    return reinterpret_cast<void *>(static_cast<uintptr_t>(address));
  }
  Result<cuda::EventHandle> event() {
    cuda::EventHandle event = nullptr;
    if (auto ok = check(driver.eventCreate(&event, cuda::eventDefault),
                        "cuEventCreate");
        !ok)
      return ok.error();
    events.push_back(event);
    return event;
  }

  const cuda::DriverTable &driver;
  cuda::StreamHandle stream = nullptr;
  cuda::GraphHandle graph = nullptr;
  cuda::GraphExecHandle replay = nullptr;

private:
  std::vector<cuda::DevicePtr> memory;
  std::vector<cuda::EventHandle> events;
};

/// Microseconds that a graph should take at least, and the most runs it holds.
constexpr double graphMicroseconds = 2000;
constexpr size_t mostTogether = 1024;
constexpr double warmUpSeconds = 0.2;

/// One of the sets of operands that take turns.
struct Turn {
  std::vector<TensorView> inputs, outputs;
  Weights weights;
  std::optional<Context> context;
};

} // namespace

Result<Timing> gputest::timeLayer(const std::string &module,
                                  const TimedCase &timed,
                                  const TestDevice &device, double seconds) {
  auto started = std::chrono::steady_clock::now();
  auto spent = [&] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() -
                                         started)
        .count();
  };
  auto layer = loadFile(module, {.target = device.target, .executor = nullptr});
  if (!layer)
    return layer.error();
  auto ranges = rangesOf(*layer, timed.symbols);
  auto operands = drawOperands(*layer, timed.symbols, 1, false);
  if (!operands)
    return operands.error();

  Resources resources(*device.driver);
  const cuda::DriverTable &driver = resources.driver;
  if (auto ok = resources.check(
          driver.streamCreate(&resources.stream, cuda::streamNonBlocking),
          "cuStreamCreate");
      !ok)
    return ok.error();

  size_t bytes = 0;
  for (const Tensor &operand : *operands)
    bytes += operand.bytes();
  int64_t wanted = device.simulated
                       ? 2
                       : 2 * device.l2Bytes / static_cast<int64_t>(bytes) + 2;
  std::vector<Turn> turns(std::clamp<int64_t>(wanted, 2, 64));
  for (Turn &turn : turns) {
    std::vector<TensorView> weights;
    size_t next = 0;
    for (const Operand &operand : layer->operands()) {
      auto shape = layer->shapeOf(operand.name, ranges);
      if (!shape)
        return shape.error();
      bool output = operand.role == Operand::Role::Output;
      if (operand.role == Operand::Role::Weight) {
        weights.push_back((*operands)[next++]);
        continue;
      }
      size_t own = byteWidth(operand.dtype) *
                   static_cast<size_t>(shape->elements().value_or(0));
      auto address = resources.allocate(own);
      if (!address)
        return address.error();
      if (!output) {
        const Tensor &drawn = (*operands)[next++];
        auto to =
            static_cast<cuda::DevicePtr>(reinterpret_cast<uintptr_t>(*address));
        if (auto ok = resources.check(
                driver.memcpyHtoDAsync(to, drawn.data(), own, resources.stream),
                "copying to the device");
            !ok)
          return ok.error();
      }
      TensorView view(operand.dtype, *shape, *address, operand.name);
      view.memory = Memory::Device;
      (output ? turn.outputs : turn.inputs).push_back(view);
    }
    auto bound = layer->bindWeights(weights);
    if (!bound)
      return bound.error();
    turn.weights = *bound;
    auto context = layer->makeContext(turn.weights, ranges);
    if (!context)
      return context.error();
    turn.context.emplace(std::move(*context));
  }

  auto run = [&](size_t turn) {
    Turn &own = turns[turn % turns.size()];
    return own.context->run(own.inputs, own.outputs, resources.stream);
  };
  auto begin = resources.event(), end = resources.event();
  if (!begin || !end)
    return fail(Errc::DeviceError, "no events");
  /// Microseconds between the events around `work`.
  auto timeOf = [&](auto work) -> Result<double> {
    float milliseconds = 0;
    auto wrong = [&](cuda::DriverStatus status) {
      return status != cuda::status::Success;
    };
    if (wrong(driver.eventRecord(*begin, resources.stream)))
      return fail(Errc::DeviceError, "cuEventRecord");
    if (auto ok = work(); !ok)
      return ok.error();
    if (wrong(driver.eventRecord(*end, resources.stream)) ||
        wrong(driver.eventSynchronize(*end)) ||
        wrong(driver.eventElapsedTime(&milliseconds, *begin, *end)))
      return fail(Errc::DeviceError, "an event failed");
    return 1e3 * milliseconds;
  };

  // Every turn once, so that nothing is new to the device, and once more for
  // an idea of the time.
  double single = 0;
  for (size_t t = 0; t <= turns.size(); ++t) {
    auto time = timeOf([&] { return run(t); });
    if (!time)
      return time.error();
    single = *time;
  }
  double round = single * static_cast<double>(turns.size());
  size_t rounds = 1;
  if (!device.simulated && round < graphMicroseconds)
    rounds = std::min<size_t>(
        static_cast<size_t>(graphMicroseconds / std::max(round, 1.0)) + 1,
        std::max<size_t>(mostTogether / turns.size(), 1));
  size_t together = rounds * turns.size();
  if (auto ok = resources.check(
          driver.streamBeginCapture(resources.stream,
                                    cuda::stream_capture::ModeRelaxed),
          "cuStreamBeginCapture");
      !ok)
    return ok.error();
  for (size_t t = 0; t < together; ++t)
    if (auto ok = run(t); !ok) {
      driver.streamEndCapture(resources.stream, &resources.graph);
      return ok.error();
    }
  if (auto ok = resources.check(
          driver.streamEndCapture(resources.stream, &resources.graph),
          "cuStreamEndCapture");
      !ok)
    return ok.error();
  if (auto ok = resources.check(
          driver.graphInstantiate(&resources.replay, resources.graph, 0),
          "cuGraphInstantiateWithFlags");
      !ok)
    return ok.error();

  std::vector<double> samples;
  double warm = spent() + (device.simulated ? 0 : warmUpSeconds);
  do {
    bool counts = spent() >= warm;
    auto time = timeOf([&] {
      return resources.check(
          driver.graphLaunch(resources.replay, resources.stream),
          "cuGraphLaunch");
    });
    if (!time)
      return time.error();
    if (counts)
      samples.push_back(*time / static_cast<double>(together));
  } while (samples.empty() || (spent() < seconds && samples.size() < 200));
  std::sort(samples.begin(), samples.end());
  Timing timing;
  timing.microseconds = samples[samples.size() / 2];
  timing.least = samples.front();
  timing.samples = static_cast<int>(samples.size());
  timing.buffers = static_cast<int>(turns.size());
  timing.together = static_cast<int>(together);
  return timing;
}
