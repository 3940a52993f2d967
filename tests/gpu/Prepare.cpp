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
  bool cubin = true;
  unsigned threads = 2;
};

std::optional<Options> parse(int argc, char **argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    std::string_view name = argv[i];
    if (name == "--no-cubin") {
      options.cubin = false;
    } else if (!name.starts_with("--")) {
      options.folder = name;
    } else if (i + 1 == argc) {
      return std::nullopt;
    } else {
      std::string value = argv[++i];
      if (name == "--set")
        options.set = value;
      else if (name == "--threads")
        options.threads = static_cast<unsigned>(std::atoi(value.c_str()));
      else if (name == "--arch")
        for (size_t at = 0; at <= value.size();) {
          size_t comma = std::min(value.find(',', at), value.size());
          options.archs.push_back(value.substr(at, comma - at));
          at = comma + 1;
        }
      else
        return std::nullopt;
    }
  }
  if (options.folder.empty() || options.set.empty() || options.archs.empty())
    return std::nullopt;
  return options;
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
    auto target = Target::parse("cuda:" + arch);
    if (!target) {
      fmt::print(stderr, "{}\n", target.error().render());
      std::exit(2);
    }
    CompileRequest request;
    request.source = source.text;
    request.name = source.name + ".qn";
    request.target = *target;
    auto compiled = compileLayer(request);
    if (!compiled) {
      fmt::print("left out for {}: {}: {}\n", arch, source.name,
                 compiled.error().message);
      continue;
    }
    if (!options.cubin)
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
  std::optional<Options> options = parse(argc, argv);
  if (!options) {
    fmt::print(stderr,
               "usage: gpu_prepare FOLDER --set golden|small|full --arch "
               "sm_90a[,...] [--no-cubin] [--threads N]\n");
    return 2;
  }
  if (auto nvrtc = cuda::Nvrtc::get(); !nvrtc) {
    fmt::print("skipped: {}\n", nvrtc.error().message);
    return 77;
  }
  auto layers = layerSet(options->set, QUERN_EXAMPLES_DIR);
  if (!layers) {
    fmt::print(stderr, "no set '{}', or its examples are not in {}\n",
               options->set, QUERN_EXAMPLES_DIR);
    return 2;
  }
  std::error_code error;
  for (const char *folder : {"modules", "expected"})
    std::filesystem::create_directories(options->folder + "/" + folder, error);
  if (error) {
    fmt::print(stderr, "{}: {}\n", options->folder, error.message());
    return 2;
  }
  ModuleSet set;
  set.producer = compilerBuildId();
  set.timed = layers->timed;
  for (const LayerSource &source : layers->layers) {
    std::optional<ModuleDesc> module;
    ModuleCase entry{source.name, compileAll(*options, source, module), {}};
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
      if (auto done =
              expectRun(*options, *oracle, *module, source.name, i, run);
          !done) {
        fmt::print("run left out: {} [{}]: {}\n", source.name,
                   fmt::join(run.symbols, ", "), done.error().message);
        continue;
      }
      entry.runs.push_back(std::move(run));
    }
    set.modules.push_back(std::move(entry));
  }
  if (auto done = writeSet(options->folder, set); !done) {
    fmt::print(stderr, "{}\n", done.error().render());
    return 1;
  }
  fmt::print("{}: {} modules, {} timed\n", options->folder, set.modules.size(),
             set.timed.size());
  return 0;
}
