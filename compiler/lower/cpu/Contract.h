//===- Contract.h - How contractions run on a CPU ---------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// One scheme for every element type. The unit along K is a *step* of four
// bytes per operand element, what one 32-bit lane consumes:
//
//     kind       a step holds   multiply-add per lane               accumulator
//     Quads      4 x 8 bits     vpdpbusd (unsigned x signed),       i32
//                               sdot, udot (operands of one sign),
//                               pmaddubsw, add (4 x 8 bits)
//     Pairs      2 x i16        pmaddwd, add                        i32
//     Bf16Pairs  2 x bf16       vdpbf16ps                           f32
//     Singles    1 x f32        fma                                 f32
//
// 8-bit integers are Quads with vpdpbusd (unless both operands are unsigned)
// and with sdot and udot, and Pairs elsewhere, where codes are widened; all are
// exact. AVX2 alone has pmaddubsw, whose sums of two products saturate: Quads
// are then codes of four bits alone, with which they cannot, and neither can
// what 4 or 8 steps add up in 16 bits before pmaddwd widens it. Floats are of
// the class bounded. Where every operand's elements are bf16 and the target has
// the instruction they stay bf16; all others are decoded to f32, while packing
// or by chunks (StoredPanels.h). vdpbf16ps adds the products of a step's second
// elements, then those of its first, each by an fma of its own that takes
// subnormal elements and sums for zero (docs/numerics.md). It has no way to
// leave an element out, and 0 times what lies beyond the end may be NaN: what
// pads a step is zero on both sides, so that products split after an odd number
// of elements are Singles.
//
// *Right operands* are packed, once for weights and in every run for other
// data, into panels of NR columns, step by step:
//
//     [batch][ceil(N / NR)][group]{
//       [factors][NR] x 2 or 4 bytes, [header rows + steps][NR] x 4 bytes }
//
// The batch dimensions are those the operand varies along: a weight shared by a
// batch is packed once. Absent elements are zero (in columns that are absent as
// a whole, anything), so tails need no code in the inner loop. Without `split`
// there is one group of ceil(K / elements per step) steps. With split = g a
// group is g elements; its last step is padded where g is no multiple of a
// step, and what the left operand reads there belongs to the next group but
// meets a zero. In front of a group stand the scales of its columns and what
// else is applied to its sums (ColumnFactors.h).
//
// vpdpbusd wants unsigned times signed. With signed codes on both sides the
// left ones are shifted by 128 and the product corrected: sum (a + 128) b =
// sum a b + 128 sum b. The header row of a group holds -128 sum b for each
// column; accumulators start there instead of at zero. With only the right side
// unsigned the instruction's operands trade places. sdot and udot want one sign
// on both sides: where the signs differ the left codes get the right ones'
// sign, by 128 up as above or by 128 down, and then the header holds
// 128 sum b. All this is modulo 2^32, as the accumulator is.
//
// *Shared rows.* Bytes that are multiplied as Pairs stay bytes in their panels,
// and codes of four bits in Quads stay so: two steps share a row, the first in
// the low bytes of its pairs, or the low halves of its bytes. Tiles take them
// apart as they load them. With AVX-512, AVX-VNNI and on AArch64, where the
// rest of the loop is short, codes of four bits are taken apart before: but for
// blocks of one row tile, a chunk of a panel at a time goes into scratch (16
// KiB, in L1, or one group), and all row tiles of the block pass over that,
// before the next chunk. Codes of four bits that are multiplied as Pairs are
// packed as bytes.
//
// i4 codes in Quads have 8 added, and are multiplied so, as numbers from 0 to
// 15 that fit every operand of either sign: sum a (b + 8) = sum a b + 8 sum a.
// Of these the correction belongs to a row and group, is computed once when
// left rows are copied, and is where the accumulators of the row start.
//
// *Left operands* are copied into scratch by whoever computes a block of MC
// rows: shifted, widened or decoded. The rows of a tile are interleaved step by
// step, so that its loop reads one stream:
//
//     [row tile][step][MR] x 4 bytes
//
// A tile of fewer rows, and every tile where `split` is no multiple of a step
// or MR no power of two, has its rows one after the other instead, padded so
// that they do not fall on the same cache sets; either way a row takes
// `leftStride` bytes.
// The copy costs about K bytes per row against K * N / NR steps.
//
// An *item* is (batch, block of MC rows, panel of NR columns), panels fastest:
// neighbouring items share the copied rows. A tile is MR rows by one panel of
// accumulators in registers, or few rows by two panels, one of either half of
// the range that is computed (Blocking.h); it is stored to scratch (L1) for the
// epilogue, which runs once per tile and panel, row by row, on
// vectors along N. Several terms use the same copied rows one after the other.
// Where K is cut into chunks, the accumulators of all of a block's rows stay in
// scratch from chunk to chunk. Blocking.h says how the sizes are chosen.
//
// *Elements of floats* that are narrower than f32 stay as they are stored, and
// are decoded by chunks, or in registers where few rows have two panels:
// StoredPanels.h.
//
// The inner loop (RegisterTile.cpp) loads a step of the panel as it was packed;
// what bits are in a row is known to packing, to that load, and to what takes
// chunks apart.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_COMPILER_LOWER_CPU_CONTRACT_H
#define QUERN_COMPILER_LOWER_CPU_CONTRACT_H

#include "compiler/lower/cpu/Blocking.h"
#include "compiler/lower/cpu/Lowering.h"
#include "compiler/lower/cpu/StoredPanels.h"

namespace quern::cpugen {

struct ColumnFactors;

enum class StepKind : uint8_t { Quads, Pairs, Bf16Pairs, Singles };

/// Rows by panels of one register tile.
struct TileShape {
  unsigned rows;
  unsigned panels = 1;
};

/// A size that no symbol decides.
std::optional<int64_t> constantOf(mlir::AffineExpr expr);

/// The fixed choices for one contraction.
struct ContractPlan {
  ContractPlan(tile::ContractOp op, const CpuTarget &target);
  /// Takes other sizes than the model's, which are possible.
  void use(const Blocking &sizes) {
    blocking = sizes;
    rows = rowMultiple = sizes.rows;
    blockRows = sizes.blockRows;
  }

  mutable tile::ContractOp op; ///< A handle; MLIR's are not const-correct.
  StepKind kind;
  /// Left codes move by 128, to the other sign; a header row corrects it.
  bool shiftLeft;
  bool leftUnsigned, rightUnsigned;
  bool fourBits = false; ///< Panels hold right codes of four bits,
  bool biased = false;   ///< with 8 added: row sums correct it.
  /// The right operand is the instruction's unsigned one, the left is not.
  bool swapped;
  bool narrow; ///< Products of two bytes have to fit 16 bits.
  /// With those, steps whose sums of such products fit 16 bits too: of at most
  /// 2 x 15 x 255, or 2 x 15 x 128 with signed codes. 0: there are none.
  unsigned stepsOfTwos() const {
    return !narrow || kind != StepKind::Quads ? 0 : leftUnsigned ? 4 : 8;
  }
  /// How the multiply-add takes left codes.
  bool movedUnsigned() const { return leftUnsigned != shiftLeft; }
  /// Of the sum of a column's codes, what its header row holds.
  int headerFactor() const { return leftUnsigned ? 128 : -128; }
  unsigned lanes;     ///< 32-bit lanes of a vector.
  unsigned registers; ///< Vectors that the machine holds.
  unsigned rows;      ///< MR.
  unsigned columns;   ///< NR, two vectors.
  unsigned blockRows; ///< MC at most.
  /// Of which a block's rows are a multiple, unless they are the last.
  unsigned rowMultiple;
  Blocking blocking;
  unsigned numBatch;
  std::optional<int64_t> split;
  unsigned factorBytes = 0; ///< In front of each group of a panel.
  /// Panels hold elements that are decoded when they are read.
  std::optional<StoredPanels> storedPanels;

  unsigned elementsPerStep() const {
    return kind == StepKind::Quads ? 4 : kind == StepKind::Singles ? 1 : 2;
  }
  /// Accumulators are f32, not i32.
  bool sumsFloats() const {
    return kind == StepKind::Bf16Pairs || kind == StepKind::Singles;
  }
  /// A step's elements are as they lie in the buffer that a plain load reads.
  bool keepsElements() const {
    return kind == StepKind::Quads || kind == StepKind::Bf16Pairs;
  }
  unsigned elementBytes() const { return 4 / elementsPerStep(); }
  unsigned headerRows() const { return shiftLeft ? 1 : 0; }
  /// High halves are multiplied where they are, as 16 times what they mean, in
  /// accumulators of their own.
  bool keepsHalves(TileShape shape) const;
  unsigned rowBytes() const { return columns * 4; } ///< Of a step of a panel.
  unsigned tileBytes() const { return rows * rowBytes(); } ///< Accumulators.
  /// Two steps share a row of a panel as it is packed.
  bool sharesRows() const { return fourBits || kind == StepKind::Pairs; }
  unsigned stepsPerRow() const { return sharesRows() ? 2 : 1; } ///< As packed.
  unsigned packedStepBytes() const { return rowBytes() / stepsPerRow(); }
  /// Accumulators go on from those of the chunk before.
  bool continues() const { return blocking.chunkSteps && !split; }
  /// Codes of four bits are taken apart by chunks before many row tiles read
  /// them. Else tiles take shared rows apart themselves.
  bool takesApart() const { return fourBits && !narrow; }
  bool readsSharedRows() const { return sharesRows() && !takesApart(); }
  /// Groups whose codes of four bits are taken apart together; with `split`.
  int64_t chunkGroups() const;
  /// Register tiles read panels that were widened into scratch: four-bit codes
  /// of blocks of many rows, and stored elements.
  bool widensPanels() const { return takesApart() || storedPanels; }
  /// Bytes of a panel's chunk, or of one group of it, widened.
  int64_t wideGroupBytes() const;
  int64_t wideChunkBytes() const;

  /// Whether tiles of that many rows have theirs interleaved.
  bool interleaves(unsigned tileRows) const {
    return tileRows == rows && rows >= 4 && llvm::isPowerOf2_32(rows) &&
           (!split || *split % elementsPerStep() == 0);
  }
  /// How far ahead of its use a tile fetches its own panels, if it does.
  std::optional<int64_t> fetchesPanels(TileShape shape) const {
    return shape.panels == 2 ? blocking.fewAhead : std::nullopt;
  }
  /// In the names of functions that depend on MR, where it is not the usual.
  std::string rowsName() const {
    return rows == Blocking::usualRows(registers) ? ""
                                                  : fmt::format(".of{}", rows);
  }

  /// Those a tile can have: two panels of few rows, or one panel of more.
  llvm::SmallVector<TileShape> shapes() const;
  /// Of them, those of blocks with more row tiles than one.
  llvm::SmallVector<TileShape> shapesOfMany() const;

  mlir::AffineExpr extent(unsigned i) const {
    return op.getExtents().getResult(i);
  }
  mlir::AffineExpr m() const { return extent(numBatch); }
  mlir::AffineExpr n() const { return extent(numBatch + 1); }
  mlir::AffineExpr k() const { return extent(numBatch + 2); }
  mlir::AffineExpr groups() const;
  /// About what all right operands take in panels, where that is known.
  std::optional<int64_t> rightBytes() const;
  /// K, where it is known.
  std::optional<int64_t> constantK() const { return constantOf(k()); }
  /// With `split`: of a whole group, and whether all are whole.
  int64_t stepsOfSplit() const {
    return (*split + elementsPerStep() - 1) / elementsPerStep();
  }
  bool splitsEvenly() const { return constantK().value_or(1) % *split == 0; }
  /// Steps of a whole group.
  mlir::AffineExpr groupSteps() const;
  /// Rows of a group as packed, without its header.
  mlir::AffineExpr groupRows() const {
    if (storedPanels)
      return storedPanels->groupRows(k());
    return groupSteps().ceilDiv(stepsPerRow());
  }
  /// Groups as a panel has them.
  mlir::AffineExpr packedGroups() const {
    return storedPanels ? storedPanels->groups(k()) : groups();
  }
  /// Bytes of a group of a panel.
  mlir::AffineExpr groupBytes() const {
    if (storedPanels)
      return storedPanels->groupBytes(k());
    return (groupRows() + headerRows()) * rowBytes() + factorBytes;
  }
  /// Bytes of one panel.
  mlir::AffineExpr panelBytes() const { return packedGroups() * groupBytes(); }
  /// Bytes from one copied left row to the next.
  mlir::AffineExpr leftStride() const;
  mlir::AffineExpr panels() const { return n().ceilDiv(columns); }
  mlir::AffineExpr rowBlocks() const { return m().ceilDiv(blockRows); }
};

/// What a record knows the product by, and what it says of it; `schedules` may
/// be null. Where it says several things, `problem` tells.
ScheduledProduct scheduleProduct(const ContractPlan &plan,
                                 const Schedules *schedules,
                                 std::string &problem);

/// For each batch dimension, whether these operations of the block use its
/// index.
llvm::SmallVector<bool>
usesBatch(const ContractPlan &plan, mlir::Block &block,
          llvm::function_ref<bool(mlir::Operation *)> counts);

/// Writes the kernel that packs right operand `index`.
PackedOperand emitPacking(Emitter &e, tile::KernelOp kernel,
                          const ContractPlan &plan,
                          const ColumnFactors &factors, unsigned index,
                          const std::string &name);

/// The load of a right operand whose codes of four bits panels can hold, or
/// null: it is all its region does.
tile::LoadOp getFourBitLoad(tile::ContractOp op, mlir::Region &region);

/// One of the two steps that share a row. `keepHalves`: of the second 16 times
/// as much.
llvm::Value *takeStep(Emitter &e, const ContractPlan &plan, llvm::Value *row,
                      unsigned step, bool keepHalves = false);

/// The function void(group, groups, bytes between groups, rows, target) that
/// takes groups of a panel apart, `group` being the first row of the first.
llvm::Function *emitTakingApart(Emitter &e, const ContractPlan &plan);

/// The function void(left, stride, rows, K, groups, g, target) that sums
/// the codes of a tile's copied left rows by groups, and stores -8 times the
/// sums as [group][MR] x i32. `rows` of MR are interleaved where tiles can be.
llvm::Function *emitRowSums(Emitter &e, const ContractPlan &plan);

/// An element as an i32 lane of a step holds it: the code, or bits of bf16 or
/// f32.
llvm::Value *widen(Emitter &e, const ContractPlan &plan, llvm::Value *element,
                   mlir::Type type, bool isUnsigned);

/// Copies elements [from, end) of `count` rows of left operand `index`, from
/// row `first` on, to `target`, `stride` bytes from row to row.
void emitLeftCopy(KernelScope &scope, const ContractPlan &plan, unsigned index,
                  llvm::ArrayRef<llvm::Value *> batch, llvm::Value *first,
                  llvm::Value *count, llvm::Value *from, llvm::Value *end,
                  llvm::Value *target, llvm::Value *stride);

/// The function void(source, bytes between rows, row bytes, target) that
/// interleaves MR copied rows.
llvm::Function *emitInterleaving(Emitter &e, const ContractPlan &plan);

/// acc + left * right for one step, whose elements are lanes of 32 bits. With
/// stepsOfTwos `acc` is lanes of 16 bits.
llvm::Value *multiplyAdd(Emitter &e, const ContractPlan &plan, llvm::Value *acc,
                         llvm::Value *left, llvm::Value *right);

/// What a register tile works on. Addresses are those of the first row, panel
/// and step.
struct TileData {
  llvm::Value *left = nullptr;
  llvm::Value *stride = nullptr;     ///< Bytes from a left row to the next.
  llvm::Value *panel = nullptr;      ///< The header, where there is one.
  llvm::Value *panelBytes = nullptr; ///< From the first panel to the second.
  llvm::Value *steps = nullptr;
  bool sharesRows = false; ///< Two steps share a row of the panels.
  /// Accumulators to continue from, laid out as they are stored; null: they
  /// begin at the header, at `starts`, or zero.
  llvm::Value *sums = nullptr;
  llvm::Value *starts = nullptr; ///< An i32 for each row.
  /// Fetched into the caches in each step, `aheadStep` bytes further on each
  /// time. Null: nothing.
  llvm::Value *ahead = nullptr, *aheadStep = nullptr;
};

/// void tile(left, stride, panel, panelBytes, steps, sums, ahead, aheadStep,
/// starts): stores the accumulators of each panel as rows of NR, a tile's bytes
/// apart.
/// With chunks it continues from those that are there.
/// All contractions of a module whose tiles are alike share it.
/// `asPacked`: of panels that many row tiles read taken apart, as they are
/// packed; all steps at once.
llvm::Function *emitRegisterTile(Emitter &e, const ContractPlan &plan,
                                 TileShape shape, bool asPacked = false);

/// What stands for a tile's code in its name: everything it depends on.
std::string tileName(const ContractPlan &plan, TileShape shape, bool asPacked);

/// The arguments of a function of emitSplitTile.
struct SplitTileArguments {
  enum : unsigned {
    Left,   ///< The first group of the first row.
    Stride, ///< Bytes from a left row to the next.
    Panel,  ///< The first group's header.
    PanelBytes,
    PanelGroup, ///< Bytes from a group to the next.
    Groups,
    LastSteps, ///< Of the last one.
    Sums,      ///< f32 accumulators, to be added to.
    Factors,   ///< Of the first group; of a second panel PanelBytes further on.
    FactorGroup, ///< Bytes from a group's to the next one's.
    Starts,      ///< As in TileData, of the first group.
    Ahead,
    AheadStep,
    AheadGroup, ///< Bytes from a group to the next.
    count
  };
  static constexpr unsigned pointers[] = {Left,    Panel,  Sums,
                                          Factors, Starts, Ahead};
};

/// Adds to a tile's f32 sums those of some groups, each times its column's
/// factor: acc = fma(f32(part), factor, acc), group by group.
llvm::Function *emitSplitTile(Emitter &e, const ContractPlan &plan,
                              TileShape shape, bool asPacked,
                              mlir::Type factorType);

/// The loop over steps alone: panel by panel and row by row two vectors of
/// accumulators.
Emitter::Values emitTileLoop(Emitter &e, const ContractPlan &plan,
                             TileShape shape, const TileData &data);

} // namespace quern::cpugen

#endif // QUERN_COMPILER_LOWER_CPU_CONTRACT_H
