//===- StageStrips.cpp - Kernels of several stages, no product ------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "dialects/tile/Transforms/StageStrips.h"

#include "runtime/core/DType.h"

#include "llvm/ADT/MapVector.h"
#include "llvm/Support/MathExtras.h"

#include <fmt/format.h>

using namespace mlir;
using namespace quern;
using namespace quern::tile;

namespace {

/// One access of a buffer that stages share.
struct Access {
  unsigned stage;
  Operation *op;
  AffineMap map;
  ValueRange indices;
  bool writes = false;
};

/// All accesses of one buffer, each by its stage's own name of it.
struct SharedUse {
  SmallVector<Access> accesses;
  SmallVector<Value> names; ///< Per stage; null where it does not touch it.
  bool isLocal = false;

  bool isShared() const {
    bool writes = false, several = false;
    for (const Access &access : accesses) {
      writes |= access.writes;
      several |= access.stage != accesses.front().stage;
    }
    return isLocal || (writes && several);
  }
};

class StripFinder {
public:
  StripFinder(ArrayRef<StageView> views, std::string &why)
      : views(views), why(why) {}

  std::optional<StageStrips> run();

private:
  void collect();
  bool findGeometries();
  bool findLead();
  bool addValue(Value buffer, const SharedUse &use);
  /// How many indices of the buffer's axis one strip has; nothing where the
  /// blocks that the access's stage has in a strip use others too.
  std::optional<int64_t> indicesPerStrip(const Access &access, unsigned axis);
  std::nullopt_t fail(std::string reason) {
    why = std::move(reason);
    return std::nullopt;
  }

  ArrayRef<StageView> views;
  std::string &why;
  llvm::MapVector<Value, SharedUse> uses;
  AffineMap shape; ///< Of the values that have the blocks' elements.
  StageStrips result;
};

} // namespace

static BufferType typeOf(Value buffer) {
  return cast<BufferType>(buffer.getType());
}

void StripFinder::collect() {
  for (auto [number, view] : llvm::enumerate(views)) {
    BlocksOp stage = view.op;
    stage.walk([&, number = static_cast<unsigned>(number),
                &view = view](Operation *op) {
      auto add = [&](auto access, bool writes) {
        Value name = access.getBuffer();
        Value buffer =
            view.buffers ? view.buffers->lookupOrDefault(name) : name;
        SharedUse &use = uses[buffer];
        use.names.resize(views.size());
        use.names[number] = name;
        use.isLocal |= isa_and_nonnull<LocalOp>(name.getDefiningOp());
        use.accesses.push_back(
            {number, op, access.getMap(), access.getIndices(), writes});
      };
      if (auto load = dyn_cast<LoadOp>(op))
        add(load, false);
      else if (auto store = dyn_cast<StoreOp>(op))
        add(store, true);
      else if (auto gather = dyn_cast<AccumulateOp>(op))
        add(gather, true);
    });
  }
}

/// Each stage's blocks, in a shared buffer of one shape.
bool StripFinder::findGeometries() {
  SmallVector<std::optional<StageGeometry>> found(views.size());
  std::string first;
  for (auto &[buffer, use] : uses) {
    if (!use.isShared() || (shape && typeOf(buffer).getShape() != shape))
      continue;
    // One that every stage which touches it accesses in blocks.
    SmallVector<std::pair<unsigned, StageGeometry>> here;
    bool all = true, byElement = false;
    for (auto [number, name] : llvm::enumerate(use.names)) {
      if (!name)
        continue;
      std::string reason;
      auto geometry = getGeometry(views[number].op, name, reason);
      if (!geometry) {
        if (first.empty())
          first = reason;
        all = false;
        break;
      }
      byElement |= llvm::any_of(
          geometry->axes, [](const BlockAxis &axis) { return axis.box >= 0; });
      here.push_back({static_cast<unsigned>(number), std::move(*geometry)});
    }
    if (!all || !byElement)
      continue;
    shape = typeOf(buffer).getShape();
    for (auto &[number, geometry] : here) {
      if (found[number] && found[number]->axes.size() != geometry.axes.size())
        return fail("its values have several shapes"), false;
      // By different boxes, but the same blocks.
      if (found[number])
        for (auto [one, other] : llvm::zip(found[number]->axes, geometry.axes))
          if (one.point != other.point || one.extent != other.extent)
            return fail("its values lie in different blocks"), false;
      if (!found[number])
        found[number] = std::move(geometry);
    }
  }
  for (auto [view, geometry] : llvm::zip(views, found)) {
    if (!geometry)
      return fail(first.empty() ? "the stages share no value element by element"
                                : first),
             false;
    result.stages.push_back({view.op, std::move(*geometry)});
  }
  return true;
}

static bool contains(const BlockAxis &outer, const BlockAxis &inner) {
  if (outer.isWhole())
    return true;
  return !inner.isWhole() && outer.extent % inner.extent == 0;
}

static std::string blockText(const StageGeometry &geometry) {
  std::string text;
  for (const BlockAxis &axis : geometry.axes)
    text += fmt::format("{}{}", text.empty() ? "" : " x ",
                        axis.isWhole() ? std::string("all")
                                       : fmt::format("{}", axis.extent));
  return text;
}

bool StripFinder::findLead() {
  auto leads = [&](const StageStrips::Stage &outer) {
    return llvm::all_of(result.stages, [&](const StageStrips::Stage &inner) {
      return llvm::all_of(
          llvm::zip(outer.geometry.axes, inner.geometry.axes), [](auto pair) {
            return contains(std::get<0>(pair), std::get<1>(pair));
          });
    });
  };
  auto found = llvm::find_if(result.stages, leads);
  if (found == result.stages.end())
    return fail(fmt::format("blocks of {} and of {} do not contain each other",
                            blockText(result.stages.front().geometry),
                            blockText(result.stages.back().geometry))),
           false;
  result.lead = found - result.stages.begin();
  ArrayRef<BlockAxis> axes = result.strip().axes;
  for (auto [d, axis] : llvm::enumerate(axes.drop_back())) {
    int64_t extent = axis.extent;
    if (axis.isWhole()) {
      auto length = dyn_cast<AffineConstantExpr>(shape.getResult(d));
      extent = length ? length.getValue() : StageStrips::mostRows + 1;
    }
    bool isRow = d + 2 == axes.size();
    if (extent > (isRow ? StageStrips::mostRows : 1))
      return fail(fmt::format("blocks of {} are more than the {} rows that one "
                              "thread, or thread block, takes at once",
                              blockText(result.strip()),
                              StageStrips::mostRows)),
             false;
  }
  return true;
}

/// Whether the expression grows with its dimensions.
static bool isMonotone(AffineExpr expr) {
  bool monotone = true;
  expr.walk([&](AffineExpr e) {
    if (e.getKind() == AffineExprKind::Mod)
      monotone = false;
    if (auto constant = dyn_cast<AffineConstantExpr>(e))
      monotone &= constant.getValue() >= 0;
    monotone &= e.getKind() != AffineExprKind::SymbolId;
  });
  return monotone;
}

std::optional<int64_t> StripFinder::indicesPerStrip(const Access &access,
                                                    unsigned axis) {
  const StageStrips::Stage &stage = result.stages[access.stage];
  const BlockAxis &blocks = stage.geometry.axes[axis];
  // Of the stage, in each strip. A block alone may have less than an index:
  // four groups of 24 share the scale of a group of 96.
  int64_t count = result.strip().axes[axis].extent / blocks.extent;
  AffineExpr expr = access.map.getResult(axis);
  MLIRContext *context = expr.getContext();
  unsigned dims = access.map.getNumDims();
  if (!isMonotone(expr))
    return std::nullopt;
  // The index of the first and the last element of strip 0, and the first of
  // strip 1.
  SmallVector<AffineExpr> first(dims), last(dims), next(dims);
  AffineExpr zero = getAffineConstantExpr(0, context);
  for (auto [d, index] : llvm::enumerate(access.indices)) {
    first[d] = last[d] = next[d] = zero;
    if (!expr.isFunctionOfDim(d))
      continue;
    auto arg = dyn_cast<BlockArgument>(index);
    Operation *owner = arg ? arg.getOwner()->getParentOp() : nullptr;
    if (BlocksOp op = stage.op; owner == op.getOperation()) {
      if (static_cast<int>(arg.getArgNumber()) != blocks.point)
        return std::nullopt;
      last[d] = getAffineConstantExpr(count - 1, context);
      next[d] = getAffineConstantExpr(count, context);
      continue;
    }
    AffineMap extents;
    if (auto reduce = dyn_cast_or_null<ReduceOp>(owner))
      extents = reduce.getExtents();
    else if (auto map = dyn_cast_or_null<MapOp>(owner))
      extents = map.getExtents();
    else
      return std::nullopt;
    auto extent =
        dyn_cast<AffineConstantExpr>(extents.getResult(arg.getArgNumber()));
    if (!extent || extent.getValue() != blocks.extent)
      return std::nullopt;
    last[d] = getAffineConstantExpr(blocks.extent - 1, context);
  }
  auto at = [&](ArrayRef<AffineExpr> values) -> std::optional<int64_t> {
    auto constant = dyn_cast<AffineConstantExpr>(
        simplifyAffineExpr(expr.replaceDims(values), 0, 0));
    return constant ? std::optional(constant.getValue()) : std::nullopt;
  };
  std::optional<int64_t> begin = at(first), end = at(last), step = at(next);
  if (!begin || !end || !step || *begin != 0 || *step < 1 || *end >= *step)
    return std::nullopt;
  // By the same step from every strip to the next.
  SmallVector<AffineExpr> moved(dims), kept(dims);
  for (unsigned d = 0; d < dims; ++d) {
    kept[d] = getAffineDimExpr(d, context);
    moved[d] = kept[d] + next[d];
  }
  if (simplifyAffineExpr(expr.replaceDims(moved) - expr - *step, dims, 0) !=
      zero)
    return std::nullopt;
  return step;
}

bool StripFinder::addValue(Value buffer, const SharedUse &use) {
  ArrayRef<BlockAxis> strip = result.strip().axes;
  if (typeOf(buffer).getRank() != static_cast<int64_t>(strip.size()))
    return fail("a value between them has another rank"), false;
  StripValue value{buffer, {}};
  for (auto [d, axis] : llvm::enumerate(strip)) {
    value.extents.push_back(0);
    if (axis.isWhole())
      continue;
    for (const Access &access : use.accesses) {
      std::optional<int64_t> indices = indicesPerStrip(access, d);
      if (!indices ||
          (value.extents.back() != 0 && value.extents.back() != *indices))
        return fail("one reads what another block of the other makes"), false;
      value.extents.back() = *indices;
    }
  }
  result.values.push_back(std::move(value));
  return true;
}

std::optional<StageStrips> StripFinder::run() {
  collect();
  if (!findGeometries() || !findLead())
    return std::nullopt;
  for (auto &[buffer, use] : uses)
    if (use.isShared() && !addValue(buffer, use))
      return std::nullopt;
  return std::move(result);
}

std::optional<int64_t> StageStrips::blocksPerStrip(const Stage &stage,
                                                   unsigned axis) const {
  const BlockAxis &inner = stage.geometry.axes[axis];
  const BlockAxis &outer = strip().axes[axis];
  if (inner.point < 0)
    return 1;
  if (outer.isWhole())
    return std::nullopt;
  return outer.extent / inner.extent;
}

std::string StageStrips::describe() const {
  ArrayRef<BlockAxis> axes = strip().axes;
  bool isRow = axes.back().isWhole();
  for (const BlockAxis &axis : axes.drop_back())
    isRow &= axis.extent <= 1;
  return isRow ? "row" : "block of " + blockText(strip());
}

std::optional<StageStrips> tile::getStrips(ArrayRef<StageView> stages,
                                           std::string &why) {
  return StripFinder(stages, why).run();
}

std::optional<StageStrips> tile::getStrips(KernelOp kernel, std::string &why) {
  SmallVector<StageView> views;
  for (Operation *stage : kernel.getStages()) {
    auto blocks = dyn_cast<BlocksOp>(stage);
    if (!blocks) {
      why = "a product among them";
      return std::nullopt;
    }
    views.push_back({blocks});
  }
  return getStrips(views, why);
}

namespace {
/// Ends saturate: what reaches one has no bound there.
struct Span {
  int64_t low, high;
};
} // namespace

/// The values of an expression with the symbols anywhere in their ranges.
static Span rangeOf(AffineExpr expr, ArrayRef<Attribute> symbols) {
  constexpr Span unbounded = {INT64_MIN, INT64_MAX};
  if (auto constant = dyn_cast<AffineConstantExpr>(expr))
    return {constant.getValue(), constant.getValue()};
  if (auto symbol = dyn_cast<AffineSymbolExpr>(expr)) {
    auto attr = cast<SymbolAttr>(symbols[symbol.getPosition()]);
    return {attr.getMin(), attr.getMax()};
  }
  auto binary = dyn_cast<AffineBinaryOpExpr>(expr);
  if (!binary)
    return unbounded;
  Span a = rangeOf(binary.getLHS(), symbols);
  Span b = rangeOf(binary.getRHS(), symbols);
  auto kind = expr.getKind();
  bool divides = kind == AffineExprKind::FloorDiv ||
                 kind == AffineExprKind::CeilDiv || kind == AffineExprKind::Mod;
  if (divides && b.low < 1)
    return unbounded;
  if (kind == AffineExprKind::Mod)
    return {0, a.low >= 0 ? std::min(a.high, b.high - 1) : b.high - 1};
  auto of = [&](int64_t x, int64_t y) {
    __int128 value = kind == AffineExprKind::Add   ? __int128(x) + y
                     : kind == AffineExprKind::Mul ? __int128(x) * y
                     : kind == AffineExprKind::FloorDiv
                         ? __int128(llvm::divideFloorSigned(x, y))
                         : __int128(llvm::divideCeilSigned(x, y));
    return static_cast<int64_t>(
        std::clamp<__int128>(value, INT64_MIN, INT64_MAX));
  };
  // Each of them is monotone in both, so that corners are the ends.
  int64_t corners[] = {of(a.low, b.low), of(a.low, b.high), of(a.high, b.low),
                       of(a.high, b.high)};
  return {*llvm::min_element(corners), *llvm::max_element(corners)};
}

int64_t tile::largest(AffineExpr extent, ArrayRef<Attribute> symbols) {
  return std::max<int64_t>(rangeOf(extent, symbols).high, 0);
}

int64_t tile::bytesPerStrip(const StripValue &value,
                            ArrayRef<Attribute> symbols) {
  BufferType type = typeOf(value.buffer);
  uint64_t bytes = byteWidth(*getDType(type.getElementType()));
  for (auto [d, extent] : llvm::enumerate(value.extents)) {
    int64_t length = largest(type.getShape().getResult(d), symbols);
    bytes = llvm::SaturatingMultiply<uint64_t>(
        bytes, extent ? std::min(extent, length) : length);
  }
  constexpr uint64_t unit = 16;
  return bytes > INT64_MAX - unit ? INT64_MAX
                                  : (bytes + unit - 1) / unit * unit;
}
