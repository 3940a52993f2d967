//===- ElementTypes.cpp - The names of element types ----------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/frontend/ElementTypes.h"

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringSwitch.h"

#include <fmt/format.h>

using namespace quern;
using namespace quern::frontend;

const char *const quern::frontend::elementTypeList =
    "i8, u8, i4, u4, f16, bf16, f32, f8e4m3, f8e5m2 and i32";

static const llvm::StringRef supported[] = {
    "i8", "u8", "i4", "u4", "f16", "bf16", "f32", "f8e4m3", "f8e5m2", "i32"};

/// Formats of the field, and types of other languages, without code here.
static const llvm::StringRef notYet[] = {
    "i1",     "u1",      "i2",   "u2",   "i3",     "u3",     "i5",
    "u5",     "i6",      "u6",   "i16",  "u16",    "u32",    "i64",
    "u64",    "f64",     "nf4",  "fp4",  "f4e2m1", "f6e2m3", "f6e3m2",
    "f8e8m0", "f8e4m3b", "dyn8", "bool", "tf32"};

/// What other systems call a type that exists here.
static llvm::StringRef spelling(llvm::StringRef name) {
  return llvm::StringSwitch<llvm::StringRef>(name.lower())
      .Cases({"int8", "s8", "int8_t", "si8"}, "i8")
      .Cases({"uint8", "uint8_t", "ui8"}, "u8")
      .Cases({"int4", "s4", "int4_t", "si4"}, "i4")
      .Cases({"uint4", "uint4_t", "ui4"}, "u4")
      .Cases({"half", "float16", "fp16"}, "f16")
      .Cases({"bfloat16", "bfloat"}, "bf16")
      .Cases({"float", "float32", "fp32", "single"}, "f32")
      .Cases({"fp8", "f8", "e4m3", "fp8e4m3", "fp8_e4m3", "f8e4m3fn",
              "float8_e4m3fn", "f8_e4m3"},
             "f8e4m3")
      .Cases({"e5m2", "fp8e5m2", "fp8_e5m2", "float8_e5m2", "f8_e5m2"},
             "f8e5m2")
      .Cases({"int", "int32", "s32", "int32_t", "si32"}, "i32")
      .Default("");
}

bool quern::frontend::isElementTypeName(llvm::StringRef name) {
  return llvm::is_contained(supported, name) ||
         llvm::is_contained(notYet, name);
}

std::optional<DType> quern::frontend::resolveElementType(llvm::StringRef name,
                                                         Place place,
                                                         Errors &errors) {
  if (llvm::is_contained(supported, name))
    return parseDType(std::string_view(name));
  std::string shown = name.take_front(60).str();
  std::string accepted =
      fmt::format("supported element types are {}", elementTypeList);
  if (llvm::is_contained(notYet, name)) {
    errors.add(place,
               fmt::format("element type '{}' is not supported yet", shown),
               {accepted}, Errc::Unsupported);
    return std::nullopt;
  }
  llvm::StringRef near = spelling(name);
  if (near.empty())
    near = nearestName(name, supported);
  if (!near.empty())
    accepted =
        fmt::format("did you mean '{}'? {}", std::string_view(near), accepted);
  errors.add(place, fmt::format("unknown element type '{}'", shown),
             {accepted});
  return std::nullopt;
}
