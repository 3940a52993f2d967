//===- Result.cpp - Rendering of diagnostics ------------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/core/Result.h"

#include <fmt/format.h>

using namespace quern;

/// Text from a file or an argument must not steer the reader's terminal.
/// Tabs stay, and line ends where a note has several lines.
static std::string printable(std::string_view text, bool lines = true) {
  std::string out;
  for (char c : text)
    if (c == '\t' || (lines && c == '\n') ||
        (static_cast<unsigned char>(c) >= 0x20 && c != 0x7f))
      out += c;
    else if (lines)
      out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    else
      out += '?'; // As wide as the caret expects.
  return out;
}

std::string Diagnostic::render() const {
  std::string out;
  if (!file.empty()) {
    out += printable(file);
    if (line)
      out += fmt::format(":{}", line);
    if (line && column)
      out += fmt::format(":{}", column);
    out += ": ";
  }
  out += "error: " + printable(message) + "\n";
  if (!sourceLine.empty()) {
    out += "  " + printable(sourceLine, false) + "\n";
    if (column) {
      out += "  ";
      // Tabs are kept so that the caret lines up whatever their width.
      for (unsigned i = 0; i + 1 < column; ++i)
        out += i < sourceLine.size() && sourceLine[i] == '\t' ? '\t' : ' ';
      out += "^\n";
    }
  }
  for (std::string_view note : notes) {
    // A note may be a log, which ends its last line itself.
    if (note.ends_with('\n'))
      note.remove_suffix(1);
    out += "note: " + printable(note) + "\n";
  }
  for (const Diagnostic &other : others)
    out += other.render();
  return out;
}
