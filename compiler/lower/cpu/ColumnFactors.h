//===- ColumnFactors.h - Scales of right operands, packed -------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// A factor of split accumulation is s_b[n, kb], s_a[m, kb] or the product of
// both. The right scales lie in memory along K, so that reading them for a
// vector of columns would be a gather per group and tile, which costs as much
// as the products of a short group. Everything in the `rescale` region that
// depends on n but not on m is therefore evaluated ahead of time, when the
// right operand is packed: scales, and zero points, which the sums of the left
// rows are multiplied with. A factor of the row alone is one number for all
// columns; there is nothing to pack then.
//
// The values stand in front of the group of the panel they belong to, each one
// vector of NR, in the order of use: what a tile reads is one stream, and what
// is fetched ahead holds them. A value that is widened from f16 or bf16 is kept
// narrow, where widening is an instruction.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_COMPILER_LOWER_CPU_COLUMNFACTORS_H
#define QUERN_COMPILER_LOWER_CPU_COLUMNFACTORS_H

#include "compiler/lower/cpu/Lowering.h"

#include <optional>

namespace quern::cpugen {

struct ContractPlan;

struct ColumnFactors {
  explicit ColumnFactors(const ContractPlan &plan, const CpuTarget &target);

  /// The region can be rescaled in registers: what is left of it reads nothing
  /// that varies along N.
  bool usable = false;
  /// Those, in order.
  llvm::SmallVector<mlir::Operation *> otherOps;

  /// A value that depends on the column and not on the row, and is used by
  /// what does, or yielded; f32 or i32.
  struct Factor {
    mlir::Value value;
    mlir::Value stored; ///< Itself, or what it is widened from.
    unsigned operand;   ///< The right operand whose panels hold it.
    unsigned offset;    ///< In bytes, within a group's factors there.
  };
  llvm::SmallVector<Factor> values;
  /// Of a group in a panel of any right operand; a multiple of a vector.
  unsigned bytes = 0;

  /// For each term the one of `values` that is its factor, if nothing else
  /// remains to be done: no other operations, nothing added to sums.
  std::optional<llvm::SmallVector<unsigned>> plain;

  bool isPlain() const { return plain.has_value(); }
  /// What the factors of all terms are stored as.
  mlir::Type plainType() const {
    return values[plain->front()].stored.getType();
  }

  /// Of an operand's values, to go on in a sentence.
  std::string text(unsigned operand) const;
  /// What has to be evaluated for an operand's values, in order.
  llvm::SmallVector<mlir::Operation *> sliceFor(unsigned operand) const;
  /// Writes an operand's values of a group, which begins at `target`, for the
  /// vector of columns from `first` on, the panel's `column`; `mask` has the
  /// columns that exist, null: all.
  void emit(KernelScope &scope, const ContractPlan &plan, unsigned operand,
            llvm::ArrayRef<llvm::Value *> batch, llvm::Value *first,
            llvm::Value *group, llvm::Value *mask, llvm::Value *column,
            llvm::Value *target) const;
  /// Reads a value for the vector of columns at `address`.
  static llvm::Value *load(Emitter &e, unsigned lanes, mlir::Type stored,
                           llvm::Value *address);
  /// Bytes of an element as it is packed.
  static unsigned bytesOf(mlir::Type stored) {
    return stored.getIntOrFloatBitWidth() / 8;
  }

private:
  mlir::Block *block = nullptr;
};

} // namespace quern::cpugen

#endif // QUERN_COMPILER_LOWER_CPU_COLUMNFACTORS_H
