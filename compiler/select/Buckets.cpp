//===- Buckets.cpp - One program for few rows and for many ----------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/select/Buckets.h"

#include "compiler/select/Wishes.h"
#include "dialects/tile/Transforms/RangedPrograms.h"

#include "mlir/IR/OwningOpRef.h"

#include <fmt/format.h>

using namespace mlir;
using namespace quern;
using namespace quern::select;

std::optional<unsigned> select::rowSymbol(tile::ProgramOp program) {
  SmallVector<unsigned> products(program.getSymbols().size(), 0);
  SmallVector<bool> fixed(products.size(), false);
  for (auto buffer : program.getBody().getOps<tile::BufferOp>()) {
    auto type = cast<tile::BufferType>(buffer.getResult().getType());
    if (buffer.getRole() == tile::BufferRole::Weight)
      for (AffineExpr extent : type.getShape().getResults())
        extent.walk([&](AffineExpr part) {
          if (auto symbol = dyn_cast<AffineSymbolExpr>(part))
            fixed[symbol.getPosition()] = true;
        });
  }
  for (auto launch : program.getBody().getOps<tile::LaunchOp>()) {
    tile::ContractOp product = tile::getKernel(launch).getContract();
    if (!product || launch.getPhase() == tile::LaunchPhase::Prepare)
      continue;
    AffineExpr rows = product.getExtents().getResult(product.getNumBatch());
    auto symbol = dyn_cast<AffineSymbolExpr>(rows);
    if (symbol && !fixed[symbol.getPosition()])
      ++products[symbol.getPosition()];
  }
  auto most = llvm::max_element(products);
  if (most == products.end() || *most == 0)
    return std::nullopt;
  return most - products.begin();
}

/// The symbol's range in parts that end where `ends` say.
static SmallVector<tile::SymbolRange>
partsOf(tile::ProgramOp program, unsigned number, ArrayRef<int64_t> ends) {
  auto symbol = cast<tile::SymbolAttr>(program.getSymbols()[number]);
  int64_t multiple = std::max<int64_t>(symbol.getMultiple(), 1);
  SmallVector<tile::SymbolRange> parts;
  int64_t begin = symbol.getMin();
  for (int64_t end : ends) {
    // Nobody has a number of rows between two multiples.
    int64_t last = end / multiple * multiple;
    // No rows at all are no reason for kernels.
    if (last < std::max(begin, multiple) || last >= symbol.getMax())
      continue;
    parts.push_back({number, begin, last});
    begin = last + multiple;
  }
  if (begin > symbol.getMax())
    parts.back().max = symbol.getMax();
  else
    parts.push_back({number, begin, symbol.getMax()});
  return parts;
}

namespace {

/// The program cut to a range, and placed.
struct Part {
  OwningOpRef<ModuleOp> module;
  tile::SymbolRange range;
  std::vector<SiteReport> sites;
};

} // namespace

static Result<Part> placePart(ModuleOp whole, const tile::SymbolRange &range,
                              const PlacementModel &model,
                              const PlacementOptions &options, Wishes &wishes) {
  Part part{whole.clone(), range, {}};
  tile::narrowSymbol(*part.module, range);
  PlacementOptions own = options;
  llvm::erase_if(own.predictFor, [&](const Sizes &sizes) {
    return sizes[range.symbol] < range.min || sizes[range.symbol] > range.max;
  });
  auto sites = placeQuantizations(*part.module, model, own, wishes);
  if (!sites)
    return sites.error();
  part.sites = std::move(*sites);
  return part;
}

Result<std::vector<Bucket>>
select::placeInBuckets(ModuleOp module, const PlacementModel &model,
                       const PlacementOptions &options,
                       const BucketOptions &buckets) {
  if (!llvm::hasSingleElement(module.getOps<tile::ProgramOp>()))
    return fail(Errc::Internal, "a tile module holds one program");
  Result<Wishes> wishes = Wishes::parse(options.wanted);
  if (!wishes)
    return wishes.error();
  tile::ProgramOp program = *module.getOps<tile::ProgramOp>().begin();
  std::vector<Bucket> result;
  auto placeWhole = [&]() -> Result<std::vector<Bucket>> {
    auto sites = placeQuantizations(module, model, options, *wishes);
    if (!sites)
      return sites.error();
    if (Result<void> granted = wishes->verdict(); !granted)
      return granted.error();
    result.push_back({std::nullopt, std::move(*sites)});
    return std::move(result);
  };
  std::optional<unsigned> symbol = rowSymbol(program);
  std::vector<int64_t> ends = model.bucketEnds();
  if (buckets.ends && !ends.empty())
    ends = *buckets.ends;
  if (!symbol || ends.empty())
    return placeWhole();

  auto schedule = [&](tile::KernelOp kernel) { return model.schedule(kernel); };
  std::vector<Part> parts;
  for (const tile::SymbolRange &range : partsOf(program, *symbol, ends)) {
    Result<Part> part = placePart(module, range, model, options, *wishes);
    if (!part)
      return part.error();
    // As wide as neighbours are alike, and stay so together.
    while (!parts.empty() &&
           tile::areAlike(*parts.back().module, *part->module, schedule)) {
      tile::SymbolRange both = {*symbol, parts.back().range.min,
                                part->range.max};
      Wishes before = *wishes;
      Result<Part> joined = placePart(module, both, model, options, *wishes);
      if (!joined)
        return joined.error();
      if (!tile::areAlike(*joined->module, *part->module, schedule)) {
        *wishes = before;
        break;
      }
      parts.pop_back();
      part = std::move(joined);
    }
    parts.push_back(std::move(*part));
  }
  if (parts.size() == 1)
    return placeWhole();
  if (Result<void> granted = wishes->verdict(); !granted)
    return granted.error();
  SmallVector<tile::RangedProgram> programs;
  for (Part &part : parts) {
    programs.push_back({*part.module, part.range});
    result.push_back({part.range, std::move(part.sites)});
  }
  tile::mergePrograms(module, programs, schedule);
  return std::move(result);
}
