//===- NvrtcTest.cpp - Compiling CUDA C++ without a GPU -------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/cuda/Nvrtc.h"
#include "runtime/device/cuda/NvrtcLibrary.h"

#include <cstdlib>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <thread>

using namespace quern;
using namespace quern::cuda;
using testing::HasSubstr;

class NvrtcTest : public testing::Test {
protected:
  void SetUp() override {
    Result<Nvrtc *> found = Nvrtc::get();
    if (!found)
      GTEST_SKIP() << found.error().render();
    nvrtc = *found;
  }
  Nvrtc *nvrtc = nullptr;
};

TEST_F(NvrtcTest, SaysWhatItIs) {
  EXPECT_GE(nvrtc->versionMajor(), 11);
  EXPECT_THAT(nvrtc->path(), HasSubstr("libnvrtc"));
  EXPECT_THAT(nvrtc->identity(), HasSubstr("NVRTC "));
  EXPECT_THAT(nvrtc->identity(), testing::Not(HasSubstr("unknown")));
  EXPECT_TRUE(nvrtc->supports("sm_90a"));
  EXPECT_FALSE(nvrtc->supports("sm_1"));
  EXPECT_FALSE(nvrtc->supports("nonsense"));
}

TEST_F(NvrtcTest, CompilesForEveryTarget) {
  const char *source = R"(
    #include "virtual/add.cuh"
    extern "C" __global__ void k(float *p) {
      __shared__ float s[64];
      s[threadIdx.x] = p[threadIdx.x];
      __syncthreads();
      p[threadIdx.x] = add(s[63 - threadIdx.x]);
    })";
  std::vector<NvrtcHeader> headers = {
      {"virtual/add.cuh", "__device__ float add(float x) { return x + 1; }\n"}};
  for (const char *arch : {"sm_80", "sm_89", "sm_90a", "sm_100a", "sm_120a"}) {
    Result<NvrtcOutput> out = nvrtc->compile(source, "k.cu", headers, arch);
    ASSERT_TRUE(out) << out.error().render();
    EXPECT_THAT(out->ptx, HasSubstr(std::string(".target ") + arch));
    ASSERT_GT(out->cubin.size(), 4u);
    EXPECT_EQ(out->cubin[1], std::byte('E'));
    ASSERT_EQ(out->kernels.size(), 1u);
    EXPECT_EQ(out->kernels[0].kernel, "k");
    EXPECT_GT(out->kernels[0].registers, 0u);
    EXPECT_GE(out->kernels[0].staticSharedBytes, 256u);
    EXPECT_EQ(out->kernels[0].spillStoreBytes, 0u);
  }
}

TEST_F(NvrtcTest, StrictForbidsContraction) {
  const char *source = R"(extern "C" __global__ void k(float *p) {
      p[0] = p[1] * p[2] + p[3];
      p[4] = p[5] / p[6];
    })";
  Result<NvrtcOutput> strict = nvrtc->compile(source, "k.cu", {}, "sm_80");
  ASSERT_TRUE(strict);
  EXPECT_THAT(strict->ptx, testing::Not(HasSubstr("fma.rn.f32 ")));
  EXPECT_THAT(strict->ptx, HasSubstr("div.rn.f32"));
  NvrtcOptions loose;
  loose.strict = false;
  Result<NvrtcOutput> contracted =
      nvrtc->compile(source, "k.cu", {}, "sm_80", loose);
  ASSERT_TRUE(contracted);
  EXPECT_THAT(contracted->ptx, HasSubstr("fma.rn.f32"));
}

TEST_F(NvrtcTest, FrontEndErrorsKeepTheLine) {
  Result<NvrtcOutput> out = nvrtc->compile(
      "#line 100 \"layer.qn\"\n"
      "extern \"C\" __global__ void k(float *p) { p[0] = missing; }\n",
      "k.cu", {}, "sm_80");
  ASSERT_FALSE(out);
  EXPECT_EQ(out.error().code, Errc::InvalidSource);
  EXPECT_EQ(out.error().file, "layer.qn");
  EXPECT_EQ(out.error().line, 100u);
  EXPECT_THAT(out.error().message, HasSubstr("missing"));
  EXPECT_THAT(out.error().sourceLine, HasSubstr("p[0] = missing"));
  EXPECT_GT(out.error().column, 1u);
}

TEST_F(NvrtcTest, AssemblerErrorsAreMappedToTheSource) {
  Result<NvrtcOutput> out =
      nvrtc->compile("extern \"C\" __global__ void k(int *p) {\n"
                     "  int x = p[threadIdx.x];\n"
                     "#line 200 \"wrappers.cuh\"\n"
                     "  asm volatile(\"add.s33 %0, %0, 1;\" : \"+r\"(x));\n"
                     "  p[threadIdx.x] = x;\n}\n",
                     "k.cu", {}, "sm_80");
  ASSERT_FALSE(out);
  EXPECT_EQ(out.error().code, Errc::InvalidSource);
  EXPECT_EQ(out.error().file, "wrappers.cuh");
  EXPECT_EQ(out.error().line, 200u);
  EXPECT_THAT(out.error().message, HasSubstr("s33"));
}

TEST_F(NvrtcTest, UnknownArchAndOptionAreRefused) {
  Result<NvrtcOutput> arch =
      nvrtc->compile("__global__ void k() {}", "k.cu", {}, "sm_12");
  ASSERT_FALSE(arch);
  EXPECT_EQ(arch.error().code, Errc::Unsupported);
  EXPECT_THAT(arch.error().message, HasSubstr("sm_12"));
  NvrtcOptions options;
  options.extra = {"--no-such-option"};
  Result<NvrtcOutput> option =
      nvrtc->compile("__global__ void k() {}", "k.cu", {}, "sm_80", options);
  ASSERT_FALSE(option);
  EXPECT_EQ(option.error().code, Errc::InvalidArgument);
}

TEST_F(NvrtcTest, ThreadsCompileAtOnce) {
  std::vector<std::thread> threads;
  std::vector<std::string> ptx(4);
  for (size_t i = 0; i < ptx.size(); ++i)
    threads.emplace_back([&, i] {
      Result<NvrtcOutput> out =
          nvrtc->compile("extern \"C\" __global__ void k(int *p) { p[0] = 7; }",
                         "k.cu", {}, "sm_80");
      if (out)
        ptx[i] = out->ptx;
    });
  for (std::thread &thread : threads)
    thread.join();
  for (const std::string &text : ptx) {
    EXPECT_FALSE(text.empty());
    EXPECT_EQ(text, ptx[0]);
  }
}

TEST(NvrtcLibrary, EnvironmentIsBinding) {
  const char *old = std::getenv("QUERN_NVRTC");
  std::string saved = old ? old : "";
  setenv("QUERN_NVRTC", "/no/such/libnvrtc.so", 1);
  EXPECT_EQ(nvrtcCandidates(),
            std::vector<std::string>{"/no/such/libnvrtc.so"});
  Result<Nvrtc> opened = Nvrtc::open("/no/such/libnvrtc.so");
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, Errc::CompilerMissing);
  unsetenv("QUERN_NVRTC");
  EXPECT_EQ(nvrtcCandidates()[0], "libnvrtc.so.13");
  if (old)
    setenv("QUERN_NVRTC", saved.c_str(), 1);
}

TEST(NvrtcLog, ParsesPtxasFigures) {
  std::vector<KernelResources> kernels = parsePtxasLog(
      "ptxas info    : 0 bytes gmem\n"
      "ptxas info    : Compiling entry function 'a' for 'sm_80'\n"
      "ptxas info    : Function properties for a\n"
      "    16 bytes stack frame, 4 bytes spill stores, 8 bytes spill loads\n"
      "ptxas info    : Used 255 registers, used 1 barriers, 512 bytes smem, "
      "400 bytes cmem[0]\n"
      "ptxas info    : Function properties for helper\n"
      "    96 bytes stack frame, 64 bytes spill stores, 64 bytes spill loads\n"
      "ptxas info    : Compiling entry function 'b' for 'sm_80'\n"
      "ptxas info    : Function properties for b\n"
      "    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads\n"
      "ptxas info    : Used 8 registers\n");
  ASSERT_EQ(kernels.size(), 2u);
  EXPECT_EQ(kernels[0].registers, 255u);
  EXPECT_EQ(kernels[0].stackBytes, 16u);
  EXPECT_EQ(kernels[0].spillStoreBytes, 4u);
  EXPECT_EQ(kernels[0].spillLoadBytes, 8u);
  EXPECT_EQ(kernels[0].staticSharedBytes, 512u);
  EXPECT_EQ(kernels[1].kernel, "b");
  EXPECT_EQ(kernels[1].registers, 8u);
  EXPECT_EQ(kernels[1].staticSharedBytes, 0u);
}

TEST(NvrtcLog, OddTextsAreHarmless) {
  EXPECT_FALSE(parseNvrtcLog("").found);
  EXPECT_FALSE(parseNvrtcLog("): error").found);
  EXPECT_FALSE(parseNvrtcLog("ptxas; error").found);
  EXPECT_TRUE(parsePtxasLog("Used registers bytes smem").empty());
  EXPECT_EQ(placeOfPtxLine(".loc", 3).file, "");
  EXPECT_EQ(placeOfPtxLine(".file 1 \"a\"\n.loc 1 7 2\nadd\n", 3).line, 7u);
}
