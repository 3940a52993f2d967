//===- LayerFuzz.cpp - Any bytes as a layer's text ------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/frontend/Frontend.h"
#include "tests/fuzz/Fuzz.h"

#include "mlir/IR/Verifier.h"

using namespace quern;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  // Types and attributes live as long as their context.
  mlir::MLIRContext context(mlir::MLIRContext::Threading::DISABLED);
  std::vector<Diagnostic> diagnostics;
  auto module =
      parseLayers(llvm::StringRef(reinterpret_cast<const char *>(data), size),
                  "fuzz.qn", context, diagnostics);
  fuzz::require(bool(module) == diagnostics.empty(),
                "a layer is understood or refused, not both");
  for (const Diagnostic &diagnostic : diagnostics) {
    fuzz::require(diagnostic.code != Errc::Internal, "no internal errors");
    fuzz::require(diagnostic.line >= 1, "an error has a place");
  }
  if (module)
    fuzz::require(mlir::succeeded(mlir::verify(*module)),
                  "what is understood is valid IR");
  return 0;
}
