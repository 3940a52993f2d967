//===- BenchRun.cpp - Runs and peaks in turns -----------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/tools/quern/Bench.h"
#include "compiler/tools/quern/DrawnOperands.h"
#include "compiler/tools/quern/Progress.h"
#include "runtime/jit/LayerState.h"
#include "runtime/measure/LaunchTimer.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>

using namespace quern;
using namespace quern::measure;
using namespace quern::tool;

using Clock = std::chrono::steady_clock;

static double secondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

namespace {

class Bench {
public:
  Bench(const BenchOptions &options) : options(options) {}
  Result<BenchReport> measure();

private:
  Result<void> checkOptions() const;
  Result<void> compile();
  Result<void> findSizes();
  Result<void> describeCase(const std::vector<int64_t> &sizes);
  Result<void> prepare(size_t index);
  Result<void> bind(BenchedCase &one);
  Result<void> runOnce();
  Result<BenchSample> sampleOf(BenchedCase &one, std::optional<size_t> level);
  Result<void> measureCase(size_t index);
  const BenchOptions &options;
  BenchReport report;
  BenchSizes wanted;
  CompiledFile file;
  const VariantDesc *variant = nullptr;
  ExplainOptions explaining;
  std::optional<Explanation> explanation;
  std::optional<LaunchTimer> timer;
  std::optional<Oracle> oracle;
  std::unique_ptr<Machine> machine;
  Progress progress;

  // Of the case at hand.
  DrawnOperands operands;
  std::vector<Weights> bound;
  std::optional<Context> context;
  size_t turn = 0;
};

} // namespace

Result<void> Bench::checkOptions() const {
  auto target = Target::parse(options.target);
  if (!target)
    return target.error();
  if (target->kind == Target::Kind::Sim)
    return fail(Errc::Unsupported,
                fmt::format("{} is a simulated GPU: what it takes says nothing "
                            "of a real one",
                            options.target),
                {"quern explain counts what its kernels move and execute"});
  if (target->kind == Target::Kind::Cuda)
    return fail(
        Errc::Unsupported,
        fmt::format("quern bench measures CPUs, not {}", options.target),
        {"docs/gpu-testing.md times layers on a GPU, beside cuBLASLt, "
         "PyTorch and Triton"});
  unsigned cpus = availableCpus();
  if (options.threads > cpus)
    return fail(Errc::InvalidArgument,
                fmt::format("--threads {}: this process may use {}",
                            options.threads, countOf(cpus, "CPU")),
                {"more threads than CPUs wait for each other, and reach no "
                 "peak"});
  if (options.isGiven("--plot")) {
    if (wanted.symbol.empty())
      return fail(Errc::InvalidArgument,
                  "--plot draws over several values of a symbol",
                  {"give them to --set, as in --set M=1,8,32,128"});
    return checkWritable(options.plot);
  }
  return {};
}

Result<void> Bench::compile() {
  progress.show("compiling");
  auto compiled = compileOrRead(options, [&](CompileRequest &request) {
    request.predict = true;
    for (const std::vector<std::string> &settings : wanted.cases)
      for (const std::string &setting : settings) {
        size_t at = setting.find('=') + 1;
        int64_t value = 0;
        const char *end = setting.data() + setting.size();
        auto [stop, error] = std::from_chars(setting.data() + at, end, value);
        std::pair given(setting.substr(0, at - 1), value);
        // What is wrong with a value is said once the symbols are known.
        if (error == std::errc() && stop == end && value >= 0 &&
            std::find(request.predictAt.begin(), request.predictAt.end(),
                      given) == request.predictAt.end())
          request.predictAt.push_back(std::move(given));
      }
  });
  if (!compiled)
    return compiled.error();
  file = std::move(*compiled);
  if (file.isModule)
    return fail(Errc::Unsupported,
                fmt::format("{} is a compiled module, which does not say what "
                            "its kernels compute",
                            options.file),
                {"give the layer's text, a .qn file; quern run --repeat times "
                 "modules"});
  auto found = findVariant(file.compiled.module, options);
  if (!found)
    return found.error();
  variant = *found;
  static_cast<LayerOptions &>(explaining) = options;
  explanation.emplace(explainPlan(file, *variant, explaining,
                                  std::vector<std::optional<int64_t>>(
                                      file.compiled.module.symbols.size())));
  report.layer = file.compiled.module.layer;
  report.target = variant->target;
  report.compileMs = file.compileMs;
  return {};
}

Result<void> Bench::findSizes() {
  const std::vector<SymbolDesc> &symbols = file.compiled.module.symbols;
  for (const SymbolDesc &symbol : symbols) {
    if (symbol.name == wanted.symbol)
      report.symbol = report.symbolNames.size();
    report.symbolNames.push_back(symbol.name);
  }
  for (const std::vector<std::string> &settings : wanted.cases) {
    auto sizes = sizesOf(symbols, settings);
    if (!sizes)
      return sizes.error();
    if (auto described = describeCase(*sizes); !described)
      return described;
  }
  return {};
}

/// What the launches of a run compute and move at these sizes.
Result<void> Bench::describeCase(const std::vector<int64_t> &sizes) {
  BenchedCase one;
  one.sizes = sizes;
  const Prediction *prediction = nullptr;
  for (const Prediction &known : explanation->report().predictions)
    if (known.sizes == sizes)
      prediction = &known;
  std::string at = explanation->sizesText(sizes);
  if (!prediction || !prediction->unknown.empty())
    return fail(Errc::Unsupported,
                fmt::format("what the layer computes at {} is not known", at),
                {prediction ? prediction->unknown
                            : "nothing is predicted for these sizes"});
  std::vector<std::string> weightNames;
  for (const BufferDesc &buffer : variant->buffers)
    if (buffer.role == BufferRole::Weight)
      weightNames.push_back(buffer.part.empty() || buffer.part == "values"
                                ? buffer.name
                                : buffer.name + "." + buffer.part);
  for (size_t i = 0; i < variant->launches.size(); ++i) {
    const LaunchDesc &plan = variant->launches[i];
    if (plan.phase == LaunchPhase::Prepare || !plan.happens(sizes))
      continue;
    const KernelDesc &kernel = variant->kernels[plan.kernel];
    BenchedLaunch launch;
    launch.number = i;
    launch.kernel = kernel.name;
    if (const select::KernelTraffic *traffic =
            explanation->trafficOf(*prediction, i)) {
      launch.operations = 2 * traffic->multiplyAdds;
      launch.bytes = traffic->leastBytes();
      for (const select::BufferTraffic &buffer : traffic->buffers)
        if (std::find(weightNames.begin(), weightNames.end(), buffer.buffer) !=
            weightNames.end())
          launch.weightBytes += buffer.bytes;
    } else {
      launch.isKnown = false;
    }
    if (launch.operations > 0)
      launch.dot = dotOf(kernel.schedule, variant->target);
    if (launch.operations > 0 && (!launch.dot || !canRun(*launch.dot)))
      return fail(Errc::Unsupported,
                  fmt::format("the peak of kernel {} cannot be measured on "
                              "this machine",
                              kernel.name),
                  {fmt::format("its product is made as \"{}\", for {}",
                               kernel.schedule, variant->target)});
    one.run.operations += launch.operations;
    one.run.bytes += launch.bytes;
    one.run.weightBytes += launch.weightBytes;
    if (launch.dot && std::none_of(report.peaks.begin(), report.peaks.end(),
                                   [&](const BenchedPeak &p) {
                                     return p.dot == *launch.dot;
                                   }))
      report.peaks.push_back({*launch.dot, {}, {}, {}});
    one.launches.push_back(std::move(launch));
  }
  if (one.run.operations == 0) {
    auto zero = std::find(sizes.begin(), sizes.end(), 0);
    if (zero != sizes.end())
      return fail(Errc::InvalidArgument,
                  fmt::format("with {} = 0 there is nothing to compute, and "
                              "nothing to time",
                              report.symbolNames[zero - sizes.begin()]));
    return fail(Errc::Unsupported,
                fmt::format("layer {} has no product: its speed is not "
                            "measured against the peak of products",
                            file.compiled.module.layer),
                {"quern run --repeat times any layer"});
  }
  report.cases.push_back(std::move(one));
  return {};
}

/// Operands and a context for a case; weights are those of the case before
/// where they have the same shapes.
Result<void> Bench::prepare(size_t index) {
  BenchedCase &one = report.cases[index];
  progress.show("drawing operands");
  context.reset();
  const Layer &layer = timer->layer();
  auto changed = operands.draw(layer, *oracle, one.sizes);
  if (!changed)
    return changed.error();
  if (*changed)
    bound.clear();
  if (bound.empty())
    if (auto done = bind(one); !done)
      return done;
  one.copies = static_cast<unsigned>(bound.size());
  auto made = layer.makeContext(bound.front(), rangesOf(layer, one.sizes));
  if (!made)
    return made.error();
  context.emplace(std::move(*made));
  return {};
}

/// One set of weights, or with `--cold` so many that none is still in a cache
/// when its turn comes.
Result<void> Bench::bind(BenchedCase &one) {
  size_t copies = 1;
  if (options.cold) {
    double bytes = 0;
    for (const Tensor &weight : operands.weights)
      bytes += double(weight.bytes());
    double cache = double(cachesHere().l3);
    constexpr double most = 4e9;
    if (bytes == 0)
      return fail(Errc::InvalidArgument,
                  "--cold takes weights in turns, and the layer has none");
    if (cache == 0)
      return fail(Errc::Unsupported,
                  "--cold: the system does not tell the size of L3");
    copies = static_cast<size_t>(std::ceil(4 * cache / bytes)) + 1;
    if (copies > 1024 || double(copies) * bytes > std::max(most, 2 * bytes))
      return fail(Errc::Unsupported,
                  fmt::format("--cold: {} of weights of {} are too many to "
                              "keep out of an L3 of {}",
                              countOf(copies, "set"), bytesText(bytes),
                              bytesText(cache)));
  }
  std::vector<TensorView> views(operands.weights.begin(),
                                operands.weights.end());
  for (size_t i = 0; i < copies; ++i) {
    progress.show("packing weights", i + 1, copies);
    auto made = timer->layer().bindWeights(
        views, copies == 1 ? WeightMemory::Borrow : WeightMemory::Copy);
    if (!made)
      return made.error();
    bound.push_back(std::move(*made));
  }
  return {};
}

Result<void> Bench::runOnce() {
  if (bound.size() > 1) {
    turn = (turn + 1) % bound.size();
    if (auto set = context->setWeights(bound[turn]); !set)
      return set;
  }
  return context->run(operands.inputViews, operands.outputViews);
}

Result<BenchSample> Bench::sampleOf(BenchedCase &one,
                                    std::optional<size_t> level) {
  BenchSample sample;
  for (BenchedPeak &peak : report.peaks) {
    Peak now = machine->peak(peak.dot);
    sample.peaks.push_back(now.operations);
    peak.all.push_back(now.operations);
    sample.hasPeaks &= now.counts();
    if (now.operations > peak.best.operations)
      peak.best = now;
  }
  // The best of three: a pass that others disturbed is no limit.
  for (int pass = 0; level && pass < 3; ++pass) {
    auto rate = machine->read(*level);
    if (!rate)
      return rate.error();
    sample.readRate = std::max(sample.readRate, *rate);
  }
  if (auto done = runOnce(); !done)
    return done.error();
  timer->take();
  long before = interruptions();
  Clock::time_point start = Clock::now();
  for (unsigned run = 0; run < one.runsPerSample; ++run)
    if (auto done = runOnce(); !done)
      return done.error();
  sample.seconds = secondsSince(start) / one.runsPerSample;
  sample.isInterrupted = interruptions() != before;
  sample.launches = timer->take();
  for (double &seconds : sample.launches)
    seconds /= one.runsPerSample;
  return sample;
}

Result<void> Bench::measureCase(size_t index) {
  if (auto ready = prepare(index); !ready)
    return ready;
  BenchedCase &one = report.cases[index];
  const ReadRate *rate =
      one.copies > 1 ? machine->memory() : machine->levelOf(one.run.bytes);
  std::optional<size_t> level;
  if (rate) {
    one.level = rate->level;
    level = rate - machine->levels().data();
  }
  // The first runs touch fresh pages.
  double fastest = INFINITY;
  for (int run = 0; run < 3; ++run) {
    Clock::time_point start = Clock::now();
    if (auto done = runOnce(); !done)
      return done;
    fastest = std::min(fastest, secondsSince(start));
  }
  one.runsPerSample = static_cast<unsigned>(
      std::clamp(std::ceil(0.01 / std::max(fastest, 1e-9)), 1.0, 1e5));
  std::vector<BenchSample> samples;
  for (unsigned i = 0; i < options.samples; ++i) {
    progress.show(report.cases.size() > 1
                      ? fmt::format("{}: measuring", report.sizesText(one))
                      : "measuring",
                  i + 1, options.samples);
    auto sample = sampleOf(one, level);
    if (!sample)
      return sample.error();
    samples.push_back(std::move(*sample));
  }
  conclude(one, report.peaks, samples);
  return {};
}

Result<BenchReport> Bench::measure() {
  auto expanded = expandSizes(options.set);
  if (!expanded)
    return expanded.error();
  wanted = std::move(*expanded);
  if (auto right = checkOptions(); !right)
    return right.error();
  if (auto compiled = compile(); !compiled)
    return compiled.error();

  LoadOptions loading;
  loading.target = options.target;
  loading.executor = makeExecutor(options.threads);
  auto layer = load(file.compiled.module.serialize(), loading);
  if (!layer)
    return layer.error();
  timer.emplace(*layer);
  if (auto found = findSizes(); !found)
    return found.error();
  const ModuleDesc &module = file.compiled.module;
  auto made = Oracle::create(module.source, options.file, module.layer);
  if (!made)
    return made.error();
  oracle = std::move(*made);

  report.threads = options.threads ? options.threads : availableCpus();
  report.processor = processorName();
  auto created = Machine::create(report.threads);
  if (!created)
    return created.error();
  machine = std::move(*created);
  for (size_t level = 0; level < machine->levels().size(); ++level)
    for (int pass = 0; pass < 3; ++pass) {
      progress.show("measuring the machine");
      if (auto rate = machine->read(level); !rate)
        return rate.error();
    }
  for (size_t index = 0; index < report.cases.size(); ++index)
    if (auto measured = measureCase(index); !measured)
      return measured.error();
  report.levels = machine->levels();
  for (BenchedPeak &peak : report.peaks)
    peak.operations = Spread(std::move(peak.all));
  progress.clear();
  return std::move(report);
}

Result<BenchReport> quern::tool::benchLayer(const BenchOptions &options) {
  Bench bench(options);
  return bench.measure();
}
