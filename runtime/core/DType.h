//===- DType.h - Element types ----------------------------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// The element types a buffer can hold. The numeric values are stored in
// modules: never renumber, only append.
//
// Elements of four bits are *packed*: two share a byte, the one of even index
// along the last dimension in its low half. Each row of that dimension begins
// at a byte of its own; where its length is odd, the high half of its last byte
// is padding that nothing reads. A tensor without dimensions is a row of one.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_CORE_DTYPE_H
#define QUERN_CORE_DTYPE_H

#include <cstdint>
#include <optional>
#include <string_view>

namespace quern {
inline namespace v0 {

enum class DType : uint8_t {
  I8 = 0,
  U8 = 1,
  I32 = 2,
  F16 = 3,
  BF16 = 4,
  F32 = 5,
  F8E4M3 = 6, ///< OCP E4M3 ("fn"): no infinity, NaN 0x7f/0xff, max 448.
  F8E5M2 = 7, ///< OCP E5M2: IEEE-like, max 57344.
  I64 = 8,    ///< Index operands read from files; narrowed to I32 on load.
  Bool = 9,   ///< One byte, 0 or 1; the result of a comparison.
  I4 = 10,    ///< Packed; two's complement, -8 to 7.
  U4 = 11,    ///< Packed; 0 to 15.
};

constexpr bool isPacked(DType type) {
  return type == DType::I4 || type == DType::U4;
}

/// Bytes per element; of packed types, whose bytes hold two, per address.
constexpr unsigned byteWidth(DType type) {
  switch (type) {
  case DType::I8:
  case DType::U8:
  case DType::F8E4M3:
  case DType::F8E5M2:
  case DType::Bool:
  case DType::I4:
  case DType::U4:
    return 1;
  case DType::F16:
  case DType::BF16:
    return 2;
  case DType::I32:
  case DType::F32:
    return 4;
  case DType::I64:
    return 8;
  }
  return 0;
}

/// Bytes of so many elements along the last dimension.
constexpr uint64_t rowBytes(DType type, uint64_t elements) {
  return isPacked(type) ? elements / 2 + elements % 2
                        : elements * byteWidth(type);
}

constexpr bool isFloat(DType type) {
  return type == DType::F16 || type == DType::BF16 || type == DType::F32 ||
         type == DType::F8E4M3 || type == DType::F8E5M2;
}

/// The spelling used by the language, the command line and every message.
constexpr std::string_view name(DType type) {
  switch (type) {
  case DType::I8:
    return "i8";
  case DType::U8:
    return "u8";
  case DType::I32:
    return "i32";
  case DType::F16:
    return "f16";
  case DType::BF16:
    return "bf16";
  case DType::F32:
    return "f32";
  case DType::F8E4M3:
    return "f8e4m3";
  case DType::F8E5M2:
    return "f8e5m2";
  case DType::I64:
    return "i64";
  case DType::Bool:
    return "bool";
  case DType::I4:
    return "i4";
  case DType::U4:
    return "u4";
  }
  return "?";
}

constexpr std::optional<DType> parseDType(std::string_view text) {
  for (uint8_t i = 0; i <= static_cast<uint8_t>(DType::U4); ++i)
    if (name(static_cast<DType>(i)) == text)
      return static_cast<DType>(i);
  return std::nullopt;
}

} // namespace v0
} // namespace quern

#endif // QUERN_CORE_DTYPE_H
