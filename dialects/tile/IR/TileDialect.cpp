//===- TileDialect.cpp - The tile dialect and its buffer type -------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "dialects/tile/IR/Tile.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace quern;
using namespace quern::tile;

#include "dialects/tile/IR/TileDialect.cpp.inc"
#include "dialects/tile/IR/TileEnums.cpp.inc"

#include "dialects/tile/IR/TileAttrInterfaces.cpp.inc"
#define GET_ATTRDEF_CLASSES
#include "dialects/tile/IR/TileAttrs.cpp.inc"
#define GET_TYPEDEF_CLASSES
#include "dialects/tile/IR/TileTypes.cpp.inc"

void TileDialect::initialize() {
  addAttributes<
#define GET_ATTRDEF_LIST
#include "dialects/tile/IR/TileAttrs.cpp.inc"
      >();
  addTypes<
#define GET_TYPEDEF_LIST
#include "dialects/tile/IR/TileTypes.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "dialects/tile/IR/TileOps.cpp.inc"
      >();
}

LogicalResult BufferType::verify(function_ref<InFlightDiagnostic()> emitError,
                                 AffineMap shape, Type elementType) {
  if (shape.getNumDims() != 0)
    return emitError() << "a buffer's shape is a map of symbols only";
  if (shape.getNumResults() > 6)
    return emitError() << "buffers have rank 6 at most, not "
                       << shape.getNumResults();
  std::optional<DType> type = getDType(elementType);
  if (!type || *type == DType::I64)
    return emitError()
           << "buffers hold i8, ui8, i4, ui4, i1, i32, f16, bf16, f32, "
              "f8E4M3FN or f8E5M2, not "
           << elementType;
  return success();
}

SymExpr tile::toSymExpr(AffineExpr expr) {
  if (auto constant = dyn_cast<AffineConstantExpr>(expr))
    return SymExpr::constant(constant.getValue());
  if (auto symbol = dyn_cast<AffineSymbolExpr>(expr))
    return SymExpr::symbol(symbol.getPosition());
  auto binary = cast<AffineBinaryOpExpr>(expr);
  SymExpr::Op op = SymExpr::Op::Add;
  switch (expr.getKind()) {
  case AffineExprKind::Add:
    op = SymExpr::Op::Add;
    break;
  case AffineExprKind::Mul:
    op = SymExpr::Op::Mul;
    break;
  case AffineExprKind::Mod:
    op = SymExpr::Op::Mod;
    break;
  case AffineExprKind::FloorDiv:
    op = SymExpr::Op::FloorDiv;
    break;
  case AffineExprKind::CeilDiv:
    op = SymExpr::Op::CeilDiv;
    break;
  default:
    llvm_unreachable("dimensions do not occur in size expressions");
  }
  return SymExpr::binary(op, toSymExpr(binary.getLHS()),
                         toSymExpr(binary.getRHS()));
}
