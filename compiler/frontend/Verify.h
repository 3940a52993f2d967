//===- Verify.h - The frontend's own last check -----------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_COMPILER_FRONTEND_VERIFY_H
#define QUERN_COMPILER_FRONTEND_VERIFY_H

#include "compiler/frontend/Source.h"

#include "mlir/IR/BuiltinOps.h"

namespace quern::frontend {

/// Verifies what was made. A failure is a rule that the frontend does not
/// know and the dialect does: it is reported as a bug of Quern (Internal), at
/// the place of the op.
bool verifyLayers(mlir::ModuleOp module, Errors &errors);

} // namespace quern::frontend

#endif // QUERN_COMPILER_FRONTEND_VERIFY_H
