//===- Placement.cpp - Where dynamic quantizations are computed -----------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/select/Placement.h"

#include "compiler/select/Wishes.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

using namespace mlir;
using namespace quern;
using namespace quern::select;
using tile::Placement;

std::span<const Placement> select::allPlacements() {
  static constexpr Placement all[] = {
      Placement::Register, Placement::Tile,  Placement::Cluster,
      Placement::Grid,     Placement::Panel, Placement::Consumer,
      Placement::Separate,
  };
  return all;
}

const char *select::name(Cost::Kind kind) {
  switch (kind) {
  case Cost::Kind::Bytes:
    return "bytes";
  case Cost::Kind::Launch:
    return "launch";
  case Cost::Kind::Waiting:
    return "waiting";
  case Cost::Kind::Tiles:
    return "tiles";
  case Cost::Kind::Reduce:
    return "reduce";
  case Cost::Kind::Reencode:
    return "reencode";
  }
  return "?";
}

std::string Site::name() const {
  // Made by a map of blocks that declares both codes and scales, or scales.
  tile::KernelOp kernel = tile::getKernel(quantize);
  Value named = codes;
  if (!named)
    for (auto [i, buffer] : llvm::enumerate(quantize->getOperands()))
      if (kernel.getWrites()[i])
        named = buffer;
  if (!named)
    return "value";
  // A result's buffer has the result's name, which the text may have besides.
  auto operands = quantize->getOperands();
  unsigned index = llvm::find(operands, named) - operands.begin();
  for (Operation *user : kernel.getBody().getArgument(index).getUsers())
    if (isa<tile::StoreOp>(user))
      if (auto text = user->getLoc()->findInstanceOf<NameLoc>())
        return text.getName().str();
  auto declared = named.getDefiningOp<tile::BufferOp>();
  return declared ? declared.getName().str() : "value";
}

tile::ContractOp Site::producerProduct() const {
  return producer ? tile::getKernel(producer).getContract()
                  : tile::ContractOp();
}

tile::ContractOp Site::consumerProduct() const {
  return consumer ? tile::getKernel(consumer).getContract()
                  : tile::ContractOp();
}

static bool isCode(Value buffer) {
  Type type = cast<tile::BufferType>(buffer.getType()).getElementType();
  return type.getIntOrFloatBitWidth() == 8;
}

/// The site a launch is, if it quantizes beside a product.
static std::optional<Site> siteOf(tile::ProgramOp program,
                                  tile::LaunchOp launch) {
  tile::KernelOp kernel = tile::getKernel(launch);
  if (launch.getPhase() != tile::LaunchPhase::Run || kernel.getContract())
    return std::nullopt;
  // Of several stages the first reads what a product made.
  auto stage = cast<tile::BlocksOp>(kernel.getStages().front());
  Site site;
  site.quantize = launch;
  site.levels = tile::getReductionLevels(stage);
  // The codes: what the map stores of the most elements.
  for (auto [i, buffer] : llvm::enumerate(launch.getBuffers())) {
    if (!kernel.getWrites()[i])
      continue;
    bool byElement = false;
    for (Operation *user : kernel.getBody().getArgument(i).getUsers())
      byElement |=
          isa<tile::StoreOp>(user) && isa<tile::MapOp>(user->getParentOp());
    if (byElement && isCode(buffer))
      site.codes = buffer;
  }
  if (site.codes) {
    auto readers = tile::getReaders(program, site.codes);
    if (readers.size() == 1 && tile::getKernel(readers[0]).getContract() &&
        tile::getWriter(program, site.codes) == launch)
      site.consumer = readers[0];
  }
  if (site.levels.levels.empty() && !site.codes)
    return std::nullopt;
  // The value: what a product made, or else what is reduced or encoded.
  for (auto [i, buffer] : llvm::enumerate(launch.getBuffers())) {
    if (kernel.getWrites()[i])
      continue;
    tile::LaunchOp writer = tile::getWriter(program, buffer);
    BlockArgument argument = kernel.getBody().getArgument(i);
    bool byElement = llvm::any_of(argument.getUsers(), [](Operation *user) {
      return isa<tile::ReduceOp, tile::MapOp>(user->getParentOp());
    });
    if (!byElement)
      continue;
    bool ofProduct = writer && tile::getKernel(writer).getContract();
    if (!site.value || (ofProduct && !site.producerProduct())) {
      site.value = buffer;
      site.producer = writer;
    }
  }
  if (!site.value || (!site.producerProduct() && !site.consumerProduct()))
    return std::nullopt;
  auto operands = launch.getBuffers();
  unsigned index = llvm::find(operands, site.value) - operands.begin();
  site.geometry = tile::getGeometry(stage, kernel.getBody().getArgument(index),
                                    site.irregular);
  return site;
}

/// The site of the `number`-th launch of the program, which stays where it is
/// while those behind it change.
static std::optional<Site> siteAt(tile::ProgramOp program, unsigned number) {
  auto launches = program.getBody().getOps<tile::LaunchOp>();
  for (auto [i, launch] : llvm::enumerate(launches))
    if (i == number)
      return siteOf(program, launch);
  return std::nullopt;
}

std::vector<Sizes> select::spread(tile::ProgramOp program) {
  std::vector<Sizes> result;
  for (int64_t wanted : {1, 16, 64, 512}) {
    Sizes sizes;
    for (Attribute attr : program.getSymbols()) {
      auto symbol = cast<tile::SymbolAttr>(attr);
      int64_t multiple = std::max<int64_t>(symbol.getMultiple(), 1);
      int64_t most = symbol.getMax() / multiple * multiple;
      int64_t size = std::max<int64_t>({wanted, symbol.getMin(), 1});
      sizes.push_back(
          std::min((size + multiple - 1) / multiple * multiple, most));
    }
    if (!llvm::is_contained(result, sizes))
      result.push_back(sizes);
  }
  return result;
}

/// Whether the placement works out, tried on a copy, which is left there.
static std::string tryOn(ModuleOp module, unsigned number,
                         const PlacementModel &model, Placement placement,
                         OwningOpRef<ModuleOp> &copy) {
  copy = module.clone();
  tile::ProgramOp program = *copy->getOps<tile::ProgramOp>().begin();
  return model.apply(*siteAt(program, number), placement);
}

/// What is predicted of an option that is possible, in the program it leaves.
static void predict(Option &option, const Site &site, ModuleOp placed,
                    const PlacementModel &model,
                    const std::vector<Sizes> &predictFor) {
  for (const Sizes &at : predictFor) {
    option.predicted.push_back(model.costOf(site, option.placement, at));
    Result<ProgramTraffic> traffic = model.traffic(placed, at);
    option.traffic.push_back(traffic ? std::move(*traffic) : ProgramTraffic());
  }
}

/// What predictions are made of: the names and sizes of the value and codes.
static void describeValue(SiteReport &report, const Site &site,
                          const std::vector<Sizes> &predictFor) {
  auto nameOf = [](Value buffer) -> std::string {
    auto declared = buffer.getDefiningOp<tile::BufferOp>();
    if (!declared)
      return {};
    return declared.getPart() == "values"
               ? declared.getName().str()
               : (declared.getName() + "." + declared.getPart()).str();
  };
  report.value = nameOf(site.value);
  report.codes = site.codes ? nameOf(site.codes) : std::string();
  tile::LaunchOp launch = site.quantize;
  auto writes = tile::getKernel(launch).getWrites();
  for (auto [i, buffer] : llvm::enumerate(launch.getBuffers()))
    if (auto declared = buffer.getDefiningOp<tile::BufferOp>();
        declared && writes[i] &&
        (declared.getPart() == "scales" || declared.getPart() == "zeros"))
      report.scales.push_back(nameOf(buffer));
  report.ofProduct = static_cast<bool>(site.producerProduct());
  auto type = cast<tile::BufferType>(site.value.getType());
  for (const Sizes &at : predictFor) {
    double bytes = byteWidth(*getDType(type.getElementType()));
    for (AffineExpr extent : type.getShape().getResults())
      bytes *= evaluate(extent, at);
    report.valueBytes.push_back(bytes);
  }
}

std::string select::counted(double number, const char *noun) {
  return fmt::format("{:.0f} {}{}", number, noun, number == 1 ? "" : "s");
}

double select::evaluate(AffineExpr extent, const Sizes &sizes) {
  auto value = tile::toSymExpr(extent).evaluate(sizes);
  return value ? static_cast<double>(*value) : 0.0;
}

double select::multiplyAdds(const Site &site, const Sizes &sizes) {
  double sum = 0;
  for (tile::ContractOp product :
       {site.producerProduct(), site.consumerProduct()}) {
    if (!product)
      continue;
    double one = product.getNumTerms();
    for (AffineExpr extent : product.getExtents().getResults())
      one *= evaluate(extent, sizes);
    sum += one;
  }
  return sum;
}

/// The option that makes the layer slowest, beside the best one, least over all
/// sizes: there is one kernel for all of them.
static size_t leastRegret(const SiteReport &report) {
  size_t best = 0;
  double bestRegret = 0;
  bool any = false;
  for (auto [i, option] : llvm::enumerate(report.options)) {
    if (!option.possible)
      continue;
    double regret = 0;
    for (size_t s = 0; s < report.sizes.size(); ++s) {
      double least = option.costs[s];
      for (const Option &other : report.options)
        if (other.possible)
          least = std::min(least, other.costs[s]);
      double base = report.products[s] + 0.5;
      regret = std::max(regret, (base + option.costs[s]) / (base + least));
    }
    if (!any || regret < bestRegret) {
      best = i;
      bestRegret = regret;
      any = true;
    }
  }
  return best;
}

static SiteReport enumerate(ModuleOp module, Site site, unsigned number,
                            const PlacementModel &model,
                            std::vector<Sizes> sizes,
                            const std::vector<Sizes> &predictFor) {
  SiteReport report{.location = site.quantize.getLoc(),
                    .name = site.name(),
                    .sizes = std::move(sizes),
                    .products = {},
                    .options = {},
                    .value = {},
                    .codes = {},
                    .scales = {},
                    .refusedWish = {},
                    .valueBytes = {}};
  describeValue(report, site, predictFor);
  for (const Sizes &at : report.sizes)
    report.products.push_back(model.products(site, at));
  // Between two levels tiles would have to meet, or pass over all they hold.
  constexpr size_t mostLevels = 4;
  size_t levels = site.levels.levels.size();
  for (Placement placement : allPlacements()) {
    Option option;
    option.placement = placement;
    if (levels > mostLevels && placement != Placement::Separate)
      option.reason =
          fmt::format("{} reductions wait for each other; a kernel of their "
                      "own passes over the data for each",
                      levels);
    else
      option.reason = model.refuse(site, placement);
    OwningOpRef<ModuleOp> placed;
    if (option.reason.empty() && placement != Placement::Separate)
      option.reason = tryOn(module, number, model, placement, placed);
    option.possible = option.reason.empty();
    if (option.possible)
      for (const Sizes &at : report.sizes)
        option.costs.push_back(model.cost(site, placement, at));
    if (option.possible)
      predict(option, site, placed ? *placed : module, model, predictFor);
    report.options.push_back(std::move(option));
  }
  return report;
}

Result<std::vector<SiteReport>>
select::placeQuantizations(ModuleOp module, const PlacementModel &model,
                           const PlacementOptions &options, Wishes &wishes) {
  std::vector<SiteReport> reports;
  tile::ProgramOp program = *module.getOps<tile::ProgramOp>().begin();
  std::vector<Sizes> sizes = spread(program);
  for (unsigned number = 0;;) {
    auto launches = program.getBody().getOps<tile::LaunchOp>();
    if (number >= std::distance(launches.begin(), launches.end()))
      break;
    std::optional<Site> site = siteAt(program, number);
    if (!site) {
      ++number;
      continue;
    }
    SiteReport report =
        enumerate(module, *site, number, model, sizes, options.predictFor);
    std::optional<size_t> wished = wishes.choose(report);
    size_t chosen = wished.value_or(leastRegret(report));
    report.isWished = wished.has_value();
    report.options[chosen].chosen = true;
    Placement placement = report.options[chosen].placement;
    if (placement != Placement::Separate)
      if (std::string why = model.apply(*site, placement); !why.empty())
        return fail(Errc::Internal,
                    fmt::format("placing {} failed after it had been tried: {}",
                                report.name, why));
    reports.push_back(std::move(report));
    // A launch that is gone leaves its number to the next.
    auto left = program.getBody().getOps<tile::LaunchOp>();
    unsigned remaining = std::distance(left.begin(), left.end());
    auto again = number < remaining ? siteAt(program, number) : std::nullopt;
    if (!again || again->name() == reports.back().name)
      ++number;
  }
  return reports;
}
