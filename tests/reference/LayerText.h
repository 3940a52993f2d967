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
#include <vector>

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

/// A layer of static shapes: `arguments` and `results` are type texts, the
/// arguments are called %a0, %a1 and so on.
Layer layerOf(const std::vector<std::string> &arguments,
              const std::vector<std::string> &results, const std::string &body);

/// `tensor<3x5xf32>`, and the quantized type of codes of that shape.
std::string tensorText(const std::vector<int64_t> &shape,
                       const std::string &element);
std::string quantizedText(const std::vector<int64_t> &shape,
                          const std::string &element,
                          const std::vector<int64_t> &block,
                          const std::string &scale = "f32");

/// The text of an i8 recipe with everything at its default.
extern const char *const int8Recipe;

/// A tensor of these numbers, each rounded to the type.
HostTensor tensorOf(DType dtype, std::vector<int64_t> shape,
                    const std::vector<double> &values);
std::vector<double> valuesOf(const HostTensor &tensor);

/// Bits of every element, all NaNs made one: what "the same bits" means.
std::vector<uint32_t> bitsOf(const HostTensor &tensor);

} // namespace quern::reference

#endif // QUERN_TESTS_REFERENCE_LAYERTEXT_H
