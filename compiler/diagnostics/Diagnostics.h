//===- Diagnostics.h - MLIR's diagnostics as Quern's ------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Every stage of the compiler reports through MLIR: an error on an op carries
// the op's location, which the frontend set to a place in the layer's text.
// A DiagnosticCollector in scope turns those reports into quern::Diagnostic
// values, with the source line for a caret, so that a mistake found by any
// stage points at the text the user wrote. What speaks of the IR alone (the
// op's name, the rule's label, the op in full) is left out.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_COMPILER_DIAGNOSTICS_DIAGNOSTICS_H
#define QUERN_COMPILER_DIAGNOSTICS_DIAGNOSTICS_H

#include "mlir/IR/Diagnostics.h"
#include "runtime/core/Result.h"

#include <string>
#include <vector>

namespace quern {

/// The innermost file location in `loc`: what a NameLoc wraps, the callee's
/// place of a call, the first of a fused location.
mlir::FileLineColLoc findFileLocation(mlir::Location loc);

/// Line `line` (from 1) of `text`, without its end; empty when there is none.
std::string getSourceLine(llvm::StringRef text, unsigned line);

/// Collects what is emitted on a context while it lives. Not thread-safe:
/// contexts used with it run single-threaded.
class DiagnosticCollector {
public:
  /// `sourceText` is the text of `sourceName`, for carets; both may be empty.
  DiagnosticCollector(mlir::MLIRContext &context, llvm::StringRef sourceName,
                      llvm::StringRef sourceText);

  /// Errors in the order they were emitted, notes attached.
  const std::vector<Diagnostic> &getErrors() const { return errors; }

  /// The first error, with later ones beside it; an Internal
  /// diagnostic saying that `stage` failed silently when there is none.
  Diagnostic takeError(llvm::StringRef stage) const;

private:
  std::string sourceName, sourceText;
  std::vector<Diagnostic> errors;
  mlir::ScopedDiagnosticHandler handler;
};

} // namespace quern

#endif // QUERN_COMPILER_DIAGNOSTICS_DIAGNOSTICS_H
