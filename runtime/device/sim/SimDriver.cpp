//===- SimDriver.cpp - The simulated driver's functions -------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// The entries of DriverTable have no argument that tells which driver they
// belong to, so there is one set of functions for each simulated device, made
// by a template.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/sim/SimEntries.h"

#include <algorithm>
#include <cstring>
#include <fmt/format.h>

using namespace quern;
using namespace quern::sim;
using namespace quern::cuda;

namespace {

/// The functions of the device with number `index`.
template <unsigned index> struct Entries : GraphEntries<index> {
  using Base = EntryBase<index>;
  using Base::currentContext;
  using Base::device;
  using Base::inContext;
  using Base::initialized;
  using Base::isStream;
  using GraphEntries<index>::endCapture;

  static DriverStatus init(unsigned flags) {
    if (flags)
      return status::InvalidValue;
    SimDevice::Impl &d = device();
    std::lock_guard lock(d.mutex);
    d.initialized = true;
    return status::Success;
  }
  static DriverStatus driverGetVersion(int *version) {
    if (!version)
      return status::InvalidValue;
    *version = 13000;
    return status::Success;
  }
  static DriverStatus getErrorName(DriverStatus error, const char **name) {
    const StatusName *entry = findStatus(error);
    if (!name)
      return status::InvalidValue;
    *name = entry ? entry->name : nullptr;
    return entry ? status::Success : status::InvalidValue;
  }
  static DriverStatus getErrorString(DriverStatus error, const char **text) {
    const StatusName *entry = findStatus(error);
    if (!text)
      return status::InvalidValue;
    *text = entry ? entry->text : nullptr;
    return entry ? status::Success : status::InvalidValue;
  }
  static DriverStatus deviceGetCount(int *count) {
    return initialized([&](SimDevice::Impl &) -> DriverStatus {
      if (!count)
        return status::InvalidValue;
      *count = 1;
      return status::Success;
    });
  }
  static DriverStatus deviceGet(DeviceOrdinal *result, int ordinal) {
    return initialized([&](SimDevice::Impl &) -> DriverStatus {
      if (!result)
        return status::InvalidValue;
      if (ordinal != 0)
        return status::InvalidDevice;
      *result = 0;
      return status::Success;
    });
  }
  static DriverStatus deviceGetName(char *name, int length,
                                    DeviceOrdinal ordinal) {
    return initialized([&](SimDevice::Impl &d) -> DriverStatus {
      if (!name || length <= 0)
        return status::InvalidValue;
      if (ordinal != 0)
        return status::InvalidDevice;
      size_t count = std::min<size_t>(d.model.name.size(),
                                      static_cast<size_t>(length) - 1);
      std::memcpy(name, d.model.name.data(), count);
      name[count] = '\0';
      return status::Success;
    });
  }
  static DriverStatus deviceGetAttribute(int *value, DeviceAttribute attribute,
                                         DeviceOrdinal ordinal) {
    return initialized([&](SimDevice::Impl &d) -> DriverStatus {
      int found = attributeOf(d.model, attribute);
      if (!value || found < 0)
        return status::InvalidValue;
      if (ordinal != 0)
        return status::InvalidDevice;
      *value = found;
      return status::Success;
    });
  }
  static DriverStatus deviceTotalMem(size_t *bytes, DeviceOrdinal ordinal) {
    return initialized([&](SimDevice::Impl &d) -> DriverStatus {
      if (!bytes)
        return status::InvalidValue;
      if (ordinal != 0)
        return status::InvalidDevice;
      *bytes = d.model.memoryBytes;
      return status::Success;
    });
  }
  static DriverStatus devicePrimaryCtxRetain(ContextHandle *context,
                                             DeviceOrdinal ordinal) {
    return initialized([&](SimDevice::Impl &d) -> DriverStatus {
      if (!context)
        return status::InvalidValue;
      if (ordinal != 0)
        return status::InvalidDevice;
      ++d.contextReferences;
      *context = d.context();
      return status::Success;
    });
  }
  static DriverStatus devicePrimaryCtxRelease(DeviceOrdinal ordinal) {
    return initialized([&](SimDevice::Impl &d) -> DriverStatus {
      if (ordinal != 0)
        return status::InvalidDevice;
      if (!d.contextReferences)
        return status::InvalidContext;
      --d.contextReferences;
      return status::Success;
    });
  }
  static DriverStatus ctxSetCurrent(ContextHandle context) {
    return initialized([&](SimDevice::Impl &d) -> DriverStatus {
      if (context && context != d.context())
        return status::InvalidContext;
      currentContext = context;
      return status::Success;
    });
  }
  static DriverStatus ctxGetCurrent(ContextHandle *context) {
    return initialized([&](SimDevice::Impl &) -> DriverStatus {
      if (!context)
        return status::InvalidValue;
      *context = currentContext;
      return status::Success;
    });
  }
  static DriverStatus ctxSynchronize() {
    return inContext([](SimDevice::Impl &) { return status::Success; });
  }

  static DriverStatus moduleLoadDataEx(ModuleHandle *module, const void *image,
                                       unsigned optionCount, JitOption *options,
                                       void **values) {
    return inContext([&](SimDevice::Impl &d) -> DriverStatus {
      if (!module || !image || (optionCount && (!options || !values)))
        return status::InvalidValue;
      SimModule *loaded = nullptr;
      DriverStatus result =
          d.loadModule(static_cast<const char *>(image), loaded);
      *module = reinterpret_cast<ModuleHandle>(loaded);
      char *log = nullptr;
      size_t capacity = 0;
      for (unsigned i = 0; i < optionCount; ++i) {
        if (options[i] == jit_option::ErrorLogBuffer)
          log = static_cast<char *>(values[i]);
        if (options[i] == jit_option::ErrorLogBufferSizeBytes)
          capacity = reinterpret_cast<size_t>(values[i]) & 0xffffffff;
      }
      if (log && capacity) {
        std::string text;
        for (const Diagnostic &report : d.reports)
          text += report.render();
        size_t count = std::min(text.size(), capacity - 1);
        std::memcpy(log, text.data(), count);
        log[count] = '\0';
      }
      return result;
    });
  }
  static DriverStatus moduleUnload(ModuleHandle module) {
    return inContext([&](SimDevice::Impl &d) -> DriverStatus {
      if (!d.modules.count(module))
        return status::InvalidHandle;
      d.unloadModule(module);
      return status::Success;
    });
  }
  static DriverStatus moduleGetFunction(FunctionHandle *function,
                                        ModuleHandle module, const char *name) {
    return inContext([&](SimDevice::Impl &d) -> DriverStatus {
      if (!function || !name)
        return status::InvalidValue;
      auto it = d.modules.find(module);
      if (it == d.modules.end())
        return status::InvalidHandle;
      if (auto why = it->second->refused.find(std::string_view(name));
          why != it->second->refused.end())
        return d.refuse(status::InvalidPtx, why->second);
      auto found = it->second->functions.find(std::string_view(name));
      if (found == it->second->functions.end())
        return status::NotFound;
      *function = reinterpret_cast<FunctionHandle>(found->second.get());
      return status::Success;
    });
  }
  static DriverStatus funcGetAttribute(int *value, FunctionAttribute attribute,
                                       FunctionHandle handle) {
    return inContext([&](SimDevice::Impl &d) -> DriverStatus {
      auto it = d.functions.find(handle);
      if (it == d.functions.end())
        return status::InvalidHandle;
      if (!value)
        return status::InvalidValue;
      return functionAttribute(d, *it->second, attribute, *value);
    });
  }
  static DriverStatus funcSetAttribute(FunctionHandle handle,
                                       FunctionAttribute attribute, int value) {
    return inContext([&](SimDevice::Impl &d) -> DriverStatus {
      auto it = d.functions.find(handle);
      if (it == d.functions.end())
        return status::InvalidHandle;
      return setFunctionAttribute(d, *it->second, attribute, value);
    });
  }
  static DriverStatus occupancyMaxActiveBlocksPerMultiprocessor(
      int *blocks, FunctionHandle handle, int blockSize, size_t dynamicShared) {
    return inContext([&](SimDevice::Impl &d) -> DriverStatus {
      auto it = d.functions.find(handle);
      if (it == d.functions.end())
        return status::InvalidHandle;
      if (!blocks || blockSize <= 0)
        return status::InvalidValue;
      *blocks =
          d.maxBlocksPerMultiprocessor(*it->second, blockSize, dynamicShared);
      return status::Success;
    });
  }
  static DriverStatus launchKernelEx(const LaunchConfig *config,
                                     FunctionHandle handle, void **parameters,
                                     void **extra) {
    return inContext([&](SimDevice::Impl &d) -> DriverStatus {
      auto it = d.functions.find(handle);
      if (it == d.functions.end())
        return status::InvalidHandle;
      if (!config || (config->attributeCount && !config->attributes))
        return status::InvalidValue;
      if (!isStream(d, config->stream))
        return status::InvalidHandle;
      if (extra)
        return status::NotSupported;
      std::vector<std::byte> bytes;
      if (DriverStatus packed = d.pack(*it->second, parameters, bytes))
        return packed;
      if (!captureOf(d, config->stream))
        return d.launch(*config, *it->second, std::move(bytes));
      KernelCall call{
          *config,
          {config->attributes, config->attributes + config->attributeCount},
          it->second,
          std::move(bytes)};
      capture(*d.streams.at(config->stream), std::move(call));
      return status::Success;
    });
  }
  static DriverStatus occupancyMaxActiveClusters(int *clusters,
                                                 FunctionHandle handle,
                                                 const LaunchConfig *config) {
    return inContext([&](SimDevice::Impl &d) -> DriverStatus {
      auto it = d.functions.find(handle);
      if (it == d.functions.end())
        return status::InvalidHandle;
      if (!clusters || !config ||
          (config->attributeCount && !config->attributes))
        return status::InvalidValue;
      Result<ClusterShape> shape = d.clusterOf(*config, *it->second);
      if (!shape)
        return d.refuse(status::InvalidClusterSize, shape.error());
      uint64_t threads =
          uint64_t(config->blockDimX) * config->blockDimY * config->blockDimZ;
      *clusters = d.maxActiveClusters(
          *it->second,
          static_cast<int>(std::min<uint64_t>(threads, maxThreadsPerBlock + 1)),
          config->sharedMemBytes, *shape);
      return status::Success;
    });
  }

  static DriverStatus memAlloc(DevicePtr *address, size_t bytes) {
    return inContext([&](SimDevice::Impl &d) -> DriverStatus {
      if (!address || !bytes)
        return status::InvalidValue;
      Allocation *allocation = d.memory.allocate(bytes);
      if (!allocation)
        return status::OutOfMemory;
      *address = allocation->base;
      return status::Success;
    });
  }
  static DriverStatus memFree(DevicePtr address) {
    return inContext([&](SimDevice::Impl &d) -> DriverStatus {
      // As the driver does, freeing null is nothing.
      if (!address)
        return status::Success;
      return d.memory.release(address) ? status::Success : status::InvalidValue;
    });
  }
  /// Runs `f()` if the device ranges are live and the stream exists.
  template <typename F>
  static DriverStatus transfer(StreamHandle stream, size_t bytes,
                               std::initializer_list<DevicePtr> ranges, F f) {
    return inContext([&](SimDevice::Impl &d) -> DriverStatus {
      if (!isStream(d, stream))
        return status::InvalidHandle;
      if (!bytes)
        return status::Success;
      for (DevicePtr range : ranges)
        if (!d.memory.isLive(range, bytes))
          return status::InvalidValue;
      if (!captureOf(d, stream)) {
        f();
        return status::Success;
      }
      capture(*d.streams.at(stream),
              [f, bytes, kept = std::vector<DevicePtr>(ranges)](
                  SimDevice::Impl &later) -> DriverStatus {
                for (DevicePtr range : kept)
                  if (!later.memory.isLive(range, bytes))
                    return status::InvalidValue;
                f();
                return status::Success;
              });
      return status::Success;
    });
  }
  static void *host(DevicePtr address) {
    return reinterpret_cast<void *>(address);
  }
  static DriverStatus memcpyHtoDAsync(DevicePtr to, const void *from,
                                      size_t bytes, StreamHandle stream) {
    if (bytes && !from)
      return status::InvalidValue;
    return transfer(stream, bytes, {to},
                    [=] { std::memcpy(host(to), from, bytes); });
  }
  static DriverStatus memcpyDtoHAsync(void *to, DevicePtr from, size_t bytes,
                                      StreamHandle stream) {
    if (bytes && !to)
      return status::InvalidValue;
    return transfer(stream, bytes, {from},
                    [=] { std::memcpy(to, host(from), bytes); });
  }
  static DriverStatus memcpyDtoDAsync(DevicePtr to, DevicePtr from,
                                      size_t bytes, StreamHandle stream) {
    return transfer(stream, bytes, {to, from},
                    [=] { std::memmove(host(to), host(from), bytes); });
  }
  static DriverStatus memsetD8Async(DevicePtr to, unsigned char value,
                                    size_t count, StreamHandle stream) {
    return transfer(stream, count, {to},
                    [=] { std::memset(host(to), value, count); });
  }
  static DriverStatus memsetD32Async(DevicePtr to, unsigned value, size_t count,
                                     StreamHandle stream) {
    if (to % 4 || count > SIZE_MAX / 4)
      return status::InvalidValue;
    return transfer(stream, count * 4, {to}, [=] {
      std::fill_n(static_cast<unsigned *>(host(to)), count, value);
    });
  }

  static DriverStatus streamCreate(StreamHandle *stream, unsigned flags) {
    return inContext([&](SimDevice::Impl &d) -> DriverStatus {
      if (!stream || flags > streamNonBlocking)
        return status::InvalidValue;
      auto owned = std::make_unique<SimStream>();
      *stream = reinterpret_cast<StreamHandle>(owned.get());
      d.streams[owned.get()] = std::move(owned);
      return status::Success;
    });
  }
  static DriverStatus streamSynchronize(StreamHandle stream) {
    return inContext([&](SimDevice::Impl &d) -> DriverStatus {
      if (captureOf(d, stream))
        return status::StreamCaptureUnsupported;
      return isStream(d, stream) ? status::Success : status::InvalidHandle;
    });
  }
  static DriverStatus streamDestroy(StreamHandle stream) {
    return inContext([&](SimDevice::Impl &d) -> DriverStatus {
      if (captureOf(d, stream))
        endCapture(d, captureOf(d, stream), true);
      return d.streams.erase(stream) ? status::Success : status::InvalidHandle;
    });
  }
  static DriverStatus streamWaitEvent(StreamHandle stream, EventHandle event,
                                      unsigned) {
    return inContext([&](SimDevice::Impl &d) -> DriverStatus {
      auto it = d.events.find(event);
      if (!isStream(d, stream) || it == d.events.end())
        return status::InvalidHandle;
      SimEvent &e = *it->second;
      if (!e.capture)
        return captureOf(d, stream) ? status::StreamCaptureUnsupported
                                    : status::Success;
      if (!stream)
        return status::StreamCaptureUnsupported;
      SimStream &waiting = *d.streams.at(stream);
      if (waiting.capture && waiting.capture != e.capture)
        return status::StreamCaptureMerge;
      waiting.capture = e.capture;
      waiting.latest.insert(waiting.latest.end(), e.latest.begin(),
                            e.latest.end());
      return status::Success;
    });
  }
  static DriverStatus eventCreate(EventHandle *event, unsigned) {
    return inContext([&](SimDevice::Impl &d) -> DriverStatus {
      if (!event)
        return status::InvalidValue;
      auto owned = std::make_unique<SimEvent>();
      *event = reinterpret_cast<EventHandle>(owned.get());
      d.events[owned.get()] = std::move(owned);
      return status::Success;
    });
  }
  template <typename F> static DriverStatus withEvent(EventHandle event, F f) {
    return inContext([&](SimDevice::Impl &d) -> DriverStatus {
      auto it = d.events.find(event);
      return it == d.events.end() ? status::InvalidHandle : f(d, *it->second);
    });
  }
  static DriverStatus eventRecord(EventHandle event, StreamHandle stream) {
    return withEvent(event,
                     [&](SimDevice::Impl &d, SimEvent &e) -> DriverStatus {
                       if (!isStream(d, stream))
                         return status::InvalidHandle;
                       if (SimGraph *graph = captureOf(d, stream)) {
                         e.capture = graph;
                         e.latest = d.streams.at(stream)->latest;
                         return status::Success;
                       }
                       e.capture = nullptr;
                       e.recorded = true;
                       e.time = std::chrono::steady_clock::now();
                       return status::Success;
                     });
  }
  static DriverStatus eventSynchronize(EventHandle event) {
    return withEvent(event, [](SimDevice::Impl &, SimEvent &) -> DriverStatus {
      return status::Success;
    });
  }
  static DriverStatus eventDestroy(EventHandle event) {
    return inContext([&](SimDevice::Impl &d) -> DriverStatus {
      return d.events.erase(event) ? status::Success : status::InvalidHandle;
    });
  }
  static DriverStatus eventElapsedTime(float *milliseconds, EventHandle start,
                                       EventHandle end) {
    return inContext([&](SimDevice::Impl &d) -> DriverStatus {
      auto first = d.events.find(start), last = d.events.find(end);
      if (first == d.events.end() || last == d.events.end() ||
          !first->second->recorded || !last->second->recorded)
        return status::InvalidHandle;
      if (!milliseconds)
        return status::InvalidValue;
      *milliseconds = std::chrono::duration<float, std::milli>(
                          last->second->time - first->second->time)
                          .count();
      return status::Success;
    });
  }

  static DriverStatus
  tensorMapEncodeTiled(TensorMapStorage *map, int dataType, unsigned rank,
                       void *address, const uint64_t *size,
                       const uint64_t *strides, const unsigned *box,
                       const unsigned *elementStrides, int interleave,
                       int swizzle, int l2Promotion, int outOfBoundsFill) {
    return initialized([&](SimDevice::Impl &d) {
      return d.encodeTensorMap(map, {dataType, rank,
                                     reinterpret_cast<uint64_t>(address), size,
                                     strides, box, elementStrides, interleave,
                                     swizzle, l2Promotion, outOfBoundsFill});
    });
  }

  static const DriverTable &table() {
    static const DriverTable filled = [] {
      DriverTable t;
#define QUERN_SIM_ENTRY(member, symbol, version, parameters)                   \
  t.member = Entries::member;
      QUERN_CUDA_DRIVER_ENTRIES(QUERN_SIM_ENTRY)
      QUERN_CUDA_DRIVER_OPTIONAL_ENTRIES(QUERN_SIM_ENTRY)
#undef QUERN_SIM_ENTRY
      return t;
    }();
    return filled;
  }
};

} // namespace

const DriverTable &sim::simulatedDriver(SimTarget target) {
  switch (target) {
  case SimTarget::Sm80:
    return Entries<0>::table();
  case SimTarget::Sm89:
    return Entries<1>::table();
  case SimTarget::Sm90a:
    return Entries<2>::table();
  case SimTarget::Sm100a:
    return Entries<3>::table();
  case SimTarget::Sm120a:
    break;
  }
  return Entries<4>::table();
}
