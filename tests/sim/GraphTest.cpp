//===- GraphTest.cpp - Graphs and captures of the simulated driver --------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "tests/sim/PtxSnippet.h"
#include "tests/sim/SimHarness.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

using namespace quern;
using namespace quern::cuda;
using namespace quern::simtest;

namespace {

/// test(in, out, n): out[tid] += n.
const char *const addBody = R"(
    mul.wide.u32 %rd2, %r0, 4;
    add.s64 %rd3, %rd1, %rd2;
    ld.global.u32 %r2, [%rd3];
    add.u32 %r2, %r2, %r1;
    st.global.u32 [%rd3], %r2;)";

class Graph : public testing::Test {
protected:
  Graph() : driver(session.driver) {
    EXPECT_TRUE(session.load(ptxSnippet(addBody)));
    out = session.buffer("out", std::vector<uint32_t>(32, 7));
    function = session.function("test");
  }
  KernelNodeParams params(uint32_t &n) {
    arguments[0] = &out;
    arguments[1] = &out;
    arguments[2] = &n;
    KernelNodeParams p = {};
    p.function = function;
    p.gridDimX = p.gridDimY = p.gridDimZ = 1;
    p.blockDimX = 32;
    p.blockDimY = p.blockDimZ = 1;
    p.kernelParameters = arguments;
    return p;
  }
  MemsetNodeParams zeros() {
    MemsetNodeParams p = {};
    p.destination = out;
    p.elementBytes = 4;
    p.width = 32;
    p.height = 1;
    return p;
  }
  ContextHandle context() {
    ContextHandle c = nullptr;
    driver.ctxGetCurrent(&c);
    return c;
  }
  uint32_t first() { return session.read<uint32_t>(out, 1)[0]; }

  Session session;
  const DriverTable &driver;
  DevicePtr out = 0;
  FunctionHandle function = nullptr;
  void *arguments[3] = {};
};

TEST_F(Graph, MemsetThenKernels) {
  GraphHandle graph = nullptr;
  ASSERT_EQ(driver.graphCreate(&graph, 0), status::Success);
  GraphNodeHandle set = nullptr, add = nullptr, more = nullptr;
  MemsetNodeParams zero = zeros();
  ASSERT_EQ(
      driver.graphAddMemsetNode(&set, graph, nullptr, 0, &zero, context()),
      status::Success);
  uint32_t n = 5;
  KernelNodeParams p = params(n);
  ASSERT_EQ(driver.graphAddKernelNode(&add, graph, &set, 1, &p),
            status::Success);
  // Arguments are copied when the node is made.
  n = 100;
  ASSERT_EQ(driver.graphAddKernelNode(&more, graph, &add, 1, &p),
            status::Success);
  n = 1;
  GraphExecHandle exec = nullptr;
  ASSERT_EQ(driver.graphInstantiate(&exec, graph, 0), status::Success);
  ASSERT_EQ(driver.graphDestroy(graph), status::Success);
  for (int i = 0; i < 3; ++i) {
    ASSERT_EQ(driver.graphLaunch(exec, nullptr), status::Success);
    EXPECT_EQ(first(), 105u);
  }
  // New arguments for one node of the instance.
  n = 2;
  ASSERT_EQ(driver.graphExecKernelNodeSetParams(exec, more, &p),
            status::Success);
  ASSERT_EQ(driver.graphLaunch(exec, nullptr), status::Success);
  EXPECT_EQ(first(), 7u);
  EXPECT_EQ(driver.graphExecDestroy(exec), status::Success);
  EXPECT_EQ(driver.graphLaunch(exec, nullptr), status::InvalidHandle);
  EXPECT_EQ(driver.graphDestroy(graph), status::InvalidHandle);
}

TEST_F(Graph, AMissingDependencyShowsUnderSomeSeed) {
  GraphHandle graph = nullptr;
  ASSERT_EQ(driver.graphCreate(&graph, 0), status::Success);
  GraphNodeHandle set = nullptr, add = nullptr;
  MemsetNodeParams zero = zeros();
  uint32_t n = 5;
  KernelNodeParams p = params(n);
  driver.graphAddMemsetNode(&set, graph, nullptr, 0, &zero, context());
  driver.graphAddKernelNode(&add, graph, nullptr, 0, &p);
  GraphExecHandle exec = nullptr;
  ASSERT_EQ(driver.graphInstantiate(&exec, graph, 0), status::Success);
  bool ordered = false, swapped = false;
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    sim::SimOptions options;
    options.seed = seed;
    session.setOptions(options);
    ASSERT_EQ(driver.graphLaunch(exec, nullptr), status::Success);
    (first() == 5 ? ordered : swapped) = true;
  }
  EXPECT_TRUE(ordered && swapped);
  driver.graphExecDestroy(exec);
  driver.graphDestroy(graph);
}

TEST_F(Graph, CaptureWithAForkAndAJoin) {
  StreamHandle main = nullptr, side = nullptr;
  ASSERT_EQ(driver.streamCreate(&main, streamNonBlocking), status::Success);
  ASSERT_EQ(driver.streamCreate(&side, streamNonBlocking), status::Success);
  EventHandle fork = nullptr, join = nullptr;
  driver.eventCreate(&fork, eventDisableTiming);
  driver.eventCreate(&join, eventDisableTiming);
  int state = -1;
  ASSERT_EQ(driver.streamBeginCapture(main, stream_capture::ModeRelaxed),
            status::Success);
  EXPECT_EQ(driver.streamBeginCapture(main, 0), status::IllegalState);
  EXPECT_EQ(driver.streamIsCapturing(main, &state), status::Success);
  EXPECT_EQ(state, stream_capture::StatusActive);
  EXPECT_EQ(driver.streamSynchronize(main), status::StreamCaptureUnsupported);

  EXPECT_EQ(driver.memsetD32Async(out, 1, 32, main), status::Success);
  EXPECT_EQ(first(), 7u) << "captured, not done";
  EXPECT_EQ(driver.eventRecord(fork, main), status::Success);
  EXPECT_EQ(driver.streamWaitEvent(side, fork, 0), status::Success);
  uint32_t n = 5;
  params(n);
  LaunchConfig config = {1, 1, 1, 32, 1, 1, 0, side, nullptr, 0};
  EXPECT_EQ(driver.launchKernelEx(&config, function, arguments, nullptr),
            status::Success);
  EXPECT_EQ(driver.eventRecord(join, side), status::Success);
  EXPECT_EQ(driver.streamWaitEvent(main, join, 0), status::Success);
  uint32_t got = 0;
  EXPECT_EQ(driver.memcpyDtoHAsync(&got, out, 4, main), status::Success);
  GraphHandle graph = nullptr;
  EXPECT_EQ(driver.streamEndCapture(side, &graph),
            status::StreamCaptureUnmatched);
  ASSERT_EQ(driver.streamEndCapture(main, &graph), status::Success);
  EXPECT_EQ(driver.streamEndCapture(main, &graph), status::IllegalState);
  EXPECT_EQ(driver.streamIsCapturing(side, &state), status::Success);
  EXPECT_EQ(state, stream_capture::StatusNone);
  EXPECT_EQ(first(), 7u);

  GraphExecHandle exec = nullptr;
  ASSERT_EQ(driver.graphInstantiate(&exec, graph, 0), status::Success);
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    sim::SimOptions options;
    options.seed = seed;
    session.setOptions(options);
    got = 0;
    ASSERT_EQ(driver.graphLaunch(exec, main), status::Success);
    EXPECT_EQ(got, 6u);
  }
  driver.graphExecDestroy(exec);
  driver.graphDestroy(graph);
  driver.streamDestroy(main);
  driver.streamDestroy(side);
  driver.eventDestroy(fork);
  driver.eventDestroy(join);
}

TEST_F(Graph, BadArgumentsAreRefused) {
  GraphHandle graph = nullptr, other = nullptr;
  EXPECT_EQ(driver.graphCreate(nullptr, 0), status::InvalidValue);
  ASSERT_EQ(driver.graphCreate(&graph, 0), status::Success);
  ASSERT_EQ(driver.graphCreate(&other, 0), status::Success);
  GraphNodeHandle node = nullptr, foreign = nullptr;
  MemsetNodeParams zero = zeros();
  ASSERT_EQ(
      driver.graphAddMemsetNode(&foreign, other, nullptr, 0, &zero, context()),
      status::Success);
  EXPECT_EQ(
      driver.graphAddMemsetNode(&node, graph, &foreign, 1, &zero, context()),
      status::InvalidValue);
  EXPECT_EQ(
      driver.graphAddMemsetNode(&node, graph, nullptr, 2, &zero, context()),
      status::InvalidValue);
  zero.width = 33;
  EXPECT_EQ(
      driver.graphAddMemsetNode(&node, graph, nullptr, 0, &zero, context()),
      status::InvalidValue);
  EXPECT_THAT(session.reportText(), testing::HasSubstr("132 bytes"));
  uint32_t n = 1;
  KernelNodeParams p = params(n);
  arguments[1] = nullptr;
  EXPECT_EQ(driver.graphAddKernelNode(&node, graph, nullptr, 0, &p),
            status::InvalidValue);
  p.function = nullptr;
  EXPECT_EQ(driver.graphAddKernelNode(&node, graph, nullptr, 0, &p),
            status::InvalidHandle);
  EXPECT_EQ(driver.graphInstantiate(nullptr, graph, 0), status::InvalidValue);
  GraphExecHandle exec = nullptr;
  EXPECT_EQ(
      driver.graphInstantiate(&exec, reinterpret_cast<GraphHandle>(&exec), 0),
      status::InvalidHandle);
  EXPECT_EQ(driver.streamBeginCapture(nullptr, 0),
            status::StreamCaptureUnsupported);
  // A fault in a node ends the graph with its report.
  p = params(n);
  DevicePtr nowhere = 16;
  arguments[1] = &nowhere;
  ASSERT_EQ(driver.graphAddKernelNode(&node, graph, nullptr, 0, &p),
            status::Success);
  ASSERT_EQ(driver.graphInstantiate(&exec, graph, 0), status::Success);
  EXPECT_EQ(driver.graphLaunch(exec, nullptr), status::IllegalAddress);
  EXPECT_THAT(session.reportText(), testing::HasSubstr("near no allocation"));
  driver.graphExecDestroy(exec);
  driver.graphDestroy(graph);
  driver.graphDestroy(other);
}

TEST_F(Graph, OccupancyOfClusters) {
  Session hopper(sim::SimTarget::Sm90a);
  ASSERT_TRUE(hopper.load(ptxSnippet(addBody, "", "sm_90a")));
  FunctionHandle f = hopper.function("test");
  LaunchAttribute cluster = {};
  cluster.id = LaunchAttribute::ClusterDimension;
  cluster.value.clusterDim = {8, 1, 1};
  LaunchConfig config = {8, 1, 1, 1024, 1, 1, 0, nullptr, &cluster, 1};
  int count = 0;
  ASSERT_EQ(hopper.driver.occupancyMaxActiveClusters(&count, f, &config),
            status::Success);
  // Eight groups of 16 multiprocessors with two blocks each, and four more
  // multiprocessors for one cluster.
  EXPECT_EQ(count, 8 * 4 + 1);
  cluster.value.clusterDim = {16, 1, 1};
  config.gridDimX = 16;
  EXPECT_EQ(hopper.driver.occupancyMaxActiveClusters(&count, f, &config),
            status::InvalidClusterSize);
  EXPECT_EQ(hopper.driver.funcSetAttribute(
                f, function_attribute::NonPortableClusterSizeAllowed, 1),
            status::Success);
  EXPECT_EQ(hopper.driver.occupancyMaxActiveClusters(&count, f, &config),
            status::Success);
  EXPECT_EQ(count, 8 * 2);
}

} // namespace
