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
  if (!elementType.isInteger(8) && !elementType.isInteger(32) &&
      !elementType.isInteger(1) && !elementType.isF16() &&
      !elementType.isBF16() && !elementType.isF32() &&
      !isa<Float8E4M3FNType, Float8E5M2Type>(elementType))
    return emitError() << "buffers hold i8, ui8, i1, i32, f16, bf16, f32, "
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

DType tile::getDType(Type type) {
  if (type.isUnsignedInteger(8))
    return DType::U8;
  if (type.isInteger(8))
    return DType::I8;
  if (type.isInteger(32))
    return DType::I32;
  if (type.isInteger(1))
    return DType::Bool;
  if (type.isF16())
    return DType::F16;
  if (type.isBF16())
    return DType::BF16;
  if (isa<Float8E4M3FNType>(type))
    return DType::F8E4M3;
  if (isa<Float8E5M2Type>(type))
    return DType::F8E5M2;
  return DType::F32;
}
