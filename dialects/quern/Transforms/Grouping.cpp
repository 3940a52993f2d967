//===- Grouping.cpp - Groups of ops that become kernels -------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "dialects/quern/Transforms/Grouping.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/IRMapping.h"

#include <set>

using namespace mlir;
using namespace quern;
using namespace quern::ir;

Grouping::Grouping(func::FuncOp layer) : layer(layer) {
  for (Operation &op : layer.getBody().front().without_terminator()) {
    position[&op] = program.size();
    program.push_back(&op);
  }
}

bool Grouping::isFree(Operation *op) {
  if (isa<ConstantOp, CodesOp, ScalesOp, ZerosOp, MakeQTensorOp, ReshapeOp,
          TransposeOp, SliceOp, ExpandScalesOp, DequantizeOp>(op))
    return true;
  // Rounding a dequantized value to the type of the other operand.
  auto cast = dyn_cast<CastOp>(op);
  return cast && cast.getInput().getDefiningOp<DequantizeOp>();
}

int Grouping::groupOf(Operation *op) const {
  auto it = assigned.find(op);
  return it == assigned.end() ? -1 : it->second;
}

int Grouping::groupOf(Value value) const {
  Operation *op = value.getDefiningOp();
  return op ? groupOf(op) : -1;
}

int Grouping::create(Operation *op) {
  groups.emplace_back();
  groups.back().insert(op);
  assigned[op] = groups.size() - 1;
  return groups.size() - 1;
}

bool Grouping::wouldCycle(const Ops &set) const {
  // A path that leaves the set, passes an op that is not free, and returns.
  // Free ops alone are no such path: the set's kernel copies them.
  std::set<std::pair<Operation *, bool>> visited;
  SmallVector<std::pair<Operation *, bool>> work;
  auto pushUsers = [&](Operation *op, bool real) -> bool {
    for (Operation *user : op->getUsers()) {
      if (set.contains(user)) {
        if (real)
          return true;
        continue;
      }
      bool free = isFree(user) && groupOf(user) < 0;
      if (visited.insert({user, real || !free}).second)
        work.push_back({user, real || !free});
    }
    return false;
  };
  for (Operation *op : set)
    pushUsers(op, false);
  while (!work.empty()) {
    auto [op, real] = work.pop_back_val();
    if (int group = groupOf(op); group >= 0) {
      for (Operation *member : groups[group])
        if (!set.contains(member) && pushUsers(member, true))
          return true;
      continue;
    }
    if (pushUsers(op, real))
      return true;
  }
  return false;
}

bool Grouping::tryAdd(int group, Operation *op) {
  Ops set = groups[group];
  set.insert(op);
  if (wouldCycle(set))
    return false;
  groups[group] = std::move(set);
  assigned[op] = group;
  return true;
}

bool Grouping::tryMerge(int group, int other) {
  Ops set = groups[group];
  set.insert(groups[other].begin(), groups[other].end());
  if (wouldCycle(set))
    return false;
  for (Operation *op : groups[other])
    assigned[op] = group;
  groups[group] = std::move(set);
  groups[other].clear();
  return true;
}

bool Grouping::getRoots(Value value, SmallVectorImpl<Value> &roots) const {
  Operation *op = value.getDefiningOp();
  if (!op || groupOf(op) >= 0 || !isFree(op)) {
    roots.push_back(value);
    return false;
  }
  for (Value operand : op->getOperands())
    getRoots(operand, roots);
  return true;
}

bool Grouping::usedOnlyBy(Operation *op, int group) const {
  for (Operation *user : op->getUsers()) {
    if (groupOf(user) == group)
      continue;
    if (groupOf(user) >= 0 || !isFree(user) || !usedOnlyBy(user, group))
      return false;
  }
  return true;
}

//===----------------------------------------------------------------------===//
// Materialization
//===----------------------------------------------------------------------===//

/// The values of other groups and of the layer's arguments that `op`, in
/// `group`, reads.
void Grouping::collectInputs(Operation *op, int group,
                             llvm::SetVector<Value> &inputs) const {
  for (Value operand : op->getOperands()) {
    Operation *source = operand.getDefiningOp();
    if (source && isFree(source) && groupOf(source) != group)
      collectInputs(source, group, inputs);
    else if (!source || groupOf(source) != group)
      inputs.insert(operand);
  }
}

void Grouping::materialize(
    function_ref<std::pair<std::string, std::string>(int)> describe) {
  Operation *ret = layer.getBody().front().getTerminator();

  // What each group needs from others, and what others need of it.
  std::vector<llvm::SetVector<Value>> inputs(groups.size());
  llvm::DenseSet<Value> needed;
  for (auto [g, members] : llvm::enumerate(groups)) {
    for (Operation *op : members)
      collectInputs(op, g, inputs[g]);
    needed.insert(inputs[g].begin(), inputs[g].end());
  }
  // The return sees through the parts of quantized tensors only.
  auto needOfReturn = [&](auto &self, Value value) -> void {
    needed.insert(value);
    if (Operation *op = value.getDefiningOp();
        op && groupOf(op) < 0 && isFree(op))
      for (Value operand : op->getOperands())
        self(self, operand);
  };
  for (Value value : ret->getOperands())
    needOfReturn(needOfReturn, value);

  // An order of groups: of those whose inputs are ready, the one that comes
  // first in the text.
  SmallVector<int> order, left;
  for (auto [g, members] : llvm::enumerate(groups))
    if (!members.empty())
      left.push_back(g);
  auto first = [&](int g) {
    unsigned result = ~0u;
    for (Operation *op : groups[g])
      result = std::min(result, position.lookup(op));
    return result;
  };
  llvm::sort(left, [&](int a, int b) { return first(a) < first(b); });
  llvm::DenseSet<int> done;
  while (!left.empty()) {
    auto ready = llvm::find_if(left, [&](int g) {
      return llvm::all_of(inputs[g], [&](Value value) {
        int source = groupOf(value);
        return source < 0 || source == g || done.contains(source);
      });
    });
    assert(ready != left.end() && "groups wait for each other");
    done.insert(*ready);
    order.push_back(*ready);
    left.erase(ready);
  }

  OpBuilder builder(ret);
  IRMapping results; // of the layer's level
  for (int g : order) {
    SmallVector<Operation *> members(groups[g].begin(), groups[g].end());
    llvm::sort(members, [&](Operation *a, Operation *b) {
      return position.lookup(a) < position.lookup(b);
    });
    SmallVector<Value> yielded;
    for (Operation *op : members)
      for (Value result : op->getResults())
        if (needed.contains(result))
          yielded.push_back(result);
    auto [name, reason] = describe(g);
    auto kernel = KernelOp::create(
        builder, members.back()->getLoc(),
        llvm::to_vector(ValueRange(yielded).getTypes()), name, reason);
    Block &body = kernel.getBody().emplaceBlock();
    OpBuilder inner = OpBuilder::atBlockEnd(&body);
    IRMapping mapping = results;
    auto clone = [&](auto &self, Operation *op) -> void {
      for (Value operand : op->getOperands()) {
        Operation *source = operand.getDefiningOp();
        if (source && isFree(source) && groupOf(source) != g &&
            !(mapping.contains(operand) &&
              mapping.lookup(operand).getParentBlock() == &body))
          self(self, source);
      }
      inner.clone(*op, mapping);
    };
    for (Operation *op : members)
      clone(clone, op);
    SmallVector<Value> values;
    for (Value value : yielded)
      values.push_back(mapping.lookup(value));
    YieldOp::create(inner, kernel.getLoc(), values);
    for (auto [value, result] : llvm::zip_equal(yielded, kernel.getResults()))
      results.map(value, result);
  }

  // What stays at the layer's level feeds the return: copies after the
  // kernels, in the old order.
  for (Operation *op : program)
    if (groupOf(op) < 0 && llvm::all_of(op->getResults(), [&](Value v) {
          return needed.contains(v);
        }))
      builder.clone(*op, results);
  for (OpOperand &operand : ret->getOpOperands())
    operand.set(results.lookupOrDefault(operand.get()));
  for (Operation *op : llvm::reverse(program)) {
    op->dropAllUses();
    op->erase();
  }
}
