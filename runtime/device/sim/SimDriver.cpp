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

#include "runtime/device/sim/Machine.h"
#include "runtime/device/sim/SimState.h"

#include <algorithm>
#include <cstring>
#include <fmt/format.h>

using namespace quern;
using namespace quern::sim;
using namespace quern::cuda;

namespace {

thread_local ContextHandle currentContext[simTargetCount];

struct StatusName {
  DriverStatus status;
  const char *name;
  const char *text;
};
constexpr StatusName statusNames[] = {
    {status::Success, "CUDA_SUCCESS", "no error"},
    {status::InvalidValue, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    {status::OutOfMemory, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    {status::NotInitialized, "CUDA_ERROR_NOT_INITIALIZED",
     "initialization error"},
    {status::InvalidDevice, "CUDA_ERROR_INVALID_DEVICE",
     "invalid device ordinal"},
    {status::InvalidContext, "CUDA_ERROR_INVALID_CONTEXT",
     "invalid device context"},
    {status::NoBinaryForGpu, "CUDA_ERROR_NO_BINARY_FOR_GPU",
     "no kernel image is available for execution on the device"},
    {status::InvalidPtx, "CUDA_ERROR_INVALID_PTX",
     "a PTX JIT compilation failed"},
    {status::InvalidHandle, "CUDA_ERROR_INVALID_HANDLE",
     "invalid resource handle"},
    {status::NotFound, "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
    {status::IllegalAddress, "CUDA_ERROR_ILLEGAL_ADDRESS",
     "an illegal memory access was encountered"},
    {status::LaunchOutOfResources, "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES",
     "too many resources requested for launch"},
    {status::MisalignedAddress, "CUDA_ERROR_MISALIGNED_ADDRESS",
     "misaligned address"},
    {status::LaunchFailed, "CUDA_ERROR_LAUNCH_FAILED",
     "unspecified launch failure"},
    {status::CooperativeLaunchTooLarge,
     "CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE",
     "too many blocks in cooperative launch"},
    {status::NotSupported, "CUDA_ERROR_NOT_SUPPORTED",
     "operation not supported"},
};

const StatusName *findStatus(DriverStatus code) {
  for (const StatusName &entry : statusNames)
    if (entry.status == code)
      return &entry;
  return nullptr;
}

int attributeOf(const DeviceModel &model, DeviceAttribute attribute) {
  namespace a = device_attribute;
  switch (attribute) {
  case a::MaxThreadsPerBlock:
  case a::MaxBlockDimX:
  case a::MaxBlockDimY:
    return maxThreadsPerBlock;
  case a::MaxBlockDimZ:
    return 64;
  case a::MaxGridDimX:
    return 0x7fffffff;
  case a::MaxGridDimY:
  case a::MaxGridDimZ:
    return 65535;
  case a::MaxSharedMemoryPerBlock:
    return defaultSharedPerBlock;
  case a::WarpSize:
    return 32;
  case a::MaxRegistersPerBlock:
  case a::MaxRegistersPerMultiprocessor:
    return 65536;
  case a::ClockRateKhz:
    return model.clockKhz;
  case a::MultiprocessorCount:
    return model.multiprocessors;
  case a::MemoryClockRateKhz:
    return model.memoryClockKhz;
  case a::MemoryBusWidthBits:
    return model.memoryBusBits;
  case a::L2CacheBytes:
    return model.l2Bytes;
  case a::MaxThreadsPerMultiprocessor:
    return model.threadsPerMultiprocessor;
  case a::ComputeCapabilityMajor:
    return model.major;
  case a::ComputeCapabilityMinor:
    return model.minor;
  case a::MaxSharedMemoryPerMultiprocessor:
    return model.sharedPerMultiprocessor;
  case a::CooperativeLaunch:
    return 1;
  case a::MaxSharedMemoryPerBlockOptin:
    return model.sharedPerBlockOptin;
  case a::MaxBlocksPerMultiprocessor:
    return model.blocksPerMultiprocessor;
  case a::ReservedSharedMemoryPerBlock:
    return reservedSharedPerBlock;
  default:
    return -1;
  }
}

/// The functions of the device with number `index`.
template <unsigned index> struct Entries {
  static SimDevice::Impl &device() {
    return SimDevice::get(static_cast<SimTarget>(index)).impl();
  }

  /// Runs `f(device)` under the lock, in a current context.
  template <typename F> static DriverStatus inContext(F f) {
    SimDevice::Impl &d = device();
    std::lock_guard lock(d.mutex);
    if (!d.initialized)
      return status::NotInitialized;
    if (currentContext[index] != d.context() || !d.contextReferences)
      return status::InvalidContext;
    return f(d);
  }
  /// Runs `f(device)` under the lock, after init.
  template <typename F> static DriverStatus initialized(F f) {
    SimDevice::Impl &d = device();
    std::lock_guard lock(d.mutex);
    return d.initialized ? f(d) : status::NotInitialized;
  }
  static bool isStream(SimDevice::Impl &d, StreamHandle stream) {
    return !stream || d.streams.count(stream);
  }

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
      currentContext[index] = context;
      return status::Success;
    });
  }
  static DriverStatus ctxGetCurrent(ContextHandle *context) {
    return initialized([&](SimDevice::Impl &) -> DriverStatus {
      if (!context)
        return status::InvalidValue;
      *context = currentContext[index];
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
      namespace a = function_attribute;
      auto it = d.functions.find(handle);
      if (it == d.functions.end())
        return status::InvalidHandle;
      if (!value)
        return status::InvalidValue;
      const Kernel &kernel = it->second->kernel;
      switch (attribute) {
      case a::MaxThreadsPerBlock:
        *value = kernel.maxThreads ? static_cast<int>(kernel.maxThreads)
                                   : maxThreadsPerBlock;
        return status::Success;
      case a::SharedSizeBytes:
        *value = static_cast<int>(kernel.staticSharedBytes);
        return status::Success;
      case a::LocalSizeBytes:
        *value = static_cast<int>(kernel.localBytes);
        return status::Success;
      case a::ConstSizeBytes:
      case a::NumRegs:
        *value = 0;
        return status::Success;
      case a::PtxVersion:
      case a::BinaryVersion:
        *value = d.model.major * 10 + d.model.minor;
        return status::Success;
      case a::MaxDynamicSharedSizeBytes:
        *value = it->second->maxDynamicShared;
        return status::Success;
      default:
        return status::InvalidValue;
      }
    });
  }
  static DriverStatus funcSetAttribute(FunctionHandle handle,
                                       FunctionAttribute attribute, int value) {
    return inContext([&](SimDevice::Impl &d) -> DriverStatus {
      auto it = d.functions.find(handle);
      if (it == d.functions.end())
        return status::InvalidHandle;
      if (attribute != function_attribute::MaxDynamicSharedSizeBytes)
        return status::NotSupported;
      SimFunction &function = *it->second;
      int available = d.model.sharedPerBlockOptin -
                      static_cast<int>(function.kernel.staticSharedBytes);
      if (value < 0 || value > available)
        return status::InvalidValue;
      function.maxDynamicShared = value;
      return status::Success;
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
      return d.launch(*config, *it->second, parameters);
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
      f();
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
                    [&] { std::memcpy(host(to), from, bytes); });
  }
  static DriverStatus memcpyDtoHAsync(void *to, DevicePtr from, size_t bytes,
                                      StreamHandle stream) {
    if (bytes && !to)
      return status::InvalidValue;
    return transfer(stream, bytes, {from},
                    [&] { std::memcpy(to, host(from), bytes); });
  }
  static DriverStatus memcpyDtoDAsync(DevicePtr to, DevicePtr from,
                                      size_t bytes, StreamHandle stream) {
    return transfer(stream, bytes, {to, from},
                    [&] { std::memmove(host(to), host(from), bytes); });
  }
  static DriverStatus memsetD8Async(DevicePtr to, unsigned char value,
                                    size_t count, StreamHandle stream) {
    return transfer(stream, count, {to},
                    [&] { std::memset(host(to), value, count); });
  }
  static DriverStatus memsetD32Async(DevicePtr to, unsigned value, size_t count,
                                     StreamHandle stream) {
    if (to % 4 || count > SIZE_MAX / 4)
      return status::InvalidValue;
    return transfer(stream, count * 4, {to}, [&] {
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
      return isStream(d, stream) ? status::Success : status::InvalidHandle;
    });
  }
  static DriverStatus streamDestroy(StreamHandle stream) {
    return inContext([&](SimDevice::Impl &d) -> DriverStatus {
      return d.streams.erase(stream) ? status::Success : status::InvalidHandle;
    });
  }
  static DriverStatus streamWaitEvent(StreamHandle stream, EventHandle event,
                                      unsigned) {
    return inContext([&](SimDevice::Impl &d) -> DriverStatus {
      return isStream(d, stream) && d.events.count(event)
                 ? status::Success
                 : status::InvalidHandle;
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
#define QUERN_SIM_ENTRY(member, symbol, version, parameters) t.member = member;
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
