//===- CudaTest.cpp - Running through a driver table ----------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// A driver written for this test: device addresses are host addresses moved to
// where the host cannot follow them, and kernels are functions of the test. It
// shows what the CUDA path asks of a driver, and that it never touches device
// memory itself.
//
//===----------------------------------------------------------------------===//

#include "FakeModule.h"

#include "runtime/device/cuda/CudaProgram.h"
#include "runtime/jit/LayerState.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <map>
#include <set>

using namespace quern;
using namespace quern::cuda;
using namespace quern::testing;
using ::testing::HasSubstr;

namespace {

constexpr DevicePtr shift = DevicePtr{1} << 62;

struct Driver {
  std::set<DevicePtr> live;
  int contexts = 0, modules = 0, streams = 0, synchronisations = 0;
  std::vector<LaunchConfig> launches;
  std::vector<LaunchAttribute> attributes; ///< Of all launches.
  int blocksPerMultiprocessor = 1;
  std::map<std::string, int> dynamicShared;
  bool refuseCubin = false;
  DriverStatus launchStatus = status::Success;
  ContextHandle current = nullptr;
};
Driver driver;

const auto theContext = reinterpret_cast<ContextHandle>(0x10);

template <typename T> T *host(DevicePtr p) {
  return reinterpret_cast<T *>(p - shift);
}
bool valid(DevicePtr p) { return p >= shift; }

void runKernel(const std::string &name, void **p, unsigned blocks) {
  auto buffer = [&](int i) {
    return host<float>(*static_cast<DevicePtr *>(p[i]));
  };
  auto symbol = [&](int i) { return *static_cast<int64_t *>(p[i]); };
  for (unsigned b = 0; b < blocks; ++b) {
    if (name == "pack") {
      int64_t K = symbol(3);
      buffer(1)[K - 1 - b] = buffer(0)[b];
    } else if (name == "scale") {
      int64_t K = symbol(4);
      for (int64_t k = 0; k < K; ++k)
        buffer(2)[b * K + k] = buffer(0)[b * K + k] * buffer(1)[K - 1 - k];
    } else {
      int64_t K = symbol(3);
      for (int64_t k = 0; k < K; ++k)
        buffer(1)[b * K + k] =
            buffer(0)[b * K + K - 1 - k] + (0.5f + float(b & 3));
    }
  }
}

DriverTable makeTable() {
  DriverTable t;
  t.init = [](unsigned) { return status::Success; };
  t.getErrorName = [](DriverStatus, const char **name) {
    *name = "THE_NAME";
    return status::Success;
  };
  t.getErrorString = [](DriverStatus, const char **text) {
    *text = "the text";
    return status::Success;
  };
  t.deviceGetCount = [](int *n) {
    *n = 1;
    return status::Success;
  };
  t.deviceGet = [](DeviceOrdinal *d, int) {
    *d = 0;
    return status::Success;
  };
  t.deviceGetName = [](char *name, int n, DeviceOrdinal) {
    std::strncpy(name, "test device", n);
    return status::Success;
  };
  t.deviceGetAttribute = [](int *value, DeviceAttribute a, DeviceOrdinal) {
    *value = a == device_attribute::ComputeCapabilityMajor   ? 9
             : a == device_attribute::ComputeCapabilityMinor ? 0
             : a == device_attribute::MultiprocessorCount    ? 2
                                                             : 232448;
    return status::Success;
  };
  t.devicePrimaryCtxRetain = [](ContextHandle *c, DeviceOrdinal) {
    ++driver.contexts;
    *c = theContext;
    return status::Success;
  };
  t.devicePrimaryCtxRelease = [](DeviceOrdinal) {
    --driver.contexts;
    return status::Success;
  };
  t.ctxGetCurrent = [](ContextHandle *c) {
    *c = driver.current;
    return status::Success;
  };
  t.ctxSetCurrent = [](ContextHandle c) {
    driver.current = c;
    return status::Success;
  };
  t.moduleLoadDataEx = [](ModuleHandle *m, const void *image, unsigned n,
                          JitOption *options, void **values) {
    if (driver.current != theContext)
      return status::InvalidContext;
    if (driver.refuseCubin && std::strcmp((const char *)image, "cubin") == 0) {
      for (unsigned i = 0; i < n; ++i)
        if (options[i] == jit_option::ErrorLogBuffer)
          std::strcpy(static_cast<char *>(values[i]), "from the log");
      return status::NoBinaryForGpu;
    }
    ++driver.modules;
    *m = reinterpret_cast<ModuleHandle>(0x20);
    return status::Success;
  };
  t.moduleUnload = [](ModuleHandle) {
    --driver.modules;
    return status::Success;
  };
  t.moduleGetFunction = [](FunctionHandle *f, ModuleHandle, const char *name) {
    static std::map<std::string, std::string> names;
    auto it = names.emplace(name, name).first;
    *f = reinterpret_cast<FunctionHandle>(&it->second);
    return std::string_view(name) == "absent" ? status::NotFound
                                              : status::Success;
  };
  t.funcGetAttribute = [](int *value, FunctionAttribute, FunctionHandle) {
    *value = 1024;
    return status::Success;
  };
  t.funcSetAttribute = [](FunctionHandle f, FunctionAttribute a, int value) {
    EXPECT_EQ(a, function_attribute::MaxDynamicSharedSizeBytes);
    driver.dynamicShared[*reinterpret_cast<std::string *>(f)] = value;
    return status::Success;
  };
  t.occupancyMaxActiveBlocksPerMultiprocessor = [](int *blocks, FunctionHandle,
                                                   int threads, size_t) {
    EXPECT_EQ(threads, 32);
    *blocks = driver.blocksPerMultiprocessor;
    return status::Success;
  };
  t.launchKernelEx = [](const LaunchConfig *config, FunctionHandle f, void **p,
                        void **) {
    EXPECT_EQ(driver.current, theContext);
    EXPECT_NE(config->stream, nullptr);
    driver.launches.push_back(*config);
    for (unsigned i = 0; i < config->attributeCount; ++i)
      driver.attributes.push_back(config->attributes[i]);
    if (driver.launchStatus == status::Success)
      runKernel(*reinterpret_cast<std::string *>(f), p, config->gridDimX);
    return driver.launchStatus;
  };
  t.memAlloc = [](DevicePtr *p, size_t bytes) {
    *p = reinterpret_cast<DevicePtr>(
             std::aligned_alloc(256, (bytes + 255) / 256 * 256)) +
         shift;
    driver.live.insert(*p);
    return status::Success;
  };
  t.memFree = [](DevicePtr p) {
    EXPECT_EQ(driver.live.erase(p), 1u);
    std::free(host<void>(p));
    return status::Success;
  };
  t.memcpyHtoDAsync = [](DevicePtr to, const void *from, size_t bytes,
                         StreamHandle) {
    EXPECT_TRUE(valid(to) && !valid((DevicePtr)from));
    std::memcpy(host<void>(to), from, bytes);
    return status::Success;
  };
  t.memcpyDtoHAsync = [](void *to, DevicePtr from, size_t bytes, StreamHandle) {
    EXPECT_TRUE(valid(from) && !valid((DevicePtr)to));
    std::memcpy(to, host<void>(from), bytes);
    return status::Success;
  };
  t.memcpyDtoDAsync = [](DevicePtr to, DevicePtr from, size_t bytes,
                         StreamHandle) {
    std::memcpy(host<void>(to), host<void>(from), bytes);
    return status::Success;
  };
  t.streamCreate = [](StreamHandle *s, unsigned flags) {
    EXPECT_EQ(flags, streamNonBlocking);
    *s = reinterpret_cast<StreamHandle>(0x1000 + ++driver.streams);
    return status::Success;
  };
  t.streamSynchronize = [](StreamHandle) {
    ++driver.synchronisations;
    return status::Success;
  };
  t.streamDestroy = [](StreamHandle) {
    --driver.streams;
    return status::Success;
  };
  return t;
}

ModuleDesc cudaModule(std::string target = "cuda:sm_90a") {
  ModuleDesc module = makeFakeModule({std::byte{1}});
  VariantDesc &v = module.variants[0];
  v.target = std::move(target);
  for (LaunchDesc &l : v.launches)
    l.grid[0] = l.items; // One block per item.
  auto text = [](std::string_view t) {
    auto *b = reinterpret_cast<const std::byte *>(t.data());
    return std::vector<std::byte>(b, b + t.size());
  };
  v.code = {{CodeKind::CudaSource, text("source"), {}},
            {CodeKind::Ptx, text("ptx"), {}},
            {CodeKind::Cubin, text("cubin"), {}}};
  return module;
}

class Cuda : public ::testing::Test {
protected:
  Cuda() { driver = Driver(); }
  ~Cuda() override {
    // Everything taken from the driver went back.
    EXPECT_TRUE(driver.live.empty());
    EXPECT_EQ(driver.contexts, 0);
    EXPECT_EQ(driver.modules, 0);
    EXPECT_EQ(driver.streams, 0);
    EXPECT_EQ(driver.current, nullptr) << "the thread's own context is back";
  }
  Result<Layer> load(ModuleDesc module, std::string_view target = "cuda") {
    auto state = detail::bindModule(std::move(module), *Target::parse(target),
                                    nullptr, &table);
    if (!state)
      return state.error();
    return detail::LayerAccess::make(std::move(*state));
  }
  DriverTable table = makeTable();
};

Tensor ramp(Shape shape, float start) {
  Result<Tensor> t = Tensor::zeros(DType::F32, shape);
  for (float &v : t->as<float>())
    v = start, start += 0.25f;
  return std::move(*t);
}

TEST_F(Cuda, HostOperandsAreStaged) {
  Result<Layer> layer = load(cudaModule());
  ASSERT_TRUE(layer) << layer.error().render();
  EXPECT_EQ(layer->target(), "cuda:sm_90a");
  Tensor x = ramp({5, 8}, -1), w = ramp({8}, 0.5);
  Result<std::vector<Tensor>> y = layer->call({x, w});
  ASSERT_TRUE(y) << y.error().render();
  for (int64_t i = 0; i < 40; ++i)
    EXPECT_EQ((*y)[0].as<float>()[i],
              fakeExpected(x.as<float>()[i], w.as<float>()[i % 8], i / 8));
  EXPECT_EQ(driver.launches.size(), 5u);
}

TEST_F(Cuda, NoRowsLaunchNothing) {
  Result<Layer> layer = load(cudaModule());
  ASSERT_TRUE(layer);
  Tensor x = ramp({0, 8}, -1), w = ramp({8}, 0.5);
  Result<std::vector<Tensor>> y = layer->call({x, w});
  ASSERT_TRUE(y) << y.error().render();
  EXPECT_EQ(driver.launches.size(), 1u); // The packing of w.
}

TEST_F(Cuda, DeviceOperandsAreOnlyEnqueued) {
  Result<Layer> layer = load(cudaModule());
  ASSERT_TRUE(layer);
  Tensor w = ramp({8}, 0.5);
  Result<Weights> weights = layer->bindWeights({w});
  ASSERT_TRUE(weights) << weights.error().render();
  Result<Context> context = layer->makeContext(*weights, {{"M", 1, 16}});
  ASSERT_TRUE(context) << context.error().render();
  DevicePtr memory;
  table.memAlloc(&memory, 4096);
  auto view = [&](DevicePtr p) {
    TensorView v(DType::F32, {4, 8}, reinterpret_cast<void *>(p));
    v.memory = Memory::Device;
    return v;
  };
  int before = driver.synchronisations;
  size_t blocks = driver.live.size();
  auto *stream = reinterpret_cast<void *>(0x77);
  Result<void> done =
      context->run({view(memory)}, {view(memory + 1024)}, stream);
  ASSERT_TRUE(done) << done.error().render();
  EXPECT_EQ(driver.synchronisations, before);
  EXPECT_EQ(driver.live.size(), blocks);
  EXPECT_EQ((void *)driver.launches.back().stream, stream);
  ASSERT_TRUE(context->run({view(memory)}, {view(memory + 1024)}));
  EXPECT_NE((void *)driver.launches.back().stream, stream);

  done = context->run({view(memory + 4)}, {view(memory + 1024)});
  ASSERT_FALSE(done);
  EXPECT_THAT(done.error().message, HasSubstr("not a multiple of 64 bytes"));
  done = context->run({view(memory)}, {view(memory + 64)});
  ASSERT_FALSE(done);
  EXPECT_THAT(done.error().message, HasSubstr("overlaps"));
  table.memFree(memory);
}

TEST_F(Cuda, PtxServesWhereTheCubinDoesNot) {
  driver.refuseCubin = true;
  EXPECT_TRUE(load(cudaModule()));
  ModuleDesc onlyCubin = cudaModule();
  onlyCubin.variants[0].code.erase(onlyCubin.variants[0].code.begin() + 1);
  Result<Layer> layer = load(onlyCubin);
  ASSERT_FALSE(layer);
  EXPECT_EQ(layer.error().code, Errc::DeviceError);
  EXPECT_THAT(layer.error().render(),
              HasSubstr("cannot load the cubin on test device (sm_90): "
                        "THE_NAME (209): the text"));
  EXPECT_THAT(layer.error().render(), HasSubstr("from the log"));
}

TEST_F(Cuda, LaunchGeometry) {
  ModuleDesc module = cudaModule();
  LaunchDesc &l = module.variants[0].launches[3];
  l.grid[1] = SymExpr::constant(1);
  l.block = {64, 2, 1};
  l.dynamicSharedBytes = SymExpr::constant(100000);
  Result<Layer> layer = load(module);
  ASSERT_TRUE(layer) << layer.error().render();
  // All that the device has beside the kernel's own 1 KiB.
  EXPECT_EQ(driver.dynamicShared["reverse"], 231424);
  Tensor x = ramp({5, 8}, -1), w = ramp({8}, 0.5);
  ASSERT_TRUE(layer->call({x, w}));
  const LaunchConfig &c = driver.launches[3];
  EXPECT_EQ(c.gridDimX, 5u);
  EXPECT_EQ(c.blockDimX, 64u);
  EXPECT_EQ(c.blockDimY, 2u);
  EXPECT_EQ(c.sharedMemBytes, 100000u);

  l.dynamicSharedBytes = SymExpr::constant(232448);
  Result<Layer> tooMuch = load(module);
  ASSERT_FALSE(tooMuch);
  EXPECT_THAT(tooMuch.error().message, HasSubstr("233472 bytes of shared"));
  // Without permission a block has 48 KiB, its static memory included.
  driver.dynamicShared.clear();
  l.dynamicSharedBytes = SymExpr::constant(47 * 1024);
  ASSERT_TRUE(load(module));
  EXPECT_TRUE(driver.dynamicShared.empty());
  l.dynamicSharedBytes = SymExpr::constant(48 * 1024);
  ASSERT_TRUE(load(module));
  EXPECT_EQ(driver.dynamicShared["reverse"], 231424);
  l.dynamicSharedBytes = SymExpr::constant(0);
  l.grid[1] = SymExpr::constant(65536);
  Result<Layer> wide = load(module);
  ASSERT_TRUE(wide);
  Result<std::vector<Tensor>> y = wide->call({x, w});
  ASSERT_FALSE(y);
  EXPECT_THAT(y.error().message, HasSubstr("needs 65536 blocks"));
}

TEST_F(Cuda, BlocksThatWaitForEachOtherAreResident) {
  ModuleDesc module = cudaModule();
  LaunchDesc &l = module.variants[0].launches[3];
  l.block = {32, 1, 1};
  l.kind = LaunchKind::Cooperative;
  l.residentBlocks = SymExpr::constant(2);
  driver.blocksPerMultiprocessor = 4;
  driver.attributes.clear();
  Result<Layer> layer = load(module);
  ASSERT_TRUE(layer) << layer.error().render();
  Tensor x = ramp({5, 8}, -1), w = ramp({8}, 0.5);
  ASSERT_TRUE(layer->call({x, w}));
  ASSERT_EQ(driver.attributes.size(), 1u);
  EXPECT_EQ(driver.attributes[0].id, LaunchAttribute::Cooperative);
  EXPECT_EQ(driver.attributes[0].value.cooperative, 1);
  EXPECT_EQ(driver.launches[3].gridDimX, 5u);

  // Two multiprocessors hold two blocks: the grid is cut to them.
  driver.blocksPerMultiprocessor = 1;
  driver.launches.clear();
  layer = load(module);
  ASSERT_TRUE(layer) << layer.error().render();
  (void)layer->call({x, w});
  EXPECT_EQ(driver.launches[3].gridDimX, 2u);

  // What is known when the module is loaded is refused then.
  l.residentBlocks = SymExpr::constant(3);
  Result<Layer> tooMany = load(module);
  ASSERT_FALSE(tooMany);
  EXPECT_EQ(tooMany.error().code, Errc::Unsupported);
  EXPECT_THAT(tooMany.error().message,
              HasSubstr("kernel 'reverse' needs 3 blocks that wait for each "
                        "other; test device holds 2 at once"));
  // And what follows from a symbol when it runs.
  l.residentBlocks = SymExpr::symbol(0);
  driver.launches.clear();
  layer = load(module);
  ASSERT_TRUE(layer) << layer.error().render();
  Result<std::vector<Tensor>> y = layer->call({x, w});
  ASSERT_FALSE(y);
  EXPECT_THAT(y.error().message, HasSubstr("needs 5 blocks"));

  // A queue needs no company.
  l.kind = LaunchKind::Persistent;
  l.residentBlocks = SymExpr();
  driver.attributes.clear();
  driver.launches.clear();
  layer = load(module);
  ASSERT_TRUE(layer) << layer.error().render();
  (void)layer->call({x, w});
  EXPECT_EQ(driver.launches[3].gridDimX, 2u);
  EXPECT_TRUE(driver.attributes.empty());
}

TEST_F(Cuda, ClustersAreAskedFor) {
  ModuleDesc module = cudaModule();
  module.variants[0].launches[3].cluster = 5;
  driver.attributes.clear();
  Result<Layer> layer = load(module);
  ASSERT_TRUE(layer) << layer.error().render();
  Tensor x = ramp({5, 8}, -1), w = ramp({8}, 0.5);
  ASSERT_TRUE(layer->call({x, w}));
  ASSERT_EQ(driver.attributes.size(), 1u);
  EXPECT_EQ(driver.attributes[0].id, LaunchAttribute::ClusterDimension);
  EXPECT_EQ(driver.attributes[0].value.clusterDim.x, 5u);
  EXPECT_EQ(driver.attributes[0].value.clusterDim.y, 1u);
}

TEST_F(Cuda, DriverErrorsAreReported) {
  Result<Layer> layer = load(cudaModule());
  ASSERT_TRUE(layer);
  driver.launchStatus = status::LaunchFailed;
  Tensor x = ramp({5, 8}, -1), w = ramp({8}, 0.5);
  Result<std::vector<Tensor>> y = layer->call({x, w});
  ASSERT_FALSE(y);
  EXPECT_EQ(y.error().message,
            "cannot launch kernel 'pack': THE_NAME (719): the text");
  ModuleDesc module = cudaModule();
  module.variants[0].kernels[1].name = "absent";
  Result<Layer> absent = load(module);
  ASSERT_FALSE(absent);
  EXPECT_THAT(absent.error().message, HasSubstr("find kernel 'absent'"));
}

TEST_F(Cuda, VariantsAreChosenByArchitecture) {
  ModuleDesc module = cudaModule("cuda:sm_80");
  module.variants.push_back(cudaModule("cuda:sm_90").variants[0]);
  module.variants.push_back(cudaModule("cuda:sm_90a").variants[0]);
  module.variants.push_back(cudaModule("cuda:sm_100a").variants[0]);
  EXPECT_EQ(load(module)->target(), "cuda:sm_90a");
  EXPECT_EQ(load(module, "cuda:sm_80")->target(), "cuda:sm_80");
  // A device, not a kind of code: the best for it.
  EXPECT_EQ(load(module, "sim:sm_90")->target(), "cuda:sm_90a");
  Result<Layer> newer = load(module, "cuda:sm_100a");
  ASSERT_FALSE(newer);
  EXPECT_THAT(newer.error().render(),
              HasSubstr("does not run on a device of compute capability 9.0"));
}

TEST(CudaArch, WhatRunsWhere) {
  EXPECT_TRUE(canRun("sm_90a", false, 90));
  EXPECT_FALSE(canRun("sm_90a", true, 100));
  EXPECT_TRUE(canRun("sm_80", false, 86));
  EXPECT_FALSE(canRun("sm_80", false, 90));
  EXPECT_TRUE(canRun("sm_80", true, 90));
  EXPECT_FALSE(canRun("sm_86", true, 80));
  EXPECT_TRUE(canRun("sm_100f", false, 103));
  EXPECT_FALSE(canRun("sm_100f", false, 120));
}

} // namespace
