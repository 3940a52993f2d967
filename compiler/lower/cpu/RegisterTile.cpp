//===- RegisterTile.cpp - The innermost loop of contractions --------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Per step: two vectors of the panel, and for each row one four-byte element
// broadcast to all lanes and two multiply-adds. With AVX-512 and eight rows
// that is 16 accumulators, and the two multiply-add ports are kept busy by
// loads (10 for 16 instructions) that never miss L2. Where a multiply-add takes
// one lane of a vector for all of the other's, interleaved rows are loaded by
// vectors and not broadcast (AArch64: 4 loads for 16 instructions).
//
//===----------------------------------------------------------------------===//

#include "compiler/lower/cpu/Contract.h"

#include "llvm/IR/IntrinsicsX86.h"

using namespace quern;
using namespace quern::cpugen;
using llvm::Value;

/// The sums of two products of 16 bits in each lane.
static Value *pairProducts(Emitter &e, Value *left, Value *right) {
  llvm::IRBuilder<> &b = e.b;
  unsigned lanes = Emitter::width(left);
  auto *words = llvm::FixedVectorType::get(b.getInt16Ty(), 2 * lanes);
  llvm::Intrinsic::ID id = lanes == 16
                               ? llvm::Intrinsic::x86_avx512_pmaddw_d_512
                           : lanes == 8 ? llvm::Intrinsic::x86_avx2_pmadd_wd
                                        : llvm::Intrinsic::x86_sse2_pmadd_wd;
  return b.CreateIntrinsic(
      id, {}, {b.CreateBitCast(left, words), b.CreateBitCast(right, words)});
}

/// acc + left * right for one step; `left` and `right` are <lanes x i32> bits.
/// With stepsOfTwos `acc` is lanes of 16 bits.
static Value *multiplyAdd(Emitter &e, const ContractPlan &plan, Value *acc,
                          Value *left, Value *right) {
  llvm::IRBuilder<> &b = e.b;
  unsigned lanes = plan.lanes;
  switch (plan.kind) {
  case StepKind::Quads:
    if (plan.stepsOfTwos())
      return b.CreateAdd(acc, e.dotByteTwos(left, right, plan.rightUnsigned));
    return e.dotBytes(acc, left, plan.movedUnsigned(), right,
                      plan.rightUnsigned);
  case StepKind::Pairs:
    return b.CreateAdd(acc, pairProducts(e, left, right));
  case StepKind::Bf16Pairs: {
    auto *pairs = llvm::FixedVectorType::get(b.getBFloatTy(), 2 * lanes);
    return b.CreateIntrinsic(
        llvm::Intrinsic::x86_avx512bf16_dpbf16ps_512, {},
        {acc, b.CreateBitCast(left, pairs), b.CreateBitCast(right, pairs)});
  }
  case StepKind::Singles: {
    Value *x = e.float_(left), *y = e.float_(right);
    // A sum of class bounded: without an fma instruction two roundings do.
    if (e.target.hasFma())
      return e.fma(x, y, acc);
    return b.CreateFAdd(b.CreateFMul(x, y), acc);
  }
  }
  return acc;
}

static void prefetch(Emitter &e, Value *address, unsigned bytes) {
  llvm::IRBuilder<> &b = e.b;
  for (unsigned line = 0; line < bytes; line += 64)
    b.CreateIntrinsic(llvm::Intrinsic::prefetch, {b.getPtrTy()},
                      {e.offset(address, e.i64(line)), b.getInt32(0),
                       b.getInt32(3), b.getInt32(1)});
}

Emitter::Values quern::cpugen::emitTileLoop(Emitter &e,
                                            const ContractPlan &plan,
                                            TileShape shape,
                                            const TileData &data) {
  llvm::IRBuilder<> &b = e.b;
  unsigned lanes = plan.lanes;
  llvm::Type *vector = e.vectorType(b.getInt32Ty(), lanes);
  llvm::Type *accumulator =
      plan.sumsFloats() ? e.vectorType(b.getFloatTy(), lanes) : vector;
  // What was widened changes while the kernel runs.
  Memory memory =
      plan.widensPanels() && !data.sharesRows ? Memory::Scratch : Memory::Read;
  auto load = [&](Value *line, unsigned half) {
    return e.load(vector, e.offset(line, e.i64(half * lanes * 4)), memory,
                  4 * lanes);
  };
  auto startOf = [&](unsigned row) {
    return e.splat(e.load(b.getInt32Ty(), e.offset(data.starts, e.i64(4 * row)),
                          Memory::Scratch, 4),
                   lanes);
  };
  Emitter::Values inits;
  llvm::SmallVector<Value *> panels, rowStart;
  for (unsigned panel = 0; panel < shape.panels; ++panel) {
    Value *start =
        panel == 0 ? data.panel
                   : e.offset(data.panel, e.mul(data.panelBytes, e.i64(panel)));
    for (unsigned row = 0; row < shape.rows; ++row)
      for (unsigned half = 0; half < 2; ++half)
        inits.push_back(
            data.sums
                ? e.load(accumulator,
                         e.offset(data.sums, e.i64(panel * plan.tileBytes() +
                                                   row * plan.rowBytes() +
                                                   half * lanes * 4)),
                         Memory::Scratch, 4 * lanes)
            : data.starts       ? startOf(row)
            : plan.headerRows() ? load(start, half)
                                : llvm::Constant::getNullValue(accumulator));
    panels.push_back(
        e.offset(start, e.i64(plan.headerRows() * plan.rowBytes())));
  }
  bool interleaved = plan.interleaves(shape.rows);
  unsigned leftStep = interleaved ? 4 * plan.rows : 4;
  bool byLane = interleaved && e.target.multipliesByLane();
  for (unsigned row = 0; row < shape.rows; ++row)
    rowStart.push_back(
        e.offset(data.left, interleaved ? e.i64(4 * row)
                                        : e.mul(data.stride, e.i64(row))));

  // A row of the panel is one step, or two.
  unsigned perRow = data.sharesRows ? 2 : 1;
  // Then the second may have accumulators of its own, behind the others.
  bool keepHalves = data.sharesRows && plan.keepsHalves(shape);
  unsigned numSums = inits.size();
  if (keepHalves)
    inits.append(numSums, llvm::Constant::getNullValue(accumulator));
  Value *rows =
      data.sharesRows ? e.ceilDiv(data.steps, e.i64(perRow)) : data.steps;
  // The sums after row `number` of the panels.
  auto addRow = [&](Value *number, llvm::ArrayRef<Value *> sums) {
    Value *at = e.mul(number, e.i64(plan.rowBytes()));
    if (data.ahead)
      prefetch(e, e.offset(data.ahead, e.mul(number, data.aheadStep)),
               plan.rowBytes());
    // Elements of the left rows.
    llvm::SmallVector<Value *> left[2];
    Value *some = nullptr; // Of as many rows as there are lanes.
    left[0].resize(shape.rows);
    left[1].resize(shape.rows);
    auto leftOf = [&](unsigned step, unsigned row) {
      Value *&element = left[step][row];
      if (element)
        return element;
      Value *offset = e.add(e.mul(number, e.i64(perRow * leftStep)),
                            e.i64(step * leftStep));
      Value *address = e.offset(rowStart[row], offset);
      if (!byLane)
        return element = e.splat(
                   e.load(b.getInt32Ty(), address, Memory::Scratch, 1), lanes);
      if (row % lanes == 0)
        some = e.load(vector, address, Memory::Scratch, 4);
      return element = b.CreateShuffleVector(
                 some, llvm::SmallVector<int>(lanes, row % lanes));
    };
    for (unsigned step = 0; !plan.bytePairs && step < perRow; ++step)
      for (unsigned row = 0; row < shape.rows; ++row)
        leftOf(step, row);
    Emitter::Values next(sums);
    for (unsigned panel = 0; panel < shape.panels; ++panel) {
      Value *line = e.offset(panels[panel], at);
      Value *right[2][2] = {};
      for (unsigned half = 0; half < 2; ++half) {
        right[0][half] = load(line, half);
        for (unsigned step = perRow; data.sharesRows && step-- > 0;)
          right[step][half] =
              takeStep(e, plan, right[0][half], step, keepHalves);
      }
      auto sumOf = [&](unsigned row, unsigned half) -> Value *& {
        return next[2 * (panel * shape.rows + row) + half];
      };
      // Both steps at once: LLVM adds what is added to one sum in any order,
      // and products that wait for that take registers.
      for (unsigned row = 0; plan.bytePairs && row < shape.rows; ++row)
        for (unsigned half = 0; half < 2; ++half) {
          Value *&sum = sumOf(row, half);
          sum = b.CreateAdd(
              sum,
              b.CreateAdd(pairProducts(e, leftOf(0, row), right[0][half]),
                          pairProducts(e, leftOf(1, row), right[1][half])));
        }
      for (unsigned step = 0; !plan.bytePairs && step < perRow; ++step)
        for (unsigned row = 0; row < shape.rows; ++row)
          for (unsigned half = 0; half < 2; ++half) {
            Value *&sum = next[2 * (panel * shape.rows + row) + half +
                               (keepHalves ? step * numSums : 0)];
            sum =
                multiplyAdd(e, plan, sum, leftOf(step, row), right[step][half]);
          }
    }
    return next;
  };
  Emitter::Values results;
  if (unsigned steps = plan.stepsOfTwos()) {
    // 16-bit sums of some steps in registers; of all others the i32 sums, which
    // wait on the stack where there are too many.
    Emitter::Values zeros(
        inits.size(), llvm::Constant::getNullValue(llvm::FixedVectorType::get(
                          b.getInt16Ty(), 2 * lanes)));
    auto addSome = [&](Value *first, Value *last,
                       llvm::ArrayRef<Value *> sums) {
      Emitter::Values next(sums);
      Emitter::Values twos = e.loop(first, last, e.i64(1), zeros, addRow);
      for (auto [sum, two] : llvm::zip(next, twos))
        sum = e.addTwos(sum, two);
      return next;
    };
    int64_t some = steps / perRow;
    std::optional<int64_t> all = constantOf(rows);
    if (all && *all <= some)
      results = addSome(e.i64(0), rows, inits);
    else
      results = e.loop(e.i64(0), rows, e.i64(some), inits,
                       [&](Value *first, llvm::ArrayRef<Value *> sums) {
                         Value *last = e.add(first, e.i64(some));
                         if (!all || *all % some != 0)
                           last = e.min(last, rows);
                         return addSome(first, last, sums);
                       });
  } else {
    results = e.loop(e.i64(0), rows, e.i64(1), inits, addRow);
  }
  for (unsigned i = 0; keepHalves && i < numSums; ++i)
    results[i] = b.CreateAdd(
        results[i], b.CreateAShr(results[numSums + i],
                                 llvm::ConstantInt::get(accumulator, 4)));
  results.truncate(numSums);
  return results;
}

std::string quern::cpugen::tileName(const ContractPlan &plan, TileShape shape,
                                    bool fourBits) {
  llvm::StringRef kind = plan.kind == StepKind::Quads       ? "quads"
                         : plan.kind == StepKind::Pairs     ? "pairs"
                         : plan.kind == StepKind::Bf16Pairs ? "bf16pairs"
                                                            : "singles";
  llvm::StringRef signs = plan.kind != StepKind::Quads || !plan.rightUnsigned
                              ? ""
                          : plan.swapped ? ".swapped"
                                         : ".unsigned";
  return fmt::format("quern.tile.{}{}{}{}{}{}{}{}.{}x{}", kind.str(),
                     signs.str(), plan.headerRows() ? ".corrected" : "",
                     plan.storedPanels ? ".decoded"
                     : plan.bytePairs  ? plan.rightUnsigned ? ".u8" : ".i8"
                     : !plan.fourBits  ? ""
                     : plan.biased     ? ".i4"
                                       : ".u4",
                     !plan.takesApart()        ? ""
                     : !fourBits               ? ".wide"
                     : plan.keepsHalves(shape) ? ".halves"
                                               : "",
                     plan.continues() && !fourBits ? ".chunked" : "",
                     plan.interleaves(shape.rows) ? ".rows" : "",
                     plan.rowsName(), shape.rows, shape.panels * plan.columns);
}

llvm::Function *quern::cpugen::emitRegisterTile(Emitter &e,
                                                const ContractPlan &plan,
                                                TileShape shape,
                                                bool fourBits) {
  std::string name = tileName(plan, shape, fourBits);
  if (llvm::Function *existing = e.module.getFunction(name))
    return existing;
  llvm::IRBuilder<> &b = e.b;
  llvm::IRBuilder<>::InsertPointGuard guard(b);
  llvm::Type *pointer = b.getPtrTy(), *i64 = b.getInt64Ty();
  auto *type = llvm::FunctionType::get(
      b.getVoidTy(),
      {pointer, i64, pointer, i64, i64, pointer, pointer, i64, pointer}, false);
  llvm::Function *function = e.beginFunction(name, type, /*external=*/false);
  function->addFnAttr(llvm::Attribute::NoInline);
  TileData data;
  data.left = function->getArg(0);
  data.stride = function->getArg(1);
  data.panel = function->getArg(2);
  data.panelBytes = function->getArg(3);
  data.steps = function->getArg(4);
  data.sharesRows = fourBits || plan.readsSharedRows();
  if (plan.continues() && !fourBits)
    data.sums = function->getArg(5);
  if (plan.biased)
    data.starts = function->getArg(8);
  if (plan.blocking.fetches(shape.rows)) {
    data.ahead = function->getArg(6);
    data.aheadStep = function->getArg(7);
  }
  auto results = emitTileLoop(e, plan, shape, data);
  unsigned lanes = plan.lanes;
  for (auto [i, result] : llvm::enumerate(results)) {
    unsigned slot = i / (2 * shape.rows), vector = i % (2 * shape.rows);
    e.store(result,
            e.offset(function->getArg(5),
                     e.i64(slot * plan.tileBytes() + vector * lanes * 4)),
            Memory::Scratch, 4 * lanes);
  }
  b.CreateRetVoid();
  return function;
}
