//===- LowerTypes.cpp - Symbols, extents and types of a layer -------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/frontend/ElementTypes.h"
#include "compiler/frontend/Lowering.h"

#include "llvm/Support/MathExtras.h"

#include <fmt/format.h>

using namespace mlir;
using namespace quern;
using namespace quern::frontend;

//===----------------------------------------------------------------------===//
// Symbols
//===----------------------------------------------------------------------===//

/// The product of an extent that is made of numbers alone; 0 otherwise.
static int64_t factorOf(const DimExpr &dim) {
  if (dim.kind == DimExpr::Kind::Number)
    return dim.number <= maxExtent ? dim.number : 0;
  if (dim.kind != DimExpr::Kind::Mul)
    return 0;
  int64_t product = 0;
  if (llvm::MulOverflow(factorOf(*dim.lhs), factorOf(*dim.rhs), product))
    return 0;
  return product;
}

/// The symbol of an extent `K` or `64*K`, which give it its value; else null.
static const DimExpr *solvedSymbol(const DimExpr &dim) {
  if (dim.kind == DimExpr::Kind::Symbol)
    return &dim;
  if (dim.kind != DimExpr::Kind::Mul)
    return nullptr;
  if (factorOf(*dim.lhs) > 0)
    return solvedSymbol(*dim.rhs);
  return factorOf(*dim.rhs) > 0 ? solvedSymbol(*dim.lhs) : nullptr;
}

/// A symbol gets its value from the shape of an argument, hence it must be an
/// extent of a parameter, alone or times a number. Symbols are numbered in the
/// order of their first such use.
void Lowering::collectSymbols() {
  for (const Parameter &parameter : layer.parameters)
    for (const DimPtr &dim : parameter.type.dims) {
      const DimExpr *named = solvedSymbol(*dim);
      if (!named || symbols.find(named->symbol) >= 0)
        continue;
      if (isElementTypeName(named->symbol)) {
        errors.add(named->place,
                   fmt::format("'{}' is an element type and cannot name a "
                               "symbol",
                               named->symbol));
        continue;
      }
      Symbol symbol;
      symbol.name = named->symbol;
      symbol.place = named->place;
      symbols.add(std::move(symbol));
    }
}

bool Lowering::applyRules() {
  bool right = true;
  llvm::StringMap<bool> ranges, divisors;
  auto refuse = [&](Place place, std::string message, std::string note) {
    errors.add(place, std::move(message), {std::move(note)});
    right = false;
  };
  for (const SymbolRule &rule : layer.rules) {
    int index = symbols.find(rule.symbol);
    if (index < 0) {
      std::vector<llvm::StringRef> names;
      for (unsigned i = 0; i < symbols.size(); ++i)
        names.push_back(symbols[i].name);
      llvm::StringRef near = nearestName(rule.symbol, names);
      refuse(rule.place,
             fmt::format("no parameter has the extent '{}'", rule.symbol),
             near.empty()
                 ? std::string("rules are about the symbols in the "
                               "parameters' shapes")
                 : fmt::format("did you mean '{}'?", std::string_view(near)));
      continue;
    }
    bool first = rule.isRange ? ranges.try_emplace(rule.symbol, true).second
                              : divisors.try_emplace(rule.symbol, true).second;
    if (!first) {
      refuse(rule.place,
             fmt::format("a second {} for '{}'",
                         rule.isRange ? "range" : "divisor", rule.symbol),
             "give each symbol one range and one divisor");
      continue;
    }
    Symbol changed = symbols[index];
    if (rule.isRange) {
      changed.min = rule.min;
      changed.max = rule.max;
    } else {
      changed.multiple = rule.multiple;
    }
    std::string problem = SymbolSpace::checkRange(changed);
    if (!problem.empty()) {
      refuse(rule.valuePlace, problem,
             "a range is smallest..largest, both included, such as M in "
             "1..4096; a divisor such as K % 64 == 0");
      continue;
    }
    symbols[index] = std::move(changed);
  }
  return right;
}

//===----------------------------------------------------------------------===//
// Extents
//===----------------------------------------------------------------------===//

AffineExpr Lowering::resolveDim(const DimExpr &dim) {
  auto refuse = [&](std::string message, std::string note) {
    errors.add(dim.place, std::move(message), {std::move(note)});
    return AffineExpr();
  };
  AffineExpr lhs = dim.lhs ? resolveDim(*dim.lhs) : AffineExpr();
  if (dim.lhs && !lhs)
    return {};
  AffineExpr rhs = dim.rhs ? resolveDim(*dim.rhs) : AffineExpr();
  if (dim.rhs && !rhs)
    return {};
  AffineExpr result;
  switch (dim.kind) {
  case DimExpr::Kind::Number:
    if (dim.number > maxExtent)
      return refuse(fmt::format("the extent {} is too large", dim.number),
                    fmt::format("extents are at most {}", maxExtent));
    return symbols.constant(dim.number);
  case DimExpr::Kind::Symbol: {
    int index = symbols.find(dim.symbol);
    if (index >= 0)
      return symbols.symbol(static_cast<unsigned>(index));
    std::string shown = dim.symbol.substr(0, 60);
    if (values.count(dim.symbol))
      return refuse(fmt::format("'{}' is a value, not an extent", shown),
                    "extents are numbers, symbols and expressions of them");
    std::vector<llvm::StringRef> names;
    for (unsigned i = 0; i < symbols.size(); ++i)
      names.push_back(symbols[i].name);
    llvm::StringRef near = nearestName(dim.symbol, names);
    return refuse(
        fmt::format("the symbol '{}' is bound by no parameter", shown),
        fmt::format("{}a symbol gets its value from a parameter that has it "
                    "as an extent, alone or times a number, such as x: "
                    "f16[{}, 64]",
                    near.empty() ? std::string()
                                 : fmt::format("did you mean '{}'? ",
                                               std::string_view(near)),
                    shown));
  }
  case DimExpr::Kind::Neg:
    result = -lhs;
    break;
  case DimExpr::Kind::Add:
    result = lhs + rhs;
    break;
  case DimExpr::Kind::Sub:
    result = lhs - rhs;
    break;
  case DimExpr::Kind::Mul:
    if (!isa<AffineConstantExpr>(lhs) && !isa<AffineConstantExpr>(rhs))
      return refuse(fmt::format("the product of {} and {}", symbols.print(lhs),
                                symbols.print(rhs)),
                    "extents are linear: a symbol is multiplied by numbers "
                    "only; declare a symbol for the product");
    result = isa<AffineConstantExpr>(rhs) ? lhs * rhs : rhs * lhs;
    break;
  case DimExpr::Kind::CeilDiv: {
    auto divisor = dyn_cast<AffineConstantExpr>(rhs);
    if (!divisor || divisor.getValue() < 1)
      return refuse(fmt::format("division by {}", symbols.print(rhs)),
                    "an extent is divided by a number of at least 1; K/128 "
                    "rounds up");
    result = lhs.ceilDiv(rhs);
    break;
  }
  }
  if (!symbols.isSmall(result))
    return refuse("this extent is too large to compute with",
                  fmt::format("extents are at most {}", maxExtent));
  return symbols.simplify(result);
}

std::optional<Lowering::Dims>
Lowering::resolveDims(const std::vector<DimPtr> &dims) {
  Dims result;
  bool right = true;
  for (const DimPtr &dim : dims) {
    result.push_back(resolveDim(*dim));
    right &= bool(result.back());
  }
  if (!right)
    return std::nullopt;
  return result;
}

//===----------------------------------------------------------------------===//
// Types
//===----------------------------------------------------------------------===//

/// The block extent that gives one axis of the codes that axis of the scales.
std::optional<int64_t> Lowering::inferBlock(const DimExpr &scale,
                                            AffineExpr code, int axis) {
  auto refuse = [&](std::string message,
                    std::string note) -> std::optional<int64_t> {
    errors.add(scale.place, std::move(message), {std::move(note)});
    return std::nullopt;
  };
  // `K/128` under codes of K: the block is written, and the last one may be
  // short.
  if (scale.kind == DimExpr::Kind::CeilDiv) {
    AffineExpr whole = resolveDim(*scale.lhs);
    AffineExpr part = resolveDim(*scale.rhs);
    if (!whole || !part)
      return std::nullopt;
    auto extent = dyn_cast<AffineConstantExpr>(part);
    if (whole == code && extent && extent.getValue() >= 1)
      return extent.getValue();
  }
  AffineExpr count = resolveDim(scale);
  if (!count)
    return std::nullopt;
  if (count == code)
    return 1;
  auto blocks = dyn_cast<AffineConstantExpr>(count);
  if (blocks && blocks.getValue() == 1)
    return 0;
  std::string shown = symbols.print(code);
  auto length = dyn_cast<AffineConstantExpr>(code);
  if (blocks && length && blocks.getValue() > 0) {
    if (blocks.getValue() < length.getValue() &&
        length.getValue() % blocks.getValue() == 0)
      return length.getValue() / blocks.getValue();
    if (blocks.getValue() < length.getValue())
      return refuse(fmt::format("{} scales do not divide an axis of {} "
                                "elements evenly",
                                blocks.getValue(), length.getValue()),
                    fmt::format("write the block, whose last may be short, "
                                "such as {}/{}",
                                length.getValue(),
                                (length.getValue() + blocks.getValue() - 1) /
                                    blocks.getValue()));
  }
  return refuse(
      fmt::format("axis {} of the scales is {}, of the codes {}", axis,
                  symbols.print(count), shown),
      fmt::format("write {} for a scale per element, 1 for one over the whole "
                  "axis, or {}/128 for blocks of 128",
                  shown,
                  isa<AffineBinaryOpExpr>(code) ? "(" + shown + ")" : shown));
}

std::optional<LayerEmitter::Blocks> Lowering::inferBlocks(const TypeExpr &type,
                                                          const Dims &dims) {
  if (type.scaleDims.size() != dims.size()) {
    errors.add(type.scalePlace,
               fmt::format("scales of rank {} for codes of rank {}",
                           type.scaleDims.size(), dims.size()),
               {"the scales have an axis for each axis of the codes; 1 is one "
                "scale over the whole axis"});
    return std::nullopt;
  }
  LayerEmitter::Blocks block;
  for (size_t i = 0; i < dims.size(); ++i) {
    std::optional<int64_t> extent =
        inferBlock(*type.scaleDims[i], dims[i], static_cast<int>(i));
    if (!extent)
      return std::nullopt;
    block.push_back(*extent);
  }
  return block;
}

/// Zero points are of the codes' type and as many as there are scales.
bool Lowering::checkZeros(const TypeExpr &type, const Dims &dims, DType codes,
                          const LayerEmitter::Blocks &block) {
  std::optional<DType> zeros =
      resolveElementType(type.zerosElement, type.zerosPlace, errors);
  if (!zeros)
    return false;
  if (isFloat(codes)) {
    errors.add(type.zerosPlace,
               fmt::format("zero points for {} codes", name(codes)),
               {fmt::format("zero points are for integers, whose codes lie "
                            "evenly; leave them out: {} per token",
                            name(codes))});
    return false;
  }
  if (*zeros != codes) {
    errors.add(type.zerosPlace,
               fmt::format("zero points of type {} for codes of type {}",
                           name(*zeros), name(codes)),
               {"zero points are of the codes' type"});
    return false;
  }
  if (!type.zerosHaveShape)
    return true;
  if (type.zerosDims.size() != dims.size()) {
    errors.add(type.zerosPlace,
               fmt::format("zero points of rank {} for codes of rank {}",
                           type.zerosDims.size(), dims.size()),
               {"there is a zero point for each scale"});
    return false;
  }
  for (size_t i = 0; i < dims.size(); ++i) {
    std::optional<int64_t> extent =
        inferBlock(*type.zerosDims[i], dims[i], static_cast<int>(i));
    if (!extent)
      return false;
    auto length = dyn_cast<AffineConstantExpr>(dims[i]);
    auto whole = [&](int64_t e) {
      return e == 0 || (length && e >= length.getValue());
    };
    if (*extent != block[i] && !(whole(*extent) && whole(block[i]))) {
      errors.add(type.zerosPlace,
                 "zero points and scales of different granularity",
                 {"there is a zero point for each scale: (u8[M, K] - u8[M, 1]) "
                  "* f32[M, 1]"});
      return false;
    }
  }
  return true;
}

Type Lowering::resolveType(const TypeExpr &type, const Dims *implied) {
  std::optional<DType> element =
      resolveElementType(type.element, type.place, errors);
  if (!element)
    return {};
  Dims dims;
  if (type.hasShape) {
    auto resolved = resolveDims(type.dims);
    if (!resolved)
      return {};
    dims = std::move(*resolved);
  } else if (implied) {
    dims = *implied;
  } else {
    errors.add(type.place,
               fmt::format("the type '{}' has no shape", type.element),
               {fmt::format("write {}[M, 64]; {}[] is a single number",
                            type.element, type.element)});
    return {};
  }
  if (!type.granularity && !type.hasScale) {
    if (type.hasZeros) {
      errors.add(type.place, "zero points without scales",
                 {"write (u8[M, K] - u8[M, 1]) * f32[M, 1], or (u8 - u8) per "
                  "token"});
      return {};
    }
    if (type.hasShape)
      return emitter->tensorType(type.place, dims, *element);
    errors.add(
        type.place,
        fmt::format("'{}' names codes without a granularity", type.element),
        {fmt::format("write {} per token, per channel, per tensor, per "
                     "group(128) or per block(128, 128)",
                     type.element)});
    return {};
  }
  DType scale = DType::F32;
  Place scalePlace = type.hasScale ? type.scalePlace : type.place;
  if (type.hasScale) {
    std::optional<DType> resolved =
        resolveElementType(type.scaleElement, type.scalePlace, errors);
    if (!resolved)
      return {};
    scale = *resolved;
  }
  std::optional<LayerEmitter::Blocks> block;
  if (type.granularity) {
    if (type.scaleHasShape) {
      errors.add(type.scalePlace,
                 "a granularity in words and a shape of scales",
                 {"write one of them: i8[M, K] per token * f16, or i8[M, K] * "
                  "f16[M, 1]"});
      return {};
    }
    block =
        emitter->granularity(type.granularity->place, type.granularity->word,
                             type.granularity->extents, dims);
  } else if (!type.scaleHasShape) {
    errors.add(type.scalePlace, "scales without a shape",
               {"the shape of the scales is the granularity: i8[N, K] * "
                "f32[N, 1]; or name it: i8[N, K] per channel * f32"});
    return {};
  } else {
    block = inferBlocks(type, dims);
  }
  if (!block)
    return {};
  if (type.hasZeros && !checkZeros(type, dims, *element, *block))
    return {};
  return emitter->quantizedType(type.place, dims, *element, std::move(*block),
                                scalePlace, scale, type.hasZeros);
}
