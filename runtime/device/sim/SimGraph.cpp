//===- SimGraph.cpp - Graphs of the simulated driver ----------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/sim/SimGraph.h"

#include <algorithm>
#include <fmt/format.h>
#include <random>

using namespace quern;
using namespace quern::sim;
using cuda::DriverStatus;
namespace status = quern::cuda::status;

SimGraph *sim::captureOf(SimDevice::Impl &device, cuda::StreamHandle stream) {
  auto it = device.streams.find(stream);
  return it == device.streams.end() ? nullptr : it->second->capture;
}

void sim::capture(SimStream &stream, std::variant<KernelCall, PlainWork> work) {
  auto node = std::make_unique<SimGraphNode>();
  node->graph = stream.capture;
  node->number = stream.capture->nodes.size();
  node->after = stream.latest;
  node->work = std::move(work);
  stream.latest = {node->number};
  stream.capture->nodes.push_back(std::move(node));
}

DriverStatus sim::makeKernelCall(SimDevice::Impl &device,
                                 const cuda::KernelNodeParams &parameters,
                                 KernelCall &call) {
  auto it = device.functions.find(parameters.function);
  if (it == device.functions.end())
    return status::InvalidHandle;
  if (parameters.extra)
    return status::NotSupported;
  call.config.gridDimX = parameters.gridDimX;
  call.config.gridDimY = parameters.gridDimY;
  call.config.gridDimZ = parameters.gridDimZ;
  call.config.blockDimX = parameters.blockDimX;
  call.config.blockDimY = parameters.blockDimY;
  call.config.blockDimZ = parameters.blockDimZ;
  call.config.sharedMemBytes = parameters.sharedMemBytes;
  call.function = it->second;
  return device.pack(*it->second, parameters.kernelParameters, call.parameters);
}

Result<PlainWork> sim::makeMemset(SimDevice::Impl &device,
                                  const cuda::MemsetNodeParams &parameters) {
  cuda::MemsetNodeParams p = parameters;
  auto refuse = [](std::string why) {
    return fail(Errc::InvalidArgument, "memset node: " + why);
  };
  if (p.elementBytes != 1 && p.elementBytes != 2 && p.elementBytes != 4)
    return refuse(fmt::format("elements of {} bytes; 1, 2 and 4 are possible",
                              p.elementBytes));
  if (!p.width || !p.height)
    return refuse("nothing to set");
  if (p.width > SIZE_MAX / p.elementBytes || p.destination % p.elementBytes)
    return refuse("the destination is misaligned or too large");
  size_t row = p.width * p.elementBytes;
  if (p.height > 1 && (p.pitch < row || p.height > (SIZE_MAX - row) / p.pitch))
    return refuse(
        fmt::format("rows of {} bytes with a pitch of {}", row, p.pitch));
  size_t bytes = p.height > 1 ? p.pitch * (p.height - 1) + row : row;
  if (!device.memory.isLive(p.destination, bytes))
    return refuse(fmt::format("{} bytes at {:#x} are not in one allocation",
                              bytes, p.destination));
  return PlainWork([=](SimDevice::Impl &d) -> DriverStatus {
    if (!d.memory.isLive(p.destination, bytes))
      return status::InvalidValue;
    for (size_t y = 0; y < p.height; ++y)
      for (size_t x = 0; x < p.width; ++x)
        std::memcpy(reinterpret_cast<void *>(p.destination + y * p.pitch +
                                             x * p.elementBytes),
                    &p.value, p.elementBytes);
    return status::Success;
  });
}

SimGraphNode *sim::findNode(SimDevice::Impl &device,
                            cuda::GraphNodeHandle node) {
  for (const auto &[handle, graph] : device.graphs)
    for (const auto &candidate : graph->nodes)
      if (static_cast<void *>(candidate.get()) == node)
        return candidate.get();
  return nullptr;
}

DriverStatus sim::addNode(SimDevice::Impl &device, cuda::GraphHandle graph,
                          const cuda::GraphNodeHandle *dependencies,
                          size_t dependencyCount,
                          std::variant<KernelCall, PlainWork> work,
                          cuda::GraphNodeHandle *node) {
  auto it = device.graphs.find(graph);
  if (it == device.graphs.end())
    return status::InvalidHandle;
  if (!node || (dependencyCount && !dependencies))
    return status::InvalidValue;
  SimGraph &owner = *it->second;
  auto made = std::make_unique<SimGraphNode>();
  made->graph = &owner;
  made->number = owner.nodes.size();
  made->work = std::move(work);
  for (size_t i = 0; i < dependencyCount; ++i) {
    SimGraphNode *before = findNode(device, dependencies[i]);
    if (!before || before->graph != &owner)
      return status::InvalidValue;
    made->after.push_back(before->number);
  }
  *node = reinterpret_cast<cuda::GraphNodeHandle>(made.get());
  owner.nodes.push_back(std::move(made));
  return status::Success;
}

void sim::instantiate(const SimGraph &graph, SimGraphExec &exec) {
  for (const auto &node : graph.nodes)
    exec.nodes.push_back({node.get(), node->after, node->work});
}

DriverStatus sim::launchGraph(SimDevice::Impl &device, SimGraphExec &exec) {
  std::mt19937_64 random(device.options.seed);
  std::vector<bool> done(exec.nodes.size());
  std::vector<size_t> ready;
  std::vector<Diagnostic> reports;
  uint64_t faults = 0;
  DriverStatus result = status::Success;
  for (size_t left = exec.nodes.size(); left; --left) {
    ready.clear();
    for (size_t i = 0; i < exec.nodes.size(); ++i)
      if (!done[i] &&
          std::all_of(exec.nodes[i].after.begin(), exec.nodes[i].after.end(),
                      [&](size_t before) { return done[before]; }))
        ready.push_back(i);
    size_t which = ready[random() % ready.size()];
    done[which] = true;
    SimGraphExec::Node &node = exec.nodes[which];
    DriverStatus one = status::Success;
    if (auto *call = std::get_if<KernelCall>(&node.work)) {
      // A module may have been unloaded since.
      if (!device.functions.count(call->function))
        one = status::InvalidHandle;
      else {
        cuda::LaunchConfig config = call->config;
        config.attributes = call->attributes.data();
        config.attributeCount = static_cast<unsigned>(call->attributes.size());
        one = device.launch(config, *call->function, call->parameters);
        faults += device.faultCount;
        reports.insert(reports.end(), device.reports.begin(),
                       device.reports.end());
      }
    } else {
      one = std::get<PlainWork>(node.work)(device);
    }
    if (one != status::Success) {
      result = one;
      break;
    }
  }
  device.reports = std::move(reports);
  device.faultCount = faults;
  return result;
}
