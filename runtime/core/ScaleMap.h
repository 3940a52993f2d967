//===- ScaleMap.h - Which scale belongs to which element --------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// A quantized tensor is `codes * scales`, and the *shape of the scales* is the
// granularity. The map from an element's index to its scale's index is given
// by one block extent per dimension:
//
//     scale index[d] = element index[d] / block[d]
//     scale shape[d] = ceil(element shape[d] / block[d])
//
// An extent of 0 stands for the whole axis, whatever its length, so that one
// map serves a symbolic dimension. The last block along a dimension may be
// short. Everything the field has names for is a value of this type:
//
//     per tensor            [0, 0]        per token / row       [1, 0]
//     per channel (of [N,K]) [1, 0]       per group of g        [1, g]
//     per block of a x b    [a, b]        per element           [1, 1]
//
// Nothing in the compiler switches on those names; it asks this class.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_CORE_SCALEMAP_H
#define QUERN_CORE_SCALEMAP_H

#include "runtime/core/SymExpr.h"

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace quern {
inline namespace v0 {

class ScaleMap {
public:
  explicit ScaleMap(std::vector<int64_t> block) : extents(std::move(block)) {}

  unsigned rank() const { return static_cast<unsigned>(extents.size()); }
  std::span<const int64_t> block() const { return extents; }
  bool wholeAxis(unsigned dim) const { return extents[dim] == 0; }
  /// The block's extent along `dim` for an axis of that length: at least 1.
  int64_t extent(unsigned dim, int64_t length) const {
    int64_t e = extents[dim] == 0 ? length : extents[dim];
    return e < 1 ? 1 : e;
  }
  /// Number of blocks along an axis of that length.
  int64_t blocks(unsigned dim, int64_t length) const {
    int64_t e = extent(dim, length);
    return extents[dim] == 0 ? 1 : (length + e - 1) / e;
  }
  /// True when the scale is the same for every index along `dim`, given the
  /// axis' length (a block at least as long as the axis is the whole axis).
  bool uniformAlong(unsigned dim, int64_t length) const {
    return extents[dim] == 0 || extents[dim] >= length;
  }
  /// The shape of the scales of a tensor of that shape.
  std::vector<int64_t> scaleShape(std::span<const int64_t> shape) const;
  std::vector<SymExpr> scaleShape(std::span<const SymExpr> shape) const;
  /// `[1, *]`: whole axes print as a star.
  std::string print() const;

  bool operator==(const ScaleMap &) const = default;

private:
  std::vector<int64_t> extents;
};

} // namespace v0
} // namespace quern

#endif // QUERN_CORE_SCALEMAP_H
