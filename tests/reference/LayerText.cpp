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
#include <fmt/ranges.h>
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

const char *const int8Recipe =
    "<divisor = 127.0, range = -127.0, 127.0, rounding = half_even, floor = "
    "1.17549435E-38>";

Layer layerOf(const std::vector<std::string> &arguments,
              const std::vector<std::string> &results,
              const std::string &body) {
  std::string list;
  for (size_t i = 0; i < arguments.size(); ++i)
    list += fmt::format("{}%a{}: {}", i ? ", " : "", i, arguments[i]);
  return Layer(fmt::format(
      "func.func @layer({}) -> ({}) attributes {{quern.symbols = [], "
      "quern.numerics = \"strict\"}} {{\n{}\n}}",
      list, fmt::join(results, ", "), body));
}

std::string tensorText(const std::vector<int64_t> &shape,
                       const std::string &element) {
  std::string text = "tensor<";
  for (int64_t extent : shape)
    text += fmt::format("{}x", extent);
  return text + element + ">";
}

std::string quantizedText(const std::vector<int64_t> &shape,
                          const std::string &element,
                          const std::vector<int64_t> &block,
                          const std::string &scale) {
  return fmt::format(
      "!quern.qtensor<{}, #quern.scale<block = [{}], type = {}>>",
      tensorText(shape, element), fmt::join(block, ", "), scale);
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

std::vector<uint32_t> bitsOf(const HostTensor &tensor) {
  std::vector<uint32_t> bits;
  for (int64_t i = 0; i < tensor.elements(); ++i) {
    double value = tensor.get(i);
    if (value != value) {
      bits.push_back(0xffffffffu);
      continue;
    }
    switch (byteWidth(tensor.dtype)) {
    case 1:
      bits.push_back(tensor.as<uint8_t>()[i]);
      break;
    case 2:
      bits.push_back(tensor.as<uint16_t>()[i]);
      break;
    default:
      bits.push_back(tensor.as<uint32_t>()[i]);
    }
  }
  return bits;
}

} // namespace quern::reference
