//===- ByteDot.cpp - Sums of four products of bytes -----------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// The one instruction that products of 8-bit integers are made of, on each
// level that has one. Sums wrap around at 2^32 on all of them: neither vpdpbusd
// nor sdot and udot saturate. AVX2 alone has pmaddubsw, whose sums of two
// products saturate at 2^15: it serves codes of four bits, and ones, of which
// two products are at most 2 * 15 * 255.
//
//===----------------------------------------------------------------------===//

#include "compiler/lower/cpu/Emitter.h"

#include "llvm/IR/IntrinsicsAArch64.h"
#include "llvm/IR/IntrinsicsX86.h"

using namespace quern;
using namespace quern::cpugen;
using llvm::Value;

/// `count` lanes of a vector, from `first` on.
static Value *piece(Emitter &e, Value *vector, unsigned first, unsigned count) {
  llvm::SmallVector<int, 16> lanes;
  for (unsigned i = 0; i < count; ++i)
    lanes.push_back(static_cast<int>(first + i));
  return e.b.CreateShuffleVector(vector, lanes);
}

/// Two vectors as one.
static Value *joined(Emitter &e, Value *low, Value *high) {
  llvm::SmallVector<int, 16> lanes;
  for (unsigned i = 0; i < 2 * Emitter::width(low); ++i)
    lanes.push_back(static_cast<int>(i));
  return e.b.CreateShuffleVector(low, high, lanes);
}

Value *Emitter::dotByteTwos(Value *x, Value *y, bool yUnsigned) {
  unsigned lanes = width(x);
  auto *bytes = llvm::FixedVectorType::get(b.getInt8Ty(), 4 * lanes);
  if (yUnsigned)
    std::swap(x, y);
  return b.CreateIntrinsic(
      lanes == 8 ? llvm::Intrinsic::x86_avx2_pmadd_ub_sw
                 : llvm::Intrinsic::x86_ssse3_pmadd_ub_sw_128,
      {}, {b.CreateBitCast(x, bytes), b.CreateBitCast(y, bytes)});
}

Value *Emitter::dotWords(Value *x, Value *y) {
  using namespace llvm::Intrinsic;
  unsigned lanes = x->getType()->getPrimitiveSizeInBits().getFixedValue() / 32;
  auto *words = llvm::FixedVectorType::get(b.getInt16Ty(), 2 * lanes);
  ID id = lanes == 16  ? ID(x86_avx512_pmaddw_d_512)
          : lanes == 8 ? ID(x86_avx2_pmadd_wd)
                       : ID(x86_sse2_pmadd_wd);
  return b.CreateIntrinsic(
      id, {}, {b.CreateBitCast(x, words), b.CreateBitCast(y, words)});
}

Value *Emitter::addTwos(Value *sum, Value *twos) {
  return b.CreateAdd(
      sum, dotWords(twos, llvm::ConstantInt::get(twos->getType(), 1)));
}

Value *Emitter::dotBytes(Value *sum, Value *x, bool xUnsigned, Value *y,
                         bool yUnsigned) {
  using namespace llvm::Intrinsic;
  unsigned lanes = width(sum);
  bool same = target.byteDot() == ByteDot::Same;
  if (lanes > target.lanes() && lanes % 2 == 0) {
    Value *halves[2];
    for (unsigned half = 0; half < 2; ++half) {
      unsigned first = half * lanes / 2;
      halves[half] = dotBytes(piece(*this, sum, first, lanes / 2),
                              piece(*this, x, first, lanes / 2), xUnsigned,
                              piece(*this, y, first, lanes / 2), yUnsigned);
    }
    return joined(*this, halves[0], halves[1]);
  }
  bool mixed = xUnsigned != yUnsigned;
  if (target.byteDot() == ByteDot::Narrow && mixed &&
      (lanes == 8 || lanes == 4)) {
    return addTwos(sum, dotByteTwos(x, y, yUnsigned));
  }
  ID id = not_intrinsic;
  if (same && xUnsigned == yUnsigned && lanes == 4)
    id = xUnsigned ? aarch64_neon_udot : aarch64_neon_sdot;
  if (target.byteDot() == ByteDot::Mixed && mixed)
    id = lanes == 16  ? ID(x86_avx512_vpdpbusd_512)
         : lanes == 8 ? ID(x86_avx512_vpdpbusd_256)
         : lanes == 4 ? ID(x86_avx512_vpdpbusd_128)
                      : ID(not_intrinsic);
  if (id == not_intrinsic)
    return unsupported("this target has no instruction for products of bytes "
                       "with these signs",
                       sum->getType());
  auto *bytes = llvm::FixedVectorType::get(b.getInt8Ty(), 4 * lanes);
  x = b.CreateBitCast(x, bytes);
  y = b.CreateBitCast(y, bytes);
  // The last operand may be one lane of a vector, where all lanes of x are.
  if (same)
    return b.CreateIntrinsic(id, {sum->getType(), bytes}, {sum, y, x});
  // The unsigned operand comes first.
  if (yUnsigned)
    std::swap(x, y);
  return b.CreateIntrinsic(id, {}, {sum, x, y});
}
