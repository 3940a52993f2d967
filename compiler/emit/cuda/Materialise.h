//===- Materialise.h - Operands brought into rows of contiguous K *- C++ -*===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// The product template reads rows of contiguous K (OperandRows.h). An operand
// of any other form is written to a buffer of that form first, by a block
// kernel of its own launched just before: a transposition, the decoding of
// codes, a gather are one and the same step. Codes of four bits that the
// template decodes itself (DecodeFit.h) stay as they are.
//
// The buffer has the operand's batch dimensions where its element depends on
// them, then its rows, then K rounded up to 16 bytes, so that the product
// copies 16 bytes at a time; the padding is never read as data. An operand
// made of weights alone is written once, when weights are bound (a packed
// buffer and a prepare launch), for all products that want it so: those for few
// rows and those for many read the same. Any other is written in every run in
// which its product happens, to a temporary. What writes is one kernel for all
// that are written alike.
//
// A matrix instruction takes 32 bytes of K at once, so a partial sum of g
// elements that are no multiple of 32 bytes would end within one. Then both
// operands are written out with every group of g padded with zeros to the next
// multiple: the product's K counts padded elements, its split is the padded
// length, and its groups are the same ones.
//
// Refused: operands whose elements are f32, because no product of f32 exists
// on this target.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_COMPILER_EMIT_CUDA_MATERIALISE_H
#define QUERN_COMPILER_EMIT_CUDA_MATERIALISE_H

#include "dialects/tile/IR/Tile.h"
#include "runtime/core/Result.h"

namespace quern::emit {

/// Rewrites every product the program launches; the module is changed in
/// place.
Result<void> materialiseOperands(tile::ProgramOp program);

/// The split that a product has then: its own, or with padded groups.
int64_t materialisedSplit(tile::ContractOp contract);

} // namespace quern::emit

#endif // QUERN_COMPILER_EMIT_CUDA_MATERIALISE_H
