//===- Passes.h - Passes on the quern dialect -------------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Constructors and registration of the passes described in Passes.td. All run
// on a `func.func` that is a layer, and leave a layer that means the same.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_DIALECTS_QUERN_TRANSFORMS_PASSES_H
#define QUERN_DIALECTS_QUERN_TRANSFORMS_PASSES_H

#include "dialects/quern/IR/Quern.h"

#include "mlir/Pass/Pass.h"

namespace quern::ir {

#define GEN_PASS_DECL
#include "dialects/quern/Transforms/Passes.h.inc"

#define GEN_PASS_REGISTRATION
#include "dialects/quern/Transforms/Passes.h.inc"

/// Marks ops that belong to one product or quantization ("product",
/// "quantize") for unfused grouping.
inline constexpr llvm::StringLiteral partAttrName = "quern.part";

/// The largest value an extent can have under the ranges of the layer's
/// symbols (`quern.symbols` of `layer`); INT64_MAX when there is no bound.
int64_t getUpperBound(mlir::AffineExpr extent, mlir::func::FuncOp layer);
/// Likewise the smallest.
int64_t getLowerBound(mlir::AffineExpr extent, mlir::func::FuncOp layer);

} // namespace quern::ir

#endif // QUERN_DIALECTS_QUERN_TRANSFORMS_PASSES_H
