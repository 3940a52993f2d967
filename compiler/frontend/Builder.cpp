//===- Builder.cpp - Layers made from C++ ---------------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/frontend/Builder.h"

#include "compiler/frontend/LayerEmitter.h"
#include "compiler/frontend/Verify.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSwitch.h"

#include <fmt/format.h>

using namespace mlir;
using namespace quern;
using namespace quern::frontend;

//===----------------------------------------------------------------------===//
// Extents
//===----------------------------------------------------------------------===//

AffineExpr Dim::in(MLIRContext *context) const {
  return expr ? expr : getAffineConstantExpr(number, context);
}

Dim Dim::combine(AffineExprKind kind, const Dim &a, const Dim &b) {
  Dim result;
  result.valid = a.valid && b.valid;
  result.owner = a.owner ? a.owner : b.owner;
  // Symbols of two builders have nothing in common.
  if (a.owner && b.owner && a.owner != b.owner)
    result.valid = false;
  switch (kind) {
  case AffineExprKind::Add:
    result.magnitude = a.magnitude + b.magnitude;
    break;
  case AffineExprKind::Mul:
    result.magnitude = a.magnitude * b.magnitude;
    break;
  default:
    result.magnitude = a.magnitude;
    break;
  }
  if (!(result.magnitude < 0x1p60))
    result.valid = false;
  if (!result.valid)
    return result;
  if (MLIRContext *context = a.expr   ? a.expr.getContext()
                             : b.expr ? b.expr.getContext()
                                      : nullptr) {
    result.expr = getAffineBinaryOpExpr(kind, a.in(context), b.in(context));
    return result;
  }
  int64_t x = a.number, y = b.number;
  result.number = kind == AffineExprKind::Add   ? x + y
                  : kind == AffineExprKind::Mul ? x * y
                                                : (x + y - 1) / y;
  return result;
}

Dim quern::operator+(const Dim &a, const Dim &b) {
  return Dim::combine(AffineExprKind::Add, a, b);
}
Dim quern::operator*(int64_t factor, const Dim &a) {
  return Dim::combine(AffineExprKind::Mul, a, Dim(factor));
}
Dim quern::operator-(const Dim &a, const Dim &b) { return a + (-1) * b; }
Dim quern::ceilDiv(const Dim &a, int64_t divisor) {
  if (divisor >= 1)
    return Dim::combine(AffineExprKind::CeilDiv, a, Dim(divisor));
  Dim invalid;
  invalid.valid = false;
  return invalid;
}

//===----------------------------------------------------------------------===//
// State
//===----------------------------------------------------------------------===//

struct LayerBuilder::State {
  LayerBuilder *self;
  std::string name;
  std::vector<Diagnostic> diagnostics;
  Errors errors;
  OwningOpRef<ModuleOp> module;
  SymbolSpace symbols;
  std::unique_ptr<LayerEmitter> emitter;
  SmallVector<bool> bound;
  SmallVector<Operand> results;
  SmallVector<DeclaredResult> declared;
  bool finished = false;

  State(LayerBuilder *self, MLIRContext &context, llvm::StringRef name)
      : self(self), name(name.str()), errors(name, "", diagnostics),
        module(ModuleOp::create(UnknownLoc::get(&context))), symbols(&context) {
  }

  /// The emitter, which fixes the number of symbols.
  LayerEmitter &emit() {
    if (!emitter) {
      emitter = std::make_unique<LayerEmitter>(*module, name, Place(), symbols,
                                               errors);
      bound.resize(symbols.size(), false);
    }
    return *emitter;
  }

  AffineExpr resolve(const Dim &dim) {
    if (dim.valid && (!dim.owner || dim.owner == self))
      return dim.in(module->getContext());
    errors.add({},
               dim.valid || dim.owner
                   ? "an extent with symbols of another builder, or beyond "
                     "what can be computed with"
                   : "an extent beyond what can be computed with, or divided "
                     "by less than 1",
               {fmt::format("extents are at most {}", maxExtent)});
    return {};
  }

  std::optional<SmallVector<AffineExpr>> resolve(const Shape &shape) {
    SmallVector<AffineExpr> dims;
    for (const Dim &dim : shape) {
      AffineExpr expr = resolve(dim);
      if (!expr)
        return std::nullopt;
      dims.push_back(expr);
    }
    return dims;
  }

  Operand operand(const Tensor &tensor) {
    if (tensor.builder && tensor.builder != self) {
      errors.add({}, fmt::format("a tensor of another builder{}",
                                 tensor.name.empty()
                                     ? std::string()
                                     : fmt::format(": '{}'", tensor.name)));
      return {};
    }
    if (!tensor.builder)
      errors.add({}, "a tensor that was never made",
                 {"tensors come from input, weight and the operations"});
    return Operand::ofValue(tensor.value, {}, tensor.name);
  }

  Operand operand(const Arg &arg) {
    return arg.tensor ? operand(*arg.tensor)
                      : Operand::ofNumber(arg.number, {});
  }

  Tensor tensor(const Operand &operand) {
    Tensor result;
    result.builder = self;
    result.value = operand.value;
    result.name = operand.name;
    return result;
  }

  Type type(DType element, const Shape &shape,
            const Granularity *granularity = nullptr,
            DType scale = DType::F32) {
    LayerEmitter &emitter = emit();
    auto dims = resolve(shape);
    if (!dims)
      return {};
    if (!granularity) {
      if (element == DType::I64 || element == DType::Bool) {
        errors.add({}, fmt::format("a tensor of element type {}",
                                   quern::name(element)));
        return {};
      }
      return emitter.tensorType({}, *dims, element);
    }
    auto block =
        emitter.granularity({}, granularity->word, granularity->extents, *dims);
    return block ? emitter.quantizedType({}, *dims, element, std::move(*block),
                                         {}, scale, granularity->zeros)
                 : Type();
  }

  using Kind = LayerEmitter::ParameterKind;
  Tensor parameter(llvm::StringRef name, Type type, const Shape &shape,
                   Kind kind) {
    // As in the text: a symbol alone, or times a number.
    for (const Dim &dim : shape) {
      if (!dim.valid || dim.owner != self)
        continue;
      AffineExpr expr = symbols.simplify(dim.expr);
      if (auto product = llvm::dyn_cast<AffineBinaryOpExpr>(expr);
          product && product.getKind() == AffineExprKind::Mul)
        expr = product.getLHS();
      if (auto symbol = llvm::dyn_cast<AffineSymbolExpr>(expr))
        bound[symbol.getPosition()] = true;
    }
    if (!results.empty() || finished)
      errors.add({}, fmt::format("parameter '{}' after an output",
                                 std::string_view(name)));
    return tensor(emit().addParameter({}, name, type, kind));
  }

  void output(const Tensor &value, Type type, llvm::StringRef name) {
    results.push_back(operand(value));
    declared.push_back({{}, name.str(), type});
  }
};

LayerBuilder::LayerBuilder(MLIRContext &context, llvm::StringRef name) {
  context.loadDialect<func::FuncDialect, ir::QuernDialect>();
  state = std::make_unique<State>(this, context, name);
}
LayerBuilder::~LayerBuilder() = default;

//===----------------------------------------------------------------------===//
// Declarations
//===----------------------------------------------------------------------===//

Dim LayerBuilder::symbol(llvm::StringRef name, int64_t min, int64_t max,
                         int64_t multiple) {
  Symbol symbol;
  symbol.name = name.str();
  symbol.min = min;
  symbol.max = max;
  symbol.multiple = multiple;
  Dim result;
  std::string problem = SymbolSpace::checkRange(symbol);
  if (name.empty())
    problem = "a symbol without a name";
  else if (state->symbols.find(name) >= 0)
    problem = fmt::format("symbol '{}' is declared twice", symbol.name);
  else if (state->emitter)
    problem = fmt::format("symbol '{}' after the first tensor", symbol.name);
  if (!problem.empty()) {
    state->errors.add({}, problem,
                      {"declare each symbol once, before the inputs"});
    result.valid = false;
    return result;
  }
  result.expr = state->symbols.symbol(state->symbols.add(std::move(symbol)));
  result.magnitude = static_cast<double>(maxExtent);
  result.owner = this;
  return result;
}

Tensor LayerBuilder::input(llvm::StringRef name, DType element,
                           const Shape &shape) {
  return state->parameter(name, state->type(element, shape), shape,
                          State::Kind::Input);
}
Tensor LayerBuilder::inout(llvm::StringRef name, DType element,
                           const Shape &shape) {
  return state->parameter(name, state->type(element, shape), shape,
                          State::Kind::Inout);
}
void LayerBuilder::update(const Tensor &parameter, const Tensor &value) {
  Operand of = state->operand(parameter);
  if (!of.isPoison())
    state->emit().update({}, of.name, state->operand(value));
}
Tensor LayerBuilder::input(llvm::StringRef name, DType codes,
                           const Shape &shape, const Granularity &granularity,
                           DType scale) {
  return state->parameter(name, state->type(codes, shape, &granularity, scale),
                          shape, State::Kind::Input);
}
Tensor LayerBuilder::weight(llvm::StringRef name, DType element,
                            const Shape &shape) {
  return state->parameter(name, state->type(element, shape), shape,
                          State::Kind::Weight);
}
Tensor LayerBuilder::weight(llvm::StringRef name, DType codes,
                            const Shape &shape, const Granularity &granularity,
                            DType scale) {
  return state->parameter(name, state->type(codes, shape, &granularity, scale),
                          shape, State::Kind::Weight);
}

void LayerBuilder::output(const Tensor &value, DType element,
                          const Shape &shape, llvm::StringRef name) {
  state->output(value, state->type(element, shape), name);
}
void LayerBuilder::output(const Tensor &value, DType codes, const Shape &shape,
                          const Granularity &granularity, DType scale,
                          llvm::StringRef name) {
  state->output(value, state->type(codes, shape, &granularity, scale), name);
}

Result<OwningOpRef<ModuleOp>> LayerBuilder::finish() {
  State &s = *state;
  if (s.finished)
    return fail(Errc::InvalidArgument,
                fmt::format("layer '{}' is finished already", s.name));
  s.finished = true;
  LayerEmitter &emitter = s.emit();
  if (!s.errors.any() && emitter.getFunction().front().getNumArguments() == 0)
    s.errors.add({}, fmt::format("layer '{}' has no parameters", s.name));
  for (unsigned i = 0; i < s.symbols.size(); ++i)
    if (!s.bound[i])
      s.errors.add({},
                   fmt::format("the symbol '{}' is bound by no parameter",
                               s.symbols[i].name),
                   {"a symbol gets its value from a parameter that has it as "
                    "an extent, alone or times a number"});
  if (s.results.empty())
    s.errors.add({}, fmt::format("layer '{}' returns nothing", s.name),
                 {"declare a result with output"});
  else
    emitter.finish({}, s.results, s.declared);
  if (!s.errors.any() && verifyLayers(*s.module, s.errors))
    return std::move(s.module);
  return inOne(std::move(s.diagnostics));
}

//===----------------------------------------------------------------------===//
// Operations
//===----------------------------------------------------------------------===//

Tensor Tensor::named(llvm::StringRef newName) const {
  if (!builder)
    return *this;
  LayerBuilder::State &s = *builder->state;
  return s.tensor(s.emit().bind(s.operand(*this), newName));
}

Tensor LayerBuilder::quantize(const Tensor &x, DType codes,
                              const Granularity &granularity,
                              const QuantizeOptions &options) {
  State &s = *state;
  Operand input = s.operand(x);
  Type type;
  if (auto tensor = llvm::dyn_cast_or_null<RankedTensorType>(
          input.value ? input.value.getType() : Type())) {
    auto dims = ir::getDims(tensor);
    if (auto block = s.emit().granularity({}, granularity.word,
                                          granularity.extents, dims))
      type = s.emit().quantizedType({}, dims, codes, std::move(*block), {},
                                    options.scaleType, granularity.zeros);
  }
  QuantizeSettings settings;
  auto set = [](const std::optional<double> &from,
                std::optional<QuantizeSettings::Number> &to) {
    if (from)
      to = {*from, Place()};
  };
  set(options.divisor, settings.divisor);
  set(options.qmin, settings.qmin);
  set(options.qmax, settings.qmax);
  set(options.floor, settings.floor);
  set(options.decay, settings.decay);
  if (options.predicted)
    settings.predicted = s.operand(*options.predicted);
  if (options.clipped)
    settings.clipped = s.operand(*options.clipped);
  settings.rounding = options.rounding;
  settings.scaleRounding = options.scaleRounding;
  settings.statistic = options.statistic;
  std::optional<Operand> scale, zero;
  if (options.scale)
    scale = s.operand(*options.scale);
  if (options.zero)
    zero = s.operand(*options.zero);
  return s.tensor(
      s.emit().quantize({}, input, type, {}, scale, zero, settings));
}

Tensor LayerBuilder::dequantize(const Tensor &x) {
  return state->tensor(state->emit().dequantize({}, state->operand(x)));
}

Tensor LayerBuilder::matmul(const Tensor &a, const Tensor &b, bool transposeB) {
  return state->tensor(state->emit().matmul({}, state->operand(a),
                                            state->operand(b), transposeB));
}

/// A number alone is no tensor; one appears where both operands are numbers.
static Operand tensorOnly(LayerEmitter &emitter, Operand operand) {
  if (!operand.isNumber())
    return operand;
  emitter.getErrors().add({}, "an operation on two numbers",
                          {"one operand must be a tensor"});
  return {};
}

#define QUERN_BUILDER_BINARY(method, spelling)                                 \
  Tensor LayerBuilder::method(const Arg &a, const Arg &b) {                    \
    LayerEmitter &emitter = state->emit();                                     \
    return state->tensor(tensorOnly(                                           \
        emitter, emitter.binary({}, #method, spelling, state->operand(a),      \
                                state->operand(b))));                          \
  }
QUERN_BUILDER_BINARY(add, "+")
QUERN_BUILDER_BINARY(sub, "-")
QUERN_BUILDER_BINARY(mul, "*")
QUERN_BUILDER_BINARY(div, "/")
QUERN_BUILDER_BINARY(max, "max")
QUERN_BUILDER_BINARY(min, "min")
#undef QUERN_BUILDER_BINARY

Tensor LayerBuilder::compare(const Arg &a, llvm::StringRef op, const Arg &b) {
  using Predicate = ir::ComparePredicate;
  auto predicate = llvm::StringSwitch<std::optional<Predicate>>(op)
                       .Case("<", Predicate::LT)
                       .Case("<=", Predicate::LE)
                       .Case(">", Predicate::GT)
                       .Case(">=", Predicate::GE)
                       .Case("==", Predicate::EQ)
                       .Case("!=", Predicate::NE)
                       .Default(std::nullopt);
  if (!predicate) {
    state->errors.add(
        {}, fmt::format("unknown comparison '{}'", std::string_view(op)),
        {"comparisons are < <= > >= == !="});
    return state->tensor({});
  }
  return state->tensor(state->emit().compare(
      {}, *predicate, op, state->operand(a), state->operand(b)));
}

Tensor LayerBuilder::where(const Tensor &condition, const Arg &a,
                           const Arg &b) {
  return state->tensor(state->emit().where(
      {}, state->operand(condition), state->operand(a), state->operand(b)));
}

Tensor LayerBuilder::unary(llvm::StringRef function, const Tensor &x) {
  LayerEmitter &emitter = state->emit();
  llvm::StringRef mnemonic = function == "gelu" ? "gelu_erf" : function;
  std::vector<llvm::StringRef> known =
      LayerEmitter::arithmetic(state->module->getContext(), 1);
  if (!llvm::is_contained(known, mnemonic)) {
    state->errors.add(
        {}, fmt::format("unknown function '{}'", std::string_view(function)),
        {fmt::format("functions are gelu, {}", llvm::join(known, ", "))});
    return state->tensor({});
  }
  return state->tensor(
      emitter.unary({}, mnemonic, function, state->operand(x)));
}

Tensor LayerBuilder::as(const Tensor &x, DType element) {
  return state->tensor(
      state->emit().convertTo({}, state->operand(x), element, {}));
}

Tensor LayerBuilder::reduce(llvm::StringRef kind, const Tensor &x,
                            const std::vector<int64_t> &axes) {
  auto reduction = llvm::StringSwitch<std::optional<ir::ReduceKind>>(kind)
                       .Case("sum", ir::ReduceKind::Sum)
                       .Case("mean", ir::ReduceKind::Mean)
                       .Case("amax", ir::ReduceKind::Max)
                       .Case("absmax", ir::ReduceKind::AbsMax)
                       .Default(std::nullopt);
  if (!reduction) {
    state->errors.add(
        {}, fmt::format("unknown reduction '{}'", std::string_view(kind)),
        {"reductions are sum, mean, amax and absmax"});
    return state->tensor({});
  }
  return state->tensor(
      state->emit().reduce({}, *reduction, kind, state->operand(x), axes, {}));
}

Tensor LayerBuilder::softmax(const Tensor &x) {
  return state->tensor(state->emit().softmax({}, state->operand(x)));
}

Tensor LayerBuilder::rmsnorm(const Tensor &x, const Tensor &weight,
                             double eps) {
  return state->tensor(state->emit().rmsnorm({}, state->operand(x),
                                             state->operand(weight), eps, {}));
}

Tensor LayerBuilder::layernorm(const Tensor &x, const Tensor &weight,
                               const Tensor &bias, double eps) {
  return state->tensor(state->emit().layernorm({}, state->operand(x),
                                               state->operand(weight),
                                               state->operand(bias), eps, {}));
}

Tensor LayerBuilder::reshape(const Tensor &x, const Shape &shape) {
  auto dims = state->resolve(shape);
  if (!dims)
    return state->tensor({});
  return state->tensor(state->emit().reshape({}, state->operand(x), *dims, {}));
}

Tensor LayerBuilder::transpose(const Tensor &x,
                               const std::vector<int64_t> &permutation) {
  return state->tensor(
      state->emit().transpose({}, state->operand(x), permutation, {}));
}

Tensor LayerBuilder::slice(const Tensor &x, const std::vector<Range> &ranges) {
  SmallVector<SliceRange> resolved;
  for (const Range &range : ranges) {
    SliceRange &item = resolved.emplace_back();
    item.step = range.step;
    if ((range.start && !(item.start = state->resolve(*range.start))) ||
        (range.stop && !(item.stop = state->resolve(*range.stop))))
      return state->tensor({});
  }
  return state->tensor(state->emit().slice({}, state->operand(x), resolved));
}

Tensor LayerBuilder::concat(const std::vector<Tensor> &inputs, int64_t axis) {
  SmallVector<Operand> operands;
  for (const Tensor &input : inputs)
    operands.push_back(state->operand(input));
  if (operands.empty()) {
    state->errors.add({}, "'concat' of no tensors");
    return state->tensor({});
  }
  return state->tensor(state->emit().concat({}, operands, axis, {}));
}

Tensor LayerBuilder::gather(const Tensor &table, const Tensor &indices) {
  return state->tensor(
      state->emit().gather({}, state->operand(table), state->operand(indices)));
}

//===----------------------------------------------------------------------===//
// Operators
//===----------------------------------------------------------------------===//

#define QUERN_TENSOR_OPERATOR(symbol, method)                                  \
  Tensor quern::operator symbol(const Tensor &a, const Arg &b) {               \
    return a.getBuilder() ? a.getBuilder()->method(a, b) : a;                  \
  }                                                                            \
  Tensor quern::operator symbol(double a, const Tensor &b) {                   \
    return b.getBuilder() ? b.getBuilder()->method(a, b) : b;                  \
  }
QUERN_TENSOR_OPERATOR(+, add)
QUERN_TENSOR_OPERATOR(-, sub)
QUERN_TENSOR_OPERATOR(*, mul)
QUERN_TENSOR_OPERATOR(/, div)
#undef QUERN_TENSOR_OPERATOR

static Tensor applyUnary(llvm::StringRef function, const Tensor &x) {
  return x.getBuilder() ? x.getBuilder()->unary(function, x) : x;
}

Tensor quern::operator-(const Tensor &a) { return applyUnary("neg", a); }
Tensor quern::abs(const Tensor &x) { return applyUnary("abs", x); }
Tensor quern::relu(const Tensor &x) { return applyUnary("relu", x); }
Tensor quern::sqrt(const Tensor &x) { return applyUnary("sqrt", x); }
Tensor quern::exp(const Tensor &x) { return applyUnary("exp", x); }
Tensor quern::tanh(const Tensor &x) { return applyUnary("tanh", x); }
Tensor quern::erf(const Tensor &x) { return applyUnary("erf", x); }
Tensor quern::sigmoid(const Tensor &x) { return applyUnary("sigmoid", x); }
Tensor quern::silu(const Tensor &x) { return applyUnary("silu", x); }
Tensor quern::gelu(const Tensor &x) { return applyUnary("gelu", x); }
Tensor quern::geluTanh(const Tensor &x) { return applyUnary("gelu_tanh", x); }
