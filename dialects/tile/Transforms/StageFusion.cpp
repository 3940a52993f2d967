//===- StageFusion.cpp - Two launches as one kernel -----------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "dialects/tile/Transforms/StageFusion.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/IRMapping.h"

#include <fmt/format.h>

using namespace mlir;
using namespace quern;
using namespace quern::tile;

KernelOp tile::getKernel(LaunchOp launch) {
  return SymbolTable::lookupNearestSymbolFrom<KernelOp>(
      launch->getParentOp()->getParentOp(), launch.getKernelAttr());
}

StringRef tile::roleOf(StringRef name) {
  for (size_t i = name.size(); i-- > 1;)
    if (name[i] == '_' && llvm::isDigit(name[i - 1])) {
      size_t start = i;
      while (start > 0 && llvm::isDigit(name[start - 1]))
        --start;
      if (start > 0 && name[start - 1] == '_')
        return name.drop_front(i + 1);
    }
  return name;
}

namespace {

/// What a launch does with a buffer.
struct Use {
  bool reads = false, writes = false;
};

Use useOf(LaunchOp launch, Value buffer) {
  Use use;
  KernelOp kernel = getKernel(launch);
  for (auto [i, operand] : llvm::enumerate(launch.getBuffers())) {
    if (operand != buffer)
      continue;
    use.writes |= kernel.getWrites()[i];
    BlockArgument arg = kernel.getBody().getArgument(i);
    use.reads |= llvm::any_of(arg.getUses(), [](OpOperand &use) {
      return isa<LoadOp, AccumulateOp>(use.getOwner());
    });
  }
  return use;
}

/// Whether `launch` may run on the other side of `other`.
bool commute(LaunchOp launch, LaunchOp other) {
  return llvm::all_of(launch.getBuffers(), [&](Value buffer) {
    if (!llvm::is_contained(other.getBuffers(), buffer))
      return true;
    return !useOf(launch, buffer).writes && !useOf(other, buffer).writes;
  });
}

/// Makes the kernel that holds the stages of two, and its operands.
class Fuser {
public:
  Fuser(LaunchOp first, LaunchOp second, const FuseOptions &options)
      : first(first), second(second), options(options),
        program(first->getParentOfType<ProgramOp>()) {}

  LaunchOp run(bool atFirst);

private:
  bool becomesLocal(Value buffer);
  void map(LaunchOp launch, KernelOp kernel);

  LaunchOp first, second;
  const FuseOptions &options;
  ProgramOp program;
  KernelOp fused;
  IRMapping mapping;
  llvm::DenseMap<Value, Value> inFused; ///< Of the program's buffers.
  SmallVector<Value> operands;
  SmallVector<bool> writes;
};

bool Fuser::becomesLocal(Value buffer) {
  auto declared = buffer.getDefiningOp<BufferOp>();
  if (options.keepInMemory || declared.getRole() != BufferRole::Temporary ||
      !useOf(first, buffer).writes || useOf(second, buffer).writes)
    return false;
  return llvm::all_of(buffer.getUsers(), [&](Operation *user) {
    return user == first.getOperation() || user == second.getOperation();
  });
}

void Fuser::map(LaunchOp launch, KernelOp kernel) {
  Block &body = fused.getBody().front();
  for (auto [i, buffer] : llvm::enumerate(launch.getBuffers())) {
    BlockArgument arg = kernel.getBody().getArgument(i);
    Value &target = inFused[buffer];
    if (!target && becomesLocal(buffer)) {
      OpBuilder builder(fused.getContext());
      builder.setInsertionPointToStart(&body);
      target = LocalOp::create(builder, buffer.getLoc(), buffer.getType());
    } else if (!target) {
      target = body.addArgument(buffer.getType(), buffer.getLoc());
      operands.push_back(buffer);
      writes.push_back(false);
    }
    if (auto known = dyn_cast<BlockArgument>(target))
      writes[known.getArgNumber()] =
          writes[known.getArgNumber()] || kernel.getWrites()[i];
    mapping.map(arg, target);
  }
}

LaunchOp Fuser::run(bool atFirst) {
  KernelOp one = getKernel(first), two = getKernel(second);
  OpBuilder builder(one);
  std::string name = fmt::format("{}_{}", one.getSymName().str(),
                                 roleOf(two.getSymName()).str());
  auto numericsClass = std::max(one.getNumericsClass(), two.getNumericsClass());
  std::string reason =
      fmt::format("{}; then {}", one.getReason().str(), two.getReason().str());
  // Stages before a product are the consumer's; the placement is that of the
  // stages behind it.
  Placement placement = options.placement;
  if (two.getContract() && two.getStages().back() != two.getContract())
    placement = *two.getPlacement();
  fused = KernelOp::create(
      builder, builder.getFusedLoc({one.getLoc(), two.getLoc()}), name,
      one.getSymbolsAttr(), ArrayRef<bool>(), numericsClass, reason,
      Attribute(), PlacementAttr::get(one.getContext(), placement));
  Block &body = fused.getBody().emplaceBlock();
  map(first, one);
  map(second, two);
  fused.setWrites(writes);
  builder.setInsertionPointToEnd(&body);
  for (KernelOp kernel : {one, two})
    for (Operation &op : kernel.getBody().front())
      if (auto local = dyn_cast<LocalOp>(op)) {
        OpBuilder::InsertionGuard guard(builder);
        builder.setInsertionPointToStart(&body);
        builder.clone(op, mapping);
      } else {
        builder.clone(op, mapping);
      }
  builder.setInsertionPoint(atFirst ? first : second);
  LaunchOp launch = LaunchOp::create(builder, fused.getLoc(), name, operands,
                                     first.getPhase());
  for (LaunchOp old : {first, second})
    old.erase();
  for (KernelOp old : {one, two})
    if (llvm::none_of(program.getBody().getOps<LaunchOp>(),
                      [&](LaunchOp other) { return getKernel(other) == old; }))
      old.erase();
  for (auto &[buffer, target] : inFused)
    if (target.getDefiningOp<LocalOp>())
      buffer.getDefiningOp()->erase();
  return launch;
}

} // namespace

LaunchOp tile::getWriter(ProgramOp program, Value buffer) {
  LaunchOp writer;
  for (auto launch : program.getBody().getOps<LaunchOp>())
    if (launch.getPhase() == LaunchPhase::Run && useOf(launch, buffer).writes) {
      if (writer)
        return {};
      writer = launch;
    }
  return writer;
}

SmallVector<LaunchOp> tile::getReaders(ProgramOp program, Value buffer) {
  SmallVector<LaunchOp> readers;
  for (auto launch : program.getBody().getOps<LaunchOp>())
    if (launch.getPhase() == LaunchPhase::Run && useOf(launch, buffer).reads)
      readers.push_back(launch);
  return readers;
}

std::string tile::fuse(LaunchOp first, LaunchOp second,
                       const FuseOptions &options, LaunchOp &fused) {
  KernelOp one = getKernel(first), two = getKernel(second);
  if (one.getContract() && two.getContract())
    return "two products do not share a kernel";
  if (first.getPhase() != second.getPhase())
    return "one of them runs when weights are bound";
  bool up = true, down = true;
  for (Operation *op = first->getNextNode(); op != second.getOperation();
       op = op->getNextNode()) {
    auto between = dyn_cast<LaunchOp>(op);
    if (!between)
      continue;
    up &= commute(second, between);
    down &= commute(first, between);
  }
  if (!up && !down)
    return "a kernel between them waits for one and is waited for by the other";
  fused = Fuser(first, second, options).run(up);
  return {};
}
