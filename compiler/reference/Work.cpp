//===- Work.cpp - How much an interpretation computes ---------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/reference/Work.h"

#include "compiler/reference/Machine.h"
#include "dialects/quern/IR/Quern.h"

using namespace mlir;
using namespace quern::ir;

namespace quern::reference {

/// Multiply-adds that take as long as an element of another operation.
static constexpr double perElement = 20;

static RankedTensorType elementsOf(Type type) {
  if (auto quantized = dyn_cast<QTensorType>(type))
    type = quantized.getCodes();
  return dyn_cast<RankedTensorType>(type);
}

static double count(Type type, ArrayRef<int64_t> symbols) {
  RankedTensorType tensor = elementsOf(type);
  if (!tensor)
    return 0;
  double product = 1;
  for (AffineExpr dim : getDims(tensor))
    product *= static_cast<double>(evaluateExpr(dim, symbols).value_or(0));
  return product;
}

double estimateWork(func::FuncOp layer, ArrayRef<int64_t> symbols) {
  double sum = 1;
  for (Type type : layer.getArgumentTypes())
    sum += perElement * count(type, symbols);
  layer.walk([&](Operation *op) {
    double each = perElement;
    if (auto product = dyn_cast<MatmulOp>(op)) {
      AffineExpr k = getDims(elementsOf(product.getLhs().getType())).back();
      each = static_cast<double>(evaluateExpr(k, symbols).value_or(0));
    }
    for (Type type : op->getResultTypes())
      sum += each * count(type, symbols);
  });
  return sum;
}

} // namespace quern::reference
