//===- BlocksLowering.cpp - Independent blocks ----------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// tile.blocks: an item is a point of the domain, last dimension fastest. The
// reductions and maps of a point follow one another, each a loop nest over its
// box with the lanes along the last dimension whose extent is not 1. What does
// not fill all lanes at the end of a row runs masked where the machine has
// masks, and one by one elsewhere. A maximum of 16-bit numbers that are only
// read takes four vectors of lanes at once (Reducer.h: they are two registers).
//
// A point reads its box once for each reduction, and again to write what
// becomes of it: the first pass waits for memory, the others compute on what is
// in cache by then, and memory waits for them. So the last pass asks for the
// box of the next point, element by element.
//
// The ordered f32 sum keeps its 256 partials in memory (L1) as an array, so
// that any box can be summed: element number i (row-major in the box) goes to
// partial i mod 256. While element numbers stay multiples of the lane count a
// vector of elements meets a vector of partials; otherwise elements are added
// one at a time. A partial is never -0 (it starts at +0 and rounding to nearest
// gives +0 for exact cancellation), hence adding +0 for absent elements
// changes nothing, and a box known to be short uses fewer partials.
//
//===----------------------------------------------------------------------===//

#include "compiler/lower/cpu/Lowering.h"
#include "compiler/lower/cpu/Reducer.h"

using namespace quern;
using namespace quern::cpugen;
using llvm::Value;
using tile::ReduceKind;

namespace {

class BlocksLowering {
public:
  BlocksLowering(KernelFunction &function)
      : function(function), e(function.scope.e), b(e.b),
        lanes(e.target.lanes()) {}

  void lowerPoint(tile::BlocksOp blocks, llvm::ArrayRef<Value *> point,
                  llvm::ArrayRef<Value *> next);

private:
  using Values = Emitter::Values;

  struct Box {
    mlir::Region *region;
    llvm::SmallVector<Value *> extents;
    /// The dimension lanes run along; the rank where there is none.
    unsigned laneDim;
    /// Lanes of the chunks that a row begins with, before those of `lanes`.
    unsigned chunk;
  };
  /// What happens for the elements of a chunk: their body (already bound and
  /// emitted), the number of the first element in the box, the carried values.
  using Chunk = llvm::function_ref<Values(
      ElementBody &, Value *number, Value *mask, llvm::ArrayRef<Value *>)>;

  template <typename OpTy> Box boxOf(OpTy op, ElementBody &outer);
  Values forEach(const Box &box, ElementBody &outer, Values inits, Chunk chunk);
  Values forRow(const Box &box, ElementBody &outer,
                llvm::SmallVector<Value *> &index, Value *rowNumber,
                Values inits, Chunk chunk);
  Values runChunk(const Box &box, ElementBody &outer,
                  llvm::ArrayRef<Value *> index, Value *position,
                  unsigned width, Value *mask, Value *number,
                  llvm::ArrayRef<Value *> carried, Chunk chunk);
  Value *reduce(tile::ReduceOp op, ElementBody &outer);
  Value *orderedSum(const Box &box, ElementBody &outer);
  llvm::SmallVector<tile::LoadOp> readAgain(tile::MapOp map, const Box &box);

  KernelFunction &function;
  Emitter &e;
  llvm::IRBuilder<> &b;
  const unsigned lanes;
};

} // namespace

template <typename OpTy>
BlocksLowering::Box BlocksLowering::boxOf(OpTy op, ElementBody &outer) {
  Box box;
  box.region = &op.getBody();
  llvm::SmallVector<Lane> point;
  for (mlir::Value index : op.getPoint())
    point.push_back(outer.lookup(index));
  mlir::AffineMap extents = op.getExtents();
  for (auto [dim, expr] : llvm::enumerate(extents.getResults())) {
    Value *extent = outer.affine(expr, point).value;
    if (std::optional<mlir::AffineMap> clamp = op.getClamp())
      extent = e.min(extent, outer.affine(clamp->getResult(dim), point).value);
    box.extents.push_back(extent);
  }
  unsigned rank = box.extents.size();
  box.laneDim = rank;
  box.chunk = lanes;
  for (unsigned dim = rank; dim-- > 0 && box.laneDim == rank;)
    if (constantOf(box.extents[dim]) != 1)
      box.laneDim = dim;
  return box;
}

BlocksLowering::Values
BlocksLowering::runChunk(const Box &box, ElementBody &outer,
                         llvm::ArrayRef<Value *> index, Value *position,
                         unsigned width, Value *mask, Value *number,
                         llvm::ArrayRef<Value *> carried, Chunk chunk) {
  ElementBody body(function.scope, width, mask, &outer);
  mlir::Block &block = box.region->front();
  for (auto [dim, argument] : llvm::enumerate(block.getArguments())) {
    if (dim == box.laneDim)
      body.bind(argument, body.laneIndex(position, width));
    else
      body.bind(argument, ElementBody::uniform(index[dim]));
  }
  body.emit(block);
  return chunk(body, number, mask, carried);
}

/// The elements along the lane dimension, with all other indices given.
BlocksLowering::Values BlocksLowering::forRow(const Box &box,
                                              ElementBody &outer,
                                              llvm::SmallVector<Value *> &index,
                                              Value *rowNumber, Values carried,
                                              Chunk chunk) {
  Value *zero = e.i64(0);
  if (box.laneDim == box.extents.size())
    return runChunk(box, outer, index, zero, 1, nullptr, rowNumber, carried,
                    chunk);
  Value *extent = box.extents[box.laneDim];
  Value *full = b.CreateAnd(extent, e.i64(-int64_t(lanes)));
  auto chunkAt = [&](Value *position, unsigned width, Value *mask,
                     llvm::ArrayRef<Value *> values) {
    return runChunk(box, outer, index, position, width, mask,
                    e.add(rowNumber, position), values, chunk);
  };
  auto chunks = [&](Value *begin, Value *end, unsigned width) {
    if (auto known = constantOf(end); known && known == constantOf(begin))
      return;
    carried = e.loop(begin, end, e.i64(width), carried,
                     [&](Value *position, llvm::ArrayRef<Value *> values) {
                       return chunkAt(position, width, nullptr, values);
                     });
  };
  Value *first = zero;
  if (box.chunk > lanes) {
    first = b.CreateAnd(extent, e.i64(-int64_t(box.chunk)));
    chunks(zero, first, box.chunk);
  }
  chunks(first, full, lanes);
  if (auto constant = constantOf(extent); constant && *constant % lanes == 0)
    return carried;
  if (!e.target.hasMasks())
    return e.loop(full, extent, e.i64(1), carried,
                  [&](Value *position, llvm::ArrayRef<Value *> values) {
                    return chunkAt(position, 1, nullptr, values);
                  });
  return e.branch(
      b.CreateICmpSLT(full, extent),
      [&] {
        Value *mask = e.maskBelow(b.CreateSub(extent, full), lanes);
        return chunkAt(full, lanes, mask, carried);
      },
      [&] { return carried; });
}

BlocksLowering::Values BlocksLowering::forEach(const Box &box,
                                               ElementBody &outer, Values inits,
                                               Chunk chunk) {
  llvm::SmallVector<Value *> index(box.extents.size(), e.i64(0));
  // Dimensions outside the lane dimension become loops; those inside it have
  // extent 1.
  auto nest = [&](auto &&self, unsigned dim, Value *row,
                  Values carried) -> Values {
    if (dim >= box.laneDim) {
      Value *number = box.laneDim == box.extents.size()
                          ? row
                          : e.mul(row, box.extents[box.laneDim]);
      return forRow(box, outer, index, number, carried, chunk);
    }
    return e.loop(e.i64(0), box.extents[dim], e.i64(1), carried,
                  [&](Value *iv, llvm::ArrayRef<Value *> values) {
                    index[dim] = iv;
                    return self(self, dim + 1,
                                e.add(e.mul(row, box.extents[dim]), iv),
                                Values(values));
                  });
  };
  return nest(nest, 0, e.i64(0), inits);
}

//===----------------------------------------------------------------------===//
// Reductions
//===----------------------------------------------------------------------===//

static Lane yielded(ElementBody &body, mlir::Region &region) {
  return body.lookup(region.front().getTerminator()->getOperand(0));
}

Value *BlocksLowering::reduce(tile::ReduceOp op, ElementBody &outer) {
  Box box = boxOf(op, outer);
  if (op.getKind() == ReduceKind::AddF)
    return orderedSum(box, outer);
  Reducer reducer(e, op);
  if (box.laneDim < box.extents.size() &&
      reducer.readsAlong(op.getBody().getArgument(box.laneDim)))
    box.chunk = 4 * lanes;
  // A vector of partial results for each width of chunks, and a scalar for what
  // runs one by one.
  llvm::SmallVector<unsigned> widths = {lanes, 1};
  if (box.chunk > lanes)
    widths.push_back(box.chunk);
  Values inits;
  for (unsigned width : widths)
    inits.append(reducer.neutral(width));
  size_t size = inits.size() / widths.size();
  Values results = forEach(
      box, outer, inits,
      [&](ElementBody &body, Value *, Value *,
          llvm::ArrayRef<Value *> carried) {
        Values all(carried);
        auto *at = all.begin() +
                   size * (llvm::find(widths, body.lanes) - widths.begin());
        llvm::copy(reducer.combine(Values(at, at + size), reducer.read(body)),
                   at);
        return all;
      });
  Values result;
  for (size_t at = 0; at < results.size(); at += size) {
    Values one = reducer.reduceLanes(
        Values(results.begin() + at, results.begin() + at + size));
    result = result.empty() ? one : reducer.combine(result, one);
  }
  return reducer.finish(result);
}

Value *BlocksLowering::orderedSum(const Box &box, ElementBody &outer) {
  // How many elements there are, and whether rows start at multiples of the
  // lane count.
  std::optional<int64_t> count = 1;
  bool oneRow = true;
  for (auto [dim, extent] : llvm::enumerate(box.extents)) {
    std::optional<int64_t> constant = constantOf(extent);
    count =
        count && constant ? std::optional(*count * *constant) : std::nullopt;
    if (dim < box.laneDim)
      oneRow &= constant == 1;
  }
  bool aligned = oneRow;
  if (!aligned && box.laneDim < box.extents.size())
    if (auto row = constantOf(box.extents[box.laneDim]))
      aligned = *row % lanes == 0;
  unsigned partials = 256;
  while (count && partials > lanes && *count <= partials / 2)
    partials /= 2;

  llvm::Type *f32Type = b.getFloatTy();
  auto *array = llvm::ArrayType::get(f32Type, partials);
  Value *sums = e.stack(array, llvm::Align(64));
  llvm::Type *vectorType = e.vectorType(f32Type, lanes);
  auto slot = [&](Value *number) { return b.CreateGEP(f32Type, sums, number); };
  Value *zero = llvm::Constant::getNullValue(vectorType);
  e.loop(e.i64(0), e.i64(partials), e.i64(lanes),
         [&](Value *i) { e.store(zero, slot(i), Memory::Scratch, 4 * lanes); });
  auto addOne = [&](Value *element, Value *number) {
    Value *at = slot(b.CreateAnd(number, e.i64(partials - 1)));
    Value *sum = b.CreateFAdd(e.load(f32Type, at, Memory::Scratch, 4), element);
    e.store(sum, at, Memory::Scratch, 4);
  };
  forEach(box, outer, {},
          [&](ElementBody &body, Value *number, Value *mask,
              llvm::ArrayRef<Value *>) -> Values {
            Value *element = body.spread(yielded(body, *box.region));
            if (body.lanes == 1) {
              addOne(element, number);
              return {};
            }
            if (mask)
              element = b.CreateSelect(mask, element, zero);
            if (aligned) {
              Value *at = slot(b.CreateAnd(number, e.i64(partials - 1)));
              Value *sum = b.CreateFAdd(
                  e.load(vectorType, at, Memory::Scratch, 4 * lanes), element);
              e.store(sum, at, Memory::Scratch, 4 * lanes);
              return {};
            }
            for (unsigned lane = 0; lane < lanes; ++lane)
              addOne(b.CreateExtractElement(element, lane),
                     e.add(number, e.i64(lane)));
            return {};
          });

  // The tree: halves of the array while it is wider than a vector, then of
  // the vector.
  for (unsigned half = partials / 2; half >= lanes; half /= 2)
    e.loop(e.i64(0), e.i64(half), e.i64(lanes), [&](Value *i) {
      Value *low = e.load(vectorType, slot(i), Memory::Scratch, 4 * lanes);
      Value *high = e.load(vectorType, slot(e.add(i, e.i64(half))),
                           Memory::Scratch, 4 * lanes);
      e.store(b.CreateFAdd(low, high), slot(i), Memory::Scratch, 4 * lanes);
    });
  Value *vector = e.load(vectorType, sums, Memory::Scratch, 4 * lanes);
  for (unsigned half = lanes / 2; half >= 1; half /= 2) {
    llvm::SmallVector<int, 16> low, high;
    for (unsigned i = 0; i < half; ++i) {
      low.push_back(i);
      high.push_back(half + i);
    }
    vector = b.CreateFAdd(b.CreateShuffleVector(vector, low),
                          b.CreateShuffleVector(vector, high));
  }
  return b.CreateExtractElement(vector, uint64_t(0));
}

/// The loads of a map that read from a box that the operations before it have
/// read, and nothing after it does: what the next point will have to fetch.
llvm::SmallVector<tile::LoadOp> BlocksLowering::readAgain(tile::MapOp map,
                                                          const Box &box) {
  llvm::SmallVector<tile::LoadOp> loads;
  mlir::Block &block = *map->getBlock();
  map.getBody().walk([&](tile::LoadOp load) {
    auto it = function.scope.buffers.find(load.getBuffer());
    if (it == function.scope.buffers.end() || it->second.memory != Memory::Read)
      return;
    // Smaller boxes are within what the machine itself reads ahead.
    constexpr int64_t fewBytes = 1024;
    int64_t bytes = byteWidth(it->second.dtype);
    for (Value *extent : box.extents)
      bytes *= constantOf(extent).value_or(fewBytes);
    bool ofPoint = false;
    for (mlir::Value index : load.getIndices()) {
      if (index.getDefiningOp())
        return;
      ofPoint |= index == block.getArguments().back();
    }
    bool before = false, after = false;
    for (mlir::Operation *user : load.getBuffer().getUsers()) {
      mlir::Operation *reader = block.findAncestorOpInBlock(*user);
      if (!reader || reader == map)
        continue;
      (reader->isBeforeInBlock(map) ? before : after) = true;
    }
    if (ofPoint && before && !after && bytes >= fewBytes)
      loads.push_back(load);
  });
  return loads;
}

void BlocksLowering::lowerPoint(tile::BlocksOp blocks,
                                llvm::ArrayRef<Value *> point,
                                llvm::ArrayRef<Value *> next) {
  ElementBody body(function.scope, 1, nullptr);
  ElementBody nextBody(function.scope, 1, nullptr);
  mlir::Block &block = blocks.getBody().front();
  for (auto [argument, index] : llvm::zip(block.getArguments(), point))
    body.bind(argument, ElementBody::uniform(index));
  for (auto [argument, index] : llvm::zip(block.getArguments(), next))
    nextBody.bind(argument, ElementBody::uniform(index));
  for (mlir::Operation &op : block) {
    if (auto reduceOp = llvm::dyn_cast<tile::ReduceOp>(op)) {
      body.bind(reduceOp.getResult(), {reduce(reduceOp, body)});
    } else if (auto map = llvm::dyn_cast<tile::MapOp>(op)) {
      Box box = boxOf(map, body);
      llvm::SmallVector<tile::LoadOp> loads;
      if (!next.empty())
        loads = readAgain(map, box);
      forEach(
          box, body, {},
          [&](ElementBody &here, Value *, Value *, llvm::ArrayRef<Value *>) {
            ElementBody there(function.scope, here.lanes, nullptr, &nextBody);
            for (mlir::Value index : map.getBody().getArguments())
              there.bind(index, here.lookup(index));
            for (tile::LoadOp load : loads)
              there.prefetch(load);
            return Values();
          });
    } else {
      body.emit(op);
    }
  }
}

void quern::cpugen::emitPoint(KernelFunction &function, tile::BlocksOp blocks,
                              llvm::ArrayRef<Value *> point,
                              llvm::ArrayRef<Value *> next) {
  BlocksLowering(function).lowerPoint(blocks, point, next);
}

SymExpr quern::cpugen::grainFor(const SymExpr &perItem) {
  constexpr int64_t elementsPerCall = 1 << 15;
  return SymExpr::ceilDiv(
      SymExpr::constant(elementsPerCall),
      SymExpr::binary(SymExpr::Op::Max, SymExpr::constant(1), perItem));
}

LoweredKernel quern::cpugen::lowerBlocks(Emitter &e, tile::KernelOp kernel,
                                         tile::BlocksOp blocks,
                                         const std::string &name) {
  llvm::SmallVector<unsigned> arguments;
  for (unsigned i = 0; i < kernel.getBody().getNumArguments(); ++i)
    arguments.push_back(i);
  KernelFunction function(e, name, kernel, arguments, 0);
  llvm::SmallVector<Value *> extents = function.scope.sizes(blocks.getDomain());
  e.loop(function.begin, function.end, e.i64(1), [&](Value *item) {
    llvm::SmallVector<Value *> point = pointOf(e, item, extents), next = point;
    // The one after the last of a row: what lies behind it in memory. Asking
    // for what is no memory does nothing.
    if (!next.empty())
      next.back() = e.add(next.back(), e.i64(1));
    emitPoint(function, blocks, point, next);
  });
  e.b.CreateRetVoid();

  LoweredKernel lowered;
  lowered.name = name;
  lowered.items = productOf(blocks.getDomain(), 1);
  SymExpr perItem = SymExpr::constant(1);
  unsigned boxes = 0;
  auto count = [&](mlir::AffineMap map) {
    perItem = perItem + productOf(map, 32);
    ++boxes;
  };
  blocks.walk([&](mlir::Operation *op) {
    if (auto reduce = llvm::dyn_cast<tile::ReduceOp>(op))
      count(reduce.getExtents());
    if (auto map = llvm::dyn_cast<tile::MapOp>(op))
      count(map.getExtents());
  });
  if (blocks.getDomain().getNumResults() != 0)
    lowered.grain = grainFor(perItem);
  lowered.schedule =
      fmt::format("item = one point, {} loop nest{}, {} lanes, {} tails", boxes,
                  boxes == 1 ? "" : "s", e.target.lanes(),
                  e.target.hasMasks() ? "masked" : "scalar");
  return lowered;
}
