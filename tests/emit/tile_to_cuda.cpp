//===- tile_to_cuda.cpp - Prints the CUDA unit of a tile module -----------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// For tests of emission: `tile_to_cuda FILE.mlir [sm_80]` prints the emitted
// unit, or the diagnostic that refuses it and exits with 1. With a third
// argument the unit is compiled too: PTX goes to that file, and each kernel's
// figures to the output.
//
//===----------------------------------------------------------------------===//

#include "compiler/emit/cuda/CudaCompiler.h"
#include "dialects/tile/IR/Tile.h"

#include "mlir/Parser/Parser.h"

#include <fmt/format.h>

#include <cstdio>

using namespace quern;

int main(int argc, char **argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: tile_to_cuda FILE.mlir [ARCH [PTX]]\n");
    return 2;
  }
  mlir::MLIRContext context(mlir::MLIRContext::Threading::DISABLED);
  context.loadDialect<tile::TileDialect>();
  auto module = mlir::parseSourceFile<mlir::ModuleOp>(argv[1], &context);
  if (!module)
    return 2;
  auto target = emit::CudaTarget::parse(argc > 2 ? argv[2] : "sm_80");
  if (!target) {
    std::fputs(target.error().render().c_str(), stderr);
    return 2;
  }
  if (argc > 3) {
    auto result = emit::compileTimed(*module, *target, {});
    if (!result) {
      std::fputs(result.error().render().c_str(), stdout);
      return 1;
    }
    for (const KernelDesc &kernel : result->variant.kernels)
      fmt::print("{}: {} registers, {} bytes spilled, {} static shared; {}\n",
                 kernel.name, kernel.registers, kernel.spillBytes,
                 kernel.staticSharedBytes, kernel.schedule);
    fmt::print("emit {:.1f} ms, NVRTC {:.1f} ms\n", result->emitMilliseconds,
               result->compileMilliseconds);
    if (std::FILE *file = std::fopen(argv[3], "wb")) {
      const CodeDesc &ptx = result->variant.code[1];
      std::fwrite(ptx.bytes.data(), 1, ptx.bytes.size(), file);
      std::fclose(file);
    }
    return 0;
  }
  auto unit = emit::emitCuda(*module, *target);
  if (!unit) {
    std::fputs(unit.error().render().c_str(), stdout);
    return 1;
  }
  std::fputs(unit->source.c_str(), stdout);
  return 0;
}
