//===- RegisterTile.cpp - The innermost loop of contractions --------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Per step: two vectors of the panel, and for each row one four-byte element
// broadcast to all lanes and two multiply-adds. With AVX-512 and eight rows
// that is 16 accumulators, and the two multiply-add ports are kept busy by
// loads (10 for 16 instructions) that never miss L2.
//
//===----------------------------------------------------------------------===//

#include "compiler/lower/cpu/Contract.h"

#include "llvm/IR/IntrinsicsX86.h"

using namespace quern;
using namespace quern::cpugen;
using llvm::Value;

/// acc + left * right for one step; `left` and `right` are <lanes x i32> bits.
static Value *multiplyAdd(Emitter &e, const ContractPlan &plan, Value *acc,
                          Value *left, Value *right) {
  llvm::IRBuilder<> &b = e.b;
  unsigned lanes = plan.lanes;
  switch (plan.kind) {
  case StepKind::Quads: {
    auto *bytes = llvm::FixedVectorType::get(b.getInt8Ty(), 4 * lanes);
    Value *a = b.CreateBitCast(left, bytes), *c = b.CreateBitCast(right, bytes);
    if (plan.swapped)
      std::swap(a, c);
    return b.CreateIntrinsic(llvm::Intrinsic::x86_avx512_vpdpbusd_512, {},
                             {acc, a, c});
  }
  case StepKind::Pairs: {
    auto *words = llvm::FixedVectorType::get(b.getInt16Ty(), 2 * lanes);
    llvm::Intrinsic::ID id = lanes == 16
                                 ? llvm::Intrinsic::x86_avx512_pmaddw_d_512
                             : lanes == 8 ? llvm::Intrinsic::x86_avx2_pmadd_wd
                                          : llvm::Intrinsic::x86_sse2_pmadd_wd;
    Value *products = b.CreateIntrinsic(
        id, {}, {b.CreateBitCast(left, words), b.CreateBitCast(right, words)});
    return b.CreateAdd(acc, products);
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

/// How far ahead of its use a panel is fetched. The first row tile over a panel
/// reads it from L3 or memory, across pages, where the machine's own
/// prefetching starts anew; measured, 8 KiB make products of 8 to 64 rows 5 to
/// 40 % faster, larger ones by a few percent at most. Beyond the panel's end
/// lies the next one; a prefetch outside the buffer does nothing. With fewer
/// than four rows the loop is bound by memory anyway, and prefetches only
/// compete.
static constexpr int64_t prefetchBytes = 8192;

static void prefetch(Emitter &e, Value *address, unsigned bytes) {
  llvm::IRBuilder<> &b = e.b;
  for (unsigned line = 0; line < bytes; line += 64)
    b.CreateIntrinsic(llvm::Intrinsic::prefetch, {b.getPtrTy()},
                      {e.offset(address, e.i64(line)), b.getInt32(0),
                       b.getInt32(3), b.getInt32(1)});
}

Emitter::Values quern::cpugen::emitTileLoop(Emitter &e,
                                            const ContractPlan &plan,
                                            unsigned rows, Value *left,
                                            Value *stride, Value *panel,
                                            Value *steps) {
  llvm::IRBuilder<> &b = e.b;
  unsigned lanes = plan.lanes;
  llvm::Type *vector = e.vectorType(b.getInt32Ty(), lanes);
  llvm::Type *accumulator = plan.kind == StepKind::Singles
                                ? e.vectorType(b.getFloatTy(), lanes)
                                : vector;
  Emitter::Values inits;
  for (unsigned row = 0; row < rows; ++row)
    for (unsigned half = 0; half < 2; ++half)
      inits.push_back(plan.headerRows()
                          ? e.load(vector,
                                   e.offset(panel, e.i64(half * lanes * 4)),
                                   Memory::Read, 4 * lanes)
                          : llvm::Constant::getNullValue(accumulator));
  Value *data = e.offset(panel, e.i64(plan.headerRows() * plan.rowBytes()));
  llvm::SmallVector<Value *> rowStart;
  for (unsigned row = 0; row < rows; ++row)
    rowStart.push_back(e.offset(left, e.mul(stride, e.i64(row))));

  return e.loop(
      e.i64(0), steps, e.i64(1), inits,
      [&](Value *step, llvm::ArrayRef<Value *> sums) {
        Value *line = e.offset(data, e.mul(step, e.i64(plan.rowBytes())));
        Value *right[2];
        for (unsigned half = 0; half < 2; ++half)
          right[half] = e.load(vector, e.offset(line, e.i64(half * lanes * 4)),
                               Memory::Read, 4 * lanes);
        if (rows >= 4)
          prefetch(e, e.offset(line, e.i64(prefetchBytes)), plan.rowBytes());
        Emitter::Values next(sums);
        for (unsigned row = 0; row < rows; ++row) {
          Value *element = e.load(
              b.getInt32Ty(), e.offset(rowStart[row], e.mul(step, e.i64(4))),
              Memory::Scratch, 1);
          Value *all = e.splat(element, lanes);
          for (unsigned half = 0; half < 2; ++half) {
            Value *&sum = next[2 * row + half];
            sum = multiplyAdd(e, plan, sum, all, right[half]);
          }
        }
        return next;
      });
}

llvm::Function *quern::cpugen::emitRegisterTile(Emitter &e,
                                                const ContractPlan &plan,
                                                unsigned rows) {
  llvm::StringRef kind = plan.kind == StepKind::Quads   ? "quads"
                         : plan.kind == StepKind::Pairs ? "pairs"
                                                        : "singles";
  std::string name = fmt::format(
      "quern.tile.{}{}{}.{}x{}", kind.str(), plan.swapped ? ".swapped" : "",
      plan.headerRows() ? ".corrected" : "", rows, plan.columns);
  if (llvm::Function *existing = e.module.getFunction(name))
    return existing;
  llvm::IRBuilder<> &b = e.b;
  llvm::IRBuilder<>::InsertPointGuard guard(b);
  llvm::Type *pointer = b.getPtrTy(), *i64 = b.getInt64Ty();
  auto *type = llvm::FunctionType::get(
      b.getVoidTy(), {pointer, i64, pointer, i64, pointer}, false);
  llvm::Function *function = e.beginFunction(name, type, /*external=*/false);
  function->addFnAttr(llvm::Attribute::NoInline);
  auto results =
      emitTileLoop(e, plan, rows, function->getArg(0), function->getArg(1),
                   function->getArg(2), function->getArg(3));
  unsigned lanes = plan.lanes;
  for (auto [i, result] : llvm::enumerate(results))
    e.store(result, e.offset(function->getArg(4), e.i64(i * lanes * 4)),
            Memory::Scratch, 4 * lanes);
  b.CreateRetVoid();
  return function;
}
