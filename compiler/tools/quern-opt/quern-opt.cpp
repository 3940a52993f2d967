//===- quern-opt.cpp - Runs passes on IR text -----------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/conversion/QuernToTile.h"
#include "compiler/pipelines/QuernPipeline.h"
#include "dialects/quern/IR/Quern.h"
#include "dialects/quern/Transforms/Passes.h"
#include "dialects/tile/IR/Tile.h"

#include "mlir/Tools/mlir-opt/MlirOptMain.h"
#include "mlir/Transforms/Passes.h"

int main(int argc, char **argv) {
  mlir::DialectRegistry registry;
  registry.insert<quern::ir::QuernDialect, quern::tile::TileDialect,
                  mlir::arith::ArithDialect, mlir::math::MathDialect,
                  mlir::func::FuncDialect>();
  quern::ir::registerQuernPasses();
  quern::conversion::registerConversionPasses();
  quern::pipelines::registerPipelines();
  mlir::registerCSEPass();
  mlir::registerCanonicalizerPass();
  return mlir::asMainReturnCode(
      mlir::MlirOptMain(argc, argv, "Quern's passes\n", registry));
}
