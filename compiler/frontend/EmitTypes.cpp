//===- EmitTypes.cpp - Shapes, element types and granularities ------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/frontend/ElementTypes.h"
#include "compiler/frontend/LayerEmitter.h"

#include <fmt/format.h>

using namespace mlir;
using namespace quern;
using namespace quern::frontend;

bool LayerEmitter::checkRank(Place place, size_t rank) {
  if (rank <= maxRank)
    return true;
  error(place, fmt::format("a tensor of rank {}", rank),
        {fmt::format("tensors have at most {} dimensions", maxRank)});
  return false;
}

Type LayerEmitter::tensorType(Place place, Dims dims, DType element) {
  if (isPacked(element)) {
    error(place, fmt::format("a plain tensor of {}", name(element)),
          {fmt::format("{0} are codes and come with their scales: {0}[N, K] * "
                       "f16[N, K/32]",
                       name(element))});
    return {};
  }
  return shapedType(place, dims, element);
}

RankedTensorType LayerEmitter::shapedType(Place place, Dims dims,
                                          DType element) {
  if (!checkRank(place, dims.size()))
    return {};
  for (AffineExpr dim : dims) {
    if (!symbols.isSmall(dim)) {
      error(place, "an extent that is too large to compute with",
            {fmt::format("extents are at most {}", maxExtent)});
      return {};
    }
    AffineExpr expr = symbols.simplify(dim);
    auto constant = dyn_cast<AffineConstantExpr>(expr);
    if (constant &&
        (constant.getValue() < 1 || constant.getValue() > maxExtent)) {
      error(place, fmt::format("an extent of {}", constant.getValue()),
            {fmt::format("extents are 1 to {}", maxExtent)});
      return {};
    }
    if (!constant && !symbols.isNeverNegative(expr)) {
      error(place,
            fmt::format("the extent {} can be negative", symbols.print(expr)),
            {fmt::format("with {}; narrow the range: with M in 1..4096",
                         symbols.printRanges(expr))});
      return {};
    }
  }
  return type(dims, quern::getElementType(context, element));
}

Type LayerEmitter::quantizedType(Place place, Dims dims, DType codes,
                                 Blocks block, Place scalePlace, DType scale,
                                 bool zeros) {
  if (codes != DType::I8 && codes != DType::U8 && !isPacked(codes) &&
      codes != DType::F8E4M3 && codes != DType::F8E5M2) {
    error(place, fmt::format("codes of type {}", name(codes)),
          {"codes are i8, u8, i4, u4, f8e4m3 or f8e5m2"});
    return {};
  }
  if (scale != DType::F32 && scale != DType::F16 && scale != DType::BF16) {
    error(scalePlace, fmt::format("scales of type {}", name(scale)),
          {"scales are f32, f16 or bf16"});
    return {};
  }
  if (zeros && isFloat(codes)) {
    error(place, fmt::format("zero points for {} codes", name(codes)),
          {"zero points are for integer codes"});
    return {};
  }
  RankedTensorType tensor = shapedType(place, dims, codes);
  if (!tensor)
    return {};
  // One granularity has one spelling: along an axis of known length a block
  // that covers it is the whole axis, and along an axis of 1 it is 1.
  for (auto [extent, dim] : llvm::zip_equal(block, ir::getDims(tensor)))
    if (auto length = dyn_cast<AffineConstantExpr>(dim);
        length && (extent == 0 || extent >= length.getValue()))
      extent = length.getValue() == 1 ? 1 : 0;
  return ir::QTensorType::get(
      context, tensor,
      ir::ScaleAttr::get(context, block, quern::getElementType(context, scale)),
      zeros ? tensor.getElementType() : Type());
}

std::optional<LayerEmitter::Blocks>
LayerEmitter::granularity(Place place, llvm::StringRef word,
                          llvm::ArrayRef<int64_t> extents, Dims dims) {
  static const llvm::StringRef words[] = {"tensor",  "token", "tokens",
                                          "channel", "group", "block"};
  std::string shown = word.take_front(60).str();
  size_t rank = dims.size();
  auto refuse = [&](std::string message,
                    std::string note) -> std::optional<Blocks> {
    error(place, std::move(message), {std::move(note)});
    return std::nullopt;
  };
  if (!llvm::is_contained(words, word)) {
    llvm::StringRef near = nearestName(word, words);
    return refuse(
        fmt::format("unknown granularity '{}'", shown),
        fmt::format("{}granularities are: per tensor, per token, per channel, "
                    "per tokens(4), per group(128), per block(128, 128)",
                    near.empty() ? ""
                                 : fmt::format("did you mean 'per {}'? ",
                                               std::string_view(near))));
  }
  size_t wanted = word == "group" || word == "tokens" ? 1 : 0;
  if (word == "block") {
    if (extents.empty() || extents.size() > rank)
      return refuse(fmt::format("per block with {} extents for a tensor of "
                                "rank {}",
                                extents.size(), rank),
                    "a block has an extent for each of the last dimensions: "
                    "per block(128, 128)");
  } else if (extents.size() != wanted) {
    return refuse(fmt::format("per {} with {} extents", shown, extents.size()),
                  wanted ? fmt::format("write per {}({})", shown,
                                       word == "group" ? 128 : 4)
                         : fmt::format("write per {}", shown));
  }
  for (int64_t extent : extents)
    if (extent < 1 || extent > maxExtent)
      return refuse(fmt::format("a block extent of {}", extent),
                    fmt::format("block extents are 1 to {}", maxExtent));
  if (word == "tensor")
    return Blocks(rank, 0);
  if (rank < 1)
    return refuse(fmt::format("per {} for a tensor of rank 0", shown),
                  "write per tensor");
  if (word == "tokens" && rank < 2)
    return refuse(fmt::format("per tokens for a tensor of rank {}", rank),
                  "tokens are the last axis but one; write per tensor");
  Blocks block(rank, 1);
  if (word == "token" || word == "channel")
    block.back() = 0;
  else if (word == "tokens")
    block.back() = 0, block[rank - 2] = extents.front();
  else
    llvm::copy(extents, block.end() - extents.size());
  return block;
}
