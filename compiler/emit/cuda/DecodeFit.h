//===- DecodeFit.h - Right operands that are decoded on load ----*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// A product reads four-bit codes as they lie in memory, half the bytes of
// their values, and widens them in registers (packed_rows.cuh). What the layer
// says must fit what the template does:
//
//     all right operands are such codes, of one type, in rows of contiguous K;
//     beside 8-bit integers the codes are multiplied as they are;
//     beside f16 or bf16 each becomes, by operations of f32 on the code and on
//     numbers that 32 neighbours along K share (scales, zero points), one f32,
//     which is rounded to the left operand's type;
//     partial sums, if there are any, end where a step of 32 codes does.
//
// Any length of K does, even or odd, and any alignment: rows that begin at no
// multiple of four bytes are read byte by byte. What does not fit is written
// out first (Materialise.h): codes that run along N (K is not contiguous), with
// groups that a step of 32 would cross, with indices from data, or left
// operands.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_COMPILER_EMIT_CUDA_DECODEFIT_H
#define QUERN_COMPILER_EMIT_CUDA_DECODEFIT_H

#include "compiler/emit/cuda/OperandRows.h"

namespace quern::emit {

struct DecodeFit {
  struct Operand {
    tile::LoadOp codes;
    OperandRows rows;
    /// Of codes that become floats: the code as a float; what is computed of it
    /// and of `factors`, all f32, in order; the result.
    mlir::Operation *number = nullptr;
    std::vector<mlir::Value> factors;
    std::vector<mlir::Operation *> ops;
    mlir::Value value;
  };
  mlir::Type element;            ///< Of the buffers: i4 or ui4.
  std::vector<Operand> operands; ///< One per right region.
  /// Elements of K that share their factors; 0: all.
  int64_t every = 0;
  /// Codes become floats as (code - zero point) * scale, with scales of the
  /// left operand's type and zero points of four bits, or none: what pairs of
  /// f16 or bf16 compute to the same bits. The factors are then the scale and
  /// the zero point, in this order.
  bool halves = false;

  bool becomesFloat() const { return operands[0].number != nullptr; }
  size_t numFactors() const { return operands[0].factors.size(); }

  /// Elements of K that the template takes at once.
  static constexpr int64_t step = 32;

  /// How the right operands of a product are decoded on load, if they are.
  static std::optional<DecodeFit> of(tile::ContractOp contract);
};

} // namespace quern::emit

#endif // QUERN_COMPILER_EMIT_CUDA_DECODEFIT_H
