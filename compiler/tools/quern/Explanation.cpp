//===- Explanation.cpp - All that is said of a layer ----------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/tools/quern/Explanation.h"

#include "compiler/tools/quern/LayerRun.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

using namespace quern;
using namespace quern::tool;

//===----------------------------------------------------------------------===//
// Numbers
//===----------------------------------------------------------------------===//

/// Three digits with a decimal prefix.
static std::string scaled(double number, const char *unit) {
  static constexpr const char *prefixes[] = {"", "k", "M", "G", "T", "P", "E"};
  size_t prefix = 0;
  while (std::abs(number) >= 999.5 && prefix + 1 < std::size(prefixes)) {
    number /= 1000;
    ++prefix;
  }
  // Whole numbers stay whole.
  std::string text = prefix == 0 && number == std::floor(number)
                         ? fmt::format("{:.0f}", number)
                         : fmt::format("{:.3g}", number);
  return fmt::format("{} {}{}", text, prefixes[prefix], unit);
}

std::string quern::tool::bytesText(double bytes) { return scaled(bytes, "B"); }

std::string quern::tool::countText(double number) {
  std::string text = scaled(number, "");
  while (!text.empty() && text.back() == ' ')
    text.pop_back();
  return text;
}

std::string quern::tool::timeText(double microseconds) {
  double rounded = std::round(microseconds * 10) / 10;
  if (rounded >= 1 || microseconds == 0)
    return fmt::format("{:.1f} us", rounded);
  return fmt::format("{:.2g} us", microseconds);
}

//===----------------------------------------------------------------------===//
// Buffers and kernels
//===----------------------------------------------------------------------===//

static const char *roleName(BufferRole role) {
  switch (role) {
  case BufferRole::Input:
    return "input";
  case BufferRole::Weight:
    return "weight";
  case BufferRole::Output:
    return "output";
  case BufferRole::Temporary:
    return "temporary";
  case BufferRole::Packed:
    return "packed";
  case BufferRole::State:
    return "state";
  }
  return "?";
}

static std::string bufferName(const BufferDesc &buffer) {
  return buffer.part == "values" || buffer.part.empty()
             ? buffer.name
             : buffer.name + "." + buffer.part;
}

/// `f16[M, 4096]`
static std::string bufferType(const BufferDesc &buffer,
                              const std::vector<std::string> &names) {
  std::vector<std::string> shape;
  for (const SymExpr &extent : buffer.shape)
    shape.push_back(extent.print(names));
  return fmt::format("{}[{}]", name(buffer.dtype), fmt::join(shape, ", "));
}

/// The buffer's size for these symbol values, in bytes.
static Result<int64_t> bufferBytes(const BufferDesc &buffer,
                                   const std::vector<int64_t> &symbols) {
  SymExpr bytes = SymExpr::constant(byteWidth(buffer.dtype));
  for (size_t d = 0; d < buffer.shape.size(); ++d) {
    bool shared = isPacked(buffer.dtype) && d + 1 == buffer.shape.size();
    bytes = bytes *
            (shared ? SymExpr::ceilDiv(buffer.shape[d], SymExpr::constant(2))
                    : buffer.shape[d]);
  }
  return bytes.evaluate(symbols);
}

/// Whether a kernel of a plan was made of this one of the program: it has its
/// name, on a GPU with a hash of its text behind.
static bool isMadeOf(std::string_view kernel, const std::string &ofProgram) {
  if (!kernel.starts_with(ofProgram))
    return false;
  kernel.remove_prefix(ofProgram.size());
  if (kernel.empty())
    return true;
  return kernel.size() == 9 && kernel[0] == '_' &&
         kernel.find_first_not_of("0123456789abcdef", 1) == kernel.npos;
}

/// Finds the program's launches in the plan, which has them in order, on a CPU
/// with others between them that pack operands.
static void numberByProgram(Explanation &explanation) {
  const std::vector<std::string> &launches = explanation.report().launches;
  size_t next = 0;
  for (ExplainedKernel &kernel : explanation.kernels)
    if (next < launches.size() && isMadeOf(kernel.desc->name, launches[next]))
      kernel.ofProgram = next++;
  if (next == launches.size() || launches.size() != explanation.kernels.size())
    return;
  // Names that were changed to be symbols of CUDA C++; nothing was added.
  for (size_t i = 0; i < launches.size(); ++i)
    explanation.kernels[i].ofProgram = i;
}

Explanation
quern::tool::explainPlan(const CompiledFile &file, const VariantDesc &variant,
                         const ExplainOptions &options,
                         const std::vector<std::optional<int64_t>> &given) {
  Explanation explanation(file, variant, options);
  explanation.given = given;
  std::vector<std::string> names;
  std::vector<int64_t> values;
  bool known = true;
  for (size_t s = 0; s < given.size(); ++s) {
    names.push_back(file.compiled.module.symbols[s].name);
    known &= given[s].has_value();
    values.push_back(given[s].value_or(0));
  }
  unsigned numbers[2] = {0, 0};
  for (const LaunchDesc &launch : variant.launches) {
    ExplainedKernel kernel{
        launch.phase, &variant.kernels[launch.kernel],
        {},           ++numbers[launch.phase == LaunchPhase::Prepare],
        launch.when,  {}};
    for (uint32_t buffer : launch.buffers)
      kernel.buffers.push_back(bufferName(variant.buffers[buffer]));
    explanation.kernels.push_back(std::move(kernel));
  }
  numberByProgram(explanation);
  for (uint32_t number = 0; number < variant.buffers.size(); ++number) {
    const BufferDesc &desc = variant.buffers[number];
    ExplainedBuffer buffer{
        roleName(desc.role), bufferName(desc), bufferType(desc, names), {}, {}};
    bool first = true;
    for (const LaunchDesc &launch : variant.launches) {
      if (std::find(launch.buffers.begin(), launch.buffers.end(), number) ==
          launch.buffers.end())
        continue;
      if (first)
        buffer.when = launch.when;
      else if (buffer.when != launch.when)
        buffer.when.clear();
      first = false;
    }
    if (known)
      if (auto bytes = bufferBytes(desc, values))
        buffer.bytes = *bytes;
    explanation.buffers.push_back(std::move(buffer));
  }
  return explanation;
}

std::string Explanation::sizesText(const std::vector<int64_t> &sizes) const {
  std::vector<std::string> parts;
  for (size_t s = 0; s < sizes.size(); ++s)
    parts.push_back(
        fmt::format("{} = {}", output().module.symbols[s].name, sizes[s]));
  return fmt::format("{}", fmt::join(parts, ", "));
}

std::string Explanation::rangeText(const std::vector<RangeDesc> &when) const {
  return tool::rangeText(when, output().module.symbols);
}

bool Explanation::isShown(const std::vector<RangeDesc> &when) const {
  const std::vector<Prediction> &predictions = report().predictions;
  if (predictions.empty())
    return std::all_of(when.begin(), when.end(), [&](const RangeDesc &range) {
      std::optional<int64_t> size = given[range.symbol];
      return !size || (*size >= range.min && *size <= range.max);
    });
  return std::any_of(predictions.begin(), predictions.end(),
                     [&](const Prediction &prediction) {
                       return lieWithin(prediction.sizes, when);
                     });
}

std::vector<std::vector<RangeDesc>> Explanation::ranges() const {
  std::vector<std::vector<RangeDesc>> found;
  for (const ExplainedKernel &kernel : kernels)
    if (!kernel.prepares() &&
        std::find(found.begin(), found.end(), kernel.when) == found.end())
      found.push_back(kernel.when);
  return found;
}

const sim::Counters *
Explanation::countedOf(size_t launch, const std::vector<int64_t> &sizes) const {
  if (!counted || counted->values != sizes)
    return nullptr;
  // Launches without a block were not made, and leave no record.
  size_t record = 0;
  for (size_t i = 0; i < kernels.size(); ++i) {
    if (record == counted->launches.size())
      return nullptr;
    if (!variant.launches[i].happens(sizes) ||
        counted->launches[record].kernel != kernels[i].desc->name)
      continue;
    if (i == launch)
      return &counted->launches[record].counters;
    ++record;
  }
  return nullptr;
}

const select::KernelTraffic *
Explanation::trafficOf(const Prediction &prediction, size_t launch) const {
  const auto &all = prediction.traffic.kernels;
  std::optional<size_t> number = kernels[launch].ofProgram;
  return number && *number < all.size() && all[*number].unknown.empty() &&
                 !all[*number].isSkipped
             ? &all[*number]
             : nullptr;
}

const select::KernelTraffic *Explanation::partsOf(size_t launch) const {
  std::optional<size_t> number = kernels[launch].ofProgram;
  for (const Prediction &prediction : report().predictions)
    if (number && *number < prediction.traffic.kernels.size())
      return &prediction.traffic.kernels[*number];
  return nullptr;
}

std::optional<size_t> Explanation::launchOf(uint32_t ofProgram) const {
  for (size_t i = 0; i < kernels.size(); ++i)
    if (kernels[i].ofProgram == ofProgram)
      return i;
  return std::nullopt;
}

std::vector<std::string> Explanation::unknownOf(size_t launch) const {
  std::vector<std::string> reasons;
  std::optional<size_t> number = kernels[launch].ofProgram;
  if (!number) {
    if (!report().predictions.empty())
      reasons.push_back(kernels[launch].prepares()
                            ? "it packs an operand, once when weights are bound"
                            : "it packs an operand for another kernel");
    return reasons;
  }
  // Sizes by their reason, in order.
  std::vector<std::pair<std::string, std::vector<std::string>>> groups;
  size_t predictions = 0;
  for (const Prediction &prediction : report().predictions) {
    const auto &all = prediction.traffic.kernels;
    if (!prediction.unknown.empty()) // Said once, of all kernels.
      continue;
    ++predictions;
    std::string reason = *number < all.size()
                             ? all[*number].unknown
                             : "the prediction knows no such kernel";
    if (reason.empty())
      continue;
    auto known =
        std::find_if(groups.begin(), groups.end(),
                     [&](const auto &group) { return group.first == reason; });
    if (known == groups.end())
      known = groups.insert(known, {reason, {}});
    known->second.push_back(sizesText(prediction.sizes));
  }
  for (const auto &[reason, sizes] : groups)
    reasons.push_back(
        sizes.size() == predictions
            ? reason
            : fmt::format("at {}: {}", fmt::join(sizes, ", "), reason));
  return reasons;
}

double Explanation::shareOf(const Prediction &prediction, size_t launch) const {
  double sum = 0, own = 0;
  for (size_t i = 0; i < kernels.size(); ++i) {
    const select::KernelTraffic *traffic = trafficOf(prediction, i);
    if (!traffic || kernels[i].prepares())
      continue;
    double time = select::rooflineOf(*traffic, report().peaks).time();
    sum += time;
    if (i == launch)
      own = time;
  }
  return sum > 0 ? own / sum : 0;
}

std::string Explanation::kernelText(size_t launch) const {
  return fmt::format("{}kernel {}",
                     kernels[launch].prepares() ? "preparing " : "",
                     kernels[launch].number);
}

std::vector<const ScalePlacement *>
Explanation::placementsOf(const std::string &operand) const {
  std::vector<const ScalePlacement *> found;
  for (const ScalePlacement &placement : output().placements)
    if (placement.text.starts_with(operand + " of "))
      found.push_back(&placement);
  return found;
}

//===----------------------------------------------------------------------===//
// Counting
//===----------------------------------------------------------------------===//

/// A size to count at where none is given: small, and not a power of two.
static int64_t smallSize(const SymbolDesc &symbol) {
  int64_t multiple = std::max<int64_t>(symbol.multiple, 1);
  int64_t wanted = std::clamp<int64_t>(20, symbol.min, symbol.max);
  int64_t size = (wanted + multiple - 1) / multiple * multiple;
  return size <= symbol.max ? size : symbol.max / multiple * multiple;
}

Result<Counted>
quern::tool::count(const ExplainOptions &options, const CompiledFile &file,
                   const std::vector<std::optional<int64_t>> &given) {
  RunOptions running;
  static_cast<LayerOptions &>(running) = options;
  running.set.clear();
  Counted counted;
  const std::vector<SymbolDesc> &symbols = file.compiled.module.symbols;
  for (size_t s = 0; s < symbols.size(); ++s) {
    int64_t size = given[s].value_or(smallSize(symbols[s]));
    running.set.push_back(fmt::format("{}={}", symbols[s].name, size));
    counted.sizes.push_back(fmt::format("{} = {}", symbols[s].name, size));
    counted.values.push_back(size);
  }
  LayerRun run(running);
  if (auto done = run.execute(file); !done)
    return done.error();
  counted.launches = std::move(run.records);
  return counted;
}

//===----------------------------------------------------------------------===//
// Why
//===----------------------------------------------------------------------===//

static double totalOf(const std::vector<QuantizationPlacement::Term> &terms) {
  double sum = 0;
  for (const auto &term : terms)
    sum += term.microseconds;
  return sum;
}

/// "3.0 us (waiting 3.0 us)"
static std::string
costText(const std::vector<QuantizationPlacement::Term> &terms) {
  std::vector<std::string> parts;
  for (const auto &term : terms)
    parts.push_back(
        fmt::format("{} {}", term.kind, timeText(term.microseconds)));
  return fmt::format("{}{}", timeText(totalOf(terms)),
                     parts.empty()
                         ? std::string()
                         : fmt::format(" ({})", fmt::join(parts, ", ")));
}

std::vector<std::string>
quern::tool::whyChosen(const Explanation &explanation,
                       const QuantizationPlacement &site) {
  std::vector<std::string> sentences;
  const QuantizationPlacement::Option *chosen = nullptr;
  for (const auto &option : site.options)
    if (option.chosen)
      chosen = &option;
  if (!chosen || chosen->terms.size() != site.predictedFor.size())
    return sentences;
  for (size_t s = 0; s < site.predictedFor.size(); ++s) {
    double own = totalOf(chosen->terms[s]);
    std::vector<std::string> dearer, cheaper, equal;
    std::vector<const QuantizationPlacement::Option *> others;
    for (const auto &option : site.options)
      if (option.possible && &option != chosen)
        others.push_back(&option);
    std::sort(others.begin(), others.end(), [&](const auto *a, const auto *b) {
      return totalOf(a->terms[s]) < totalOf(b->terms[s]);
    });
    for (const auto *other : others) {
      const QuantizationPlacement::Option &option = *other;
      double cost = totalOf(option.terms[s]);
      if (cost == own)
        equal.push_back(option.placement);
      else
        (cost < own ? cheaper : dearer)
            .push_back(fmt::format("{} {}", option.placement,
                                   costText(option.terms[s])));
    }
    std::string at = explanation.sizesText(site.predictedFor[s]);
    std::string text =
        fmt::format("{}{} costs {} more than a static scale",
                    at.empty() ? "" : "at " + at + " ", chosen->placement,
                    costText(chosen->terms[s]));
    if (others.empty())
      text += "; nothing else is possible";
    if (!equal.empty())
      text += fmt::format("; so does {}", fmt::join(equal, ", and "));
    if (!dearer.empty())
      text += fmt::format("; dearer: {}", fmt::join(dearer, "; "));
    if (!cheaper.empty())
      text += fmt::format(
          "; cheaper here: {}{}", fmt::join(cheaper, "; "),
          site.isWished ? ", but it was asked for"
                        : ", but slower at worst over the sizes there are");
    sentences.push_back(std::move(text));
  }
  if (!site.refusedWish.empty())
    sentences.push_back("not where it was asked for: " + site.refusedWish);
  return sentences;
}
