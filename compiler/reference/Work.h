//===- Work.h - How much an interpretation computes -------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// An estimate of how long the interpreter takes for a layer, made before any
// operand exists, in multiply-adds (about 2e9 of them a second). Elements of
// inputs and of other operations than products count as so many multiply-adds
// as take as long.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_REFERENCE_WORK_H
#define QUERN_REFERENCE_WORK_H

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/ArrayRef.h"

namespace quern::reference {

/// At least 1. Extents that these symbol values give no number count as 0.
double estimateWork(mlir::func::FuncOp layer, llvm::ArrayRef<int64_t> symbols);

} // namespace quern::reference

#endif // QUERN_REFERENCE_WORK_H
