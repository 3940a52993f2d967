//===- Accumulation.cpp - tile.accumulate in element bodies ---------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/lower/cpu/ElementBody.h"

using namespace quern;
using namespace quern::cpugen;
using llvm::Value;

/// Indivisibly, with other threads' accesses in any order: a sum or maximum is
/// the same in all of them, and the launch's end is what makes it visible.
void ElementBody::combineAt(tile::ReduceKind kind, Value *value,
                            Value *address) {
  llvm::IRBuilder<> &b = e.b;
  auto update = [&](llvm::AtomicRMWInst::BinOp op) {
    b.CreateAtomicRMW(op, address, value, llvm::MaybeAlign(4),
                      llvm::AtomicOrdering::Monotonic);
  };
  if (kind == tile::ReduceKind::AddI) {
    update(llvm::AtomicRMWInst::Add);
    return;
  }
  // A maximum seldom grows once it has met some values.
  auto *known = b.CreateAlignedLoad(b.getInt32Ty(), address, llvm::Align(4));
  known->setAtomic(llvm::AtomicOrdering::Monotonic);
  e.when(b.CreateICmpUGT(value, known),
         [&] { update(llvm::AtomicRMWInst::UMax); });
}

void ElementBody::combine(tile::AccumulateOp op, Value *value) {
  auto it = scope.buffers.find(op.getBuffer());
  if (it == scope.buffers.end()) {
    e.unsupported("tile.accumulate into something that is no buffer of the "
                  "kernel",
                  e.b.getInt8Ty());
    return;
  }
  if (Emitter::width(value) > 1)
    value = op.getKind() == tile::ReduceKind::AddI
                ? e.b.CreateAddReduce(value)
                : e.b.CreateIntMaxReduce(value, /*IsSigned=*/false);
  Lane index = element(it->second, op.getMap(), op.getIndices());
  combineAt(op.getKind(), value,
            e.b.CreateGEP(e.b.getInt32Ty(), it->second.address, index.value));
}

void ElementBody::emitAccumulate(tile::AccumulateOp op) {
  Value *all = spread(lookup(op.getValue()));
  if (mask)
    all = e.b.CreateSelect(mask, all,
                           llvm::Constant::getNullValue(all->getType()));
  if (Value *slot = gathers.lookup(op)) {
    // Lane 0 alone where elements run one by one.
    Value *known = e.load(all->getType(), slot, Memory::Scratch, 4);
    Value *sum =
        op.getKind() == tile::ReduceKind::AddI
            ? e.b.CreateAdd(known, all)
            : e.b.CreateBinaryIntrinsic(llvm::Intrinsic::umax, known, all);
    e.store(sum, slot, Memory::Scratch, 4);
    return;
  }
  auto it = scope.buffers.find(op.getBuffer());
  if (it == scope.buffers.end())
    return combine(op, all); // Says what is wrong.
  Lane index = element(it->second, op.getMap(), op.getIndices());
  if (!index.isVector() && stepOf(index) == 0)
    return combine(op, all);
  Value *places = spread(index);
  for (unsigned lane = 0; lane < lanes; ++lane)
    combineAt(op.getKind(), e.b.CreateExtractElement(all, lane),
              e.b.CreateGEP(e.b.getInt32Ty(), it->second.address,
                            e.b.CreateExtractElement(places, lane)));
}
