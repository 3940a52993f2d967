//===- BlockTraffic.cpp - Traffic of kernels of independent blocks --------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/emit/cuda/KernelText.h"
#include "compiler/select/Tally.h"

using namespace mlir;
using namespace quern;
using namespace quern::select;

/// Points, chunks of a box and warps of a map that are looked at.
static constexpr int64_t maxPoints = 61, maxChunks = 67, maxWarps = 997;

/// The coordinates of element `linear` of a box of these extents.
static void delinearise(int64_t linear, ArrayRef<int64_t> box,
                        MutableArrayRef<int64_t> coordinates) {
  for (size_t i = box.size(); i-- > 0;) {
    coordinates[i] = linear % box[i];
    linear /= box[i];
  }
}

static int64_t product(ArrayRef<int64_t> extents) {
  int64_t size = 1;
  for (int64_t extent : extents)
    size *= extent;
  return size;
}

/// A thread per element of the only map.
static void tallyElements(Tally &tally, tile::BlocksOp blocks,
                          tile::MapOp map) {
  Coordinates coordinates(tally.sizes);
  Block &points = blocks.getBody().front();
  Block &elements = map.getBody().front();
  unsigned number = 0;
  for (Value arg : points.getArguments())
    coordinates.bind(arg, number++);
  for (Value arg : elements.getArguments())
    coordinates.bind(arg, number++);
  llvm::SmallVector<int64_t> domain, at(number, 0);
  for (AffineExpr extent : blocks.getDomain().getResults())
    domain.push_back(coordinates.evaluate(extent));
  llvm::SmallVector<int64_t> box = boxOf(map, coordinates, at);
  int64_t perPoint = product(box), total = product(domain) * perPoint;
  std::vector<Touch> touches = tally.touchesOf(points, coordinates);
  llvm::append_range(touches, tally.touchesOf(elements, coordinates));
  tally.compute(elements, double(total));
  for (const Sample &warp : sampleOf((total + 31) / 32, maxWarps)) {
    Lanes lanes;
    for (int64_t i = warp.index * 32;
         i < std::min(total, (warp.index + 1) * 32); ++i) {
      delinearise(i / perPoint, domain,
                  MutableArrayRef(at).take_front(domain.size()));
      delinearise(i % perPoint, box,
                  MutableArrayRef(at).drop_front(domain.size()));
      lanes.push_back({at.begin(), at.end()});
    }
    for (const Touch &touch : touches)
      tally.request(touch, lanes, warp.weight, true);
  }
}

namespace {

/// A team of threads that runs over the boxes of one point.
class TeamTally {
public:
  TeamTally(Tally &tally, tile::BlocksOp blocks, unsigned threads)
      : tally(tally), blocks(blocks), threads(threads),
        coordinates(tally.sizes) {
    for (BlockArgument arg : blocks.getBody().getArguments())
      coordinates.bind(arg, arg.getArgNumber());
    numPoint = blocks.getBody().getNumArguments();
  }

  void run();

private:
  void runPoint(ArrayRef<int64_t> point, double weight);
  template <typename OpTy>
  void runBox(OpTy op, ArrayRef<int64_t> point, double weight);
  bool isReadOnly(Value buffer) const {
    auto arg = dyn_cast<BlockArgument>(buffer);
    return arg && !tally.kernel.getWrites()[arg.getArgNumber()];
  }

  Tally &tally;
  tile::BlocksOp blocks;
  unsigned threads;
  Coordinates coordinates;
  unsigned numPoint = 0;
  std::vector<Touch> seen; ///< Of boxes that are done in one step.
};

} // namespace

template <typename OpTy>
void TeamTally::runBox(OpTy op, ArrayRef<int64_t> point, double weight) {
  Block &body = op.getBody().front();
  // Boxes share the numbers of their coordinates, so that accesses of one can
  // be compared with those of another.
  for (auto [i, arg] : llvm::enumerate(body.getArguments()))
    coordinates.bind(arg, numPoint + i);
  llvm::SmallVector<int64_t> at(point);
  at.resize(numPoint + body.getNumArguments(), 0);
  llvm::SmallVector<int64_t> box = boxOf(op, coordinates, at);
  int64_t elements = product(box);
  tally.compute(body, double(elements) * weight);
  if (elements == 0)
    return;
  int64_t chunks = (elements + 31) / 32;
  bool oneStep = elements <= threads;
  auto inBox = [&](const Touch &touch) {
    for (unsigned i = 0; i < body.getNumArguments(); ++i)
      if (touch.at.dependsOn(numPoint + i))
        return true;
    return false;
  };
  std::vector<Touch> perElement;
  for (Touch &touch : tally.touchesOf(body, coordinates)) {
    bool load = touch.kind == Touch::Kind::Load && isReadOnly(touch.buffer);
    if (load && oneStep) {
      if (llvm::is_contained(seen, touch))
        continue;
      seen.push_back(touch);
    }
    if (!load || inBox(touch)) {
      perElement.push_back(std::move(touch));
      continue;
    }
    // Loaded once, by every warp that has an element.
    Lanes lanes(32, {at.begin(), at.end()});
    tally.request(touch, lanes,
                  weight * double(std::min<int64_t>(chunks, threads / 32)),
                  true);
  }
  for (const Sample &chunk : sampleOf(chunks, maxChunks)) {
    Lanes lanes;
    for (int64_t i = chunk.index * 32;
         i < std::min(elements, (chunk.index + 1) * 32); ++i) {
      delinearise(i, box, MutableArrayRef(at).drop_front(numPoint));
      lanes.push_back({at.begin(), at.end()});
    }
    for (const Touch &touch : perElement)
      tally.request(touch, lanes, weight * chunk.weight, true);
  }
}

void TeamTally::runPoint(ArrayRef<int64_t> point, double weight) {
  seen.clear();
  for (Operation &op : blocks.getBody().front()) {
    if (auto reduce = dyn_cast<tile::ReduceOp>(op)) {
      runBox(reduce, point, weight);
    } else if (auto map = dyn_cast<tile::MapOp>(op)) {
      runBox(map, point, weight);
    } else if (isa<tile::LoadOp, tile::StoreOp, tile::AccumulateOp>(op)) {
      Touch touch = tally.touchOf(&op, coordinates);
      if (tally.isKept(touch.buffer))
        continue;
      bool load = touch.kind == Touch::Kind::Load;
      Lanes lanes(load ? 32 : 1, {point.begin(), point.end()});
      tally.request(touch, lanes, weight * (load ? threads / 32 : 1), true);
    }
  }
}

void TeamTally::run() {
  llvm::SmallVector<int64_t> domain;
  for (AffineExpr extent : blocks.getDomain().getResults())
    domain.push_back(coordinates.evaluate(extent));
  int64_t points = product(domain);
  tally.compute(blocks.getBody().front(), double(points));
  llvm::SmallVector<int64_t> point(domain.size(), 0);
  for (const Sample &sample : sampleOf(points, maxPoints)) {
    delinearise(sample.index, domain, point);
    runPoint(point, sample.weight);
  }
}

void select::tallyBlocks(Tally &tally, tile::BlocksOp blocks) {
  emit::Symbols symbols(tally.kernel.getSymbols().getValue());
  emit::BlocksSchedule schedule =
      emit::scheduleBlocks(emit::blocksProblem(blocks, symbols));
  if (schedule.kind == emit::BlocksKind::Elements)
    tallyElements(tally, blocks, emit::onlyMap(blocks));
  else
    TeamTally(tally, blocks,
              schedule.kind == emit::BlocksKind::Warp
                  ? 32
                  : emit::BlocksSchedule::threads)
        .run();
}
