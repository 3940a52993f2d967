//===- SymBounds.cpp - Bounds of sizes over ranges of symbols -------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/jit/SymBounds.h"

#include <fmt/format.h>

#include <algorithm>

using namespace quern;

namespace {

using Op = SymExpr::Op;
using Wide = __int128;

struct WideInterval {
  Wide min, max;
};

Wide floorDiv(Wide a, Wide b) { return a / b - (a % b < 0 ? 1 : 0); }
Wide ceilDiv(Wide a, Wide b) { return floorDiv(a, b) + (a % b != 0 ? 1 : 0); }

/// The hull of `f` at the four corners; right for every function here that is
/// monotone in each argument, whichever way.
template <typename F>
WideInterval corners(const Interval &a, const Interval &b, F f) {
  Wide c[] = {f(a.min, b.min), f(a.min, b.max), f(a.max, b.min),
              f(a.max, b.max)};
  return {*std::min_element(c, c + 4), *std::max_element(c, c + 4)};
}

WideInterval combine(Op op, const Interval &a, const Interval &b) {
  switch (op) {
  case Op::Add:
    return corners(a, b, [](Wide x, Wide y) { return x + y; });
  case Op::Sub:
    return corners(a, b, [](Wide x, Wide y) { return x - y; });
  case Op::Mul:
    return corners(a, b, [](Wide x, Wide y) { return x * y; });
  case Op::FloorDiv:
    return corners(a, b, floorDiv);
  case Op::CeilDiv:
    return corners(a, b, ceilDiv);
  case Op::Mod:
    // Unchanged where the dividend lies below every divisor.
    if (a.min >= 0 && a.max < b.min)
      return {a.min, a.max};
    return {0, Wide{b.max} - 1};
  case Op::Min:
    return {std::min(a.min, b.min), std::min(a.max, b.max)};
  default:
    return {std::max(a.min, b.min), std::max(a.max, b.max)};
  }
}

Diagnostic tooLarge() {
  return fail(Errc::InvalidArgument,
              "a size does not fit 64 bits over the ranges of the symbols",
              {"prepare the context for smaller ranges"});
}

} // namespace

Result<Interval> quern::boundsOf(const SymExpr &expr,
                                 std::span<const Interval> symbols) {
  std::vector<Interval> stack;
  for (const SymExpr::Node &node : expr.nodes()) {
    if (node.op == Op::Constant) {
      stack.push_back({node.value, node.value});
      continue;
    }
    if (node.op == Op::Symbol) {
      if (static_cast<uint64_t>(node.value) >= symbols.size())
        return fail(Errc::InvalidArgument, "a size uses an unknown symbol");
      stack.push_back(symbols[node.value]);
      continue;
    }
    Interval b = stack.back();
    stack.pop_back();
    Interval a = stack.back();
    stack.pop_back();
    bool divides =
        node.op == Op::FloorDiv || node.op == Op::CeilDiv || node.op == Op::Mod;
    if (divides && b.min < 1)
      return fail(Errc::InvalidArgument,
                  "a size is divided by a number that may be below 1");
    WideInterval r = combine(node.op, a, b);
    if (r.min < INT64_MIN || r.max > INT64_MAX)
      return tooLarge();
    stack.push_back({static_cast<int64_t>(r.min), static_cast<int64_t>(r.max)});
  }
  return stack.back();
}

bool quern::narrow(std::vector<Interval> &symbols,
                   std::span<const RangeDesc> when) {
  for (const RangeDesc &range : when) {
    Interval &symbol = symbols[range.symbol];
    symbol.min = std::max(symbol.min, range.min);
    symbol.max = std::min(symbol.max, range.max);
    if (symbol.min > symbol.max)
      return false;
  }
  return true;
}

Result<uint64_t> quern::maxBytes(const BufferDesc &buffer,
                                 std::span<const Interval> symbols) {
  std::vector<int64_t> extents;
  for (const SymExpr &dim : buffer.shape) {
    Result<Interval> bounds = boundsOf(dim, symbols);
    if (!bounds)
      return bounds.error();
    if (bounds->max <= 0)
      return uint64_t{0};
    extents.push_back(bounds->max);
  }
  // The row first: its bytes may be fewer than its elements.
  int64_t bytes = 1;
  if (extents.empty())
    extents.push_back(1);
  if (isPacked(buffer.dtype))
    extents.back() = static_cast<int64_t>(
        rowBytes(buffer.dtype, static_cast<uint64_t>(extents.back())));
  else
    bytes = byteWidth(buffer.dtype);
  for (int64_t extent : extents)
    if (__builtin_mul_overflow(bytes, extent, &bytes))
      return tooLarge();
  return static_cast<uint64_t>(bytes);
}
