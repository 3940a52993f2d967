//===- PlanTest.cpp - What the example layers are made into ---------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Promises about plans and code rather than about numbers: how many kernels a
// layer takes, fused and unfused, and which instructions its products use.
//
//===----------------------------------------------------------------------===//

#include "compiler/pipelines/Compiler.h"
#include "runtime/device/cuda/Nvrtc.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <array>
#include <fstream>
#include <regex>
#include <sstream>

using namespace quern;

/// strictExp in PTX: the factor it begins with, and its fmas.
static constexpr const char *log2OfE = "0f3FB8AA3B";
static constexpr size_t fmasOfExp = 8;

static std::string readExample(const std::string &name) {
  std::ifstream file(std::string(QUERN_SOURCE_DIR) + "/examples/" + name);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

static Result<CompileOutput> compileExample(const std::string &name,
                                            const std::string &target,
                                            const std::string &fuse,
                                            std::vector<Stage> wanted = {}) {
  std::string source = readExample(name);
  CompileRequest request;
  request.source = source;
  request.name = name;
  request.target = *Target::parse(target);
  request.settings = {"fuse=" + fuse};
  request.wanted = std::move(wanted);
  return compileLayer(request);
}

/// In a run with so many rows, the layer's only symbol.
static size_t runLaunches(const CompileOutput &output, int64_t rows) {
  size_t count = 0;
  for (const LaunchDesc &launch : output.module.variants.front().launches)
    count +=
        launch.phase == LaunchPhase::Run && launch.happens(std::array{rows});
  return count;
}

TEST(Plan, SwiGluTakesFourKernelsFusedAndSevenOrMoreUnfused) {
  auto fused = compileExample("swiglu_mlp.qn", "cpu", "all");
  ASSERT_TRUE(fused) << fused.error().render();
  EXPECT_LE(runLaunches(*fused, 128), 4u);
  auto unfused = compileExample("swiglu_mlp.qn", "cpu", "none");
  ASSERT_TRUE(unfused) << unfused.error().render();
  EXPECT_GE(runLaunches(*unfused, 128), 7u);
}

/// A norm before a dynamic product takes no kernel more than before a static
/// one, whatever the granularity and wherever the norm's own value comes from.
TEST(Plan, NormsTakeTheQuantizationOfTheirValue) {
  const char *linear =
      R"(layer l(x: f16[M, 4096], w: f16[4096], {0}weight a: i8[4096, 4096] * f32[4096, 1]) -> f16[M, 4096] {{
  n = rmsnorm(x, w, eps = 1e-6) as f16
  return quantize(n, {1}) @ a.T as f16
}})";
  const char *residual =
      R"(layer l(x: f16[M, 512], r: f16[M, 512], w: f16[512], {0}weight o: i8[512, 512] * f32[512, 1], weight a: i8[4096, 512] * f32[4096, 1]) -> (f16[M, 4096], f16[M, 512]) {{
  y = (quantize(x, i8 per token) @ o.T) + r as f16
  n = rmsnorm(y, w, eps = 1e-6) as f16
  return quantize(n, {1}) @ a.T as f16, y
}})";
  for (const char *target : {"cpu", "cuda:sm_90a"}) {
    if (auto nvrtc = cuda::Nvrtc::get(); !nvrtc && target[1] == 'u')
      continue;
    for (const char *layer : {linear, residual}) {
      auto launches = [&](const char *scale, const char *format) {
        std::string text = fmt::format(fmt::runtime(layer), scale, format);
        CompileRequest request;
        request.source = text;
        request.target = *Target::parse(target);
        auto output = compileLayer(request);
        EXPECT_TRUE(output) << text << output.error().render();
        return output ? runLaunches(*output, 128) : 0;
      };
      size_t wanted = launches("s: f32[1, 1], ", "i8 per tensor, scale = s");
      EXPECT_EQ(wanted, layer == linear ? 2u : 4u) << target;
      for (const char *format : {"i8 per token", "i8 per group(128)",
                                 "i8 per group(32)", "(u8 - u8) per group(96)"})
        EXPECT_EQ(launches("", format), wanted) << target << ", " << format;
    }
  }
}

TEST(Plan, EveryKernelSaysWhyAndHow) {
  auto output = compileExample("swiglu_mlp.qn", "cpu", "all");
  ASSERT_TRUE(output) << output.error().render();
  for (const KernelDesc &kernel : output->module.variants.front().kernels) {
    EXPECT_FALSE(kernel.reason.empty()) << kernel.name;
    EXPECT_FALSE(kernel.schedule.empty()) << kernel.name;
  }
  // Three products, two operands each.
  EXPECT_EQ(output->placements.size(), 6u);
}

TEST(Plan, MiniLmMultipliesQuantizedOperandsOnly) {
  auto output = compileExample("minilm/ffn.qn", "cpu", "all", {Stage::Quern});
  ASSERT_TRUE(output) << output.error().render();
  std::istringstream text(output->texts.front().text);
  unsigned products = 0;
  for (std::string line; std::getline(text, line);) {
    size_t at = line.find("quern.matmul");
    if (at == std::string::npos)
      continue;
    ++products;
    std::string types = line.substr(line.find(" : ", at));
    std::regex quantized("qtensor<");
    EXPECT_EQ(std::distance(
                  std::sregex_iterator(types.begin(), types.end(), quantized),
                  std::sregex_iterator()),
              2)
        << line;
  }
  EXPECT_EQ(products, 2u);
}

TEST(Plan, CudaProductsUseTensorCoresAndStrictArithmetic) {
  if (auto nvrtc = cuda::Nvrtc::get(); !nvrtc)
    GTEST_SKIP() << nvrtc.error().message;
  for (const char *target : {"cuda:sm_80", "cuda:sm_120a"}) {
    SCOPED_TRACE(target);
    auto output = compileExample("swiglu_mlp.qn", target, "all", {Stage::Ptx});
    ASSERT_TRUE(output) << output.error().render();
    for (int64_t rows : {1, 16, 17, 64, 65, 2048})
      EXPECT_EQ(runLaunches(*output, rows), 3u) << rows;
    const std::string &ptx = output->texts.front().text;
    // One piece of text for each entry point.
    unsigned products = 0;
    for (size_t at = ptx.find(".entry "); at != std::string::npos;) {
      size_t next = ptx.find(".entry ", at + 1);
      std::string kernel = ptx.substr(at, next - at);
      std::string name = kernel.substr(7, kernel.find('(') - 7);
      if (name.find("product") != std::string::npos) {
        ++products;
        for (const char *opcode : {"mma.sync", "ldmatrix", "cp.async"})
          EXPECT_NE(kernel.find(opcode), std::string::npos)
              << name << " has no " << opcode;
      }
      EXPECT_EQ(kernel.find(".approx"), std::string::npos) << name;
      EXPECT_EQ(kernel.find(".ftz"), std::string::npos) << name;
      // A contracted multiply-add would be a bare mad or an fma that the
      // source does not ask for; the source asks only in exp.
      EXPECT_EQ(kernel.find("mad.f32"), std::string::npos) << name;
      auto count = [&](const std::string &word) {
        size_t number = 0;
        for (size_t from = 0;
             (from = kernel.find(word, from)) != std::string::npos;
             from += word.size())
          ++number;
        return number;
      };
      // Each exp begins with the one multiplication by log2(e), and asks for
      // the same number of fmas.
      size_t exps = count(log2OfE);
      EXPECT_EQ(exps > 0, name.find("gated") != std::string::npos) << name;
      EXPECT_EQ(count("fma.rn.f32"), exps * fmasOfExp) << name;
      EXPECT_EQ(count("fma."), count("fma.rn.f32")) << name;
      at = next;
    }
    EXPECT_EQ(products, 6u) << "two, for each of three ranges of M";
    for (const KernelDesc &kernel : output->module.variants.front().kernels)
      EXPECT_EQ(kernel.spillBytes, 0u) << kernel.name;
  }
}
