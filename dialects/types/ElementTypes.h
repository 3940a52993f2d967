//===- ElementTypes.h - Element types of both dialects ----------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// The vocabulary of runtime/core in MLIR's types, and back: i8 is signless, u8
// is ui8. Both dialects hold tensors or buffers of these types and no others.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_DIALECTS_TYPES_ELEMENTTYPES_H
#define QUERN_DIALECTS_TYPES_ELEMENTTYPES_H

#include "mlir/IR/BuiltinTypes.h"

#include "runtime/core/DType.h"

#include <optional>

namespace quern {

/// Nothing for a type the vocabulary lacks, such as f64 or i4. Types of values
/// that a verifier has seen always have one.
std::optional<DType> getDType(mlir::Type elementType);

mlir::Type getElementType(mlir::MLIRContext *context, DType type);

} // namespace quern

#endif // QUERN_DIALECTS_TYPES_ELEMENTTYPES_H
