//===- Lowering.cpp - From the tree of a layer to its IR ------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/frontend/Lowering.h"

#include "compiler/frontend/ElementTypes.h"

#include <fmt/format.h>

#include <limits>

using namespace mlir;
using namespace quern;
using namespace quern::frontend;

Lowering::Lowering(const Layer &layer, ModuleOp module, Errors &errors)
    : layer(layer), module(module), errors(errors),
      symbols(module.getContext()),
      functions(makeFunctions(module.getContext())) {}

void Lowering::run() {
  collectSymbols();
  if (!applyRules())
    return;
  emitter = std::make_unique<LayerEmitter>(module, layer.name, layer.place,
                                           symbols, errors);
  for (const Parameter &parameter : layer.parameters) {
    Type type = resolveType(parameter.type, nullptr);
    if (isElementTypeName(parameter.name) || parameter.name == "inf")
      errors.add(parameter.place,
                 fmt::format("'{}' is a word of the language and cannot name "
                             "a parameter",
                             parameter.name));
    using Kind = LayerEmitter::ParameterKind;
    Operand value = emitter->addParameter(parameter.place, parameter.name, type,
                                          parameter.isWeight  ? Kind::Weight
                                          : parameter.isInout ? Kind::Inout
                                                              : Kind::Input);
    values.try_emplace(parameter.name, value);
  }
  const Statement *returned = nullptr;
  for (const Statement &statement : layer.statements) {
    if (errors.full())
      return;
    if (returned) {
      errors.add(statement.place, "a statement after 'return'",
                 {"'return' ends a layer"});
      break;
    }
    if (statement.isReturn())
      returned = &statement;
    else
      lowerStatement(statement);
  }
  finish(returned);
}

bool Lowering::declareName(llvm::StringRef name, Place place) {
  std::string shown = name.take_front(60).str();
  if (isElementTypeName(name) || name == "inf") {
    errors.add(place,
               fmt::format("'{}' is a word of the language and cannot name a "
                           "value",
                           shown));
    return false;
  }
  if (symbols.find(name) >= 0) {
    errors.add(place, fmt::format("'{}' is a symbol already", shown),
               {"choose another name for the value"});
    return false;
  }
  auto it = values.find(name);
  if (it == values.end())
    return true;
  std::string note = "every statement gives a new name its value";
  if (unsigned line = it->second.place.line)
    note += fmt::format("; '{}' has one since line {}", shown, line);
  errors.add(place, fmt::format("'{}' is assigned twice", shown), {note});
  return false;
}

void Lowering::lowerStatement(const Statement &statement) {
  if (emitter->isInout(statement.name)) {
    Operand value;
    if (!statement.values.empty())
      value = evaluate(*statement.values.front());
    values[statement.name] =
        emitter->update(statement.place, statement.name, std::move(value));
    return;
  }
  bool isNew = declareName(statement.name, statement.place);
  Operand value;
  if (!statement.values.empty())
    value = evaluate(*statement.values.front());
  if (!isNew)
    return;
  value = emitter->bind(std::move(value), statement.name);
  value.place = statement.place;
  values.try_emplace(statement.name, std::move(value));
}

void Lowering::finish(const Statement *returned) {
  llvm::StringMap<bool> names;
  SmallVector<DeclaredResult> results;
  for (const ResultDecl &declared : layer.results) {
    if (!declared.name.empty() &&
        (!names.try_emplace(declared.name, true).second ||
         llvm::any_of(layer.parameters, [&](const Parameter &parameter) {
           return parameter.name == declared.name;
         })))
      errors.add(declared.place,
                 fmt::format("the result name '{}' is taken", declared.name),
                 {"parameters and results have names of their own"});
    results.push_back(
        {declared.place, declared.name, resolveType(declared.type, nullptr)});
  }
  if (!returned) {
    errors.add(layer.end, fmt::format("layer '{}' returns nothing", layer.name),
               {"end the layer with return EXPRESSION"});
    return;
  }
  if (returned->values.empty())
    return; // could not be read, and was reported
  SmallVector<Operand> returnedValues;
  for (const ExprPtr &value : returned->values)
    returnedValues.push_back(evaluate(*value));
  emitter->finish(returned->place, returnedValues, results);
}

//===----------------------------------------------------------------------===//
// Expressions
//===----------------------------------------------------------------------===//

Operand Lowering::lookUp(const Expr &name) {
  if (name.text == "inf")
    return Operand::ofNumber(std::numeric_limits<double>::infinity(),
                             name.place);
  auto it = values.find(name.text);
  if (it != values.end()) {
    Operand value = it->second;
    value.place = name.place;
    return value;
  }
  std::string shown = name.text.substr(0, 60);
  std::string note;
  std::vector<llvm::StringRef> names = functionNames();
  if (symbols.find(name.text) >= 0) {
    note = fmt::format("'{}' is a symbol, which stands in shapes only", shown);
  } else if (llvm::is_contained(names, llvm::StringRef(name.text))) {
    note = fmt::format("'{0}' is a function: write {0}(...), or declare a "
                       "parameter of that name",
                       shown);
  } else {
    std::vector<llvm::StringRef> candidates;
    for (const auto &entry : values)
      candidates.push_back(entry.getKey());
    // The map has no order; the suggestion must not depend on it.
    llvm::sort(candidates);
    llvm::StringRef near = nearestName(name.text, candidates);
    note = near.empty()
               ? "values are parameters and what earlier statements "
                 "assign"
               : fmt::format("did you mean '{}'?", std::string_view(near));
  }
  errors.add(name.place, fmt::format("unknown name '{}'", shown), {note});
  return {};
}

Operand Lowering::evaluate(const Expr &expr) {
  switch (expr.kind) {
  case Expr::Kind::Number:
    return Operand::ofNumber(expr.number, expr.place);
  case Expr::Kind::Name:
    return lookUp(expr);
  case Expr::Kind::Negate:
    return emitter->unary(expr.place, "neg", "-", evaluate(*expr.lhs));
  case Expr::Kind::Binary:
    return evaluateBinary(expr);
  case Expr::Kind::Transpose:
    return emitter->transposeLast(expr.place, evaluate(*expr.lhs));
  case Expr::Kind::As: {
    Operand value = evaluate(*expr.lhs);
    std::optional<DType> type =
        resolveElementType(expr.text, expr.typePlace, errors);
    return type ? emitter->convertTo(expr.place, std::move(value), *type,
                                     expr.typePlace)
                : Operand();
  }
  case Expr::Kind::Call:
    return call(expr);
  case Expr::Kind::Slice:
    return evaluateSlice(expr);
  }
  return {};
}

Operand Lowering::evaluateBinary(const Expr &expr) {
  llvm::StringRef op = expr.text;
  Operand lhs = evaluate(*expr.lhs);
  if (op == "@") {
    // `.T` on the right is the layout of weights, not work: it becomes an
    // attribute of the product.
    bool transposed = expr.rhs->kind == Expr::Kind::Transpose;
    Operand rhs = evaluate(transposed ? *expr.rhs->lhs : *expr.rhs);
    return emitter->matmul(expr.place, std::move(lhs), std::move(rhs),
                           transposed);
  }
  Operand rhs = evaluate(*expr.rhs);
  for (auto [spelling, mnemonic] :
       {std::pair("+", "add"), {"-", "sub"}, {"*", "mul"}, {"/", "div"}})
    if (op == spelling)
      return emitter->binary(expr.place, mnemonic, op, std::move(lhs),
                             std::move(rhs));
  using Predicate = ir::ComparePredicate;
  for (auto [spelling, predicate] : {std::pair("<", Predicate::LT),
                                     {"<=", Predicate::LE},
                                     {">", Predicate::GT},
                                     {">=", Predicate::GE},
                                     {"==", Predicate::EQ},
                                     {"!=", Predicate::NE}})
    if (op == spelling)
      return emitter->compare(expr.place, predicate, op, std::move(lhs),
                              std::move(rhs));
  return {};
}

Operand Lowering::evaluateSlice(const Expr &expr) {
  Operand value = evaluate(*expr.lhs);
  SmallVector<SliceRange> ranges;
  for (const SliceItem &item : expr.items) {
    if (!item.isRange) {
      errors.add(item.place, "an index that would drop an axis",
                 {"slices keep every axis: write 3:4, then reshape"});
      return {};
    }
    SliceRange range;
    range.place = item.place;
    for (auto [written, bound] : {std::pair(&item.start, &range.start),
                                  std::pair(&item.stop, &range.stop)})
      if (*written && !(*bound = resolveDim(**written)))
        return {};
    if (item.step) {
      AffineExpr step = resolveDim(*item.step);
      if (!step)
        return {};
      auto constant = dyn_cast<AffineConstantExpr>(step);
      if (!constant) {
        errors.add(item.step->place, "a symbolic step",
                   {"the step of a slice is a number of at least 1"});
        return {};
      }
      range.step = constant.getValue();
    }
    ranges.push_back(range);
  }
  return emitter->slice(expr.place, std::move(value), ranges);
}
