//===- NumericsClass.h - How far results are determined ---------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Every operation, kernel and layer has one of three classes; docs/numerics.md
// says which. The numeric values are stored in modules: never renumber.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_CORE_NUMERICSCLASS_H
#define QUERN_CORE_NUMERICSCLASS_H

#include <cstdint>
#include <string_view>

namespace quern {
inline namespace v0 {

enum class NumericsClass : uint8_t {
  Exact = 0,   ///< The same bits on every target.
  Ordered = 1, ///< Likewise, by one written order of summation.
  Bounded = 2, ///< Within a stated error.
};

constexpr std::string_view name(NumericsClass numericsClass) {
  switch (numericsClass) {
  case NumericsClass::Exact:
    return "exact";
  case NumericsClass::Ordered:
    return "ordered";
  case NumericsClass::Bounded:
    return "bounded";
  }
  return "?";
}

} // namespace v0
} // namespace quern

#endif // QUERN_CORE_NUMERICSCLASS_H
