//===- RandomLayers.cpp - Layers that nobody thought of -------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "tests/ops/LayerGenerator.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

using namespace quern::test;

std::string LayerGenerator::print(const Extents &shape) {
  std::vector<std::string> texts;
  for (const Extent &extent : shape)
    texts.push_back(extent.text);
  return fmt::format("[{}]", fmt::join(texts, ", "));
}

std::string LayerGenerator::parameter(const std::string &type, bool weight) {
  std::string name = fmt::format("{}{}", weight ? "w" : "p", parameters.size());
  parameters.push_back(
      fmt::format("{}{}: {}", weight ? "weight " : "", name, type));
  return name;
}

Value LayerGenerator::plainParameter(const std::string &type, Extents shape,
                                     bool weight) {
  useSymbols(shape);
  return {parameter(type + print(shape), weight), type, shape};
}

void LayerGenerator::useSymbols(const Extents &shape) {
  for (const Extent &extent : shape)
    if (extent.isSymbol())
      symbols.insert(extent.text);
}

Value LayerGenerator::assign(const std::string &expression, std::string type,
                             Extents shape) {
  Value value{fmt::format("v{}", statements.size()), std::move(type),
              std::move(shape)};
  statements.push_back(fmt::format("{} = {}", value.name, expression));
  values.push_back(value);
  return value;
}

Extents LayerGenerator::anyShape() {
  Extents shape;
  if (chance(25))
    shape.push_back(pick<int64_t>({2, 3}));
  shape.push_back(rows());
  shape.push_back(pick<int64_t>({1, 7, 24, 37, 64, 70, 128, 200, 300}));
  return shape;
}

Value LayerGenerator::any() {
  if (values.empty() || chance(15)) {
    Value made = plainParameter(floatType(), anyShape());
    values.push_back(made);
    return made;
  }
  // Mostly the newest, so that chains grow.
  if (chance(60))
    return values.back();
  return values[below(values.size())];
}

Value LayerGenerator::anyOfRank(size_t least) {
  for (int i = 0; i < 4; ++i) {
    Value value = any();
    if (value.shape.size() >= least)
      return value;
  }
  Value made = plainParameter(floatType(), {rows(), Extent(48)});
  values.push_back(made);
  return made;
}

Value LayerGenerator::partner(const Value &value) {
  for (const Value &other : values)
    if (other.shape == value.shape && other.name != value.name &&
        (other.type == value.type || other.type == "f32") && chance(40))
      return other;
  Extents shape = value.shape;
  for (Extent &extent : shape)
    if (chance(25))
      extent = Extent(1);
  if (chance(30) && shape.size() > 1)
    shape.erase(shape.begin());
  return plainParameter(chance(30) ? "f32" : value.type, shape, chance(20));
}

//===----------------------------------------------------------------------===//
// Element-wise operations
//===----------------------------------------------------------------------===//

void LayerGenerator::unary() {
  Value x = any();
  static const std::vector<std::pair<const char *, const char *>> forms = {
      {"silu", "silu({})"},
      {"relu", "relu({})"},
      {"sigmoid", "sigmoid({})"},
      {"exp", "exp(min({}, 3))"},
      {"tanh", "tanh({})"},
      {"erf", "erf({})"},
      {"sqrt", "sqrt(abs({}))"},
      {"abs", "abs({})"},
      {"gelu", "gelu({})"},
      {"gelu_tanh", "gelu({}, tanh)"},
      {"neg", "-{}"}};
  const auto &[name, form] = forms[below(forms.size())];
  count(name);
  assign(fmt::format(fmt::runtime(form), x.name), x.type, x.shape);
}

void LayerGenerator::binary() {
  Value x = any();
  if (chance(25)) {
    const char *number = pick<const char *>({"0.5", "2", "-1.25", "3"});
    const char *op = pick<const char *>({"+", "-", "*", "/"});
    count(op);
    assign(chance(50) ? fmt::format("{} {} {}", x.name, op, number)
                      : fmt::format("{} {} (abs({}) + 1)", number, op, x.name),
           x.type, x.shape);
    return;
  }
  Value y = partner(x);
  std::string type = y.type == "f32" ? "f32" : x.type;
  const char *op = pick<const char *>({"+", "-", "*", "/", "max", "min"});
  count(op);
  std::string text;
  if (op[0] == 'm')
    text = fmt::format("{}({}, {})", op, x.name, y.name);
  else if (op[0] == '/')
    text = fmt::format("{} / (abs({}) + 1)", x.name, y.name);
  else
    text = fmt::format("{} {} {}", x.name, op, y.name);
  assign(text, type, x.shape);
}

void LayerGenerator::select() {
  Value x = any(), y = partner(x);
  const char *op = pick<const char *>({"<", "<=", ">", ">=", "==", "!="});
  count("where");
  if (chance(50))
    assign(fmt::format("where({0} {2} {1}, {0}, {0} * 2)", x.name, y.name, op),
           x.type, x.shape);
  else
    assign(fmt::format("where({} {} 0.25, 0, {})", x.name, op, x.name), x.type,
           x.shape);
}

void LayerGenerator::convert() {
  Value x = any();
  std::string type = floatType();
  count("as");
  assign(fmt::format("{} as {}", x.name, type), type, x.shape);
}

//===----------------------------------------------------------------------===//
// Rows
//===----------------------------------------------------------------------===//

void LayerGenerator::normalize() {
  Value x = any();
  Extent last = x.shape.back();
  switch (below(3)) {
  case 0:
    count("softmax");
    assign(fmt::format("softmax({})", x.name), x.type, x.shape);
    return;
  case 1: {
    count("rmsnorm");
    Value w = plainParameter(x.type, {last}, true);
    assign(fmt::format("rmsnorm({}, {}, eps = 1e-5)", x.name, w.name), x.type,
           x.shape);
    return;
  }
  default: {
    count("layernorm");
    Value w = plainParameter(x.type, {last}, true);
    Value b = plainParameter(x.type, {last}, true);
    assign(fmt::format("layernorm({}, {}, {}, eps = 1e-5)", x.name, w.name,
                       b.name),
           x.type, x.shape);
  }
  }
}

void LayerGenerator::reduce() {
  Value x = any();
  const char *op = pick<const char *>({"sum", "mean", "amax", "absmax"});
  int64_t axis = chance(75) ? static_cast<int64_t>(x.shape.size()) - 1
                            : below(x.shape.size());
  count(op);
  Extents shape = x.shape;
  shape[axis] = Extent(1);
  std::string type = op[0] == 'a' && op[1] == 'b' ? "f32" : x.type;
  std::string text = fmt::format("{}({}, axis = {})", op, x.name, axis);
  if (chance(50) && !x.shape[axis].isSymbol()) {
    // Centre by it, so that the reduction meets its own operand again.
    assign(fmt::format("{} - {}", x.name, text), type == "f32" ? "f32" : x.type,
           x.shape);
    return;
  }
  assign(text, type, shape);
}

//===----------------------------------------------------------------------===//
// Shapes
//===----------------------------------------------------------------------===//

void LayerGenerator::reshape() {
  Value x = any();
  Extents shape = x.shape;
  Extent last = shape.back();
  if (last.isSymbol())
    return;
  for (int64_t part : {7, 6, 5, 4, 3, 2})
    if (last.number % part == 0 && last.number > part && shape.size() < 4) {
      shape.back() = Extent(last.number / part);
      shape.push_back(Extent(part));
      count("reshape");
      assign(fmt::format("reshape({}, {})", x.name, print(shape)), x.type,
             shape);
      return;
    }
  // Join the last two.
  if (shape.size() < 2 || shape[shape.size() - 2].isSymbol())
    return;
  int64_t joined = last.number * shape[shape.size() - 2].number;
  shape.pop_back();
  shape.back() = Extent(joined);
  count("reshape");
  assign(fmt::format("reshape({}, {})", x.name, print(shape)), x.type, shape);
}

void LayerGenerator::transpose() {
  Value x = anyOfRank(2);
  size_t rank = x.shape.size();
  std::vector<size_t> order(rank);
  for (size_t i = 0; i < rank; ++i)
    order[i] = i;
  for (size_t i = rank - 1; i > 0; --i)
    std::swap(order[i], order[below(i + 1)]);
  Extents shape;
  for (size_t axis : order)
    shape.push_back(x.shape[axis]);
  count("transpose");
  assign(fmt::format("transpose({}, [{}])", x.name, fmt::join(order, ", ")),
         x.type, shape);
}

void LayerGenerator::slice() {
  Value x = any();
  std::vector<std::string> ranges;
  Extents shape;
  for (const Extent &extent : x.shape) {
    if (extent.isSymbol() || chance(40)) {
      ranges.push_back(chance(50) ? ":" : "0:" + extent.text);
      shape.push_back(extent);
      continue;
    }
    int64_t begin = below(extent.number);
    int64_t end = begin + 1 + below(extent.number - begin);
    int64_t step = 1 + below(3);
    ranges.push_back(step == 1 ? fmt::format("{}:{}", begin, end)
                               : fmt::format("{}:{}:{}", begin, end, step));
    shape.push_back(Extent((end - begin + step - 1) / step));
  }
  count("slice");
  assign(fmt::format("{}[{}]", x.name, fmt::join(ranges, ", ")), x.type, shape);
}

void LayerGenerator::concat() {
  Value x = any();
  size_t axis = below(x.shape.size());
  if (x.shape[axis].isSymbol())
    return;
  Extents other = x.shape;
  other[axis] = Extent(pick<int64_t>({1, 3, 9, 32}));
  Value y = plainParameter(x.type, other);
  Extents shape = x.shape;
  shape[axis] = Extent(x.shape[axis].number + other[axis].number);
  count("concat");
  bool first = chance(50);
  assign(fmt::format("concat({}, {}, axis = {})", first ? x.name : y.name,
                     first ? y.name : x.name, axis),
         x.type, shape);
}

void LayerGenerator::gather() {
  Extent rows("M");
  Extent width(pick<int64_t>({5, 24, 64}));
  Value table = plainParameter(floatType(), {Extent(50), width}, chance(50));
  Value ids = plainParameter("i32", {rows});
  count("gather");
  assign(fmt::format("gather({}, {})", table.name, ids.name), table.type,
         {rows, width});
}

RandomLayer LayerGenerator::make() {
  using Step = void (LayerGenerator::*)();
  static const std::vector<std::pair<Step, int>> steps = {
      {&LayerGenerator::unary, 16},
      {&LayerGenerator::binary, 16},
      {&LayerGenerator::select, 4},
      {&LayerGenerator::convert, 6},
      {&LayerGenerator::normalize, 8},
      {&LayerGenerator::reduce, 6},
      {&LayerGenerator::reshape, 5},
      {&LayerGenerator::transpose, 5},
      {&LayerGenerator::slice, 5},
      {&LayerGenerator::concat, 4},
      {&LayerGenerator::gather, 3},
      {&LayerGenerator::requantize, 9},
      {&LayerGenerator::product, 22},
      {&LayerGenerator::floatProduct, 5},
      {&LayerGenerator::batchProduct, 3},
      {&LayerGenerator::dequantizeParameter, 4}};
  int total = 0;
  for (const auto &[step, weight] : steps)
    total += weight;
  int length = 1 + below(7);
  for (int i = 0; i < length; ++i) {
    int64_t at = below(total);
    size_t s = 0;
    while (at >= steps[s].second)
      at -= steps[s++].second;
    (this->*steps[s].first)();
  }
  if (statements.empty())
    unary();

  // Results: the newest value, and sometimes others and a quantized one.
  std::vector<std::string> types{print(values.back())},
      names{values.back().name};
  if (chance(25)) {
    const Value &other = values[below(values.size())];
    if (other.name != names.front() && other.name[0] == 'v') {
      types.push_back(print(other));
      names.push_back(other.name);
    }
  }
  if (chance(30)) {
    Value last = values.back();
    auto [text, type] =
        quantize(last, pick<const char *>({"i8", "u8", "f8e4m3"}),
                 anyBlocks(last.shape));
    count("quantized result");
    types.push_back(type);
    names.push_back(text);
  }
  std::vector<std::string> results;
  for (size_t i = 0; i < types.size(); ++i)
    results.push_back(types.size() == 1 ? types[i]
                                        : fmt::format("r{}: {}", i, types[i]));
  std::vector<std::string> rules;
  for (const std::string &symbol : symbols)
    if (chance(50))
      rules.push_back(symbol + " in 0..512");
  layer.text = fmt::format(
      "layer random({}) -> {}{}{}{} {{\n", fmt::join(parameters, ",\n    "),
      types.size() == 1 ? "" : "(", fmt::join(results, ", "),
      types.size() == 1 ? "" : ")",
      rules.empty() ? std::string()
                    : fmt::format("\n    with {}", fmt::join(rules, ", ")));
  for (const std::string &statement : statements)
    layer.text += "  " + statement + "\n";
  layer.text += fmt::format("  return {}\n}}\n", fmt::join(names, ", "));

  for (int run = 0; run < 2; ++run) {
    std::vector<int64_t> sizes;
    for (size_t s = 0; s < symbols.size(); ++s)
      sizes.push_back(run == 0 ? pick<int64_t>({7, 33, 40})
                               : pick<int64_t>({0, 1, 2, 16, 70}));
    if (run == 0 || !sizes.empty())
      layer.sizes.push_back(sizes);
  }
  return std::move(layer);
}

RandomLayer quern::test::makeRandomLayer(uint64_t seed) {
  return LayerGenerator(seed).make();
}
