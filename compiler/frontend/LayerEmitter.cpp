//===- LayerEmitter.cpp - Parameters, results and common checks -----------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/frontend/LayerEmitter.h"

#include <fmt/format.h>

using namespace mlir;
using namespace quern;
using namespace quern::frontend;

Operand Operand::ofValue(Value value, Place place, std::string name) {
  Operand operand;
  operand.kind = value ? Kind::Value : Kind::Poison;
  operand.value = value;
  operand.place = place;
  operand.name = std::move(name);
  return operand;
}

Operand Operand::ofNumber(double number, Place place) {
  Operand operand;
  operand.kind = Kind::Number;
  operand.number = number;
  operand.place = place;
  return operand;
}

LayerEmitter::LayerEmitter(ModuleOp module, llvm::StringRef name, Place place,
                           SymbolSpace &symbols, Errors &errors)
    : context(module.getContext()), symbols(symbols), errors(errors),
      builder(context) {
  builder.setInsertionPointToEnd(module.getBody());
  function = func::FuncOp::create(
      builder, NameLoc::get(builder.getStringAttr(name), loc(place)), name,
      builder.getFunctionType({}, {}));
  checkName(place, name);
  for (unsigned i = 0; i < symbols.size(); ++i)
    checkName(symbols[i].place, symbols[i].name);
  if (symbols.size() > maxSymbols)
    errors.add(symbols[maxSymbols].place,
               fmt::format("'{}' is symbol number {} of the layer",
                           symbols[maxSymbols].name, maxSymbols + 1),
               {fmt::format("a layer has at most {}", maxSymbols)});
  SmallVector<Attribute> attrs;
  for (unsigned i = 0; i < symbols.size(); ++i) {
    const Symbol &s = symbols[i];
    attrs.push_back(
        ir::SymbolAttr::get(context, s.name, s.min, s.max, s.multiple));
  }
  function->setAttr(ir::symbolsAttrName, builder.getArrayAttr(attrs));
  function->setAttr(ir::numericsAttrName, builder.getStringAttr("strict"));
  builder.setInsertionPointToStart(function.addEntryBlock());
}

/// The lexer knows no longer names; the builder may be given some.
void LayerEmitter::checkName(Place place, llvm::StringRef name) {
  if (!place.line && name.size() > maxNameLength)
    errors.add(place, fmt::format("a name of {} characters", name.size()),
               {fmt::format("names have at most {}", maxNameLength)});
}

Location LayerEmitter::loc(Place place) const {
  if (!place.line)
    return UnknownLoc::get(context);
  return FileLineColLoc::get(context, errors.fileName(), place.line,
                             place.column);
}

Operand LayerEmitter::error(Place place, std::string message,
                            std::vector<std::string> notes) {
  errors.add(place, std::move(message), std::move(notes));
  Operand poison;
  poison.place = place;
  return poison;
}

std::string LayerEmitter::show(const Operand &operand) const {
  std::string name;
  if (operand.isNumber())
    return fmt::format("the number {}", operand.number);
  if (operand.isPoison())
    return "a value with an error";
  std::string type = symbols.print(operand.value.getType());
  if (operand.name.empty())
    return fmt::format("a value of type {}", type);
  return fmt::format("'{}', which is {}", operand.name, type);
}

//===----------------------------------------------------------------------===//
// Parameters and results
//===----------------------------------------------------------------------===//

Operand LayerEmitter::addParameter(Place place, llvm::StringRef name, Type type,
                                   ParameterKind kind) {
  if (llvm::is_contained(parameterNames, name))
    return error(
        place,
        fmt::format("parameter '{}' is declared twice", std::string_view(name)),
        {"each parameter needs a name of its own"});
  checkName(place, name);
  parameterNames.push_back(name.str());
  if (symbols.find(name) >= 0)
    return error(place,
                 fmt::format("'{}' is both a parameter and a symbol",
                             std::string_view(name)),
                 {"give one of them another name"});
  if (!type) {
    Operand poison;
    poison.place = place;
    return poison;
  }
  SmallVector<NamedAttribute> attrs = {
      builder.getNamedAttr(ir::nameAttrName, builder.getStringAttr(name))};
  if (kind == ParameterKind::Weight)
    attrs.push_back(
        builder.getNamedAttr(ir::weightAttrName, builder.getUnitAttr()));
  if (kind == ParameterKind::Inout) {
    auto tensor = dyn_cast<RankedTensorType>(type);
    std::optional<DType> element =
        tensor ? getDType(tensor.getElementType()) : std::nullopt;
    bool isState = element == DType::F32 || element == DType::F16 ||
                   element == DType::BF16 || element == DType::I32;
    // Known by its name all the same: an update of it is no other mistake.
    inouts.push_back(
        {name.str(), place, isState ? type : Type(), {}, {}, false});
    if (!isState)
      return error(place,
                   fmt::format("inout parameter '{}' of type {}",
                               std::string_view(name), symbols.print(type)),
                   {"state is a plain tensor of f32, f16, bf16 or i32"});
    attrs.push_back(
        builder.getNamedAttr(ir::inoutAttrName, builder.getUnitAttr()));
  }
  argumentAttrs.push_back(builder.getDictionaryAttr(attrs));
  Value argument = function.front().addArgument(
      type, NameLoc::get(builder.getStringAttr(name), loc(place)));
  return Operand::ofValue(argument, place, name.str());
}

LayerEmitter::Inout *LayerEmitter::findInout(llvm::StringRef name) {
  for (Inout &inout : inouts)
    if (inout.name == name)
      return &inout;
  return nullptr;
}

bool LayerEmitter::isInout(llvm::StringRef name) const {
  return llvm::any_of(inouts,
                      [&](const Inout &inout) { return inout.name == name; });
}

void LayerEmitter::refuseSecondUpdate(Place place, const Inout &inout) {
  std::string note = "an inout parameter gets its new value once";
  if (inout.updatePlace.line)
    note += fmt::format("; this one in line {}", inout.updatePlace.line);
  error(place, fmt::format("inout parameter '{}' is updated twice", inout.name),
        {note});
}

Operand LayerEmitter::update(Place place, llvm::StringRef name, Operand value) {
  Inout *inout = findInout(name);
  if (!inout)
    return error(place,
                 fmt::format("'{}' is no inout parameter",
                             std::string_view(name.take_front(60))),
                 {"only a parameter declared as inout amax: f32[1, 1] holds "
                  "another value after a call"});
  if (inout->isUpdated) {
    refuseSecondUpdate(place, *inout);
    return {};
  }
  inout->isUpdated = true;
  inout->updatePlace = place;
  Value converted = result(place, value, {place, inout->name, inout->type});
  if (!converted)
    return {};
  inout->updated = Operand::ofValue(converted, place, inout->name);
  return inout->updated;
}

Operand LayerEmitter::updated(llvm::StringRef name) {
  Inout *inout = findInout(name);
  return inout ? inout->updated : Operand();
}

Operand LayerEmitter::bind(Operand operand, llvm::StringRef name) {
  if (operand.kind == Operand::Kind::Value) {
    if (Operation *op = operand.value.getDefiningOp();
        op && !isa<NameLoc>(op->getLoc()))
      op->setLoc(NameLoc::get(builder.getStringAttr(name), op->getLoc()));
    operand.name = name.str();
  }
  return operand;
}

/// The value for a declared result, cast to its type; null after an error.
Value LayerEmitter::result(Place place, const Operand &value,
                           const DeclaredResult &declared) {
  if (value.isPoison() || !declared.type)
    return {};
  Place where = at(value, place);
  std::string wanted = symbols.print(declared.type);
  std::string which = isInout(declared.name)
                          ? fmt::format("inout parameter '{}'", declared.name)
                      : declared.name.empty()
                          ? std::string("the result")
                          : fmt::format("result '{}'", declared.name);
  if (value.isNumber()) {
    error(
        where,
        fmt::format("{} is declared {}, found {}", which, wanted, show(value)),
        {"return a tensor"});
    return {};
  }
  if (auto quantized = dyn_cast<ir::QTensorType>(declared.type);
      quantized && quantized.getCodes() != quantized.getReadCodesType()) {
    error(where, fmt::format("{} is declared {}", which, wanted),
          {"codes of four bits are parameters' alone: results are of i8, u8, "
           "f8e4m3 or f8e5m2, or plain"});
    return {};
  }
  Type found = value.value.getType();
  if (found == declared.type)
    return value.value;
  auto mismatch = [&](std::string note) -> Value {
    error(
        where,
        fmt::format("{} is declared {}, found {}", which, wanted, show(value)),
        {std::move(note)});
    return {};
  };
  auto from = dyn_cast<RankedTensorType>(found);
  auto to = dyn_cast<RankedTensorType>(declared.type);
  if (from && !to)
    return mismatch("quantize it first, such as quantize(h, i8 per token)");
  if (!from && to)
    return mismatch("write dequantize(...), or declare the quantized type");
  if (!from)
    return mismatch("codes, granularity and scale type must be those declared");
  if (ir::getDims(from) != ir::getDims(to))
    return mismatch("the shapes must be equal");
  if (!isa<FloatType>(from.getElementType()) ||
      !isa<FloatType>(to.getElementType()))
    return mismatch("only a float value is converted to the declared type");
  return ir::CastOp::create(builder, loc(where), to, value.value);
}

void LayerEmitter::finish(Place place, llvm::ArrayRef<Operand> values,
                          llvm::ArrayRef<DeclaredResult> results) {
  if (values.size() != results.size()) {
    error(place,
          fmt::format("{} values are returned, {} declared", values.size(),
                      results.size()),
          {"return one value for each result type, separated by commas"});
    return;
  }
  SmallVector<Value> returned;
  SmallVector<Type> types;
  for (auto [value, declared] : llvm::zip_equal(values, results)) {
    Value v = result(place, value, declared);
    if (!v)
      continue;
    returned.push_back(v);
    types.push_back(v.getType());
  }
  bool silent = errors.any();
  for (const Inout &inout : inouts) {
    if (!inout.isUpdated && !silent)
      error(inout.place,
            fmt::format("inout parameter '{}' is never updated", inout.name),
            {fmt::format("write {} = EXPRESSION, or predicted = {} in a "
                         "quantize; a parameter that is only read is no inout",
                         inout.name, inout.name)});
    if (inout.updated.isPoison())
      continue;
    returned.push_back(inout.updated.value);
    types.push_back(inout.type);
  }
  if (returned.size() != results.size() + inouts.size())
    return;
  func::ReturnOp::create(builder, loc(place), returned);
  function.setFunctionType(
      builder.getFunctionType(function.front().getArgumentTypes(), types));
  function.setAllArgAttrs(argumentAttrs);
  // The runtime addresses every buffer by name, so unnamed results get one
  // that no other buffer has.
  SmallVector<std::string> taken(parameterNames);
  for (const DeclaredResult &declared : results)
    taken.push_back(declared.name);
  for (auto [i, declared] : llvm::enumerate(results)) {
    std::string name = declared.name;
    checkName(declared.place, name);
    if (name.empty()) {
      name = results.size() == 1 ? "result" : fmt::format("result{}", i);
      while (llvm::is_contained(taken, name))
        name += "_";
    }
    function.setResultAttr(static_cast<unsigned>(i), ir::nameAttrName,
                           builder.getStringAttr(name));
  }
  for (auto [i, inout] : llvm::enumerate(inouts)) {
    auto index = static_cast<unsigned>(results.size() + i);
    function.setResultAttr(index, ir::nameAttrName,
                           builder.getStringAttr(inout.name));
    function.setResultAttr(index, ir::inoutAttrName, builder.getUnitAttr());
  }
}

//===----------------------------------------------------------------------===//
// Checks that several operations share
//===----------------------------------------------------------------------===//

RankedTensorType LayerEmitter::plain(Place place, llvm::StringRef what,
                                     const Operand &operand) {
  if (operand.isPoison())
    return {};
  if (operand.isNumber()) {
    error(at(operand, place),
          fmt::format("{} needs a tensor, found {}", std::string_view(what),
                      show(operand)));
    return {};
  }
  auto tensor = dyn_cast<RankedTensorType>(operand.value.getType());
  if (!tensor)
    error(at(operand, place),
          fmt::format("{} needs a plain tensor, found {}",
                      std::string_view(what), show(operand)),
          {fmt::format("a quantized value is used by '@', dequantize and "
                       "return; write dequantize({}) for its real values",
                       operand.name.empty() ? "..." : operand.name)});
  return tensor;
}

static bool isArithmetic(Type element) {
  return element.isF16() || element.isBF16() || element.isF32();
}

RankedTensorType LayerEmitter::plainFloat(Place place, llvm::StringRef what,
                                          const Operand &operand) {
  RankedTensorType tensor = plain(place, what, operand);
  if (!tensor || isArithmetic(tensor.getElementType()))
    return tensor;
  Type element = tensor.getElementType();
  std::string note =
      "arithmetic is on f16, bf16 and f32; convert first: x as f32";
  if (element.isInteger(8))
    note = "arithmetic is on f16, bf16 and f32; codes are declared with their "
           "scales, such as i8[N, K] * f32[N, 1], or converted: x as f32";
  if (element.isInteger(1))
    note = "a comparison is used by where(condition, a, b)";
  error(at(operand, place),
        fmt::format("{} needs a float tensor, found {}", std::string_view(what),
                    show(operand)),
        {note});
  return {};
}

std::optional<int64_t> LayerEmitter::axisIndex(Place place, int64_t axis,
                                               int64_t rank) {
  if (axis >= -rank && axis < rank)
    return axis < 0 ? axis + rank : axis;
  error(place, fmt::format("axis {} of a tensor of rank {}", axis, rank),
        {rank ? fmt::format("axes are 0 to {}, or -1 to {} from the end",
                            rank - 1, -rank)
              : "a tensor of rank 0 has no axes"});
  return std::nullopt;
}
