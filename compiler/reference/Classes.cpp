//===- Classes.cpp - The numerics class of each operation -----------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/reference/Compare.h"

#include "dialects/quern/IR/Quern.h"

#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace quern::ir;

namespace quern::reference {

static bool integerElements(Type type) {
  if (auto quantized = dyn_cast<QTensorType>(type))
    type = quantized.getCodes();
  auto tensor = dyn_cast<RankedTensorType>(type);
  return tensor && isa<IntegerType>(tensor.getElementType());
}

static ClassifiedOp classifyProduct(Operation *op, bool fast) {
  bool integers = integerElements(op->getOperand(0).getType()) &&
                  integerElements(op->getOperand(1).getType());
  // One quantized operand beside a float one is dequantized first.
  if (isa<MatmulOp>(op) && isa<QTensorType>(op->getOperand(0).getType()) !=
                               isa<QTensorType>(op->getOperand(1).getType()))
    integers = false;
  if (!integers)
    return {op, NumericsClass::Bounded, "f32 sums of products in any order"};
  if (fast && !integerElements(op->getResult(0).getType()))
    return {op, NumericsClass::Bounded, "fast: scales in any order"};
  return {op, NumericsClass::Exact, "integer products"};
}

static ClassifiedOp classifyOp(Operation *op, bool fast) {
  return llvm::TypeSwitch<Operation *, ClassifiedOp>(op)
      .Case<MatmulOp, ContractOp>(
          [&](Operation *product) { return classifyProduct(product, fast); })
      .Case<SoftmaxOp, RmsNormOp, LayerNormOp>(
          [&](Operation *rows) -> ClassifiedOp {
            if (fast)
              return {rows, NumericsClass::Bounded,
                      "fast: sums and functions are approximate"};
            return {rows, NumericsClass::Ordered, "sums in the written order"};
          })
      .Case<ReduceOp>([&](ReduceOp reduce) -> ClassifiedOp {
        if (reduce.getKind() == ReduceKind::Max ||
            reduce.getKind() == ReduceKind::Min ||
            reduce.getKind() == ReduceKind::AbsMax)
          return {reduce, NumericsClass::Exact, "a maximum has no order"};
        if (fast)
          return {reduce, NumericsClass::Bounded, "fast: sums in any order"};
        return {reduce, NumericsClass::Ordered, "a sum in the written order"};
      })
      .Case<AddOp, SubOp, MulOp, DivOp, SqrtOp, ExpOp, TanhOp, ErfOp, SigmoidOp,
            SiluOp, GeluErfOp, GeluTanhOp, QuantizeOp, DequantizeOp>(
          [&](Operation *arithmetic) -> ClassifiedOp {
            if (fast)
              return {arithmetic, NumericsClass::Bounded,
                      "fast: arithmetic is approximate or contracted"};
            return {arithmetic, NumericsClass::Exact,
                    "each rounding is written down"};
          })
      .Default([](Operation *other) -> ClassifiedOp {
        return {other, NumericsClass::Exact, "nothing is rounded freely"};
      });
}

std::vector<ClassifiedOp> classifyOps(func::FuncOp layer) {
  auto numerics = layer->getAttrOfType<StringAttr>(numericsAttrName);
  bool fast = numerics && numerics.getValue() == "fast";
  std::vector<ClassifiedOp> list;
  layer.walk<WalkOrder::PreOrder>([&](Operation *op) {
    if (op->getNumResults() && !isa<KernelOp>(op))
      list.push_back(classifyOp(op, fast));
  });
  return list;
}

NumericsClass classify(func::FuncOp layer) {
  NumericsClass weakest = NumericsClass::Exact;
  for (const ClassifiedOp &op : classifyOps(layer))
    weakest = std::max(weakest, op.numericsClass);
  return weakest;
}

} // namespace quern::reference
