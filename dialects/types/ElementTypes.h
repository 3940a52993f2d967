//===- ElementTypes.h - Element types of both dialects ----------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// The vocabulary of runtime/core in MLIR's types, and back: i8 is signless, u8
// is ui8, and so are i4 and ui4. Both dialects hold tensors or buffers of these
// types and no others. Of those of four bits, memory alone: what is read from
// it is as wide as a byte.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_DIALECTS_TYPES_ELEMENTTYPES_H
#define QUERN_DIALECTS_TYPES_ELEMENTTYPES_H

#include "mlir/IR/BuiltinTypes.h"

#include "runtime/core/DType.h"

#include <optional>

namespace quern {

/// Nothing for a type the vocabulary lacks, such as f64 or i16. Types of values
/// that a verifier has seen always have one.
std::optional<DType> getDType(mlir::Type elementType);

mlir::Type getElementType(mlir::MLIRContext *context, DType type);

/// The type that an element has when it is read: i8 for i4 and ui8 for ui4, the
/// same number; itself for all others.
mlir::Type getWideType(mlir::Type elementType);

} // namespace quern

#endif // QUERN_DIALECTS_TYPES_ELEMENTTYPES_H
