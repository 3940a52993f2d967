//===- Wishes.cpp - Placements that were asked for ------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/select/Wishes.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

using namespace quern;
using namespace quern::select;
using llvm::StringRef;
using tile::Placement;

Result<Wishes> Wishes::parse(StringRef text) {
  Wishes wishes;
  auto twice = [](StringRef what) {
    return fail(Errc::InvalidArgument,
                fmt::format("{} is placed twice", what.str()),
                {"give one placement for each quantization, and one for all "
                 "others"});
  };
  bool anyGeneral = false;
  for (StringRef part : llvm::split(text, ',')) {
    part = part.trim();
    StringRef name, place = part;
    bool isNamed = part.contains(':');
    if (isNamed)
      std::tie(name, place) = part.split(':');
    std::optional<Placement> placement = tile::symbolizePlacement(place);
    if ((!placement && place != "auto") || (isNamed && name.empty())) {
      std::vector<std::string> accepted = {"auto"};
      for (Placement p : allPlacements())
        accepted.push_back(tile::stringifyPlacement(p).str());
      return fail(Errc::InvalidArgument,
                  fmt::format("unknown placement \"{}\"", part.str()),
                  {fmt::format("accepted are {}; NAME:PLACE places one "
                               "quantization alone",
                               fmt::join(accepted, ", "))});
    }
    if (!isNamed) {
      if (anyGeneral)
        return twice("every quantization");
      anyGeneral = true;
      wishes.general = placement;
    } else if (!wishes.byName.emplace(name.str(), placement).second) {
      return twice(name);
    }
  }
  return wishes;
}

std::optional<size_t> Wishes::choose(SiteReport &report) {
  if (!llvm::is_contained(met, report.name))
    met.push_back(report.name);
  auto own = byName.find(report.name);
  std::optional<Placement> wanted = own != byName.end() ? own->second : general;
  for (auto [i, option] : llvm::enumerate(report.options)) {
    if (!wanted || option.placement != *wanted)
      continue;
    if (option.possible) {
      anyGranted = true;
      named[report.name].clear();
      return i;
    }
    std::string refusal =
        fmt::format("{} cannot be placed at {}: {}", report.name,
                    tile::stringifyPlacement(*wanted).str(), option.reason);
    report.refusedWish = refusal;
    if (own != byName.end())
      named.try_emplace(report.name, refusal);
    else if (!llvm::is_contained(refusals, refusal))
      refusals.push_back(std::move(refusal));
  }
  return std::nullopt;
}

Result<void> Wishes::verdict() const {
  for (const auto &[name, refusal] : named)
    if (!refusal.empty())
      return fail(Errc::InvalidArgument, refusal);
  // `separate` is where everything is that nothing was done to.
  if (general && *general != Placement::Separate && !anyGranted) {
    std::vector<std::string> reasons = refusals;
    if (met.empty())
      reasons.push_back("no dynamic quantization stands beside a product");
    return fail(Errc::InvalidArgument,
                "no quantization of the layer can be placed there",
                std::move(reasons));
  }
  for (const auto &[name, placement] : byName)
    if (!llvm::is_contained(met, name))
      return fail(
          Errc::InvalidArgument,
          fmt::format("the layer has no quantization \"{}\" to place", name),
          {met.empty() ? "no dynamic quantization stands beside a product"
                       : fmt::format("it has {}", fmt::join(met, ", "))});
  return {};
}
