//===- SymExpr.h - Integer expressions over a layer's symbols ---*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// A layer's dimensions may be symbols (`M`) whose values arrive with each run.
// Everything a launch needs that depends on them (buffer shapes, grids, item
// counts, workspace sizes) is a SymExpr: a tiny expression stored in the
// module in postfix order and evaluated without allocation by the runtime.
//
// Division rounds as named and is defined for positive divisors only.
// Evaluation saturates nothing: an overflow of int64 or a division by zero is
// reported, since a size that wrapped is a memory error waiting to happen.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_CORE_SYMEXPR_H
#define QUERN_CORE_SYMEXPR_H

#include "runtime/core/Result.h"

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace quern {
inline namespace v0 {

class SymExpr {
public:
  /// Values are part of the module format: never renumber, only append.
  enum class Op : uint8_t {
    Constant = 0, ///< pushes `value`
    Symbol = 1,   ///< pushes the symbol with index `value`
    Add = 2,
    Sub = 3,
    Mul = 4,
    FloorDiv = 5,
    CeilDiv = 6,
    Mod = 7,
    Min = 8,
    Max = 9,
  };
  struct Node {
    Op op = Op::Constant;
    int64_t value = 0;
    bool operator==(const Node &) const = default;
  };

  SymExpr() = default; ///< The constant 0.
  static SymExpr constant(int64_t value);
  static SymExpr symbol(unsigned index);
  /// Combines two expressions; folds when both are constants.
  static SymExpr binary(Op op, const SymExpr &lhs, const SymExpr &rhs);

  friend SymExpr operator+(const SymExpr &a, const SymExpr &b) {
    return binary(Op::Add, a, b);
  }
  friend SymExpr operator*(const SymExpr &a, const SymExpr &b) {
    return binary(Op::Mul, a, b);
  }
  static SymExpr ceilDiv(const SymExpr &a, const SymExpr &b) {
    return binary(Op::CeilDiv, a, b);
  }

  bool isConstant() const;
  /// The value for these symbol values; InvalidArgument on overflow, on a
  /// division by a non-positive number, and on a symbol out of range.
  Result<int64_t> evaluate(std::span<const int64_t> symbols) const;
  /// Infix text with the given names, such as `ceildiv(M, 128) * 4`.
  std::string print(std::span<const std::string> names) const;

  /// Postfix nodes, for (de)serialisation. `fromNodes` refuses sequences that
  /// do not leave exactly one value, or are deeper than 64.
  std::span<const Node> nodes() const { return code; }
  static Result<SymExpr> fromNodes(std::vector<Node> nodes);

  bool operator==(const SymExpr &) const = default;

private:
  std::vector<Node> code = {Node{}};
};

} // namespace v0
} // namespace quern

#endif // QUERN_CORE_SYMEXPR_H
