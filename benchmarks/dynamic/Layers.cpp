//===- Layers.cpp - Layers with static and dynamic scales -----------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "benchmarks/dynamic/Layers.h"

#include <fmt/format.h>

using namespace quern::bench;

std::string Scheme::name() const {
  switch (blocks) {
  case Blocks::Token:
    return code + " per token";
  case Blocks::Group128:
    return code + " per group(128)";
  case Blocks::Tensor:
    return code + " per tensor";
  }
  return code;
}

std::vector<Scheme> quern::bench::schemes() {
  std::vector<Scheme> all;
  for (const char *code : {"i8", "f8e4m3"})
    for (Scheme::Blocks blocks :
         {Scheme::Blocks::Token, Scheme::Blocks::Group128,
          Scheme::Blocks::Tensor})
      all.push_back({code, blocks});
  return all;
}

std::string Writer::inner(int64_t columns) {
  if (!isStatic)
    return scheme.name();
  std::string scale = fmt::format("s{}", count++);
  if (scheme.blocks == Scheme::Blocks::Group128) {
    declared += fmt::format("{}: f32[M, {}], ", scale, (columns + 127) / 128);
    return fmt::format("{}, scale = {}", scheme.name(), scale);
  }
  declared += fmt::format("{}: f32[1, 1], ", scale);
  return fmt::format("{} per tensor, scale = {}", scheme.code, scale);
}

std::string LayerCase::text(const Scheme &scheme, bool isStatic) const {
  Writer writer(scheme, isStatic);
  std::string rest = write(writer);
  return fmt::format("layer bench({}{}", writer.parameters(), rest);
}

/// A weight of codes with a scale per channel.
static std::string weight(const Writer &writer, const char *name, int64_t n,
                          int64_t k) {
  return fmt::format("weight {0}: {1}[{2}, {3}] * f32[{2}, 1]", name,
                     writer.code(), n, k);
}

static std::string swiglu(Writer &w, int64_t d, int64_t h) {
  return fmt::format(R"(x: f16[M, {0}], {1}, {2}, {3}) -> f16[M, {0}] {{
  xq = quantize(x, {4})
  h = silu(xq @ g.T) * (xq @ u.T) as f16
  hq = quantize(h, {5})
  return hq @ d.T as f16
}})",
                     d, weight(w, "g", h, d), weight(w, "u", h, d),
                     weight(w, "d", d, h), w.input(), w.inner(h));
}

/// Two products, of which the second is narrow.
static std::string pair(Writer &w, int64_t k, int64_t h, int64_t n) {
  return fmt::format(R"(x: f16[M, {0}], {2}, {3}) -> f16[M, {1}] {{
  xq = quantize(x, {4})
  h = relu(xq @ a.T) as f16
  hq = quantize(h, {5})
  return hq @ b.T as f16
}})",
                     k, n, weight(w, "a", h, k), weight(w, "b", n, h),
                     w.input(), w.inner(h));
}

static std::string normLinear(Writer &w) {
  return fmt::format(R"(x: f16[M, 4096], w: f16[4096], {0}) -> f16[M, 4096] {{
  n = rmsnorm(x, w, eps = 1e-6) as f16
  nq = quantize(n, {1})
  return nq @ a.T as f16
}})",
                     weight(w, "a", 4096, 4096), w.inner(4096));
}

/// What follows attention: its output product, then the MLP.
static std::string chain(Writer &w) {
  return fmt::format(
      R"(x: f16[M, 2048], r: f16[M, 2048], w: f16[2048], {0}, {1}, {2}, {3}) -> f16[M, 2048] {{
  xq = quantize(x, {4})
  y = (xq @ o.T) + r as f16
  n = rmsnorm(y, w, eps = 1e-6) as f16
  nq = quantize(n, {5})
  h = silu(nq @ g.T) * (nq @ u.T) as f16
  hq = quantize(h, {6})
  return (hq @ d.T) + y as f16
}})",
      weight(w, "o", 2048, 2048), weight(w, "g", 5632, 2048),
      weight(w, "u", 5632, 2048), weight(w, "d", 2048, 5632), w.input(),
      w.inner(2048), w.inner(5632));
}

std::vector<LayerCase> quern::bench::layerCases() {
  std::vector<LayerCase> all = {
      {"swiglu 4096/11008", [](Writer &w) { return swiglu(w, 4096, 11008); }},
      {"swiglu 2048/5632", [](Writer &w) { return swiglu(w, 2048, 5632); }}};
  for (int64_t n : {64, 256, 512})
    all.push_back({fmt::format("narrow N={}", n),
                   [n](Writer &w) { return pair(w, 1024, 4096, n); }});
  all.push_back(
      {"small 256", [](Writer &w) { return pair(w, 256, 1024, 256); }});
  all.push_back({"norm linear", normLinear});
  all.push_back({"output + mlp", chain});
  return all;
}
