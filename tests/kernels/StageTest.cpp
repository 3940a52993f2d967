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

#include "compiler/emit/cuda/StageFit.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/Parser/Parser.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <regex>

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
  std::string whole = "";        ///< The layer's text, if not of this form.

  std::string text() const {
    if (!whole.empty())
      return whole;
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
                  bool keep = false, unsigned count = 1) {
  FuseRequest request;
  request.count = count;
  request.layer = c.text();
  request.arch = arch;
  request.placement = placement;
  request.keepInMemory = keep;
  Result<FusedPair> pair = compileFused(request);
  SCOPED_TRACE(fmt::format("{} on {}: {}", placement, arch, request.layer));
  ASSERT_TRUE(pair) << pair.error().render();
  for (const KernelDesc &kernel : pair->fused.kernels)
    EXPECT_EQ(kernel.spillBytes, 0u) << kernel.schedule;
  EXPECT_EQ(pair->fused.kernels.size() + count, pair->unfused.kernels.size());
  for (int64_t M : rows) {
    Buffers want = drawBuffers(pair->unfused, {M}, 7, true);
    Result<void> done = runOnSimulator(pair->unfused, {M}, want, 1);
    ASSERT_TRUE(done) << done.error().render();
    for (auto [seed, blocks] :
         {std::pair<uint64_t, unsigned>{1, 0}, {2, 0}, {3, 3}}) {
      // Few blocks take many tiles each; a panel has at most four here, which
      // have to be resident together.
      if (placement == "grid" && blocks)
        blocks = 4;
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
  check({.N = 300}, "grid", "sm_80", {0, 1, 37, 130, 300});
}

TEST(Stages, RowsAcrossAPanel) {
  QUERN_NEEDS_NVRTC();
  check({.N = 300}, "panel", "sm_80", {0, 1, 37, 130, 300});
  check({.N = 300}, "panel", "sm_80", {37, 300}, true);
}

TEST(Stages, RowsAcrossACluster) {
  QUERN_NEEDS_NVRTC();
  check({.N = 300}, "cluster", "sm_90a", {0, 1, 37, 130, 300});
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

TEST(Stages, SplitSumsAndZeroPoints) {
  QUERN_NEEDS_NVRTC();
  // Partial sums, with corrections and without, and sums that are promoted.
  check({.N = 200, .K = 128, .w = "i8[N, K] per group(32)"}, "grid", "sm_80",
        {37, 130});
  check({.to = "i8 per group(32)", .K = 128, .w = "i8[N, K] per group(64)"},
        "register", "sm_90a", {37});
  check({.N = 200, .K = 128, .x = "(u8[M, K] - u8[M, 1]) * f32[M, 1]"}, "panel",
        "sm_80", {37});
  check({.to = "(u8 - u8) per group(64)",
         .K = 128,
         .x = "(u8[M, K] - u8[M, 1]) * f32[M, 1]",
         .w = "(u8[N, K] - u8[N, K/32]) * f32[N, K/32]"},
        "tile", "sm_80", {37});
  check({.to = "f8e4m3 per token",
         .N = 200,
         .K = 384,
         .x = "f8e4m3[M, K] per group(128)",
         .w = "f8e4m3[N, K] per block(128, 128)"},
        "grid", "sm_89", {37});
  check({.to = "f8e4m3 per group(128)",
         .N = 256,
         .K = 384,
         .x = "f8e4m3[M, K] per token",
         .w = "f8e4m3[N, K] per channel"},
        "tile", "sm_120a", {37});
}

TEST(Stages, RowsThatAreShorterThanABlock) {
  QUERN_NEEDS_NVRTC();
  check({.to = "i8 per group(32)", .N = 24}, "tile", "sm_80", {0, 37});
  check({.to = "i8 per group(128)", .N = 40}, "tile", "sm_80", {0, 37});
  check({.to = "i8 per group(128)", .N = 200}, "grid", "sm_80", {0, 37});
}

TEST(Stages, OrderedSumsWithinATile) {
  QUERN_NEEDS_NVRTC();
  // A norm and a quantizer: an ordered sum, then a maximum that depends on it.
  for (int N : {120, 200})
    check(
        {.whole = fmt::format(
             "layer fused(x: i8[M, 64] per token, weight w: i8[{0}, 64] per "
             "channel, g: f32[{0}]) -> i8[M, {0}] per token\n"
             "    with M in 1..16 {{\n  h = x @ w.T as f16\n"
             "  return quantize(rmsnorm(h, g, eps = 1e-6), i8 per token)\n}}\n",
             N)},
        "tile", "sm_80", {1, 16});
}

TEST(Stages, BatchedProducts) {
  QUERN_NEEDS_NVRTC();
  for (auto [placement, to] : {std::pair("tile", "i8 per group(32)"),
                               {"grid", "i8 per token"},
                               {"panel", "i8 per token"},
                               {"cluster", "i8 per token"}})
    check({.whole = fmt::format(
               "layer fused(x: f16[3, M, 64], w: f16[3, 160, 64]) -> "
               "i8[3, M, 160]{0}\n    with M in 1..64 {{\n"
               "  h = x @ w.T as f16\n  return quantize(h, i8{0})\n}}\n",
               std::string(to).substr(2))},
          placement, placement == std::string("cluster") ? "sm_90a" : "sm_80",
          {1, 37});
}

TEST(Stages, ValuesThatAreKeptToo) {
  QUERN_NEEDS_NVRTC();
  for (const char *placement : {"tile", "grid", "panel"})
    check({.whole =
               "layer fused(x: i8[M, 64] per token, weight w: i8[128, 64] "
               "per channel) -> (h: f16[M, 128], q: i8[M, 128] per token)\n"
               "    with M in 1..64 {\n  h = x @ w.T as f16\n"
               "  return h, quantize(h, i8 per token)\n}\n"},
          placement, "sm_80", {1, 37});
}

TEST(Stages, SpillNothingOnAnyArchitecture) {
  QUERN_NEEDS_NVRTC();
  for (const char *arch : {"sm_80", "sm_89", "sm_90a", "sm_100a", "sm_120a"})
    for (auto [placement, to] : {std::pair("register", "i8 per group(32)"),
                                 {"tile", "f8e4m3 per group(128)"},
                                 {"grid", "i8 per token"},
                                 {"panel", "f8e4m3 per token"},
                                 {"cluster", "i8 per token"}})
      for (bool gated : {false, true}) {
        if (placement == std::string("cluster") && arch[3] == '8')
          continue;
        Case c{.to = to, .N = 512, .K = 512, .gated = gated};
        FuseRequest request{
            .layer = c.text(), .arch = arch, .placement = placement};
        request.alone = true;
        Result<FusedPair> pair = compileFused(request);
        ASSERT_TRUE(pair) << pair.error().render();
        for (const KernelDesc &kernel : pair->fused.kernels)
          EXPECT_EQ(kernel.spillBytes, 0u)
              << arch << ": " << kernel.schedule << ", " << kernel.registers
              << " registers";
      }
}

//===----------------------------------------------------------------------===//
// Traffic
//===----------------------------------------------------------------------===//

/// Sectors of a layer, fused or as it is.
static uint64_t sectorsOf(const VariantDesc &variant, int64_t M) {
  Buffers buffers = drawBuffers(variant, {M}, 3);
  sim::Counters counters;
  Result<void> done = runOnSimulator(variant, {M}, buffers, 1, &counters);
  EXPECT_TRUE(done) << done.error().render();
  return counters.globalSectors;
}

TEST(StageCost, DynamicScalesCostWhatStaticOnesDo) {
  QUERN_NEEDS_NVRTC();
  constexpr int64_t M = 128, K = 2048;
  struct Row {
    std::string placement, to, arch;
    int64_t N;
  };
  for (const Row &row : {Row{"register", "i8 per group(32)", "sm_80", 128},
                         Row{"tile", "i8 per group(64)", "sm_80", 128},
                         Row{"tile", "i8 per token", "sm_80", 128},
                         Row{"tile", "i8 per block(128, 128)", "sm_80", 128},
                         Row{"cluster", "i8 per token", "sm_90a", 512},
                         Row{"grid", "i8 per token", "sm_80", 512},
                         Row{"panel", "i8 per token", "sm_80", 512}}) {
    Case dynamic{.to = row.to, .N = row.N, .K = K};
    FuseRequest request{
        .layer = dynamic.text(), .arch = row.arch, .placement = row.placement};
    Result<FusedPair> pair = compileFused(request);
    ASSERT_TRUE(pair) << pair.error().render();
    EXPECT_EQ(pair->fused.launches.size(), 1u);
    FuseRequest fixed = request;
    fixed.layer = fmt::format(
        "layer fused(x: i8[M, {1}] per token, weight w: i8[{0}, {1}] per "
        "channel, s: f32[1, 1]) -> i8[M, {0}] per tensor\n    with M in "
        "0..4096 {{\n  h = x @ w.T as f16\n"
        "  return quantize(h, i8 per tensor, scale = s)\n}}\n",
        row.N, K);
    fixed.count = 0;
    Result<FusedPair> statics = compileFused(fixed);
    ASSERT_TRUE(statics) << statics.error().render();
    uint64_t fused = sectorsOf(pair->fused, M);
    uint64_t unfused = sectorsOf(pair->unfused, M);
    uint64_t least = 0;
    for (const LaunchDesc &launch : statics->unfused.launches)
      least += launch.phase == LaunchPhase::Run;
    EXPECT_LE(least, 2u) << "the product, and a copy of the scale";
    least = sectorsOf(statics->unfused, M);
    uint64_t tiles = (row.N + 127) / 128;
    // A word per row and tile; of a panel's value, two ways.
    uint64_t extra = 0;
    if (row.placement == "grid" || row.placement == "panel")
      extra = tiles * M * 4 / 32;
    if (row.placement == "panel")
      extra += M * row.N * 2 * 2 / 32;
    RecordProperty(
        row.placement + " " + row.to,
        fmt::format("{} static, {} fused, {} apart", least, fused, unfused));
    fmt::print("{:9} {:24} {} sectors static, {} fused ({:.4f}), {} apart\n",
               row.placement, row.to, least, fused, double(fused) / least,
               unfused);
    EXPECT_LE(fused, static_cast<uint64_t>(1.02 * least) + extra)
        << row.placement << " " << row.to;
    if (row.placement != "panel")
      EXPECT_LT(fused, unfused);
  }
}

//===----------------------------------------------------------------------===//
// Refusals
//===----------------------------------------------------------------------===//

TEST(StageRefusals, SayWhy) {
  QUERN_NEEDS_NVRTC();
  auto whyNot = [](const Case &c, const std::string &placement,
                   const std::string &arch) {
    FuseRequest request{
        .layer = c.text(), .arch = arch, .placement = placement};
    Result<FusedPair> pair = compileFused(request);
    if (pair)
      return std::string("it is accepted");
    EXPECT_EQ(pair.error().code, Errc::Unsupported) << pair.error().render();
    return pair.error().message;
  };
  EXPECT_EQ(
      whyNot({.to = "i8 per group(64)"}, "register", "sm_80"),
      "register: blocks are not one row and 1, 2, 4, 8, 16 or 32 columns, "
      "which neighbouring threads hold");
  EXPECT_EQ(whyNot({.N = 300}, "tile", "sm_80"),
            "tile: no tile has all 300 columns: a row of 300 is 3 tiles of 128 "
            "columns, and the widest tile has 256");
  EXPECT_EQ(whyNot({.to = "i8 per group(96)", .N = 300}, "tile", "sm_80"),
            "tile: no tile has a multiple of 96 columns");
  EXPECT_EQ(whyNot({.N = 300}, "cluster", "sm_80"),
            "cluster: sm_80 has no clusters, sm_90 has");
  EXPECT_EQ(
      whyNot({.N = 4096}, "cluster", "sm_90a"),
      "cluster: no tile has the 4096 columns in at most 8 tiles: a row is "
      "32 tiles of 128 columns, 16 of 256, the widest, and a cluster "
      "holds 8");
  EXPECT_EQ(whyNot({.to = "i8 per group(64)"}, "cluster", "sm_90a"),
            "cluster: clusters combine reductions over whole rows only");
  EXPECT_EQ(whyNot({.N = 128 * 217}, "grid", "sm_80"),
            "grid: the 217 tiles of a row panel are not resident together: "
            "sm_80 holds 216");
  EXPECT_EQ(whyNot({.N = 300}, "consumer", "sm_80"),
            "consumer: not available in a product's kernel on CUDA");
  EXPECT_EQ(whyNot({.to = "i8 per block(128, 128)", .N = 256, .gated = true},
                   "tile", "sm_80"),
            "tile: a tile of a multiple of 128 rows and a multiple of 128 "
            "columns has more sums (2 per element) than the registers of a "
            "thread block hold");
  std::string norm =
      "layer fused(x: i8[M, 64] per token, weight w: i8[300, 64] per channel, "
      "g: f32[300]) -> i8[M, 300] per token\n    with M in 1..64 {\n"
      "  h = x @ w.T as f16\n"
      "  return quantize(rmsnorm(h, g, eps = 1e-6), i8 per token)\n}\n";
  EXPECT_EQ(whyNot({.whole = norm}, "grid", "sm_80"),
            "grid: an f32 sum has one written order and cannot be shared "
            "between tiles");
}

/// Rows of another tensor are no share of what a tile holds.
TEST(StageRefusals, LoopsOverOtherDataAreNotSharedOut) {
  const char *text = R"(
!h = !tile.buffer<() -> (4, 512), f16>
!c = !tile.buffer<() -> (4, 64), i8>
!w = !tile.buffer<() -> (512, 64), i8>
!o = !tile.buffer<() -> (4, 96), f32>
!s = !tile.buffer<() -> (4), i32>
tile.kernel @k attributes {symbols = [], writes = array<i1: false, false, true, true>, numerics_class = 0 : i32, reason = "r", placement = PLACE : i32} (%c: !c, %w: !w, %o: !o, %s: !s) {
  %h = tile.local : !h
  tile.contract {extents = affine_map<() -> (4, 512, 64)>, num_batch = 0 : i64, num_lhs = 1 : i64, terms = array<i64: 0, 0>} epilogue (%m: index, %n: index, %acc: i32) {
    %0 = arith.sitofp %acc : i32 to f32
    %1 = arith.truncf %0 : f32 to f16
    tile.store %1 to %h at affine_map<(d0, d1) -> (d0, d1)> (%m, %n) : f16, !h
    tile.yield
  } operand (%m: index, %k: index) {
    %0 = tile.load %c at affine_map<(d0, d1) -> (d0, d1)> (%m, %k) : !c -> i8
    tile.yield %0 : i8
  } operand (%n: index, %k: index) {
    %0 = tile.load %w at affine_map<(d0, d1) -> (d0, d1)> (%n, %k) : !w -> i8
    tile.yield %0 : i8
  }
  tile.blocks affine_map<() -> (4)> (%i: index) {
    %0 = tile.reduce umax () box affine_map<() -> (512)> (%j: index) {
      %1 = tile.load %h at affine_map<(d0, d1) -> (d0, d1)> (%i, %j) : !h -> f16
      %2 = arith.extf %1 : f16 to f32
      %3 = arith.bitcast %2 : f32 to i32
      tile.yield %3 : i32
    } : i32
    tile.store %0 to %s at affine_map<(d0) -> (d0)> (%i) : i32, !s
    tile.map () box affine_map<() -> (96)> (%j: index) {
      %1 = arith.constant 1.0 : f32
      tile.store %1 to %o at affine_map<(d0, d1) -> (d0, d1)> (%i, %j) : f32, !o
      tile.yield
    }
  }
}
)";
  mlir::MLIRContext context(mlir::MLIRContext::Threading::DISABLED);
  context.loadDialect<tile::TileDialect>();
  auto target = emit::CudaTarget::parse("sm_80");
  ASSERT_TRUE(target);
  for (const char *place : {"3", "4"}) { // grid, panel
    std::string source = text;
    source.replace(source.find("PLACE"), 5, place);
    auto module = mlir::parseSourceString<mlir::ModuleOp>(source, &context);
    ASSERT_TRUE(module);
    auto fit =
        emit::fitKernel(*module->getOps<tile::KernelOp>().begin(), *target);
    ASSERT_FALSE(fit) << place;
    EXPECT_NE(fit.error().message.find("also loops over other data"),
              std::string::npos)
        << fit.error().render();
  }
}

//===----------------------------------------------------------------------===//
// Planted faults
//===----------------------------------------------------------------------===//

/// Whether a fused kernel edited in PTX is caught, by a report of the
/// simulator or by a wrong value, under one of a few schedules.
static bool isCaught(const std::string &placement, const std::string &arch,
                     const std::string &to, const std::string &from,
                     const std::string &by) {
  Case c{.to = to, .N = 300};
  FuseRequest request{.layer = c.text(), .arch = arch, .placement = placement};
  Result<FusedPair> pair = compileFused(request);
  if (!pair) {
    ADD_FAILURE() << pair.error().render();
    return false;
  }
  for (CodeDesc &code : pair->fused.code) {
    if (code.kind != CodeKind::Ptx)
      continue;
    std::string text(reinterpret_cast<const char *>(code.bytes.data()),
                     code.bytes.size());
    std::string edited = std::regex_replace(
        text, std::regex(from), by, std::regex_constants::format_first_only);
    if (edited == text && from != by) {
      ADD_FAILURE() << "nothing to edit: " << from;
      return false;
    }
    code.bytes.resize(edited.size());
    std::memcpy(code.bytes.data(), edited.data(), edited.size());
  }
  Buffers want = drawBuffers(pair->unfused, {200}, 7);
  EXPECT_TRUE(runOnSimulator(pair->unfused, {200}, want, 1));
  for (uint64_t seed = 1; seed <= 6; ++seed) {
    Buffers got = drawBuffers(pair->fused, {200}, 7);
    if (!runOnSimulator(pair->fused, {200}, got, seed) ||
        !compareOutputs(pair->fused, got, want).empty())
      return true;
  }
  return false;
}

TEST(StageFaults, AreCaught) {
  QUERN_NEEDS_NVRTC();
  std::string wait = R"(ld\.acquire\.gpu\.global\.u32 (%r\d+), \[%rd\d+\];)";
  // Nobody waits.
  EXPECT_TRUE(
      isCaught("grid", "sm_80", "i8 per token", wait, "mov.u32 $1, 99;"));
  EXPECT_TRUE(
      isCaught("panel", "sm_80", "i8 per token", wait, "mov.u32 $1, 99;"));
  // Publication without its fence, and reading without acquiring.
  EXPECT_TRUE(isCaught("panel", "sm_80", "i8 per token",
                       R"(@first fence\.acq_rel\.gpu;)", ""));
  EXPECT_TRUE(isCaught("panel", "sm_80", "i8 per token", "ld\\.acquire\\.gpu",
                       "ld.relaxed.gpu"));
  // A tile that keeps its part to itself.
  EXPECT_TRUE(isCaught("grid", "sm_80", "i8 per token",
                       R"(red\.relaxed\.gpu\.global\.max)",
                       "red.relaxed.gpu.global.min"));
  // A cluster that does not wait.
  EXPECT_TRUE(isCaught("cluster", "sm_90a", "i8 per token",
                       R"(barrier\.cluster\.arrive\.release;)",
                       "barrier.cluster.arrive.relaxed;"));
  // Lanes that exchange with the wrong ones.
  EXPECT_TRUE(isCaught("tile", "sm_80", "i8 per group(64)",
                       "shfl\\.sync\\.bfly", "shfl.sync.up"));
}

TEST(StageFaults, CleanKernelsPass) {
  QUERN_NEEDS_NVRTC();
  EXPECT_FALSE(isCaught("grid", "sm_80", "i8 per token", ".target", ".target"));
}
