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

Value *quern::cpugen::multiplyAdd(Emitter &e, const ContractPlan &plan,
                                  Value *acc, Value *left, Value *right) {
  llvm::IRBuilder<> &b = e.b;
  switch (plan.kind) {
  case StepKind::Quads:
    if (plan.stepsOfTwos())
      return b.CreateAdd(acc, e.dotByteTwos(left, right, plan.rightUnsigned));
    return e.dotBytes(acc, left, plan.movedUnsigned(), right,
                      plan.rightUnsigned);
  case StepKind::Pairs:
    llvm_unreachable("two steps are added at once: TileLoop::addPairs");
  case StepKind::Bf16Pairs: {
    auto *pairs =
        llvm::FixedVectorType::get(b.getBFloatTy(), 2 * Emitter::width(left));
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

namespace {

/// The loop of one tile while it is being written. Sums are in the order of
/// panels, rows and halves of a panel's columns; where second steps have sums
/// of their own, those follow behind all others.
class TileLoop {
public:
  TileLoop(Emitter &e, const ContractPlan &plan, TileShape shape,
           const TileData &data)
      : e(e), b(e.b), plan(plan), shape(shape), data(data), lanes(plan.lanes),
        vector(e.vectorType(b.getInt32Ty(), lanes)),
        accumulator(plan.sumsFloats() ? e.vectorType(b.getFloatTy(), lanes)
                                      : vector),
        perRow(data.sharesRows ? 2 : 1),
        keepsHalves(data.sharesRows && plan.keepsHalves(shape)),
        interleaved(plan.interleaves(shape.rows)),
        numSums(2 * shape.panels * shape.rows) {}

  Emitter::Values run();

private:
  Value *loadPanel(Value *line, unsigned half) {
    // What was widened changes while the kernel runs.
    bool widened = plan.widensPanels() && !data.sharesRows;
    return e.load(vector, e.offset(line, e.i64(half * lanes * 4)),
                  widened ? Memory::Scratch : Memory::Read, 4 * lanes);
  }
  Value *start(Value *panel, unsigned number, unsigned row, unsigned half);
  Value *leftOf(unsigned step, unsigned row);
  Emitter::Values addRow(Value *number, llvm::ArrayRef<Value *> sums);
  void addSteps(unsigned panel, Value *line, Emitter::Values &sums);
  void addPairs(unsigned panel, Value *const (&right)[2][2],
                Emitter::Values &sums);
  Emitter::Values addTwos(Value *first, Value *end,
                          llvm::ArrayRef<Value *> sums);
  Emitter::Values addRowsByTwos(Value *rows, const Emitter::Values &inits);

  /// Of a row's sums the first.
  unsigned sumOf(unsigned panel, unsigned row) const {
    return 2 * (panel * shape.rows + row);
  }

  Emitter &e;
  llvm::IRBuilder<> &b;
  const ContractPlan &plan;
  TileShape shape;
  const TileData &data;
  unsigned lanes;
  llvm::Type *vector, *accumulator;
  unsigned perRow;  ///< Steps of a row of the panel.
  bool keepsHalves; ///< Second steps have sums of their own.
  bool interleaved;
  unsigned numSums;
  llvm::SmallVector<Value *> panels, rowStart;

  // Of the row of the panels that is being written:
  Value *rowNumber = nullptr;
  llvm::SmallVector<Value *> left[2]; ///< Elements that were loaded.
  Value *leftLanes = nullptr; ///< Elements of as many rows as there are lanes.
};

} // namespace

/// What a sum is before the first step.
Value *TileLoop::start(Value *panel, unsigned number, unsigned row,
                       unsigned half) {
  if (data.sums)
    return e.load(
        accumulator,
        e.offset(data.sums, e.i64(number * plan.tileBytes() +
                                  row * plan.rowBytes() + half * lanes * 4)),
        Memory::Scratch, 4 * lanes);
  if (data.starts)
    return e.splat(e.load(b.getInt32Ty(), e.offset(data.starts, e.i64(4 * row)),
                          Memory::Scratch, 4),
                   lanes);
  if (plan.headerRows())
    return loadPanel(panel, half);
  return llvm::Constant::getNullValue(accumulator);
}

/// A left row's element in all lanes, loaded when it is first asked for.
Value *TileLoop::leftOf(unsigned step, unsigned row) {
  Value *&element = left[step][row];
  if (element)
    return element;
  unsigned leftStep = interleaved ? 4 * plan.rows : 4;
  Value *offset =
      e.add(e.mul(rowNumber, e.i64(perRow * leftStep)), e.i64(step * leftStep));
  Value *address = e.offset(rowStart[row], offset);
  if (!interleaved || !e.target.multipliesByLane())
    return element = e.splat(
               e.load(b.getInt32Ty(), address, Memory::Scratch, 1), lanes);
  if (row % lanes == 0)
    leftLanes = e.load(vector, address, Memory::Scratch, 4);
  return element = b.CreateShuffleVector(
             leftLanes, llvm::SmallVector<int>(lanes, row % lanes));
}

/// Both steps at once: LLVM adds what is added to one sum in any order, and
/// products that wait for that take registers.
void TileLoop::addPairs(unsigned panel, Value *const (&right)[2][2],
                        Emitter::Values &sums) {
  for (unsigned row = 0; row < shape.rows; ++row)
    for (unsigned half = 0; half < 2; ++half) {
      Value *&sum = sums[sumOf(panel, row) + half];
      Value *first = e.dotWords(leftOf(0, row), right[0][half]);
      Value *second = e.dotWords(leftOf(1, row), right[1][half]);
      sum = b.CreateAdd(sum, b.CreateAdd(first, second));
    }
}

/// The steps of a row of one panel.
void TileLoop::addSteps(unsigned panel, Value *line, Emitter::Values &sums) {
  Value *right[2][2] = {};
  for (unsigned half = 0; half < 2; ++half) {
    right[0][half] = loadPanel(line, half);
    // The first last: the others are taken of what was loaded.
    for (unsigned step = perRow; data.sharesRows && step-- > 0;)
      right[step][half] = takeStep(e, plan, right[0][half], step, keepsHalves);
  }
  if (plan.kind == StepKind::Pairs)
    return addPairs(panel, right, sums);
  for (unsigned step = 0; step < perRow; ++step)
    for (unsigned row = 0; row < shape.rows; ++row)
      for (unsigned half = 0; half < 2; ++half) {
        Value *&sum =
            sums[sumOf(panel, row) + half + (keepsHalves ? step * numSums : 0)];
        sum = multiplyAdd(e, plan, sum, leftOf(step, row), right[step][half]);
      }
}

/// The sums after row `number` of the panels.
Emitter::Values TileLoop::addRow(Value *number, llvm::ArrayRef<Value *> sums) {
  rowNumber = number;
  Value *at = e.mul(number, e.i64(plan.rowBytes()));
  if (data.ahead)
    prefetch(e, e.offset(data.ahead, e.mul(number, data.aheadStep)),
             plan.rowBytes());
  for (llvm::SmallVector<Value *> &elements : left)
    elements.assign(shape.rows, nullptr);
  // All at once where there are registers for them.
  for (unsigned step = 0; plan.kind != StepKind::Pairs && step < perRow; ++step)
    for (unsigned row = 0; row < shape.rows; ++row)
      leftOf(step, row);
  Emitter::Values next(sums);
  for (unsigned panel = 0; panel < shape.panels; ++panel) {
    Value *line = e.offset(panels[panel], at);
    if (auto ahead = plan.fetchesPanels(shape))
      prefetch(e, e.offset(line, e.i64(*ahead)), plan.rowBytes());
    addSteps(panel, line, next);
  }
  return next;
}

/// Adds some rows' products to sums of 16 bits, and these to the others.
Emitter::Values TileLoop::addTwos(Value *first, Value *end,
                                  llvm::ArrayRef<Value *> sums) {
  auto *twos = llvm::FixedVectorType::get(b.getInt16Ty(), 2 * lanes);
  Emitter::Values next(sums);
  Emitter::Values some =
      e.loop(first, end, e.i64(1),
             Emitter::Values(numSums, llvm::Constant::getNullValue(twos)),
             [&](Value *number, llvm::ArrayRef<Value *> carried) {
               return addRow(number, carried);
             });
  for (auto [sum, two] : llvm::zip(next, some))
    sum = e.addTwos(sum, two);
  return next;
}

/// The sums of 16 bits are in registers, and those of 32 wait on the stack
/// where there are too many for both.
Emitter::Values TileLoop::addRowsByTwos(Value *rows,
                                        const Emitter::Values &inits) {
  int64_t some = plan.stepsOfTwos() / perRow;
  std::optional<int64_t> all = constantOf(rows);
  if (all && *all <= some)
    return addTwos(e.i64(0), rows, inits);
  return e.loop(e.i64(0), rows, e.i64(some), inits,
                [&](Value *first, llvm::ArrayRef<Value *> sums) {
                  Value *end = e.add(first, e.i64(some));
                  if (!all || *all % some != 0)
                    end = e.min(end, rows);
                  return addTwos(first, end, sums);
                });
}

Emitter::Values TileLoop::run() {
  Emitter::Values inits;
  for (unsigned panel = 0; panel < shape.panels; ++panel) {
    Value *first =
        panel == 0 ? data.panel
                   : e.offset(data.panel, e.mul(data.panelBytes, e.i64(panel)));
    for (unsigned row = 0; row < shape.rows; ++row)
      for (unsigned half = 0; half < 2; ++half)
        inits.push_back(start(first, panel, row, half));
    panels.push_back(
        e.offset(first, e.i64(plan.headerRows() * plan.rowBytes())));
  }
  for (unsigned row = 0; row < shape.rows; ++row)
    rowStart.push_back(
        e.offset(data.left, interleaved ? e.i64(4 * row)
                                        : e.mul(data.stride, e.i64(row))));
  if (keepsHalves)
    inits.append(numSums, llvm::Constant::getNullValue(accumulator));
  Value *rows =
      data.sharesRows ? e.ceilDiv(data.steps, e.i64(perRow)) : data.steps;
  if (plan.stepsOfTwos())
    return addRowsByTwos(rows, inits);
  Emitter::Values results =
      e.loop(e.i64(0), rows, e.i64(1), inits,
             [&](Value *number, llvm::ArrayRef<Value *> sums) {
               return addRow(number, sums);
             });
  for (unsigned i = 0; keepsHalves && i < numSums; ++i)
    results[i] = b.CreateAdd(
        results[i], b.CreateAShr(results[numSums + i],
                                 llvm::ConstantInt::get(accumulator, 4)));
  results.truncate(numSums);
  return results;
}

Emitter::Values quern::cpugen::emitTileLoop(Emitter &e,
                                            const ContractPlan &plan,
                                            TileShape shape,
                                            const TileData &data) {
  return TileLoop(e, plan, shape, data).run();
}

std::string quern::cpugen::tileName(const ContractPlan &plan, TileShape shape,
                                    bool asPacked) {
  llvm::StringRef kind = plan.kind == StepKind::Quads       ? "quads"
                         : plan.kind == StepKind::Pairs     ? "pairs"
                         : plan.kind == StepKind::Bf16Pairs ? "bf16pairs"
                                                            : "singles";
  llvm::StringRef signs = plan.kind != StepKind::Quads || !plan.rightUnsigned
                              ? ""
                          : plan.swapped ? ".swapped"
                                         : ".unsigned";
  auto ahead = plan.fetchesPanels(shape);
  return fmt::format("quern.tile.{}{}{}{}{}{}{}{}{}.{}x{}", kind.str(),
                     signs.str(), plan.headerRows() ? ".corrected" : "",
                     plan.storedPanels ? ".decoded"
                     : plan.kind == StepKind::Pairs
                         ? plan.rightUnsigned ? ".u8" : ".i8"
                     : !plan.fourBits ? ""
                     : plan.biased    ? ".i4"
                                      : ".u4",
                     !plan.takesApart()        ? ""
                     : !asPacked               ? ".wide"
                     : plan.keepsHalves(shape) ? ".halves"
                                               : "",
                     plan.continues() && !asPacked ? ".chunked" : "",
                     plan.interleaves(shape.rows) ? ".rows" : "",
                     ahead ? fmt::format(".ahead{}", *ahead) : "",
                     plan.rowsName(), shape.rows, shape.panels * plan.columns);
}

llvm::Function *quern::cpugen::emitRegisterTile(Emitter &e,
                                                const ContractPlan &plan,
                                                TileShape shape,
                                                bool asPacked) {
  std::string name = tileName(plan, shape, asPacked);
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
  data.sharesRows = asPacked || plan.readsSharedRows();
  if (plan.continues() && !asPacked)
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
