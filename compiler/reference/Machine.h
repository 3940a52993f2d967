//===- Machine.h - The state of one interpretation --------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Environment and entry points shared by the files that give operations their
// meaning. A structural operation is one function `evaluate(Machine &, Op)`
// declared here, defined in the file of its family, and listed in the dispatch
// of Interpreter.cpp; an element-wise one is a line in Elementwise.cpp.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_REFERENCE_MACHINE_H
#define QUERN_REFERENCE_MACHINE_H

#include "compiler/reference/Interpreter.h"
#include "compiler/reference/Tensor.h"
#include "dialects/quern/IR/Quern.h"

namespace quern::reference {

struct Machine {
  Mode mode = Mode::Exact;
  unsigned threads = 1;
  /// See Options; advanced by every product so that no two share their coins.
  uint64_t perturbation = 0;
  double f8Error = 0x1p-24;                          ///< See Options.
  bool flushesBf16 = false, dropsSubnormals = false; ///< See Options.
  /// Values of the layer's symbols, and the largest their ranges allow.
  std::vector<int64_t> symbols, largestSymbols;
  llvm::DenseMap<mlir::Value, Value> values;

  bool real() const { return mode == Mode::Real; }
  const Value &get(mlir::Value value) const {
    return values.find(value)->second;
  }
  const Tensor &tensor(mlir::Value value) const { return get(value).tensor; }
  void set(mlir::Value value, Tensor tensor) {
    values[value] = Value{std::move(tensor), std::nullopt, {}, std::nullopt};
  }
  /// The extents of a type for these symbol values.
  Result<std::vector<int64_t>> shapeOf(mlir::RankedTensorType type) const;
  /// A new tensor of that type: doubles in the mode real.
  Result<Tensor> make(mlir::RankedTensorType type) const;
};

/// A value of an expression over symbols; nullopt when it overflows, divides
/// by zero or names a symbol that does not exist.
std::optional<int64_t> evaluateExpr(mlir::AffineExpr expr,
                                    llvm::ArrayRef<int64_t> symbols);

/// A diagnostic about an operation: `quern.matmul at file:line: message`.
Diagnostic opError(mlir::Operation *op, Errc code, std::string message);

// Elementwise.cpp: any op with the element-wise interface.
Result<void> evaluateElementwise(Machine &machine, mlir::Operation *op);
// Quantization.cpp
Result<void> evaluate(Machine &machine, ir::QuantizeOp op);
Result<void> evaluate(Machine &machine, ir::DequantizeOp op);
Result<void> evaluate(Machine &machine, ir::CountClippedOp op);
Result<void> evaluate(Machine &machine, ir::PowerOfTwoOp op);
// Products.cpp
Result<void> evaluate(Machine &machine, ir::MatmulOp op);
Result<void> evaluate(Machine &machine, ir::ContractOp op);
// Rows.cpp
Result<void> evaluate(Machine &machine, ir::ReduceOp op);
Result<void> evaluate(Machine &machine, ir::SoftmaxOp op);
Result<void> evaluate(Machine &machine, ir::RmsNormOp op);
Result<void> evaluate(Machine &machine, ir::LayerNormOp op);
// Shapes.cpp
Result<void> evaluate(Machine &machine, ir::ConstantOp op);
Result<void> evaluate(Machine &machine, ir::ReshapeOp op);
Result<void> evaluate(Machine &machine, ir::TransposeOp op);
Result<void> evaluate(Machine &machine, ir::SliceOp op);
Result<void> evaluate(Machine &machine, ir::ConcatOp op);
Result<void> evaluate(Machine &machine, ir::GatherOp op);

} // namespace quern::reference

#endif // QUERN_REFERENCE_MACHINE_H
