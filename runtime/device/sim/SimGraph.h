//===- SimGraph.h - Graphs of the simulated driver --------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// A graph is a list of nodes, each after those it depends on; a node is a
// kernel launch, a memset, or a copy taken from a captured stream. Launching an
// instance runs the nodes one after another in an order drawn from the seed
// among those the dependencies allow, so that a missing dependency shows.
//
// Capture: work submitted to a capturing stream becomes nodes, each after the
// stream's latest ones. An event recorded in a capturing stream carries its
// latest nodes; a stream that waits for it joins the capture. Modes are not
// told apart. A captured memory copy keeps the host pointer it was given.
//
// All functions need the device's lock.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_DEVICE_SIM_SIMGRAPH_H
#define QUERN_DEVICE_SIM_SIMGRAPH_H

#include "runtime/device/sim/SimState.h"

#include <functional>
#include <variant>

namespace quern {
inline namespace v0 {
namespace sim {

struct KernelCall {
  cuda::LaunchConfig config = {};
  std::vector<cuda::LaunchAttribute> attributes;
  SimFunction *function = nullptr;
  std::vector<std::byte> parameters;
};
/// Memsets and copies; checks its ranges when it runs.
using PlainWork = std::function<cuda::DriverStatus(SimDevice::Impl &)>;

struct SimGraphNode {
  SimGraph *graph = nullptr;
  size_t number = 0;
  std::vector<size_t> after;
  std::variant<KernelCall, PlainWork> work;
};
struct SimGraph {
  std::vector<std::unique_ptr<SimGraphNode>> nodes;
};
/// Independent of the graph it was made from.
struct SimGraphExec {
  struct Node {
    const void *original = nullptr; ///< The graph's node, to update it by.
    std::vector<size_t> after;
    std::variant<KernelCall, PlainWork> work;
  };
  std::vector<Node> nodes;
};

/// The stream's open capture, null if it has none.
SimGraph *captureOf(SimDevice::Impl &device, cuda::StreamHandle stream);
/// Adds a node behind the stream's latest.
void capture(SimStream &stream, std::variant<KernelCall, PlainWork> work);

cuda::DriverStatus makeKernelCall(SimDevice::Impl &device,
                                  const cuda::KernelNodeParams &parameters,
                                  KernelCall &call);
Result<PlainWork> makeMemset(SimDevice::Impl &device,
                             const cuda::MemsetNodeParams &parameters);

/// A node with the given dependencies; InvalidValue if they are of another
/// graph.
cuda::DriverStatus addNode(SimDevice::Impl &device, cuda::GraphHandle graph,
                           const cuda::GraphNodeHandle *dependencies,
                           size_t dependencyCount,
                           std::variant<KernelCall, PlainWork> work,
                           cuda::GraphNodeHandle *node);
SimGraphNode *findNode(SimDevice::Impl &device, cuda::GraphNodeHandle node);
void instantiate(const SimGraph &graph, SimGraphExec &exec);
cuda::DriverStatus launchGraph(SimDevice::Impl &device, SimGraphExec &exec);

} // namespace sim
} // namespace v0
} // namespace quern

#endif // QUERN_DEVICE_SIM_SIMGRAPH_H
