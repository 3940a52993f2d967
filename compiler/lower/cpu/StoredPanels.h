//===- StoredPanels.h - Float operands packed as they are stored *- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// A product of floats decodes its right operand: f32(code) times a scale,
// rounded to the type that is multiplied, as f32. Decoded while it is packed, a
// weight of four bits would take eight times its memory, and with one row,
// where reading is all that takes time, eight times its time. So the panels
// hold elements as they are stored, and whoever multiplies decodes a chunk of
// 128 steps into scratch (L1) and passes over that with all row tiles of a
// block: an element is decoded once for each block of rows. Few rows decode two
// panels in registers instead and use what they have at once: stores and loads
// would take longer than the multiplications. A panel that has no other beside
// it (the only one of a range, or the last of an odd number) is decoded by
// chunks whatever the rows.
//
//     [batch][ceil(N / NR)][group]{ [factors][NR], [rows][NR] stored elements }
//
// A row is one element of K, or two of four bits, the even one in the low
// half. A group is as many elements as all scales and zero points hold for;
// without such there is one group, which is K. Factors are what the operand's
// region computes from column and group alone (scales, zero points), evaluated
// while packing and kept as f16 or bf16 where that is what was widened; all
// else of the region is done in decoding. Bits are those of the
// region: the same operations on the same values.
//
// This takes a region with one load of an element of 16 bits or fewer, in which
// K enters all else by `k floordiv constant`, the constants multiples of the
// least, and right operands of one width. Others are decoded while packing, and
// so is what bf16 dot products read, whose steps are two elements wide; and
// elements that would be converted to or from f16 without an instruction for
// it.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_COMPILER_LOWER_CPU_STOREDPANELS_H
#define QUERN_COMPILER_LOWER_CPU_STOREDPANELS_H

#include "compiler/lower/cpu/CpuTarget.h"
#include "compiler/lower/cpu/Lowering.h"

#include <optional>
#include <vector>

namespace quern::cpugen {

struct ContractPlan;

/// A right operand whose panels hold its stored elements.
struct StoredOperand {
  static std::optional<StoredOperand> match(tile::ContractOp op, unsigned index,
                                            const CpuTarget &target);

  /// A value of column and group that decoding uses; f32 or i32.
  struct Factor {
    mlir::Value value;
    mlir::Value stored; ///< Itself, or what it is widened from.
  };

  mutable tile::LoadOp load; ///< Of the element; MLIR is not const-correct.
  DType dtype;               ///< What it is stored as.
  llvm::SmallVector<mlir::Operation *> loadOps;    ///< That its index needs.
  llvm::SmallVector<mlir::Operation *> columnOps;  ///< Evaluated in packing.
  llvm::SmallVector<mlir::Operation *> elementOps; ///< Evaluated in decoding.
  llvm::SmallVector<Factor> factors;
  std::optional<int64_t> group; ///< Elements for which factors hold.
};

/// Those of a contraction, whose panels are all of one size.
struct StoredPanels {
  /// Nothing where an operand has to be decoded while it is packed.
  static std::optional<StoredPanels>
  match(tile::ContractOp op, const CpuTarget &target, unsigned columns);

  std::vector<StoredOperand> operands;
  unsigned columns;     ///< NR.
  unsigned elementBits; ///< 4, 8 or 16.
  std::optional<int64_t> group;
  unsigned factorBytes = 0; ///< In front of each group.

  unsigned elementsPerRow() const { return elementBits == 4 ? 2 : 1; }
  unsigned rowBytes() const {
    return columns * elementBits * elementsPerRow() / 8;
  }
  /// Of K, where there is one group, or of a group.
  mlir::AffineExpr groupRows(mlir::AffineExpr k) const;
  mlir::AffineExpr groups(mlir::AffineExpr k) const;
  mlir::AffineExpr groupBytes(mlir::AffineExpr k) const;
  /// Bytes of a row for one column.
  unsigned storageBytes() const { return rowBytes() / columns; }
  /// What a row of a vector of columns is loaded as.
  llvm::Type *vectorType(Emitter &e, unsigned lanes) const;
  /// Bytes of a panel in front of an element's row; of an even element where a
  /// row is two. `bytes` are those of a group.
  llvm::Value *offsetOf(Emitter &e, llvm::Value *element,
                        llvm::Value *bytes) const;
  /// To go on in a sentence.
  std::string text(unsigned operand) const;

  /// Packs elements [kBegin, kEnd) of a group at `start`, for the vector of
  /// columns from `first` on, the panel's `column`; `mask` has the columns that
  /// exist, null: all. Up to `rows` of them all others are zero.
  void pack(KernelScope &scope, const ContractPlan &plan, unsigned operand,
            llvm::ArrayRef<llvm::Value *> batch, llvm::Value *first,
            llvm::Value *mask, llvm::Value *column, llvm::Value *kBegin,
            llvm::Value *kEnd, llvm::Value *rows, llvm::Value *start) const;

  /// What stands there for a vector of columns that do not exist: zero.
  void clear(Emitter &e, const ContractPlan &plan, llvm::Value *column,
             llvm::Value *rows, llvm::Value *start) const;

  /// The function void(panel, bytes of a group, begin, end, target) that
  /// decodes elements [begin, end), which are at most a chunk, to rows of NR x
  /// f32. `begin` is even.
  llvm::Function *emitDecoding(Emitter &e, const ContractPlan &plan,
                               unsigned operand, llvm::StringRef name) const;

  /// The function void(left, stride, panel, bytes to the second panel, bytes of
  /// a group, K, sums) that decodes two panels in registers and stores the
  /// products of so many left rows, rows of NR x f32 a tile's bytes apart.
  llvm::Function *emitFewRows(Emitter &e, const ContractPlan &plan,
                              unsigned operand, unsigned rows,
                              llvm::StringRef name) const;

private:
  /// An operand's factors of the group at `start`, for a vector of columns.
  llvm::SmallVector<llvm::Value *>
  loadFactors(Emitter &e, const ContractPlan &plan, unsigned operand,
              llvm::Value *start, unsigned half) const;
  /// The first `elements` of the row at `line`, as f32.
  Emitter::Values decodeRow(KernelScope &scope, const ContractPlan &plan,
                            unsigned operand, llvm::Value *line, unsigned half,
                            llvm::ArrayRef<llvm::Value *> factors,
                            unsigned elements) const;
  /// A row of the group at `start`.
  llvm::Value *lineOf(Emitter &e, llvm::Value *start, llvm::Value *row) const;
  /// Where a vector of columns begins in the first row of the group at `start`.
  llvm::Value *rowAddress(Emitter &e, llvm::Value *column,
                          llvm::Value *start) const;
  /// Where a factor is, from the start of a group.
  unsigned factorOffset(const StoredOperand &operand, unsigned number) const;
};

} // namespace quern::cpugen

#endif // QUERN_COMPILER_LOWER_CPU_STOREDPANELS_H
