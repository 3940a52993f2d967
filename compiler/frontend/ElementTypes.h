//===- ElementTypes.h - The names of element types --------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// The language spells element types as runtime/core/DType.h does. Names of
// formats that this version does not compile, and what other systems call the
// ones it does, are known as well: to refuse them with the right words.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_COMPILER_FRONTEND_ELEMENTTYPES_H
#define QUERN_COMPILER_FRONTEND_ELEMENTTYPES_H

#include "compiler/frontend/Source.h"
#include "runtime/core/DType.h"

#include <optional>

namespace quern::frontend {

/// `i8, u8, i4, u4, f16, bf16, f32, f8e4m3, f8e5m2, i32`, for messages.
extern const char *const elementTypeList;

/// True for every name that denotes an element type here, supported or not;
/// such a name cannot name a value.
bool isElementTypeName(llvm::StringRef name);

/// The type of that name; reports and returns nothing when there is none.
std::optional<DType> resolveElementType(llvm::StringRef name, Place place,
                                        Errors &errors);

} // namespace quern::frontend

#endif // QUERN_COMPILER_FRONTEND_ELEMENTTYPES_H
