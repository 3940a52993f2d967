//===- Corner.cpp - What is written over drawn inputs ---------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/reference/Corner.h"

#include <array>

namespace quern::reference {

std::span<const Corner> allCorners() {
  static constexpr std::array all = {
      Corner::None,         Corner::Zeros,      Corner::ZeroRows,
      Corner::NaNRows,      Corner::InfRows,    Corner::MixedRows,
      Corner::Denormals,    Corner::Large,      Corner::OneHot,
      Corner::Constant,     Corner::Scattered,  Corner::ExtremeCodes,
      Corner::ExtremeZeros, Corner::TinyScales, Corner::HugeScales};
  return all;
}

std::string_view name(Corner corner) {
  switch (corner) {
  case Corner::None:
    return "normal";
  case Corner::Zeros:
    return "zeros";
  case Corner::ZeroRows:
    return "rows of zeros";
  case Corner::NaNRows:
    return "rows with a NaN";
  case Corner::InfRows:
    return "rows with an infinity";
  case Corner::MixedRows:
    return "mixed rows";
  case Corner::Denormals:
    return "subnormal";
  case Corner::Large:
    return "huge";
  case Corner::OneHot:
    return "one-hot rows";
  case Corner::Constant:
    return "constant";
  case Corner::Scattered:
    return "scattered corners";
  case Corner::ExtremeCodes:
    return "extreme codes";
  case Corner::ExtremeZeros:
    return "extreme zero points";
  case Corner::TinyScales:
    return "tiny scales";
  case Corner::HugeScales:
    return "huge scales";
  }
  return "?";
}

} // namespace quern::reference
