//===- BodyText.cpp - Element bodies as CUDA C++ --------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/emit/cuda/BodyText.h"

#include <fmt/format.h>

#include <cmath>

using namespace mlir;
using namespace quern;
using namespace quern::emit;

//===----------------------------------------------------------------------===//
// The table
//===----------------------------------------------------------------------===//

namespace {

/// An op's text. `from` and `to` restrict the type of the first operand and of
/// the result; empty is any. `stem` names the result; `inlined` may stand
/// within another expression (a call or a cast, which bind tightly).
struct Row {
  StringRef op, from, to, text, stem;
  bool inlined = false;
};

} // namespace

static const Row table[] = {
    // f32
    {"arith.addf", "f32", "", "{0} + {1}", "sum"},
    {"arith.subf", "f32", "", "{0} - {1}", "difference"},
    {"arith.mulf", "f32", "", "{0} * {1}", "product"},
    {"arith.divf", "f32", "", "{0} / {1}", "quotient"},
    {"arith.negf", "f32", "", "-{0}", "negated"},
    {"arith.maximumf", "f32", "", "strictMax({0}, {1})", "atLeast"},
    {"arith.minimumf", "f32", "", "strictMin({0}, {1})", "atMost"},
    {"math.fma", "f32", "", "__fmaf_rn({0}, {1}, {2})", "sum"},
    {"math.absf", "f32", "", "fabsf({0})", "magnitude"},
    {"math.sqrt", "f32", "", "__fsqrt_rn({0})", "root"},
    {"math.roundeven", "f32", "", "roundEven({0})", "rounded"},
    {"math.exp", "f32", "", "strictExp({0})", "exponential"},
    {"math.tanh", "f32", "", "strictTanh({0})", "tangent"},
    {"math.erf", "f32", "", "strictErf({0})", "erf"},
    // Conversions
    {"arith.extf", "f16", "f32", "toF32({0})", "value", true},
    {"arith.extf", "bf16", "f32", "toF32({0})", "value", true},
    {"arith.extf", "f8E4M3FN", "f32", "toF32({0})", "value", true},
    {"arith.extf", "f8E5M2", "f32", "toF32({0})", "value", true},
    {"arith.truncf", "f32", "f8E4M3FN", "toE4M3({0})", "code", true},
    {"arith.truncf", "f32", "f8E5M2", "toE5M2({0})", "code", true},
    {"arith.truncf", "f32", "f16", "toF16({0})", "narrow", true},
    {"arith.truncf", "f32", "bf16", "toBF16({0})", "narrow", true},
    {"arith.sitofp", "i1", "f32", "-(float){0}", "value", true},
    {"arith.sitofp", "", "f32", "(float){0}", "value", true},
    {"arith.uitofp", "i1", "f32", "(float){0}", "value", true},
    {"arith.uitofp", "i8", "f32", "(float)(u8){0}", "value", true},
    {"arith.uitofp", "i32", "f32", "(float)(u32){0}", "value", true},
    {"arith.fptosi", "f32", "i32", "(int){0}", "integer", true},
    {"arith.fptosi", "f32", "i8", "(s8)(int){0}", "code", true},
    {"arith.fptoui", "f32", "i32", "(int)(u32){0}", "integer", true},
    {"arith.fptoui", "f32", "i8", "(s8)(u32){0}", "code", true},
    {"arith.extsi", "i8", "i32", "(int){0}", "integer", true},
    {"arith.extsi", "i1", "i32", "-(int){0}", "integer", true},
    {"arith.extsi", "i1", "i8", "(s8)-(int){0}", "integer", true},
    {"arith.extui", "i8", "i32", "(int)(u8){0}", "integer", true},
    {"arith.extui", "i1", "", "{to}{0}", "integer", true},
    {"arith.trunci", "i32", "i8", "(s8){0}", "code", true},
    {"arith.trunci", "", "i1", "({0} & 1) != 0", "flag"},
    {"arith.bitcast", "f32", "i32", "__float_as_int({0})", "bits", true},
    {"arith.bitcast", "i32", "f32", "__int_as_float({0})", "value", true},
    // Integers
    {"arith.addi", "i32", "", "wrapAdd({0}, {1})", "sum"},
    {"arith.subi", "i32", "", "wrapSub({0}, {1})", "difference"},
    {"arith.muli", "i32", "", "wrapMul({0}, {1})", "product"},
    {"arith.addi", "i8", "", "(s8)({0} + {1})", "sum"},
    {"arith.subi", "i8", "", "(s8)({0} - {1})", "difference"},
    {"arith.muli", "i8", "", "(s8)({0} * {1})", "product"},
    {"arith.andi", "i1", "", "{0} && {1}", "both"},
    {"arith.ori", "i1", "", "{0} || {1}", "either"},
    {"arith.xori", "i1", "", "{0} != {1}", "differ"},
    {"arith.andi", "i32", "", "{0} & {1}", "bits"},
    {"arith.ori", "i32", "", "{0} | {1}", "bits"},
    {"arith.xori", "i32", "", "{0} ^ {1}", "bits"},
    {"arith.andi", "", "", "{to}({0} & {1})", "bits"},
    {"arith.ori", "", "", "{to}({0} | {1})", "bits"},
    {"arith.xori", "", "", "{to}({0} ^ {1})", "bits"},
    {"arith.shli", "i32", "", "(int)((u32){0} << {1})", "shifted"},
    {"arith.shrui", "i32", "", "(int)((u32){0} >> {1})", "shifted"},
    {"arith.shrsi", "i32", "", "{0} >> {1}", "shifted"},
    {"arith.shli", "i8", "", "(s8)((u8){0} << {1})", "shifted"},
    {"arith.shrui", "i8", "", "(s8)((u8){0} >> {1})", "shifted"},
    {"arith.shrsi", "i8", "", "(s8)({0} >> {1})", "shifted"},
    {"arith.maxui", "i32", "", "(int)larger<u32>({0}, {1})", "atLeast"},
    {"arith.minui", "i32", "", "(int)smaller<u32>({0}, {1})", "atMost"},
    {"arith.maxsi", "i32", "", "larger<int>({0}, {1})", "atLeast"},
    {"arith.minsi", "i32", "", "smaller<int>({0}, {1})", "atMost"},
    {"arith.maxui", "i8", "", "(s8)larger<u8>({0}, {1})", "atLeast"},
    {"arith.minui", "i8", "", "(s8)smaller<u8>({0}, {1})", "atMost"},
    {"arith.maxsi", "i8", "", "larger<s8>({0}, {1})", "atLeast"},
    {"arith.minsi", "i8", "", "smaller<s8>({0}, {1})", "atMost"},
    // Indices
    {"arith.addi", "index", "", "(s64){0} + {1}", "position"},
    {"arith.subi", "index", "", "(s64){0} - {1}", "position"},
    {"arith.muli", "index", "", "(s64){0} * {1}", "position"},
    {"arith.maxsi", "index", "", "larger<s64>({0}, {1})", "position"},
    {"arith.minsi", "index", "", "smaller<s64>({0}, {1})", "position"},
    {"arith.select", "", "", "{0} ? {1} : {2}", "chosen"},
};

/// `{0} op {1}` for each predicate; those that hold when unordered are
/// negations of the opposite.
static StringRef textOf(arith::CmpFPredicate predicate) {
  using P = arith::CmpFPredicate;
  switch (predicate) {
  case P::AlwaysFalse:
    return "false";
  case P::OEQ:
    return "{0} == {1}";
  case P::OGT:
    return "{0} > {1}";
  case P::OGE:
    return "{0} >= {1}";
  case P::OLT:
    return "{0} < {1}";
  case P::OLE:
    return "{0} <= {1}";
  case P::ONE:
    return "{0} < {1} || {0} > {1}";
  case P::ORD:
    return "{0} == {0} && {1} == {1}";
  case P::UEQ:
    return "!({0} < {1} || {0} > {1})";
  case P::UGT:
    return "!({0} <= {1})";
  case P::UGE:
    return "!({0} < {1})";
  case P::ULT:
    return "!({0} >= {1})";
  case P::ULE:
    return "!({0} > {1})";
  case P::UNE:
    return "{0} != {1}";
  case P::UNO:
    return "{0} != {0} || {1} != {1}";
  case P::AlwaysTrue:
    return "true";
  }
  return "false";
}

static StringRef textOf(arith::CmpIPredicate predicate) {
  using P = arith::CmpIPredicate;
  switch (predicate) {
  case P::eq:
    return "{0} == {1}";
  case P::ne:
    return "{0} != {1}";
  case P::slt:
    return "{0} < {1}";
  case P::sle:
    return "{0} <= {1}";
  case P::sgt:
    return "{0} > {1}";
  case P::sge:
    return "{0} >= {1}";
  case P::ult:
    return "{u}{0} < {u}{1}";
  case P::ule:
    return "{u}{0} <= {u}{1}";
  case P::ugt:
    return "{u}{0} > {u}{1}";
  case P::uge:
    return "{u}{0} >= {u}{1}";
  }
  return "false";
}

//===----------------------------------------------------------------------===//
// Types, values, messages
//===----------------------------------------------------------------------===//

std::string emit::typeText(Type type) {
  if (type.isUnsignedInteger(8))
    return "u8";
  if (type.isInteger(8))
    return "s8";
  // Two of them.
  if (type.isUnsignedInteger(4))
    return "u4x2";
  if (type.isInteger(4))
    return "i4x2";
  if (type.isInteger(32))
    return "int";
  if (type.isInteger(1))
    return "bool";
  if (type.isF16())
    return "f16";
  if (type.isBF16())
    return "bf16";
  if (isa<Float8E4M3FNType>(type))
    return "e4m3";
  if (isa<Float8E5M2Type>(type))
    return "e5m2";
  if (type.isF32())
    return "float";
  if (type.isIndex())
    return "s64";
  return {};
}

static std::string printed(Type type) {
  std::string text;
  llvm::raw_string_ostream(text) << type;
  return text;
}

std::string emit::languageName(Type type) {
  if (std::optional<DType> dtype = getDType(type))
    return std::string(quern::name(*dtype));
  return printed(type);
}

quern::Diagnostic emit::refuse(Location location, std::string message,
                               std::vector<std::string> notes) {
  quern::Diagnostic diagnostic =
      fail(Errc::Unsupported, std::move(message), std::move(notes));
  if (auto place = Place::of(location)) {
    diagnostic.file = place->file;
    diagnostic.line = place->line;
    diagnostic.column = place->column;
  }
  return diagnostic;
}

/// Replaces `{key}` everywhere.
static void substitute(std::string &text, StringRef key, StringRef value) {
  for (size_t at = 0; (at = text.find(key.str(), at)) != std::string::npos;
       at += value.size())
    text.replace(at, key.size(), value.str());
}

static std::string filled(StringRef pattern, ArrayRef<std::string> operands,
                          Type result) {
  std::string text = pattern.str();
  // A negated negative constant must not become a decrement.
  bool twice = pattern.starts_with("-{") && operands[0][0] == '-';
  for (size_t i = 0; i < operands.size(); ++i)
    substitute(text, fmt::format("{{{}}}", i),
               twice ? "(" + operands[i] + ")" : operands[i]);
  substitute(text, "{to}", "(" + typeText(result) + ")");
  return text;
}

void BodyText::bindBuffer(Value buffer, std::string name, bool written) {
  buffers[buffer] = {std::move(name), "", written};
}

std::string BodyText::elementText(const Buffer &buffer, tile::BufferType type,
                                  ArrayRef<Index> at) {
  if (!buffer.held.empty())
    return fmt::format("{}({}, {})", buffer.held,
                       at.size() < 2 ? "0" : at[at.size() - 2].text,
                       at.empty() ? "0" : at.back().text);
  Type element = type.getElementType();
  if (getWideType(element) != element)
    return fmt::format("unpacked({}, {})", buffer.name,
                       symbols.offset(type, at).text);
  return fmt::format("{}[{}]", buffer.name, symbols.offset(type, at).text);
}

Index BodyText::index(Value value) {
  auto known = indices.find(value);
  if (known != indices.end())
    return known->second;
  return Index::unknown(scalar(value));
}

std::vector<Index> BodyText::indicesOf(ValueRange values) {
  std::vector<Index> result;
  for (Value value : values)
    result.push_back(index(value));
  return result;
}

std::string BodyText::scalar(Value value) const {
  auto text = scalars.find(value);
  if (text != scalars.end())
    return text->second;
  return indices.find(value)->second.unit();
}

void BodyText::define(Value value, std::string text, StringRef stem,
                      bool inlined) {
  if (inlined && value.hasOneUse() &&
      value.use_begin()->getOwner()->getBlock() == value.getParentBlock()) {
    bindScalar(value, std::move(text));
    return;
  }
  std::string name = names.make(stem);
  out.add(
      fmt::format("const {} {} = {};", typeText(value.getType()), name, text),
      Place::of(value.getLoc()));
  bindScalar(value, name);
}

//===----------------------------------------------------------------------===//
// Ops
//===----------------------------------------------------------------------===//

Result<void> BodyText::emitConstant(arith::ConstantOp op) {
  Type type = op.getType();
  if (auto integer = dyn_cast<IntegerAttr>(op.getValue())) {
    int64_t value = type.isInteger(1) ? !integer.getValue().isZero()
                                      : integer.getValue().getSExtValue();
    if (type.isInteger(1)) {
      bindScalar(op, value ? "true" : "false");
      return {};
    }
    // The most negative literal is not one token in C++.
    std::string text =
        value == INT32_MIN ? "(-2147483647 - 1)" : Index::constant(value).text;
    bindScalar(op, text);
    if (type.isIndex())
      bindIndex(op, Index::constant(value));
    return {};
  }
  auto real = dyn_cast<FloatAttr>(op.getValue());
  if (!real || typeText(type).empty())
    return refuse(op.getLoc(), fmt::format("a constant of type {} is not "
                                           "available on CUDA",
                                           languageName(type)));
  uint64_t bits = real.getValue().bitcastToAPInt().getZExtValue();
  if (!type.isF32()) {
    bindScalar(op, fmt::format("{}{{0x{:0{}x}}}", typeText(type), bits,
                               type.getIntOrFloatBitWidth() / 4));
    return {};
  }
  float value = real.getValue().convertToFloat();
  if (!std::isfinite(value)) {
    bindScalar(op, fmt::format("floatOf(0x{:08x}u)", bits));
    return {};
  }
  std::string text = fmt::format("{}", value); // The shortest that reads back.
  if (text.find_first_of(".e") == std::string::npos)
    text += ".0";
  bindScalar(op, text + "f");
  return {};
}

Result<void> BodyText::emitLoad(tile::LoadOp load) {
  const Buffer &buffer = buffers.find(load.getBuffer())->second;
  Type element = load.getBuffer().getType().getElementType();
  if (typeText(element).empty())
    return refuse(load.getLoc(),
                  fmt::format("elements of type {} are not available on CUDA "
                              "yet: '{}' holds them",
                              languageName(element), buffer.name),
                  {"use --target cpu"});
  std::vector<Index> dims = indicesOf(load.getIndices());
  std::string text = elementText(buffer, load.getBuffer().getType(),
                                 symbols.affine(load.getMap(), dims));
  if (element.isUnsignedInteger(8))
    text = "(s8)" + text;
  // One of `x_scales` is an `x_scale`.
  StringRef plural = buffer.name.empty() ? buffer.held : buffer.name;
  std::string stem =
      plural.consume_back("s") ? plural.str() : plural.str() + "_value";
  define(load, text, stem, /*inlined=*/!buffer.written);
  return {};
}

Result<void> BodyText::emitStore(tile::StoreOp store) {
  const Buffer &buffer = buffers.find(store.getBuffer())->second;
  Type element = store.getBuffer().getType().getElementType();
  if (typeText(element).empty())
    return refuse(store.getLoc(),
                  fmt::format("elements of type {} are not available on CUDA "
                              "yet: '{}' holds them",
                              languageName(element), buffer.name),
                  {"use --target cpu"});
  std::vector<Index> dims = indicesOf(store.getIndices());
  std::vector<Index> at = symbols.affine(store.getMap(), dims);
  std::string value = scalar(store.getValue());
  if (element.isUnsignedInteger(8))
    value = "(u8)" + value;
  std::string text = fmt::format(
      "{} = {};", elementText(buffer, store.getBuffer().getType(), at), value);
  auto add = [&](std::string statement, bool toMemory) {
    std::string condition = guard;
    if (toMemory && !memoryGuard.empty())
      condition += (condition.empty() ? "" : " && ") + memoryGuard;
    if (!condition.empty())
      statement = fmt::format("if ({}) {}", condition, statement);
    out.add(std::move(statement), Place::of(store.getLoc()));
  };
  if (!buffer.held.empty() && !buffer.name.empty()) {
    Buffer inMemory{buffer.name, "", true};
    std::string place = elementText(inMemory, store.getBuffer().getType(), at);
    if (memoryGuard.empty()) {
      text = place + " = " + text;
    } else {
      add(fmt::format("{} = {};", place, value), true);
    }
  }
  add(std::move(text), buffer.held.empty());
  return {};
}

std::string BodyText::targetOf(tile::AccumulateOp op) {
  const Buffer &buffer = buffers.find(op.getBuffer())->second;
  std::vector<Index> dims = indicesOf(op.getIndices());
  Index offset =
      symbols.offset(cast<tile::BufferType>(op.getBuffer().getType()),
                     symbols.affine(op.getMap(), dims));
  if (offset.isConstant() && offset.lo == 0)
    return buffer.name;
  return fmt::format("{} + {}", buffer.name, offset.text);
}

Result<void> BodyText::emitAccumulate(tile::AccumulateOp op) {
  bool isMax = op.getKind() == tile::ReduceKind::UMax;
  std::string value = "(u32)" + scalar(op.getValue()), text;
  auto variable = accumulators.find(op);
  if (variable != accumulators.end()) {
    text = isMax ? fmt::format("{0} = larger<u32>({0}, {1});", variable->second,
                               value)
                 : fmt::format("{} += {};", variable->second, value);
  } else {
    bool together = !laneIndices.empty();
    for (auto [i, index] : llvm::enumerate(op.getIndices()))
      if (op.getMap().isFunctionOfDim(i))
        together &= isa<BlockArgument>(index) && !laneIndices.contains(index);
    text = fmt::format("accumulate{}{}({}, {});", isMax ? "Max" : "Add",
                       together ? "Together" : "", targetOf(op), value);
  }
  if (!guard.empty())
    text = fmt::format("if ({}) {}", guard, text);
  out.add(std::move(text), Place::of(op.getLoc()));
  return {};
}

Result<std::string> BodyText::comparison(Operation *op) {
  std::string pattern;
  if (auto compare = dyn_cast<arith::CmpFOp>(op)) {
    pattern = textOf(compare.getPredicate()).str();
    if (compare.getPredicate() == arith::CmpFPredicate::UNO &&
        compare.getLhs() == compare.getRhs())
      pattern = "{0} != {0}"; // The usual test for NaN.
  } else {
    auto compareInts = cast<arith::CmpIOp>(op);
    pattern = textOf(compareInts.getPredicate()).str();
    Type type = compareInts.getLhs().getType();
    substitute(pattern, "{u}",
               type.isInteger(8)    ? "(u8)"
               : type.isInteger(32) ? "(u32)"
               : type.isIndex()     ? "(u64)"
                                    : "");
  }
  return filled(pattern, {scalar(op->getOperand(0)), scalar(op->getOperand(1))},
                op->getResult(0).getType());
}

Result<void> BodyText::emit(Operation *op) {
  if (auto load = dyn_cast<tile::LoadOp>(op))
    return emitLoad(load);
  if (auto store = dyn_cast<tile::StoreOp>(op))
    return emitStore(store);
  if (auto accumulate = dyn_cast<tile::AccumulateOp>(op))
    return emitAccumulate(accumulate);
  if (auto constant = dyn_cast<arith::ConstantOp>(op))
    return emitConstant(constant);
  if (auto position = dyn_cast<tile::IndexOp>(op)) {
    std::vector<Index> dims = indicesOf(position.getIndices());
    bindIndex(position, symbols.affine(position.getMap().getResult(0), dims));
    return {};
  }
  if (auto cast = dyn_cast<arith::IndexCastOp>(op)) {
    std::string text = scalar(cast.getIn());
    if (cast.getType().isIndex()) {
      Index index{text, 2, INT32_MIN, INT32_MAX};
      bindIndex(cast, index);
    } else {
      bindScalar(cast, "(int)" + text);
    }
    return {};
  }
  if (isa<arith::CmpFOp, arith::CmpIOp>(op)) {
    Result<std::string> text = comparison(op);
    if (!text)
      return text.error();
    define(op->getResult(0), *text, "test", /*inlined=*/false);
    return {};
  }
  if (op->getNumResults() == 1) {
    std::string name = op->getName().getStringRef().str();
    std::string from = printed(op->getOperand(0).getType());
    Type to = op->getResult(0).getType();
    for (const Row &row : table) {
      if (row.op != name || (!row.from.empty() && row.from != from) ||
          (!row.to.empty() && row.to != printed(to)))
        continue;
      if (typeText(to).empty())
        break;
      std::vector<std::string> operands;
      for (Value operand : op->getOperands())
        operands.push_back(scalar(operand));
      define(op->getResult(0), filled(row.text, operands, to), row.stem,
             row.inlined);
      return {};
    }
  }
  std::string types;
  for (Type type : op->getOperandTypes())
    types += (types.empty() ? "" : ", ") + languageName(type);
  return refuse(op->getLoc(),
                fmt::format("{} on {} is not available on CUDA",
                            op->getName().getStringRef().str(), types),
                {"use --target cpu"});
}

Result<void> BodyText::emitBody(Block &body) {
  for (Operation &op : body) {
    if (isa<tile::YieldOp>(op))
      break;
    if (Result<void> done = emit(&op); !done)
      return done;
  }
  return {};
}
