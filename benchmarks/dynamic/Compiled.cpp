//===- Compiled.cpp - A compiled layer with operands ----------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "benchmarks/dynamic/Compiled.h"

#include "benchmarks/OrExit.h"

#include <fmt/format.h>

#include <chrono>
#include <cstring>
#include <random>

using namespace quern;
using namespace quern::bench;

static void fill(std::vector<std::byte> &data, DType dtype,
                 std::minstd_rand &random) {
  std::normal_distribution<float> normal;
  size_t width = byteWidth(dtype);
  for (size_t at = 0; at < data.size(); at += width) {
    switch (dtype) {
    case DType::I8:
      data[at] = std::byte(random() % 255 - 127);
      break;
    case DType::F8E4M3:
      // Below 16, of either sign: no NaN.
      data[at] = std::byte(random() % 0x58 | (random() % 2 << 7));
      break;
    case DType::F32: {
      float value = 1e-3f * (1 + random() % 100 / 100.0f);
      std::memcpy(&data[at], &value, 4);
      break;
    }
    default: {
      auto value = static_cast<_Float16>(normal(random));
      std::memcpy(&data[at], &value, 2);
    }
    }
  }
}

Compiled::Compiled(const std::string &text, const std::string &placement,
                   const std::string &target, int64_t m) {
  CompileRequest request;
  request.source = text;
  request.name = "bench";
  request.target = orExit(Target::parse(target));
  request.settings = {"placement=" + placement};
  CompileOutput output = orExit(compileLayer(request));
  const VariantDesc &variant = output.module.variants[0];
  for (const LaunchDesc &launch : variant.launches) {
    if (launch.phase != LaunchPhase::Run || !launch.happens(std::array{m}))
      continue;
    ++runKernels;
    for (uint32_t index : launch.buffers) {
      const BufferDesc &buffer = variant.buffers[index];
      double size = byteWidth(buffer.dtype);
      for (const SymExpr &extent : buffer.shape)
        size *= double(orExit(extent.evaluate(std::array{m})));
      runBytes += size;
    }
  }
  auto isFor = [&](const QuantizationPlacement &site) {
    return site.when.empty() ||
           (m >= site.when[0].min && m <= site.when[0].max);
  };
  for (const QuantizationPlacement &site : output.quantizations)
    for (const auto &option : site.options)
      if (option.chosen && isFor(site))
        chosen += fmt::format("{}{} {}", chosen.empty() ? "" : ", ", site.value,
                              option.placement);
  LoadOptions options;
  options.target = target;
  layer = orExit(load(output.module.serialize(), options));
  bind(m);
}

void Compiled::bind(int64_t m) {
  std::minstd_rand random(7);
  std::vector<TensorView> constant;
  for (const Operand &operand : layer->operands()) {
    std::vector<int64_t> extents;
    for (const std::string &extent : operand.shape)
      extents.push_back(extent == "M" ? m : std::stoll(extent));
    Shape shape(extents);
    std::vector<std::byte> data(*shape.elements() * byteWidth(operand.dtype));
    fill(data, operand.dtype, random);
    TensorView view;
    view.name = operand.name;
    view.dtype = operand.dtype;
    view.shape = shape;
    view.data = data.data();
    storage.push_back(std::move(data));
    (operand.role == Operand::Role::Weight  ? constant
     : operand.role == Operand::Role::Input ? inputs
                                            : outputs)
        .push_back(view);
  }
  weights = orExit(layer->bindWeights(constant));
  context = orExit(layer->makeContext(*weights, {{"M", m, m}}));
}

void Compiled::run() { orExit(context->run(inputs, outputs)); }

double Compiled::sample(unsigned times) {
  auto start = std::chrono::steady_clock::now();
  for (unsigned i = 0; i < times; ++i)
    run();
  return std::chrono::duration<double, std::micro>(
             std::chrono::steady_clock::now() - start)
             .count() /
         times;
}
