//===- Verify.cpp - The frontend's own last check -------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/frontend/Verify.h"

#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/Verifier.h"

#include <fmt/format.h>

using namespace mlir;
using namespace quern;
using namespace quern::frontend;

bool quern::frontend::verifyLayers(ModuleOp module, Errors &errors) {
  ScopedDiagnosticHandler handler(
      module.getContext(), [&](mlir::Diagnostic &diagnostic) {
        Place place;
        if (auto loc =
                diagnostic.getLocation()->findInstanceOf<FileLineColLoc>())
          place = {loc.getLine(), loc.getColumn()};
        errors.add(
            place,
            fmt::format("the layer's IR does not verify: {}", diagnostic.str()),
            {"this is a bug of Quern; please report it with the layer"},
            Errc::Internal);
        return success();
      });
  return succeeded(mlir::verify(module)) && !errors.any();
}
