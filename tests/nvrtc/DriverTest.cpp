//===- DriverTest.cpp - Our driver declarations against cuda.h ------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/cuda/DriverLoader.h"

#include <cstring>
#include <filesystem>
#include <gtest/gtest.h>
#include <type_traits>

#if __has_include(<cuda.h>)
#define CUDA_NO_PROTOTYPES
#include <cuda.h>
#include <cudaTypedefs.h>
#endif

using namespace quern;
using namespace quern::cuda;

TEST(DriverLoader, MissingLibraryIsNoDevice) {
  Result<DriverTable> driver = loadDriver("libcuda-that-is-not-there.so");
  ASSERT_FALSE(driver);
  EXPECT_EQ(driver.error().code, Errc::NoDevice);
  ASSERT_EQ(driver.error().notes.size(), 1u);
  EXPECT_NE(driver.error().notes[0].find("libcuda-that-is-not-there"),
            std::string::npos);
}

TEST(DriverLoader, LibraryWithoutTheEntriesIsNoDevice) {
  Result<DriverTable> driver = loadDriver("libc.so.6");
  ASSERT_FALSE(driver);
  EXPECT_EQ(driver.error().code, Errc::NoDevice);
  EXPECT_NE(driver.error().message.find("cuInit"), std::string::npos);
}

TEST(DriverLoader, ToolkitsLibraryForLinkingIsNoDevice) {
  const char *path = "/usr/local/cuda/lib64/stubs/libcuda.so";
  if (!std::filesystem::exists(path))
    GTEST_SKIP() << "no CUDA toolkit with a libcuda to link against";
  Result<DriverTable> driver = loadDriver(path);
  ASSERT_FALSE(driver);
  EXPECT_EQ(driver.error().code, Errc::NoDevice);
  EXPECT_NE(driver.error().render().find("for linking only"),
            std::string::npos);
}

TEST(DriverLoader, SystemDriverAnswersOrSaysWhyNot) {
  Result<const DriverTable *> driver = systemDriver();
  if (!driver) {
    EXPECT_EQ(driver.error().code, Errc::NoDevice);
    EXPECT_FALSE(driver.error().notes.empty());
    return;
  }
  int count = -1;
  EXPECT_EQ((*driver)->deviceGetCount(&count), status::Success);
  EXPECT_GE(count, 0);
  EXPECT_NE(describe(**driver, status::IllegalAddress).find("700"),
            std::string::npos);
}

#ifdef CUDA_VERSION

// Sizes, offsets and values as NVIDIA declares them.
static_assert(sizeof(LaunchConfig) == sizeof(CUlaunchConfig));
static_assert(offsetof(LaunchConfig, blockDimX) ==
              offsetof(CUlaunchConfig, blockDimX));
static_assert(offsetof(LaunchConfig, sharedMemBytes) ==
              offsetof(CUlaunchConfig, sharedMemBytes));
static_assert(offsetof(LaunchConfig, stream) ==
              offsetof(CUlaunchConfig, hStream));
static_assert(offsetof(LaunchConfig, attributes) ==
              offsetof(CUlaunchConfig, attrs));
static_assert(offsetof(LaunchConfig, attributeCount) ==
              offsetof(CUlaunchConfig, numAttrs));
static_assert(sizeof(LaunchAttribute) == sizeof(CUlaunchAttribute));
static_assert(alignof(LaunchAttribute) == alignof(CUlaunchAttribute));
static_assert(offsetof(LaunchAttribute, value) ==
              offsetof(CUlaunchAttribute, value));
static_assert(sizeof(LaunchAttribute::Value) == sizeof(CUlaunchAttributeValue));
static_assert(sizeof(KernelNodeParams) == sizeof(CUDA_KERNEL_NODE_PARAMS_v2));
static_assert(offsetof(KernelNodeParams, kernelParameters) ==
              offsetof(CUDA_KERNEL_NODE_PARAMS_v2, kernelParams));
static_assert(offsetof(KernelNodeParams, context) ==
              offsetof(CUDA_KERNEL_NODE_PARAMS_v2, ctx));
static_assert(sizeof(MemsetNodeParams) == sizeof(CUDA_MEMSET_NODE_PARAMS));
static_assert(offsetof(MemsetNodeParams, elementBytes) ==
              offsetof(CUDA_MEMSET_NODE_PARAMS, elementSize));
static_assert(offsetof(MemsetNodeParams, height) ==
              offsetof(CUDA_MEMSET_NODE_PARAMS, height));
static_assert(sizeof(TensorMapStorage) == sizeof(CUtensorMap));
static_assert(alignof(TensorMapStorage) >= alignof(CUtensorMap));
static_assert(sizeof(DevicePtr) == sizeof(CUdeviceptr));
static_assert(std::is_same_v<DeviceOrdinal, CUdevice>);

static_assert(LaunchAttribute::Cooperative ==
              int(CU_LAUNCH_ATTRIBUTE_COOPERATIVE));
static_assert(LaunchAttribute::ClusterDimension ==
              int(CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION));
static_assert(LaunchAttribute::ProgrammaticStreamSerialization ==
              int(CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION));

static_assert(status::InvalidValue == CUDA_ERROR_INVALID_VALUE);
static_assert(status::OutOfMemory == CUDA_ERROR_OUT_OF_MEMORY);
static_assert(status::NotInitialized == CUDA_ERROR_NOT_INITIALIZED);
static_assert(status::StubLibrary == CUDA_ERROR_STUB_LIBRARY);
static_assert(status::NoDevice == CUDA_ERROR_NO_DEVICE);
static_assert(status::InvalidDevice == CUDA_ERROR_INVALID_DEVICE);
static_assert(status::InvalidImage == CUDA_ERROR_INVALID_IMAGE);
static_assert(status::InvalidContext == CUDA_ERROR_INVALID_CONTEXT);
static_assert(status::NoBinaryForGpu == CUDA_ERROR_NO_BINARY_FOR_GPU);
static_assert(status::InvalidPtx == CUDA_ERROR_INVALID_PTX);
static_assert(status::InvalidHandle == CUDA_ERROR_INVALID_HANDLE);
static_assert(status::NotFound == CUDA_ERROR_NOT_FOUND);
static_assert(status::IllegalAddress == CUDA_ERROR_ILLEGAL_ADDRESS);
static_assert(status::LaunchOutOfResources ==
              CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES);
static_assert(status::IllegalInstruction == CUDA_ERROR_ILLEGAL_INSTRUCTION);
static_assert(status::MisalignedAddress == CUDA_ERROR_MISALIGNED_ADDRESS);
static_assert(status::LaunchFailed == CUDA_ERROR_LAUNCH_FAILED);
static_assert(status::CooperativeLaunchTooLarge ==
              CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE);
static_assert(status::NotSupported == CUDA_ERROR_NOT_SUPPORTED);
static_assert(status::IllegalState == CUDA_ERROR_ILLEGAL_STATE);
static_assert(status::StreamCaptureUnsupported ==
              CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
static_assert(status::StreamCaptureMerge == CUDA_ERROR_STREAM_CAPTURE_MERGE);
static_assert(status::StreamCaptureUnmatched ==
              CUDA_ERROR_STREAM_CAPTURE_UNMATCHED);
static_assert(status::InvalidClusterSize == CUDA_ERROR_INVALID_CLUSTER_SIZE);
static_assert(status::Unknown == CUDA_ERROR_UNKNOWN);

#define QUERN_SAME_ATTRIBUTE(ours, theirs)                                     \
  static_assert(device_attribute::ours == CU_DEVICE_ATTRIBUTE_##theirs)
QUERN_SAME_ATTRIBUTE(MaxThreadsPerBlock, MAX_THREADS_PER_BLOCK);
QUERN_SAME_ATTRIBUTE(MaxBlockDimX, MAX_BLOCK_DIM_X);
QUERN_SAME_ATTRIBUTE(MaxBlockDimY, MAX_BLOCK_DIM_Y);
QUERN_SAME_ATTRIBUTE(MaxBlockDimZ, MAX_BLOCK_DIM_Z);
QUERN_SAME_ATTRIBUTE(MaxGridDimX, MAX_GRID_DIM_X);
QUERN_SAME_ATTRIBUTE(MaxGridDimY, MAX_GRID_DIM_Y);
QUERN_SAME_ATTRIBUTE(MaxGridDimZ, MAX_GRID_DIM_Z);
QUERN_SAME_ATTRIBUTE(MaxSharedMemoryPerBlock, MAX_SHARED_MEMORY_PER_BLOCK);
QUERN_SAME_ATTRIBUTE(WarpSize, WARP_SIZE);
QUERN_SAME_ATTRIBUTE(MaxRegistersPerBlock, MAX_REGISTERS_PER_BLOCK);
QUERN_SAME_ATTRIBUTE(ClockRateKhz, CLOCK_RATE);
QUERN_SAME_ATTRIBUTE(MultiprocessorCount, MULTIPROCESSOR_COUNT);
QUERN_SAME_ATTRIBUTE(MemoryClockRateKhz, MEMORY_CLOCK_RATE);
QUERN_SAME_ATTRIBUTE(MemoryBusWidthBits, GLOBAL_MEMORY_BUS_WIDTH);
QUERN_SAME_ATTRIBUTE(L2CacheBytes, L2_CACHE_SIZE);
QUERN_SAME_ATTRIBUTE(MaxThreadsPerMultiprocessor,
                     MAX_THREADS_PER_MULTIPROCESSOR);
QUERN_SAME_ATTRIBUTE(ComputeCapabilityMajor, COMPUTE_CAPABILITY_MAJOR);
QUERN_SAME_ATTRIBUTE(ComputeCapabilityMinor, COMPUTE_CAPABILITY_MINOR);
QUERN_SAME_ATTRIBUTE(MaxSharedMemoryPerMultiprocessor,
                     MAX_SHARED_MEMORY_PER_MULTIPROCESSOR);
QUERN_SAME_ATTRIBUTE(MaxRegistersPerMultiprocessor,
                     MAX_REGISTERS_PER_MULTIPROCESSOR);
QUERN_SAME_ATTRIBUTE(CooperativeLaunch, COOPERATIVE_LAUNCH);
QUERN_SAME_ATTRIBUTE(MaxSharedMemoryPerBlockOptin,
                     MAX_SHARED_MEMORY_PER_BLOCK_OPTIN);
QUERN_SAME_ATTRIBUTE(MaxBlocksPerMultiprocessor, MAX_BLOCKS_PER_MULTIPROCESSOR);
QUERN_SAME_ATTRIBUTE(ClusterLaunch, CLUSTER_LAUNCH);
QUERN_SAME_ATTRIBUTE(ReservedSharedMemoryPerBlock,
                     RESERVED_SHARED_MEMORY_PER_BLOCK);

static_assert(function_attribute::MaxThreadsPerBlock ==
              CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK);
static_assert(function_attribute::SharedSizeBytes ==
              CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES);
static_assert(function_attribute::LocalSizeBytes ==
              CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES);
static_assert(function_attribute::NumRegs == CU_FUNC_ATTRIBUTE_NUM_REGS);
static_assert(function_attribute::ClusterSizeMustBeSet ==
              CU_FUNC_ATTRIBUTE_CLUSTER_SIZE_MUST_BE_SET);
static_assert(function_attribute::RequiredClusterWidth ==
              CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_WIDTH);
static_assert(function_attribute::RequiredClusterDepth ==
              CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_DEPTH);
static_assert(function_attribute::NonPortableClusterSizeAllowed ==
              CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED);
static_assert(function_attribute::MaxDynamicSharedSizeBytes ==
              CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES);
static_assert(jit_option::ErrorLogBuffer == CU_JIT_ERROR_LOG_BUFFER);
static_assert(jit_option::ErrorLogBufferSizeBytes ==
              CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES);
static_assert(jit_option::InfoLogBuffer == CU_JIT_INFO_LOG_BUFFER);
static_assert(jit_option::InfoLogBufferSizeBytes ==
              CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES);

// Functions: as many parameters, each passed the same way.
template <typename A, typename B> constexpr bool samePassing() {
  if constexpr (std::is_pointer_v<A> || std::is_pointer_v<B>)
    return std::is_pointer_v<A> && std::is_pointer_v<B>;
  else
    return sizeof(A) == sizeof(B);
}
template <typename A, typename B> struct SameAbi : std::false_type {};
template <typename R, typename... A, typename S, typename... B>
struct SameAbi<R (*)(A...), S (*)(B...)> {
  static constexpr bool check() {
    if constexpr (sizeof...(A) != sizeof...(B) || sizeof(R) != sizeof(S))
      return false;
    else
      return (samePassing<A, B>() && ...);
  }
  static constexpr bool value = check();
};
#define QUERN_SAME_FUNCTION(member, typedefName)                               \
  static_assert(SameAbi<decltype(DriverTable::member), typedefName>::value)
QUERN_SAME_FUNCTION(init, PFN_cuInit_v2000);
QUERN_SAME_FUNCTION(driverGetVersion, PFN_cuDriverGetVersion_v2020);
QUERN_SAME_FUNCTION(getErrorName, PFN_cuGetErrorName_v6000);
QUERN_SAME_FUNCTION(getErrorString, PFN_cuGetErrorString_v6000);
QUERN_SAME_FUNCTION(deviceGetCount, PFN_cuDeviceGetCount_v2000);
QUERN_SAME_FUNCTION(deviceGet, PFN_cuDeviceGet_v2000);
QUERN_SAME_FUNCTION(deviceGetName, PFN_cuDeviceGetName_v2000);
QUERN_SAME_FUNCTION(deviceGetAttribute, PFN_cuDeviceGetAttribute_v2000);
QUERN_SAME_FUNCTION(deviceTotalMem, PFN_cuDeviceTotalMem_v3020);
QUERN_SAME_FUNCTION(devicePrimaryCtxRetain, PFN_cuDevicePrimaryCtxRetain_v7000);
QUERN_SAME_FUNCTION(devicePrimaryCtxRelease,
                    PFN_cuDevicePrimaryCtxRelease_v11000);
QUERN_SAME_FUNCTION(ctxSetCurrent, PFN_cuCtxSetCurrent_v4000);
QUERN_SAME_FUNCTION(ctxGetCurrent, PFN_cuCtxGetCurrent_v4000);
QUERN_SAME_FUNCTION(ctxSynchronize, PFN_cuCtxSynchronize_v2000);
QUERN_SAME_FUNCTION(moduleLoadDataEx, PFN_cuModuleLoadDataEx_v2010);
QUERN_SAME_FUNCTION(moduleUnload, PFN_cuModuleUnload_v2000);
QUERN_SAME_FUNCTION(moduleGetFunction, PFN_cuModuleGetFunction_v2000);
QUERN_SAME_FUNCTION(funcGetAttribute, PFN_cuFuncGetAttribute_v2020);
QUERN_SAME_FUNCTION(funcSetAttribute, PFN_cuFuncSetAttribute_v9000);
QUERN_SAME_FUNCTION(occupancyMaxActiveBlocksPerMultiprocessor,
                    PFN_cuOccupancyMaxActiveBlocksPerMultiprocessor_v6050);
QUERN_SAME_FUNCTION(launchKernelEx, PFN_cuLaunchKernelEx_v11060);
QUERN_SAME_FUNCTION(memAlloc, PFN_cuMemAlloc_v3020);
QUERN_SAME_FUNCTION(memFree, PFN_cuMemFree_v3020);
QUERN_SAME_FUNCTION(memcpyHtoDAsync, PFN_cuMemcpyHtoDAsync_v3020);
QUERN_SAME_FUNCTION(memcpyDtoHAsync, PFN_cuMemcpyDtoHAsync_v3020);
QUERN_SAME_FUNCTION(memcpyDtoDAsync, PFN_cuMemcpyDtoDAsync_v3020);
QUERN_SAME_FUNCTION(memsetD8Async, PFN_cuMemsetD8Async_v3020);
QUERN_SAME_FUNCTION(memsetD32Async, PFN_cuMemsetD32Async_v3020);
QUERN_SAME_FUNCTION(streamCreate, PFN_cuStreamCreate_v2000);
QUERN_SAME_FUNCTION(streamSynchronize, PFN_cuStreamSynchronize_v2000);
QUERN_SAME_FUNCTION(streamDestroy, PFN_cuStreamDestroy_v4000);
QUERN_SAME_FUNCTION(streamWaitEvent, PFN_cuStreamWaitEvent_v3020);
QUERN_SAME_FUNCTION(eventCreate, PFN_cuEventCreate_v2000);
QUERN_SAME_FUNCTION(eventRecord, PFN_cuEventRecord_v2000);
QUERN_SAME_FUNCTION(eventSynchronize, PFN_cuEventSynchronize_v2000);
QUERN_SAME_FUNCTION(eventDestroy, PFN_cuEventDestroy_v4000);
QUERN_SAME_FUNCTION(occupancyMaxActiveClusters,
                    PFN_cuOccupancyMaxActiveClusters_v11070);
QUERN_SAME_FUNCTION(streamBeginCapture, PFN_cuStreamBeginCapture_v10010);
QUERN_SAME_FUNCTION(streamEndCapture, PFN_cuStreamEndCapture_v10000);
QUERN_SAME_FUNCTION(streamIsCapturing, PFN_cuStreamIsCapturing_v10000);
QUERN_SAME_FUNCTION(graphCreate, PFN_cuGraphCreate_v10000);
QUERN_SAME_FUNCTION(graphAddKernelNode, PFN_cuGraphAddKernelNode_v12000);
QUERN_SAME_FUNCTION(graphAddMemsetNode, PFN_cuGraphAddMemsetNode_v10000);
QUERN_SAME_FUNCTION(graphKernelNodeSetAttribute,
                    PFN_cuGraphKernelNodeSetAttribute_v11000);
QUERN_SAME_FUNCTION(graphInstantiate, PFN_cuGraphInstantiateWithFlags_v11040);
QUERN_SAME_FUNCTION(graphExecKernelNodeSetParams,
                    PFN_cuGraphExecKernelNodeSetParams_v12000);
QUERN_SAME_FUNCTION(graphLaunch, PFN_cuGraphLaunch_v10000);
QUERN_SAME_FUNCTION(graphExecDestroy, PFN_cuGraphExecDestroy_v10000);
QUERN_SAME_FUNCTION(graphDestroy, PFN_cuGraphDestroy_v10000);
QUERN_SAME_FUNCTION(tensorMapEncodeTiled, PFN_cuTensorMapEncodeTiled_v12000);
QUERN_SAME_FUNCTION(eventElapsedTime, PFN_cuEventElapsedTime_v2000);

TEST(DriverApi, MatchesCudaHeader) {
  // Everything above is checked by the compiler.
  SUCCEED() << "compared with CUDA " << CUDA_VERSION;
}
#endif
