//===- Compiler.h - From a layer's text to a module -------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// The compiler as one function, in plain C++: no header of MLIR or LLVM is
// needed to call it. It runs the stages in their order
//
//     frontend -> quern passes -> conversion -> tile -> code for the target
//
// and returns a module with the text of whatever stages were asked for. The
// same call serves the command line and the shared library that the runtime
// opens on a cache miss.
//
// Settings a caller may give, each "name=value":
//
//     fuse=all|none        form kernels around products, or one per operation
//     placement=PLACE      where dynamic quantizations are computed: auto,
//                          register, tile, cluster, grid, panel, consumer,
//                          separate; NAME:PLACE for one of them; by commas
//     buckets=auto|one|N,...
//                          GPUs: kernels of their own for few rows: as the
//                          target likes it, none, or up to N rows each
//     numerics=strict      the only mode there is
//     layer=NAME           which layer of a file with several
//     tuned=TEXT           CPUs: a record of how products are cut
//                          (compiler/lower/cpu/Schedules.h), not its file
//
// Thread-safety: calls are independent of each other.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_COMPILER_PIPELINES_COMPILER_H
#define QUERN_COMPILER_PIPELINES_COMPILER_H

#include "compiler/lower/cpu/Schedules.h"
#include "compiler/pipelines/Report.h"
#include "runtime/core/Target.h"
#include "runtime/module/Module.h"

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace quern {

/// A stage that can be asked for.
enum class Stage : uint8_t {
  Quern,   ///< the layer as the frontend understood it
  Kernels, ///< after the quern passes: operations grouped into kernels
  Tile,    ///< one tile.program and its kernels
  Llvm,    ///< CPU: LLVM IR
  Asm,     ///< CPU: assembly
  Cuda,    ///< CUDA: the emitted translation units
  Ptx,     ///< CUDA: what NVRTC made of them
  Cubin,   ///< CUDA: the same as machine code, in ELF
};

/// What is known of a stage beside its meaning.
struct StageInfo {
  Stage stage;
  std::string_view name; ///< On the command line.
  /// The kinds of target that pass through it: all, or one of the two.
  enum class Targets : uint8_t { All, Cpu, Cuda } targets;
  bool binary = false;

  /// Simulator targets have the stages of CUDA.
  bool exists(const Target &target) const {
    return targets == Targets::All ||
           (targets == Targets::Cpu) == (target.kind == Target::Kind::Cpu);
  }
};

/// Every stage, in the order they are passed.
std::span<const StageInfo> stages();

struct CompileRequest {
  std::string_view source;
  /// What messages call the source: usually its path.
  std::string name = "<text>";
  /// What they call the record of the setting `tuned`.
  std::string tunedName = "<tuned>";
  /// A simulator target compiles the CUDA code it will execute.
  Target target;
  std::vector<std::string> settings;
  std::vector<Stage> wanted;
  /// Stop once every stage of `wanted`, and the pass of `dumpAfter`, is there:
  /// the module has no code then, and a later stage that would refuse the layer
  /// does not hide them.
  bool textsOnly = false;
  /// Leave the layer's text out of the module.
  bool withoutSource = false;
  /// The pass after which to print the IR, by its command-line name; empty for
  /// none.
  std::string dumpAfter;
  /// Fill `report`, and predict what kernels and placements cost: for these
  /// values of symbols, and a spread over the ranges of all others. A symbol
  /// that is there several times has each of these values.
  bool predict = false;
  std::vector<std::pair<std::string, int64_t>> predictAt;
};

/// Where the scales of one product are applied, and why.
struct ScalePlacement {
  unsigned line = 0, column = 0;
  std::string text;
};

/// Where one dynamic quantization is computed, and what else was considered.
struct QuantizationPlacement {
  unsigned line = 0, column = 0;
  std::string value; ///< What the text calls it.
  /// The sizes it is placed so for; empty for all.
  std::vector<RangeDesc> when;
  /// The chosen placement was asked for; or why what was cannot be.
  bool isWished = false;
  std::string refusedWish;
  /// The sizes costs are given for: a value per symbol of the module.
  std::vector<std::vector<int64_t>> sizes;
  /// A part of a predicted cost.
  struct Term {
    std::string kind; ///< bytes, launch, waiting, tiles, reduce, reencode
    double microseconds = 0;
    std::string text;
  };
  struct Moves {
    /// Of the value, its codes and scales, and what more is moved of state and
    /// operands than by `separate`, if any.
    double bytes = 0;
    /// Over the value in memory, that `separate` takes beyond.
    int passesSaved = 0;
  };
  struct Option {
    std::string placement;
    bool possible = false;
    bool chosen = false;
    std::string reason; ///< Why it is not possible.
    /// Predicted microseconds beyond a static scale, for each of `sizes`.
    std::vector<double> costs;
    /// For each of `predictedFor`, where possible.
    std::vector<std::vector<Term>> terms;
    std::vector<std::optional<Moves>> moves; ///< Where it is known.
  };
  std::vector<Option> options;
  std::vector<std::vector<int64_t>> predictedFor;
  /// Bytes that quantizing with a static scale would move.
  std::vector<double> staticBytes;
};

struct CompileOutput {
  ModuleDesc module;
  struct Text {
    Stage stage;
    std::string text; ///< Any bytes, where the stage is binary.
  };
  std::vector<Text> texts; ///< One for each of `wanted`.
  std::string passDump;
  struct Time {
    std::string phase;
    double milliseconds = 0;
  };
  std::vector<Time> times;
  std::vector<ScalePlacement> placements;
  std::vector<QuantizationPlacement> quantizations;
  LayerReport report; ///< Where the request asks for it.
  /// CPUs: the kernels that are products.
  std::vector<cpugen::ScheduledProduct> products;
  cpugen::CpuCaches caches; ///< CPUs: those that code was made for.
  /// What of the record of schedules was not used, and why.
  std::vector<std::string> unusedSchedules;
};

Result<CompileOutput> compileLayer(const CompileRequest &request);

/// Identifies this build of the compiler: cached modules made by another build
/// are not used.
std::string_view compilerBuildId();

} // namespace quern

#endif // QUERN_COMPILER_PIPELINES_COMPILER_H
