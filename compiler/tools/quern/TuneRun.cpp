//===- TuneRun.cpp - Candidates and the model's choice in turns -----------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/tools/quern/Bench.h"
#include "compiler/tools/quern/DrawnOperands.h"
#include "compiler/tools/quern/Progress.h"
#include "compiler/tools/quern/Request.h"
#include "compiler/tools/quern/Tune.h"
#include "runtime/measure/LaunchTimer.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <cmath>

using namespace quern;
using namespace quern::measure;
using namespace quern::tool;

using Clock = std::chrono::steady_clock;

bool Trial::isBetter() const {
  bool faster = false, slower = false;
  for (const Pairs &pairs : sizes) {
    faster |= pairs.isFaster();
    slower |= pairs.isSlower();
  }
  return refused.empty() && faster && !slower;
}

double Trial::gain() const {
  double sum = 0;
  for (const Pairs &pairs : sizes)
    sum += std::log(std::max(pairs.ratio(), 1e-9));
  return sizes.empty() ? 1 : std::exp(sum / double(sizes.size()));
}

cpugen::ScheduleEntry
TunedProduct::entryOf(const cpugen::Blocking &blocking) const {
  cpugen::ScheduleEntry entry;
  entry.product = product;
  entry.minRows = rows.front();
  entry.maxRows = rows.back();
  entry.blocking = blocking;
  return entry;
}

namespace {

/// The layer as one module has it.
struct Side {
  CompileOutput compiled;
  std::optional<LaunchTimer> timer;
  std::optional<Weights> weights;
  std::optional<Context> context;
};

class Tuner {
public:
  explicit Tuner(const TuneOptions &options) : options(options) {}
  Result<TuneReport> tune();

private:
  /// One for each product, where it has one.
  using Trials = std::vector<std::optional<Trial>>;

  Result<void> checkOptions() const;
  Result<Side> compile(const Trials *trials);
  Result<void> findSizes(const BenchSizes &wanted);
  Result<void> findProducts();
  Result<void> prepare(size_t number, Side &other);
  Result<std::vector<double>> sample(Side &side);
  Result<void> compare(size_t number, Side &other, Trials &trials);
  Result<void> run(Trials trials, const std::string &step);
  Result<void> confirm();

  const TuneOptions &options;
  TuneReport report;
  LayerRequest request;
  cpugen::CpuTarget target;
  std::shared_ptr<Executor> executor;
  std::optional<Oracle> oracle;
  std::vector<std::vector<int64_t>> cases; ///< Values of the symbols.
  Side model;
  DrawnOperands operands;
  std::optional<size_t> drawnFor; ///< The case that they are of.
  unsigned runsPerSample = 1;
  Progress progress;
};

} // namespace

Result<void> Tuner::checkOptions() const {
  auto wanted = Target::parse(options.target);
  if (!wanted)
    return wanted.error();
  if (wanted->kind != Target::Kind::Cpu)
    return fail(Errc::Unsupported,
                fmt::format("quern tune measures products on CPUs, not on {}",
                            options.target),
                {"kernels for GPUs have no sizes to tune"});
  if (unsigned cpus = availableCpus(); options.threads > cpus)
    return fail(Errc::InvalidArgument,
                fmt::format("--threads {}: this process may use {}",
                            options.threads, countOf(cpus, "CPU")),
                {"more threads than CPUs wait for each other"});
  return options.output.empty() ? Result<void>()
                                : checkWritable(options.output);
}

/// As the model has it, or with a trial of some products.
Result<Side> Tuner::compile(const Trials *trials) {
  CompileRequest wanted = request.compile;
  if (trials) {
    cpugen::Schedules record;
    record.target = report.target;
    record.caches = report.caches;
    for (size_t p = 0; p < report.products.size(); ++p) {
      const TunedProduct &product = report.products[p];
      const std::optional<Trial> &trial = (*trials)[p];
      record.entries.push_back(
          product.entryOf(trial ? trial->blocking : product.model));
    }
    wanted.settings.push_back("tuned=" + record.print());
  }
  Side side;
  auto compiled = compileLayer(wanted);
  if (!compiled)
    return compiled.error();
  side.compiled = std::move(*compiled);
  LoadOptions loading;
  loading.target = options.target;
  loading.executor = executor;
  auto layer = load(side.compiled.module.serialize(), loading);
  if (!layer)
    return layer.error();
  side.timer.emplace(*layer);
  return side;
}

Result<void> Tuner::findSizes(const BenchSizes &wanted) {
  const std::vector<SymbolDesc> &symbols = model.compiled.module.symbols;
  for (const std::vector<std::string> &settings : wanted.cases) {
    auto sizes = sizesOf(symbols, settings);
    if (!sizes)
      return sizes.error();
    std::vector<std::string> texts;
    for (size_t s = 0; s < symbols.size(); ++s)
      texts.push_back(fmt::format("{} = {}", symbols[s].name, (*sizes)[s]));
    report.sizes.push_back(texts.empty()
                               ? "its sizes"
                               : fmt::format("{}", fmt::join(texts, ", ")));
    cases.push_back(std::move(*sizes));
  }
  return {};
}

Result<void> Tuner::findProducts() {
  for (const cpugen::ScheduledProduct &one : model.compiled.products) {
    auto known = std::find_if(report.products.begin(), report.products.end(),
                              [&](const TunedProduct &product) {
                                return product.product == one.product;
                              });
    if (known == report.products.end()) {
      report.products.emplace_back();
      known = report.products.end() - 1;
      known->product = one.product;
      known->model = known->chosen = one.model;
    }
    known->kernels.push_back(one.kernel);
    for (size_t c = 0; c < cases.size(); ++c) {
      auto rows = one.rows.evaluate(cases[c]);
      if (!rows)
        return rows.error();
      if (*rows < 1)
        return fail(Errc::InvalidArgument,
                    fmt::format("with {} the product of kernel {} has no rows, "
                                "and there is nothing to time",
                                report.sizes[c], one.kernel));
      known->rows.push_back(*rows);
    }
  }
  if (report.products.empty())
    return fail(Errc::Unsupported,
                fmt::format("layer {} has no product: there is nothing to tune",
                            report.layer));
  for (TunedProduct &product : report.products) {
    std::sort(product.rows.begin(), product.rows.end());
    product.candidates = cpugen::candidatesFor(target, product.product.sizes(),
                                               product.model, product.rows);
  }
  return {};
}

/// Operands of a case, and contexts of both sides for it.
Result<void> Tuner::prepare(size_t number, Side &other) {
  if (drawnFor != number) {
    auto changed = operands.draw(model.timer->layer(), *oracle, cases[number]);
    if (!changed)
      return changed.error();
    if (*changed)
      model.weights.reset();
    other.weights.reset();
    model.context.reset();
    drawnFor = number;
  }
  other.context.reset();
  for (Side *side : {&model, &other}) {
    const Layer &layer = side->timer->layer();
    if (!side->weights) {
      std::vector<TensorView> views(operands.weights.begin(),
                                    operands.weights.end());
      auto bound = layer.bindWeights(views, WeightMemory::Borrow);
      if (!bound)
        return bound.error();
      side->weights.emplace(std::move(*bound));
      side->context.reset();
    }
    if (side->context)
      continue;
    auto made =
        layer.makeContext(*side->weights, rangesOf(layer, cases[number]));
    if (!made)
      return made.error();
    side->context.emplace(std::move(*made));
  }
  // The first runs touch fresh pages.
  double fastest = INFINITY;
  for (int run = 0; run < 3; ++run) {
    Clock::time_point start = Clock::now();
    if (auto done =
            model.context->run(operands.inputViews, operands.outputViews);
        !done)
      return done;
    std::chrono::duration<double> seconds = Clock::now() - start;
    fastest = std::min(fastest, seconds.count());
  }
  runsPerSample = static_cast<unsigned>(
      std::clamp(std::ceil(0.005 / std::max(fastest, 1e-9)), 1.0, 1e5));
  return {};
}

/// Seconds of each product in a run.
Result<std::vector<double>> Tuner::sample(Side &side) {
  for (unsigned run = 0; run <= runsPerSample; ++run) {
    if (auto done =
            side.context->run(operands.inputViews, operands.outputViews);
        !done)
      return done.error();
    if (run == 0) // What brings the caches back.
      side.timer->take();
  }
  std::vector<double> launches = side.timer->take(), seconds;
  const VariantDesc &variant = side.compiled.module.variants.front();
  for (const TunedProduct &product : report.products) {
    double sum = 0;
    for (size_t i = 0; i < launches.size(); ++i) {
      const LaunchDesc &launch = variant.launches[i];
      const std::string &kernel = variant.kernels[launch.kernel].name;
      if (std::find(product.kernels.begin(), product.kernels.end(), kernel) !=
          product.kernels.end())
        sum += launches[i];
    }
    seconds.push_back(sum / runsPerSample);
  }
  return seconds;
}

/// Adds the pairs of a case to the trials.
Result<void> Tuner::compare(size_t number, Side &other, Trials &trials) {
  if (auto ready = prepare(number, other); !ready)
    return ready;
  std::vector<Pairs> pairs(report.products.size());
  unsigned lost = 0;
  for (unsigned pair = 0; pair < options.pairs;) {
    std::vector<double> seconds[2];
    long before = interruptions();
    for (unsigned turn : {0u, 1u}) {
      unsigned which = (turn + pair + lost) % 2;
      auto taken = sample(which ? other : model);
      if (!taken)
        return taken.error();
      seconds[which] = std::move(*taken);
    }
    if (interruptions() != before && lost < options.pairs) {
      ++lost;
      continue;
    }
    for (size_t p = 0; p < pairs.size(); ++p)
      pairs[p].add(seconds[0][p], seconds[1][p]);
    ++pair;
  }
  for (size_t p = 0; p < pairs.size(); ++p)
    if (trials[p])
      trials[p]->sizes.push_back(std::move(pairs[p]));
  return {};
}

/// Measures a trial of some products, side by side with the model.
Result<void> Tuner::run(Trials trials, const std::string &step) {
  progress.show(step);
  auto other = compile(&trials);
  if (!other)
    return other.error();
  bool any = false;
  for (size_t p = 0; p < trials.size(); ++p) {
    if (!trials[p])
      continue;
    for (const cpugen::ScheduledProduct &one : other->compiled.products)
      if (one.product == report.products[p].product && !one.unused.empty())
        trials[p]->refused = one.unused;
    any |= trials[p]->refused.empty();
  }
  for (size_t number = 0; any && number < cases.size(); ++number)
    if (auto done = compare(number, *other, trials); !done)
      return done;
  for (size_t p = 0; p < trials.size(); ++p) {
    if (!trials[p])
      continue;
    if (!trials[p]->refused.empty())
      trials[p]->sizes.clear();
    report.products[p].trials.push_back(std::move(*trials[p]));
  }
  return {};
}

/// What was better is measured again: all of it at once, else the best alone.
Result<void> Tuner::confirm() {
  std::vector<std::vector<Trial>> proposals;
  for (const TunedProduct &product : report.products) {
    auto sizes = product.product.sizes();
    std::vector<Trial> mine;
    std::vector<cpugen::Candidate> changes;
    std::optional<size_t> best;
    // The best of each respect; trials are in the order of candidates.
    for (size_t i = 0; i < product.trials.size(); ++i) {
      if (!product.trials[i].isBetter())
        continue;
      double gain = product.trials[i].gain();
      const cpugen::Candidate &candidate = product.candidates[i];
      if (!best || gain > product.trials[*best].gain())
        best = i;
      bool surpassed = false;
      for (size_t j = 0; j < product.trials.size(); ++j)
        surpassed |= product.candidates[j].respect == candidate.respect &&
                     product.trials[j].isBetter() &&
                     (product.trials[j].gain() > gain ||
                      (product.trials[j].gain() == gain && j < i));
      if (!surpassed)
        changes.push_back(candidate);
    }
    auto propose = [&](const cpugen::Blocking &blocking) {
      Trial trial;
      trial.blocking = blocking;
      trial.what = cpugen::Candidate{{}, blocking}.text(product.model);
      trial.confirms = true;
      mine.push_back(std::move(trial));
    };
    if (changes.size() > 1)
      if (auto all = cpugen::combine(target, sizes, product.model, changes))
        propose(*all);
    if (best)
      propose(product.candidates[*best].blocking);
    proposals.push_back(std::move(mine));
  }
  for (size_t attempt = 0; attempt < 2; ++attempt) {
    Trials trials;
    bool any = false;
    for (size_t p = 0; p < proposals.size(); ++p) {
      trials.emplace_back();
      if (report.products[p].winner || attempt >= proposals[p].size())
        continue;
      trials.back() = proposals[p][attempt];
      any = true;
    }
    if (!any)
      continue;
    std::vector<bool> measured;
    for (const std::optional<Trial> &trial : trials)
      measured.push_back(trial.has_value());
    if (auto done = run(std::move(trials), "measuring the best again"); !done)
      return done;
    for (size_t p = 0; p < measured.size(); ++p) {
      TunedProduct &product = report.products[p];
      if (!measured[p] || !product.trials.back().isBetter())
        continue;
      product.winner = product.trials.size() - 1;
      product.chosen = product.trials.back().blocking;
    }
  }
  return {};
}

Result<TuneReport> Tuner::tune() {
  auto wanted = expandSizes(options.set);
  if (!wanted)
    return wanted.error();
  if (auto right = checkOptions(); !right)
    return right.error();
  auto made = makeRequest(options);
  if (!made)
    return made.error();
  request = std::move(*made);
  auto code = cpugen::CpuTarget::parse(request.compile.target.codeTarget());
  if (!code)
    return code.error();
  target = std::move(*code);
  executor = makeExecutor(options.threads);
  progress.show("compiling");
  auto base = compile(nullptr);
  if (!base)
    return base.error();
  model = std::move(*base);
  const ModuleDesc &module = model.compiled.module;
  report.layer = module.layer;
  report.target = module.variants.front().target;
  report.caches = model.compiled.caches;
  report.processor = processorName();
  report.threads = executor->threads();
  report.pairs = options.pairs;
  if (auto found = findSizes(*wanted); !found)
    return found.error();
  if (auto found = findProducts(); !found)
    return found.error();
  auto reference = Oracle::create(module.source, options.file, module.layer);
  if (!reference)
    return reference.error();
  oracle.emplace(std::move(*reference));

  size_t rounds = 0;
  for (const TunedProduct &product : report.products)
    rounds = std::max(rounds, product.candidates.size());
  for (size_t round = 0; round < rounds; ++round) {
    Trials trials;
    for (const TunedProduct &product : report.products) {
      trials.emplace_back();
      if (round >= product.candidates.size())
        continue;
      const cpugen::Candidate &candidate = product.candidates[round];
      Trial &trial = trials.back().emplace();
      trial.what = candidate.text(product.model);
      trial.blocking = candidate.blocking;
    }
    if (auto done =
            run(std::move(trials), fmt::format("measuring candidates, {} of {}",
                                               round + 1, rounds));
        !done)
      return done.error();
  }
  if (auto done = confirm(); !done)
    return done.error();
  progress.clear();
  return std::move(report);
}

Result<TuneReport> quern::tool::tuneLayer(const TuneOptions &options) {
  return Tuner(options).tune();
}
