//===- RowReductions.h - Reductions on the way to memory --------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// tile.accumulate in a product's epilogue. One that has a place per row gathers
// first in a vector of partial results for each row, in this thread's scratch:
// a load, a maximum and a store per vector of elements. When the thread turns
// to other rows, or its call ends, the lanes of each row are combined and meet
// the other threads' in memory, once:
//
//     scratch: [reduction][row of the block][lanes] x i32
//
// All others (a place per group of columns) go to memory at once.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_COMPILER_LOWER_CPU_ROWREDUCTIONS_H
#define QUERN_COMPILER_LOWER_CPU_ROWREDUCTIONS_H

#include "compiler/lower/cpu/Contract.h"

namespace quern::cpugen {

class RowReductions {
public:
  explicit RowReductions(const ContractPlan &plan);

  bool empty() const { return ops.empty(); }
  int64_t scratchBytes() const;

  /// Starts a block of `rows` rows.
  void clear(Emitter &e, llvm::Value *scratch, llvm::Value *rows) const;
  /// Where `body`, at a row of the block, gathers.
  void bind(ElementBody &body, llvm::Value *scratch, llvm::Value *row) const;
  /// Combines a block of rows into memory.
  void flush(KernelScope &scope, llvm::ArrayRef<llvm::Value *> batch,
             llvm::Value *firstRow, llvm::Value *rows,
             llvm::Value *scratch) const;

private:
  llvm::Value *slot(Emitter &e, llvm::Value *scratch, unsigned number,
                    llvm::Value *row) const;

  const ContractPlan &plan;
  llvm::SmallVector<tile::AccumulateOp> ops;
};

} // namespace quern::cpugen

#endif // QUERN_COMPILER_LOWER_CPU_ROWREDUCTIONS_H
