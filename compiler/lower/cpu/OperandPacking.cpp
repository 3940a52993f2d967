//===- OperandPacking.cpp - Operands in the order they are used -----------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Packing right operands into panels; Contract.h has the layouts.
//
//===----------------------------------------------------------------------===//

#include "compiler/lower/cpu/ColumnFactors.h"
#include "compiler/lower/cpu/Contract.h"

using namespace quern;
using namespace quern::cpugen;
using llvm::Value;

namespace {

/// Packs one step of one vector of columns.
struct PanelWriter {
  KernelScope &scope;
  const ContractPlan &plan;
  mlir::Region &region;
  llvm::SmallVector<Value *> batch;
  Value *firstColumn;
  Value *mask; ///< Null: all columns exist.

  Emitter &e = scope.e;

  Value *element(Value *k) {
    ElementBody body(scope, plan.lanes, mask);
    mlir::Block &block = region.front();
    for (auto [argument, value] : llvm::zip(block.getArguments(), batch))
      body.bind(argument, ElementBody::uniform(value));
    body.bind(block.getArgument(plan.numBatch),
              body.laneIndex(firstColumn, plan.lanes));
    body.bind(block.getArgument(plan.numBatch + 1), ElementBody::uniform(k));
    body.emit(block);
    mlir::Value yielded = block.getTerminator()->getOperand(0);
    Value *wide = widen(e, plan, body.spread(body.lookup(yielded)),
                        yielded.getType(), plan.rightUnsigned);
    if (plan.biased)
      wide = e.b.CreateXor(wide, e.i32(8, wide));
    if (mask)
      wide = e.b.CreateSelect(mask, wide,
                              llvm::Constant::getNullValue(wide->getType()));
    return wide;
  }

  /// Where K runs contiguously in memory, the address of element (first
  /// column, k) and the bytes from a column to the next; null values otherwise.
  struct Contiguous {
    Value *address = nullptr;
    Value *step = nullptr;
    Memory memory = Memory::Read;
  };
  Contiguous contiguous(Value *k) {
    tile::LoadOp load = plan.fourBits ? getFourBitLoad(plan.op, region)
                                      : plan.op.getPlainLoad(region);
    if (!(plan.keepsElements() || plan.kind == StepKind::Pairs) || !load)
      return {};
    auto it = scope.buffers.find(load.getBuffer());
    unsigned rank = load.getBuffer().getType().getRank();
    // The last index of the access is k itself, and no other uses it.
    mlir::Value kArgument = region.front().getArgument(plan.numBatch + 1);
    if (it == scope.buffers.end() || rank == 0)
      return {};
    llvm::SmallVector<Lane> dims;
    ElementBody body(scope, plan.lanes, mask);
    std::optional<unsigned> kDim;
    for (auto [position, index] : llvm::enumerate(load.getIndices())) {
      if (index == kArgument) {
        if (kDim)
          return {};
        kDim = position;
        dims.push_back(ElementBody::uniform(k));
      } else {
        unsigned number = llvm::cast<mlir::BlockArgument>(index).getArgNumber();
        dims.push_back(number == plan.numBatch
                           ? body.laneIndex(firstColumn, plan.lanes)
                           : ElementBody::uniform(batch[number]));
      }
    }
    mlir::AffineMap map = load.getMap();
    if (!kDim || map.getResult(rank - 1) !=
                     mlir::getAffineDimExpr(*kDim, load.getContext()))
      return {};
    for (unsigned i = 0; i + 1 < rank; ++i)
      if (map.getResult(i).isFunctionOfDim(*kDim))
        return {};
    Value *number = e.i64(0), *step = e.i64(0);
    for (auto [expr, stride] :
         llvm::zip(map.getResults(), it->second.strides)) {
      Lane lane = body.affine(expr, dims);
      if (lane.isVector())
        return {};
      number = e.add(number, e.mul(lane.value, stride));
      if (lane.step)
        step = e.add(step, e.mul(lane.step, stride));
    }
    if (plan.fourBits) { // All strides are even, and so has k to be.
      number = e.b.CreateLShr(number, e.i64(1));
      step = e.b.CreateLShr(step, e.i64(1));
    } else {
      unsigned bytes = plan.kind == StepKind::Pairs ? 1 : plan.elementBytes();
      number = e.mul(number, e.i64(bytes));
      step = e.mul(step, e.i64(bytes));
    }
    return {e.offset(it->second.address, number), step, it->second.memory};
  }

  /// A step of contiguous elements is one 32-bit gather, and so are two that
  /// share a row.
  Value *gatheredQuad(Value *k) {
    Contiguous at = contiguous(k);
    if (!at.address)
      return nullptr;
    Value *offsets =
        e.b.CreateMul(e.iota(plan.lanes), e.splat(at.step, plan.lanes));
    Value *quad = e.gather(e.vectorType(e.b.getInt32Ty(), plan.lanes),
                           e.offset(at.address, offsets), mask, at.memory);
    if (mask)
      quad = e.b.CreateSelect(mask, quad,
                              llvm::Constant::getNullValue(quad->getType()));
    return quad;
  }

  /// The step that starts at element k; `last` elements end before `limit`,
  /// null when all of them do.
  Value *step(Value *k, Value *limit) {
    unsigned count = plan.elementsPerStep();
    if (!limit && !plan.sharesRows())
      if (Value *quad = gatheredQuad(k))
        return quad;
    unsigned bits = 32 / count;
    Value *packed = nullptr;
    for (unsigned i = 0; i < count; ++i) {
      Value *at = e.add(k, e.i64(i));
      Value *part;
      if (limit) {
        llvm::Type *type = e.vectorType(e.b.getInt32Ty(), plan.lanes);
        part = e.branch(
            e.b.CreateICmpSLT(at, limit),
            [&] { return Emitter::Values{element(at)}; },
            [&] {
              return Emitter::Values{llvm::Constant::getNullValue(type)};
            })[0];
      } else {
        part = element(at);
      }
      if (count > 1) {
        part = e.b.CreateAnd(part, e.i32((int64_t(1) << bits) - 1, part));
        part = e.b.CreateShl(part, e.i32(bits * i, part));
      }
      packed = packed ? e.b.CreateOr(packed, part) : part;
    }
    return packed;
  }
};

/// The codes of a word in the order of a row that two steps share. Of four
/// bits the first four stand in the low halves of the bytes, of eight the first
/// two in the low bytes of the pairs. Exchanges the middle bytes, then the
/// middle halves on either side.
static Value *orderHalves(Emitter &e, const ContractPlan &plan, Value *word) {
  auto exchange = [&](Value *x, uint32_t mask, unsigned distance) {
    Value *shift = e.i32(distance, x);
    Value *differ = e.b.CreateAnd(e.b.CreateXor(x, e.b.CreateLShr(x, shift)),
                                  e.i32(mask, x));
    return e.b.CreateXor(x, e.b.CreateOr(differ, e.b.CreateShl(differ, shift)));
  };
  word = exchange(word, 0x0000ff00, 8);
  return plan.fourBits ? exchange(word, 0x00f000f0, 4) : word;
}

} // namespace

/// sum + the elements of a step, which the header row is made of; `sum` itself
/// where there is none.
static Value *addCorrection(Emitter &e, const ContractPlan &plan, Value *sum,
                            Value *packed) {
  if (!plan.headerRows())
    return sum;
  return e.dotBytes(sum, e.i32(0x01010101, packed), plan.movedUnsigned(),
                    packed, plan.rightUnsigned);
}

/// sums square(source, bytes between columns, target, sums): as many steps at
/// once as there are lanes. Columns are read as vectors of steps and
/// transposed. Shared by all packing kernels of a module: it is most of their
/// code.
static llvm::Function *emitSquare(Emitter &e, const ContractPlan &plan) {
  std::string name =
      fmt::format("quern.square{}{}", plan.headerRows() ? ".corrected" : "",
                  plan.headerRows() && plan.rightUnsigned ? ".unsigned" : "");
  if (llvm::Function *existing = e.module.getFunction(name))
    return existing;
  llvm::IRBuilder<> &b = e.b;
  llvm::IRBuilder<>::InsertPointGuard guard(b);
  unsigned lanes = plan.lanes;
  llvm::Type *vector = e.vectorType(b.getInt32Ty(), lanes);
  auto *type = llvm::FunctionType::get(
      vector, {b.getPtrTy(), b.getInt64Ty(), b.getPtrTy(), vector}, false);
  llvm::Function *function = e.beginFunction(name, type, /*external=*/false);
  function->addFnAttr(llvm::Attribute::NoInline);
  llvm::SmallVector<Value *> rows;
  for (unsigned lane = 0; lane < lanes; ++lane)
    rows.push_back(e.load(
        vector,
        e.offset(function->getArg(0), e.mul(function->getArg(1), e.i64(lane))),
        Memory::Read, 1));
  // Squares of `size` change places across the diagonal, the largest first.
  for (unsigned size = lanes / 2; size >= 1; size /= 2) {
    llvm::SmallVector<int, 16> upper, lower;
    for (unsigned i = 0; i < lanes; ++i) {
      bool second = i & size;
      upper.push_back(second ? lanes + i - size : i);
      lower.push_back(second ? lanes + i : i + size);
    }
    for (unsigned i = 0; i < lanes; ++i) {
      if (i & size)
        continue;
      Value *x = rows[i], *y = rows[i + size];
      rows[i] = b.CreateShuffleVector(x, y, upper);
      rows[i + size] = b.CreateShuffleVector(x, y, lower);
    }
  }
  Value *sum = function->getArg(3);
  for (auto [i, packed] : llvm::enumerate(rows)) {
    e.store(packed, e.offset(function->getArg(2), e.i64(i * plan.rowBytes())),
            Memory::Written, 4 * lanes);
    sum = addCorrection(e, plan, sum, packed);
  }
  b.CreateRet(sum);
  return function;
}

/// Packs the shared rows of one group for one vector of columns at `target`.
static void packSharedGroup(PanelWriter &writer, Value *kBegin, Value *kEnd,
                            Value *allRows, Value *target) {
  Emitter &e = writer.e;
  const ContractPlan &plan = writer.plan;
  llvm::IRBuilder<> &b = e.b;
  unsigned perStep = plan.elementsPerStep();
  int64_t perRow = 2 * perStep;
  auto put = [&](Value *number, Value *row) {
    e.store(row, e.offset(target, e.mul(number, e.i64(plan.rowBytes()))),
            Memory::Written, 4 * plan.lanes);
  };
  // Where K lies contiguously and a group begins with a byte, the codes of a
  // row and column are a word.
  bool words = (!plan.fourBits || !plan.split || *plan.split % 2 == 0) &&
               writer.contiguous(kBegin).address;
  Value *full =
      words ? e.floorDiv(b.CreateSub(kEnd, kBegin), e.i64(perRow)) : e.i64(0);
  if (words)
    e.loop(e.i64(0), full, e.i64(1), [&](Value *number) {
      Value *k = e.add(kBegin, e.mul(number, e.i64(perRow)));
      Value *row = orderHalves(e, plan, writer.gatheredQuad(k));
      if (plan.biased)
        row = b.CreateXor(row, e.i32(int64_t(0x88888888), row));
      put(number, row);
    });
  // Groups of whole words need no more code than for rows that nobody reads,
  // beyond the end of the last one.
  if (words && plan.constantK().value_or(1) % perRow == 0 &&
      plan.split.value_or(perRow) % perRow == 0) {
    e.loop(full, allRows, e.i64(1), [&](Value *number) {
      put(number, llvm::Constant::getNullValue(
                      e.vectorType(b.getInt32Ty(), plan.lanes)));
    });
    return;
  }
  // Element by element; what is beyond the group is zero, with 8 added or not.
  unsigned bits = plan.fourBits ? 4 : 8;
  int64_t codes = plan.fourBits ? 0x0f0f0f0f : 0x00ff00ff;
  e.loop(full, allRows, e.i64(1), [&](Value *number) {
    Value *k = e.add(kBegin, e.mul(number, e.i64(perRow)));
    Value *first = writer.step(k, kEnd);
    Value *second = writer.step(e.add(k, e.i64(perStep)), kEnd);
    first = b.CreateAnd(first, e.i32(codes, first));
    second = b.CreateAnd(second, e.i32(codes, second));
    put(number, b.CreateOr(first, b.CreateShl(second, e.i32(bits, second))));
  });
}

/// Packs the steps of one group for one vector of columns at `target`.
static void packGroup(PanelWriter &writer, Value *kBegin, Value *kEnd,
                      Value *allSteps, Value *target) {
  Emitter &e = writer.e;
  const ContractPlan &plan = writer.plan;
  llvm::IRBuilder<> &b = e.b;
  llvm::Type *vector = e.vectorType(b.getInt32Ty(), plan.lanes);
  Value *zero = llvm::Constant::getNullValue(vector);
  unsigned perStep = plan.elementsPerStep();
  Value *data = e.offset(target, e.i64(plan.headerRows() * plan.rowBytes()));
  auto put = [&](Value *step, Value *packed) {
    e.store(packed, e.offset(data, e.mul(step, e.i64(plan.rowBytes()))),
            Memory::Written, 4 * plan.lanes);
  };
  auto correct = [&](Value *sum, Value *packed) {
    return addCorrection(e, plan, sum, packed);
  };
  Value *length = b.CreateSub(kEnd, kBegin);
  Value *full = e.floorDiv(length, e.i64(perStep));
  Value *used = e.ceilDiv(length, e.i64(perStep));
  // Whole squares first, where the data allows it.
  Value *squares = b.CreateAnd(full, e.i64(-int64_t(plan.lanes)));
  bool transposes = !writer.mask && writer.contiguous(kBegin).address;
  Value *first = transposes ? squares : e.i64(0);
  Value *sum = zero;
  if (transposes)
    sum = e.loop(
        e.i64(0), squares, e.i64(plan.lanes), {sum},
        [&](Value *step, llvm::ArrayRef<Value *> carried) {
          auto at =
              writer.contiguous(e.add(kBegin, e.mul(step, e.i64(perStep))));
          Value *out = e.offset(data, e.mul(step, e.i64(plan.rowBytes())));
          return Emitter::Values{b.CreateCall(
              emitSquare(e, plan), {at.address, at.step, out, carried[0]})};
        })[0];
  sum = e.loop(first, full, e.i64(1), {sum},
               [&](Value *step, llvm::ArrayRef<Value *> carried) {
                 Value *k = e.add(kBegin, e.mul(step, e.i64(perStep)));
                 Value *packed = writer.step(k, nullptr);
                 put(step, packed);
                 return Emitter::Values{correct(carried[0], packed)};
               })[0];
  if (perStep > 1)
    sum = e.branch(
        b.CreateICmpSLT(full, used),
        [&] {
          Value *k = e.add(kBegin, e.mul(full, e.i64(perStep)));
          Value *packed = writer.step(k, kEnd);
          put(full, packed);
          return Emitter::Values{correct(sum, packed)};
        },
        [&] { return Emitter::Values{sum}; })[0];
  e.loop(used, allSteps, e.i64(1), [&](Value *step) { put(step, zero); });
  if (plan.headerRows())
    e.store(b.CreateMul(sum, e.i32(plan.headerFactor(), sum)), target,
            Memory::Written, 4 * plan.lanes);
}

llvm::SmallVector<bool>
quern::cpugen::usesBatch(const ContractPlan &plan, mlir::Block &block,
                         llvm::function_ref<bool(mlir::Operation *)> counts) {
  llvm::SmallVector<bool> uses;
  for (unsigned i = 0; i < plan.numBatch; ++i)
    uses.push_back(llvm::any_of(
        block.getArgument(i).getUsers(), [&](mlir::Operation *user) {
          return counts(block.findAncestorOpInBlock(*user));
        }));
  return uses;
}

PackedOperand quern::cpugen::emitPacking(Emitter &e, tile::KernelOp kernel,
                                         const ContractPlan &plan,
                                         const ColumnFactors &factors,
                                         unsigned index,
                                         const std::string &name) {
  tile::ContractOp op = plan.op;
  mlir::Region &region = op.getRhsRegion(index);
  PackedOperand packed;
  auto reads = [&](tile::LoadOp load) {
    if (auto argument = llvm::dyn_cast<mlir::BlockArgument>(load.getBuffer()))
      if (!llvm::is_contained(packed.sources, argument.getArgNumber()))
        packed.sources.push_back(argument.getArgNumber());
  };
  region.walk(reads);
  packed.varies =
      usesBatch(plan, region.front(), [](mlir::Operation *) { return true; });
  auto slice = factors.sliceFor(index);
  for (mlir::Operation *operation : slice)
    operation->walk(reads);
  if (!slice.empty())
    for (auto [varies, uses] :
         llvm::zip(packed.varies, usesBatch(plan, op.getRescale().front(),
                                            [&](mlir::Operation *operation) {
                                              return llvm::is_contained(
                                                  slice, operation);
                                            })))
      varies |= uses;
  KernelFunction function(e, name, kernel, packed.sources, 1);
  KernelScope &scope = function.scope;
  ElementBody sizes(scope, 1, nullptr);
  auto size = [&](mlir::AffineExpr expr) {
    return sizes.affine(expr, {}).value;
  };
  llvm::SmallVector<Value *> domain;
  for (unsigned i = 0; i < plan.numBatch; ++i)
    domain.push_back(packed.varies[i] ? size(plan.extent(i)) : e.i64(1));
  domain.push_back(size(plan.panels()));
  Value *n = size(plan.n()), *k = size(plan.k());
  Value *groups = size(plan.packedGroups()), *steps = size(plan.groupRows());
  Value *panelBytes = size(plan.panelBytes());
  Value *groupBytes = size(plan.groupBytes());
  std::optional<int64_t> group =
      plan.storedPanels ? plan.storedPanels->group : plan.split;
  Value *groupElements = group ? e.i64(*group) : k;

  e.loop(function.begin, function.end, e.i64(1), [&](Value *item) {
    llvm::SmallVector<Value *> point = pointOf(e, item, domain);
    Value *panel = e.offset(function.extra[0], e.mul(item, panelBytes));
    Value *panelColumn = e.mul(point.back(), e.i64(plan.columns));
    llvm::SmallVector<Value *> batch(point.begin(), point.end() - 1);
    e.loop(e.i64(0), groups, e.i64(1), [&](Value *group) {
      Value *kBegin = e.mul(group, groupElements);
      Value *kEnd = e.min(e.add(kBegin, groupElements), k);
      e.loop(
          e.i64(0), e.i64(plan.columns), e.i64(plan.lanes), [&](Value *column) {
            Value *first = e.add(panelColumn, column);
            Value *start = e.offset(panel, e.mul(group, groupBytes));
            Value *target = e.offset(
                start, e.add(e.i64(plan.factorBytes), e.mul(column, e.i64(4))));
            Value *left = e.b.CreateSub(n, first);
            auto pack = [&](Value *mask) {
              if (plan.storedPanels) {
                plan.storedPanels->pack(scope, plan, index, batch, first, mask,
                                        column, kBegin, kEnd, steps, start);
                return Emitter::Values();
              }
              if (!slice.empty())
                factors.emit(scope, plan, index, batch, first, group, mask,
                             column, start);
              PanelWriter writer{scope, plan, region, batch, first, mask};
              if (plan.sharesRows())
                packSharedGroup(writer, kBegin, kEnd, steps, target);
              else
                packGroup(writer, kBegin, kEnd, steps, target);
              return Emitter::Values();
            };
            auto some = [&] { return pack(e.maskBelow(left, plan.lanes)); };
            auto none = [&] {
              // Factors of columns that are absent as a whole are anything.
              if (plan.storedPanels) {
                plan.storedPanels->clear(e, plan, column, steps, start);
                return Emitter::Values();
              }
              Value *rows = e.add(steps, e.i64(plan.headerRows()));
              e.loop(e.i64(0), rows, e.i64(1), [&](Value *row) {
                e.store(e.splat(e.b.getInt32(0), plan.lanes),
                        e.offset(target, e.mul(row, e.i64(plan.rowBytes()))),
                        Memory::Written, 4 * plan.lanes);
              });
              return Emitter::Values();
            };
            auto someOrNone = [&] {
              // Vectors of some columns only where there can be any.
              if (constantOf(n).value_or(1) % plan.lanes == 0)
                return none();
              return e.branch(e.b.CreateICmpSGT(left, e.i64(0)), some, none);
            };
            if (constantOf(n).value_or(1) % plan.columns == 0)
              pack(nullptr);
            else
              e.branch(
                  e.b.CreateICmpSGE(left, e.i64(plan.lanes)),
                  [&] { return pack(nullptr); }, someOrNone);
          });
    });
  });
  e.b.CreateRetVoid();

  for (unsigned i = 0; i < plan.numBatch; ++i)
    packed.shape.push_back(packed.varies[i] ? tile::toSymExpr(plan.extent(i))
                                            : SymExpr::constant(1));
  packed.shape.push_back(tile::toSymExpr(plan.panels()));
  SymExpr bytes = tile::toSymExpr(plan.panelBytes());
  packed.kernel.name = name;
  packed.kernel.items = SymExpr::constant(1);
  for (const SymExpr &extent : packed.shape)
    packed.kernel.items = packed.kernel.items * extent;
  packed.kernel.grain = SymExpr::ceilDiv(
      SymExpr::constant(1 << 16),
      SymExpr::binary(SymExpr::Op::Max, SymExpr::constant(1), bytes));
  packed.shape.push_back(bytes);
  packed.kernel.schedule =
      fmt::format("item = one panel of {} columns, {}{}", plan.columns,
                  plan.storedPanels ? plan.storedPanels->text(index)
                  : plan.fourBits   ? "4-bit quads, two to a row"
                  : plan.kind == StepKind::Pairs ? "8-bit pairs, two to a row"
                  : plan.kind == StepKind::Quads ? "8-bit quads"
                  : plan.kind == StepKind::Bf16Pairs ? "bf16 pairs"
                                                     : "f32",
                  plan.headerRows() ? " with a row of corrections" : "") +
      factors.text(index);
  return packed;
}
