//===- EncodeTraffic.cpp - Traffic of operands encoded on load ------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Follows what compiler/emit/cuda/EncodeText.cpp writes: the stages that every
// tile runs for the blocks its rows lie in, and the values that the threads
// copy in place of codes. Lanes of a team read neighbouring elements, some
// bytes at once where rows are aligned, which asks for the same sectors.
//
//===----------------------------------------------------------------------===//

#include "compiler/select/Tally.h"

using namespace mlir;
using namespace quern;
using namespace quern::select;

/// Blocks of a tile, and chunks of a block, that are looked at.
static constexpr int64_t maxBlocks = 7, maxChunks = 13;

namespace {

class EncodeTally {
public:
  EncodeTally(Tally &tally, const emit::EncodeStage &stage,
              const emit::GemmSchedule &schedule, const TileAt &tile);

  void run();

private:
  using Point = llvm::SmallVector<int64_t>;
  /// The point of the tile's block `number`, if there is one.
  std::optional<Point> pointAt(int64_t number) const;
  void runBox(tile::ReduceOp op, const Point &point, double weight);

  Tally &tally;
  const emit::EncodeStage &stage;
  tile::BlocksOp blocks;
  const emit::GemmSchedule &schedule;
  const TileAt &tile;
  Coordinates coordinates;
  unsigned numPoint;
  llvm::SmallVector<int64_t> domain;
};

} // namespace

EncodeTally::EncodeTally(Tally &tally, const emit::EncodeStage &stage,
                         const emit::GemmSchedule &schedule, const TileAt &tile)
    : tally(tally), stage(stage), blocks(stage.stage), schedule(schedule),
      tile(tile), coordinates(tally.sizes),
      numPoint(blocks.getBody().getNumArguments()) {
  for (BlockArgument arg : blocks.getBody().getArguments())
    coordinates.bind(arg, arg.getArgNumber());
  for (AffineExpr extent : blocks.getDomain().getResults())
    domain.push_back(coordinates.evaluate(extent));
}

std::optional<EncodeTally::Point> EncodeTally::pointAt(int64_t number) const {
  Point point(numPoint, 0);
  for (auto [i, axis] : llvm::enumerate(stage.points)) {
    if (axis.kind == emit::EncodeAxis::Rows)
      point[i] = tile.m0 / axis.per + number / stage.countDepth;
    else if (axis.kind == emit::EncodeAxis::Depth)
      point[i] = number % stage.countDepth;
    if (point[i] >= domain[i])
      return std::nullopt;
  }
  return point;
}

void EncodeTally::runBox(tile::ReduceOp op, const Point &point, double weight) {
  Block &body = op.getBody().front();
  for (auto [i, arg] : llvm::enumerate(body.getArguments()))
    coordinates.bind(arg, numPoint + i);
  Point at(point);
  at.resize(numPoint + body.getNumArguments(), 0);
  llvm::SmallVector<int64_t> box = boxOf(op, coordinates, at);
  int64_t elements = 1;
  for (int64_t extent : box)
    elements *= extent;
  tally.compute(body, double(elements) * weight);
  std::vector<Touch> touches = tally.touchesOf(body, coordinates);
  for (const Sample &chunk : sampleOf((elements + 31) / 32, maxChunks)) {
    Lanes lanes;
    for (int64_t i = chunk.index * 32;
         i < std::min(elements, (chunk.index + 1) * 32); ++i) {
      int64_t left = i;
      for (size_t d = box.size(); d-- > 0; left /= box[d])
        at[numPoint + d] = left % box[d];
      lanes.push_back({at.begin(), at.end()});
    }
    for (const Touch &touch : touches)
      tally.request(touch, lanes, weight * chunk.weight, true);
  }
}

void EncodeTally::run() {
  int64_t count = stage.countRows * stage.countDepth;
  int64_t together = stage.lanes ? 32 / stage.lanes : 1;
  for (const Sample &group :
       sampleOf((count + together - 1) / together, maxBlocks)) {
    Lanes lanes;
    double weight = tile.weight * group.weight;
    for (int64_t i = group.index * together;
         i < std::min(count, (group.index + 1) * together); ++i)
      if (std::optional<Point> point = pointAt(i)) {
        lanes.push_back({point->begin(), point->end()});
        for (auto reduce : blocks.getBody().getOps<tile::ReduceOp>())
          runBox(reduce, *point, weight);
      }
    if (lanes.empty())
      continue;
    tally.compute(blocks.getBody().front(), double(lanes.size()) * weight);
    for (Operation &op : blocks.getBody().front()) {
      if (!isa<tile::LoadOp, tile::StoreOp>(op))
        continue;
      Touch touch = tally.touchOf(&op, coordinates);
      bool store = touch.kind == Touch::Kind::Store;
      // What is kept goes to memory too if others read it, once.
      if (store ? tile.n0 != 0 || touch.buffer.getDefiningOp<tile::LocalOp>()
                : tally.isKept(touch.buffer))
        continue;
      double warps = !store && !stage.lanes ? schedule.threads() / 32.0 : 1;
      tally.request(touch, lanes, weight * warps);
    }
  }
}

void select::tallyEncoding(Tally &tally, const emit::EncodeFit &encoding,
                           const emit::GemmSchedule &schedule,
                           const TileAt &tile) {
  for (const emit::EncodeStage &stage : encoding.stages)
    EncodeTally(tally, stage, schedule, tile).run();
}
