//===- Quern.h - The quern dialect ------------------------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// What a layer means: see the description in QuernDialect.td. This header
// gives the dialect's C++ and the functions for symbolic shapes: a tensor's
// encoding is an affine map from the layer's symbols to its dimensions.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_DIALECTS_QUERN_IR_QUERN_H
#define QUERN_DIALECTS_QUERN_IR_QUERN_H

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/AffineExpr.h"
#include "mlir/IR/AffineMap.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/Interfaces/ControlFlowInterfaces.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

#include "dialects/types/ElementTypes.h"
#include "runtime/core/DType.h"
#include "runtime/core/Quantizer.h"

namespace quern::ir {
/// What the element-wise interfaces verify: see QuernOps.td.
mlir::LogicalResult verifyBroadcast(mlir::Operation *op);
mlir::LogicalResult verifySameElementType(mlir::Operation *op);
} // namespace quern::ir

#include "dialects/quern/IR/QuernDialect.h.inc"
#include "dialects/quern/IR/QuernEnums.h.inc"
#include "dialects/quern/IR/QuernInterfaces.h.inc"

#define GET_ATTRDEF_CLASSES
#include "dialects/quern/IR/QuernAttrs.h.inc"
#define GET_TYPEDEF_CLASSES
#include "dialects/quern/IR/QuernTypes.h.inc"
#define GET_OP_CLASSES
#include "dialects/quern/IR/QuernOps.h.inc"

namespace quern::ir {

/// Names of the attributes a layer carries (see QuernDialect.td).
inline constexpr llvm::StringLiteral symbolsAttrName = "quern.symbols";
inline constexpr llvm::StringLiteral numericsAttrName = "quern.numerics";
inline constexpr llvm::StringLiteral nameAttrName = "quern.name";
inline constexpr llvm::StringLiteral weightAttrName = "quern.weight";
inline constexpr llvm::StringLiteral inoutAttrName = "quern.inout";

/// The dimensions of a tensor as affine expressions over the layer's symbols.
llvm::SmallVector<mlir::AffineExpr> getDims(mlir::RankedTensorType type);

/// The tensor of those dimensions. `numSymbols` is the layer's symbol count;
/// constant shapes get no encoding. Expressions are simplified, so that equal
/// shapes are equal types.
mlir::RankedTensorType getTensorType(llvm::ArrayRef<mlir::AffineExpr> dims,
                                     mlir::Type elementType,
                                     unsigned numSymbols);

/// The number of symbols a type's encoding was made with; 0 without encoding.
unsigned getNumSymbols(mlir::RankedTensorType type);

/// True when shapes of these extents hold equally many elements for every
/// value of the symbols. Products of symbols are not affine, so each symbolic
/// extent is split into its largest constant factor and a rest; the constants
/// multiply, and the rests must be the same ones: [2*M, N] is [M, 2, N], but
/// not [M, 2*N/2].
bool haveSameCount(llvm::ArrayRef<mlir::AffineExpr> a,
                   llvm::ArrayRef<mlir::AffineExpr> b, unsigned numSymbols);

/// The recipe of a quantize op as the plain value it stands for.
Quantizer getQuantizer(QuantizerAttr attr, QTensorType type);
QuantizerAttr getQuantizerAttr(mlir::MLIRContext *context,
                               const Quantizer &quantizer);

/// Whether blocks of that extent are a single one on an axis of that length,
/// for certain: an extent of 0, or one not shorter than a constant length >= 1.
bool coversAxis(int64_t extent, mlir::AffineExpr length);

/// The type of one value per block of a tensor shaped like `type`: extents
/// `ceil(dim / block)`, 1 where the block's extent is 0 (the whole axis).
mlir::RankedTensorType getBlockType(mlir::RankedTensorType type,
                                    llvm::ArrayRef<int64_t> block,
                                    mlir::Type elementType);

/// Whether blocks that span leading axes are better reduced in two steps, rows
/// in parallel first: `rows` reduces the last axis alone, `rest` what is left.
bool splitLeadingAxes(mlir::RankedTensorType type,
                      llvm::ArrayRef<int64_t> block,
                      llvm::SmallVectorImpl<int64_t> &rows,
                      llvm::SmallVectorImpl<int64_t> &rest);

/// How many products of these codes, less their zero points, are summed
/// exactly in i32: the limit rounded down to a multiple of 128, see
/// quern.matmul. 0 means no limit (float codes).
int64_t getExactSumBlock(QTensorType lhs, QTensorType rhs);

/// How a product of two quantized tensors is summed, by their types alone.
struct ProductSplit {
  int64_t split = 0; ///< Block length along K; 0 sums K in one piece.
  /// Which operand's scale varies along K: it goes into the sum. One that does
  /// not multiplies the sum, wherever the other one goes.
  bool lhsVaries = false, rhsVaries = false;

  bool isScaled() const { return lhsVaries || rhsVaries; }
};
/// `rhsK` is the dimension of the right operand that is contracted. `maxK` is
/// the largest extent K can have (INT64_MAX when unknown).
ProductSplit getProductSplit(QTensorType lhs, QTensorType rhs, unsigned rhsK,
                             int64_t maxK);

} // namespace quern::ir

#endif // QUERN_DIALECTS_QUERN_IR_QUERN_H
