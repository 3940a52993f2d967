//===- tile-opt.cpp - Reads and verifies the tile dialect -----------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Does not know the quern dialect: an op of it that leaks through the
// conversion does not parse here.
//
//===----------------------------------------------------------------------===//

#include "compiler/tools/tile-opt/MoveStages.h"
#include "dialects/tile/IR/Tile.h"

#include "mlir/Tools/mlir-opt/MlirOptMain.h"
#include "mlir/Transforms/Passes.h"

int main(int argc, char **argv) {
  mlir::DialectRegistry registry;
  registry.insert<quern::tile::TileDialect, mlir::arith::ArithDialect,
                  mlir::math::MathDialect>();
  mlir::registerCSEPass();
  mlir::registerCanonicalizerPass();
  quern::tile::registerStagePasses();
  return mlir::asMainReturnCode(
      mlir::MlirOptMain(argc, argv, "Quern's tile dialect\n", registry));
}
