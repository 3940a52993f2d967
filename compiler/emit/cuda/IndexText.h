//===- IndexText.h - Index expressions as C++ text --------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Affine expressions become C++ with as few casts as are safe: every
// expression carries the interval its value lies in, and one whose interval
// leaves `int` is computed in `s64`. Coordinates and symbols are `int`: a
// symbol without a declared maximum is taken to be below 2^31 (the module says
// so, and runs beyond are refused), and offsets into large buffers become
// 64-bit.
//
// Divisors are positive. Where a dividend may be negative the rounding helpers
// of common/types.cuh are used, else plain `/` and `%`.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_COMPILER_EMIT_CUDA_INDEXTEXT_H
#define QUERN_COMPILER_EMIT_CUDA_INDEXTEXT_H

#include "dialects/tile/IR/Tile.h"

#include <cstdint>
#include <set>
#include <string>
#include <vector>

namespace quern::emit {

/// An integer expression with its range.
struct Index {
  std::string text;
  int strength = 2; ///< 2: name, literal or call; 1: product; 0: sum.
  int64_t lo = 0, hi = 0;

  static Index constant(int64_t value);
  /// A variable in [0, count).
  static Index variable(std::string name, int64_t count);
  /// A variable of unknown 64-bit value.
  static Index unknown(std::string name);
  bool isConstant() const { return lo == hi; }
  bool isWide() const { return lo < INT32_MIN || hi > INT32_MAX; }
  /// "int" or "s64".
  const char *type() const { return isWide() ? "s64" : "int"; }
  /// The text, in parentheses where it is not one unit.
  std::string unit() const;
};

/// The layer's symbols as a kernel sees them.
class Symbols {
public:
  explicit Symbols(mlir::ArrayRef<mlir::Attribute> symbols);

  unsigned size() const { return names.size(); }
  llvm::StringRef name(unsigned i) const { return names[i]; }
  /// What text calls a symbol, where its own name cannot stand in C++.
  void rename(unsigned i, std::string text) { names[i] = std::move(text); }
  Index symbol(unsigned i);
  /// Symbols mentioned by any text made so far.
  const std::set<unsigned> &used() const { return usedSymbols; }

  /// An affine expression of `dims` and the symbols.
  Index affine(mlir::AffineExpr expr, llvm::ArrayRef<Index> dims = {});
  /// All results of a map.
  std::vector<Index> affine(mlir::AffineMap map,
                            llvm::ArrayRef<Index> dims = {});
  /// The largest number known to divide the expression; 0 divides as the
  /// constant 0 does. Dimensions are divided by 1 only.
  int64_t divisor(mlir::AffineExpr expr) const;
  /// The offset of an element of a row-major buffer.
  Index offset(tile::BufferType buffer, llvm::ArrayRef<Index> at);

private:
  std::vector<std::string> names;
  std::vector<int64_t> minimum, maximum, multiple;
  std::set<unsigned> usedSymbols;
};

Index operator+(const Index &a, const Index &b);
Index operator*(const Index &a, const Index &b);
Index divide(const Index &a, const Index &b);
Index modulo(const Index &a, const Index &b);
Index divideUp(const Index &a, const Index &b);
Index least(const Index &a, const Index &b);

} // namespace quern::emit

#endif // QUERN_COMPILER_EMIT_CUDA_INDEXTEXT_H
