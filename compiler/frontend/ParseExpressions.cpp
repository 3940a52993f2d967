//===- ParseExpressions.cpp - Expressions ---------------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// From loosest to tightest: `as`; comparisons (which do not chain); `+ -`;
// `* / @` (one level, from the left, as in Python); unary `-`; `.T`, slices
// and calls.
//
//===----------------------------------------------------------------------===//

#include "compiler/frontend/ElementTypes.h"
#include "compiler/frontend/Parser.h"

#include <fmt/format.h>

#include <cmath>

using namespace quern;
using namespace quern::frontend;

/// One more level of recursion; the caller counts it down again.
bool Parser::enter(Place place) {
  if (nesting < maxDepth) {
    ++nesting;
    return true;
  }
  errors.add(place, fmt::format("nested deeper than {} levels", maxDepth),
             {"give parts of the expression names of their own"});
  return false;
}

ExprPtr Parser::make(Expr::Kind kind, Place place, llvm::StringRef text,
                     ExprPtr lhs, ExprPtr rhs) {
  auto expr = std::make_unique<Expr>();
  expr->kind = kind;
  expr->place = place;
  expr->text = text.str();
  expr->depth = 1 + std::max(lhs ? lhs->depth : 0, rhs ? rhs->depth : 0);
  expr->lhs = std::move(lhs);
  expr->rhs = std::move(rhs);
  // Chains such as a + a + a + ... are loops here and trees for everyone else.
  if (expr->depth > maxDepth) {
    errors.add(place,
               fmt::format("this expression is nested deeper than {} levels",
                           maxDepth),
               {"each operator of a chain such as a + b + c is a level; give "
                "parts of the expression names of their own"});
    return nullptr;
  }
  return expr;
}

ExprPtr Parser::parseExpression() {
  if (!enter(peek().place))
    return nullptr;
  ExprPtr expr = parseComparison();
  while (expr && at(TokenKind::As)) {
    Place place = take().place;
    Place typePlace = peek().place;
    if (!at(TokenKind::Name)) {
      fail("an element type after 'as'", {"such as f16, bf16 or f32"});
      expr = nullptr;
      break;
    }
    expr = make(Expr::Kind::As, place, take().text, std::move(expr), nullptr);
    if (!expr)
      break;
    expr->typePlace = typePlace;
    if (at(TokenKind::LBracket)) {
      errors.add(peek().place, "a shape after 'as'",
                 {"'as' takes an element type alone; use reshape for shapes"});
      expr = nullptr;
    } else if (at(TokenKind::Per)) {
      errors.add(peek().place, "a granularity after 'as'",
                 {"write quantize(x, i8 per token)"});
      expr = nullptr;
    }
  }
  --nesting;
  return expr;
}

static bool isComparison(TokenKind kind) {
  switch (kind) {
  case TokenKind::Less:
  case TokenKind::LessEqual:
  case TokenKind::Greater:
  case TokenKind::GreaterEqual:
  case TokenKind::Equal:
  case TokenKind::NotEqual:
    return true;
  default:
    return false;
  }
}

ExprPtr Parser::parseComparison() {
  ExprPtr lhs = parseSum();
  if (!lhs || !isComparison(peek().kind))
    return lhs;
  const Token &op = take();
  ExprPtr rhs = parseSum();
  if (!rhs)
    return nullptr;
  lhs = make(Expr::Kind::Binary, op.place, op.text, std::move(lhs),
             std::move(rhs));
  if (lhs && isComparison(peek().kind)) {
    errors.add(peek().place, "comparisons do not chain",
               {"use parentheses, or where(a < b, ...)"});
    return nullptr;
  }
  return lhs;
}

ExprPtr Parser::parseSum() {
  ExprPtr lhs = parseProduct();
  while (lhs && (at(TokenKind::Plus) || at(TokenKind::Minus))) {
    const Token &op = take();
    ExprPtr rhs = parseProduct();
    if (!rhs)
      return nullptr;
    lhs = make(Expr::Kind::Binary, op.place, op.text, std::move(lhs),
               std::move(rhs));
  }
  return lhs;
}

ExprPtr Parser::parseProduct() {
  ExprPtr lhs = parseUnary();
  while (lhs &&
         (at(TokenKind::Star) || at(TokenKind::Slash) || at(TokenKind::At))) {
    const Token &op = take();
    ExprPtr rhs = parseUnary();
    if (!rhs)
      return nullptr;
    lhs = make(Expr::Kind::Binary, op.place, op.text, std::move(lhs),
               std::move(rhs));
  }
  return lhs;
}

ExprPtr Parser::parseUnary() {
  if (!at(TokenKind::Minus))
    return parsePostfix();
  Place place = take().place;
  if (!enter(place))
    return nullptr;
  ExprPtr operand = parseUnary();
  --nesting;
  return operand
             ? make(Expr::Kind::Negate, place, "-", std::move(operand), nullptr)
             : nullptr;
}

ExprPtr Parser::parsePostfix() {
  ExprPtr expr = parsePrimary();
  while (expr && (at(TokenKind::Dot) || at(TokenKind::LBracket))) {
    Place place = peek().place;
    if (accept(TokenKind::Dot)) {
      if (!at(TokenKind::Name) || peek().text != "T") {
        fail("'T' after '.'", {"x.T exchanges the last two axes"});
        return nullptr;
      }
      take();
      expr = make(Expr::Kind::Transpose, place, ".T", std::move(expr), nullptr);
    } else {
      expr = make(Expr::Kind::Slice, place, "[]", std::move(expr), nullptr);
      if (expr && !parseSlice(*expr))
        return nullptr;
    }
  }
  return expr;
}

bool Parser::parseSlice(Expr &slice) {
  take(); // [
  do {
    SliceItem &item = slice.items.emplace_back();
    item.place = peek().place;
    auto endsPart = [&] {
      return at(TokenKind::Colon) || at(TokenKind::Comma) ||
             at(TokenKind::RBracket);
    };
    if (!endsPart() && !(item.start = parseDim()))
      return false;
    if (!accept(TokenKind::Colon)) {
      if (!item.start)
        return fail("a range such as 0:64");
      continue;
    }
    item.isRange = true;
    if (!endsPart() && !(item.stop = parseDim()))
      return false;
    if (accept(TokenKind::Colon) && !endsPart() && !(item.step = parseDim()))
      return false;
  } while (accept(TokenKind::Comma));
  return expect(TokenKind::RBracket, "':', ',' or ']' in a slice");
}

ExprPtr Parser::parsePrimary() {
  const Token &token = peek();
  switch (token.kind) {
  case TokenKind::Integer:
  case TokenKind::Float: {
    take();
    ExprPtr expr =
        make(Expr::Kind::Number, token.place, token.text, nullptr, nullptr);
    // A value beyond f64's range reads as an infinity, which is written inf.
    if (token.text.getAsDouble(expr->number, /*AllowInexact=*/true) ||
        !std::isfinite(expr->number)) {
      errors.add(token.place,
                 fmt::format("{} is beyond the range of f64", describe(token)),
                 {"infinity is written inf"});
      return nullptr;
    }
    return expr;
  }
  case TokenKind::Name:
    if (peek(1).kind == TokenKind::LParen)
      return parseCall();
    take();
    return make(Expr::Kind::Name, token.place, token.text, nullptr, nullptr);
  case TokenKind::LParen: {
    take();
    ExprPtr inner = parseExpression();
    return inner && expect(TokenKind::RParen, "')'") ? std::move(inner)
                                                     : nullptr;
  }
  case TokenKind::Plus:
    fail("an expression", {"there is no unary '+'"});
    return nullptr;
  case TokenKind::Per:
    fail("an expression",
         {"a granularity follows its element type: i8 per token"});
    return nullptr;
  default:
    fail("an expression");
    return nullptr;
  }
}

/// True where an argument is a type and not an expression: `i8 per token`,
/// `f16[...]`, `(u8 - u8) per token`, and any name followed by `per`.
bool Parser::startsType() const {
  if (at(TokenKind::LParen))
    return peek(1).kind == TokenKind::Name && isElementTypeName(peek(1).text);
  return at(TokenKind::Name) &&
         (peek(1).kind == TokenKind::Per || isElementTypeName(peek().text));
}

ExprPtr Parser::parseCall() {
  const Token &function = take();
  ExprPtr call =
      make(Expr::Kind::Call, function.place, function.text, nullptr, nullptr);
  take(); // (
  if (accept(TokenKind::RParen))
    return call;
  unsigned depth = 0;
  do {
    Argument &argument = call->arguments.emplace_back();
    if (!parseArgument(argument))
      return nullptr;
    if (argument.value)
      depth = std::max(depth, argument.value->depth);
  } while (accept(TokenKind::Comma));
  call->depth = depth + 1;
  return expect(TokenKind::RParen, "',' or ')' after an argument")
             ? std::move(call)
             : nullptr;
}

bool Parser::parseArgument(Argument &argument) {
  argument.place = peek().place;
  if (at(TokenKind::Name) && peek(1).kind == TokenKind::Assign) {
    argument.name = take().text.str();
    take();
  }
  if (at(TokenKind::LBracket))
    return parseDims(argument.list.emplace());
  if (startsType())
    return parseType(argument.type.emplace());
  argument.value = parseExpression();
  return argument.value != nullptr;
}
