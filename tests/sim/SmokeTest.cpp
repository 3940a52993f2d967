//===- SmokeTest.cpp - A kernel through the simulated driver --------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/sim/SimDevice.h"

#include <gtest/gtest.h>
#include <vector>

using namespace quern;
using namespace quern::sim;
namespace status = quern::cuda::status;

static const char *const scalePtx = R"(
.version 8.0
.target sm_80
.address_size 64
.visible .entry scale(.param .u64 p, .param .f32 s, .param .u32 n)
{
  .reg .pred %p<2>;
  .reg .b32 %r<6>;
  .reg .f32 %f<4>;
  .reg .b64 %rd<5>;
  ld.param.u64 %rd1, [p];
  ld.param.f32 %f1, [s];
  ld.param.u32 %r5, [n];
  mov.u32 %r1, %ctaid.x;
  mov.u32 %r2, %ntid.x;
  mov.u32 %r3, %tid.x;
  mad.lo.s32 %r4, %r1, %r2, %r3;
  setp.ge.u32 %p1, %r4, %r5;
  @%p1 bra DONE;
  cvta.to.global.u64 %rd2, %rd1;
  mul.wide.u32 %rd3, %r4, 4;
  add.s64 %rd4, %rd2, %rd3;
  ld.global.f32 %f2, [%rd4];
  mul.f32 %f3, %f2, %f1;
  st.global.f32 [%rd4], %f3;
DONE:
  ret;
}
)";

TEST(SimDevice, RunsAKernel) {
  const cuda::DriverTable &driver = simulatedDriver(SimTarget::Sm80);
  ASSERT_EQ(driver.init(0), status::Success);
  cuda::ContextHandle context;
  ASSERT_EQ(driver.devicePrimaryCtxRetain(&context, 0), status::Success);
  ASSERT_EQ(driver.ctxSetCurrent(context), status::Success);
  cuda::ModuleHandle module;
  ASSERT_EQ(driver.moduleLoadDataEx(&module, scalePtx, 0, nullptr, nullptr),
            status::Success)
      << SimDevice::get(SimTarget::Sm80).lastReports()[0].render();
  cuda::FunctionHandle function;
  ASSERT_EQ(driver.moduleGetFunction(&function, module, "scale"),
            status::Success);
  std::vector<float> data(1000);
  for (size_t i = 0; i < data.size(); ++i)
    data[i] = static_cast<float>(i);
  cuda::DevicePtr p;
  ASSERT_EQ(driver.memAlloc(&p, 4000), status::Success);
  ASSERT_EQ(driver.memcpyHtoDAsync(p, data.data(), 4000, nullptr),
            status::Success);
  float s = 0.5f;
  unsigned n = 1000;
  void *args[] = {&p, &s, &n};
  cuda::LaunchConfig config = {4, 1, 1, 256, 1, 1, 0, nullptr, nullptr, 0};
  EXPECT_EQ(driver.launchKernelEx(&config, function, args, nullptr),
            status::Success);
  ASSERT_EQ(driver.memcpyDtoHAsync(data.data(), p, 4000, nullptr),
            status::Success);
  for (size_t i = 0; i < data.size(); ++i)
    ASSERT_EQ(data[i], static_cast<float>(i) * 0.5f);
  n = 1001;
  EXPECT_EQ(driver.launchKernelEx(&config, function, args, nullptr),
            status::IllegalAddress);
  ASSERT_EQ(SimDevice::get(SimTarget::Sm80).lastReports().size(), 2u)
      << "the load and the store of element 1000";
  EXPECT_EQ(driver.memFree(p), status::Success);
  EXPECT_EQ(driver.moduleUnload(module), status::Success);
  driver.devicePrimaryCtxRelease(0);
}
