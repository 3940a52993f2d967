//===- ElementEmitter.h - Scalars of tensors at an index --------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// The heart of the conversion: the scalar that a tensor value of a group has
// at an index. Within one kernel there are two kinds of places where scalars
// are computed:
//
//   - the *outer* body of a tile.blocks, whose indices are the point of the
//     domain: a scale of the block, a row's maximum;
//   - an *inner* body: an element body of a reduce or map, or a region of a
//     contract, with further indices.
//
// A value whose index needs outer dimensions only is computed in the outer
// body, once per point, before the op whose body asked for it; so reductions
// and scales leave the element loops by construction. A contract has no outer
// body. Values are memoised per body.
//
// Errors are reported at the op and remembered (`failed()`); emission goes on
// with a dummy so that callers need no checks in between.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_COMPILER_CONVERSION_ELEMENTEMITTER_H
#define QUERN_COMPILER_CONVERSION_ELEMENTEMITTER_H

#include "compiler/conversion/IndexMath.h"
#include "dialects/tile/IR/Tile.h"

#include <functional>
#include <map>
#include <optional>

namespace quern::conversion {

/// Which buffer of a value: a quantized one has codes, scales and maybe zeros.
enum class Part { Values, Codes, Scales, Zeros };

/// What a tile.buffer holds.
struct BufferKey {
  mlir::Value value;
  Part part = Part::Values;
  bool operator<(const BufferKey &other) const {
    return std::pair(value.getAsOpaquePointer(), part) <
           std::pair(other.value.getAsOpaquePointer(), other.part);
  }
};

/// Sees through codes, scales and make_qtensor, so that one memory has one
/// key.
BufferKey resolveBuffer(mlir::Value value, Part part = Part::Values);

/// The tensor a key stands for.
mlir::RankedTensorType getTensorType(const BufferKey &key);

/// The type a scalar of that element type has in a kernel: i8 for ui8.
mlir::Type getStoredType(mlir::Type element);

/// A tile.kernel under construction; its arguments appear as they are used.
struct KernelScope {
  tile::KernelOp kernel;
  unsigned numSymbols = 0;
  llvm::ArrayRef<mlir::Attribute> symbols; ///< #quern.symbol, in index order.
  mlir::func::FuncOp layer;
  std::vector<BufferKey> arguments;
  std::vector<bool> writes;

  mlir::Value getBuffer(const BufferKey &key, bool write);
};

class ElementEmitter {
public:
  /// `group` holds the ops computed here (may be null: everything is loaded).
  ElementEmitter(KernelScope &scope, mlir::Block *group)
      : scope(scope), group(group), builder(scope.kernel.getContext()) {}

  /// Starts the outer body; arguments become outer dimensions.
  Index openOuter(mlir::Block *block, llvm::ArrayRef<int64_t> extents);
  /// Runs `fill` with `block` as the inner body; its index arguments (the
  /// first `numIndices`) become inner dimensions, given as an index.
  void withInner(mlir::Block *block, llvm::ArrayRef<int64_t> extents,
                 llvm::function_ref<void(const Index &)> fill);

  /// The scalar as stored (i8 for ui8), and as an f32.
  mlir::Value emitStored(mlir::Value value, Index index);
  mlir::Value emitF32(mlir::Value value, Index index);
  /// The same for integers, widened to i32.
  mlir::Value emitI32(mlir::Value value, Index index);

  /// An element of a buffer, whatever the group.
  mlir::Value loadBuffer(mlir::Location loc, const BufferKey &key,
                         const Index &index) {
    return load(loc, key, simplifyAll(index));
  }

  /// Gives `value` at `index` in the current inner body.
  void define(mlir::Value value, const Index &index, mlir::Value scalar);

  void store(mlir::Location loc, mlir::Value scalar, const BufferKey &key,
             const Index &index) {
    storeBuffer(loc, scalar, scope.getBuffer(key, true), index);
  }
  void storeBuffer(mlir::Location loc, mlir::Value scalar, mlir::Value buffer,
                   const Index &index);

  /// A tile.reduce over the block at `block` (an index of the scale shape) of
  /// a tensor of type `shape`, in the outer body; `element` emits one
  /// element's contribution. `slot` tells apart the reductions of one op.
  mlir::Value reduce(mlir::Operation *op, unsigned slot, tile::ReduceKind kind,
                     mlir::RankedTensorType shape,
                     llvm::ArrayRef<int64_t> extents, const Index &block,
                     llvm::function_ref<mlir::Value(const Index &)> element);

  /// The number of elements of that block as an f32.
  mlir::Value blockCount(mlir::Location loc, mlir::RankedTensorType shape,
                         llvm::ArrayRef<int64_t> extents, const Index &block);

  /// Builds a tile.map over the block at `block`, in the outer body.
  void map(mlir::Location loc, mlir::RankedTensorType shape,
           llvm::ArrayRef<int64_t> extents, const Index &block,
           llvm::function_ref<void(const Index &)> element);

  /// Runs `emit` in the outer body.
  void atOuter(llvm::function_ref<void()> emit);

  bool failed() const { return errored; }
  mlir::OpBuilder &getBuilder() { return builder; }

private:
  struct Dim {
    mlir::Value value;
    bool inner = false;
  };
  /// Bodies memoise by (value or op, slot) and index.
  using Memo =
      std::map<std::pair<std::pair<const void *, unsigned>, const void *>,
               mlir::Value>;

  mlir::Value error(mlir::Operation *op, const llvm::Twine &message,
                    mlir::Type dummy);
  /// In which form an op wants an operand: as stored, as f32, or as i32.
  enum class Form { Stored, F32, I32 };
  struct Demand {
    mlir::Value value;
    Index index;
    Form form;
  };
  mlir::Operation *getComputedBy(mlir::Value value) const;
  /// What `value` at `index` is computed from, where that is a fixed list: an
  /// op with a body or an index of its own asks for the rest as it is emitted.
  llvm::SmallVector<Demand> operandsOf(mlir::Value value, const Index &index);
  bool isKnown(const Demand &demand);
  mlir::Value emit(const Demand &demand);
  /// Emits everything `value` at `index` is computed from.
  void emitOperands(mlir::Value value, const Index &index);
  mlir::Value compute(mlir::Value value, const Index &index);
  mlir::Value combine(mlir::Operation *op, mlir::Value value,
                      const Index &index, llvm::ArrayRef<mlir::Value> operands);
  mlir::Value combineDequantize(ir::DequantizeOp op, const Index &index,
                                llvm::ArrayRef<mlir::Value> operands);
  mlir::Value emitRowOp(mlir::Operation *op, const Index &index);
  mlir::Value emitReduce(ir::ReduceOp op, const Index &index);
  mlir::Value emitSumCodes(ir::SumCodesOp op, const Index &index);
  mlir::Value emitCountClipped(ir::CountClippedOp op, const Index &index);
  mlir::Value emitPercentile(ir::PercentileOp op, const Index &index);
  mlir::Value emitAddCounts(ir::AddCountsOp op, const Index &index);
  mlir::Value emitGather(ir::GatherOp op, const Index &index, mlir::Value row);
  mlir::Value emitConcat(ir::ConcatOp op, const Index &index);
  mlir::Value load(mlir::Location loc, const BufferKey &key,
                   const Index &index);
  /// Map and operands of an index, without the dimensions it does not use.
  std::pair<mlir::AffineMap, llvm::SmallVector<mlir::Value>>
  access(llvm::ArrayRef<mlir::AffineExpr> exprs);
  mlir::Value indexValue(mlir::Location loc, mlir::AffineExpr expr);
  mlir::AffineExpr addDim(mlir::Value value, bool inner, int64_t extent);
  Index simplifyAll(Index index);
  bool usesInner(llvm::ArrayRef<mlir::AffineExpr> exprs) const;
  Memo &currentMemo() { return inInner ? innerMemo : outerMemo; }
  std::pair<std::pair<const void *, unsigned>, const void *>
  memoKey(const void *what, unsigned slot, const Index &index);

  struct Box {
    Index element;
    llvm::SmallVector<mlir::AffineExpr> extents, clamp;
    llvm::SmallVector<int64_t> bounds;
    llvm::SmallVector<unsigned> boxDims;
    bool clamped = false;
  };
  Box getBox(mlir::RankedTensorType shape, llvm::ArrayRef<int64_t> extents,
             const Index &block);
  /// Fills the body of a reduce or map that was just built.
  void fillBox(mlir::Operation *op, mlir::Region &region, const Box &box,
               llvm::ArrayRef<int64_t> extents, const Index &block,
               llvm::function_ref<void(const Index &)> element);

  KernelScope &scope;
  mlir::Block *group;
  mlir::OpBuilder builder;
  llvm::SmallVector<Dim> dims;
  llvm::SmallVector<int64_t> dimExtents;
  mlir::Block *outerBlock = nullptr;
  /// The op of the outer body under construction, before which the outer
  /// values it needs are placed.
  mlir::Operation *outerAnchor = nullptr;
  Memo outerMemo, innerMemo;
  bool inInner = false;
  bool errored = false;
};

} // namespace quern::conversion

#endif // QUERN_COMPILER_CONVERSION_ELEMENTEMITTER_H
