//===- Frontend.h - From a layer's text to the quern dialect ----*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// The language is described in docs/language.md; the same layers can be made
// from C++ with compiler/frontend/Builder.h.
//
// Every op carries the file, line and column it was written at, and values
// with names carry those as well. The module of a text without errors always
// verifies: a mistake that can be seen in the text is reported here, never by
// a later stage.
//
// Thread-safety: one call per MLIRContext at a time.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_COMPILER_FRONTEND_FRONTEND_H
#define QUERN_COMPILER_FRONTEND_FRONTEND_H

#include "runtime/core/Result.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/IR/OwningOpRef.h"

#include <vector>

namespace quern {
inline namespace v0 {

/// A module with one function for each layer of the text, or null and what is
/// wrong: several errors per run, in the order of the text. `fileName` is for
/// messages and locations only. Loads the dialects it needs into the context.
mlir::OwningOpRef<mlir::ModuleOp>
parseLayers(llvm::StringRef text, llvm::StringRef fileName,
            mlir::MLIRContext &context, std::vector<Diagnostic> &diagnostics);

} // namespace v0
} // namespace quern

#endif // QUERN_COMPILER_FRONTEND_FRONTEND_H
