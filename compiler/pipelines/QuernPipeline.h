//===- QuernPipeline.h - The order of the passes ----------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_COMPILER_PIPELINES_QUERNPIPELINE_H
#define QUERN_COMPILER_PIPELINES_QUERNPIPELINE_H

#include "mlir/Pass/PassManager.h"

namespace quern::pipelines {

struct PipelineOptions {
  /// False makes each op a kernel of its own (see quern-form-kernels).
  bool fuse = true;
};

/// From layers as the frontend makes them to groups of ops (quern.kernel).
/// For a pass manager on builtin.module.
void buildQuernPipeline(mlir::OpPassManager &pm,
                        const PipelineOptions &options);

/// The same, and on to the tile dialect.
void buildQuernToTilePipeline(mlir::OpPassManager &pm,
                              const PipelineOptions &options);

/// Registers both under `quern-pipeline` and `quern-to-tile` (option `fuse`).
void registerPipelines();

} // namespace quern::pipelines

#endif // QUERN_COMPILER_PIPELINES_QUERNPIPELINE_H
