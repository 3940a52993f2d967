//===- RangedPrograms.cpp - Programs for some of the sizes ----------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "dialects/tile/Transforms/RangedPrograms.h"

#include "dialects/tile/Transforms/StageFusion.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/IRMapping.h"

#include <fmt/format.h>

#include <map>

using namespace mlir;
using namespace quern;
using namespace quern::tile;

static ProgramOp programOf(ModuleOp module) {
  return *module.getOps<ProgramOp>().begin();
}

/// The symbols with one of them ranging over `range`, and over what it ranged
/// over before where `widen`.
static ArrayAttr withRange(ArrayAttr symbols, StringRef name,
                           const SymbolRange &range, bool widen) {
  SmallVector<Attribute> changed;
  for (auto symbol : symbols.getAsRange<SymbolAttr>()) {
    if (symbol.getName() == name) {
      int64_t min = range.min, max = range.max;
      if (widen) {
        min = std::min(min, symbol.getMin());
        max = std::max(max, symbol.getMax());
      }
      symbol = SymbolAttr::get(symbols.getContext(), name, min, max,
                               symbol.getMultiple());
    }
    changed.push_back(symbol);
  }
  return ArrayAttr::get(symbols.getContext(), changed);
}

static StringRef nameOf(ProgramOp program, unsigned symbol) {
  return cast<SymbolAttr>(program.getSymbols()[symbol]).getName();
}

void tile::narrowSymbol(ModuleOp module, const SymbolRange &range) {
  ProgramOp program = programOf(module);
  std::string name = nameOf(program, range.symbol).str();
  program.setSymbolsAttr(
      withRange(program.getSymbols(), name, range, /*widen=*/false));
  for (auto kernel : module.getOps<KernelOp>())
    kernel.setSymbolsAttr(
        withRange(kernel.getSymbols(), name, range, /*widen=*/false));
}

static bool sameRegion(Region &a, Region &b) {
  return OperationEquivalence::isRegionEquivalentTo(
      &a, &b, OperationEquivalence::IgnoreLocations);
}

/// Whether two kernels do the same in the same way.
static bool areAlike(KernelOp a, KernelOp b, ScheduleText schedule) {
  return a.getWrites() == b.getWrites() &&
         a.getPlacement() == b.getPlacement() &&
         a.getNumericsClass() == b.getNumericsClass() &&
         a.getReason() == b.getReason() &&
         sameRegion(a.getBody(), b.getBody()) && schedule(a) == schedule(b);
}

bool tile::areAlike(ModuleOp a, ModuleOp b, ScheduleText schedule) {
  auto kernelsOfA = llvm::to_vector(a.getOps<KernelOp>());
  auto kernelsOfB = llvm::to_vector(b.getOps<KernelOp>());
  if (kernelsOfA.size() != kernelsOfB.size() ||
      !sameRegion(programOf(a).getBody(), programOf(b).getBody()))
    return false;
  for (auto [one, other] : llvm::zip(kernelsOfA, kernelsOfB))
    if (one.getSymName() != other.getSymName() ||
        !::areAlike(one, other, schedule))
      return false;
  return true;
}

namespace {

class Merger {
public:
  Merger(ModuleOp module, ScheduleText schedule)
      : module(module), program(programOf(module)), table(module),
        schedule(schedule), builder(module.getContext()) {}

  void run(ArrayRef<RangedProgram> parts);

private:
  void addKernels(const RangedProgram &part, bool isLast);
  KernelOp known(KernelOp kernel, const RangedProgram &part);
  void addPart(const RangedProgram &part, bool isFirst);
  Value bufferFor(BufferOp buffer);

  ModuleOp module;
  ProgramOp program;
  SymbolTable table;
  ScheduleText schedule;
  OpBuilder builder;
  std::string symbol;                           ///< That the ranges are of.
  llvm::DenseMap<Operation *, KernelOp> merged; ///< By a part's kernel.
  SmallVector<KernelOp> kernels;
  BufferOp lastBuffer;
  /// Signature and packed buffers by name, part and role; those of one name in
  /// order, of which the part at hand has so many already.
  std::map<std::string, SmallVector<Value>> shared;
  std::map<std::string, unsigned> taken;
};

} // namespace

/// A kernel that is there already and is this one; it then ranges over the
/// part's sizes too.
KernelOp Merger::known(KernelOp kernel, const RangedProgram &part) {
  for (KernelOp other : kernels) {
    if (!::areAlike(kernel, other, schedule))
      continue;
    ArrayAttr before = other.getSymbols();
    other.setSymbolsAttr(withRange(before, symbol, part.range, /*widen=*/true));
    if (schedule(other) == schedule(kernel))
      return other;
    other.setSymbolsAttr(before);
  }
  return {};
}

void Merger::addKernels(const RangedProgram &part, bool isLast) {
  ModuleOp from = part.module;
  for (auto kernel : from.getOps<KernelOp>()) {
    KernelOp &result = merged[kernel];
    result = known(kernel, part);
    if (result)
      continue;
    result = kernel.clone();
    // Those for most rows keep their names.
    if (!isLast)
      result.setSymName(fmt::format("{}_{}{}", kernel.getSymName().str(),
                                    symbol, part.range.max));
    table.insert(result, module.getBody()->end());
    kernels.push_back(result);
  }
}

Value Merger::bufferFor(BufferOp buffer) {
  auto clone = [&] {
    if (lastBuffer)
      builder.setInsertionPointAfter(lastBuffer);
    else
      builder.setInsertionPointToStart(&program.getBody().front());
    lastBuffer = cast<BufferOp>(builder.clone(*buffer));
    return lastBuffer.getResult();
  };
  if (buffer.getRole() == BufferRole::Temporary ||
      buffer.getRole() == BufferRole::State)
    return clone();
  std::string key =
      fmt::format("{}.{}.{}", buffer.getName().str(), buffer.getPart().str(),
                  stringifyBufferRole(buffer.getRole()).str());
  SmallVector<Value> &known = shared[key];
  unsigned number = taken[key]++;
  if (number == known.size())
    known.push_back(clone());
  return known[number];
}

void Merger::addPart(const RangedProgram &part, bool isFirst) {
  taken.clear();
  IRMapping mapping;
  ProgramOp from = programOf(part.module);
  auto when = ArrayAttr::get(module.getContext(),
                             RangeAttr::get(module.getContext(), symbol,
                                            part.range.min, part.range.max));
  for (Operation &op : from.getBody().front()) {
    if (auto buffer = dyn_cast<BufferOp>(op)) {
      mapping.map(buffer.getResult(), bufferFor(buffer));
      continue;
    }
    auto launch = cast<LaunchOp>(op);
    bool prepares = launch.getPhase() == LaunchPhase::Prepare;
    KernelOp kernel = merged.lookup(getKernel(launch));
    if (prepares)
      kernel.setSymbolsAttr(program.getSymbols());
    if (prepares && !isFirst)
      continue;
    builder.setInsertionPointToEnd(&program.getBody().front());
    auto copy = cast<LaunchOp>(builder.clone(op, mapping));
    copy.setKernel(kernel.getSymName());
    if (!prepares)
      copy.setWhenAttr(when);
  }
}

void Merger::run(ArrayRef<RangedProgram> parts) {
  symbol = nameOf(program, parts.front().range.symbol).str();
  Block &body = program.getBody().front();
  while (!body.empty())
    body.back().erase();
  for (auto kernel : llvm::to_vector(module.getOps<KernelOp>()))
    table.erase(kernel);
  for (const RangedProgram &part : llvm::reverse(parts))
    addKernels(part, &part == &parts.back());
  for (const RangedProgram &part : parts)
    addPart(part, &part == &parts.front());
}

void tile::mergePrograms(ModuleOp module, ArrayRef<RangedProgram> parts,
                         ScheduleText schedule) {
  Merger(module, schedule).run(parts);
}
