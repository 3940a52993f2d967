//===- IndexMath.h - Index expressions of kernels ---------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Element indices are affine expressions over a kernel's index values
// (dimensions) and the layer's symbols. What upstream's simplifier lacks are
// ranges: `(d0 * 128 + d1) floordiv 128` is d0 only because d1 < 128.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_COMPILER_CONVERSION_INDEXMATH_H
#define QUERN_COMPILER_CONVERSION_INDEXMATH_H

#include "dialects/quern/IR/Quern.h"

namespace quern::conversion {

using Index = llvm::SmallVector<mlir::AffineExpr>;

/// The largest value + 1 of each dimension where a constant is known, else 0.
using Extents = llvm::ArrayRef<int64_t>;

/// Simplifies with 0 <= dimension i < extents[i].
mlir::AffineExpr simplify(mlir::AffineExpr expr, Extents extents,
                          unsigned numSymbols);

/// `index / block` per dimension; an extent of 0 gives 0.
Index blockIndex(llvm::ArrayRef<mlir::AffineExpr> index,
                 llvm::ArrayRef<int64_t> block);

/// Extents of a block with those that cover a constant axis set to 0 and those
/// of a constant axis of length 1 too, so that equal blocks compare equal.
llvm::SmallVector<int64_t> normalizeBlock(mlir::RankedTensorType type,
                                          llvm::ArrayRef<int64_t> block);

/// True when `expr` is a multiple of `divisor` for all values of the symbols.
bool isMultipleOf(mlir::AffineExpr expr, int64_t divisor,
                  llvm::ArrayRef<mlir::Attribute> symbols);

/// The operand index of a reshape for an index of the result.
Index reshapeIndex(llvm::ArrayRef<mlir::AffineExpr> from,
                   llvm::ArrayRef<mlir::AffineExpr> to,
                   llvm::ArrayRef<mlir::AffineExpr> index);

} // namespace quern::conversion

#endif // QUERN_COMPILER_CONVERSION_INDEXMATH_H
