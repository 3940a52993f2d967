//===- StageTraffic.cpp - Traffic of stages behind a product --------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Follows what compiler/emit/cuda/StagesText.cpp writes, block by block of one
// tile.
//
//===----------------------------------------------------------------------===//

#include "compiler/select/Tally.h"

using namespace mlir;
using namespace quern;
using namespace quern::select;

namespace {

class StageTally {
public:
  StageTally(Tally &tally, tile::ContractOp product, tile::BlocksOp stage,
             const emit::StageLayout &layout, const emit::StageFit &fit,
             const emit::HeldValues &held, tile::Placement placement,
             const TileAt &tile);

  void run();

private:
  /// A block that the tile meets, and the part of it in the tile.
  struct Part {
    bool exists = false;
    bool owns = true;
    int64_t first = 0, columns = -1; ///< Of the box, where it is clipped.
    llvm::SmallVector<int64_t> point;
  };
  Part partAt(int64_t number) const;
  void runPointOps(ArrayRef<Part> parts);
  template <typename OpTy> void runBox(OpTy op, ArrayRef<Part> parts);
  void meet();
  bool within() const {
    return placement == tile::Placement::Register ||
           placement == tile::Placement::Tile;
  }
  /// Whether the stage finds it in shared memory.
  bool isShared(Value buffer) const {
    return llvm::is_contained(held.values, buffer) &&
           placement != tile::Placement::Panel;
  }

  Tally &tally;
  tile::BlocksOp stage;
  const emit::StageLayout &layout;
  const emit::GemmSchedule &schedule;
  const emit::HeldValues &held;
  tile::Placement placement;
  const TileAt &tile;
  Coordinates coordinates;
  unsigned numPoint;
  int64_t M, N;
  llvm::SmallVector<int64_t> domain;
  llvm::SmallDenseSet<Operation *> met; ///< Reductions over shared memory.
};

} // namespace

StageTally::StageTally(Tally &tally, tile::ContractOp product,
                       tile::BlocksOp stage, const emit::StageLayout &layout,
                       const emit::StageFit &fit, const emit::HeldValues &held,
                       tile::Placement placement, const TileAt &tile)
    : tally(tally), stage(stage), layout(layout), schedule(fit.schedule),
      held(held), placement(placement), tile(tile), coordinates(tally.sizes),
      numPoint(stage.getBody().getNumArguments()) {
  for (auto [i, arg] : llvm::enumerate(stage.getBody().getArguments()))
    coordinates.bind(arg, i);
  for (AffineExpr extent : stage.getDomain().getResults())
    domain.push_back(coordinates.evaluate(extent));
  unsigned batch = product.getNumBatch();
  M = coordinates.evaluate(product.getExtents().getResult(batch));
  N = coordinates.evaluate(product.getExtents().getResult(batch + 1));
  for (const auto &level : layout.levels.levels)
    met.insert(level.begin(), level.end());
}

StageTally::Part StageTally::partAt(int64_t number) const {
  Part part;
  part.point.assign(numPoint, 0);
  const tile::BlockAxis &rows = layout.geometry.rows(),
                        &columns = layout.geometry.columns();
  bool exists = number < layout.count();
  auto place = [&](const tile::BlockAxis &axis, int64_t origin, int64_t at,
                   int64_t tileSize) {
    if (axis.point < 0)
      return;
    int64_t block = origin / axis.extent + at;
    part.point[axis.point] = block;
    exists &=
        block < domain[axis.point] && block * axis.extent < origin + tileSize;
  };
  place(rows, tile.m0, number / layout.countN, schedule.tileM);
  place(columns, tile.n0, number % layout.countN, schedule.tileN);
  part.exists = exists;
  if (within() || !exists)
    return part;
  if (columns.isWhole() || columns.extent >= N) {
    part.owns = tile.n0 == 0;
    part.first = tile.n0;
    part.columns = std::min<int64_t>(N - tile.n0, schedule.tileN);
  } else if (schedule.tileN % columns.extent != 0) {
    int64_t begin = part.point[columns.point] * columns.extent;
    part.first = std::max<int64_t>(tile.n0 - begin, 0);
    part.owns = part.first == 0;
    part.columns = std::min({columns.extent, N - begin,
                             tile.n0 + int64_t(schedule.tileN) - begin}) -
                   part.first;
  }
  return part;
}

template <typename OpTy>
void StageTally::runBox(OpTy op, ArrayRef<Part> parts) {
  Block &body = op.getBody().front();
  unsigned dims = body.getNumArguments();
  for (auto [i, arg] : llvm::enumerate(body.getArguments()))
    coordinates.bind(arg, numPoint + i);
  std::vector<Touch> touches = tally.touchesOf(body, coordinates);
  // Before tiles meet the value is in shared memory in every placement.
  bool early = llvm::is_contained(met, op.getOperation());
  llvm::erase_if(touches, [&](const Touch &touch) {
    return touch.kind == Touch::Kind::Load &&
           (isShared(touch.buffer) ||
            (early && llvm::is_contained(held.values, touch.buffer)));
  });
  // Lanes of a team take an element each, at each step.
  int64_t team = layout.lanes ? layout.lanes : schedule.threads();
  int64_t most = 0;
  llvm::SmallVector<llvm::SmallVector<int64_t>> boxes, points;
  for (const Part &part : parts) {
    llvm::SmallVector<int64_t> at(part.point);
    at.resize(numPoint + dims, 0);
    llvm::SmallVector<int64_t> box = boxOf(op, coordinates, at);
    if (part.columns >= 0 && layout.geometry.columns().box >= 0)
      box[layout.geometry.columns().box] = part.columns;
    int64_t elements = part.exists ? 1 : 0;
    for (int64_t extent : box)
      elements *= extent;
    tally.compute(body, double(elements) * tile.weight);
    most = std::max(most, elements);
    boxes.push_back(std::move(box));
    points.push_back(std::move(at));
  }
  if (touches.empty())
    return;
  int64_t warps = layout.lanes ? 1 : team / 32;
  for (int64_t step = 0; step * team < most; ++step)
    for (int64_t warp = 0; warp < warps; ++warp) {
      Lanes lanes;
      for (size_t p = 0; p < parts.size(); ++p) {
        if (!parts[p].exists)
          continue;
        int64_t elements = 1;
        for (int64_t extent : boxes[p])
          elements *= extent;
        int64_t begin = step * team + warp * 32;
        int64_t end = std::min(elements, begin + std::min<int64_t>(team, 32));
        for (int64_t i = begin; i < end; ++i) {
          llvm::SmallVector<int64_t, 8> at(points[p].begin(), points[p].end());
          int64_t left = i;
          for (unsigned d = dims; d-- > 0;) {
            at[numPoint + d] = left % boxes[p][d];
            left /= boxes[p][d];
          }
          if (parts[p].columns >= 0 && layout.geometry.columns().box >= 0)
            at[numPoint + layout.geometry.columns().box] += parts[p].first;
          lanes.push_back(std::move(at));
        }
      }
      for (const Touch &touch : touches)
        tally.request(touch, lanes, tile.weight, true);
    }
}

void StageTally::runPointOps(ArrayRef<Part> parts) {
  for (Operation &op : stage.getBody().front()) {
    if (auto reduce = dyn_cast<tile::ReduceOp>(op)) {
      runBox(reduce, parts);
    } else if (auto map = dyn_cast<tile::MapOp>(op)) {
      runBox(map, parts);
    } else if (isa<tile::LoadOp, tile::StoreOp, tile::AccumulateOp>(op)) {
      Touch touch = tally.touchOf(&op, coordinates);
      if (tally.isKept(touch.buffer))
        continue;
      bool load = touch.kind == Touch::Kind::Load;
      if (load && isShared(touch.buffer))
        continue;
      Lanes lanes;
      for (const Part &part : parts)
        if (part.exists && (load || part.owns))
          lanes.push_back({part.point.begin(), part.point.end()});
      double warps = load && !layout.lanes ? schedule.threads() / 32.0 : 1;
      if (load && !layout.lanes && !lanes.empty())
        lanes.assign(32, lanes.front());
      tally.request(touch, lanes, tile.weight * warps);
    }
  }
}

void StageTally::meet() {
  if (placement == tile::Placement::Cluster)
    return;
  for (const auto &level : layout.levels.levels) {
    // Arriving, and waiting until nobody is missing.
    tally.addState(Touch::Kind::Accumulate, 4 * tile.weight, tile.weight);
    tally.addState(Touch::Kind::Load, 4 * tile.weight, tile.weight);
    // A word for each block and reduction, there and back.
    for (int64_t begin = 0; begin < layout.count(); begin += 32) {
      llvm::SmallVector<int64_t> words;
      for (int64_t i = begin; i < std::min(layout.count(), begin + 32); ++i) {
        Part part = partAt(i);
        if (!part.exists)
          continue;
        int64_t linear = 0;
        for (auto [extent, index] : llvm::zip(domain, part.point))
          linear = linear * extent + index;
        words.push_back(linear * 4);
      }
      double times = tile.weight * double(level.size());
      double sectors = countSectors(words, 4) * times;
      double bytes = 4 * double(words.size()) * times;
      tally.addState(Touch::Kind::Accumulate, bytes, sectors);
      tally.addState(Touch::Kind::Load, bytes, sectors);
    }
  }
}

void StageTally::run() {
  int64_t together = layout.lanes ? 32 / layout.lanes : 1;
  for (int64_t begin = 0; begin < layout.count(); begin += together) {
    llvm::SmallVector<Part> parts;
    bool any = false;
    for (int64_t i = begin; i < begin + together; ++i) {
      parts.push_back(partAt(i));
      any |= parts.back().exists;
    }
    if (any)
      runPointOps(parts);
  }
  if (!within())
    meet();
}

void select::tallyStages(Tally &tally, tile::ContractOp product,
                         const emit::HeldValues &held,
                         const emit::StageFit &fit, tile::Placement placement,
                         const TileAt &tile) {
  for (auto [i, one] : llvm::enumerate(held.stages))
    StageTally(tally, product, one.stage, fit.stages[i], fit, held, placement,
               tile)
        .run();
}
