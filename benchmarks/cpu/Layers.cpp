//===- Layers.cpp - Layers of products that benchmarks run ----------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "benchmarks/cpu/Layers.h"

#include "benchmarks/OrExit.h"
#include "compiler/pipelines/Compiler.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <sys/mman.h>

using namespace quern;
using namespace quern::bench;

LargeMemory::LargeMemory(size_t bytes) : bytes(bytes) {
  start = static_cast<std::byte *>(mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  madvise(start, bytes, MADV_HUGEPAGE);
  std::memset(start, 1, bytes);
}

LargeMemory::~LargeMemory() { munmap(start, bytes); }

std::span<const std::byte> LargeMemory::first(size_t count) const {
  return {start, std::min(count, bytes)};
}

static void fill(std::vector<std::byte> &data, DType dtype,
                 std::minstd_rand &random) {
  std::normal_distribution<float> normal;
  for (size_t at = 0; at < data.size(); at += byteWidth(dtype)) {
    if (dtype == DType::F32) {
      float value = normal(random);
      std::memcpy(&data[at], &value, 4);
    } else if (dtype == DType::F16) {
      auto value = static_cast<_Float16>(normal(random));
      std::memcpy(&data[at], &value, 2);
    } else if (dtype == DType::BF16) {
      float value = normal(random);
      std::memcpy(&data[at], reinterpret_cast<std::byte *>(&value) + 2, 2);
    } else {
      data[at] = std::byte(random() % 255 - 127);
    }
  }
}

std::vector<TensorView>
RunningLayer::tensors(Operand::Role role, int64_t m,
                      std::vector<std::vector<std::byte>> &data) {
  std::minstd_rand random(7);
  std::vector<TensorView> views;
  for (const Operand &operand : layer->operands()) {
    if (operand.role != role)
      continue;
    std::vector<int64_t> extents;
    for (const std::string &extent : operand.shape)
      extents.push_back(extent == "M" ? m : std::stoll(extent));
    TensorView view;
    view.name = operand.name;
    view.dtype = operand.dtype;
    view.shape = Shape(extents);
    auto &bytes =
        data.emplace_back(*view.shape.elements() * byteWidth(operand.dtype));
    if (role != Operand::Role::Output)
      fill(bytes, operand.dtype, random);
    view.data = bytes.data();
    views.push_back(view);
  }
  return views;
}

RunningLayer::RunningLayer(std::span<const std::byte> module,
                           const ProductLayer &of,
                           std::shared_ptr<Executor> with)
    : executor(std::move(with)) {
  LoadOptions options;
  options.executor = executor;
  layer = std::make_shared<const Layer>(orExit(load(module, options)));
  std::vector<std::vector<std::byte>> data; // Weights are packed copies.
  std::vector<TensorView> constant = tensors(Operand::Role::Weight, of.m, data);
  size_t copies = of.cold ? size_t(std::ceil(3e8 / of.weightBytes)) : 1;
  for (size_t i = 0; i < copies; ++i)
    weights.push_back(orExit(layer->bindWeights(constant)));
  prepare(of);
}

RunningLayer::RunningLayer(const RunningLayer &other, const ProductLayer &of)
    : executor(other.executor), layer(other.layer), weights(other.weights) {
  prepare(of);
}

void RunningLayer::prepare(const ProductLayer &of) {
  inputs = tensors(Operand::Role::Input, of.m, storage);
  outputs = tensors(Operand::Role::Output, of.m, storage);
  context = orExit(layer->makeContext(weights[0], {{"M", of.m, of.m}}));
  run();
  double start = now(*executor);
  for (size_t i = 0; i < weights.size(); ++i)
    run();
  double once = (now(*executor) - start) / weights.size();
  repeats = std::clamp<double>(1e-3 / once, 1, 1000);
}

void RunningLayer::run() {
  if (weights.size() > 1)
    orExit(context->setWeights(weights[turn++ % weights.size()]));
  orExit(context->run(inputs, outputs));
}

double RunningLayer::sample() {
  double start = now(*executor);
  for (unsigned i = 0; i < repeats; ++i)
    run();
  return (now(*executor) - start) / repeats * 1e6;
}

ProductLayer quern::bench::linear(int64_t m, int64_t n, int64_t k, bool cold) {
  ProductLayer row;
  row.name = fmt::format("linear {}x{}x{}{}", m, n, k, cold ? " cold" : "");
  row.text = fmt::format("layer linear(x: f32[M, {1}],\n"
                         "             weight w: i8[{0}, {1}] * f32[{0}, 1])\n"
                         "    -> f32[M, {0}] {{\n"
                         "  xq = quantize(x, i8 per token)\n"
                         "  return xq @ w.T\n}}\n",
                         n, k);
  row.m = m;
  row.operations = 2.0 * m * n * k;
  row.weightBytes = double(n) * k;
  row.cold = cold;
  return row;
}

ProductLayer quern::bench::linear4(int64_t m, int64_t n, int64_t k,
                                   int64_t group, bool cold) {
  ProductLayer row = linear(m, n, k, cold);
  row.name =
      fmt::format("int4 g{} {}x{}x{}{}", group, m, n, k, cold ? " cold" : "");
  row.text =
      fmt::format("layer linear(x: f32[M, {1}],\n"
                  "             weight w: i4[{0}, {1}] * f16[{0}, {1}/{2}])\n"
                  "    -> f32[M, {0}] {{\n"
                  "  xq = quantize(x, i8 per token)\n"
                  "  return xq @ w.T\n}}\n",
                  n, k, group);
  row.weightBytes /= 2;
  return row;
}

ProductLayer quern::bench::linearBf16(int64_t m, int64_t n, int64_t k,
                                      bool cold) {
  ProductLayer row = linear(m, n, k, cold);
  row.name = fmt::format("bf16 {}x{}x{}{}", m, n, k, cold ? " cold" : "");
  row.text = fmt::format("layer linear(x: bf16[M, {1}],\n"
                         "             weight w: bf16[{0}, {1}])\n"
                         "    -> f32[M, {0}] {{\n"
                         "  return x @ w.T\n}}\n",
                         n, k);
  row.weightBytes *= 2;
  return row;
}

ProductLayer quern::bench::swiglu(int64_t m, int64_t hidden, int64_t inner) {
  ProductLayer row;
  row.name = fmt::format("swiglu {}x{}x{}", m, hidden, inner);
  row.text =
      fmt::format("layer swiglu(x: f16[M, {0}],\n"
                  "             weight w_gate: i8[{1}, {0}] * f32[{1}, 1],\n"
                  "             weight w_up: i8[{1}, {0}] * f32[{1}, 1],\n"
                  "             weight w_down: i8[{0}, {1}] * f32[{0}, 1])\n"
                  "    -> f16[M, {0}] {{\n"
                  "  xq = quantize(x, i8 per token)\n"
                  "  h = silu(xq @ w_gate.T) * (xq @ w_up.T) as f16\n"
                  "  hq = quantize(h, i8 per token)\n"
                  "  return hq @ w_down.T\n}}\n",
                  hidden, inner);
  row.m = m;
  row.operations = 6.0 * m * hidden * inner;
  row.weightBytes = 3.0 * hidden * inner;
  return row;
}

CompiledLayer quern::bench::compiled(const ProductLayer &layer) {
  CompileRequest request;
  request.source = layer.text;
  request.name = "bench";
  request.target = orExit(Target::parse("cpu"));
  CompileOutput output = orExit(compileLayer(request));
  const VariantDesc &variant = output.module.variants[0];
  CompiledLayer result;
  for (const KernelDesc &kernel : variant.kernels) {
    result.schedules.push_back(
        fmt::format("{}: {}", kernel.name, kernel.schedule));
    if (auto dot = measure::dotOf(kernel.schedule, variant.target))
      result.dot = *dot;
  }
  result.module = output.module.serialize();
  return result;
}
