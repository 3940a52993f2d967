//===- SymExpr.cpp - Integer expressions over a layer's symbols -----------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/core/SymExpr.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

using namespace quern;

static constexpr size_t maxDepth = 64;

static bool isLeaf(SymExpr::Op op) {
  return op == SymExpr::Op::Constant || op == SymExpr::Op::Symbol;
}

/// Applies a binary operator; false on overflow or a divisor that is not
/// positive.
static bool apply(SymExpr::Op op, int64_t a, int64_t b, int64_t &out) {
  auto floorDiv = [](int64_t x, int64_t y) {
    return x / y - (x % y < 0 ? 1 : 0);
  };
  switch (op) {
  case SymExpr::Op::Add:
    return !__builtin_add_overflow(a, b, &out);
  case SymExpr::Op::Sub:
    return !__builtin_sub_overflow(a, b, &out);
  case SymExpr::Op::Mul:
    return !__builtin_mul_overflow(a, b, &out);
  case SymExpr::Op::FloorDiv:
    if (b <= 0)
      return false;
    out = floorDiv(a, b);
    return true;
  case SymExpr::Op::CeilDiv:
    if (b <= 0)
      return false;
    out = floorDiv(a, b) + (a % b != 0 ? 1 : 0);
    return true;
  case SymExpr::Op::Mod:
    if (b <= 0)
      return false;
    out = a - floorDiv(a, b) * b;
    return true;
  case SymExpr::Op::Min:
    out = std::min(a, b);
    return true;
  case SymExpr::Op::Max:
    out = std::max(a, b);
    return true;
  case SymExpr::Op::Constant:
  case SymExpr::Op::Symbol:
    break;
  }
  return false;
}

SymExpr SymExpr::constant(int64_t value) {
  SymExpr expr;
  expr.code = {Node{Op::Constant, value}};
  return expr;
}

SymExpr SymExpr::symbol(unsigned index) {
  SymExpr expr;
  expr.code = {Node{Op::Symbol, index}};
  return expr;
}

SymExpr SymExpr::binary(Op op, const SymExpr &lhs, const SymExpr &rhs) {
  int64_t folded;
  if (lhs.isConstant() && rhs.isConstant() &&
      apply(op, lhs.code[0].value, rhs.code[0].value, folded))
    return constant(folded);
  SymExpr expr;
  expr.code = lhs.code;
  expr.code.insert(expr.code.end(), rhs.code.begin(), rhs.code.end());
  expr.code.push_back(Node{op, 0});
  return expr;
}

bool SymExpr::isConstant() const {
  return code.size() == 1 && code[0].op == Op::Constant;
}

Result<int64_t> SymExpr::evaluate(std::span<const int64_t> symbols) const {
  std::array<int64_t, maxDepth> stack;
  size_t depth = 0;
  for (const Node &node : code) {
    if (node.op == Op::Constant) {
      stack[depth++] = node.value;
    } else if (node.op == Op::Symbol) {
      if (static_cast<uint64_t>(node.value) >= symbols.size())
        return fail(Errc::InvalidArgument,
                    fmt::format("expression uses symbol {} but only {} values "
                                "were given",
                                node.value, symbols.size()));
      stack[depth++] = symbols[node.value];
    } else {
      int64_t b = stack[--depth], a = stack[--depth], out;
      if (!apply(node.op, a, b, out))
        return fail(Errc::InvalidArgument,
                    "a size does not fit 64 bits, or is divided by a number "
                    "that is not positive");
      stack[depth++] = out;
    }
  }
  return stack[0];
}

std::string SymExpr::print(std::span<const std::string> names) const {
  // Binding strength: 2 atom or call, 1 product, 0 sum.
  struct Piece {
    std::string text;
    int strength;
  };
  std::vector<Piece> stack;
  for (const Node &node : code) {
    if (node.op == Op::Constant) {
      stack.push_back({fmt::format("{}", node.value), 2});
      continue;
    }
    if (node.op == Op::Symbol) {
      stack.push_back({static_cast<size_t>(node.value) < names.size()
                           ? names[node.value]
                           : fmt::format("s{}", node.value),
                       2});
      continue;
    }
    Piece b = std::move(stack.back());
    stack.pop_back();
    Piece a = std::move(stack.back());
    stack.pop_back();
    auto infix = [&](const char *op, int strength) {
      std::string l = a.strength < strength ? "(" + a.text + ")" : a.text;
      std::string r = b.strength <= strength ? "(" + b.text + ")" : b.text;
      stack.push_back({l + op + r, strength});
    };
    auto call = [&](const char *fn) {
      stack.push_back({fmt::format("{}({}, {})", fn, a.text, b.text), 2});
    };
    switch (node.op) {
    case Op::Add:
      infix(" + ", 0);
      break;
    case Op::Sub:
      infix(" - ", 0);
      break;
    case Op::Mul:
      infix(" * ", 1);
      break;
    case Op::FloorDiv:
      call("floordiv");
      break;
    case Op::CeilDiv:
      call("ceildiv");
      break;
    case Op::Mod:
      call("mod");
      break;
    case Op::Min:
      call("min");
      break;
    case Op::Max:
      call("max");
      break;
    case Op::Constant:
    case Op::Symbol:
      break;
    }
  }
  return stack.back().text;
}

Result<SymExpr> SymExpr::fromNodes(std::vector<Node> nodes) {
  size_t depth = 0;
  for (const Node &node : nodes) {
    if (node.op > Op::Max)
      return fail(Errc::InvalidFile, "unknown operator in a size expression");
    if (isLeaf(node.op))
      ++depth;
    else if (depth < 2)
      return fail(Errc::InvalidFile, "malformed size expression");
    else
      --depth;
    if (depth > maxDepth)
      return fail(Errc::InvalidFile, "size expression nested too deeply");
  }
  if (depth != 1)
    return fail(Errc::InvalidFile, "malformed size expression");
  SymExpr expr;
  expr.code = std::move(nodes);
  return expr;
}
