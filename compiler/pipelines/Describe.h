//===- Describe.h - Filling a layer's report --------------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Reads the structs of Report.h off the IR at the stages where they show: the
// graph before any pass, the ways of scales once kernels are placed.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_COMPILER_PIPELINES_DESCRIBE_H
#define QUERN_COMPILER_PIPELINES_DESCRIBE_H

#include "compiler/pipelines/Compiler.h"
#include "compiler/select/Buckets.h"
#include "dialects/quern/IR/Quern.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/BuiltinOps.h"

namespace quern::pipelines {

LayerGraph describeLayer(mlir::func::FuncOp layer);

/// The types of quantized values by name, before scales are hoisted.
struct QuantizedTypes {
  struct Entry {
    std::string name, type;
    bool isDynamic = false;
  };
  std::vector<Entry> entries;
};
QuantizedTypes describeTypes(mlir::func::FuncOp layer);

/// `program` as it will be launched.
std::vector<ScalePath> describeScales(tile::ProgramOp program,
                                      const QuantizedTypes &types);

/// The public form of what was found out about a bucket's quantizations.
/// `predictFor` is what all buckets together were asked to predict for.
std::vector<QuantizationPlacement>
describe(const select::Bucket &one,
         const std::vector<select::Sizes> &predictFor);

} // namespace quern::pipelines

#endif // QUERN_COMPILER_PIPELINES_DESCRIBE_H
