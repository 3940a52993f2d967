//===- LayerCheck.cpp - A layer on one target, run once -------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/verify/LayerCheck.h"

#include <fmt/format.h>

using namespace quern;
using namespace quern::verify;

Result<CompileOutput> verify::compileFor(const Setting &setting,
                                         std::string_view text,
                                         const std::string &name,
                                         const std::string &layer) {
  auto target = Target::parse(setting.target);
  if (!target)
    return target.error();
  CompileRequest request;
  request.source = text;
  request.name = name;
  request.target = *target;
  request.settings = {"fuse=" + setting.fuse, "buckets=" + setting.buckets};
  if (setting.fuse == "all")
    request.settings.push_back("placement=" + setting.placement);
  if (!layer.empty())
    request.settings.push_back("layer=" + layer);
  if (!setting.tuned.empty())
    request.settings.push_back("tuned=" + setting.tuned);
  return compileLayer(request);
}

Result<Layer> verify::loadFor(const Setting &setting,
                              const CompileOutput &compiled) {
  LoadOptions loading;
  loading.target = setting.target;
  loading.executor = makeExecutor(setting.threads);
  return load(compiled.module.serialize(), loading);
}

void GuardedOutputs::add(DType dtype, const Shape &shape,
                         const std::string &name) {
  auto bytes = static_cast<size_t>(*shape.bytes(dtype));
  memory.emplace_back(guard + bytes + guard, untouched);
  names.push_back(name);
  views.emplace_back(dtype, shape, memory.back().data() + guard, names.back());
}

std::string GuardedOutputs::findDamage() const {
  for (size_t i = 0; i < memory.size(); ++i)
    for (size_t at = 0; at < guard; ++at) {
      if (memory[i][at] != untouched)
        return fmt::format("{} bytes before {}", guard - at, names[i]);
      if (memory[i][memory[i].size() - guard + at] != untouched)
        return fmt::format("{} bytes after the end of {}", at, names[i]);
    }
  return {};
}

Result<void> verify::runInto(const Layer &layer,
                             std::span<const TensorView> operands,
                             std::span<const int64_t> symbols,
                             GuardedOutputs &outputs) {
  std::vector<SymbolRange> ranges;
  for (size_t s = 0; s < symbols.size(); ++s)
    ranges.push_back({layer.symbols()[s].name, symbols[s], symbols[s]});
  std::vector<TensorView> inputs, weights;
  size_t next = 0;
  for (const Operand &operand : layer.operands()) {
    if (operand.role != Operand::Role::Output) {
      (operand.role == Operand::Role::Input ? inputs : weights)
          .push_back(operands[next++]);
      continue;
    }
    auto shape = layer.shapeOf(operand.name, ranges);
    if (!shape)
      return shape.error();
    outputs.add(operand.dtype, *shape, operand.name);
  }
  auto bound = layer.bindWeights(weights, WeightMemory::Borrow);
  if (!bound)
    return bound.error();
  auto context = layer.makeContext(*bound, ranges);
  if (!context)
    return context.error();
  return context->run(inputs, outputs.getViews());
}
