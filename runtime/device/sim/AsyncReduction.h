//===- AsyncReduction.h - Reductions of the copy engine ---------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// The operations of cp.reduce.async.bulk and cp.reduce.async.bulk.tensor,
// element by element: destination = destination op source.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_DEVICE_SIM_ASYNCREDUCTION_H
#define QUERN_DEVICE_SIM_ASYNCREDUCTION_H

#include "runtime/device/sim/InstrBuilder.h"

#include <cstddef>

namespace quern {
inline namespace v0 {
namespace sim {

enum class ReduceOp : uint8_t { Add, Min, Max, Inc, Dec, And, Or, Xor };

/// Reduces `bytes` bytes; neither side need be aligned.
using ReduceFn = void (*)(std::byte *to, const std::byte *from, size_t bytes);

/// Null if the operation does not exist on the type: add on integers and
/// floats, min and max on integers and 16-bit floats, inc and dec on u32, the
/// rest on integers of 32 and 64 bits.
ReduceFn findReduce(ReduceOp op, Type type);

/// Takes the operation's modifier; -1 if there is none.
int takeReduceOp(InstrBuilder &builder);

} // namespace sim
} // namespace v0
} // namespace quern

#endif // QUERN_DEVICE_SIM_ASYNCREDUCTION_H
