//===- DriverTest.cpp - The simulated driver's manners --------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "tests/sim/PtxSnippet.h"
#include "tests/sim/SimHarness.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <thread>

using namespace quern;
using namespace quern::simtest;
using namespace quern::cuda;
using testing::HasSubstr;

namespace {

TEST(SimDriver, TableIsCompleteForEveryTarget) {
  for (unsigned i = 0; i < sim::simTargetCount; ++i) {
    auto target = static_cast<sim::SimTarget>(i);
    const DriverTable &driver = sim::simulatedDriver(target);
#define QUERN_CHECK(member, symbol, version, parameters)                       \
  EXPECT_NE(driver.member, nullptr) << #symbol;
    QUERN_CUDA_DRIVER_ENTRIES(QUERN_CHECK)
    QUERN_CUDA_DRIVER_OPTIONAL_ENTRIES(QUERN_CHECK)
#undef QUERN_CHECK
    EXPECT_EQ(sim::parseSimTarget(sim::name(target)), target);
    ASSERT_EQ(driver.init(0), status::Success);
    int major = 0, minor = 0, optin = 0, perSm = 0, count = 0;
    ASSERT_EQ(driver.deviceGetCount(&count), status::Success);
    EXPECT_EQ(count, 1);
    namespace a = device_attribute;
    driver.deviceGetAttribute(&major, a::ComputeCapabilityMajor, 0);
    driver.deviceGetAttribute(&minor, a::ComputeCapabilityMinor, 0);
    driver.deviceGetAttribute(&optin, a::MaxSharedMemoryPerBlockOptin, 0);
    driver.deviceGetAttribute(&perSm, a::MaxSharedMemoryPerMultiprocessor, 0);
    EXPECT_THAT(std::string(sim::name(target)),
                HasSubstr("sm_" + std::to_string(major * 10 + minor)));
    EXPECT_EQ(perSm - optin, 1024);
    char name[8];
    EXPECT_EQ(driver.deviceGetName(name, 8, 0), status::Success);
    EXPECT_STREQ(name, "Simulat");
  }
  EXPECT_FALSE(sim::parseSimTarget("sm_75"));
}

TEST(SimDriver, NeedsAContext) {
  const DriverTable &driver = sim::simulatedDriver(sim::SimTarget::Sm89);
  driver.init(0);
  std::thread([&] {
    DevicePtr p = 0;
    EXPECT_EQ(driver.memAlloc(&p, 16), status::InvalidContext);
    int value = 0;
    EXPECT_EQ(driver.deviceGetAttribute(&value, 12345, 0),
              status::InvalidValue);
    DeviceOrdinal device = 0;
    EXPECT_EQ(driver.deviceGet(&device, 1), status::InvalidDevice);
    EXPECT_EQ(driver.devicePrimaryCtxRelease(0), status::InvalidContext);
  }).join();
}

TEST(SimDriver, BadHandlesAreRefused) {
  Session session;
  const DriverTable &driver = session.driver;
  int dummy = 0;
  auto *bad = reinterpret_cast<OpaqueStream *>(&dummy);
  EXPECT_EQ(driver.streamSynchronize(bad), status::InvalidHandle);
  EXPECT_EQ(driver.streamDestroy(bad), status::InvalidHandle);
  EXPECT_EQ(driver.moduleUnload(reinterpret_cast<ModuleHandle>(&dummy)),
            status::InvalidHandle);
  EXPECT_EQ(driver.eventDestroy(reinterpret_cast<EventHandle>(&dummy)),
            status::InvalidHandle);
  FunctionHandle function = reinterpret_cast<FunctionHandle>(&dummy);
  EXPECT_EQ(driver.funcGetAttribute(&dummy, 0, function),
            status::InvalidHandle);
  LaunchConfig config = {1, 1, 1, 1, 1, 1, 0, nullptr, nullptr, 0};
  EXPECT_EQ(driver.launchKernelEx(&config, function, nullptr, nullptr),
            status::InvalidHandle);
}

TEST(SimDriver, StreamsAndEvents) {
  Session session;
  const DriverTable &driver = session.driver;
  StreamHandle stream = nullptr;
  ASSERT_EQ(driver.streamCreate(&stream, streamNonBlocking), status::Success);
  EventHandle first = nullptr, last = nullptr;
  ASSERT_EQ(driver.eventCreate(&first, eventDefault), status::Success);
  ASSERT_EQ(driver.eventCreate(&last, eventDefault), status::Success);
  float elapsed = -1;
  EXPECT_EQ(driver.eventElapsedTime(&elapsed, first, last),
            status::InvalidHandle)
      << "not recorded";
  EXPECT_EQ(driver.eventRecord(first, stream), status::Success);
  EXPECT_EQ(driver.eventRecord(last, stream), status::Success);
  EXPECT_EQ(driver.streamWaitEvent(stream, last, 0), status::Success);
  EXPECT_EQ(driver.eventSynchronize(last), status::Success);
  EXPECT_EQ(driver.eventElapsedTime(&elapsed, first, last), status::Success);
  EXPECT_GE(elapsed, 0.0f);
  EXPECT_EQ(driver.eventDestroy(first), status::Success);
  EXPECT_EQ(driver.eventDestroy(last), status::Success);
  EXPECT_EQ(driver.streamDestroy(stream), status::Success);
}

TEST(SimDriver, MemoryIsChecked) {
  Session session;
  const DriverTable &driver = session.driver;
  uint64_t before = session.device.bytesInUse();
  DevicePtr p = 0;
  EXPECT_EQ(driver.memAlloc(&p, 0), status::InvalidValue);
  EXPECT_EQ(driver.memAlloc(&p, size_t(1) << 50), status::OutOfMemory);
  ASSERT_EQ(driver.memAlloc(&p, 100), status::Success);
  EXPECT_EQ(p % 256, 0u);
  EXPECT_EQ(session.device.bytesInUse(), before + 100);
  char host[200] = {};
  EXPECT_EQ(driver.memcpyHtoDAsync(p, host, 101, nullptr),
            status::InvalidValue);
  EXPECT_EQ(driver.memcpyDtoHAsync(host, p + 1, 100, nullptr),
            status::InvalidValue);
  EXPECT_EQ(driver.memsetD8Async(p, 7, 100, nullptr), status::Success);
  EXPECT_EQ(driver.memsetD32Async(p + 1, 7, 1, nullptr), status::InvalidValue);
  EXPECT_EQ(driver.memcpyDtoHAsync(host, p, 100, nullptr), status::Success);
  EXPECT_EQ(host[99], 7);
  EXPECT_EQ(driver.memFree(p + 4), status::InvalidValue);
  EXPECT_EQ(driver.memFree(p), status::Success);
  EXPECT_EQ(driver.memcpyDtoHAsync(host, p, 1, nullptr), status::InvalidValue);
  EXPECT_EQ(driver.memFree(0), status::Success);
  EXPECT_EQ(session.device.bytesInUse(), before);
}

TEST(SimDriver, ModulesMustFitTheDevice) {
  Session session(sim::SimTarget::Sm90a);
  EXPECT_TRUE(session.load(ptxSnippet("", "", "sm_80")));
  EXPECT_TRUE(session.load(ptxSnippet("", "", "sm_90")));
  EXPECT_TRUE(session.load(ptxSnippet("", "", "sm_90a")));
  EXPECT_FALSE(session.load(ptxSnippet("", "", "sm_100a")));
  EXPECT_THAT(session.reportText(), HasSubstr("sm_100a"));
  EXPECT_FALSE(session.load("\x7f"
                            "ELF..."));
  EXPECT_THAT(session.reportText(), HasSubstr("not cubins"));
  Session older(sim::SimTarget::Sm80);
  EXPECT_FALSE(older.load(ptxSnippet("", "", "sm_89")));
}

TEST(SimDriver, ErrorLogIsFilled) {
  Session session;
  char log[300] = {};
  JitOption options[] = {jit_option::ErrorLogBuffer,
                         jit_option::ErrorLogBufferSizeBytes};
  void *values[] = {log, reinterpret_cast<void *>(sizeof(log))};
  ModuleHandle module = nullptr;
  std::string ptx = ptxSnippet("frobnicate;");
  EXPECT_EQ(
      session.driver.moduleLoadDataEx(&module, ptx.c_str(), 2, options, values),
      status::InvalidPtx);
  EXPECT_THAT(std::string(log), HasSubstr("frobnicate"));
}

TEST(SimDriver, LaunchesAreValidated) {
  Session session(sim::SimTarget::Sm80);
  const DriverTable &driver = session.driver;
  ASSERT_TRUE(session.load(replaced(
      ptxSnippet("mov.u32 %r2, tile;", ".shared .align 4 .b8 tile[40000];"),
      ".param .u32 n)\n{", ".param .u32 n)\n.maxntid 128, 1, 1\n{")));
  Session::Shape shape;
  auto run = [&] { return session.launch("test", shape, 0ull, 0ull, 0u); };
  EXPECT_EQ(run(), status::Success) << session.reportText();
  shape.block[0] = 129;
  EXPECT_EQ(run(), status::LaunchOutOfResources);
  shape.block[0] = 1025;
  EXPECT_EQ(run(), status::InvalidValue);
  shape.block[0] = 32;
  shape.grid[1] = 70000;
  EXPECT_EQ(run(), status::InvalidValue);
  shape.grid[1] = 0;
  EXPECT_EQ(run(), status::InvalidValue);
  shape.grid[1] = 1;

  ModuleHandle module = nullptr;
  std::string ptx =
      ptxSnippet("mov.u32 %r2, tile;", ".shared .align 4 .b8 tile[40000];");
  ASSERT_EQ(driver.moduleLoadDataEx(&module, ptx.c_str(), 0, nullptr, nullptr),
            status::Success);
  FunctionHandle function = nullptr;
  EXPECT_EQ(driver.moduleGetFunction(&function, module, "nothing"),
            status::NotFound);
  ASSERT_EQ(driver.moduleGetFunction(&function, module, "test"),
            status::Success);
  int value = 0;
  namespace f = function_attribute;
  EXPECT_EQ(driver.funcGetAttribute(&value, f::SharedSizeBytes, function),
            status::Success);
  EXPECT_EQ(value, 40000);
  // Static and dynamic shared memory beyond 48 KiB must be asked for.
  uint64_t zero = 0;
  void *arguments[] = {&zero, &zero, &zero};
  LaunchConfig config = {1, 1, 1, 32, 1, 1, 20000, nullptr, nullptr, 0};
  EXPECT_EQ(driver.launchKernelEx(&config, function, arguments, nullptr),
            status::InvalidValue);
  EXPECT_EQ(driver.funcSetAttribute(function, f::MaxDynamicSharedSizeBytes,
                                    163 * 1024),
            status::InvalidValue);
  EXPECT_EQ(
      driver.funcSetAttribute(function, f::MaxDynamicSharedSizeBytes, 20000),
      status::Success);
  EXPECT_EQ(driver.launchKernelEx(&config, function, arguments, nullptr),
            status::Success);
  EXPECT_EQ(driver.launchKernelEx(&config, function, nullptr, nullptr),
            status::InvalidValue);
  int blocks = 0;
  EXPECT_EQ(driver.occupancyMaxActiveBlocksPerMultiprocessor(&blocks, function,
                                                             32, 20000),
            status::Success);
  EXPECT_EQ(blocks, 2); // 164 KiB for blocks of 60,000 + 1,024 bytes.
  LaunchAttribute cluster = {};
  cluster.id = LaunchAttribute::ClusterDimension;
  cluster.value.clusterDim = {2, 1, 1};
  config.attributes = &cluster;
  config.attributeCount = 1;
  EXPECT_EQ(driver.launchKernelEx(&config, function, arguments, nullptr),
            status::InvalidClusterSize);
  EXPECT_THAT(session.reportText(), HasSubstr("clusters"));
  EXPECT_EQ(driver.moduleUnload(module), status::Success);
  EXPECT_EQ(driver.launchKernelEx(&config, function, arguments, nullptr),
            status::InvalidHandle);
}

TEST(SimDriver, ModuleVariablesAreInitialisedAndFreed) {
  Session session;
  uint64_t before = session.device.bytesInUse();
  ASSERT_TRUE(session.load(ptxSnippet(
      "mov.u64 %rd4, table;\nld.global.u32 %r2, [%rd4+8];\n"
      "ld.const.f32 %f1, [weights+4];\nst.global.u32 [%rd1], %r2;\n"
      "st.global.f32 [%rd1+4], %f1;\nld.global.u8 %r3, [table+12];\n"
      "st.global.u32 [%rd1+8], %r3;",
      ".global .align 4 .b32 table[4] = {7, 8, -9};\n"
      ".const .align 4 .f32 weights[2] = {0f3F800000, 0f40400000};\n")))
      << session.reportText();
  EXPECT_EQ(session.device.bytesInUse(), before + 24);
  auto out = session.buffer("out", std::vector<int>(3, 1));
  Session::Shape shape;
  shape.block[0] = 1;
  ASSERT_EQ(session.launch("test", shape, out, out, 0u), status::Success)
      << session.reportText();
  EXPECT_THAT(session.read<int>(out, 3),
              testing::ElementsAre(-9, 0x40400000, 0));
  ASSERT_FALSE(session.load("nonsense"));
  EXPECT_EQ(session.device.bytesInUse(), before + 12);
}

TEST(SimDriver, CountersCount) {
  Session session;
  ASSERT_TRUE(session.load(ptxSnippet(
      ".shared .align 16 .b8 tile[4096];\nmov.u32 %r2, tile;\n"
      "shl.b32 %r3, %r0, 7;\nadd.s32 %r3, %r3, %r2;\n"
      "st.shared.u32 [%r3], %r0;\nmul.wide.u32 %rd4, %r0, 32;\n"
      "add.s64 %rd5, %rd0, %rd4;\nld.global.u32 %r4, [%rd5];\nbar.sync 0;")));
  auto in = session.buffer("in", std::vector<int>(256));
  ASSERT_EQ(session.launch("test", {}, in, in, 0u), status::Success)
      << session.reportText();
  sim::Counters counters = session.counters();
  EXPECT_EQ(counters.blocks, 1u);
  EXPECT_EQ(counters.barriers, 1u);
  // All 32 lanes store to one bank, and load from sectors of their own.
  EXPECT_EQ(counters.sharedBankConflicts, 31u);
  EXPECT_EQ(counters.globalSectors, 32u);
  EXPECT_EQ(counters.globalBytesRead, 128u);
  EXPECT_EQ(counters.warpInstructions * 32, counters.threadInstructions);
}

TEST(SimDriver, UniqueBytesCountOnce) {
  Session session;
  // Every thread reads the word at in + 32 * (thread / 16), then adds to the
  // first two words of out by one vector store.
  ASSERT_TRUE(session.load(
      ptxSnippet("mov.u32 %r2, %tid.x;\nshr.u32 %r3, %r2, 4;\n"
                 "mul.wide.u32 %rd4, %r3, 32;\nadd.s64 %rd5, %rd0, %rd4;\n"
                 "ld.global.u32 %r4, [%rd5];\nld.global.u16 %r5, [%rd5+2];\n"
                 "st.global.v2.u32 [%rd1], {%r4, %r4};")));
  auto in = session.buffer("in", std::vector<int>(64, 7));
  auto out = session.buffer("out", std::vector<int>(64));
  Session::Shape shape;
  shape.block[0] = 64;
  sim::SimOptions options;
  options.quantum = 1 << 20;
  session.setOptions(options);
  session.launch("test", shape, in, out, 0u);
  sim::Counters counters = session.counters();
  EXPECT_EQ(counters.globalBytesRead, 64u * 6);
  EXPECT_EQ(counters.globalUniqueBytesRead, 4u * 4);
  EXPECT_EQ(counters.globalUniqueBytesWritten, 8u);
  options.checks = false;
  session.setOptions(options);
  session.launch("test", shape, in, out, 0u);
  EXPECT_EQ(session.counters().globalUniqueBytesRead, 0u)
      << "counted with checks on";
}

TEST(SimDriver, LaunchesAreRecorded) {
  Session session;
  ASSERT_TRUE(session.load(ptxSnippet("bar.sync 0;")));
  auto in = session.buffer("in", std::vector<int>(64));
  session.device.recordLaunches(true);
  Session::Shape shape;
  for (unsigned blocks : {1, 3}) {
    shape.grid[0] = blocks;
    ASSERT_EQ(session.launch("test", shape, in, in, 0u), status::Success);
  }
  std::vector<sim::LaunchRecord> records = session.device.launchRecords();
  session.device.recordLaunches(false);
  ASSERT_EQ(records.size(), 2u);
  EXPECT_EQ(records[1].kernel, "test");
  EXPECT_EQ(records[1].grid[0], 3u);
  EXPECT_EQ(records[0].counters.barriers, 1u);
  EXPECT_EQ(records[1].counters.barriers, 3u);
  ASSERT_EQ(session.launch("test", shape, in, in, 0u), status::Success);
  EXPECT_TRUE(session.device.launchRecords().empty());
}

} // namespace
