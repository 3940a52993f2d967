//===- MemoryTest.cpp - What a layer needs beside its operands ------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// A layer on the CPU takes 4 MiB for each thread, for what products copy and
// for the values between kernels: many rows are run in strips. Where 128 rows
// of what lies between kernels take more than is left of it, they are a strip.
//
//===----------------------------------------------------------------------===//

#include "compiler/verify/LayerCheck.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <optional>

using namespace quern;

namespace {

constexpr uint64_t mebibyte = 1 << 20;

struct Need {
  uint64_t scratch = 0, between = 0;
};

/// A layer with weights that are all zero.
class Zeros {
public:
  Zeros(const std::string &text, unsigned threads) {
    verify::Setting setting;
    setting.threads = threads;
    auto compiled = verify::compileFor(setting, text, "memory.qn");
    if (!compiled) {
      ADD_FAILURE() << compiled.error().render();
      return;
    }
    auto loaded = verify::loadFor(setting, *compiled);
    if (!loaded) {
      ADD_FAILURE() << loaded.error().render();
      return;
    }
    layer = std::move(*loaded);
    std::vector<std::vector<std::byte>> storage;
    std::vector<TensorView> views;
    for (const Operand &operand : layer->operands()) {
      if (operand.role != Operand::Role::Weight)
        continue;
      std::vector<int64_t> extents;
      for (const std::string &extent : operand.shape)
        extents.push_back(std::stoll(extent));
      TensorView view;
      view.name = operand.name;
      view.dtype = operand.dtype;
      view.shape = Shape(extents);
      uint64_t rows = *view.shape.elements() / extents.back();
      storage.emplace_back(rows * rowBytes(operand.dtype, extents.back()));
      view.data = storage.back().data();
      views.push_back(view);
    }
    auto bound = layer->bindWeights(views);
    if (bound)
      weights = std::move(*bound);
    else
      ADD_FAILURE() << bound.error().render();
  }

  /// For M rows.
  Need needOf(int64_t m) const {
    if (!weights)
      return {};
    auto context = layer->makeContext(*weights, {{"M", m, m}});
    if (!context) {
      ADD_FAILURE() << context.error().render();
      return {};
    }
    return {context->scratchBytes(), context->arenaBytes()};
  }

private:
  std::optional<Layer> layer;
  std::optional<Weights> weights;
};

std::string linear(int64_t n, int64_t k, const std::string &weight) {
  return fmt::format("layer linear(x: f32[M, {1}], weight w: {2}) -> f32[M, "
                     "{0}] {{\n  xq = quantize(x, i8 per token)\n"
                     "  return xq @ w.T\n}}\n",
                     n, k, weight);
}

} // namespace

TEST(Memory, OfProducts) {
  for (auto [n, k] : {std::pair<int64_t, int64_t>{512, 4096},
                      {512, 11008},
                      {333, 1000},
                      {64, 28672}})
    for (const std::string &weight :
         {fmt::format("i8[{}, {}] * f32[{}, 1]", n, k, n),
          fmt::format("i4[{}, {}] per group(128)", n, k),
          fmt::format("i4[{}, {}] per group(32)", n, k)})
      for (unsigned threads : {1u, 2u}) {
        Zeros layer(linear(n, k, weight), threads);
        for (int64_t m : {1, 7, 64, 128, 2048, 50'000}) {
          SCOPED_TRACE(
              fmt::format("{} {} {} {}, {} threads", m, n, k, weight, threads));
          Need need = layer.needOf(m);
          EXPECT_GT(need.scratch, 0u);
          EXPECT_LE(need.scratch, threads * 4 * mebibyte);
          // The codes of x, a scale for each token, and their alignment.
          auto codes = [&](int64_t rows) { return rows * (k + 4) + 4096; };
          EXPECT_LE(need.between, codes(m));
          EXPECT_LE(need.scratch + need.between,
                    std::max(threads * 4 * mebibyte,
                             need.scratch + codes(std::min<int64_t>(m, 128))));
          if (k <= 11008)
            EXPECT_LE(need.scratch + need.between, threads * 4 * mebibyte);
        }
      }
}

TEST(Memory, OfAnMlp) {
  Zeros layer("layer mlp(x: f16[M, 1024],\n"
              "          weight g: i8[2816, 1024] * f32[2816, 1],\n"
              "          weight u: i8[2816, 1024] * f32[2816, 1],\n"
              "          weight d: i8[1024, 2816] * f32[1024, 1])\n"
              "    -> f16[M, 1024] {\n"
              "  xq = quantize(x, i8 per token)\n"
              "  h = silu(xq @ g.T) * (xq @ u.T) as f16\n"
              "  hq = quantize(h, i8 per token)\n"
              "  return hq @ d.T as f16\n}\n",
              1);
  for (int64_t m : {1, 32, 128, 500, 4096}) {
    SCOPED_TRACE(m);
    Need need = layer.needOf(m);
    EXPECT_GT(need.scratch, 0u);
    EXPECT_LE(need.scratch, 4 * mebibyte);
    // The codes of x, then h and its codes.
    uint64_t row = 1024 + 3 * 2816 + 8;
    EXPECT_LE(need.between, uint64_t(m) * row + 4096);
    EXPECT_LE(need.scratch + need.between, 4 * mebibyte);
  }
}
