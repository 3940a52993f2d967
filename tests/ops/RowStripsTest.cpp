//===- RowStripsTest.cpp - Runs of more rows than memory is held for ------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Layers on the CPU whose values between kernels do not fit what threads have
// for themselves: run in strips, they give what the reference gives, and the
// memory stops growing. Layers whose rows depend on each other are not cut.
//
//===----------------------------------------------------------------------===//

#include "LayerCheck.h"

#include <fmt/format.h>

using namespace quern;
using namespace quern::test;

namespace {

/// The memory of a layer's context for so many rows, or nothing.
uint64_t arenaOf(const Layer &layer, const Oracle &oracle, int64_t rows) {
  std::vector<int64_t> symbols = {1};
  auto drawn = oracle.drawInputs(symbols, 1, {});
  if (!drawn) {
    ADD_FAILURE() << drawn.error().render();
    return 0;
  }
  // In the order of the layer's own.
  std::vector<TensorView> views(drawn->begin(), drawn->end()), weights;
  for (size_t i = 0; i < views.size(); ++i)
    if (layer.operands()[i].role == Operand::Role::Weight)
      weights.push_back(views[i]);
  auto bound = layer.bindWeights(weights);
  if (!bound) {
    ADD_FAILURE() << bound.error().render();
    return 0;
  }
  auto context = layer.makeContext(*bound, {{"M", rows, rows}});
  if (!context) {
    ADD_FAILURE() << context.error().render();
    return 0;
  }
  return context->arenaBytes();
}

/// `perRow`: bytes between kernels that a row takes at least at some time.
void check(const std::string &text, uint64_t perRow, bool inStrips) {
  for (unsigned threads : {1u, 3u}) {
    SCOPED_TRACE(fmt::format("{} threads, {}", threads, text));
    LayerRun run{.threads = threads};
    auto compiled = compileFor(run, text, "strips.qn");
    ASSERT_TRUE(compiled) << compiled.error().render();
    auto layer = loadFor(run, *compiled);
    ASSERT_TRUE(layer) << layer.error().render();
    auto oracle = Oracle::create(text, "strips.qn");
    ASSERT_TRUE(oracle) << oracle.error().render();
    // On both sides of a unit's end, of a strip's and of several.
    std::vector<int64_t> lengths = {1, 65, 128, 129, 1000, 2345};
    if (!inStrips)
      lengths = {129, 300};
    for (int64_t rows : lengths)
      expectAgreement(*layer, *oracle, {rows}, 11 + rows);
    uint64_t many = arenaOf(*layer, *oracle, 4000);
    if (inStrips)
      EXPECT_LE(many, threads * (4u << 20));
    else
      EXPECT_GE(many, 4000 * perRow);
  }
}

} // namespace

TEST(RowStrips, OfAQuantizedProduct) {
  check("layer strips(x: f32[M, 8192], weight w: i8[8, 8192] * f32[8, 1])\n"
        "    -> f32[M, 8] {\n"
        "  xq = quantize(x, i8 per token)\n  return xq @ w.T\n}\n",
        8192, true);
}

TEST(RowStrips, OfGroupsAndZeroPoints) {
  check("layer strips(x: f16[M, 6144], weight w: i4[16, 6144] per group(128))\n"
        "    -> f16[M, 16] {\n"
        "  xq = quantize(x, i8 per group(128))\n  return xq @ w.T\n}\n",
        6144, true);
  check("layer strips(x: f32[M, 6144], weight w: i8[16, 6144] per channel)\n"
        "    -> f32[M, 16] {\n"
        "  xq = quantize(x, (u8 - u8) per token)\n  return xq @ w.T\n}\n",
        6144, true);
}

TEST(RowStrips, OfAnMlp) {
  check("layer strips(x: f16[M, 64], weight g: i8[4096, 64] * f32[4096, 1],\n"
        "    weight u: i8[4096, 64] * f32[4096, 1],\n"
        "    weight d: i8[32, 4096] * f32[32, 1]) -> f16[M, 32] {\n"
        "  xq = quantize(x, i8 per token)\n"
        "  h = silu(xq @ g.T) * (xq @ u.T) as f16\n"
        "  hq = quantize(h, i8 per token)\n  return hq @ d.T as f16\n}\n",
        2 * 4096, true);
}

TEST(RowStrips, OfSeveralOutputs) {
  check("layer strips(x: f32[M, 8192], weight w: i8[8, 8192] * f32[8, 1])\n"
        "    -> (f32[M, 8], f32[M, 8192]) {\n"
        "  xq = quantize(x, i8 per token)\n"
        "  return xq @ w.T, gelu(x)\n}\n",
        8192, true);
}

TEST(RowStrips, OfListsWhoseElementsShareBytes) {
  check("layer strips(x: f32[M, 8192], s: i4[M] * f32[1],\n"
        "    weight w: i8[8, 8192] * f32[8, 1]) -> f32[M, 8] {\n"
        "  xq = quantize(x * reshape(dequantize(s), [M, 1]), i8 per token)\n"
        "  return xq @ w.T\n}\n",
        8192, true);
}

TEST(RowStrips, NotWhereRowsDependOnEachOther) {
  // One scale for some rows.
  check("layer whole(x: f32[M, 8192], weight w: i8[8, 8192] * f32[8, 1])\n"
        "    -> f32[M, 8] with M in 0..10000 {\n"
        "  xq = quantize(x, i8 per tokens(6))\n  return xq @ w.T\n}\n",
        8192, false);
  // Rows on both sides.
  check("layer whole(x: f32[M, 512]) -> f32[M, M] {\n"
        "  xq = quantize(x, i8 per token)\n  return xq @ xq.T\n}\n",
        512, false);
  // One scale for all of them.
  check("layer whole(x: f32[M, 8192], weight w: i8[8, 8192] * f32[8, 1])\n"
        "    -> f32[M, 8] {\n"
        "  xq = quantize(x, i8 per tensor)\n  return xq @ w.T\n}\n",
        8192, false);
}

TEST(RowStrips, NotWhereEachWouldPackAnOperand) {
  check("layer whole(x: f32[M, 2048], y: f32[8, 2048]) -> f32[M, 8] {\n"
        "  xq = quantize(x, i8 per token)\n"
        "  yq = quantize(y, i8 per token)\n  return xq @ yq.T\n}\n",
        2048, false);
}
