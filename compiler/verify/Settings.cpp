//===- Settings.cpp - Everything a layer is verified on -------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/verify/Settings.h"

#include "runtime/device/cuda/DriverLoader.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <optional>

using namespace quern;
using namespace quern::verify;

/// The GPU that is here, if any: "cuda:sm_90a".
static std::optional<std::string> findGpu() {
  auto driver = cuda::systemDriver();
  if (!driver)
    return std::nullopt;
  cuda::DeviceOrdinal device = 0;
  int major = 0, minor = 0;
  if ((*driver)->deviceGet(&device, 0) != cuda::status::Success ||
      (*driver)->deviceGetAttribute(
          &major, cuda::device_attribute::ComputeCapabilityMajor, device) !=
          cuda::status::Success ||
      (*driver)->deviceGetAttribute(
          &minor, cuda::device_attribute::ComputeCapabilityMinor, device) !=
          cuda::status::Success)
    return std::nullopt;
  int capability = 10 * major + minor;
  return capability >= 90   ? fmt::format("cuda:sm_{}a", capability)
         : capability == 89 ? std::string("cuda:sm_89")
                            : std::string("cuda:sm_80");
}

std::vector<std::string> verify::defaultTargets() {
  std::vector<std::string> targets = {"cpu", "cpu:avx2", "cpu:generic",
                                      "sim:sm_80", "sim:sm_90a"};
  if (auto gpu = findGpu())
    targets.push_back(*gpu);
  return targets;
}

/// Where each quantization was placed: "xq:consumer,hq:panel". One name may
/// stand for several, and have several buckets: "hq:grid+separate".
static std::string placesOf(const CompileOutput &compiled) {
  std::vector<std::pair<std::string, std::vector<std::string>>> places;
  for (const QuantizationPlacement &site : compiled.quantizations)
    for (const auto &option : site.options) {
      if (!option.chosen)
        continue;
      auto known =
          std::find_if(places.begin(), places.end(), [&](const auto &place) {
            return place.first == site.value;
          });
      if (known == places.end())
        known = places.insert(known, {site.value, {}});
      std::vector<std::string> &where = known->second;
      if (std::find(where.begin(), where.end(), option.placement) ==
          where.end())
        where.push_back(option.placement);
    }
  std::string text;
  for (const auto &[name, where] : places)
    text += fmt::format("{}{}:{}", text.empty() ? "" : ",", name,
                        fmt::join(where, "+"));
  return text;
}

static std::vector<std::vector<RangeDesc>>
rangesOf(const VariantDesc &variant) {
  std::vector<std::vector<RangeDesc>> ranges;
  for (const LaunchDesc &launch : variant.launches)
    if (!launch.when.empty() &&
        std::find(ranges.begin(), ranges.end(), launch.when) == ranges.end())
      ranges.push_back(launch.when);
  return ranges;
}

/// Keeps the first of equal entries, in order.
template <typename T> static void dropRepeated(std::vector<T> &list) {
  auto end = list.begin();
  for (auto it = list.begin(); it != list.end(); ++it)
    if (std::find(list.begin(), end, *it) == end) {
      // Onto itself an entry would be lost.
      if (end != it)
        *end = std::move(*it);
      ++end;
    }
  list.erase(end, list.end());
}

namespace {

class Maker {
public:
  explicit Maker(const SubjectOptions &given) : options(given) {
    dropRepeated(options.targets);
    dropRepeated(options.placements);
    dropRepeated(options.fuse);
    dropRepeated(options.threads);
  }

  Result<Subjects> make();

private:
  Result<void> checkFusion() const;
  Result<void> addTarget(const std::string &target, bool isNamed);
  Result<void> addPlacements(const std::string &target);
  Result<void> addWishes(const std::string &target);
  Result<void> addCompiled(Setting setting, const CompileOutput &compiled,
                           bool isChosen);
  /// The quantizations, in the program that a wish makes.
  Result<std::vector<QuantizationPlacement>>
  sitesOf(const std::string &target, const std::string &wish) const;
  /// Every complete wish that begins with this one; stops at the limit.
  Result<void> findWishes(const std::string &target, const std::string &wish,
                          size_t placed, size_t limit,
                          std::vector<std::string> &wishes) const;
  Result<std::vector<std::string>>
  singleWishes(const std::string &target) const;

  bool isStopped() const { return options.isStopped && options.isStopped(); }
  Result<CompileOutput> compile(const Setting &setting) const {
    if (options.show)
      options.show(fmt::format("compiling for {}, fuse {}, placement {}",
                               setting.target, setting.fuse,
                               setting.placement));
    return compileFor(setting, options.source, options.name, options.layer);
  }

  SubjectOptions options;
  Subjects subjects;
  /// Wishes of the caller, those that some target could fulfil, and the first
  /// reason of those that none could.
  std::vector<std::string> granted;
  std::optional<Diagnostic> refusal;
};

} // namespace

Result<std::vector<QuantizationPlacement>>
Maker::sitesOf(const std::string &target, const std::string &wish) const {
  CompileRequest request;
  request.source = options.source;
  request.name = options.name;
  request.target = *Target::parse(target);
  request.settings = {"placement=" + (wish.empty() ? "auto" : wish)};
  if (!options.layer.empty())
    request.settings.push_back("layer=" + options.layer);
  request.wanted = {Stage::Tile};
  request.textsOnly = true;
  auto output = compileLayer(request);
  if (!output)
    return output.error();
  // A wish is for all of one name, and granted where one of them can be there.
  std::vector<QuantizationPlacement> sites;
  for (QuantizationPlacement &site : output->quantizations) {
    auto known =
        std::find_if(sites.begin(), sites.end(), [&](const auto &other) {
          return other.value == site.value;
        });
    if (known == sites.end())
      sites.push_back(std::move(site));
    else
      for (size_t i = 0; i < site.options.size(); ++i)
        known->options[i].possible |= site.options[i].possible;
  }
  return sites;
}

Result<void> Maker::findWishes(const std::string &target,
                               const std::string &wish, size_t placed,
                               size_t limit,
                               std::vector<std::string> &wishes) const {
  auto sites = sitesOf(target, wish);
  if (!sites) {
    // A second quantization of that name cannot be placed likewise.
    if (sites.error().code == Errc::InvalidArgument && placed > 0)
      return {};
    return sites.error();
  }
  if (placed >= sites->size()) {
    wishes.push_back(wish);
    return {};
  }
  const QuantizationPlacement &site = (*sites)[placed];
  for (const auto &option : site.options) {
    if (!option.possible || wishes.size() > limit || isStopped())
      continue;
    std::string longer = fmt::format("{}{}{}:{}", wish, wish.empty() ? "" : ",",
                                     site.value, option.placement);
    if (auto found = findWishes(target, longer, placed + 1, limit, wishes);
        !found)
      return found;
  }
  return {};
}

Result<std::vector<std::string>>
Maker::singleWishes(const std::string &target) const {
  auto sites = sitesOf(target, "");
  if (!sites)
    return sites.error();
  std::vector<std::string> wishes;
  for (const QuantizationPlacement &site : *sites)
    for (const auto &option : site.options)
      if (option.possible)
        wishes.push_back(fmt::format("{}:{}", site.value, option.placement));
  return wishes;
}

Result<void> Maker::addCompiled(Setting setting, const CompileOutput &compiled,
                                bool isChosen) {
  std::string places = placesOf(compiled);
  for (const Subject &other : subjects.list)
    if (other.setting.target == setting.target &&
        other.setting.fuse == setting.fuse && other.places == places &&
        places.find('+') == std::string::npos && !places.empty())
      return {};
  bool isCpu = Target::parse(setting.target)->kind == Target::Kind::Cpu;
  for (unsigned threads : options.threads) {
    setting.threads = threads;
    auto layer = loadFor(setting, compiled);
    if (!layer)
      return layer.error();
    const VariantDesc &variant = compiled.module.variants.front();
    subjects.list.push_back({setting, variant.target, places, isChosen,
                             std::move(*layer), rangesOf(variant)});
    if (!isCpu) // Its own threads are no setting of the layer.
      break;
  }
  return {};
}

Result<void> Maker::addPlacements(const std::string &target) {
  Setting setting{target, "all", 1, "auto"};
  auto chosen = compile(setting);
  if (!chosen)
    return chosen.error();
  if (auto added = addCompiled(setting, *chosen, true); !added)
    return added;
  bool isCpu = Target::parse(target)->kind == Target::Kind::Cpu;
  size_t limit =
      isCpu ? Subjects::maxCombinations : Subjects::maxCudaCombinations;
  std::vector<std::string> wishes;
  if (auto found = findWishes(target, "", 0, limit, wishes); !found)
    return found;
  if (wishes.size() > limit) {
    auto singles = singleWishes(target);
    if (!singles)
      return singles.error();
    wishes = std::move(*singles);
    subjects.notes.push_back(fmt::format(
        "{}: more than {} combinations of placements; each placement of each "
        "quantization is run, the others where the compiler puts them",
        target, limit));
  }
  std::string auto_ = placesOf(*chosen);
  for (const std::string &wish : wishes) {
    if (isStopped())
      return {};
    if (wish.empty() || wish == auto_)
      continue;
    setting.placement = wish;
    auto compiled = compile(setting);
    if (!compiled) {
      Diagnostic diagnostic = compiled.error();
      diagnostic.code = Errc::Internal;
      diagnostic.notes.push_back(fmt::format(
          "placement {} was said to be possible on {}", wish, target));
      return diagnostic;
    }
    if (auto added = addCompiled(setting, *compiled, false); !added)
      return added;
  }
  return {};
}

/// The placements that the caller asked for.
Result<void> Maker::addWishes(const std::string &target) {
  for (const std::string &wish : options.placements) {
    if (isStopped())
      return {};
    Setting setting{target, "all", 1, wish};
    auto compiled = compile(setting);
    if (!compiled && compiled.error().code == Errc::InvalidArgument) {
      subjects.notes.push_back(fmt::format("{}, placement {}: {}", target, wish,
                                           compiled.error().message));
      if (!refusal)
        refusal = compiled.error();
      continue;
    }
    if (!compiled)
      return compiled.error();
    granted.push_back(wish);
    if (auto added = addCompiled(setting, *compiled, wish == "auto"); !added)
      return added;
  }
  return {};
}

Result<void> Maker::addTarget(const std::string &target, bool isNamed) {
  size_t before = subjects.list.size();
  Result<void> done;
  bool all = std::count(options.placements.begin(), options.placements.end(),
                        "all") > 0;
  for (const std::string &fuse : options.fuse) {
    if (!done || isStopped())
      break;
    if (fuse == "all") {
      done = all ? addPlacements(target) : addWishes(target);
      continue;
    }
    Setting setting{target, fuse, 1, "auto"};
    auto compiled = compile(setting);
    done = compiled ? addCompiled(setting, *compiled, true)
                    : Result<void>(compiled.error());
  }
  if (!done) {
    // What the layer's text says wrong is wrong for every target.
    bool isOfTarget = done.error().code != Errc::InvalidSource &&
                      done.error().code != Errc::InvalidArgument &&
                      done.error().code != Errc::Internal;
    if (isNamed || !isOfTarget)
      return done;
    subjects.list.erase(subjects.list.begin() + before, subjects.list.end());
    subjects.notes.push_back(
        fmt::format("{} is left out: {}", target, done.error().message));
    return {};
  }
  // "cpu" may be one of the levels that follow it.
  if (!isNamed && before > 0 && subjects.list.size() > before)
    for (size_t i = 0; i < before; ++i)
      if (subjects.list[i].code == subjects.list[before].code &&
          subjects.list[i].setting.target.starts_with("cpu")) {
        subjects.list.erase(subjects.list.begin() + before,
                            subjects.list.end());
        break;
      }
  return {};
}

/// A placement that was asked for, but puts kernels together that nothing here
/// may put together, would silently not be run.
Result<void> Maker::checkFusion() const {
  if (std::find(options.fuse.begin(), options.fuse.end(), "all") !=
      options.fuse.end())
    return {};
  for (const std::string &wish : options.placements)
    if (wish != "all" && wish != "auto" && wish != "separate")
      return fail(Errc::InvalidArgument,
                  fmt::format("placement {} puts kernels together, which fuse "
                              "none forbids",
                              wish),
                  {"leave one of them out; with both, fuse all,none, it is "
                   "run where kernels are fused"});
  return {};
}

Result<Subjects> Maker::make() {
  if (auto right = checkFusion(); !right)
    return right.error();
  bool isNamed = !options.targets.empty();
  for (const std::string &target :
       isNamed ? options.targets : defaultTargets()) {
    if (auto known = Target::parse(target); !known)
      return known.error();
    if (isStopped())
      break;
    if (auto added = addTarget(target, isNamed); !added)
      return added.error();
  }
  if (refusal && granted.empty())
    return *refusal;
  if (subjects.list.empty() && !isStopped())
    return fail(Errc::Unsupported,
                fmt::format("{}: no target can be verified here", options.name),
                subjects.notes);
  return std::move(subjects);
}

Result<Subjects> verify::makeSubjects(const SubjectOptions &options) {
  return Maker(options).make();
}
