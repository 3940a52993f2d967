//===- FormKernels.cpp - Which ops become one kernel ----------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// The policy. Contractions take what follows them first, since their
// accumulators are the dearest thing to move; reductions take what they can of
// the rest; element-wise ops gather what remains.
//
//===----------------------------------------------------------------------===//

#include "dialects/quern/Transforms/Grouping.h"

#include <fmt/format.h>

namespace quern::ir {
#define GEN_PASS_DEF_FORMKERNELS
#include "dialects/quern/Transforms/Passes.h.inc"
} // namespace quern::ir

using namespace mlir;
using namespace quern;
using namespace quern::ir;

namespace {

RankedTensorType getType(Value value) {
  return cast<RankedTensorType>(value.getType());
}

/// Ops computed per element from operands at (about) the same element.
bool isElementwise(Operation *op) {
  return isa<ElementwiseInterface>(op) || isa<EncodeOp>(op);
}

bool isRowOp(Operation *op) {
  return isa<ReduceOp, SumCodesOp, SoftmaxOp, RmsNormOp, LayerNormOp>(op);
}

/// The blocks a reduction works on.
struct Blocks {
  RankedTensorType shape;
  SmallVector<int64_t> extents;

  bool operator==(const Blocks &other) const {
    return getDims(shape) == getDims(other.shape) && extents == other.extents;
  }
  bool isElement(RankedTensorType type) const {
    return getDims(type) == getDims(shape);
  }
  bool isBlock(RankedTensorType type) const {
    return getDims(type) ==
           getDims(getBlockType(shape, extents, type.getElementType()));
  }
};

/// Block extents that cover a constant axis are the whole axis.
Blocks normalize(RankedTensorType shape, ArrayRef<int64_t> extents) {
  Blocks blocks{shape, SmallVector<int64_t>(extents)};
  for (auto [dim, extent] : llvm::zip_equal(getDims(shape), blocks.extents))
    if (coversAxis(extent, dim))
      extent = 0;
  return blocks;
}

Blocks getBlocks(Operation *op) {
  RankedTensorType shape = getType(op->getOperand(0));
  if (auto reduce = dyn_cast<ReduceOp>(op))
    return normalize(shape, reduce.getBlock());
  if (auto sums = dyn_cast<SumCodesOp>(op))
    return normalize(shape, sums.getBlock());
  SmallVector<int64_t> extents(shape.getRank(), 1);
  extents.back() = 0;
  return normalize(shape, extents);
}

bool hasPart(Operation *op, StringRef part) {
  auto attr = op->getAttrOfType<StringAttr>(partAttrName);
  return attr && attr.getValue() == part;
}

class KernelFormer {
public:
  KernelFormer(func::FuncOp layer, bool fuse)
      : layer(layer), grouping(layer), fuse(fuse) {}

  void run() {
    formProducts();
    formReductions();
    formElementwise();
    formOutputs();
    grouping.materialize([&](int group) { return describe(group); });
  }

private:
  void formProducts();
  void formReductions();
  void formElementwise();
  void formOutputs();
  void absorbProducers(int group);
  bool joinProduct(Operation *op);
  bool mergeable(int a, int b) const;
  bool joinReduction(int group, const Blocks &blocks, Operation *op);
  std::pair<std::string, std::string> describe(int group) const;

  /// True when an operand reaches the group through free ops: its element
  /// would be needed at another index than the one at hand.
  bool reachesIndirectly(Value operand, int group) const {
    SmallVector<Value> roots;
    if (!grouping.getRoots(operand, roots))
      return false;
    return llvm::any_of(
        roots, [&](Value root) { return grouping.groupOf(root) == group; });
  }
  bool isProduct(int group) const {
    return llvm::any_of(grouping.members(group), llvm::IsaPred<ContractOp>);
  }

  func::FuncOp layer;
  Grouping grouping;
  bool fuse;
};

//===----------------------------------------------------------------------===//
// Products
//===----------------------------------------------------------------------===//

/// Two products become two terms of one when they read the same left operand
/// and their right operands are alike.
bool KernelFormer::mergeable(int a, int b) const {
  SmallVector<ContractOp> ops;
  for (int group : {a, b})
    for (Operation *op : grouping.members(group))
      if (auto contract = dyn_cast<ContractOp>(op))
        ops.push_back(contract);
  // A product that another reads is finished before it starts.
  auto readsGroups = [&](Value operand) {
    SmallVector<Value> roots;
    grouping.getRoots(operand, roots);
    return llvm::any_of(roots, [&](Value root) {
      int group = grouping.groupOf(root);
      return group == a || group == b;
    });
  };
  return llvm::all_of(ops, [&](ContractOp op) {
    return llvm::none_of(op->getOperands(), readsGroups) &&
           op.getLhs() == ops[0].getLhs() &&
           op.getRhs().getType() == ops[0].getRhs().getType() &&
           op.getTransposeRhs() == ops[0].getTransposeRhs() &&
           op.getSplit() == ops[0].getSplit() &&
           op.getResult().getType() == ops[0].getResult().getType();
  });
}

bool KernelFormer::joinProduct(Operation *op) {
  // The products whose values it reads, the latest first.
  SmallVector<int> products;
  for (Value operand : llvm::reverse(op->getOperands())) {
    int group = grouping.groupOf(operand);
    if (group >= 0 && isProduct(group) &&
        !llvm::is_contained(products, group) &&
        getDims(getType(operand)) == getDims(getType(op->getResult(0))))
      products.push_back(group);
  }
  if (products.empty() || (!fuse && !hasPart(op, "product")))
    return false;
  if (fuse)
    for (size_t i = 1; i < products.size(); ++i)
      if (mergeable(products[0], products[i]))
        grouping.tryMerge(products[0], products[i]);
  for (int group : products) {
    if (grouping.members(group).empty())
      continue; // merged above
    if (llvm::any_of(op->getOperands(), [&](Value operand) {
          return reachesIndirectly(operand, group);
        }))
      continue;
    if (grouping.tryAdd(group, op))
      return true;
  }
  return false;
}

void KernelFormer::formProducts() {
  SmallVector<int> products;
  for (Operation *op : grouping.ops())
    if (isa<ContractOp>(op))
      products.push_back(grouping.create(op));
  for (bool changed = true; changed;) {
    changed = false;
    for (Operation *op : grouping.ops())
      if (isElementwise(op) && !Grouping::isFree(op) &&
          grouping.groupOf(op) < 0)
        changed |= joinProduct(op);
  }
  if (fuse)
    for (int group : products)
      absorbProducers(group);
}

/// Element-wise ops that only this group uses, and not as operands of a
/// contraction, which would compute them once per tile.
void KernelFormer::absorbProducers(int group) {
  for (bool changed = true; changed;) {
    changed = false;
    for (Operation *op : llvm::reverse(grouping.ops())) {
      if (grouping.groupOf(op) >= 0 || Grouping::isFree(op) ||
          !(isElementwise(op) || isa<GatherOp>(op)) || op->use_empty() ||
          !grouping.usedOnlyBy(op, group))
        continue;
      auto feedsProduct = [&](auto &self, Operation *producer) -> bool {
        return llvm::any_of(producer->getUsers(), [&](Operation *user) {
          return isa<ContractOp>(user) ||
                 (grouping.groupOf(user) < 0 && Grouping::isFree(user) &&
                  self(self, user));
        });
      };
      if (feedsProduct(feedsProduct, op))
        continue;
      changed |= grouping.tryAdd(group, op);
    }
  }
}

//===----------------------------------------------------------------------===//
// Reductions
//===----------------------------------------------------------------------===//

bool KernelFormer::joinReduction(int group, const Blocks &blocks,
                                 Operation *op) {
  bool reads = false;
  RankedTensorType type = getType(op->getResult(0));
  for (Value operand : op->getOperands()) {
    if (grouping.groupOf(operand) == group) {
      reads = true;
      continue;
    }
    // Scales of the blocks repeated over them are still the block's scalars.
    auto expand = operand.getDefiningOp<ExpandScalesOp>();
    if (expand && grouping.groupOf(expand.getInput()) == group &&
        normalize(getType(expand.getResult()), expand.getBlock()) == blocks) {
      reads = true;
      continue;
    }
    if (reachesIndirectly(operand, group))
      return false;
  }
  if (isRowOp(op)) {
    // Another reduction over the same blocks, of a value at hand or of the
    // very tensor the group reads already.
    bool shares = llvm::any_of(grouping.members(group), [&](Operation *member) {
      return isRowOp(member) && member->getOperand(0) == op->getOperand(0);
    });
    return (reads || shares) && getBlocks(op) == blocks &&
           grouping.tryAdd(group, op);
  }
  if (!reads)
    return false;
  if (auto encode = dyn_cast<EncodeOp>(op)) {
    bool scalesHere = grouping.groupOf(encode.getScales()) == group;
    return (!scalesHere || normalize(encode.getInput().getType(),
                                     encode.getBlock()) == blocks) &&
           blocks.isElement(type) && grouping.tryAdd(group, op);
  }
  return (blocks.isElement(type) || blocks.isBlock(type)) &&
         grouping.tryAdd(group, op);
}

void KernelFormer::formReductions() {
  for (Operation *anchor : grouping.ops()) {
    if (!isRowOp(anchor) || grouping.groupOf(anchor) >= 0)
      continue;
    int group = grouping.create(anchor);
    Blocks blocks = getBlocks(anchor);
    for (bool changed = true; changed;) {
      changed = false;
      for (Operation *op : grouping.ops()) {
        if (grouping.groupOf(op) >= 0 || Grouping::isFree(op) ||
            !(isElementwise(op) || isRowOp(op)) ||
            (!fuse && !(hasPart(anchor, "quantize") &&
                        hasPart(op, "quantize") && !isRowOp(op))))
          continue;
        changed |= joinReduction(group, blocks, op);
      }
    }
    if (fuse)
      absorbProducers(group);
  }
}

//===----------------------------------------------------------------------===//
// The rest
//===----------------------------------------------------------------------===//

void KernelFormer::formElementwise() {
  for (Operation *op : llvm::reverse(grouping.ops())) {
    if (grouping.groupOf(op) >= 0 || Grouping::isFree(op))
      continue;
    int group = grouping.create(op);
    if (fuse)
      absorbProducers(group);
  }
}

/// Results that no kernel computes: a shape op's, a constant.
void KernelFormer::formOutputs() {
  auto visit = [&](auto &self, Value value) -> void {
    Operation *op = value.getDefiningOp();
    if (!op || grouping.groupOf(op) >= 0)
      return;
    if (auto made = dyn_cast<MakeQTensorOp>(op)) {
      self(self, made.getCodes());
      self(self, made.getScales());
      if (made.getZeros())
        self(self, made.getZeros());
    } else if (isa<CodesOp, ScalesOp, ZerosOp>(op)) {
      self(self, op->getOperand(0));
    } else {
      grouping.create(op);
    }
  };
  for (Value value : layer.getBody().front().getTerminator()->getOperands())
    visit(visit, value);
}

//===----------------------------------------------------------------------===//
// Words
//===----------------------------------------------------------------------===//

std::pair<std::string, std::string> KernelFormer::describe(int group) const {
  SmallVector<Operation *> ops(grouping.members(group).begin(),
                               grouping.members(group).end());
  llvm::sort(ops,
             [](Operation *a, Operation *b) { return a->isBeforeInBlock(b); });
  unsigned products = 0;
  SmallVector<StringRef> rows;
  SmallVector<StringRef> rest;
  bool encodes = false, scales = false, quantizes = false;
  StringRef firstOwn; ///< The first reduction that no quantization asked for.
  auto word = [](Operation *op) { return op->getName().stripDialect(); };
  for (Operation *op : ops) {
    if (isa<ContractOp>(op)) {
      ++products;
    } else if (isRowOp(op)) {
      auto reduce = dyn_cast<ReduceOp>(op);
      rows.push_back(reduce ? stringifyReduceKind(reduce.getKind()) : word(op));
      bool ofQuantize = hasPart(op, "quantize");
      quantizes |= ofQuantize;
      if (firstOwn.empty() && !ofQuantize && !isa<SumCodesOp>(op))
        firstOwn = rows.back();
    } else {
      encodes |= isa<EncodeOp>(op);
      // What the passes before made of one op of the text is said in a word.
      if (hasPart(op, "product") ||
          (hasPart(op, "quantize") && !isa<EncodeOp>(op)))
        scales = true;
      else
        rest.push_back(word(op));
    }
  }
  if (scales)
    rest.insert(rest.begin(), "scales");
  std::string list = llvm::join(rest, ", ");
  if (products) {
    std::string reason = "one product";
    if (products > 1)
      reason = fmt::format(
          "{} products of one left operand, which is loaded once", products);
    if (!list.empty())
      reason += "; applied to each accumulator: " + list;
    std::string name = products > 1 ? "gated_product" : "product";
    return {encodes ? name + "_encode" : name, reason};
  }
  if (!rows.empty()) {
    std::string name = firstOwn.empty() ? rows[0].str() : firstOwn.str();
    if (encodes && quantizes)
      name = firstOwn.empty() ? "quantize" : name + "_quantize";
    std::string reason = rows.size() > 1 ? "reductions over the same blocks: "
                                         : "one reduction: ";
    reason += llvm::join(rows, ", ");
    if (!list.empty())
      reason += "; over the same blocks: " + list;
    return {name, reason};
  }
  if (ops.size() == 1)
    return {word(ops[0]).str(), Grouping::isFree(ops[0])
                                    ? "a result of the layer"
                                : fuse ? "nothing beside it to join"
                                       : "unfused"};
  return {"elementwise", "element-wise ops, one pass over memory: " + list};
}

struct FormKernels : quern::ir::impl::FormKernelsBase<FormKernels> {
  using FormKernelsBase::FormKernelsBase;

  void runOnOperation() override {
    func::FuncOp layer = getOperation();
    if (fuse != "all" && fuse != "none") {
      layer.emitError("quern_form_kernels_c1: fuse is `all` or `none`, not `")
          << fuse << "`";
      return signalPassFailure();
    }
    if (layer.isDeclaration())
      return;
    for (Operation &op : layer.getBody().front().without_terminator())
      if (isa<MatmulOp, QuantizeOp, KernelOp>(op)) {
        op.emitOpError("quern_form_kernels_c2: must be gone before kernels are "
                       "formed; run quern-hoist-scales and "
                       "quern-expand-quantize once");
        return signalPassFailure();
      } else if (!isa_and_nonnull<QuernDialect>(op.getDialect())) {
        op.emitOpError("quern_form_kernels_c3: is not an op of a layer");
        return signalPassFailure();
      }
    KernelFormer(layer, fuse == "all").run();
  }
};

} // namespace
