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

/// A point of a stage's domain.
using Point = llvm::SmallVector<int64_t>;

/// Teams of threads that run over the boxes of points, a team to a point. As
/// many teams as fit in a warp make their requests together.
class TeamTally {
public:
  TeamTally(Tally &tally, tile::BlocksOp blocks, unsigned threads)
      : tally(tally), blocks(blocks), threads(threads),
        width(std::min(threads, 32u)), coordinates(tally.sizes) {
    for (BlockArgument arg : blocks.getBody().getArguments())
      coordinates.bind(arg, arg.getArgNumber());
    numPoint = blocks.getBody().getNumArguments();
    for (AffineExpr extent : blocks.getDomain().getResults())
      domain.push_back(coordinates.evaluate(extent));
  }

  /// All points of the domain.
  void run();
  /// Some, of teams that are one warp together.
  void runPoints(ArrayRef<Point> points, double weight);
  /// What is loaded of it is in no memory that counts.
  void loadsElsewhere(Value buffer) { held.insert(buffer); }
  ArrayRef<int64_t> getDomain() const { return domain; }
  unsigned teamsPerWarp() const { return 32 / width; }

private:
  template <typename OpTy>
  void runBox(OpTy op, ArrayRef<Point> points, double weight);
  bool isReadOnly(Value buffer) const {
    auto arg = dyn_cast<BlockArgument>(buffer);
    return arg && !tally.kernel.getWrites()[arg.getArgNumber()];
  }
  bool isElsewhere(const Touch &touch) const {
    return touch.kind == Touch::Kind::Load && held.contains(touch.buffer);
  }

  Tally &tally;
  tile::BlocksOp blocks;
  unsigned threads, width; ///< Of a team, and of its part of a warp.
  Coordinates coordinates;
  Point domain;
  unsigned numPoint = 0;
  std::vector<Touch> seen; ///< Of boxes that are done in one step.
  std::vector<Touch> seenBySums;
  llvm::SmallDenseSet<Value> held;
};

} // namespace

template <typename OpTy>
void TeamTally::runBox(OpTy op, ArrayRef<Point> points, double weight) {
  Block &body = op.getBody().front();
  // Boxes share the numbers of their coordinates, so that accesses of one can
  // be compared with those of another.
  for (auto [i, arg] : llvm::enumerate(body.getArguments()))
    coordinates.bind(arg, numPoint + i);
  llvm::SmallVector<Point> at, boxes;
  int64_t most = 0;
  for (const Point &point : points) {
    at.push_back(point);
    at.back().resize(numPoint + body.getNumArguments(), 0);
    boxes.push_back(Point(boxOf(op, coordinates, at.back())));
    int64_t elements = product(boxes.back());
    tally.compute(body, double(elements) * weight);
    most = std::max(most, elements);
  }
  if (most == 0)
    return;
  int64_t chunks = (most + width - 1) / width;
  bool oneStep = most <= threads;
  // A warp's f32 sums are straight code over all of the box.
  bool unrolled = false;
  if constexpr (std::is_same_v<OpTy, tile::ReduceOp>)
    unrolled = threads <= 32 && op.getKind() == tile::ReduceKind::AddF;
  auto inBox = [&](const Touch &touch) {
    for (unsigned i = 0; i < body.getNumArguments(); ++i)
      if (touch.at.dependsOn(numPoint + i))
        return true;
    return false;
  };
  std::vector<Touch> perElement;
  for (Touch &touch : tally.touchesOf(body, coordinates)) {
    if (isElsewhere(touch))
      continue;
    bool load = touch.kind == Touch::Kind::Load && isReadOnly(touch.buffer);
    if (load && (oneStep || unrolled)) {
      std::vector<Touch> &known = oneStep ? seen : seenBySums;
      if (llvm::is_contained(known, touch))
        continue;
      known.push_back(touch);
    }
    if (!load || inBox(touch)) {
      perElement.push_back(std::move(touch));
      continue;
    }
    // Loaded once, by every warp that has an element.
    Lanes lanes;
    for (const Point &one : at)
      lanes.append(width, {one.begin(), one.end()});
    int64_t warps = std::max<int64_t>(threads / 32, 1);
    tally.request(touch, lanes, weight * double(std::min(chunks, warps)), true);
  }
  for (const Sample &chunk : sampleOf(chunks, maxChunks)) {
    Lanes lanes;
    for (auto [one, box] : llvm::zip(at, boxes))
      for (int64_t i = chunk.index * width,
                   end = std::min(product(box), (chunk.index + 1) * width);
           i < end; ++i) {
        delinearise(i, box, MutableArrayRef(one).drop_front(numPoint));
        lanes.push_back({one.begin(), one.end()});
      }
    for (const Touch &touch : perElement)
      tally.request(touch, lanes, weight * chunk.weight, true);
  }
}

void TeamTally::runPoints(ArrayRef<Point> points, double weight) {
  seen.clear();
  seenBySums.clear();
  for (Operation &op : blocks.getBody().front()) {
    if (auto reduce = dyn_cast<tile::ReduceOp>(op)) {
      runBox(reduce, points, weight);
    } else if (auto map = dyn_cast<tile::MapOp>(op)) {
      runBox(map, points, weight);
    } else if (isa<tile::LoadOp, tile::StoreOp, tile::AccumulateOp>(op)) {
      Touch touch = tally.touchOf(&op, coordinates);
      if (tally.isKept(touch.buffer) || isElsewhere(touch))
        continue;
      bool load = touch.kind == Touch::Kind::Load;
      Lanes lanes;
      for (const Point &point : points)
        lanes.append(load ? width : 1, {point.begin(), point.end()});
      double warps = load ? std::max(threads / 32, 1u) : 1;
      tally.request(touch, lanes, weight * warps, true);
    }
  }
}

void TeamTally::run() {
  int64_t points = product(domain);
  tally.compute(blocks.getBody().front(), double(points));
  Point point(domain.size(), 0);
  for (const Sample &sample : sampleOf(points, maxPoints)) {
    delinearise(sample.index, domain, point);
    runPoints(point, sample.weight);
  }
}

namespace {

/// The points of a stage that lie in one strip.
class StripPoints {
public:
  StripPoints(const tile::StageStrips &strips,
              const tile::StageStrips::Stage &stage, ArrayRef<int64_t> domain,
              ArrayRef<int64_t> strip)
      : first(domain.size(), 0), counts(domain) {
    for (auto [d, axis] : llvm::enumerate(stage.geometry.axes)) {
      std::optional<int64_t> blocks = strips.blocksPerStrip(stage, d);
      if (axis.point < 0 || !blocks)
        continue;
      int64_t begin = strip[strips.strip().axes[d].point] * *blocks;
      first[axis.point] = begin;
      counts[axis.point] =
          std::clamp<int64_t>(domain[axis.point] - begin, 0, *blocks);
    }
  }

  int64_t count() const { return product(counts); }
  Point at(int64_t number) const {
    Point point(counts.size(), 0);
    delinearise(number, counts, point);
    for (auto [index, begin] : llvm::zip(point, first))
      index += begin;
    return point;
  }

private:
  Point first, counts;
};

} // namespace

void select::tallyStrips(Tally &tally, const tile::StageStrips &strips) {
  constexpr int64_t maxStrips = 127, maxTurns = 13;
  ArrayRef<Attribute> declared = tally.kernel.getSymbols().getValue();
  emit::Symbols symbols(declared);
  emit::StripTeams teams = emit::teamsOf(strips, symbols, declared);
  Point domain = Point(TeamTally(tally, strips.leading(), 32).getDomain());
  Point strip(domain.size(), 0);
  for (auto local : tally.kernel.getBody().getOps<tile::LocalOp>())
    tally.keep(local);
  for (auto [number, stage] : llvm::enumerate(strips.stages)) {
    unsigned lanes = teams.lanes[number];
    TeamTally team(tally, stage.op, lanes ? lanes : teams.threads);
    for (const tile::StripValue &value : strips.values)
      if (emit::isHeld(strips, value))
        team.loadsElsewhere(value.buffer);
    tile::BlocksOp op = stage.op;
    tally.compute(op.getBody().front(), double(product(team.getDomain())));
    for (const Sample &sample : sampleOf(product(domain), maxStrips)) {
      delinearise(sample.index, domain, strip);
      StripPoints points(strips, stage, team.getDomain(), strip);
      int64_t together = team.teamsPerWarp(), count = points.count();
      for (const Sample &turn :
           sampleOf((count + together - 1) / together, maxTurns)) {
        llvm::SmallVector<Point> here;
        for (int64_t i = turn.index * together;
             i < std::min(count, (turn.index + 1) * together); ++i)
          here.push_back(points.at(i));
        team.runPoints(here, sample.weight * turn.weight);
      }
    }
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
