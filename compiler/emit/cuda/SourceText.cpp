//===- SourceText.cpp - Emitted text that knows where it came from --------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/emit/cuda/SourceText.h"

#include "mlir/IR/BuiltinAttributes.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSet.h"

#include <fmt/format.h>

using namespace mlir;
using namespace quern::emit;

std::optional<Place> Place::of(Location location) {
  if (auto file = dyn_cast<FileLineColLoc>(location)) {
    if (file.getLine() == 0)
      return std::nullopt;
    return Place{file.getFilename().str(), file.getLine(), file.getColumn()};
  }
  if (auto name = dyn_cast<NameLoc>(location))
    return of(name.getChildLoc());
  if (auto call = dyn_cast<CallSiteLoc>(location))
    return of(call.getCallee());
  if (auto fused = dyn_cast<FusedLoc>(location))
    for (Location part : fused.getLocations())
      if (auto place = of(part))
        return place;
  return std::nullopt;
}

void SourceText::add(std::string text, std::optional<Place> place) {
  if (!text.empty() && text[0] != '#')
    text.insert(0, depth, ' ');
  lines.push_back({std::move(text), std::move(place)});
}

void SourceText::append(const SourceText &other) {
  for (const Line &line : other.lines)
    add(line.text, line.place);
}

std::string SourceText::str(llvm::StringRef unit) const {
  auto quoted = [](llvm::StringRef text) {
    std::string out;
    for (char c : text) {
      if (c == '"' || c == '\\')
        out += '\\';
      out += llvm::isPrint(c) ? c : '?';
    }
    return out;
  };
  std::string out;
  unsigned written = 0; // Lines of `out`.
  // Where the compiler believes it is: the place of the next line; no file
  // while it counts the unit's own lines.
  Place at;
  auto put = [&](const std::string &line) {
    out += line;
    out += '\n';
    ++written;
  };
  for (const Line &line : lines) {
    if (line.place) {
      if (at.file != line.place->file || at.line != line.place->line)
        put(fmt::format("#line {} \"{}\"", line.place->line,
                        quoted(line.place->file)));
      put(line.text);
      at = *line.place;
      ++at.line;
      continue;
    }
    if (!at.file.empty()) {
      put(fmt::format("#line {} \"{}\"", written + 2, quoted(unit)));
      at = {};
    }
    put(line.text);
  }
  return out;
}

std::string SourceText::readable() const {
  std::string out;
  std::optional<Place> last;
  for (const Line &line : lines) {
    if (line.place && (!last || last->file != line.place->file ||
                       last->line != line.place->line)) {
      size_t depth =
          std::min(line.text.find_first_not_of(' '), line.text.size());
      llvm::StringRef file = line.place->file;
      out +=
          fmt::format("{}// {}:{}\n", std::string(depth, ' '),
                      file.substr(file.rfind('/') + 1).str(), line.place->line);
      last = line.place;
    }
    out += line.text;
    out += '\n';
  }
  return out;
}

std::string quern::emit::identifier(llvm::StringRef text) {
  std::string out;
  for (char c : text)
    out += llvm::isAlnum(c) ? c : '_';
  if (out.empty() || llvm::isDigit(out[0]))
    out.insert(0, "v");
  return out;
}

/// Names that mean something else in a unit: keywords of C++ and CUDA and what
/// the templates define, as a reader of the text would expect.
static bool isReserved(llvm::StringRef name) {
  static const llvm::StringSet<> reserved = {
      "alignas",   "alignof",  "and",      "asm",      "auto",      "bool",
      "break",     "case",     "catch",    "char",     "class",     "const",
      "constexpr", "continue", "decltype", "default",  "delete",    "do",
      "double",    "else",     "enum",     "explicit", "export",    "extern",
      "false",     "float",    "for",      "friend",   "goto",      "if",
      "inline",    "int",      "long",     "mutable",  "namespace", "new",
      "noexcept",  "not",      "nullptr",  "operator", "or",        "private",
      "protected", "public",   "register", "return",   "short",     "signed",
      "sizeof",    "static",   "struct",   "switch",   "template",  "this",
      "throw",     "true",     "try",      "typedef",  "typeid",    "typename",
      "union",     "unsigned", "using",    "virtual",  "void",      "volatile",
      "wchar_t",   "while",    "xor",      "s8",       "u8",        "u16",
      "s32",       "u32",      "s64",      "u64",      "f16",       "bf16",
      "e4m3",      "e5m2",     "gemm",     "tile",     "acc",       "inside",
      "factor",    "addend",   "quern",    "Team",     "Tile",      "min",
      "max",       "gridDim",  "blockDim", "blockIdx", "threadIdx", "warpSize",
      "swizzle",   "mma",      "reduce",   "exchange", "smaller",   "larger",
      "divide",    "point",    "element"};
  return reserved.contains(name) || name.starts_with("__");
}

std::string NameScope::make(llvm::StringRef wanted) {
  std::string base = identifier(wanted), name = base;
  for (unsigned i = 2; isReserved(name) || !taken.insert(name).second; ++i)
    name = fmt::format("{}{}", base, i);
  return name;
}
