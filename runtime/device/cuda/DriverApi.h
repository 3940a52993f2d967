//===- DriverApi.h - The CUDA driver as a table of functions ----*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Everything Quern asks of a CUDA device goes through one `DriverTable`. It has
// two fillings: libcuda, opened on first use (DriverLoader.h), and a driver
// simulated on the host that runs PTX with checks (runtime/device/sim). Code
// written against the table cannot tell them apart, so argument packing,
// launches, streams and caching are tested without a GPU.
//
// The declarations are our own, so that building needs no CUDA toolkit. They
// are identical to libcuda's in ABI: results and enumerations are `int`,
// handles are pointers to opaque structs, device addresses are 64-bit integers,
// sizes are `size_t`. A test compares them with cuda.h where that header
// exists. The contract of each function is the one NVIDIA documents for the
// function named beside it.
//
// Modules rather than libraries (cuLibrary*) are used: they exist in every
// driver and Quern runs in the primary context only. A module belongs to the
// context that was current when it was loaded.
//
// Thread-safety: as the driver's. Every entry may be called from any thread
// once the thread has made a context current.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_DEVICE_CUDA_DRIVERAPI_H
#define QUERN_DEVICE_CUDA_DRIVERAPI_H

#include <cstddef>
#include <cstdint>

namespace quern {
inline namespace v0 {
namespace cuda {

/// CUresult. Any value may come back; these are the ones we branch on or, in
/// the simulated driver, return.
using DriverStatus = int;
namespace status {
inline constexpr DriverStatus Success = 0;
inline constexpr DriverStatus InvalidValue = 1;
inline constexpr DriverStatus OutOfMemory = 2;
inline constexpr DriverStatus NotInitialized = 3;
inline constexpr DriverStatus StubLibrary = 34;
inline constexpr DriverStatus NoDevice = 100;
inline constexpr DriverStatus InvalidDevice = 101;
inline constexpr DriverStatus InvalidImage = 200;
inline constexpr DriverStatus InvalidContext = 201;
inline constexpr DriverStatus NoBinaryForGpu = 209;
inline constexpr DriverStatus InvalidPtx = 218;
inline constexpr DriverStatus InvalidHandle = 400;
inline constexpr DriverStatus IllegalState = 401;
inline constexpr DriverStatus NotFound = 500;
inline constexpr DriverStatus IllegalAddress = 700;
inline constexpr DriverStatus LaunchOutOfResources = 701;
inline constexpr DriverStatus IllegalInstruction = 715;
inline constexpr DriverStatus MisalignedAddress = 716;
inline constexpr DriverStatus LaunchFailed = 719;
inline constexpr DriverStatus CooperativeLaunchTooLarge = 720;
inline constexpr DriverStatus NotSupported = 801;
inline constexpr DriverStatus StreamCaptureUnsupported = 900;
inline constexpr DriverStatus StreamCaptureMerge = 902;
inline constexpr DriverStatus StreamCaptureUnmatched = 903;
inline constexpr DriverStatus InvalidClusterSize = 912;
inline constexpr DriverStatus Unknown = 999;
} // namespace status

/// CUdevice: an ordinal.
using DeviceOrdinal = int;
/// CUdeviceptr.
using DevicePtr = unsigned long long;
/// CUcontext, CUmodule, CUfunction, CUstream, CUevent, CUgraph, CUgraphNode,
/// CUgraphExec.
using ContextHandle = struct OpaqueContext *;
using ModuleHandle = struct OpaqueModule *;
using FunctionHandle = struct OpaqueFunction *;
using StreamHandle = struct OpaqueStream *;
using EventHandle = struct OpaqueEvent *;
using GraphHandle = struct OpaqueGraph *;
using GraphNodeHandle = struct OpaqueGraphNode *;
using GraphExecHandle = struct OpaqueGraphExec *;

/// CUdevice_attribute.
using DeviceAttribute = int;
namespace device_attribute {
inline constexpr DeviceAttribute MaxThreadsPerBlock = 1;
inline constexpr DeviceAttribute MaxBlockDimX = 2;
inline constexpr DeviceAttribute MaxBlockDimY = 3;
inline constexpr DeviceAttribute MaxBlockDimZ = 4;
inline constexpr DeviceAttribute MaxGridDimX = 5;
inline constexpr DeviceAttribute MaxGridDimY = 6;
inline constexpr DeviceAttribute MaxGridDimZ = 7;
inline constexpr DeviceAttribute MaxSharedMemoryPerBlock = 8;
inline constexpr DeviceAttribute WarpSize = 10;
inline constexpr DeviceAttribute MaxRegistersPerBlock = 12;
inline constexpr DeviceAttribute ClockRateKhz = 13;
inline constexpr DeviceAttribute MultiprocessorCount = 16;
inline constexpr DeviceAttribute MemoryClockRateKhz = 36;
inline constexpr DeviceAttribute MemoryBusWidthBits = 37;
inline constexpr DeviceAttribute L2CacheBytes = 38;
inline constexpr DeviceAttribute MaxThreadsPerMultiprocessor = 39;
inline constexpr DeviceAttribute ComputeCapabilityMajor = 75;
inline constexpr DeviceAttribute ComputeCapabilityMinor = 76;
inline constexpr DeviceAttribute MaxSharedMemoryPerMultiprocessor = 81;
inline constexpr DeviceAttribute MaxRegistersPerMultiprocessor = 82;
inline constexpr DeviceAttribute CooperativeLaunch = 95;
inline constexpr DeviceAttribute MaxSharedMemoryPerBlockOptin = 97;
inline constexpr DeviceAttribute MaxBlocksPerMultiprocessor = 106;
inline constexpr DeviceAttribute ReservedSharedMemoryPerBlock = 111;
inline constexpr DeviceAttribute ClusterLaunch = 120;
} // namespace device_attribute

/// CUfunction_attribute.
using FunctionAttribute = int;
namespace function_attribute {
inline constexpr FunctionAttribute MaxThreadsPerBlock = 0;
inline constexpr FunctionAttribute SharedSizeBytes = 1;
inline constexpr FunctionAttribute ConstSizeBytes = 2;
inline constexpr FunctionAttribute LocalSizeBytes = 3;
inline constexpr FunctionAttribute NumRegs = 4;
inline constexpr FunctionAttribute PtxVersion = 5;
inline constexpr FunctionAttribute BinaryVersion = 6;
/// Must be raised before a launch with more than 48 KiB of dynamic shared
/// memory.
inline constexpr FunctionAttribute MaxDynamicSharedSizeBytes = 8;
inline constexpr FunctionAttribute PreferredSharedMemoryCarveout = 9;
inline constexpr FunctionAttribute ClusterSizeMustBeSet = 10;
inline constexpr FunctionAttribute RequiredClusterWidth = 11;
inline constexpr FunctionAttribute RequiredClusterHeight = 12;
inline constexpr FunctionAttribute RequiredClusterDepth = 13;
/// Must be set before a launch with clusters of more than 8 blocks.
inline constexpr FunctionAttribute NonPortableClusterSizeAllowed = 14;
} // namespace function_attribute

/// CUjit_option; values are passed through `void *`.
using JitOption = int;
namespace jit_option {
inline constexpr JitOption InfoLogBuffer = 3;
inline constexpr JitOption InfoLogBufferSizeBytes = 4;
inline constexpr JitOption ErrorLogBuffer = 5;
inline constexpr JitOption ErrorLogBufferSizeBytes = 6;
} // namespace jit_option

inline constexpr unsigned streamNonBlocking = 1;
inline constexpr unsigned eventDefault = 0;
inline constexpr unsigned eventDisableTiming = 2;

/// CUlaunchAttribute: one property of a launch.
struct LaunchAttribute {
  /// CUlaunchAttributeID.
  enum Id : int {
    Cooperative = 2,
    ClusterDimension = 4,
    ProgrammaticStreamSerialization = 6,
  };
  union Value {
    char pad[64];
    int cooperative;
    struct {
      unsigned x, y, z;
    } clusterDim;
    int programmaticStreamSerializationAllowed;
    /// libcuda's union holds pointers too; this keeps its alignment.
    void *alignment;
  };
  Id id;
  char pad[8 - sizeof(Id)];
  Value value;
};

/// CUlaunchConfig.
struct LaunchConfig {
  unsigned gridDimX, gridDimY, gridDimZ;
  unsigned blockDimX, blockDimY, blockDimZ;
  unsigned sharedMemBytes; ///< Dynamic shared memory per block.
  StreamHandle stream;
  LaunchAttribute *attributes;
  unsigned attributeCount;
};

/// CUDA_KERNEL_NODE_PARAMS_v2.
struct KernelNodeParams {
  FunctionHandle function;
  unsigned gridDimX, gridDimY, gridDimZ;
  unsigned blockDimX, blockDimY, blockDimZ;
  unsigned sharedMemBytes;
  void **kernelParameters;
  void **extra;
  void *kernel; ///< A CUkernel, used if `function` is null. Leave it null.
  ContextHandle context;
};

/// CUDA_MEMSET_NODE_PARAMS.
struct MemsetNodeParams {
  DevicePtr destination;
  size_t pitch; ///< Bytes between rows; unused if height is 1.
  unsigned value;
  unsigned elementBytes; ///< 1, 2 or 4.
  size_t width;          ///< Of a row, in elements.
  size_t height;
};

/// CUstreamCaptureMode and CUstreamCaptureStatus.
namespace stream_capture {
inline constexpr int ModeRelaxed = 2;
inline constexpr int StatusNone = 0;
inline constexpr int StatusActive = 1;
} // namespace stream_capture

/// CUtensorMap: what tensorMapEncodeTiled fills; a kernel's parameter. Aligned
/// as CUDA 13 has it; CUDA 12 asked for 64.
struct alignas(128) TensorMapStorage {
  uint64_t opaque[16];
};

/// The entries that every driver has: X(member, symbol, version, parameters).
/// `symbol` is what libcuda exports; cuGetProcAddress wants it without a `_vN`
/// suffix, and `version` (1000 * major + 10 * minor) picks the same ABI there.
#define QUERN_CUDA_DRIVER_ENTRIES(X)                                           \
  X(init, cuInit, 2000, (unsigned flags))                                      \
  X(driverGetVersion, cuDriverGetVersion, 2020, (int *version))                \
  X(getErrorName, cuGetErrorName, 6000,                                        \
    (DriverStatus error, const char **name))                                   \
  X(getErrorString, cuGetErrorString, 6000,                                    \
    (DriverStatus error, const char **text))                                   \
  X(deviceGetCount, cuDeviceGetCount, 2000, (int *count))                      \
  X(deviceGet, cuDeviceGet, 2000, (DeviceOrdinal * device, int ordinal))       \
  X(deviceGetName, cuDeviceGetName, 2000,                                      \
    (char *name, int length, DeviceOrdinal device))                            \
  X(deviceGetAttribute, cuDeviceGetAttribute, 2000,                            \
    (int *value, DeviceAttribute attribute, DeviceOrdinal device))             \
  X(deviceTotalMem, cuDeviceTotalMem_v2, 3020,                                 \
    (size_t *bytes, DeviceOrdinal device))                                     \
  X(devicePrimaryCtxRetain, cuDevicePrimaryCtxRetain, 7000,                    \
    (ContextHandle * context, DeviceOrdinal device))                           \
  X(devicePrimaryCtxRelease, cuDevicePrimaryCtxRelease_v2, 11000,              \
    (DeviceOrdinal device))                                                    \
  X(ctxSetCurrent, cuCtxSetCurrent, 4000, (ContextHandle context))             \
  X(ctxGetCurrent, cuCtxGetCurrent, 4000, (ContextHandle * context))           \
  X(ctxSynchronize, cuCtxSynchronize, 2000, ())                                \
  X(moduleLoadDataEx, cuModuleLoadDataEx, 2010,                                \
    (ModuleHandle * module, const void *image, unsigned optionCount,           \
     JitOption *options, void **optionValues))                                 \
  X(moduleUnload, cuModuleUnload, 2000, (ModuleHandle module))                 \
  X(moduleGetFunction, cuModuleGetFunction, 2000,                              \
    (FunctionHandle * function, ModuleHandle module, const char *name))        \
  X(funcGetAttribute, cuFuncGetAttribute, 2020,                                \
    (int *value, FunctionAttribute attribute, FunctionHandle function))        \
  X(funcSetAttribute, cuFuncSetAttribute, 9000,                                \
    (FunctionHandle function, FunctionAttribute attribute, int value))         \
  X(occupancyMaxActiveBlocksPerMultiprocessor,                                 \
    cuOccupancyMaxActiveBlocksPerMultiprocessor, 6050,                         \
    (int *blocks, FunctionHandle function, int blockSize,                      \
     size_t dynamicSharedBytes))                                               \
  X(occupancyMaxActiveClusters, cuOccupancyMaxActiveClusters, 11070,           \
    (int *clusters, FunctionHandle function, const LaunchConfig *config))      \
  X(launchKernelEx, cuLaunchKernelEx, 11060,                                   \
    (const LaunchConfig *config, FunctionHandle function,                      \
     void **kernelParameters, void **extra))                                   \
  X(memAlloc, cuMemAlloc_v2, 3020, (DevicePtr * address, size_t bytes))        \
  X(memFree, cuMemFree_v2, 3020, (DevicePtr address))                          \
  X(memcpyHtoDAsync, cuMemcpyHtoDAsync_v2, 3020,                               \
    (DevicePtr destination, const void *source, size_t bytes,                  \
     StreamHandle stream))                                                     \
  X(memcpyDtoHAsync, cuMemcpyDtoHAsync_v2, 3020,                               \
    (void *destination, DevicePtr source, size_t bytes, StreamHandle stream))  \
  X(memcpyDtoDAsync, cuMemcpyDtoDAsync_v2, 3020,                               \
    (DevicePtr destination, DevicePtr source, size_t bytes,                    \
     StreamHandle stream))                                                     \
  X(memsetD8Async, cuMemsetD8Async, 3020,                                      \
    (DevicePtr destination, unsigned char value, size_t count,                 \
     StreamHandle stream))                                                     \
  X(memsetD32Async, cuMemsetD32Async, 3020,                                    \
    (DevicePtr destination, unsigned value, size_t count,                      \
     StreamHandle stream))                                                     \
  X(streamCreate, cuStreamCreate, 2000,                                        \
    (StreamHandle * stream, unsigned flags))                                   \
  X(streamSynchronize, cuStreamSynchronize, 2000, (StreamHandle stream))       \
  X(streamDestroy, cuStreamDestroy_v2, 4000, (StreamHandle stream))            \
  X(streamWaitEvent, cuStreamWaitEvent, 3020,                                  \
    (StreamHandle stream, EventHandle event, unsigned flags))                  \
  X(eventCreate, cuEventCreate, 2000, (EventHandle * event, unsigned flags))   \
  X(eventRecord, cuEventRecord, 2000,                                          \
    (EventHandle event, StreamHandle stream))                                  \
  X(eventSynchronize, cuEventSynchronize, 2000, (EventHandle event))           \
  X(eventDestroy, cuEventDestroy_v2, 4000, (EventHandle event))                \
  X(eventElapsedTime, cuEventElapsedTime, 2000,                                \
    (float *milliseconds, EventHandle start, EventHandle end))                 \
  X(streamBeginCapture, cuStreamBeginCapture_v2, 10010,                        \
    (StreamHandle stream, int mode))                                           \
  X(streamEndCapture, cuStreamEndCapture, 10000,                               \
    (StreamHandle stream, GraphHandle * graph))                                \
  X(streamIsCapturing, cuStreamIsCapturing, 10000,                             \
    (StreamHandle stream, int *captureStatus))                                 \
  X(graphCreate, cuGraphCreate, 10000, (GraphHandle * graph, unsigned flags))  \
  X(graphAddMemsetNode, cuGraphAddMemsetNode, 10000,                           \
    (GraphNodeHandle * node, GraphHandle graph,                                \
     const GraphNodeHandle *dependencies, size_t dependencyCount,              \
     const MemsetNodeParams *parameters, ContextHandle context))               \
  X(graphKernelNodeSetAttribute, cuGraphKernelNodeSetAttribute, 11000,         \
    (GraphNodeHandle node, int attribute,                                      \
     const LaunchAttribute::Value *value))                                     \
  X(graphInstantiate, cuGraphInstantiateWithFlags, 11040,                      \
    (GraphExecHandle * exec, GraphHandle graph, unsigned long long flags))     \
  X(graphLaunch, cuGraphLaunch, 10000,                                         \
    (GraphExecHandle exec, StreamHandle stream))                               \
  X(graphExecDestroy, cuGraphExecDestroy, 10000, (GraphExecHandle exec))       \
  X(graphDestroy, cuGraphDestroy, 10000, (GraphHandle graph))

/// Entries that older drivers lack: null then.
#define QUERN_CUDA_DRIVER_OPTIONAL_ENTRIES(X)                                  \
  X(graphAddKernelNode, cuGraphAddKernelNode_v2, 12000,                        \
    (GraphNodeHandle * node, GraphHandle graph,                                \
     const GraphNodeHandle *dependencies, size_t dependencyCount,              \
     const KernelNodeParams *parameters))                                      \
  X(graphExecKernelNodeSetParams, cuGraphExecKernelNodeSetParams_v2, 12000,    \
    (GraphExecHandle exec, GraphNodeHandle node,                               \
     const KernelNodeParams *parameters))                                      \
  X(tensorMapEncodeTiled, cuTensorMapEncodeTiled, 12000,                       \
    (TensorMapStorage * map, int dataType, unsigned rank, void *address,       \
     const uint64_t *size, const uint64_t *strides, const unsigned *box,       \
     const unsigned *elementStrides, int interleave, int swizzle,              \
     int l2Promotion, int outOfBoundsFill))

/// The driver's functions. A table that a loader hands out has no null member
/// but the optional ones.
struct DriverTable {
#define QUERN_CUDA_DRIVER_MEMBER(member, symbol, version, parameters)          \
  DriverStatus(*member) parameters = nullptr;
  QUERN_CUDA_DRIVER_ENTRIES(QUERN_CUDA_DRIVER_MEMBER)
  QUERN_CUDA_DRIVER_OPTIONAL_ENTRIES(QUERN_CUDA_DRIVER_MEMBER)
#undef QUERN_CUDA_DRIVER_MEMBER
};

} // namespace cuda
} // namespace v0
} // namespace quern

#endif // QUERN_DEVICE_CUDA_DRIVERAPI_H
