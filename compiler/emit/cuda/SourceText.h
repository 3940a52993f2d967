//===- SourceText.h - Emitted text that knows where it came from *- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// The lines of an emitted unit. A line may carry the place in the layer's file
// it was made for; `str` then writes `#line` directives, so that errors and
// line tables name the layer, and directives back to the unit itself after
// them. Since many statements stem from one line of a layer, directives stand
// nearly everywhere; `readable` is the same text with a comment where the line
// changes.
//
// Directives say `/quern/layer.qn` whatever folder the layer's file is in:
// NVRTC writes the files' names into line tables, after the current folder
// where they are relative, and equal layers must give equal modules.
//
// Also the one place where C++ names are made: unique within a kernel,
// never a keyword, never a name of the templates.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_COMPILER_EMIT_CUDA_SOURCETEXT_H
#define QUERN_COMPILER_EMIT_CUDA_SOURCETEXT_H

#include "mlir/IR/Location.h"

#include <optional>
#include <set>
#include <string>
#include <vector>

namespace quern::emit {

/// A place in the layer's text.
struct Place {
  std::string file;
  unsigned line = 0;
  unsigned column = 0;
  /// The first file position found in a location, looking through names,
  /// fusions and call sites.
  static std::optional<Place> of(mlir::Location location);
};

/// The folder of all files in directives.
inline constexpr const char *stableFolder = "/quern/";
/// What directives call a file.
std::string stablePath(llvm::StringRef file);

class SourceText {
public:
  void add(std::string text, std::optional<Place> place = std::nullopt);
  void append(const SourceText &other);
  void indent() { depth += 2; }
  void dedent() { depth -= 2; }

  /// The whole text. `unit` is what the text itself is called in directives.
  std::string str(llvm::StringRef unit) const;
  std::string readable() const;
  /// The file that directives call `file`; where that is no layer's, the name
  /// without the folder.
  std::string originalOf(llvm::StringRef file) const;

private:
  struct Line {
    std::string text;
    std::optional<Place> place;
  };
  std::vector<Line> lines;
  unsigned depth = 0;
};

/// C++ names of one kernel.
class NameScope {
public:
  /// `wanted` made into an identifier, with a number if it is taken.
  std::string make(llvm::StringRef wanted);

private:
  std::set<std::string> taken;
};

/// Letters, digits and underscores only.
std::string identifier(llvm::StringRef text);

} // namespace quern::emit

#endif // QUERN_COMPILER_EMIT_CUDA_SOURCETEXT_H
