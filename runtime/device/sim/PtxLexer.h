//===- PtxLexer.h - PTX text as tokens --------------------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Splits PTX text into words, dotted words (`.global`, `.shared::cta`), strings
// and single punctuation characters, skipping comments. Every byte sequence is
// accepted: what is no PTX comes out as punctuation the parser refuses. The
// text must outlive the tokens.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_DEVICE_SIM_PTXLEXER_H
#define QUERN_DEVICE_SIM_PTXLEXER_H

#include <cstdint>
#include <string_view>
#include <vector>

namespace quern {
inline namespace v0 {
namespace sim {
namespace ptx {

struct Token {
  enum class Kind : uint8_t {
    End,
    Word,   ///< Identifiers, registers and numbers.
    Dotted, ///< A dot and a word; `text` is without the dot.
    String, ///< `text` is without the quotes.
    Punct,
  };
  Kind kind = Kind::End;
  /// Whether white space precedes; `1 .b8` and `%tid.x` differ by it.
  bool spaced = false;
  uint32_t line = 0;
  std::string_view text;

  bool is(char punct) const { return kind == Kind::Punct && text[0] == punct; }
  bool isDotted(std::string_view word) const {
    return kind == Kind::Dotted && text == word;
  }
};

/// The last token is always End.
std::vector<Token> lex(std::string_view text);

} // namespace ptx
} // namespace sim
} // namespace v0
} // namespace quern

#endif // QUERN_DEVICE_SIM_PTXLEXER_H
