//===- FakeModule.h - A layer made by hand, for tests -----------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// A module whose code comes from kernels.c instead of the compiler:
//
//     layer fake(x: f32[M, K], weight w: f32[K]) -> f32[M, K]
//     y[m, k] = x[m, k] * w[k]^2 + 2 * {0.5, 1.5, 2.5, 3.5}[m mod 4]
//
// as a chain of four launches through three temporaries, with w reversed by a
// prepare launch:
//
//     t0 = scale(x); t1 = scale(t0); t2 = reverse(t1); y = reverse(t2)
//
// M in 0..64, K in 1..32 with K a multiple of 4.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_TESTS_FAKEMODULE_H
#define QUERN_TESTS_FAKEMODULE_H

#include "runtime/module/Module.h"

#include <fstream>
#include <iterator>

namespace quern::testing {

/// What `makeFakeModule`'s code computes.
inline float fakeExpected(float x, float w, int64_t m) {
  float offset = 0.5f + static_cast<float>(m % 4);
  return x * w * w + offset + offset;
}

inline std::vector<std::byte> readBytes(const std::string &path) {
  std::ifstream in(path, std::ios::binary);
  std::vector<char> chars{std::istreambuf_iterator<char>(in), {}};
  auto *bytes = reinterpret_cast<const std::byte *>(chars.data());
  return {bytes, bytes + chars.size()};
}

/// `image` is the flat image that kernels.ld lays out.
inline ModuleDesc makeFakeModule(std::vector<std::byte> image) {
  SymExpr M = SymExpr::symbol(0), K = SymExpr::symbol(1);
  auto buffer = [](std::string name, BufferRole role,
                   std::vector<SymExpr> shape) {
    BufferDesc b;
    b.name = std::move(name);
    b.part = "values";
    b.role = role;
    b.shape = std::move(shape);
    return b;
  };
  VariantDesc variant;
  variant.target = "cpu:generic";
  variant.buffers = {
      buffer("x", BufferRole::Input, {M, K}),
      buffer("w", BufferRole::Weight, {K}),
      buffer("y", BufferRole::Output, {M, K}),
      buffer("packed", BufferRole::Packed, {K}),
      buffer("t0", BufferRole::Temporary, {M, K}),
      buffer("t1", BufferRole::Temporary, {M, K}),
      buffer("t2", BufferRole::Temporary, {M, K}),
  };
  auto kernel = [](std::string name) {
    KernelDesc k;
    k.name = std::move(name);
    k.reason = "made by hand";
    return k;
  };
  variant.kernels = {kernel("pack"), kernel("scale"), kernel("reverse")};
  auto launch = [&](uint32_t kernel, std::vector<uint32_t> buffers,
                    SymExpr items) {
    LaunchDesc l;
    l.kernel = kernel;
    l.buffers = std::move(buffers);
    l.items = std::move(items);
    return l;
  };
  variant.launches = {
      launch(0, {1, 3}, K), launch(1, {0, 3, 4}, M), launch(1, {4, 3, 5}, M),
      launch(2, {5, 6}, M), launch(2, {6, 2}, M),
  };
  variant.launches[0].phase = LaunchPhase::Prepare;
  for (LaunchDesc &l : variant.launches)
    if (l.kernel == 2)
      l.scratchBytes = K * SymExpr::constant(4);
  CodeDesc code;
  code.kind = CodeKind::CpuImage;
  code.bytes = std::move(image);
  code.symbols = {{"pack", 0}, {"scale", 0x800}, {"reverse", 0x1000}};
  variant.code.push_back(std::move(code));

  ModuleDesc module;
  module.layer = "fake";
  module.symbols = {{"M", 0, 64, 1}, {"K", 1, 32, 4}};
  module.producers = {"made by hand"};
  module.variants.push_back(std::move(variant));
  return module;
}

/// Gives up to `last` rows launches and temporaries of their own.
inline void addRange(VariantDesc &variant, int64_t last) {
  std::vector<LaunchDesc> few = variant.launches, many = few;
  variant.launches = {few.front()}; // It prepares.
  for (size_t i = 1; i < few.size(); ++i) {
    few[i].when = {{0, 0, last}};
    many[i].when = {{0, last + 1, 64}};
    for (uint32_t &b : many[i].buffers)
      if (variant.buffers[b].role == BufferRole::Temporary)
        b += 3;
  }
  for (uint32_t b : {4, 5, 6})
    variant.buffers.push_back(variant.buffers[b]);
  for (const std::vector<LaunchDesc> &launches : {few, many})
    variant.launches.insert(variant.launches.end(), launches.begin() + 1,
                            launches.end());
}

/// How the golden layer is run, beside all rows at once.
enum class GoldenRuns { Whole, InRanges, InStrips };

/// The layer that tests/golden/README.md describes.
inline ModuleDesc goldenModule(std::vector<std::byte> image, GoldenRuns runs) {
  ModuleDesc module = makeFakeModule(std::move(image));
  module.layer = "golden";
  module.producers = {"quern 0.1.0", "by hand"};
  if (runs == GoldenRuns::InRanges)
    addRange(module.variants[0], 2);
  if (runs == GoldenRuns::InStrips)
    module.variants[0].rowSymbol = 0;
  return module;
}

} // namespace quern::testing

#endif // QUERN_TESTS_FAKEMODULE_H
