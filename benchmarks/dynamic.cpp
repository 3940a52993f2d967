//===- dynamic.cpp - What a dynamic scale costs beside a static one -------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Every layer is compiled three ways and the three are timed in turn:
//
//     static   the inner quantizations have a scale given with the layer
//     fused    dynamic, placed as the compiler chooses (or --placement says)
//     unfused  dynamic, each quantization a kernel of its own
//
// Samples are interleaved, so that a slow minute of the machine slows all
// three; one sample is the mean of as many runs as take a few milliseconds.
// Printed are medians and, behind +-, half the interquartile range, of the
// ratios to the static sample beside each. What unfused costs beyond static is
// the price of the scale; `share` is how much of it is left when fused. The
// static form of groups has one scale per tensor, so that their ratios hold the
// reading product's split sums, too.
//
//===----------------------------------------------------------------------===//

#include "compiler/pipelines/Compiler.h"
#include "runtime/include/quern/quern.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <fstream>
#include <random>

using namespace quern;

namespace {

struct Case {
  std::string name;
  /// @S stands for the static scale's parameter, @X for how the input is
  /// quantized, @H for how inner values are.
  std::string text;
};

/// "i8 per token" with its static form.
struct Scheme {
  std::string name, dynamic, fixed;
};

const Scheme schemes[] = {
    {"token", "i8 per token", "i8 per tensor, scale = s"},
    {"group", "i8 per group(128)", "i8 per tensor, scale = s"},
    {"tensor", "i8 per tensor", "i8 per tensor, scale = s"},
};

std::vector<Case> cases() {
  std::vector<Case> all;
  for (auto [d, h] : {std::pair(4096, 11008), {2048, 5632}})
    all.push_back(
        {fmt::format("swiglu {}/{}", d, h),
         fmt::format(
             R"(layer bench(@Sx: f16[M, {0}], weight g: i8[{1}, {0}] * f32[{1}, 1], weight u: i8[{1}, {0}] * f32[{1}, 1], weight d: i8[{0}, {1}] * f32[{0}, 1]) -> f16[M, {0}] {{
  xq = quantize(x, @X)
  h = silu(xq @ g.T) * (xq @ u.T) as f16
  hq = quantize(h, @H)
  return hq @ d.T as f16
}})",
             d, h)});
  for (int n : {64, 256, 512})
    all.push_back(
        {fmt::format("narrow N={}", n),
         fmt::format(
             R"(layer bench(@Sx: f16[M, 1024], weight a: i8[4096, 1024] * f32[4096, 1], weight b: i8[{0}, 4096] * f32[{0}, 1]) -> f16[M, {0}] {{
  xq = quantize(x, @X)
  h = relu(xq @ a.T) as f16
  hq = quantize(h, @H)
  return hq @ b.T as f16
}})",
             n)});
  all.push_back(
      {"small 256",
       R"(layer bench(@Sx: f16[M, 256], weight a: i8[1024, 256] * f32[1024, 1], weight b: i8[256, 1024] * f32[256, 1]) -> f16[M, 256] {
  xq = quantize(x, @X)
  h = relu(xq @ a.T) as f16
  hq = quantize(h, @H)
  return hq @ b.T as f16
})"});
  all.push_back(
      {"norm linear",
       R"(layer bench(@Sx: f16[M, 4096], w: f16[4096], weight a: i8[4096, 4096] * f32[4096, 1]) -> f16[M, 4096] {
  n = rmsnorm(x, w, eps = 1e-6) as f16
  nq = quantize(n, @H)
  return nq @ a.T as f16
})"});
  all.push_back(
      {"output + mlp",
       R"(layer bench(@Sx: f16[M, 2048], r: f16[M, 2048], weight o: i8[2048, 2048] * f32[2048, 1], w: f16[2048], weight g: i8[5632, 2048] * f32[5632, 1], weight u: i8[5632, 2048] * f32[5632, 1], weight d: i8[2048, 5632] * f32[2048, 1]) -> f16[M, 2048] {
  xq = quantize(x, @X)
  y = (xq @ o.T) + r as f16
  n = rmsnorm(y, w, eps = 1e-6) as f16
  nq = quantize(n, @H)
  h = silu(nq @ g.T) * (nq @ u.T) as f16
  hq = quantize(h, @H)
  return (hq @ d.T) + y as f16
})"});
  return all;
}

std::string replaced(std::string text, const std::string &mark,
                     const std::string &by) {
  for (size_t at; (at = text.find(mark)) != std::string::npos;)
    text.replace(at, mark.size(), by);
  return text;
}

/// A compiled layer with operands.
struct Runner {
  std::optional<Layer> layer;
  std::optional<Weights> weights;
  std::optional<Context> context;
  std::vector<std::vector<std::byte>> storage;
  std::vector<TensorView> inputs, outputs;
  unsigned kernels = 0;
  std::string placements;

  void run() {
    Result<void> done = context->run(inputs, outputs);
    if (!done) {
      fmt::print(stderr, "{}\n", done.error().render());
      std::exit(1);
    }
  }
  /// Mean microseconds of `times` runs.
  double sample(unsigned times) {
    auto start = std::chrono::steady_clock::now();
    for (unsigned i = 0; i < times; ++i)
      run();
    return std::chrono::duration<double, std::micro>(
               std::chrono::steady_clock::now() - start)
               .count() /
           times;
  }
};

template <typename T> T orExit(Result<T> result) {
  if (!result) {
    fmt::print(stderr, "{}\n", result.error().render());
    std::exit(1);
  }
  return std::move(*result);
}

std::unique_ptr<Runner> prepare(const std::string &text,
                                const std::string &placement, int64_t m) {
  auto runner = std::make_unique<Runner>();
  CompileRequest request;
  request.source = text;
  request.name = "bench";
  request.settings = {"placement=" + placement};
  CompileOutput output = orExit(compileLayer(request));
  for (const LaunchDesc &launch : output.module.variants[0].launches)
    runner->kernels += launch.phase == LaunchPhase::Run;
  for (const QuantizationPlacement &site : output.quantizations)
    for (const auto &option : site.options)
      if (option.chosen)
        runner->placements += (runner->placements.empty() ? "" : ", ") +
                              site.value + " " + option.placement;
  std::vector<std::byte> bytes = output.module.serialize();
  runner->layer = orExit(load(bytes));
  std::minstd_rand random(7);
  std::normal_distribution<float> normal;
  std::vector<TensorView> weights;
  for (const Operand &operand : runner->layer->operands()) {
    std::vector<int64_t> extents;
    for (const std::string &extent : operand.shape)
      extents.push_back(extent == "M" ? m : std::stoll(extent));
    Shape shape(extents);
    size_t count = *shape.elements();
    std::vector<std::byte> data(count * byteWidth(operand.dtype));
    for (size_t i = 0; i < count; ++i) {
      if (operand.dtype == DType::I8) {
        reinterpret_cast<int8_t *>(data.data())[i] = int(random() % 255) - 127;
      } else if (operand.dtype == DType::F32) {
        float value = 1e-3f * (1 + random() % 100 / 100.0f);
        std::memcpy(data.data() + 4 * i, &value, 4);
      } else {
        _Float16 value = static_cast<_Float16>(normal(random));
        std::memcpy(data.data() + 2 * i, &value, 2);
      }
    }
    TensorView view;
    view.name = operand.name;
    view.dtype = operand.dtype;
    view.shape = shape;
    view.data = data.data();
    runner->storage.push_back(std::move(data));
    (operand.role == Operand::Role::Weight  ? weights
     : operand.role == Operand::Role::Input ? runner->inputs
                                            : runner->outputs)
        .push_back(view);
  }
  runner->weights = orExit(runner->layer->bindWeights(weights));
  runner->context =
      orExit(runner->layer->makeContext(*runner->weights, {{"M", m, m}}));
  return runner;
}

struct Spread {
  double median, half;
};

Spread spread(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  auto at = [&](double q) { return values[size_t(q * (values.size() - 1))]; };
  return {at(0.5), (at(0.75) - at(0.25)) / 2};
}

} // namespace

int main(int argc, char **argv) {
  CLI::App app("What a dynamic scale costs beside a static one");
  std::vector<std::string> only, wanted;
  std::vector<int64_t> rows = {1, 8, 32, 128, 512};
  std::string placement = "auto", json;
  unsigned samples = 15;
  app.add_option("--case", only, "cases whose name contains this");
  app.add_option("--scheme", wanted, "token, group, tensor; all by default");
  app.add_option("--rows", rows, "values of M");
  app.add_option("--placement", placement, "for the fused layer");
  app.add_option("--samples", samples)->check(CLI::Range(3, 1000));
  app.add_option("--json", json, "writes the figures to a file");
  CLI11_PARSE(app, argc, argv);

  nlohmann::ordered_json results;
  fmt::print("{:<18} {:<7} {:>4}  {:>10}  {:>15} {:>15} {:>6}  {:<9} {}\n",
             "layer", "scheme", "M", "static us", "fused/static",
             "unfused/static", "share", "kernels", "placements");
  for (const Case &layer : cases()) {
    if (!only.empty() && std::none_of(only.begin(), only.end(), [&](auto &o) {
          return layer.name.find(o) != std::string::npos;
        }))
      continue;
    for (const Scheme &scheme : schemes) {
      if (!wanted.empty() &&
          std::find(wanted.begin(), wanted.end(), scheme.name) == wanted.end())
        continue;
      for (int64_t m : rows) {
        auto text = [&](const std::string &inner) {
          std::string out = replaced(layer.text, "@X", "i8 per token");
          bool isStatic = inner == scheme.fixed;
          return replaced(replaced(out, "@S", isStatic ? "s: f32[1, 1], " : ""),
                          "@H", inner);
        };
        std::unique_ptr<Runner> runners[3] = {
            prepare(text(scheme.fixed), "auto", m),
            prepare(text(scheme.dynamic), placement, m),
            prepare(text(scheme.dynamic), "separate", m)};
        for (auto &runner : runners)
          runner->sample(3);
        double once = runners[0]->sample(3);
        auto times = static_cast<unsigned>(
            std::clamp(4000.0 / std::max(once, 1.0), 1.0, 1000.0));
        std::vector<double> fixed, fused, unfused;
        for (unsigned s = 0; s < samples; ++s) {
          double us[3];
          for (unsigned r = 0; r < 3; ++r)
            us[(s + r) % 3] = runners[(s + r) % 3]->sample(times);
          fixed.push_back(us[0]);
          fused.push_back(us[1] / us[0]);
          unfused.push_back(us[2] / us[0]);
        }
        Spread a = spread(fixed), b = spread(fused), c = spread(unfused);
        double share = (b.median - 1) / std::max(c.median - 1, 1e-9);
        fmt::print("{:<18} {:<7} {:>4}  {:>10.1f}  {:>7.3f} +-{:.3f} {:>7.3f} "
                   "+-{:.3f} {:>6}  {}/{}/{:<5} {}\n",
                   layer.name, scheme.name, m, a.median, b.median, b.half,
                   c.median, c.half,
                   c.median > 1.02 ? fmt::format("{:.2f}", share) : "-",
                   runners[0]->kernels, runners[1]->kernels,
                   runners[2]->kernels, runners[1]->placements);
        std::fflush(stdout);
        results.push_back({{"layer", layer.name},
                           {"scheme", scheme.name},
                           {"M", m},
                           {"static_us", a.median},
                           {"fused", {b.median, b.half}},
                           {"unfused", {c.median, c.half}},
                           {"placements", runners[1]->placements}});
      }
    }
  }
  if (!json.empty())
    std::ofstream(json) << results.dump(2) << "\n";
  return 0;
}
