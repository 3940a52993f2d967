//===- CompileCommand.cpp - quern compile ---------------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/tools/quern/Request.h"
#include "runtime/io/AtomicFile.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <cstdio>
#include <optional>

using namespace quern;
using namespace quern::tool;

static std::optional<Stage> parseStage(const std::string &name) {
  if (name == "quern")
    return Stage::Quern;
  if (name == "kernels")
    return Stage::Kernels;
  if (name == "tile")
    return Stage::Tile;
  if (name == "llvm")
    return Stage::Llvm;
  if (name == "asm")
    return Stage::Asm;
  if (name == "cuda")
    return Stage::Cuda;
  if (name == "ptx")
    return Stage::Ptx;
  return std::nullopt;
}

int quern::tool::compile(const CompileCommandOptions &options) {
  auto request = makeRequest(options);
  if (!request)
    return report(request.error());
  request->compile.dumpAfter = options.dumpAfter;
  request->compile.withoutSource = options.withoutSource;
  bool cubin = options.emit == "cubin";
  request->compile.textsOnly =
      options.output.empty() && !cubin &&
      (!options.emit.empty() || !options.dumpAfter.empty());
  if (std::optional<Stage> stage = parseStage(options.emit))
    request->compile.wanted.push_back(*stage);
  if (cubin && request->compile.target.kind == Target::Kind::Cpu)
    return report(
        fail(Errc::InvalidArgument,
             fmt::format("target {} has no such stage: cubin", options.target),
             {"llvm and asm are stages of cpu; cuda, ptx and cubin "
              "of cuda and sim"}));
  auto output = compileLayer(request->compile);
  if (!output)
    return report(output.error());

  if (!options.dumpAfter.empty())
    fmt::print("{}", output->passDump);
  for (const CompileOutput::Text &text : output->texts)
    fmt::print("{}\n", text.text);

  if (request->compile.textsOnly)
    return Right;
  const VariantDesc &variant = output->module.variants.front();
  if (cubin) {
    for (const CodeDesc &code : variant.code)
      if (code.kind == CodeKind::Cubin)
        std::fwrite(code.bytes.data(), 1, code.bytes.size(), stdout);
    return Right;
  }
  if (!options.output.empty()) {
    std::vector<std::byte> bytes = output->module.serialize();
    if (auto written = writeFileAtomically(options.output, bytes); !written)
      return report(written.error());
  }
  if (!options.emit.empty() || !options.dumpAfter.empty())
    return Right;

  double total = 0;
  for (const CompileOutput::Time &time : output->times)
    total += time.milliseconds;
  if (options.json) {
    nlohmann::ordered_json json;
    json["layer"] = output->module.layer;
    json["target"] = variant.target;
    json["milliseconds"] = total;
    for (const CompileOutput::Time &time : output->times)
      json["phases"][time.phase] = time.milliseconds;
    for (const KernelDesc &kernel : variant.kernels)
      json["kernels"].push_back(
          {{"name", kernel.name},
           {"reason", kernel.reason},
           {"schedule", kernel.schedule},
           {"registers", kernel.registers},
           {"static_shared_bytes", kernel.staticSharedBytes},
           {"spill_bytes", kernel.spillBytes}});
    if (!options.output.empty())
      json["module"] = options.output;
    fmt::print("{}\n", json.dump(2));
    return Right;
  }
  fmt::print("{} for {}: {} in {:.0f} ms\n", output->module.layer,
             variant.target, countOf(variant.kernels.size(), "kernel"), total);
  bool cuda = request->compile.target.kind != Target::Kind::Cpu;
  for (size_t k = 0; k < variant.kernels.size(); ++k) {
    const KernelDesc &kernel = variant.kernels[k];
    fmt::print("  {}\n", kernel.name);
    if (!kernel.schedule.empty())
      fmt::print("    {}\n", kernel.schedule);
    if (!cuda)
      continue;
    std::string dynamic;
    for (const LaunchDesc &launch : variant.launches)
      if (launch.kernel == k) {
        std::vector<std::string> names;
        for (const SymbolDesc &symbol : output->module.symbols)
          names.push_back(symbol.name);
        dynamic = launch.dynamicSharedBytes.print(names);
        break;
      }
    fmt::print("    {} registers, {} B shared + {} B dynamic, {} B spilled\n",
               kernel.registers, kernel.staticSharedBytes,
               dynamic.empty() ? "0" : dynamic, kernel.spillBytes);
  }
  for (const CompileOutput::Time &time : output->times)
    fmt::print("  {:<28} {:8.1f} ms\n", time.phase, time.milliseconds);
  if (!options.output.empty())
    fmt::print("wrote {}\n", options.output);
  return Right;
}
