//===- StageFit.cpp - Whether stages fit a product's kernel ---------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/emit/cuda/StageFit.h"

#include "compiler/emit/cuda/BodyText.h"
#include "compiler/emit/cuda/DecodeFit.h"
#include "compiler/emit/cuda/EncodeFit.h"
#include "compiler/emit/cuda/OperandRows.h"

#include <fmt/format.h>

#include <numeric>

using namespace mlir;
using namespace quern;
using namespace quern::emit;

/// Tiles in a cluster, at most: what every device with clusters takes.
static constexpr int64_t maxCluster = 8;

Result<GemmProblem> emit::gemmProblem(tile::ContractOp contract,
                                      Symbols &symbols, int64_t &maxK) {
  std::vector<Index> extents = symbols.affine(contract.getExtents());
  unsigned batch = contract.getNumBatch();
  auto most = [](const Index &extent) {
    return std::min<int64_t>(extent.hi, INT32_MAX);
  };
  GemmProblem problem;
  problem.maxM = most(extents[batch]);
  problem.maxN = most(extents[batch + 1]);
  maxK = most(extents[batch + 2]);
  problem.terms = contract.getNumTerms();
  problem.split = contract.getSplit().value_or(0);
  ArrayRef<int64_t> terms = contract.getTerms();
  Type element = contract.getElementType(contract.getLhsRegion(terms[0]));
  Type rhsElement = contract.getElementType(contract.getRhsRegion(terms[1]));
  problem.elementBytes = element.getIntOrFloatBitWidth() / 8;
  problem.float8 = isa<Float8E4M3FNType, Float8E5M2Type>(element);
  std::optional<DecodeFit> decoding = DecodeFit::of(contract);
  problem.packedRhs = decoding.has_value();
  for (unsigned t = 0; t < problem.terms; ++t) {
    Region &lhs = contract.getLhsRegion(terms[2 * t]);
    Region &rhs = contract.getRhsRegion(terms[2 * t + 1]);
    problem.sharedLhs &= terms[2 * t] == terms[0];
    problem.sharedRhs &= terms[2 * t + 1] == terms[1];
    if (contract.getElementType(lhs) != element ||
        contract.getElementType(rhs) != rhsElement)
      return refuse(contract.getLoc(), "products of different element types in "
                                       "one kernel are not available on CUDA");
    // What is not rows of K is brought into them, 16 bytes aligned.
    auto align = [&](const std::optional<OperandRows> &rows, int64_t &to) {
      if (rows)
        to = std::min(to, rows->alignment(symbols, problem.elementBytes));
    };
    align(OperandRows::of(contract, lhs), problem.lhsAlignment);
    if (decoding)
      align(decoding->operands[terms[2 * t + 1]].rows, problem.rhsAlignment);
    else
      align(OperandRows::of(contract, rhs), problem.rhsAlignment);
  }
  return problem;
}

/// Elements of an axis in one tile, and blocks of it that a tile may meet.
static void layAxis(const tile::BlockAxis &axis, int64_t tile, int64_t max,
                    int64_t &elements, int64_t &count) {
  int64_t extent = axis.isWhole() ? max : axis.extent;
  elements = std::min(extent, tile);
  if (axis.isWhole() || extent >= max)
    count = 1;
  else if (tile % extent == 0 || tile >= max)
    count = (tile + extent - 1) / extent;
  else
    count = (tile + extent - 2) / extent + 1; // It may begin anywhere.
}

static unsigned lanesFor(const StageLayout &layout) {
  if (layout.rows == 1 && layout.columns <= 32 && 32 % layout.columns == 0)
    return static_cast<unsigned>(layout.columns);
  return layout.rows * layout.columns <= 256 ? 32 : 0;
}

namespace {

/// Checks stages one by one and gathers what they ask of the tile.
class Fitter {
public:
  Fitter(tile::ContractOp contract, tile::Placement placement,
         const CudaTarget &target)
      : contract(contract), placement(placement), target(target),
        symbols(contract->getParentOfType<tile::KernelOp>()
                    .getSymbols()
                    .getValue()) {}

  Result<StageFit> run(ArrayRef<StageOfValue> stages, unsigned held);

private:
  bool within() const {
    return placement == tile::Placement::Register ||
           placement == tile::Placement::Tile;
  }
  quern::Diagnostic no(Operation *op, std::string why) const {
    return refuse(
        op->getLoc(),
        fmt::format("{}: {}", stringifyPlacement(placement).str(), why));
  }
  Result<void> add(const StageOfValue &stage);
  Result<void> checkSizes();

  tile::ContractOp contract;
  tile::Placement placement;
  const CudaTarget &target;
  Symbols symbols;
  StageFit fit;
};

} // namespace

Result<void> Fitter::add(const StageOfValue &stage) {
  Operation *op = stage.stage;
  auto type = cast<tile::BufferType>(stage.value.getType());
  unsigned batch = contract.getNumBatch();
  if (type.getRank() != batch + 2)
    return no(op, "its values do not have the product's dimensions");
  if (type.getElementType().getIntOrFloatBitWidth() > 32)
    return no(op, "its values are wider than a sum");
  StageLayout layout;
  std::string why;
  std::optional<tile::StageGeometry> geometry =
      tile::getGeometry(stage.stage, stage.value, why);
  if (!geometry)
    return no(op, why);
  layout.geometry = *geometry;
  layout.levels = tile::getReductionLevels(stage.stage);
  for (unsigned i = 0; i < batch; ++i) {
    const tile::BlockAxis &axis = geometry->axes[i];
    AffineExpr size = type.getShape().getResult(i);
    if (axis.extent != 1 && size != getAffineConstantExpr(1, size.getContext()))
      return no(op, "its blocks reach over several elements of the batch");
  }
  GemmProblem &problem = fit.problem;
  const tile::BlockAxis &rows = geometry->rows(),
                        &columns = geometry->columns();
  std::vector<Index> extents = symbols.affine(contract.getExtents());
  // A block of nothing has a scale, and no tile to make it.
  if ((rows.isWhole() && extents[batch].lo < 1) ||
      (columns.isWhole() && extents[batch + 1].lo < 1))
    return no(op, fmt::format("there may be no {} at all, and whole {} are "
                              "reduced",
                              rows.isWhole() ? "rows" : "columns",
                              rows.isWhole() ? "columns" : "rows"));
  auto need = [&](int64_t &multiple, int64_t block, int64_t max) -> bool {
    block = block == 0 ? std::max<int64_t>(max, 1) : block;
    int64_t both = std::lcm(multiple, block);
    if (both > INT32_MAX)
      return false;
    multiple = both;
    return true;
  };
  bool fits = need(problem.blockRows, rows.extent, problem.maxM);
  if (within())
    fits &= need(problem.blockColumns, columns.extent, problem.maxN);
  if (!fits)
    return no(op, "no tile holds whole blocks of all stages");
  if (placement == tile::Placement::Register &&
      (rows.extent != 1 || columns.extent < 1 || columns.extent > 32 ||
       32 % columns.extent != 0))
    return no(op, "blocks are not one row and 1, 2, 4, 8, 16 or 32 columns, "
                  "which neighbouring threads hold");
  if (!within()) {
    if (geometry->loopsElsewhere)
      return no(op, "it also loops over other data, which its blocks' parts "
                    "are not shares of");
    if (layout.levels.anyOrdered)
      return no(op, "an f32 sum has one written order and cannot be shared "
                    "between tiles");
    // Other tiles' elements, and what another tile stores once per block, are
    // not there to be read back.
    llvm::SmallPtrSet<Value, 4> stored;
    stage.stage->walk(
        [&](tile::StoreOp store) { stored.insert(store.getBuffer()); });
    bool readsBack = false;
    stage.stage->walk([&](tile::LoadOp load) {
      readsBack |= isa<BlockArgument>(load.getBuffer()) &&
                   load.getBuffer() != stage.value &&
                   stored.contains(load.getBuffer());
    });
    if (readsBack)
      return no(op, "it reads from memory what it stored there, and stores "
                    "are shared between tiles");
    if (placement == tile::Placement::Panel && layout.levels.levels.size() > 1)
      return no(op, "a reduction depends on another, and tiles meet once");
  }
  if (placement == tile::Placement::Cluster && !columns.isWhole() &&
      columns.extent < problem.maxN)
    return no(op, "clusters combine reductions over whole rows only");
  fit.stages.push_back(std::move(layout));
  return {};
}

Result<void> Fitter::checkSizes() {
  const GemmSchedule &schedule = fit.schedule;
  fit.tilesN = (fit.problem.maxN + schedule.tileN - 1) / schedule.tileN;
  fit.resident = residentBlocks(fit.problem, schedule, target);
  if (placement == tile::Placement::Grid && fit.tilesN > fit.resident)
    return no(contract,
              fmt::format("the {} tiles of a row panel are not resident "
                          "together: {} holds {}",
                          fit.tilesN, target.name(), fit.resident));
  return {};
}

Result<StageFit> Fitter::run(ArrayRef<StageOfValue> stages, unsigned held) {
  if (placement == tile::Placement::Consumer ||
      placement == tile::Placement::Separate)
    return no(contract, "not available in a product's kernel on CUDA");
  if (placement == tile::Placement::Cluster && !target.hasClusters())
    return no(contract,
              fmt::format("{} has no clusters, sm_90 has", target.name()));
  if (placement == tile::Placement::Panel && stages.size() > 1)
    return no(contract, "one stage only can follow the product");
  int64_t maxK = 0;
  Result<GemmProblem> problem = gemmProblem(contract, symbols, maxK);
  if (!problem)
    return problem.error();
  fit.problem = *problem;
  fit.promotes = promotesSums(fit.problem, maxK, target);
  if (fit.promotes)
    fit.problem.split = GemmSchedule::promoteEvery;
  auto kernel = contract->getParentOfType<tile::KernelOp>();
  std::optional<EncodeFit> encoding;
  if (encodesOnLoad(kernel)) {
    Result<EncodeFit> found = findEncoding(kernel, symbols, target);
    if (!found)
      return found.error();
    encoding = std::move(*found);
    fit.problem = encoding->problem;
  }
  fit.problem.held = held;
  if (placement == tile::Placement::Cluster)
    fit.problem.maxTilesN = maxCluster;
  for (const StageOfValue &stage : stages)
    if (Result<void> done = add(stage); !done)
      return done.error();

  // What is shared between tiles is staged, a word for each block a tile meets;
  // teams of threads exchange through at most 2 KiB.
  auto lay = [&](unsigned tileM, unsigned tileN) {
    uint32_t bytes = 64 + (encoding ? encoding->lay(symbols, tileM) : 0);
    for (StageLayout &layout : fit.stages) {
      layAxis(layout.geometry.rows(), tileM, fit.problem.maxM, layout.rows,
              layout.countM);
      layAxis(layout.geometry.columns(), tileN, fit.problem.maxN,
              layout.columns, layout.countN);
      layout.lanes = lanesFor(layout);
      bytes += layout.lanes ? 0 : 2048;
      if (!within())
        for (const auto &level : layout.levels.levels)
          bytes += level.size() * layout.count() * 4 *
                   (placement == tile::Placement::Cluster ? 2 : 1);
    }
    return bytes;
  };
  fit.problem.stageBytes = lay(128, 128);
  Result<GemmSchedule> schedule = scheduleGemm(fit.problem, target);
  if (schedule) {
    fit.problem.stageBytes = lay(schedule->tileM, schedule->tileN);
    schedule = scheduleGemm(fit.problem, target);
  }
  if (!schedule) {
    const quern::Diagnostic &why = schedule.error();
    quern::Diagnostic refusal = no(contract, why.message);
    refusal.notes = why.notes;
    return refusal;
  }
  fit.schedule = *schedule;
  lay(schedule->tileM, schedule->tileN);
  if (encoding) {
    unsigned tileM = schedule->tileM;
    uint32_t bytes = encoding->lay(symbols, tileM);
    if (Result<void> done = encoding->check(tileM, bytes); !done)
      return done.error();
  }
  if (Result<void> done = checkSizes(); !done)
    return done.error();
  return std::move(fit);
}

Result<StageFit> emit::fitStages(tile::ContractOp contract,
                                 ArrayRef<StageOfValue> stages,
                                 tile::Placement placement,
                                 const CudaTarget &target) {
  llvm::SmallPtrSet<Value, 4> values;
  for (const StageOfValue &stage : stages)
    values.insert(stage.value);
  return Fitter(contract, placement, target).run(stages, values.size());
}

/// Whether an epilogue stores at its own element.
static bool storesOwnElement(tile::StoreOp store, tile::ContractOp contract) {
  Block &block = contract.getEpilogue().front();
  AffineMap map = store.getMap();
  unsigned rank = contract.getNumBatch() + 2;
  if (map.getNumResults() != rank)
    return false;
  for (unsigned i = 0; i < rank; ++i) {
    auto dim = dyn_cast<AffineDimExpr>(map.getResult(i));
    if (!dim || store.getIndices()[dim.getPosition()] != block.getArgument(i))
      return false;
  }
  return true;
}

Result<HeldValues> emit::findHeldValues(tile::KernelOp kernel) {
  HeldValues held;
  tile::ContractOp contract = kernel.getContract();
  SmallVector<Operation *> stages = kernel.getStages();
  if (!contract)
    return refuse(kernel.getLoc(), "kernels of several stages without a "
                                   "product are not available on CUDA");
  // Stages before the product leave it their scalars, and nobody else anything.
  auto product = llvm::find(stages, contract.getOperation());
  llvm::SmallPtrSet<Value, 4> ahead;
  for (Operation *op : llvm::make_range(stages.begin(), product))
    op->walk([&](tile::StoreOp store) { ahead.insert(store.getBuffer()); });
  llvm::SetVector<Value> stored, values, elsewhere;
  contract.getEpilogue().walk([&](tile::StoreOp store) {
    stored.insert(store.getBuffer());
    if (!storesOwnElement(store, contract))
      elsewhere.insert(store.getBuffer());
  });
  for (Operation *op : llvm::make_range(std::next(product), stages.end())) {
    auto stage = cast<tile::BlocksOp>(op);
    llvm::SetVector<Value> loaded, own;
    stage.walk([&](tile::LoadOp load) {
      if (stored.contains(load.getBuffer()))
        loaded.insert(load.getBuffer());
    });
    stage.walk([&](tile::StoreOp store) { own.insert(store.getBuffer()); });
    if (loaded.empty())
      return refuse(op->getLoc(), "a stage reads nothing of what was made "
                                  "before it in the kernel");
    std::string why;
    std::optional<tile::StageGeometry> first;
    for (Value value : loaded) {
      if (elsewhere.contains(value))
        return refuse(contract.getLoc(), "the product stores its result "
                                         "transposed or reshaped, and a stage "
                                         "reads it");
      auto geometry = tile::getGeometry(stage, value, why);
      if (!geometry || (first && !(first->axes == geometry->axes)))
        return refuse(op->getLoc(),
                      geometry ? "it reads two values in different blocks"
                               : why);
      first = geometry;
      values.insert(value);
    }
    for (Value local : own) {
      if (!local.getDefiningOp<tile::LocalOp>())
        continue;
      auto geometry = tile::getGeometry(stage, local, why);
      if (!geometry || !(first->axes == geometry->axes))
        return refuse(op->getLoc(), "it leaves something other than elements "
                                    "for the next stage");
    }
    held.stages.push_back({stage, loaded.front()});
    stored.insert(own.begin(), own.end());
  }
  for (auto local : kernel.getBody().getOps<tile::LocalOp>())
    if (!ahead.contains(local))
      values.insert(local);
  held.values.assign(values.begin(), values.end());
  return held;
}

Result<StageFit> emit::fitKernel(tile::KernelOp kernel,
                                 const CudaTarget &target) {
  Result<HeldValues> held = findHeldValues(kernel);
  if (!held)
    return held.error();
  return Fitter(kernel.getContract(), *kernel.getPlacement(), target)
      .run(held->stages, held->values.size());
}
