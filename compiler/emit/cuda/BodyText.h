//===- BodyText.h - Element bodies as CUDA C++ ------------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Turns the scalar ops of a region into statements: one row of a table per op
// (BodyText.cpp). Values become constants named by what they are (`product`,
// `w_scale`); constants, casts and loads used once stand inline where they are
// used.
//
// Strict numerics need nothing here: with `--fmad=false` each operator is one
// IEEE operation, and fma, exp, tanh and erf are calls (math.cuh).
//
// Refused, with the op's place: an op or type the target has no text for.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_COMPILER_EMIT_CUDA_BODYTEXT_H
#define QUERN_COMPILER_EMIT_CUDA_BODYTEXT_H

#include "compiler/emit/cuda/IndexText.h"
#include "compiler/emit/cuda/SourceText.h"
#include "dialects/tile/IR/Tile.h"
#include "runtime/core/Result.h"

#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/DenseSet.h"

namespace quern::emit {

/// How a type is spelled in a unit, empty for one CUDA code cannot hold.
std::string typeText(mlir::Type type);

/// What the language calls an element type; an MLIR type as MLIR prints it.
std::string languageName(mlir::Type type);

/// A diagnostic of kind Unsupported at an op's place.
Diagnostic refuse(mlir::Location location, std::string message,
                  std::vector<std::string> notes = {});

class BodyText {
public:
  BodyText(Symbols &symbols, NameScope &names, SourceText &out)
      : symbols(symbols), names(names), out(out) {}

  void bindBuffer(mlir::Value buffer, std::string name, bool written);
  /// From now on elements of the buffer are `held(m, n)`, m and n being the
  /// last two coordinates, m = 0 where there is one. Stores go to memory too
  /// unless the buffer has no name there. An empty text ends it.
  void bindHeld(mlir::Value buffer, std::string held) {
    Buffer &known = buffers[buffer];
    known.held = std::move(held);
    known.written = true;
  }
  void bindIndex(mlir::Value value, Index index) { indices[value] = index; }
  void bindScalar(mlir::Value value, std::string text) {
    scalars[value] = std::move(text);
  }

  llvm::StringRef bufferName(mlir::Value buffer) const {
    return buffers.find(buffer)->second.name;
  }
  Index index(mlir::Value value);
  std::vector<Index> indicesOf(mlir::ValueRange values);
  /// The text of an already emitted value.
  std::string scalar(mlir::Value value) const;

  /// The indices that differ between neighbouring threads. What an accumulation
  /// goes to is one place for all of them if it depends on none of these.
  void setLaneIndices(mlir::ValueRange values) {
    laneIndices.clear();
    laneIndices.insert(values.begin(), values.end());
  }
  /// The accumulation gathers in a variable instead.
  void bindAccumulator(tile::AccumulateOp op, std::string variable) {
    accumulators[op] = std::move(variable);
  }
  /// The word that an accumulation goes to, as a pointer.
  std::string targetOf(tile::AccumulateOp op);

  /// While set, stores happen only where this condition holds.
  void setStoreGuard(std::string condition) { guard = std::move(condition); }
  /// While set, stores reach memory only where this condition holds too; what
  /// is held gets them anyway.
  void setMemoryGuard(std::string condition) {
    memoryGuard = std::move(condition);
  }

  /// Emits one scalar op, load or store.
  Result<void> emit(mlir::Operation *op);
  /// Emits a body up to its tile.yield.
  Result<void> emitBody(mlir::Block &body);

  Symbols &symbols;
  NameScope &names;
  SourceText &out;

private:
  struct Buffer {
    std::string name, held;
    bool written = false;
  };
  /// An element's place in a buffer as C++ text.
  std::string elementText(const Buffer &buffer, tile::BufferType type,
                          llvm::ArrayRef<Index> at);
  Result<void> emitLoad(tile::LoadOp load);
  Result<void> emitStore(tile::StoreOp store);
  Result<void> emitAccumulate(tile::AccumulateOp op);
  Result<void> emitConstant(mlir::arith::ConstantOp op);
  Result<std::string> comparison(mlir::Operation *op);
  /// Binds a result to its text, inline or as a named constant.
  void define(mlir::Value value, std::string text, llvm::StringRef stem,
              bool inlined);

  llvm::DenseMap<mlir::Value, Buffer> buffers;
  llvm::DenseMap<mlir::Value, Index> indices;
  llvm::DenseMap<mlir::Value, std::string> scalars;
  llvm::DenseSet<mlir::Value> laneIndices;
  llvm::DenseMap<mlir::Operation *, std::string> accumulators;
  std::string guard, memoryGuard;
};

} // namespace quern::emit

#endif // QUERN_COMPILER_EMIT_CUDA_BODYTEXT_H
