//===- SimLaunch.cpp - Checking and starting launches ---------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/sim/Machine.h"
#include "runtime/device/sim/SimState.h"

#include <algorithm>
#include <cstring>
#include <fmt/format.h>

using namespace quern;
using namespace quern::sim;
using cuda::DriverStatus;
namespace status = quern::cuda::status;

static constexpr uint64_t maxBlocks = uint64_t(1) << 24;

int SimDevice::Impl::maxBlocksPerMultiprocessor(const SimFunction &function,
                                                int blockSize,
                                                size_t dynamicShared) const {
  if (blockSize <= 0 || blockSize > maxThreadsPerBlock)
    return 0;
  int threads = (blockSize + 31) / 32 * 32;
  int byThreads = model.threadsPerMultiprocessor / threads;
  uint64_t shared = function.kernel.dynamicSharedOffset + dynamicShared +
                    reservedSharedPerBlock;
  int byShared = static_cast<int>(std::min<uint64_t>(
      uint64_t(model.sharedPerMultiprocessor) / shared, 1024));
  return std::min({byThreads, byShared, model.blocksPerMultiprocessor});
}

Result<ClusterShape>
SimDevice::Impl::clusterOf(const cuda::LaunchConfig &config,
                           const SimFunction &function) const {
  const Kernel &kernel = function.kernel;
  auto refuse = [&](std::string why) {
    return fail(Errc::InvalidArgument, std::move(why));
  };
  ClusterShape shape;
  const uint32_t *required = kernel.requiredCluster;
  if (required[0]) {
    std::copy_n(required, 3, shape.size);
    shape.isExplicit = true;
  }
  for (unsigned i = 0; i < config.attributeCount; ++i) {
    const cuda::LaunchAttribute &attribute = config.attributes[i];
    if (attribute.id != cuda::LaunchAttribute::ClusterDimension)
      continue;
    const auto &dim = attribute.value.clusterDim;
    uint32_t asked[3] = {dim.x, dim.y, dim.z};
    if (!asked[0] || !asked[1] || !asked[2])
      return refuse(fmt::format("a cluster of {} x {} x {} blocks", asked[0],
                                asked[1], asked[2]));
    if (required[0] && !std::equal(asked, asked + 3, required))
      return refuse(fmt::format("a cluster of {} x {} x {} blocks; the kernel "
                                "was compiled for {} x {} x {}",
                                asked[0], asked[1], asked[2], required[0],
                                required[1], required[2]));
    std::copy_n(asked, 3, shape.size);
    shape.isExplicit = true;
  }
  if (kernel.explicitCluster && !shape.isExplicit)
    return refuse("the kernel needs the dimensions of its clusters "
                  "(.explicitcluster), and none are given");
  uint64_t blocks = uint64_t(shape.size[0]) * shape.size[1] * shape.size[2];
  if (blocks > 1 && model.major < 9)
    return refuse(fmt::format("{} has no clusters", model.arch));
  uint64_t limit = function.allowNonPortableCluster ? maxClusterBlocks
                                                    : portableClusterBlocks;
  if (kernel.maxClusterRank)
    limit = std::min<uint64_t>(limit, kernel.maxClusterRank);
  if (shape.size[0] > limit || shape.size[1] > limit || shape.size[2] > limit ||
      blocks > limit)
    return refuse(fmt::format("clusters of {} x {} x {} blocks; at most {} "
                              "blocks are possible{}",
                              shape.size[0], shape.size[1], shape.size[2],
                              limit,
                              limit == portableClusterBlocks
                                  ? " unless NonPortableClusterSizeAllowed is "
                                    "set"
                                  : ""));
  const unsigned grid[3] = {config.gridDimX, config.gridDimY, config.gridDimZ};
  for (unsigned i = 0; i < 3; ++i)
    if (grid[i] % shape.size[i])
      return refuse(
          fmt::format("the grid of {} x {} x {} blocks is no multiple "
                      "of clusters of {} x {} x {}",
                      grid[0], grid[1], grid[2], shape.size[0], shape.size[1],
                      shape.size[2]));
  return shape;
}

int SimDevice::Impl::maxActiveClusters(const SimFunction &function,
                                       int blockSize, size_t dynamicShared,
                                       const ClusterShape &shape) const {
  int perMultiprocessor =
      maxBlocksPerMultiprocessor(function, blockSize, dynamicShared);
  int blocks = static_cast<int>(shape.blocks());
  // A cluster lies within one group of multiprocessors.
  int groups = model.multiprocessors / multiprocessorsPerGroup;
  int rest = model.multiprocessors % multiprocessorsPerGroup;
  return groups * (multiprocessorsPerGroup * perMultiprocessor / blocks) +
         rest * perMultiprocessor / blocks;
}

DriverStatus SimDevice::Impl::pack(const SimFunction &function,
                                   void **parameters,
                                   std::vector<std::byte> &bytes) {
  const Kernel &kernel = function.kernel;
  auto refused = [&](std::string message) {
    return refuse(status::InvalidValue,
                  fail(Errc::InvalidArgument,
                       fmt::format("launch of {}: {}", kernel.name, message)));
  };
  bytes.assign(kernel.parameterBytes, std::byte{0});
  if (!kernel.parameters.empty() && !parameters)
    return refused("no parameters are given");
  for (size_t i = 0; i < kernel.parameters.size(); ++i) {
    if (!parameters[i])
      return refused(fmt::format("parameter {} is null", i));
    std::memcpy(bytes.data() + kernel.parameters[i].offset, parameters[i],
                kernel.parameters[i].bytes);
  }
  return status::Success;
}

DriverStatus SimDevice::Impl::launch(const cuda::LaunchConfig &config,
                                     SimFunction &function,
                                     std::vector<std::byte> parameters) {
  const Kernel &kernel = function.kernel;
  reports.clear();
  faultCount = 0;
  counters = Counters();
  auto refused = [&](DriverStatus code, std::string message) {
    return refuse(code,
                  fail(Errc::InvalidArgument,
                       fmt::format("launch of {}: {}", kernel.name, message)));
  };
  Launch run;
  run.kernel = &kernel;
  run.memory = &memory;
  run.options = options;
  const unsigned grid[3] = {config.gridDimX, config.gridDimY, config.gridDimZ};
  const unsigned block[3] = {config.blockDimX, config.blockDimY,
                             config.blockDimZ};
  const unsigned gridLimits[3] = {0x7fffffff, 65535, 65535};
  const unsigned blockLimits[3] = {1024, 1024, 64};
  uint64_t blocks = 1, threads = 1;
  for (unsigned i = 0; i < 3; ++i) {
    if (!grid[i] || grid[i] > gridLimits[i] || !block[i] ||
        block[i] > blockLimits[i])
      return refused(status::InvalidValue,
                     fmt::format("grid ({}, {}, {}) of blocks ({}, {}, {}) is "
                                 "outside the device's limits",
                                 grid[0], grid[1], grid[2], block[0], block[1],
                                 block[2]));
    run.grid[i] = grid[i];
    run.block[i] = block[i];
    blocks *= grid[i];
    threads *= block[i];
  }
  if (threads > maxThreadsPerBlock)
    return refused(status::InvalidValue,
                   fmt::format("{} threads in a block; at most {}", threads,
                               maxThreadsPerBlock));
  if (kernel.maxThreads && threads > kernel.maxThreads)
    return refused(status::LaunchOutOfResources,
                   fmt::format("{} threads in a block; the kernel was compiled "
                               "for at most {}",
                               threads, kernel.maxThreads));
  if (kernel.exactThreads && threads != kernel.maxThreads)
    return refused(status::InvalidValue,
                   fmt::format("{} threads in a block; the kernel needs {}",
                               threads, kernel.maxThreads));
  if (blocks > maxBlocks)
    return refused(status::NotSupported,
                   fmt::format("{} blocks; the simulator runs at most {}",
                               blocks, maxBlocks));
  uint64_t shared =
      uint64_t(kernel.dynamicSharedOffset) + config.sharedMemBytes;
  if (config.sharedMemBytes >
          static_cast<unsigned>(function.maxDynamicShared) ||
      shared > static_cast<uint64_t>(model.sharedPerBlockOptin) ||
      (function.maxDynamicShared == defaultSharedPerBlock &&
       shared > defaultSharedPerBlock))
    return refused(
        status::InvalidValue,
        fmt::format("{} bytes of shared memory ({} dynamic); the function's "
                    "MaxDynamicSharedSizeBytes is {} and the device allows {}",
                    shared, config.sharedMemBytes, function.maxDynamicShared,
                    model.sharedPerBlockOptin));
  run.dynamicSharedBytes = config.sharedMemBytes;
  for (unsigned i = 0; i < config.attributeCount; ++i) {
    const cuda::LaunchAttribute &attribute = config.attributes[i];
    switch (attribute.id) {
    case cuda::LaunchAttribute::Cooperative:
      run.cooperative = attribute.value.cooperative != 0;
      break;
    case cuda::LaunchAttribute::ProgrammaticStreamSerialization:
      break; // Launches never overlap here.
    case cuda::LaunchAttribute::ClusterDimension:
      break;
    default:
      return refused(status::NotSupported,
                     fmt::format("launch attribute {} is not simulated",
                                 static_cast<int>(attribute.id)));
    }
  }
  Result<ClusterShape> shape = clusterOf(config, function);
  if (!shape)
    return refused(status::InvalidClusterSize, shape.error().message);
  std::copy_n(shape->size, 3, run.clusterSize);
  run.explicitCluster = shape->isExplicit;
  int active = maxActiveClusters(function, static_cast<int>(threads),
                                 config.sharedMemBytes, *shape);
  if (!active)
    return refused(status::LaunchOutOfResources,
                   fmt::format("no cluster of {} blocks with {} threads and {} "
                               "bytes of shared memory each fits the device",
                               shape->blocks(), threads, shared));
  if (run.cooperative) {
    uint64_t resident = uint64_t(active) * shape->blocks();
    if (shape->blocks() == 1)
      resident =
          uint64_t(maxBlocksPerMultiprocessor(
              function, static_cast<int>(threads), config.sharedMemBytes)) *
          static_cast<uint64_t>(model.multiprocessors);
    if (blocks > resident)
      return refused(status::CooperativeLaunchTooLarge,
                     fmt::format("{} blocks cannot all be resident; {} can",
                                 blocks, resident));
  }
  run.parameters = std::move(parameters);
  if (run.cooperative) {
    Allocation *workspace =
        memory.allocate(64, "the cooperative launch's workspace");
    if (!workspace)
      return refused(status::OutOfMemory, "no memory for its workspace");
    run.workspace = workspace->base;
    std::memset(reinterpret_cast<void *>(run.workspace), 0, 64);
  }
  run.run();
  if (run.workspace)
    memory.release(run.workspace);
  counters = run.counters;
  counters.globalUniqueBytesRead = run.footprint.bytesRead();
  counters.globalUniqueBytesWritten = run.footprint.bytesWritten();
  faultCount = run.faults.count;
  reports = std::move(run.faults.reports);
  if (recording)
    records.push_back({kernel.name,
                       {run.grid[0], run.grid[1], run.grid[2]},
                       {run.block[0], run.block[1], run.block[2]},
                       counters,
                       faultCount});
  return run.faults.status;
}
