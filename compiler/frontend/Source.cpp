//===- Source.cpp - Places in a layer's text, and the errors found --------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/frontend/Source.h"

#include <algorithm>

using namespace quern;
using namespace quern::frontend;

/// Lines longer than this are not repeated in messages: no terminal shows
/// them usefully.
static constexpr size_t maxShownLine = 400;

Errors::Errors(llvm::StringRef fileName, llvm::StringRef text,
               std::vector<Diagnostic> &out)
    : file(fileName.str()), text(text), out(out), before(out.size()) {
  lineStarts.push_back(0);
  for (size_t i = 0; i < text.size(); ++i)
    if (text[i] == '\n')
      lineStarts.push_back(i + 1);
}

void Errors::add(Place place, std::string message,
                 std::vector<std::string> notes, Errc code) {
  if (full())
    return;
  if (place.line)
    for (size_t i = before; i < out.size(); ++i)
      if (out[i].line == place.line && out[i].column == place.column)
        return;
  Diagnostic diagnostic;
  diagnostic.code = code;
  diagnostic.message = std::move(message);
  diagnostic.notes = std::move(notes);
  diagnostic.file = file;
  diagnostic.line = place.line;
  diagnostic.column = place.column;
  if (place.line && place.line <= lineStarts.size()) {
    llvm::StringRef line = text.substr(lineStarts[place.line - 1]);
    line = line.take_until([](char c) { return c == '\n' || c == '\r'; });
    if (line.size() <= maxShownLine)
      diagnostic.sourceLine = line.str();
  }
  out.push_back(std::move(diagnostic));
  if (full()) {
    Diagnostic last;
    last.code = Errc::InvalidSource;
    last.message = "too many errors; further ones are not shown";
    last.file = file;
    last.line = place.line;
    out.push_back(std::move(last));
  }
}

void Errors::sortByPlace() {
  // "Too many errors" stays last. No two errors share a place, so the order
  // needs no stability.
  auto end = full() ? out.end() - 1 : out.end();
  std::sort(out.begin() + static_cast<ptrdiff_t>(before), end,
            [](const Diagnostic &a, const Diagnostic &b) {
              return std::pair(a.line, a.column) < std::pair(b.line, b.column);
            });
}

llvm::StringRef
quern::frontend::nearestName(llvm::StringRef name,
                             llvm::ArrayRef<llvm::StringRef> candidates) {
  // One letter is near to every other. Names far longer than any candidate
  // cannot be near one; the bound keeps the search cheap on absurd input.
  if (name.size() < 2 || name.size() > 64)
    return {};
  llvm::StringRef best;
  unsigned bound =
      name.size() <= 3 ? 1 : static_cast<unsigned>(name.size()) / 3;
  unsigned distance = bound + 1;
  for (llvm::StringRef candidate : candidates) {
    unsigned d = name.edit_distance_insensitive(
        candidate, /*AllowReplacements=*/true, /*MaxEditDistance=*/bound);
    if (d < distance) {
      distance = d;
      best = candidate;
    }
  }
  return best;
}
