//===- SimTest.cpp - Modules on the simulated device ----------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "FakeModule.h"

#include "quern/quern.h"
#include "runtime/device/cuda/DriverLoader.h"
#include "runtime/device/sim/SimDevice.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

using namespace quern;
using namespace quern::testing;
using ::testing::HasSubstr;

namespace {

/// y[m, k] = x[m, k] * w[k], one block per row, one thread per column.
const std::string ptx = R"(
.version 7.8
.target sm_80
.address_size 64
.visible .entry scale(.param .u64 px, .param .u64 pw, .param .u64 py,
                      .param .u64 pM, .param .u64 pK) {
  .reg .pred %p<2>;
  .reg .b32 %r<3>;
  .reg .b64 %rd<15>;
  .reg .f32 %f<4>;
  ld.param.u64 %rd1, [px];
  ld.param.u64 %rd2, [pw];
  ld.param.u64 %rd3, [py];
  ld.param.u64 %rd5, [pK];
  cvta.to.global.u64 %rd1, %rd1;
  cvta.to.global.u64 %rd2, %rd2;
  cvta.to.global.u64 %rd3, %rd3;
  mov.u32 %r1, %ctaid.x;
  cvt.u64.u32 %rd6, %r1;
  mov.u32 %r2, %tid.x;
  cvt.u64.u32 %rd7, %r2;
  setp.ge.s64 %p1, %rd7, %rd5;
  @%p1 bra DONE;
  mul.lo.s64 %rd8, %rd6, %rd5;
  add.s64 %rd9, %rd8, %rd7;
  shl.b64 %rd10, %rd9, 2;
  shl.b64 %rd11, %rd7, 2;
  add.s64 %rd12, %rd1, %rd10;
  add.s64 %rd13, %rd2, %rd11;
  add.s64 %rd14, %rd3, %rd10;
  ld.global.f32 %f1, [%rd12];
  ld.global.f32 %f2, [%rd13];
  mul.rn.f32 %f3, %f1, %f2;
  st.global.f32 [%rd14], %f3;
DONE:
  ret;
}
)";

ModuleDesc simModule(std::string text) {
  ModuleDesc module = makeFakeModule({std::byte{1}});
  VariantDesc &v = module.variants[0];
  v.target = "cuda:sm_80";
  LaunchDesc launch;
  launch.kernel = 0;
  launch.buffers = {0, 1, 2};
  launch.grid[0] = SymExpr::symbol(0);
  launch.block = {32, 1, 1};
  v.launches = {launch};
  v.kernels.resize(1);
  v.kernels[0].name = "scale";
  auto *bytes = reinterpret_cast<const std::byte *>(text.data());
  v.code = {{CodeKind::Ptx, {bytes, bytes + text.size()}, {}}};
  return module;
}

Tensor ramp(Shape shape, float start) {
  Result<Tensor> t = Tensor::zeros(DType::F32, shape);
  for (float &v : t->as<float>())
    v = start, start += 0.25f;
  return std::move(*t);
}

TEST(Sim, ModulesRunThere) {
  auto &device = sim::SimDevice::get(sim::SimTarget::Sm80);
  {
    Result<Layer> layer = load(simModule(ptx).serialize(), {"sim:sm_80", {}});
    ASSERT_TRUE(layer) << layer.error().render();
    for (int64_t M : {0, 1, 7}) {
      Tensor x = ramp({M, 8}, -1), w = ramp({8}, 0.5);
      Result<std::vector<Tensor>> y = layer->call({x, w});
      ASSERT_TRUE(y) << y.error().render();
      for (int64_t i = 0; i < M * 8; ++i)
        EXPECT_EQ((*y)[0].as<float>()[i],
                  x.as<float>()[i] * w.as<float>()[i % 8]);
    }
  }
  EXPECT_EQ(device.bytesInUse(), 0u);
}

TEST(Sim, FaultsAreExplained) {
  // Every row but the first beyond the output: the last one leaves the buffer.
  std::string faulty = ptx;
  size_t at = faulty.find("add.s64 %rd14, %rd3, %rd10;");
  faulty.replace(at, 27, "add.s64 %rd14, %rd3, 4096;");
  Result<Layer> layer = load(simModule(faulty).serialize(), {"sim:sm_80", {}});
  ASSERT_TRUE(layer) << layer.error().render();
  Result<std::vector<Tensor>> y = layer->call({ramp({2, 8}, 0), ramp({8}, 0)});
  ASSERT_FALSE(y);
  EXPECT_EQ(y.error().code, Errc::CheckFailed);
  EXPECT_THAT(y.error().message, HasSubstr("launch kernel 'scale'"));
  ASSERT_FALSE(y.error().notes.empty());
  EXPECT_THAT(y.error().notes[0], HasSubstr("scale"));
}

TEST(Sim, ReportsNameTheOperands) {
  struct {
    const char *from, *to, *report;
  } const faults[] = {
      {"[%rd14], %f3", "[%rd12], %f3", "of x, which is read-only"},
      {"add.s64 %rd13, %rd2, %rd11", "add.s64 %rd13, %rd2, 40",
       "at offset 40 of w (32 bytes)"},
      {"add.s64 %rd14, %rd3, %rd10", "add.s64 %rd14, %rd3, 64",
       "at offset 64 of y (64 bytes)"},
  };
  for (const auto &fault : faults) {
    std::string text = ptx;
    size_t at = text.find(fault.from);
    ASSERT_NE(at, std::string::npos) << fault.from;
    text.replace(at, std::strlen(fault.from), fault.to);
    Result<Layer> layer = load(simModule(text).serialize(), {"sim:sm_80", {}});
    ASSERT_TRUE(layer) << layer.error().render();
    Result<std::vector<Tensor>> y =
        layer->call({ramp({2, 8}, 0), ramp({8}, 0)});
    ASSERT_FALSE(y) << fault.to;
    EXPECT_EQ(y.error().code, Errc::CheckFailed);
    EXPECT_THAT(y.error().render(), HasSubstr(fault.report));
  }
}

TEST(Sim, WhatDoesNotLoadIsExplained) {
  Result<Layer> layer =
      load(simModule(".version 7.8\n.target sm_80\nnonsense").serialize(),
           {"sim:sm_80", {}});
  ASSERT_FALSE(layer);
  EXPECT_FALSE(layer.error().notes.empty());
  Result<Layer> other = load(simModule(ptx).serialize(), {"sim:sm_75", {}});
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().code, Errc::Unsupported);
  EXPECT_THAT(other.error().render(), HasSubstr("sim:sm_80"));
}

TEST(Sim, WithoutADriverCudaSaysSo) {
  if (cuda::systemDriver())
    GTEST_SKIP() << "there is a CUDA driver here";
  Result<Layer> layer = load(simModule(ptx).serialize(), {"cuda", {}});
  ASSERT_FALSE(layer);
  EXPECT_EQ(layer.error().code, Errc::NoDevice);
}

} // namespace
