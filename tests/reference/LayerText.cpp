//===- LayerText.cpp - Layers given as IR text, for tests -----------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "LayerText.h"

#include "dialects/quern/IR/Quern.h"

#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/Parser/Parser.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

namespace quern::reference {

Layer::Layer(const std::string &text)
    : context(std::make_unique<mlir::MLIRContext>(
          mlir::MLIRContext::Threading::DISABLED)) {
  context->loadDialect<ir::QuernDialect, mlir::func::FuncDialect>();
  mlir::ScopedDiagnosticHandler handler(context.get(),
                                        [&](mlir::Diagnostic &diagnostic) {
                                          message += diagnostic.str() + "\n";
                                          return mlir::success();
                                        });
  module = mlir::parseSourceString<mlir::ModuleOp>(text, context.get());
  if (!module)
    ADD_FAILURE() << message << "in\n" << text;
}

Layer::~Layer() = default;

mlir::func::FuncOp Layer::func() const {
  mlir::ModuleOp op = module.get();
  return *op.getOps<mlir::func::FuncOp>().begin();
}

std::vector<HostTensor> Layer::run(std::vector<HostTensor> inputs, Mode mode,
                                   unsigned threads) const {
  if (!module)
    return {};
  Result<std::vector<HostTensor>> results =
      interpret(func(), inputs, mode, {threads});
  if (!results) {
    ADD_FAILURE() << results.error().render();
    return {};
  }
  return std::move(*results);
}

std::vector<RealTensor> Layer::runReal(std::vector<HostTensor> inputs) const {
  if (!module)
    return {};
  Result<std::vector<RealTensor>> results = interpretReal(func(), inputs, {2});
  if (!results) {
    ADD_FAILURE() << results.error().render();
    return {};
  }
  return std::move(*results);
}

std::string Layer::refusal(std::vector<HostTensor> inputs) const {
  Result<std::vector<HostTensor>> results =
      interpret(func(), inputs, Mode::Exact, {2});
  return results ? "" : results.error().message;
}

Layer layerOf(const std::string &signature, const std::string &body) {
  return Layer(fmt::format(
      "func.func @layer{} attributes {{quern.symbols = [#quern.symbol<\"M\", "
      "1, 1000000, 1>], quern.numerics = \"strict\"}} {{\n{}\n}}",
      signature, body));
}

HostTensor tensorOf(DType dtype, std::vector<int64_t> shape,
                    const std::vector<double> &values) {
  HostTensor tensor(dtype, std::move(shape));
  EXPECT_EQ(tensor.elements(), static_cast<int64_t>(values.size()));
  for (size_t i = 0; i < values.size(); ++i)
    tensor.set(i, values[i]);
  return tensor;
}

std::vector<double> valuesOf(const HostTensor &tensor) {
  std::vector<double> values;
  for (int64_t i = 0; i < tensor.elements(); ++i)
    values.push_back(tensor.get(i));
  return values;
}

std::string rowsOf(int64_t n, const std::string &element) {
  return fmt::format("tensor<?x{}x{}, affine_map<()[s0] -> (s0, {})>>", n,
                     element, n);
}

} // namespace quern::reference
