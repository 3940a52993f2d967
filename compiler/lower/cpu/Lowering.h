//===- Lowering.h - Kernels of the two families -----------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Each lowering writes one kernel's function (runtime/device/cpu/KernelAbi.h)
// into the module and says how it is to be launched. A contraction may need
// further kernels that pack its right operands first, into buffers of their
// own; it lists them.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_COMPILER_LOWER_CPU_LOWERING_H
#define QUERN_COMPILER_LOWER_CPU_LOWERING_H

#include "compiler/lower/cpu/ElementBody.h"
#include "compiler/lower/cpu/Schedules.h"
#include "runtime/core/SymExpr.h"

namespace quern::cpugen {

struct LoweredKernel {
  std::string name;
  std::string schedule; ///< One line for people.
  SymExpr items;
  SymExpr grain = SymExpr::constant(1);
  SymExpr scratchBytes;
};

/// A packed right operand of a contraction: the kernel that makes it reads
/// `sources` (argument numbers of the tile kernel) and writes one buffer.
struct PackedOperand {
  LoweredKernel kernel;
  std::vector<unsigned> sources;
  std::vector<SymExpr> shape; ///< Of i8.
  std::string bufferName;
  /// For each batch dimension, whether the packed data varies along it. Where
  /// it does not, one copy serves the whole batch.
  llvm::SmallVector<bool> varies;
};

struct LoweredContract {
  LoweredKernel kernel;
  /// Their buffers follow the kernel's own arguments.
  std::vector<PackedOperand> packed;
  ScheduledProduct scheduled;
};

/// A kernel function while it is being written.
struct KernelFunction {
  KernelFunction(Emitter &e, const std::string &name, tile::KernelOp kernel,
                 llvm::ArrayRef<unsigned> arguments, unsigned extraBuffers);
  KernelScope scope;
  llvm::Value *begin, *end, *scratch;
  /// Addresses of the buffers after the kernel's own.
  llvm::SmallVector<llvm::Value *> extra;
};

/// The point of a domain with these extents that an item number stands for;
/// the last dimension runs fastest.
llvm::SmallVector<llvm::Value *> pointOf(Emitter &e, llvm::Value *item,
                                         llvm::ArrayRef<llvm::Value *> extents);

/// The product of a map's results; a result that uses dimensions counts as
/// `unknown`.
SymExpr productOf(mlir::AffineMap map, int64_t unknown);

/// One point of a tile.blocks; `next` is the point after it, or empty where
/// something else comes after it.
void emitPoint(KernelFunction &function, tile::BlocksOp blocks,
               llvm::ArrayRef<llvm::Value *> point,
               llvm::ArrayRef<llvm::Value *> next = {});
/// Items to a call, so that it is worth some ten microseconds: by the elements
/// of one, counted over all its boxes.
SymExpr grainFor(const SymExpr &elementsPerItem);
LoweredKernel lowerBlocks(Emitter &e, tile::KernelOp kernel,
                          tile::BlocksOp blocks, const std::string &name);
/// Several of them and no product.
LoweredKernel lowerStrips(Emitter &e, tile::KernelOp kernel,
                          const std::string &name);
/// `schedules`: sizes that are taken instead of the model's; or null.
LoweredContract lowerContract(Emitter &e, tile::KernelOp kernel,
                              tile::ContractOp contract,
                              const std::string &name,
                              const Schedules *schedules);

} // namespace quern::cpugen

#endif // QUERN_COMPILER_LOWER_CPU_LOWERING_H
