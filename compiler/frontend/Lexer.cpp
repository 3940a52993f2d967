//===- Lexer.cpp - A layer's text as tokens -------------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/frontend/Lexer.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSwitch.h"

#include <fmt/format.h>

using namespace quern;
using namespace quern::frontend;

std::string quern::frontend::describe(const Token &token) {
  if (token.kind == TokenKind::End)
    return "the end of the file";
  // A token can be as long as the file; a message cannot.
  if (token.text.size() > 60)
    return fmt::format("'{}...'", std::string_view(token.text.take_front(60)));
  return fmt::format("'{}'", std::string_view(token.text));
}

namespace {

class Lexer {
public:
  Lexer(llvm::StringRef text, Errors &errors) : text(text), errors(errors) {}

  std::vector<Token> run() {
    while (skipBlanks())
      lexToken();
    Token end;
    end.place = place();
    end.firstOfLine = true;
    tokens.push_back(end);
    return std::move(tokens);
  }

private:
  llvm::StringRef text;
  Errors &errors;
  std::vector<Token> tokens;
  size_t pos = 0;
  size_t lineStart = 0;
  unsigned line = 1;
  bool firstOfLine = true;

  char peek(size_t ahead = 0) const {
    return pos + ahead < text.size() ? text[pos + ahead] : '\0';
  }
  Place place() const {
    return {line, static_cast<unsigned>(pos - lineStart + 1)};
  }

  /// Moves to the next token; false at the end of the text.
  bool skipBlanks() {
    while (pos < text.size()) {
      char c = text[pos];
      if (c == '\n') {
        ++pos;
        ++line;
        lineStart = pos;
        firstOfLine = true;
      } else if (c == ' ' || c == '\t' || c == '\r') {
        ++pos;
      } else if (c == '#') {
        while (pos < text.size() && text[pos] != '\n')
          ++pos;
      } else {
        return true;
      }
    }
    return false;
  }

  void push(TokenKind kind, size_t length) {
    Token token;
    token.kind = kind;
    token.text = text.substr(pos, length);
    token.place = place();
    token.firstOfLine = firstOfLine;
    firstOfLine = false;
    pos += length;
    tokens.push_back(token);
  }

  static bool isNameStart(char c) { return llvm::isAlpha(c) || c == '_'; }
  static bool isNamePart(char c) { return llvm::isAlnum(c) || c == '_'; }

  void lexToken() {
    char c = peek();
    if (isNameStart(c))
      return lexName();
    if (llvm::isDigit(c))
      return lexNumber();
    lexPunctuation();
  }

  void lexName() {
    size_t length = 1;
    while (isNamePart(peek(length)))
      ++length;
    if (length > maxNameLength)
      errors.add(place(), fmt::format("a name of {} characters", length),
                 {fmt::format("names have at most {}", maxNameLength)});
    push(llvm::StringSwitch<TokenKind>(text.substr(pos, length))
             .Case("layer", TokenKind::Layer)
             .Case("weight", TokenKind::Weight)
             .Case("with", TokenKind::With)
             .Case("in", TokenKind::In)
             .Case("return", TokenKind::Return)
             .Case("as", TokenKind::As)
             .Case("per", TokenKind::Per)
             .Default(TokenKind::Name),
         length);
  }

  void lexNumber() {
    size_t length = 1;
    bool isFloat = false;
    while (llvm::isDigit(peek(length)))
      ++length;
    // `1..4096` is a range, not the number `1.`.
    if (peek(length) == '.' && peek(length + 1) != '.' &&
        !isNameStart(peek(length + 1))) {
      isFloat = true;
      ++length;
      while (llvm::isDigit(peek(length)))
        ++length;
    }
    if (peek(length) == 'e' || peek(length) == 'E') {
      size_t digits = length + 1;
      if (peek(digits) == '+' || peek(digits) == '-')
        ++digits;
      if (llvm::isDigit(peek(digits))) {
        isFloat = true;
        length = digits;
        while (llvm::isDigit(peek(length)))
          ++length;
      }
    }
    if (isNamePart(peek(length))) {
      size_t end = length;
      while (isNamePart(peek(end)))
        ++end;
      errors.add(
          place(),
          fmt::format(
              "'{}' is neither a number nor a name",
              std::string_view(text.substr(pos, std::min<size_t>(end, 60)))),
          {"numbers are written 12, 0.5 or 1e-5; names start with a letter"});
      length = end;
    }
    push(isFloat ? TokenKind::Float : TokenKind::Integer, length);
  }

  void lexPunctuation() {
    auto next = [&](char c) { return peek(1) == c; };
    switch (peek()) {
    case '(':
      return push(TokenKind::LParen, 1);
    case ')':
      return push(TokenKind::RParen, 1);
    case '[':
      return push(TokenKind::LBracket, 1);
    case ']':
      return push(TokenKind::RBracket, 1);
    case '{':
      return push(TokenKind::LBrace, 1);
    case '}':
      return push(TokenKind::RBrace, 1);
    case ',':
      return push(TokenKind::Comma, 1);
    case ':':
      return push(TokenKind::Colon, 1);
    case '=':
      return next('=') ? push(TokenKind::Equal, 2) : push(TokenKind::Assign, 1);
    case '!':
      if (next('='))
        return push(TokenKind::NotEqual, 2);
      break;
    case '<':
      return next('=') ? push(TokenKind::LessEqual, 2)
                       : push(TokenKind::Less, 1);
    case '>':
      return next('=') ? push(TokenKind::GreaterEqual, 2)
                       : push(TokenKind::Greater, 1);
    case '+':
      return push(TokenKind::Plus, 1);
    case '-':
      return next('>') ? push(TokenKind::Arrow, 2) : push(TokenKind::Minus, 1);
    case '*':
      return push(TokenKind::Star, 1);
    case '/':
      if (next('/')) {
        errors.add(place(), "'//' is no operator",
                   {"a comment starts with '#'"});
        while (pos < text.size() && text[pos] != '\n')
          ++pos;
        return;
      }
      return push(TokenKind::Slash, 1);
    case '%':
      return push(TokenKind::Percent, 1);
    case '@':
      return push(TokenKind::At, 1);
    case '.':
      return next('.') ? push(TokenKind::DotDot, 2) : push(TokenKind::Dot, 1);
    case ';':
      errors.add(place(), "unexpected ';'",
                 {"statements need no separator; write each on its own line"});
      ++pos;
      return;
    default:
      break;
    }
    skipUnknown();
  }

  /// Reports a character that starts no token. A character beyond ASCII is
  /// taken whole (its continuation bytes are 10xxxxxx), so that a typographic
  /// dash is one error.
  void skipUnknown() {
    size_t length = 1;
    unsigned char c = static_cast<unsigned char>(peek());
    if (c >= 0x80)
      while (pos + length < text.size() && length < 4 &&
             (static_cast<unsigned char>(peek(length)) & 0xc0) == 0x80)
        ++length;
    bool readable = c > ' ' && c != 0x7f;
    errors.add(
        place(),
        readable && c < 0x80
            ? fmt::format("unexpected character '{}'", static_cast<char>(c))
            : fmt::format("unexpected byte 0x{:02x}", c),
        {"outside comments a layer is written in ASCII"});
    // The parser meets it at the same place, where no second error is made.
    push(TokenKind::Unknown, length);
  }
};

} // namespace

std::vector<Token> quern::frontend::tokenize(llvm::StringRef text,
                                             Errors &errors) {
  return Lexer(text, errors).run();
}
