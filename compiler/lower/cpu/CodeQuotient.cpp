//===- CodeQuotient.cpp - Quotients that become codes ---------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// x / s for many x and one s, where the quotient is rounded to a code: with
// r = 1/s, q = x r, t = q + r (x - q s), both steps fused, t is the correctly
// rounded quotient where nothing under- or overflows (docs/numerics.md says
// which codes follow elsewhere).
//
//===----------------------------------------------------------------------===//

#include "compiler/lower/cpu/ElementBody.h"

using namespace quern;
using namespace quern::cpugen;
using llvm::Value;

void ElementBody::emitCodeQuotient(mlir::arith::DivFOp op) {
  llvm::IRBuilder<> &b = e.b;
  Value *s = lookup(op.getRhs()).value, *x = spread(lookup(op.getLhs()));
  auto constant = [&](double value) {
    return llvm::ConstantFP::get(b.getFloatTy(), value);
  };
  // Once per scale: the optimiser moves it out of the loops.
  Value *inRange = b.CreateAnd(b.CreateFCmpOGE(s, constant(0x1p-80)),
                               b.CreateFCmpOLE(s, constant(0x1p126)));
  Value *r = e.splat(b.CreateFDiv(constant(1), s), lanes);
  Value *all = e.splat(s, lanes);
  auto fast = [&]() -> Emitter::Values {
    Value *q = b.CreateFMul(x, r);
    Value *rest = e.fma(b.CreateFNeg(q), all, x);
    Value *t = e.fma(rest, r, q);
    // Where q is no finite number the steps made it NaN.
    Value *number = b.CreateFCmpORD(t, t);
    t = b.CreateSelect(number, t, q);
    // -0 gave +0; the sign of every other quotient is q's anyway.
    return {b.CreateBinaryIntrinsic(llvm::Intrinsic::copysign, t, q)};
  };
  bind(op.getResult(), {e.branch(inRange, fast, [&]() -> Emitter::Values {
         return {b.CreateFDiv(x, all)};
       })[0]});
}
