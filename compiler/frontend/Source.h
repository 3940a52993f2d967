//===- Source.h - Places in a layer's text, and errors ----------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Everything the frontend says about a text goes through an `Errors`: it adds
// the file, the place and the line of source to each message, and stops
// listening after `maxErrors`, so that a broken file does not bury its reader.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_COMPILER_FRONTEND_SOURCE_H
#define QUERN_COMPILER_FRONTEND_SOURCE_H

#include "runtime/core/Result.h"

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"

#include <string>
#include <vector>

namespace quern::frontend {

/// The longest name of a layer, an operand, a symbol or a value.
inline constexpr size_t maxNameLength = 255;

/// A place in a text; both count from 1, columns in bytes. Line 0 is "no
/// place", as in a layer made by the C++ builder.
struct Place {
  unsigned line = 0;
  unsigned column = 0;
  bool operator==(const Place &) const = default;
};

class Errors {
public:
  static constexpr size_t maxErrors = 50;

  /// `text` must outlive this object; `out` receives the diagnostics.
  Errors(llvm::StringRef fileName, llvm::StringRef text,
         std::vector<Diagnostic> &out);

  /// Notes say what is accepted and how to go on. A second error at the same
  /// place is dropped: it is nearly always a consequence of the first.
  void add(Place place, std::string message,
           std::vector<std::string> notes = {},
           Errc code = Errc::InvalidSource);

  /// Puts what was added into the order of the text: stages find errors in
  /// an order of their own.
  void sortByPlace();

  bool any() const { return out.size() > before; }
  bool full() const { return out.size() - before >= maxErrors; }
  size_t count() const { return out.size() - before; }
  llvm::StringRef fileName() const { return file; }

private:
  std::string file;
  llvm::StringRef text;
  std::vector<size_t> lineStarts;
  std::vector<Diagnostic> &out;
  size_t before;
};

/// The candidate nearest to `name` in edit distance, when it is near enough to
/// be what was meant; else empty.
llvm::StringRef nearestName(llvm::StringRef name,
                            llvm::ArrayRef<llvm::StringRef> candidates);

} // namespace quern::frontend

#endif // QUERN_COMPILER_FRONTEND_SOURCE_H
