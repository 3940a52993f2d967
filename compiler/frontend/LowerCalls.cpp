//===- LowerCalls.cpp - The functions of the language ---------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// One table lists every function with its arguments; checks of their number
// and names, and the notes of messages, come from it. Tensors are positional;
// settings are given by name. The dialect's arithmetic needs no row: such an
// op is a function by its mnemonic, unless the text spells it otherwise.
//
//===----------------------------------------------------------------------===//

#include "compiler/frontend/Lowering.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSwitch.h"

#include <fmt/format.h>

#include <cmath>

using namespace mlir;
using namespace quern;
using namespace quern::frontend;

static constexpr unsigned anyNumber = 64;

/// Arithmetic that the text writes as an operator or as a form of gelu.
static bool isSpelledOtherwise(llvm::StringRef mnemonic) {
  return llvm::is_contained<llvm::StringRef>(
      {"add", "sub", "mul", "div", "neg", "gelu_erf", "gelu_tanh"}, mnemonic);
}

std::vector<Lowering::Function> Lowering::makeFunctions(MLIRContext *context) {
  using L = Lowering;
  static const llvm::StringLiteral axis[] = {"axis"};
  static const llvm::StringLiteral eps[] = {"eps"};
  static const llvm::StringLiteral quantizer[] = {
      "scale",     "zero",  "rounding", "divisor",
      "qmin",      "qmax",  "floor",    "scale_rounding",
      "predicted", "decay", "clipped",  "statistic"};
  std::vector<Function> table = {
      {"quantize", 2, 2, quantizer,
       "quantize(x, i8 per token, scale = s, rounding = half_even, divisor = "
       "127, qmin = -127, qmax = 127, floor = 1e-30)",
       &L::callQuantize},
      {"dequantize", 1, 1, {}, "dequantize(q)", &L::callDequantize},
      {"gelu", 1, 2, {}, "gelu(x) or gelu(x, tanh)", &L::callGelu},
      {"max",
       2,
       2,
       {},
       "max(a, b); the maximum of an axis is amax(x)",
       &L::callBinary},
      {"softmax", 1, 1, {}, "softmax(x), along the last axis", &L::callSoftmax},
      {"rmsnorm", 2, 2, eps, "rmsnorm(x, weight, eps = 1e-5)", &L::callRmsNorm},
      {"layernorm", 3, 3, eps, "layernorm(x, weight, bias, eps = 1e-5)",
       &L::callLayerNorm},
      {"sum", 1, 1, axis, "sum(x, axis = -1)", &L::callReduce},
      {"mean", 1, 1, axis, "mean(x, axis = -1)", &L::callReduce},
      {"amax", 1, 1, axis, "amax(x, axis = -1)", &L::callReduce},
      {"absmax", 1, 1, axis, "absmax(x, axis = -1)", &L::callReduce},
      {"reshape", 2, 2, {}, "reshape(x, [M, 8, 64])", &L::callReshape},
      {"transpose", 2, 2, {}, "transpose(x, [1, 0])", &L::callTranspose},
      {"concat", 1, anyNumber, axis, "concat(a, b, axis = 0)", &L::callConcat},
      {"gather", 2, 2, {}, "gather(table, indices)", &L::callGather},
      {"where", 3, 3, {}, "where(condition, a, b)", &L::callWhere},
  };
  auto add = [&](unsigned numOperands, llvm::StringRef operands, Handler call) {
    for (llvm::StringRef name :
         LayerEmitter::arithmetic(context, numOperands)) {
      bool isListed =
          llvm::any_of(table, [&](auto &row) { return row.name == name; });
      if (!isListed && !isSpelledOtherwise(name))
        table.push_back({name,
                         numOperands,
                         numOperands,
                         {},
                         (name + operands).str(),
                         call});
    }
  };
  add(1, "(x)", &L::callUnary);
  add(2, "(a, b)", &L::callBinary);
  return table;
}

std::vector<llvm::StringRef> Lowering::functionNames() const {
  std::vector<llvm::StringRef> names;
  for (const Function &function : functions)
    names.push_back(function.name);
  return names;
}

//===----------------------------------------------------------------------===//
// Arguments
//===----------------------------------------------------------------------===//

static std::string_view view(llvm::StringRef text) { return text; }

Operand Lowering::call(const Expr &call) {
  for (const Function &function : functions)
    if (function.name == call.text)
      return checkArguments(call, function) ? (this->*function.handler)(call)
                                            : Operand();
  std::string shown = call.text.substr(0, 60);
  llvm::StringRef near = llvm::StringSwitch<llvm::StringRef>(call.text)
                             .Cases({"swish", "swiglu"}, "silu")
                             .Cases({"rms_norm"}, "rmsnorm")
                             .Cases({"layer_norm"}, "layernorm")
                             .Cases({"maximum"}, "max")
                             .Cases({"minimum"}, "min")
                             .Cases({"embedding", "take"}, "gather")
                             .Cases({"cat", "concatenate"}, "concat")
                             .Cases({"permute"}, "transpose")
                             .Cases({"view"}, "reshape")
                             .Cases({"select"}, "where")
                             .Default("");
  std::vector<llvm::StringRef> names = functionNames();
  if (near.empty())
    near = nearestName(call.text, names);
  std::string note =
      near.empty() ? fmt::format("functions are {}", llvm::join(names, ", "))
                   : fmt::format("did you mean '{}'?", view(near));
  if (call.text == "cast")
    note = "a conversion is written x as f16";
  if (call.text == "matmul" || call.text == "linear")
    note = "a product is written x @ w.T";
  errors.add(call.place, fmt::format("unknown function '{}'", shown), {note});
  return {};
}

bool Lowering::checkArguments(const Expr &call, const Function &function) {
  std::string note = fmt::format("write {}", view(function.signature));
  auto refuse = [&](Place place, std::string message) {
    errors.add(place, std::move(message), {note});
    return false;
  };
  size_t positional = 0;
  llvm::StringMap<bool> given;
  bool named = false;
  for (const Argument &argument : call.arguments) {
    if (argument.name.empty()) {
      if (named)
        return refuse(argument.place,
                      "a positional argument after a named one");
      ++positional;
      continue;
    }
    named = true;
    std::string shown = argument.name.substr(0, 60);
    if (!llvm::is_contained(function.options, argument.name))
      return refuse(
          argument.place,
          fmt::format("'{}' has no argument named '{}'", call.text, shown));
    if (!given.try_emplace(argument.name, true).second)
      return refuse(argument.place,
                    fmt::format("argument '{}' is given twice", shown));
  }
  if (positional >= function.minArguments &&
      positional <= function.maxArguments)
    return true;
  std::string wanted = function.minArguments == function.maxArguments
                           ? std::to_string(function.minArguments)
                           : fmt::format("{} to {}", function.minArguments,
                                         function.maxArguments);
  return refuse(call.place,
                fmt::format("'{}' takes {} argument{}, found {}", call.text,
                            wanted, wanted == "1" ? "" : "s", positional));
}

/// The argument of that name, or null.
const Argument *Lowering::option(const Expr &call, llvm::StringRef name) {
  for (const Argument &argument : call.arguments)
    if (argument.name == name)
      return &argument;
  return nullptr;
}

/// The value of a positional argument.
Operand Lowering::operand(const Expr &call, size_t index) {
  const Argument &argument = call.arguments[index];
  if (argument.value)
    return evaluate(*argument.value);
  errors.add(argument.place,
             fmt::format("argument {} of '{}' must be a value, found a {}",
                         index + 1, call.text,
                         argument.type ? "type" : "list"));
  return {};
}

std::optional<double> Lowering::number(const Argument &argument) {
  Operand value;
  if (argument.value) {
    value = evaluate(*argument.value);
    if (value.isNumber())
      return value.number;
    if (value.isPoison())
      return std::nullopt;
  }
  errors.add(argument.place,
             fmt::format("'{}' must be a number{}", argument.name,
                         argument.value ? ", found " + emitter->show(value)
                                        : std::string()));
  return std::nullopt;
}

std::optional<int64_t> Lowering::integer(const Argument &argument) {
  std::optional<double> value = number(argument);
  if (!value)
    return std::nullopt;
  if (*value == std::floor(*value) && std::abs(*value) <= 1e9)
    return static_cast<int64_t>(*value);
  errors.add(argument.place, fmt::format("'{}' must be an integer, found {}",
                                         argument.name, *value));
  return std::nullopt;
}

/// A list of integers, or one.
std::optional<SmallVector<int64_t>>
Lowering::integers(const Argument &argument) {
  SmallVector<int64_t> result;
  if (!argument.list) {
    std::optional<int64_t> value = integer(argument);
    if (!value)
      return std::nullopt;
    result.push_back(*value);
    return result;
  }
  for (const DimPtr &dim : *argument.list) {
    AffineExpr expr = resolveDim(*dim);
    if (!expr)
      return std::nullopt;
    auto constant = dyn_cast<AffineConstantExpr>(expr);
    if (!constant) {
      errors.add(dim->place, fmt::format("an axis must be an integer, found "
                                         "{}",
                                         symbols.print(expr)));
      return std::nullopt;
    }
    result.push_back(constant.getValue());
  }
  return result;
}

//===----------------------------------------------------------------------===//
// Quantization
//===----------------------------------------------------------------------===//

bool Lowering::setting(const Expr &call, llvm::StringRef name,
                       std::optional<QuantizeSettings::Number> &result) {
  const Argument *argument = option(call, name);
  if (!argument)
    return true;
  std::optional<double> value = number(*argument);
  if (!value)
    return false;
  result = {*value, argument->place};
  return true;
}

/// A setting that is one of a few words.
template <typename Word>
bool Lowering::word(const Expr &call, llvm::StringRef name,
                    llvm::ArrayRef<std::pair<llvm::StringLiteral, Word>> words,
                    std::optional<Word> &result, Place &place) {
  const Argument *argument = option(call, name);
  if (!argument)
    return true;
  place = argument->place;
  llvm::StringRef written =
      argument->value && argument->value->kind == Expr::Kind::Name
          ? llvm::StringRef(argument->value->text)
          : "";
  for (const auto &[text, meaning] : words)
    if (text == written) {
      result = meaning;
      return true;
    }
  std::string accepted;
  for (const auto &[text, meaning] : words)
    accepted += (accepted.empty()               ? ""
                 : &text == &words.back().first ? " and "
                                                : ", ") +
                text.str();
  errors.add(argument->place,
             written.empty() ? fmt::format("'{}' must be a word", view(name))
                             : fmt::format("unknown {} '{}'", view(name),
                                           view(written.take_front(60))),
             {fmt::format("{} is one of {}", view(name), accepted)});
  return false;
}

/// `statistic = absmax`, or one with a number: percentile(99.9), sampled(16).
bool Lowering::statistic(const Expr &call, QuantizeSettings &settings) {
  const Argument *argument = option(call, "statistic");
  if (!argument)
    return true;
  settings.statisticPlace = argument->place;
  const Expr *value = argument->value.get();
  bool isCall = value && value->kind == Expr::Kind::Call;
  bool isName = value && value->kind == Expr::Kind::Name;
  auto refuse = [&](std::string message) {
    errors.add(argument->place, std::move(message),
               {"statistics are absmax, percentile(99.9) and sampled(16)"});
    return false;
  };
  if (!isCall && !isName)
    return refuse("'statistic' must be a word, or one with a number");
  std::string shown = value->text.substr(0, 60);
  bool isKnown = value->text == "percentile" || value->text == "sampled";
  if (isName && value->text == "absmax") {
    settings.statistic = Statistic();
    return true;
  }
  if (!isKnown && value->text != "absmax")
    return refuse(fmt::format("unknown statistic '{}'", shown));
  if (isName != !isKnown || (isCall && (value->arguments.size() != 1 ||
                                        !value->arguments[0].name.empty())))
    return refuse(isKnown
                      ? fmt::format("'{}' takes one number", shown)
                      : std::string("'absmax' takes no number as a statistic"));
  std::optional<double> parameter;
  if (const Expr *given = value->arguments[0].value.get()) {
    Operand operand = evaluate(*given);
    if (operand.isPoison())
      return false;
    if (operand.isNumber())
      parameter = operand.number;
  }
  if (!parameter)
    return refuse(fmt::format("'{}' takes one number", shown));
  settings.statistic =
      Statistic{value->text == "percentile" ? Statistic::Kind::Percentile
                                            : Statistic::Kind::Sampled,
                static_cast<float>(*parameter)};
  return true;
}

Operand Lowering::callQuantize(const Expr &call) {
  Operand x = operand(call, 0);
  const Argument &target = call.arguments[1];
  if (!target.type) {
    errors.add(target.place,
               "the second argument of 'quantize' must be a quantized type",
               {"such as i8 per token, f8e4m3 per group(128), or i8[M, 64] * "
                "f32[M, 1]"});
    return {};
  }
  QuantizeSettings settings;
  if (!setting(call, "divisor", settings.divisor) ||
      !setting(call, "qmin", settings.qmin) ||
      !setting(call, "qmax", settings.qmax) ||
      !setting(call, "floor", settings.floor) ||
      !setting(call, "decay", settings.decay))
    return {};
  static const std::pair<llvm::StringLiteral, Rounding> roundings[] = {
      {"half_even", Rounding::HalfEven},
      {"half_away", Rounding::HalfAway},
      {"toward_zero", Rounding::TowardZero}};
  static const std::pair<llvm::StringLiteral, ScaleRounding> powers[] = {
      {"nearest", ScaleRounding::Nearest},
      {"power_ceil", ScaleRounding::PowerCeil},
      {"power_floor", ScaleRounding::PowerFloor},
      {"power_even", ScaleRounding::PowerEven}};
  if (!word<Rounding>(call, "rounding", roundings, settings.rounding,
                      settings.roundingPlace) ||
      !word<ScaleRounding>(call, "scale_rounding", powers,
                           settings.scaleRounding,
                           settings.scaleRoundingPlace) ||
      !statistic(call, settings))
    return {};
  std::optional<Operand> scale, zero;
  for (auto [word, operand] : {std::pair("scale", &scale),
                               {"zero", &zero},
                               {"predicted", &settings.predicted},
                               {"clipped", &settings.clipped}})
    if (const Argument *argument = option(call, word)) {
      if (!argument->value) {
        errors.add(argument->place, fmt::format("'{}' must be a value", word));
        return {};
      }
      *operand = evaluate(*argument->value);
    }
  if (x.kind != Operand::Kind::Value)
    return emitter->quantize(call.place, x, {}, target.place, scale, zero,
                             settings);
  auto tensor = dyn_cast<RankedTensorType>(x.value.getType());
  Dims dims = tensor ? ir::getDims(tensor) : Dims();
  // The type is resolved for a tensor only; anything else is refused by
  // quantize itself.
  Type type = tensor ? resolveType(*target.type, &dims) : Type();
  if (type && !isa<ir::QTensorType>(type)) {
    errors.add(
        target.place,
        fmt::format("quantize to the plain type {}", symbols.print(type)),
        {"write a granularity, such as i8 per token, or the scales' "
         "type"});
    return {};
  }
  Operand quantized = emitter->quantize(call.place, x, type, target.place,
                                        scale, zero, settings);
  // From here on the names are those of the new values.
  for (const auto &state : {settings.predicted, settings.clipped})
    if (state && !quantized.isPoison())
      values[state->name] = emitter->updated(state->name);
  return quantized;
}

Operand Lowering::callDequantize(const Expr &call) {
  return emitter->dequantize(call.place, operand(call, 0));
}

//===----------------------------------------------------------------------===//
// Element-wise functions
//===----------------------------------------------------------------------===//

Operand Lowering::callUnary(const Expr &call) {
  return emitter->unary(call.place, call.text, call.text, operand(call, 0));
}

Operand Lowering::callGelu(const Expr &call) {
  Operand x = operand(call, 0);
  llvm::StringRef op = "gelu_erf";
  if (call.arguments.size() > 1) {
    const Argument &form = call.arguments[1];
    llvm::StringRef word = form.value && form.value->kind == Expr::Kind::Name
                               ? llvm::StringRef(form.value->text)
                               : "";
    if (word != "tanh" && word != "erf") {
      errors.add(form.place, "the form of 'gelu' must be erf or tanh",
                 {"write gelu(x) or gelu(x, tanh)"});
      return {};
    }
    op = word == "tanh" ? "gelu_tanh" : "gelu_erf";
  }
  return emitter->unary(call.place, op, "gelu", std::move(x));
}

Operand Lowering::callBinary(const Expr &call) {
  Operand a = operand(call, 0), b = operand(call, 1);
  return emitter->binary(call.place, call.text, call.text, std::move(a),
                         std::move(b));
}

Operand Lowering::callWhere(const Expr &call) {
  Operand condition = operand(call, 0);
  Operand a = operand(call, 1), b = operand(call, 2);
  return emitter->where(call.place, std::move(condition), std::move(a),
                        std::move(b));
}

//===----------------------------------------------------------------------===//
// Rows
//===----------------------------------------------------------------------===//

Operand Lowering::callReduce(const Expr &call) {
  Operand x = operand(call, 0);
  SmallVector<int64_t> axes = {-1};
  Place axesPlace = call.place;
  if (const Argument *argument = option(call, "axis")) {
    axesPlace = argument->place;
    auto given = integers(*argument);
    if (!given)
      return {};
    axes = std::move(*given);
  }
  auto kind = llvm::StringSwitch<ir::ReduceKind>(call.text)
                  .Case("sum", ir::ReduceKind::Sum)
                  .Case("mean", ir::ReduceKind::Mean)
                  .Case("amax", ir::ReduceKind::Max)
                  .Default(ir::ReduceKind::AbsMax);
  return emitter->reduce(call.place, kind, call.text, std::move(x), axes,
                         axesPlace);
}

Operand Lowering::callSoftmax(const Expr &call) {
  return emitter->softmax(call.place, operand(call, 0));
}

Operand Lowering::callRmsNorm(const Expr &call) {
  Operand x = operand(call, 0), weight = operand(call, 1);
  std::optional<QuantizeSettings::Number> eps;
  if (!setting(call, "eps", eps))
    return {};
  return emitter->rmsnorm(call.place, std::move(x), std::move(weight),
                          eps ? eps->value : 1e-5,
                          eps ? eps->place : call.place);
}

Operand Lowering::callLayerNorm(const Expr &call) {
  Operand x = operand(call, 0), weight = operand(call, 1),
          bias = operand(call, 2);
  std::optional<QuantizeSettings::Number> eps;
  if (!setting(call, "eps", eps))
    return {};
  return emitter->layernorm(call.place, std::move(x), std::move(weight),
                            std::move(bias), eps ? eps->value : 1e-5,
                            eps ? eps->place : call.place);
}

//===----------------------------------------------------------------------===//
// Shapes
//===----------------------------------------------------------------------===//

Operand Lowering::callReshape(const Expr &call) {
  Operand x = operand(call, 0);
  const Argument &shape = call.arguments[1];
  if (!shape.list) {
    errors.add(shape.place, "the second argument of 'reshape' must be a shape",
               {"write reshape(x, [M, 8, 64])"});
    return {};
  }
  auto dims = resolveDims(*shape.list);
  return dims ? emitter->reshape(call.place, std::move(x), *dims, shape.place)
              : Operand();
}

Operand Lowering::callTranspose(const Expr &call) {
  Operand x = operand(call, 0);
  const Argument &list = call.arguments[1];
  if (!list.list) {
    errors.add(list.place,
               "the second argument of 'transpose' must be a list of axes",
               {"write transpose(x, [1, 0]), or x.T for the last two axes"});
    return {};
  }
  auto permutation = integers(list);
  return permutation ? emitter->transpose(call.place, std::move(x),
                                          *permutation, list.place)
                     : Operand();
}

Operand Lowering::callConcat(const Expr &call) {
  SmallVector<Operand> inputs;
  for (size_t i = 0; i < call.arguments.size(); ++i)
    if (call.arguments[i].name.empty())
      inputs.push_back(operand(call, i));
  const Argument *axis = option(call, "axis");
  if (!axis) {
    errors.add(call.place, "'concat' needs an axis",
               {"write concat(a, b, axis = 0)"});
    return {};
  }
  std::optional<int64_t> index = integer(*axis);
  return index ? emitter->concat(call.place, inputs, *index, axis->place)
               : Operand();
}

Operand Lowering::callGather(const Expr &call) {
  Operand table = operand(call, 0), indices = operand(call, 1);
  return emitter->gather(call.place, std::move(table), std::move(indices));
}
