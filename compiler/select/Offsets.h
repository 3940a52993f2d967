//===- Offsets.h - Places in buffers as numbers -----------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Which element an access touches, as arithmetic on numbers: the affine maps of
// a kernel with the layer's sizes put in, over *coordinates*, the indices that
// differ between threads and iterations. Whoever counts memory accesses
// (Traffic.h) numbers the coordinates, gives them values, and asks for offsets.
//
// An index that is data (a gather) has no such form: the offset is scattered.
//
// Sums and products wrap nowhere for sizes that buffers can have: extents are
// below 2^31 and buffers below 2^63 bytes, or the layer has been refused.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_COMPILER_SELECT_OFFSETS_H
#define QUERN_COMPILER_SELECT_OFFSETS_H

#include "compiler/select/Traffic.h"
#include "dialects/tile/IR/Tile.h"

#include "llvm/ADT/DenseMap.h"

#include <memory>
#include <optional>
#include <vector>

namespace quern::select {

/// constant + sum of factor * coordinate + sum of factor * quotient
class Offset {
public:
  static Offset constant(int64_t value);
  static Offset coordinate(unsigned number);
  static Offset scattered();

  int64_t at(llvm::ArrayRef<int64_t> coordinates) const;
  bool dependsOn(unsigned coordinate) const {
    return isScattered() || (used >> coordinate & 1);
  }
  /// Nothing is known of it but that it lies in the buffer.
  bool isScattered() const { return unknown; }
  std::optional<int64_t> asConstant() const;

  Offset &operator+=(const Offset &other);
  Offset times(int64_t factor) const;
  bool operator==(const Offset &other) const {
    return base == other.base && terms == other.terms &&
           quotients == other.quotients && unknown == other.unknown;
  }
  /// Quotients and the remainder by a positive number.
  Offset divided(mlir::AffineExprKind kind, int64_t divisor) const;

private:
  struct Quotient;

  int64_t base = 0;
  std::vector<std::pair<unsigned, int64_t>> terms;
  std::vector<std::pair<std::shared_ptr<const Quotient>, int64_t>> quotients;
  uint64_t used = 0; ///< A bit per coordinate.
  bool unknown = false;
};

struct Offset::Quotient {
  mlir::AffineExprKind kind;
  Offset dividend;
  int64_t divisor;
};

/// The numbering of coordinates, and offsets over them. At most 64.
class Coordinates {
public:
  explicit Coordinates(const Sizes &sizes) : sizes(sizes) {}

  /// Gives an index a number. Several may share one, whose values then are
  /// theirs in turn.
  void bind(mlir::Value index, unsigned number) { numbers[index] = number; }

  Offset of(mlir::Value index) const;
  Offset of(mlir::AffineExpr expr, llvm::ArrayRef<Offset> dims = {}) const;
  std::vector<Offset> of(mlir::AffineMap map, mlir::ValueRange indices) const;
  /// The element of a row-major buffer at map(indices).
  Offset element(tile::BufferType buffer, mlir::AffineMap map,
                 mlir::ValueRange indices) const;
  /// An expression of symbols alone.
  int64_t evaluate(mlir::AffineExpr expr) const { return of(expr).at({}); }

private:
  const Sizes &sizes;
  llvm::DenseMap<mlir::Value, unsigned> numbers;
};

} // namespace quern::select

#endif // QUERN_COMPILER_SELECT_OFFSETS_H
