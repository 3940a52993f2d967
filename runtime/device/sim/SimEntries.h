//===- SimEntries.h - Graphs and captures of the driver table ---*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Private to SimDriver.cpp: the functions of the driver table about graphs
// and captures, and what all functions share.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_DEVICE_SIM_SIMENTRIES_H
#define QUERN_DEVICE_SIM_SIMENTRIES_H

#include "runtime/device/sim/SimGraph.h"

#include <cstring>

namespace quern {
inline namespace v0 {
namespace sim {

using cuda::ContextHandle;
using cuda::DriverStatus;
using cuda::GraphExecHandle;
using cuda::GraphHandle;
using cuda::GraphNodeHandle;
using cuda::KernelNodeParams;
using cuda::LaunchAttribute;
using cuda::MemsetNodeParams;
using cuda::StreamHandle;
namespace status = cuda::status;
namespace stream_capture = cuda::stream_capture;

/// What every function of the device with number `index` starts with.
template <unsigned index> struct EntryBase {
  inline static thread_local ContextHandle currentContext = nullptr;

  static SimDevice::Impl &device() {
    return SimDevice::get(static_cast<SimTarget>(index)).impl();
  }

  /// Runs `f(device)` under the lock, in a current context.
  template <typename F> static DriverStatus inContext(F f) {
    SimDevice::Impl &d = device();
    std::lock_guard lock(d.mutex);
    if (!d.initialized)
      return status::NotInitialized;
    if (currentContext != d.context() || !d.contextReferences)
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
};

template <unsigned index> struct GraphEntries : EntryBase<index> {
  using EntryBase<index>::inContext;
  using EntryBase<index>::isStream;

  static DriverStatus streamBeginCapture(StreamHandle stream, int mode) {
    return inContext([&](SimDevice::Impl &d) -> DriverStatus {
      if (mode < 0 || mode > stream_capture::ModeRelaxed)
        return status::InvalidValue;
      if (!isStream(d, stream))
        return status::InvalidHandle;
      if (!stream)
        return status::StreamCaptureUnsupported;
      SimStream &s = *d.streams.at(stream);
      if (s.capture)
        return status::IllegalState;
      auto graph = std::make_unique<SimGraph>();
      s.capture = graph.get();
      s.beganCapture = true;
      s.latest.clear();
      d.graphs[graph.get()] = std::move(graph);
      return status::Success;
    });
  }
  /// Streams and events leave the capture.
  static void endCapture(SimDevice::Impl &d, SimGraph *graph, bool abandon) {
    for (auto &[handle, s] : d.streams)
      if (s->capture == graph)
        *s = SimStream();
    for (auto &[handle, e] : d.events)
      if (e->capture == graph)
        e->capture = nullptr;
    if (abandon)
      d.graphs.erase(graph);
  }
  static DriverStatus streamEndCapture(StreamHandle stream,
                                       GraphHandle *graph) {
    return inContext([&](SimDevice::Impl &d) -> DriverStatus {
      if (!graph)
        return status::InvalidValue;
      if (!isStream(d, stream))
        return status::InvalidHandle;
      SimGraph *captured = captureOf(d, stream);
      if (!captured)
        return status::IllegalState;
      if (!d.streams.at(stream)->beganCapture)
        return status::StreamCaptureUnmatched;
      endCapture(d, captured, false);
      *graph = reinterpret_cast<GraphHandle>(captured);
      return status::Success;
    });
  }
  static DriverStatus streamIsCapturing(StreamHandle stream, int *result) {
    return inContext([&](SimDevice::Impl &d) -> DriverStatus {
      if (!result)
        return status::InvalidValue;
      if (!isStream(d, stream))
        return status::InvalidHandle;
      *result = captureOf(d, stream) ? stream_capture::StatusActive
                                     : stream_capture::StatusNone;
      return status::Success;
    });
  }

  static DriverStatus graphCreate(GraphHandle *graph, unsigned flags) {
    return inContext([&](SimDevice::Impl &d) -> DriverStatus {
      if (!graph || flags)
        return status::InvalidValue;
      auto owned = std::make_unique<SimGraph>();
      *graph = reinterpret_cast<GraphHandle>(owned.get());
      d.graphs[owned.get()] = std::move(owned);
      return status::Success;
    });
  }
  static DriverStatus graphAddKernelNode(GraphNodeHandle *node,
                                         GraphHandle graph,
                                         const GraphNodeHandle *dependencies,
                                         size_t count,
                                         const KernelNodeParams *parameters) {
    return inContext([&](SimDevice::Impl &d) -> DriverStatus {
      if (!parameters)
        return status::InvalidValue;
      KernelCall call;
      if (DriverStatus made = makeKernelCall(d, *parameters, call))
        return made;
      return addNode(d, graph, dependencies, count, std::move(call), node);
    });
  }
  static DriverStatus graphAddMemsetNode(GraphNodeHandle *node,
                                         GraphHandle graph,
                                         const GraphNodeHandle *dependencies,
                                         size_t count,
                                         const MemsetNodeParams *parameters,
                                         ContextHandle context) {
    return inContext([&](SimDevice::Impl &d) -> DriverStatus {
      if (!parameters)
        return status::InvalidValue;
      if (context != d.context())
        return status::InvalidContext;
      Result<PlainWork> work = makeMemset(d, *parameters);
      if (!work)
        return d.refuse(status::InvalidValue, work.error());
      return addNode(d, graph, dependencies, count, std::move(*work), node);
    });
  }
  static DriverStatus
  graphKernelNodeSetAttribute(GraphNodeHandle handle, int attribute,
                              const LaunchAttribute::Value *value) {
    return inContext([&](SimDevice::Impl &d) -> DriverStatus {
      SimGraphNode *node = findNode(d, handle);
      auto *call = node ? std::get_if<KernelCall>(&node->work) : nullptr;
      if (!call || !value)
        return status::InvalidValue;
      LaunchAttribute added = {};
      added.id = static_cast<LaunchAttribute::Id>(attribute);
      added.value = *value;
      std::erase_if(call->attributes, [&](const LaunchAttribute &old) {
        return old.id == added.id;
      });
      call->attributes.push_back(added);
      return status::Success;
    });
  }
  static DriverStatus graphInstantiate(GraphExecHandle *exec, GraphHandle graph,
                                       unsigned long long flags) {
    return inContext([&](SimDevice::Impl &d) -> DriverStatus {
      if (!exec || flags)
        return status::InvalidValue;
      auto it = d.graphs.find(graph);
      if (it == d.graphs.end())
        return status::InvalidHandle;
      auto owned = std::make_unique<SimGraphExec>();
      instantiate(*it->second, *owned);
      *exec = reinterpret_cast<GraphExecHandle>(owned.get());
      d.graphExecs[owned.get()] = std::move(owned);
      return status::Success;
    });
  }
  static DriverStatus
  graphExecKernelNodeSetParams(GraphExecHandle exec, GraphNodeHandle node,
                               const KernelNodeParams *parameters) {
    return inContext([&](SimDevice::Impl &d) -> DriverStatus {
      auto it = d.graphExecs.find(exec);
      if (it == d.graphExecs.end())
        return status::InvalidHandle;
      if (!parameters || !node)
        return status::InvalidValue;
      for (SimGraphExec::Node &candidate : it->second->nodes) {
        auto *call = std::get_if<KernelCall>(&candidate.work);
        if (candidate.original != node || !call)
          continue;
        KernelCall updated;
        if (DriverStatus made = makeKernelCall(d, *parameters, updated))
          return made;
        updated.attributes = call->attributes;
        *call = std::move(updated);
        return status::Success;
      }
      return status::InvalidValue;
    });
  }
  static DriverStatus graphLaunch(GraphExecHandle exec, StreamHandle stream) {
    return inContext([&](SimDevice::Impl &d) -> DriverStatus {
      auto it = d.graphExecs.find(exec);
      if (it == d.graphExecs.end() || !isStream(d, stream))
        return status::InvalidHandle;
      if (captureOf(d, stream))
        return status::StreamCaptureUnsupported;
      return launchGraph(d, *it->second);
    });
  }
  static DriverStatus graphExecDestroy(GraphExecHandle exec) {
    return inContext([&](SimDevice::Impl &d) -> DriverStatus {
      return d.graphExecs.erase(exec) ? status::Success : status::InvalidHandle;
    });
  }
  static DriverStatus graphDestroy(GraphHandle graph) {
    return inContext([&](SimDevice::Impl &d) -> DriverStatus {
      auto it = d.graphs.find(graph);
      if (it == d.graphs.end())
        return status::InvalidHandle;
      endCapture(d, it->second.get(), true);
      return status::Success;
    });
  }
};

} // namespace sim
} // namespace v0
} // namespace quern

#endif // QUERN_DEVICE_SIM_SIMENTRIES_H
