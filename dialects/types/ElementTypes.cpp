//===- ElementTypes.cpp - Element types of both dialects ------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "dialects/types/ElementTypes.h"

using namespace mlir;
using namespace quern;

std::optional<DType> quern::getDType(Type type) {
  if (type.isUnsignedInteger(8))
    return DType::U8;
  if (type.isSignlessInteger(8))
    return DType::I8;
  if (type.isUnsignedInteger(4))
    return DType::U4;
  if (type.isSignlessInteger(4))
    return DType::I4;
  if (type.isSignlessInteger(32))
    return DType::I32;
  if (type.isSignlessInteger(64))
    return DType::I64;
  if (type.isSignlessInteger(1))
    return DType::Bool;
  if (type.isF16())
    return DType::F16;
  if (type.isBF16())
    return DType::BF16;
  if (type.isF32())
    return DType::F32;
  if (isa<Float8E4M3FNType>(type))
    return DType::F8E4M3;
  if (isa<Float8E5M2Type>(type))
    return DType::F8E5M2;
  return std::nullopt;
}

Type quern::getElementType(MLIRContext *context, DType type) {
  switch (type) {
  case DType::I8:
    return IntegerType::get(context, 8);
  case DType::U8:
    return IntegerType::get(context, 8, IntegerType::Unsigned);
  case DType::I4:
    return IntegerType::get(context, 4);
  case DType::U4:
    return IntegerType::get(context, 4, IntegerType::Unsigned);
  case DType::I32:
    return IntegerType::get(context, 32);
  case DType::I64:
    return IntegerType::get(context, 64);
  case DType::Bool:
    return IntegerType::get(context, 1);
  case DType::F16:
    return Float16Type::get(context);
  case DType::BF16:
    return BFloat16Type::get(context);
  case DType::F32:
    return Float32Type::get(context);
  case DType::F8E4M3:
    return Float8E4M3FNType::get(context);
  case DType::F8E5M2:
    return Float8E5M2Type::get(context);
  }
  return {};
}

Type quern::getWideType(Type type) {
  auto integer = dyn_cast<IntegerType>(type);
  return integer && integer.getWidth() == 4
             ? IntegerType::get(type.getContext(), 8, integer.getSignedness())
             : type;
}
