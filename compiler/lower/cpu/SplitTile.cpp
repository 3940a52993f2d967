//===- SplitTile.cpp - Tiles whose sums are scaled within K ---------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// A group's accumulators stay in registers until they are scaled; the f32 sums
// live in scratch (L1), where they are read and written once a group. Where a
// factor is a vector that was packed and nothing else, what is done depends on
// the shape of the tile alone, and all products of a module share it.
//
//===----------------------------------------------------------------------===//

#include "compiler/lower/cpu/ColumnFactors.h"
#include "compiler/lower/cpu/Contract.h"

using namespace quern;
using namespace quern::cpugen;
using llvm::Value;

llvm::Function *quern::cpugen::emitSplitTile(Emitter &e,
                                             const ContractPlan &plan,
                                             TileShape shape, bool asPacked,
                                             mlir::Type factorType) {
  int64_t steps = plan.stepsOfSplit();
  bool whole = plan.splitsEvenly();
  std::string type;
  llvm::raw_string_ostream(type) << factorType;
  std::string name =
      fmt::format("{}.by{}{}.{}", tileName(plan, shape, asPacked), *plan.split,
                  whole ? "" : ".rest", type);
  if (llvm::Function *existing = e.module.getFunction(name))
    return existing;
  llvm::IRBuilder<> &b = e.b;
  llvm::IRBuilder<>::InsertPointGuard guard(b);
  llvm::Type *pointer = b.getPtrTy(), *i64 = b.getInt64Ty();
  llvm::SmallVector<llvm::Type *> types(SplitTileArguments::count, i64);
  for (unsigned argument : SplitTileArguments::pointers)
    types[argument] = pointer;
  auto *functionType = llvm::FunctionType::get(b.getVoidTy(), types, false);
  llvm::Function *function =
      e.beginFunction(name, functionType, /*external=*/false);
  function->addFnAttr(llvm::Attribute::NoInline);
  auto argument = [&](unsigned i) -> Value * { return function->getArg(i); };
  using Args = SplitTileArguments;

  unsigned lanes = plan.lanes;
  llvm::Type *vector = e.vectorType(b.getFloatTy(), lanes);
  int64_t leftGroup = *plan.split * plan.elementBytes() *
                      (plan.interleaves(shape.rows) ? plan.rows : 1);
  e.loop(e.i64(0), argument(Args::Groups), e.i64(1), [&](Value *group) {
    auto along = [&](unsigned base, Value *step) {
      return e.offset(argument(base), e.mul(group, step));
    };
    TileData data;
    data.left = along(Args::Left, e.i64(leftGroup));
    data.stride = argument(Args::Stride);
    data.panel = along(Args::Panel, argument(Args::PanelGroup));
    data.panelBytes = argument(Args::PanelBytes);
    data.steps = e.i64(steps);
    if (!whole) {
      Value *next = e.add(group, e.i64(1));
      data.steps = b.CreateSelect(b.CreateICmpEQ(next, argument(Args::Groups)),
                                  argument(Args::LastSteps), e.i64(steps));
    }
    data.sharesRows = asPacked || plan.readsSharedRows();
    if (plan.biased)
      data.starts = along(Args::Starts, e.i64(4 * plan.rows));
    if (plan.blocking.fetches(shape.rows)) {
      data.ahead = along(Args::Ahead, argument(Args::AheadGroup));
      data.aheadStep = argument(Args::AheadStep);
    }
    auto parts = emitTileLoop(e, plan, shape, data);
    Value *factors = along(Args::Factors, argument(Args::FactorGroup));
    llvm::SmallVector<Value *> columns;
    for (unsigned panel = 0; panel < shape.panels; ++panel)
      for (unsigned half = 0; half < 2; ++half) {
        Value *address = e.offset(
            factors, e.i64(half * lanes * ColumnFactors::bytesOf(factorType)));
        if (panel)
          address = e.offset(address, argument(Args::PanelBytes));
        columns.push_back(ColumnFactors::load(e, lanes, factorType, address));
      }
    for (auto [i, part] : llvm::enumerate(parts)) {
      unsigned panel = i / (2 * shape.rows), row = i / 2 % shape.rows;
      if (!plan.sumsFloats())
        part = b.CreateSIToFP(part, vector);
      Value *slot = e.offset(argument(Args::Sums),
                             e.i64(panel * plan.tileBytes() +
                                   row * plan.rowBytes() + i % 2 * lanes * 4));
      Value *sum = e.load(vector, slot, Memory::Scratch, 4 * lanes);
      e.store(e.fma(part, columns[2 * panel + i % 2], sum), slot,
              Memory::Scratch, 4 * lanes);
    }
  });
  b.CreateRetVoid();
  return function;
}
