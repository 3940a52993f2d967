//===- Tile.h - The tile dialect --------------------------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// What each kernel does: see the description in TileDialect.td.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_DIALECTS_TILE_IR_TILE_H
#define QUERN_DIALECTS_TILE_IR_TILE_H

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/AffineExpr.h"
#include "mlir/IR/AffineMap.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/Interfaces/ControlFlowInterfaces.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

#include "dialects/types/ElementTypes.h"
#include "runtime/core/DType.h"
#include "runtime/core/SymExpr.h"

#include "dialects/tile/IR/TileDialect.h.inc"
#include "dialects/tile/IR/TileEnums.h.inc"

#include "dialects/tile/IR/TileAttrInterfaces.h.inc"
#define GET_ATTRDEF_CLASSES
#include "dialects/tile/IR/TileAttrs.h.inc"
#define GET_TYPEDEF_CLASSES
#include "dialects/tile/IR/TileTypes.h.inc"
namespace quern::tile {
class LoadOp;
} // namespace quern::tile
#define GET_OP_CLASSES
#include "dialects/tile/IR/TileOps.h.inc"

namespace quern::tile {

/// On an arith.divf: see "Quotients that become codes" in TileDialect.td.
inline constexpr llvm::StringLiteral toCodeAttrName = "tile.to_code";
inline constexpr llvm::StringLiteral withinAttrName = "tile.within";

/// An affine expression over symbols (no dimensions) as the runtime's
/// expression type.
SymExpr toSymExpr(mlir::AffineExpr expr);

/// Values of one symbol of a program, by its number.
struct SymbolRange {
  unsigned symbol;
  int64_t min, max;
};

/// The ranges of a launch's `when`; none where it happens in every run.
llvm::SmallVector<SymbolRange> getRanges(LaunchOp launch);

/// Whether a launch happens with these values of the program's symbols.
bool happens(LaunchOp launch, llvm::ArrayRef<int64_t> sizes);

} // namespace quern::tile

#endif // QUERN_DIALECTS_TILE_IR_TILE_H
