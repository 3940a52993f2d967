//===- QuernToTile.h - From quern kernels to tile kernels -------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// `convert-quern-to-tile` turns every layer (a func.func whose body is
// quern.kernel ops, made by quern-form-kernels) into one tile.program and the
// tile.kernels it launches. It is the only place that knows both dialects.
//
// Values that cross kernels become buffers; values inside a kernel become
// scalars. The method is one function: the scalar of a value at an index
// (ElementEmitter). A value made inside the group is computed there from its
// operands' scalars; shape ops only change the index; a value from outside is
// a tile.load. Rounding happens where the element types say, also when the
// value never leaves the kernel.
//
// Refusals are errors at the op's location:
//   convert_quern_c1: an op stands outside of any kernel.
//   convert_quern_c2: an op has no meaning per element in its kernel, as when
//     the kernel mixes ops without a common iteration space.
//   convert_quern_c4: a read from a tensor that may be empty (gather, concat).
//   convert_quern_c5: a tensor of more than 6 dimensions.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_COMPILER_CONVERSION_QUERNTOTILE_H
#define QUERN_COMPILER_CONVERSION_QUERNTOTILE_H

#include "mlir/Pass/Pass.h"

#include <memory>

namespace quern::conversion {

/// `convert-quern-to-tile`, on a builtin.module. Afterwards no quern op, type
/// or func.func is left, and the module verifies with the tile dialect alone.
std::unique_ptr<mlir::Pass> createConvertQuernToTilePass();

/// Registers the pass under that name.
void registerConversionPasses();

} // namespace quern::conversion

#endif // QUERN_COMPILER_CONVERSION_QUERNTOTILE_H
