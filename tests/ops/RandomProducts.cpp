//===- RandomProducts.cpp - Random granularities and products -------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "tests/ops/LayerGenerator.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

using namespace quern::test;

//===----------------------------------------------------------------------===//
// Quantization
//===----------------------------------------------------------------------===//

Blocks LayerGenerator::anyBlocks(const Extents &shape) {
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

/// `[M, K/32]`.
std::string LayerGenerator::scaleShape(const Extents &shape,
                                       const Blocks &blocks) {
  std::vector<std::string> texts;
  for (size_t i = 0; i < shape.size(); ++i)
    texts.push_back(blocks[i] == 0 ? "1"
                    : blocks[i] == 1
                        ? shape[i].text
                        : fmt::format("{}/{}", shape[i].text, blocks[i]));
  return fmt::format("[{}]", fmt::join(texts, ", "));
}

std::string LayerGenerator::printBlocks(const Extents &shape,
                                        const Blocks &blocks,
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
  return fmt::format("* {}{}", scaleType, scaleShape(shape, blocks));
}

/// `u8[M, 64]`, or `(u8[M, 64] - u8)` with zero points.
std::string LayerGenerator::codesText(const std::string &codes,
                                      const Extents &shape, bool zeros) {
  if (!zeros)
    return codes + print(shape);
  ++layer.granularities["zero points"];
  return fmt::format("({}{} - {})", codes, print(shape), codes);
}

std::pair<std::string, std::string>
LayerGenerator::quantize(const Value &value, const std::string &codes,
                         const Blocks &blocks) {
  std::string scaleType =
      chance(70) ? "f32" : pick<const char *>({"f16", "bf16"});
  bool integer = codes[0] != 'f', zeros = integer && chance(25);
  std::string type = codesText(codes, value.shape, zeros) + " " +
                     printBlocks(value.shape, blocks, scaleType);
  std::string settings;
  if (chance(20)) {
    // A static scale, from the caller.
    settings += fmt::format(
        ", scale = {}", parameter(scaleType + scaleShape(value.shape, blocks)));
    if (zeros)
      settings += fmt::format(
          ", zero = {}", parameter(codes + scaleShape(value.shape, blocks)));
    useSymbols(value.shape);
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

void LayerGenerator::requantize() {
  Value x = any();
  auto [text, type] =
      quantize(x, pick<const char *>({"i8", "i8", "u8", "f8e4m3", "f8e5m2"}),
               anyBlocks(x.shape));
  count("dequantize");
  assign(fmt::format("dequantize({})", text), "f32", x.shape);
}

void LayerGenerator::dequantizeParameter() {
  Extents shape = anyShape();
  useSymbols(shape);
  std::string codes =
      pick<const char *>({"i8", "u8", "i4", "u4", "f8e4m3", "f8e5m2"});
  std::string q =
      parameter(codesText(codes, shape, codes[0] != 'f' && chance(25)) + " " +
                printBlocks(shape, anyBlocks(shape),
                            pick<const char *>({"f32", "f16", "bf16"})));
  count("dequantize");
  assign(fmt::format("dequantize({})", q), "f32", shape);
}

//===----------------------------------------------------------------------===//
// Products
//===----------------------------------------------------------------------===//

void LayerGenerator::product() {
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
  std::string rhs = codes();
  if (integer && chance(30)) {
    rhs = pick<const char *>({"i4", "u4"});
    count("product of four bits");
  }
  std::string w =
      parameter(codesText(rhs, shape, integer && chance(25)) + " " +
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

void LayerGenerator::floatProduct() {
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

void LayerGenerator::batchProduct() {
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
