//===- OperandRows.h - Operands a product can read as they lie --*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// The product template reads rows of contiguous K. An operand region has that
// form when it is one load whose last index is k, one other index the row, and
// the rest depend on the batch alone. Right operands of four-bit codes have it
// too, and are decoded on load (DecodeFit.h). Everything else (a transposed
// operand, other decoded codes, a gather) is first written to a buffer of that
// form, by `materialiseOperands` (Materialise.h).
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_COMPILER_EMIT_CUDA_OPERANDROWS_H
#define QUERN_COMPILER_EMIT_CUDA_OPERANDROWS_H

#include "compiler/emit/cuda/IndexText.h"
#include "dialects/tile/IR/Tile.h"

#include <optional>

namespace quern::emit {

struct OperandRows {
  mlir::Value buffer;
  /// Two elements share a byte. Then strides and offsets count bytes; rows
  /// begin at them.
  bool packed = false;
  /// Elements from one row to the next.
  mlir::AffineExpr stride;
  /// Per dimension of the buffer that neither row nor k indexes: its index, an
  /// expression of the batch dimensions and symbols, and its stride.
  std::vector<std::pair<mlir::AffineExpr, mlir::AffineExpr>> batch;

  /// The form of an operand region of `op`, if it has it.
  static std::optional<OperandRows> of(tile::ContractOp op,
                                       mlir::Region &region);
  /// That of one load of the region, which may compute with it.
  static std::optional<OperandRows> of(tile::ContractOp op,
                                       mlir::Region &region, tile::LoadOp load);
  /// Bytes that every row's start is known to be a multiple of, 16 at most.
  int64_t alignment(const Symbols &symbols, unsigned elementBytes) const;
  /// Elements before row 0 of the batch element.
  Index offset(Symbols &symbols, llvm::ArrayRef<Index> batchIndices) const;
};

} // namespace quern::emit

#endif // QUERN_COMPILER_EMIT_CUDA_OPERANDROWS_H
