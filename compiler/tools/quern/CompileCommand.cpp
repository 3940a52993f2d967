//===- CompileCommand.cpp - quern compile ---------------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/tools/quern/Json.h"
#include "compiler/tools/quern/Request.h"
#include "runtime/io/AtomicFile.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <cstdio>
#include <unistd.h>

using namespace quern;
using namespace quern::tool;

/// Refuses what would have no effect, and a binary that would go to a person.
static Result<void> checkOptions(const CompileCommandOptions &options,
                                 const StageInfo *stage) {
  auto refuse = [](std::string message, std::string note) {
    return fail(Errc::InvalidArgument, std::move(message), {std::move(note)});
  };
  bool printed = stage || !options.dumpAfter.empty();
  if (stage && !options.dumpAfter.empty())
    return refuse("--emit and --dump-after both print the layer on its way",
                  "give one of them");
  if (options.json && printed)
    return refuse(fmt::format("--json has nothing to print with {}",
                              stage ? "--emit" : "--dump-after"),
                  "leave out one of them");
  if (options.withoutSource && (stage || options.output.empty()))
    return refuse("--no-source is about the module, and none is written",
                  "give -o FILE, without --emit");
  if (stage && stage->binary && options.output.empty() && isatty(STDOUT_FILENO))
    return refuse(
        fmt::format("{} is binary, and this is a terminal", stage->name),
        "give -o FILE, or redirect standard output");
  return options.output.empty() ? Result<void>()
                                : checkWritable(options.output);
}

/// Writes the stage to its file, or prints it.
static Result<void> deliver(const StageInfo &stage, std::string text,
                            const std::string &file) {
  if (!stage.binary)
    text += '\n';
  if (!file.empty())
    return writeFileAtomically(file, std::as_bytes(std::span(text)));
  std::fwrite(text.data(), 1, text.size(), stdout);
  return {};
}

static double totalMilliseconds(const CompileOutput &output) {
  double total = 0;
  for (const CompileOutput::Time &time : output.times)
    total += time.milliseconds;
  return total;
}

/// The first launch of a kernel; null for one that is never launched.
static const LaunchDesc *findLaunch(const VariantDesc &variant, size_t kernel) {
  for (const LaunchDesc &launch : variant.launches)
    if (launch.kernel == kernel)
      return &launch;
  return nullptr;
}

/// The sizes that a kernel is launched for: "M <= 16 or M >= 65"; empty where
/// it is all.
static std::string rangesText(const VariantDesc &variant, size_t kernel,
                              const std::vector<SymbolDesc> &symbols) {
  std::string text;
  for (const LaunchDesc &launch : variant.launches) {
    if (launch.kernel != kernel)
      continue;
    std::string one = rangeText(launch.when, symbols);
    if (one.empty())
      return {};
    text += (text.empty() ? "" : " or ") + one;
  }
  return text;
}

static bool isPrepare(const LaunchDesc *launch) {
  return launch && launch->phase == LaunchPhase::Prepare;
}

static void printJson(const CompileOutput &output, const std::string &file) {
  const VariantDesc &variant = output.module.variants.front();
  KernelCounts counts(variant);
  nlohmann::ordered_json json;
  json["layer"] = output.module.layer;
  json["target"] = variant.target;
  json["kernel_counts"] = {{"run", counts.run}, {"prepare", counts.prepare}};
  json["milliseconds"] = totalMilliseconds(output);
  for (const CompileOutput::Time &time : output.times)
    json["phases"][time.phase] = time.milliseconds;
  for (size_t k = 0; k < variant.kernels.size(); ++k) {
    const KernelDesc &kernel = variant.kernels[k];
    json["kernels"].push_back(
        {{"name", kernel.name},
         {"phase", isPrepare(findLaunch(variant, k)) ? "prepare" : "run"},
         {"when", rangesText(variant, k, output.module.symbols)},
         {"reason", kernel.reason},
         {"schedule", kernel.schedule},
         {"registers", kernel.registers},
         {"static_shared_bytes", kernel.staticSharedBytes},
         {"spill_bytes", kernel.spillBytes}});
  }
  if (!file.empty())
    json["module"] = file;
  fmt::print("{}\n", toText(json));
}

static void printText(const CompileOutput &output, bool cuda,
                      const std::string &file) {
  const ModuleDesc &module = output.module;
  const VariantDesc &variant = module.variants.front();
  std::vector<std::string> names;
  for (const SymbolDesc &symbol : module.symbols)
    names.push_back(symbol.name);
  fmt::print("{} for {}, in {:.0f} ms: {}\n", module.layer, variant.target,
             totalMilliseconds(output), KernelCounts(variant).print());
  for (size_t k = 0; k < variant.kernels.size(); ++k) {
    const KernelDesc &kernel = variant.kernels[k];
    const LaunchDesc *launch = findLaunch(variant, k);
    std::string when = rangesText(variant, k, module.symbols);
    fmt::print("  {}{}{}\n", kernel.name,
               isPrepare(launch) ? ", when weights are bound" : "",
               when.empty() ? "" : ", where " + when);
    if (!kernel.schedule.empty())
      fmt::print("    {}\n", kernel.schedule);
    if (cuda)
      fmt::print("    {} registers, {} B shared + {} B dynamic, {} B spilled\n",
                 kernel.registers, kernel.staticSharedBytes,
                 launch ? launch->dynamicSharedBytes.print(names) : "0",
                 kernel.spillBytes);
  }
  for (const CompileOutput::Time &time : output.times)
    fmt::print("  {:<28} {:8.1f} ms\n", time.phase, time.milliseconds);
  if (!file.empty())
    fmt::print("wrote {}\n", file);
}

int quern::tool::compile(const CompileCommandOptions &options) {
  const StageInfo *stage = nullptr;
  for (const StageInfo &one : stages())
    if (one.name == options.emit)
      stage = &one;
  if (auto right = checkOptions(options, stage); !right)
    return report(right.error());
  auto request = makeRequest(options);
  if (!request)
    return report(request.error());
  request->compile.dumpAfter = options.dumpAfter;
  request->compile.withoutSource = options.withoutSource;
  if (stage)
    request->compile.wanted.push_back(stage->stage);
  request->compile.textsOnly =
      stage || (!options.dumpAfter.empty() && options.output.empty());
  auto output = compileLayer(request->compile);
  if (!output)
    return report(output.error());
  noteUnusedRecord(*output);

  if (stage) {
    auto delivered =
        deliver(*stage, std::move(output->texts.front().text), options.output);
    if (!delivered)
      return report(delivered.error());
    return Right;
  }
  if (!options.output.empty()) {
    std::vector<std::byte> bytes = output->module.serialize();
    if (auto written = writeFileAtomically(options.output, bytes); !written)
      return report(written.error());
  }
  if (!options.dumpAfter.empty())
    fmt::print("{}", output->passDump);
  else if (options.json)
    printJson(*output, options.output);
  else
    printText(*output, request->compile.target.kind != Target::Kind::Cpu,
              options.output);
  return Right;
}
