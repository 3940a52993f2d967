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
// What a group computes it computes again for every index it is needed at, so
// that a producer joins only where that is at most `maxIndices` times per
// element, and where its index is at most `maxShapeSteps` reshapes and gathers
// away: each multiplies the work, or the length of the index expression.
//
//===----------------------------------------------------------------------===//

#include "dialects/quern/Transforms/Grouping.h"

#include <fmt/format.h>

#include <functional>
#include <set>

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
  return isa<ReduceOp, SumCodesOp, CountClippedOp, AddCountsOp, PercentileOp,
             SoftmaxOp, RmsNormOp, LayerNormOp>(op);
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
  if (auto count = dyn_cast<CountClippedOp>(op))
    return normalize(shape, count.getBlock());
  if (auto count = dyn_cast<AddCountsOp>(op))
    return normalize(shape, count.getBlock());
  if (auto percentile = dyn_cast<PercentileOp>(op))
    return normalize(shape, percentile.getBlock());
  SmallVector<int64_t> extents(shape.getRank(), 1);
  extents.back() = 0;
  return normalize(shape, extents);
}

bool hasPart(Operation *op, StringRef part) {
  auto attr = op->getAttrOfType<StringAttr>(partAttrName);
  return attr && attr.getValue() == part;
}

/// At how many indices a producer may be computed for one element of a group.
constexpr size_t maxIndices = 4;
/// How many reshapes and gathers may lie between an element of a group and an
/// element it is computed from, and how many reshapes a kernel looks through.
constexpr unsigned maxShapeSteps = 3;
/// The most shape ops in a row that a kernel looks through.
constexpr unsigned maxShapeOps = 32;
/// The most reductions of a group: each is a loop that computes its operand,
/// including what other reductions made of it.
constexpr size_t maxReductions = 16;

/// At which indices a group needs an op's elements, as hashes of the way there
/// from the element at hand (0).
struct Uses {
  SmallVector<uint64_t, maxIndices> indices;
  unsigned steps = 0; ///< Reshapes and gathers on the longest way.
};

class KernelFormer {
public:
  KernelFormer(func::FuncOp layer, bool fuse)
      : layer(layer), grouping(layer), fuse(fuse) {}

  void run() {
    cutShapeOps();
    formProducts();
    formReductions();
    formElementwise();
    formOutputs();
    grouping.materialize([&](int group) { return describe(group); });
  }

private:
  void cutShapeOps();
  void formProducts();
  void formReductions();
  void formElementwise();
  void formOutputs();
  void absorbProducers(int group);
  std::optional<Uses> usesOf(Operation *producer, int group) const;
  void addProducers(Operation *op,
                    std::set<unsigned, std::greater<unsigned>> &found) const;
  void addConsumers(Operation *op, std::set<unsigned> &found) const;
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
  llvm::DenseMap<Operation *, Uses> absorbed;
};

//===----------------------------------------------------------------------===//
// Shape ops
//===----------------------------------------------------------------------===//

/// Index maps of index maps of ... grow: a long row of shape ops is cut by
/// ops that are computed.
void KernelFormer::cutShapeOps() {
  struct Row {
    unsigned reshapes = 0, ops = 0;
  };
  llvm::DenseMap<Operation *, Row> rows;
  for (Operation *op : grouping.ops()) {
    if (!isa<ReshapeOp, TransposeOp, SliceOp>(op))
      continue;
    Row row;
    if (Operation *source = op->getOperand(0).getDefiningOp())
      row = rows.lookup(source);
    row.reshapes += isa<ReshapeOp>(op);
    ++row.ops;
    if (row.reshapes > maxShapeSteps || row.ops > maxShapeOps) {
      grouping.keep(op);
      row = Row();
    }
    rows[op] = row;
  }
}

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
      if (isElementwise(op) && !grouping.isFree(op) && grouping.groupOf(op) < 0)
        changed |= joinProduct(op);
  }
  if (fuse)
    for (int group : products)
      absorbProducers(group);
}

/// Where the group needs the elements of an op that it alone uses; nothing
/// when there are too many places, or an operand of a contraction among them,
/// which would compute it once per tile.
std::optional<Uses> KernelFormer::usesOf(Operation *producer, int group) const {
  auto combined = [](uint64_t a, uint64_t b) -> uint64_t {
    return llvm::hash_combine(a, b);
  };
  Uses result;
  struct Way {
    Operation *op;
    uint64_t path; ///< 0 while the index is the producer's own.
    unsigned steps;
  };
  SmallVector<Way> work{{producer, 0, 0}};
  while (!work.empty()) {
    Way way = work.pop_back_val();
    for (OpOperand &use : way.op->getUses()) {
      Operation *user = use.getOwner();
      uint64_t place = grouping.positionOf(user) + 1;
      if (grouping.groupOf(user) != group) { // A free op.
        bool moves = isa<ReshapeOp, TransposeOp, SliceOp, ExpandScalesOp>(user);
        work.push_back({user, moves ? combined(place, way.path) : way.path,
                        way.steps + isa<ReshapeOp>(user)});
        if (work.size() > 4 * maxIndices)
          return std::nullopt;
        continue;
      }
      if (isa<ContractOp>(user))
        return std::nullopt;
      // From the user's index to the operand's.
      uint64_t step = 0;
      unsigned steps = way.steps;
      auto operand = dyn_cast<RankedTensorType>(use.get().getType());
      auto whole = dyn_cast<RankedTensorType>(user->getResult(0).getType());
      if (isa<GatherOp, ConcatOp>(user)) {
        step = combined(place, use.getOperandNumber() + 1);
        ++steps;
      } else if (operand && whole && getDims(operand) != getDims(whole)) {
        SmallVector<AffineExpr> dims = getDims(operand);
        step = llvm::hash_combine_range(dims.begin(), dims.end());
      }
      auto known = absorbed.find(user);
      SmallVector<uint64_t, maxIndices> from{0};
      if (known != absorbed.end()) {
        from = known->second.indices;
        steps += known->second.steps;
      }
      result.steps = std::max(result.steps, steps);
      for (uint64_t index : from) {
        for (uint64_t next : {step, way.path})
          index = next ? combined(index, next) : index;
        if (!llvm::is_contained(result.indices, index))
          result.indices.push_back(index);
      }
      if (result.indices.size() > maxIndices || result.steps > maxShapeSteps)
        return std::nullopt;
    }
  }
  return result;
}

/// Ops whose results `op`, in the group, reads, looking through free ops.
void KernelFormer::addProducers(
    Operation *op, std::set<unsigned, std::greater<unsigned>> &found) const {
  for (Value operand : op->getOperands()) {
    SmallVector<Value> roots;
    grouping.getRoots(operand, roots);
    for (Value root : roots)
      if (Operation *source = root.getDefiningOp();
          source && grouping.groupOf(source) < 0)
        found.insert(grouping.positionOf(source));
  }
}

/// Element-wise ops and gathers that only this group uses.
void KernelFormer::absorbProducers(int group) {
  // The last first: an op is looked at after all of its users.
  std::set<unsigned, std::greater<unsigned>> candidates;
  for (Operation *op : grouping.members(group))
    addProducers(op, candidates);
  while (!candidates.empty()) {
    Operation *op = grouping.ops()[*candidates.begin()];
    candidates.erase(candidates.begin());
    if (grouping.groupOf(op) >= 0 || grouping.isFree(op) ||
        !(isElementwise(op) || isa<GatherOp>(op)) || op->use_empty() ||
        !grouping.usedOnlyBy(op, group))
      continue;
    std::optional<Uses> uses = usesOf(op, group);
    if (!uses || !grouping.tryAbsorb(group, op))
      continue;
    absorbed[op] = std::move(*uses);
    addProducers(op, candidates);
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
    size_t reductions = llvm::count_if(grouping.members(group), isRowOp);
    return (reads || shares) && getBlocks(op) == blocks &&
           reductions < maxReductions && grouping.tryAdd(group, op);
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

/// Ops that may join a reduction because `op` is a member: its users, and other
/// reductions of what it reduces.
void KernelFormer::addConsumers(Operation *op,
                                std::set<unsigned> &found) const {
  auto addUsers = [&](Value value) {
    for (Operation *user : value.getUsers()) {
      if (isa<ExpandScalesOp>(user))
        for (Operation *behind : user->getUsers())
          found.insert(grouping.positionOf(behind));
      found.insert(grouping.positionOf(user));
    }
  };
  for (Value result : op->getResults())
    addUsers(result);
  if (isRowOp(op))
    addUsers(op->getOperand(0));
}

void KernelFormer::formReductions() {
  for (Operation *anchor : grouping.ops()) {
    if (!isRowOp(anchor) || grouping.groupOf(anchor) >= 0)
      continue;
    int group = grouping.create(anchor);
    Blocks blocks = getBlocks(anchor);
    std::set<unsigned> candidates;
    addConsumers(anchor, candidates);
    for (bool changed = true; changed;) {
      changed = false;
      for (unsigned position : candidates) { // which gains later ones
        Operation *op = grouping.ops()[position];
        if (grouping.groupOf(op) >= 0 || grouping.isFree(op) ||
            !(isElementwise(op) || isRowOp(op)) ||
            (!fuse && !(hasPart(anchor, "quantize") &&
                        hasPart(op, "quantize") && !isRowOp(op))))
          continue;
        if (!joinReduction(group, blocks, op))
          continue;
        addConsumers(op, candidates);
        changed = true;
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
    if (grouping.groupOf(op) >= 0 || grouping.isFree(op))
      continue;
    int group = grouping.create(op);
    if (fuse)
      absorbProducers(group);
  }
}

/// Results that no kernel computes: a shape op's, a constant.
void KernelFormer::formOutputs() {
  SmallVector<Value> work(
      llvm::reverse(layer.getBody().front().getTerminator()->getOperands()));
  while (!work.empty()) {
    Operation *op = work.pop_back_val().getDefiningOp();
    if (!op || grouping.groupOf(op) >= 0)
      continue;
    if (isa<MakeQTensorOp>(op))
      llvm::append_range(work, llvm::reverse(op->getOperands()));
    else if (isa<CodesOp, ScalesOp, ZerosOp>(op))
      work.push_back(op->getOperand(0));
    else
      grouping.create(op);
  }
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
    return {word(ops[0]).str(),
            grouping.isFree(ops[0])        ? "a result of the layer"
            : Grouping::isFreeKind(ops[0]) ? "one of many shape ops in a row"
            : fuse                         ? "nothing beside it to join"
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
