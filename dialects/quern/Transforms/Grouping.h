//===- Grouping.h - Groups of ops that become kernels -----------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// The mechanics of grouping, without any policy: which op is in which group,
// whether joining ops would make two groups wait for each other, and turning
// groups into quern.kernel ops. FormKernels.cpp decides who joins whom.
//
// *Free* ops (constants, shape ops, the parts of a quantized tensor, and
// dequantization) are index maps or nearly so: they belong to no group, and
// each kernel gets a copy of those it looks through. A free op that is *kept*
// has a kernel of its own instead, and is loaded like any other.
//
// Walks are lists of what is to do, not calls within calls: a layer may be
// as long as memory allows, the stack may not.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_DIALECTS_QUERN_TRANSFORMS_GROUPING_H
#define QUERN_DIALECTS_QUERN_TRANSFORMS_GROUPING_H

#include "dialects/quern/Transforms/Passes.h"

#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/SetVector.h"

#include <functional>
#include <string>

namespace quern::ir {

class Grouping {
public:
  using Ops = llvm::SetVector<mlir::Operation *>;

  explicit Grouping(mlir::func::FuncOp layer);

  /// The most ops of a group. Longer rows of ops are cut: a kernel's text, its
  /// registers and the time to compile it grow with it, what it saves does not.
  static constexpr size_t maxOps = 256;

  /// Whether ops of this kind are free.
  static bool isFreeKind(mlir::Operation *op);
  /// Whether each kernel copies the op instead of loading its result.
  bool isFree(mlir::Operation *op) const {
    return isFreeKind(op) && !kept.contains(op);
  }
  /// Gives a free op a group of its own.
  void keep(mlir::Operation *op) {
    kept.insert(op);
    create(op);
  }

  /// The group of an op, or -1.
  int groupOf(mlir::Operation *op) const;
  int groupOf(mlir::Value value) const;
  const Ops &members(int group) const { return groups[group]; }
  unsigned size() const { return groups.size(); }
  /// The layer's ops in program order.
  llvm::ArrayRef<mlir::Operation *> ops() const { return program; }
  unsigned positionOf(mlir::Operation *op) const { return position.lookup(op); }

  int create(mlir::Operation *op);
  /// Adds an op to a group, or all of another group's; false (and nothing
  /// changed) when the groups would then wait for each other, or be too large.
  bool tryAdd(int group, mlir::Operation *op);
  /// The same for an op that only this group uses: nothing can wait for it.
  bool tryAbsorb(int group, mlir::Operation *op);
  bool tryMerge(int group, int other);

  /// The values that `value` is made of, looking through free ops; true when
  /// there are free ops between.
  bool getRoots(mlir::Value value,
                llvm::SmallVectorImpl<mlir::Value> &roots) const;
  /// True when every use of the op's results is by members of `group`,
  /// looking through free ops.
  bool usedOnlyBy(mlir::Operation *op, int group) const;

  /// Replaces the layer's body by kernels in an order that computes values
  /// before their uses. `describe` gives each group's name and reason.
  void
  materialize(llvm::function_ref<std::pair<std::string, std::string>(int group)>
                  describe);

private:
  bool wouldCycle(const Ops &set) const;
  unsigned lastThatMayReturn(const Ops &set) const;
  void assign(int group, mlir::Operation *op);
  void collectInputs(int group, llvm::SetVector<mlir::Value> &inputs) const;
  llvm::SmallVector<int>
  getOrder(llvm::ArrayRef<llvm::SetVector<mlir::Value>> inputs) const;
  /// The members of a group and the free ops they look through, in program
  /// order.
  llvm::SmallVector<mlir::Operation *> getBody(int group) const;

  mlir::func::FuncOp layer;
  llvm::SmallVector<mlir::Operation *> program;
  llvm::DenseMap<mlir::Operation *, unsigned> position;
  llvm::DenseMap<mlir::Operation *, int> assigned;
  std::vector<Ops> groups;
  /// The first and last position of each group's ops.
  std::vector<std::pair<unsigned, unsigned>> spans;
  llvm::DenseSet<mlir::Operation *> kept;
};

} // namespace quern::ir

#endif // QUERN_DIALECTS_QUERN_TRANSFORMS_GROUPING_H
