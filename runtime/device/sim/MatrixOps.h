//===- MatrixOps.h - What the matrix instructions share ---------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_DEVICE_SIM_MATRIXOPS_H
#define QUERN_DEVICE_SIM_MATRIXOPS_H

#include "runtime/device/sim/InstrBuilder.h"
#include "runtime/device/sim/Machine.h"
#include "runtime/device/sim/MatrixArithmetic.h"

namespace quern {
inline namespace v0 {
namespace sim {

/// A fault, and false, unless all 32 threads execute the instruction.
bool requireWholeWarp(Warp &warp, const Instr &instr);

/// Binds a list of `count` 32-bit registers to the vector list.
void bindVector(InstrBuilder &builder, size_t index, unsigned count,
                bool isResult);

/// The operand type of a matrix product; nothing if it is none.
std::optional<MatrixType> matrixTypeOf(Type type);

void decodeMma(InstrBuilder &builder);

/// A plain mov whose source is an accumulator of a pending wgmma: products are
/// carried out, and the destination becomes pending instead of a fault.
void carryPending(Warp &warp, const Instr &instr);

} // namespace sim
} // namespace v0
} // namespace quern

#endif // QUERN_DEVICE_SIM_MATRIXOPS_H
