//===- Request.h - From a file to a compile or a module ---------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// FILE is a layer's text, or a module that `quern compile -o` made of one. A
// module is known by its first bytes or its name (*.qnm), and is what it is:
// options that steer compiling are refused for it.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_TOOLS_QUERN_REQUEST_H
#define QUERN_TOOLS_QUERN_REQUEST_H

#include "compiler/pipelines/Compiler.h"
#include "compiler/tools/quern/Commands.h"

#include <functional>
#include <memory>

namespace quern::tool {

/// A layer's text and what to compile it for. The request points into the
/// text; neither moves without the other.
struct LayerRequest {
  std::unique_ptr<std::string> source;
  CompileRequest compile;
};

/// Reads the file and fills the request every command starts from.
Result<LayerRequest> makeRequest(const LayerOptions &options);

/// A compiled layer with what is known of its making.
struct CompiledFile {
  /// `compiled.module.source` is the layer's text, empty where a module was
  /// made without.
  CompileOutput compiled;
  bool isModule = false;
  double compileMs = 0; ///< 0 for a module.
};

/// Compiles the text, or reads the module. `change` may ask the compiler for
/// more than the options do.
Result<CompiledFile>
compileOrRead(const LayerOptions &options,
              const std::function<void(CompileRequest &)> &change = {});

/// Says on standard error that nothing of the record of `--tuned` was used,
/// where that is so: it may be another layer's, or another machine's.
void noteUnusedRecord(const CompileOutput &output);

/// "17 <= M <= 64"; empty where it is all sizes.
std::string rangeText(const std::vector<RangeDesc> &when,
                      const std::vector<SymbolDesc> &symbols);

/// How many kernels a variant launches: in each run, at most and, where that
/// depends on the sizes, at least, and once before when weights are bound.
struct KernelCounts {
  size_t run = 0, leastRun = 0, prepare = 0;

  explicit KernelCounts(const VariantDesc &variant);
  /// "2 kernels in each run, 1 when weights are bound"
  std::string print() const;
};

/// The module's variant for a target: the one made for it exactly, for "cpu"
/// the first for a CPU, and without a target asked for the first of all.
Result<const VariantDesc *> findVariant(const ModuleDesc &module,
                                        const LayerOptions &options);

} // namespace quern::tool

#endif // QUERN_TOOLS_QUERN_REQUEST_H
