//===- StageTest.cpp - Products that quantize what they make --------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Every placement of a quantizer in the kernel of the product before it, at
// ragged sizes and under several schedules: the same bits as the kernels apart,
// no fault of any kind, and the traffic that was promised.
//
//===----------------------------------------------------------------------===//

#include "tests/kernels/FusedCase.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>

using namespace quern;
using namespace quern::test;

namespace {

/// h = x @ w.T, made as `type`, then quantized to `to`.
struct Case {
  std::string to = "i8 per token", type = "f16";
  int64_t N = 192, K = 64;
  std::string x = "i8[M, K] per token", w = "i8[N, K] per channel";
  bool gated = false;
  std::string range = "0..4096"; ///< Of M.

  std::string text() const {
    auto sized = [&](std::string shape) {
      for (auto [name, value] : {std::pair("K", K), {"N", N}})
        for (size_t at; (at = shape.find(name)) != std::string::npos;)
          shape.replace(at, 1, fmt::format("{}", value));
      return shape;
    };
    std::string elements = to.substr(0, to.find(' '));
    std::string result = to;
    size_t end = to[0] == '(' ? to.find(')') + 1 : to.find(' ');
    result = to[0] == '(' ? fmt::format("({0}[M, {1}] - {0}){2}",
                                        to.substr(1, 2), N, to.substr(end))
                          : fmt::format("{}[M, {}]{}", to.substr(0, end), N,
                                        to.substr(end));
    std::string h = gated ? fmt::format("silu(x @ w.T) * (x @ v.T) as {}", type)
                          : fmt::format("x @ w.T as {}", type);
    return fmt::format("layer fused(x: {}, weight w: {}{}) -> {}\n"
                       "    with M in {} {{\n"
                       "  h = {}\n  return quantize(h, {})\n}}\n",
                       sized(x), sized(w),
                       gated ? ", weight v: " + sized(w) : "", result, range, h,
                       to);
  }
};

} // namespace

/// Compiles both forms and runs them at several M, seeds and, for kernels with
/// a queue, numbers of blocks.
static void check(const Case &c, const std::string &placement,
                  const std::string &arch, const std::vector<int64_t> &rows,
                  bool keep = false) {
  FuseRequest request;
  request.layer = c.text();
  request.arch = arch;
  request.placement = placement;
  request.keepInMemory = keep;
  Result<FusedPair> pair = compileFused(request);
  SCOPED_TRACE(fmt::format("{} on {}: {}", placement, arch, request.layer));
  ASSERT_TRUE(pair) << pair.error().render();
  if (const char *f = std::getenv("QUERN_PTX"))
    for (auto &c : pair->fused.code)
      if (c.kind == CodeKind::Ptx) {
        FILE *o = fopen(f, "wb");
        fwrite(c.bytes.data(), 1, c.bytes.size(), o);
        fclose(o);
      }
  if (std::getenv("QUERN_SHOW"))
    for (auto *v : {&pair->fused, &pair->unfused})
      for (auto &k : v->kernels)
        fmt::print("{} {} regs {} spills {}\n", arch, k.name, k.registers,
                   k.spillBytes);
  for (const KernelDesc &kernel : pair->fused.kernels)
    EXPECT_EQ(kernel.spillBytes, 0u) << kernel.schedule;
  EXPECT_EQ(pair->fused.kernels.size() + 1, pair->unfused.kernels.size());
  for (int64_t M : rows) {
    Buffers want = drawBuffers(pair->unfused, {M}, 7, true);
    Result<void> done = runOnSimulator(pair->unfused, {M}, want, 1);
    ASSERT_TRUE(done) << done.error().render();
    for (auto [seed, blocks] :
         {std::pair<uint64_t, unsigned>{1, 0}, {2, 0}, {3, 3}}) {
      if (placement == "grid")
        blocks = 0;
      Buffers got = drawBuffers(pair->fused, {M}, 7, true);
      done = runOnSimulator(pair->fused, {M}, got, seed, nullptr, blocks);
      ASSERT_TRUE(done) << "M=" << M << "\n"
                        << done.error().render() << pair->source;
      std::string difference = compareOutputs(pair->fused, got, want);
      ASSERT_TRUE(difference.empty())
          << "M=" << M << " seed " << seed << ": " << difference << "\n"
          << pair->source;
    }
  }
}

TEST(Stages, GroupsWithinATile) {
  QUERN_NEEDS_NVRTC();
  check({.to = "i8 per group(64)"}, "tile", "sm_80", {1, 37, 130});
}

TEST(Stages, ShortGroupsWithinAWarp) {
  QUERN_NEEDS_NVRTC();
  check({.to = "i8 per group(32)"}, "register", "sm_80", {1, 37, 130});
  check({.to = "i8 per group(16)", .N = 72}, "register", "sm_89", {5, 37});
}

TEST(Stages, RowsOfOneTile) {
  QUERN_NEEDS_NVRTC();
  check({.N = 120}, "tile", "sm_80", {1, 37, 130});
  check({.N = 200, .range = "0..16"}, "tile", "sm_80", {1, 16});
}

TEST(Stages, SquareBlocks) {
  QUERN_NEEDS_NVRTC();
  check({.to = "f8e4m3 per block(128, 128)", .N = 200}, "tile", "sm_80",
        {1, 37, 130});
  check({.to = "i8 per block(4, 16)"}, "tile", "sm_90a", {1, 37, 130});
}

TEST(Stages, RowsAcrossTheGrid) {
  QUERN_NEEDS_NVRTC();
  check({.N = 300}, "grid", "sm_80", {1, 37, 130, 300});
}

TEST(Stages, RowsAcrossAPanel) {
  QUERN_NEEDS_NVRTC();
  check({.N = 300}, "panel", "sm_80", {1, 37, 130, 300});
  check({.N = 300}, "panel", "sm_80", {37, 300}, true);
}

TEST(Stages, RowsAcrossACluster) {
  QUERN_NEEDS_NVRTC();
  check({.N = 300}, "cluster", "sm_90a", {1, 37, 130, 300});
}

TEST(Stages, GroupsThatTilesDoNotHold) {
  QUERN_NEEDS_NVRTC();
  for (const char *placement : {"grid", "panel"})
    check({.to = "i8 per group(96)", .N = 300}, placement, "sm_80",
          {1, 37, 130});
  check({.to = "f8e4m3 per block(4, 300)", .N = 500}, "grid", "sm_89",
        {1, 37, 130});
}

TEST(Stages, GatedProducts) {
  QUERN_NEEDS_NVRTC();
  check({.N = 200, .gated = true}, "grid", "sm_80", {1, 37, 130});
  check({.to = "i8 per group(128)", .N = 256, .gated = true}, "tile", "sm_80",
        {1, 37, 130});
  check({.N = 200, .gated = true}, "cluster", "sm_90a", {37});
  check({.N = 200, .gated = true}, "panel", "sm_120a", {37, 130});
  check({.N = 200, .gated = true, .range = "0..16"}, "grid", "sm_120a", {16});
}

TEST(Stages, EveryTypeOfValueAndCode) {
  QUERN_NEEDS_NVRTC();
  for (const char *type : {"f16", "bf16", "f32"})
    for (const char *to : {"i8", "u8", "f8e4m3", "f8e5m2", "(u8 - u8)"}) {
      Case c;
      c.type = type, c.N = 144;
      c.to = fmt::format("{} per token", to);
      check(c, "grid", "sm_89", {37});
      c.to = fmt::format("{} per group(16)", to);
      check(c, "register", "sm_80", {37});
    }
}
