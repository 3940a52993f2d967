//===- Request.cpp - From a file to a compile or a module -----------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/tools/quern/Request.h"

#include "runtime/io/FileReader.h"
#include "runtime/module/ModuleFormat.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>

using namespace quern;
using namespace quern::tool;

static bool isModule(const std::string &path) {
  if (path.ends_with(".qnm"))
    return true;
  // Anything that is no regular file is read as text.
  Result<FileReader> file = FileReader::open(path);
  std::array<std::byte, sizeof(format::magic)> start;
  return file && file->size() >= start.size() && file->read(0, start) &&
         std::memcmp(start.data(), format::magic, start.size()) == 0;
}

Result<LayerRequest> quern::tool::makeRequest(const LayerOptions &options) {
  if (isModule(options.file))
    return fail(Errc::InvalidArgument,
                fmt::format("{} is a compiled module already", options.file),
                {"quern run and quern explain take modules as they are"});
  auto source = readTextFile(options.file);
  if (!source)
    return source.error();
  auto target = Target::parse(options.target);
  if (!target)
    return target.error();
  LayerRequest request;
  request.source = std::make_unique<std::string>(std::move(*source));
  request.compile.source = *request.source;
  request.compile.name = options.file;
  request.compile.target = *target;
  request.compile.settings = {
      "fuse=" + options.fuse, "placement=" + options.placement,
      "buckets=" + options.buckets, "numerics=" + options.numerics};
  if (!options.layer.empty())
    request.compile.settings.push_back("layer=" + options.layer);
  if (options.isGiven("--tuned")) {
    auto record = readTextFile(options.tuned);
    if (!record)
      return record.error();
    request.compile.settings.push_back("tuned=" + *record);
    request.compile.tunedName = options.tuned;
  }
  return request;
}

static Result<CompiledFile> readModule(const LayerOptions &options) {
  for (const char *option : {"--layer", "--fuse", "--placement", "--buckets",
                             "--numerics", "--tuned"})
    if (options.isGiven(option))
      return fail(Errc::InvalidArgument,
                  fmt::format("{} steers compiling, and {} is compiled already",
                              option, options.file),
                  {"give it to quern compile"});
  auto bytes = readFile(options.file);
  if (!bytes)
    return bytes.error();
  auto module = ModuleDesc::parse(*bytes);
  if (!module) {
    Diagnostic diagnostic = module.error();
    diagnostic.file = options.file;
    return diagnostic;
  }
  CompiledFile read;
  read.isModule = true;
  read.compiled.module = std::move(*module);
  return read;
}

Result<CompiledFile> quern::tool::compileOrRead(
    const LayerOptions &options,
    const std::function<void(CompileRequest &)> &change) {
  if (isModule(options.file))
    return readModule(options);
  auto request = makeRequest(options);
  if (!request)
    return request.error();
  if (change)
    change(request->compile);
  auto start = std::chrono::steady_clock::now();
  auto output = compileLayer(request->compile);
  if (!output)
    return output.error();
  noteUnusedRecord(*output);
  CompiledFile file;
  file.compiled = std::move(*output);
  file.compileMs = std::chrono::duration<double, std::milli>(
                       std::chrono::steady_clock::now() - start)
                       .count();
  return file;
}

void quern::tool::noteUnusedRecord(const CompileOutput &output) {
  for (const cpugen::ScheduledProduct &product : output.products)
    if (product.line())
      return;
  if (!output.unusedSchedules.empty())
    fmt::print(stderr, "warning: nothing of the record was used: {}\n",
               output.unusedSchedules.front());
}

std::string quern::tool::rangeText(const std::vector<RangeDesc> &when,
                                   const std::vector<SymbolDesc> &symbols) {
  std::vector<std::string> parts;
  for (const RangeDesc &range : when) {
    const SymbolDesc &symbol = symbols[range.symbol];
    std::string text = symbol.name;
    if (range.min == range.max)
      text += fmt::format(" = {}", range.min);
    else if (range.min == symbol.min)
      text += fmt::format(" <= {}", range.max);
    else if (range.max == symbol.max)
      text += fmt::format(" >= {}", range.min);
    else
      text = fmt::format("{} <= {} <= {}", range.min, text, range.max);
    parts.push_back(std::move(text));
  }
  return fmt::format("{}", fmt::join(parts, ", "));
}

KernelCounts::KernelCounts(const VariantDesc &variant) {
  // By the sizes that launches are for, which no two ranges of share.
  std::vector<std::pair<std::vector<RangeDesc>, size_t>> ranges;
  size_t always = 0;
  for (const LaunchDesc &launch : variant.launches) {
    if (launch.phase == LaunchPhase::Prepare) {
      ++prepare;
      continue;
    }
    if (launch.when.empty()) {
      ++always;
      continue;
    }
    auto known =
        std::find_if(ranges.begin(), ranges.end(), [&](const auto &range) {
          return range.first == launch.when;
        });
    if (known == ranges.end())
      known = ranges.insert(known, {launch.when, 0});
    ++known->second;
  }
  run = leastRun = always;
  for (const auto &[range, number] : ranges) {
    run = std::max(run, always + number);
    leastRun = range == ranges.front().first
                   ? always + number
                   : std::min(leastRun, always + number);
  }
}

std::string KernelCounts::print() const {
  std::string text =
      (leastRun < run ? fmt::format("{} to ", leastRun) : std::string()) +
      countOf(run, "kernel") + " in each run";
  if (prepare)
    text += fmt::format(", {} when weights are bound", prepare);
  return text;
}

Result<const VariantDesc *>
quern::tool::findVariant(const ModuleDesc &module,
                         const LayerOptions &options) {
  auto target = Target::parse(options.target);
  if (!target)
    return target.error();
  if (!options.isGiven("--target") && !module.variants.empty())
    return &module.variants.front();
  std::string wanted = target->codeTarget();
  std::vector<std::string> present;
  for (const VariantDesc &variant : module.variants) {
    if (variant.target == wanted || variant.target.starts_with(wanted + ":"))
      return &variant;
    present.push_back(variant.target);
  }
  return fail(
      Errc::Unsupported,
      fmt::format("{} has no code for {}", options.file, target->print()),
      {present.empty()
           ? std::string("it has no code at all")
           : fmt::format("it has code for {}", fmt::join(present, ", "))});
}
