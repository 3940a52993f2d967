//===- CpuPlacement.cpp - Placements on a CPU -----------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/select/CpuPlacement.h"

#include "compiler/select/TrafficModel.h"

#include "compiler/lower/cpu/Stages.h"

#include <fmt/format.h>

using namespace quern;
using namespace quern::select;
using tile::Placement;

/// "1 x 128", "1 x all"
static std::string blockText(const tile::StageGeometry &geometry) {
  auto extent = [](const tile::BlockAxis &axis) {
    return axis.isWhole() ? std::string("all") : fmt::format("{}", axis.extent);
  };
  return fmt::format("{} x {}", extent(geometry.rows()),
                     extent(geometry.columns()));
}

std::string CpuPlacement::refuse(const Site &site, Placement placement) const {
  auto fitsColumns = [&](int64_t most) {
    const tile::BlockAxis &columns = site.geometry->columns();
    return !columns.isWhole() && columns.extent <= most;
  };
  switch (placement) {
  case Placement::Separate:
    return {};
  case Placement::Cluster:
    return "a CPU has no clusters";
  case Placement::Consumer:
    if (!site.consumerProduct())
      return site.codes ? "no product alone reads the codes"
                        : "it makes scales, and the codes elsewhere";
    return {};
  default:
    break;
  }
  if (!site.producerProduct())
    return site.producer ? "the value is not made by a product"
                         : "the value is an input of the layer";
  if (!site.geometry)
    return site.irregular;
  cpugen::ContractPlan plan(site.producerProduct(), target);
  switch (placement) {
  case Placement::Register:
    if (fitsColumns(plan.columns) && !site.geometry->rows().isWhole() &&
        plan.columns % site.geometry->columns().extent == 0)
      return {};
    return fmt::format("a block is {}, a register tile {} x {}",
                       blockText(*site.geometry), plan.rows, plan.columns);
  case Placement::Tile:
    // Wider ones are no tile but a row panel.
    if (fitsColumns(1024) && !site.geometry->rows().isWhole())
      return {};
    return fmt::format("a block is {}, a tile some panels of {} columns",
                       blockText(*site.geometry), plan.columns);
  case Placement::Panel:
    if (site.geometry->rows().isWhole())
      return "a block spans all rows, and a row panel holds some";
    return {};
  case Placement::Grid:
    if (site.levels.levels.empty())
      return "nothing is reduced";
    if (site.levels.anyOrdered)
      return "an f32 sum has one written order and is not shared out";
    return {};
  default:
    return {};
  }
}

/// The kernel of the launch that a site became, checked by the lowering.
static std::string check(tile::LaunchOp fused,
                         const cpugen::CpuTarget &target) {
  tile::KernelOp kernel = tile::getKernel(fused);
  cpugen::ContractPlan plan(kernel.getContract(), target);
  std::string why;
  cpugen::StagePlan::make(kernel, plan, why);
  return why;
}

std::string CpuPlacement::apply(const Site &site, Placement placement) const {
  tile::LaunchOp fused;
  switch (placement) {
  case Placement::Register:
  case Placement::Tile:
  case Placement::Panel: {
    std::string why =
        tile::fuse(site.producer, site.quantize, {placement}, fused);
    return why.empty() ? check(fused, target) : why;
  }
  case Placement::Grid:
    return tile::accumulate(site.producer, site.quantize, site.value);
  case Placement::Consumer: {
    // Where the reductions stay behind, they run over the rows first.
    if (site.producerProduct())
      (void)tile::accumulate(site.producer, site.quantize, site.value);
    tile::LaunchOp quantize = site.quantize, consumer = site.consumer;
    std::string why = tile::absorb(quantize, consumer, site.codes);
    if (why.empty())
      why = tile::fuse(quantize, consumer, {placement}, fused);
    return why.empty() ? check(fused, target) : why;
  }
  default:
    return {};
  }
}

Result<ProgramTraffic> CpuPlacement::traffic(mlir::ModuleOp module,
                                             const Sizes &sizes) const {
  return predictCpuTraffic(module, sizes);
}

double CpuPlacement::products(const Site &site, const Sizes &sizes) const {
  // Two launches at least, however small they are.
  return multiplyAdds(site, sizes) / rates.productPerMicrosecond /
             rates.threads +
         2 * rates.launchMicroseconds;
}

Cost CpuPlacement::costOf(const Site &site, Placement placement,
                          const Sizes &sizes) const {
  using Kind = Cost::Kind;
  auto type = llvm::cast<tile::BufferType>(site.value.getType());
  double elements = 1, rows = 1;
  for (mlir::AffineExpr extent : type.getShape().getResults()) {
    rows = elements;
    elements *= evaluate(extent, sizes);
  }
  double width = byteWidth(*getDType(type.getElementType()));
  double threads = std::max(1.0, std::min<double>(rates.threads, rows));
  double valueBytes = elements * width;
  Cost cost;
  // Memory another loop touched before: from the shared cache if it fits.
  auto move = [&](double bytes) {
    bool fits = valueBytes <= rates.sharedCacheBytes;
    double rate = fits ? rates.cacheBytesPerMicrosecond * threads
                       : rates.memoryBytesPerMicrosecond;
    cost.add(Kind::Bytes, bytes / rate,
             fmt::format("{:.0f} bytes between loops, through the {}", bytes,
                         fits ? "shared cache" : "memory"));
  };
  auto launch = [&](const char *what) {
    cost.add(Kind::Launch, rates.launchMicroseconds, what);
  };
  double encode = elements / rates.encodePerMicrosecond;
  auto reduce = [&] {
    cost.add(Kind::Reduce, elements / rates.reducePerMicrosecond / threads,
             fmt::format("{:.0f} elements reduced", elements));
  };
  switch (placement) {
  case Placement::Register:
  case Placement::Tile:
    reduce();
    return cost;
  case Placement::Panel: {
    // No more threads than row panels, and each reads all of the right operand
    // once per row panel, instead of the threads together.
    tile::ContractOp product = site.producerProduct();
    auto extent = [&](unsigned i) {
      return evaluate(product.getExtents().getResult(product.getNumBatch() + i),
                      sizes);
    };
    double m = extent(0), n = extent(1), k = extent(2);
    double terms = product.getNumTerms();
    double items =
        std::max(1.0, std::ceil(m / cpugen::StagePlan::panelRows(n * width)));
    double turns = std::ceil(items / rates.threads);
    double work = m * n * k * terms / rates.productPerMicrosecond;
    double idle = work * (turns / items - 1 / rates.threads);
    double reread = n * k * terms / rates.memoryBytesPerMicrosecond;
    reduce();
    cost.add(Kind::Tiles, idle,
             fmt::format("{} for {}: {}", counted(items, "row panel"),
                         counted(rates.threads, "thread"),
                         counted(turns, "turn")));
    cost.add(Kind::Bytes, reread * std::max(items - rates.threads, 0.0) * 0.1,
             fmt::format("the right operand read by each of {:.0f} row panels",
                         items));
    return cost;
  }
  case Placement::Grid:
    launch("a second loop");
    // Where nothing is encoded, nothing is read again.
    if (site.codes)
      move(2 * valueBytes + elements);
    cost.add(
        Kind::Reduce, elements / rates.gatherPerMicrosecond / threads,
        fmt::format("{:.0f} elements reduced where they are stored", elements));
    return cost;
  case Placement::Consumer:
    // A thread copies its left rows anew for every range of items it takes.
    reduce();
    cost.add(Kind::Reencode,
             encode * (rates.rangesPerThread - 1 / rates.threads),
             fmt::format("{:.0f} elements encoded {:.0f} times by every thread",
                         elements, rates.rangesPerThread));
    if (site.producerProduct())
      move(2 * valueBytes - elements);
    return cost;
  default:
    launch("a loop of its own");
    move(site.codes ? 3 * valueBytes + elements : valueBytes);
    reduce();
    return cost;
  }
}

Peaks select::peaksOf(const CpuRates &rates) {
  Peaks peaks;
  peaks.machine =
      fmt::format("{:.0f} threads of the cost model's CPU, whose rates are "
                  "estimates",
                  rates.threads);
  peaks.bytes = rates.memoryBytesPerMicrosecond;
  peaks.operations8 = 2 * rates.productPerMicrosecond * rates.threads;
  // Half of them: floats are multiplied two to an instruction of 8-bit fours.
  peaks.operations16 = peaks.operations8 / 4;
  // About five operations to reduce or encode an element.
  peaks.scalar = 5 * rates.encodePerMicrosecond * rates.threads;
  return peaks;
}
