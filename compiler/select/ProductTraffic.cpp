//===- ProductTraffic.cpp - Traffic of products ---------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/emit/cuda/DecodeFit.h"
#include "compiler/emit/cuda/OperandRows.h"
#include "compiler/select/Tally.h"

using namespace mlir;
using namespace quern;
using namespace quern::select;

/// Tiles along an axis, and partial sums of one, that are looked at.
static constexpr int64_t maxTiles = 4, maxParts = 4;

namespace {

class ProductTally {
public:
  ProductTally(Tally &tally, tile::ContractOp product,
               const emit::GemmProblem &problem,
               const emit::GemmSchedule &schedule);

  /// Columns of tiles that are launched; more than there are in clusters.
  void operands(int64_t columns, const emit::EncodeFit *encoding);
  void epilogue(const TileAt &tile);
  void rescale(const TileAt &tile);
  /// What right operands that become floats are decoded with.
  void factors(const TileAt &tile);

  double batch = 1;
  int64_t M, N, K, tilesM, tilesN;

private:
  /// One operand's rows [row0, row0 + rows), `times` times.
  void rowsOf(const std::optional<emit::OperandRows> &form, int64_t row0,
              int64_t rows, unsigned copy, double times);
  /// Rows in a form, of elements of `width` bytes, or half a byte where they
  /// are packed, that threads take by `piece`.
  void rowsIn(const emit::OperandRows &form, int64_t width, int64_t piece,
              double repeats, int64_t row0, int64_t rows, double times);

  Tally &tally;
  tile::ContractOp product;
  const emit::GemmProblem &problem;
  const emit::GemmSchedule &schedule;
  std::optional<emit::DecodeFit> decoding;
  Coordinates coordinates;
  unsigned numBatch;
};

} // namespace

ProductTally::ProductTally(Tally &tally, tile::ContractOp product,
                           const emit::GemmProblem &problem,
                           const emit::GemmSchedule &schedule)
    : tally(tally), product(product), problem(problem), schedule(schedule),
      decoding(emit::DecodeFit::of(product)), coordinates(tally.sizes),
      numBatch(product.getNumBatch()) {
  auto extent = [&](unsigned i) {
    return coordinates.evaluate(product.getExtents().getResult(i));
  };
  for (unsigned i = 0; i < numBatch; ++i)
    batch *= double(extent(i));
  M = extent(numBatch), N = extent(numBatch + 1), K = extent(numBatch + 2);
  tilesM = (M + schedule.tileM - 1) / schedule.tileM;
  tilesN = (N + schedule.tileN - 1) / schedule.tileN;
}

void ProductTally::rowsOf(const std::optional<emit::OperandRows> &form,
                          int64_t row0, int64_t rows, unsigned copy,
                          double times) {
  if (!form)
    return; // Refused by the emitter.
  // An element at a time every sector is asked for once per element of a word.
  int64_t width = form->packed ? 1 : problem.elementBytes;
  rowsIn(*form, width, copy ? copy : 4, copy ? 1 : double(4 / width), row0,
         rows, times);
}

void ProductTally::rowsIn(const emit::OperandRows &form, int64_t width,
                          int64_t piece, double repeats, int64_t row0,
                          int64_t rows, double times) {
  int64_t perItem = form.packed ? 2 : 1;
  int64_t rowBytes = schedule.tileK * width / perItem;
  int64_t stride = coordinates.evaluate(form.stride) * width;
  int64_t perRow = rowBytes / piece;
  int64_t rowsAtOnce = std::max<int64_t>(1, 32 / perRow);
  int64_t bytes = (K + perItem - 1) / perItem * width;
  int64_t steps = (bytes + rowBytes - 1) / rowBytes;
  auto step = [&](int64_t k0, double weight) {
    int64_t valid = std::min(rowBytes, bytes - k0);
    int64_t sectors = 0;
    for (int64_t r = 0; r < rows; r += rowsAtOnce) {
      int64_t latest = -1;
      for (int64_t i = r; i < std::min(rows, r + rowsAtOnce); ++i) {
        int64_t from = (row0 + i) * stride + k0;
        int64_t first = std::max(from / 32, latest + 1);
        int64_t last = (from + valid - 1) / 32;
        sectors += std::max<int64_t>(0, last - first + 1);
        latest = std::max(latest, last);
      }
    }
    // Of a word that K ends in only the elements before are asked for.
    double again = std::min(repeats, double(valid / width));
    tally.add(form.buffer, Touch::Kind::Load, double(valid * rows) * weight,
              double(sectors) * again * weight);
  };
  if (steps > 1)
    step(0, times * double(steps - 1));
  if (steps > 0)
    step((steps - 1) * rowBytes, times);
}

void ProductTally::operands(int64_t columns, const emit::EncodeFit *encoding) {
  ArrayRef<int64_t> terms = product.getTerms();
  unsigned lefts = problem.sharedLhs ? 1 : problem.terms;
  unsigned rights = problem.sharedRhs ? 1 : problem.terms;
  for (const Sample &tile : sampleOf(tilesM, maxTiles)) {
    int64_t m0 = tile.index * schedule.tileM;
    if (encoding) {
      // A thread takes 16 bytes, in as many copies as they need.
      int64_t width = problem.valueBytes;
      int64_t rows = std::min<int64_t>(schedule.tileM, M - m0);
      tally.compute(product.getLhsRegion(0).front(), double(rows) * double(K) *
                                                         tile.weight * batch *
                                                         double(columns));
      rowsIn(encoding->rows, width, 16,
             double(16 / (schedule.lhsCopy ? schedule.lhsCopy : width)), m0,
             rows, tile.weight * batch * double(columns));
      continue;
    }
    for (unsigned t = 0; t < lefts; ++t)
      rowsOf(emit::OperandRows::of(product, product.getLhsRegion(terms[2 * t])),
             m0, std::min<int64_t>(schedule.tileM, M - m0), schedule.lhsCopy,
             tile.weight * batch * double(columns));
  }
  for (const Sample &tile : sampleOf(tilesN, maxTiles)) {
    int64_t n0 = tile.index * schedule.tileN;
    int64_t rows = std::min<int64_t>(schedule.tileN, N - n0);
    double times = tile.weight * batch * double(tilesM);
    for (unsigned t = 0; t < rights; ++t) {
      int64_t right = terms[2 * t + 1];
      Region &region = product.getRhsRegion(right);
      rowsOf(decoding ? decoding->operands[right].rows
                      : emit::OperandRows::of(product, region),
             n0, rows, schedule.rhsCopy, times);
      if (decoding && decoding->becomesFloat())
        tally.compute(region.front(), double(rows) * double(K) * times);
    }
  }
  tally.multiplyAdds +=
      batch * double(M) * double(N) * double(K) * double(product.getNumTerms());
}

namespace {

/// What NVRTC makes of an epilogue's loads. It is called for every row of a
/// column, elements beyond the product included, and stores only those within.
/// While all there is are products and conversions, the compiler moves their
/// loads to where the store is; once a sum, a comparison or a function is among
/// them it leaves them where elements beyond are loaded too. What depends on
/// the column alone is loaded once, unless a comparison or a function comes
/// before it: then once for two rows, which the loop takes at a time.
class EpilogueRules {
public:
  explicit EpilogueRules(Block &body) {
    for (Operation &op : body) {
      bool product =
          isa<arith::MulFOp, arith::SIToFPOp, arith::UIToFPOp, arith::ExtFOp,
              arith::TruncFOp, arith::ConstantOp, tile::LoadOp, tile::StoreOp,
              tile::AccumulateOp, tile::IndexOp, tile::YieldOp>(op);
      bool sum = isa<arith::AddFOp, arith::SubFOp, arith::NegFOp, arith::AddIOp,
                     arith::SubIOp, arith::MulIOp, arith::ExtSIOp,
                     arith::ExtUIOp, arith::TruncIOp>(op);
      onlyProducts &= product;
      if (!product && !sum && !barrier)
        barrier = &op;
    }
  }
  /// Loads happen for elements within alone.
  bool onlyProducts = true;
  bool isBehind(Operation *op) const {
    return barrier && barrier->isBeforeInBlock(op);
  }

private:
  Operation *barrier = nullptr;
};

} // namespace

void ProductTally::epilogue(const TileAt &tile) {
  Block &body = product.getEpilogue().front();
  EpilogueRules rules(body);
  unsigned row = numBatch, column = numBatch + 1;
  for (unsigned i = 0; i < numBatch + 2; ++i)
    coordinates.bind(body.getArgument(i), i);
  int64_t rows = std::min<int64_t>(schedule.tileM, M - tile.m0);
  int64_t columns = std::min<int64_t>(schedule.tileN, N - tile.n0);
  tally.compute(body, double(rows * columns) * tile.weight);
  llvm::SmallVector<int64_t> at(numBatch + 2, 0);
  for (const Touch &touch : tally.touchesOf(body, coordinates)) {
    auto arg = dyn_cast<BlockArgument>(touch.buffer);
    bool load = touch.kind == Touch::Kind::Load;
    bool ofColumn = load && !touch.at.dependsOn(row) && arg &&
                    !tally.kernel.getWrites()[arg.getArgNumber()];
    bool beyond = ofColumn || (load && !rules.onlyProducts);
    for (int64_t c = 0; c < schedule.tileN; c += 32) {
      Lanes lanes;
      // Columns beyond N are those of the last.
      for (int64_t i = c; i < c + 32; ++i)
        if (beyond || i < columns) {
          at[row] = tile.m0;
          at[column] = tile.n0 + std::min(i, columns - 1);
          lanes.push_back({at.begin(), at.end()});
        }
      if (ofColumn) {
        double times = rules.isBehind(touch.op)
                           ? schedule.tileM / 2.0
                           : double(schedule.threads()) / schedule.tileN;
        tally.request(touch, lanes, tile.weight * times);
        continue;
      }
      if (touch.kind == Touch::Kind::Accumulate && !lanes.empty())
        lanes.resize(1); // A warp combines what goes to one word.
      for (int64_t r = 0; r < (beyond ? schedule.tileM : rows); ++r) {
        for (auto &lane : lanes)
          lane[row] = std::min<int64_t>(tile.m0 + r, M - 1);
        tally.request(touch, lanes, tile.weight);
      }
    }
  }
}

void ProductTally::rescale(const TileAt &tile) {
  if (product.getRescale().empty())
    return;
  Block &body = product.getRescale().front();
  unsigned row = numBatch, column = numBatch + 1, part = numBatch + 2;
  for (unsigned i = 0; i < numBatch + 3; ++i)
    coordinates.bind(body.getArgument(i), i);
  int64_t warpM = schedule.tileM / schedule.warpsM;
  int64_t warpN = schedule.tileN / schedule.warpsN;
  int64_t parts = (K + problem.split - 1) / problem.split;
  llvm::SmallVector<int64_t> at(numBatch + 3, 0);
  for (const Touch &touch : tally.touchesOf(body, coordinates))
    for (unsigned warp = 0; warp < schedule.warpsM * schedule.warpsN; ++warp) {
      int64_t m0 = tile.m0 + warp % schedule.warpsM * warpM;
      int64_t n0 = tile.n0 + warp / schedule.warpsM * warpN;
      if (m0 >= M)
        continue; // Such a warp does not multiply.
      // One load for every row and column that it depends on.
      int64_t rows = touch.at.dependsOn(row) ? warpM / 8 : 1;
      int64_t columns = touch.at.dependsOn(column) ? warpN / 4 : 1;
      for (const Sample &kb : sampleOf(parts, maxParts))
        for (int64_t i = 0; i < rows; ++i)
          for (int64_t j = 0; j < columns; ++j) {
            Lanes lanes;
            for (int64_t lane = 0; lane < 32; ++lane) {
              at[row] = std::min(m0 + i * 8 + lane / 4, M - 1);
              at[column] =
                  std::min(n0 + j / 2 * 8 + lane % 4 * 2 + j % 2, N - 1);
              at[part] = kb.index;
              lanes.push_back({at.begin(), at.end()});
            }
            tally.request(touch, lanes, tile.weight * kb.weight);
          }
    }
}

void ProductTally::factors(const TileAt &tile) {
  if (!decoding || !decoding->becomesFloat() || K <= 0)
    return;
  unsigned row = numBatch, k = numBatch + 1;
  int64_t warpM = schedule.tileM / schedule.warpsM;
  int64_t warpN = schedule.tileN / schedule.warpsN;
  int64_t every = decoding->every ? decoding->every : K;
  unsigned rights = problem.sharedRhs ? 1 : problem.terms;
  llvm::SmallVector<int64_t> at(numBatch + 2, 0);
  for (unsigned t = 0; t < rights; ++t) {
    int64_t right = product.getTerms()[2 * t + 1];
    Block &body = product.getRhsRegion(right).front();
    for (unsigned i = 0; i < numBatch + 2; ++i)
      coordinates.bind(body.getArgument(i), i);
    for (const Touch &touch : tally.touchesOf(body, coordinates)) {
      if (touch.op == decoding->operands[right].codes)
        continue;
      // Every warp that multiplies, for the rows of each of its fragments.
      int64_t warpsM =
          std::min<int64_t>(schedule.warpsM, (M - tile.m0 + warpM - 1) / warpM);
      for (unsigned warp = 0; warp < schedule.warpsN; ++warp)
        for (int64_t j = 0; j < warpN / 8; ++j)
          for (const Sample &group :
               sampleOf((K + every - 1) / every, maxParts)) {
            Lanes lanes;
            for (int64_t lane = 0; lane < 32; ++lane) {
              at[row] =
                  std::min(tile.n0 + warp * warpN + j * 8 + lane / 4, N - 1);
              at[k] = group.index * every;
              lanes.push_back({at.begin(), at.end()});
            }
            tally.request(touch, lanes,
                          tile.weight * group.weight * double(warpsM));
          }
    }
  }
}

std::string select::tallyProduct(Tally &tally, tile::ContractOp product,
                                 const emit::CudaTarget &target) {
  emit::Symbols symbols(tally.kernel.getSymbols().getValue());
  int64_t maxK = 0;
  Result<emit::GemmProblem> problem = emit::gemmProblem(product, symbols, maxK);
  if (!problem)
    return problem.error().message;
  std::optional<emit::EncodeFit> encoding;
  if (emit::encodesOnLoad(tally.kernel)) {
    Result<emit::EncodeFit> found =
        emit::findEncoding(tally.kernel, symbols, target);
    if (!found)
      return found.error().message;
    encoding = std::move(*found);
    problem = encoding->problem;
  } else if (emit::promotesSums(*problem, maxK, target)) {
    problem->split = emit::GemmSchedule::promoteEvery;
  }
  emit::HeldValues held;
  emit::StageFit fit;
  bool fused = tally.kernel.getStages().back() != product.getOperation();
  if (fused) {
    Result<emit::HeldValues> values = emit::findHeldValues(tally.kernel);
    if (!values)
      return values.error().message;
    held = std::move(*values);
    Result<emit::StageFit> found = emit::fitKernel(tally.kernel, target);
    if (!found)
      return found.error().message;
    fit = std::move(*found);
    problem = fit.problem;
  }
  Result<emit::GemmSchedule> schedule = emit::scheduleGemm(*problem, target);
  if (!schedule)
    return schedule.error().message;

  if (encoding) {
    uint32_t bytes = encoding->lay(symbols, schedule->tileM);
    if (!fused) {
      problem->stageBytes = bytes;
      schedule = emit::scheduleGemm(*problem, target);
      if (!schedule)
        return schedule.error().message;
    }
    for (const emit::EncodeScalars &scalars : encoding->scalars)
      tally.keep(scalars.buffer);
  }

  tile::Placement placement =
      fused ? *tally.kernel.getPlacement() : tile::Placement::Separate;
  // Values of the kernel's own stay with their tile, but for those of a panel.
  for (Value value : held.values)
    if (value.getDefiningOp<tile::LocalOp>() &&
        placement != tile::Placement::Panel)
      tally.keep(value);
  ProductTally one(tally, product, *problem, *schedule);
  if (one.M <= 0 || one.N <= 0 || one.batch <= 0)
    return {};
  one.operands(placement == tile::Placement::Cluster
                   ? std::max(fit.tilesN, one.tilesN)
                   : one.tilesN,
               encoding ? &*encoding : nullptr);
  for (const Sample &i : sampleOf(one.tilesM, maxTiles))
    for (const Sample &j : sampleOf(one.tilesN, maxTiles)) {
      TileAt tile{i.index * schedule->tileM, j.index * schedule->tileN,
                  i.weight * j.weight * one.batch};
      if (encoding)
        tallyEncoding(tally, *encoding, *schedule, tile);
      one.rescale(tile);
      one.factors(tile);
      one.epilogue(tile);
      if (fused)
        tallyStages(tally, product, held, fit, placement, tile);
    }
  if (placement == tile::Placement::Grid ||
      placement == tile::Placement::Panel) {
    // A ticket for every item, and one that finds the queue empty for every
    // block.
    double tiles = one.batch * double(one.tilesM * one.tilesN);
    double items = tiles * (placement == tile::Placement::Panel ? 2 : 1) +
                   std::min(tiles, double(std::max(1u, fit.resident)));
    tally.addState(Touch::Kind::Accumulate, 4 * items, items);
  }
  return {};
}
