//===- Tally.cpp - Counting one kernel's memory requests ------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/select/Tally.h"

#include "mlir/Dialect/Math/IR/Math.h"

#include <algorithm>

using namespace mlir;
using namespace quern;
using namespace quern::select;

double KernelTraffic::leastBytes() const {
  double sum = 0;
  for (const BufferTraffic &buffer : buffers)
    sum += std::min(buffer.moved.bytesRead, buffer.bytes) +
           std::min(buffer.moved.bytesWritten, buffer.bytes);
  return sum;
}

Moved ProgramTraffic::moved(const std::string &buffer) const {
  Moved sum;
  for (const KernelTraffic &kernel : kernels)
    if (!kernel.prepares)
      for (const BufferTraffic &one : kernel.buffers)
        if (buffer.empty() || (one.buffer == buffer && !one.isOwn))
          sum += one.moved;
  return sum;
}

bool Touch::operator==(const Touch &other) const {
  return kind == other.kind && buffer == other.buffer && bits == other.bits &&
         !at.isScattered() && at == other.at;
}

std::vector<Sample> select::sampleOf(int64_t count, int64_t most) {
  std::vector<Sample> samples;
  if (count <= most) {
    for (int64_t i = 0; i < count; ++i)
      samples.push_back({i, 1});
    return samples;
  }
  int64_t between = most - 2;
  samples.push_back({0, 1});
  for (int64_t i = 0; i < between; ++i) {
    // In the middle of each of as many parts.
    int64_t at = 1 + int64_t((double(i) + 0.5) * double(count - 2) /
                             static_cast<double>(between));
    samples.push_back({at, double(count - 2) / static_cast<double>(between)});
  }
  samples.push_back({count - 1, 1});
  return samples;
}

/// In memory, where a bool is a byte.
static unsigned bitsOf(tile::BufferType type) {
  unsigned bits = type.getElementType().getIntOrFloatBitWidth();
  return bits == 1 ? 8 : bits;
}

Touch Tally::touchOf(Operation *op, const Coordinates &coordinates) const {
  Touch touch;
  touch.op = op;
  auto place = [&](auto access) {
    auto type = cast<tile::BufferType>(access.getBuffer().getType());
    touch.buffer = access.getBuffer();
    touch.bits = bitsOf(type);
    touch.at = coordinates.element(type, access.getMap(), access.getIndices());
  };
  if (auto load = dyn_cast<tile::LoadOp>(op)) {
    place(load);
  } else if (auto store = dyn_cast<tile::StoreOp>(op)) {
    touch.kind = Touch::Kind::Store;
    place(store);
  } else {
    touch.kind = Touch::Kind::Accumulate;
    place(cast<tile::AccumulateOp>(op));
  }
  return touch;
}

std::vector<Touch> Tally::touchesOf(Block &body,
                                    const Coordinates &coordinates) const {
  std::vector<Touch> touches;
  for (Operation &op : body) {
    if (!isa<tile::LoadOp, tile::StoreOp, tile::AccumulateOp>(op))
      continue;
    Touch touch = touchOf(&op, coordinates);
    if (isKept(touch.buffer))
      continue;
    if (touch.kind == Touch::Kind::Load && llvm::is_contained(touches, touch))
      continue;
    touches.push_back(std::move(touch));
  }
  return touches;
}

unsigned select::countSectors(ArrayRef<int64_t> places, unsigned bytes) {
  llvm::SmallVector<int64_t, 64> seen;
  for (int64_t place : places)
    for (int64_t sector = place / 32; sector <= (place + bytes - 1) / 32;
         ++sector)
      if (seen.empty() ||
          (seen.back() != sector && !llvm::is_contained(seen, sector)))
        seen.push_back(sector);
  return seen.size();
}

void Tally::count(Sum &sum, Touch::Kind kind, double bytes, double sectors,
                  bool byBlocks) {
  if (kind != Touch::Kind::Store)
    sum.moved.bytesRead += bytes;
  if (kind != Touch::Kind::Load)
    sum.moved.bytesWritten += bytes;
  (kind == Touch::Kind::Load ? sum.moved.sectorsRead
                             : sum.moved.sectorsWritten) += sectors;
  if (byBlocks && kind == Touch::Kind::Load) {
    sum.bytesByBlocks += bytes;
    sum.sectorsByBlocks += sectors;
  }
}

void Tally::add(Value buffer, Touch::Kind kind, double bytes, double sectors,
                bool byBlocks) {
  count(sums[buffer], kind, bytes, sectors, byBlocks);
}

void Tally::addState(Touch::Kind kind, double bytes, double sectors) {
  hasState = true;
  count(state, kind, bytes, sectors, false);
}

void Tally::request(const Touch &touch, const Lanes &lanes, double weight,
                    bool byBlocks) {
  if (lanes.empty())
    return;
  double bytes = touch.bytes() * lanes.size();
  double sectors = lanes.size();
  if (!touch.at.isScattered()) {
    llvm::SmallVector<int64_t, 32> places;
    for (const auto &lane : lanes)
      places.push_back(touch.at.at(lane) * touch.bits / 8);
    sectors = countSectors(places, std::max(touch.bits / 8, 1u));
  }
  add(touch.buffer, touch.kind, bytes * weight, sectors * weight, byBlocks);
}

void Tally::compute(Block &body, double times) {
  double ops = 0;
  for (Operation &op : body) {
    StringRef dialect = op.getName().getDialectNamespace();
    if ((dialect != "arith" && dialect != "math") ||
        isa<arith::ConstantOp, arith::BitcastOp, arith::IndexCastOp>(op) ||
        (op.getNumResults() && op.getResult(0).getType().isIndex()))
      continue;
    // What takes a sequence of instructions, about as many.
    ops += isa<math::ExpOp, math::TanhOp, math::ErfOp>(op) ? 20
           : isa<arith::DivFOp, math::SqrtOp>(op)          ? 8
                                                           : 1;
  }
  scalarOps += ops * times;
}

double Tally::bytesOf(Value buffer) const {
  auto type = cast<tile::BufferType>(buffer.getType());
  Coordinates none(sizes);
  double bytes = bitsOf(type) / 8.0;
  for (AffineExpr extent : type.getShape().getResults())
    bytes *= double(none.evaluate(extent));
  return bytes;
}

void Tally::finish(ArrayRef<std::string> names, KernelTraffic &result) const {
  for (const auto &[buffer, sum] : sums) {
    BufferTraffic traffic;
    if (auto arg = dyn_cast<BlockArgument>(buffer)) {
      traffic.buffer = names[arg.getArgNumber()];
    } else {
      traffic.buffer = "value";
      traffic.isOwn = true;
    }
    traffic.bytes = bytesOf(buffer);
    traffic.moved = sum.moved;
    traffic.bytesReadByBlocks = sum.bytesByBlocks;
    traffic.sectorsReadByBlocks = sum.sectorsByBlocks;
    result.buffers.push_back(std::move(traffic));
  }
  if (hasState) {
    BufferTraffic traffic;
    traffic.buffer = "state";
    traffic.isOwn = true;
    traffic.bytes = std::max(state.moved.bytesRead, state.moved.bytesWritten);
    traffic.moved = state.moved;
    result.buffers.push_back(std::move(traffic));
  }
  result.multiplyAdds += multiplyAdds;
  result.scalarOps += scalarOps;
}
