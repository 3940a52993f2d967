//===- Symbols.h - A layer's symbolic dimensions ----------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Extents are affine expressions over a layer's symbols (`2*K`, `ceil(K/128)`),
// with each symbol's range and divisor known. This part answers two questions
// about them: are they equal (by simplification, as the dialect compares), and
// is one never negative. The second bounds an expression from below by a
// linear one over the rationals, with
//
//     e/c <= ceil(e/c) <= (e + c - 1)/c,
//
// exact where the symbols' divisors show that c divides e; the linear form's
// minimum over the box of ranges is at its corner. So `N - ceil(N/2) >= 0` is
// proven, and everything that is reported as not provable names its range.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_COMPILER_FRONTEND_SYMBOLS_H
#define QUERN_COMPILER_FRONTEND_SYMBOLS_H

#include "compiler/frontend/Source.h"

#include "mlir/IR/AffineExpr.h"
#include "mlir/IR/BuiltinTypes.h"

namespace quern::frontend {

/// The largest extent of one dimension, and the largest value of a symbol.
inline constexpr int64_t maxExtent = 2147483647;
/// The most symbols of a layer, which is what a module holds.
inline constexpr size_t maxSymbols = 64;
/// The largest rank of a tensor.
inline constexpr size_t maxRank = 6;

struct Symbol {
  std::string name;
  int64_t min = 0;
  int64_t max = maxExtent;
  int64_t multiple = 1;
  Place place;
};

class SymbolSpace {
public:
  explicit SymbolSpace(mlir::MLIRContext *context) : context(context) {}

  /// The index of the symbol of that name, or -1.
  int find(llvm::StringRef name) const;
  unsigned add(Symbol symbol);
  Symbol &operator[](unsigned i) { return symbols[i]; }
  const Symbol &operator[](unsigned i) const { return symbols[i]; }
  unsigned size() const { return static_cast<unsigned>(symbols.size()); }
  mlir::MLIRContext *getContext() const { return context; }

  mlir::AffineExpr constant(int64_t value) const;
  mlir::AffineExpr symbol(unsigned index) const;
  mlir::AffineExpr simplify(mlir::AffineExpr expr) const;

  /// False when a coefficient of `expr` could leave 63 bits; such an
  /// expression must not be simplified.
  bool isSmall(mlir::AffineExpr expr) const;
  /// The largest lower bound this part can prove; nothing when it cannot
  /// bound the expression.
  std::optional<int64_t> lowerBound(mlir::AffineExpr expr) const;
  bool isNeverNegative(mlir::AffineExpr expr) const {
    std::optional<int64_t> bound = lowerBound(simplify(expr));
    return bound && *bound >= 0;
  }

  /// As the language writes it: `2*K - 1`, `K/128` for the ceiling.
  std::string print(mlir::AffineExpr expr) const;
  /// `f16[M, 64]`; `i8[M, K] * f32[M, K/128]`.
  std::string print(mlir::Type type) const;
  std::string printShape(llvm::ArrayRef<mlir::AffineExpr> dims) const;
  /// `M in 1..4096`, for notes.
  std::string printRange(unsigned index) const;
  /// The ranges of every symbol in an expression, for notes.
  std::string printRanges(mlir::AffineExpr expr) const;

  /// Why a rule about a symbol is wrong; empty when it is right.
  static std::string checkRange(const Symbol &symbol);

private:
  mlir::MLIRContext *context;
  std::vector<Symbol> symbols;
};

} // namespace quern::frontend

#endif // QUERN_COMPILER_FRONTEND_SYMBOLS_H
