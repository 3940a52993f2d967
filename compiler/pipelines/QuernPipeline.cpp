//===- QuernPipeline.cpp - The order of the passes ------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// The one place where it stands. Everything that fixes rounding comes before
// the passes that decide on fusion, so that fused and unfused agree.
//
//===----------------------------------------------------------------------===//

#include "compiler/pipelines/QuernPipeline.h"

#include "compiler/conversion/QuernToTile.h"
#include "dialects/quern/Transforms/Passes.h"

#include "mlir/Pass/PassRegistry.h"
#include "mlir/Transforms/Passes.h"

using namespace mlir;
using namespace quern;
using namespace quern::pipelines;

void pipelines::buildQuernPipeline(OpPassManager &pm,
                                   const PipelineOptions &options) {
  OpPassManager &layer = pm.nest<func::FuncOp>();
  layer.addPass(ir::createInferScalePlacement());
  layer.addPass(ir::createHoistScales());
  layer.addPass(ir::createExpandQuantize());
  layer.addPass(ir::createFoldConstants());
  // Two reads of one operand's codes become one: gated products are found by
  // having the same left operand.
  layer.addPass(createCSEPass());
  layer.addPass(
      ir::createFormKernels({/*fuse=*/options.fuse ? "all" : "none"}));
}

void pipelines::buildQuernToTilePipeline(OpPassManager &pm,
                                         const PipelineOptions &options) {
  buildQuernPipeline(pm, options);
  pm.addPass(conversion::createConvertQuernToTilePass());
}

namespace {
struct TextOptions : PassPipelineOptions<TextOptions> {
  Option<bool> fuse{*this, "fuse", llvm::cl::desc("form fused kernels"),
                    llvm::cl::init(true)};
};
} // namespace

void pipelines::registerPipelines() {
  PassPipelineRegistration<TextOptions>(
      "quern-pipeline", "layers to groups of ops, one per kernel",
      [](OpPassManager &pm, const TextOptions &options) {
        buildQuernPipeline(pm, {options.fuse});
      });
  PassPipelineRegistration<TextOptions>(
      "quern-to-tile", "layers to the tile dialect",
      [](OpPassManager &pm, const TextOptions &options) {
        buildQuernToTilePipeline(pm, {options.fuse});
      });
}
