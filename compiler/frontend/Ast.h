//===- Ast.h - A layer as written -------------------------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// The tree the parser makes and the lowering reads: what was written and
// where, with no meaning attached. The parser bounds the depth of every tree
// (`maxDepth`), so that walking or freeing one cannot exhaust the stack.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_COMPILER_FRONTEND_AST_H
#define QUERN_COMPILER_FRONTEND_AST_H

#include "compiler/frontend/Source.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace quern::frontend {

/// The deepest nesting of an expression.
inline constexpr unsigned maxDepth = 256;

//===----------------------------------------------------------------------===//
// Extents
//===----------------------------------------------------------------------===//

/// An integer expression over symbols: an extent, a slice bound, an axis.
struct DimExpr {
  enum class Kind { Number, Symbol, Add, Sub, Mul, CeilDiv, Neg };
  Kind kind = Kind::Number;
  Place place;
  int64_t number = 0;
  std::string symbol;
  std::unique_ptr<DimExpr> lhs, rhs;
  unsigned depth = 1;
};
using DimPtr = std::unique_ptr<DimExpr>;

//===----------------------------------------------------------------------===//
// Types
//===----------------------------------------------------------------------===//

/// `per token`, `per block(128, 128)`.
struct GranularityExpr {
  Place place;
  std::string word;
  std::vector<int64_t> extents;
};

/// `f16[M, 64]`, `i8[N, K] * f32[N, 1]`, `i8[M, K] per token * f16`; with zero
/// points `(u8[N, K] - u8[N, 1]) * f32[N, 1]`; without shapes in an argument of
/// quantize: `i8 per token`, `(u8 - u8) per token`.
struct TypeExpr {
  Place place;
  std::string element;
  bool hasShape = false;
  std::vector<DimPtr> dims;
  std::optional<GranularityExpr> granularity;
  bool hasScale = false; ///< `* f32...` was written
  Place scalePlace;
  std::string scaleElement;
  bool scaleHasShape = false;
  std::vector<DimPtr> scaleDims;
  bool hasZeros = false; ///< `(codes - u8...)` was written
  Place zerosPlace;
  std::string zerosElement;
  bool zerosHaveShape = false;
  std::vector<DimPtr> zerosDims;
};

//===----------------------------------------------------------------------===//
// Expressions
//===----------------------------------------------------------------------===//

struct Expr;
using ExprPtr = std::unique_ptr<Expr>;

/// An argument of a call: an expression, a type or a list of extents.
struct Argument {
  Place place;
  std::string name; ///< of `name = value`; empty for a positional one
  ExprPtr value;
  std::optional<TypeExpr> type;
  std::optional<std::vector<DimPtr>> list;
};

/// `start:stop:step`; absent parts are null.
struct SliceItem {
  Place place;
  DimPtr start, stop, step;
  bool isRange = false; ///< a colon was written
};

struct Expr {
  enum class Kind {
    Number,
    Name,      ///< `text`
    Negate,    ///< -lhs
    Binary,    ///< lhs `text` rhs
    Transpose, ///< lhs.T
    As,        ///< lhs as `text`
    Call,      ///< `text`(arguments)
    Slice,     ///< lhs[items]
  };
  Kind kind = Kind::Number;
  Place place; ///< the operator's, or the start of anything else
  double number = 0;
  std::string text;
  Place typePlace; ///< of the type after `as`
  ExprPtr lhs, rhs;
  std::vector<Argument> arguments;
  std::vector<SliceItem> items;
  unsigned depth = 1;
};

//===----------------------------------------------------------------------===//
// Layers
//===----------------------------------------------------------------------===//

struct Parameter {
  Place place;
  std::string name;
  bool isWeight = false;
  bool isInout = false;
  TypeExpr type;
};

struct ResultDecl {
  Place place;
  std::string name; ///< empty when unnamed
  TypeExpr type;
};

/// `M in 1..4096` or `K % 64 == 0`.
struct SymbolRule {
  Place place;
  std::string symbol;
  bool isRange = false;
  int64_t min = 0, max = 0, multiple = 1;
  Place valuePlace;
};

struct Statement {
  Place place;
  std::string name; ///< empty for `return`
  std::vector<ExprPtr> values;
  bool isReturn() const { return name.empty(); }
};

struct Layer {
  Place place;
  std::string name;
  std::vector<Parameter> parameters;
  std::vector<ResultDecl> results;
  std::vector<SymbolRule> rules;
  std::vector<Statement> statements;
  Place end; ///< of the closing brace
  /// The header could not be read whole: the body is not checked, since every
  /// missing name in it would be an error of its own.
  bool broken = false;
};

} // namespace quern::frontend

#endif // QUERN_COMPILER_FRONTEND_AST_H
