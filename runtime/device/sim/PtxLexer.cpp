//===- PtxLexer.cpp - PTX text as tokens ----------------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/sim/PtxLexer.h"

#include <algorithm>

using namespace quern;
using namespace quern::sim::ptx;

static bool isWordChar(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
         (c >= '0' && c <= '9') || c == '_' || c == '$' || c == '%';
}

static bool isSpace(char c) {
  return c == ' ' || c == '\t' || c == '\r' || c == '\f' || c == '\v';
}

std::vector<Token> sim::ptx::lex(std::string_view text) {
  std::vector<Token> tokens;
  tokens.reserve(text.size() / 4 + 1);
  uint32_t line = 1;
  size_t at = 0;
  bool spaced = false;
  auto wordEnd = [&](size_t i) {
    while (i < text.size() && isWordChar(text[i]))
      ++i;
    return i;
  };
  auto add = [&](Token::Kind kind, size_t begin, size_t end) {
    tokens.push_back({kind, spaced, line, text.substr(begin, end - begin)});
    spaced = false;
  };
  while (at < text.size()) {
    char c = text[at];
    char next = at + 1 < text.size() ? text[at + 1] : '\0';
    if (c == '\n') {
      ++line;
      ++at;
      spaced = true;
    } else if (isSpace(c)) {
      ++at;
      spaced = true;
    } else if (c == '/' && next == '/') {
      while (at < text.size() && text[at] != '\n')
        ++at;
      spaced = true;
    } else if (c == '/' && next == '*') {
      at += 2;
      while (at < text.size() &&
             !(text[at] == '*' && at + 1 < text.size() && text[at + 1] == '/'))
        line += text[at++] == '\n';
      at = at + 2 < text.size() ? at + 2 : text.size();
      spaced = true;
    } else if (isWordChar(c)) {
      size_t end = wordEnd(at);
      // 1.5e-3 is one word.
      bool decimal = std::all_of(text.begin() + at, text.begin() + end,
                                 [](char d) { return d >= '0' && d <= '9'; });
      if (decimal && end + 1 < text.size() && text[end] == '.' &&
          text[end + 1] >= '0' && text[end + 1] <= '9') {
        end = wordEnd(end + 1);
        bool exponent = text[end - 1] == 'e' || text[end - 1] == 'E';
        if (exponent && end + 1 < text.size() &&
            (text[end] == '-' || text[end] == '+'))
          end = wordEnd(end + 1);
      }
      add(Token::Kind::Word, at, end);
      at = end;
    } else if (c == '.' && isWordChar(next)) {
      size_t end = wordEnd(at + 1);
      // A modifier may be qualified: .shared::cta, .L2::128B.
      while (end + 2 < text.size() && text[end] == ':' &&
             text[end + 1] == ':' && isWordChar(text[end + 2]))
        end = wordEnd(end + 2);
      add(Token::Kind::Dotted, at + 1, end);
      at = end;
    } else if (c == '"') {
      size_t end = at + 1;
      while (end < text.size() && text[end] != '"' && text[end] != '\n')
        ++end;
      add(Token::Kind::String, at + 1, end);
      at = end < text.size() && text[end] == '"' ? end + 1 : end;
    } else {
      add(Token::Kind::Punct, at, at + 1);
      ++at;
    }
  }
  tokens.push_back({Token::Kind::End, true, line, {}});
  return tokens;
}
