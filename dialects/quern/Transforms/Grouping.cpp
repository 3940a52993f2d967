//===- Grouping.cpp - Groups of ops that become kernels -------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "dialects/quern/Transforms/Grouping.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/IRMapping.h"
#include "llvm/ADT/SmallVectorExtras.h"

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

bool Grouping::isFreeKind(Operation *op) {
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

void Grouping::assign(int group, Operation *op) {
  groups[group].insert(op);
  assigned[op] = group;
  unsigned at = positionOf(op);
  spans[group].first = std::min(spans[group].first, at);
  spans[group].second = std::max(spans[group].second, at);
}

int Grouping::create(Operation *op) {
  groups.emplace_back();
  spans.push_back({~0u, 0});
  assign(groups.size() - 1, op);
  return groups.size() - 1;
}

/// A path from the set that comes back to it stays at or before this position:
/// ops lead forwards, and groups no farther back than their first op.
unsigned Grouping::lastThatMayReturn(const Ops &set) const {
  unsigned last = 0;
  for (Operation *op : set)
    last = std::max(last, positionOf(op));
  for (bool changed = true; changed;) {
    changed = false;
    for (auto [first, end] : spans)
      if (first <= last && end > last) {
        last = end;
        changed = true;
      }
  }
  return last;
}

bool Grouping::wouldCycle(const Ops &set) const {
  // A path that leaves the set, passes an op that is not free, and returns.
  // Free ops alone are no such path: the set's kernel copies them.
  unsigned last = lastThatMayReturn(set);
  llvm::DenseSet<Operation *> visited[2]; // by whether the path is real
  SmallVector<std::pair<Operation *, bool>> work;
  auto pushUsers = [&](Operation *op, bool real) -> bool {
    for (Operation *user : op->getUsers()) {
      if (set.contains(user)) {
        if (real)
          return true;
        continue;
      }
      if (positionOf(user) > last)
        continue;
      bool passes = real || !isFree(user) || groupOf(user) >= 0;
      if (visited[passes].insert(user).second)
        work.push_back({user, passes});
    }
    return false;
  };
  for (Operation *op : set)
    pushUsers(op, false);
  llvm::DenseSet<int> passed;
  while (!work.empty()) {
    auto [op, real] = work.pop_back_val();
    if (int group = groupOf(op); group >= 0) {
      if (!passed.insert(group).second)
        continue;
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
  if (groups[group].size() >= maxOps)
    return false;
  Ops set = groups[group];
  set.insert(op);
  if (wouldCycle(set))
    return false;
  assign(group, op);
  return true;
}

bool Grouping::tryAbsorb(int group, Operation *op) {
  // A path from the group to the op would have gone on to the group already.
  if (groups[group].size() >= maxOps)
    return false;
  assign(group, op);
  return true;
}

bool Grouping::tryMerge(int group, int other) {
  if (groups[group].size() + groups[other].size() > maxOps)
    return false;
  Ops set = groups[group];
  set.insert(groups[other].begin(), groups[other].end());
  if (wouldCycle(set))
    return false;
  Ops moved = std::move(groups[other]);
  groups[other].clear();
  spans[other] = {~0u, 0};
  for (Operation *op : moved)
    assign(group, op);
  return true;
}

bool Grouping::getRoots(Value value, SmallVectorImpl<Value> &roots) const {
  auto looksThrough = [&](Value v) {
    Operation *op = v.getDefiningOp();
    return op && groupOf(op) < 0 && isFree(op);
  };
  if (!looksThrough(value)) {
    roots.push_back(value);
    return false;
  }
  SmallVector<Value> work{value};
  llvm::DenseSet<Value> visited;
  while (!work.empty()) {
    Value v = work.pop_back_val();
    if (!visited.insert(v).second)
      continue;
    if (looksThrough(v))
      llvm::append_range(work, v.getDefiningOp()->getOperands());
    else
      roots.push_back(v);
  }
  return true;
}

bool Grouping::usedOnlyBy(Operation *op, int group) const {
  SmallVector<Operation *> work{op};
  llvm::DenseSet<Operation *> visited;
  while (!work.empty()) {
    for (Operation *user : work.pop_back_val()->getUsers()) {
      if (groupOf(user) == group)
        continue;
      if (groupOf(user) >= 0 || !isFree(user))
        return false;
      if (visited.insert(user).second)
        work.push_back(user);
    }
  }
  return true;
}

//===----------------------------------------------------------------------===//
// Materialization
//===----------------------------------------------------------------------===//

SmallVector<Operation *> Grouping::getBody(int group) const {
  llvm::SetVector<Operation *> body(groups[group].begin(), groups[group].end());
  for (size_t i = 0; i < body.size(); ++i) // which grows
    for (Value operand : body[i]->getOperands())
      if (Operation *source = operand.getDefiningOp();
          source && isFree(source) && groupOf(source) != group)
        body.insert(source);
  SmallVector<Operation *> sorted = body.takeVector();
  llvm::sort(sorted, [&](Operation *a, Operation *b) {
    return positionOf(a) < positionOf(b);
  });
  return sorted;
}

/// The values of other groups and of the layer's arguments that the group
/// reads.
void Grouping::collectInputs(int group, llvm::SetVector<Value> &inputs) const {
  for (Operation *op : getBody(group))
    for (Value operand : op->getOperands()) {
      Operation *source = operand.getDefiningOp();
      if (!source || (!isFree(source) && groupOf(source) != group))
        inputs.insert(operand);
    }
}

/// An order of groups: of those whose inputs are ready, the one that comes
/// first in the text.
SmallVector<int>
Grouping::getOrder(ArrayRef<llvm::SetVector<Value>> inputs) const {
  std::vector<SmallVector<int>> readers(groups.size());
  std::vector<unsigned> missing(groups.size(), 0);
  for (auto [g, values] : llvm::enumerate(inputs)) {
    llvm::SmallDenseSet<int> sources;
    for (Value value : values) {
      int source = groupOf(value);
      if (source < 0 || source == static_cast<int>(g) ||
          !sources.insert(source).second)
        continue;
      readers[source].push_back(g);
      ++missing[g];
    }
  }
  std::set<std::pair<unsigned, int>> ready; // by first position
  for (auto [g, members] : llvm::enumerate(groups))
    if (!members.empty() && missing[g] == 0)
      ready.insert({spans[g].first, g});
  SmallVector<int> order;
  while (!ready.empty()) {
    int g = ready.begin()->second;
    ready.erase(ready.begin());
    order.push_back(g);
    for (int reader : readers[g])
      if (--missing[reader] == 0)
        ready.insert({spans[reader].first, reader});
  }
  return order;
}

void Grouping::materialize(
    function_ref<std::pair<std::string, std::string>(int)> describe) {
  Operation *ret = layer.getBody().front().getTerminator();

  // What each group needs from others, and what others need of it.
  std::vector<llvm::SetVector<Value>> inputs(groups.size());
  llvm::DenseSet<Value> needed;
  for (unsigned g = 0; g < groups.size(); ++g) {
    collectInputs(g, inputs[g]);
    needed.insert(inputs[g].begin(), inputs[g].end());
  }
  // The return sees through the parts of quantized tensors only.
  SmallVector<Value> work(ret->getOperands());
  llvm::DenseSet<Value> visited;
  while (!work.empty()) {
    Value value = work.pop_back_val();
    if (!visited.insert(value).second)
      continue;
    needed.insert(value);
    if (Operation *op = value.getDefiningOp();
        op && groupOf(op) < 0 && isFree(op))
      llvm::append_range(work, op->getOperands());
  }

  OpBuilder builder(ret);
  IRMapping results; // of the layer's level
  for (int g : getOrder(inputs)) {
    SmallVector<Operation *> body = getBody(g);
    SmallVector<Operation *> members = llvm::filter_to_vector(
        body, [&](Operation *op) { return groups[g].contains(op); });
    SmallVector<Value> yielded;
    for (Operation *op : members)
      for (Value result : op->getResults())
        if (needed.contains(result))
          yielded.push_back(result);
    auto [name, reason] = describe(g);
    auto kernel = KernelOp::create(
        builder, members.back()->getLoc(),
        llvm::to_vector(ValueRange(yielded).getTypes()), name, reason);
    OpBuilder inner = OpBuilder::atBlockEnd(&kernel.getBody().emplaceBlock());
    // Copies of free ops hide those of the layer's level.
    IRMapping mapping;
    for (Operation *op : body)
      for (Value operand : op->getOperands())
        if (!mapping.contains(operand))
          mapping.map(operand, results.lookupOrDefault(operand));
    for (Operation *op : body)
      inner.clone(*op, mapping);
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
