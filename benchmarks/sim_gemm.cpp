//===- sim_gemm.cpp - How fast the simulator multiplies -------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// One product of 256 x 256 x 1024 as Quern compiles it for a GPU (mma.sync,
// ldmatrix, cp.async), executed by the simulator: int8, f8e4m3 and f16, with
// the costly checks and without, on one host thread and on two. Times are
// those of a whole run, copies of the operands included.
//
// Usage: sim_bench [repeats, default 9]
//
//===----------------------------------------------------------------------===//

#include "compiler/pipelines/Compiler.h"
#include "compiler/pipelines/Oracle.h"
#include "quern/quern.h"
#include "runtime/device/sim/SimDevice.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <thread>

using namespace quern;

namespace {

constexpr int64_t M = 256, N = 256, K = 1024;

struct Problem {
  const char *name;
  const char *target;
  const char *text;
};
constexpr Problem problems[] = {
    {"i8", "sim:sm_80",
     "layer i8(x: i8[256, 1024] * f32[256, 1],\n"
     "         weight w: i8[256, 1024] * f32[256, 1]) -> f32[256, 256] {\n"
     "  return x @ w.T\n}\n"},
    {"f8e4m3", "sim:sm_89",
     "layer e4m3(x: f8e4m3[256, 1024] * f32[256, 1],\n"
     "           weight w: f8e4m3[256, 1024] * f32[256, 1])\n"
     "    -> f32[256, 256] {\n  return x @ w.T\n}\n"},
    {"f16", "sim:sm_80",
     "layer f16(x: f16[256, 1024], weight w: f16[256, 1024])\n"
     "    -> f32[256, 256] {\n  return x @ w.T\n}\n"},
};

int refuse(const Diagnostic &diagnostic) {
  fmt::print(stderr, "{}", diagnostic.render());
  return 2;
}

/// A layer on the simulator with drawn operands.
struct Ready {
  std::vector<Tensor> operands;
  std::optional<Layer> layer;
  std::optional<Weights> weights;
  std::optional<Context> context;
  std::vector<TensorView> inputs;
  std::optional<Tensor> output;

  Result<void> prepare(const Problem &problem);
};

Result<void> Ready::prepare(const Problem &problem) {
  CompileRequest request;
  request.source = problem.text;
  request.name = problem.name;
  request.target = *Target::parse(problem.target);
  auto compiled = compileLayer(request);
  if (!compiled)
    return compiled.error();
  auto loaded = load(compiled->module.serialize(), {problem.target, nullptr});
  if (!loaded)
    return loaded.error();
  layer = std::move(*loaded);
  auto oracle = Oracle::create(problem.text, problem.name);
  if (!oracle)
    return oracle.error();
  auto drawn = oracle->drawInputs({}, 1, {});
  if (!drawn)
    return drawn.error();
  operands = std::move(*drawn);
  std::vector<TensorView> weightViews;
  for (const Tensor &operand : operands)
    (operand.name().starts_with('w') ? weightViews : inputs)
        .emplace_back(operand);
  auto bound = layer->bindWeights(weightViews);
  if (!bound)
    return bound.error();
  weights = std::move(*bound);
  auto made = layer->makeContext(*weights);
  if (!made)
    return made.error();
  context = std::move(*made);
  auto result = Tensor::zeros(DType::F32, {M, N});
  if (!result)
    return result.error();
  output = std::move(*result);
  return {};
}

} // namespace

int main(int argc, char **argv) {
  int repeats = argc > 1 ? std::max(1, std::atoi(argv[1])) : 9;
  fmt::print("{} x {} x {} on the simulator, median of {} runs, {} hardware "
             "threads\n"
             "always on: bounds, alignment, read-only memory, freed memory, "
             "barriers, deadlock\n"
             "checks:    races in shared and global memory, uninitialised "
             "reads, copies in flight, bank conflicts, unique bytes\n\n"
             "{:<8} {:<10} {:<7} {:>8} {:>10} {:>10}\n",
             M, N, K, repeats, std::thread::hardware_concurrency(), "type",
             "device", "checks", "threads", "ms", "GMAC/s");
  for (const Problem &problem : problems) {
    Ready ready;
    if (auto done = ready.prepare(problem); !done)
      return refuse(done.error());
    sim::SimDevice &device = sim::SimDevice::get(
        *sim::parseSimTarget(std::string_view(problem.target).substr(4)));
    for (bool checks : {true, false})
      for (unsigned threads : {1u, 2u}) {
        sim::SimOptions options;
        options.checks = checks;
        options.hostThreads = threads;
        device.setOptions(options);
        std::vector<double> times;
        for (int i = 0; i <= repeats; ++i) {
          auto start = std::chrono::steady_clock::now();
          if (auto done = ready.context->run(ready.inputs, {*ready.output});
              !done)
            return refuse(done.error());
          if (i) // The first run warms up.
            times.push_back(std::chrono::duration<double, std::milli>(
                                std::chrono::steady_clock::now() - start)
                                .count());
        }
        std::nth_element(times.begin(), times.begin() + times.size() / 2,
                         times.end());
        double ms = times[times.size() / 2];
        fmt::print("{:<8} {:<10} {:<7} {:>8} {:>10.2f} {:>10.2f}\n",
                   problem.name, problem.target, checks ? "on" : "off", threads,
                   ms, double(M * N * K) / (ms * 1e6));
      }
  }
  return 0;
}
