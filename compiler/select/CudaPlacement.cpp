//===- CudaPlacement.cpp - Placements on a GPU ----------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/select/CudaPlacement.h"

#include "compiler/emit/cuda/EncodeFit.h"
#include "compiler/emit/cuda/KernelText.h"
#include "compiler/emit/cuda/Materialise.h"
#include "compiler/select/TrafficModel.h"

#include <fmt/format.h>

#include <cmath>

using namespace quern;
using namespace quern::select;
using tile::Placement;

Result<emit::StageFit> CudaPlacement::fit(const Site &site,
                                          Placement placement) const {
  tile::LaunchOp quantize = site.quantize;
  tile::KernelOp kernel = tile::getKernel(quantize);
  auto operands = quantize.getBuffers();
  unsigned index = llvm::find(operands, site.value) - operands.begin();
  emit::StageOfValue stage{
      llvm::cast<tile::BlocksOp>(kernel.getStages().front()),
      kernel.getBody().getArgument(index)};
  return emit::fitStages(site.producerProduct(), stage, placement, target);
}

static std::string refuseConsumer(const Site &site) {
  if (!site.consumerProduct())
    return site.codes ? "no product alone reads the codes"
                      : "it makes scales, and the codes elsewhere";
  tile::LaunchOp consumer = site.consumer;
  if (tile::getKernel(consumer).getStages().size() > 1)
    return "the product has a stage before it already";
  return {};
}

std::string CudaPlacement::refuse(const Site &site, Placement placement) const {
  if (placement == Placement::Separate)
    return {};
  if (placement == Placement::Consumer)
    return refuseConsumer(site);
  if (!site.producerProduct())
    return site.producer ? "the value is not made by a product"
                         : "the value is an input of the layer";
  tile::LaunchOp producer = site.producer;
  if (tile::getKernel(producer).getStages().back() != site.producerProduct())
    return "the product has a stage behind it already";
  tile::LaunchOp quantize = site.quantize;
  if (tile::getKernel(quantize).getStages().size() > 1)
    return "it is several stages, of which each has other blocks";
  if (!site.geometry)
    return site.irregular;
  Result<emit::StageFit> found = fit(site, placement);
  if (found)
    return {};
  // The placement's name stands beside the reason already.
  llvm::StringRef why = found.error().message;
  why.consume_front(tile::stringifyPlacement(placement));
  why.consume_front(": ");
  return why.str();
}

std::string CudaPlacement::apply(const Site &site, Placement placement) const {
  if (placement == Placement::Separate)
    return {};
  tile::LaunchOp fused;
  if (placement == Placement::Consumer) {
    // Where the reductions stay behind, every tile reduces its own rows.
    if (site.producerProduct())
      (void)tile::accumulate(site.producer, site.quantize, site.value);
    tile::LaunchOp quantize = site.quantize, consumer = site.consumer;
    std::string why = tile::absorb(quantize, consumer, site.codes);
    if (why.empty())
      why = tile::fuse(quantize, consumer, {placement}, fused);
    if (!why.empty())
      return why;
    emit::GemmSchedule schedule;
    Result<emit::EncodeFit> found =
        emit::fitEncoding(tile::getKernel(fused), target, schedule);
    return found ? std::string() : found.error().message;
  }
  tile::FuseOptions options{placement, placement == Placement::Panel};
  std::string why = tile::fuse(site.producer, site.quantize, options, fused);
  if (!why.empty())
    return why;
  Result<emit::StageFit> found =
      emit::fitKernel(tile::getKernel(fused), target);
  return found ? std::string() : found.error().message;
}

std::string CudaPlacement::schedule(tile::KernelOp kernel) const {
  tile::ContractOp product = kernel.getContract();
  emit::Symbols symbols(kernel.getSymbols().getValue());
  if (!product) {
    // By the boxes of its blocks: rows may be what they reduce.
    std::string text;
    for (mlir::Operation *stage : kernel.getStages())
      text +=
          emit::scheduleBlocks(
              emit::blocksProblem(llvm::cast<tile::BlocksOp>(stage), symbols))
              .describe() +
          "; ";
    return text;
  }
  // A kernel without a schedule is refused later, in better words; until then
  // none is like it but for the same rows.
  auto none = [&](const quern::Diagnostic &why) {
    std::string text;
    llvm::raw_string_ostream(text) << why.message << kernel.getSymbols();
    return text;
  };
  emit::GemmSchedule schedule;
  if (kernel.getStages().back() != product) {
    Result<emit::StageFit> found = emit::fitKernel(kernel, target);
    return found ? found->schedule.describe() : none(found.error());
  }
  if (emit::encodesOnLoad(kernel)) {
    Result<emit::EncodeFit> found = emit::fitEncoding(kernel, target, schedule);
    return found ? schedule.describe() : none(found.error());
  }
  int64_t maxK = 0;
  Result<emit::GemmProblem> problem = emit::gemmProblem(product, symbols, maxK);
  if (!problem)
    return none(problem.error());
  problem->split = emit::materialisedSplit(product);
  if (emit::promotesSums(*problem, maxK, target))
    problem->split = emit::GemmSchedule::promoteEvery;
  Result<emit::GemmSchedule> found = emit::scheduleGemm(*problem, target);
  return found ? found->describe() : none(found.error());
}

Result<ProgramTraffic> CudaPlacement::traffic(mlir::ModuleOp module,
                                              const Sizes &sizes) const {
  return predictTraffic(module, target, sizes);
}

double CudaPlacement::products(const Site &site, const Sizes &sizes) const {
  return multiplyAdds(site, sizes) / rates.productPerMicrosecond /
             target.multiprocessors() +
         2 * rates.launchMicroseconds;
}

Cost CudaPlacement::consumerCost(const Site &site, const Sizes &sizes) const {
  using Kind = Cost::Kind;
  tile::ContractOp product = site.consumerProduct();
  tile::LaunchOp consumer = site.consumer;
  emit::Symbols symbols(tile::getKernel(consumer).getSymbols().getValue());
  int64_t maxK = 0;
  Result<emit::GemmProblem> copied = emit::gemmProblem(product, symbols, maxK);
  if (!copied)
    return {}; // Refused before.
  emit::GemmProblem encoded = *copied;
  auto type = llvm::cast<tile::BufferType>(site.value.getType());
  double width = encoded.valueBytes =
      byteWidth(*getDType(type.getElementType()));
  Result<emit::GemmSchedule> with = emit::scheduleGemm(encoded, target),
                             without = emit::scheduleGemm(*copied, target);
  if (!with || !without)
    return {};
  unsigned batch = product.getNumBatch();
  double count = 1;
  for (unsigned i = 0; i < batch; ++i)
    count *= evaluate(product.getExtents().getResult(i), sizes);
  auto extent = [&](unsigned i) {
    return evaluate(product.getExtents().getResult(batch + i), sizes);
  };
  double m = extent(0), n = extent(1), k = extent(2);
  // Each multiprocessor has so many tiles to make, some of them at once: what
  // they compute adds up, and more at once hide more of their waiting.
  double panels = count * std::ceil(m / with->tileM);
  double tilesN = std::ceil(n / with->tileN);
  // Tiles beside each other encode the same values. They are counted one after
  // the other even where multiprocessors are idle: with more rows none is, and
  // sizes without an upper end are judged by some of them.
  double turns =
      std::max(tilesN, std::ceil(panels * tilesN / target.multiprocessors()));
  double rows = std::min<double>(m, with->tileM);
  double perTile = rows * k;
  // Reductions that the value's maker does not gather are passes over the rows;
  // those that depend on others make the codes once more (their sums do).
  double levels = site.levels.levels.size();
  bool gathered = site.producerProduct() && !site.levels.anyOrdered;
  double passes = std::max(0.0, gathered ? levels - 1 : levels);
  double bytesPerMultiprocessor =
      rates.cacheBytesPerMicrosecond / target.multiprocessors();
  Cost cost;
  auto times = [&](double number, const char *what) {
    return fmt::format("{} of {}{}: {}", counted(number, "tile"),
                       counted(rows, "row"),
                       number > 1 ? ", one after the other" : "", what);
  };
  cost.add(Kind::Reencode,
           turns * perTile * std::max(1.0, levels) / rates.encodePerMicrosecond,
           times(turns, levels > 1 ? "encoding, and once more to add codes"
                                   : "encoding"));
  cost.add(Kind::Bytes,
           turns * perTile * ((1 + passes) * width - 1) /
               bytesPerMultiprocessor,
           times(turns, passes > 0 ? "reading values, for scales and for codes"
                                   : "reading values instead of codes"));
  // Lower tiles read the right operand more often.
  double again = copied->rhsBytes(n * k) * count *
                 (std::ceil(m / with->tileM) - std::ceil(m / without->tileM));
  cost.add(Kind::Bytes, std::max(0.0, again) / rates.cacheBytesPerMicrosecond,
           fmt::format("{:.0f} bytes of the right operand, which tiles of {} "
                       "rows read again",
                       again, with->tileM));
  // Products wait more where fewer tiles are resident.
  double together = emit::residentBlocks(encoded, *with, target),
         apart = emit::residentBlocks(*copied, *without, target);
  double work = m * n * k * count * product.getNumTerms() /
                (rates.productPerMicrosecond * target.multiprocessors());
  if (together < apart && panels * tilesN > together)
    cost.add(Kind::Tiles, 0.25 * work,
             fmt::format("{:.0f} blocks at once instead of {:.0f}", together,
                         apart));
  return cost;
}

Cost CudaPlacement::costOf(const Site &site, Placement placement,
                           const Sizes &sizes) const {
  using Kind = Cost::Kind;
  auto type = llvm::cast<tile::BufferType>(site.value.getType());
  double elements = 1;
  for (mlir::AffineExpr extent : type.getShape().getResults())
    elements *= evaluate(extent, sizes);
  double width = byteWidth(*getDType(type.getElementType()));
  Cost cost;
  auto move = [&](double bytes, const char *what) {
    bool fits = elements * width <= rates.cacheBytes;
    cost.add(Kind::Bytes,
             bytes / (fits ? rates.cacheBytesPerMicrosecond
                           : rates.memoryBytesPerMicrosecond),
             fmt::format("{:.0f} bytes through {}: {}", bytes,
                         fits ? "the L2 cache" : "memory", what));
  };
  if (placement == Placement::Separate) {
    cost.add(Kind::Launch, rates.launchMicroseconds, "a kernel of its own");
    move(elements * (3 * width + 1), "the value three times, its codes once");
    return cost;
  }
  if (placement == Placement::Consumer)
    return consumerCost(site, sizes);

  // The product's own time, in waves of its tiles, beside what it would be with
  // the tile it takes alone.
  tile::ContractOp product = site.producerProduct();
  unsigned batch = product.getNumBatch();
  double count = 1;
  for (unsigned i = 0; i < batch; ++i)
    count *= evaluate(product.getExtents().getResult(i), sizes);
  double m = evaluate(product.getExtents().getResult(batch), sizes);
  double n = evaluate(product.getExtents().getResult(batch + 1), sizes);
  double k = evaluate(product.getExtents().getResult(batch + 2), sizes);
  auto productTime = [&](const emit::GemmProblem &problem,
                         const emit::GemmSchedule &schedule, double together) {
    double tiles =
        count * std::ceil(m / schedule.tileM) * std::ceil(n / schedule.tileN);
    double perTile = double(schedule.tileM) * schedule.tileN * k *
                     product.getNumTerms() * problem.elementBytes;
    double share = together / target.multiprocessors();
    return std::ceil(tiles / together) * perTile * share /
           rates.productPerMicrosecond;
  };
  Result<emit::StageFit> found = fit(site, placement);
  if (found) {
    emit::GemmProblem alone = found->problem;
    alone.blockRows = alone.blockColumns = 1;
    alone.maxTilesN = 0;
    alone.held = 0;
    alone.stageBytes = 0;
    if (Result<emit::GemmSchedule> free = emit::scheduleGemm(alone, target)) {
      // As many blocks together either way, unless the tile is another.
      double fused = std::max(1u, found->resident);
      double apart =
          free->tileM == found->schedule.tileM &&
                  free->tileN == found->schedule.tileN
              ? fused
              : std::max(1u, emit::residentBlocks(alone, *free, target));
      auto waves = [&](const emit::GemmSchedule &schedule, double together) {
        return std::ceil(count * std::ceil(m / schedule.tileM) *
                         std::ceil(n / schedule.tileN) / together);
      };
      double lost = productTime(found->problem, found->schedule, fused) -
                    productTime(alone, *free, apart);
      cost.add(Kind::Tiles, std::max(0.0, lost),
               fmt::format("the product in tiles of {}x{}, {} blocks at once, "
                           "{:.0f} waves, instead of {}x{}, {} at once, {:.0f} "
                           "waves",
                           found->schedule.tileM, found->schedule.tileN, fused,
                           waves(found->schedule, fused), free->tileM,
                           free->tileN, apart, waves(*free, apart)));
      // Lower tiles read the right operands more often, narrower ones the left.
      auto operands = [&](const emit::GemmSchedule &schedule) {
        double lefts = product.getNumLhs(), rights = product.getNumRhs();
        const emit::GemmProblem &problem = found->problem;
        return count * (std::ceil(n / schedule.tileN) * m * k * lefts *
                            problem.elementBytes +
                        std::ceil(m / schedule.tileM) *
                            problem.rhsBytes(n * k) * rights);
      };
      double again = operands(found->schedule) - operands(*free);
      cost.add(
          Kind::Bytes, std::max(0.0, again) / rates.cacheBytesPerMicrosecond,
          fmt::format("{:.0f} bytes of operands, which tiles of {}x{} read "
                      "again",
                      again, found->schedule.tileM, found->schedule.tileN));
    }
  }
  double panels = found ? std::ceil(m / found->schedule.tileM) * count : 1.0;
  double turns = found ? std::max(1.0, std::ceil(panels * found->tilesN /
                                                 std::max(1u, found->resident)))
                       : 1.0;
  auto wait = [&](double each, double times, const char *what) {
    cost.add(Kind::Waiting, each * times,
             fmt::format("{}, {:.0f} {}", what, times,
                         times == 1 ? "time" : "times"));
  };
  switch (placement) {
  case Placement::Cluster:
    wait(rates.clusterMicroseconds, turns, "tiles of a cluster meet");
    return cost;
  case Placement::Grid:
    wait(rates.meetingMicroseconds, turns, "tiles of a row panel meet");
    return cost;
  case Placement::Panel:
    wait(rates.meetingMicroseconds, 1, "tiles of a row panel meet");
    move(elements * 2 * width, "the value written and read again");
    return cost;
  default:
    wait(0.1, turns, "threads of a tile meet");
    return cost;
  }
}

Peaks select::peaksOf(const GpuRates &rates, const emit::CudaTarget &target) {
  Peaks peaks;
  peaks.machine =
      fmt::format("{} multiprocessors, as the smallest common device of {} "
                  "has; rates are estimates of the cost model",
                  target.multiprocessors(), target.name());
  peaks.bytes = rates.memoryBytesPerMicrosecond;
  peaks.operations8 =
      2 * rates.productPerMicrosecond * target.multiprocessors();
  peaks.operations16 = peaks.operations8 / 2;
  peaks.scalar = rates.scalarPerMicrosecond * target.multiprocessors();
  return peaks;
}
