//===- LayerText.h - Layers given as IR text, for tests ---------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Parses a layer and runs it, and builds tensors from numbers.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_TESTS_REFERENCE_LAYERTEXT_H
#define QUERN_TESTS_REFERENCE_LAYERTEXT_H

#include "compiler/reference/Interpreter.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"

#include <memory>
#include <string>

namespace quern::reference {

/// A parsed module that holds one layer. `error` is set when it did not parse.
class Layer {
public:
  explicit Layer(const std::string &text);
  ~Layer();

  bool valid() const { return bool(module); }
  const std::string &error() const { return message; }
  mlir::func::FuncOp func() const;

  /// Runs the layer; a failure is reported to GoogleTest and gives an empty
  /// list.
  std::vector<HostTensor> run(std::vector<HostTensor> inputs,
                              Mode mode = Mode::Exact,
                              unsigned threads = 2) const;
  std::vector<RealTensor> runReal(std::vector<HostTensor> inputs) const;
  /// The message a run fails with; empty when it succeeds.
  std::string refusal(std::vector<HostTensor> inputs) const;

private:
  std::string message;
  std::unique_ptr<mlir::MLIRContext> context;
  mlir::OwningOpRef<mlir::ModuleOp> module;
};

/// A layer of one symbol M in 0..1000000 whose body is `body`; `signature` is
/// what stands between the name and the attributes.
Layer layerOf(const std::string &signature, const std::string &body);

/// A tensor of these numbers, each rounded to the type.
HostTensor tensorOf(DType dtype, std::vector<int64_t> shape,
                    const std::vector<double> &values);
std::vector<double> valuesOf(const HostTensor &tensor);

/// "tensor<?x16xf32, M x 16>" and its like: the type text of [M, n].
std::string rowsOf(int64_t n, const std::string &element);

} // namespace quern::reference

#endif // QUERN_TESTS_REFERENCE_LAYERTEXT_H
