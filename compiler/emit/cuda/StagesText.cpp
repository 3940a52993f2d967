//===- StagesText.cpp - Stages behind a product, in its kernel ------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Writes what stages.cuh describes. A stage whose blocks lie within tiles is
// one loop over the tile's blocks with the body the stage would have in a
// kernel of its own. One whose blocks are shared between tiles is cut at its
// reductions: a loop that leaves a word per block and reduction, a meeting, a
// loop that goes on with the results. Scalars are computed again on either
// side; what is stored once per block is stored by the tile in which the block
// begins.
//
//===----------------------------------------------------------------------===//

#include "compiler/emit/cuda/KernelText.h"

#include <fmt/format.h>

using namespace mlir;
using namespace quern;
using namespace quern::emit;

//===----------------------------------------------------------------------===//
// Around the product
//===----------------------------------------------------------------------===//

Result<void> KernelWriter::beginFused(tile::ContractOp contract,
                                      ArrayRef<Index> extents,
                                      KernelText &result) {
  fused.emplace();
  Result<HeldValues> held = findHeldValues(kernel);
  if (!held)
    return held.error();
  Result<StageFit> fit = fitKernel(kernel, target);
  if (!fit)
    return fit.error();
  fused->held = std::move(*held);
  fused->fit = std::move(*fit);
  fused->placement = *kernel.getPlacement();
  unsigned numBatch = contract.getNumBatch();
  fused->M = extents[numBatch], fused->N = extents[numBatch + 1];
  if (fused->placement == tile::Placement::Cluster)
    fused->cluster = static_cast<int>(std::max<int64_t>(fused->fit.tilesN, 1));

  bool inMemory = fused->placement == tile::Placement::Panel;
  for (Value value : fused->held.values) {
    if (!value.getDefiningOp<tile::LocalOp>())
      continue;
    // A value that no tile keeps has a buffer of the kernel's own.
    std::string name;
    if (inMemory) {
      name = names.make("value");
      auto type = cast<tile::BufferType>(value.getType());
      BufferDesc desc;
      desc.name = shortName;
      desc.part = name;
      desc.dtype = *getDType(type.getElementType());
      desc.role = BufferRole::Temporary;
      for (AffineExpr extent : type.getShape().getResults())
        desc.shape.push_back(tile::toSymExpr(extent));
      result.ownBuffers.push_back(std::move(desc));
      ownParameters.push_back(fmt::format(
          "{} *__restrict__ {}", typeText(type.getElementType()), name));
    }
    body.bindBuffer(value, name, true);
  }
  if (fused->queues()) {
    fused->state = names.make("state");
    fused->queue = names.make("queue");
    fused->item = names.make("item");
    fused->gathered = names.make("gathered");
    ownParameters.push_back(fmt::format("s32 *__restrict__ {}", fused->state));
  }
  return {};
}

void KernelWriter::declareHeld() {
  unsigned plane = 0;
  for (Value value : fused->held.values) {
    auto type = cast<tile::BufferType>(value.getType());
    StringRef inMemory = body.bufferName(value);
    std::string name =
        names.make(inMemory.empty() ? "held" : "held_" + inMemory.str());
    out.add(fmt::format("const Held<{}, {}{}> {}(tile);", config,
                        typeText(type.getElementType()),
                        plane ? fmt::format(", {}", plane) : "", name));
    ++plane;
    body.bindHeld(value, name);
  }
}

void KernelWriter::endFused(tile::ContractOp contract, KernelText &result) {
  result.schedule +=
      fmt::format("; placed in {}", stringifyPlacement(fused->placement).str());
  result.header = "gemm_mma/stages.cuh";
  if (fused->placement == tile::Placement::Panel) {
    out.dedent();
    out.add("}");
  }
  if (fused->queues()) {
    out.dedent();
    out.add("}");
  }
  AffineMap extents = contract.getExtents();
  unsigned numBatch = contract.getNumBatch();
  const GemmSchedule &schedule = fused->fit.schedule;
  auto tiles = [&](unsigned axis, int64_t size) {
    return SymExpr::ceilDiv(tile::toSymExpr(extents.getResult(axis)),
                            SymExpr::constant(size));
  };
  SymExpr panels = tiles(numBatch, schedule.tileM);
  for (unsigned i = 0; i < numBatch; ++i)
    panels = panels * tile::toSymExpr(extents.getResult(i));
  SymExpr tilesN = tiles(numBatch + 1, schedule.tileN);
  LaunchDesc &launch = result.launch;
  if (fused->placement == tile::Placement::Cluster) {
    // All of a cluster's blocks, those beyond N too; none where N is 0.
    launch.cluster = static_cast<uint32_t>(fused->cluster);
    launch.grid[0] =
        panels * SymExpr::constant(fused->cluster) *
        SymExpr::binary(SymExpr::Op::Min, tilesN, SymExpr::constant(1));
  }
  if (!fused->queues())
    return;
  bool waits = fused->placement == tile::Placement::Grid;
  launch.kind = waits ? LaunchKind::Cooperative : LaunchKind::Persistent;
  if (waits)
    launch.residentBlocks = tilesN;
  launch.grid[0] = panels * tilesN;
  BufferDesc state;
  state.name = shortName;
  state.part = "state";
  state.dtype = DType::I32;
  state.role = BufferRole::State;
  state.shape = {SymExpr::constant(1) +
                 panels * SymExpr::constant(fused->meetings) +
                 fused->gatheredSize};
  result.ownBuffers.push_back(std::move(state));
}

//===----------------------------------------------------------------------===//
// Blocks of a tile
//===----------------------------------------------------------------------===//

namespace {

/// One direction's coordinate of a block.
struct Coordinate {
  std::string text, condition;
};

} // namespace

/// The block that is number `number` in this tile along an axis.
static Coordinate coordinateOf(const tile::BlockAxis &axis, StringRef origin,
                               const std::string &number, int64_t tileSize,
                               const Index &size, const Index &blocks,
                               const std::string &name) {
  Coordinate result;
  std::string base = axis.extent == 1
                         ? origin.str()
                         : fmt::format("{} / {}", origin.str(), axis.extent);
  result.text = number.empty() ? base : fmt::format("{} + {}", base, number);
  bool whole = size.isConstant() && size.hi % tileSize == 0 &&
               tileSize % axis.extent == 0;
  bool straddles = tileSize % axis.extent != 0 && tileSize < size.hi;
  if (!whole && !number.empty())
    result.condition = fmt::format("{} < {}", name, blocks.text);
  if (straddles && !number.empty())
    result.condition += fmt::format("{}{} * {} < {} + {}",
                                    result.condition.empty() ? "" : " && ",
                                    name, axis.extent, origin.str(), tileSize);
  return result;
}

std::string KernelWriter::writePoint(tile::BlocksOp stage,
                                     const StageLayout &layout,
                                     const std::string &number) {
  Block &block = stage.getBody().front();
  std::vector<Index> domain = symbols.affine(stage.getDomain());
  const tile::StageGeometry &geometry = layout.geometry;
  const GemmSchedule &schedule = fused->fit.schedule;
  for (unsigned i = 0; i + 2 < geometry.axes.size(); ++i)
    if (int point = geometry.axes[i].point; point >= 0)
      body.bindIndex(block.getArgument(point), fused->batch[i]);
  std::string conditions;
  auto write = [&](const tile::BlockAxis &axis, StringRef origin,
                   const std::string &within, int64_t tileSize,
                   const Index &size, StringRef stem) {
    if (axis.point < 0)
      return;
    std::string name = names.make(stem);
    Coordinate at = coordinateOf(axis, origin, within, tileSize, size,
                                 domain[axis.point], name);
    out.add(fmt::format("const int {} = {};", name, at.text));
    if (!at.condition.empty())
      conditions += (conditions.empty() ? "" : " && ") + at.condition;
    body.bindIndex(block.getArgument(axis.point),
                   Index::variable(name, domain[axis.point].hi));
  };
  std::string row = number, column = number;
  if (layout.countN > 1) {
    row = fmt::format("{} / {}", number, layout.countN);
    column = fmt::format("{} % {}", number, layout.countN);
  } else {
    column = "";
  }
  if (layout.countM == 1) {
    row = "";
    column = layout.countN > 1 ? number : "";
  }
  write(geometry.rows(), "tile.m0", row, schedule.tileM, fused->M,
        geometry.rows().extent == 1 ? "m" : "mb");
  write(geometry.columns(), "tile.n0", column, schedule.tileN, fused->N,
        geometry.columns().extent == 1 ? "n" : "g");
  return conditions;
}

void KernelWriter::writeClip(tile::BlocksOp stage, const StageLayout &layout) {
  const tile::BlockAxis &axis = layout.geometry.columns();
  int64_t tileN = fused->fit.schedule.tileN;
  const Index &N = fused->N;
  clip.emplace();
  if (axis.isWhole() || axis.extent >= N.hi) {
    if (N.hi <= tileN)
      return; // The row has one tile.
    clip->owns = "tile.n0 == 0";
    if (axis.box < 0)
      return;
    std::string columns = names.make("columns");
    Index left{fmt::format("{} - tile.n0", N.unit()), 0, 0, N.hi};
    out.add(fmt::format("const int {} = {};", columns,
                        least(left, Index::constant(tileN)).text));
    clip->box = axis.box;
    clip->first = {"tile.n0", 2, 0, N.hi - 1};
    clip->columns = {columns, 2, 0, tileN};
    return;
  }
  if (tileN % axis.extent == 0)
    return; // Blocks begin and end with tiles.
  Index begin = body.index(stage.getBody().front().getArgument(axis.point)) *
                Index::constant(axis.extent);
  std::string first = names.make("first"), columns = names.make("columns");
  Index left{fmt::format("{} - {}", N.unit(), begin.unit()), 0, 0, N.hi};
  Index within{fmt::format("tile.n0 + {} - {}", tileN, begin.unit()), 0, 0,
               N.hi};
  out.add(fmt::format("const int {} = larger<int>(tile.n0 - {}, 0);", first,
                      begin.unit()));
  out.add(fmt::format(
      "const int {} = {} - {};", columns,
      least(least(Index::constant(axis.extent), left), within).text, first));
  clip->owns = fmt::format("{} == 0", first);
  clip->box = axis.box;
  clip->first = {first, 2, 0, axis.extent - 1};
  clip->columns = {columns, 2, 0, layout.columns};
}

Result<void>
KernelWriter::overBlocks(tile::BlocksOp stage, const StageLayout &layout,
                         llvm::function_ref<Doing(Operation *)> doing) {
  out.add(layout.lanes ? fmt::format("using Team = TileLanes<{}, {}>;", config,
                                     layout.lanes)
                       : fmt::format("using Team = TileThreads<{}>;", config));
  std::string number = names.make("block");
  out.add(fmt::format("for (int {0} = Team::index(); {0} < {1}; {0} += "
                      "Team::count) {{",
                      number, layout.count()));
  out.indent();
  std::string exists = writePoint(stage, layout, number);
  if (!exists.empty()) {
    out.add(fmt::format("if (!({}))", exists));
    out.add("  continue;");
  }
  if (!fused->within())
    writeClip(stage, layout);
  if (Result<void> done = writeOps(stage, layout, number, doing); !done)
    return done;
  clip.reset();
  out.dedent();
  out.add("}");
  return {};
}

/// A reduction's result as a word whose unsigned maximum, or sum, is that of
/// the results.
static std::string asWord(tile::ReduceKind kind, const std::string &value) {
  return kind == tile::ReduceKind::MaximumF
             ? fmt::format("orderedBits({})", value)
             : fmt::format("(u32){}", value);
}
static std::string fromWord(tile::ReduceKind kind, const std::string &word) {
  return kind == tile::ReduceKind::MaximumF
             ? fmt::format("const float {{}} = fromOrderedBits({});", word)
             : fmt::format("const int {{}} = (int){};", word);
}

Result<void>
KernelWriter::writeOps(tile::BlocksOp stage, const StageLayout &layout,
                       const std::string &number,
                       llvm::function_ref<Doing(Operation *)> doing) {
  // As in a kernel of its own: scalars are computed by every thread of the team
  // and stored by its first.
  BlocksKind kind = layout.lanes ? BlocksKind::Warp : BlocksKind::Block;
  bool meets = readsWhatItWrites(stage), stored = false, loaded = false;
  std::string first = "Team::rank() == 0";
  if (clip && !clip->owns.empty())
    first += " && " + clip->owns;
  for (Operation &op : stage.getBody().front()) {
    Doing what = doing(&op);
    if (what == Doing::Skip)
      continue;
    if (what == Doing::Fetch) {
      const PartOf &part = parts.find(&op)->second;
      std::string name = names.make("combined");
      out.add(fmt::format(
                  fmt::runtime(fromWord(
                      part.kind, fmt::format("{}[{}]", part.whole, number))),
                  name),
              Place::of(op.getLoc()));
      body.bindScalar(op.getResult(0), name);
      continue;
    }
    auto touches = [&](auto one) {
      using OpTy = decltype(one);
      return op.walk([](OpTy) { return WalkResult::interrupt(); })
          .wasInterrupted();
    };
    bool stores = touches(tile::StoreOp()), loads = touches(tile::LoadOp());
    if (meets && ((stored && loads) || (loaded && stores))) {
      out.add("Team::sync();");
      stored = loaded = false;
    }
    body.setLaneIndices({});
    body.setStoreGuard(isa<tile::StoreOp, tile::AccumulateOp>(op) ? first : "");
    if (Result<void> done = writeStage(&op, kind); !done)
      return done;
    stored |= stores;
    loaded |= loads;
    if (what == Doing::Leave) {
      const PartOf &part = parts.find(&op)->second;
      out.add(fmt::format("if (Team::rank() == 0) {}[{}] = {};", part.part,
                          number,
                          asWord(part.kind, body.scalar(op.getResult(0)))));
    }
  }
  body.setStoreGuard("");
  return {};
}

//===----------------------------------------------------------------------===//
// Stages
//===----------------------------------------------------------------------===//

/// Meetings that lie before each op of a stage, as getReductionLevels counts
/// them.
static llvm::DenseMap<Operation *, unsigned>
meetingsBefore(tile::BlocksOp stage) {
  llvm::DenseMap<Operation *, unsigned> before;
  llvm::DenseMap<Value, unsigned> stored;
  Block &block = stage.getBody().front();
  for (Operation &op : block) {
    unsigned level = 0;
    op.walk([&](Operation *inner) {
      for (Value operand : inner->getOperands())
        if (Operation *maker = operand.getDefiningOp();
            maker && maker->getBlock() == &block)
          level = std::max(level, before.lookup(maker) +
                                      (isa<tile::ReduceOp>(maker) ? 1 : 0));
      if (auto load = dyn_cast<tile::LoadOp>(inner))
        level = std::max(level, stored.lookup(load.getBuffer()));
    });
    before[&op] = level;
    op.walk([&](tile::StoreOp store) {
      unsigned &known = stored[store.getBuffer()];
      known = std::max(known, level);
    });
  }
  return before;
}

/// Marks what `op` needs of the stage's scalars.
static void markNeeded(Operation *op, Block &block,
                       llvm::DenseSet<Operation *> &needed) {
  if (!needed.insert(op).second)
    return;
  op->walk([&](Operation *inner) {
    for (Value operand : inner->getOperands())
      if (Operation *maker = operand.getDefiningOp();
          maker && maker->getBlock() == &block) {
        // A reduction's result is known by then; what it was made of is not
        // needed again.
        if (isa<tile::ReduceOp>(maker))
          needed.insert(maker);
        else
          markNeeded(maker, block, needed);
      }
  });
}

void KernelWriter::writePlace(tile::BlocksOp stage, const StageLayout &layout,
                              const std::string &name) {
  out.add(fmt::format("auto {} = [&](int block) {{", name));
  out.indent();
  std::string exists = writePoint(stage, layout, "block");
  std::vector<Index> domain = symbols.affine(stage.getDomain());
  Index linear = Index::constant(0);
  for (auto [arg, extent] : llvm::zip(stage.getBody().getArguments(), domain))
    linear = linear * extent + body.index(arg);
  out.add(exists.empty()
              ? fmt::format("return {};", linear.text)
              : fmt::format("return {} ? {} : -1;", exists, linear.text));
  out.dedent();
  out.add("};");
}

Result<void> KernelWriter::writeMeeting(tile::BlocksOp stage,
                                        const StageLayout &layout,
                                        ArrayRef<tile::ReduceOp> level,
                                        bool leavesValue) {
  const std::string &place = fused->place;
  auto opOf = [](tile::ReduceKind kind) {
    return kind == tile::ReduceKind::AddI ? "TakeAddU()" : "TakeMaxU()";
  };
  int64_t count = layout.count();
  if (fused->placement == tile::Placement::Cluster) {
    out.add("clusterArrive();");
    out.add("clusterWait();");
    for (tile::ReduceOp reduce : level) {
      const PartOf &part = parts.find(reduce)->second;
      out.add(fmt::format("shareParts<{}, {}>({}, {}, {}, {}, {});", config,
                          fused->cluster, opOf(part.kind), part.part,
                          part.whole, count, place));
    }
    out.add("clusterArrive();");
    out.add("__syncthreads();");
    return {};
  }
  SymExpr points = SymExpr::constant(1);
  for (AffineExpr extent : stage.getDomain().getResults())
    points = points * tile::toSymExpr(extent);
  out.add("__syncthreads();");
  SmallVector<std::string> fetches;
  for (tile::ReduceOp reduce : level) {
    const PartOf &part = parts.find(reduce)->second;
    std::string to =
        fused->gatheredWords.isConstant() && fused->gatheredWords.lo == 0
            ? fused->gathered
            : fmt::format("{} + {}", fused->gathered,
                          fused->gatheredWords.text);
    out.add(fmt::format("gatherParts<{}>({}, {}, {}, {}, {});", config,
                        opOf(part.kind), part.part, count, to, place));
    fetches.push_back(fmt::format("fetchParts<{}>({}, {}, {}, {});", config,
                                  part.whole, count, to, place));
    fused->gatheredWords =
        fused->gatheredWords +
        quern::emit::count(symbols.affine(stage.getDomain()));
    fused->gatheredSize = fused->gatheredSize + points;
  }
  int meeting = fused->meetings++;
  out.add(fmt::format("{}.arrive({}, {}.panel);", fused->queue, meeting,
                      fused->item));
  if (leavesValue) {
    out.dedent();
    out.add("} else {");
    out.indent();
  }
  out.add(fmt::format("{}.await({}, {}.panel);", fused->queue, meeting,
                      fused->item));
  for (std::string &fetch : fetches)
    out.add(std::move(fetch));
  return {};
}

void KernelWriter::declareParts(tile::BlocksOp stage,
                                const StageLayout &layout) {
  bool isCluster = fused->placement == tile::Placement::Cluster;
  fused->place = names.make("place");
  writePlace(stage, layout, fused->place);
  for (const auto &level : layout.levels.levels)
    for (tile::ReduceOp reduce : level) {
      PartOf part;
      part.kind = reduce.getKind();
      part.part = part.whole = names.make("part");
      if (isCluster)
        part.whole = names.make("whole");
      out.add(fmt::format(
          "__shared__ u32 {}[{}]{};", part.part, layout.count(),
          isCluster ? fmt::format(", {}[{}]", part.whole, layout.count())
                    : ""));
      parts[reduce] = part;
    }
}

Result<void> KernelWriter::writeSharedStage(tile::BlocksOp stage,
                                            const StageLayout &layout) {
  Block &block = stage.getBody().front();
  auto before = meetingsBefore(stage);
  bool isPanel = fused->placement == tile::Placement::Panel;
  bool isCluster = fused->placement == tile::Placement::Cluster;
  const auto &levels = layout.levels.levels;
  // Both kinds of items need what was declared; see writeContract.
  if (!isPanel)
    declareParts(stage, layout);
  for (unsigned phase = 0; phase <= levels.size(); ++phase) {
    // What happens between this meeting and the next, and the scalars for it.
    llvm::DenseSet<Operation *> done, needed;
    for (Operation &op : block)
      if (before[&op] == phase &&
          isa<tile::ReduceOp, tile::MapOp, tile::StoreOp, tile::AccumulateOp>(
              op))
        done.insert(&op);
    for (Operation *op : done)
      markNeeded(op, block, needed);
    auto doing = [&](Operation *op) {
      if (!needed.contains(op))
        return Doing::Skip;
      if (isa<tile::ReduceOp>(op))
        return before[op] == phase ? Doing::Leave : Doing::Fetch;
      return Doing::Emit;
    };
    if (phase > 0) {
      out.add("{");
      out.indent();
    }
    if (Result<void> ok = overBlocks(stage, layout, doing); !ok)
      return ok;
    if (phase > 0) {
      out.dedent();
      out.add("}");
      if (isCluster)
        out.add("clusterWait();");
    }
    if (phase == levels.size())
      break;
    if (Result<void> ok = writeMeeting(stage, layout, levels[phase], isPanel);
        !ok)
      return ok;
    if (isPanel)
      for (Value value : fused->held.values)
        body.bindHeld(value, ""); // Found in memory from here on.
  }
  return {};
}

Result<void> KernelWriter::writeFusedStages(tile::ContractOp contract) {
  for (auto [i, held] : llvm::enumerate(fused->held.stages)) {
    const StageLayout &layout = fused->fit.stages[i];
    // Where teams meet only elements their own threads stored, nobody waits.
    bool own = i == 0 && fused->placement == tile::Placement::Register &&
               layout.rows == 1 && layout.columns == layout.lanes &&
               layout.countN * layout.lanes == fused->fit.schedule.tileN;
    if (!own)
      out.add("__syncthreads();");
    // A panel's items have braces of their own.
    bool braces = fused->placement != tile::Placement::Panel;
    if (braces) {
      out.add("{");
      out.indent();
    }
    Result<void> done =
        fused->within() ? overBlocks(held.stage, layout,
                                     [](Operation *) { return Doing::Emit; })
                        : writeSharedStage(held.stage, layout);
    if (!done)
      return done;
    if (braces) {
      out.dedent();
      out.add("}");
    }
  }
  return {};
}
