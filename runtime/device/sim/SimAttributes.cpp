//===- SimAttributes.cpp - What the simulated driver answers --------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/sim/SimState.h"

#include <algorithm>

#include <fmt/format.h>

using namespace quern;
using namespace quern::sim;
using namespace quern::cuda;

static constexpr StatusName statusNames[] = {
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
    {status::IllegalState, "CUDA_ERROR_ILLEGAL_STATE",
     "the operation cannot be performed in the present state"},
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
    {status::StreamCaptureUnsupported, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED",
     "operation not permitted when stream is capturing"},
    {status::StreamCaptureMerge, "CUDA_ERROR_STREAM_CAPTURE_MERGE",
     "operation would merge two separate captures"},
    {status::StreamCaptureUnmatched, "CUDA_ERROR_STREAM_CAPTURE_UNMATCHED",
     "capture was not initiated in this stream"},
    {status::InvalidClusterSize, "CUDA_ERROR_INVALID_CLUSTER_SIZE",
     "invalid cluster size"},
};

const StatusName *sim::findStatus(DriverStatus code) {
  for (const StatusName &entry : statusNames)
    if (entry.status == code)
      return &entry;
  return nullptr;
}

int sim::attributeOf(const DeviceModel &model, DeviceAttribute attribute) {
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
  case a::ClusterLaunch:
    return model.major >= 9;
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

DriverStatus sim::functionAttribute(const SimDevice::Impl &device,
                                    const SimFunction &function,
                                    FunctionAttribute attribute, int &value) {
  namespace a = function_attribute;
  const Kernel &kernel = function.kernel;
  switch (attribute) {
  case a::MaxThreadsPerBlock:
    value = kernel.maxThreads ? static_cast<int>(kernel.maxThreads)
                              : maxThreadsPerBlock;
    return status::Success;
  case a::SharedSizeBytes:
    value = static_cast<int>(kernel.staticSharedBytes);
    return status::Success;
  case a::LocalSizeBytes:
    value = static_cast<int>(kernel.localBytes);
    return status::Success;
  case a::ConstSizeBytes:
  case a::NumRegs:
    value = 0;
    return status::Success;
  case a::PtxVersion:
  case a::BinaryVersion:
    value = device.model.major * 10 + device.model.minor;
    return status::Success;
  case a::MaxDynamicSharedSizeBytes:
    value = function.maxDynamicShared;
    return status::Success;
  case a::PreferredSharedMemoryCarveout:
    value = -1;
    return status::Success;
  case a::ClusterSizeMustBeSet:
    value = kernel.explicitCluster;
    return status::Success;
  case a::RequiredClusterWidth:
  case a::RequiredClusterHeight:
  case a::RequiredClusterDepth:
    value = static_cast<int>(
        kernel.requiredCluster[attribute - a::RequiredClusterWidth]);
    return status::Success;
  case a::NonPortableClusterSizeAllowed:
    value = function.allowNonPortableCluster;
    return status::Success;
  default:
    return status::InvalidValue;
  }
}

DriverStatus sim::setFunctionAttribute(SimDevice::Impl &device,
                                       SimFunction &function,
                                       FunctionAttribute attribute, int value) {
  namespace a = function_attribute;
  switch (attribute) {
  case a::MaxDynamicSharedSizeBytes: {
    int available = device.model.sharedPerBlockOptin -
                    static_cast<int>(function.kernel.staticSharedBytes);
    if (value < 0 || value > available)
      return device.refuse(
          status::InvalidValue,
          fail(Errc::InvalidArgument,
               fmt::format("kernel {}: {} bytes of dynamic shared memory; at "
                           "most {} are possible beside its {} static ones",
                           function.kernel.name, value, available,
                           function.kernel.staticSharedBytes)));
    function.maxDynamicShared = value;
    return status::Success;
  }
  case a::PreferredSharedMemoryCarveout:
    return value < -1 || value > 100 ? status::InvalidValue : status::Success;
  case a::NonPortableClusterSizeAllowed:
    if (value < 0 || value > 1)
      return status::InvalidValue;
    if (device.model.major < 9)
      return status::NotSupported;
    function.allowNonPortableCluster = value;
    return status::Success;
  default:
    return status::NotSupported;
  }
}
