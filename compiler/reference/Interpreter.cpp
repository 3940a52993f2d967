//===- Interpreter.cpp - The oracle: what a layer computes ----------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/reference/Interpreter.h"

#include "compiler/reference/Machine.h"
#include "compiler/reference/Symbols.h"

#include "llvm/ADT/TypeSwitch.h"

#include <fmt/format.h>
#include <thread>

using namespace mlir;
using namespace quern::ir;

namespace quern::reference {

Diagnostic opError(Operation *op, Errc code, std::string message) {
  Diagnostic diagnostic =
      fail(code, fmt::format("{}: {}", op->getName().getStringRef().str(),
                             std::move(message)));
  if (auto loc = op->getLoc()->findInstanceOf<FileLineColLoc>()) {
    diagnostic.file = loc.getFilename().str();
    diagnostic.line = loc.getLine();
    diagnostic.column = loc.getColumn();
  }
  return diagnostic;
}

Result<std::vector<int64_t>> Machine::shapeOf(RankedTensorType type) const {
  if (!isElementType(type.getElementType()))
    return fail(Errc::Unsupported,
                fmt::format("{} is no element type of the quern dialect",
                            toText(type.getElementType())));
  std::vector<int64_t> shape;
  // Eight bytes per element, the widest a value can have.
  int64_t size = 8;
  for (AffineExpr dim : getDims(type)) {
    std::optional<int64_t> extent = evaluateExpr(dim, symbols);
    if (!extent || *extent < 0 || __builtin_mul_overflow(size, *extent, &size))
      return fail(Errc::InvalidArgument,
                  "a tensor has an extent that is negative, overflows, or "
                  "names a symbol the layer does not declare");
    shape.push_back(*extent);
  }
  return shape;
}

Result<Tensor> Machine::make(RankedTensorType type) const {
  Result<std::vector<int64_t>> shape = shapeOf(type);
  if (!shape)
    return shape.error();
  Tensor tensor(std::move(*shape), *getDType(type.getElementType()), real());
  if (!tensor.data())
    return fail(Errc::OutOfMemory,
                fmt::format("no memory for {} elements of {} bytes",
                            tensor.elements(), tensor.elementWidth()));
  return tensor;
}

/// make_qtensor, codes and scales only take values apart and together.
static Result<void> evaluate(Machine &machine, MakeQTensorOp op) {
  ArrayRef<int64_t> block = op.getResult().getType().getScale().getBlock();
  Value value{machine.tensor(op.getCodes()),
              machine.tensor(op.getScales()),
              {block.begin(), block.end()},
              std::nullopt};
  if (op.getZeros())
    value.zeros = machine.tensor(op.getZeros());
  machine.values[op.getResult()] = std::move(value);
  return {};
}
static Result<void> evaluate(Machine &machine, ZerosOp op) {
  machine.set(op.getResult(), machine.get(op.getInput()).zeros->widened());
  return {};
}
static Result<void> evaluate(Machine &machine, CodesOp op) {
  machine.set(op.getResult(), machine.get(op.getInput()).tensor.widened());
  return {};
}
static Result<void> evaluate(Machine &machine, ScalesOp op) {
  machine.set(op.getResult(), *machine.get(op.getInput()).scales);
  return {};
}

static Result<void> runBlock(Machine &machine, Block &block,
                             SmallVectorImpl<Value> &results);

static Result<void> evaluate(Machine &machine, KernelOp op) {
  SmallVector<Value> results;
  if (Result<void> done = runBlock(machine, op.getBody().front(), results);
      !done)
    return done;
  if (results.size() != op.getNumResults())
    return opError(op, Errc::InvalidSource,
                   fmt::format("yields {} values for {} results",
                               results.size(), op.getNumResults()));
  for (auto [result, value] : llvm::zip_equal(op.getResults(), results))
    machine.values[result] = std::move(value);
  return {};
}

static Result<void> runOp(Machine &machine, Operation *op) {
  if (auto power = dyn_cast<PowerOfTwoOp>(op))
    return evaluate(machine, power);
  if (isa<ElementwiseInterface>(op))
    return evaluateElementwise(machine, op);
  return llvm::TypeSwitch<Operation *, Result<void>>(op)
      .Case<QuantizeOp, DequantizeOp, MakeQTensorOp, CodesOp, ScalesOp, ZerosOp,
            CountClippedOp, MatmulOp, ContractOp, ReduceOp, SoftmaxOp,
            RmsNormOp, LayerNormOp, ConstantOp, ReshapeOp, TransposeOp, SliceOp,
            ConcatOp, GatherOp, KernelOp>(
          [&](auto typed) { return evaluate(machine, typed); })
      .Default([&](Operation *) -> Result<void> {
        return opError(op, Errc::Unsupported,
                       "the reference gives no meaning to this operation; it "
                       "interprets layers of the quern dialect");
      });
}

/// Runs the operations of a block; `results` are the terminator's operands.
static Result<void> runBlock(Machine &machine, Block &block,
                             SmallVectorImpl<Value> &results) {
  // Positions of our own: asking the operations would renumber them, and the
  // layer is only read.
  DenseMap<Operation *, unsigned> position;
  for (Operation &op : block)
    position.try_emplace(&op, position.size());
  for (Operation &op : block) {
    if (isa<func::ReturnOp, YieldOp>(op)) {
      for (mlir::Value operand : op.getOperands())
        results.push_back(machine.get(operand));
      return {};
    }
    if (Result<void> done = runOp(machine, &op); !done)
      return done;
    // A value whose last user is done is let go: layers are large.
    for (mlir::Value operand : op.getOperands()) {
      bool pending = llvm::any_of(operand.getUsers(), [&](Operation *user) {
        Operation *here = block.findAncestorOpInBlock(*user);
        return !here || position.lookup(here) > position.lookup(&op);
      });
      if (!pending)
        machine.values.erase(operand);
    }
  }
  return fail(Errc::InvalidSource, "a block without a terminator");
}

/// Runs the layer and gives its results as one list of tensors.
static Result<std::vector<Tensor>> run(func::FuncOp layer,
                                       ArrayRef<HostTensor> inputs, Mode mode,
                                       const Options &options) {
  if (layer.isExternal() || !layer.getBody().hasOneBlock())
    return fail(Errc::InvalidSource,
                fmt::format("layer {} has no body of one block",
                            layer.getName().str()));
  Result<std::vector<int64_t>> symbols = inferSymbols(layer, inputs);
  if (!symbols)
    return symbols.error();
  Machine machine;
  machine.mode = mode;
  machine.threads = options.threads
                        ? options.threads
                        : std::max(1u, std::thread::hardware_concurrency());
  machine.perturbation = options.perturbation;
  machine.f8Error = options.f8Error;
  machine.flushesBf16 = options.flushesBf16;
  machine.dropsSubnormals = options.dropsSubnormals;
  machine.symbols = *symbols;
  Result<std::vector<SymbolAttr>> declared = symbolsOf(layer);
  if (!declared)
    return declared.error();
  for (SymbolAttr symbol : *declared)
    machine.largestSymbols.push_back(symbol.getMax());

  size_t next = 0;
  for (BlockArgument argument : layer.getArguments()) {
    Value value{Tensor::borrow(inputs[next++]), std::nullopt, {}, std::nullopt};
    if (auto type = dyn_cast<QTensorType>(argument.getType())) {
      value.scales = Tensor::borrow(inputs[next++]);
      if (type.hasZeros())
        value.zeros = Tensor::borrow(inputs[next++]);
      llvm::append_range(value.block, type.getScale().getBlock());
    }
    machine.values[argument] = std::move(value);
  }
  SmallVector<Value> results;
  if (Result<void> done = runBlock(machine, layer.getBody().front(), results);
      !done)
    return done.error();
  std::vector<Tensor> list;
  for (Value &value : results) {
    list.push_back(std::move(value.tensor));
    if (value.scales)
      list.push_back(std::move(*value.scales));
    if (value.zeros)
      list.push_back(std::move(*value.zeros));
  }
  return list;
}

Result<std::vector<HostTensor>> interpret(func::FuncOp layer,
                                          ArrayRef<HostTensor> inputs,
                                          Mode mode, const Options &options) {
  Result<std::vector<Tensor>> results = run(layer, inputs, mode, options);
  if (!results)
    return results.error();
  std::vector<HostTensor> list;
  for (const Tensor &tensor : *results)
    list.push_back((mode == Mode::Real ? tensor.toReal() : tensor).toHost());
  return list;
}

Result<std::vector<RealTensor>> interpretReal(func::FuncOp layer,
                                              ArrayRef<HostTensor> inputs,
                                              const Options &options) {
  Result<std::vector<Tensor>> results = run(layer, inputs, Mode::Real, options);
  if (!results)
    return results.error();
  std::vector<RealTensor> list;
  for (const Tensor &tensor : *results) {
    RealTensor real{tensor.shape(), std::vector<double>(tensor.elements())};
    tensor.load(0, tensor.elements(), real.values.data());
    list.push_back(std::move(real));
  }
  return list;
}

} // namespace quern::reference
