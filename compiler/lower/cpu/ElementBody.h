//===- ElementBody.h - Element bodies as LLVM values ------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// A body of the tile dialect computes one element. Here it becomes code for
// `lanes` elements at once: neighbours along one of its index arguments, the
// lane dimension. A value that is the same for every lane stays a scalar, and
// an index that grows by the same step from lane to lane stays a pair (first
// lane, step), because what matters about an access is its step between lanes:
//
//     step 1   one vector load or store
//     step 0   a scalar load, used by all lanes
//     other    lane by lane (gather, scatter)
//
// Division of a lane index by a multiple of the lane count, when the first
// lane is known to be a multiple too, is the same for all lanes: this is how
// the scales of groups and blocks become scalar loads.
//
// With a mask, lanes switched off touch no memory; lane 0 must be on.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_COMPILER_LOWER_CPU_ELEMENTBODY_H
#define QUERN_COMPILER_LOWER_CPU_ELEMENTBODY_H

#include "compiler/lower/cpu/Emitter.h"
#include "dialects/tile/IR/Tile.h"

#include "llvm/ADT/DenseMap.h"

namespace quern::cpugen {

/// A value of an element body.
struct Lane {
  /// A scalar (all lanes the same), or one value per lane. For an index with a
  /// step: its value in lane 0.
  llvm::Value *value = nullptr;
  /// For index values: what the next lane has more; null is 0.
  llvm::Value *step = nullptr;
  /// For index values: lane 0's value is a multiple of this.
  int64_t multiple = 1;

  bool isVector() const { return Emitter::width(value) > 1; }
};

/// An index's step between lanes, where it is a constant.
std::optional<int64_t> stepOf(const Lane &lane);

/// A buffer as a kernel sees it.
struct BufferView {
  llvm::Value *address = nullptr;
  DType dtype = DType::F32;
  /// In elements. Rows of packed elements count as even in length: all strides
  /// but the last one's are even.
  llvm::SmallVector<llvm::Value *, 6> strides;
  Memory memory = Memory::Read;
};

/// What all bodies of one kernel share.
struct KernelScope {
  Emitter &e;
  llvm::SmallVector<llvm::Value *> symbols; ///< i64 each.
  llvm::DenseMap<mlir::Value, BufferView> buffers;
  /// Extents of a map of symbols.
  llvm::SmallVector<llvm::Value *> sizes(mlir::AffineMap map);
};

class ElementBody {
public:
  /// `outer` holds the values of enclosing bodies; null at the top.
  ElementBody(KernelScope &scope, unsigned lanes, llvm::Value *mask,
              const ElementBody *outer = nullptr)
      : scope(scope), e(scope.e), lanes(lanes), mask(mask), outer(outer) {}

  void bind(mlir::Value value, Lane lane) { values[value] = lane; }
  Lane lookup(mlir::Value value) const;
  /// Emits one op that is neither a terminator nor holds a region.
  void emit(mlir::Operation &op);
  /// Emits all of a block but its terminator.
  void emit(mlir::Block &block);
  Lane affine(mlir::AffineExpr expr, llvm::ArrayRef<Lane> dims);
  /// Asks memory for what `op` would read, where neighbours stand in a row.
  void prefetch(tile::LoadOp op);
  /// One value per lane (or the scalar, with one lane).
  llvm::Value *spread(Lane lane);

  /// Makes `op` gather its lanes in the vector at `slot` instead of combining
  /// them into memory.
  void gather(tile::AccumulateOp op, llvm::Value *slot) { gathers[op] = slot; }
  /// Combines one value, or a vector of them, into the one place `op` names.
  void combine(tile::AccumulateOp op, llvm::Value *value);

  /// The index `base + lane`, base being a multiple of `multiple`.
  Lane laneIndex(llvm::Value *base, int64_t multiple);
  static Lane uniform(llvm::Value *value, int64_t multiple = 1) {
    return {value, nullptr, multiple};
  }

  KernelScope &scope;
  Emitter &e;
  const unsigned lanes;
  llvm::Value *const mask;

private:
  Lane element(const BufferView &view, mlir::AffineMap map,
               mlir::ValueRange indices);
  void emitLoad(tile::LoadOp op);
  /// From a buffer of packed elements, as i8 (PackedElements.cpp).
  llvm::Value *loadPacked(const BufferView &view, tile::LoadOp op);
  void emitStore(tile::StoreOp op);
  /// Whether vectors of quotients are made without dividing.
  bool isCodeQuotient(mlir::arith::DivFOp op);
  void emitCodeQuotient(mlir::arith::DivFOp op);
  /// What `ordinary` makes of the quotients where the scale is neither tiny nor
  /// huge, and `otherwise` elsewhere. They are finite there unless they
  /// `mayOverflow`. Beside a quotient `ordinary` gets x * (1/s), which has the
  /// sign of the quotient even where that is a zero and not `isSigned`.
  llvm::Value *emitQuotient(
      mlir::arith::DivFOp op, bool mayOverflow, bool isSigned,
      llvm::function_ref<llvm::Value *(llvm::Value *, llvm::Value *)> ordinary,
      llvm::function_ref<llvm::Value *(llvm::Value *)> otherwise);
  /// False where the conversion is not the end of an encoding.
  bool emitIntegerCode(mlir::arith::FPToSIOp op);
  /// False where the rounding is not that of a bounded quotient to 8 bits.
  bool emitFloatCode(mlir::arith::TruncFOp op);
  void emitAccumulate(tile::AccumulateOp op);
  void combineAt(tile::ReduceKind kind, llvm::Value *value,
                 llvm::Value *address);
  void emitIndexArithmetic(mlir::Operation &op);
  llvm::Value *emitArithmetic(mlir::Operation &op,
                              llvm::ArrayRef<llvm::Value *> in);
  llvm::Value *emitConversion(mlir::Operation &op, llvm::Value *in);
  llvm::Type *typeOf(mlir::Type type, llvm::Value *like);
  Lane constant(mlir::arith::ConstantOp op);

  const ElementBody *outer;
  llvm::DenseMap<mlir::Value, Lane> values;
  llvm::DenseMap<mlir::Operation *, llvm::Value *> gathers;
};

} // namespace quern::cpugen

#endif // QUERN_COMPILER_LOWER_CPU_ELEMENTBODY_H
