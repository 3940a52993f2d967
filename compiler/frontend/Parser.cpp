//===- Parser.cpp - Files, layers and statements --------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/frontend/Parser.h"

#include <fmt/format.h>

using namespace quern;
using namespace quern::frontend;

static std::string_view view(llvm::StringRef text) { return text; }

//===----------------------------------------------------------------------===//
// Tokens
//===----------------------------------------------------------------------===//

const Token &Parser::take() {
  const Token &token = peek();
  if (pos + 1 < tokens.size())
    ++pos;
  return token;
}

bool Parser::accept(TokenKind kind) {
  if (!at(kind))
    return false;
  take();
  return true;
}

/// Whether the parser stands behind `as TYPE`, at an operator: `as` binds less
/// than any.
std::string Parser::noteOnAs() const {
  static const TokenKind operators[] = {
      TokenKind::Plus,  TokenKind::Minus,     TokenKind::Star,
      TokenKind::Slash, TokenKind::At,        TokenKind::Less,
      TokenKind::Equal, TokenKind::LessEqual, TokenKind::Greater,
      TokenKind::Dot,   TokenKind::NotEqual,  TokenKind::GreaterEqual};
  if (pos < 3 || tokens[pos - 2].kind != TokenKind::As ||
      !llvm::is_contained(operators, peek().kind))
    return {};
  auto name = [](const Token &token) {
    return token.kind == TokenKind::Name ? view(token.text)
                                         : std::string_view("...");
  };
  std::string converted = fmt::format("({} as {})", name(tokens[pos - 3]),
                                      view(tokens[pos - 1].text));
  if (at(TokenKind::Dot))
    return fmt::format("'as' comes last: write {}.T", converted);
  return fmt::format("'as' comes last: write {} {} {}", converted,
                     view(peek().text), name(peek(1)));
}

bool Parser::fail(const std::string &expected, std::vector<std::string> notes) {
  if (std::string note = noteOnAs(); !note.empty())
    notes.push_back(std::move(note));
  errors.add(peek().place,
             fmt::format("expected {}, found {}", expected, describe(peek())),
             std::move(notes));
  return false;
}

bool Parser::expect(TokenKind kind, llvm::StringRef what) {
  return accept(kind) || fail(what.str());
}

//===----------------------------------------------------------------------===//
// Recovery
//===----------------------------------------------------------------------===//

/// To the next `layer` that starts a line.
void Parser::skipToLayer() {
  while (!at(TokenKind::End) && !(at(TokenKind::Layer) && peek().firstOfLine))
    take();
}

bool Parser::startsStatement() const {
  return at(TokenKind::Return) ||
         (at(TokenKind::Name) && peek(1).kind == TokenKind::Assign);
}

/// To the next line that starts a statement, or the end of the body.
void Parser::skipStatement() {
  while (!at(TokenKind::End) && !at(TokenKind::RBrace) &&
         !at(TokenKind::Layer)) {
    if (peek().firstOfLine && startsStatement())
      return;
    take();
  }
}

/// To the comma or parenthesis that ends the current item of a list; false
/// when the list itself does not end.
bool Parser::skipToComma() {
  int depth = 0;
  for (;; take()) {
    switch (peek().kind) {
    case TokenKind::LParen:
    case TokenKind::LBracket:
      ++depth;
      break;
    case TokenKind::RBracket:
      --depth;
      break;
    case TokenKind::RParen:
      if (depth <= 0)
        return true;
      --depth;
      break;
    case TokenKind::Comma:
      if (depth <= 0)
        return true;
      break;
    case TokenKind::LBrace:
    case TokenKind::RBrace:
    case TokenKind::Layer:
    case TokenKind::Arrow:
    case TokenKind::End:
      return false;
    default:
      break;
    }
  }
}

//===----------------------------------------------------------------------===//
// Files and headers
//===----------------------------------------------------------------------===//

std::vector<Layer> Parser::parseFile() {
  std::vector<Layer> layers;
  if (at(TokenKind::End))
    errors.add(peek().place, "the file holds no layer",
               {"a layer is written: layer NAME(x: f16[M, 64]) -> f16[M, 64] "
                "{ return relu(x) }"});
  while (!at(TokenKind::End) && !errors.full()) {
    if (!at(TokenKind::Layer)) {
      fail("'layer'");
      take();
      skipToLayer();
      continue;
    }
    parseLayer(layers.emplace_back());
  }
  return layers;
}

void Parser::parseLayer(Layer &layer) {
  layer.place = take().place;
  if (!parseHeader(layer)) {
    layer.broken = true;
    // When only the header is wrong, the body is still read for errors of
    // form.
    while (!at(TokenKind::End) && !at(TokenKind::LBrace) &&
           !(at(TokenKind::Layer) && peek().firstOfLine))
      take();
    if (!at(TokenKind::LBrace))
      return skipToLayer();
  }
  parseBody(layer);
}

bool Parser::parseHeader(Layer &layer) {
  layer.place = peek().place;
  if (!at(TokenKind::Name))
    return fail("the layer's name");
  layer.name = take().text.str();
  if (!parseParameters(layer))
    return false;
  if (!expect(TokenKind::Arrow, "'->' and the types of the results") ||
      !parseResults(layer))
    return false;
  if (at(TokenKind::With) && !parseRules(layer))
    return false;
  if (!at(TokenKind::LBrace))
    return fail("'{' and the layer's statements");
  return !layer.broken;
}

bool Parser::parseParameters(Layer &layer) {
  if (!expect(TokenKind::LParen, "'(' and the layer's parameters"))
    return false;
  if (at(TokenKind::RParen)) {
    errors.add(peek().place,
               fmt::format("layer '{}' has no parameters", layer.name),
               {"a layer needs at least one input: x: f16[M, 64]"});
    layer.broken = true;
  }
  while (!accept(TokenKind::RParen)) {
    if (!parseParameter(layer.parameters.emplace_back())) {
      layer.broken = true;
      if (!skipToComma())
        return false;
    }
    if (!accept(TokenKind::Comma) && !at(TokenKind::RParen)) {
      fail("',' or ')' after a parameter");
      layer.broken = true;
      if (!skipToComma())
        return false;
      accept(TokenKind::Comma);
    }
  }
  return true;
}

bool Parser::parseParameter(Parameter &parameter) {
  parameter.isWeight = accept(TokenKind::Weight);
  // A word only where another follows: it names parameters elsewhere.
  parameter.isInout =
      at(TokenKind::Name) && peek().text == "inout" &&
      (peek(1).kind == TokenKind::Name || peek(1).kind == TokenKind::Weight);
  if (parameter.isInout) {
    Place place = take().place;
    if (accept(TokenKind::Weight) || parameter.isWeight) {
      errors.add(place, "a weight that is inout",
                 {"weights are the same in all calls, and packed once; state "
                  "is an inout parameter: inout amax: f32[1, 1]"});
      return false;
    }
  }
  parameter.place = peek().place;
  if (!at(TokenKind::Name))
    return fail("a parameter such as x: f16[M, 64]");
  parameter.name = take().text.str();
  return expect(TokenKind::Colon, "':' and the parameter's type") &&
         parseType(parameter.type);
}

/// True at `(u8[...] -`: what stands before the minus is one element type, with
/// a shape or without.
bool Parser::startsZeroPoints() const {
  if (!at(TokenKind::LParen) || peek(1).kind != TokenKind::Name)
    return false;
  unsigned next = 2;
  if (peek(next).kind == TokenKind::LBracket) {
    while (peek(next).kind != TokenKind::RBracket &&
           peek(next).kind != TokenKind::End)
      ++next;
    ++next;
  }
  return peek(next).kind == TokenKind::Minus;
}

bool Parser::parseResults(Layer &layer) {
  // `(` opens a list of results, or a type with zero points.
  if (startsZeroPoints() || !accept(TokenKind::LParen)) {
    ResultDecl &result = layer.results.emplace_back();
    result.place = peek().place;
    return parseType(result.type);
  }
  if (at(TokenKind::RParen))
    return fail("at least one result type");
  while (!accept(TokenKind::RParen)) {
    ResultDecl &result = layer.results.emplace_back();
    result.place = peek().place;
    if (at(TokenKind::Name) && peek(1).kind == TokenKind::Colon) {
      result.name = take().text.str();
      take();
    }
    if (!parseType(result.type)) {
      layer.broken = true;
      if (!skipToComma())
        return false;
    }
    if (!accept(TokenKind::Comma) && !at(TokenKind::RParen))
      return fail("',' or ')' after a result type");
  }
  return true;
}

bool Parser::parseRules(Layer &layer) {
  take(); // with
  do {
    if (!parseRule(layer.rules.emplace_back()))
      return false;
  } while (accept(TokenKind::Comma));
  return true;
}

bool Parser::parseRule(SymbolRule &rule) {
  static const std::vector<std::string> accepted = {
      "rules are written: with M in 1..4096, K % 64 == 0"};
  rule.place = peek().place;
  if (!at(TokenKind::Name))
    return fail("a symbol's name", accepted);
  rule.symbol = take().text.str();
  if (accept(TokenKind::In)) {
    rule.isRange = true;
    rule.valuePlace = peek().place;
    return parseInteger(rule.min, "the smallest value") &&
           expect(TokenKind::DotDot, "'..' and the largest value") &&
           parseInteger(rule.max, "the largest value");
  }
  if (accept(TokenKind::Percent)) {
    rule.valuePlace = peek().place;
    if (!parseInteger(rule.multiple, "the divisor") ||
        !expect(TokenKind::Equal, "'== 0'"))
      return false;
    Place place = peek().place;
    int64_t zero = 0;
    if (!parseInteger(zero, "0"))
      return false;
    if (zero != 0) {
      errors.add(place,
                 fmt::format("{} % {} == {} is not supported", rule.symbol,
                             rule.multiple, zero),
                 {"divisibility is written K % 64 == 0"});
      return false;
    }
    return true;
  }
  return fail("'in' or '%' after the symbol", accepted);
}

//===----------------------------------------------------------------------===//
// Bodies
//===----------------------------------------------------------------------===//

void Parser::parseBody(Layer &layer) {
  take(); // {
  while (!at(TokenKind::RBrace)) {
    if (at(TokenKind::End) || (at(TokenKind::Layer) && peek().firstOfLine)) {
      fail(fmt::format("'}}' at the end of layer '{}'", layer.name));
      layer.broken = true;
      return;
    }
    if (errors.full())
      return;
    Statement statement;
    nesting = 0;
    if (parseStatement(statement)) {
      layer.statements.push_back(std::move(statement));
      continue;
    }
    // The name is declared all the same, so that its uses are no errors; its
    // value is unknown.
    statement.values.clear();
    if (!statement.name.empty() || statement.place.line)
      layer.statements.push_back(std::move(statement));
    size_t start = pos;
    skipStatement();
    if (pos == start && at(TokenKind::Layer) && !peek().firstOfLine)
      take();
  }
  layer.end = peek().place;
  take();
}

bool Parser::parseStatement(Statement &statement) {
  if (at(TokenKind::Return)) {
    statement.place = take().place;
    do {
      ExprPtr value = parseExpression();
      if (!value)
        return false;
      statement.values.push_back(std::move(value));
    } while (accept(TokenKind::Comma));
  } else if (at(TokenKind::Name) && peek(1).kind == TokenKind::Assign) {
    statement.place = peek().place;
    statement.name = take().text.str();
    take();
    ExprPtr value = parseExpression();
    if (!value)
      return false;
    statement.values.push_back(std::move(value));
  } else if (at(TokenKind::Name)) {
    size_t name = pos;
    take();
    fail(fmt::format("'=' after '{}'", view(tokens[name].text)),
         {"a statement is NAME = EXPRESSION or return EXPRESSION"});
    return false;
  } else {
    bool progress = !at(TokenKind::Layer);
    fail("a statement",
         {"a statement is NAME = EXPRESSION or return EXPRESSION"});
    if (progress)
      take();
    return false;
  }
  // Nothing but a statement can follow: an expression that stops elsewhere
  // lacks an operator.
  if (at(TokenKind::RBrace) || at(TokenKind::End) || startsStatement() ||
      at(TokenKind::Layer))
    return true;
  if (peek().firstOfLine)
    return true; // an error of the next statement
  return fail("an operator or the end of the statement");
}
