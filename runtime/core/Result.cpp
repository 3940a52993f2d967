//===- Result.cpp - Rendering of diagnostics ------------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/core/Result.h"

#include <fmt/format.h>

using namespace quern;

std::string Diagnostic::render() const {
  std::string out;
  if (!file.empty()) {
    out += file;
    if (line)
      out += fmt::format(":{}", line);
    if (line && column)
      out += fmt::format(":{}", column);
    out += ": ";
  }
  out += "error: " + message + "\n";
  if (!sourceLine.empty()) {
    out += "  " + sourceLine + "\n";
    if (column) {
      out += "  ";
      // Tabs are kept so that the caret lines up whatever their width.
      for (unsigned i = 0; i + 1 < column; ++i)
        out += i < sourceLine.size() && sourceLine[i] == '\t' ? '\t' : ' ';
      out += "^\n";
    }
  }
  for (const std::string &note : notes)
    out += "note: " + note + "\n";
  return out;
}
