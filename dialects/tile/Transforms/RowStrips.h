//===- RowStrips.h - Programs that may run some rows at a time --*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// What lies between the kernels of a layer grows with its rows: the codes of
// 2048 tokens of 11008 are 22 MB that no run needs at once, since a row of the
// result is made of one row of the input. Where that is so a runtime can run
// all launches for some rows, then for the next, with the memory of a strip.
//
// It is so of a symbol when in every kernel
//   - it is the extent of one dimension of each tile.blocks and tile.contract
//     (a batch dimension or M), and nothing else depends on it;
//   - the index of that dimension is used as the outermost index of accesses to
//     buffers whose outermost extent is the symbol, and for nothing else;
//   - such buffers are accessed in no other way,
// and in the program no weight depends on it, every output and temporary does,
// there is no state, and no product's right operand is an input of all strips,
// which each would pack. A scale of a whole tensor, a sum over rows and a
// product with rows on both sides fail one of these.
//
// Then the launches with the symbol's value r and the addresses of inputs and
// outputs moved by b rows compute rows [b, b + r) of what all of them compute:
// the same bits, as what a kernel computes for one point of a domain does not
// depend on its extents.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_DIALECTS_TILE_TRANSFORMS_ROWSTRIPS_H
#define QUERN_DIALECTS_TILE_TRANSFORMS_ROWSTRIPS_H

#include "dialects/tile/IR/Tile.h"

#include "mlir/IR/BuiltinOps.h"

#include <optional>

namespace quern::tile {

/// The number of the symbol whose values may be run in strips; nothing where
/// there is none, or nothing lies between kernels.
std::optional<unsigned> findRowSymbol(ProgramOp program);

} // namespace quern::tile

#endif // QUERN_DIALECTS_TILE_TRANSFORMS_ROWSTRIPS_H
