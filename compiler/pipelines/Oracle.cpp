//===- Oracle.cpp - The reference's answer for a layer --------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/pipelines/Oracle.h"

#include "compiler/diagnostics/Diagnostics.h"
#include "compiler/frontend/Frontend.h"
#include "compiler/reference/Compare.h"
#include "compiler/reference/Interpreter.h"
#include "compiler/reference/RandomInputs.h"
#include "compiler/reference/Work.h"
#include "dialects/quern/IR/Quern.h"

#include "mlir/IR/MLIRContext.h"

#include <cstring>

using namespace mlir;
using namespace quern;

struct Oracle::State {
  State() : context(MLIRContext::Threading::DISABLED) {}

  MLIRContext context;
  OwningOpRef<ModuleOp> module;
  func::FuncOp layer;
  std::vector<SymbolDesc> symbols;
  /// Names of the flat operands and results, as the runtime spells them.
  std::vector<std::string> operands, results;
};

Oracle::Oracle(std::unique_ptr<State> state) : state(std::move(state)) {}
Oracle::Oracle(Oracle &&) noexcept = default;
Oracle &Oracle::operator=(Oracle &&) noexcept = default;
Oracle::~Oracle() = default;

const std::vector<SymbolDesc> &Oracle::symbols() const {
  return state->symbols;
}

const std::vector<std::string> &Oracle::operandNames() const {
  return state->operands;
}

const std::vector<std::string> &Oracle::resultNames() const {
  return state->results;
}

/// One name for a plain tensor, two or three for a quantized one.
static void addNames(std::vector<std::string> &names, Type type,
                     StringAttr attr, const std::string &fallback) {
  std::string name = attr ? attr.getValue().str() : fallback;
  if (auto quantized = dyn_cast<ir::QTensorType>(type)) {
    names.push_back(name + ".codes");
    names.push_back(name + ".scales");
    if (quantized.hasZeros())
      names.push_back(name + ".zeros");
  } else {
    names.push_back(name);
  }
}

Result<Oracle> Oracle::create(std::string_view source, std::string_view name,
                              std::string_view layerName) {
  auto state = std::make_unique<State>();
  std::vector<quern::Diagnostic> errors;
  state->module =
      parseLayers(StringRef(source.data(), source.size()),
                  StringRef(name.data(), name.size()), state->context, errors);
  if (!state->module)
    return errors.empty() ? fail(Errc::Internal, "the frontend failed silently")
                          : errors.front();
  for (func::FuncOp layer : state->module->getOps<func::FuncOp>())
    if (layerName.empty() ||
        layer.getName() == StringRef(layerName.data(), layerName.size())) {
      if (state->layer)
        return fail(Errc::InvalidArgument,
                    "the text has several layers; name one");
      state->layer = layer;
    }
  if (!state->layer)
    return fail(Errc::InvalidArgument, "the text has no such layer");

  func::FuncOp layer = state->layer;
  for (Attribute attr : layer->getAttrOfType<ArrayAttr>(ir::symbolsAttrName)) {
    auto symbol = cast<ir::SymbolAttr>(attr);
    state->symbols.push_back({symbol.getName().str(), symbol.getMin(),
                              symbol.getMax(), symbol.getMultiple()});
  }
  for (unsigned i = 0; i < layer.getNumArguments(); ++i)
    addNames(state->operands, layer.getArgumentTypes()[i],
             layer.getArgAttrOfType<StringAttr>(i, ir::nameAttrName),
             fmt::format("arg{}", i));
  for (unsigned i = 0; i < layer.getNumResults(); ++i)
    addNames(state->results, layer.getResultTypes()[i],
             layer.getResultAttrOfType<StringAttr>(i, ir::nameAttrName),
             fmt::format("out{}", i));
  return Oracle(std::move(state));
}

static reference::HostTensor toHost(const TensorView &view) {
  std::vector<int64_t> shape(view.shape.extents().begin(),
                             view.shape.extents().end());
  reference::HostTensor tensor(view.dtype, std::move(shape));
  if (!tensor.bytes.empty())
    std::memcpy(tensor.bytes.data(), view.data, tensor.bytes.size());
  return tensor;
}

static Result<Tensor> fromHost(const reference::HostTensor &host,
                               const std::string &name) {
  auto tensor = Tensor::zeros(
      host.dtype, Shape(std::span<const int64_t>(host.shape)), name);
  if (!tensor)
    return tensor.error();
  if (!host.bytes.empty())
    std::memcpy(tensor->data(), host.bytes.data(), host.bytes.size());
  return tensor;
}

static std::vector<reference::HostTensor>
toHost(std::span<const TensorView> views) {
  std::vector<reference::HostTensor> tensors;
  for (const TensorView &view : views)
    tensors.push_back(toHost(view));
  return tensors;
}

static Result<std::vector<Tensor>>
fromHost(const std::vector<reference::HostTensor> &hosts,
         const std::vector<std::string> &names,
         std::span<const std::string> skipped = {}) {
  std::vector<Tensor> tensors;
  for (size_t i = 0; i < hosts.size(); ++i) {
    if (llvm::is_contained(skipped, names[i]))
      continue;
    auto tensor = fromHost(hosts[i], names[i]);
    if (!tensor)
      return tensor.error();
    tensors.push_back(std::move(*tensor));
  }
  return tensors;
}

Result<std::vector<Tensor>>
Oracle::drawInputs(std::span<const int64_t> symbols, uint64_t seed,
                   std::span<const std::string> given,
                   reference::Corner corner) const {
  auto drawn = reference::randomInputs(
      state->layer, ArrayRef<int64_t>(symbols.data(), symbols.size()), seed,
      corner);
  if (!drawn)
    return drawn.error();
  return fromHost(*drawn, state->operands, given);
}

bool Oracle::applies(reference::Corner corner) const {
  return reference::applies(corner, state->layer);
}

Result<std::vector<Tensor>>
Oracle::evaluate(std::span<const TensorView> operands, unsigned threads) const {
  auto results = reference::interpret(state->layer, toHost(operands),
                                      reference::Mode::Exact, {threads});
  if (!results)
    return results.error();
  return fromHost(*results, state->results);
}

/// The simulator sums in f32, whatever it simulates.
static double f8ErrorOn(StringRef target) {
  bool isShort =
      target.starts_with("cuda:sm_89") || target.starts_with("cuda:sm_12");
  return isShort ? 0x1p-13 : 0x1p-24;
}

/// Products of bf16 may flush subnormal numbers (docs/numerics.md).
static bool flushesBf16On(StringRef target) {
  return target == "cpu:avx512-bf16";
}

std::string_view Oracle::toleranceOf(std::string_view code) {
  StringRef target(code.data(), code.size());
  return target.starts_with("cuda") || flushesBf16On(target)
             ? code
             : std::string_view();
}

struct Oracle::Answer::State {
  std::vector<reference::HostTensor> expected;
  reference::Tolerance tolerance;
};

Oracle::Answer::Answer(std::unique_ptr<State> state)
    : state(std::move(state)) {}
Oracle::Answer::Answer(Answer &&) noexcept = default;
Oracle::Answer &Oracle::Answer::operator=(Answer &&) noexcept = default;
Oracle::Answer::~Answer() = default;

Result<Oracle::Answer> Oracle::answer(std::span<const TensorView> operands,
                                      unsigned threads,
                                      std::string_view target) const {
  std::vector<reference::HostTensor> inputs = toHost(operands);
  reference::Options options{threads};
  options.f8Error = f8ErrorOn(StringRef(target.data(), target.size()));
  options.flushesBf16 = flushesBf16On(StringRef(target.data(), target.size()));
  auto expected = reference::interpret(state->layer, inputs,
                                       reference::Mode::Exact, options);
  if (!expected)
    return expected.error();
  auto tolerance =
      reference::deriveTolerance(state->layer, inputs, *expected, options);
  if (!tolerance)
    return tolerance.error();
  auto answer = std::make_unique<Answer::State>();
  answer->expected = std::move(*expected);
  answer->tolerance = std::move(*tolerance);
  return Answer(std::move(answer));
}

Result<std::vector<OutputCheck>>
Oracle::check(std::span<const TensorView> operands,
              std::span<const TensorView> outputs, unsigned threads,
              std::string_view target) const {
  auto made = answer(operands, threads, target);
  if (!made)
    return made.error();
  return check(*made, outputs);
}

Result<std::vector<OutputCheck>>
Oracle::check(const Answer &answer, std::span<const TensorView> outputs) const {
  const std::vector<reference::HostTensor> &expected = answer.state->expected;
  if (expected.size() != outputs.size())
    return fail(Errc::InvalidArgument,
                fmt::format("the layer has {} results, not {}", expected.size(),
                            outputs.size()));
  std::vector<OutputCheck> checks;
  for (size_t i = 0; i < outputs.size(); ++i) {
    const reference::Tolerance &all = answer.state->tolerance;
    reference::Tolerance own;
    own.numericsClass = all.numericsClass;
    own.extraRelative = all.extraRelative;
    if (i < all.rows.size())
      own.rows = {all.rows[i]};
    if (i < all.codeShare.size())
      own.codeShare = {all.codeShare[i]};
    if (i < all.undetermined.size())
      own.undetermined = {all.undetermined[i]};
    auto compared = reference::compare(expected[i], toHost(outputs[i]), own);
    if (!compared)
      return compared.error();
    OutputCheck check;
    check.name = state->results[i];
    check.numericsClass = compared->numericsClass;
    check.passed = compared->passed();
    check.requirement = compared->numericsClass == NumericsClass::Bounded
                            ? "bounded: within the error its sums allow"
                            : fmt::format("{}: equal bits",
                                          quern::name(compared->numericsClass));
    check.worst = compared->render();
    check.elements = compared->elements;
    check.different = compared->different;
    check.mismatches = compared->mismatches;
    check.codesOff = compared->steps;
    check.error = compared->error;
    check.share = compared->share;
    checks.push_back(std::move(check));
  }
  return checks;
}

NumericsClass Oracle::numericsClass() const {
  return reference::classify(state->layer);
}

double Oracle::work(std::span<const int64_t> symbols) const {
  return reference::estimateWork(
      state->layer, ArrayRef<int64_t>(symbols.data(), symbols.size()));
}

std::vector<Oracle::SharedScale>
Oracle::scalesSharedAlong(size_t symbol) const {
  std::vector<SharedScale> shared;
  state->layer.walk([&](ir::QuantizeOp quantize) {
    if (quantize.getScale())
      return;
    auto type = cast<ir::QTensorType>(quantize.getResult().getType());
    auto dims = ir::getDims(type.getCodes());
    for (auto [dim, block] :
         llvm::zip_equal(dims, type.getScale().getBlock())) {
      if (block == 1 || !dim.isFunctionOfSymbol(symbol))
        continue;
      SharedScale one;
      one.block = block;
      if (FileLineColLoc place = findFileLocation(quantize.getLoc())) {
        one.line = place.getLine();
        one.column = place.getColumn();
      }
      if (auto name = dyn_cast<NameLoc>(quantize.getLoc()))
        one.value = name.getName().str();
      shared.push_back(std::move(one));
      return;
    }
  });
  return shared;
}

Result<std::vector<Oracle::Bounds>>
Oracle::bounds(std::span<const TensorView> operands, unsigned threads) const {
  std::vector<reference::HostTensor> inputs = toHost(operands);
  reference::Options options{threads};
  auto expected = reference::interpret(state->layer, inputs,
                                       reference::Mode::Exact, options);
  if (!expected)
    return expected.error();
  auto tolerance =
      reference::deriveTolerance(state->layer, inputs, *expected, options);
  if (!tolerance)
    return tolerance.error();
  auto tensors = fromHost(*expected, state->results);
  if (!tensors)
    return tensors.error();
  std::vector<Bounds> all;
  for (size_t i = 0; i < tensors->size(); ++i) {
    Bounds own;
    own.expected = std::move((*tensors)[i]);
    own.numericsClass = tolerance->numericsClass;
    if (own.numericsClass == NumericsClass::Bounded) {
      if (i < tolerance->rows.size())
        own.rows = tolerance->rows[i];
      if (i < tolerance->codeShare.size())
        own.codeShare = tolerance->codeShare[i];
      own.extraRelative = tolerance->extraRelative;
    }
    all.push_back(std::move(own));
  }
  return all;
}
