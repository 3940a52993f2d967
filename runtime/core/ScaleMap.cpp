//===- ScaleMap.cpp - Which scale belongs to which element ----------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/core/ScaleMap.h"

#include <fmt/format.h>

using namespace quern;

std::vector<int64_t>
ScaleMap::scaleShape(std::span<const int64_t> shape) const {
  std::vector<int64_t> result;
  for (unsigned d = 0; d < rank(); ++d)
    result.push_back(blocks(d, shape[d]));
  return result;
}

std::vector<SymExpr>
ScaleMap::scaleShape(std::span<const SymExpr> shape) const {
  std::vector<SymExpr> result;
  for (unsigned d = 0; d < rank(); ++d)
    result.push_back(
        wholeAxis(d)
            ? SymExpr::constant(1)
            : SymExpr::ceilDiv(shape[d], SymExpr::constant(extents[d])));
  return result;
}

std::string ScaleMap::print() const {
  std::string out = "[";
  for (unsigned d = 0; d < rank(); ++d) {
    if (d)
      out += ", ";
    out += wholeAxis(d) ? std::string("*") : fmt::format("{}", extents[d]);
  }
  return out + "]";
}
