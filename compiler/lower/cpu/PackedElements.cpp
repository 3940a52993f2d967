//===- PackedElements.cpp - Loads of elements that share bytes ------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// i4 and u4 elements become i8 lanes as they are loaded. Lanes that follow each
// other in a row from an even element on are half as many bytes, which are
// loaded at once and taken apart; all others find their bytes one by one.
//
//===----------------------------------------------------------------------===//

#include "compiler/lower/cpu/ElementBody.h"

using namespace quern;
using namespace quern::cpugen;
using llvm::Value;

/// The number that the low half of each byte holds.
static Value *numberOf(Emitter &e, Value *halves, DType dtype) {
  Value *four = llvm::ConstantInt::get(halves->getType(), 4);
  if (dtype == DType::U4)
    return e.b.CreateAnd(halves, llvm::ConstantInt::get(halves->getType(), 15));
  return e.b.CreateAShr(e.b.CreateShl(halves, four), four);
}

/// The bytes' low and high halves, in turns, in the low halves of bytes.
static Value *takeApart(Emitter &e, Value *bytes) {
  unsigned count = Emitter::width(bytes);
  Value *high =
      e.b.CreateLShr(bytes, llvm::ConstantInt::get(bytes->getType(), 4));
  llvm::SmallVector<int> turns;
  for (unsigned i = 0; i < count; ++i)
    turns.append({static_cast<int>(i), static_cast<int>(count + i)});
  return e.b.CreateShuffleVector(bytes, high, turns);
}

/// Which bytes any of the lanes needs.
static Value *maskOfBytes(Emitter &e, Value *mask) {
  llvm::SmallVector<int> even, odd;
  for (unsigned i = 0; i < Emitter::width(mask); i += 2) {
    even.push_back(static_cast<int>(i));
    odd.push_back(static_cast<int>(i) + 1);
  }
  return e.b.CreateOr(e.b.CreateShuffleVector(mask, even),
                      e.b.CreateShuffleVector(mask, odd));
}

Value *ElementBody::loadPacked(const BufferView &view, tile::LoadOp op) {
  Lane index = element(view, op.getMap(), op.getIndices());
  llvm::Type *byte = e.b.getInt8Ty();
  auto address = [&](Value *number) {
    Value *one = llvm::ConstantInt::get(number->getType(), 1);
    return e.b.CreateGEP(byte, view.address, e.b.CreateAShr(number, one));
  };
  // Rows begin at bytes, so that the last index alone tells the half.
  auto startsEven = [&] {
    llvm::SmallVector<Lane> dims;
    for (mlir::Value value : op.getIndices())
      dims.push_back(lookup(value));
    return affine(op.getMap().getResults().back(), dims).multiple % 2 == 0;
  };
  std::optional<int64_t> step = index.isVector() ? std::nullopt : stepOf(index);
  if (step == 1 && lanes > 2 && lanes % 2 == 0 && startsEven()) {
    llvm::Type *type = e.vectorType(byte, lanes / 2);
    Value *bytes = mask ? e.loadMasked(type, address(index.value),
                                       maskOfBytes(e, mask), view.memory)
                        : e.load(type, address(index.value), view.memory, 1);
    return numberOf(e, takeApart(e, bytes), view.dtype);
  }
  Value *number = step == 0 ? index.value : spread(index);
  Value *bytes = step == 0 || lanes == 1
                     ? e.load(byte, address(number), view.memory, 1)
                     : e.gather(e.vectorType(byte, lanes), address(number),
                                mask, view.memory);
  Value *one = llvm::ConstantInt::get(number->getType(), 1);
  Value *odd = e.b.CreateTrunc(e.b.CreateAnd(number, one), bytes->getType());
  Value *shift = e.b.CreateShl(odd, llvm::ConstantInt::get(odd->getType(), 2));
  return numberOf(e, e.b.CreateLShr(bytes, shift), view.dtype);
}
