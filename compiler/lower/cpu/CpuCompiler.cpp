//===- CpuCompiler.cpp - Tile programs to CPU code ------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/lower/cpu/CpuCompiler.h"

#include "compiler/lower/cpu/Lowering.h"
#include "compiler/lower/cpu/ObjectCode.h"
#include "dialects/tile/Transforms/RowStrips.h"

#include "mlir/IR/SymbolTable.h"
#include "llvm/IR/Verifier.h"
#include "llvm/Support/raw_ostream.h"
#include "llvm/Transforms/Utils/Cloning.h"

#include <chrono>

using namespace quern;
using namespace quern::cpugen;

namespace {

class ProgramCompiler {
public:
  ProgramCompiler(mlir::ModuleOp source, const CpuTarget &target,
                  llvm::Module &code, const Schedules *schedules)
      : source(source), schedules(schedules), emitter(code, target) {
    variant.target = target.name();
    variant.requiredFeatures = target.features;
  }

  Result<void> run();
  VariantDesc variant;
  std::vector<ScheduledProduct> products;

private:
  struct Kernel {
    uint32_t index; ///< In variant.kernels.
    LoweredKernel lowered;
    std::vector<PackedOperand> packed;
    std::vector<uint32_t> packIndex;
  };

  Result<void> addBuffer(tile::BufferOp op);
  Result<void> addLaunch(tile::LaunchOp op);
  Result<Kernel *> kernelFor(tile::KernelOp op);
  uint32_t addKernel(const LoweredKernel &lowered, tile::KernelOp op,
                     std::string reason);
  void addPacking(const Kernel &kernel, tile::LaunchOp op, LaunchDesc &main);

  mlir::ModuleOp source;
  const Schedules *schedules;
  Emitter emitter;
  llvm::DenseMap<mlir::Value, uint32_t> bufferIndex;
  llvm::DenseMap<mlir::Operation *, std::unique_ptr<Kernel>> kernels;
};

} // namespace

static std::vector<SymExpr> shapeOf(mlir::AffineMap map) {
  std::vector<SymExpr> shape;
  for (mlir::AffineExpr expr : map.getResults())
    shape.push_back(tile::toSymExpr(expr));
  return shape;
}

Result<void> ProgramCompiler::addBuffer(tile::BufferOp op) {
  BufferDesc buffer;
  buffer.name = op.getName().str();
  buffer.part = op.getPart().str();
  auto type = llvm::cast<tile::BufferType>(op.getResult().getType());
  buffer.dtype = *getDType(type.getElementType());
  buffer.role = static_cast<BufferRole>(op.getRole());
  buffer.shape = shapeOf(type.getShape());
  bufferIndex[op.getResult()] = variant.buffers.size();
  variant.buffers.push_back(std::move(buffer));
  return {};
}

uint32_t ProgramCompiler::addKernel(const LoweredKernel &lowered,
                                    tile::KernelOp op, std::string reason) {
  KernelDesc kernel;
  kernel.name = lowered.name;
  kernel.reason = std::move(reason);
  kernel.schedule = lowered.schedule;
  kernel.numericsClass = static_cast<NumericsClass>(op.getNumericsClass());
  variant.kernels.push_back(std::move(kernel));
  return variant.kernels.size() - 1;
}

Result<ProgramCompiler::Kernel *>
ProgramCompiler::kernelFor(tile::KernelOp op) {
  std::unique_ptr<Kernel> &slot = kernels[op];
  if (slot)
    return slot.get();
  auto kernel = std::make_unique<Kernel>();
  std::string name = op.getSymName().str();
  if (auto contract = op.getContract()) {
    LoweredContract lowered =
        lowerContract(emitter, op, contract, name, schedules);
    kernel->lowered = std::move(lowered.kernel);
    kernel->packed = std::move(lowered.packed);
    products.push_back(std::move(lowered.scheduled));
  } else if (op.getStages().size() > 1) {
    kernel->lowered = lowerStrips(emitter, op, name);
  } else {
    kernel->lowered = lowerBlocks(
        emitter, op, llvm::cast<tile::BlocksOp>(op.getStages().front()), name);
  }
  if (!emitter.error.empty())
    return fail(Errc::Unsupported,
                fmt::format("kernel @{}: {}", name, emitter.error));
  for (const PackedOperand &operand : kernel->packed)
    kernel->packIndex.push_back(
        addKernel(operand.kernel, op,
                  "packs a right operand of @" + name +
                      " in the order its inner loop reads it"));
  kernel->index = addKernel(kernel->lowered, op, op.getReason().str());
  op.setScheduleAttr(
      mlir::StringAttr::get(op.getContext(), kernel->lowered.schedule));
  slot = std::move(kernel);
  return slot.get();
}

/// Launches that pack the right operands, and their buffers.
void ProgramCompiler::addPacking(const Kernel &kernel, tile::LaunchOp op,
                                 LaunchDesc &main) {
  for (auto [operand, index] : llvm::zip(kernel.packed, kernel.packIndex)) {
    LaunchDesc launch;
    launch.kernel = index;
    bool constant = true;
    for (unsigned source : operand.sources) {
      uint32_t buffer = bufferIndex[op.getBuffers()[source]];
      launch.buffers.push_back(buffer);
      BufferRole role = variant.buffers[buffer].role;
      constant &= role == BufferRole::Weight || role == BufferRole::Packed;
    }
    launch.phase = constant ? LaunchPhase::Prepare : main.phase;
    if (!constant)
      launch.when = main.when;
    launch.items = operand.kernel.items;
    launch.grain = operand.kernel.grain;
    launch.scratchBytes = operand.kernel.scratchBytes;

    BufferDesc buffer;
    buffer.name = operand.bufferName;
    buffer.part = "values";
    buffer.dtype = DType::I8;
    buffer.role = launch.phase == LaunchPhase::Prepare ? BufferRole::Packed
                                                       : BufferRole::Temporary;
    buffer.shape = operand.shape;
    uint32_t number = variant.buffers.size();
    variant.buffers.push_back(std::move(buffer));
    launch.buffers.push_back(number);
    main.buffers.push_back(number);
    variant.launches.push_back(std::move(launch));
  }
}

Result<void> ProgramCompiler::addLaunch(tile::LaunchOp op) {
  auto kernelOp = source.lookupSymbol<tile::KernelOp>(op.getKernel());
  if (!kernelOp)
    return fail(Errc::InvalidSource,
                fmt::format("tile.launch names @{}, which is no kernel of the "
                            "module",
                            op.getKernel().str()));
  if (op.getBuffers().getTypes() !=
      kernelOp.getBody().front().getArgumentTypes())
    return fail(Errc::InvalidSource,
                fmt::format("tile_launch_c1: the buffers of the launch of @{} "
                            "are not of its argument types",
                            op.getKernel().str()));
  Result<Kernel *> kernel = kernelFor(kernelOp);
  if (!kernel)
    return kernel.error();
  LaunchDesc launch;
  launch.kernel = (*kernel)->index;
  launch.phase = static_cast<LaunchPhase>(op.getPhase());
  for (auto [symbol, min, max] : tile::getRanges(op))
    launch.when.push_back({symbol, min, max});
  for (mlir::Value buffer : op.getBuffers())
    launch.buffers.push_back(bufferIndex[buffer]);
  launch.items = (*kernel)->lowered.items;
  launch.grain = (*kernel)->lowered.grain;
  launch.scratchBytes = (*kernel)->lowered.scratchBytes;
  addPacking(**kernel, op, launch);
  variant.launches.push_back(std::move(launch));
  return {};
}

Result<void> ProgramCompiler::run() {
  auto programs = source.getOps<tile::ProgramOp>();
  if (!llvm::hasSingleElement(programs))
    return fail(Errc::InvalidSource,
                fmt::format("a CPU variant is made of one tile.program, and "
                            "the module holds {}",
                            std::distance(programs.begin(), programs.end())));
  tile::ProgramOp program = *programs.begin();
  if (std::optional<unsigned> symbol = tile::findRowSymbol(program))
    variant.rowSymbol = *symbol;
  for (mlir::Operation &op : program.getBody().front()) {
    Result<void> done;
    if (auto buffer = llvm::dyn_cast<tile::BufferOp>(op))
      done = addBuffer(buffer);
    else if (auto launch = llvm::dyn_cast<tile::LaunchOp>(op))
      done = addLaunch(launch);
    else
      done = fail(Errc::InvalidSource,
                  fmt::format("'{}' does not belong in a tile.program",
                              op.getName().getStringRef().str()));
    if (!done)
      return done;
  }
  return {};
}

namespace {
/// Milliseconds since the last call.
struct Stopwatch {
  std::chrono::steady_clock::time_point last = std::chrono::steady_clock::now();
  double lap() {
    auto now = std::chrono::steady_clock::now();
    double passed =
        std::chrono::duration<double, std::milli>(now - last).count();
    last = now;
    return passed;
  }
};
} // namespace

Result<VariantDesc>
quern::cpugen::compileForCpu(mlir::ModuleOp tileModule, const CpuTarget &target,
                             CpuDumps *dumps, CpuCompileTimes *times,
                             const Schedules *schedules,
                             std::vector<ScheduledProduct> *products) {
  CpuCompileTimes local;
  CpuCompileTimes &spent = times ? *times : local;
  Stopwatch watch;
  auto machine = createTargetMachine(target);
  if (!machine)
    return machine.error();
  llvm::LLVMContext context;
  llvm::Module module("quern", context);
  module.setTargetTriple(llvm::Triple(target.triple));
  module.setDataLayout((*machine)->createDataLayout());
  module.setPICLevel(llvm::PICLevel::BigPIC);

  ProgramCompiler compiler(tileModule, target, module, schedules);
  if (Result<void> done = compiler.run(); !done)
    return done.error();
  std::string problem;
  llvm::raw_string_ostream problems(problem);
  if (llvm::verifyModule(module, &problems))
    return fail(Errc::Internal, "generated LLVM IR is invalid: " + problem);
  spent.emit = watch.lap();
  optimize(module);
  spent.optimize = watch.lap();

  if (dumps) {
    llvm::raw_string_ostream(dumps->tile) << tileModule;
    llvm::raw_string_ostream(dumps->llvm) << module;
    // Code generation changes the module it works on.
    std::unique_ptr<llvm::Module> copy = llvm::CloneModule(module);
    auto assembly = emitFile(*copy, **machine, /*assembly=*/true);
    if (!assembly)
      return assembly.error();
    dumps->assembly.assign(assembly->begin(), assembly->end());
    watch.lap();
  }
  auto object = emitFile(module, **machine, /*assembly=*/false);
  if (!object)
    return object.error();
  spent.codegen = watch.lap();
  auto image = linkImage(llvm::MemoryBufferRef(
      llvm::StringRef(object->data(), object->size()), "kernels"));
  if (!image)
    return image.error();
  spent.link = watch.lap();

  if (products)
    *products = std::move(compiler.products);
  VariantDesc variant = std::move(compiler.variant);
  for (const KernelDesc &kernel : variant.kernels)
    if (llvm::none_of(image->symbols, [&](const CodeSymbol &symbol) {
          return symbol.name == kernel.name;
        }))
      return fail(Errc::Internal,
                  fmt::format("kernel @{} is missing in the generated code",
                              kernel.name));
  variant.code.push_back(std::move(*image));
  return variant;
}
