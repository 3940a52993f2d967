//===- ExplainCommand.cpp - quern explain ---------------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/tools/quern/Json.h"
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
  case BufferRole::State:
    return "state";
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
struct Kernel {
  LaunchPhase phase;
  const KernelDesc *desc;
  std::vector<std::string> buffers;
};

struct Buffer {
  const char *role;
  std::string name, type;
  std::optional<int64_t> bytes; ///< Where every symbol is known.
};

/// What the simulator counted, and for which sizes.
struct Counted {
  std::vector<std::string> sizes; ///< "M = 20"
  std::vector<sim::LaunchRecord> launches;
};

/// All that is said of a layer, whether as words or as JSON. Points into the
/// compiled file.
struct Explanation {
  Explanation(const CompiledFile &file, const VariantDesc &variant)
      : file(file), variant(variant), counts(variant) {}

  const CompiledFile &file;
  const VariantDesc &variant;
  KernelCounts counts;
  std::vector<Kernel> kernels; ///< One for each launch.
  std::vector<Buffer> buffers;
  std::optional<Counted> counted;
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

/// What is read off the plan; values are those of `--set`.
static Explanation
explainPlan(const CompiledFile &file, const VariantDesc &variant,
            const std::vector<std::optional<int64_t>> &given) {
  Explanation explanation(file, variant);
  std::vector<std::string> names;
  std::vector<int64_t> values;
  bool known = true;
  for (size_t s = 0; s < given.size(); ++s) {
    names.push_back(file.compiled.module.symbols[s].name);
    known &= given[s].has_value();
    values.push_back(given[s].value_or(0));
  }
  for (const LaunchDesc &launch : variant.launches) {
    Kernel kernel{launch.phase, &variant.kernels[launch.kernel], {}};
    for (uint32_t buffer : launch.buffers)
      kernel.buffers.push_back(bufferName(variant.buffers[buffer]));
    explanation.kernels.push_back(std::move(kernel));
  }
  for (const BufferDesc &desc : variant.buffers) {
    Buffer buffer{
        roleName(desc.role), bufferName(desc), bufferType(desc, names), {}};
    if (known)
      if (auto bytes = bufferBytes(desc, values))
        buffer.bytes = *bytes;
    explanation.buffers.push_back(std::move(buffer));
  }
  return explanation;
}

static void printJson(const Explanation &explanation) {
  const CompileOutput &output = explanation.file.compiled;
  nlohmann::ordered_json json;
  json["layer"] = output.module.layer;
  json["target"] = explanation.variant.target;
  json["kernel_counts"] = {{"run", explanation.counts.run},
                           {"prepare", explanation.counts.prepare}};
  for (const ScalePlacement &placement : output.placements)
    json["scales"].push_back(
        {{"line", placement.line}, {"placement", placement.text}});
  for (const QuantizationPlacement &site : output.quantizations) {
    nlohmann::ordered_json options;
    for (const auto &option : site.options) {
      nlohmann::ordered_json entry = {{"placement", option.placement},
                                      {"possible", option.possible},
                                      {"chosen", option.chosen}};
      if (option.possible)
        entry["microseconds"] = option.costs;
      else
        entry["reason"] = option.reason;
      options.push_back(std::move(entry));
    }
    json["quantizations"].push_back({{"line", site.line},
                                     {"value", site.value},
                                     {"sizes", site.sizes},
                                     {"options", std::move(options)}});
  }
  for (const Kernel &kernel : explanation.kernels)
    json["launches"].push_back(
        {{"kernel", kernel.desc->name},
         {"phase", kernel.phase == LaunchPhase::Prepare ? "prepare" : "run"},
         {"reason", kernel.desc->reason},
         {"class", std::string(name(kernel.desc->numericsClass))},
         {"schedule", kernel.desc->schedule},
         {"buffers", kernel.buffers}});
  for (const Buffer &buffer : explanation.buffers) {
    nlohmann::ordered_json entry = {
        {"name", buffer.name}, {"role", buffer.role}, {"type", buffer.type}};
    if (buffer.bytes)
      entry["bytes"] = *buffer.bytes;
    json["buffers"].push_back(std::move(entry));
  }
  if (explanation.counted)
    for (const sim::LaunchRecord &launch : explanation.counted->launches)
      json["counted"].push_back({{"kernel", launch.kernel},
                                 {"sizes", explanation.counted->sizes},
                                 {"grid", launch.grid},
                                 {"block", launch.block},
                                 {"counters", toJson(launch.counters, true)}});
  fmt::print("{}\n", toText(json));
}

/// "M = 16"
static std::string sizesText(const std::vector<int64_t> &sizes,
                             const std::vector<SymbolDesc> &symbols) {
  std::vector<std::string> parts;
  for (size_t s = 0; s < sizes.size(); ++s)
    parts.push_back(fmt::format("{} = {}", symbols[s].name, sizes[s]));
  return fmt::format("{}", fmt::join(parts, ", "));
}

static void printQuantizations(const CompileOutput &output,
                               const std::string &file) {
  if (output.quantizations.empty())
    return;
  fmt::print("\nWhere dynamic quantizations are computed\n");
  for (const QuantizationPlacement &site : output.quantizations) {
    fmt::print("  {}:{}: {}\n", file, site.line, site.value);
    std::vector<std::string> sizes;
    for (const auto &at : site.sizes)
      sizes.push_back(sizesText(at, output.module.symbols));
    for (const auto &option : site.options) {
      std::string costs;
      for (size_t s = 0; s < option.costs.size(); ++s)
        costs += fmt::format("{}{:.1f} us{}{}", s ? ", " : "", option.costs[s],
                             sizes[s].empty() ? "" : " at ", sizes[s]);
      fmt::print("    {} {:<9} {}\n", option.chosen ? "->" : "  ",
                 option.placement,
                 option.possible ? "beyond a static scale: " + costs
                                 : "not possible: " + option.reason);
    }
  }
}

static void printKernels(const Explanation &explanation, LaunchPhase phase,
                         const char *title) {
  unsigned index = 0;
  for (const Kernel &kernel : explanation.kernels) {
    if (kernel.phase != phase)
      continue;
    if (index == 0)
      fmt::print("\n{}\n", title);
    const KernelDesc &desc = *kernel.desc;
    fmt::print("  {}. {} [{}]\n     why: {}\n", ++index, desc.name,
               name(desc.numericsClass), desc.reason);
    if (!desc.schedule.empty())
      fmt::print("     how: {}\n", desc.schedule);
    if (desc.registers)
      fmt::print("     {} registers, {} B static shared memory, {} B spilled\n",
                 desc.registers, desc.staticSharedBytes, desc.spillBytes);
    fmt::print("     on:  {}\n", fmt::join(kernel.buffers, ", "));
  }
}

static void printCounted(const Counted &counted, const std::string &target) {
  fmt::print("\nCounted by {} in one run{}{}\n", target,
             counted.sizes.empty() ? "" : " with ",
             fmt::join(counted.sizes, ", "));
  for (size_t i = 0; i < counted.launches.size(); ++i) {
    const sim::LaunchRecord &launch = counted.launches[i];
    fmt::print("  {}. {}, grid {}, block {}\n", i + 1, launch.kernel,
               fmt::join(launch.grid, "x"), fmt::join(launch.block, "x"));
    fmt::print("{}", describe(launch.counters, true, "     "));
  }
}

static void printText(const Explanation &explanation,
                      const LayerOptions &options) {
  const CompileOutput &output = explanation.file.compiled;
  fmt::print("{} for {}: {}\n", output.module.layer, explanation.variant.target,
             explanation.counts.print());
  if (!output.placements.empty())
    fmt::print("\nWhere scales are applied\n");
  if (explanation.file.isModule)
    fmt::print("read from {}; where scales are applied is said for a layer's "
               "text alone\n",
               options.file);
  for (const ScalePlacement &placement : output.placements)
    fmt::print("  {}:{}: {}\n", options.file, placement.line, placement.text);
  printQuantizations(output, options.file);
  printKernels(explanation, LaunchPhase::Prepare,
               "Once, when weights are bound");
  printKernels(explanation, LaunchPhase::Run, "In every run");
  fmt::print("\nBuffers\n");
  for (const Buffer &buffer : explanation.buffers)
    fmt::print("  {:<10} {:<24} {}{}\n", buffer.role, buffer.name, buffer.type,
               buffer.bytes ? fmt::format(", {} bytes", *buffer.bytes) : "");
  if (explanation.counted)
    printCounted(*explanation.counted, options.target);
}

int quern::tool::explain(const LayerOptions &options) {
  auto file = compileOrRead(options);
  if (!file)
    return report(file.error());
  auto variant = findVariant(file->compiled.module, options);
  if (!variant)
    return report(variant.error());
  auto given = parseSymbolValues(file->compiled.module.symbols, options.set);
  if (!given)
    return report(given.error());
  Explanation explanation = explainPlan(*file, **variant, *given);
  if (auto target = Target::parse(options.target);
      target && target->kind == Target::Kind::Sim) {
    auto counted = count(options, *file, *given);
    if (!counted)
      return report(counted.error());
    explanation.counted = std::move(*counted);
  }
  if (options.json)
    printJson(explanation);
  else
    printText(explanation, options);
  return Right;
}
