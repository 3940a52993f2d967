//===- Compiler.cpp - From a layer's text to a module ---------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/pipelines/Compiler.h"

#include "compiler/conversion/QuernToTile.h"
#include "compiler/diagnostics/Diagnostics.h"
#include "compiler/emit/cuda/CudaCompiler.h"
#include "compiler/emit/cuda/Materialise.h"
#include "compiler/emit/cuda/StripsFit.h"
#include "compiler/frontend/Frontend.h"
#include "compiler/lower/cpu/CpuCompiler.h"
#include "compiler/pipelines/Describe.h"
#include "compiler/pipelines/QuernPipeline.h"
#include "compiler/pipelines/Tuned.h"
#include "compiler/select/Buckets.h"
#include "compiler/select/CpuPlacement.h"
#include "compiler/select/CudaPlacement.h"
#include "compiler/select/TrafficModel.h"
#include "dialects/quern/IR/Quern.h"
#include "dialects/quern/Transforms/Passes.h"
#include "dialects/tile/IR/Tile.h"
#include "dialects/tile/Transforms/JoinBlocks.h"
#include "runtime/module/ModuleVerifier.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/Pass/PassManager.h"

#include <algorithm>
#include <chrono>

using namespace mlir;
using namespace quern;

namespace {

struct Settings {
  std::string fuse = "all";
  std::string placement = "auto";
  select::BucketOptions buckets;
  std::string layer;
  std::optional<cpugen::Schedules> schedules;
};

/// One compilation: the context, the module on its way, and what is noted
/// along it.
class Compilation {
public:
  explicit Compilation(const CompileRequest &request)
      : request(request), context(MLIRContext::Threading::DISABLED),
        collector(context, request.name,
                  StringRef(request.source.data(), request.source.size())) {}

  Result<CompileOutput> run();

private:
  Result<void> checkStages() const;
  /// Every one of them costs kernels, and time to compile them.
  static constexpr size_t maxBuckets = 8;
  Result<void> parseBuckets(StringRef text);
  Result<void> parseSettings();
  Result<void> parse();
  Result<void> runQuernPasses();
  Result<void> convert();
  Result<void> place();
  void chooseSizes();
  Result<void> predict();
  void joinBlocks();
  Result<std::vector<select::Bucket>> placeOnCpu();
  Result<std::vector<select::Bucket>> placeOnCuda();
  Result<emit::CudaTarget> cudaTarget() const;
  Result<void> generate();
  Result<void> generateForCpu();
  Result<void> generateForCuda();

  /// Runs the passes that `build` adds, printing after `dumpAfter`.
  template <typename Build>
  Result<void> runPasses(StringRef phase, Build build);
  bool wants(Stage stage) const {
    return llvm::is_contained(request.wanted, stage);
  }
  /// Whether everything that was asked for is there.
  bool isFinished() const {
    bool dumped = request.dumpAfter.empty() || !output.passDump.empty() ||
                  llvm::is_contained(passNames, request.dumpAfter);
    return request.textsOnly && dumped &&
           output.texts.size() == request.wanted.size();
  }
  void note(Stage stage, std::string text) {
    output.texts.push_back({stage, std::move(text)});
  }
  std::string print() {
    std::string text;
    llvm::raw_string_ostream stream(text);
    module->print(stream);
    return text;
  }

  using Clock = std::chrono::steady_clock;
  void time(std::string phase, Clock::time_point start) {
    output.times.push_back(
        {std::move(phase),
         std::chrono::duration<double, std::milli>(Clock::now() - start)
             .count()});
  }

  const CompileRequest &request;
  Settings settings;
  MLIRContext context;
  DiagnosticCollector collector;
  OwningOpRef<ModuleOp> module;
  CompileOutput output;
  std::vector<std::string> passNames; ///< Kept for `dumpAfter` alone.
  // Kept for predictions alone.
  std::vector<select::Sizes> predictFor;
  pipelines::QuantizedTypes quantizedTypes;
};

} // namespace

std::span<const StageInfo> quern::stages() {
  using Targets = StageInfo::Targets;
  static constexpr StageInfo table[] = {
      {Stage::Quern, "quern", Targets::All},
      {Stage::Kernels, "kernels", Targets::All},
      {Stage::Tile, "tile", Targets::All},
      {Stage::Llvm, "llvm", Targets::Cpu},
      {Stage::Asm, "asm", Targets::Cpu},
      {Stage::Cuda, "cuda", Targets::Cuda},
      {Stage::Ptx, "ptx", Targets::Cuda},
      {Stage::Cubin, "cubin", Targets::Cuda, /*binary=*/true},
  };
  return table;
}

Result<void> Compilation::checkStages() const {
  std::string missing, accepted;
  for (const StageInfo &stage : stages()) {
    if (stage.exists(request.target))
      accepted += (accepted.empty() ? "" : ", ") + std::string(stage.name);
    else if (wants(stage.stage))
      missing = stage.name;
  }
  if (missing.empty())
    return {};
  return fail(
      Errc::InvalidArgument,
      fmt::format("target {} has no stage {}", request.target.print(), missing),
      {fmt::format("its stages are {}", accepted)});
}

Result<void> Compilation::parseBuckets(StringRef text) {
  settings.buckets = {};
  if (text == "auto")
    return {};
  settings.buckets.ends.emplace();
  if (text == "one")
    return {};
  for (StringRef part : llvm::split(text, ',')) {
    int64_t end = 0;
    std::vector<int64_t> &ends = *settings.buckets.ends;
    if (part.trim().getAsInteger(10, end) || end < 1 ||
        (!ends.empty() && end <= ends.back()) || ends.size() == maxBuckets - 1)
      return fail(
          Errc::InvalidArgument,
          fmt::format("\"{}\" does not say where buckets end", text.str()),
          {fmt::format("accepted are auto, one, or at most {} numbers "
                       "of rows, ascending, as in 16,64",
                       maxBuckets - 1)});
    ends.push_back(end);
  }
  return {};
}

Result<void> Compilation::parseSettings() {
  for (const std::string &setting : request.settings) {
    StringRef name, value;
    std::tie(name, value) = StringRef(setting).split('=');
    if (name == "fuse" && (value == "all" || value == "none"))
      settings.fuse = value.str();
    else if (name == "placement")
      settings.placement = value.str();
    else if (name == "buckets") {
      if (auto done = parseBuckets(value); !done)
        return done;
    } else if (name == "tuned") {
      if (auto done = pipelines::readTuned(request, value, settings.schedules);
          !done)
        return done;
    } else if (name == "layer" && !value.empty())
      settings.layer = value.str();
    else if (name == "numerics" && value == "fast")
      return fail(Errc::Unsupported,
                  "numerics \"fast\" is not supported; accepted is \"strict\"");
    else if (!(name == "numerics" && value == "strict"))
      return fail(Errc::InvalidArgument,
                  fmt::format("unknown setting \"{}\"", setting),
                  {"accepted are fuse=all, fuse=none, placement=PLACE, "
                   "buckets=auto, buckets=one, buckets=N,..., numerics=strict, "
                   "layer=NAME and tuned=RECORD"});
  }
  if (settings.fuse == "none" && settings.placement != "auto" &&
      settings.placement != "separate")
    return fail(Errc::InvalidArgument,
                fmt::format("placement={} puts kernels together, which "
                            "fuse=none forbids",
                            settings.placement),
                {"leave one of them out"});
  return {};
}

Result<void> Compilation::parse() {
  Clock::time_point start = Clock::now();
  std::vector<quern::Diagnostic> errors;
  module = parseLayers(StringRef(request.source.data(), request.source.size()),
                       request.name, context, errors);
  if (!module) {
    if (errors.empty())
      return collector.takeError("the frontend");
    return inOne(std::move(errors));
  }

  // One layer to a module.
  auto layers =
      llvm::to_vector_of<func::FuncOp>(module->getOps<func::FuncOp>());
  std::string names;
  for (func::FuncOp layer : layers)
    names += (names.empty() ? "" : ", ") + layer.getName().str();
  if (settings.layer.empty() && layers.size() != 1)
    return fail(Errc::InvalidArgument,
                fmt::format("{} has {} layers; choose one", request.name,
                            layers.size()),
                {layers.empty() ? "a layer is written as in docs/language.md"
                                : "its layers are " + names});
  bool found = settings.layer.empty();
  for (func::FuncOp layer : layers) {
    if (settings.layer.empty() || layer.getName() == settings.layer)
      found = true;
    else
      layer.erase();
  }
  if (!found)
    return fail(Errc::InvalidArgument,
                fmt::format("{} has no layer {}", request.name, settings.layer),
                {"its layers are " + names});
  func::FuncOp layer = *module->getOps<func::FuncOp>().begin();
  output.module.layer = layer.getName().str();
  for (Attribute attr : layer->getAttrOfType<ArrayAttr>(ir::symbolsAttrName)) {
    auto symbol = cast<ir::SymbolAttr>(attr);
    output.module.symbols.push_back({symbol.getName().str(), symbol.getMin(),
                                     symbol.getMax(), symbol.getMultiple()});
  }
  if (request.predict) {
    output.report.graph = pipelines::describeLayer(layer);
    quantizedTypes = pipelines::describeTypes(layer);
  }
  time("frontend", start);
  if (wants(Stage::Quern))
    note(Stage::Quern, print());
  return {};
}

template <typename Build>
Result<void> Compilation::runPasses(StringRef phase, Build build) {
  Clock::time_point start = Clock::now();
  PassManager manager(&context);
  if (!request.dumpAfter.empty()) {
    llvm::raw_string_ostream stream(output.passDump);
    auto isWanted = [this](Pass *pass, Operation *) {
      std::string name = pass->getArgument().str();
      if (!name.empty() && !llvm::is_contained(passNames, name))
        passNames.push_back(name);
      return name == request.dumpAfter;
    };
    manager.enableIRPrinting([](Pass *, Operation *) { return false; },
                             isWanted, /*printModuleScope=*/true,
                             /*printAfterOnlyOnChange=*/false,
                             /*printAfterOnlyOnFailure=*/false, stream);
    build(manager);
    if (failed(manager.run(*module)))
      return collector.takeError(phase);
  } else {
    build(manager);
    if (failed(manager.run(*module)))
      return collector.takeError(phase);
  }
  time(phase.str(), start);
  return {};
}

/// What the layer's text calls a value; empty for one without a name.
static std::string nameOf(Value value) {
  auto name = dyn_cast<NameLoc>(value.getLoc());
  return name ? name.getName().str() : std::string();
}

/// Collects what quern-infer-scale-placement wrote on the products.
static std::vector<ScalePlacement> collectPlacements(ModuleOp module) {
  std::vector<ScalePlacement> placements;
  module.walk([&](ir::MatmulOp product) {
    unsigned line = 0, column = 0;
    if (FileLineColLoc place = findFileLocation(product.getLoc())) {
      line = place.getLine();
      column = place.getColumn();
    }
    std::string lhs = nameOf(product.getLhs()), rhs = nameOf(product.getRhs());
    std::string text = fmt::format("{} @ {}{}", lhs.empty() ? "(...)" : lhs,
                                   rhs.empty() ? "(...)" : rhs,
                                   product.getTransposeRhs() ? ".T" : "");
    for (auto [operand, side, attr] :
         {std::tuple(lhs, "the left operand", "quern.lhs_placement"),
          {rhs, "the right operand", "quern.rhs_placement"}})
      if (auto where = product->getAttrOfType<StringAttr>(attr))
        placements.push_back(
            {line, column,
             fmt::format("{} of {}: {}", operand.empty() ? side : operand, text,
                         where.getValue().str())});
  });
  return placements;
}

Result<void> Compilation::runQuernPasses() {
  pipelines::PipelineOptions options;
  options.fuse = settings.fuse == "all";
  if (auto placed = runPasses("scale placement",
                              [](PassManager &manager) {
                                manager.addNestedPass<func::FuncOp>(
                                    ir::createInferScalePlacement());
                              });
      !placed)
    return placed;
  output.placements = collectPlacements(*module);
  if (auto done = runPasses("quern passes",
                            [&](PassManager &manager) {
                              pipelines::buildQuernPipeline(manager, options);
                            });
      !done)
    return done;
  if (wants(Stage::Kernels))
    note(Stage::Kernels, print());
  return {};
}

Result<void> Compilation::convert() {
  if (auto done = runPasses("conversion",
                            [](PassManager &manager) {
                              manager.addPass(
                                  conversion::createConvertQuernToTilePass());
                            });
      !done)
    return done;
  if (!request.dumpAfter.empty() &&
      !llvm::is_contained(passNames, request.dumpAfter))
    return fail(Errc::InvalidArgument,
                fmt::format("there is no pass {}", request.dumpAfter),
                {fmt::format("the passes are {}", fmt::join(passNames, ", "))});
  return {};
}

Result<emit::CudaTarget> Compilation::cudaTarget() const {
  if (request.target.arch.empty())
    return fail(Errc::InvalidArgument,
                "compiling for \"cuda\" needs an architecture, as in "
                "cuda:sm_90a");
  return emit::CudaTarget::parse(request.target.arch);
}

Result<std::vector<select::Bucket>> Compilation::placeOnCpu() {
  auto target = cpugen::CpuTarget::parse(request.target.codeTarget());
  if (!target)
    return target.error();
  return select::placeInBuckets(
      *module, select::CpuPlacement(*target),
      {.wanted = settings.placement, .predictFor = predictFor},
      settings.buckets);
}

Result<std::vector<select::Bucket>> Compilation::placeOnCuda() {
  auto target = cudaTarget();
  if (!target)
    return target.error();
  return select::placeInBuckets(
      *module, select::CudaPlacement(*target),
      {.wanted = settings.placement, .predictFor = predictFor},
      settings.buckets);
}

void Compilation::chooseSizes() {
  if (!request.predict)
    return;
  tile::ProgramOp program = *module->getOps<tile::ProgramOp>().begin();
  std::vector<select::Sizes> wanted = select::spread(program);
  for (auto [i, symbol] : llvm::enumerate(output.module.symbols)) {
    std::vector<select::Sizes> given;
    for (const auto &[name, value] : request.predictAt)
      if (name == symbol.name)
        for (select::Sizes sizes : wanted) {
          sizes[i] = value;
          if (!llvm::is_contained(given, sizes))
            given.push_back(std::move(sizes));
        }
    if (!given.empty())
      wanted = std::move(given);
  }
  for (select::Sizes &sizes : wanted)
    if (!llvm::is_contained(predictFor, sizes))
      predictFor.push_back(std::move(sizes));
}

Result<void> Compilation::predict() {
  if (!request.predict)
    return {};
  bool cpu = request.target.kind == Target::Kind::Cpu;
  OwningOpRef<ModuleOp> launched = module->clone();
  tile::ProgramOp program = *launched->getOps<tile::ProgramOp>().begin();
  emit::CudaTarget target;
  LayerReport &report = output.report;
  if (cpu) {
    report.peaks = select::peaksOf(select::CpuRates());
  } else {
    auto found = cudaTarget();
    if (!found)
      return found.error();
    target = *found;
    report.peaks = select::peaksOf(select::GpuRates(), target);
    // What it refuses, code generation refuses too, in better words.
    if (!emit::materialiseOperands(program))
      return {};
  }
  for (auto launch : program.getBody().getOps<tile::LaunchOp>())
    report.launches.push_back(launch.getKernel().str());
  report.scales = pipelines::describeScales(program, quantizedTypes);
  for (const select::Sizes &sizes : predictFor) {
    Prediction prediction;
    prediction.sizes = sizes;
    auto traffic = cpu ? select::predictCpuTraffic(*module, sizes)
                       : select::predictTraffic(*module, target, sizes);
    if (traffic)
      prediction.traffic = std::move(*traffic);
    else
      prediction.unknown = traffic.error().message;
    report.predictions.push_back(std::move(prediction));
  }
  return {};
}

/// Quantizations and what makes their value in one kernel, where no product
/// makes it.
void Compilation::joinBlocks() {
  tile::JoinLimits limits =
      request.target.kind == Target::Kind::Cpu
          ? tile::JoinLimits{cpugen::stripBytes, "a thread's scratch"}
          : tile::JoinLimits{emit::stripBytes, "shared memory"};
  tile::joinQuantizations(*module->getOps<tile::ProgramOp>().begin(), limits);
}

Result<void> Compilation::place() {
  chooseSizes();
  Clock::time_point start = Clock::now();
  bool fuses = settings.fuse == "all";
  if (fuses)
    joinBlocks();
  else
    settings.placement = "separate";
  auto buckets =
      request.target.kind == Target::Kind::Cpu ? placeOnCpu() : placeOnCuda();
  if (!buckets)
    return buckets.error();
  for (const select::Bucket &each : *buckets)
    if (fuses)
      llvm::append_range(output.quantizations,
                         pipelines::describe(each, predictFor));
  time("placement", start);
  if (wants(Stage::Tile))
    note(Stage::Tile, print());
  return predict();
}

Result<void> Compilation::generateForCpu() {
  auto target = cpugen::CpuTarget::parse(request.target.codeTarget());
  if (!target)
    return target.error();
  bool dump = wants(Stage::Llvm) || wants(Stage::Asm);
  cpugen::CpuDumps dumps;
  const cpugen::Schedules *schedules =
      settings.schedules && settings.schedules->target == target->name()
          ? &*settings.schedules
          : nullptr;
  auto variant =
      cpugen::compileForCpu(*module, *target, dump ? &dumps : nullptr,
                            /*times=*/nullptr, schedules, &output.products);
  if (!variant)
    return variant.error();
  output.caches = target->caches;
  if (settings.schedules)
    output.unusedSchedules =
        pipelines::unusedOf(*settings.schedules, request.tunedName,
                            target->name(), output.products);
  if (wants(Stage::Llvm))
    note(Stage::Llvm, std::move(dumps.llvm));
  if (wants(Stage::Asm))
    note(Stage::Asm, std::move(dumps.assembly));
  output.module.variants.push_back(std::move(*variant));
  return {};
}

Result<void> Compilation::generateForCuda() {
  auto target = cudaTarget();
  if (!target)
    return target.error();
  // NVRTC is not needed for the text it would be given.
  if (request.textsOnly && !wants(Stage::Ptx) && !wants(Stage::Cubin)) {
    auto unit = emit::emitCuda(*module, *target);
    if (!unit)
      return unit.error();
    note(Stage::Cuda, std::move(unit->readable));
    return {};
  }
  auto compiled = emit::compileTimed(*module, *target, {.lineInfo = true});
  if (!compiled)
    return compiled.error();
  for (const CodeDesc &code : compiled->variant.code) {
    std::string text(reinterpret_cast<const char *>(code.bytes.data()),
                     code.bytes.size());
    if (code.kind == CodeKind::CudaSource && wants(Stage::Cuda))
      note(Stage::Cuda, std::move(text));
    else if (code.kind == CodeKind::Ptx && wants(Stage::Ptx))
      note(Stage::Ptx, std::move(text));
    else if (code.kind == CodeKind::Cubin && wants(Stage::Cubin))
      note(Stage::Cubin, std::move(text));
  }
  output.module.variants.push_back(std::move(compiled->variant));
  return {};
}

Result<void> Compilation::generate() {
  Clock::time_point start = Clock::now();
  bool cpu = request.target.kind == Target::Kind::Cpu;
  auto done = cpu ? generateForCpu() : generateForCuda();
  if (!done) {
    // A back end that reported through MLIR left the better message.
    if (!collector.getErrors().empty() &&
        done.error().code == Errc::Unsupported && done.error().file.empty()) {
      quern::Diagnostic located = collector.takeError("code generation");
      located.code = Errc::Unsupported;
      return located;
    }
    return done;
  }
  time(cpu ? "code for the CPU" : "CUDA C++ and NVRTC", start);
  return {};
}

Result<CompileOutput> Compilation::run() {
  if (auto done = checkStages(); !done)
    return done.error();
  if (auto done = parseSettings(); !done)
    return done.error();
  DialectRegistry registry;
  registry.insert<ir::QuernDialect, tile::TileDialect, func::FuncDialect>();
  context.appendDialectRegistry(registry);
  context.loadAllAvailableDialects();
  for (auto step :
       {&Compilation::parse, &Compilation::runQuernPasses,
        &Compilation::convert, &Compilation::place, &Compilation::generate}) {
    auto done = (this->*step)();
    if (isFinished())
      return std::move(output);
    if (!done)
      return done.error();
  }
  if (auto right = verifyModule(output.module); !right)
    return fail(Errc::Internal,
                "the compiler made a module that cannot be run: " +
                    right.error().message);
  output.module.producers.push_back(std::string(compilerBuildId()));
  if (!request.withoutSource)
    output.module.source = request.source;
  return std::move(output);
}

Result<CompileOutput> quern::compileLayer(const CompileRequest &request) {
  return Compilation(request).run();
}
