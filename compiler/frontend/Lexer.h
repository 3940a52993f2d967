//===- Lexer.h - A layer's text as tokens -----------------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// White space and line ends separate tokens and mean nothing else; a comment
// runs from `#` to the end of its line. Tokens remember whether they are the
// first of their line, which error recovery uses. Bytes that start no token
// are reported and skipped.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_COMPILER_FRONTEND_LEXER_H
#define QUERN_COMPILER_FRONTEND_LEXER_H

#include "compiler/frontend/Source.h"

#include "llvm/ADT/StringRef.h"

#include <vector>

namespace quern::frontend {

enum class TokenKind {
  End,
  Unknown, ///< reported by the lexer; no grammar takes it
  Name,    ///< letters, digits and `_`, not starting with a digit
  Integer, ///< digits
  Float,   ///< digits with a point, an exponent or both
  // Keywords.
  Layer,
  Weight,
  With,
  In,
  Return,
  As,
  Per,
  // Punctuation.
  LParen,
  RParen,
  LBracket,
  RBracket,
  LBrace,
  RBrace,
  Comma,
  Colon,
  Assign,
  Equal,
  NotEqual,
  Less,
  LessEqual,
  Greater,
  GreaterEqual,
  Plus,
  Minus,
  Arrow,
  Star,
  Slash,
  Percent,
  At,
  Dot,
  DotDot,
};

struct Token {
  TokenKind kind = TokenKind::End;
  llvm::StringRef text; ///< as written; empty at the end
  Place place;
  bool firstOfLine = false;
};

/// All tokens of a text; the last is `End`. `text` must outlive them.
std::vector<Token> tokenize(llvm::StringRef text, Errors &errors);

/// How a token is named in a message: `'xq'`, `the end of the file`.
std::string describe(const Token &token);

} // namespace quern::frontend

#endif // QUERN_COMPILER_FRONTEND_LEXER_H
