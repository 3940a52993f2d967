//===- JoinedTest.cpp - Quantizations in the kernel of their value --------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Rows that are made and then quantized in other blocks: one kernel of several
// stages where strips hold both (dialects/tile/Transforms/JoinBlocks.h), and
// several kernels where they do not. Either way every target gives the bits of
// the reference, as it does with a kernel for each operation; and how many
// kernels there are is said here.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/cpu/CpuFeatures.h"
#include "runtime/device/cuda/Nvrtc.h"
#include "tests/ops/LayerCheck.h"

#include <gmock/gmock.h>

using namespace quern;
using namespace quern::test;

namespace {

struct JoinedCase {
  const char *name;
  const char *text;
  std::vector<std::vector<int64_t>> sizes;
  size_t launches; ///< In each run.
  /// Words of the reason of the last kernel that is no product.
  const char *reason = "is at hand";
};

void PrintTo(const JoinedCase &row, std::ostream *out) { *out << row.name; }

const JoinedCase cases[] = {
    {"rms_groups",
     "layer t(x: f16[M, 1000], w: f32[1000]) -> i8[M, 1000] * f32[M, 1000/128] "
     "{\n  n = rmsnorm(x, w, eps = 1e-6) as f16\n"
     "  return quantize(n, i8 per group(128))\n}",
     {{0}, {1}, {7}, {33}},
     1},
    {"layer_zeros",
     "layer t(x: bf16[M, 200], w: f32[200], b: f32[200]) -> (u8[M, 200] - "
     "u8[M, 200/64]) * f16[M, 200/64] {\n"
     "  n = layernorm(x, w, b, eps = 1e-5) as f16\n"
     "  return quantize(n, (u8 - u8) per group(64) * f16)\n}",
     {{0}, {1}, {7}, {33}},
     1},
    {"softmax_result",
     "layer t(x: f32[B, M, 300]) -> (f8e4m3[B, M, 300] * f32[B, M, 300/128], "
     "f32[B, M, 300]) {\n  n = softmax(x)\n"
     "  return quantize(n, f8e4m3 per group(128)), n\n}",
     {{1, 1}, {3, 5}, {2, 0}},
     1},
    {"power_scales",
     "layer t(x: f32[M, 1100], w: f32[1100]) -> f8e5m2[M, 1100] * f32[M, "
     "1100/32] {\n  n = rmsnorm(x, w, eps = 1e-6)\n"
     "  return quantize(n * 3, f8e5m2 per group(32), scale_rounding = "
     "power_ceil)\n}",
     {{1}, {5}},
     1},
    {"any_width",
     "layer t(x: f16[M, K], w: f16[K]) -> (i8[M, K] - i8[M, K/50]) * f32[M, "
     "K/50] with K in 1..3000 {\n  n = rmsnorm(x, w, eps = 1e-6) as f16\n"
     "  return quantize(n, (i8 - i8) per group(50))\n}",
     {{1, 1}, {7, 64}, {3, 1030}, {0, 3}, {2, 50}, {4, 2999}},
     1},
    {"rows_less_than_their_parts",
     "layer t(x: f16[M, K], y: f16[M, H], w: f16[K - H]) -> i8[M, K-H] * "
     "f32[M, (K-H)/64] with M in 0..64, K in 512..1024, H in 0..512 {\n"
     "  n = rmsnorm(x[:, 0:K-H], w, eps = 1e-6) as f16\n"
     "  return quantize(n, i8 per group(64))\n}",
     {{5, 1024, 0}, {5, 700, 50}, {2, 512, 512}},
     1},
    {"wide_groups",
     "layer t(x: f16[M, 2100], w: f16[2100]) -> i8[M, 2100] * f32[M, 2100/600] "
     "{\n  n = rmsnorm(x, w, eps = 1e-6) as f16\n"
     "  return quantize(n, i8 per group(600))\n}",
     {{1}, {6}},
     1},
    {"group_to_token",
     "layer t(x: f16[M, 1000]) -> (q: i8[M, 1000] * f32[M, 1], g: u8[M, 1000] "
     "* f32[M, 1000/96]) {\n  g = quantize(relu(x), u8 per group(96))\n"
     "  y = dequantize(g) as f16\n  return quantize(y, i8 per token), g\n}",
     {{0}, {1}, {9}},
     1},
    {"group_to_group",
     "layer t(x: f32[M, 1000]) -> f8e4m3[M, 1000] * f32[M, 1000/96] {\n"
     "  y = dequantize(quantize(x, (u8 - u8) per group(24)))\n"
     "  return quantize(y, f8e4m3 per group(96))\n}",
     {{1}, {9}},
     1,
     "while a block of 1 x 96 is at hand"},
    {"token_to_group",
     "layer t(x: f16[M, 1000]) -> i8[M, 1000] * f16[M, 1000/64] {\n"
     "  y = dequantize(quantize(x, f8e5m2 per token)) as f16\n"
     "  return quantize(y, i8 per group(64) * f16)\n}",
     {{1}, {9}},
     1},
    {"rows_of_blocks",
     "layer t(x: f16[M, 50]) -> i8[M, 50] * f32[M/4, 1] {\n"
     "  y = dequantize(quantize(x, i8 per block(2, 7))) as f16\n"
     "  return quantize(y, i8 per tokens(4))\n}",
     {{1}, {4}, {9}, {0}},
     1,
     "while a block of 4 x all is at hand"},
    // A block of the second has less than one of the first's scales.
    {"scales_of_several_blocks",
     "layer t(x: f16[M, 1000]) -> i8[M, 1000] * f32[M, 1000/24] {\n"
     "  y = dequantize(quantize(x, u8 per group(96))) as f16\n"
     "  return quantize(y, i8 per group(24))\n}",
     {{0}, {1}, {9}},
     1,
     "while a block of 1 x 96 is at hand"},
    {"scales_of_several_rows",
     "layer t(x: f16[M, 200]) -> (i8[M, 200] - i8[M, 200/32]) * f32[M, 200/32] "
     "{\n  y = dequantize(quantize(x, f8e4m3 per tokens(4))) as f16\n"
     "  return quantize(y, (i8 - i8) per group(32))\n}",
     {{0}, {1}, {4}, {9}},
     1,
     "while a block of 4 x all is at hand"},
    {"block_to_block",
     "layer t(x: bf16[M, 100]) -> i8[M, 100] * f32[M/4, 100/24] {\n"
     "  y = dequantize(quantize(x, i8 per block(2, 8))) as bf16\n"
     "  return quantize(y, i8 per block(4, 24))\n}",
     {{1}, {4}, {11}},
     1,
     "while a block of 4 x 24 is at hand"},
    {"sum_norm_quantize",
     "layer t(x: f16[M, 512], r: f16[M, 512], w: f16[512]) -> (i8[M, 512] * "
     "f32[M, 4], f16[M, 512]) {\n  y = x + r\n"
     "  n = rmsnorm(y, w, eps = 1e-6)\n"
     "  return quantize(n, i8 per group(128)), y\n}",
     {{0}, {1}, {7}},
     1,
     "one operation: add"},
    {"two_quantizations",
     "layer t(x: f32[M, 300], w: f32[300]) -> (i8[M, 300] * f32[M, 300/128], "
     "f8e4m3[M, 300] * f32[M, 300/50], f16[M, 300]) {\n"
     "  n = rmsnorm(x, w, eps = 1e-6) as f16\n"
     "  return quantize(n, i8 per group(128)), quantize(n, f8e4m3 per "
     "group(50)), n\n}",
     {{1}, {7}},
     1},
    {"pieces",
     "layer t(x: f16[M, 2100], y: f16[M, 2100]) -> (i8[M, 2100] * f32[M, "
     "2100/64], f16[M, 2100]) {\n  z = gelu(x) + y as f16\n"
     "  return quantize(z, i8 per group(64)), z\n}",
     {{0}, {1}, {5}},
     1,
     "while a block of 1 x 1024 is at hand"},
    {"percentile",
     "layer t(x: f16[M, 130], w: f16[130]) -> i8[M, 130] * f32[M, 130/50] {\n"
     "  n = rmsnorm(x, w, eps = 1e-6) as f16\n"
     "  return quantize(n, i8 per group(50), statistic = percentile(95))\n}",
     {{1}, {5}},
     1},
    {"norm_linear",
     "layer t(x: f16[M, 256], w: f16[256], weight a: i8[48, 256] * f32[48, 1]) "
     "-> f16[M, 48] {\n  n = rmsnorm(x, w, eps = 1e-6) as f16\n"
     "  return quantize(n, i8 per group(64)) @ a.T as f16\n}",
     {{0}, {1}, {19}},
     2},
    // Apart, and why.
    {"pieces_cut_groups",
     "layer t(x: f16[M, 2100], y: f16[M, 2100]) -> (i8[M, 2100] * f32[M, "
     "2100/96], f16[M, 2100]) {\n  z = gelu(x) + y as f16\n"
     "  return quantize(z, i8 per group(96)), z\n}",
     {{1}, {5}},
     2,
     "blocks of 1 x 1024 and of 1 x 96 do not contain each other"},
    {"columns",
     "layer t(x: f16[M, 64], w: f16[64]) -> i8[64, M] * f32[64, M/8] {\n"
     "  n = rmsnorm(x, w, eps = 1e-6) as f16\n"
     "  return quantize(n.T, i8 per group(8))\n}",
     {{1}, {21}},
     2,
     "apart from what makes its value"},
    {"many_rows",
     "layer t(x: f16[M, 256], w: f16[256]) -> i8[M, 256] * f32[M/16, 256/64] "
     "{\n  n = rmsnorm(x, w, eps = 1e-6) as f16\n"
     "  return quantize(n, i8 per block(16, 64))\n}",
     {{1}, {21}},
     2,
     "blocks of 1 x all and of 16 x 64 do not contain each other"},
};

class Joined
    : public testing::TestWithParam<std::tuple<JoinedCase, const char *>> {};

std::string
nameOf(const testing::TestParamInfo<std::tuple<JoinedCase, const char *>> &i) {
  std::string text =
      fmt::format("{}_{}", std::get<0>(i.param).name, std::get<1>(i.param));
  for (char &c : text)
    if (!std::isalnum(static_cast<unsigned char>(c)))
      c = '_';
  return text;
}

/// In a run of these sizes.
size_t runLaunches(const CompileOutput &output,
                   const std::vector<int64_t> &sizes) {
  size_t count = 0;
  for (const LaunchDesc &launch : output.module.variants.front().launches)
    count += launch.phase == LaunchPhase::Run && launch.happens(sizes);
  return count;
}

} // namespace

TEST_P(Joined, AgreesWithReferenceInAsManyKernels) {
  const auto &[row, targetName] = GetParam();
  auto target = Target::parse(targetName);
  ASSERT_TRUE(target) << target.error().render();
  if (target->kind != Target::Kind::Cpu) {
    if (auto nvrtc = cuda::Nvrtc::get(); !nvrtc)
      GTEST_SKIP() << nvrtc.error().message;
  } else if (targetName == std::string("cpu:avx512-vnni") &&
             !cpu::hostHas("avx512vnni")) {
    GTEST_SKIP() << "this machine has no AVX-512 VNNI";
  }
  auto oracle = Oracle::create(row.text, "joined.qn");
  ASSERT_TRUE(oracle) << oracle.error().render();
  for (const char *fuse : {"all", "none"}) {
    SCOPED_TRACE(fuse);
    LayerRun how{targetName, fuse};
    auto compiled = compileFor(how, row.text, "joined.qn");
    ASSERT_TRUE(compiled) << row.text << "\n" << compiled.error().render();
    std::string reasons;
    for (const KernelDesc &kernel : compiled->module.variants[0].kernels)
      reasons += kernel.reason + "\n";
    if (fuse == std::string("all")) {
      for (const auto &sizes : row.sizes)
        EXPECT_EQ(runLaunches(*compiled, sizes), row.launches);
      EXPECT_THAT(reasons, testing::HasSubstr(row.reason));
    } else {
      EXPECT_GE(runLaunches(*compiled, row.sizes.back()), 2u);
      EXPECT_THAT(reasons, testing::Not(testing::HasSubstr("at hand")));
    }
    auto layer = loadFor(how, *compiled);
    ASSERT_TRUE(layer) << layer.error().render();
    for (size_t i = 0; i < row.sizes.size(); ++i)
      for (Corner corner : {Corner::None, Corner::Scattered, Corner::MixedRows,
                            Corner::Denormals})
        expectAgreement(*layer, *oracle, row.sizes[i], 40 + i, corner);
  }
}

INSTANTIATE_TEST_SUITE_P(Cpu, Joined,
                         testing::Combine(testing::ValuesIn(cases),
                                          testing::Values("cpu:avx512-vnni",
                                                          "cpu:avx2",
                                                          "cpu:generic")),
                         nameOf);
INSTANTIATE_TEST_SUITE_P(Sim, Joined,
                         testing::Combine(testing::ValuesIn(cases),
                                          testing::Values("sim:sm_80",
                                                          "sim:sm_90a")),
                         nameOf);

/// Rows of which a strip is kept by no thread, or thread block, stay apart, and
/// say so. Each kernel then shares them out as wide as it can.
TEST(JoinedLimits, LongRows) {
  auto rowsOf = [](int64_t columns) {
    return fmt::format(
        "layer t(x: f16[M, {0}], w: f16[{0}]) -> i8[M, {0}] * f32[M, {0}/125] "
        "{{\n  n = rmsnorm(x, w, eps = 1e-6) as f16\n"
        "  return quantize(n, i8 per group(125))\n}}",
        columns);
  };
  struct {
    const char *target;
    int64_t kept;
    const char *has;
  } const rows[] = {
      {"cpu", 262144, "a thread's scratch has 524288"},
      {"cuda:sm_90a", 20480, "shared memory has 40960"},
  };
  for (const auto &[target, kept, has] : rows) {
    SCOPED_TRACE(target);
    if (auto nvrtc = cuda::Nvrtc::get(); target[1] == 'u' && !nvrtc)
      GTEST_SKIP() << nvrtc.error().message;
    auto joined = compileFor({target, "all"}, rowsOf(kept), "long.qn");
    ASSERT_TRUE(joined) << joined.error().render();
    EXPECT_EQ(runLaunches(*joined, {3}), 1u);
    auto apart = compileFor({target, "all"}, rowsOf(kept + 8), "long.qn");
    ASSERT_TRUE(apart) << apart.error().render();
    EXPECT_EQ(runLaunches(*apart, {3}), 2u);
    EXPECT_THAT(apart->module.variants[0].kernels[1].reason,
                testing::HasSubstr(fmt::format(
                    "takes {} bytes for a row, and {}", 2 * (kept + 8), has)));
  }
}

/// Rows of any length are of any number of bytes.
TEST(JoinedLimits, RowsWithoutALimit) {
  auto compiled = compileFor(
      {"cpu", "all"},
      "layer t(x: f16[M, K], w: f16[K]) -> i8[M, K] * f32[M, K/64] {\n"
      "  n = rmsnorm(x, w, eps = 1e-6) as f16\n"
      "  return quantize(n, i8 per group(64))\n}",
      "any.qn");
  ASSERT_TRUE(compiled) << compiled.error().render();
  EXPECT_EQ(runLaunches(*compiled, {3, 100}), 2u);
  EXPECT_THAT(compiled->module.variants[0].kernels[1].reason,
              testing::HasSubstr("bytes for a row, and a thread's scratch"));
}
