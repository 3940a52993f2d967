//===- ParseTypes.cpp - Types and extents ---------------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Forms of the dequantization algebra that this version does not compile
// (offsets, flat and gather maps, several levels of scales) are known
// here, so that they are refused by name and not as mistakes of form.
//
//===----------------------------------------------------------------------===//

#include "compiler/frontend/Parser.h"

#include <fmt/format.h>

using namespace quern;
using namespace quern::frontend;

static const char *const supportedTypes =
    "supported are codes * scales, such as i8[N, K] * f32[N, 1] or "
    "f8e4m3[N, K] * f32[N/128, K/128], i8[M, K] per token, and zero points of "
    "the codes' type: (u8[M, K] - u8[M, 1]) * f32[M, 1]";

bool Parser::parseInteger(int64_t &value, llvm::StringRef what) {
  if (!at(TokenKind::Integer))
    return fail(what.str());
  const Token &token = take();
  if (token.text.getAsInteger(10, value)) {
    value = 0;
    errors.add(token.place, fmt::format("{} is too large", describe(token)),
               {"integers are at most 9223372036854775807"});
    return false;
  }
  return true;
}

//===----------------------------------------------------------------------===//
// Extents
//===----------------------------------------------------------------------===//

DimPtr Parser::makeDim(DimExpr::Kind kind, Place place, DimPtr lhs,
                       DimPtr rhs) {
  auto dim = std::make_unique<DimExpr>();
  dim->kind = kind;
  dim->place = place;
  dim->depth = 1 + std::max(lhs ? lhs->depth : 0, rhs ? rhs->depth : 0);
  dim->lhs = std::move(lhs);
  dim->rhs = std::move(rhs);
  if (dim->depth > maxDepth) {
    errors.add(place, fmt::format("this extent nests deeper than {} levels",
                                  maxDepth));
    return nullptr;
  }
  return dim;
}

DimPtr Parser::parseDim() {
  DimPtr lhs = parseDimTerm();
  while (lhs && (at(TokenKind::Plus) || at(TokenKind::Minus))) {
    auto kind = at(TokenKind::Plus) ? DimExpr::Kind::Add : DimExpr::Kind::Sub;
    Place place = take().place;
    DimPtr rhs = parseDimTerm();
    if (!rhs)
      return nullptr;
    lhs = makeDim(kind, place, std::move(lhs), std::move(rhs));
  }
  return lhs;
}

DimPtr Parser::parseDimTerm() {
  DimPtr lhs = parseDimFactor();
  while (lhs && (at(TokenKind::Star) || at(TokenKind::Slash))) {
    auto kind =
        at(TokenKind::Star) ? DimExpr::Kind::Mul : DimExpr::Kind::CeilDiv;
    Place place = take().place;
    DimPtr rhs = parseDimFactor();
    if (!rhs)
      return nullptr;
    lhs = makeDim(kind, place, std::move(lhs), std::move(rhs));
  }
  return lhs;
}

DimPtr Parser::parseDimFactor() {
  Place place = peek().place;
  if (at(TokenKind::Integer)) {
    DimPtr dim = makeDim(DimExpr::Kind::Number, place, nullptr, nullptr);
    return parseInteger(dim->number, "an integer") ? std::move(dim) : nullptr;
  }
  if (at(TokenKind::Name)) {
    DimPtr dim = makeDim(DimExpr::Kind::Symbol, place, nullptr, nullptr);
    dim->symbol = take().text.str();
    return dim;
  }
  if (at(TokenKind::Minus) || at(TokenKind::LParen)) {
    if (!enter(place))
      return nullptr;
    bool negative = take().kind == TokenKind::Minus;
    DimPtr inner = negative ? parseDimFactor() : parseDim();
    --nesting;
    if (!inner || (!negative && !expect(TokenKind::RParen, "')'")))
      return nullptr;
    return negative
               ? makeDim(DimExpr::Kind::Neg, place, std::move(inner), nullptr)
               : std::move(inner);
  }
  fail("an extent: a number, a symbol, or an expression of them such as "
       "2*K or K/128");
  return nullptr;
}

bool Parser::parseDims(std::vector<DimPtr> &dims) {
  if (!expect(TokenKind::LBracket, "'[' and a shape"))
    return false;
  if (accept(TokenKind::RBracket))
    return true;
  do {
    DimPtr dim = parseDim();
    if (!dim)
      return false;
    dims.push_back(std::move(dim));
  } while (accept(TokenKind::Comma));
  return expect(TokenKind::RBracket, "',' or ']' in a shape");
}

//===----------------------------------------------------------------------===//
// Types
//===----------------------------------------------------------------------===//

bool Parser::parseGranularity(TypeExpr &type) {
  take(); // per
  GranularityExpr &granularity = type.granularity.emplace();
  granularity.place = peek().place;
  static const std::vector<std::string> accepted = {
      "granularities are: per tensor, per token, per tokens(4), per channel, "
      "per group(128), "
      "per block(128, 128)"};
  if (!at(TokenKind::Name))
    return fail("a granularity", accepted);
  granularity.word = take().text.str();
  bool right = true;
  if (accept(TokenKind::LParen)) {
    do {
      Place place = peek().place;
      int64_t extent = 0;
      if (!parseInteger(extent, "a block extent"))
        return false;
      if (extent < 1) {
        errors.add(place, "a block extent of 0",
                   {"block extents are at least 1; write per token or per "
                    "tensor for whole axes"});
        right = false;
      }
      granularity.extents.push_back(extent);
    } while (accept(TokenKind::Comma));
    if (!expect(TokenKind::RParen, "',' or ')' after a block extent"))
      return false;
  }
  return right;
}

bool Parser::parseType(TypeExpr &type) {
  type.place = peek().place;
  Place here = type.place;
  auto unsupported = [&](const char *what) {
    errors.add(here, fmt::format("{} are not supported yet", what),
               {supportedTypes});
    return false;
  };
  bool parenthesised = accept(TokenKind::LParen);
  type.place = peek().place;
  if (!at(TokenKind::Name))
    return fail("a type such as f16[M, 64]");
  type.element = take().text.str();
  if (at(TokenKind::LParen) && type.element == "flat")
    return unsupported("scale blocks over the flattened tensor (flat)");
  if (at(TokenKind::LParen) && type.element == "gather")
    return unsupported("gathered scales");
  if (at(TokenKind::LBracket)) {
    type.hasShape = true;
    if (!parseDims(type.dims))
      return false;
  }
  if (parenthesised) {
    if (!at(TokenKind::Minus)) {
      // The rest of it is no mistake of its own.
      for (unsigned open = 1; open && !at(TokenKind::End);)
        if (TokenKind kind = take().kind; kind == TokenKind::LParen)
          ++open;
        else if (kind == TokenKind::RParen)
          --open;
      return unsupported("parenthesised scale formulas");
    }
    take();
    type.hasZeros = true;
    type.zerosPlace = peek().place;
    if (!at(TokenKind::Name))
      return fail("the zero points' type, such as u8[N, 1]");
    type.zerosElement = take().text.str();
    if (at(TokenKind::LBracket)) {
      type.zerosHaveShape = true;
      if (!parseDims(type.zerosDims))
        return false;
    }
    if (!expect(TokenKind::RParen, "')' after the zero points"))
      return false;
  }
  if (at(TokenKind::Per)) {
    if (!parseGranularity(type))
      return false;
  }
  if (accept(TokenKind::Star)) {
    type.hasScale = true;
    here = type.scalePlace = peek().place;
    if (at(TokenKind::LParen))
      return unsupported("parenthesised scale formulas");
    if (!at(TokenKind::Name))
      return fail("the scales' type, such as f32[N, 1]");
    type.scaleElement = take().text.str();
    if (at(TokenKind::LParen) && type.scaleElement == "flat")
      return unsupported("scale blocks over the flattened tensor (flat)");
    if (at(TokenKind::LParen) && type.scaleElement == "gather")
      return unsupported("gathered scales");
    if (at(TokenKind::LBracket)) {
      type.scaleHasShape = true;
      if (!parseDims(type.scaleDims))
        return false;
    }
    if (at(TokenKind::Star)) {
      here = peek().place;
      return unsupported("scales of scales (two levels)");
    }
  }
  if (at(TokenKind::Minus)) {
    here = peek().place;
    return unsupported("offsets after the scale");
  }
  return true;
}
