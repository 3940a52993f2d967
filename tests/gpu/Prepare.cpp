//===- Prepare.cpp - Compiles layers and what they must compute -----------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
//   gpu_prepare FOLDER --set golden|small|full --arch sm_90a[,sm_80...]
//               [--no-cubin] [--threads N]
//
// Fills FOLDER as ModuleSet.h has it. A layer that the compiler refuses for an
// architecture is named and left out. Needs NVRTC, no GPU. Exits with 77 where
// there is no NVRTC.
//
//===----------------------------------------------------------------------===//

#include "compiler/pipelines/Compiler.h"
#include "compiler/pipelines/Oracle.h"
#include "quern/quern.h"
#include "runtime/device/cuda/Nvrtc.h"
#include "tests/gpu/LayerSet.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>

using namespace quern;
using namespace quern::gputest;

namespace {

struct Options {
  std::string folder, set;
  std::vector<std::string> archs;
  bool withoutCubin = false;
  unsigned threads = 2;
};

/// The exit code if the program ends here: help was asked for, or the arguments
/// are refused.
std::optional<int> parse(int argc, char **argv, Options &options) {
  CLI::App app("Compiles layers, and what they must compute, for tests/gpu/run",
               "gpu_prepare");
  app.add_option("folder", options.folder, "where they go")->required();
  app.add_option("--set", options.set, "which layers")
      ->required()
      ->check(CLI::IsMember({"golden", "small", "full"}));
  app.add_option("--arch", options.archs, "for which GPUs, with commas")
      ->required()
      ->delimiter(',')
      ->check([](const std::string &arch) {
        auto target = Target::parse("cuda:" + arch);
        return target ? std::string() : target.error().message;
      });
  app.add_flag("--no-cubin", options.withoutCubin, "PTX alone");
  app.add_option("--threads", options.threads, "for what they must compute")
      ->check(CLI::Range(1u, 1024u));
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError &error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  return std::nullopt;
}

/// Outputs up to this size are stored, so that a mismatch can be told in
/// detail; of larger exact ones the hash alone.
constexpr size_t storedBytes = 1 << 19;

Result<void> writeBytes(const std::string &path,
                        std::span<const std::byte> bytes) {
  std::ofstream out(path, std::ios::binary);
  out.write(reinterpret_cast<const char *>(bytes.data()),
            static_cast<std::streamsize>(bytes.size()));
  if (!out.flush())
    return fail(Errc::InvalidFile, fmt::format("{} cannot be written", path));
  return {};
}

/// The layer for every architecture that takes it; their names.
std::vector<std::string> compileAll(const Options &options,
                                    const LayerSource &source,
                                    std::optional<ModuleDesc> &any) {
  std::vector<std::string> archs;
  for (const std::string &arch : options.archs) {
    CompileRequest request;
    request.source = source.text;
    request.name = source.name + ".qn";
    request.target = *Target::parse("cuda:" + arch);
    auto compiled = compileLayer(request);
    if (!compiled) {
      fmt::print("left out for {}: {}: {}\n", arch, source.name,
                 compiled.error().message);
      continue;
    }
    if (options.withoutCubin)
      for (VariantDesc &variant : compiled->module.variants)
        std::erase_if(variant.code, [](const CodeDesc &code) {
          return code.kind == CodeKind::Cubin;
        });
    std::string path = modulePath(options.folder, source.name, arch);
    if (auto done = writeBytes(path, compiled->module.serialize()); !done) {
      fmt::print(stderr, "{}\n", done.error().render());
      std::exit(1);
    }
    any = std::move(compiled->module);
    archs.push_back(arch);
  }
  return archs;
}

/// The operands of a layer, inputs and weights in declared order.
Result<std::vector<Tensor>> drawAll(const ModuleDesc &module,
                                    const ModuleRun &run) {
  std::vector<Tensor> operands;
  for (const BufferDesc &buffer : module.variants.front().buffers) {
    bool weight = buffer.role == BufferRole::Weight;
    if (!weight && buffer.role != BufferRole::Input)
      continue;
    std::vector<int64_t> extents;
    for (const SymExpr &extent : buffer.shape) {
      auto value = extent.evaluate(run.symbols);
      if (!value)
        return value.error();
      extents.push_back(*value);
    }
    std::string name =
        buffer.part == "values" ? buffer.name : buffer.name + "." + buffer.part;
    auto drawn = drawOperand(name, buffer.dtype,
                             Shape(std::span<const int64_t>(extents)), run.seed,
                             run.corners && !weight);
    if (!drawn)
      return drawn.error();
    operands.push_back(std::move(*drawn));
  }
  return operands;
}

Result<void> expectRun(const Options &options, const Oracle &oracle,
                       const ModuleDesc &module, const std::string &name,
                       size_t number, ModuleRun &run) {
  auto operands = drawAll(module, run);
  if (!operands)
    return operands.error();
  std::vector<TensorView> views(operands->begin(), operands->end());
  auto bounds = oracle.bounds(views, options.threads);
  if (!bounds)
    return bounds.error();
  std::vector<std::byte> stored;
  for (const Oracle::Bounds &bound : *bounds) {
    ExpectedOutput output;
    output.name = bound.expected.name();
    output.numericsClass = quern::name(bound.numericsClass);
    output.hash = hashOf(bound.expected);
    output.rows = bound.rows;
    output.codeShare = bound.codeShare;
    output.extraRelative = bound.extraRelative;
    bool exact = bound.numericsClass != NumericsClass::Bounded;
    if (!exact || bound.expected.bytes() <= storedBytes) {
      output.bytes = bound.expected.bytes();
      auto *data = static_cast<const std::byte *>(bound.expected.data());
      stored.insert(stored.end(), data, data + output.bytes);
    }
    run.outputs.push_back(std::move(output));
  }
  if (stored.empty())
    return {};
  run.file = fmt::format("expected/{}.{}.bin", name, number);
  return writeBytes(options.folder + "/" + run.file, stored);
}

} // namespace

int main(int argc, char **argv) {
  Options options;
  if (std::optional<int> code = parse(argc, argv, options))
    return *code;
  if (auto nvrtc = cuda::Nvrtc::get(); !nvrtc) {
    fmt::print("skipped: {}\n", nvrtc.error().message);
    return 77;
  }
  auto layers = layerSet(options.set, QUERN_EXAMPLES_DIR);
  if (!layers) {
    fmt::print(stderr, "the examples of the set '{}' are not in {}\n",
               options.set, QUERN_EXAMPLES_DIR);
    return 2;
  }
  std::error_code error;
  for (const char *folder : {"modules", "expected"})
    std::filesystem::create_directories(options.folder + "/" + folder, error);
  if (error) {
    fmt::print(stderr, "{}: {}\n", options.folder, error.message());
    return 2;
  }
  ModuleSet set;
  set.producer = compilerBuildId();
  set.timed = layers->timed;
  for (const LayerSource &source : layers->layers) {
    std::optional<ModuleDesc> module;
    ModuleCase entry{source.name, compileAll(options, source, module), {}};
    if (entry.archs.empty()) {
      std::erase_if(set.timed, [&](const TimedCase &timed) {
        return timed.name == source.name;
      });
      continue;
    }
    auto oracle = Oracle::create(source.text, source.name + ".qn");
    if (!oracle) {
      fmt::print(stderr, "{}\n", oracle.error().render());
      return 1;
    }
    size_t runs = source.sizes.size();
    for (size_t i = 0; i < runs + (source.corners && runs ? 1 : 0); ++i) {
      ModuleRun run;
      run.symbols = source.sizes[std::min(i, runs - 1)];
      run.seed = 100 + i;
      run.corners = i == runs;
      if (auto done = expectRun(options, *oracle, *module, source.name, i, run);
          !done) {
        fmt::print("run left out: {} [{}]: {}\n", source.name,
                   fmt::join(run.symbols, ", "), done.error().message);
        continue;
      }
      entry.runs.push_back(std::move(run));
    }
    set.modules.push_back(std::move(entry));
  }
  if (auto done = writeSet(options.folder, set); !done) {
    fmt::print(stderr, "{}\n", done.error().render());
    return 1;
  }
  fmt::print("{}: {} modules, {} timed\n", options.folder, set.modules.size(),
             set.timed.size());
  return 0;
}
