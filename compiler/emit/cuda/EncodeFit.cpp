//===- EncodeFit.cpp - Whether a product can encode its operand -----------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/emit/cuda/EncodeFit.h"

#include "compiler/emit/cuda/BodyText.h"
#include "compiler/emit/cuda/StageFit.h"

#include "llvm/ADT/MapVector.h"

#include <fmt/format.h>

using namespace mlir;
using namespace quern;
using namespace quern::emit;

/// Shared memory for scalars, at most: what a block has without asking for
/// more, less what teams of threads exchange through.
static constexpr int64_t maxScalarBytes = 40 << 10;

bool emit::encodesOnLoad(tile::KernelOp kernel) {
  tile::ContractOp contract = kernel.getContract();
  return contract && kernel.getStages().front() != contract.getOperation();
}

bool EncodeStage::reduces() const {
  tile::BlocksOp op = stage;
  auto body = op.getBody().getOps<tile::ReduceOp>();
  return !body.empty();
}

namespace {

class EncodeFitter {
public:
  EncodeFitter(tile::KernelOp kernel, Symbols &symbols,
               const CudaTarget &target)
      : kernel(kernel), contract(kernel.getContract()), target(target),
        symbols(symbols) {}

  Result<EncodeFit> run();

private:
  quern::Diagnostic no(Operation *op, std::string why) const {
    return refuse(op->getLoc(), std::move(why));
  }
  Result<void> checkShape();
  Result<void> checkStage(tile::BlocksOp stage);
  Result<void> findValue();
  /// What the indices of a load of the product count.
  Result<void> classify(tile::LoadOp load);
  Result<void> readPoints(EncodeStage &stage);
  Result<void> checkLoads(const EncodeStage &stage);
  tile::KernelOp kernel;
  tile::ContractOp contract;
  const CudaTarget &target;
  Symbols &symbols;
  EncodeFit fit;
  SmallVector<tile::BlocksOp> stages; ///< Those that leave anything.
  llvm::SmallPtrSet<Value, 4> stored;
  /// All dimensions of what is stored and read by the product.
  llvm::MapVector<Value, SmallVector<EncodeAxis>> axes;
};

} // namespace

Result<void> EncodeFitter::checkStage(tile::BlocksOp stage) {
  quern::Diagnostic why;
  bool bad = false;
  stage.walk([&](Operation *op) {
    if (isa<tile::AccumulateOp>(op) ||
        (isa<tile::StoreOp>(op) && isa<tile::MapOp>(op->getParentOp()))) {
      why = no(op, isa<tile::StoreOp>(op)
                       ? "the stage before the product stores elements, and "
                         "every tile would"
                       : "the stage before the product accumulates, and every "
                         "tile would");
      bad = true;
    }
  });
  if (bad)
    return why;
  stage.walk([&](tile::StoreOp store) { stored.insert(store.getBuffer()); });
  return {};
}

Result<void> EncodeFitter::checkShape() {
  for (Operation *op : kernel.getStages()) {
    if (op == contract.getOperation())
      break;
    auto stage = cast<tile::BlocksOp>(op);
    if (Result<void> done = checkStage(stage); !done)
      return done;
    // What made codes alone made nothing else.
    if (stage.walk([](tile::StoreOp) { return WalkResult::interrupt(); })
            .wasInterrupted())
      stages.push_back(stage);
  }
  if (contract.getNumLhs() != 1)
    return no(contract, "products of several left operands copy them as they "
                        "are on CUDA");
  for (Region &region : contract.getOperandRegions().drop_front())
    if (region
            .walk([&](tile::LoadOp load) {
              return stored.contains(load.getBuffer()) ? WalkResult::interrupt()
                                                       : WalkResult::advance();
            })
            .wasInterrupted())
      return no(contract, "the codes are the right operand, which is copied as "
                          "it is on CUDA");
  Type element = contract.getElementType(contract.getLhsRegion(0));
  if (element.getIntOrFloatBitWidth() != 8)
    return no(contract, "the left operand is not 8-bit codes");
  if (int64_t split = contract.getSplit().value_or(0); split % 32 != 0)
    return no(contract,
              fmt::format("groups of {} have to be padded to a multiple of 32 "
                          "in memory for the matrix instructions",
                          split));
  return {};
}

Result<void> EncodeFitter::findValue() {
  Region &region = contract.getLhsRegion(0);
  if (contract.getPlainLoad(region))
    return no(contract, "the product reads the codes as they are");
  for (auto load : region.getOps<tile::LoadOp>()) {
    Type type = load.getType();
    if (fit.value || stored.contains(load.getBuffer()) ||
        !(type.isF16() || type.isBF16() || type.isF32()))
      continue;
    if (auto rows = OperandRows::of(contract, region, load)) {
      fit.value = load;
      fit.rows = std::move(*rows);
    }
  }
  if (!fit.value)
    return no(contract, "what is encoded is not f16, bf16 or f32 in rows of "
                        "contiguous K");
  return {};
}

Result<void> EncodeFitter::classify(tile::LoadOp load) {
  Region *region = load->getParentRegion();
  unsigned batch = contract.getNumBatch();
  bool isOperand = region == &contract.getLhsRegion(0);
  bool isEpilogue = region == &contract.getEpilogue();
  auto type = cast<tile::BufferType>(load.getBuffer().getType());
  SmallVector<EncodeAxis> found;
  for (auto [d, expr] : llvm::enumerate(load.getMap().getResults())) {
    AffineExpr size = type.getShape().getResult(d);
    EncodeAxis axis;
    if (size == getAffineConstantExpr(1, size.getContext())) {
      found.push_back(axis); // The index is 0 whatever it is written as.
      continue;
    }
    // The one argument of the region it depends on.
    BlockArgument of;
    for (auto [i, index] : llvm::enumerate(load.getIndices())) {
      if (!expr.isFunctionOfDim(i))
        continue;
      auto arg = dyn_cast<BlockArgument>(index);
      if (!arg || arg.getOwner() != &region->front() || of)
        return no(load, "a scale's index is computed from data or mixes axes");
      of = arg;
    }
    if (!of)
      return no(load, "the product reads one slice of the scales");
    unsigned number = of.getArgNumber();
    if (number < batch) {
      if (!isa<AffineDimExpr>(expr))
        return no(load, "scales are shared by elements of the batch");
      axis = {EncodeAxis::Batch, number, 1};
    } else if (number == batch) {
      axis.kind = EncodeAxis::Rows;
      auto divided = dyn_cast<AffineBinaryOpExpr>(expr);
      if (divided && divided.getKind() == AffineExprKind::FloorDiv &&
          isa<AffineDimExpr>(divided.getLHS()) &&
          isa<AffineConstantExpr>(divided.getRHS()))
        axis.per = cast<AffineConstantExpr>(divided.getRHS()).getValue();
      else if (!isa<AffineDimExpr>(expr))
        return no(load, "a scale's rows follow no pattern");
    } else if (isOperand || (!isEpilogue && number == batch + 2)) {
      axis.kind = EncodeAxis::Depth;
    } else {
      return no(load, "scales of the left operand are read by column");
    }
    found.push_back(axis);
  }
  for (size_t d = 0; d + 2 < found.size(); ++d)
    if (found[d].kind == EncodeAxis::Rows || found[d].kind == EncodeAxis::Depth)
      return no(load, "the scales' rows are not their last dimensions");
  auto [known, isNew] = axes.insert({load.getBuffer(), found});
  if (!isNew && known->second != found)
    return no(load, "the product reads a scale in two ways");
  return {};
}

Result<void> EncodeFitter::readPoints(EncodeStage &stage) {
  Block &block = stage.stage.getBody().front();
  SmallVector<bool> known(block.getNumArguments(), false);
  stage.points.resize(block.getNumArguments());
  for (auto store : block.getOps<tile::StoreOp>()) {
    auto layout = axes.find(store.getBuffer());
    if (layout == axes.end())
      continue;
    for (auto [d, expr] : llvm::enumerate(store.getMap().getResults())) {
      const EncodeAxis &axis = layout->second[d];
      if (axis.kind == EncodeAxis::One)
        continue;
      auto dim = dyn_cast<AffineDimExpr>(expr);
      auto arg =
          dim ? dyn_cast<BlockArgument>(store.getIndices()[dim.getPosition()])
              : BlockArgument();
      if (!arg || arg.getOwner() != &block)
        return no(store, "its blocks are not numbered as its scales are");
      unsigned i = arg.getArgNumber();
      if (known[i] && !(stage.points[i] == axis))
        return no(store, "two of its scales belong to different blocks");
      known[i] = true;
      stage.points[i] = axis;
    }
  }
  for (auto [i, extent] :
       llvm::enumerate(symbols.affine(stage.stage.getDomain())))
    if (!known[i] && !(extent.isConstant() && extent.hi == 1))
      return no(stage.stage, "the product does not tell which of its blocks "
                             "belong to a tile");
  return {};
}

/// A stage finds in shared memory what stages, itself among them, left at its
/// own blocks.
Result<void> EncodeFitter::checkLoads(const EncodeStage &stage) {
  tile::BlocksOp op = stage.stage;
  Block &block = op.getBody().front();
  quern::Diagnostic why;
  bool bad = false;
  op.walk([&](tile::LoadOp load) {
    if (!stored.contains(load.getBuffer()))
      return;
    if (isa<BlockArgument>(load.getBuffer())) {
      bad = true;
      why = no(load, "the stage before the product updates what it reads, and "
                     "tiles do not wait for each other");
      return;
    }
    auto layout = axes.find(load.getBuffer());
    bool own = layout != axes.end();
    for (auto [d, expr] : llvm::enumerate(load.getMap().getResults())) {
      if (!own || layout->second[d].kind == EncodeAxis::One ||
          layout->second[d].kind == EncodeAxis::Depth)
        continue;
      auto dim = dyn_cast<AffineDimExpr>(expr);
      auto arg =
          dim ? dyn_cast<BlockArgument>(load.getIndices()[dim.getPosition()])
              : BlockArgument();
      own = arg && arg.getOwner() == &block &&
            stage.points[arg.getArgNumber()] == layout->second[d];
    }
    if (own)
      return;
    bad = true;
    why = no(load, "a stage reads what another leaves for other blocks");
  });
  if (bad)
    return why;
  return {};
}

/// Blocks of `per` rows that a tile's rows may lie in.
static int64_t blocksIn(int64_t tileM, int64_t per) {
  if (tileM % per == 0)
    return tileM / per;
  if (per % tileM == 0)
    return 1;
  return (tileM + per - 2) / per + 1;
}

uint32_t EncodeFit::lay(Symbols &symbols, unsigned tileM) {
  int64_t bytes = 0;
  auto clamped = [](int64_t count) {
    return std::min<int64_t>(count, INT32_MAX / 4096);
  };
  for (EncodeStage &stage : stages) {
    tile::BlocksOp op = stage.stage;
    std::vector<Index> domain = symbols.affine(op.getDomain()), widest;
    stage.countRows = stage.countDepth = 1;
    for (auto [axis, extent] : llvm::zip(stage.points, domain)) {
      widest.push_back(Index::variable("", extent.hi));
      if (axis.kind == EncodeAxis::Rows)
        stage.countRows = blocksIn(tileM, axis.per);
      else if (axis.kind == EncodeAxis::Depth)
        stage.countDepth = clamped(std::max<int64_t>(extent.hi, 1));
    }
    stage.lanes = 1;
    bool ordered = tile::getReductionLevels(op).anyOrdered;
    for (auto reduce : op.getBody().getOps<tile::ReduceOp>()) {
      SmallVector<Index> point;
      for (Value index : reduce.getPoint()) {
        auto arg = dyn_cast<BlockArgument>(index);
        point.push_back(arg && arg.getOwner() == &op.getBody().front()
                            ? widest[arg.getArgNumber()]
                            : Index::unknown(""));
      }
      double box = 1;
      for (const Index &extent : symbols.affine(reduce.getExtents(), point))
        box *= static_cast<double>(extent.hi);
      // A lane reads some elements at once.
      while (stage.lanes && stage.lanes < 32 && stage.lanes * 8 <= box)
        stage.lanes *= 2;
      if (ordered)
        stage.lanes = box > 256 ? 0 : 32;
    }
    bytes += stage.lanes ? 0 : 2048;
  }
  for (EncodeScalars &left : scalars) {
    auto type = cast<tile::BufferType>(left.buffer.getType());
    int64_t size = type.getElementType().getIntOrFloatBitWidth() / 8;
    for (unsigned d = 0; d < 2; ++d) {
      left.count[d] = 1;
      int fromEnd = 2 - static_cast<int>(d);
      if (fromEnd > static_cast<int>(type.getRank()))
        continue;
      Index extent =
          symbols.affine(type.getShape().getResult(type.getRank() - fromEnd));
      if (left.axes[d].kind == EncodeAxis::Rows)
        left.count[d] = blocksIn(tileM, left.axes[d].per);
      else if (left.axes[d].kind == EncodeAxis::Depth)
        left.count[d] = clamped(std::max<int64_t>(extent.hi, 1));
      size *= left.count[d];
    }
    bytes += (size + 15) / 16 * 16;
  }
  return static_cast<uint32_t>(std::min<int64_t>(bytes, UINT32_MAX));
}

Result<void> EncodeFit::check(unsigned tileM, uint32_t bytes) const {
  for (const EncodeStage &stage : stages) {
    if (!stage.reduces())
      continue;
    tile::BlocksOp op = stage.stage;
    int64_t rows = 0;
    for (const EncodeAxis &axis : stage.points)
      if (axis.kind == EncodeAxis::Rows)
        rows = axis.per;
    if (rows == 0 ? problem.maxM > tileM : rows > tileM)
      return refuse(op.getLoc(),
                    rows ? fmt::format("blocks of {} rows would be reduced "
                                       "again by every tile of {}",
                                       rows, tileM)
                         : "every tile would reduce all rows again");
  }
  if (bytes > maxScalarBytes) {
    tile::LoadOp at = value;
    return refuse(at.getLoc(),
                  fmt::format("the scales of a tile's {} rows may take more "
                              "than {} KiB of shared memory",
                              tileM, maxScalarBytes >> 10));
  }
  return {};
}

Result<EncodeFit> EncodeFitter::run() {
  if (Result<void> done = checkShape(); !done)
    return done.error();
  if (Result<void> done = findValue(); !done)
    return done.error();
  for (Region *region : {&contract.getLhsRegion(0), &contract.getEpilogue(),
                         &contract.getRescale()})
    for (auto load : region->getOps<tile::LoadOp>())
      if (stored.contains(load.getBuffer()))
        if (Result<void> done = classify(load); !done)
          return done.error();
  for (tile::BlocksOp op : stages) {
    EncodeStage stage;
    stage.stage = op;
    if (Result<void> done = readPoints(stage); !done)
      return done.error();
    if (Result<void> done = checkLoads(stage); !done)
      return done.error();
    fit.stages.push_back(std::move(stage));
  }
  // What only stages see of each other has no place among the product's blocks.
  for (Value buffer : stored)
    if (auto local = buffer.getDefiningOp<tile::LocalOp>();
        local && !axes.contains(buffer))
      return no(local, "a stage leaves something that the product does not "
                       "read");
  for (auto &[buffer, all] : axes) {
    EncodeScalars scalars{buffer, {}, {1, 1}};
    for (size_t d = 0; d < 2 && d < all.size(); ++d)
      scalars.axes[1 - d] = all[all.size() - 1 - d];
    fit.scalars.push_back(std::move(scalars));
  }

  int64_t maxK = 0;
  Result<GemmProblem> problem = gemmProblem(contract, symbols, maxK);
  if (!problem)
    return problem.error();
  fit.problem = *problem;
  fit.promotes = promotesSums(fit.problem, maxK, target);
  if (fit.promotes)
    fit.problem.split = GemmSchedule::promoteEvery;
  fit.problem.valueBytes = fit.value.getType().getIntOrFloatBitWidth() / 8;
  fit.problem.lhsAlignment = std::min<int64_t>(
      16, fit.rows.alignment(symbols, fit.problem.valueBytes));
  return std::move(fit);
}

Result<EncodeFit> emit::findEncoding(tile::KernelOp kernel, Symbols &symbols,
                                     const CudaTarget &target) {
  return EncodeFitter(kernel, symbols, target).run();
}

Result<EncodeFit> emit::fitEncoding(tile::KernelOp kernel,
                                    const CudaTarget &target,
                                    GemmSchedule &schedule) {
  Symbols symbols(kernel.getSymbols().getValue());
  Result<EncodeFit> fit = findEncoding(kernel, symbols, target);
  if (!fit)
    return fit;
  // The tile's rows do not depend on what the scalars take.
  Result<GemmSchedule> found = scheduleGemm(fit->problem, target);
  if (found) {
    uint32_t bytes = fit->lay(symbols, found->tileM);
    if (Result<void> done = fit->check(found->tileM, bytes); !done)
      return done.error();
    fit->problem.stageBytes = bytes;
    found = scheduleGemm(fit->problem, target);
  }
  if (!found) {
    quern::Diagnostic refusal = refuse(kernel.getLoc(), found.error().message);
    refusal.notes = found.error().notes;
    return refusal;
  }
  schedule = *found;
  return fit;
}
