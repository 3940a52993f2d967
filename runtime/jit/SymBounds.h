//===- SymBounds.h - Bounds of sizes over ranges of symbols -----*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// A context is prepared for ranges of the symbols, so its memory must hold the
// largest size that any values in the ranges give. Interval arithmetic over
// the expression yields a bound that is never too small (and exact when each
// symbol occurs once).
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_JIT_SYMBOUNDS_H
#define QUERN_JIT_SYMBOUNDS_H

#include "runtime/module/Module.h"

namespace quern {
inline namespace v0 {

struct Interval {
  int64_t min = 0;
  int64_t max = 0;
};

/// Bounds of the expression; InvalidArgument when they do not fit 64 bits or a
/// divisor's range reaches below 1.
Result<Interval> boundsOf(const SymExpr &expr,
                          std::span<const Interval> symbols);

/// Leaves of the ranges what lies within `when`; false where that is nothing.
bool narrow(std::vector<Interval> &symbols, std::span<const RangeDesc> when);

/// The largest size in bytes of a buffer. Negative extents count as 0: runs
/// refuse them.
Result<uint64_t> maxBytes(const BufferDesc &buffer,
                          std::span<const Interval> symbols);

} // namespace v0
} // namespace quern

#endif // QUERN_JIT_SYMBOUNDS_H
