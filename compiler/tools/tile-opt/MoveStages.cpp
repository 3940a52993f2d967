//===- MoveStages.cpp - Moves and joins of stages as passes ---------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/tools/tile-opt/MoveStages.h"

#include "dialects/tile/Transforms/JoinBlocks.h"
#include "dialects/tile/Transforms/StageFusion.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/Pass/Pass.h"

using namespace mlir;
using namespace quern;
using namespace quern::tile;

namespace {

struct MoveStages : PassWrapper<MoveStages, OperationPass<ModuleOp>> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(MoveStages)
  MoveStages() = default;
  MoveStages(const MoveStages &other) : PassWrapper(other) {}

  StringRef getArgument() const override { return "tile-move-stages"; }
  StringRef getDescription() const override {
    return "Puts two launches together, in one of three ways";
  }

  void runOnOperation() override;

  Option<std::string> move{*this, "move",
                           llvm::cl::desc("fuse, accumulate or absorb")};
  Option<unsigned> first{*this, "first", llvm::cl::init(0)};
  Option<unsigned> second{*this, "second", llvm::cl::init(1)};
  Option<std::string> placement{*this, "placement", llvm::cl::init("tile")};
  Option<bool> keep{*this, "keep", llvm::cl::init(false)};
  Option<std::string> buffer{*this, "buffer"};
};

} // namespace

void MoveStages::runOnOperation() {
  ProgramOp program = *getOperation().getOps<ProgramOp>().begin();
  auto launches = llvm::to_vector(program.getBody().getOps<LaunchOp>());
  std::optional<Placement> place = symbolizePlacement(placement);
  if (std::max(first, second) >= launches.size() || !place) {
    program.emitOpError("no such launch or placement");
    return signalPassFailure();
  }
  Value value;
  for (auto declared : program.getBody().getOps<BufferOp>())
    if (declared.getName() == buffer)
      value = declared.getResult();
  LaunchOp one = launches[first], two = launches[second], fused;
  std::string why = "there is no such move or buffer";
  if (move == "fuse")
    why = fuse(one, two, {*place, keep}, fused);
  else if (move == "accumulate" && value)
    why = accumulate(one, two, value);
  else if (move == "absorb" && value)
    why = absorb(one, two, value);
  if (why.empty())
    return;
  two.emitOpError("cannot move: ") << why;
  signalPassFailure();
}

namespace {

struct JoinQuantizations
    : PassWrapper<JoinQuantizations, OperationPass<ModuleOp>> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(JoinQuantizations)
  JoinQuantizations() = default;
  JoinQuantizations(const JoinQuantizations &other) : PassWrapper(other) {}

  StringRef getArgument() const override { return "tile-join-blocks"; }
  StringRef getDescription() const override {
    return "Puts quantizations together with what makes their value";
  }

  void runOnOperation() override {
    JoinLimits limits{.heldBytes = held, .place = "shared memory"};
    for (auto program : getOperation().getOps<ProgramOp>())
      joinQuantizations(program, limits);
  }

  Option<int64_t> held{*this, "held",
                       llvm::cl::desc("bytes a strip's values may take"),
                       llvm::cl::init(INT64_MAX)};
};

} // namespace

void tile::registerStagePasses() {
  PassRegistration<MoveStages>();
  PassRegistration<JoinQuantizations>();
}
