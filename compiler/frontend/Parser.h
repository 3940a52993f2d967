//===- Parser.h - From tokens to the tree of a layer ------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Recursive descent over the grammar of docs/language.md. A part that cannot
// be read is reported once and skipped: a statement to the start of the next
// one, a parameter to the next comma, a header to the next layer. So one run
// reports the mistakes of a whole file.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_COMPILER_FRONTEND_PARSER_H
#define QUERN_COMPILER_FRONTEND_PARSER_H

#include "compiler/frontend/Ast.h"
#include "compiler/frontend/Lexer.h"

namespace quern::frontend {

class Parser {
public:
  Parser(std::vector<Token> tokens, Errors &errors)
      : tokens(std::move(tokens)), errors(errors) {}

  std::vector<Layer> parseFile();

private:
  std::vector<Token> tokens;
  Errors &errors;
  size_t pos = 0;
  unsigned nesting = 0;

  // Tokens.
  const Token &peek(size_t ahead = 0) const {
    size_t i = pos + ahead;
    return tokens[i < tokens.size() ? i : tokens.size() - 1];
  }
  bool at(TokenKind kind) const { return peek().kind == kind; }
  const Token &take();
  bool accept(TokenKind kind);
  /// Takes a token of that kind, or reports "expected <what>".
  bool expect(TokenKind kind, llvm::StringRef what);
  bool fail(const std::string &expected, std::vector<std::string> notes = {});
  std::string noteOnAs() const;

  // Layers (Parser.cpp).
  void parseLayer(Layer &layer);
  bool parseHeader(Layer &layer);
  bool parseParameters(Layer &layer);
  bool parseParameter(Parameter &parameter);
  bool parseResults(Layer &layer);
  bool parseRules(Layer &layer);
  bool parseRule(SymbolRule &rule);
  void parseBody(Layer &layer);
  bool parseStatement(Statement &statement);
  void skipToLayer();
  void skipStatement();
  bool skipToComma();
  bool startsStatement() const;

  // Types and extents (ParseTypes.cpp).
  bool parseType(TypeExpr &type);
  bool parseGranularity(TypeExpr &type);
  bool parseDims(std::vector<DimPtr> &dims);
  DimPtr parseDim();
  DimPtr parseDimTerm();
  DimPtr parseDimFactor();
  DimPtr makeDim(DimExpr::Kind kind, Place place, DimPtr lhs, DimPtr rhs);
  bool parseInteger(int64_t &value, llvm::StringRef what);

  // Expressions (ParseExpressions.cpp).
  ExprPtr parseExpression();
  ExprPtr parseComparison();
  ExprPtr parseSum();
  ExprPtr parseProduct();
  ExprPtr parseUnary();
  ExprPtr parsePostfix();
  ExprPtr parsePrimary();
  ExprPtr parseCall();
  bool parseArgument(Argument &argument);
  bool parseSlice(Expr &slice);
  bool startsType() const;
  bool startsZeroPoints() const;
  ExprPtr make(Expr::Kind kind, Place place, llvm::StringRef text, ExprPtr lhs,
               ExprPtr rhs);
  bool enter(Place place);
};

} // namespace quern::frontend

#endif // QUERN_COMPILER_FRONTEND_PARSER_H
