//===- Kernels.h - Building the two families of kernels ---------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// A group of quern ops becomes a contract kernel when it holds a contraction,
// and a block kernel otherwise. Results of the group are stored under the keys
// given, in order.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_COMPILER_CONVERSION_KERNELS_H
#define QUERN_COMPILER_CONVERSION_KERNELS_H

#include "compiler/conversion/ElementEmitter.h"

namespace quern::conversion {

/// Fills `scope.kernel` with a tile.contract.
mlir::LogicalResult buildContractKernel(KernelScope &scope, ir::KernelOp group);

/// Fills it with a tile.blocks: over the blocks of the group's reductions, or,
/// without one, over rows and pieces of the last axis.
mlir::LogicalResult buildBlockKernel(KernelScope &scope, ir::KernelOp group);

/// Fills it with a copy of a buffer into one of the same type: arguments 0 and
/// 1 of the kernel.
void buildCopyKernel(KernelScope &scope, const BufferKey &from,
                     mlir::Location loc);

/// One input of a concat into its place in the result; used where inputs may
/// be empty, so that nothing can be read beside them.
mlir::LogicalResult buildConcatPart(KernelScope &scope, ir::KernelOp group,
                                    ir::ConcatOp concat, unsigned input);

/// The weakest class of the group's ops.
tile::NumericsClass getNumericsClass(ir::KernelOp group);

/// Buffers have 6 dimensions at most (convert_quern_c5).
mlir::LogicalResult verifyRank(mlir::Value value);

} // namespace quern::conversion

#endif // QUERN_COMPILER_CONVERSION_KERNELS_H
