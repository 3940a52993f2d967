//===- BlocksText.cpp - Independent blocks as CUDA kernels ----------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/emit/cuda/KernelText.h"

#include <fmt/format.h>

using namespace mlir;
using namespace quern;
using namespace quern::emit;

template <typename OpTy> std::vector<Index> KernelWriter::boxOf(OpTy op) {
  std::vector<Index> point = body.indicesOf(op.getPoint());
  std::vector<Index> extents = symbols.affine(op.getExtents(), point);
  if (std::optional<AffineMap> clamp = op.getClamp())
    for (auto [extent, limit] :
         llvm::zip(extents, symbols.affine(*clamp, point)))
      extent = least(extent, limit);
  if (clip && clip->box >= 0)
    extents[clip->box] = clip->columns;
  return extents;
}

/// Names for the coordinates of a box, by its rank.
static ArrayRef<StringRef> boxNames(unsigned rank) {
  static const StringRef all[] = {"i0", "i1", "i2", "i3", "r", "k"};
  return ArrayRef(all).take_back(std::min<unsigned>(rank, 6));
}

ArrayRef<StringRef> emit::pointNames(unsigned rank) {
  static const StringRef all[] = {"p0", "p1", "p2", "b", "m", "g"};
  static const StringRef one[] = {"m"};
  return rank <= 1 ? ArrayRef(one) : ArrayRef(all).take_back(rank);
}

bool emit::readsWhatItWrites(tile::BlocksOp stage) {
  llvm::SmallPtrSet<Value, 4> stored;
  stage.walk([&](tile::StoreOp store) { stored.insert(store.getBuffer()); });
  return stage
      .walk([&](tile::LoadOp load) {
        return stored.contains(load.getBuffer()) ? WalkResult::interrupt()
                                                 : WalkResult::advance();
      })
      .wasInterrupted();
}

void KernelWriter::writeBoxIndices(const Index &linear, ArrayRef<Index> box,
                                   Block &block) {
  delinearise(linear, box, block.getArguments(), boxNames(box.size()));
  if (!clip || clip->box < 0)
    return;
  // Where only a part of the box lies in this tile, it begins at `first`.
  BlockArgument along = block.getArgument(clip->box);
  Index place = clip->first + body.index(along);
  place.lo = 0, place.hi = std::max<int64_t>(clip->first.hi, 0);
  body.bindIndex(along, place);
}

/// A box's size in the type of the variable that runs over it, which is what
/// the template deduces its index type from.
static std::string extentText(const Index &elements, const Index &linear) {
  return elements.isWide() == linear.isWide()
             ? elements.text
             : fmt::format("({}){}", linear.type(), elements.unit());
}

Result<void> KernelWriter::writeReduce(tile::ReduceOp reduce, BlocksKind kind) {
  if (readsPieces)
    if (Result<bool> done = writeReducePieces(reduce); !done || *done)
      return done ? Result<void>() : done.error();
  Block &block = reduce.getBody().front();
  std::vector<Index> box = boxOf(reduce);
  Index elements = count(box);
  StringRef function, stem;
  switch (reduce.getKind()) {
  case tile::ReduceKind::UMax:
    function = "reduceUMax", stem = "largest";
    break;
  case tile::ReduceKind::MaximumF:
    function = "reduceMaximumF", stem = "maximum";
    break;
  case tile::ReduceKind::AddF:
    function = "reduceAddF", stem = "total";
    break;
  case tile::ReduceKind::AddI:
    function = "reduceAddI", stem = "total";
    break;
  }
  std::string result = names.make(stem);
  std::string most;
  if (reduce.getKind() == tile::ReduceKind::AddF)
    most = kind == BlocksKind::Warp
               ? fmt::format(", {}", std::max<int64_t>(elements.hi, 1))
               : ", 0";
  bool single = box.size() == 1;
  std::string i = names.make(single ? "k" : "i");
  Index linear = Index::variable(i, elements.hi);
  out.add(fmt::format("const {} {} = {}<Team{}>({}, [&]({} {}) {{",
                      typeText(reduce.getType()), result, function.str(), most,
                      extentText(elements, linear), linear.type(), i),
          Place::of(reduce.getLoc()));
  out.indent();
  writeBoxIndices(linear, box, block);
  if (Result<void> done = body.emitBody(block); !done)
    return done;
  Value yielded = block.getTerminator()->getOperand(0);
  out.add(fmt::format("return {};", body.scalar(yielded)),
          Place::of(yielded.getLoc()));
  out.dedent();
  out.add("});");
  body.bindScalar(reduce.getResult(), result);
  return {};
}

Result<void> KernelWriter::writeMap(tile::MapOp map) {
  Block &block = map.getBody().front();
  std::vector<Index> box = boxOf(map);
  Index elements = count(box);
  bool single = box.size() == 1;
  std::string i = names.make(single ? "k" : "i");
  Index linear = Index::variable(i, elements.hi);
  out.add(fmt::format("forEach<Team>({}, [&]({} {}) {{",
                      extentText(elements, linear), linear.type(), i),
          Place::of(map.getLoc()));
  out.indent();
  body.setLaneIndices(block.getArguments());
  writeBoxIndices(linear, box, block);
  if (Result<void> done = body.emitBody(block); !done)
    return done;
  out.dedent();
  out.add("});");
  return {};
}

Result<void> KernelWriter::writeStage(Operation *op, BlocksKind kind) {
  if (auto reduce = dyn_cast<tile::ReduceOp>(op))
    return writeReduce(reduce, kind);
  if (auto map = dyn_cast<tile::MapOp>(op))
    return writeMap(map);
  return body.emit(op);
}

// Scalar ops beside the map are repeated by every thread, so they must not
// store.
tile::MapOp emit::onlyMap(tile::BlocksOp blocks) {
  tile::MapOp found;
  for (Operation &op : blocks.getBody().front()) {
    if (isa<tile::ReduceOp, tile::StoreOp, tile::AccumulateOp>(op))
      return {};
    if (auto map = dyn_cast<tile::MapOp>(op)) {
      if (found)
        return {};
      found = map;
    }
  }
  // The box must be the same at every point for the grid to be one product.
  if (!found || found.getClamp())
    return {};
  for (AffineExpr extent : found.getExtents().getResults())
    if (!extent.isSymbolicOrConstant())
      return {};
  return found;
}

BlocksProblem emit::blocksProblem(tile::BlocksOp blocks, Symbols &symbols) {
  BlocksProblem problem;
  problem.isOneMap = static_cast<bool>(onlyMap(blocks));
  // The largest box, with every point's index at its widest.
  std::vector<Index> domain = symbols.affine(blocks.getDomain());
  auto largest = [&](auto op) {
    std::vector<Index> point;
    for (Value index : op.getPoint()) {
      auto arg = dyn_cast<BlockArgument>(index);
      point.push_back(arg && arg.getOwner() == &blocks.getBody().front()
                          ? Index::variable("", domain[arg.getArgNumber()].hi)
                          : Index::unknown(""));
    }
    std::vector<Index> box = symbols.affine(op.getExtents(), point);
    if (std::optional<AffineMap> clamp = op.getClamp())
      for (auto [extent, limit] : llvm::zip(box, symbols.affine(*clamp, point)))
        extent = least(extent, limit);
    problem.maxBox = std::max(problem.maxBox, count(box).hi);
  };
  for (Operation &op : blocks.getBody().front()) {
    if (auto reduce = dyn_cast<tile::ReduceOp>(op))
      largest(reduce);
    else if (auto map = dyn_cast<tile::MapOp>(op))
      largest(map);
  }
  return problem;
}

Result<void> KernelWriter::writeElements(tile::BlocksOp blocks,
                                         ArrayRef<Index> domain,
                                         KernelText &result) {
  tile::MapOp map = onlyMap(blocks);
  Block &points = blocks.getBody().front();
  Block &elements = map.getBody().front();
  std::vector<Index> box =
      symbols.affine(map.getExtents(), std::vector<Index>(map.getPoint().size(),
                                                          Index::constant(0)));
  Index perPoint = count(box), total = count(domain) * perPoint;
  out.add(fmt::format("const s64 element = elementIndex();"));
  out.add(fmt::format("if (element >= {})", total.unit()));
  out.add("  return;");
  Index linear{"element", 2, 0, std::max<int64_t>(total.hi - 1, 0)};
  auto narrow = [&](StringRef name, const Index &value, int64_t limit) {
    if (value.isConstant())
      return value;
    std::string variable = names.make(name);
    Index index = Index::variable(variable, limit);
    out.add(fmt::format("const {0} {1} = ({0})({2});", index.type(), variable,
                        value.text));
    return index;
  };
  Index point =
      narrow("pointIndex", divide(linear, perPoint), count(domain).hi);
  Index within = domain.empty() || count(domain).hi <= 1
                     ? narrow("i", linear, perPoint.hi)
                     : narrow("i", modulo(linear, perPoint), perPoint.hi);
  delinearise(point, domain, points.getArguments(), pointNames(domain.size()));
  delinearise(within, box, elements.getArguments(), boxNames(box.size()));
  SmallVector<Value> indices(points.getArguments());
  llvm::append_range(indices, elements.getArguments());
  body.setLaneIndices(indices);
  for (Operation &op : points) {
    Result<void> done = &op == map ? body.emitBody(elements) : body.emit(&op);
    if (!done)
      return done;
  }
  SymExpr grid = SymExpr::constant(1);
  for (AffineExpr extent : blocks.getDomain().getResults())
    grid = grid * tile::toSymExpr(extent);
  for (AffineExpr extent : map.getExtents().getResults())
    grid = grid * tile::toSymExpr(extent);
  result.launch.grid[0] =
      SymExpr::ceilDiv(grid, SymExpr::constant(BlocksSchedule::threads));
  return {};
}

Result<void> KernelWriter::writePointBody(tile::BlocksOp blocks,
                                          BlocksKind kind) {
  // Scalars are computed by every thread of the team and stored by its
  // first; where the kernel reads what it stored, the team meets in between.
  bool meets = readsWhatItWrites(blocks), stored = false, loaded = false;
  for (Operation &op : blocks.getBody().front()) {
    bool stores = op.walk([](tile::StoreOp) {
                      return WalkResult::interrupt();
                    }).wasInterrupted();
    bool loads = op.walk([](tile::LoadOp) {
                     return WalkResult::interrupt();
                   }).wasInterrupted();
    if (meets && ((stored && loads) || (loaded && stores))) {
      out.add("Team::sync();");
      stored = loaded = false;
    }
    body.setLaneIndices({});
    body.setStoreGuard(
        isa<tile::StoreOp, tile::AccumulateOp>(op) ? "Team::rank() == 0" : "");
    if (Result<void> done = writeStage(&op, kind); !done)
      return done;
    stored |= stores;
    loaded |= loads;
  }
  body.setStoreGuard("");
  return {};
}

Result<KernelText> KernelWriter::writeBlocks(tile::BlocksOp blocks) {
  Block &block = blocks.getBody().front();
  std::vector<Index> domain = symbols.affine(blocks.getDomain());

  BlocksSchedule schedule = scheduleBlocks(blocksProblem(blocks, symbols));

  KernelText result;
  result.schedule = schedule.describe();
  result.header = "rowwise/rowwise.cuh";
  result.launch.block = {BlocksSchedule::threads, 1, 1};
  if (schedule.kind == BlocksKind::Elements) {
    if (Result<void> done = writeElements(blocks, domain, result); !done)
      return done.error();
    finish(result, SourceText(), "256");
    return result;
  }

  Index points = count(domain);
  SymExpr grid = SymExpr::constant(1);
  for (AffineExpr extent : blocks.getDomain().getResults())
    grid = grid * tile::toSymExpr(extent);
  if (schedule.kind == BlocksKind::Warp) {
    out.add("using Team = WarpTeam;");
    grid = SymExpr::ceilDiv(grid, SymExpr::constant(8));
  } else {
    out.add("using Team = BlockTeam;");
  }
  result.launch.grid[0] = grid;
  bool needsPoint = !points.isConstant() || points.hi != 1;
  Index point{"point", 2, 0, std::min<int64_t>(points.hi, INT32_MAX) - 1};
  if (needsPoint || schedule.kind == BlocksKind::Warp)
    out.add("const int point = (int)Team::index();");
  if (schedule.kind == BlocksKind::Warp) {
    out.add(fmt::format("if (point >= {})", points.unit()));
    out.add("  return;");
  }
  delinearise(point, domain, block.getArguments(), pointNames(domain.size()));

  if (Result<void> done = writePointBody(blocks, schedule.kind); !done)
    return done.error();
  finish(result, SourceText(), "256");
  return result;
}
