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

std::string quern::emit::stablePath(llvm::StringRef file) {
  return stableFolder + file.substr(file.rfind('/') + 1).str();
}

std::string SourceText::originalOf(llvm::StringRef file) const {
  for (const Line &line : lines)
    if (line.place && stablePath(line.place->file) == file)
      return line.place->file;
  file.consume_front(stableFolder);
  return file.str();
}

std::string SourceText::str(llvm::StringRef unit) const {
  auto quoted = [](llvm::StringRef file) {
    std::string out;
    for (char c : stablePath(file)) {
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

/// Names that mean something else in a unit: keywords of C++ and CUDA, and what
/// the text of a kernel says of the templates: a parameter of that name would
/// hide it.
static bool isReserved(llvm::StringRef name) {
  static const llvm::StringSet<> reserved = {
      // C++ and CUDA
      "alignas", "alignof", "and", "and_eq", "asm", "auto", "bitand", "bitor",
      "bool", "break", "case", "catch", "char", "char8_t", "char16_t",
      "char32_t", "class", "co_await", "co_return", "co_yield", "compl",
      "concept", "const", "const_cast", "consteval", "constexpr", "constinit",
      "continue", "decltype", "default", "delete", "do", "double",
      "dynamic_cast", "else", "enum", "explicit", "export", "extern", "false",
      "float", "for", "friend", "goto", "if", "inline", "int", "long",
      "mutable", "namespace", "new", "noexcept", "not", "not_eq", "nullptr",
      "operator", "or", "or_eq", "private", "protected", "public", "register",
      "reinterpret_cast", "requires", "return", "short", "signed", "sizeof",
      "static", "static_assert", "static_cast", "struct", "switch", "template",
      "this", "thread_local", "throw", "true", "try", "typedef", "typeid",
      "typename", "typeof", "union", "unsigned", "using", "virtual", "void",
      "volatile", "wchar_t", "while", "xor", "xor_eq", "blockDim", "blockIdx",
      "gridDim", "threadIdx", "warpSize", "fabsf",
      // Types and functions of the templates
      "s8", "u8", "u16", "s32", "u32", "s64", "u64", "f16", "bf16", "e4m3",
      "e5m2", "i4x2", "u4x2", "unpacked", "quern", "Gemm", "GemmDefaults",
      "GemmTile", "gemm", "gemmTile", "Team", "WarpTeam", "BlockTeam", "Tile",
      "forEach", "elementIndex", "reduceUMax", "reduceMaximumF", "reduceAddF",
      "reduceAddI", "smaller", "larger", "ceilDiv", "floorDiv", "floorMod",
      "floatOf", "toF32", "toF16", "toBF16", "toE4M3", "toE5M2", "wrapAdd",
      "wrapSub", "wrapMul", "roundEven", "strictExp", "strictErf", "strictTanh",
      "strictMax", "strictMin", "divide", "min", "max",
      // Variables every kernel has
      "tile", "acc", "inside", "factor", "addend", "epilogue", "rescale",
      "point", "element", "swizzle", "mma", "reduce", "exchange",
      // Stages behind products
      "accumulateMax", "accumulateAdd", "accumulateMaxTogether",
      "accumulateAddTogether", "Held", "TileLanes", "TileThreads", "PanelQueue",
      "PanelItem", "clusterTile", "clusterArrive", "clusterWait", "shareParts",
      "gatherParts", "fetchParts", "combineInto", "orderedBits",
      "fromOrderedBits", "TakeMaxU", "TakeAddU"};
  // Names that begin so are the implementation's.
  return reserved.contains(name) || name.starts_with("_");
}

std::string NameScope::make(llvm::StringRef wanted) {
  std::string base = identifier(wanted);
  // No number behind it would free `__x`, and `int2` is a type of CUDA's.
  if (isReserved(base))
    base.insert(0, base[0] == '_' ? "v" : "v_");
  std::string name = base;
  for (unsigned i = 2; isReserved(name) || !taken.insert(name).second; ++i)
    name = fmt::format("{}{}", base, i);
  return name;
}
