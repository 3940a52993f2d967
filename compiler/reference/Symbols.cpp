//===- Symbols.cpp - From input shapes to symbol values -------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/reference/Symbols.h"

#include "compiler/reference/Interpreter.h"
#include "compiler/reference/Machine.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

using namespace mlir;
using namespace quern::ir;

namespace quern::reference {

static std::string toText(AffineExpr expr) {
  std::string text;
  llvm::raw_string_ostream(text) << expr;
  return text;
}

std::string toText(Type type) {
  std::string text;
  llvm::raw_string_ostream(text) << type;
  return text;
}

bool isElementType(Type type) { return getDType(type).has_value(); }

std::optional<int64_t> evaluateExpr(AffineExpr expr,
                                    ArrayRef<int64_t> symbols) {
  if (auto constant = dyn_cast<AffineConstantExpr>(expr))
    return constant.getValue();
  if (auto symbol = dyn_cast<AffineSymbolExpr>(expr)) {
    if (symbol.getPosition() >= symbols.size())
      return std::nullopt;
    return symbols[symbol.getPosition()];
  }
  auto binary = dyn_cast<AffineBinaryOpExpr>(expr);
  if (!binary)
    return std::nullopt;
  std::optional<int64_t> l = evaluateExpr(binary.getLHS(), symbols);
  std::optional<int64_t> r = evaluateExpr(binary.getRHS(), symbols);
  if (!l || !r)
    return std::nullopt;
  int64_t value;
  switch (binary.getKind()) {
  case AffineExprKind::Add:
    return __builtin_add_overflow(*l, *r, &value) ? std::nullopt
                                                  : std::optional(value);
  case AffineExprKind::Mul:
    return __builtin_mul_overflow(*l, *r, &value) ? std::nullopt
                                                  : std::optional(value);
  default:
    break;
  }
  if (*r <= 0)
    return std::nullopt;
  int64_t quotient = *l / *r, rest = *l % *r;
  switch (binary.getKind()) {
  case AffineExprKind::FloorDiv:
    return quotient - (rest < 0);
  case AffineExprKind::CeilDiv:
    return quotient + (rest > 0);
  case AffineExprKind::Mod:
    return rest < 0 ? rest + *r : rest;
  default:
    return std::nullopt;
  }
}

Result<std::vector<SignatureTensor>> inputsOf(func::FuncOp layer) {
  std::vector<SignatureTensor> list;
  for (unsigned i = 0; i < layer.getNumArguments(); ++i) {
    auto attr = layer.getArgAttrOfType<StringAttr>(i, nameAttrName);
    std::string name = attr ? attr.str() : fmt::format("argument {}", i);
    Type type = layer.getArgument(i).getType();
    if (auto quantized = dyn_cast<QTensorType>(type)) {
      list.push_back({name + " (codes)", quantized.getCodes()});
      list.push_back({name + " (scales)", quantized.getScalesType()});
      if (quantized.hasZeros())
        list.push_back({name + " (zeros)", quantized.getZerosType()});
    } else if (auto tensor = dyn_cast<RankedTensorType>(type)) {
      list.push_back({name, tensor});
    } else {
      return fail(Errc::InvalidSource,
                  fmt::format("layer {}: {} is neither a ranked tensor nor a "
                              "quantized tensor",
                              layer.getName().str(), name));
    }
  }
  for (const SignatureTensor &tensor : list)
    if (!isElementType(tensor.type.getElementType()))
      return fail(Errc::InvalidSource,
                  fmt::format("layer {}: {} has the element type {}, which no "
                              "buffer holds",
                              layer.getName().str(), tensor.name,
                              toText(tensor.type.getElementType())));
  return list;
}

Result<std::vector<SymbolAttr>> symbolsOf(func::FuncOp layer) {
  std::vector<SymbolAttr> list;
  auto attr = layer->getAttrOfType<ArrayAttr>(symbolsAttrName);
  if (!attr)
    return list;
  for (Attribute element : attr) {
    auto symbol = dyn_cast<SymbolAttr>(element);
    if (!symbol)
      return fail(Errc::InvalidSource,
                  fmt::format("layer {}: quern.symbols must hold #quern.symbol "
                              "attributes only",
                              layer.getName().str()));
    list.push_back(symbol);
  }
  return list;
}

/// Gives the symbols that `expr = extent` determines their values. Returns
/// true when one was found.
static bool bindSymbol(AffineExpr expr, int64_t extent,
                       std::vector<int64_t> &values, std::vector<bool> &bound) {
  std::optional<unsigned> unknown;
  bool several = false;
  expr.walk([&](AffineExpr part) {
    auto symbol = dyn_cast<AffineSymbolExpr>(part);
    if (!symbol || symbol.getPosition() >= bound.size() ||
        bound[symbol.getPosition()])
      return;
    several |= unknown && *unknown != symbol.getPosition();
    unknown = symbol.getPosition();
  });
  if (!unknown || several)
    return false;
  // expr = slope * s + start if it is linear; the check of all dimensions
  // that follows refuses the value where it is not.
  std::vector<int64_t> probe = values;
  probe[*unknown] = 0;
  std::optional<int64_t> start = evaluateExpr(expr, probe);
  probe[*unknown] = 1;
  std::optional<int64_t> next = evaluateExpr(expr, probe);
  int64_t slope, rise;
  if (!start || !next || __builtin_sub_overflow(*next, *start, &slope) ||
      slope == 0 || __builtin_sub_overflow(extent, *start, &rise) ||
      rise % slope != 0)
    return false;
  values[*unknown] = rise / slope;
  bound[*unknown] = true;
  return true;
}

Result<std::vector<int64_t>> inferSymbols(func::FuncOp layer,
                                          ArrayRef<HostTensor> inputs) {
  Result<std::vector<SignatureTensor>> signature = inputsOf(layer);
  if (!signature)
    return signature.error();
  Result<std::vector<SymbolAttr>> symbols = symbolsOf(layer);
  if (!symbols)
    return symbols.error();
  std::string where = fmt::format("layer {}", layer.getName().str());
  if (signature->size() != inputs.size()) {
    std::vector<std::string> names;
    for (const SignatureTensor &tensor : *signature)
      names.push_back(tensor.name);
    return fail(Errc::InvalidArgument,
                fmt::format("{}: {} inputs given, {} expected: {}", where,
                            inputs.size(), names.size(),
                            fmt::join(names, ", ")));
  }
  for (auto [tensor, input] : llvm::zip_equal(*signature, inputs)) {
    DType expected = *getDType(tensor.type.getElementType());
    if (input.dtype != expected)
      return fail(Errc::InvalidArgument,
                  fmt::format("{}: {} has element type {}, expected {}", where,
                              tensor.name, name(input.dtype), name(expected)));
    if (static_cast<int64_t>(input.shape.size()) != tensor.type.getRank())
      return fail(Errc::InvalidArgument,
                  fmt::format("{}: {} has rank {}, expected {}", where,
                              tensor.name, input.shape.size(),
                              tensor.type.getRank()));
    int64_t count = byteWidth(expected);
    for (int64_t extent : input.shape)
      if (extent < 0 || __builtin_mul_overflow(count, extent, &count))
        return fail(Errc::InvalidArgument,
                    fmt::format("{}: {} has the impossible shape [{}]", where,
                                tensor.name, fmt::join(input.shape, ", ")));
    count = HostTensor::bytesOf(expected, input.shape);
    if (count != static_cast<int64_t>(input.bytes.size()))
      return fail(Errc::InvalidArgument,
                  fmt::format("{}: {} of shape [{}] needs {} bytes, has {}",
                              where, tensor.name, fmt::join(input.shape, ", "),
                              count, input.bytes.size()));
  }

  std::vector<int64_t> values(symbols->size(), 0);
  std::vector<bool> bound(symbols->size(), false);
  for (bool progress = true; progress;) {
    progress = false;
    // Dimensions that are a symbol come before those that contain one.
    for (bool plain : {true, false})
      for (auto [tensor, input] : llvm::zip_equal(*signature, inputs))
        for (auto [dim, extent] :
             llvm::zip_equal(getDims(tensor.type), input.shape))
          if (isa<AffineSymbolExpr>(dim) == plain)
            progress |= bindSymbol(dim, extent, values, bound);
  }

  for (auto [i, symbol] : llvm::enumerate(*symbols)) {
    std::string symbolName = symbol.getName().str();
    if (!bound[i])
      return fail(Errc::InvalidArgument,
                  fmt::format("{}: no input's shape determines the symbol {}",
                              where, symbolName));
    int64_t value = values[i];
    if (value != 0 && (value < symbol.getMin() || value > symbol.getMax() ||
                       value % symbol.getMultiple() != 0))
      return fail(
          Errc::InvalidArgument,
          fmt::format(
              "{}: {} = {} by the inputs' shapes; it must lie in {}..{} "
              "and be a multiple of {} (0 is legal: nothing to do)",
              where, symbolName, value, symbol.getMin(), symbol.getMax(),
              symbol.getMultiple()));
  }
  for (auto [tensor, input] : llvm::zip_equal(*signature, inputs))
    for (auto [i, dim] : llvm::enumerate(getDims(tensor.type))) {
      std::optional<int64_t> expected = evaluateExpr(dim, values);
      if (expected == input.shape[i])
        continue;
      std::string text;
      for (auto [index, symbol] : llvm::enumerate(*symbols))
        text += fmt::format("{}{} = {}", index ? ", " : "",
                            symbol.getName().str(), values[index]);
      return fail(
          Errc::InvalidArgument,
          fmt::format("{}: dimension {} of {} is {}, expected {}{}", where, i,
                      tensor.name, input.shape[i],
                      expected ? fmt::to_string(*expected) : toText(dim),
                      text.empty() ? "" : fmt::format(" (with {})", text)));
    }
  return values;
}

} // namespace quern::reference
