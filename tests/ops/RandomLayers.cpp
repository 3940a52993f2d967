//===- RandomLayers.cpp - Layers that nobody thought of -------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "tests/ops/RandomLayers.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <optional>
#include <set>

using namespace quern::test;

namespace {
/// An extent: a number, or a symbol's name.
struct Extent {
  std::string text;
  int64_t number = -1; ///< -1 for a symbol.

  Extent(int64_t number) : text(std::to_string(number)), number(number) {}
  Extent(std::string symbol) : text(std::move(symbol)) {}
  bool isSymbol() const { return number < 0; }
  bool operator==(const Extent &other) const { return text == other.text; }
};

using Extents = std::vector<Extent>;

/// A plain value.
struct Value {
  std::string name, type;
  Extents shape;
};

/// Block extents per axis: 0 is the whole axis, 1 an element.
using Blocks = std::vector<int64_t>;

class Generator {
public:
  explicit Generator(uint64_t seed) : state(seed) {}
  RandomLayer make();

private:
  // Chance (splitmix64, the same numbers everywhere).
  uint64_t next() {
    uint64_t z = (state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  int64_t below(int64_t n) { return next() % static_cast<uint64_t>(n); }
  bool chance(int percent) { return below(100) < percent; }
  template <typename T> T pick(std::initializer_list<T> list) {
    return list.begin()[below(list.size())];
  }

  // Text.
  void count(const std::string &operation) { ++layer.operations[operation]; }
  std::string parameter(const std::string &type, bool weight = false);
  Value plainParameter(const std::string &type, Extents shape,
                       bool weight = false);
  Value assign(const std::string &expression, std::string type, Extents shape);
  static std::string print(const Extents &shape);
  static std::string print(const Value &value) {
    return value.type + print(value.shape);
  }

  // Values.
  Value any();
  Value anyOfRank(size_t least);
  std::string floatType() {
    return pick<const char *>({"f32", "f16", "f16", "bf16"});
  }
  Extents anyShape();
  Extent rows() {
    return chance(75) ? Extent("M") : Extent(pick<int64_t>({1, 5, 16, 33}));
  }
  /// Operand beside `value`: of its type or f32, broadcast against it.
  Value partner(const Value &value);

  // Granularities.
  Blocks anyBlocks(const Extents &shape);
  std::string printBlocks(const Extents &shape, const Blocks &blocks,
                          const std::string &scaleType);
  Extents scaleShape(const Extents &shape, const Blocks &blocks);
  /// `quantize(...)`, and the type of its result.
  std::pair<std::string, std::string>
  quantize(const Value &value, const std::string &codes, const Blocks &blocks);

  // Operations.
  void unary();
  void binary();
  void select();
  void convert();
  void normalize();
  void reduce();
  void reshape();
  void transpose();
  void slice();
  void concat();
  void gather();
  void requantize();
  void dequantizeParameter();
  void product();
  void floatProduct();
  void batchProduct();

  uint64_t state;
  RandomLayer layer;
  std::vector<std::string> parameters, statements;
  std::vector<Value> values;
  std::set<std::string> symbols;
};
} // namespace

std::string Generator::print(const Extents &shape) {
  std::vector<std::string> texts;
  for (const Extent &extent : shape)
    texts.push_back(extent.text);
  return fmt::format("[{}]", fmt::join(texts, ", "));
}

std::string Generator::parameter(const std::string &type, bool weight) {
  std::string name = fmt::format("{}{}", weight ? "w" : "p", parameters.size());
  parameters.push_back(
      fmt::format("{}{}: {}", weight ? "weight " : "", name, type));
  return name;
}

Value Generator::plainParameter(const std::string &type, Extents shape,
                                bool weight) {
  for (const Extent &extent : shape)
    if (extent.isSymbol())
      symbols.insert(extent.text);
  return {parameter(type + print(shape), weight), type, shape};
}

Value Generator::assign(const std::string &expression, std::string type,
                        Extents shape) {
  Value value{fmt::format("v{}", statements.size()), std::move(type),
              std::move(shape)};
  statements.push_back(fmt::format("{} = {}", value.name, expression));
  values.push_back(value);
  return value;
}

Extents Generator::anyShape() {
  Extents shape;
  if (chance(25))
    shape.push_back(pick<int64_t>({2, 3}));
  shape.push_back(rows());
  shape.push_back(pick<int64_t>({1, 7, 24, 37, 64, 70, 128, 200, 300}));
  return shape;
}

Value Generator::any() {
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

Value Generator::anyOfRank(size_t least) {
  for (int i = 0; i < 4; ++i) {
    Value value = any();
    if (value.shape.size() >= least)
      return value;
  }
  Value made = plainParameter(floatType(), {rows(), Extent(48)});
  values.push_back(made);
  return made;
}

Value Generator::partner(const Value &value) {
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

void Generator::unary() {
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

void Generator::binary() {
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

void Generator::select() {
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

void Generator::convert() {
  Value x = any();
  std::string type = floatType();
  count("as");
  assign(fmt::format("{} as {}", x.name, type), type, x.shape);
}

//===----------------------------------------------------------------------===//
// Rows
//===----------------------------------------------------------------------===//

void Generator::normalize() {
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

void Generator::reduce() {
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

void Generator::reshape() {
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

void Generator::transpose() {
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

void Generator::slice() {
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

void Generator::concat() {
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

void Generator::gather() {
  Extent rows("M");
  Extent width(pick<int64_t>({5, 24, 64}));
  Value table = plainParameter(floatType(), {Extent(50), width}, chance(50));
  Value ids = plainParameter("i32", {rows});
  count("gather");
  assign(fmt::format("gather({}, {})", table.name, ids.name), table.type,
         {rows, width});
}

//===----------------------------------------------------------------------===//
// Quantization
//===----------------------------------------------------------------------===//

Blocks Generator::anyBlocks(const Extents &shape) {
  size_t rank = shape.size();
  Blocks blocks(rank, 1);
  switch (below(5)) {
  case 0: // per tensor
    return Blocks(rank, 0);
  case 1: // per token
    blocks.back() = 0;
    return blocks;
  case 2: // per group
    blocks.back() = pick<int64_t>({3, 7, 16, 32, 50, 64, 128});
    return blocks;
  case 3: // per block
    for (int64_t &block : blocks)
      block = pick<int64_t>({1, 2, 3, 5, 16, 33, 128});
    return blocks;
  default: // per column, and other mixtures
    for (int64_t &block : blocks)
      block = pick<int64_t>({0, 1, 4});
    return blocks;
  }
}

Extents Generator::scaleShape(const Extents &shape, const Blocks &blocks) {
  Extents scales;
  for (size_t i = 0; i < shape.size(); ++i)
    scales.push_back(
        blocks[i] == 0   ? Extent(1)
        : blocks[i] == 1 ? shape[i]
        : shape[i].isSymbol()
            ? Extent(fmt::format("{}/{}", shape[i].text, blocks[i]))
            : Extent((shape[i].number + blocks[i] - 1) / blocks[i]));
  return scales;
}

std::string Generator::printBlocks(const Extents &shape, const Blocks &blocks,
                                   const std::string &scaleType) {
  std::string suffix = scaleType == "f32" ? "" : " * " + scaleType;
  bool whole = std::all_of(blocks.begin(), blocks.end(),
                           [](int64_t b) { return b == 0; });
  bool ones = std::all_of(blocks.begin(), blocks.end() - 1,
                          [](int64_t b) { return b == 1; });
  bool some = std::all_of(blocks.begin(), blocks.end(),
                          [](int64_t b) { return b >= 1; });
  const char *kind = whole                         ? "tensor"
                     : ones && blocks.back() == 0  ? "token"
                     : ones && blocks.back() > 1   ? "group"
                     : some && blocks.back() > 1   ? "block"
                     : blocks.back() == 1 && !some ? "column"
                                                   : "mixed";
  ++layer.granularities[kind];
  for (size_t i = 0; i < shape.size(); ++i)
    if (blocks[i] > 1) {
      if (shape[i].isSymbol())
        ++layer.granularities["blocks of a symbol"];
      else if (shape[i].number % blocks[i])
        ++layer.granularities["short last block"];
      if (blocks[i] % 2)
        ++layer.granularities["odd block"];
    }
  if (chance(50)) {
    if (whole)
      return "per tensor" + suffix;
    if (ones && blocks.back() == 0)
      return "per token" + suffix;
    if (ones && blocks.back() > 1)
      return fmt::format("per group({}){}", blocks.back(), suffix);
    if (some)
      return fmt::format("per block({}){}", fmt::join(blocks, ", "), suffix);
  }
  std::vector<std::string> texts;
  for (size_t i = 0; i < shape.size(); ++i)
    texts.push_back(blocks[i] == 0 ? "1"
                    : blocks[i] == 1
                        ? shape[i].text
                        : fmt::format("{}/{}", shape[i].text, blocks[i]));
  return fmt::format("* {}[{}]", scaleType, fmt::join(texts, ", "));
}

std::pair<std::string, std::string>
Generator::quantize(const Value &value, const std::string &codes,
                    const Blocks &blocks) {
  std::string scaleType =
      chance(70) ? "f32" : pick<const char *>({"f16", "bf16"});
  std::string type = codes + print(value.shape) + " " +
                     printBlocks(value.shape, blocks, scaleType);
  std::string settings;
  bool integer = codes[0] != 'f';
  if (chance(20)) {
    // A static scale, from the caller.
    std::vector<std::string> texts;
    for (size_t i = 0; i < blocks.size(); ++i)
      texts.push_back(
          blocks[i] == 0 ? "1"
          : blocks[i] == 1
              ? value.shape[i].text
              : fmt::format("{}/{}", value.shape[i].text, blocks[i]));
    settings += fmt::format(
        ", scale = {}",
        parameter(fmt::format("{}[{}]", scaleType, fmt::join(texts, ", "))));
    for (const Extent &extent : value.shape)
      if (extent.isSymbol())
        symbols.insert(extent.text);
    count("quantize static");
  } else {
    count("quantize");
    if (chance(15))
      settings += ", floor = 0.001";
    if (integer && chance(20))
      settings += codes == "u8" ? ", divisor = 200" : ", divisor = 100";
  }
  if (integer && chance(30))
    settings += fmt::format(", rounding = {}",
                            pick<const char *>({"half_away", "toward_zero"}));
  if (integer && chance(15))
    settings += codes == "u8" ? ", qmax = 100" : ", qmin = -128";
  return {fmt::format("quantize({}, {}{})", value.name, type, settings), type};
}

void Generator::requantize() {
  Value x = any();
  auto [text, type] =
      quantize(x, pick<const char *>({"i8", "i8", "u8", "f8e4m3", "f8e5m2"}),
               anyBlocks(x.shape));
  count("dequantize");
  assign(fmt::format("dequantize({})", text), "f32", x.shape);
}

void Generator::dequantizeParameter() {
  Extents shape = anyShape();
  for (const Extent &extent : shape)
    if (extent.isSymbol())
      symbols.insert(extent.text);
  std::string codes = pick<const char *>({"i8", "u8", "f8e4m3", "f8e5m2"});
  std::string q =
      parameter(codes + print(shape) + " " +
                printBlocks(shape, anyBlocks(shape),
                            pick<const char *>({"f32", "f16", "bf16"})));
  count("dequantize");
  assign(fmt::format("dequantize({})", q), "f32", shape);
}

//===----------------------------------------------------------------------===//
// Products
//===----------------------------------------------------------------------===//

void Generator::product() {
  Value x = anyOfRank(2);
  Extent k = x.shape.back();
  if (k.isSymbol() || k.number < 4)
    return;
  bool integer = chance(75);
  auto codes = [&] {
    return integer ? pick<const char *>({"i8", "i8", "u8"})
                   : pick<const char *>({"f8e4m3", "f8e4m3", "f8e5m2"});
  };
  // Blocks along the summed axis: none, or g on one side and a multiple of it
  // on the other.
  int64_t g = chance(50) ? 0 : pick<int64_t>({3, 7, 16, 32, 50, 64, 128});
  auto alongK = [&]() -> int64_t {
    if (!g)
      return 0;
    int64_t block = g * pick<int64_t>({1, 1, 2, 3, 0});
    return block >= k.number ? 0 : block;
  };
  Blocks lhsBlocks(x.shape.size(), 1);
  for (size_t i = 0; i + 1 < lhsBlocks.size(); ++i)
    lhsBlocks[i] = pick<int64_t>({1, 1, 1, 0, 4, 5});
  lhsBlocks.back() = alongK();
  if (std::all_of(lhsBlocks.begin(), lhsBlocks.end() - 1,
                  [](int64_t b) { return b == 0; }) &&
      chance(70))
    lhsBlocks[lhsBlocks.size() - 2] = 1;
  int64_t n = pick<int64_t>({1, 8, 17, 40, 45, 64});
  bool untransposed = chance(25);
  Extents shape = untransposed ? Extents{k, Extent(n)} : Extents{Extent(n), k};
  int64_t rhsK = alongK();
  // Two different multiples of g need not divide each other.
  if (rhsK && lhsBlocks.back() &&
      std::max(rhsK, lhsBlocks.back()) % std::min(rhsK, lhsBlocks.back()))
    rhsK = lhsBlocks.back();
  int64_t rhsN = pick<int64_t>({1, 1, 0, 4, 16, 5});
  Blocks rhsBlocks = untransposed ? Blocks{rhsK, rhsN} : Blocks{rhsN, rhsK};

  std::string lhs = x.name;
  if (chance(80)) {
    lhs = quantize(x, codes(), lhsBlocks).first;
    if (chance(50)) {
      std::string name = fmt::format("v{}", statements.size());
      statements.push_back(fmt::format("{} = {}", name, lhs));
      lhs = name;
    }
    count(integer ? "integer product" : "fp8 product");
  } else {
    count("weight-only product");
  }
  std::string w =
      parameter(codes() + print(shape) + " " +
                    printBlocks(shape, rhsBlocks, chance(70) ? "f32" : "f16"),
                chance(80));
  Extents result = x.shape;
  result.back() = Extent(n);
  std::string text = fmt::format("{} @ {}{}", lhs, w, untransposed ? "" : ".T");
  std::string type = "f32";
  if (chance(40)) {
    type = floatType();
    text += " as " + type;
  }
  assign(text, type, result);
}

void Generator::floatProduct() {
  Value x = anyOfRank(2);
  Extent k = x.shape.back();
  if (k.isSymbol())
    return;
  int64_t n = pick<int64_t>({1, 8, 17, 40});
  bool untransposed = chance(30);
  Value w = plainParameter(
      x.type, untransposed ? Extents{k, Extent(n)} : Extents{Extent(n), k},
      chance(70));
  Extents result = x.shape;
  result.back() = Extent(n);
  count("float product");
  assign(fmt::format("{} @ {}{}", x.name, w.name, untransposed ? "" : ".T"),
         "f32", result);
}

void Generator::batchProduct() {
  int64_t k = pick<int64_t>({8, 24, 64});
  Extent batch(pick<int64_t>({1, 3}));
  std::string type = pick<const char *>({"f16", "bf16", "f32"});
  Value a = plainParameter(type, {batch, Extent("M"), Extent(k)});
  bool quantized = chance(50);
  if (quantized) {
    Value b = plainParameter(type, {batch, Extent("N"), Extent(k)});
    count("batched integer product");
    assign(fmt::format("{} @ {}.T", quantize(a, "i8", {1, 1, 0}).first,
                       quantize(b, "i8", {1, 1, 0}).first),
           "f32", {batch, Extent("M"), Extent("N")});
    return;
  }
  Value b = plainParameter(type, {batch, Extent("N"), Extent(k)});
  count("batched product");
  assign(fmt::format("{} @ {}.T", a.name, b.name), "f32",
         {batch, Extent("M"), Extent("N")});
}

RandomLayer Generator::make() {
  using Step = void (Generator::*)();
  static const std::vector<std::pair<Step, int>> steps = {
      {&Generator::unary, 16},       {&Generator::binary, 16},
      {&Generator::select, 4},       {&Generator::convert, 6},
      {&Generator::normalize, 8},    {&Generator::reduce, 6},
      {&Generator::reshape, 5},      {&Generator::transpose, 5},
      {&Generator::slice, 5},        {&Generator::concat, 4},
      {&Generator::gather, 3},       {&Generator::requantize, 9},
      {&Generator::product, 22},     {&Generator::floatProduct, 5},
      {&Generator::batchProduct, 3}, {&Generator::dequantizeParameter, 4}};
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
  return Generator(seed).make();
}
