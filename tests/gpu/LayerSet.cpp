//===- LayerSet.cpp - The layers that are prepared for a GPU --------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "tests/gpu/LayerSet.h"

#include "tests/ops/OpCases.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <iterator>

using namespace quern;
using namespace quern::gputest;

namespace {

std::string withType(const char *text, const std::string &type) {
  std::string result = text;
  for (size_t at; (at = result.find("{T}")) != std::string::npos;)
    result.replace(at, 3, type);
  return result;
}

/// Whether a case is small enough to be drawn and evaluated many times, and
/// has operands that can be drawn at all.
bool isOrdinary(const test::OpCase &row) {
  std::string_view text = row.text;
  return text.find("131200") == std::string_view::npos &&
         std::none_of(row.sizes.begin(), row.sizes.end(),
                      [](const std::vector<int64_t> &symbols) {
                        return std::any_of(symbols.begin(), symbols.end(),
                                           [](int64_t s) { return s > 4096; });
                      });
}

void addOperations(LayerSet &set, bool everyType) {
  for (const test::OpCase &row : test::opCases()) {
    if (!isOrdinary(row))
      continue;
    std::vector<std::string> types(row.types.begin(), row.types.end());
    if (!everyType) {
      // f16 where there is a choice: the type that layers are written in.
      bool half = std::find(types.begin(), types.end(), "f16") != types.end();
      types = {half ? "f16" : types.front()};
    }
    for (const std::string &type : types) {
      std::string name = "op_" + std::string(row.name);
      if (!type.empty())
        name += "_" + type;
      set.layers.push_back({name, withType(row.text, type), row.sizes, true});
    }
  }
}

bool addExample(LayerSet &set, const std::string &folder, const char *name,
                std::vector<std::vector<int64_t>> sizes) {
  std::ifstream in(fmt::format("{}/{}.qn", folder, name));
  if (!in)
    return false;
  std::string text{std::istreambuf_iterator<char>(in), {}};
  set.layers.push_back({name, text, std::move(sizes)});
  return true;
}

/// What one product costs: its operations and the bytes of its operands.
TimedCase timedProduct(const std::string &layer, const char *peer, int64_t m,
                       int64_t n, int64_t k, double bytesPerOperand,
                       double bytesPerInput) {
  double d = static_cast<double>(m);
  return {layer,
          {m},
          2.0 * d * static_cast<double>(n) * static_cast<double>(k),
          bytesPerInput * d * static_cast<double>(k) +
              bytesPerOperand * static_cast<double>(n * k) +
              2.0 * d * static_cast<double>(n),
          fmt::format("{} {}x{}x{}", peer, m, n, k)};
}

/// `all`: not only the int8 product.
void addProducts(LayerSet &set, const std::vector<int64_t> &rows, int64_t n,
                 int64_t k, bool all = true) {
  std::string size = fmt::format("{}x{}", n, k);
  auto add = [&](const std::string &kind, const std::string &text) {
    // Right at sizes that the reference computes in a second: one row of tiles
    // and several, the last one short. The kernels are the same at all sizes.
    set.layers.push_back({kind + "_" + size, text, {{16}, {130}}});
    return kind + "_" + size;
  };
  std::string weight =
      fmt::format("weight w: i8[{0}, {1}] * f32[{0}, 1]", n, k);
  // The product alone, on codes; with the quantization of its input; with the
  // quantization of its result.
  std::string product = add(
      "i8_codes",
      fmt::format("layer i8_codes(x: i8[M, {1}] * f32[M, 1], {2}) -> f16[M, "
                  "{0}] {{\n  return x @ w.T as f16\n}}\n",
                  n, k, weight));
  for (int64_t m : rows)
    set.timed.push_back(timedProduct(product, "i8", m, n, k, 1, 1));
  if (!all)
    return;
  std::string dynamic = add(
      "i8_dynamic",
      fmt::format("layer i8_dynamic(x: f16[M, {1}], {2}) -> f16[M, {0}] {{\n  "
                  "return quantize(x, i8 per token) @ w.T as f16\n}}\n",
                  n, k, weight));
  std::string fp8 = add(
      "fp8_blocks",
      fmt::format("layer fp8_blocks(x: bf16[M, {1}], weight w: f8e4m3[{0}, "
                  "{1}] * f32[{0}/128, {1}/128]) -> bf16[M, {0}] {{\n  return "
                  "quantize(x, f8e4m3 per group(128)) @ w.T as bf16\n}}\n",
                  n, k));
  std::string half =
      add("f16", fmt::format("layer f16_product(a: f16[M, {1}], b: f16[{0}, "
                             "{1}]) -> f16[M, {0}] {{\n  return a @ b.T as "
                             "f16\n}}\n",
                             n, k));
  for (int64_t m : rows) {
    set.timed.push_back(timedProduct(dynamic, "i8", m, n, k, 1, 2));
    set.timed.push_back(timedProduct(fp8, "fp8", m, n, k, 1, 2));
    set.timed.push_back(timedProduct(half, "f16", m, n, k, 2, 2));
  }
}

} // namespace

std::optional<LayerSet> gputest::layerSet(const std::string &name,
                                          const std::string &examples) {
  LayerSet set;
  const std::vector<std::vector<int64_t>> ragged = {{1}, {7}, {37}, {130}};
  bool found = true;
  if (name == "golden") {
    addOperations(set, false);
    found &= addExample(set, examples, "swiglu_small", ragged);
    found &= addExample(set, examples, "softmax_head", {{1}, {7}, {37}});
    found &= addExample(set, examples, "fp8_linear", {{1}, {7}, {37}});
    addProducts(set, {16}, 128, 256, false);
  } else if (name == "small") {
    found &= addExample(set, examples, "swiglu_small", {{1}, {37}});
    addProducts(set, {16}, 128, 256);
  } else if (name == "full") {
    addOperations(set, true);
    for (const char *example : {"swiglu_small", "softmax_head", "fp8_linear"})
      found &= addExample(set, examples, example, ragged);
    found &= addExample(set, examples, "swiglu_mlp", {{1}, {37}});
    for (int64_t m : {16, 2048}) {
      double d = static_cast<double>(m);
      set.timed.push_back({"swiglu_mlp",
                           {m},
                           6.0 * d * 4096 * 11008,
                           3.0 * 4096 * 11008 + 4.0 * d * 4096,
                           ""});
    }
    addProducts(set, {16, 256, 4096}, 4096, 4096);
    addProducts(set, {16, 4096}, 11008, 4096);
  } else {
    return std::nullopt;
  }
  if (!found)
    return std::nullopt;
  return set;
}
