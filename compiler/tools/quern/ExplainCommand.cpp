//===- ExplainCommand.cpp - quern explain ---------------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/tools/quern/LayerRun.h"
#include "compiler/tools/quern/SimCounters.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

using namespace quern;
using namespace quern::tool;

static const char *roleName(BufferRole role) {
  switch (role) {
  case BufferRole::Input:
    return "input";
  case BufferRole::Weight:
    return "weight";
  case BufferRole::Output:
    return "output";
  case BufferRole::Temporary:
    return "temporary";
  case BufferRole::Packed:
    return "packed";
  }
  return "?";
}

static std::string bufferName(const BufferDesc &buffer) {
  return buffer.part == "values" || buffer.part.empty()
             ? buffer.name
             : buffer.name + "." + buffer.part;
}

/// `f16[M, 4096]`
static std::string bufferType(const BufferDesc &buffer,
                              const std::vector<std::string> &names) {
  std::vector<std::string> shape;
  for (const SymExpr &extent : buffer.shape)
    shape.push_back(extent.print(names));
  return fmt::format("{}[{}]", name(buffer.dtype), fmt::join(shape, ", "));
}

/// The buffer's size for these symbol values, in bytes.
static Result<int64_t> bufferBytes(const BufferDesc &buffer,
                                   const std::vector<int64_t> &symbols) {
  SymExpr bytes = SymExpr::constant(byteWidth(buffer.dtype));
  for (const SymExpr &extent : buffer.shape)
    bytes = bytes * extent;
  return bytes.evaluate(symbols);
}

/// A size to count at where none is given: small, and not a power of two.
static int64_t smallSize(const SymbolDesc &symbol) {
  int64_t multiple = std::max<int64_t>(symbol.multiple, 1);
  int64_t wanted = std::clamp<int64_t>(20, symbol.min, symbol.max);
  int64_t size = (wanted + multiple - 1) / multiple * multiple;
  return size <= symbol.max ? size : symbol.max / multiple * multiple;
}

namespace {
/// What the simulator counted, and for which sizes.
struct Counted {
  std::vector<std::string> sizes; ///< "M = 20"
  std::vector<sim::LaunchRecord> launches;
};
} // namespace

/// Runs the layer once on drawn operands.
static Result<Counted> count(const LayerOptions &options,
                             const CompiledFile &file,
                             const std::vector<std::optional<int64_t>> &given) {
  RunOptions running;
  static_cast<LayerOptions &>(running) = options;
  running.set.clear();
  Counted counted;
  const std::vector<SymbolDesc> &symbols = file.compiled.module.symbols;
  for (size_t s = 0; s < symbols.size(); ++s) {
    int64_t size = given[s].value_or(smallSize(symbols[s]));
    running.set.push_back(fmt::format("{}={}", symbols[s].name, size));
    counted.sizes.push_back(fmt::format("{} = {}", symbols[s].name, size));
  }
  LayerRun run(running);
  if (auto done = run.execute(file); !done)
    return done.error();
  counted.launches = std::move(run.records);
  return counted;
}

int quern::tool::explain(const LayerOptions &options) {
  auto file = compileOrRead(options);
  if (!file)
    return report(file.error());
  const CompileOutput *output = &file->compiled;
  const ModuleDesc &module = output->module;
  auto chosen = findVariant(module, options);
  if (!chosen)
    return report(chosen.error());
  const VariantDesc &variant = **chosen;
  auto given = parseSymbolValues(module.symbols, options.set);
  if (!given)
    return report(given.error());

  std::vector<std::string> names;
  std::vector<int64_t> values;
  bool known = true;
  for (size_t s = 0; s < module.symbols.size(); ++s) {
    names.push_back(module.symbols[s].name);
    known &= (*given)[s].has_value();
    values.push_back((*given)[s].value_or(0));
  }
  std::optional<Counted> counted;
  if (auto target = Target::parse(options.target);
      target && target->kind == Target::Kind::Sim) {
    auto run = count(options, *file, *given);
    if (!run)
      return report(run.error());
    counted = std::move(*run);
  }
  auto bytesText = [&](const BufferDesc &buffer) -> std::string {
    if (!known)
      return {};
    auto bytes = bufferBytes(buffer, values);
    return bytes ? fmt::format(", {} bytes", *bytes) : std::string();
  };

  if (options.json) {
    nlohmann::ordered_json json;
    json["layer"] = module.layer;
    json["target"] = variant.target;
    for (const ScalePlacement &placement : output->placements)
      json["scales"].push_back(
          {{"line", placement.line}, {"placement", placement.text}});
    for (const LaunchDesc &launch : variant.launches) {
      const KernelDesc &kernel = variant.kernels[launch.kernel];
      nlohmann::ordered_json entry;
      entry["kernel"] = kernel.name;
      entry["phase"] = launch.phase == LaunchPhase::Prepare ? "prepare" : "run";
      entry["reason"] = kernel.reason;
      entry["class"] = std::string(name(kernel.numericsClass));
      entry["schedule"] = kernel.schedule;
      for (uint32_t buffer : launch.buffers)
        entry["buffers"].push_back(bufferName(variant.buffers[buffer]));
      json["launches"].push_back(entry);
    }
    for (const BufferDesc &buffer : variant.buffers)
      json["buffers"].push_back({{"name", bufferName(buffer)},
                                 {"role", roleName(buffer.role)},
                                 {"type", bufferType(buffer, names)}});
    if (counted)
      for (const sim::LaunchRecord &launch : counted->launches)
        json["counted"].push_back(
            {{"kernel", launch.kernel},
             {"sizes", counted->sizes},
             {"grid", launch.grid},
             {"block", launch.block},
             {"counters", toJson(launch.counters, true)}});
    fmt::print("{}\n", json.dump(2));
    return Right;
  }

  size_t perRun = 0;
  for (const LaunchDesc &launch : variant.launches)
    perRun += launch.phase == LaunchPhase::Run;
  fmt::print("{} for {}: {} in each run\n", module.layer, variant.target,
             countOf(perRun, "kernel"));
  if (!output->placements.empty())
    fmt::print("\nWhere scales are applied\n");
  if (file->isModule)
    fmt::print("read from {}; where scales are applied is said for a layer's "
               "text alone\n",
               options.file);
  for (const ScalePlacement &placement : output->placements)
    fmt::print("  {}:{}: {}\n", options.file, placement.line, placement.text);
  for (LaunchPhase phase : {LaunchPhase::Prepare, LaunchPhase::Run}) {
    bool first = true;
    unsigned index = 0;
    for (const LaunchDesc &launch : variant.launches) {
      if (launch.phase != phase)
        continue;
      if (first)
        fmt::print("\n{}\n", phase == LaunchPhase::Prepare
                                 ? "Once, when weights are bound"
                                 : "In every run");
      first = false;
      const KernelDesc &kernel = variant.kernels[launch.kernel];
      std::vector<std::string> buffers;
      for (uint32_t buffer : launch.buffers)
        buffers.push_back(bufferName(variant.buffers[buffer]));
      fmt::print("  {}. {} [{}]\n     why: {}\n", ++index, kernel.name,
                 name(kernel.numericsClass), kernel.reason);
      if (!kernel.schedule.empty())
        fmt::print("     how: {}\n", kernel.schedule);
      if (kernel.registers)
        fmt::print("     {} registers, {} B static shared memory, {} B "
                   "spilled\n",
                   kernel.registers, kernel.staticSharedBytes,
                   kernel.spillBytes);
      fmt::print("     on:  {}\n", fmt::join(buffers, ", "));
    }
  }
  fmt::print("\nBuffers\n");
  for (const BufferDesc &buffer : variant.buffers)
    fmt::print("  {:<10} {:<24} {}{}\n", roleName(buffer.role),
               bufferName(buffer), bufferType(buffer, names),
               bytesText(buffer));
  if (counted) {
    fmt::print("\nCounted by {} in one run{}{}\n", options.target,
               counted->sizes.empty() ? "" : " with ",
               fmt::join(counted->sizes, ", "));
    for (size_t i = 0; i < counted->launches.size(); ++i) {
      const sim::LaunchRecord &launch = counted->launches[i];
      fmt::print("  {}. {}, grid {}, block {}\n", i + 1, launch.kernel,
                 fmt::join(launch.grid, "x"), fmt::join(launch.block, "x"));
      fmt::print("{}", describe(launch.counters, true, "     "));
    }
  }
  return Right;
}
